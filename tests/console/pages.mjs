// Every page of the running console, with live data: axe in light and dark at two sizes, 360 px, weight, without script;
// and the whole way from the sign-in to "passed on" with nothing but a keyboard. Pictures are for people to look at.
//
// usage: NODE_PATH=… node tests/console/pages.mjs OUST PICTURES      (tests/console/run runs it)

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Reviewer, Stage, examine, overflow, playbook, step, until } from './stage.mjs';

const [oust, pictures] = process.argv.slice(2);
/** Bytes over the wire of a cold load, headers included. */
const HEAVIEST = 100 * 1024;
const [TOKEN, TRAVEL] = ['Anomalous Token', 'Atypical travel'];
const file = (name) => readFile(new URL(`../../${name}`, import.meta.url), 'utf8');
const stage = await Stage.build({
  oust, pictures, name: 'pages',
  playbooks: { 'token-theft': await file('playbooks/token-theft.yaml'), travel: playbook('travel', 'atypical_travel', 'on_call') },
});
const { twin } = stage;

/** A console with something of everything: open, handed over, denied, by hand, held, buried. */
async function furnished(nora) {
  const person = (local, display) => twin.person(local, display);
  const specials = (await twin.ask('directory')).body.specials;
  const special = (word) => ({ ...specials.find((one) => one.special === word), name: word });
  const [grace, henry, irene] = [await person('grace', 'Grace Example'), await person('henry', 'Henry <b>Example</b>'), await person('irene', 'Irene Example')];
  const lagos = { ip: '198.51.100.20', city: 'Lagos', country: 'NG' };
  for (const [who, title] of [[grace, TOKEN], [henry, TRAVEL], [irene, TRAVEL], [special('synced'), TRAVEL], [special('guest'), TRAVEL]]) {
    await stage.alert(who, title, { origin: lagos, activity_at: new Date(Date.now() - 120_000).toISOString() });
  }
  const nobody = JSON.parse(await file('tests/fixtures/risk_detection/nobody.json'));
  await stage.send({ ...nobody, activityDateTime: new Date(), detectedDateTime: new Date(), lastUpdatedDateTime: new Date() });
  await stage.send({ what: 'nobody understands this', at: 'any time' }).catch(() => null);
  const [open, done, denied] = [await stage.reset(grace), await stage.reset(henry), await stage.reset(irene)];
  await nora.open(done);
  await nora.button('Approve').click();
  await nora.dialog.waitFor();
  await nora.passOn();
  await nora.open(denied);
  await nora.tab.getByLabel('Reason').fill('she is there herself');
  await nora.button('Deny').click();
  await stage.becomes(denied.id, 'denied');
  const kind = (word) => until(`a ${word} task`, async () => (await stage.cli('task', 'list')).items.find((task) => task.kind === word));
  const [manual, held] = [await kind('manual'), await kind('held')];
  const { items: buried } = await stage.cli('buried', 'list');
  assert.ok(buried.length, 'something is buried');
  return { open, done, denied, manual, held, buried: buried[0] };
}

/** name, path, h1 */
const list = ({ open, done, denied, manual, held, buried }) => [
  ['home', '/console', 'Identities at risk'],
  ['home-all', '/console?state=all&q=example', 'Identities at risk'],
  ['home-none', '/console?q=zzz', 'Identities at risk'],
  ['tasks', '/console/tasks', 'Tasks'],
  ['tasks-all', '/console/tasks?show=all', 'Tasks'],
  ['task-open', `/console/tasks/${open.id}`, 'Task'],
  ['task-done', `/console/tasks/${done.id}`, 'Task'],
  ['task-denied', `/console/tasks/${denied.id}`, 'Task'],
  ['task-manual', `/console/tasks/${manual.id}`, 'Task'],
  ['task-held', `/console/tasks/${held.id}`, 'Task'],
  ['case-open', `/console/cases/${open.case}`, 'Case'],
  ['case-done', `/console/cases/${done.case}`, 'Case'],
  ['buried', '/console/buried', 'Buried'],
  ['buried-one', `/console/buried/${buried.id}`, 'Buried'],
  ['playbooks', '/console/playbooks', 'Playbooks'],
  ['playbook', '/console/playbooks/token-theft', 'Playbooks'],
  ['audit', '/console/audit', 'Audit'],
  ['overview', '/console/overview', 'Overview'],
  ['settings', '/console/settings', 'Settings'],
  ['lost', '/console/nowhere', 'There is nothing here'],
];

async function examined(pages, state) {
  const problems = [];
  for (const colorScheme of ['light', 'dark']) {
    const context = await stage.context({ colorScheme, storageState: state, reducedMotion: 'reduce' });
    const tab = await context.newPage();
    for (const [name, where, heading] of pages) {
      await tab.goto(`${stage.origin}${where}`);
      await tab.getByRole('heading', { level: 1, name: heading, exact: true }).waitFor();
      for (const [size, width, height] of [['phone', 390, 844], ['desk', 1440, 900], ['narrow', 360, 740]]) {
        const at = `${name} ${size} ${colorScheme}`;
        await tab.setViewportSize({ width, height });
        const wide = await overflow(tab);
        if (wide) problems.push(`${at}: wider than the screen: ${wide}`);
        if (size === 'narrow') continue;
        await tab.screenshot({ path: path.join(pictures, `live-${name}-${size}-${colorScheme}.png`), fullPage: true });
        const { bad, notes } = await examine(tab);
        problems.push(...bad.map((line) => `${at}: ${line}`));
        for (const line of notes) console.log(`note: ${at}: ${line}`);
      }
    }
    await context.close();
  }
  assert.deepEqual(problems, []);
  step(`${pages.length} pages, light and dark, 390×844 and 1440×900: axe finds nothing serious; nothing sticks out at 360 px`);
}

async function light(pages, state) {
  const heavy = [];
  let most = 0;
  for (const [name, where, heading] of pages) {
    const context = await stage.context({ storageState: state });
    const tab = await context.newPage();
    const sizes = [];
    tab.on('requestfinished', (request) => { sizes.push(request.sizes().catch(() => null)); });
    await tab.goto(`${stage.origin}${where}`, { waitUntil: 'load' });
    await tab.getByRole('heading', { level: 1, name: heading, exact: true }).waitFor();
    const known = (await Promise.all(sizes)).filter(Boolean);
    const bytes = known.reduce((sum, one) => sum + one.responseBodySize + one.responseHeadersSize, 0);
    assert.ok(known.length > 2 && bytes > 4_096, `${name}: ${known.length} answers, ${bytes} bytes were counted`);
    most = Math.max(most, bytes);
    if (bytes > HEAVIEST) heavy.push(`${name}: ${bytes} bytes`);
    await context.close();
  }
  assert.deepEqual(heavy, [], `no page over ${HEAVIEST} bytes`);
  step(`the heaviest page takes ${Math.round(most / 1024)} KiB of a cold browser, scripts and styles included`);
}

async function scriptless(pages, state) {
  const context = await stage.context({ javaScriptEnabled: false, storageState: state });
  const tab = await context.newPage();
  for (const [name, where, heading] of pages) {
    await tab.goto(`${stage.origin}${where}`);
    await tab.getByRole('heading', { level: 1, name: heading, exact: true }).waitFor();
    const text = await tab.locator('#main').innerText();
    assert.ok(text.length > heading.length + 20, `${name} says something without script: ${text}`);
    if (name === 'task-open') {
      assert.match(text, /Script is off: this browser cannot receive the password, so it cannot approve/);
      await tab.screenshot({ path: path.join(pictures, 'live-scriptless-task.png'), fullPage: true });
    }
  }
  await context.close();
  step('without script every page is there and readable');
}

/** Tab after Tab until something has this name; wherever the focus rests on the way, it can be seen. */
async function tabTo(tab, role, name, key = 'Tab') {
  const wanted = tab.getByRole(role, { name, exact: typeof name === 'string' }).first();
  await wanted.waitFor();
  for (let presses = 0; presses < 120; presses += 1) {
    await tab.keyboard.press(key);
    const seen = await tab.evaluate(() => {
      const active = document.activeElement;
      if (!active || active === document.body) return { at: 'nothing' };
      const style = getComputedStyle(active);
      const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
      const box = active.getBoundingClientRect();
      return { at: active.outerHTML.slice(0, 100), ring, shown: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight };
    });
    if (seen.at === 'nothing') continue;
    assert.ok(seen.ring, `the focus can be seen at ${seen.at}`);
    assert.ok(seen.shown, `what has the focus is on the screen: ${seen.at}`);
    if (await wanted.evaluate((element) => element === document.activeElement)) return;
  }
  assert.fail(`no way by ${key} to ${role} ${name}`);
}

async function byKeyboard(nora, task) {
  const guest = await Reviewer.open(stage, 'nora', { viewport: { width: 1440, height: 900 } }, await nora.keys());
  const { tab } = guest;
  const press = (key) => tab.keyboard.press(key);
  await guest.goto('/console');
  await guest.heading('Sign in').waitFor();
  await tabTo(tab, 'button', 'Sign in with a passkey');
  await press('Enter');
  await guest.heading('Identities at risk').waitFor();
  await tab.locator('#wire[data-state=live]').waitFor();
  await press('Tab');
  assert.equal(await tab.evaluate(() => document.activeElement.textContent), 'Skip to content');
  await press('Enter');
  await until('the focus to be at the content', () => tab.evaluate(() => document.activeElement.id === 'main'));
  await tabTo(tab, 'link', /grace/i);
  await press('Enter');
  await guest.heading('Case').waitFor();
  await tab.goBack();
  await guest.heading('Identities at risk').waitFor();
  await tabTo(tab, 'link', /Tasks/);
  await press('Enter');
  await guest.heading('Tasks').waitFor();
  const title = await tab.locator(`a[href="/console/tasks/${task.id}"]`).first().innerText();
  for (;;) {
    await tabTo(tab, 'link', title);
    if (await tab.evaluate((id) => document.activeElement.getAttribute('href').endsWith(id), task.id)) break;
    assert.fail(`the first task is not ${task.id}`);
  }
  await press('Enter');
  await guest.heading('Task').waitFor();
  step('by keyboard: signed in, past the navigation, to a case and back, to the task');

  await tabTo(tab, 'textbox', 'Reason');
  await tab.keyboard.type('called her, it was not her');
  await tabTo(tab, 'button', 'Approve');
  await press('Enter');
  await guest.dialog.waitFor();
  const inside = () => tab.evaluate(() => document.activeElement === document.body || Boolean(document.activeElement.closest('dialog')));
  for (let n = 0; n < 12; n += 1) {
    await press(n < 6 ? 'Tab' : 'Shift+Tab');
    assert.ok(await inside(), 'the dialog keeps the focus');
  }
  await tabTo(tab, 'button', 'Show password');
  await press('Space');
  const shown = tab.locator('dialog [data-secret]');
  await until('the password to be shown', async () => !(await shown.textContent()).includes('•'));
  const password = await shown.textContent();
  for (let n = 0; n < 4; n += 1) await press('Escape');
  assert.ok(await guest.dialog.isVisible(), 'Escape loses nothing');
  await tab.getByText('Close it with', { exact: false }).waitFor();
  await guest.picture('live-reveal-keyboard');
  assert.deepEqual((await examine(tab, 'dialog')).bad, []);
  await tabTo(tab, 'button', 'Copy password');
  await press('Enter');
  await tab.getByText('Copied.', { exact: false }).waitFor();
  assert.equal(await tab.evaluate(() => navigator.clipboard.readText()), password);
  await tabTo(tab, 'button', 'I have passed it on');
  await press('Enter');
  await tab.getByText('It cannot be shown again.', { exact: false }).first().waitFor();
  assert.equal(await tab.getByRole('dialog').count(), 0);
  await stage.becomes(task.id, 'revealed');
  step('by keyboard: approved, shown, copied, passed on; the dialog kept the focus and Escape lost nothing');
  return guest;
}

/** Pages for nobody, and what a banner does to all of them. */
async function others(state) {
  const link = await stage.cli('reviewer', 'invite', 'rosa', '--role', 'approver', '--url', stage.origin);
  const enrol = new URL(link.url).pathname;
  const outside = [
    ['sign-in', '/console/sign-in', 'Sign in'],
    ['enrol', enrol, 'Enrol a passkey'],
  ];
  await examined(outside, undefined);
  await light(outside, undefined);
  await stage.cli('pause', '--reason', 'a rule names everybody');
  const context = await stage.context({ storageState: state });
  const tab = await context.newPage();
  for (const where of ['/console', '/console/tasks', '/console/audit', '/console/settings']) {
    await tab.goto(`${stage.origin}${where}`);
    await tab.getByRole('complementary', { name: 'Paused' }).getByText('a rule names everybody').waitFor();
    assert.deepEqual((await examine(tab)).bad, []);
    assert.equal(await overflow(tab), null);
  }
  await tab.screenshot({ path: path.join(pictures, 'live-paused.png'), fullPage: true });
  await stage.cli('resume');
  await tab.getByRole('button', { name: 'Pause', exact: true }).waitFor();
  await context.close();
  step('paused: every page says so, and stops saying it without a reload');
}

/** Many tabs of one browser, over HTTP/1.1, where it opens six connections; and where they lead when the session ends. */
async function crowded() {
  const olga = await stage.reviewer('olga', { role: 'viewer' });
  const tabs = [olga.tab, ...await Promise.all(Array.from({ length: 7 }, () => olga.context.newPage()))];
  const answers = [];
  olga.context.on('response', (response) => answers.push([new URL(response.url()).pathname, response.status()]));
  const all = (look) => Promise.all(tabs.map(look));
  await all((tab) => tab.goto(`${stage.origin}/console/tasks`));
  await all((tab) => tab.locator('#wire[data-state=live]').waitFor());
  await stage.cli('pause', '--reason', 'many look at it');
  await all((tab) => tab.getByText('many look at it').waitFor());
  await stage.cli('resume');
  const asked = await olga.tab.evaluate(() => fetch('/console/session').then((answer) => answer.status));
  assert.equal(asked, 200);
  const streams = answers.filter(([where]) => where === '/console/events').length;
  assert.ok(streams < 4, `${streams} streams for eight tabs`);
  step('eight tabs of one browser: each is live, and the console answers');

  await stage.cli('reviewer', 'disable', 'olga');
  await all((tab) => tab.getByText('Your session ended.', { exact: false }).waitFor());
  assert.match(olga.tab.url(), /next=%2Fconsole%2Ftasks$/);
  const refused = answers.filter(([, status]) => status === 401);
  assert.ok(refused.length < 20 && answers.every(([, status]) => status !== 429), JSON.stringify(answers));
  await olga.context.close();
  step('disabled: every tab is at the sign-in at once, and nothing goes on asking');
}

stage.play(async () => {
  await stage.serve();
  const nora = await stage.reviewer('nora', { display: 'Nora Reviewer' });
  const furniture = await furnished(nora);
  const state = await nora.context.storageState();
  const pages = list(furniture);
  await examined(pages, state);
  await light(pages, state);
  await scriptless(pages, state);
  await byKeyboard(nora, furniture.open);
  await others(state);
  await crowded();
});
