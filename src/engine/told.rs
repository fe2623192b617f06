//! What telemetry is told of a decision, once it is durable.

use std::time::Duration;

use jiff::Timestamp;

use super::hook::{Fate, Place};
use super::lane::Lane;
use super::record::{Turn, word_of};
use crate::domain::guard::Parking;
use crate::domain::person::Output;
use crate::domain::plan::{Phase, REVOKE};
use crate::domain::run::{Entry, Event, Run};
use crate::telemetry::{Revoked, Step as StepDone};

impl Lane {
    /// Tells telemetry what was written, once it is durable.
    pub(super) fn told(&self, turn: &Turn, output: &Output) {
        let inner = self.inner();
        for row in &turn.signals {
            if let Some((_, taken)) = output.outcomes.iter().rev().find(|(id, _)| *id == row.signal.id) {
                inner.telemetry.signal_outcome(&row.signal, word_of(taken));
            }
        }
        let Some(person) = self.person_now() else { return };
        for id in &output.tasks {
            if let Some(task) = person.tasks.get(id).filter(|task| task.revision == 0) {
                inner.telemetry.task_opened(task);
            }
        }
        for (run, _, entry) in &output.journal {
            if let Some(run) = person.run(*run) {
                self.told_step(run, entry);
            }
        }
    }

    fn told_step(&self, run: &Run, entry: &Entry) {
        let inner = self.inner();
        let (step, result) = match &entry.event {
            Event::Done { step, .. } => (step, "done"),
            Event::Failed { step, retry_at: Some(_), .. } => (step, "retry"),
            Event::Failed { step, .. } => (step, "failed"),
            Event::Unknown { step, .. } => (step, "unknown"),
            Event::Skipped { step, .. } => (step, "skipped"),
            Event::Refused { step, .. } => (step, "refused"),
            Event::Parked { step, reason } if !Parking::is_denied(reason) => (step, "parked"),
            _ => return,
        };
        let Some(spec) = run.plan.step(step) else { return };
        if inner.hook.at(Place::AfterResult, &step.0) == Fate::Die {
            inner.die();
        }
        let since = run.intent(step).map_or(entry.at, |intent| intent.at);
        let took = Duration::try_from(entry.at.duration_since(since)).unwrap_or(Duration::ZERO);
        inner.telemetry.step_finished(&StepDone {
            attempt: run.attempts(step).max(1),
            run: run.id,
            step: &step.0,
            action: &spec.action,
            result,
            took,
        });
        match &entry.event {
            // What a person ordered was received by nobody: it is not measured from a receipt.
            Event::Done { .. } if spec.action == REVOKE && spec.phase == Phase::Contain && !run.triggers.is_empty() => {
                let since = |at: Timestamp| Duration::try_from(entry.at.duration_since(at)).unwrap_or(Duration::ZERO);
                inner.telemetry.revoke_accepted(&Revoked {
                    run: Some(run.id),
                    case: run.case,
                    identity: self.identity(),
                    time_to_revoke: since(run.received_at),
                    detection_lag: Duration::try_from(run.received_at.duration_since(run.activity)).ok(),
                });
            }
            Event::Unknown { verify_at: None, .. } => {
                let key = run.intent(step).map_or_else(String::new, |intent| intent.key.to_string());
                inner.telemetry.effect_unknown(Some(run.id), &spec.action, &key);
            }
            Event::Refused { .. } => {
                inner.telemetry.break_glass_refused(&self.identity().tenant, self.identity().object_id, &spec.action);
            }
            Event::Parked { reason, .. } => {
                let word = if Parking::needs_release(reason) { "blast_radius" } else { "guard" };
                inner.telemetry.parked(self.identity(), &spec.action, word);
            }
            _ => {}
        }
    }
}
