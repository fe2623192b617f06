// Where a temporary password goes: from the worker to Microsoft in one request, sealed to one browser, and nowhere else.
// Real processes; the password is known because the browser of this test opened it. Then everything that they wrote, sent
// and answered is searched for it in every notation: database and its log, spool, queue, log lines at debug, traces,
// metrics, answers, process list. That the search finds things is shown first, and for every place with something that
// has to be there.
//
// Against the embedded store and queue; and against PostgreSQL and RabbitMQ where OUST_TEST_POSTGRES and OUST_TEST_AMQP
// name them (tests/servers).
//
// usage: NODE_PATH=… node tests/console/leak.mjs OUST PICTURES      (tests/console/run runs it)

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile, readdir, readlink, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect, createServer as createProxy } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { HOME, Stage, freePort, playbook, step, until } from './stage.mjs';

const [oust, pictures, only] = process.argv.slice(2);
const run = promisify(execFile);
const big = { maxBuffer: 1 << 30, encoding: 'buffer' };

// ── notations ──

const escaped = (text, replace) => [...text].map((c) => (/[A-Za-z0-9]/.test(c) ? c : replace(c))).join('');
const hex4 = (c) => c.charCodeAt(0).toString(16).padStart(4, '0');
const hex2 = (c) => c.charCodeAt(0).toString(16).padStart(2, '0');
const HTML = { '&': ['&amp;', '&#38;', '&#x26;'], '<': ['&lt;', '&#60;', '&#x3c;'], '>': ['&gt;', '&#62;', '&#x3e;'], '"': ['&quot;', '&#34;', '&#x22;'], "'": ['&#39;', '&#39;', '&#x27;'] };

/** Every notation of a text: what it is called, and its bytes. */
export function notations(text) {
  const bytes = Buffer.from(text);
  const found = new Map();
  const put = (name, value) => { if (![...found.values()].some((known) => known.equals(Buffer.from(value)))) found.set(name, Buffer.from(value)); };
  put('clear', bytes);
  // A page of a database or a cut in a log may split it.
  for (let at = 0; at + 12 <= bytes.length; at += 4) put(`12 characters from ${at}`, bytes.subarray(at, at + 12));
  put('12 characters at the end', bytes.subarray(-12));
  put('UTF-16LE', Buffer.from(text, 'utf16le'));
  put('UTF-16BE', Buffer.from(text, 'utf16le').swap16());
  for (const [name, kind] of [['base64', 'base64'], ['base64url', 'base64url']]) {
    for (let offset = 0; offset < 3; offset += 1) {
      const whole = Buffer.concat([Buffer.alloc(offset), bytes]).toString(kind).replaceAll('=', '');
      const end = (offset + bytes.length) % 3 ? -1 : undefined;
      put(`${name} after ${offset} bytes`, whole.slice([0, 2, 3][offset], end));
    }
  }
  const hex = bytes.toString('hex');
  put('hex', hex);
  put('HEX', hex.toUpperCase());
  put('bytes in decimal', [...bytes].join(', '));
  put('bytes in JSON', [...bytes].join(','));
  put('percent, components', encodeURIComponent(text));
  put('percent, form', new URLSearchParams({ x: text }).toString().slice(2));
  put('percent, all but letters', escaped(text, (c) => `%${hex2(c).toUpperCase()}`));
  put('percent, small', escaped(text, (c) => `%${hex2(c)}`));
  put('percent, everything', [...text].map((c) => `%${hex2(c).toUpperCase()}`).join(''));
  const json = JSON.stringify(text).slice(1, -1);
  put('JSON', json);
  put('JSON in JSON', JSON.stringify(json).slice(1, -1));
  put('JSON, slashes', json.replaceAll('/', '\\/'));
  put('JSON, \\u', escaped(text, (c) => `\\u${hex4(c)}`));
  put('JSON, \\U', escaped(text, (c) => `\\u${hex4(c).toUpperCase()}`));
  put('JSON, \\u everything', [...text].map((c) => `\\u${hex4(c)}`).join(''));
  for (let n = 0; n < 3; n += 1) put(`HTML ${n}`, [...text].map((c) => HTML[c]?.[n] ?? c).join(''));
  put('SQL', text.replaceAll("'", "''"));
  return found;
}

/** The first notation of a secret in some bytes. */
export function find(haystack, secret) {
  for (const [name, needle] of secret) if (haystack.includes(needle)) return name;
  return null;
}

function searchFinds(text) {
  const secret = notations(text);
  for (const [name, needle] of secret) {
    for (const around of [0, 1, 7, 4095]) {
      const whole = Buffer.concat([randomBytes(around), needle, randomBytes(9)]);
      assert.ok(find(whole, secret), `${name} is found`);
    }
  }
  for (const kind of ['base64', 'base64url', 'hex']) {
    for (let before = 0; before < 6; before += 1) {
      const whole = Buffer.from(Buffer.concat([randomBytes(before), Buffer.from(text), randomBytes(5)]).toString(kind));
      assert.match(find(whole, secret) ?? 'nothing', kind === 'hex' ? /hex/ : /base64/, `inside ${kind} after ${before} bytes`);
    }
  }
  for (const name of secret.keys()) {
    const spoiled = Buffer.from(secret.get(name));
    for (let at = 3; at < spoiled.length; at += 8) spoiled[at] ^= 1;
    assert.equal(find(spoiled, secret), null, `${name} with other bits is something else`);
  }
  return secret.size;
}

// ── listeners in between ──

/** Forwards every byte to a port and keeps it. */
async function recorder(to) {
  const kept = [];
  const server = createProxy((client) => {
    const upstream = connect(to(), '127.0.0.1');
    const one = { up: [], down: [] };
    kept.push(one);
    client.on('data', (bytes) => one.up.push(bytes));
    upstream.on('data', (bytes) => one.down.push(bytes));
    client.pipe(upstream).pipe(client);
    for (const [socket, other] of [[client, upstream], [upstream, client]]) socket.on('error', () => other.destroy());
  });
  await new Promise((ready) => { server.listen(0, '127.0.0.1', ready); });
  const all = (side) => Buffer.concat(kept.flatMap((one) => [...one[side], Buffer.from('\n')]));
  return { port: server.address().port, up: () => all('up'), down: () => all('down') };
}

/** An OpenTelemetry collector that believes everything. */
async function collector() {
  const bodies = [];
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts);
    bodies.push(request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body);
    response.writeHead(200, { 'Content-Type': 'application/x-protobuf' }).end();
  });
  await new Promise((ready) => { server.listen(0, '127.0.0.1', ready); });
  return { port: server.address().port, all: () => Buffer.concat(bodies) };
}

// ── places ──

async function filesBelow(folder) {
  const found = [];
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  for (const entry of entries.filter((one) => one.isFile())) {
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    // It may go while it is looked at.
    const bytes = await readFile(file).catch(() => null);
    if (bytes) found.push([file, bytes]);
  }
  return found;
}

/** Every value of every table, as it is. */
const ROWS = `
import sqlite3, sys
db = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)
db.text_factory = bytes
out = sys.stdout.buffer
for (name,) in db.execute("select name from sqlite_master where type = 'table'").fetchall():
    for row in db.execute('select * from "' + name.decode() + '"'):
        for value in row:
            out.write(value if isinstance(value, bytes) else str(value).encode())
            out.write(b'\\n')
`;

async function processList(processes) {
  const found = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    found.push(await readFile(`/proc/${pid}/cmdline`).catch(() => Buffer.alloc(0)));
  }
  for (const { child } of processes.filter((one) => !one.over)) {
    found.push(await readFile(`/proc/${child.pid}/environ`), await readFile(`/proc/${child.pid}/cmdline`));
    assert.match(await readlink(`/proc/${child.pid}/exe`), /oust/);
  }
  return Buffer.concat(found.flatMap((one) => [one, Buffer.from('\n')]));
}

/** What is kept where, for one kind of store and queue. */
const EMBEDDED = {
  name: 'embedded',
  settings: async () => 'store: sqlite:oust.db\nqueue: embedded\n',
  of_role: () => '',
  roles: ['receiver,worker,poller', 'console'],
  async kept(stage) {
    const { stdout } = await run('python3', ['-c', ROWS, path.join(stage.folder, 'oust.db')], big);
    return [['tables', stdout]];
  },
};

const SHARED = {
  name: 'shared',
  async settings() {
    const url = new URL(process.env.OUST_TEST_POSTGRES);
    this.database_name = `leak_${randomBytes(4).toString('hex')}`;
    await run('psql', [url.href, '-qc', `create database ${this.database_name}`]);
    const at = new URL(url);
    at.pathname = `/${this.database_name}`;
    this.url = at.href;
    const ask = async (sql) => (await run('psql', [at.href, '-Atqc', sql])).stdout.trim();
    this.data = await ask('show data_directory');
    this.oid = await ask(`select oid from pg_database where datname = '${this.database_name}'`);
    return `store: ${at.href}\nqueue: { url: ${process.env.OUST_TEST_AMQP}, prefix: ${this.database_name} }\n`;
  },
  of_role: (roles) => (roles === 'receiver' ? 'spool: receiver.spool\n' : ''),
  roles: ['receiver', 'worker,poller', 'console'],
  async kept() {
    await run('psql', [this.url, '-qc', 'checkpoint']);
    const { stdout } = await run('pg_dump', [this.url, '--inserts'], big);
    const broker = (process.env.OUST_TEST_SERVERS ?? '').split(':').filter((folder) => /rabbitmq/.test(folder));
    const files = (await Promise.all([path.join(this.data, 'base', this.oid), path.join(this.data, 'pg_wal'), ...broker].map(filesBelow))).flat();
    assert.ok(files.length > 10, `the files of PostgreSQL in ${this.data}`);
    return [['tables', stdout], ...files];
  },
  async over() { await run('psql', [process.env.OUST_TEST_POSTGRES, '-qc', `drop database if exists ${this.database_name} with (force)`]); },
};

// ── the run ──

const DETECTED = 'Anomalous Token';

async function house(kind) {
  // What may be found: it goes the way of every text that people type.
  const marker = 'mk7-Nq.44+zT9%mK2wXe=/"\\<&\'Rv8';
  const settings = await kind.settings();
  const spans = await collector();
  const [microsoft, browsers] = [await recorder(() => twinPort), await recorder(() => ports[ports.length - 1])];
  let twinPort = 0;
  const ports = await Promise.all(kind.roles.map(() => freePort()));
  const stage = await Stage.build({
    oust, pictures, name: `leak-${kind.name}`,
    playbooks: { 'token-theft': playbook('token-theft', 'anomalous_token', 'on_call', ['read_user', 'read_risk', 'read_auth_methods']) },
    before: (one) => { twinPort = Number(new URL(one.graph).port); one.graph = `http://127.0.0.1:${microsoft.port}/`; one.port = ports[0]; },
    config: () => `public_url: http://localhost:${browsers.port}\n${settings}telemetry: { log: json, level: debug, otlp: "http://127.0.0.1:${spans.port}" }\n`,
  });
  stage.origin = `http://localhost:${browsers.port}`;
  return { kind, marker, stage, spans, microsoft, browsers, ports };
}

/** Everything there is at one moment: [place, bytes]. */
async function everything({ kind, stage, spans, browsers, ports }, answers) {
  const metrics = await Promise.all(ports.map(async (port) => Buffer.from(await (await fetch(`http://127.0.0.1:${port}/metrics`)).arrayBuffer())));
  const files = (await filesBelow(stage.folder)).map(([file, bytes]) => [`file ${path.relative(stage.folder, file)}`, bytes]);
  return [
    ...files,
    ...await kind.kept(stage),
    ['traces', spans.all()],
    ['metrics', Buffer.concat(metrics)],
    ['answers to browsers', browsers.down()],
    ['what browsers sent', browsers.up()],
    ['answers to programs', Buffer.concat(answers)],
    ['process list', await processList(stage.processes)],
  ];
}

async function play(one) {
  const { kind, marker, stage, spans, microsoft, browsers, ports } = one;
  const { twin } = stage;
  for (const [at, roles] of kind.roles.entries()) {
    const config = path.join(stage.folder, `${roles.split(',')[0]}.yaml`);
    await writeFile(config, stage.text.replace(/listen: \S+/, `listen: 127.0.0.1:${ports[at]}`) + kind.of_role(roles));
    await stage.serve({ roles, config, port: ports[at], log: `${roles.split(',')[0]}.log` });
  }
  const nora = await stage.reviewer('nora');
  const { tab } = nora;
  const person = await twin.person('grace', 'Grace Example');
  await stage.alert(person, DETECTED);
  const task = await stage.reset(person);
  await nora.open(task);
  await tab.getByLabel('Reason').fill(marker);
  await nora.button('Approve').click();
  await nora.dialog.waitFor();

  const token = (await stage.cli('token', 'create', 'leak-test')).token;
  const answers = [];
  const look = async () => {
    const read = async (page) => {
      const answer = await fetch(`http://127.0.0.1:${ports.at(-1)}/api/v1/${page}`, { headers: { Authorization: `Bearer ${token}` } });
      const bytes = Buffer.from(await answer.arrayBuffer());
      assert.equal(answer.status, 200, `/api/v1/${page}: ${bytes}`);
      answers.push(bytes);
      return JSON.parse(bytes);
    };
    for (const page of ['overview', 'cases', 'tasks', `tasks/${task.id}`, 'buried', 'audit', 'pause']) await read(page);
    const found = await read(`cases/${task.case}`);
    const [runs, signals] = [found.runs.map((one) => one.run.id), found.signals.map((one) => one.signal.id)];
    assert.ok(runs.length > 0 && signals.length > 0, 'the case has both');
    for (const page of [...runs.map((id) => `runs/${id}`), ...signals.map((id) => `signals/${id}`)]) await read(page);
    for (const args of [['task', 'show', task.id], ['case', 'show', task.case], ['audit', 'export']]) {
      const { stdout, stderr } = await run(oust, [...args, '--config', stage.config], big).catch((error) => error);
      answers.push(stdout, stderr);
    }
  };
  await look();
  const moments = { 'while it was sealed': await everything(one, answers) };
  const password = await nora.password();
  await nora.button('Copy password').click();
  await tab.reload();
  assert.equal(await nora.password(), password);
  moments['while it was shown'] = await everything(one, answers);
  await nora.passOn();
  const changed = await twin.ask('login', { user: person.id, password, new_password: 'Own-4-words-of-9x', origin: HOME });
  assert.equal(changed.status, 200, 'it was the password');
  for (const where of [`/console/tasks/${task.id}`, `/console/cases/${task.case}`, '/console/audit', '/console/overview', '/console']) {
    await nora.goto(where);
    await tab.locator('h1').waitFor();
  }
  await look();
  await until('spans of the reset', () => spans.all().includes('reset_password'));
  moments['after it was passed on'] = await everything(one, answers);
  await stage.browser.close();
  await Promise.all(stage.processes.map((process) => process.stop()));
  moments['after everything ended'] = [
    ...(await filesBelow(stage.folder)).map(([file, bytes]) => [`file ${path.relative(stage.folder, file)}`, bytes]),
    ...await kind.kept(stage), ['traces', spans.all()], ['answers to browsers', browsers.down()],
  ];
  return { marker, password, moments, person, task, microsoft, stage };
}

function judge(kind, { marker, password, moments, person, task, microsoft, stage }) {
  const [secret, known] = [notations(password), notations(marker)];
  const all = Object.entries(moments).flatMap(([moment, places]) => places.map(([place, bytes]) => ({ moment, place, bytes })));
  const size = Math.round(all.reduce((sum, { bytes }) => sum + bytes.length, 0) / 1024 / 1024);

  // What has to be there is there: each place was really read.
  const holds = (pattern, text, what) => {
    const found = all.some(({ place, bytes }) => pattern.test(place) && bytes.includes(text));
    assert.ok(found, `${kind.name}: ${what} holds ${text}`);
  };
  holds(/^traces/, 'reset_password', 'the collector');
  holds(/^metrics/, 'oust_time_to_revoke_seconds_count 1', 'the metrics');
  holds(/^process list/, stage.folder, 'the process list');
  holds(/^answers to browsers/, task.id, 'what browsers were answered');
  holds(/^what browsers sent/, '/acknowledge', 'what browsers sent');
  for (const roles of kind.roles) holds(new RegExp(`file ${roles.split(',')[0]}\\.log`), '"level":"DEBUG"', `the log of ${roles}`);
  for (const place of [/^tables/, /^answers to browsers/, /^answers to programs/, /^what browsers sent/]) {
    const found = all.filter((one) => place.test(one.place)).map(({ bytes }) => find(bytes, known)).find(Boolean);
    assert.ok(found, `${kind.name}: the search finds what was typed, in ${place}`);
  }
  const raw = all.filter(({ place }) => /oust\.db|\/base\/|pg_wal/.test(place)).map(({ place, bytes }) => find(bytes, known) && place).filter(Boolean);
  assert.ok(raw.length > 1, `${kind.name}: the files of the database hold what was typed`);
  assert.ok(raw.some((place) => /-wal$|pg_wal/.test(place)), `${kind.name}: its write-ahead log too: ${raw}`);
  if (kind.name === 'shared') assert.ok(all.some(({ place }) => /receiver\.spool/.test(place)), 'the spool was searched');
  assert.ok(!/content-encoding: (?!identity)/i.test(all.find(({ place }) => place === 'answers to browsers').bytes.toString('latin1')), 'nothing was compressed');

  // And the password is not.
  const leaks = all.map(({ moment, place, bytes }) => { const as = find(bytes, secret); return as && `${place} ${moment}: ${as}`; }).filter(Boolean);
  assert.deepEqual(leaks, [], `${kind.name}: the password is nowhere`);

  // But in the one request that sets it.
  const sent = microsoft.up();
  const at = [];
  for (let from = sent.indexOf(password); from >= 0; from = sent.indexOf(password, from + 1)) at.push(from);
  assert.equal(at.length, 1, 'one request to Microsoft holds it');
  const request = sent.subarray(sent.lastIndexOf('PATCH ', at[0]), at[0]).toString();
  assert.match(request, new RegExp(`^PATCH /v1.0/users/${person.id}[ ?]`));
  assert.match(request, /"forceChangePasswordNextSignIn":true|"passwordProfile":\{"password":"$/);
  const rest = Buffer.concat([sent.subarray(0, at[0]), sent.subarray(at[0] + password.length)]);
  assert.equal(find(rest, secret), null, 'nothing else to Microsoft holds it');
  assert.equal(find(microsoft.down(), secret), null, 'and no answer of Microsoft');
  step(`${kind.name}: ${all.length} places, ${size} MiB, ${secret.size} notations: only the one PATCH to Microsoft holds the password`);
}

const count = searchFinds('hk7-Nq.44+zT9%mK2wXe=/"\\<&\'Rv8');
step(`the search finds ${count} notations of a text, at any place and offset`);
const shared = process.env.OUST_TEST_POSTGRES && process.env.OUST_TEST_AMQP;
const kinds = [EMBEDDED, ...(shared ? [SHARED] : [])].filter((kind) => !only || kind.name === only);
for (const kind of kinds) {
  const one = await house(kind);
  try {
    await one.stage.play(async () => judge(kind, await play(one)), { exit: false });
  } finally {
    await kind.over?.();
  }
}
process.exit(0);
