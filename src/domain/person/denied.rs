//! A revoke beyond the cap whose release people denied (contract §13.5). It stays parked, and a later release frees it;
//! but it is on nobody's way any more: what is newer is judged anew, and a revoke that covers it ends it.

use super::super::guard::Parking;
use super::super::ids::RunId;
use super::super::plan::{Step, StepId};
use super::super::run::{Event, Illegal, Run, StepState};
use super::{Around, Output, Person};

impl Person {
    /// Writes down which parked revokes people did not let go.
    pub(super) fn keep_denied(&mut self, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let Some(denied_at) = around.guard.denied_at else { return Ok(()) };
        let is_meant = |state: &StepState| match state {
            StepState::Parked { at, reason, .. } => {
                let freed = around.guard.released_at.is_some_and(|released| released >= *at);
                Parking::needs_release(reason) && !Parking::is_denied(reason) && *at <= denied_at && !freed
            }
            _ => false,
        };
        let of_run = |run: &Run| -> Vec<(RunId, StepId)> {
            run.steps().filter(|(_, state)| is_meant(state)).map(|(step, _)| (run.id, step.id.clone())).collect()
        };
        let meant: Vec<(RunId, StepId)> = self.runs.iter().filter(|run| run.is_open()).flat_map(of_run).collect();
        for (run, step) in meant {
            self.record(out, around.now, run, Event::Parked { step, reason: Parking::DENIED.to_owned() })?;
        }
        Ok(())
    }

    /// Signals that waited for it when it was denied go on waiting: for what is newer, or for a release.
    pub(super) fn has_denied_revoke(&self) -> bool {
        self.runs.iter().filter(|run| run.is_open()).any(|run| run.steps().any(|(_, state)| is_denied(state)))
    }

    /// A later revoke did what this one was parked for; true when it ended so.
    pub(super) fn end_denied(
        &mut self,
        run: RunId,
        step: &Step,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<bool, Illegal> {
        let covered = self.run(run).is_some_and(|r| is_denied(r.state(&step.id)) && self.covers(r.activity));
        if covered {
            let reason = super::advance::COVERED.to_owned();
            self.record(out, around.now, run, Event::Skipped { step: step.id.clone(), reason })?;
        }
        Ok(covered)
    }
}

/// Parked, and people said no to its release.
pub(super) fn is_denied(state: &StepState) -> bool {
    matches!(state, StepState::Parked { reason, .. } if Parking::is_denied(reason))
}
