// The scripts at work in a real browser: a decision with its browser key, the wait, the live update, the reveal, the copy,
// the reload, the end; and that a live swap leaves the reader's typing alone. The server here only plays its part.
//
// usage: node tests/console/works.mjs PAGES [OUT]      (see preview.mjs)

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { webcrypto } from 'node:crypto';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { examine, launch, step, until } from './stage.mjs';

const [pages, out] = process.argv.slice(2);
const assets = fileURLToPath(new URL('../../src/http/console/assets/', import.meta.url));
const PASSWORD = 'hk7-Nq.44+zT9%mK2wXe';
const KEY = /data-key="B[A-Za-z0-9_-]{20,}"/;

// ── the sender's half of HPKE, written apart from the page's ──
const subtle = webcrypto.subtle;
const utf8 = (text) => new TextEncoder().encode(text);
const concat = (...parts) => new Uint8Array(Buffer.concat(parts.map((part) => Buffer.from(part))));
async function mac(key, data) {
  const imported = await subtle.importKey('raw', key.length ? key : new Uint8Array(32), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return new Uint8Array(await subtle.sign('HMAC', imported, data));
}
async function seal(point, aad, clear) {
  const curve = { name: 'ECDH', namedCurve: 'P-256' };
  const pair = await subtle.generateKey(curve, true, ['deriveBits']);
  const enc = new Uint8Array(await subtle.exportKey('raw', pair.publicKey));
  const recipient = await subtle.importKey('raw', point, curve, false, []);
  const dh = new Uint8Array(await subtle.deriveBits({ name: 'ECDH', public: recipient }, pair.privateKey, 256));
  const kem = concat(utf8('KEM'), [0, 0x10]);
  const suite = concat(utf8('HPKE'), [0, 0x10, 0, 1, 0, 2]);
  const extract = (id, salt, label, material) => mac(salt, concat(utf8('HPKE-v1'), id, utf8(label), material));
  const expand = async (id, prk, label, info, length) =>
    (await mac(prk, concat([0, length], utf8('HPKE-v1'), id, utf8(label), info, [1]))).slice(0, length);
  const shared = await expand(kem, await extract(kem, [], 'eae_prk', dh), 'shared_secret', concat(enc, point), 32);
  const context = concat([0], await extract(suite, [], 'psk_id_hash', []), await extract(suite, [], 'info_hash', utf8('oust temporary password v1')));
  const secret = await extract(suite, shared, 'secret', []);
  const key = await subtle.importKey('raw', await expand(suite, secret, 'key', context, 32), 'AES-GCM', false, ['encrypt']);
  const iv = await expand(suite, secret, 'base_nonce', context, 12);
  const ciphertext = await subtle.encrypt({ name: 'AES-GCM', iv, additionalData: utf8(aad) }, key, utf8(clear));
  const text = (bytes) => Buffer.from(bytes).toString('base64url');
  return { enc: text(enc), ciphertext: text(ciphertext) };
}

// ── the server's part ──
const world = { page: 'task-pending', key: null, beats: 0, fetched: 0, acknowledged: 0, decided: [], streams: new Set(), refuse: null, extra: '', pauses: 0, proofs: 0, events: 200, session: 200, asked: 0, count: 3, orders: 0, hold: null, closed: false, fail: {}, csrf: 'csrf-token', out: 0, elsewhere: 0, finish: false, stale: false };
/** A sign of life. */
const alive = (more) => world.streams.forEach((s) => s.write(`event: alive\ndata: ${JSON.stringify({ store: true, every: 15, ...more })}\n\n`));
const tell = (...topics) => world.streams.forEach((s) => s.write(`event: changed\ndata: ${JSON.stringify({ topics })}\n\n`));
async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}
async function page(name) {
  const html = await readFile(path.join(pages, `${name}.html`), 'utf8');
  const open = world.closed ? html.replace(/<section class="card" aria-labelledby="act">[^]*?<\/section>/, '') : html;
  return open.replace(KEY, `data-key="${world.key}"`).replace('>3<span class="sr"> open', `>${world.count}<span class="sr"> open`)
    .replace(/Nobody has decided yet\.|Newest first\.|Pausing stops every effect|Handing over the password/, (text) => `${text}${world.extra}`);
}
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const server = createServer(async (request, response) => {
  const { pathname, search } = new URL(request.url, 'http://localhost');
  const json = (status, value) => response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(value));
  const asset = pathname.match(/^\/console\/assets\/[0-9a-f]+\/([a-z]+\.(css|js|svg))$/);
  if (asset) {
    const type = { css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' }[asset[2]];
    const file = await readFile(path.join(assets, asset[1])).catch(() => null);
    return file ? response.writeHead(200, { 'Content-Type': type }).end(file) : response.writeHead(404).end();
  }
  if (pathname === '/console/session') {
    // Asked why something was refused: by then the browser has what a proof renewed.
    if (world.stale && search.includes('fragment=')) world.stale = false;
    return json(world.session, { csrf: world.csrf });
  }
  if (world.stale && search.includes('fragment=')) return json(401, { title: 'Sign in' });
  if (pathname === '/console/sign-in') return response.writeHead(200, { 'Content-Type': 'text/html' }).end('<h1>Sign in</h1>');
  if (pathname === '/console/events') {
    world.asked += 1;
    if (world.events !== 200) return json(world.events, { title: 'No' });
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    response.write('event: alive\ndata: {"every":15,"store":true}\n\n');
    world.streams.add(response);
    return request.on('close', () => world.streams.delete(response));
  }
  if (request.method === 'POST') {
    // By the end of its path: a refusal, or no answer at all.
    const [, fails] = Object.entries(world.fail).find(([end]) => pathname.endsWith(end)) ?? [];
    if (fails === 'cut') return request.socket.destroy();
    if (fails) return response.writeHead(fails.status, fails.headers).end(fails.body && JSON.stringify(fails.body));
    const text = await body(request);
    if (pathname === '/console/sign-out') {
      assert.equal(new URLSearchParams(text).get('csrf'), world.csrf, 'a form comes with the token as it is now');
      world.out += 1;
      return response.writeHead(303, { Location: '/console/sign-in' }).end();
    }
    if (request.headers['x-csrf-token'] !== world.csrf) return json(403, { title: 'This is not allowed', detail: 'the page is too old' });
    const sent = JSON.parse(text);
    if (pathname === '/console/passkeys/begin') return json(409, { title: 'This was used before or is over', detail: 'begin again' });
    if (pathname === '/console/prove/oidc') { world.elsewhere += 1; return json(200, { redirect: '/console/sign-in' }); }
    if (pathname === '/console/pause') {
      world.pauses += 1;
      return world.proofs ? json(200, { location: '/settings' }) : json(403, { title: 'Prove it', step_up: true });
    }
    if (pathname === '/console/prove/begin') { world.proofs += 1; return json(200, { csrf: 'csrf-token' }); }
    if (pathname.endsWith('/orders')) {
      world.orders += 1;
      await world.hold;
      return json(409, world.refuse);
    }
    if (pathname === '/console/decide/begin' && sent.tasks) {
      return json(200, { results: sent.tasks.map((chosen) => ({ task: chosen.split('/')[0], state: 'executed' })), refused: 0, location: '/console/tasks' });
    }
    if (pathname === '/console/decide/begin') {
      if (world.refuse) return json(409, world.refuse);
      if (world.finish) return json(200, { ceremony: 'c', publicKey: { challenge: 'AAAA' } });
      world.decided.push(sent);
      world.key = sent.recipient_key ?? world.key;
      world.page = 'task-approved-mine';
      return json(200, { location: '/task' });
    }
    assert.equal(sent.key, world.key, `${pathname} comes with the browser's key`);
    if (pathname.endsWith('/presence')) { world.beats += 1; return response.writeHead(204).end(); }
    if (pathname.endsWith('/reveal')) {
      if (world.page !== 'task-sealed') return response.writeHead(404).end();
      world.fetched += 1;
      const task = pathname.split('/').at(-2);
      return json(200, { ...(await seal(Buffer.from(world.key, 'base64url'), task, PASSWORD)), until: new Date(Date.now() + 900_000) });
    }
    if (pathname.endsWith('/acknowledge')) { world.acknowledged += 1; world.page = 'task-revealed'; return response.writeHead(204).end(); }
  }
  if (pathname === '/settings') {
    return response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': CSP }).end(await page(world.proofs ? 'settings-paused' : 'settings'));
  }
  if (pathname === '/sign-in') {
    return response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': CSP }).end(await page('sign-in'));
  }
  if (pathname === '/case') {
    return response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': CSP }).end(await page('case'));
  }
  if (pathname === '/task' || pathname.startsWith('/console/tasks')) {
    return response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': CSP }).end(await page(world.page));
  }
  return response.writeHead(404).end();
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const base = `http://localhost:${server.address().port}`;

const browser = await launch();
const context = await browser.newContext({ viewport: { width: 390, height: 844 } });
await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: base });
const tab = await context.newPage();
const errors = [];
tab.on('pageerror', (error) => errors.push(error.message));
tab.on('console', (message) => { if (/Content Security Policy/.test(message.text())) errors.push(message.text()); });
const button = (name) => tab.getByRole('button', { name, exact: true });

await tab.goto(`${base}/task`);
await tab.locator('#wire[data-state=live]').waitFor();
step('the page is live');

await button('Deny').click();
await tab.getByText('A reason is needed').waitFor();
assert.equal(world.decided.length, 0);
step('a denial without a reason is not sent');

await tab.getByLabel('Reason').fill('called her, she is in Berlin');
await tab.getByLabel('Reason').focus();
world.extra = ' (seen again)';
tell('task:other', '*');
await tab.getByText('(seen again)').waitFor();
assert.equal(await tab.getByLabel('Reason').inputValue(), 'called her, she is in Berlin');
assert.equal(await tab.evaluate(() => document.activeElement.name), 'reason');
step('a live update swaps the region and leaves typing and focus alone');

for (const stream of world.streams) stream.destroy();
await tab.locator('#wire[data-state=lost]').waitFor();
assert.match(await tab.locator('#wire').textContent(), /Connection lost, retrying/);
await tab.locator('#wire[data-state=live]').waitFor({ timeout: 20_000 });
step('a lost stream is said and found again');

const more = await Promise.all(Array.from({ length: 7 }, () => context.newPage()));
const live = (one) => one.locator('#wire[data-state=live]').waitFor();
const show = (one, seen) => one.evaluate((hidden) => {
  Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });
  document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
}, !seen);
await Promise.all(more.map((one) => one.goto(`${base}/task`).then(() => live(one))));
assert.equal(world.streams.size, 1);
world.extra = ' (in every tab)';
tell('*');
await Promise.all([tab, ...more].map((one) => one.getByText('(in every tab)').waitFor()));
step('eight tabs are live over one stream');

await Promise.all(more.slice(1).map((one) => show(one, false)));
const taken = world.asked;
await show(tab, false);
await until('the tab that is seen to hold the stream', () => world.asked > taken && world.streams.size === 1);
let fetched = 0;
tab.on('request', (request) => { fetched += request.url().includes('fragment=') ? 1 : 0; });
world.extra = ' (while hidden)';
tell('*');
await more[0].getByText('(while hidden)').waitFor();
assert.equal(fetched, 0);
await show(more[0], false);
await until('no stream with no tab to see', () => world.streams.size === 0);
await show(tab, true);
await tab.getByText('(while hidden)').waitFor();
await live(tab);
assert.equal(world.streams.size, 1);
await Promise.all(more.map((one) => one.close()));
step('hidden tabs hold no stream and ask for nothing; one that is seen again shows what it missed');

world.stale = true;
world.extra = ' (with the new session)';
tell('*');
await tab.getByText('(with the new session)').waitFor();
assert.ok(tab.url().endsWith('/task'), tab.url());
step('what a proof overtook is asked for again, and nobody is signed out');

const second = await context.newPage();
await second.goto(`${base}/task`);
await Promise.all([show(tab, false), live(second)]);
await until('the other tab holds the stream', () => world.streams.size === 1);
await show(tab, true);
await live(tab);
alive({ store: false });
const old = (one) => one.locator('#wire[data-state=away]').filter({ hasText: 'The store is away: this page may be old' }).waitFor();
await Promise.all([old(tab), old(second)]);
const third = await context.newPage();
await third.goto(`${base}/task`);
await old(third);
await third.close();
alive({ store: true });
await Promise.all([live(tab), live(second)]);
step('every tab says that the store is away, and when it is back');

await show(second, false);
assert.equal(await second.locator('#wire').textContent(), 'Connecting');
await second.close();
await until('the tab that is seen to hold the stream', () => world.streams.size === 1);
await live(tab);
const heard = world.asked;
alive({ every: 0.2 });
await tab.locator('#wire[data-state=lost]').waitFor();
await until('the silent stream is let go of and asked for again', () => world.asked > heard && world.streams.size === 1);
await live(tab);
step('a stream over which nothing comes any more is said to be lost, and found again');

const patient = await (await browser.newContext()).newPage();
await patient.addInitScript(() => {
  const real = window.setTimeout;
  window.waits = [];
  // Not for an answer, nor for a sign of life: until the next attempt.
  window.setTimeout = (work, ms, ...more) => {
    if ([20_000, 37_500].includes(ms)) return real(work, ms, ...more);
    if (ms >= 400) window.waits.push(ms);
    return real(work, Math.min(ms, 10), ...more);
  };
});
Object.assign(world, { events: 503, asked: 0 });
await patient.goto(`${base}/task`);
await patient.getByText('Connection lost, retrying').waitFor();
await until('ten refusals', () => world.asked >= 10);
const waits = (await patient.evaluate(() => window.waits)).slice(0, 9);
waits.forEach((ms, n) => {
  const most = Math.min(60_000, 1_000 * 2 ** n);
  assert.ok(ms >= most / 2 && ms <= most, `the waits grow: ${waits}`);
});
Object.assign(world, { session: 401, events: 401 });
await patient.waitForURL(`${base}/console/sign-in?error=over&next=%2Ftask`);
Object.assign(world, { session: 200, events: 200 });
step('a refused stream is asked for later and later; with the session over one is taken to the sign-in, and back');

world.refuse = { title: 'This changed since you opened it', detail: 'Read it again.', difference: [{ what: 'Playbook', shown: 'version 1', now: 'version 2' }] };
await button('Approve').click();
await tab.getByText('Playbook: shown version 1, now version 2').waitFor();
world.refuse = null;
step('a 409 shows the difference beside the button');

await button('Approve').click();
await tab.getByText('This page is connected.').waitFor();
assert.equal(world.decided.length, 1);
assert.equal(world.decided[0].verdict, 'approve');
assert.equal(Buffer.from(world.decided[0].recipient_key, 'base64url').length, 65);
assert.match(world.decided[0].digest, /^[0-9a-f]{64}$/);
assert.ok(world.beats >= 1);
step('an approval carries digest, revision and the browser key, and the page says that it is there');

world.page = 'task-held-pause';
tell('status');
await tab.getByText('It waits until effects are resumed.').waitFor();
await tab.getByText('This page is connected. The password is set once effects are resumed.').waitFor();
assert.equal(await tab.getByText('usually within seconds').count(), 0);
step('held by a guard, nothing is promised within seconds');

world.page = 'task-sealed';
tell(`task:${world.decided[0].task}`);
const dialog = tab.getByRole('dialog', { name: 'Temporary password' });
await dialog.waitFor();
assert.ok(!(await tab.content()).includes(PASSWORD), 'masked until asked');
assert.deepEqual((await examine(tab, 'dialog')).bad, []);
if (out) await tab.screenshot({ path: path.join(out, 'reveal-masked.png') });
await button('Show password').click();
await tab.getByText(PASSWORD).waitFor();
const leaks = await tab.evaluate((secret) => {
  const attributes = [...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames().map((n) => e.getAttribute(n)));
  return [location.href, JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie, ...attributes].filter((t) => t.includes(secret));
}, PASSWORD);
assert.deepEqual(leaks, []);
if (out) await tab.screenshot({ path: path.join(out, 'reveal-shown.png') });
step('the password is shown on request, as text and nowhere else');

await button('Copy password').click();
await tab.getByText('Copied.', { exact: false }).waitFor();
assert.equal(await tab.evaluate(() => navigator.clipboard.readText()), PASSWORD);
await tab.evaluate(() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); });
await button('Copy password').click();
assert.ok(await dialog.isVisible());
assert.equal(await tab.locator('textarea.sr').count(), 0);
step('copying works, with and without the clipboard interface');

for (let n = 0; n < 4; n += 1) await tab.keyboard.press('Escape');
await tab.mouse.click(2, 2);
await tab.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
assert.ok(await dialog.isVisible());
step('Escape and clicks beside it do not close the dialog');

tab.on('dialog', (question) => question.accept());
await tab.reload();
await dialog.waitFor();
assert.ok(world.fetched >= 2);
await button('Show password').click();
await tab.getByText(PASSWORD).waitFor();
step('it survives a reload in the same browser');

const other = await browser.newContext();
const elsewhere = await other.newPage();
await elsewhere.goto(`${base}/task`);
await elsewhere.getByText('This is not the browser that approved.').waitFor();
assert.equal(await elsewhere.getByRole('dialog').count(), 0);
step('another browser is told that it is not the one');

await button('I have passed it on').dblclick();
await tab.getByText('It cannot be shown again.').waitFor();
assert.equal(world.acknowledged, 1, 'pressed twice, said once');
const kept = await tab.evaluate(() => new Promise((done) => {
  const opening = indexedDB.open('oust', 1);
  opening.onsuccess = () => { const r = opening.result.transaction('keys').objectStore('keys').count(); r.onsuccess = () => done(r.result); };
}));
assert.equal(kept, 0);
assert.ok(!(await tab.content()).includes(PASSWORD));
step('passed on: the key is deleted and the text is gone');

/** Something of the page changes; what else is on it stays. */
async function update(text) {
  world.extra = ` (${text})`;
  tell('*');
  await tab.getByText(`(${text})`).first().waitFor();
}
const reasons = () => tab.evaluate(() => Object.fromEntries([...document.querySelectorAll('#live [name=reason]')]
  .map((field) => [field.closest('details')?.dataset.key.split('-')[0] ?? 'act', field.value])));

await tab.goto(`${base}/case`);
await tab.locator('#wire[data-state=live]').waitFor();
await tab.getByText('What you can do', { exact: true }).click();
await tab.getByText('End this run').click();
const ending = tab.locator('details[data-key^=cancel-] [name=reason]');
await ending.fill('the wrong person');
await update('somebody else came');
assert.deepEqual(await reasons(), { remedy: '', cancel: 'the wrong person', act: '' });
assert.equal(await tab.evaluate(() => document.activeElement.closest('details')?.dataset.key.split('-')[0]), 'cancel');
step('a live update leaves a reason in the form it was typed into, and the focus there');

await button('Close case').click();
await tab.getByText('A reason is needed').waitFor();
await update('and one more');
assert.equal(await tab.locator('section[aria-labelledby=act] form [data-problem]').innerText().then((said) => /A reason is needed/.test(said)), true);
step('what was refused stays said beside its button when the page is updated');

let release;
world.hold = new Promise((done) => { release = done; });
world.refuse = { title: 'This is not as it was any more', detail: 'the case was closed meanwhile' };
await button('Revoke sessions').click();
await update('while it is under way');
assert.equal(await button('Revoke sessions').getAttribute('aria-disabled'), 'true');
await button('Revoke sessions').click({ force: true });
world.closed = true;
await update('and closed');
assert.equal(await button('Revoke sessions').count(), 0);
release();
await tab.getByText('the case was closed meanwhile').waitFor();
assert.ok(await tab.locator('main [data-problem].note').filter({ hasText: 'closed meanwhile' }).evaluate((box) => {
  const { top, bottom } = box.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight;
}), 'where it can be seen');
assert.equal(world.orders, 1, 'what is under way is not sent again');
await update('still there');
await tab.getByText('the case was closed meanwhile').waitFor();
Object.assign(world, { closed: false, refuse: null, hold: null, extra: '' });
step('a refusal is said and stays said also when its form is gone');

world.page = 'tasks';
await tab.goto(`${base}/console/tasks?after=somewhere`);
await tab.locator('input[type=checkbox][name=task]').first().check();
await button('Approve chosen').click();
await tab.getByText('1 decision was recorded').waitFor();
assert.match(tab.url(), /after=somewhere$/, 'on the page that was chosen from');
step('decided together, and the queue says how many were recorded');

await tab.goto(`${base}/settings`);
await tab.locator('#wire[data-state=live]').waitFor();
const nav = () => tab.evaluate(() => {
  const { left, right } = document.querySelector('nav.main [aria-current]').getBoundingClientRect();
  return { at: document.querySelector('nav.main ul').scrollLeft, seen: left >= 0 && right <= innerWidth };
});
const before = await nav();
assert.ok(before.seen && before.at > 0, JSON.stringify(before));
world.count = 4;
tell('status');
await tab.locator('nav.main .count', { hasText: '4' }).waitFor();
assert.deepEqual(await nav(), before);
for (const width of [320, 360, 390, 420]) {
  await tab.setViewportSize({ width, height: 844 });
  await tab.evaluate(() => { document.querySelector('nav.main ul').scrollLeft = 0; });
  assert.equal(await tab.evaluate(() => document.documentElement.scrollWidth), width, 'nothing sticks out');
}
await tab.setViewportSize({ width: 390, height: 844 });
step('on a phone the tab one is on is in sight and stays there, and counts stick out nowhere');

const menu = tab.locator('details.me');
for (const close of [() => tab.keyboard.press('Escape'), () => tab.mouse.click(20, 500)]) {
  await menu.locator('summary').click();
  assert.equal(await menu.evaluate((details) => details.open), true);
  await close();
  assert.equal(await menu.evaluate((details) => details.open), false);
}
step('the menu closes on Escape and on a click beside it');

await tab.getByLabel('Name of the device').fill('my second key');
await tab.locator('[name=reason]').fill('a rule names everybody');
await update('settings changed');
assert.equal(await tab.getByLabel('Name of the device').inputValue(), 'my second key');
assert.equal(await tab.locator('[name=reason]').inputValue(), 'a rule names everybody');
world.proofs = 1;
tell('*');
await button('Resume').waitFor();
assert.equal(await tab.locator('[name=reason]').inputValue(), '', 'a reason to pause is none to resume');
world.proofs = 0;
world.extra = '';
step('the name of a device stays, and a reason to pause does not become one to resume');

await tab.goto(`${base}/settings`);
await tab.locator('[name=reason]').fill('a rule names everybody');
await button('Pause').click();
await button('Resume').waitFor();
assert.deepEqual([world.pauses, world.proofs], [2, 1]);
step('a deed that wants a fresh proof gets one and is done then');

const AWAY = { status: 503, headers: { 'Retry-After': '3600' }, body: { title: 'The store is away', detail: 'nothing was changed; try again' } };
const problem = (of = tab) => of.locator('[data-problem].note');

world.fail = { '/prove/begin': { status: 429, body: { title: 'Too many attempts', detail: 'too many attempts for this account: wait 12 s, then try again' } } };
Object.assign(world, { pauses: 0, proofs: 0 });
await tab.goto(`${base}/settings`);
await tab.locator('[name=reason]').fill('a rule names everybody');
await button('Pause').click();
await problem().getByText('wait 12 s').waitFor();
assert.equal(world.elsewhere, 0);
world.fail = { '/prove/begin': AWAY };
await button('Pause').click();
await problem().getByText('The store is away').waitFor();
assert.equal(world.elsewhere, 0);
world.fail = { '/prove/begin': { status: 403, body: { title: 'This is not allowed', no_passkey: true } } };
await button('Pause').click();
await tab.waitForURL(`${base}/console/sign-in`);
assert.equal(world.elsewhere, 1);
step('only who has no passkey proves it at the identity provider; too many attempts are said');

Object.assign(world, { fail: { '/pause': 'cut' }, proofs: 0 });
await tab.goto(`${base}/settings`);
await tab.locator('[name=reason]').fill('a rule names everybody');
await button('Pause').click();
await problem().getByText('It is not known whether it was recorded.').waitFor();
world.fail = {};
world.proofs = 1;
await problem().getByText('Load it again').click();
await button('Resume').waitFor();
world.page = 'task-pending';
world.fail = { '/decide/begin': 'cut' };
await tab.goto(`${base}/task`);
await button('Approve').click();
await problem().getByText('Nothing was recorded.').waitFor();
world.finish = true;
await tab.evaluate(() => {
  const nothing = new ArrayBuffer(1);
  navigator.credentials.get = async () => ({
    id: 'x', rawId: nothing, type: 'public-key', getClientExtensionResults: () => ({}),
    response: { authenticatorData: nothing, clientDataJSON: nothing, signature: nothing, userHandle: null },
  });
});
for (const lost of ['cut', { status: 504, headers: { 'Content-Type': 'text/html' } }]) {
  world.fail = { '/decide/finish': lost };
  await button('Approve').click();
  await problem().getByText('It is not known whether it was recorded.').waitFor();
  assert.equal(await problem().getByText('Nothing was', { exact: false }).count(), 0);
}
Object.assign(world, { fail: {}, finish: false, decided: [] });
step('a lost answer: nothing was recorded where that is certain, and otherwise it is not known');

const unlucky = await (await browser.newContext()).newPage();
unlucky.on('pageerror', (error) => errors.push(error.message));
await unlucky.addInitScript(() => {
  const real = window.setInterval;
  window.setInterval = (work, ms, ...more) => real(work, ms / 25, ...more);
});
const questions = [];
unlucky.on('dialog', (question) => { questions.push(question.type()); question.accept(); });
const its = (name) => unlucky.getByRole('button', { name, exact: true });
const theirs = unlucky.getByRole('dialog', { name: 'Temporary password' });
await unlucky.goto(`${base}/task`);
await its('Approve').click();
await unlucky.getByText('This page is connected.').waitFor();
world.fail = { '/presence': 'cut', '/reveal': 'cut' };
await unlucky.getByText('No connection to the server. The password is set only while the server hears from this page.').waitFor();
world.fail = {};
await unlucky.getByText('This page is connected.').waitFor();
step('no connection while one waits for the password is called that, and tried again');

world.fail = { '/reveal': AWAY };
world.page = 'task-sealed';
tell('*');
const away = unlucky.getByText('The store is away. The password is set, and sealed to this browser. Trying again.');
await away.waitFor();
assert.deepEqual((await examine(unlucky, 'section.reveal')).bad, []);
if (out) await unlucky.screenshot({ path: path.join(out, 'reveal-away.png') });
world.extra = ' (updated)';
tell('*');
await unlucky.getByText('Handing over the password (updated)').waitFor();
await away.waitFor();
world.fail = {};
await its('Open the password').click();
await theirs.waitFor();
assert.equal(await unlucky.locator('[data-reveal-open]').isVisible(), false);
world.fail = { '/reveal': 'cut' };
await unlucky.reload();
await unlucky.getByText('No connection to the server. The password is set, and sealed to this browser.').waitFor();
world.fail = {};
await theirs.waitFor();
step('a password that could not be fetched is fetched by itself, or when asked to');

world.fail = { '/acknowledge': AWAY };
await its('I have passed it on').click();
await theirs.getByText('It was not recorded: The store is away').waitFor();
world.fail = { '/acknowledge': { status: 401, body: { title: 'You are not signed in', detail: 'you were signed out; sign in again' } } };
await its('I have passed it on').click();
await theirs.getByText('You are signed out, so it was not recorded.').waitFor();
assert.deepEqual((await examine(unlucky, 'dialog')).bad, []);
if (out) await unlucky.screenshot({ path: path.join(out, 'reveal-signed-out.png') });
questions.length = 0;
await theirs.getByRole('link', { name: 'Sign in again' }).click();
await unlucky.waitForURL(`${base}/console/sign-in?error=over&next=%2Ftask`);
assert.deepEqual(questions, [], 'nobody is asked whether to leave');
world.fail = { '/reveal': { status: 401, body: { title: 'You are not signed in' } } };
await unlucky.goto(`${base}/task`);
await unlucky.getByText('You are signed out. The password stays sealed to this browser.').waitFor();
assert.equal(await unlucky.getByRole('link', { name: 'Sign in again' }).getAttribute('href'), '/console/sign-in?error=over&next=%2Ftask');
// Signed in again in another tab of this browser.
world.fail = {};
await its('Show password').click();
await unlucky.getByText(PASSWORD).waitFor();
await unlucky.context().close();
step('signed out with the password open: the dialog says so, and it is there again after signing in, in whichever tab');

Object.assign(world, { extra: '', proofs: 0, csrf: 'another' });
await tab.goto(`${base}/settings`);
await button('Add a passkey').click();
await tab.getByText('This was used before or is over: begin again.').waitFor();
await update('while that is said');
await tab.getByText('This was used before or is over: begin again.').waitFor();
world.extra = '';
world.csrf = 'and another';
await tab.locator('details.me summary').click();
await button('Sign out').dblclick();
await tab.waitForURL(`${base}/console/sign-in`);
assert.equal(world.out, 1, 'pressed twice, said once');
step('a proof in another tab takes neither signing out nor adding a passkey from this one');

world.fail = { '/sign-in/passkey/begin': AWAY };
await tab.goto(`${base}/sign-in`);
await button('Sign in with a passkey').click();
await tab.getByText('The store is away: nothing was changed; try again.').waitFor();
world.fail = { '/sign-in/passkey/begin': 'cut' };
await button('Sign in with a passkey').click();
await tab.getByText('The server does not answer: check the connection and try again.').waitFor();
step('the sign-in says why it did not go on');

assert.deepEqual(errors, []);
await browser.close();
server.close();
console.log('all well');
process.exit(0);
