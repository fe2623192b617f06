//! Every SQL statement of the PostgreSQL store, as a constant: one test prepares each, another looks at the plans.
//!
//! Time that decides about leases is `clock_timestamp()`: the server's clock at that very moment, not the transaction's.

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::store::statement::{Name, Value};

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(flag) if *ty == Type::BOOL => (*flag != 0).to_sql(ty, out),
            Self::Integer(number) if *ty == Type::INT4 => i32::try_from(*number)?.to_sql(ty, out),
            Self::Integer(number) => number.to_sql(ty, out),
            // The one character the server's text cannot hold; it must not refuse a whole batch.
            Self::Text(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").to_sql(ty, out),
            Self::Text(text) => text.to_sql(ty, out),
            Self::Blob(bytes) => bytes.as_slice().to_sql(ty, out),
        }
    }

    /// Which value goes where is settled by the statements, and each is run by a test.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$doc])* pub(super) const $name: &str = $sql;)+

        /// Name and text of every statement here.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}

/// True where the row `$t` is held by nobody whose lease lives. A lease that had ended stays ended; a worker younger
/// than this statement's view of the table counts as living.
macro_rules! free {
    ($t:literal) => {
        concat!(
            "(",
            $t,
            ".owner IS NULL OR (",
            $t,
            ".owner <= (SELECT max(epoch) FROM workers) AND ",
            $t,
            ".owner <> \
            ALL (ARRAY(SELECT epoch FROM workers WHERE lease_until > clock_timestamp()))))"
        )
    };
}

/// A signal's row, as `PUT_SIGNAL` and `TAKE_SIGNAL` begin.
macro_rules! insert_signal {
    ($end:literal) => {
        concat!(
            "INSERT INTO signals (id, source, tenant, object_id, content, received_at, first_of_content, case_id, \
            outcome, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO ",
            $end
        )
    };
}

/// How this backend does what a name says; nothing where there is nothing to do.
pub(super) const fn of(name: Name) -> Option<&'static str> {
    Some(match name {
        // The rows are locked until the transaction ends: whoever comes second sees what the first one wrote.
        Name::PersonAt => {
            "SELECT 1 FROM people WHERE tenant = $1 AND object_id = $2 AND revision = $3 FOR NO KEY UPDATE"
        }
        Name::PersonAny => "SELECT 1 FROM people WHERE tenant = $1 AND object_id = $2",
        Name::PutPerson => {
            "INSERT INTO people (tenant, object_id, revision, owner, due_at, urgent, watch_at, doc) \
            VALUES ($1, $2, 1, $3, $4, $5, $6, $7) ON CONFLICT (tenant, object_id) DO UPDATE SET \
            revision = people.revision + 1, owner = excluded.owner, due_at = excluded.due_at, \
            urgent = excluded.urgent, watch_at = excluded.watch_at, doc = excluded.doc"
        }
        Name::Dequeue => "DELETE FROM queue WHERE seq = $1",
        Name::Requeue => "UPDATE queue SET due_at = $2, owner = NULL WHERE seq = $1",
        Name::TakeSignal => insert_signal!("NOTHING"),
        Name::PutSignal => insert_signal!(
            "UPDATE SET source = excluded.source, tenant = excluded.tenant, \
            object_id = excluded.object_id, content = excluded.content, received_at = excluded.received_at, \
            first_of_content = excluded.first_of_content, case_id = excluded.case_id, outcome = excluded.outcome, \
            doc = excluded.doc"
        ),
        Name::PutDelivery => {
            "INSERT INTO deliveries (id, source, tenant, received_at, webhook_id, body_hash, answer, body) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
        }
        Name::Forward => {
            "INSERT INTO forwarded (signal, tenant, object_id, received_at, doc) VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (signal) DO NOTHING"
        }
        Name::DropForwarded => "DELETE FROM forwarded WHERE signal = $1",
        Name::Seen => {
            "INSERT INTO seen (task, at, session) VALUES ($1, $2, $3) \
            ON CONFLICT (task) DO UPDATE SET at = excluded.at, session = excluded.session"
        }
        Name::Outcome => "UPDATE signals SET outcome = $2, case_id = $3 WHERE id = $1",
        Name::PutPlan => "INSERT INTO plans (hash, doc) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING",
        Name::PutCase => {
            "INSERT INTO cases (id, tenant, object_id, opened_at, closed_at, state, doc) \
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, \
            object_id = excluded.object_id, opened_at = excluded.opened_at, closed_at = excluded.closed_at, \
            state = excluded.state, doc = excluded.doc"
        }
        Name::PutRun => {
            "INSERT INTO runs (id, case_id, opened_at, closed_at, doc, playbook) VALUES ($1, $2, $3, $4, $5, $6) \
            ON CONFLICT (id) DO UPDATE SET case_id = excluded.case_id, opened_at = excluded.opened_at, \
            closed_at = excluded.closed_at, doc = excluded.doc, playbook = excluded.playbook"
        }
        Name::Append => {
            "INSERT INTO journal (run, seq, doc) SELECT $1::text, $2::bigint, $3::text \
            WHERE $2::bigint = 1 + coalesce((SELECT max(seq) FROM journal WHERE run = $1::text), 0)"
        }
        Name::PutEffect => {
            "INSERT INTO effects (key, run, state, intended_at, doc) VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (key) DO UPDATE SET run = excluded.run, state = excluded.state, \
            intended_at = excluded.intended_at, doc = excluded.doc"
        }
        Name::PutTask => {
            "INSERT INTO tasks (id, revision, kind, open, tenant, object_id, case_id, created_at, doc, \
            urgency) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO UPDATE SET \
            revision = excluded.revision, urgency = excluded.urgency, \
            kind = excluded.kind, open = excluded.open, tenant = excluded.tenant, object_id = excluded.object_id, \
            case_id = excluded.case_id, created_at = excluded.created_at, doc = excluded.doc \
            WHERE excluded.revision > tasks.revision"
        }
        Name::PutSealed => {
            "INSERT INTO sealed (task, doc) VALUES ($1, $2) ON CONFLICT (task) DO UPDATE SET doc = excluded.doc"
        }
        // An update would only leave another copy behind.
        Name::BlankSealed => return None,
        Name::DropSealed => "DELETE FROM sealed WHERE task = $1",
        Name::Bury => {
            "INSERT INTO buried (id, at, state, doc, content) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING"
        }
        Name::SettleBuried => {
            "UPDATE buried SET state = $2, settled_by = $3, settled_reason = $4, settled_at = $5 \
            WHERE id = $1 AND state = 'buried'"
        }
        Name::BuryQueued => {
            "INSERT INTO buried (id, at, state, doc, content) SELECT $2, $4, 'buried', $3, to_json(doc)::text \
            FROM queue WHERE seq = $1 ON CONFLICT (id) DO NOTHING"
        }
        Name::AddReviewer => {
            "INSERT INTO reviewers (id, handle, created_at, disabled_at, doc) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT DO NOTHING"
        }
        Name::EditReviewer => "UPDATE reviewers SET doc = $2 WHERE id = $1 AND disabled_at IS NULL",
        // Locked until the transaction ends: nobody is disabled in between.
        Name::LiveReviewer => "SELECT 1 FROM reviewers WHERE id = $1 AND disabled_at IS NULL FOR SHARE",
        Name::DisableReviewer => "UPDATE reviewers SET disabled_at = $2 WHERE id = $1 AND disabled_at IS NULL",
        // From a disabled reviewer it passes to the next.
        Name::LinkAccount => {
            "INSERT INTO reviewer_accounts AS a (issuer, subject, reviewer) VALUES ($1, $2, $3) \
            ON CONFLICT (issuer, subject) DO UPDATE SET reviewer = excluded.reviewer \
            WHERE (SELECT r.disabled_at FROM reviewers r WHERE r.id = a.reviewer) IS NOT NULL"
        }
        Name::PutInvite => {
            "INSERT INTO invites (hash, reviewer, created_by, created_at, expires_at, used_at) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
        }
        Name::UseInvite => "UPDATE invites SET used_at = $2 WHERE hash = $1 AND used_at IS NULL AND expires_at > $2",
        Name::CloseInvitesOf => "UPDATE invites SET used_at = $2 WHERE reviewer = $1 AND used_at IS NULL",
        Name::AddCredential => {
            "INSERT INTO credentials (id, reviewer, name, counter, created_at, doc) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
        }
        // A counter only grows; 0 after 0 is an authenticator that does not count.
        Name::UseCredential => {
            "UPDATE credentials SET counter = $2, doc = $3, used_at = $4 \
        WHERE id = $1 AND disabled_at IS NULL AND (counter < $2 OR (counter = 0 AND $2 = 0))"
        }
        Name::DisableCredential => {
            "UPDATE credentials SET disabled_at = $3, disabled_reason = $4 \
        WHERE id = $1 AND reviewer = $2 AND disabled_at IS NULL"
        }
        Name::PutSession => {
            "INSERT INTO sessions (hash, reviewer, created_at, used_at, doc) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT DO NOTHING"
        }
        Name::TouchSession => "UPDATE sessions SET used_at = $2 WHERE hash = $1 AND ended_at IS NULL AND used_at < $2",
        // Locked: nobody ends it before this is written.
        Name::LiveSession => "SELECT 1 FROM sessions WHERE hash = $1 AND ended_at IS NULL FOR SHARE",
        Name::EditSession => "UPDATE sessions SET doc = $2 WHERE hash = $1 AND ended_at IS NULL",
        Name::EndSession => "UPDATE sessions SET ended_at = $2 WHERE hash = $1 AND ended_at IS NULL",
        Name::EndSessionsOf => {
            "UPDATE sessions SET ended_at = $2 WHERE reviewer = $1 AND ended_at IS NULL AND hash <> $3"
        }
        Name::PruneSessions => {
            "DELETE FROM sessions WHERE ctid = ANY (ARRAY(SELECT ctid FROM sessions WHERE created_at < $1 \
            ORDER BY created_at LIMIT 100))"
        }
        Name::PutChallenge => "INSERT INTO challenges (id, expires_at, doc) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        Name::UseChallenge => {
            "UPDATE challenges SET used_at = $2 WHERE id = $1 AND used_at IS NULL AND expires_at > $2"
        }
        Name::PruneChallenges => {
            "DELETE FROM challenges WHERE ctid = ANY (ARRAY(SELECT ctid FROM challenges WHERE expires_at < $1 \
            ORDER BY expires_at LIMIT 100))"
        }
        Name::PutProof => {
            "INSERT INTO proofs (challenge, task, at, doc) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
        }
        Name::BuryWaiting => {
            "INSERT INTO buried (id, at, state, doc, content) SELECT $2, $4, 'buried', $3, to_json(doc)::text \
            FROM waiting WHERE signal = $1 ON CONFLICT (id) DO NOTHING"
        }
        Name::Audit => "INSERT INTO audit (doc, case_id) VALUES ($1, $2)",
        Name::CountRevocation => {
            "INSERT INTO revocations (tenant, object_id, at) VALUES ($1, $2, $3) \
            ON CONFLICT (tenant, object_id) DO UPDATE SET at = greatest(revocations.at, excluded.at)"
        }
        // Rows another transaction is at are left to the next one: two cleaners never wait for each other.
        Name::PruneRevocations => {
            "DELETE FROM revocations WHERE tenant = $1 AND at < $2 AND object_id = ANY (ARRAY(SELECT object_id \
            FROM revocations WHERE tenant = $1 AND at < $2 ORDER BY at LIMIT 100 FOR UPDATE SKIP LOCKED))"
        }
        // Looks at one entry more than the cap allows, at most.
        Name::WithinCap => {
            "SELECT 1 WHERE (SELECT count(*) FROM (SELECT 1 FROM revocations WHERE tenant = $1 AND at >= $2 \
            LIMIT $3::bigint + 1) AS counted) <= $3::bigint"
        }
        Name::PutWaiting => {
            "INSERT INTO waiting (signal, due_at, attempt, reason, doc) VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (signal) DO UPDATE SET due_at = excluded.due_at, attempt = excluded.attempt, \
            reason = excluded.reason, doc = excluded.doc, owner = NULL"
        }
        Name::DropWaiting => "DELETE FROM waiting WHERE signal = $1",
        Name::PutSetting => {
            "INSERT INTO settings (key, doc) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET doc = excluded.doc"
        }
        Name::NoSetting => "INSERT INTO settings (key, doc) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
        Name::SwapSetting => "UPDATE settings SET doc = $2 WHERE key = $1 AND doc = $3",
        Name::DropSetting => "DELETE FROM settings WHERE key = $1",
        Name::PutToken => {
            "INSERT INTO tokens (id, name, hash, scopes, created_at, expires_at, revoked_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
            hash = excluded.hash, scopes = excluded.scopes, created_at = excluded.created_at, \
            expires_at = excluded.expires_at, revoked_at = excluded.revoked_at"
        }
        Name::RevokeToken => "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL",
    })
}

// Transactions.
statements! {
    /// A first row of a person: whoever comes second must not replace it.
    NEW_PERSON = "INSERT INTO people (tenant, object_id, revision, owner, due_at, urgent, watch_at, doc) \
        VALUES ($1, $2, 1, $3, $4, $5, $6, $7) ON CONFLICT (tenant, object_id) DO NOTHING";
    /// Asked after the person's row is locked: nobody takes them over before this transaction ends, and nobody did
    /// before, or the lease would have been over.
    FENCE = "SELECT 1 FROM workers WHERE epoch = $1 AND lease_until > clock_timestamp()";
    /// One at a time counts against a tenant's cap, until its transaction ends.
    LOCK_CAP = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' cap ' || $1::text, 0))";

    // Leases.
    NEXT_EPOCH = "INSERT INTO workers (lease_until) VALUES (clock_timestamp() + $1::bigint * interval '1 microsecond') \
        RETURNING epoch";
    RENEW = "UPDATE workers SET lease_until = clock_timestamp() + $2::bigint * interval '1 microsecond' \
        WHERE epoch = $1 AND lease_until > clock_timestamp()";
    END_EPOCH = "UPDATE workers SET lease_until = clock_timestamp() WHERE epoch = $1 AND lease_until > clock_timestamp()";
    /// Rows of the dead go when nothing refers to them any more.
    PRUNE_WORKERS = "DELETE FROM workers w WHERE lease_until < clock_timestamp() - interval '1 hour' \
        AND NOT EXISTS (SELECT 1 FROM people WHERE owner = w.epoch) \
        AND NOT EXISTS (SELECT 1 FROM waiting WHERE owner = w.epoch) \
        AND NOT EXISTS (SELECT 1 FROM queue WHERE owner = w.epoch)";
    LEAD = "INSERT INTO duties (duty, epoch) SELECT $1::text, $2::bigint \
        WHERE EXISTS (SELECT 1 FROM workers WHERE epoch = $2::bigint AND lease_until > clock_timestamp()) \
        ON CONFLICT (duty) DO UPDATE SET epoch = excluded.epoch WHERE duties.epoch = excluded.epoch \
        OR NOT EXISTS (SELECT 1 FROM workers w WHERE w.epoch = duties.epoch AND w.lease_until > clock_timestamp())";

    // Claims. The rows are locked one by one; what another transaction is at is passed over. Arrays, because a join with
    // as many rows as a limit might allow would be planned as a look at the whole table.
    CLAIM_PEOPLE = concat!("WITH due AS MATERIALIZED (SELECT p.tenant, p.object_id, p.due_at, p.owner FROM people p \
        WHERE p.urgent = $1 AND p.due_at <= $2 AND ", free!("p"), " \
        AND EXISTS (SELECT 1 FROM workers WHERE epoch = $3 AND lease_until > clock_timestamp()) \
        ORDER BY p.due_at LIMIT $4 FOR NO KEY UPDATE OF p SKIP LOCKED), \
        taken AS (UPDATE people p SET owner = $3 WHERE p.tenant = ANY (ARRAY(SELECT tenant FROM due)) \
        AND p.object_id = ANY (ARRAY(SELECT object_id FROM due)) \
        AND (p.tenant, p.object_id) IN (SELECT tenant, object_id FROM due)) \
        SELECT due.tenant, due.object_id, CASE WHEN due.owner IS NULL THEN NULL ELSE coalesce((SELECT \
        (extract(epoch FROM clock_timestamp() - w.lease_until) * 1000000)::bigint FROM workers w \
        WHERE w.epoch = due.owner), 3600000000) END FROM due ORDER BY due_at");
    HELD_PEOPLE = "SELECT tenant, object_id, revision FROM people WHERE owner = $1";
    CLAIM_WAITING = concat!("WITH due AS MATERIALIZED (SELECT w.signal, w.due_at, w.attempt, w.reason, w.doc, w.owner \
        FROM waiting w WHERE w.due_at <= $1 AND (w.owner = $2 OR ", free!("w"), ") \
        ORDER BY w.due_at, w.signal LIMIT $3 FOR NO KEY UPDATE OF w SKIP LOCKED), \
        taken AS (UPDATE waiting w SET owner = $2 WHERE w.signal = ANY (ARRAY(SELECT signal FROM due \
        WHERE owner IS DISTINCT FROM $2))) \
        SELECT signal, due_at, attempt, reason, doc FROM due ORDER BY due_at, signal");
    /// What this worker has in hand comes again only above its cursor; what nobody has, wherever it is.
    CLAIM_FRESH = concat!("WITH due AS MATERIALIZED (SELECT q.seq, q.doc, q.owner FROM queue q WHERE q.due_at IS NULL \
        AND ((q.owner = $2 AND q.seq > $1) OR ", free!("q"), ") ORDER BY q.seq LIMIT $3 \
        FOR NO KEY UPDATE OF q SKIP LOCKED), \
        taken AS (UPDATE queue q SET owner = $2 WHERE q.seq = ANY (ARRAY(SELECT seq FROM due \
        WHERE owner IS DISTINCT FROM $2))) \
        SELECT seq, doc FROM due ORDER BY seq");
    CLAIM_AGAIN = concat!("WITH due AS MATERIALIZED (SELECT q.seq, q.doc, q.owner, q.due_at FROM queue q \
        WHERE q.due_at <= $1 AND (q.owner = $2 OR ", free!("q"), ") ORDER BY q.due_at, q.seq LIMIT $3 \
        FOR NO KEY UPDATE OF q SKIP LOCKED), \
        taken AS (UPDATE queue q SET owner = $2 WHERE q.seq = ANY (ARRAY(SELECT seq FROM due \
        WHERE owner IS DISTINCT FROM $2))) \
        SELECT seq, doc FROM due ORDER BY due_at, seq");
    /// For a process without a lease, which claims nothing.
    QUEUED_FRESH = concat!("SELECT q.seq, q.doc FROM queue q WHERE q.due_at IS NULL AND q.seq > $1 AND ", free!("q"),
        " ORDER BY q.seq LIMIT $2");
    QUEUED_AGAIN = concat!("SELECT q.seq, q.doc FROM queue q WHERE q.due_at <= $1 AND ", free!("q"),
        " ORDER BY q.due_at, q.seq LIMIT $2");

    // Deliveries. One statement is one transaction; a repeated one writes nothing.
    ACCEPT = "WITH put AS (INSERT INTO deliveries (id, source, tenant, received_at, webhook_id, body_hash, answer, body) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
        ON CONFLICT (source, webhook_id, body_hash) WHERE webhook_id IS NOT NULL DO NOTHING RETURNING 1), \
        queued AS (INSERT INTO queue (signal, received_at, doc) SELECT u.signal, $4, u.doc \
        FROM unnest($9::text[], $10::text[]) WITH ORDINALITY AS u (signal, doc, place) \
        WHERE EXISTS (SELECT 1 FROM put) ORDER BY u.place), \
        aside AS (INSERT INTO buried (id, at, state, doc, content) SELECT $11::text, $12::bigint, $13::text, $14::text, \
        $15::text WHERE $11::text IS NOT NULL AND EXISTS (SELECT 1 FROM put) ON CONFLICT (id) DO NOTHING) \
        SELECT count(*) FROM put";
    KNOWN_DELIVERY = "SELECT answer FROM deliveries WHERE source = $1 AND webhook_id = $2 AND body_hash = $3";
    DELIVERY_BODY = "SELECT body FROM deliveries WHERE id = $1";
    QUEUED_SIGNAL = "SELECT doc FROM queue WHERE signal = $1 LIMIT 1";

    // Signals after intake.
    FIRST_OF_CONTENT = "SELECT id, outcome FROM signals WHERE first_of_content \
        AND source = $1 AND tenant = $2 AND object_id = $3 AND content = $4 AND received_at >= $5 \
        ORDER BY received_at LIMIT 1";
    SIGNAL = "SELECT id, tenant, object_id, first_of_content, outcome, doc FROM signals WHERE id = $1";
    SIGNALS_OF_CASE = "SELECT id, tenant, object_id, first_of_content, outcome, doc FROM signals \
        WHERE case_id = $1 ORDER BY received_at, id";
    NEWEST_SIGNALS_OF_CASES = "SELECT s.id, s.tenant, s.object_id, s.first_of_content, s.outcome, s.doc, c.id \
        FROM unnest($1::text[]) AS c(id) CROSS JOIN LATERAL (SELECT * FROM signals WHERE case_id = c.id \
        ORDER BY received_at DESC, id DESC LIMIT $2) AS s";
    CASES_MENTIONING = "SELECT c.id FROM unnest($1::text[]) AS c(id) WHERE EXISTS (SELECT FROM (SELECT doc FROM signals \
        WHERE case_id = c.id ORDER BY received_at DESC, id DESC LIMIT $2) AS s \
        WHERE strpos(lower(s.doc COLLATE \"C\"), $3) > 0)";

    // People. Everything of the open case in one round trip.
    PLAN = "SELECT doc FROM plans WHERE hash = $1";
    /// A worker whose row is gone ended at least an hour ago.
    PERSON = "SELECT p.revision, p.owner, p.doc, p.due_at, p.urgent, p.watch_at, CASE WHEN w.epoch IS NULL \
        THEN 3600000000 ELSE (extract(epoch FROM clock_timestamp() - w.lease_until) * 1000000)::bigint END \
        FROM people p LEFT JOIN workers w ON w.epoch = p.owner WHERE p.tenant = $1 AND p.object_id = $2";
    OPEN_RUNS = "SELECT r.id, r.doc FROM cases c JOIN runs r ON r.case_id = c.id \
        WHERE c.tenant = $1 AND c.object_id = $2 AND c.closed_at IS NULL ORDER BY r.opened_at, r.id";
    OPEN_JOURNALS = "SELECT j.run, j.doc FROM cases c JOIN runs r ON r.case_id = c.id JOIN journal j ON j.run = r.id \
        WHERE c.tenant = $1 AND c.object_id = $2 AND c.closed_at IS NULL ORDER BY j.run, j.seq";
    OPEN_TASKS = "SELECT t.created_at, t.id, t.doc, b.at, b.session FROM cases c JOIN tasks t ON t.case_id = c.id \
        LEFT JOIN (seen b JOIN sessions s ON s.hash = b.session AND s.ended_at IS NULL) ON b.task = t.id WHERE c.tenant = $1 AND c.object_id = $2 AND c.closed_at IS NULL \
        ORDER BY t.created_at, t.id";
    FORWARDED = "SELECT signal, doc FROM forwarded WHERE tenant = $1 AND object_id = $2 ORDER BY received_at, signal";
    WATCHED = "SELECT tenant, object_id, doc FROM people WHERE tenant = $1 \
        AND watch_at IS NOT NULL ORDER BY watch_at LIMIT $2";

    // Cases, runs, effects.
    CASE = "SELECT opened_at, id, doc FROM cases WHERE id = $1";
    CASES_ALL = "SELECT opened_at, id, doc FROM cases WHERE (opened_at, id) < ($1, $2) \
        ORDER BY opened_at DESC, id DESC LIMIT $3";
    CASES_OPEN = "SELECT opened_at, id, doc FROM cases WHERE closed_at IS NULL \
        AND (opened_at, id) < ($1, $2) ORDER BY opened_at DESC, id DESC LIMIT $3";
    CASES_OF_PERSON = "SELECT opened_at, id, doc FROM cases WHERE (opened_at, id) < ($1, $2) AND object_id = $4 \
        AND (NOT $5::boolean OR closed_at IS NULL) ORDER BY opened_at DESC, id DESC LIMIT $3";
    RUN = "SELECT id, doc FROM runs WHERE id = $1";
    JOURNAL = "SELECT run, doc FROM journal WHERE run = $1 ORDER BY seq";
    RUNS_OF_PLAYBOOK = "SELECT id, doc FROM runs WHERE playbook = $1 ORDER BY opened_at DESC, id DESC LIMIT $2";
    NEWEST_OPEN_RUNS = "SELECT id, doc FROM runs WHERE closed_at IS NULL ORDER BY id DESC LIMIT $1";
    RUNS_OF_CASE = "SELECT id, doc FROM runs WHERE case_id = $1 ORDER BY opened_at, id";
    JOURNALS_OF_CASE = "SELECT j.run, j.doc FROM runs r JOIN journal j ON j.run = r.id WHERE r.case_id = $1 \
        ORDER BY j.run, j.seq";
    EFFECTS_OF_RUN = "SELECT key, doc FROM effects WHERE run = $1 ORDER BY intended_at, key";

    // Tasks and what they reveal.
    TASK = "SELECT created_at, id, doc FROM tasks WHERE id = $1";
    TASKS_ALL = "SELECT created_at, id, doc FROM tasks WHERE (created_at, id) < ($1, $2) \
        ORDER BY created_at DESC, id DESC LIMIT $3";
    TASKS_OPEN = "SELECT created_at, id, doc FROM tasks WHERE open \
        AND (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3";
    OPEN_TASKS_OF_CASES = "SELECT created_at, id, doc FROM tasks WHERE open AND case_id = ANY ($1::text[]) \
        ORDER BY created_at, id LIMIT $2";
    TASKS_BY_URGENCY = "SELECT urgency, id, doc FROM tasks WHERE open AND (urgency, id) > ($1, $2) \
        ORDER BY urgency, id LIMIT $3";
    TASKS_OF_PERSON = "SELECT created_at, id, doc FROM tasks WHERE (created_at, id) < ($1, $2) \
        AND object_id = $4 AND (NOT $5::boolean OR open) ORDER BY created_at DESC, id DESC LIMIT $3";
    TASKS_OF_CASE = "SELECT created_at, id, doc FROM tasks WHERE (created_at, id) < ($1, $2) \
        AND case_id = $4 AND (NOT $5::boolean OR open) AND ($6::text IS NULL OR object_id = $6::text) \
        ORDER BY created_at DESC, id DESC LIMIT $3";
    SEALED = "SELECT task, doc FROM sealed WHERE task = $1";

    // Buried.
    BURIED = "SELECT at, id, state, doc, settled_by, settled_reason, settled_at, content FROM buried WHERE id = $1";
    BURIED_ALL = "SELECT at, id, state, doc, settled_by, settled_reason, settled_at FROM buried WHERE (at, id) < ($1, $2) ORDER BY at DESC, id DESC LIMIT $3";
    BURIED_OPEN = "SELECT at, id, state, doc, settled_by, settled_reason, settled_at FROM buried WHERE state = 'buried' \
        AND (at, id) < ($1, $2) ORDER BY at DESC, id DESC LIMIT $3";

    // Audit, settings, tokens.
    LOCK_AUDIT = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' audit', 0))";
    NUMBER_AUDIT = "UPDATE audit SET seq = coalesce((SELECT max(seq) FROM audit), 0) + fresh.place FROM \
        (SELECT id, row_number() OVER (ORDER BY id) AS place FROM \
        (SELECT id FROM audit WHERE seq IS NULL ORDER BY id LIMIT $1) AS found) AS fresh WHERE audit.id = fresh.id";
    AUDIT_LEFT = "SELECT 1 FROM audit WHERE seq IS NULL LIMIT 1";
    AUDIT_IN_ORDER = "SELECT seq, doc FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
    AUDITED_OF_CASE = "SELECT seq, doc FROM audit WHERE case_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3";
    AUDITED = "SELECT seq, doc FROM audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2";
    SETTING = "SELECT key, doc FROM settings WHERE key = $1";
    STAMP = "SELECT coalesce(hashtextextended(string_agg(key || ' ' || doc, chr(10) ORDER BY key), 0), 0) FROM settings \
        WHERE key = 'pause' OR starts_with(key, 'release:')";
    TOKENS = "SELECT id, name, hash, scopes, created_at, expires_at, revoked_at FROM tokens ORDER BY created_at, id";
    TOKEN_BY_HASH = "SELECT id, name, hash, scopes, created_at, expires_at, revoked_at FROM tokens WHERE hash = $1 \
        AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";

    // Reviewers and their sign-in.
    REVIEWER = "SELECT id, disabled_at, doc FROM reviewers WHERE id = $1";
    REVIEWER_BY_HANDLE = "SELECT id, disabled_at, doc FROM reviewers WHERE handle = $1";
    REVIEWERS = "SELECT id, disabled_at, doc FROM reviewers ORDER BY id";
    REVIEWER_BY_ACCOUNT = "SELECT r.id, r.disabled_at, r.doc FROM reviewer_accounts a JOIN reviewers r \
        ON r.id = a.reviewer WHERE a.issuer = $1 AND a.subject = $2";
    INVITE = "SELECT hash, reviewer, created_by, created_at, expires_at, used_at FROM invites WHERE hash = $1";
    CREDENTIAL = "SELECT id, reviewer, name, counter, created_at, used_at, disabled_at, disabled_reason, doc \
        FROM credentials WHERE id = $1";
    CREDENTIALS_OF = "SELECT id, reviewer, name, counter, created_at, used_at, disabled_at, disabled_reason, doc \
        FROM credentials WHERE reviewer = $1 ORDER BY created_at, id";
    SESSION = "SELECT s.used_at, s.doc, r.id, r.disabled_at, r.doc FROM sessions s JOIN reviewers r ON r.id = s.reviewer \
        WHERE s.hash = $1 AND s.ended_at IS NULL AND r.disabled_at IS NULL";
    SESSIONS_OF = "SELECT used_at, doc FROM sessions WHERE reviewer = $1 ORDER BY created_at DESC, used_at DESC LIMIT 50";
    CHALLENGE = "SELECT id, used_at, doc FROM challenges WHERE id = $1";
    PROOFS_OF = "SELECT challenge, doc FROM proofs WHERE task = $1 ORDER BY at, challenge";

    // Figures: each reads one small (mostly partial) index.
    COUNT_QUEUE = "SELECT count(*), min(received_at) FROM queue";
    COUNT_WAITING = "SELECT count(*) FROM waiting";
    COUNT_DUE = "SELECT count(*) FROM people WHERE due_at <= $1 AND urgent IN (true, false)";
    COUNT_RUNS = "SELECT count(*) FROM runs WHERE closed_at IS NULL";
    COUNT_CASES = "SELECT state, count(*) FROM cases WHERE closed_at IS NULL GROUP BY state ORDER BY state";
    COUNT_TASKS = "SELECT kind, count(*), min(created_at) FROM tasks WHERE open GROUP BY kind ORDER BY kind";
    COUNT_UNKNOWN = "SELECT count(*) FROM effects WHERE state = 'unknown'";
    COUNT_BURIED = "SELECT count(*) FROM buried WHERE state = 'buried'";

    // Hints.
    CHANNEL = "SELECT channel, pg_backend_pid(), quote_ident(channel) \
        FROM (SELECT left('oust ' || current_schema(), 63)) AS it (channel)";
    NOTIFY = "SELECT pg_notify($1, hint) FROM unnest($2::text[]) AS hint";

    TABLES = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename";
}
