//! Lists as pages for people need them: each read is bounded, and one read a page.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde_json::Value;

use super::{Audit, CaseRow, Error, Listed, Page, RunRow, page};
use crate::domain::CaseId;
use crate::domain::task::Task;

/// The part of the contract behind lists.
#[async_trait]
pub trait Lists: Send + Sync {
    /// The newest `each` signals of every one of these cases, oldest first; a case without any is left out.
    async fn signals_of_cases(&self, cases: &[CaseId], each: u32) -> Result<BTreeMap<CaseId, Vec<Value>>, Error>;

    /// Those of these cases in whose newest `each` signals, as they are stored, this text stands. It must be in lower
    /// case; of letters beyond ASCII a backend need not know which is which.
    async fn cases_mentioning(&self, cases: &[CaseId], each: u32, text: &str) -> Result<BTreeSet<CaseId>, Error>;

    /// Open tasks, the most urgent first ([`Task::urgency`]).
    async fn tasks_by_urgency(&self, page: &Page) -> Result<Listed<Task>, Error>;

    /// Open tasks of these cases, at most 500, oldest first; a case without any is left out.
    async fn open_tasks_of_cases(&self, cases: &[CaseId]) -> Result<BTreeMap<CaseId, Vec<Task>>, Error>;

    /// The audit trail of one case, newest first, as `Store::audit` has it.
    async fn audit_of(&self, case: CaseId, page: &Page) -> Result<Listed<(u64, Audit)>, Error>;

    /// Runs of a playbook, the newest first, at most `limit`.
    async fn runs_of_playbook(&self, playbook: &str, limit: u32) -> Result<Vec<RunRow>, Error>;

    /// Runs that are not closed, the newest first, at most `limit`.
    async fn open_runs(&self, limit: u32) -> Result<Vec<RunRow>, Error>;
}

impl CaseRow {
    /// Where a page of cases goes on after this one.
    pub fn cursor(&self) -> String {
        page::cursor(self.opened_at, &self.id)
    }
}

/// Open tasks of the cases of a page, at most.
pub(super) const TASKS: usize = 500;

/// Where a page of tasks by urgency goes on after this one, by what is stored with it.
pub(super) fn after_task((urgency, task): &(i64, Task)) -> String {
    format!("{urgency:x}.{}", task.id)
}
