//! What waits: the queue and signals to be named. An unreadable row must not hold up those behind it: it is reported
//! beside the good ones, so that the store can bury it.

use deadpool_postgres::Pool;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::super::flight::{Param, rows};
use super::super::sql;
use super::{collect, column, doc, instant};
use crate::domain::Signal;
use crate::store::rows::{Name, Statement, Value, micros, set_aside};
use crate::store::{Epoch, Error, Queued, Waiting};

/// Good rows, and what buries the others.
pub(in super::super) struct Found<T> {
    pub(in super::super) good: Vec<T>,
    pub(in super::super) bad: Vec<Vec<Statement>>,
}

/// Never put back, alternating with those put back whose time has come. With a lease they are claimed; without one only
/// looked at.
pub(in super::super) async fn queued(
    pool: &Pool,
    after: i64,
    now: Timestamp,
    me: Option<Epoch>,
    limit: u32,
) -> Result<Found<Queued>, Error> {
    let (limit, now_micros) = (i64::from(limit), micros(now));
    let (fresh, again) = match &me {
        Some(me) => {
            let (fresh, again): (&[Param<'_>], &[Param<'_>]) =
                (&[&after, &me.0, &limit], &[&now_micros, &me.0, &limit]);
            let (fresh, again) =
                (rows(pool, "queue", sql::CLAIM_FRESH, fresh), rows(pool, "queue", sql::CLAIM_AGAIN, again));
            tokio::try_join!(fresh, again)?
        }
        None => {
            let (fresh, again): (&[Param<'_>], &[Param<'_>]) = (&[&after, &limit], &[&now_micros, &limit]);
            let (fresh, again) =
                (rows(pool, "queue", sql::QUEUED_FRESH, fresh), rows(pool, "queue", sql::QUEUED_AGAIN, again));
            tokio::try_join!(fresh, again)?
        }
    };
    let (fresh, again) = (collect(&fresh, queue_row)?, collect(&again, queue_row)?);
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

fn queue_row(row: &Row) -> Result<(i64, Result<Signal, Error>), Error> {
    Ok((column(row, 0, "queue")?, doc(row, 1, "queued signal", 0)))
}

/// Claims signals whose naming is due.
pub(in super::super) async fn waiting(
    pool: &Pool,
    now: Timestamp,
    me: Epoch,
    limit: u32,
) -> Result<Found<Waiting>, Error> {
    let claimed = rows(pool, "waiting", sql::CLAIM_WAITING, &[&micros(now), &me.0, &i64::from(limit)]).await?;
    let mut found = Found { good: Vec::with_capacity(claimed.len()), bad: Vec::new() };
    for row in &claimed {
        match waiting_row(row) {
            Ok(waiting) => found.good.push(waiting),
            Err(error) => {
                let key: String = column(row, 0, "waiting")?;
                found.bad.push(set_aside(
                    &format!("waiting {key}"),
                    Value::Text(key),
                    (Name::BuryWaiting, Name::DropWaiting),
                    now,
                    &error,
                )?);
            }
        }
    }
    Ok(found)
}

fn waiting_row(row: &Row) -> Result<Waiting, Error> {
    let attempt: i64 = column(row, 2, "waiting")?;
    Ok(Waiting {
        signal: doc(row, 4, "waiting signal", 0)?,
        attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
        due_at: instant(row, 1, "waiting")?,
        reason: column(row, 3, "waiting")?,
    })
}
