//! Every SQL statement of the embedded store, as a constant: one test prepares each against the migrated schema.

use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::store::statement::{Name, Value};

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$doc])* pub(super) const $name: &str = $sql;)+

        /// Name and text of every statement here.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}

// The transaction of the writer.
statements! {
    BEGIN = "BEGIN IMMEDIATE";
    COMMIT = "COMMIT";
    ROLLBACK = "ROLLBACK";
    SAVEPOINT = "SAVEPOINT batch";
    RELEASE = "RELEASE batch";
    ROLLBACK_TO = "ROLLBACK TO batch";
    DATA_VERSION = "PRAGMA data_version";
    WAL_SIZE = "PRAGMA wal_checkpoint(NOOP)";
    CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)";
    NEXT_EPOCH = "UPDATE epoch SET value = value + 1 RETURNING value";

    // Deliveries and the queue.
    KNOWN_DELIVERY = "SELECT answer FROM deliveries WHERE source = ?1 AND webhook_id = ?2 AND body_hash = ?3";
    INSERT_DELIVERY = "INSERT INTO deliveries (id, source, tenant, received_at, webhook_id, body_hash, answer, body) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    DELIVERY_BODY = "SELECT body FROM deliveries WHERE id = ?1";
    PUT_DELIVERY = "INSERT INTO deliveries (id, source, tenant, received_at, webhook_id, body_hash, answer, body) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
    ENQUEUE = "INSERT INTO queue (signal, received_at, doc) VALUES (?1, ?2, ?3)";
    DEQUEUE = "DELETE FROM queue WHERE seq = ?1";
    REQUEUE = "UPDATE queue SET due_at = ?2 WHERE seq = ?1";
    QUEUED_FRESH = "SELECT seq, doc FROM queue INDEXED BY queue_fresh WHERE due_at IS NULL AND seq > ?1 \
        ORDER BY seq LIMIT ?2";
    QUEUED_AGAIN = "SELECT seq, doc FROM queue INDEXED BY queue_again WHERE due_at <= ?1 ORDER BY due_at, seq LIMIT ?2";
    QUEUED_SIGNAL = "SELECT doc FROM queue WHERE signal = ?1 LIMIT 1";
    BURY_QUEUED = "INSERT INTO buried (id, at, state, doc, content) SELECT ?2, ?4, 'buried', ?3, \
        json_quote(doc) FROM queue WHERE seq = ?1 ON CONFLICT (id) DO NOTHING";

    // Signals waiting for a name.
    PUT_WAITING = "INSERT INTO waiting (signal, due_at, attempt, reason, doc) VALUES (?1, ?2, ?3, ?4, ?5) \
        ON CONFLICT (signal) DO UPDATE SET due_at = excluded.due_at, attempt = excluded.attempt, \
        reason = excluded.reason, doc = excluded.doc";
    DROP_WAITING = "DELETE FROM waiting WHERE signal = ?1";
    DUE_WAITING = "SELECT signal, due_at, attempt, reason, doc FROM waiting WHERE due_at <= ?1 \
        ORDER BY due_at, signal LIMIT ?2";
    BURY_WAITING = "INSERT INTO buried (id, at, state, doc, content) SELECT ?2, ?4, 'buried', ?3, \
        json_quote(doc) FROM waiting WHERE signal = ?1 ON CONFLICT (id) DO NOTHING";

    // Signals after intake.
    PUT_SIGNAL = "INSERT INTO signals (id, source, tenant, object_id, content, received_at, first_of_content, case_id, \
        outcome, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
        ON CONFLICT (id) DO UPDATE SET source = excluded.source, tenant = excluded.tenant, \
        object_id = excluded.object_id, content = excluded.content, received_at = excluded.received_at, \
        first_of_content = excluded.first_of_content, case_id = excluded.case_id, outcome = excluded.outcome, \
        doc = excluded.doc";
    TAKE_SIGNAL = "INSERT INTO signals (id, source, tenant, object_id, content, received_at, first_of_content, case_id, \
        outcome, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO NOTHING";
    OUTCOME = "UPDATE signals SET outcome = ?2, case_id = ?3 WHERE id = ?1";
    FIRST_OF_CONTENT = "SELECT id, outcome FROM signals INDEXED BY signals_first WHERE first_of_content = 1 \
        AND source = ?1 AND tenant = ?2 AND object_id = ?3 AND content = ?4 AND received_at >= ?5 \
        ORDER BY received_at LIMIT 1";
    SIGNAL = "SELECT id, tenant, object_id, first_of_content, outcome, doc FROM signals WHERE id = ?1";
    SIGNALS_OF_CASE = "SELECT id, tenant, object_id, first_of_content, outcome, doc FROM signals \
        WHERE case_id = ?1 ORDER BY received_at, id";
    NEWEST_SIGNALS_OF_CASE = "SELECT id, tenant, object_id, first_of_content, outcome, doc FROM signals \
        WHERE case_id = ?1 ORDER BY received_at DESC, id DESC LIMIT ?2";
    MENTIONED_IN_CASE = "SELECT 1 FROM (SELECT doc FROM signals WHERE case_id = ?1 ORDER BY received_at DESC, id DESC \
        LIMIT ?2) WHERE instr(lower(doc), ?3) > 0";

    // Signals laid before another worker; browsers.
    FORWARD = "INSERT INTO forwarded (signal, tenant, object_id, received_at, doc) VALUES (?1, ?2, ?3, ?4, ?5) \
        ON CONFLICT (signal) DO NOTHING";
    DROP_FORWARDED = "DELETE FROM forwarded WHERE signal = ?1";
    FORWARDED = "SELECT signal, doc FROM forwarded WHERE tenant = ?1 AND object_id = ?2 ORDER BY received_at, signal";
    SEEN = "INSERT INTO seen (task, at, session) VALUES (?1, ?2, ?3) \
        ON CONFLICT (task) DO UPDATE SET at = excluded.at, session = excluded.session";
    SEEN_WITH = "SELECT b.at, b.session FROM seen b JOIN sessions s ON s.hash = b.session AND s.ended_at IS NULL \
        WHERE b.task = ?1";

    // Plans, people.
    PUT_PLAN = "INSERT INTO plans (hash, doc) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING";
    PLAN = "SELECT doc FROM plans WHERE hash = ?1";
    PERSON_AT = "SELECT 1 FROM people WHERE tenant = ?1 AND object_id = ?2 AND revision = ?3";
    PERSON_ANY = "SELECT 1 FROM people WHERE tenant = ?1 AND object_id = ?2";
    PUT_PERSON = "INSERT INTO people (tenant, object_id, revision, owner, due_at, urgent, watch_at, doc) \
        VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (tenant, object_id) DO UPDATE SET \
        revision = people.revision + 1, owner = excluded.owner, due_at = excluded.due_at, urgent = excluded.urgent, \
        watch_at = excluded.watch_at, doc = excluded.doc";
    PERSON = "SELECT revision, owner, doc, due_at, urgent, watch_at FROM people WHERE tenant = ?1 AND object_id = ?2";
    OPEN_CASE = "SELECT id FROM cases WHERE tenant = ?1 AND object_id = ?2 AND closed_at IS NULL";
    DUE_PEOPLE = "SELECT tenant, object_id FROM people INDEXED BY people_due WHERE urgent = ?1 AND due_at <= ?2 \
        AND owner IS NOT ?3 ORDER BY due_at LIMIT ?4";
    HELD_PEOPLE = "SELECT tenant, object_id, revision FROM people INDEXED BY people_held WHERE owner = ?1";
    WATCHED = "SELECT tenant, object_id, doc FROM people INDEXED BY people_watched WHERE tenant = ?1 \
        AND watch_at IS NOT NULL ORDER BY watch_at LIMIT ?2";

    // Cases.
    PUT_CASE = "INSERT INTO cases (id, tenant, object_id, opened_at, closed_at, state, doc) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, \
        object_id = excluded.object_id, opened_at = excluded.opened_at, closed_at = excluded.closed_at, \
        state = excluded.state, doc = excluded.doc";
    CASE = "SELECT opened_at, id, doc FROM cases WHERE id = ?1";
    CASES_ALL = "SELECT opened_at, id, doc FROM cases WHERE (opened_at, id) < (?1, ?2) \
        ORDER BY opened_at DESC, id DESC LIMIT ?3";
    CASES_OPEN = "SELECT opened_at, id, doc FROM cases INDEXED BY cases_open_time WHERE closed_at IS NULL \
        AND (opened_at, id) < (?1, ?2) ORDER BY opened_at DESC, id DESC LIMIT ?3";
    CASES_OF_PERSON = "SELECT opened_at, id, doc FROM cases WHERE (opened_at, id) < (?1, ?2) AND object_id = ?4 \
        AND (?5 = 0 OR closed_at IS NULL) ORDER BY opened_at DESC, id DESC LIMIT ?3";

    // Runs, journals, effects.
    PUT_RUN = "INSERT INTO runs (id, case_id, opened_at, closed_at, doc, playbook) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
        ON CONFLICT (id) DO UPDATE SET case_id = excluded.case_id, opened_at = excluded.opened_at, \
        closed_at = excluded.closed_at, doc = excluded.doc, playbook = excluded.playbook";
    RUN = "SELECT id, doc FROM runs WHERE id = ?1";
    RUNS_OF_PLAYBOOK = "SELECT id, doc FROM runs WHERE playbook = ?1 ORDER BY opened_at DESC, id DESC LIMIT ?2";
    OPEN_RUNS = "SELECT id, doc FROM runs INDEXED BY runs_open WHERE closed_at IS NULL ORDER BY id DESC LIMIT ?1";
    RUNS_OF_CASE = "SELECT id, doc FROM runs WHERE case_id = ?1 ORDER BY opened_at, id";
    APPEND = "INSERT INTO journal (run, seq, doc) SELECT ?1, ?2, ?3 \
        WHERE ?2 = 1 + coalesce((SELECT max(seq) FROM journal WHERE run = ?1), 0)";
    JOURNAL = "SELECT seq, doc FROM journal WHERE run = ?1 ORDER BY seq";
    PUT_EFFECT = "INSERT INTO effects (key, run, state, intended_at, doc) VALUES (?1, ?2, ?3, ?4, ?5) \
        ON CONFLICT (key) DO UPDATE SET run = excluded.run, state = excluded.state, \
        intended_at = excluded.intended_at, doc = excluded.doc";
    EFFECTS_OF_RUN = "SELECT key, doc FROM effects WHERE run = ?1 ORDER BY intended_at, key";

    // Tasks and what they reveal.
    PUT_TASK = "INSERT INTO tasks (id, revision, kind, open, tenant, object_id, case_id, created_at, doc, \
        urgency) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO UPDATE SET \
        revision = excluded.revision, urgency = excluded.urgency, \
        kind = excluded.kind, open = excluded.open, tenant = excluded.tenant, object_id = excluded.object_id, \
        case_id = excluded.case_id, created_at = excluded.created_at, doc = excluded.doc \
        WHERE excluded.revision > tasks.revision";
    TASK = "SELECT created_at, id, doc FROM tasks WHERE id = ?1";
    TASKS_ALL = "SELECT created_at, id, doc FROM tasks WHERE (created_at, id) < (?1, ?2) \
        ORDER BY created_at DESC, id DESC LIMIT ?3";
    TASKS_OPEN = "SELECT created_at, id, doc FROM tasks INDEXED BY tasks_open_time WHERE open = 1 \
        AND (created_at, id) < (?1, ?2) ORDER BY created_at DESC, id DESC LIMIT ?3";
    TASKS_BY_URGENCY = "SELECT urgency, id, doc FROM tasks INDEXED BY tasks_open_urgency WHERE open = 1 \
        AND (urgency, id) > (?1, ?2) ORDER BY urgency, id LIMIT ?3";
    TASKS_OF_PERSON = "SELECT created_at, id, doc FROM tasks INDEXED BY tasks_person WHERE (created_at, id) < (?1, ?2) \
        AND object_id = ?4 AND (?5 = 0 OR open = 1) ORDER BY created_at DESC, id DESC LIMIT ?3";
    TASKS_OF_CASE = "SELECT created_at, id, doc FROM tasks INDEXED BY tasks_case WHERE (created_at, id) < (?1, ?2) \
        AND case_id = ?4 AND (?5 = 0 OR open = 1) AND (?6 IS NULL OR object_id = ?6) \
        ORDER BY created_at DESC, id DESC LIMIT ?3";
    ALL_TASKS_OF_CASE = "SELECT created_at, id, doc FROM tasks INDEXED BY tasks_case WHERE case_id = ?1 ORDER BY created_at, id";
    PUT_SEALED = "INSERT INTO sealed (task, doc) VALUES (?1, ?2) ON CONFLICT (task) DO UPDATE SET doc = excluded.doc";
    /// Overwrites in place before the row goes, so that the ciphertext does not stay behind in a free page
    /// (the log holds it until it starts over).
    BLANK_SEALED = "UPDATE sealed SET doc = printf('%.*c', length(doc), ' ') WHERE task = ?1";
    DROP_SEALED = "DELETE FROM sealed WHERE task = ?1";
    SEALED = "SELECT task, doc FROM sealed WHERE task = ?1";

    // Buried.
    BURY = "INSERT INTO buried (id, at, state, doc, content) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO NOTHING";
    SETTLE_BURIED = "UPDATE buried SET state = ?2, settled_by = ?3, settled_reason = ?4, settled_at = ?5 \
        WHERE id = ?1 AND state = 'buried'";
    BURIED = "SELECT at, id, state, doc, settled_by, settled_reason, settled_at, content FROM buried WHERE id = ?1";
    BURIED_ALL = "SELECT at, id, state, doc, settled_by, settled_reason, settled_at FROM buried WHERE (at, id) < (?1, ?2) ORDER BY at DESC, id DESC LIMIT ?3";
    BURIED_OPEN = "SELECT at, id, state, doc, settled_by, settled_reason, settled_at FROM buried INDEXED BY buried_open WHERE state = 'buried' \
        AND (at, id) < (?1, ?2) ORDER BY at DESC, id DESC LIMIT ?3";

    // Audit, guards, settings, tokens.
    AUDIT = "INSERT INTO audit (doc, case_id) VALUES (?1, ?2)";
    AUDITED_OF_CASE = "SELECT seq, doc FROM audit INDEXED BY audit_case WHERE case_id = ?1 AND seq < ?2 \
        ORDER BY seq DESC LIMIT ?3";
    AUDIT_IN_ORDER = "SELECT seq, doc FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    AUDITED = "SELECT seq, doc FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2";
    COUNT_REVOCATION = "INSERT INTO revocations (tenant, object_id, at) VALUES (?1, ?2, ?3) \
        ON CONFLICT (tenant, object_id) DO UPDATE SET at = max(at, excluded.at)";
    /// Scans at most one entry more than the cap allows.
    WITHIN_CAP = "SELECT 1 WHERE (SELECT count(*) FROM (SELECT 1 FROM revocations WHERE tenant = ?1 AND at >= ?2 \
        LIMIT ?3 + 1)) <= ?3";
    PRUNE_REVOCATIONS = "DELETE FROM revocations WHERE tenant = ?1 AND at < ?2";
    PUT_SETTING = "INSERT INTO settings (key, doc) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET doc = excluded.doc";
    NO_SETTING = "INSERT INTO settings (key, doc) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING";
    SWAP_SETTING = "UPDATE settings SET doc = ?2 WHERE key = ?1 AND doc = ?3";
    DROP_SETTING = "DELETE FROM settings WHERE key = ?1";
    SETTING = "SELECT key, doc FROM settings WHERE key = ?1";
    PUT_TOKEN = "INSERT INTO tokens (id, name, hash, scopes, created_at, expires_at, revoked_at) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET name = excluded.name, hash = excluded.hash, \
        scopes = excluded.scopes, created_at = excluded.created_at, expires_at = excluded.expires_at, \
        revoked_at = excluded.revoked_at";
    REVOKE_TOKEN = "UPDATE tokens SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
    TOKENS = "SELECT id, name, hash, scopes, created_at, expires_at, revoked_at FROM tokens ORDER BY created_at, id";
    TOKEN_BY_HASH = "SELECT id, name, hash, scopes, created_at, expires_at, revoked_at FROM tokens WHERE hash = ?1 \
        AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)";

    // Reviewers and their sign-in.
    ADD_REVIEWER = "INSERT INTO reviewers (id, handle, created_at, disabled_at, doc) VALUES (?1, ?2, ?3, ?4, ?5) \
        ON CONFLICT DO NOTHING";
    EDIT_REVIEWER = "UPDATE reviewers SET doc = ?2 WHERE id = ?1 AND disabled_at IS NULL";
    LIVE_REVIEWER = "SELECT 1 FROM reviewers WHERE id = ?1 AND disabled_at IS NULL";
    DISABLE_REVIEWER = "UPDATE reviewers SET disabled_at = ?2 WHERE id = ?1 AND disabled_at IS NULL";
    REVIEWER = "SELECT id, disabled_at, doc FROM reviewers WHERE id = ?1";
    REVIEWER_BY_HANDLE = "SELECT id, disabled_at, doc FROM reviewers WHERE handle = ?1";
    REVIEWERS = "SELECT id, disabled_at, doc FROM reviewers ORDER BY id";
    /// From a disabled reviewer it passes to the next.
    LINK_ACCOUNT = "INSERT INTO reviewer_accounts (issuer, subject, reviewer) VALUES (?1, ?2, ?3) \
        ON CONFLICT (issuer, subject) DO UPDATE SET reviewer = excluded.reviewer \
        WHERE (SELECT r.disabled_at FROM reviewers r WHERE r.id = reviewer_accounts.reviewer) IS NOT NULL";
    REVIEWER_BY_ACCOUNT = "SELECT r.id, r.disabled_at, r.doc FROM reviewer_accounts a JOIN reviewers r \
        ON r.id = a.reviewer WHERE a.issuer = ?1 AND a.subject = ?2";
    PUT_INVITE = "INSERT INTO invites (hash, reviewer, created_by, created_at, expires_at, used_at) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    USE_INVITE = "UPDATE invites SET used_at = ?2 WHERE hash = ?1 AND used_at IS NULL AND expires_at > ?2";
    CLOSE_INVITES_OF = "UPDATE invites SET used_at = ?2 WHERE reviewer = ?1 AND used_at IS NULL";
    INVITE = "SELECT hash, reviewer, created_by, created_at, expires_at, used_at FROM invites WHERE hash = ?1";
    ADD_CREDENTIAL = "INSERT INTO credentials (id, reviewer, name, counter, created_at, doc) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    /// A counter only grows; 0 after 0 is an authenticator that does not count.
    USE_CREDENTIAL = "UPDATE credentials SET counter = ?2, doc = ?3, used_at = ?4 \
        WHERE id = ?1 AND disabled_at IS NULL AND (counter < ?2 OR (counter = 0 AND ?2 = 0))";
    DISABLE_CREDENTIAL = "UPDATE credentials SET disabled_at = ?3, disabled_reason = ?4 \
        WHERE id = ?1 AND reviewer = ?2 AND disabled_at IS NULL";
    CREDENTIAL = "SELECT id, reviewer, name, counter, created_at, used_at, disabled_at, disabled_reason, doc \
        FROM credentials WHERE id = ?1";
    CREDENTIALS_OF = "SELECT id, reviewer, name, counter, created_at, used_at, disabled_at, disabled_reason, doc \
        FROM credentials WHERE reviewer = ?1 ORDER BY created_at, id";
    PUT_SESSION = "INSERT INTO sessions (hash, reviewer, created_at, used_at, doc) VALUES (?1, ?2, ?3, ?4, ?5) \
        ON CONFLICT DO NOTHING";
    TOUCH_SESSION = "UPDATE sessions SET used_at = ?2 WHERE hash = ?1 AND ended_at IS NULL AND used_at < ?2";
    LIVE_SESSION = "SELECT 1 FROM sessions WHERE hash = ?1 AND ended_at IS NULL";
    EDIT_SESSION = "UPDATE sessions SET doc = ?2 WHERE hash = ?1 AND ended_at IS NULL";
    END_SESSION = "UPDATE sessions SET ended_at = ?2 WHERE hash = ?1 AND ended_at IS NULL";
    END_SESSIONS_OF = "UPDATE sessions SET ended_at = ?2 WHERE reviewer = ?1 AND ended_at IS NULL AND hash <> ?3";
    PRUNE_SESSIONS = "DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions WHERE created_at < ?1 \
        ORDER BY created_at LIMIT 100)";
    SESSION = "SELECT s.used_at, s.doc, r.id, r.disabled_at, r.doc FROM sessions s JOIN reviewers r ON r.id = s.reviewer \
        WHERE s.hash = ?1 AND s.ended_at IS NULL AND r.disabled_at IS NULL";
    SESSIONS_OF = "SELECT used_at, doc FROM sessions WHERE reviewer = ?1 ORDER BY created_at DESC, rowid DESC LIMIT 50";
    PUT_CHALLENGE = "INSERT INTO challenges (id, expires_at, doc) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    USE_CHALLENGE = "UPDATE challenges SET used_at = ?2 WHERE id = ?1 AND used_at IS NULL AND expires_at > ?2";
    PRUNE_CHALLENGES = "DELETE FROM challenges WHERE rowid IN (SELECT rowid FROM challenges WHERE expires_at < ?1 \
        ORDER BY expires_at LIMIT 100)";
    CHALLENGE = "SELECT id, used_at, doc FROM challenges WHERE id = ?1";
    PUT_PROOF = "INSERT INTO proofs (challenge, task, at, doc) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    PROOFS_OF = "SELECT challenge, doc FROM proofs INDEXED BY proofs_task WHERE task = ?1 ORDER BY at, challenge";

    // Figures: each reads one small (mostly partial) index.
    COUNT_FRESH = "SELECT count(*) FROM queue INDEXED BY queue_fresh WHERE due_at IS NULL";
    COUNT_AGAIN = "SELECT count(*) FROM queue INDEXED BY queue_again WHERE due_at IS NOT NULL";
    OLDEST_FRESH = "SELECT received_at FROM queue INDEXED BY queue_fresh WHERE due_at IS NULL AND seq > 0 \
        ORDER BY seq LIMIT 1";
    OLDEST_AGAIN = "SELECT min(received_at) FROM queue INDEXED BY queue_again WHERE due_at IS NOT NULL";
    COUNT_WAITING = "SELECT count(*) FROM waiting";
    COUNT_DUE = "SELECT count(*) FROM people INDEXED BY people_due WHERE urgent IN (0, 1) AND due_at <= ?1";
    COUNT_RUNS = "SELECT count(*) FROM runs INDEXED BY runs_open WHERE closed_at IS NULL";
    COUNT_CASES = "SELECT state, count(*) FROM cases INDEXED BY cases_open_state WHERE closed_at IS NULL GROUP BY state \
        ORDER BY state";
    COUNT_TASKS = "SELECT kind, count(*), min(created_at) FROM tasks INDEXED BY tasks_open_kind WHERE open = 1 \
        GROUP BY kind ORDER BY kind";
    COUNT_UNKNOWN = "SELECT count(*) FROM effects INDEXED BY effects_unknown WHERE state = 'unknown'";
    COUNT_BURIED = "SELECT count(*) FROM buried INDEXED BY buried_open WHERE state = 'buried'";

    TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
}

/// How this backend does what a name says.
pub(super) const fn of(name: Name) -> &'static str {
    match name {
        Name::PersonAny => PERSON_ANY,
        Name::PersonAt => PERSON_AT,
        Name::Dequeue => DEQUEUE,
        Name::Requeue => REQUEUE,
        Name::TakeSignal => TAKE_SIGNAL,
        Name::PutSignal => PUT_SIGNAL,
        Name::Forward => FORWARD,
        Name::DropForwarded => DROP_FORWARDED,
        Name::Seen => SEEN,
        Name::PutPlan => PUT_PLAN,
        Name::PutCase => PUT_CASE,
        Name::PutRun => PUT_RUN,
        Name::Append => APPEND,
        Name::PutEffect => PUT_EFFECT,
        Name::PutSealed => PUT_SEALED,
        Name::BlankSealed => BLANK_SEALED,
        Name::DropSealed => DROP_SEALED,
        Name::SettleBuried => SETTLE_BURIED,
        Name::Audit => AUDIT,
        Name::PutWaiting => PUT_WAITING,
        Name::DropWaiting => DROP_WAITING,
        Name::PutSetting => PUT_SETTING,
        Name::SwapSetting => SWAP_SETTING,
        Name::NoSetting => NO_SETTING,
        Name::DropSetting => DROP_SETTING,
        Name::PutToken => PUT_TOKEN,
        Name::RevokeToken => REVOKE_TOKEN,
        Name::PutDelivery => PUT_DELIVERY,
        Name::Outcome => OUTCOME,
        Name::PutPerson => PUT_PERSON,
        Name::PutTask => PUT_TASK,
        Name::Bury => BURY,
        Name::CountRevocation => COUNT_REVOCATION,
        Name::PruneRevocations => PRUNE_REVOCATIONS,
        Name::WithinCap => WITHIN_CAP,
        Name::BuryQueued => BURY_QUEUED,
        Name::BuryWaiting => BURY_WAITING,
        Name::AddReviewer => ADD_REVIEWER,
        Name::EditReviewer => EDIT_REVIEWER,
        Name::LiveReviewer => LIVE_REVIEWER,
        Name::DisableReviewer => DISABLE_REVIEWER,
        Name::LinkAccount => LINK_ACCOUNT,
        Name::PutInvite => PUT_INVITE,
        Name::UseInvite => USE_INVITE,
        Name::CloseInvitesOf => CLOSE_INVITES_OF,
        Name::AddCredential => ADD_CREDENTIAL,
        Name::UseCredential => USE_CREDENTIAL,
        Name::DisableCredential => DISABLE_CREDENTIAL,
        Name::PutSession => PUT_SESSION,
        Name::TouchSession => TOUCH_SESSION,
        Name::LiveSession => LIVE_SESSION,
        Name::EditSession => EDIT_SESSION,
        Name::EndSession => END_SESSION,
        Name::EndSessionsOf => END_SESSIONS_OF,
        Name::PruneSessions => PRUNE_SESSIONS,
        Name::PutChallenge => PUT_CHALLENGE,
        Name::UseChallenge => USE_CHALLENGE,
        Name::PruneChallenges => PRUNE_CHALLENGES,
        Name::PutProof => PUT_PROOF,
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
