//! What is read of the account or its risk reaches whoever is about to decide (contract §13.6).

use serde_json::Value;

use super::super::ledger::Fault;
use super::super::plan::Step;
use super::super::task::{Event, Target, TargetClass, Task};
use super::{Around, Output, Person};

impl Person {
    /// What kind of account it is, as the newest reading in this case says.
    pub(super) fn target_read(&self) -> Option<Target> {
        self.runs.iter().rev().find_map(|run| Target::read(run.results.get("read_user")?))
    }

    /// A reading came back.
    pub(super) fn learn(&mut self, step: &Step, result: &Value, around: &Around<'_>, out: &mut Output) {
        match step.action.as_str() {
            "read_user" => {
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
        let state = read.get("risk_state").and_then(Value::as_str);
        if let Some(state) = state.filter(|state| matches!(*state, "dismissed" | "confirmedSafe")) {
            self.tell_undecided(None, Some(format!("{state} in Entra")), around, out);
        }
    }

    /// What a refusal says of the account.
    pub(super) fn learn_from(&mut self, step: &Step, fault: &Fault, around: &Around<'_>, out: &mut Output) {
        let class = match (step.action.as_str(), fault.status, fault.code.as_str()) {
            ("read_user", Some(404), _) => TargetClass::Deleted,
            (_, _, "OUST-R-PRIVILEGED") => TargetClass::Privileged,
            _ => return,
        };
        self.tell_undecided(Some(&|was| was.with(class, true)), None, around, out);
    }

    /// Tells every task that waits for a decision about an effect.
    pub(super) fn tell_undecided(
        &mut self,
        change: Option<&dyn Fn(&Target) -> Target>,
        risk_closed: Option<String>,
        around: &Around<'_>,
        out: &mut Output,
    ) {
        let switched = self.has_switched();
        let waits = |task: &&mut Task| task.state.is_undecided() && !task.rows.is_empty();
        for task in self.tasks.values_mut().filter(waits) {
            let was = task.target.clone().unwrap_or_default();
            let now = change.map(|change| change(&was));
            // What our own step did to the account is no news.
            let keep = |now: Target| now.with(TargetClass::Disabled, was.is(TargetClass::Disabled));
            let target = if switched { now.map(keep) } else { now };
            let (revision, event) = (task.revision, Event::Learned { target, risk_closed: risk_closed.clone() });
            if task.apply(event, around.now).is_ok() && task.revision != revision {
                out.tasks.insert(task.id);
            }
        }
    }
}
