// What reviewers do by hand in a case, in a browser: one press and one touch for what they decide themselves, another
// approver for a reset they ask for, a name for whoever nobody could name, and the end of a case.
//
// usage: NODE_PATH=… node tests/console/byhand.mjs OUST PICTURES      (tests/console/run runs it)

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { Stage, step, until } from './stage.mjs';

const [oust, pictures] = process.argv.slice(2);
const KEPT_OPEN = `name: token-theft
version: 1
description: Somebody else holds a session of this person.
on:
  signals: [anomalous_token, atypical_travel]
contain:
  - do: revoke_sessions
collect:
  - do: read_user
recover:
  - do: confirm_compromised
    approval: on_call
`;
const stage = await Stage.build({ oust, pictures, name: 'byhand', playbooks: { 'token-theft': KEPT_OPEN } });
const { twin } = stage;

/** The case of somebody, as the command line knows it. */
const caseOf = (person) => until(`a case of ${person.name}`, async () => {
  const { items } = await stage.cli('case', 'list');
  return items.find((one) => one.identity.object_id === person.id);
});

const revokes = (person, count) => until(`${count} revokes of ${person.name}`, async () => await twin.count(person, 'revokeSignInSessions') >= count);

async function atRisk(local) {
  const person = await twin.person(local, `${local[0].toUpperCase()}${local.slice(1)} Example`);
  await stage.alert(person, 'Anomalous Token');
  await revokes(person, 1);
  return { person, at: `/console/cases/${(await caseOf(person)).id}` };
}

async function revokeNow(nora) {
  const { person, at } = await atRisk('paula');
  await nora.goto(at);
  await nora.button('Revoke sessions').click();
  await revokes(person, 2);
  await nora.heading('Task').waitFor();
  await nora.tab.getByText('Revoke sessions now').first().waitFor();
  await nora.tab.locator('#main').getByText(/^Done$/).first().waitFor();
  step('one press and one touch revoke the sessions now');
}

async function withoutTouch(nora) {
  const { person, at } = await atRisk('quinn');
  await nora.goto(at);
  const { authenticatorId } = nora;
  await nora.devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false });
  await nora.button('Revoke sessions').click();
  await nora.heading('Task').waitFor();
  await nora.tab.locator('form[data-decide] [data-problem]').getByText('Not proved').waitFor();
  assert.equal(await twin.count(person, 'revokeSignInSessions'), 1, 'nothing was decided');
  await nora.devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: true });
  await nora.button('Approve').click();
  await revokes(person, 2);
  step('a passkey that was not touched decides nothing; its page says so, and decides it then');
}

async function askedReset(nora, omar) {
  const { person, at } = await atRisk('rosa');
  await nora.goto(at);
  await nora.button('Request reset').click();
  await nora.heading('Task').waitFor();
  const where = new URL(nora.tab.url()).pathname;
  await nora.tab.getByText('who does not decide').waitFor();
  assert.equal(await nora.button('Approve').count(), 0, 'whoever asked is offered no approval');
  await omar.goto(where);
  await omar.button('Approve').click();
  const password = await omar.password();
  assert.ok(password.length >= 20);
  await omar.passOn();
  const { body } = await twin.ask('login', { user: person.id, password });
  assert.deepEqual(body.error_codes, [50055], 'exactly that password, and it must be changed');
  await revokes(person, 2);
  assert.equal(await twin.count(person, 'resetPassword'), 1);
  step('a reset that one asked for is approved by another, who receives the password');
}

async function named(nora) {
  const person = await twin.person('sven', 'Sven Example');
  const text = await readFile(new URL('../fixtures/risk_detection/atypical_travel.json', import.meta.url), 'utf8');
  const now = new Date(Date.now() - 60_000).toISOString();
  await stage.send({
    ...JSON.parse(text), userId: null, userDisplayName: null, userPrincipalName: 'somebody.else@contoso.example',
    activityDateTime: now, detectedDateTime: now, lastUpdatedDateTime: now,
  });
  const held = await until('a held task', async () => (await stage.cli('task', 'list')).items.find((task) => task.kind === 'held'));
  await nora.open(held);
  await nora.tab.getByLabel('Object ID').fill(person.id);
  await nora.tab.getByRole('button', { name: /this person/ }).click();
  await revokes(person, 1);
  await stage.becomes(held.id, 'executed');
  step('a person who was named by hand is contained');
}

async function closed(nora) {
  const { at } = await atRisk('tilda');
  await nora.goto(at);
  await nora.button('Close case').click();
  await nora.tab.getByText('A reason is needed').waitFor();
  await nora.tab.locator('section[aria-labelledby=act]').getByLabel('Reason').fill('she set a new password herself');
  await nora.picture('byhand-case');
  await nora.button('Close case').click();
  await nora.heading('Task').waitFor();
  await nora.goto(at);
  await nora.tab.getByText('The case is closed.').waitFor();
  assert.equal(await nora.button('Close case').count(), 0);
  await nora.picture('byhand-closed');
  step('a case is closed with a reason, and says so');
}

/** One of three is decided by somebody else just before: the other two are recorded, and the third is named. */
async function severalAtOnce(nora, omar) {
  const people = [];
  for (const local of ['uma', 'vera', 'wanda']) people.push((await atRisk(local)).person);
  const tasks = await until('three approvals', async () => {
    const { items } = await stage.cli('task', 'list');
    const found = people.map(({ id }) => items.find((task) => task.kind === 'approval' && task.identity?.object_id === id));
    return found.every(Boolean) && found;
  });
  await nora.goto('/console/tasks');
  for (const { id } of tasks) await nora.tab.locator(`#pick-${id}`).check();
  const held = await nora.hold('**/console/decide/begin');
  await nora.button('Approve chosen').click();
  await held.here;
  await omar.open(tasks[1]);
  await omar.tab.getByLabel('Reason').fill('she is on holiday there');
  await omar.button('Deny').click();
  await stage.becomes(tasks[1].id, 'denied');
  await held.release();
  const said = nora.tab.locator('#main [data-problem], main [data-problem]').filter({ hasText: '1 of 3 were not recorded' }).first();
  await said.waitFor();
  const text = await said.innerText();
  assert.match(text, /2 decisions were recorded/, text);
  assert.match(text, /vera/i, text);
  assert.match(text, /denied/, text);
  await nora.picture('byhand-several');
  for (const at of [0, 2]) await stage.becomes(tasks[at].id, 'executed');
  step('of several decisions the one that came second is named; the others are recorded');
}

await stage.play(async () => {
  await stage.serve();
  const nora = await stage.reviewer('nora');
  const omar = await stage.reviewer('omar');
  await revokeNow(nora);
  await withoutTouch(nora);
  await askedReset(nora, omar);
  await named(nora);
  await closed(nora);
  await severalAtOnce(nora, omar);
});
