-- People who may sign in. `disabled_at` is the truth about it; the document's copy is not read.
CREATE TABLE reviewers (
    id          TEXT COLLATE "C" PRIMARY KEY,
    handle      TEXT COLLATE "C" NOT NULL UNIQUE,
    created_at  BIGINT NOT NULL,
    disabled_at BIGINT,
    doc         TEXT NOT NULL
);

-- Accounts elsewhere: `entra:<tenant>` and object id, or an issuer and its subject. Each is one person's.
CREATE TABLE reviewer_accounts (
    issuer   TEXT COLLATE "C" NOT NULL,
    subject  TEXT COLLATE "C" NOT NULL,
    reviewer TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (issuer, subject)
);

CREATE TABLE invites (
    hash       TEXT COLLATE "C" PRIMARY KEY,
    reviewer   TEXT COLLATE "C" NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT
);
CREATE INDEX invites_open ON invites (reviewer) WHERE used_at IS NULL;

CREATE TABLE credentials (
    id              TEXT COLLATE "C" PRIMARY KEY,
    reviewer        TEXT COLLATE "C" NOT NULL,
    name            TEXT NOT NULL,
    counter         BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    used_at         BIGINT,
    disabled_at     BIGINT,
    disabled_reason TEXT,
    doc             TEXT NOT NULL
);
CREATE INDEX credentials_reviewer ON credentials (reviewer, created_at, id);

-- `hash` is of the cookie's value: nobody signs in with what stands here.
CREATE TABLE sessions (
    hash       TEXT COLLATE "C" PRIMARY KEY,
    reviewer   TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL,
    ended_at   BIGINT,
    doc        TEXT NOT NULL
);
CREATE INDEX sessions_open ON sessions (reviewer) WHERE ended_at IS NULL;
CREATE INDEX sessions_time ON sessions (created_at);

CREATE TABLE challenges (
    id         TEXT COLLATE "C" PRIMARY KEY,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT,
    doc        TEXT NOT NULL
);
CREATE INDEX challenges_time ON challenges (expires_at);

CREATE TABLE proofs (
    challenge TEXT COLLATE "C" NOT NULL,
    task      TEXT COLLATE "C" NOT NULL,
    at        BIGINT NOT NULL,
    doc       TEXT NOT NULL,
    PRIMARY KEY (challenge, task)
);
CREATE INDEX proofs_task ON proofs (task, at, challenge);
