// The whole way in a real browser against `oust demo`: enrol with the browser's virtual authenticator, see a case appear
// without a reload, approve the waiting reset, receive the password, reload in the middle, pass it on; then the person of
// the simulated tenant signs in with exactly that password and is made to change it, and the second revoke was sent.
//
// With APART=PORT the console is a process of its own that does no work.
//
// usage: NODE_PATH=… node tests/console/demo.mjs OUST [PICTURES]      (tests/console/look runs it)

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join((process.env.NODE_PATH ?? '.').split(':')[0], 'x.js'));
const { chromium } = require('playwright-core');
const [oust, pictures] = process.argv.slice(2);
const step = (text) => console.log(`ok  ${text}`);
const demo = spawn(oust, ['demo'], { stdio: ['ignore', 'pipe', 'pipe'] });
let told = '';
const ready = new Promise((found, failed) => {
  const hear = (bytes) => { told += bytes; if (/Ctrl-C ends it/.test(told)) found(); };
  demo.stdout.on('data', hear);
  demo.stderr.on('data', hear);
  demo.on('exit', () => failed(new Error(`the demonstration ended:\n${told}`)));
});
let browser;
let apart;
try {
  await ready;
  let link = told.match(/http:\/\/localhost:\d+\/console\/enrol\/[A-Za-z0-9_-]{43}/)[0];
  const config = told.match(/--config (\S+oust\.yaml)/)[1];
  if (process.env.APART) {
    // The same way through a console of its own, in a process that does no work.
    const listen = `127.0.0.1:${process.env.APART}`;
    const file = path.join(path.dirname(config), 'apart.yaml');
    await writeFile(file, (await readFile(config, 'utf8')).replace(/listen: \S+/, `listen: ${listen}`));
    apart = spawn(oust, ['serve', '--roles', 'console', '--config', file], { stdio: ['ignore', 'inherit', 'inherit'] });
    link = link.replace(/localhost:\d+/, `localhost:${process.env.APART}`);
    for (let up = false; !up;) up = await fetch(`http://${listen}/readyz`).then((answer) => answer.ok, () => new Promise((again) => { setTimeout(again, 100, false); }));
  }
  const twin = (await readFile(config, 'utf8')).match(/graph_url: (\S+)/)[1];
  const base = new URL(link).origin;
  const ask = async (name, body) => {
    const answer = await fetch(`${twin}twin/${name}`, body && { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
    return { status: answer.status, body: await answer.json().catch(() => ({})) };
  };
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  const context = await browser.newContext({ viewport: { width: 390, height: 844 } });
  const tab = await context.newPage();
  const errors = [];
  tab.on('pageerror', (error) => errors.push(error.message));
  tab.on('console', (message) => { if (/Content Security Policy/.test(message.text())) errors.push(message.text()); });
  tab.on('dialog', (question) => question.accept());
  const devtools = await context.newCDPSession(tab);
  await devtools.send('WebAuthn.enable');
  await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: { protocol: 'ctap2', ctap2Version: 'ctap2_1', transport: 'internal', hasResidentKey: true, hasUserVerification: true,
      isUserVerified: true, automaticPresenceSimulation: true },
  });
  const button = (name) => tab.getByRole('button', { name, exact: true });
  const picture = async (name) => { if (pictures) await tab.screenshot({ path: path.join(pictures, `demo-${name}.png`), fullPage: true }); };

  assert.equal((await fetch(`${base}/console`, { redirect: 'manual', headers: { Accept: 'text/html' } })).status, 303);
  await tab.goto(link);
  await tab.getByLabel('Name of the device').fill('virtual key');
  await button('Create a passkey').click();
  await tab.getByRole('heading', { name: 'Identities at risk', exact: true }).waitFor();
  step('enrolled by the one-time link, and signed in');

  await tab.locator('details.me summary').click();
  await button('Sign out').click();
  await button('Sign in with a passkey').click();
  await tab.getByRole('heading', { name: 'Identities at risk', exact: true }).waitFor();
  step('signed out, and in again with the passkey');

  await tab.locator('#wire[data-state=live]').waitFor();
  const before = await tab.locator('table.cases tbody tr').count();
  await tab.evaluate(() => { window.notReloaded = true; });
  const directory = (await ask('directory')).body;
  const raised = await ask('incidents', { users: [directory.first_person], title: 'Anomalous Token involving one user', alert_titles: ['Anomalous Token'] });
  assert.equal(raised.status, 201, JSON.stringify(raised.body));
  execFileSync(oust, ['send', '-', '--source', 'sentinel', '--config', config], { input: JSON.stringify(raised.body.trigger) });
  await tab.waitForFunction((rows) => document.querySelectorAll('table.cases tbody tr').length > rows, before, { timeout: 15_000 });
  assert.equal(await tab.evaluate(() => window.notReloaded), true);
  await picture('home');
  step('a new case appeared without a reload');

  const ada = directory.specials.find((one) => /ada@/.test(one.upn));
  const row = tab.locator('table.cases tbody tr', { hasText: 'ada@' });
  await row.locator('a.task').click();
  await tab.getByRole('heading', { name: 'Task', exact: true }).waitFor();
  await picture('task');
  await tab.getByLabel('Reason').fill('spoke to her');
  await button('Approve').click();
  const dialog = tab.getByRole('dialog', { name: 'Temporary password' });
  await dialog.waitFor({ timeout: 30_000 });
  step('approved with the passkey; the password came to this browser');

  await button('Show password').click();
  const shown = tab.locator('dialog [data-secret]');
  const password = (await shown.textContent()).trim();
  assert.ok(password.length >= 20 && !password.includes('•'), 'a strong password is shown');
  await picture('reveal');
  await tab.reload();
  await dialog.waitFor({ timeout: 30_000 });
  await button('Show password').click();
  assert.equal((await shown.textContent()).trim(), password);
  step('the same one after a reload');

  const stranger = await browser.newContext();
  const other = await stranger.newPage();
  await other.goto(tab.url());
  await other.getByRole('heading', { name: 'Sign in', exact: true }).waitFor();
  await stranger.close();

  await button('I have passed it on').click();
  await tab.getByText('It cannot be shown again.', { exact: false }).first().waitFor();
  await tab.reload();
  assert.equal(await tab.getByRole('dialog').count(), 0);
  step('passed on; it is not shown again');

  const first = await ask('login', { user: ada.id, password });
  assert.ok(first.status >= 400 && /50055|expired/.test(JSON.stringify(first.body)), JSON.stringify(first.body));
  const changed = await ask('login', { user: ada.id, password, new_password: 'Her-own-4-words-9x' });
  assert.equal(changed.status, 200, JSON.stringify(changed.body));
  step('the person signs in with exactly that password and must change it');

  const counted = JSON.stringify((await ask(`counters/${ada.id}`)).body);
  const calls = (await ask('calls')).body;
  const list = Array.isArray(calls) ? calls : (calls.calls ?? calls.value ?? []);
  const order = list.map((call) => JSON.stringify(call)).filter((text) => text.includes(ada.id) && /revokeSignInSessions|passwordProfile|resetPassword/.test(text));
  assert.ok(/revokeSignInSessions/.test(counted), counted);
  assert.ok(order.filter((text) => /revokeSignInSessions/.test(text)).length >= 2, `two revokes: ${counted} ${order.join('\n')}`);
  step('revoked before the reset, and again after it');

  assert.deepEqual(errors, []);
  console.log('all well');
} finally {
  await browser?.close();
  apart?.kill('SIGINT');
  demo.kill('SIGINT');
}
process.exit(process.exitCode ?? 0);
