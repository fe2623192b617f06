//! What is read of the account or its risk reaches whoever is about to decide (contract §13.6).

use jiff::Timestamp;
use serde_json::Value;

use super::super::ledger::Fault;
use super::super::plan::{READ_USER, Step};
use super::super::task::{Event, Target, TargetClass, Task};
use super::{Around, Case, Output, Person};

/// The state in which somebody closed the risk, as just read, if that was after `known`. Entra keeps the state of a
/// dismissal for ever: one from before the alert says nothing about it.
pub(super) fn risk_closed_since(read: &Value, known: Timestamp) -> Option<&str> {
    let state = read.get("risk_state")?.as_str().filter(|state| matches!(*state, "dismissed" | "confirmedSafe"))?;
    let at: Timestamp = read.get("risk_updated_at")?.as_str()?.parse().ok()?;
    (at > known).then_some(state)
}

/// Until when everything was known: what the task showed, and what was told of the person since.
pub(super) fn known_until(case: Option<&Case>, task: &Task) -> Timestamp {
    let told = case.and_then(|case| case.told_at);
    told.map_or(task.snapshot.taken_at, |told| told.max(task.snapshot.taken_at))
}

impl Person {
    /// What kind of account it is, as the newest reading in this case says.
    pub(super) fn target_read(&self) -> Option<Target> {
        self.runs.iter().rev().find_map(|run| Target::read(run.found(READ_USER)?))
    }

    /// A reading came back.
    pub(super) fn learn(&mut self, step: &Step, result: &Value, around: &Around<'_>, out: &mut Output) {
        match step.action.as_str() {
            READ_USER => {
                if let Some(fresh) = Target::read(result) {
                    self.tell_undecided(Some(&|was| was.read_again(&fresh)), None, around, out);
                }
            }
            "read_risk" => self.learn_risk(result, around, out),
            _ => {}
        }
    }

    /// The risk was read.
    pub(super) fn learn_risk(&mut self, read: &Value, around: &Around<'_>, out: &mut Output) {
        self.tell_undecided(None, Some(read), around, out);
    }

    /// What a refusal says of the account.
    pub(super) fn learn_from(&mut self, step: &Step, fault: &Fault, around: &Around<'_>, out: &mut Output) {
        let class = match (step.action.as_str(), fault.status, fault.code.as_str()) {
            (READ_USER, Some(404), _) => TargetClass::Deleted,
            (_, _, "OUST-R-PRIVILEGED") => TargetClass::Privileged,
            _ => return,
        };
        self.tell_undecided(Some(&|was| was.with(class, true)), None, around, out);
    }

    /// Tells every task that waits for a decision about an effect; `risk`: as it was read.
    pub(super) fn tell_undecided(
        &mut self,
        change: Option<&dyn Fn(&Target) -> Target>,
        risk: Option<&Value>,
        around: &Around<'_>,
        out: &mut Output,
    ) {
        let switched = self.has_switched();
        let case = self.doc.case.as_ref();
        let waits = |task: &&mut Task| task.state.is_undecided() && !task.rows.is_empty();
        for task in self.tasks.values_mut().filter(waits) {
            let was = task.target.clone().unwrap_or_default();
            let now = change.map(|change| change(&was));
            // What our own step did to the account is no news.
            let keep = |now: Target| now.with(TargetClass::Disabled, was.is(TargetClass::Disabled));
            let target = if switched { now.map(keep) } else { now };
            let closed = risk.and_then(|read| risk_closed_since(read, known_until(case, task)));
            let risk_closed = closed.map(|state| format!("{state} in Entra"));
            let (revision, event) = (task.revision, Event::Learned { target, risk_closed });
            if task.apply(event, around.now).is_ok() && task.revision != revision {
                out.tasks.insert(task.id);
            }
        }
    }
}
