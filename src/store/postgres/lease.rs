//! Leases, as the server's clock says; ours decides nothing.

use std::time::Duration;

use deadpool_postgres::Pool;

use super::failure::reading;
use super::flight::{Param, execute, judged, rows, tried};
use super::sql;
use crate::store::{Epoch, Error, LEASE};

const WHAT: &str = "a lease";

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A new epoch; rows of workers long dead go on the way.
pub(super) async fn begin(pool: &Pool) -> Result<Epoch, Error> {
    execute(pool, WHAT, sql::PRUNE_WORKERS, &[]).await?;
    let lasts = &micros(LEASE);
    // A second row after a lost answer is a worker that never was: it ends by itself.
    let epoch = tried(pool, WHAT, |lent| async move {
        let judged = judged(WHAT);
        let statement = lent.prepare_cached(sql::NEXT_EPOCH).await.map_err(&judged)?;
        lent.query_one(&statement, &[lasts as Param<'_>]).await.map_err(&judged)
    })
    .await?;
    epoch.try_get(0).map(Epoch).map_err(reading(WHAT))
}

pub(super) async fn renew(pool: &Pool, me: Epoch) -> Result<bool, Error> {
    execute(pool, WHAT, sql::RENEW, &[&me.0, &micros(LEASE)]).await.map(|rows| rows == 1)
}

pub(super) async fn end(pool: &Pool, me: Epoch) -> Result<(), Error> {
    execute(pool, WHAT, sql::END_EPOCH, &[&me.0]).await.map(|_| ())
}

pub(super) async fn lead(pool: &Pool, duty: &str, me: Epoch) -> Result<bool, Error> {
    execute(pool, "a duty", sql::LEAD, &[&duty, &me.0]).await.map(|rows| rows == 1)
}

/// Changes when a pause or a release does.
pub(super) async fn stamp(pool: &Pool) -> Result<i64, Error> {
    let found = rows(pool, "a stamp", sql::STAMP, &[]).await?;
    found.first().map_or(Ok(0), |row| row.try_get(0).map_err(reading("a stamp")))
}
