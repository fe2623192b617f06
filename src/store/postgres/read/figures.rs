//! Numbers for `/metrics` and `/readyz`: each reads one small index.

use deadpool_postgres::Pool;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::super::flight::{Param, moment};
use super::super::sql;
use super::{collect, column, instant, instant_if_any};
use crate::store::model::among;
use crate::store::rows::micros;
use crate::store::{Error, Figures};

const WHAT: &str = "figures";

/// All of one moment.
pub(in super::super) async fn figures(pool: &Pool, now: Timestamp) -> Result<Figures, Error> {
    let now = micros(now);
    let due: &[Param<'_>] = &[&now];
    let statements = [
        (sql::COUNT_QUEUE, &[] as &[Param<'_>]),
        (sql::COUNT_WAITING, &[]),
        (sql::COUNT_DUE, due),
        (sql::COUNT_RUNS, &[]),
        (sql::COUNT_CASES, &[]),
        (sql::COUNT_TASKS, &[]),
        (sql::COUNT_UNKNOWN, &[]),
        (sql::COUNT_BURIED, &[]),
    ];
    let [queue, waiting, due, runs, cases, tasks, unknown, buried] = moment(pool, WHAT, statements).await?;
    let tasks = collect(&tasks, |row| {
        Ok((column::<String>(row, 0, WHAT)?, column::<i64>(row, 1, WHAT)?.unsigned_abs(), instant(row, 2, WHAT)?))
    })?;
    let cases =
        collect(&cases, |row| Ok((column::<String>(row, 0, WHAT)?, column::<i64>(row, 1, WHAT)?.unsigned_abs())))?;
    Ok(Figures {
        queue_depth: count(&queue, 0)?,
        queue_oldest: queue.first().map(|row| instant_if_any(row, 1, WHAT)).transpose()?.flatten(),
        waiting: count(&waiting, 0)?,
        people_due: count(&due, 0)?,
        runs_open: count(&runs, 0)?,
        cases_open: cases.iter().map(|(_, count)| count).sum(),
        parked: among(&cases, "parked"),
        cases_by_state: cases,
        tasks_oldest: tasks.iter().map(|(_, _, oldest)| *oldest).min(),
        tasks_open: tasks.into_iter().map(|(kind, count, _)| (kind, count)).collect(),
        effects_unknown: count(&unknown, 0)?,
        buried: count(&buried, 0)?,
    })
}

fn count(rows: &[Row], at: usize) -> Result<u64, Error> {
    rows.first().map_or(Ok(0), |row| column::<i64>(row, at, WHAT).map(i64::unsigned_abs))
}
