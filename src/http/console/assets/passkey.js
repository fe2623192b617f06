// The ceremonies of signing in, in the browser. Works on elements with data attributes.
//
//   <button data-passkey="sign-in" data-next="/console">        signs in
//   <button data-passkey="enrol" data-url="/console/enrol/…">   makes the first passkey (name: [data-passkey-name])
//   <button data-passkey="add">                                 makes a further one
//   <button data-passkey="remove" data-id="…">                  removes one
//   <button data-passkey="prove">                               proves again that it is you
//   <form data-submit>                                          is sent as soon as the page is there
//   <form data-leave>                                           leaves for the identity provider
//   [data-passkey-problem]                                      is told how it goes
//
// Pages of somebody signed in have their token in <body data-csrf="…">.
"use strict";
(() => {
  const encode = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const decode = (text) => {
    const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return Uint8Array.from(plain, (c) => c.charCodeAt(0)).buffer;
  };
  let said = "";
  const say = (text) => {
    said = text;
    for (const element of document.querySelectorAll("[data-passkey-problem]")) element.textContent = text;
  };
  // A live update knows nothing of it.
  document.addEventListener("oust:swapped", () => { if (said) say(said); });

  class Refused extends Error {
    constructor(status, problem) {
      super([problem.title, problem.detail].filter(Boolean).join(": ") || `The server answered ${status}`);
      this.status = status;
      this.problem = problem;
    }
  }

  // The session has a new id, and with it a new token: forms on this page go on working.
  function renew(csrf) {
    document.body.dataset.csrf = csrf;
    for (const field of document.querySelectorAll('input[name="csrf"]')) field.value = csrf;
  }

  // A proof in another tab renewed the session: learns the new token. False where this page has it already.
  async function renewed() {
    const known = document.body.dataset.csrf;
    if (!known) return false;
    const ask = fetch("/console/session", { credentials: "same-origin", cache: "no-store", headers: { accept: "application/json" } });
    const session = await ask.catch(() => null);
    const { csrf } = session?.ok ? await session.json().catch(() => ({})) : {};
    if (!csrf || csrf === known) return false;
    renew(csrf);
    return true;
  }

  async function send(path, body) {
    const headers = { "content-type": "application/json" };
    if (document.body.dataset.csrf) headers["x-csrf-token"] = document.body.dataset.csrf;
    const request = fetch(path, {
      method: "POST", headers, body: JSON.stringify(body ?? {}), credentials: "same-origin", redirect: "error",
    });
    return request.catch(() => { throw new Refused(0, { title: "The server does not answer", detail: "check the connection and try again" }); });
  }

  async function post(path, body) {
    let response = await send(path, body);
    if (response.status === 403 && await renewed()) response = await send(path, body);
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Refused(response.status, answer);
    if (answer.csrf) renew(answer.csrf);
    return answer;
  }

  async function assertion(begun) {
    const publicKey = begun.publicKey;
    publicKey.challenge = decode(publicKey.challenge);
    for (const one of publicKey.allowCredentials ?? []) one.id = decode(one.id);
    const got = await navigator.credentials.get({ publicKey });
    return {
      id: got.id, rawId: encode(got.rawId), type: got.type,
      clientExtensionResults: got.getClientExtensionResults(),
      response: {
        authenticatorData: encode(got.response.authenticatorData),
        clientDataJSON: encode(got.response.clientDataJSON),
        signature: encode(got.response.signature),
        userHandle: got.response.userHandle ? encode(got.response.userHandle) : null,
      },
    };
  }

  async function attestation(begun) {
    const publicKey = begun.publicKey;
    publicKey.challenge = decode(publicKey.challenge);
    publicKey.user.id = decode(publicKey.user.id);
    for (const one of publicKey.excludeCredentials ?? []) one.id = decode(one.id);
    const made = await navigator.credentials.create({ publicKey });
    return {
      id: made.id, rawId: encode(made.rawId), type: made.type,
      clientExtensionResults: made.getClientExtensionResults(),
      response: {
        attestationObject: encode(made.response.attestationObject),
        clientDataJSON: encode(made.response.clientDataJSON),
        transports: made.response.getTransports ? made.response.getTransports() : [],
      },
    };
  }

  async function signIn(next) {
    const begun = await post("/console/sign-in/passkey/begin");
    const credential = await assertion(begun);
    return post("/console/sign-in/passkey/finish", { ceremony: begun.ceremony, credential, next });
  }

  async function make(path, name) {
    const begun = await post(`${path}/begin`);
    const credential = await attestation(begun);
    return post(`${path}/finish`, { ceremony: begun.ceremony, credential, name });
  }

  async function prove() {
    const begun = await post("/console/prove/begin");
    const credential = await assertion(begun);
    return post("/console/prove/finish", { ceremony: begun.ceremony, credential });
  }

  // Does `deed`; if it wants a fresh proof first, asks for one and does it again.
  async function proved(deed) {
    try {
      return await deed();
    } catch (error) {
      if (!(error instanceof Refused) || !error.problem.step_up) throw error;
      await prove();
      return deed();
    }
  }

  const words = (error) => {
    if (error instanceof Refused) return `${error.message.replace(/\.$/, "")}.`;
    if (error.name === "NotAllowedError") return "It was cancelled, or took too long. Try again.";
    if (error.name === "InvalidStateError") return "This device has a passkey for you already.";
    if (error.name === "SecurityError") return "Passkeys do not work at this address: use the one that oust gave you.";
    return `It did not work: ${error.message}`;
  };

  const deeds = {
    "sign-in": async (button) => location.assign((await signIn(button.dataset.next)).location),
    enrol: async (button) => {
      const name = document.querySelector("[data-passkey-name]")?.value;
      location.assign((await make(button.dataset.url, name)).location);
    },
    add: async () => {
      const name = document.querySelector("[data-passkey-name]")?.value;
      await proved(() => make("/console/passkeys", name));
      location.reload();
    },
    remove: async (button) => {
      await proved(() => post(`/console/passkeys/${encodeURIComponent(button.dataset.id)}/remove`));
      location.reload();
    },
    prove: async () => {
      await prove();
      say("Proved.");
    },
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-passkey]");
    const deed = button && deeds[button.dataset.passkey];
    if (!deed) return;
    event.preventDefault();
    button.disabled = true;
    say("Follow your browser…");
    try {
      if (!window.PublicKeyCredential) throw new Error("this browser has no passkeys");
      await deed(button);
    } catch (error) {
      say(words(error));
    } finally {
      button.disabled = false;
    }
  });

  document.addEventListener("submit", async (event) => {
    const form = event.target.closest?.("form[data-leave]");
    if (!form) return;
    event.preventDefault();
    try {
      const next = new FormData(form).get("next");
      location.assign((await post(form.getAttribute("action"), { next })).redirect);
    } catch (error) {
      say(words(error));
    }
  });

  document.addEventListener("DOMContentLoaded", () => document.querySelector("form[data-submit]")?.requestSubmit());
})();
