-- Instants in columns are microseconds since 1970 (UTC): they order and filter. Documents (`doc`) are JSON and keep
-- instants in full. Ids are the words people see (`case_…`), so that a file opened by hand explains itself.

CREATE TABLE epoch (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO epoch (one, value) VALUES (1, 0);

CREATE TABLE deliveries (
    id          TEXT PRIMARY KEY,
    source      TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    webhook_id  TEXT,
    body_hash   TEXT NOT NULL,
    answer      TEXT NOT NULL,
    body        BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX deliveries_webhook ON deliveries (source, webhook_id, body_hash) WHERE webhook_id IS NOT NULL;

-- `due_at` is null until a claim puts the signal back. AUTOINCREMENT: a number once seen is never given again.
CREATE TABLE queue (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    signal      TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    due_at      INTEGER,
    doc         TEXT NOT NULL
) STRICT;
CREATE INDEX queue_fresh ON queue (seq) WHERE due_at IS NULL;
CREATE INDEX queue_again ON queue (due_at, seq, received_at) WHERE due_at IS NOT NULL;
CREATE INDEX queue_signal ON queue (signal);

-- `tenant` and `object_id` are the identity's, both null while nobody is named.
CREATE TABLE signals (
    id               TEXT PRIMARY KEY,
    source           TEXT NOT NULL,
    tenant           TEXT,
    object_id        TEXT,
    content          TEXT NOT NULL,
    received_at      INTEGER NOT NULL,
    first_of_content INTEGER NOT NULL,
    case_id          TEXT,
    outcome          TEXT NOT NULL,
    doc              TEXT NOT NULL
) STRICT;
CREATE INDEX signals_first ON signals (source, tenant, object_id, content, received_at) WHERE first_of_content = 1;
CREATE INDEX signals_case ON signals (case_id, received_at, id) WHERE case_id IS NOT NULL;

CREATE TABLE plans (
    hash TEXT PRIMARY KEY,
    doc  TEXT NOT NULL
) STRICT;

CREATE TABLE people (
    tenant    TEXT NOT NULL,
    object_id TEXT NOT NULL,
    revision  INTEGER NOT NULL,
    owner     INTEGER,
    due_at    INTEGER,
    urgent    INTEGER NOT NULL,
    watch_at  INTEGER,
    doc       TEXT NOT NULL,
    PRIMARY KEY (tenant, object_id)
) STRICT;
CREATE INDEX people_due ON people (urgent, due_at, owner, tenant, object_id) WHERE due_at IS NOT NULL;
CREATE INDEX people_watched ON people (tenant, watch_at) WHERE watch_at IS NOT NULL;

CREATE TABLE cases (
    id        TEXT PRIMARY KEY,
    tenant    TEXT NOT NULL,
    object_id TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    state     TEXT NOT NULL,
    doc       TEXT NOT NULL
) STRICT;
-- At most one open case per identity.
CREATE UNIQUE INDEX cases_open_person ON cases (tenant, object_id) WHERE closed_at IS NULL;
CREATE INDEX cases_time ON cases (opened_at, id);
CREATE INDEX cases_open_time ON cases (opened_at, id) WHERE closed_at IS NULL;
CREATE INDEX cases_person ON cases (object_id, opened_at, id);
CREATE INDEX cases_parked ON cases (id) WHERE closed_at IS NULL AND state = 'parked';

CREATE TABLE runs (
    id        TEXT PRIMARY KEY,
    case_id   TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    doc       TEXT NOT NULL
) STRICT;
CREATE INDEX runs_case ON runs (case_id, opened_at, id);
CREATE INDEX runs_open ON runs (id) WHERE closed_at IS NULL;

CREATE TABLE journal (
    run TEXT NOT NULL,
    seq INTEGER NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE effects (
    key         TEXT PRIMARY KEY,
    run         TEXT NOT NULL,
    state       TEXT NOT NULL,
    intended_at INTEGER NOT NULL,
    doc         TEXT NOT NULL
) STRICT;
CREATE INDEX effects_run ON effects (run, intended_at, key);
CREATE INDEX effects_unknown ON effects (key) WHERE state = 'unknown';

CREATE TABLE tasks (
    id         TEXT PRIMARY KEY,
    revision   INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    open       INTEGER NOT NULL,
    tenant     TEXT,
    object_id  TEXT,
    case_id    TEXT,
    created_at INTEGER NOT NULL,
    doc        TEXT NOT NULL
) STRICT;
CREATE INDEX tasks_time ON tasks (created_at, id);
CREATE INDEX tasks_open_time ON tasks (created_at, id) WHERE open = 1;
CREATE INDEX tasks_open_kind ON tasks (kind, created_at) WHERE open = 1;
CREATE INDEX tasks_person ON tasks (object_id, created_at, id) WHERE object_id IS NOT NULL;
CREATE INDEX tasks_case ON tasks (case_id, created_at, id) WHERE case_id IS NOT NULL;

CREATE TABLE sealed (
    task TEXT PRIMARY KEY,
    doc  TEXT NOT NULL
) STRICT;

CREATE TABLE buried (
    id             TEXT PRIMARY KEY,
    at             INTEGER NOT NULL,
    state          TEXT NOT NULL,
    doc            TEXT NOT NULL,
    content        TEXT NOT NULL,
    settled_by     TEXT,
    settled_reason TEXT,
    settled_at     INTEGER
) STRICT;
CREATE INDEX buried_time ON buried (at, id);
CREATE INDEX buried_open ON buried (at, id) WHERE state = 'buried';

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    doc TEXT NOT NULL
) STRICT;

-- One row a person: the latest instant counted, which is all a cap over "since" needs.
CREATE TABLE revocations (
    tenant    TEXT NOT NULL,
    object_id TEXT NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (tenant, object_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_time ON revocations (tenant, at);

CREATE TABLE waiting (
    signal  TEXT PRIMARY KEY,
    due_at  INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    reason  TEXT NOT NULL,
    doc     TEXT NOT NULL
) STRICT;
CREATE INDEX waiting_due ON waiting (due_at, signal);

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    doc TEXT NOT NULL
) STRICT;

CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    hash       TEXT NOT NULL UNIQUE,
    scopes     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;
