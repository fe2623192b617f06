//! The claim: what was approved is compared with the subject as it was just read, and taken in hand or cancelled with the reason.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::ids::RunId;
use super::super::ledger::Fault;
use super::super::plan::{Step, StepId};
use super::super::run::{Event, Illegal, StepState, Verdict};
use super::super::task::{self, Changed, Target, TargetClass, Task};
use super::ask::is_reset;
use super::learn::{known_until, risk_closed_since};
use super::{Around, Note, Output, Person};

impl Person {
    /// The account as it was just read, where it was read when people were asked: what nobody knew then is no change.
    fn target_now(&self, task: &Task, prepared: &Value) -> Option<Target> {
        let shown = task.target.as_ref()?;
        let Some(fresh) = prepared.get("target").and_then(|fresh| Target::deserialize(fresh).ok()) else {
            return Some(shown.clone());
        };
        let now = shown.read_again(&fresh);
        Some(if self.has_switched() { now.with(TargetClass::Disabled, shown.is(TargetClass::Disabled)) } else { now })
    }

    /// A step of this case disabled or enabled the account: that it changed is our own deed.
    pub(super) fn has_switched(&self) -> bool {
        let switches = |(step, state): (&Step, &StepState)| {
            matches!(step.action.as_str(), "disable_account" | "enable_account")
                && !matches!(state, StepState::Todo | StepState::Skipped { .. } | StepState::Waiting { .. })
        };
        self.runs.iter().any(|run| run.steps().any(switches))
    }

    /// Claims the row of the task that approved this step. False: not now (or never; then the step says why).
    pub(super) fn claim(
        &mut self,
        run: RunId,
        step: &Step,
        prepared: &Value,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<bool, Illegal> {
        let Some(task) = self.task_of(run, &step.id) else { return Ok(true) };
        let Some((of_run, _)) = self.spec(run, &step.id) else { return Ok(false) };
        let steps: Vec<String> = self.tasks[&task].rows.iter().map(|row| row.step.clone()).collect();
        let rows: Vec<(String, Value)> = steps
            .iter()
            .filter_map(|id| of_run.plan.step(&StepId(id.clone())).map(|s| (s.action.clone(), s.with.clone())))
            .collect();
        let playbook = task::Playbook {
            name: of_run.plan.name.clone(),
            version: u64::from(of_run.plan.version),
            hash: of_run.plan_hash.clone(),
        };
        let closed = risk_closed_since(prepared, known_until(self.doc.case.as_ref(), &self.tasks[&task]));
        let claim = task::Claim {
            step: step.id.0.clone(),
            fence: self.tasks[&task].fence + 1,
            now: task::Binding {
                identity: Some(self.identity.clone()),
                playbook: Some(playbook),
                rows,
                target: self.target_now(&self.tasks[&task], prepared),
            },
            risk_closed: closed.map(|state| format!("the risk was {state} meanwhile")),
            lost: prepared.get("lost").and_then(|lost| Vec::deserialize(lost).ok()).unwrap_or_default(),
            browser_seen: (around.presence)(task),
        };
        let Some(row_task) = self.tasks.get_mut(&task) else { return Ok(false) };
        let standing =
            |row: &task::Row| row.step == step.id.0 && matches!(row.progress, task::Progress::Claimed { .. });
        if row_task.rows.iter().any(standing) {
            // Begun before, by us or by a predecessor that died: the claim stands until the row comes to its end.
            return self.still_holds(run, step, &claim, around, out);
        }
        let answer = row_task.apply(task::Event::Claim(Box::new(claim)), around.now);
        match answer {
            Ok(consequences) => {
                out.tasks.insert(task);
                let claimed = matches!(row_task.state, task::State::Claimed { .. });
                let changed = consequences.into_iter().find_map(|consequence| match consequence {
                    task::Consequence::AskAgain { difference } => Some(difference),
                    _ => None,
                });
                if let Some(difference) = changed {
                    let difference = Changed::line(&difference);
                    let text = format!(
                        "{} was approved, and not sent: {difference}. Look at the person again and do by hand what is still needed; then report this done.",
                        step.action
                    );
                    self.ask_beside(&format!("{} is no longer what was approved", step.action), text, around, out);
                }
                if !claimed {
                    // The approval ended here: what that means for its steps is said in the same turn.
                    self.read_answers(around, out)?;
                }
                Ok(claimed)
            }
            Err(task::Refused::NotYet { .. }) => {
                if matches!(self.state(run, &step.id), StepState::Backoff { .. }) {
                    let event = Event::Answered { step: step.id.clone(), task, verdict: Verdict::Go };
                    self.record(out, around.now, run, event)?;
                }
                Ok(false)
            }
            Err(task::Refused::TooLate { .. }) => Ok(false),
            Err(refused) => {
                let detail = json!({"task": task, "step": step.id, "why": refused.to_string()});
                out.notes.push(Note { verb: "claim.refused", detail });
                if matches!(self.state(run, &step.id), StepState::Ready { .. } | StepState::Backoff { .. }) {
                    let fault = Fault::refuse("OUST-T-CLAIM", refused.to_string());
                    if is_reset(step) {
                        self.leave_to_hand(run, step, fault, around, out)?;
                        return Ok(false);
                    }
                    self.record(out, around.now, run, Event::Failed { step: step.id.clone(), fault, retry_at: None })?;
                }
                Ok(false)
            }
        }
    }

    /// A repetition of what was begun: what cancels a claim ends it.
    fn still_holds(
        &mut self,
        run: RunId,
        step: &Step,
        claim: &task::Claim,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<bool, Illegal> {
        let approved = self.task_of(run, &step.id).and_then(|task| self.tasks.get(&task)).map(Task::binding);
        let changed = approved.map(|approved| claim.now.difference_from(&approved)).filter(|all| !all.is_empty());
        let why = claim.risk_closed.clone().or_else(|| changed.map(|changed| Changed::line(&changed)));
        let Some(why) = why else { return Ok(true) };
        let fault = Fault::refuse("OUST-T-CLAIM", format!("It is not repeated: {why}."));
        self.failed(run, step, fault, None, around, out)?;
        Ok(false)
    }
}
