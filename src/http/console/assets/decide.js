// Forms whose deed needs a proof that it is you. `data-decide`: a decision, described to the server before the proof and
// bound to it. `data-order`: it asks for something by hand, and goes straight on to deciding it where that is the asker's to
// do. `data-proof`: anything else; it is sent, and sent again after a proof where the server asks for one. See paths.rs for
// the contract. Without this script all post to their `action`, as any other form does: that only gets the token as it is now.

import { refresh } from './clock.js';
import { formIn, nameOf } from './forms.js';
import { decode, encode } from './hpke.js';
import { ensure } from './keys.js';
import { post as send, renew, renewed } from './post.js';

const DECIDE = '/console/decide';
const PROVE = '/console/prove';
const PROVE_ELSEWHERE = `${PROVE}/oidc`;

class Problem extends Error {
  constructor(problem) {
    super(problem.detail || problem.title || 'It did not work.');
    this.problem = problem;
  }
}

/** It may have been done all the same. */
const unknown = (title) => new Problem({ title, unknown: true, detail: 'It is not known whether it was recorded. Load the page again to see.' });

async function post(url, body) {
  // What begins a proof, and a proof that goes before the deed, record nothing of it.
  const lost = (title) => (url.endsWith('/begin') || url.startsWith(`${PROVE}/`)
    ? new Problem({ title, detail: 'Nothing was recorded. Check the connection and try again.' }) : unknown(title));
  const answer = await send(url, body).catch(() => { throw lost('The server does not answer'); });
  const json = await answer.json().catch(() => ({}));
  // Not our server's word, but of something in between.
  if (answer.status >= 500 && !json.title) throw lost(`The server cannot be reached (HTTP ${answer.status})`);
  if (!answer.ok) throw new Problem({ status: answer.status, title: json.title ?? `HTTP ${answer.status}`, ...json });
  if (json.csrf) {
    // A proof renews the session; the forms of this page go on under the new one.
    renew(json.csrf);
  }
  return json;
}

/** The browser asks for the passkey; base64url in, base64url out. */
async function assertion(options) {
  const publicKey = { ...options, challenge: decode(options.challenge) };
  publicKey.allowCredentials = (options.allowCredentials ?? []).map((c) => ({ ...c, id: decode(c.id) }));
  const credential = await navigator.credentials.get({ publicKey }).catch(() => {
    throw new Problem({ title: 'Not proved', detail: 'The passkey was not used. Nothing was decided.' });
  });
  const bytes = (buffer) => (buffer ? encode(new Uint8Array(buffer)) : null);
  const r = credential.response;
  return {
    id: credential.id, rawId: bytes(credential.rawId), type: credential.type,
    clientExtensionResults: credential.getClientExtensionResults(),
    response: {
      authenticatorData: bytes(r.authenticatorData), clientDataJSON: bytes(r.clientDataJSON),
      signature: bytes(r.signature), userHandle: bytes(r.userHandle),
    },
  };
}

const never = new Promise(() => {});

/** Begins a ceremony, proves it, finishes it; or leaves for the identity provider. */
async function ceremony(path, fields) {
  const begun = await post(`${path}/begin`, fields);
  const leftOut = begun.left_out ?? [];
  if (begun.redirect) {
    // What is left out is said on the page that the provider sends back to.
    if (leftOut.length) remember(notRecorded(leftOut, fields.tasks.length, 'The others go on with the proof.'));
    location.assign(begun.redirect);
    return never;
  }
  if (!begun.publicKey) return begun;
  const credential = await assertion(begun.publicKey.publicKey ?? begun.publicKey);
  const done = await post(`${path}/finish`, { ceremony: begun.ceremony, credential });
  return { ...done, results: [...leftOut, ...(done.results ?? [])], refused: leftOut.length + (done.refused ?? 0) };
}

const remember = (problem) => sessionStorage.setItem('oust:problem', JSON.stringify(problem));

/** What the queue called its tasks when they were chosen: a live update may take the rows away. */
let names = new Map();

/** Of several decisions, those that were not recorded. */
function notRecorded(refused, all, detail) {
  const difference = refused.map((row) => ({ what: names.get(row.task) ?? row.task, shown: 'open', now: row.problem.detail ?? row.problem.title }));
  return { status: 409, title: `${refused.length} of ${all} were not recorded`, detail, difference };
}

/** What became of several decisions, for the queue they were chosen in. */
function recorded(results) {
  const refused = results.filter((row) => row.problem);
  const count = results.length - refused.length;
  const title = `${count} ${count === 1 ? 'decision was' : 'decisions were'} recorded`;
  return refused.length ? notRecorded(refused, results.length, `${title}.`) : { good: true, title };
}

/** Who has no passkey here proves it at the identity provider, and comes back to this page. */
async function proveElsewhere() {
  const { redirect } = await post(PROVE_ELSEWHERE, { next: location.pathname });
  location.assign(redirect);
  return never;
}

async function proved(deed) {
  try {
    return await deed();
  } catch (error) {
    if (!error.problem?.step_up) throw error;
    await ceremony(PROVE, {}).catch((refused) => {
      // No passkey of theirs, or passkeys are off. Anything else is said: another way would not help.
      if (refused.problem?.no_passkey || refused.problem?.status === 404) return proveElsewhere();
      throw refused;
    });
    return deed();
  }
}

function describe(form, submitter) {
  const fields = {};
  for (const [name, value] of new FormData(form, submitter)) {
    if (name === 'csrf') continue;
    if (form.hasAttribute('data-bulk') && name === 'task') (fields.tasks ??= []).push(value);
    else fields[name] = value;
  }
  if ('revision' in fields) fields.revision = Number(fields.revision);
  return fields;
}

/** The form as it stands now: a live update puts another of the same name in its place, or none. */
const standing = (form) => (!form || form.isConnected ? form : formIn(document, nameOf(form)));

/** Where something is said: beside the button, or on top where the form is gone. */
function boxOf(form) {
  const beside = standing(form)?.querySelector('[data-problem]');
  const heading = document.querySelector('.decide h2') ?? document.querySelector('main .head') ?? document.querySelector('main h1');
  if (beside || !heading) return beside;
  if (heading.nextElementSibling?.matches('[data-problem]')) return heading.nextElementSibling;
  const box = document.createElement('div');
  box.dataset.problem = '';
  box.setAttribute('role', 'alert');
  heading.after(box);
  return box;
}

const line = (text, tag = 'p') => Object.assign(document.createElement(tag), { textContent: text });

/** Somebody was first: who, what, and when, in the reader's own zone too. */
function already({ who, name, what, when }) {
  const said = line(`It is already ${what}: ${name ?? who}, `);
  const at = line(`${new Date(when).toISOString().slice(11, 19)} UTC`, 'time');
  at.dateTime = when;
  at.dataset.when = '';
  said.append(at, '.');
  refresh(said);
  return said;
}

function complain(form, problem) {
  const box = boxOf(form);
  if (!box) return;
  const lines = [line(problem.title ?? 'It did not work', 'strong')];
  if (problem.who && problem.what && Date.parse(problem.when)) lines.push(already(problem));
  else if (problem.detail) lines.push(line(problem.detail));
  for (const change of problem.difference ?? []) {
    lines.push(line(`${change.what}: shown ${change.shown || 'nothing'}, now ${change.now}`));
  }
  if (problem.task) {
    const which = line('The task it is about', 'a');
    which.href = `/console/tasks/${problem.task}`;
    lines.push(which);
  }
  if ((problem.status === 409 || problem.unknown) && form) {
    const again = line(problem.location ? 'Open it' : 'Load it again', 'a');
    again.href = problem.location ?? location.pathname + location.search;
    lines.push(again);
  }
  box.className = `note ${problem.good ? 'good' : 'bad'}`;
  box.replaceChildren(...lines);
  box.scrollIntoView({ block: 'nearest' });
}

async function submit(form, submitter) {
  const fields = describe(form, submitter);
  const boxes = [...form.querySelectorAll('input[type=checkbox][name=task]')];
  names = new Map(boxes.map((box) => [box.id.replace('pick-', ''), box.getAttribute('aria-label').replace('Choose: ', '')]));
  if (submitter?.hasAttribute('data-needs-reason') && !(fields.reason ?? '').trim()) {
    const reason = form.querySelector('[name=reason]');
    reason?.setAttribute('aria-invalid', 'true');
    reason?.focus();
    throw new Problem({ title: 'A reason is needed', detail: 'Say in a few words why.' });
  }
  if (form.hasAttribute('data-bulk') && !fields.tasks) throw new Problem({ title: 'Nothing is chosen', detail: 'Choose at least one task.' });
  if (form.dataset.reveals && fields.verdict === 'approve') {
    const pair = await ensure(form.dataset.reveals).catch(() => null);
    if (!pair) {
      throw new Problem({ title: 'This browser cannot receive the password', detail: 'It keeps no keys here (private window or blocked storage). Nothing was decided: use an ordinary window.' });
    }
    fields.recipient_key = pair.key;
  }
  if (form.hasAttribute('data-order')) {
    location.assign(await order(form.getAttribute('action'), fields));
    return;
  }
  const done = form.hasAttribute('data-decide') ? await ceremony(DECIDE, fields) : await proved(() => post(form.getAttribute('action'), fields));
  if (form.hasAttribute('data-bulk')) {
    remember(recorded(done.results));
    location.assign(location.pathname + location.search);
    return;
  }
  location.assign(done.location ?? location.pathname);
}

/** What is asked for becomes a task; where the asker decides it, the proof follows at once. Says where to go on. */
async function order(url, fields) {
  const asked = await post(url, fields);
  if (!asked.decide) return asked.location;
  const decision = { task: asked.task, revision: asked.revision, digest: asked.digest, verdict: 'approve', reason: fields.reason ?? '' };
  try {
    if (asked.reveals) decision.recipient_key = (await ensure(asked.task)).key;
    await ceremony(DECIDE, decision);
  } catch (error) {
    // It waits on its own page, which decides it just as well and says why that is needed.
    const lost = { title: 'The server did not answer', detail: 'This page shows whether your decision was recorded.' };
    remember(error.problem?.unknown ? lost : error.problem ?? { title: 'It is not decided yet', detail: 'Decide it here.' });
  }
  return asked.location;
}

const left = sessionStorage.getItem('oust:problem');
sessionStorage.removeItem('oust:problem');
const deciding = document.querySelector('form[data-decide]:not([data-bulk])');
if (left) complain(deciding, JSON.parse(left));

// What is under way, by name: a live update in the middle brings a form that looks as if nothing was pressed.
const busy = new Set();

function mark() {
  for (const form of document.querySelectorAll('form[data-proof], form[data-decide], form[data-order]')) {
    const under = busy.has(nameOf(form));
    for (const button of form.querySelectorAll('button')) {
      if (under) button.setAttribute('aria-disabled', 'true');
      else button.removeAttribute('aria-disabled');
    }
  }
}

/** Forms that the browser sends itself: `true` once they have the token as it is now. */
const sending = new WeakMap();

/** A proof in another tab renews the token, and the answer to a form with the old one would be a page of its own. */
async function sendAnew(event) {
  const { target: form, submitter } = event;
  if (!form.querySelector('input[name=csrf]') || sending.get(form)) return;
  event.preventDefault();
  if (sending.has(form)) return;
  sending.set(form, false);
  await renewed();
  sending.set(form, true);
  form.requestSubmit(submitter);
  sending.delete(form);
}

document.addEventListener('oust:swapped', mark);
document.addEventListener('submit', async (event) => {
  const form = event.target;
  if (!['data-proof', 'data-decide', 'data-order'].some((kind) => form.hasAttribute(kind))) {
    sendAnew(event);
    return;
  }
  event.preventDefault();
  const name = nameOf(form);
  if (busy.has(name)) return;
  busy.add(name);
  mark();
  const box = form.querySelector('[data-problem]');
  box?.replaceChildren();
  box?.removeAttribute('class');
  try {
    await submit(form, event.submitter);
  } catch (error) {
    complain(form, error.problem ?? unknown('It did not work').problem);
  } finally {
    busy.delete(name);
    mark();
  }
});
