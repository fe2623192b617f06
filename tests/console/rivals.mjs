// Two reviewers, each with a browser and an authenticator of their own, against `oust serve` and `oust twin`: who comes
// second is told so, nobody but the deciding browser gets the password, and what changed meanwhile stops the reset.
//
// usage: NODE_PATH=… node tests/console/rivals.mjs OUST PICTURES      (tests/console/run runs it)

import assert from 'node:assert/strict';
import { HOME, Reviewer, Stage, playbook, step, until } from './stage.mjs';

const [oust, pictures] = process.argv.slice(2);
const TOKEN = 'Anomalous Token';
const stage = await Stage.build({
  oust, pictures, name: 'rivals',
  playbooks: {
    'token-theft': playbook('token-theft', 'anomalous_token', 'on_call'),
    'both-agree': playbook('both-agree', 'anonymized_ip', 'pair'),
    'in-a-hurry': playbook('in-a-hurry', 'atypical_travel', 'hasty'),
    'with-risk': playbook('with-risk', 'impossible_travel', 'on_call', ['read_user', 'read_risk']),
  },
});
const { twin } = stage;

/** Somebody at risk, and the reset that waits. */
async function waiting(local, title = TOKEN, more = {}) {
  const person = await twin.person(local, `${local[0].toUpperCase()}${local.slice(1)} Example`);
  await stage.alert(person, title, more);
  return { person, task: await stage.reset(person) };
}

const resets = (person) => twin.count(person, 'resetPassword');
const asked = async (person) => (await twin.calls(person)).filter((call) => call.verb === 'resetPassword').length;
const problem = (reviewer) => reviewer.tab.locator('.decide [data-problem]');

/** Presses both buttons; both proofs are on their way before either may arrive. */
async function atOnce(...presses) {
  const held = await Promise.all(presses.map(([reviewer]) => reviewer.hold('**/console/decide/finish')));
  const answers = presses.map(([reviewer]) => reviewer.answer('/decide/finish'));
  await Promise.all(presses.map(([reviewer, name]) => reviewer.button(name).click()));
  await Promise.all(held.map((one) => one.here));
  await Promise.all(held.map((one) => one.release()));
  return Promise.all(answers.map(async (answer) => (await answer).status()));
}

async function approveAgainstDeny(nora, omar) {
  const { person, task } = await waiting('grace');
  await Promise.all([nora.open(task), omar.open(task)]);
  await omar.tab.getByLabel('Reason').fill('she is on holiday there');
  const statuses = await atOnce([nora, 'Approve'], [omar, 'Deny']);
  assert.deepEqual([...statuses].sort(), [200, 409], 'exactly one wins');
  const approved = statuses[0] === 200;
  const [winner, loser, what] = approved ? [nora, omar, 'approved'] : [omar, nora, 'denied'];
  const said = problem(loser);
  await said.getByText(new RegExp(`already ${what}`)).waitFor();
  assert.match(await said.innerText(), new RegExp(`${winner.name}`), 'the loser is told who');
  assert.match(await said.innerText(), /\d{2}:\d{2}/, 'and when');
  await loser.tab.getByText(approved ? 'Approved' : 'Denied', { exact: false }).first().waitFor();
  await loser.picture('rivals-loser');
  if (approved) {
    await nora.dialog.waitFor();
    await nora.passOn();
    await loser.tab.getByText('Done, password passed on').first().waitFor();
  } else {
    await stage.becomes(task.id, 'denied');
    await loser.tab.locator('#main').getByText(/^Denied$/).first().waitFor();
  }
  await loser.tab.getByText(new RegExp(`already ${what}`)).waitFor();
  assert.equal(await resets(person), approved ? 1 : 0);
  step(`approve and deny at once: ${what} stood, and the other was told who, when and what`);
}

async function denyOutranksBeforeTheClaim(nora, omar) {
  const { person, task } = await waiting('henry');
  await nora.open(task);
  // The browser says nothing of its presence: the approved reset waits for it.
  await nora.tab.route('**/presence', (route) => route.abort());
  await nora.button('Approve').click();
  await stage.becomes(task.id, 'approved');
  await omar.open(task);
  await omar.tab.getByLabel('Reason').fill('wrong person');
  await omar.button('Deny').click();
  await stage.becomes(task.id, 'revoked');
  await omar.tab.getByText('Approval taken back').first().waitFor();
  await nora.tab.getByText('Approval taken back').first().waitFor();
  await nora.tab.unroute('**/presence');
  assert.equal(await asked(person), 0);
  step('a denial after the approval takes it back; both pages say so, and no reset was asked for');
}

async function twiceFromTwoTabs(nora) {
  const { person, task } = await waiting('irene');
  const second = await nora.another();
  await Promise.all([nora.open(task), second.open(task)]);
  const statuses = await atOnce([nora, 'Approve'], [second, 'Approve']);
  assert.deepEqual([...statuses].sort(), [200, 409], 'the second is refused');
  const [winner, loser] = statuses[0] === 200 ? [nora, second] : [second, nora];
  await winner.dialog.waitFor();
  await stage.becomes(task.id, 'sealed');
  const password = await winner.password();
  assert.equal(await resets(person), 1);
  step('approved twice from two tabs: one reset');
  await loser.tab.close();
  if (loser === nora) Object.assign(nora, { tab: second.tab, devtools: second.devtools, authenticatorId: second.authenticatorId });
  return { person, task, password };
}

async function nobodyElse(nora, omar, { task, password }) {
  await omar.open(task);
  await omar.tab.getByText('Nobody else can open it.', { exact: false }).waitFor();
  assert.equal(await omar.tab.getByRole('dialog').count(), 0);
  const key = await nora.tab.locator('[data-reveal]').getAttribute('data-key');
  const where = `/console/tasks/${task.id}`;
  for (const deed of ['reveal', 'acknowledge', 'presence']) {
    const refused = await omar.post(`${where}/${deed}`, { key });
    assert.equal(refused.status, 403, `${deed}: ${refused.text}`);
    assert.match(refused.text, /nobody else can fetch it/, deed);
    assert.ok(!/ciphertext|"enc"/.test(refused.text));
  }
  await omar.picture('rivals-not-yours');
  step('another approver cannot reveal it, not by asking for it either, and the page says why');

  const elsewhere = await Reviewer.open(stage, nora.name, {}, await nora.keys());
  await elsewhere.goto(`/console/sign-in?next=${encodeURIComponent(where)}`);
  await elsewhere.button('Sign in with a passkey').click();
  await elsewhere.heading('Task').waitFor();
  await elsewhere.tab.getByText('This is not the browser that approved.').waitFor();
  assert.equal(await elsewhere.tab.getByRole('dialog').count(), 0);
  const own = await elsewhere.tab.evaluate(async () => {
    const pair = await crypto.subtle.generateKey({ name: 'ECDH', namedCurve: 'P-256' }, false, ['deriveBits']);
    const raw = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
    return btoa(String.fromCharCode(...raw)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  });
  const refused = await elsewhere.post(`${where}/reveal`, { key: own });
  assert.equal(refused.status, 403, refused.text);
  assert.ok(!(await elsewhere.tab.content()).includes(password));
  await elsewhere.picture('rivals-elsewhere');
  const used = await elsewhere.keys();
  await elsewhere.context.close();
  await nora.take(used);
  step('the same reviewer in another browser is told that it is not the one, and gets nothing');

  await nora.passOn();
  const late = await nora.post(`${where}/reveal`, { key });
  assert.ok([409, 410].includes(late.status), `a second time: ${late.status} ${late.text}`);
}

async function fourEyes(nora, omar) {
  const { person, task } = await waiting('jules', 'Anonymous IP address');
  await nora.open(task);
  await nora.tab.getByText('It is executed once 2 people approved.').waitFor();
  await nora.button('Approve').click();
  await nora.tab.getByText('1 of 2 approvals').waitFor();
  await nora.tab.getByText('You approved it already; it needs 2 persons.', { exact: false }).waitFor();
  assert.equal(await nora.button('Approve').count(), 0);
  await nora.tab.locator('#wire[data-state=live]').waitFor();
  await omar.open(task);
  await omar.button('Approve').click();
  await omar.dialog.waitFor();
  await nora.tab.getByText('It is sealed to the browser of omar.', { exact: false }).waitFor();
  assert.equal(await nora.tab.getByRole('dialog').count(), 0);
  const password = await omar.password();
  assert.equal((await twin.ask('login', { user: person.id, password, new_password: 'Own-4-words-of-9x', origin: HOME })).status, 200);
  await omar.passOn();
  assert.equal(await resets(person), 1);
  step('four eyes: the last approver received it, the first one saw whose it is');
}

async function noLongerEntitled(omar) {
  const { person, task } = await waiting('karen');
  const pia = await stage.reviewer('pia');
  // A page that hears of it takes the buttons away.
  await pia.deaf();
  await pia.open(task);
  await stage.cli('reviewer', 'invite', 'pia', '--role', 'viewer', '--url', stage.origin);
  await pia.button('Approve').click();
  await problem(pia).getByText(/role|may not|not allowed|approver/i).first().waitFor();
  await pia.picture('rivals-demoted');
  await pia.context.close();
  await stage.becomes(task.id, 'pending');
  step('demoted between reading and pressing: refused');

  const quinn = await stage.reviewer('quinn');
  // A page that hears of it goes to the sign-in.
  await quinn.deaf();
  await quinn.open(task);
  const held = await quinn.hold('**/console/decide/finish');
  const answer = quinn.answer('/decide/finish');
  await quinn.button('Approve').click();
  await held.here;
  await stage.cli('reviewer', 'disable', 'quinn');
  await held.release();
  assert.ok([401, 403].includes((await answer).status()), `refused, not ${(await answer).status()}`);
  await quinn.goto(`/console/tasks/${task.id}`);
  await quinn.heading('Sign in').waitFor();
  await quinn.context.close();
  await stage.becomes(task.id, 'pending');
  assert.equal(await asked(person), 0);
  step('disabled while the passkey was being touched: refused, and signed out');

  // The same task is still there for somebody who may.
  await omar.open(task);
  await omar.tab.getByLabel('Reason').fill('not needed any more');
  await omar.button('Deny').click();
  await stage.becomes(task.id, 'denied');
}

async function changedMeanwhile(nora) {
  const dismissed = (person) => twin.admin('POST', 'identityProtection/riskyUsers/dismiss', { userIds: [person.id] });
  const disabled = (person) => twin.admin('PATCH', `users/${person.id}`, { accountEnabled: false });
  const deleted = (person) => twin.ask(`users/${person.id}`, null, 'DELETE');
  for (const [local, what, change, words] of [
    ['laura', 'the risk was dismissed', dismissed, /dismissed/i],
    ['lorenz', 'the account was disabled', disabled, /disabled/i],
    ['mario', 'the account was deleted', deleted, /no longer in the directory/i],
  ]) {
    const { person, task } = await waiting(local, 'Impossible travel');
    await twin.ask('detections', { user: person.id });
    await nora.open(task);
    await change(person);
    await nora.button('Approve').click();
    await stage.becomes(task.id, 'cancelled');
    // Whoever is gone may be restored: somebody has to look.
    await nora.tab.getByText(change === deleted ? 'Goes on by hand' : 'Cancelled', { exact: true }).first().waitFor();
    await nora.picture(`rivals-${local}`);
    assert.equal(await nora.tab.getByRole('dialog').count(), 0);
    if (change === deleted) await nora.tab.locator('.crumbs a', { hasText: 'Case' }).click();
    await nora.tab.locator('#main').getByText(words).first().waitFor();
    assert.equal(await asked(person), 0, `${what}: no reset was asked for`);
    step(`${what} between reading and pressing: no reset, and it is said why`);
  }
}

/** What identity protection pushes when an administrator dismissed the risk of somebody. */
const noLongerAtRisk = (person) => ({
  '@odata.type': '#microsoft.graph.riskyUser', id: person.id, isDeleted: false, isProcessing: false, riskLevel: 'none',
  riskState: 'dismissed', riskDetail: 'none', riskLastUpdatedDateTime: new Date().toISOString(), userDisplayName: person.name,
  userPrincipalName: person.upn,
});

/** A page that missed it is refused when it is submitted, and when the passkey was touched for what it showed. */
async function toldTheDifference(nora) {
  for (const [local, when] of [['lydia', 'reading and pressing'], ['lars', 'pressing and the touch']]) {
    const { person, task } = await waiting(local);
    await nora.deaf();
    await nora.open(task);
    const shown = Number(await nora.tab.locator('form[data-decide] [name=revision]').inputValue());
    const touched = local === 'lars';
    const held = touched ? await nora.hold('**/console/decide/finish') : null;
    const answer = nora.answer(touched ? '/decide/finish' : '/decide/begin');
    if (touched) {
      await nora.button('Approve').click();
      await held.here;
    }
    await stage.send(noLongerAtRisk(person));
    await until(`${person.name} to be known as no longer at risk`, async () => (await stage.task(task.id)).revision > shown);
    if (touched) await held.release();
    else await nora.button('Approve').click();
    assert.equal((await answer).status(), 409, `between ${when}`);
    const said = problem(nora);
    await said.getByText(/^risk: shown open, now .*dismissed, told by sentinel/).waitFor();
    await said.getByText('Load it again').waitFor();
    assert.equal(await nora.tab.getByRole('dialog').count(), 0);
    await nora.picture(`rivals-difference-${local}`);
    await nora.listen();
    await stage.becomes(task.id, 'pending', 'escalated');
    await said.getByText('Load it again').click();
    await nora.tab.getByLabel('Reason').fill('no longer at risk');
    await nora.button('Deny').click();
    await stage.becomes(task.id, 'denied');
    assert.equal(await asked(person), 0, 'no reset was asked for');
    step(`the risk was dismissed between ${when}: 409, and the page shows what differs`);
  }
}

async function newerEvidence(nora) {
  const began = new Date(Date.now() - 3_600_000).toISOString();
  const { person, task } = await waiting('nadia', TOKEN, { activity_at: began });
  await nora.open(task);
  await nora.tab.locator('#wire[data-state=live]').waitFor();
  const revision = await nora.tab.locator('form[data-decide] [name=revision]').inputValue();
  const digest = await nora.tab.locator('form[data-decide] [name=digest]').inputValue();
  for (const minutes of [50, 40]) {
    await stage.alert(person, TOKEN, { activity_at: new Date(Date.now() - minutes * 60_000).toISOString() });
  }
  await nora.tab.getByText('2 newer items').first().waitFor();
  assert.equal(await nora.tab.locator('form[data-decide] [name=digest]').inputValue(), digest, 'what is decided is the same');
  assert.equal(await nora.tab.locator('form[data-decide] [name=revision]').inputValue(), revision);
  await nora.picture('rivals-newer');
  await nora.button('Approve').click();
  await nora.dialog.waitFor();
  await nora.passOn();
  assert.equal(await resets(person), 1);
  step('newer evidence is shown and stops nothing');
}

async function staleTab(nora, omar) {
  const { task } = await waiting('oscar', 'Anonymous IP address');
  await nora.deaf();
  await nora.open(task);
  await omar.open(task);
  await omar.button('Approve').click();
  await omar.tab.getByText('1 of 2 approvals').waitFor();
  await nora.button('Approve').click();
  await problem(nora).getByText('Load it again').waitFor();
  await nora.picture('rivals-stale');
  assert.equal(await nora.tab.getByRole('dialog').count(), 0);
  await nora.listen();
  await problem(nora).getByText('Load it again').click();
  await nora.tab.getByText('1 of 2 approvals').waitFor();
  await nora.button('Approve').click();
  await nora.dialog.waitFor();
  await nora.passOn();
  step('a page that missed a vote is refused and told to load again; then it is accepted');
}

async function comesBack(nora) {
  const { person, task } = await waiting('paula');
  await nora.open(task);
  // It is closed before it could say that it is there.
  await nora.tab.route('**/presence', (route) => route.abort());
  await nora.button('Approve').click();
  await stage.becomes(task.id, 'approved');
  await nora.tab.getByText('No connection to the server. The password is set only while', { exact: false }).waitFor();
  const keys = await nora.keys();
  await nora.tab.close();
  Object.assign(nora, { tab: await nora.context.newPage() });
  await nora.plug(nora.tab, keys);
  await nora.goto('/console/tasks');
  await nora.tab.getByText('Open this page to continue').waitFor();
  assert.equal(await asked(person), 0);
  await nora.picture('rivals-continue');
  await nora.open(task);
  await nora.dialog.waitFor();
  await nora.passOn();
  assert.equal(await resets(person), 1);
  step('a closed tab holds it back; opening the page again in the same browser goes on');
}

async function neverComesBack(omar) {
  const { person, task } = await waiting('ralph', 'Atypical travel');
  const sven = await stage.reviewer('sven');
  await sven.open(task);
  await sven.tab.route('**/console/decide/finish', async (route) => {
    const answer = await route.fetch();
    assert.equal(answer.status(), 200);
    // Recorded; its browser ends before it hears of it.
    sven.context.close().catch(() => null);
  });
  const closed = new Promise((done) => { sven.context.on('close', done); });
  await sven.button('Approve').click().catch(() => null);
  await closed;
  await omar.open(task);
  await omar.tab.getByText('Nobody else can open it.', { exact: false }).or(omar.tab.getByText('Approved, never executed')).first().waitFor();
  await stage.becomes(task.id, 'lapsed');
  await omar.tab.getByText('Approved, never executed').first().waitFor();
  await omar.picture('rivals-lapsed');
  assert.equal(await asked(person), 0, 'no reset ever reached Microsoft');
  const old = (await twin.ask(`users/${person.id}/initial-password`)).body.password;
  assert.equal((await twin.ask('login', { user: person.id, password: old, origin: HOME })).status, 200, 'the old password stands');
  step('the approver’s browser was closed before execution: it lapsed, and the password is what it was');
}

stage.play(async () => {
  await stage.serve();
  const [nora, omar] = [await stage.reviewer('nora'), await stage.reviewer('omar')];
  await approveAgainstDeny(nora, omar);
  await denyOutranksBeforeTheClaim(nora, omar);
  await nobodyElse(nora, omar, await twiceFromTwoTabs(nora));
  await fourEyes(nora, omar);
  await noLongerEntitled(omar);
  await changedMeanwhile(nora);
  await toldTheDifference(nora);
  await newerEvidence(nora);
  await staleTab(nora, omar);
  await comesBack(nora);
  await neverComesBack(omar);
});
