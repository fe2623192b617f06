// The hand-over of a temporary password: this browser's key opens it, a dialog shows it, "passed on" ends it.
// The clear text lives in one variable and, while asked for, in one text node; nowhere else, and never longer.

import { span } from './clock.js';
import { open } from './hpke.js';
import { find, forget, tidy } from './keys.js';
import { post as call } from './post.js';

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

const says = (text) => { const line = section?.querySelector('[data-reveal-says]'); if (line && line.textContent !== text) line.textContent = text; };

/** Says that the recipient's browser is here: the worker executes only then. */
async function beat() {
  if (!pair || !section || gone || section.dataset.stage !== 'waiting') return;
  try {
    const answer = await call(section.dataset.presence, { key: pair.key });
    if (answer.ok) says('This page is connected. The password is set as soon as a worker sees it, usually within seconds.');
    else says('The server does not take this browser’s sign of life. Reload this page.');
  } catch {
    says('No connection to the server. The password is not set while this page cannot be reached; retrying.');
  }
}

async function fetchSecret() {
  if (busy || secret || gone || !pair) return;
  busy = true;
  try {
    const answer = await call(section.dataset.fetch, { key: pair.key });
    if (answer.status === 404) return;
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({}));
      says(problem.detail ?? 'The password cannot be fetched any more.');
      return;
    }
    const sealed = await answer.json();
    const bytes = await open(pair, sealed, section.dataset.task);
    secret = new TextDecoder().decode(bytes);
    bytes.fill(0);
    until = Math.min(new Date(sealed.until).getTime() || Infinity, Date.now() + LONGEST);
    present();
  } catch {
    says('The password could not be opened in this browser. Reload the page; if it stays so, ask for another reset.');
  } finally {
    busy = false;
  }
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
  const again = section.querySelector('[data-reveal-open]');
  if (again) again.hidden = true;
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
  try {
    const answer = await call(section.dataset.acknowledge, { key: pair.key });
    if (!answer.ok && answer.status !== 409 && answer.status !== 410) throw new Error(String(answer.status));
    const task = section.dataset.task;
    await end('Passed on. It cannot be shown again.');
    document.dispatchEvent(new CustomEvent('oust:passed', { detail: task }));
    location.assign(location.pathname);
  } catch {
    passing = false;
    box.className = 'note bad';
    box.textContent = 'The server did not hear it. The password stays here; try again.';
  }
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
  const stage = section.dataset.stage;
  if (stage !== 'waiting' && stage !== 'sealed') {
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
  if (stage === 'waiting') await beat();
  else await fetchSecret();
}

part('show').addEventListener('click', () => (shown ? mask() : unmask()));
part('copy').addEventListener('click', copy);
part('passed').addEventListener('click', passed);
// Neither Escape nor a click beside it closes what can be opened only once.
dialog.addEventListener('cancel', (event) => { event.preventDefault(); part('stay').hidden = false; });
dialog.addEventListener('keydown', (event) => { if (event.key === 'Escape') { event.preventDefault(); part('stay').hidden = false; } });
dialog.addEventListener('close', () => { if (secret) present(); });
addEventListener('beforeunload', (event) => { if (secret) { event.preventDefault(); event.returnValue = ''; } });
addEventListener('pagehide', () => { secret = null; part('secret').replaceChildren(); });
addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
addEventListener('visibilitychange', () => { if (document.visibilityState === 'hidden' && secret) mask(); });
document.addEventListener('oust:swapped', look);
setInterval(beat, 15_000);
setInterval(tick, 1_000);
// The event may be missed: while it is awaited, ask now and then.
setInterval(() => { if (pair && section?.dataset.stage === 'waiting' && !gone) fetchSecret(); }, 5_000);
tidy().catch(() => null);
look();
