//! What the writer thread does to the file for one job, inside a savepoint: binds, steps, checks.

use rusqlite::{Connection, ErrorCode, OptionalExtension, params, params_from_iter};

use super::failure::failed_at;
use super::sql;
use crate::store::Error;
use crate::store::rows::Rows;
use crate::store::statement::{Statement, Wants};

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Work {
    Batch(Vec<Statement>),
    Accept(Box<Rows>),
    /// The next epoch.
    Epoch,
    /// `PRAGMA data_version` of the writing connection: it ignores what this connection wrote itself.
    Stamp,
    /// Stands for a defect, in tests.
    #[cfg(test)]
    Panic,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Done {
    Applied,
    /// The answer kept of the same delivery.
    Replay(String),
    Number(i64),
}

/// Runs a statement that takes no values and gives no rows.
pub(super) fn run(conn: &Connection, text: &'static str) -> rusqlite::Result<()> {
    conn.prepare_cached(text)?.raw_execute().map(|_| ())
}

/// Does one job within the open transaction; on an error nothing of it is left. `false`: that could not be ensured,
/// or the transaction is gone, and with it the work of the neighbours.
pub(super) fn job(conn: &Connection, work: &Work) -> (Result<Done, Error>, bool) {
    if let Err(error) = run(conn, sql::SAVEPOINT) {
        return (Err(failed_at("a batch")(error)), false);
    }
    let outcome = match work {
        Work::Batch(statements) => batch(conn, statements).map(|()| Done::Applied),
        Work::Accept(rows) => accept(conn, rows),
        Work::Epoch => number(conn, sql::NEXT_EPOCH).map(Done::Number),
        Work::Stamp => number(conn, sql::DATA_VERSION).map(Done::Number),
        #[cfg(test)]
        Work::Panic => panic!("a defect on the writer thread"),
    };
    let undone = outcome.is_ok() || run(conn, sql::ROLLBACK_TO).is_ok();
    // After a full disk SQLite may have rolled the whole transaction back by itself: then no savepoint is left.
    let intact = !conn.is_autocommit() && undone && run(conn, sql::RELEASE).is_ok();
    (outcome, intact)
}

fn number(conn: &Connection, text: &'static str) -> Result<i64, Error> {
    let mut statement = conn.prepare_cached(text).map_err(failed_at("a number"))?;
    statement.query_row([], |row| row.get(0)).map_err(failed_at("a number"))
}

fn batch(conn: &Connection, statements: &[Statement]) -> Result<(), Error> {
    for statement in statements {
        let mut prepared = conn.prepare_cached(sql::of(statement.name)).map_err(failed_at("a batch"))?;
        let values = params_from_iter(&statement.values);
        match &statement.wants {
            Wants::Nothing => {
                prepared.execute(values).map_err(failed_at("a batch"))?;
            }
            Wants::OneRow(refusal) => match prepared.execute(values) {
                Ok(1) => {}
                Ok(_) => return Err(refusal.error()),
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    return Err(refusal.error());
                }
                Err(error) => return Err(failed_at("a batch")(error)),
            },
            Wants::Found(refusal) => {
                if !prepared.exists(values).map_err(failed_at("a batch"))? {
                    return Err(refusal.error());
                }
            }
            Wants::Absent(refusal) => {
                if prepared.exists(values).map_err(failed_at("a batch"))? {
                    return Err(refusal.error());
                }
            }
        }
    }
    Ok(())
}

fn accept(conn: &Connection, rows: &Rows) -> Result<Done, Error> {
    if let Some(webhook_id) = &rows.webhook_id {
        let mut known = conn.prepare_cached(sql::KNOWN_DELIVERY).map_err(failed_at("a delivery"))?;
        let answer: Option<String> = known
            .query_row(params![rows.source, webhook_id, rows.body_hash], |row| row.get(0))
            .optional()
            .map_err(failed_at("a delivery"))?;
        if let Some(answer) = answer {
            return Ok(Done::Replay(answer));
        }
    }
    conn.prepare_cached(sql::INSERT_DELIVERY)
        .and_then(|mut insert| {
            insert.execute(params![
                rows.delivery,
                rows.source,
                rows.tenant,
                rows.received_at,
                rows.webhook_id,
                rows.body_hash,
                rows.answer,
                &rows.body[..],
            ])
        })
        .map_err(failed_at("a delivery"))?;
    let mut enqueue = conn.prepare_cached(sql::ENQUEUE).map_err(failed_at("a delivery"))?;
    for (signal, doc) in &rows.signals {
        enqueue.execute(params![signal, rows.received_at, doc]).map_err(failed_at("a delivery"))?;
    }
    if let Some(buried) = &rows.buried {
        batch(conn, std::slice::from_ref(buried))?;
    }
    Ok(Done::Applied)
}
