//! The tables: forward-only migrations, one process at a time, each in a transaction of its own.
//!
//! A schema says which oldest binary may still run on it, so that new binaries can be rolled out one by one: the first
//! of them migrates, the old ones go on. A change that an old binary would not survive raises that number.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::failure::told;
use crate::store::Error;

/// One step.
#[derive(Debug)]
struct Migration {
    sql: &'static str,
    /// Binaries that know at least this schema may run on the new one.
    oldest_binary: i64,
}

/// In order; the position plus one is the schema's version after it.
const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("../migrations/postgres/0001_first.sql"), oldest_binary: 1 },
    Migration { sql: include_str!("../migrations/postgres/0002_reviewers.sql"), oldest_binary: 1 },
    Migration { sql: include_str!("../migrations/postgres/0003_pages.sql"), oldest_binary: 1 },
    Migration { sql: include_str!("../migrations/postgres/0004_presence.sql"), oldest_binary: 1 },
    Migration { sql: include_str!("../migrations/postgres/0005_case_states.sql"), oldest_binary: 1 },
];

/// The newest schema this binary knows.
const NEWEST: i64 = MIGRATIONS.len() as i64;

const VERSION_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_version (one BOOLEAN PRIMARY KEY CHECK (one), \
    version BIGINT NOT NULL, oldest_binary BIGINT NOT NULL); \
    INSERT INTO schema_version VALUES (true, 0, 0) ON CONFLICT (one) DO NOTHING";

/// Where a schema stands beside this binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// As this binary knows it, or newer and still fit for it.
    Current,
    /// Older than this binary (0 = nothing there).
    Behind(i64),
}

fn refused(place: &str, error: &tokio_postgres::Error) -> Error {
    let next = match error.code() {
        Some(code) if *code == SqlState::DUPLICATE_TABLE || *code == SqlState::UNDEFINED_COLUMN => {
            "there are tables of another program; give oust a database of its own"
        }
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            "GRANT CREATE ON its schema to this user, or run `oust migrate` as one that has it"
        }
        Some(code) if *code == SqlState::INVALID_SCHEMA_NAME => "create the schema that search_path names",
        _ => "run `oust migrate` again",
    };
    Error::Unusable(format!("the tables of {place} cannot be made: {}; {next}", told(error)))
}

/// Looks at the schema.
pub(super) async fn standing(place: &str, client: &Client) -> Result<Standing, Error> {
    let wrong = |error: tokio_postgres::Error| refused(place, &error);
    let there = client.query_one("SELECT to_regclass('schema_version') IS NOT NULL", &[]).await.map_err(wrong)?;
    if !there.get::<_, bool>(0) {
        return Ok(Standing::Behind(0));
    }
    let row = client.query_opt("SELECT version, oldest_binary FROM schema_version", &[]).await.map_err(wrong)?;
    let (version, oldest) = row.map_or((0, 0), |row| (row.get::<_, i64>(0), row.get::<_, i64>(1)));
    if version > NEWEST && oldest > NEWEST {
        return Err(Error::Unusable(format!(
            "{place} has schema {version}, which needs an oust that knows schema {oldest} or newer; this one knows up \
            to {NEWEST}: run a newer oust"
        )));
    }
    Ok(if version < NEWEST { Standing::Behind(version) } else { Standing::Current })
}

/// Brings the schema to the newest version, unless it is there or beyond already.
pub(super) async fn migrate(place: &str, client: &mut Client) -> Result<(), Error> {
    while let Standing::Behind(_) = standing(place, client).await? {
        step(client).await.map_err(|error| refused(place, &error))?;
    }
    Ok(())
}

/// One step, under a lock: whoever waited for it finds the step taken.
async fn step(client: &mut Client) -> Result<(), tokio_postgres::Error> {
    let step = client.transaction().await?;
    step.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'").await?;
    step.batch_execute("SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' schema', 0))").await?;
    step.batch_execute(VERSION_TABLE).await?;
    let version: i64 = step.query_one("SELECT version FROM schema_version", &[]).await?.get(0);
    if let Some(next) = usize::try_from(version).ok().and_then(|at| MIGRATIONS.get(at)) {
        step.batch_execute(next.sql).await?;
        let update = "UPDATE schema_version SET version = $1, oldest_binary = $2";
        step.execute(update, &[&(version + 1), &next.oldest_binary]).await?;
    }
    step.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_shuts_out_binaries_older_than_the_one_before_allowed() {
        let oldest: Vec<i64> = MIGRATIONS.iter().map(|step| step.oldest_binary).collect();
        assert!(oldest.is_sorted(), "{oldest:?}");
        assert!(oldest.iter().enumerate().all(|(at, oldest)| (1..=at as i64 + 1).contains(oldest)), "{oldest:?}");
    }
}
