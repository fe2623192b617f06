//! Reads on the way to a containment: a person, the first of a content, who is due.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde_json::Value;

use super::super::sql;
use super::{all, column, desk, doc, instant, one, parsed, snapshot, text};
use crate::domain::task::Task;
use crate::domain::{Identity, TenantName};
use crate::store::rows::micros;
use crate::store::{Browser, Epoch, Error, Owner, PersonRecord, SignalRowBrief};

/// The person's row and the open case, of one moment.
pub(in super::super) fn person(
    conn: &Connection,
    identity: &Identity,
    me: Epoch,
) -> Result<Option<PersonRecord>, Error> {
    const WHAT: &str = "person";
    let key = (identity.tenant.to_string(), identity.object_id.to_string());
    snapshot(conn, |conn| {
        let row = one(conn, WHAT, sql::PERSON, params![key.0, key.1], |row| {
            let revision: i64 = column(row, 0, WHAT)?;
            let owner: Option<i64> = column(row, 1, WHAT)?;
            let doc: Value = serde_json::from_str(text(row, 2, WHAT)?)
                .map_err(|error| super::corrupt(format!("{WHAT} {identity}"), error))?;
            let due_at = moment(column(row, 3, WHAT)?);
            let watch_at = moment(column(row, 5, WHAT)?);
            Ok((revision, owner, doc, due_at, column(row, 4, WHAT)?, watch_at))
        })?;
        let Some((revision, owner, doc, due_at, urgent, watch_at)) = row else { return Ok(None) };
        let case: Option<String> = one(conn, WHAT, sql::OPEN_CASE, params![key.0, key.1], |row| column(row, 0, WHAT))?;
        let (runs, tasks) = match &case {
            Some(case) => (
                desk::runs_of(conn, case)?,
                all(conn, "task", sql::ALL_TASKS_OF_CASE, params![case], |row| super::doc(row, 2, "task", 1))?,
            ),
            None => (Vec::new(), Vec::new()),
        };
        let forwarded = all(conn, "forwarded signal", sql::FORWARDED, params![key.0, key.1], |row| {
            super::doc(row, 1, "signal", 0)
        })?;
        let mut seen = Vec::new();
        for task in tasks.iter().map(|task: &Task| task.id) {
            let browser = one(conn, "browser", sql::SEEN_WITH, params![task.to_string()], |row| {
                Ok(Browser { at: instant(row, 0, "browser")?, session: column(row, 1, "browser")? })
            })?;
            seen.extend(browser.map(|browser| (task, browser)));
        }
        Ok(Some(PersonRecord {
            revision: u64::try_from(revision).unwrap_or_default(),
            owner: owner.map(|epoch| Owner { epoch: Epoch(epoch), ended: (epoch != me.0).then_some(Duration::ZERO) }),
            due_at,
            urgent,
            watch_at,
            doc,
            runs,
            tasks,
            forwarded,
            seen,
        }))
    })
}

fn moment(micros: Option<i64>) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros?).ok()
}

fn identity(row: &rusqlite::Row<'_>) -> Result<Identity, Error> {
    Ok(Identity { tenant: parsed(row, 0, "person")?, object_id: parsed(row, 1, "person")? })
}

/// Urgent ones first; whom `me` holds is held alive, every other owner is of a dead process.
pub(in super::super) fn due(conn: &Connection, now: Timestamp, me: Epoch, limit: u32) -> Result<Vec<Identity>, Error> {
    let mut found = Vec::new();
    for urgent in [true, false] {
        let room = limit as usize - found.len();
        if room > 0 {
            let params = params![urgent, micros(now), me.0, i64::try_from(room).unwrap_or(i64::MAX)];
            found.extend(all(conn, "people due", sql::DUE_PEOPLE, params, identity)?);
        }
    }
    Ok(found)
}

/// Everybody this epoch holds, with the revision of the row.
pub(in super::super) fn held(conn: &Connection, me: Epoch) -> Result<Vec<(Identity, u64)>, Error> {
    all(conn, "people held", sql::HELD_PEOPLE, params![me.0], |row| {
        let revision: i64 = column(row, 2, "person")?;
        Ok((identity(row)?, revision.unsigned_abs()))
    })
}

/// People whose sign-ins are watched, soonest first.
pub(in super::super) fn watched(
    conn: &Connection,
    tenant: &TenantName,
    limit: u32,
) -> Result<Vec<(Identity, Value)>, Error> {
    all(conn, "people watched", sql::WATCHED, params![tenant.as_str(), limit], |row| {
        Ok((identity(row)?, doc(row, 2, "person", 1)?))
    })
}

/// What a redelivery joins.
pub(in super::super) fn first_of_content(
    conn: &Connection,
    source: &str,
    identity: &Identity,
    content: &str,
    untimed_since: Option<Timestamp>,
) -> Result<Option<SignalRowBrief>, Error> {
    let since = untimed_since.map_or(i64::MIN, micros);
    let key = params![source, identity.tenant.as_str(), identity.object_id.to_string(), content, since];
    one(conn, "signal", sql::FIRST_OF_CONTENT, key, |row| {
        Ok(SignalRowBrief { id: parsed(row, 0, "signal")?, outcome: doc(row, 1, "signal", 0)? })
    })
}

/// A pinned plan's JSON.
pub(in super::super) fn plan(conn: &Connection, hash: &str) -> Result<Option<String>, Error> {
    one(conn, "plan", sql::PLAN, params![hash], |row| text(row, 0, "plan").map(str::to_owned))
}
