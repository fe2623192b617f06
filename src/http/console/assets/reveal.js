// The hand-over of a temporary password: this browser's key opens it, a dialog shows it, "passed on" ends it.
// The clear text lives in one variable and, while asked for, in one text node; nowhere else, and never longer.

import { span } from './clock.js';
import { open } from './hpke.js';
import { find, forget, tidy } from './keys.js';
import { post as call, signIn } from './post.js';

const dialog = document.getElementById('reveal');
const part = (name) => dialog.querySelector(`[data-${name}]`);
const LONGEST = 15 * 60 * 1000;
let section = null;
let pair = null;
let secret = null;
let until = 0;
let shown = false;
let busy = false;
let passing = false;
let gone = false;
let leaving = false;
/** Why the password is not here yet: what to say, and whether asking again by itself may help. */
let trouble = null;
/** Not asked for before: the server said when to come again. */
let notBefore = 0;
/** The stage that all this is about. */
let seen = '';

const stage = () => section?.dataset.stage;

/** A link to where one signs in and comes back here; the key stays in this browser, and with it the password. */
function signInLink() {
  const link = Object.assign(document.createElement('a'), { href: signIn(), textContent: 'Sign in again' });
  link.addEventListener('click', () => { leaving = true; });
  return link;
}

function says(text, ...more) {
  const line = section?.querySelector('[data-reveal-says]');
  if (!line) return;
  const said = document.createElement('p');
  said.append(text, ...more);
  if (line.textContent !== said.textContent) line.replaceChildren(...said.childNodes);
}

/** Says what is wrong, and offers to try again where the password is ready. Also after a live update, which knows nothing of it. */
function complain() {
  if (trouble) says(trouble.text, ...(trouble.signedOut ? [signInLink()] : []));
  const again = section?.querySelector('[data-reveal-open]');
  if (again) again.hidden = !trouble || trouble.signedOut || stage() !== 'sealed';
}

/** Nothing is lost while one tries again. */
const kept = () => (stage() === 'sealed'
  ? 'The password is set, and sealed to this browser. Trying again.'
  : 'The password is set only while the server hears from this page. Trying again.');

const unreachable = () => ({ text: `No connection to the server. ${kept()}`, retries: true });

/** What a refusal means for who waits. */
async function refusal(answer) {
  const { title = `The server answered ${answer.status}`, detail } = await answer.json().catch(() => ({}));
  if (answer.status === 401) {
    // Whoever signs in again elsewhere in this browser is heard here too.
    notBefore = Date.now() + 10_000;
    return { text: 'You are signed out. The password stays sealed to this browser. ', signedOut: true, retries: true };
  }
  if (answer.status >= 500 || [408, 429].includes(answer.status)) {
    notBefore = Date.now() + 1_000 * (Number(answer.headers.get('Retry-After')) || 0);
    return { text: `${title}. ${kept()}`, retries: true };
  }
  return { text: `${title}: ${detail ?? 'reload this page'}.` };
}

/** Says that the recipient's browser is here: the worker executes only then. */
async function beat() {
  if (!pair || !section || gone || stage() !== 'waiting') return;
  // Refused for good: nobody waits for this browser any more.
  if (trouble && !trouble.retries) return;
  const answer = await call(section.dataset.presence, { key: pair.key }).catch(() => null);
  if (gone || stage() !== 'waiting') return;
  trouble = answer?.ok ? null : await (answer ? refusal(answer) : unreachable());
  const { until: held } = section.dataset;
  if (!trouble) says(`This page is connected. The password is set ${held ? `once ${held}` : 'as soon as a worker sees it, usually within seconds'}.`);
  complain();
}

/** What is sealed to this browser; nothing where it is not there yet, or cannot be had now. */
async function fetchSealed() {
  const answer = await call(section.dataset.fetch, { key: pair.key }).catch(() => null);
  // Broken off in the middle is no answer either.
  const sealed = answer?.ok ? await answer.json().catch(() => null) : null;
  if (gone || !section || sealed || answer?.status === 404) return sealed;
  trouble = await (answer && !answer.ok ? refusal(answer) : unreachable());
  complain();
  return null;
}

async function fetchSecret() {
  if (busy || secret || gone || !pair) return;
  busy = true;
  try {
    const sealed = await fetchSealed();
    if (!sealed || gone || !pair || !section) return;
    const bytes = await open(pair, sealed, section.dataset.task);
    if (!gone) secret = new TextDecoder().decode(bytes);
    bytes.fill(0);
    if (gone) return;
    until = Math.min(new Date(sealed.until).getTime() || Infinity, Date.now() + LONGEST);
    trouble = null;
    present();
  } catch {
    trouble = { text: 'The password could not be opened in this browser. Reload the page; if it stays so, ask for another reset.' };
    complain();
  } finally {
    busy = false;
  }
}

/** By itself: not where that was refused for good, and not before it was asked to. */
async function retry() {
  if (!['waiting', 'sealed'].includes(stage()) || Date.now() < notBefore || (trouble && !trouble.retries)) return;
  await fetchSecret();
}

function mask() {
  shown = false;
  const word = (text, attributes) => Object.assign(document.createElement('span'), { textContent: text, ...attributes });
  part('secret').replaceChildren(word('•'.repeat(16), { ariaHidden: 'true' }), word('hidden', { className: 'sr' }));
  part('show').textContent = 'Show password';
  part('show').setAttribute('aria-pressed', 'false');
}

function unmask() {
  shown = true;
  part('secret').replaceChildren(document.createTextNode(secret));
  part('show').setAttribute('aria-pressed', 'true');
}

function present() {
  if (dialog.open) return;
  mask();
  part('copied').textContent = '';
  dialog.showModal();
  document.getElementById('reveal-title').focus();
  says('The password is open in the dialog.');
  complain();
}

/** Nothing of it stays. */
async function end(text) {
  secret = null;
  gone = true;
  part('secret').replaceChildren();
  if (dialog.open) dialog.close();
  await forget(section?.dataset.task).catch(() => null);
  pair = null;
  says(text);
}

async function copy() {
  const box = part('copied');
  try {
    await navigator.clipboard.writeText(secret);
    box.textContent = 'Copied. Clear the clipboard once it is passed on.';
  } catch {
    // No permission, or an old browser: a field that exists only for the length of the command.
    const field = document.createElement('textarea');
    field.className = 'sr';
    field.setAttribute('aria-hidden', 'true');
    field.value = secret;
    dialog.append(field);
    field.select();
    const copied = document.execCommand('copy');
    field.value = '';
    field.remove();
    box.textContent = copied
      ? 'Copied. Clear the clipboard once it is passed on.'
      : 'This browser does not let it be copied: show it and type it.';
    part('copy').focus();
  }
}

async function passed() {
  if (passing) return;
  passing = true;
  const box = part('problem');
  box.replaceChildren();
  const answer = await call(section.dataset.acknowledge, { key: pair.key }).catch(() => null);
  if (answer?.ok || [409, 410].includes(answer?.status)) {
    const task = section.dataset.task;
    await end('Passed on. It cannot be shown again.');
    document.dispatchEvent(new CustomEvent('oust:passed', { detail: task }));
    location.assign(location.pathname);
    return;
  }
  passing = false;
  box.className = 'note bad';
  box.replaceChildren(...await unheard(answer));
}

/** Why “passed on” was not recorded, and what to do. */
async function unheard(answer) {
  if (!answer) return ['The server did not hear it. The password stays here; try again.'];
  if (answer.status === 401) {
    return ['You are signed out, so it was not recorded. The password stays sealed to this browser; this dialog opens again once you are back. ', signInLink()];
  }
  const { title = `the server answered ${answer.status}`, detail } = await answer.json().catch(() => ({}));
  return [`It was not recorded: ${[title, detail].filter(Boolean).join(': ')}. The password stays here.`];
}

function tick() {
  if (!secret) return;
  const ms = until - Date.now();
  if (ms <= 0) {
    end('The 15 minutes are over; the password is gone.');
    return;
  }
  part('remaining').textContent = `${span(ms)} left`;
  const minutes = Math.ceil(ms / 60_000);
  const said = part('remaining-said');
  if ([10, 5, 2, 1].includes(minutes) && said.dataset.at !== String(minutes)) {
    said.dataset.at = String(minutes);
    said.textContent = `${minutes} ${minutes === 1 ? 'minute' : 'minutes'} left to pass the password on.`;
  }
}

/** What the page says now: called at the start, and whenever the region was swapped. */
async function look() {
  section = document.querySelector('[data-reveal]');
  if (!section || section.dataset.mine !== 'true' || gone) return;
  if (!['waiting', 'sealed'].includes(stage())) {
    if (pair || secret) await end('');
    return;
  }
  pair ??= (await find(section.dataset.task).catch(() => null)) ?? null;
  const here = pair && pair.key === section.dataset.key;
  const elsewhere = section.querySelector('[data-reveal-elsewhere]');
  if (elsewhere) elsewhere.hidden = Boolean(here);
  if (!here) {
    section.querySelector('[data-reveal-says]')?.setAttribute('hidden', '');
    pair = null;
    return;
  }
  if (stage() !== seen) [seen, trouble, notBefore] = [stage(), null, 0];
  if (secret) says('The password is open in the dialog.');
  complain();
  if (stage() === 'waiting') await beat();
  else await retry();
}

part('show').addEventListener('click', () => (shown ? mask() : unmask()));
part('copy').addEventListener('click', copy);
part('passed').addEventListener('click', passed);
document.addEventListener('click', (event) => {
  if (!event.target.closest('[data-reveal-open]')) return;
  says('Asking the server for the password…');
  fetchSecret();
});
// Neither Escape nor a click beside it closes what can be opened only once.
dialog.addEventListener('cancel', (event) => { event.preventDefault(); part('stay').hidden = false; });
dialog.addEventListener('keydown', (event) => { if (event.key === 'Escape') { event.preventDefault(); part('stay').hidden = false; } });
dialog.addEventListener('close', () => { if (secret) present(); });
addEventListener('beforeunload', (event) => { if (secret && !leaving) { event.preventDefault(); event.returnValue = ''; } });
addEventListener('pagehide', () => { secret = null; part('secret').replaceChildren(); });
addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
addEventListener('visibilitychange', () => { if (document.visibilityState === 'hidden' && secret) mask(); });
document.addEventListener('oust:swapped', look);
setInterval(beat, 15_000);
setInterval(tick, 1_000);
// The event may be missed, and an answer too: ask now and then.
setInterval(retry, 5_000);
tidy().catch(() => null);
look();
