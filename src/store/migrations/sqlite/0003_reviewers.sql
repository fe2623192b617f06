-- People who may sign in. `disabled_at` is the truth about it; the document's copy is not read.
CREATE TABLE reviewers (
    id          TEXT PRIMARY KEY,
    handle      TEXT NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL,
    disabled_at INTEGER,
    doc         TEXT NOT NULL
) STRICT;

-- Accounts elsewhere: `entra:<tenant>` and object id, or an issuer and its subject. Each is one person's.
CREATE TABLE reviewer_accounts (
    issuer   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE invites (
    hash       TEXT PRIMARY KEY,
    reviewer   TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT;
CREATE INDEX invites_open ON invites (reviewer) WHERE used_at IS NULL;

CREATE TABLE credentials (
    id              TEXT PRIMARY KEY,
    reviewer        TEXT NOT NULL,
    name            TEXT NOT NULL,
    counter         INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    used_at         INTEGER,
    disabled_at     INTEGER,
    disabled_reason TEXT,
    doc             TEXT NOT NULL
) STRICT;
CREATE INDEX credentials_reviewer ON credentials (reviewer, created_at, id);

-- `hash` is of the cookie's value: nobody signs in with what stands here.
CREATE TABLE sessions (
    hash       TEXT PRIMARY KEY,
    reviewer   TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    ended_at   INTEGER,
    doc        TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_open ON sessions (reviewer) WHERE ended_at IS NULL;
CREATE INDEX sessions_time ON sessions (created_at);

CREATE TABLE challenges (
    id         TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER,
    doc        TEXT NOT NULL
) STRICT;
CREATE INDEX challenges_time ON challenges (expires_at);

CREATE TABLE proofs (
    challenge TEXT NOT NULL,
    task      TEXT NOT NULL,
    at        INTEGER NOT NULL,
    doc       TEXT NOT NULL,
    PRIMARY KEY (challenge, task)
) STRICT;
CREATE INDEX proofs_task ON proofs (task, at, challenge);
