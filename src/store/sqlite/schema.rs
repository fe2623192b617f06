//! Opening the file: pragmas, permissions, forward-only migrations. Refuses a file of something else or of a newer oust.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::failure::failed_at;
use crate::store::Error;

/// `oust` in ASCII: marks the file as ours.
const APPLICATION_ID: i64 = 0x6f75_7374;

/// In order; the position plus one is the `user_version` after it.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/sqlite/0001_first.sql"),
    include_str!("../migrations/sqlite/0002_workers.sql"),
    include_str!("../migrations/sqlite/0003_reviewers.sql"),
    include_str!("../migrations/sqlite/0004_pages.sql"),
    include_str!("../migrations/sqlite/0005_presence.sql"),
    include_str!("../migrations/sqlite/0006_case_states.sql"),
];

/// How long a statement waits for another process's short transaction.
const BUSY: Duration = Duration::from_secs(5);

/// More than the number of statements, so that none is ever prepared twice.
const STATEMENTS: usize = 224;

/// Creates the file (mode 0600; journals inherit it) unless it is there.
pub(super) fn create(path: &Path) -> Result<(), Error> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            Err(Error::Unusable(format!(
                "the folder {} does not exist; create it and give it to the user that runs oust",
                folder.display()
            )))
        }
        Err(error) => Err(Error::Unusable(format!(
            "{} cannot be created ({error}); give the folder to the user that runs oust, or choose another path",
            path.display()
        ))),
    }
}

/// A connection that may write.
pub(super) fn writable(path: &Path, max_pages: Option<u32>) -> Result<Connection, Error> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let set = |name: &str, value: &dyn rusqlite::ToSql| {
        conn.pragma_update_and_check(None, name, value, |_| Ok(())).map_err(failed_at("the settings of the file"))
    };
    refuse_foreign(path, &conn)?;
    set("journal_mode", &"WAL")?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(failed_at("the settings of the file"))?;
    // Deleted ciphertext and bodies do not linger where zeroing costs no extra write.
    set("secure_delete", &"FAST")?;
    conn.pragma_update(None, "temp_store", "MEMORY").map_err(failed_at("the settings of the file"))?;
    conn.pragma_update(None, "cache_size", -8192).map_err(failed_at("the settings of the file"))?;
    // `checkpoint` copies the log back; a commit does it only when that thread is behind.
    set("wal_autocheckpoint", &0)?;
    if let Some(pages) = max_pages {
        set("max_page_count", &pages)?;
    }
    Ok(conn)
}

/// A connection that only reads.
pub(super) fn readable(path: &Path) -> Result<Connection, Error> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, Error> {
    // Every connection belongs to one thread, so SQLite needs no mutex of its own.
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| {
        Error::Unusable(format!("{} cannot be opened ({error}); check the path and its permissions", path.display()))
    })?;
    conn.busy_timeout(BUSY).map_err(failed_at("the settings of the file"))?;
    steady(&conn)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// Plans depend on the text alone. Otherwise a cached statement whose plan might have looked at a value is prepared
/// anew at every use, because the cache clears its values: twice the price of an appended journal entry.
fn steady(conn: &Connection) -> Result<(), Error> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(drop)
        .map_err(failed_at("the settings of the file"))
}

fn number(conn: &Connection, pragma: &str) -> Result<i64, Error> {
    conn.pragma_query_value(None, pragma, |row| row.get(0)).map_err(failed_at("the head of the file"))
}

/// An empty file is ours to fill; one with another application's mark, or with tables and no mark, is not.
fn refuse_foreign(path: &Path, conn: &Connection) -> Result<(), Error> {
    let foreign = || Error::Unusable(format!("{} is not a store of oust; choose another path", path.display()));
    let mark = match number(conn, "application_id") {
        Err(Error::Corrupt { .. }) => return Err(foreign()),
        other => other?,
    };
    let empty = number(conn, "schema_version")? == 0;
    if mark == APPLICATION_ID || (mark == 0 && empty) { Ok(()) } else { Err(foreign()) }
}

/// Refuses a schema this binary does not know; `Ok(true)` when it is the newest.
pub(super) fn is_current(path: &Path, conn: &Connection) -> Result<bool, Error> {
    refuse_foreign(path, conn)?;
    let version = number(conn, "user_version")?;
    let newest = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > newest {
        return Err(Error::Unusable(format!(
            "{} has schema {version}, this oust knows up to {newest}; run the newer oust that wrote it",
            path.display()
        )));
    }
    Ok(version == newest)
}

/// Brings the file to the newest schema, each step in a transaction of its own.
pub(super) fn migrate(path: &Path, conn: &mut Connection) -> Result<(), Error> {
    while !is_current(path, conn)? {
        let step = conn
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(failed_at("the schema of the file"))?;
        // Read again under the lock: another process may have migrated meanwhile.
        let version = number(&step, "user_version")?;
        if let Some(text) = usize::try_from(version).ok().and_then(|at| MIGRATIONS.get(at)) {
            step.execute_batch(text).map_err(failed_at("the schema of the file"))?;
            step.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed_at("the schema of the file"))?;
            step.pragma_update(None, "user_version", version + 1).map_err(failed_at("the schema of the file"))?;
        }
        step.commit().map_err(failed_at("the schema of the file"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::sql;

    #[test]
    fn every_statement_prepares_against_the_migrated_schema() {
        let mut conn = Connection::open_in_memory().expect("memory");
        migrate(Path::new("memory"), &mut conn).expect("migrates");
        for (name, text) in sql::ALL {
            let prepared = conn.prepare(text);
            assert!(prepared.is_ok(), "{name}: {}", prepared.err().map(|e| e.to_string()).unwrap_or_default());
        }
        assert!(sql::ALL.len() < STATEMENTS, "the statement cache must hold them all");
    }

    #[test]
    fn no_statement_that_runs_often_scans_a_table() {
        let mut conn = Connection::open_in_memory().expect("memory");
        migrate(Path::new("memory"), &mut conn).expect("migrates");
        let whole = ["TOKENS", "NEXT_EPOCH", "TABLES", "COUNT_WAITING", "WITHIN_CAP"];
        let mut scans = Vec::new();
        for (name, text) in sql::ALL.iter().filter(|(name, _)| !whole.contains(name)) {
            let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {text}")).expect("explains");
            let unbound = vec![rusqlite::types::Value::Null; plan.parameter_count()];
            let lines = plan.query_map(rusqlite::params_from_iter(unbound), |row| row.get::<_, String>(3));
            for line in lines.expect("a plan").map(|line| line.expect("a line")) {
                // A subquery's rows are those that its own lines of the plan found.
                let few = ["INDEX", "CONSTANT", "(subquery-"].iter().any(|word| line.contains(word));
                let bare = line.starts_with("SCAN") && !few;
                if bare || line.contains("TEMP B-TREE") {
                    scans.push(format!("{name}: {line}"));
                }
            }
        }
        assert_eq!(scans, Vec::<String>::new());
    }

    #[test]
    fn no_cached_statement_is_prepared_again_for_new_values() {
        let mut conn = Connection::open_in_memory().expect("memory");
        steady(&conn).expect("sets");
        migrate(Path::new("memory"), &mut conn).expect("migrates");
        let mut again = Vec::new();
        for (name, text) in sql::ALL.iter().filter(|(_, text)| !text.contains("PRAGMA") && text.contains('?')) {
            let mut statement = conn.prepare(text).expect("prepares");
            for round in 0..3 {
                for at in 1..=statement.parameter_count() {
                    statement.raw_bind_parameter(at, format!("{round} {at}")).expect("binds");
                }
                let mut rows = statement.raw_query();
                // A constraint may refuse the value: only the preparation counts here.
                while matches!(rows.next(), Ok(Some(_))) {}
                drop(rows);
                statement.clear_bindings();
            }
            if statement.get_status(rusqlite::StatementStatus::RePrepare) > 0 {
                again.push(*name);
            }
        }
        assert_eq!(again, Vec::<&str>::new());
    }

    #[test]
    fn a_schema_from_the_future_is_refused_with_what_to_do() {
        let mut conn = Connection::open_in_memory().expect("memory");
        migrate(Path::new("memory"), &mut conn).expect("migrates");
        conn.pragma_update(None, "user_version", 99).expect("sets");
        let error = migrate(Path::new("oust.db"), &mut conn).expect_err("newer");
        assert_eq!(
            error.to_string(),
            "oust.db has schema 99, this oust knows up to 6; run the newer oust that wrote it"
        );
    }

    #[test]
    fn a_file_of_another_program_is_left_alone() {
        let mut conn = Connection::open_in_memory().expect("memory");
        conn.execute_batch("CREATE TABLE theirs (x)").expect("a table");
        let error = migrate(Path::new("theirs.db"), &mut conn).expect_err("foreign");
        assert!(error.to_string().contains("not a store of oust"), "{error}");
    }
}
