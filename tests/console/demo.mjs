// The whole way in a real browser against `oust demo`: enrol with the browser's virtual authenticator, see a case appear
// without a reload, approve the waiting reset, receive the password, survive Escape, a click beside it and a reload in the
// middle, copy it, pass it on; then the person of the simulated tenant signs in with exactly that password and is made to
// change it, the second revoke was sent, and the case says when the person changed it.
//
// With APART=1 the console is a process of its own that does no work.
//
// usage: NODE_PATH=… node tests/console/demo.mjs OUST PICTURES      (tests/console/run runs it)

import assert from 'node:assert/strict';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Reviewer, Stage, Twin, freePort, step, until } from './stage.mjs';

const [oust, pictures] = process.argv.slice(2);
const apart = Boolean(process.env.APART);
const stage = Object.assign(new Stage(), { oust, pictures, name: apart ? 'apart' : 'demo', processes: [], contexts: [], errors: [] });

stage.play(async () => {
  stage.folder = await mkdtemp(path.join(tmpdir(), 'oust-console-'));
  const demo = stage.start(['demo'], 'demo.log');
  await demo.says(/Ctrl-C ends it/);
  let [link] = await demo.says(/http:\/\/localhost:\d+\/console\/enrol\/[A-Za-z0-9_-]{43}/);
  [, stage.config] = await demo.says(/--config (\S+oust\.yaml)/);
  stage.text = await readFile(stage.config, 'utf8');
  stage.twin = new Twin(stage.text.match(/graph_url: (\S+)/)[1]);
  if (apart) {
    const port = await freePort();
    const config = path.join(path.dirname(stage.config), 'apart.yaml');
    await writeFile(config, stage.text.replace(/listen: \S+/, `listen: 127.0.0.1:${port}`));
    await stage.serve({ roles: 'console', config, port });
    link = link.replace(/localhost:\d+/, `localhost:${port}`);
  }
  stage.origin = new URL(link).origin;
  const { twin } = stage;
  const directory = (await twin.ask('directory')).body;
  const ada = { ...directory.specials.find((one) => /^ada@/.test(one.upn)), name: 'ada' };
  const another = { id: directory.first_person, name: 'the first person' };

  assert.equal((await fetch(`${stage.origin}/console`, { redirect: 'manual', headers: { Accept: 'text/html' } })).status, 303);
  const reviewer = await Reviewer.open(stage, 'demo');
  const { tab } = reviewer;
  await tab.goto(link);
  await tab.getByLabel('Name of the device').fill('virtual key');
  await reviewer.button('Create a passkey').click();
  await reviewer.heading('Identities at risk').waitFor();
  step('enrolled by the one-time link, and signed in');

  await tab.locator('details.me summary').click();
  await reviewer.button('Sign out').click();
  await reviewer.button('Sign in with a passkey').click();
  await reviewer.heading('Identities at risk').waitFor();
  step('signed out, and in again with the passkey');

  const { context } = await Reviewer.open(stage, 'stranger');
  const late = context.pages()[0];
  await late.goto(link);
  await late.getByRole('heading', { name: 'This link does not work', exact: true }).waitFor();
  assert.equal(await late.getByRole('button', { name: 'Create a passkey' }).count(), 0);
  step('the link does not work twice');

  await tab.locator('#wire[data-state=live]').waitFor();
  const rows = tab.locator('table.cases tbody tr');
  const before = await rows.count();
  await tab.evaluate(() => { window.notReloaded = true; });
  await stage.alert(another, 'Anomalous Token');
  await tab.waitForFunction((known) => document.querySelectorAll('table.cases tbody tr').length > known, before);
  assert.equal(await tab.evaluate(() => window.notReloaded), true);
  await reviewer.picture(`${stage.name}-home`);
  step('a new case appeared without a reload');

  await rows.filter({ hasText: 'ada@' }).locator('a.task').click();
  await reviewer.heading('Task').waitFor();
  await reviewer.picture(`${stage.name}-task`);
  const task = tab.url();
  await tab.getByLabel('Reason').fill('spoke to her');
  await reviewer.button('Approve').click();
  await reviewer.dialog.waitFor();
  assert.equal(await twin.count(ada, 'resetPassword'), 1, 'one reset');
  step('approved with the passkey; the password came to this browser');

  const masked = await tab.locator('dialog [data-secret]').textContent();
  assert.match(masked, /^•+hidden$/);
  await reviewer.button('Copy password').click();
  await tab.getByText('Copied.', { exact: false }).waitFor();
  const password = await reviewer.password();
  assert.ok(password.length >= 20, 'a strong password is shown');
  assert.equal(await tab.evaluate(() => navigator.clipboard.readText()), password);
  await reviewer.picture(`${stage.name}-reveal`);
  step('copied without being shown: the clipboard holds exactly what is then shown');

  for (let n = 0; n < 4; n += 1) await tab.keyboard.press('Escape');
  await tab.mouse.click(2, 2);
  await tab.mouse.click(200, 840);
  assert.ok(await reviewer.dialog.isVisible());
  assert.equal(await tab.locator('dialog [data-secret]').textContent(), password);
  await tab.reload();
  assert.equal(await reviewer.password(), password);
  step('Escape, clicks beside it and a reload leave it open, and it is the same');

  await late.goto(task);
  await late.getByRole('heading', { name: 'Sign in', exact: true }).waitFor();
  assert.ok(!(await late.content()).includes(password));

  await reviewer.passOn();
  await tab.reload();
  await tab.getByText('It cannot be shown again.', { exact: false }).first().waitFor();
  assert.equal(await tab.getByRole('dialog').count(), 0);
  step('passed on; it is not shown again');

  const [, door] = await demo.says(/the password was passed on\. Now be her, and sign in with it: (http:\/\/127\.0\.0\.1:\d+\/sign-in\?user=\S+)/);
  assert.ok(demo.said.split(door).length > 2, 'it was among the first words too');
  const hers = await (await stage.context()).newPage();
  const look = (name) => hers.screenshot({ path: path.join(pictures, `${stage.name}-${name}.png`), fullPage: true });
  const press = (name) => hers.getByRole('button', { name, exact: true }).click();
  await hers.goto(door);
  assert.equal(await hers.getByLabel('Who').inputValue(), 'ada@contoso.example');
  await hers.getByLabel('Password').fill(`${password}.`);
  await press('Sign in');
  await hers.getByText('AADSTS50126').waitFor();
  await look('door');
  await hers.getByLabel('Password').fill(await tab.evaluate(() => navigator.clipboard.readText()));
  await press('Sign in');
  await hers.getByRole('heading', { name: 'Update your password' }).waitFor();
  await look('door-change');
  await hers.getByLabel('Current password').fill(password);
  await hers.getByLabel('New password').fill('Her-own-4-words-9x');
  await press('Change it and sign in');
  await hers.getByRole('heading', { name: 'Signed in' }).waitFor();
  await demo.says(/signed in with the temporary password and was made to choose her own/);
  step('she signs in with the copied password where the terminal says, is made to change it, and the terminal says so');

  const verbs = (await until('the second revoke', async () => {
    const calls = await twin.calls(ada);
    const reset = calls.findIndex((call) => call.verb === 'resetPassword');
    return calls.slice(reset).some((call) => call.verb === 'revokeSignInSessions' && call.effect_applied) && calls;
  })).filter((call) => call.effect_applied).map((call) => call.verb).filter((verb) => /revokeSignIn|resetPassword/.test(verb));
  assert.deepEqual(verbs.filter((verb, at) => verb !== verbs[at - 1]), ['revokeSignInSessions', 'resetPassword', 'revokeSignInSessions']);
  step('revoked before the reset, and again after it');

  await tab.locator('.crumbs a', { hasText: 'Case' }).click();
  await reviewer.heading('Case').waitFor();
  await reviewer.picture(`${stage.name}-case`);
  if (process.env.CHANGED !== '0') {
    await tab.getByText(/password changed by user at/i).first().waitFor();
    step('the case says when the person changed the password');
  }
});
