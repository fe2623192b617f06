// Live without polling: one event stream, and the regions that an event names are fetched anew and swapped in place.
// It says "Live" only as long as the server gives signs of life and its store answers.
// What the reader is doing stays: focus, selection, what was typed, open details, scroll positions.
// The stream is one for all tabs of the browser, which has few connections to a server: a visible tab holds it and tells
// the others; a hidden tab lets go of it, and looks at everything again once it is seen.

import { refresh } from './clock.js';
import { formIn, nameOf } from './forms.js';

const wire = document.getElementById('wire');
const say = document.getElementById('say');
const pending = new Set();
let timer = 0;
let said = 0;

function state(name, text) {
  if (!wire || wire.dataset.state === name) return;
  wire.dataset.state = name;
  wire.textContent = text;
}

/** Something a screen reader should hear, at most every ten seconds. */
function announce(text) {
  if (!say || Date.now() - said < 10_000) return;
  said = Date.now();
  say.textContent = text;
}

/** Where the same element is in the new content: in which form, and there. Forms have fields of the same name. */
function place(element) {
  const where = key(element);
  return where && { form: nameOf(element.closest('form')), where };
}

const found = (region, { form, where }) => formIn(region, form)?.querySelector(where);

/** A name that finds an element in its form. */
function key(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  if (element.name) {
    const value = element.type === 'checkbox' || element.tagName === 'BUTTON' ? `[value="${CSS.escape(element.value)}"]` : '';
    return `${element.tagName.toLowerCase()}[name="${CSS.escape(element.name)}"]${value}`;
  }
  if (element.tagName === 'A') return `a[href="${CSS.escape(element.getAttribute('href') ?? '')}"]`;
  if (element.tagName === 'SUMMARY' && element.parentElement.dataset.key) {
    return `details[data-key="${CSS.escape(element.parentElement.dataset.key)}"] > summary`;
  }
  return null;
}

/** What keeps its own scroll position. */
const SCROLLS = '.scroll, pre, nav.main ul';

function remember(region) {
  const active = region.contains(document.activeElement) ? document.activeElement : null;
  const fields = [...region.querySelectorAll('input, textarea, select')].filter((field) => field.type !== 'hidden');
  return {
    focus: active && place(active),
    selection: active && 'selectionStart' in active && active.type !== 'checkbox' ? [active.selectionStart, active.selectionEnd] : null,
    typed: fields.filter((f) => (f.type === 'checkbox' ? f.checked : f.value !== f.defaultValue)).map((f) => [place(f), f.value]),
    open: [...region.querySelectorAll('details[data-key]')].map((d) => [d.dataset.key, d.open]),
    scroll: [...region.querySelectorAll(SCROLLS)].map((e) => [e.scrollLeft, e.scrollTop]),
    problems: [...region.querySelectorAll('[data-problem].note')].map((box) => [nameOf(box.closest('form')), box]),
  };
}

/** Below it stands what is about the whole of a region. */
const head = (region) => region.querySelector('.decide h2') ?? region.querySelector('h1') ?? region.firstElementChild;

function restore(region, was) {
  for (const [where, value] of was.typed) {
    const field = where && found(region, where);
    if (field?.type === 'checkbox') field.checked = true;
    else if (field) field.value = value;
  }
  for (const [name, open] of was.open) {
    const details = region.querySelector(`details[data-key="${CSS.escape(name)}"]`);
    if (details) details.open = open;
  }
  [...region.querySelectorAll(SCROLLS)].forEach((element, index) => {
    if (was.scroll[index]) [element.scrollLeft, element.scrollTop] = was.scroll[index];
  });
  // Why something was refused stays until the page is loaded again, also when the form went away.
  for (const [form, box] of was.problems) {
    const empty = form && formIn(region, form)?.querySelector('[data-problem]');
    if (empty) empty.replaceWith(box);
    else head(region).after(box);
  }
  const focus = was.focus && found(region, was.focus);
  if (focus) {
    focus.focus({ preventScroll: true });
    if (was.selection?.[0] != null) focus.setSelectionRange?.(...was.selection);
  }
}

function swap(region, fresh) {
  if (region.isEqualNode(fresh)) return false;
  const was = remember(region);
  const digest = region.dataset.digest;
  for (const name of fresh.getAttributeNames()) region.setAttribute(name, fresh.getAttribute(name));
  region.replaceChildren(...fresh.childNodes);
  refresh(region);
  restore(region, was);
  if (digest && fresh.dataset.digest && digest !== fresh.dataset.digest) warn(region);
  region.dispatchEvent(new CustomEvent('oust:swapped', { bubbles: true }));
  return true;
}

/** What a decision would be bound to is no longer what was read. */
function warn(region) {
  const note = document.createElement('p');
  note.className = 'note bad';
  note.setAttribute('role', 'alert');
  note.textContent = 'What would be done changed while you were reading. Read it again before you decide.';
  head(region).after(note);
}

// What the server sent, before clock.js and decide.js touched it: an answer that is the same changes nothing.
const latest = new Map();

// A connection over which nothing comes any more ends only when we end it.
const PATIENCE = 20_000;
const ask = (url, accept) => fetch(url, { headers: { Accept: accept }, credentials: 'same-origin', cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

/** Whether the session is over, which is no use of it: yes, no, or null where nobody can tell. A proof renews the session:
    what was sent before it is refused, while the browser has the new one, or is about to. So it is asked twice. */
async function askOver() {
  for (const wait of [0, 2_000]) {
    if (wait) await pause(wait);
    const answer = await ask('/console/session?fragment=', 'application/json').catch(() => null);
    if (answer?.status !== 401) return answer?.ok ? false : null;
  }
  return true;
}

let asking = null;
/** Asked once for all who want to know. */
const isOver = () => (asking ??= askOver().finally(() => { asking = null; }));

async function fetchRegion(region, refused = false) {
  const url = new URL(location.href);
  url.searchParams.set('fragment', region.id);
  const answer = await ask(url, 'text/html');
  if (answer.status === 401 || (answer.redirected && new URL(answer.url).pathname.includes('sign-in'))) {
    const ended = await isOver();
    if (ended) return tell({ over: true });
    if (ended === false && !refused) return fetchRegion(region, true);
    throw new Error('not signed in, it seems');
  }
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  const text = await answer.text();
  if (latest.get(region.id) === text) return;
  latest.set(region.id, text);
  const fresh = new DOMParser().parseFromString(text, 'text/html').getElementById(region.id);
  if (fresh && swap(region, document.importNode(fresh, true)) && region.id === 'live' && caught) announce('This page was updated.');
}

let busy = false;

async function flush() {
  timer = 0;
  // One after the other: an older answer never replaces a newer one.
  if (busy) {
    timer = setTimeout(flush, 150);
    return;
  }
  busy = true;
  try {
    await update();
  } finally {
    busy = false;
    caught = true;
  }
}

async function update() {
  const topics = new Set(pending);
  pending.clear();
  const all = [...document.querySelectorAll('[data-live]')];
  const wanted = all.filter((r) => topics.has('*') || r.dataset.live.split(/\s+/).some((topic) => topics.has(topic)));
  try {
    await Promise.all(wanted.map((region) => fetchRegion(region)));
  } catch {
    if (live && !away) state('stale', 'An update could not be fetched, retrying');
    topics.forEach((topic) => pending.add(topic));
    timer ||= setTimeout(flush, 3_000);
    return;
  }
  if (live) connected();
}

/** With a store that does not answer, nobody knows what changed. */
function connected() {
  if (away) state('away', 'The store is away: this page may be old');
  else state('live', 'Live');
}

function changed(topics) {
  topics.forEach((topic) => pending.add(topic));
  timer ||= setTimeout(flush, 150);
}

const LONGEST = 60_000;
const channel = new BroadcastChannel('oust:live');
/** Of the tab that leads. */
let stream = null;
let failures = 0;
let again = 0;
/** Ends this tab's part: its wait for the lead, or its lead. */
let part = null;
let live = false;
/** The server is there, its store is not. */
let away = false;
// What happened between the making of the page and the first connection was missed too.
let lost = true;
let caught = false;
let over = false;

/** For every tab that is seen, this one included. */
function tell(news) {
  channel.postMessage(news);
  hear(news);
}

function hear(news) {
  if (!part) return;
  if (news.ask && stream && live) channel.postMessage({ live: true, away });
  if ('away' in news) away = news.away;
  if (news.topics) changed(news.topics);
  if (news.over) signedOut();
  if (news.live) {
    live = true;
    connected();
    // Whatever happened meanwhile was missed.
    if (lost || news.missed) changed(['*']);
    lost = false;
  }
  if (news.live === false) {
    live = false;
    lost = true;
    state('lost', 'Connection lost, retrying');
  }
}

let silence = 0;

/** The stream counts as lost when nothing comes within this time. */
function expect(mine, ms) {
  clearTimeout(silence);
  silence = setTimeout(() => {
    if (stream !== mine) return;
    mine.close();
    tell({ live: false });
    retry(mine, 0);
  }, ms);
}

/** Says so, and goes where one signs in and comes back; who has a password open is asked first. */
function signedOut() {
  if (over) return;
  over = true;
  leave();
  const href = `/console/sign-in?error=over&next=${encodeURIComponent(location.pathname + location.search)}`;
  state('over', '');
  wire?.replaceChildren(Object.assign(document.createElement('a'), { href, textContent: 'Signed out: sign in again' }));
  location.replace(href);
}

function connect() {
  const mine = new EventSource(document.body.dataset.events);
  stream = mine;
  expect(mine, PATIENCE);
  mine.addEventListener('open', () => {
    failures = 0;
    // The first sign of life comes at once.
    expect(mine, PATIENCE);
    tell({ live: true, missed: true });
  });
  mine.addEventListener('alive', (event) => {
    // The server says how many seconds it is to the next one; that may be late, and one may be lost.
    const { store, every } = JSON.parse(event.data);
    expect(mine, every * 2_500);
    if (away === store) tell({ live: true, away: !store });
  });
  mine.addEventListener('changed', (event) => {
    let topics = ['*'];
    try { ({ topics } = JSON.parse(event.data)); } catch { /* then everything */ }
    tell({ topics });
  });
  mine.addEventListener('ended', (event) => {
    mine.close();
    const crowded = event.data === 'crowded';
    if (crowded) tell({ live: false });
    // Otherwise a proof may just have renewed the session.
    retry(mine, crowded ? LONGEST : 0);
  });
  mine.addEventListener('error', () => {
    tell({ live: false });
    expect(mine, PATIENCE);
    // A refused stream is not retried by the browser.
    if (mine.readyState === EventSource.CLOSED) retry(mine, 0);
  });
}

/** If it is not the session, later and later. */
async function retry(mine, least) {
  clearTimeout(silence);
  const ended = await isOver();
  if (stream !== mine) return;
  if (ended) {
    tell({ over: true });
    return;
  }
  const wait = Math.max(least, Math.min(LONGEST, 1_000 * 2 ** failures));
  failures += 1;
  again = setTimeout(connect, wait * (0.5 + Math.random() / 2));
}

/** Leads, now or when the tab that does is gone or hidden; until then it hears from that one. */
function join() {
  if (part || over || document.hidden) return;
  const asked = new AbortController();
  let release = () => {};
  part = () => { asked.abort(); release(); };
  const lead = () => new Promise((done) => {
    if (asked.signal.aborted) return done();
    release = done;
    return connect();
  });
  // Without locks (no secure context) every visible tab has a stream of its own.
  if (navigator.locks) navigator.locks.request('oust:live', { signal: asked.signal }, lead).catch(() => null);
  else lead();
  channel.postMessage({ ask: true });
}

function leave() {
  part?.();
  part = null;
  stream?.close();
  stream = null;
  clearTimeout(again);
  clearTimeout(silence);
  live = false;
  away = false;
  lost = true;
  // What it says to whoever comes back to this tab, before it knows more.
  if (!over) state('wait', 'Connecting');
}

if (document.body.dataset.events) {
  state('wait', 'Connecting');
  channel.addEventListener('message', (event) => hear(event.data));
  addEventListener('visibilitychange', () => (document.hidden ? leave() : join()));
  addEventListener('pagehide', leave);
  addEventListener('pageshow', (event) => {
    if (event.persisted) over = false;
    join();
  });
  join();
}
