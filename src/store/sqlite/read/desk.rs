//! Reads for people: cases, runs, tasks, buried rows, the audit trail, settings, tokens.

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};

use super::super::sql;
use super::{
    Window, all, and_one, column, cursor, doc, instant, instant_if_any, limit, one, paged, parsed, snapshot, text,
};
use crate::domain::ledger::Effect;
use crate::domain::run::Entry;
use crate::domain::task::Task;
use crate::domain::{BuriedId, CaseId, DeliveryId, RunId, SignalId, TaskId};
use crate::store::rows::micros;
use crate::store::{
    Audit, Buried, BuriedState, CaseRow, Error, Filter, Listed, Page, Recorded, RunRow, Settled, Token,
};

type Run = (RunRow, Vec<Entry>);

/// As after intake, or, until then, as it lies on the queue.
pub(in super::super) fn signal(conn: &Connection, id: SignalId) -> Result<Option<Value>, Error> {
    snapshot(conn, |conn| {
        let known = one(conn, "signal", sql::SIGNAL, params![id.to_string()], signal_row)?;
        if known.is_some() {
            return Ok(known);
        }
        one(conn, "signal", sql::QUEUED_SIGNAL, params![id.to_string()], |row| {
            let signal: Value = doc(row, 0, "queued signal", 0)?;
            Ok(
                json!({ "signal": signal, "identity": null, "outcome": { "word": "pending" }, "first_of_content": false }),
            )
        })
    })
}

pub(super) fn signal_row(row: &Row<'_>) -> Result<Value, Error> {
    const WHAT: &str = "signal";
    let tenant: Option<String> = column(row, 1, WHAT)?;
    let object_id: Option<String> = column(row, 2, WHAT)?;
    let identity = tenant.zip(object_id).map(|(tenant, object_id)| json!({ "tenant": tenant, "object_id": object_id }));
    let first: bool = column(row, 3, WHAT)?;
    let (outcome, signal): (Value, Value) = (doc(row, 4, WHAT, 0)?, doc(row, 5, WHAT, 0)?);
    Ok(json!({ "signal": signal, "identity": identity, "outcome": outcome, "first_of_content": first }))
}

/// Oldest first.
pub(in super::super) fn signals_of(conn: &Connection, case: CaseId) -> Result<Vec<Value>, Error> {
    all(conn, "signal", sql::SIGNALS_OF_CASE, params![case.to_string()], signal_row)
}

fn case_row(row: &Row<'_>) -> Result<CaseRow, Error> {
    doc(row, 2, "case", 1)
}

pub(in super::super) fn case(conn: &Connection, id: CaseId) -> Result<Option<CaseRow>, Error> {
    one(conn, "case", sql::CASE, params![id.to_string()], case_row)
}

pub(in super::super) fn cases(conn: &Connection, filter: &Filter, page: &Page) -> Result<Listed<CaseRow>, Error> {
    let Window { before, before_id, limit } = Window::of(page)?;
    let take = and_one(limit);
    if let Some(id) = filter.case {
        let fits = |case: &CaseRow| {
            (!filter.open || case.closed_at.is_none())
                && filter.object_id.is_none_or(|object_id| case.identity.object_id == object_id)
        };
        let items = case(conn, id)?.filter(fits).into_iter().collect();
        return Ok(Listed { items, next: None });
    }
    let rows = if let Some(object_id) = filter.object_id {
        let params = params![before, before_id, take, object_id.to_string(), filter.open];
        all(conn, "case", sql::CASES_OF_PERSON, params, case_row)?
    } else {
        let sql = if filter.open { sql::CASES_OPEN } else { sql::CASES_ALL };
        all(conn, "case", sql, params![before, before_id, take], case_row)?
    };
    Ok(paged(rows, limit, |case| cursor(case.opened_at, &case.id)))
}

fn with_journal(conn: &Connection, run: RunRow) -> Result<Run, Error> {
    let entries = all(conn, "journal", sql::JOURNAL, params![run.id.to_string()], |row| {
        text(row, 1, "journal").and_then(|entry| {
            serde_json::from_str(entry).map_err(|error| super::corrupt(format!("journal of {}", run.id), error))
        })
    })?;
    Ok((run, entries))
}

/// Oldest first, with their journals; the caller holds the snapshot.
pub(super) fn runs_of(conn: &Connection, case: &str) -> Result<Vec<Run>, Error> {
    let rows: Vec<RunRow> = all(conn, "run", sql::RUNS_OF_CASE, params![case], |row| doc(row, 1, "run", 0))?;
    rows.into_iter().map(|run| with_journal(conn, run)).collect()
}

pub(in super::super) fn runs(conn: &Connection, case: CaseId) -> Result<Vec<Run>, Error> {
    snapshot(conn, |conn| runs_of(conn, &case.to_string()))
}

pub(in super::super) fn run(conn: &Connection, id: RunId) -> Result<Option<Run>, Error> {
    snapshot(conn, |conn| {
        let row = one(conn, "run", sql::RUN, params![id.to_string()], |row| doc(row, 1, "run", 0))?;
        row.map(|run| with_journal(conn, run)).transpose()
    })
}

pub(in super::super) fn effects_of(conn: &Connection, run: RunId) -> Result<Vec<Effect>, Error> {
    all(conn, "effect", sql::EFFECTS_OF_RUN, params![run.to_string()], |row| doc(row, 1, "effect", 0))
}

pub(super) fn task_row(row: &Row<'_>) -> Result<Task, Error> {
    doc(row, 2, "task", 1)
}

pub(in super::super) fn task(conn: &Connection, id: TaskId) -> Result<Option<Task>, Error> {
    one(conn, "task", sql::TASK, params![id.to_string()], task_row)
}

pub(in super::super) fn tasks(conn: &Connection, filter: &Filter, page: &Page) -> Result<Listed<Task>, Error> {
    let Window { before, before_id, limit } = Window::of(page)?;
    let take = and_one(limit);
    let person = filter.object_id.map(|object_id| object_id.to_string());
    let rows = if let Some(case) = filter.case {
        let params = params![before, before_id, take, case.to_string(), filter.open, person];
        all(conn, "task", sql::TASKS_OF_CASE, params, task_row)?
    } else if let Some(person) = person {
        let params = params![before, before_id, take, person, filter.open];
        all(conn, "task", sql::TASKS_OF_PERSON, params, task_row)?
    } else {
        let sql = if filter.open { sql::TASKS_OPEN } else { sql::TASKS_ALL };
        all(conn, "task", sql, params![before, before_id, take], task_row)?
    };
    Ok(paged(rows, limit, |task| cursor(task.created_at, &task.id)))
}

pub(in super::super) fn sealed(conn: &Connection, task: TaskId) -> Result<Option<Value>, Error> {
    one(conn, "sealed secret", sql::SEALED, params![task.to_string()], |row| doc(row, 1, "sealed secret of", 0))
}

/// The state has a column of its own: it is what changes.
fn buried_row(row: &Row<'_>) -> Result<Buried, Error> {
    let buried: Buried = doc(row, 3, "buried row", 1)?;
    let state = match text(row, 2, "buried row")? {
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

pub(in super::super) fn buried(conn: &Connection, id: BuriedId) -> Result<Option<Buried>, Error> {
    one(conn, "buried row", sql::BURIED, params![id.to_string()], |row| {
        Ok(Buried { content: doc(row, 7, "content of", 1)?, ..buried_row(row)? })
    })
}

/// Without contents. A buried row belongs to no person and no case: a filter for one finds none.
pub(in super::super) fn buried_list(conn: &Connection, filter: &Filter, page: &Page) -> Result<Listed<Buried>, Error> {
    let Window { before, before_id, limit } = Window::of(page)?;
    if filter.case.is_some() || filter.object_id.is_some() {
        return Ok(Listed { items: Vec::new(), next: None });
    }
    let sql = if filter.open { sql::BURIED_OPEN } else { sql::BURIED_ALL };
    let rows = all(conn, "buried row", sql, params![before, before_id, and_one(limit)], buried_row)?;
    Ok(paged(rows, limit, |buried| cursor(buried.at, &buried.id)))
}

pub(in super::super) fn delivery_body(conn: &Connection, id: DeliveryId) -> Result<Option<Bytes>, Error> {
    one(conn, "delivery", sql::DELIVERY_BODY, params![id.to_string()], |row| {
        column::<Vec<u8>>(row, 0, "delivery").map(Bytes::from)
    })
}

/// Newest first; the cursor is the record's number.
pub(in super::super) fn audit(conn: &Connection, page: &Page) -> Result<Listed<(u64, Audit)>, Error> {
    let limit = limit(page);
    let before =
        page.after.as_deref().map_or(Ok(i64::MAX), |after| after.parse::<i64>().map_err(|_| Error::BadCursor))?;
    let rows = all(conn, "audit record", sql::AUDITED, params![before, and_one(limit)], |row| {
        let seq: i64 = column(row, 0, "audit record")?;
        Ok((u64::try_from(seq).unwrap_or_default(), doc(row, 1, "audit record", 0)?))
    })?;
    Ok(paged(rows, limit, |(seq, _)| seq.to_string()))
}

/// The trail after a number; one writer numbers it, so the numbers are its order.
pub(in super::super) fn audit_in_order(conn: &Connection, after: i64, limit: u32) -> Result<Vec<Recorded>, Error> {
    all(conn, "audit record", sql::AUDIT_IN_ORDER, params![after, limit], |row| {
        let seq: i64 = column(row, 0, "audit record")?;
        Ok(Recorded { cursor: seq.to_string(), record: text(row, 1, "audit record")?.to_owned() })
    })
}

pub(in super::super) fn setting(conn: &Connection, key: &str) -> Result<Option<Value>, Error> {
    one(conn, "setting", sql::SETTING, params![key], |row| doc(row, 1, "setting", 0))
}

fn token_row(row: &Row<'_>) -> Result<Token, Error> {
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

pub(in super::super) fn tokens(conn: &Connection) -> Result<Vec<Token>, Error> {
    all(conn, "token", sql::TOKENS, [], token_row)
}

/// The index finds it by its hash: who can time that learns about a hash, not about a token.
pub(in super::super) fn token_by_hash(conn: &Connection, hash: &str, now: Timestamp) -> Result<Option<Token>, Error> {
    one(conn, "token", sql::TOKEN_BY_HASH, params![hash, micros(now)], token_row)
}
