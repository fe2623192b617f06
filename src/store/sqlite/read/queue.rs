//! Reads of what waits: the queue and signals to be named. An unreadable row must not hold up those behind it: it is
//! reported beside the good ones, so that the store can bury it.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::super::sql;
use super::{all, column, doc, instant, snapshot};
use crate::store::found::{Found, QueueRow};
use crate::store::rows::micros;
use crate::store::{Error, Queued, Waiting};

/// Never put back and after `after`, alternating with those put back whose time has come.
pub(in super::super) fn queued(
    conn: &Connection,
    after: i64,
    now: Timestamp,
    limit: u32,
) -> Result<Found<Queued>, Error> {
    let (fresh, again) = snapshot(conn, |conn| {
        let fresh = all(conn, "queue", sql::QUEUED_FRESH, params![after, limit], queue_row)?;
        let again = all(conn, "queue", sql::QUEUED_AGAIN, params![micros(now), limit], queue_row)?;
        Ok((fresh, again))
    })?;
    Found::queued(fresh, again, now)
}

fn queue_row(row: &Row<'_>) -> Result<QueueRow, Error> {
    Ok((column(row, 0, "queue")?, doc(row, 1, "queued signal", 0)))
}

/// Signals whose naming is due.
pub(in super::super) fn waiting(conn: &Connection, now: Timestamp, limit: u32) -> Result<Found<Waiting>, Error> {
    let rows = all(conn, "waiting", sql::DUE_WAITING, params![micros(now), limit], |row| {
        let key: String = column(row, 0, "waiting")?;
        Ok((key, waiting_row(row)))
    })?;
    Found::waiting(rows, now)
}

fn waiting_row(row: &Row<'_>) -> Result<Waiting, Error> {
    Ok(Waiting {
        signal: doc(row, 4, "waiting signal", 0)?,
        attempt: column(row, 2, "waiting")?,
        due_at: instant(row, 1, "waiting")?,
        reason: column(row, 3, "waiting")?,
    })
}
