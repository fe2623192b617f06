//! Reads of what waits: the queue and signals to be named. An unreadable row must not hold up those behind it: it is
//! reported beside the good ones, so that the store can bury it.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::super::sql;
use super::{all, column, doc, instant, snapshot};
use crate::domain::Signal;
use crate::store::rows::{Name, Statement, Value, micros, set_aside};
use crate::store::{Error, Queued, Waiting};

/// Good rows, and what buries the others.
pub(in super::super) struct Found<T> {
    pub(in super::super) good: Vec<T>,
    pub(in super::super) bad: Vec<Vec<Statement>>,
}

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
    let mut found = Found { good: Vec::with_capacity(fresh.len() + again.len()), bad: Vec::new() };
    let (mut fresh, mut again) = (fresh.into_iter(), again.into_iter());
    loop {
        let pair = [(true, again.next()), (false, fresh.next())];
        if pair.iter().all(|(_, row)| row.is_none()) {
            return Ok(found);
        }
        for (put_back, row) in pair {
            let Some((seq, signal)) = row else { continue };
            match signal {
                Ok(signal) => found.good.push(Queued { seq, put_back, signal }),
                Err(error) => found.bad.push(set_aside(
                    &format!("queue {seq}"),
                    Value::Integer(seq),
                    (Name::BuryQueued, Name::Dequeue),
                    now,
                    &error,
                )?),
            }
        }
    }
}

fn queue_row(row: &Row<'_>) -> Result<(i64, Result<Signal, Error>), Error> {
    Ok((column(row, 0, "queue")?, doc(row, 1, "queued signal", 0)))
}

/// Signals whose naming is due.
pub(in super::super) fn waiting(conn: &Connection, now: Timestamp, limit: u32) -> Result<Found<Waiting>, Error> {
    let rows = all(conn, "waiting", sql::DUE_WAITING, params![micros(now), limit], |row| {
        let key: String = column(row, 0, "waiting")?;
        Ok((key, waiting_row(row)))
    })?;
    let mut found = Found { good: Vec::with_capacity(rows.len()), bad: Vec::new() };
    for (key, row) in rows {
        match row {
            Ok(waiting) => found.good.push(waiting),
            Err(error) => found.bad.push(set_aside(
                &format!("waiting {key}"),
                Value::Text(key),
                (Name::BuryWaiting, Name::DropWaiting),
                now,
                &error,
            )?),
        }
    }
    Ok(found)
}

fn waiting_row(row: &Row<'_>) -> Result<Waiting, Error> {
    Ok(Waiting {
        signal: doc(row, 4, "waiting signal", 0)?,
        attempt: column(row, 2, "waiting")?,
        due_at: instant(row, 1, "waiting")?,
        reason: column(row, 3, "waiting")?,
    })
}
