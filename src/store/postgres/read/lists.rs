//! Lists as pages need them, from the shared store.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde_json::Value;

use super::super::commit::number_audit;
use super::super::flight::{Param, rows};
use super::super::{Postgres, sql};
use super::desk::{signal_row, task_row};
use super::{collect, column, doc, parsed};
use crate::domain::CaseId;
use crate::domain::task::Task;
use crate::store::lists::{TASKS, after_task};
use crate::store::page::{Window, and_one, limit, paged};
use crate::store::statement::Value as Text;
use crate::store::{Audit, Error, Listed, Lists, Page, RunRow};

#[async_trait]
impl Lists for Postgres {
    async fn signals_of_cases(&self, cases: &[CaseId], each: u32) -> Result<BTreeMap<CaseId, Vec<Value>>, Error> {
        let ids: Vec<String> = cases.iter().map(ToString::to_string).collect();
        let params: &[Param<'_>] = &[&ids, &i64::from(each)];
        let mut found = BTreeMap::<CaseId, Vec<Value>>::new();
        // Newest first within a case.
        for row in rows(&self.reads, "signal", sql::NEWEST_SIGNALS_OF_CASES, params).await?.iter().rev() {
            found.entry(parsed(row, 6, "signal")?).or_default().push(signal_row(row)?);
        }
        Ok(found)
    }

    async fn cases_mentioning(&self, cases: &[CaseId], each: u32, text: &str) -> Result<BTreeSet<CaseId>, Error> {
        let ids: Vec<String> = cases.iter().map(ToString::to_string).collect();
        let text = Text::from(text.to_owned());
        let params: &[Param<'_>] = &[&ids, &i64::from(each), &text];
        let found = rows(&self.reads, "signal", sql::CASES_MENTIONING, params).await?;
        found.iter().map(|row| parsed(row, 0, "case")).collect()
    }

    async fn tasks_by_urgency(&self, page: &Page) -> Result<Listed<Task>, Error> {
        let Window { before: beyond, before_id: id, limit } = Window::upwards(page)?;
        let params: &[Param<'_>] = &[&beyond, &id, &and_one(limit)];
        let found = rows(&self.reads, "task", sql::TASKS_BY_URGENCY, params).await?;
        let placed = collect(&found, |row| Ok((column(row, 0, "task")?, task_row(row)?)))?;
        let Listed { items, next } = paged(placed, limit, after_task);
        Ok(Listed { items: items.into_iter().map(|(_, task)| task).collect(), next })
    }

    async fn open_tasks_of_cases(&self, cases: &[CaseId]) -> Result<BTreeMap<CaseId, Vec<Task>>, Error> {
        let ids: Vec<String> = cases.iter().map(ToString::to_string).collect();
        let params: &[Param<'_>] = &[&ids, &and_one(TASKS - 1)];
        let mut found = BTreeMap::<CaseId, Vec<Task>>::new();
        for row in rows(&self.reads, "task", sql::OPEN_TASKS_OF_CASES, params).await? {
            let task = task_row(&row)?;
            if let Some(case) = task.case {
                found.entry(case).or_default().push(task);
            }
        }
        Ok(found)
    }

    async fn audit_of(&self, case: CaseId, page: &Page) -> Result<Listed<(u64, Audit)>, Error> {
        let (limit, pool) = (limit(page), &self.reads);
        let before =
            page.after.as_deref().map_or(Ok(i64::MAX), |after| after.parse::<i64>().map_err(|_| Error::BadCursor))?;
        if page.after.is_none() {
            number_audit(pool).await?;
        }
        let params: &[Param<'_>] = &[&case.to_string(), &before, &and_one(limit)];
        let found = rows(pool, "audit record", sql::AUDITED_OF_CASE, params).await?;
        let records = collect(&found, |row| {
            let seq: i64 = column(row, 0, "audit record")?;
            Ok((seq.unsigned_abs(), doc(row, 1, "audit record", 0)?))
        })?;
        Ok(paged(records, limit, |(seq, _)| seq.to_string()))
    }

    async fn runs_of_playbook(&self, playbook: &str, limit: u32) -> Result<Vec<RunRow>, Error> {
        let params: &[Param<'_>] = &[&playbook, &i64::from(limit)];
        let found = rows(&self.reads, "run", sql::RUNS_OF_PLAYBOOK, params).await?;
        collect(&found, |row| doc(row, 1, "run", 0))
    }

    async fn open_runs(&self, limit: u32) -> Result<Vec<RunRow>, Error> {
        let found = rows(&self.reads, "run", sql::NEWEST_OPEN_RUNS, &[&i64::from(limit)]).await?;
        collect(&found, |row| doc(row, 1, "run", 0))
    }
}
