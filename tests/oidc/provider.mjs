// A certified OpenID provider for tests. Whoever comes is signed in as the header `x-test-login` says:
// base64url of {"account", "claims", "acr", "amr"}. Prints its issuer, then serves until it is ended.
import { createServer } from "node:http";
import Provider from "oidc-provider";

const redirect = "https://oust.contoso.example/console/sign-in/oidc/callback";
const known = new Map();
const server = createServer();
await new Promise((done) => server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: "oust-test", client_secret: "secret-of-a-test-client", redirect_uris: [redirect],
    grant_types: ["authorization_code"], response_types: ["code"], require_auth_time: true,
  }],
  pkce: { required: () => true },
  acrValues: ["urn:high"],
  conformIdTokenClaims: false,
  claims: { openid: ["sub", "groups"], profile: ["name", "preferred_username"], email: ["email"] },
  cookies: { keys: ["a key of tests"] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) => known.has(id) && { accountId: id, claims: () => ({ sub: id, ...known.get(id) }) },
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope("openid profile email");
    await grant.save();
    return grant;
  },
});

provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith("/interaction/")) return next();
  const login = JSON.parse(Buffer.from(ctx.get("x-test-login"), "base64url").toString());
  known.set(login.account, login.claims ?? {});
  const result = { login: { accountId: login.account, acr: login.acr, amr: login.amr, remember: true } };
  await provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: false });
  ctx.respond = false;
});

server.on("request", provider.callback());
console.log(issuer);
