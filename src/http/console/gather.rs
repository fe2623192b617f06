//! Reads what pages are made of, each with a bound.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ledger::Effect;
use crate::domain::plan::Plan;
use crate::domain::run::{Entry, Event};
use crate::domain::task::{Kind, Progress, Task};
use crate::domain::{CaseId, TaskId, TenantName};
use crate::http::{Problem, RequestId};
use crate::playbook::normalise;
use crate::store::{self, CaseRow, RunRow};

use super::state::Console;
use super::view::evidence::Known;
use super::view::story::RunFacts;

/// The answer to a failing store.
pub(super) fn failed(id: &RequestId) -> impl Fn(store::Error) -> Problem + '_ {
    move |error| match error {
        store::Error::BadCursor => Problem::bad_request(error.to_string()),
        error => Problem::of_store(&error, id),
    }
}

/// A run with everything of it.
#[derive(Debug)]
pub(super) struct Run {
    row: RunRow,
    journal: Vec<Entry>,
    plan: Option<Plan>,
    effects: Vec<Effect>,
}

impl Run {
    pub fn facts(&self) -> RunFacts<'_> {
        RunFacts { row: &self.row, journal: &self.journal, plan: self.plan.as_ref(), effects: &self.effects }
    }
}

/// Signals of a case that a line in a list is made of.
const BRIEF: u32 = 12;
/// Runs of one case on a page.
const RUNS: usize = 30;

impl Console {
    /// The runs of a case. A plan that is unreadable leaves its run without one.
    pub(super) async fn runs(&self, case: CaseId, id: &RequestId) -> Result<Vec<Run>, Problem> {
        let mut runs = self.store().runs_of(case).await.map_err(failed(id))?;
        let surplus = runs.len().saturating_sub(RUNS);
        runs.drain(..surplus);
        let (mut all, mut plans) = (Vec::with_capacity(runs.len()), BTreeMap::<String, Option<Plan>>::new());
        for (row, journal) in runs {
            if !plans.contains_key(&row.plan) {
                let json = self.store().plan(&row.plan).await.map_err(failed(id))?;
                plans.insert(row.plan.clone(), json.and_then(|json| normalise::unpin_checked(&json, &row.plan).ok()));
            }
            let plan = plans.get(&row.plan).cloned().flatten();
            let effects = self.store().effects_of(row.id).await.map_err(failed(id))?;
            all.push(Run { row, journal, plan, effects });
        }
        Ok(all)
    }

    /// What the newest signals alone tell about cases: enough for lines in a list, in one read.
    pub(super) async fn briefs(
        &self,
        cases: impl IntoIterator<Item = CaseId>,
        id: &RequestId,
    ) -> Result<BTreeMap<CaseId, Known>, Problem> {
        let cases: Vec<CaseId> = cases.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let signals = self.store().signals_of_cases(&cases, BRIEF).await.map_err(failed(id))?;
        Ok(signals.into_iter().map(|(case, signals)| (case, Known::of(&signals, &[], self.now()))).collect())
    }

    /// Those of these cases whose briefs may hold a text: what databases need not understand is for the reader of the
    /// briefs to find.
    pub(super) async fn may_hold(
        &self,
        text: &str,
        cases: Vec<CaseId>,
        id: &RequestId,
    ) -> Result<BTreeSet<CaseId>, Problem> {
        // As it stands in JSON.
        let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
        if !is_plain || cases.is_empty() {
            return Ok(cases.into_iter().collect());
        }
        self.store().cases_mentioning(&cases, BRIEF, &text.to_lowercase()).await.map_err(failed(id))
    }

    /// Everything known about a task's person.
    pub(super) async fn known(&self, task: &Task, id: &RequestId) -> Result<Known, Problem> {
        if let Some(case) = task.case {
            let signals = self.store().signals_of(case).await.map_err(failed(id))?;
            let runs = self.runs(case, id).await?;
            let facts: Vec<RunFacts<'_>> = runs.iter().map(Run::facts).collect();
            return Ok(Known::of(&signals, &facts, self.now()));
        }
        self.known_of_snapshot(task, 25, id).await
    }

    /// Steps of a task that were approved and not executed, each with the task in which a person does it.
    pub(super) async fn by_hand(&self, task: &Task, id: &RequestId) -> Result<Vec<(String, Task)>, Problem> {
        let skipped = task.rows.iter().filter(|row| matches!(row.progress, Progress::Skipped { .. }));
        let left: Vec<&str> = skipped.map(|row| row.step.as_str()).collect();
        let Some(run) = task.run.filter(|_| !left.is_empty()) else { return Ok(Vec::new()) };
        let Some((_, journal)) = self.store().run(run).await.map_err(failed(id))? else { return Ok(Vec::new()) };
        let mut taken = Vec::new();
        for step in left {
            let by = journal.iter().rev().find_map(|entry| match &entry.event {
                Event::Asked { step: asked, task: by } if asked.0 == step && *by != task.id => Some(*by),
                _ => None,
            });
            if let Some(by) = by {
                let found = self.store().task(by).await.map_err(failed(id))?;
                taken.extend(found.filter(|by| by.kind == Kind::Manual).map(|by| (step.to_owned(), by)));
            }
        }
        Ok(taken)
    }

    /// Open tasks by their case, one read for a whole page.
    pub(super) async fn open_tasks(
        &self,
        cases: &[CaseRow],
        id: &RequestId,
    ) -> Result<BTreeMap<CaseId, Vec<Task>>, Problem> {
        let cases: Vec<CaseId> = cases.iter().map(|case| case.id).collect();
        self.store().open_tasks_of_cases(&cases).await.map_err(failed(id))
    }

    /// What is known of the people that a page of tasks is about.
    pub(super) async fn briefs_of_tasks(&self, tasks: &[Task], id: &RequestId) -> Result<Vec<Known>, Problem> {
        let by_case = self.briefs(tasks.iter().filter_map(|task| task.case), id).await?;
        let mut all = Vec::with_capacity(tasks.len());
        for task in tasks {
            all.push(match task.case {
                Some(case) => by_case.get(&case).cloned().unwrap_or_default(),
                None => self.known_of_snapshot(task, 1, id).await?,
            });
        }
        Ok(all)
    }

    /// What the first signals of a task's snapshot tell.
    async fn known_of_snapshot(&self, task: &Task, most: usize, id: &RequestId) -> Result<Known, Problem> {
        let mut signals = Vec::new();
        for item in task.snapshot.items.iter().take(most) {
            if let Ok(signal) = item.id.parse() {
                signals.extend(self.store().signal(signal).await.map_err(failed(id))?);
            }
        }
        Ok(Known::of(&signals, &[], self.now()))
    }

    /// The tenant whose alert a held task about nobody is.
    pub(super) async fn tenant_of(&self, task: &Task, id: &RequestId) -> Result<TenantName, Problem> {
        let gone = || Problem::conflict("the signal of this task is gone: contain them by hand, then close it");
        let signal = task.snapshot.items.first().and_then(|item| item.id.parse().ok()).ok_or_else(gone)?;
        let row = self.store().signal(signal).await.map_err(failed(id))?.ok_or_else(gone)?;
        row["signal"]["tenant"].as_str().and_then(|name| name.parse().ok()).ok_or_else(gone)
    }

    /// A task.
    pub(super) async fn task(&self, task: &str, id: &RequestId) -> Result<Task, Problem> {
        let none = || Problem::not_found("there is no task with this id");
        let task: TaskId = task.parse().map_err(|_| none())?;
        self.store().task(task).await.map_err(failed(id))?.ok_or_else(none)
    }
}
