//! Reads on the way to a containment: a person, the first of a content, who is due.

use std::time::Duration;

use deadpool_postgres::Pool;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;

use super::super::flight::{Param, moment, rows};
use super::super::sql;
use super::{collect, column, desk, doc, instant_if_any, parsed};
use crate::domain::task::Task;
use crate::domain::{Identity, TaskId, TenantName};
use crate::store::rows::micros;
use crate::store::{Browser, Claimed, Epoch, Error, Owner, PersonRecord, SignalRowBrief};

const WHAT: &str = "person";

/// The person's row and the open case, of one moment and in one round trip.
pub(in super::super) async fn person(pool: &Pool, identity: &Identity) -> Result<Option<PersonRecord>, Error> {
    let (tenant, object_id) = (identity.tenant.as_str(), identity.object_id.to_string());
    let key: &[Param<'_>] = &[&tenant, &object_id];
    let of = |sql| (sql, key);
    let statements =
        [of(sql::PERSON), of(sql::OPEN_RUNS), of(sql::OPEN_JOURNALS), of(sql::OPEN_TASKS), of(sql::FORWARDED)];
    let [person, runs, journals, tasks, forwarded] = moment(pool, WHAT, statements).await?;
    let Some(row) = person.first() else { return Ok(None) };
    let revision: i64 = column(row, 0, WHAT)?;
    let doc: Value = serde_json::from_str(column(row, 2, WHAT)?)
        .map_err(|error| super::corrupt(format!("{WHAT} {identity}"), error))?;
    let mut seen: Vec<(TaskId, Browser)> = Vec::new();
    let open: Vec<Task> = collect(&tasks, |row| super::doc(row, 2, "task", 1))?;
    for (task, row) in open.iter().zip(&tasks) {
        if let Some(at) = instant_if_any(row, 3, "browser")? {
            seen.push((task.id, Browser { at, session: column(row, 4, "browser")? }));
        }
    }
    Ok(Some(PersonRecord {
        revision: revision.unsigned_abs(),
        owner: owner(row)?,
        due_at: moment_at(column(row, 3, WHAT)?),
        urgent: column(row, 4, WHAT)?,
        watch_at: moment_at(column(row, 5, WHAT)?),
        doc,
        runs: desk::with_journals(&runs, &journals)?,
        tasks: open,
        forwarded: collect(&forwarded, |row| super::doc(row, 1, "signal", 0))?,
        seen,
    }))
}

fn owner(row: &Row) -> Result<Option<Owner>, Error> {
    let Some(epoch) = column::<Option<i64>>(row, 1, WHAT)? else { return Ok(None) };
    let ended: i64 = column(row, 6, WHAT)?;
    let ended = u64::try_from(ended).ok().map(Duration::from_micros);
    Ok(Some(Owner { epoch: Epoch(epoch), ended }))
}

fn moment_at(micros: Option<i64>) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros?).ok()
}

fn identity(row: &Row) -> Result<Identity, Error> {
    Ok(Identity { tenant: parsed(row, 0, WHAT)?, object_id: parsed(row, 1, WHAT)? })
}

/// Claims who is due and held by nobody, urgent ones first.
pub(in super::super) async fn claim(pool: &Pool, now: Timestamp, me: Epoch, limit: u32) -> Result<Vec<Claimed>, Error> {
    let mut found = Vec::new();
    for urgent in [true, false] {
        let room = i64::from(limit) - i64::try_from(found.len()).unwrap_or(i64::MAX);
        if room > 0 {
            let params: &[Param<'_>] = &[&urgent, &micros(now), &me.0, &room];
            let claimed = rows(pool, "people due", sql::CLAIM_PEOPLE, params).await?;
            found.extend(collect(&claimed, |row| {
                let ended: Option<i64> = column(row, 2, WHAT)?;
                let ended = ended.map(|ended| Duration::from_micros(u64::try_from(ended).unwrap_or_default()));
                Ok(Claimed { identity: identity(row)?, ended })
            })?);
        }
    }
    Ok(found)
}

/// Everybody this epoch holds, with the revision of the row.
pub(in super::super) async fn held(pool: &Pool, me: Epoch) -> Result<Vec<(Identity, u64)>, Error> {
    let found = rows(pool, "people held", sql::HELD_PEOPLE, &[&me.0]).await?;
    collect(&found, |row| Ok((identity(row)?, column::<i64>(row, 2, WHAT)?.unsigned_abs())))
}

/// People whose sign-ins are watched, soonest first.
pub(in super::super) async fn watched(
    pool: &Pool,
    tenant: &TenantName,
    limit: u32,
) -> Result<Vec<(Identity, Value)>, Error> {
    let found = rows(pool, "people watched", sql::WATCHED, &[&tenant.as_str(), &i64::from(limit)]).await?;
    collect(&found, |row| Ok((identity(row)?, doc(row, 2, WHAT, 1)?)))
}

/// What a redelivery joins.
pub(in super::super) async fn first_of_content(
    pool: &Pool,
    source: &str,
    identity: &Identity,
    content: &str,
    untimed_since: Option<Timestamp>,
) -> Result<Option<SignalRowBrief>, Error> {
    let text = |text: &str| crate::store::statement::Value::from(text.to_owned());
    let (source, content) = (text(source), text(content));
    let (tenant, object_id) = (identity.tenant.as_str(), identity.object_id.to_string());
    let since = untimed_since.map_or(i64::MIN, micros);
    let params: &[Param<'_>] = &[&source, &tenant, &object_id, &content, &since];
    let found = rows(pool, "signal", sql::FIRST_OF_CONTENT, params).await?;
    let brief = |row: &Row| Ok(SignalRowBrief { id: parsed(row, 0, "signal")?, outcome: doc(row, 1, "signal", 0)? });
    found.first().map(brief).transpose()
}

/// A pinned plan's JSON.
pub(in super::super) async fn plan(pool: &Pool, hash: &str) -> Result<Option<String>, Error> {
    let found = rows(pool, "plan", sql::PLAN, &[&hash]).await?;
    found.first().map(|row| column(row, 0, "plan")).transpose()
}
