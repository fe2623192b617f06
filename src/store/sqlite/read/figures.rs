//! Numbers for `/metrics` and `/readyz`: each reads one small index.

use jiff::Timestamp;
use rusqlite::{Connection, Params, params};

use super::super::sql;
use super::{all, column, instant, instant_if_any, one, snapshot};
use crate::store::model::among;
use crate::store::rows::micros;
use crate::store::{Error, Figures};

const WHAT: &str = "figures";

/// All of one moment.
pub(in super::super) fn figures(conn: &Connection, now: Timestamp) -> Result<Figures, Error> {
    snapshot(conn, |conn| {
        let fresh = one(conn, WHAT, sql::OLDEST_FRESH, [], |row| instant(row, 0, WHAT))?;
        let again = one(conn, WHAT, sql::OLDEST_AGAIN, [], |row| instant_if_any(row, 0, WHAT))?.flatten();
        let tasks = all(conn, WHAT, sql::COUNT_TASKS, [], |row| {
            let count: i64 = column(row, 1, WHAT)?;
            Ok((column::<String>(row, 0, WHAT)?, count.unsigned_abs(), instant(row, 2, WHAT)?))
        })?;
        let cases = all(conn, WHAT, sql::COUNT_CASES, [], |row| {
            let count: i64 = column(row, 1, WHAT)?;
            Ok((column::<String>(row, 0, WHAT)?, count.unsigned_abs()))
        })?;
        Ok(Figures {
            queue_depth: count(conn, sql::COUNT_FRESH, [])? + count(conn, sql::COUNT_AGAIN, [])?,
            queue_oldest: fresh.into_iter().chain(again).min(),
            waiting: count(conn, sql::COUNT_WAITING, [])?,
            people_due: count(conn, sql::COUNT_DUE, params![micros(now)])?,
            runs_open: count(conn, sql::COUNT_RUNS, [])?,
            cases_open: cases.iter().map(|(_, count)| count).sum(),
            parked: among(&cases, "parked"),
            cases_by_state: cases,
            tasks_oldest: tasks.iter().map(|(_, _, oldest)| *oldest).min(),
            tasks_open: tasks.into_iter().map(|(kind, count, _)| (kind, count)).collect(),
            effects_unknown: count(conn, sql::COUNT_UNKNOWN, [])?,
            buried: count(conn, sql::COUNT_BURIED, [])?,
        })
    })
}

fn count(conn: &Connection, sql: &'static str, params: impl Params) -> Result<u64, Error> {
    let count: Option<i64> = one(conn, WHAT, sql, params, |row| column(row, 0, WHAT))?;
    Ok(count.unwrap_or_default().unsigned_abs())
}
