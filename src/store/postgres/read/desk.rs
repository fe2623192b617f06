//! Reads for people: cases, runs, tasks, buried rows, the audit trail, settings, tokens.

use std::collections::BTreeMap;

use bytes::Bytes;
use deadpool_postgres::Pool;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_postgres::Row;

use super::super::commit::number_audit;
use super::super::flight::{Param, moment, rows};
use super::super::sql;
use super::{collect, column, doc, instant, instant_if_any, parsed};
use crate::domain::ledger::Effect;
use crate::domain::run::Entry;
use crate::domain::task::Task;
use crate::domain::{BuriedId, CaseId, DeliveryId, RunId, SignalId, TaskId};
use crate::store::page::{Window, and_one, cursor, limit, paged};
use crate::store::rows::micros;
use crate::store::statement::Value as Text;
use crate::store::{
    Audit, Buried, BuriedState, CaseRow, Error, Filter, Listed, Page, Recorded, RunRow, Settled, Token,
};

type Run = (RunRow, Vec<Entry>);

/// The first row of a statement about one thing, if there is one.
pub(in super::super) async fn one<T>(
    pool: &Pool,
    what: &'static str,
    sql: &'static str,
    key: &str,
    map: impl FnOnce(&Row) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let key = Text::from(key.to_owned());
    let found = rows(pool, what, sql, &[&key]).await?;
    found.first().map(map).transpose()
}

/// As after intake, or, until then, as it lies on the queue.
pub(in super::super) async fn signal(pool: &Pool, id: SignalId) -> Result<Option<Value>, Error> {
    let id = id.to_string();
    let key: &[Param<'_>] = &[&id];
    let [known, queued] = moment(pool, "signal", [(sql::SIGNAL, key), (sql::QUEUED_SIGNAL, key)]).await?;
    if let Some(row) = known.first() {
        return signal_row(row).map(Some);
    }
    let pending = |row: &Row| {
        let signal: Value = doc(row, 0, "queued signal", 0)?;
        Ok(json!({ "signal": signal, "identity": null, "outcome": { "word": "pending" }, "first_of_content": false }))
    };
    queued.first().map(pending).transpose()
}

pub(super) fn signal_row(row: &Row) -> Result<Value, Error> {
    const WHAT: &str = "signal";
    let tenant: Option<String> = column(row, 1, WHAT)?;
    let object_id: Option<String> = column(row, 2, WHAT)?;
    let identity = tenant.zip(object_id).map(|(tenant, object_id)| json!({ "tenant": tenant, "object_id": object_id }));
    let first: bool = column(row, 3, WHAT)?;
    let (outcome, signal): (Value, Value) = (doc(row, 4, WHAT, 0)?, doc(row, 5, WHAT, 0)?);
    Ok(json!({ "signal": signal, "identity": identity, "outcome": outcome, "first_of_content": first }))
}

/// Oldest first.
pub(in super::super) async fn signals_of(pool: &Pool, case: CaseId) -> Result<Vec<Value>, Error> {
    let found = rows(pool, "signal", sql::SIGNALS_OF_CASE, &[&case.to_string()]).await?;
    collect(&found, signal_row)
}

fn case_row(row: &Row) -> Result<CaseRow, Error> {
    doc(row, 2, "case", 1)
}

pub(in super::super) async fn case(pool: &Pool, id: CaseId) -> Result<Option<CaseRow>, Error> {
    one(pool, "case", sql::CASE, &id.to_string(), case_row).await
}

pub(in super::super) async fn cases(pool: &Pool, filter: &Filter, page: &Page) -> Result<Listed<CaseRow>, Error> {
    let Window { before, before_id, limit } = Window::of(page)?;
    let take = and_one(limit);
    if let Some(id) = filter.case {
        let fits = |case: &CaseRow| {
            (!filter.open || case.closed_at.is_none())
                && filter.object_id.is_none_or(|object_id| case.identity.object_id == object_id)
        };
        let items = case(pool, id).await?.filter(fits).into_iter().collect();
        return Ok(Listed { items, next: None });
    }
    let found = if let Some(object_id) = filter.object_id {
        let object_id = object_id.to_string();
        let params: &[Param<'_>] = &[&before, &before_id, &take, &object_id, &filter.open];
        rows(pool, "case", sql::CASES_OF_PERSON, params).await?
    } else {
        let sql = if filter.open { sql::CASES_OPEN } else { sql::CASES_ALL };
        rows(pool, "case", sql, &[&before, &before_id, &take]).await?
    };
    Ok(paged(collect(&found, case_row)?, limit, |case| cursor(case.opened_at, &case.id)))
}

/// Runs in the order given, each with its own journal.
pub(super) fn with_journals(runs: &[Row], journals: &[Row]) -> Result<Vec<Run>, Error> {
    let mut entries: BTreeMap<&str, Vec<Entry>> = BTreeMap::new();
    for row in journals {
        let run: &str = column(row, 0, "journal")?;
        entries.entry(run).or_default().push(doc(row, 1, "journal of", 0)?);
    }
    collect(runs, |row| {
        let run: RunRow = doc(row, 1, "run", 0)?;
        let journal = entries.get(column::<&str>(row, 0, "run")?).cloned().unwrap_or_default();
        Ok((run, journal))
    })
}

pub(in super::super) async fn runs(pool: &Pool, case: CaseId) -> Result<Vec<Run>, Error> {
    let case = case.to_string();
    let key: &[Param<'_>] = &[&case];
    let [runs, journals] = moment(pool, "run", [(sql::RUNS_OF_CASE, key), (sql::JOURNALS_OF_CASE, key)]).await?;
    with_journals(&runs, &journals)
}

pub(in super::super) async fn run(pool: &Pool, id: RunId) -> Result<Option<Run>, Error> {
    let id = id.to_string();
    let key: &[Param<'_>] = &[&id];
    let [run, journal] = moment(pool, "run", [(sql::RUN, key), (sql::JOURNAL, key)]).await?;
    Ok(with_journals(&run, &journal)?.pop())
}

pub(in super::super) async fn effects_of(pool: &Pool, run: RunId) -> Result<Vec<Effect>, Error> {
    let found = rows(pool, "effect", sql::EFFECTS_OF_RUN, &[&run.to_string()]).await?;
    collect(&found, |row| doc(row, 1, "effect", 0))
}

pub(super) fn task_row(row: &Row) -> Result<Task, Error> {
    doc(row, 2, "task", 1)
}

pub(in super::super) async fn task(pool: &Pool, id: TaskId) -> Result<Option<Task>, Error> {
    one(pool, "task", sql::TASK, &id.to_string(), task_row).await
}

pub(in super::super) async fn tasks(pool: &Pool, filter: &Filter, page: &Page) -> Result<Listed<Task>, Error> {
    let Window { before, before_id, limit } = Window::of(page)?;
    let take = and_one(limit);
    let person = filter.object_id.map(|object_id| object_id.to_string());
    let found = if let Some(case) = filter.case {
        let case = case.to_string();
        let params: &[Param<'_>] = &[&before, &before_id, &take, &case, &filter.open, &person];
        rows(pool, "task", sql::TASKS_OF_CASE, params).await?
    } else if let Some(person) = person {
        let params: &[Param<'_>] = &[&before, &before_id, &take, &person, &filter.open];
        rows(pool, "task", sql::TASKS_OF_PERSON, params).await?
    } else {
        let sql = if filter.open { sql::TASKS_OPEN } else { sql::TASKS_ALL };
        rows(pool, "task", sql, &[&before, &before_id, &take]).await?
    };
    Ok(paged(collect(&found, task_row)?, limit, |task| cursor(task.created_at, &task.id)))
}

pub(in super::super) async fn sealed(pool: &Pool, task: TaskId) -> Result<Option<Value>, Error> {
    one(pool, "sealed secret", sql::SEALED, &task.to_string(), |row| doc(row, 1, "sealed secret of", 0)).await
}

/// The state has a column of its own: it is what changes.
fn buried_row(row: &Row) -> Result<Buried, Error> {
    let buried: Buried = doc(row, 3, "buried row", 1)?;
    let state = match column::<&str>(row, 2, "buried row")? {
        "replayed" => BuriedState::Replayed,
        "dropped" => BuriedState::Dropped,
        _ => BuriedState::Buried,
    };
    let word = |at| column::<Option<String>>(row, at, "buried row").map(Option::unwrap_or_default);
    let settled = match instant_if_any(row, 6, "buried row")? {
        Some(at) => Some(Settled { by: word(4)?, reason: word(5)?, at }),
        None => None,
    };
    Ok(Buried { state, settled, ..buried })
}

pub(in super::super) async fn buried(pool: &Pool, id: BuriedId) -> Result<Option<Buried>, Error> {
    one(pool, "buried row", sql::BURIED, &id.to_string(), |row| {
        Ok(Buried { content: doc(row, 7, "content of", 1)?, ..buried_row(row)? })
    })
    .await
}

/// Without contents. A buried row belongs to no person and no case: a filter for one finds none.
pub(in super::super) async fn buried_list(pool: &Pool, filter: &Filter, page: &Page) -> Result<Listed<Buried>, Error> {
    let Window { before, before_id, limit } = Window::of(page)?;
    if filter.case.is_some() || filter.object_id.is_some() {
        return Ok(Listed { items: Vec::new(), next: None });
    }
    let sql = if filter.open { sql::BURIED_OPEN } else { sql::BURIED_ALL };
    let found = rows(pool, "buried row", sql, &[&before, &before_id, &and_one(limit)]).await?;
    Ok(paged(collect(&found, buried_row)?, limit, |buried| cursor(buried.at, &buried.id)))
}

pub(in super::super) async fn delivery_body(pool: &Pool, id: DeliveryId) -> Result<Option<Bytes>, Error> {
    one(pool, "delivery", sql::DELIVERY_BODY, &id.to_string(), |row| {
        column::<Vec<u8>>(row, 0, "delivery").map(Bytes::from)
    })
    .await
}

/// Newest first; the cursor is the record's number. What has none yet gets one now, in the order it became visible.
pub(in super::super) async fn audit(pool: &Pool, page: &Page) -> Result<Listed<(u64, Audit)>, Error> {
    let limit = limit(page);
    let before =
        page.after.as_deref().map_or(Ok(i64::MAX), |after| after.parse::<i64>().map_err(|_| Error::BadCursor))?;
    if page.after.is_none() {
        number_audit(pool).await?;
    }
    let found = rows(pool, "audit record", sql::AUDITED, &[&before, &and_one(limit)]).await?;
    let records = collect(&found, |row| {
        let seq: i64 = column(row, 0, "audit record")?;
        Ok((seq.unsigned_abs(), doc(row, 1, "audit record", 0)?))
    })?;
    Ok(paged(records, limit, |(seq, _)| seq.to_string()))
}

/// The trail after a number. Numbers are given after the commits, in the order in which records became visible: below
/// one that was given, none can come.
pub(in super::super) async fn audit_in_order(
    pool: &Pool,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Recorded>, Error> {
    let after: i64 = after.map_or(Ok(0), str::parse).map_err(|_| Error::BadCursor)?;
    number_audit(pool).await?;
    let found = rows(pool, "audit record", sql::AUDIT_IN_ORDER, &[&after, &i64::from(limit)]).await?;
    collect(&found, |row| {
        let seq: i64 = column(row, 0, "audit record")?;
        Ok(Recorded { cursor: seq.to_string(), record: column(row, 1, "audit record")? })
    })
}

pub(in super::super) async fn setting(pool: &Pool, key: &str) -> Result<Option<Value>, Error> {
    one(pool, "setting", sql::SETTING, key, |row| doc(row, 1, "setting", 0)).await
}

fn token_row(row: &Row) -> Result<Token, Error> {
    const WHAT: &str = "token";
    Ok(Token {
        id: parsed(row, 0, WHAT)?,
        name: column(row, 1, WHAT)?,
        hash: column(row, 2, WHAT)?,
        scopes: doc(row, 3, WHAT, 0)?,
        created_at: instant(row, 4, WHAT)?,
        expires_at: instant_if_any(row, 5, WHAT)?,
        revoked_at: instant_if_any(row, 6, WHAT)?,
    })
}

pub(in super::super) async fn tokens(pool: &Pool) -> Result<Vec<Token>, Error> {
    collect(&rows(pool, "token", sql::TOKENS, &[]).await?, token_row)
}

/// The index finds it by its hash: who can time that learns about a hash, not about a token.
pub(in super::super) async fn token_by_hash(pool: &Pool, hash: &str, now: Timestamp) -> Result<Option<Token>, Error> {
    let found = rows(pool, "token", sql::TOKEN_BY_HASH, &[&hash, &micros(now)]).await?;
    found.first().map(token_row).transpose()
}
