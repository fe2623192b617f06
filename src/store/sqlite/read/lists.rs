//! Lists as pages need them, from the embedded store.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use rusqlite::{Connection, params};
use serde_json::Value;

use super::super::{Sqlite, sql};
use super::desk::{signal_row, task_row};
use super::{Window, all, and_one, column, doc, limit, one, paged, snapshot};
use crate::domain::CaseId;
use crate::domain::task::Task;
use crate::store::lists::{TASKS, after_task};
use crate::store::{Audit, Error, Listed, Lists, Page, RunRow};

fn signals_of_cases(conn: &Connection, cases: &[CaseId], each: u32) -> Result<BTreeMap<CaseId, Vec<Value>>, Error> {
    snapshot(conn, |conn| {
        let mut found = BTreeMap::new();
        for case in cases {
            let params = params![case.to_string(), each];
            let mut signals = all(conn, "signal", sql::NEWEST_SIGNALS_OF_CASE, params, signal_row)?;
            signals.reverse();
            if !signals.is_empty() {
                found.insert(*case, signals);
            }
        }
        Ok(found)
    })
}

fn cases_mentioning(conn: &Connection, cases: &[CaseId], each: u32, text: &str) -> Result<BTreeSet<CaseId>, Error> {
    snapshot(conn, |conn| {
        let mut found = BTreeSet::new();
        for case in cases {
            let params = params![case.to_string(), each, text];
            if one(conn, "signal", sql::MENTIONED_IN_CASE, params, |_| Ok(()))?.is_some() {
                found.insert(*case);
            }
        }
        Ok(found)
    })
}

fn tasks_by_urgency(conn: &Connection, page: &Page) -> Result<Listed<Task>, Error> {
    let Window { before: beyond, before_id: id, limit } = Window::upwards(page)?;
    let rows = all(conn, "task", sql::TASKS_BY_URGENCY, params![beyond, id, and_one(limit)], |row| {
        Ok((column(row, 0, "task")?, task_row(row)?))
    })?;
    let Listed { items, next } = paged(rows, limit, after_task);
    Ok(Listed { items: items.into_iter().map(|(_, task)| task).collect(), next })
}

fn open_tasks_of_cases(conn: &Connection, cases: &[CaseId]) -> Result<BTreeMap<CaseId, Vec<Task>>, Error> {
    snapshot(conn, |conn| {
        let (mut found, mut left) = (BTreeMap::new(), TASKS);
        for case in cases {
            let params = params![i64::MAX, "", and_one(left) - 1, case.to_string(), true, None::<String>];
            let mut tasks = all(conn, "task", sql::TASKS_OF_CASE, params, task_row)?;
            left = left.saturating_sub(tasks.len());
            tasks.reverse();
            if !tasks.is_empty() {
                found.insert(*case, tasks);
            }
        }
        Ok(found)
    })
}

fn audit_of(conn: &Connection, case: CaseId, page: &Page) -> Result<Listed<(u64, Audit)>, Error> {
    let limit = limit(page);
    let before =
        page.after.as_deref().map_or(Ok(i64::MAX), |after| after.parse::<i64>().map_err(|_| Error::BadCursor))?;
    let params = params![case.to_string(), before, and_one(limit)];
    let rows = all(conn, "audit record", sql::AUDITED_OF_CASE, params, |row| {
        let seq: i64 = column(row, 0, "audit record")?;
        Ok((seq.unsigned_abs(), doc(row, 1, "audit record", 0)?))
    })?;
    Ok(paged(rows, limit, |(seq, _)| seq.to_string()))
}

#[async_trait]
impl Lists for Sqlite {
    async fn signals_of_cases(&self, cases: &[CaseId], each: u32) -> Result<BTreeMap<CaseId, Vec<Value>>, Error> {
        let cases = cases.to_vec();
        self.look(move |conn| signals_of_cases(conn, &cases, each)).await
    }

    async fn cases_mentioning(&self, cases: &[CaseId], each: u32, text: &str) -> Result<BTreeSet<CaseId>, Error> {
        let (cases, text) = (cases.to_vec(), text.to_owned());
        self.look(move |conn| cases_mentioning(conn, &cases, each, &text)).await
    }

    async fn tasks_by_urgency(&self, page: &Page) -> Result<Listed<Task>, Error> {
        let page = page.clone();
        self.look(move |conn| tasks_by_urgency(conn, &page)).await
    }

    async fn open_tasks_of_cases(&self, cases: &[CaseId]) -> Result<BTreeMap<CaseId, Vec<Task>>, Error> {
        let cases = cases.to_vec();
        self.look(move |conn| open_tasks_of_cases(conn, &cases)).await
    }

    async fn audit_of(&self, case: CaseId, page: &Page) -> Result<Listed<(u64, Audit)>, Error> {
        let page = page.clone();
        self.look(move |conn| audit_of(conn, case, &page)).await
    }

    async fn runs_of_playbook(&self, playbook: &str, limit: u32) -> Result<Vec<RunRow>, Error> {
        let playbook = playbook.to_owned();
        let map = |row: &rusqlite::Row<'_>| doc(row, 1, "run", 0);
        self.look(move |conn| all(conn, "run", sql::RUNS_OF_PLAYBOOK, params![playbook, limit], map)).await
    }

    async fn open_runs(&self, limit: u32) -> Result<Vec<RunRow>, Error> {
        self.look(move |conn| all(conn, "run", sql::OPEN_RUNS, params![limit], |row| doc(row, 1, "run", 0))).await
    }
}
