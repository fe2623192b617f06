//! What waits: the queue and signals to be named. An unreadable row must not hold up those behind it: it is reported
//! beside the good ones, so that the store can bury it.

use deadpool_postgres::Pool;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::super::flight::{Param, rows};
use super::super::sql;
use super::{collect, column, doc, instant};
use crate::store::found::{Found, QueueRow};
use crate::store::rows::micros;
use crate::store::{Epoch, Error, Queued, Waiting};

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
    Found::queued(collect(&fresh, queue_row)?, collect(&again, queue_row)?, now)
}

fn queue_row(row: &Row) -> Result<QueueRow, Error> {
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
    let rows = collect(&claimed, |row| Ok((column(row, 0, "waiting")?, waiting_row(row))))?;
    Found::waiting(rows, now)
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
