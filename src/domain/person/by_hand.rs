//! A reset that could not be made for the person who approved it: its step waits for whoever does it by hand, so that the
//! revoke which follows it follows then (law 3). Asking for it anew takes its place.

use super::super::ids::RunId;
use super::super::ledger::Fault;
use super::super::plan::{RESET, Step, StepId};
use super::super::run::{Event, Illegal, Mode, Run, StepState};
use super::super::task;
use super::{Around, Output, Person};

/// The title of the job.
pub(super) const RESET_BY_HAND: &str = "Reset the password by hand";

/// Refusals of a reset that say who can do it instead.
pub(super) const BY_HAND: [&str; 4] = ["OUST-R-SYNCED", "OUST-R-GUEST", "OUST-R-FEDERATED", "OUST-R-PRIVILEGED"];

impl Person {
    /// A reset provably without effect that is not tried again: what was approved is not forgotten with its run.
    pub(super) fn leave_to_hand(
        &mut self,
        run: RunId,
        step: &Step,
        fault: Fault,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        let Fault { message, code, .. } = &fault;
        let text = match code.as_str() {
            code if BY_HAND.contains(&code) => message.clone(),
            "OUST-R-GONE" => format!(
                "{message} ({code}). Nothing was reset. A deleted user can be restored for 30 days, with the old password: settle that in the Entra admin centre, then report this done. Where the account is restored, request the reset in the case once more instead."
            ),
            _ => format!(
                "{message} ({code}). The approved reset did not take place: the old password still works. Reset it by hand in the Entra admin centre, then report this done. Where the cause can be put right, do that and request the reset in the case once more instead."
            ),
        };
        let event = Event::Failed { step: step.id.clone(), fault, retry_at: Some(around.now) };
        self.record(out, around.now, run, event)?;
        self.task_event(run, &step.id, around, out, |step, _| task::Event::Dropped { step });
        self.ask_manual(run, &step.id, RESET_BY_HAND.into(), text, around, out)
    }

    /// A reset that was tried without effect, and waits for somebody to do it by hand.
    pub(super) fn is_left_to_hand(&self, run: &Run, step: &Step) -> bool {
        step.action == RESET && run.attempts(&step.id) > 0 && matches!(run.state(&step.id), StepState::Waiting { .. })
    }

    /// A reset ordered anew takes the place of those that were left to be done by hand.
    pub(super) fn take_over(&mut self, by: RunId, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let reset = self.run(by).and_then(|run| run.plan.steps.iter().find(|step| step.action == RESET));
        let Some(reset) = reset.map(|step| step.id.clone()) else { return Ok(()) };
        let others = self.runs.iter().filter(|run| run.id != by && run.is_open() && run.mode == Mode::Enforce);
        let left: Vec<(RunId, StepId)> = others
            .flat_map(|run| run.plan.steps.iter().map(move |step| (run, step)))
            .filter(|(run, step)| self.is_left_to_hand(run, step))
            .map(|(run, step)| (run.id, step.id.clone()))
            .collect();
        for (run, step) in left {
            if let StepState::Waiting { task } = self.state(run, &step) {
                self.withdraw_manual(task, "it was ordered once more", around, out);
            }
            self.record(out, around.now, run, Event::Joined { step, run: by, other: reset.clone() })?;
        }
        Ok(())
    }

    /// How often a step was sent, and once more where a person did it: a revoke follows each of them.
    pub(super) fn times_done(&self, run: RunId, step: &StepId) -> u32 {
        let sent = self.run(run).and_then(|run| run.intent(step)).map_or(0, |intent| intent.attempt);
        sent + u32::from(matches!(self.state(run, step), StepState::ByHand { .. }))
    }
}
