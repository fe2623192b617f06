// Signing in by an identity provider that asks on another origin than its issuer's, and sends the browser on to a third, as
// federated directories do: with script, for a fresh proof, for a decision, and without script.
//
// usage: NODE_PATH=… node tests/console/provider.mjs OUST PICTURES      (tests/console/run runs it)

import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { createServer } from 'node:http';

import { Stage, playbook, step } from './stage.mjs';

const [oust, pictures] = process.argv.slice(2);
const CLIENT = 'oust-console-test';
const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'RS256' };

async function listening(handler) {
  const server = createServer(handler).listen(0, '127.0.0.1');
  await new Promise((done) => { server.once('listening', done); });
  return { server, origin: `http://127.0.0.1:${server.address().port}` };
}

const json = (response, body) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
const go = (response, to) => response.writeHead(302, { location: to }).end();
const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Codes that were given out, with the claims they stand for. */
const codes = new Map();
/** How long ago whoever signs in was really asked, in seconds. */
let asked = 0;

const issuer = await listening((request, response) => {
  if (request.url === '/keys') return json(response, { keys: [jwk] });
  if (request.url !== '/token') {
    return json(response, {
      issuer: issuer.origin, authorization_endpoint: `${front.origin}/authorize`, token_endpoint: `${issuer.origin}/token`,
      jwks_uri: `${issuer.origin}/keys`, response_types_supported: ['code'], subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256'],
    });
  }
  let body = '';
  request.on('data', (bytes) => { body += bytes; });
  return request.on('end', () => {
    const code = new URLSearchParams(body).get('code');
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: issuer.origin, aud: CLIENT, sub: 'grace', name: 'Grace Hopper', groups: ['on-call'], iat: now, exp: now + 300, ...codes.get(code) };
    codes.delete(code);
    const signed = `${encode({ alg: 'RS256', kid: 'one' })}.${encode(claims)}`;
    json(response, { access_token: 'a', token_type: 'Bearer', id_token: `${signed}.${sign('sha256', Buffer.from(signed), privateKey).toString('base64url')}` });
  });
});
// The page that is asked first only sends on.
const front = await listening((request, response) => go(response, `${home.origin}/login${new URL(request.url, front.origin).search}`));
const home = await listening((request, response) => {
  const { searchParams } = new URL(request.url, home.origin);
  const back = new URL(searchParams.get('redirect_uri'));
  const code = randomBytes(12).toString('hex');
  codes.set(code, { nonce: searchParams.get('nonce'), amr: ['pwd', 'mfa'], auth_time: Math.floor(Date.now() / 1000) - asked });
  back.searchParams.set('state', searchParams.get('state'));
  back.searchParams.set('code', code);
  go(response, back.href);
});

const stage = await Stage.build({
  oust, pictures, name: 'provider', playbooks: { plain: playbook('plain', 'anomalous_token', 'on_call') },
  config: () => `store: sqlite:oust.db
queue: embedded
telemetry: { log: json, level: info }
reviewers:
  passkeys: true
  oidc: { issuer: "${issuer.origin}", client_id: ${CLIENT}, client_secret: { file: graph }, aal2: { amr: [mfa] }, groups_claim: groups, roles: { approver: [on-call] } }
`,
});

await stage.play(async () => {
  await stage.serve();
  const tab = await (await stage.context()).newPage();
  const button = (name, of = tab) => of.getByRole('button', { name, exact: true });
  const signedIn = (of) => of.getByRole('heading', { name: 'Identities at risk' }).waitFor();

  asked = 600;
  await tab.goto(`${stage.origin}/console/sign-in`);
  await button('Sign in with your organisation').click();
  await signedIn(tab);
  step('signed in, over three origins');

  await tab.goto(`${stage.origin}/console/settings`);
  asked = 0;
  const answered = tab.waitForResponse((answer) => answer.url().endsWith('/sign-in/oidc/callback') && answer.request().method() === 'POST');
  await tab.getByLabel('Reason').fill('a drill');
  await button('Pause').click();
  await answered;
  await tab.waitForURL((url) => url.pathname === '/console/settings');
  await tab.getByLabel('Reason').fill('a drill');
  await button('Pause').click();
  await button('Resume').waitFor();
  await button('Resume').click();
  await button('Pause').waitFor();
  step('the proof was too old: proved again there and back, then paused and resumed');

  const person = await stage.twin.person('laura', 'Laura Example');
  await stage.alert(person, 'Anomalous Token');
  const task = await stage.reset(person);
  await tab.goto(`${stage.origin}/console/tasks/${task.id}`);
  await button('Approve').click();
  await stage.becomes(task.id, 'sealed');
  await tab.getByRole('button', { name: 'Show password' }).waitFor();
  assert.equal(await stage.twin.count(person, 'resetPassword'), 1);
  step('decided there, and the password came to this browser');

  const bare = await (await stage.context({ javaScriptEnabled: false })).newPage();
  await bare.goto(`${stage.origin}/console/sign-in`);
  await button('Sign in with your organisation', bare).click();
  await bare.getByRole('link', { name: 'Continue' }).click();
  await button('Continue', bare).click();
  await signedIn(bare);
  step('signed in without script, by a link');
});
