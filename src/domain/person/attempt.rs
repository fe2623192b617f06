//! One step, as far as it can go now: guard, join, fresh read, claim, intent. The only place where an effect begins.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::guard::{self, Parking, Ruling};
use super::super::ids::RunId;
use super::super::ledger::{EffectKey, Fault};
use super::super::plan::{EffectClass, MANUAL, REVOKE, Step, StepId};
use super::super::run::{Event, Illegal, StepState, Verdict};
use super::super::task::{self, Target};
use super::ask::{about, is_reset, manual_text};
use super::denied::is_denied;
use super::{Around, Deed, Note, Output, Person};

impl Person {
    /// Takes a step as far as it can go now: guard, join, fresh read, claim, intent.
    pub(super) fn attempt(
        &mut self,
        run: RunId,
        step: &Step,
        counted: bool,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        if is_busy(run, &step.id, around, out) {
            return Ok(());
        }
        if self.end_denied(run, step, around, out)? {
            return Ok(());
        }
        let state = self.state(run, &step.id);
        let due = match &state {
            StepState::Todo | StepState::Ready { .. } => true,
            StepState::Backoff { retry_at, .. } => *retry_at <= around.now,
            StepState::Unknown { verify_at, .. } => verify_at.is_some_and(|at| at <= around.now),
            StepState::Intended { key, settle_by, .. } => {
                around.unsent.contains(key) || around.orphans.may_be_judged(step, *settle_by, around.now)
            }
            StepState::Parked { reason, at, .. } => {
                !Parking::needs_release(reason) || around.guard.released_at.is_some_and(|released| released >= *at)
            }
            _ => false,
        };
        if !due {
            return Ok(());
        }
        if step.action == MANUAL {
            if matches!(state, StepState::Todo | StepState::Ready { .. }) {
                self.conclude_row(run, step, around, out)?;
                if self.state(run, &step.id).is_settled() {
                    return Ok(());
                }
                let (title, text) = manual_text(step);
                self.ask_manual(run, &step.id, title, text, around, out)?;
            }
            return Ok(());
        }
        if step.class == EffectClass::Read {
            out.deeds.push(Deed::Read { run, step: step.id.clone() });
            return Ok(());
        }
        if self.is_shadow(run) {
            let reason = format!("shadow: would have done {}", step.action);
            return self.record(out, around.now, run, Event::Skipped { step: step.id.clone(), reason });
        }
        if let StepState::Intended { key, at, before, .. } | StepState::Unknown { key, at, before, .. } = &state
            && !step.idempotent
        {
            // Only the process that holds the password may repeat a reset; nobody does any more: look what became of it.
            let (key, at, before) = (*key, *at, before.clone());
            return self.doubt(run, step, &state, key, at, before, around, out);
        }
        self.effect(run, step, state, counted, around, out)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one open intent")]
    fn doubt(
        &mut self,
        run: RunId,
        step: &Step,
        state: &StepState,
        key: EffectKey,
        at: Timestamp,
        before: Value,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        if let StepState::Intended { settle_by, .. } = state {
            let fault = Fault {
                disposition: super::super::ledger::Disposition::Unknown,
                ..Fault::refuse(
                    "OUST-E-INTERRUPTED",
                    "oust stopped while this call was open; its outcome is being verified.",
                )
            };
            let verify_at = Some(around.orphans.quiet_at(step, *settle_by).max(around.now));
            out.notes.push(Note { verb: "effect.unanswered", detail: about(run, &step.id) });
            self.task_unknown(run, &step.id, around, out);
            return self.record(out, around.now, run, Event::Unknown { step: step.id.clone(), fault, verify_at });
        }
        out.deeds.push(Deed::Verify { run, step: step.id.clone(), key, before, intended_at: at });
        Ok(())
    }

    fn task_unknown(&mut self, run: RunId, step: &StepId, around: &Around<'_>, out: &mut Output) {
        for task in self.tasks.values_mut().filter(|task| task.run == Some(run)) {
            let event = task::Event::Unknown { step: step.0.clone(), fence: task.fence };
            if task.rows.iter().any(|row| row.step == step.0) && task.apply(event, around.now).is_ok() {
                out.tasks.insert(task.id);
            }
        }
    }

    fn effect(
        &mut self,
        run: RunId,
        step: &Step,
        state: StepState,
        counted: bool,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        let fresh = matches!(state, StepState::Todo | StepState::Ready { .. } | StepState::Parked { .. });
        if fresh && step.follows.is_none() && self.join(run, step, around, out)? {
            return Ok(());
        }
        // What a human released is not counted again.
        let was_parked = matches!(&state, StepState::Parked { reason, .. } if Parking::needs_release(reason));
        let counted = counted && !was_parked && self.run(run).is_some_and(|r| !r.was_attempted(&step.id));
        match guard::judge(step.class, counted, around.guard) {
            Ruling::Allow => {}
            Ruling::Refuse(reason) => {
                if let StepState::Intended { .. } = state {
                    let fault = Fault {
                        disposition: super::super::ledger::Disposition::Unknown,
                        ..Fault::refuse(
                            "OUST-E-INTERRUPTED",
                            "oust stopped while this call was open; it is not sent again.",
                        )
                    };
                    let event = Event::Unknown { step: step.id.clone(), fault, verify_at: None };
                    self.record(out, around.now, run, event)?;
                }
                out.notes.push(Note {
                    verb: "guard.refused",
                    detail: json!({"run": run, "step": step.id, "reason": reason}),
                });
                self.tell_of_refusal(step, &reason, around, out);
                return self.record(out, around.now, run, Event::Refused { step: step.id.clone(), reason });
            }
            Ruling::Park(parking) => {
                out.parked_by_cap |= parking == Parking::BlastRadius;
                if matches!(state, StepState::Parked { .. } | StepState::Intended { .. } | StepState::Unknown { .. }) {
                    return Ok(());
                }
                let reason = parking.reason();
                out.notes.push(Note {
                    verb: "guard.parked",
                    detail: json!({"run": run, "step": step.id, "reason": reason}),
                });
                return self.record(out, around.now, run, Event::Parked { step: step.id.clone(), reason });
            }
        }
        // A revoke waits for no reading, a human's either (law 2).
        let gated = (step.class == EffectClass::Hard || step.approval.is_some()) && step.action != REVOKE;
        if was_parked && gated && !around.prepared.contains_key(&(run, step.id.clone())) {
            // Released and sent in one turn, or it would be counted after all.
            out.deeds.push(Deed::Prepare { run, step: step.id.clone() });
            return Ok(());
        }
        if let StepState::Parked { .. } = state {
            self.record(out, around.now, run, Event::Released { step: step.id.clone() })?;
        }
        if is_reset(step) && !self.is_contained() {
            return Ok(());
        }
        if self.owes_revoke(run, &step.id) {
            return Ok(());
        }
        if step.reveals && !self.is_awaited(run, &step.id, around) {
            return match (&state, self.run(run).and_then(|r| r.gate(&step.id))) {
                // Tried without effect, still approved: no clock brings the browser back.
                (StepState::Backoff { .. }, Some(task)) => {
                    let event = Event::Answered { step: step.id.clone(), task, verdict: Verdict::Go };
                    self.record(out, around.now, run, event)
                }
                _ => Ok(()),
            };
        }
        let prepared = around.prepared.get(&(run, step.id.clone()));
        if gated && prepared.is_none() {
            out.deeds.push(Deed::Prepare { run, step: step.id.clone() });
            return Ok(());
        }
        let before = prepared.cloned().unwrap_or(Value::Null);
        if let Some(fresh) = before.get("target").and_then(|fresh| Target::deserialize(fresh).ok()) {
            self.tell_undecided(Some(&|was| was.read_again(&fresh)), None, around, out);
        }
        self.learn_risk(&before, around, out);
        if !self.claim(run, step, &before, around, out)? {
            return Ok(());
        }
        self.intend(run, step, before, counted, around, out)
    }

    fn intend(
        &mut self,
        run: RunId,
        step: &Step,
        before: Value,
        counted: bool,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        let attempt = self.run(run).map_or(0, |r| r.attempts(&step.id)) + 1;
        let key = self.key_of(run, step, attempt);
        let patience = around.rules.lease
            + jiff::SignedDuration::from_millis(i64::try_from(step.timeout_ms).unwrap_or(i64::MAX / 4));
        let event = Event::Intended {
            step: step.id.clone(),
            key,
            attempt,
            settle_by: around.now + patience,
            before: before.clone(),
        };
        self.record(out, around.now, run, event)?;
        out.counts_revocation |= counted;
        if attempt == 1 {
            let detail = json!({"run": run, "step": step.id, "action": step.action, "key": key.to_string()});
            out.notes.push(Note { verb: "effect.intended", detail });
        }
        out.deeds.push(Deed::Effect { run, step: step.id.clone(), key, attempt, before, intended_at: around.now });
        Ok(())
    }

    /// One key for all attempts of what may be repeated. A password drawn anew is another effect, and so is the revoke
    /// that follows it.
    fn key_of(&self, run: RunId, step: &Step, attempt: u32) -> EffectKey {
        let of_run = self.run(run);
        let open = matches!(
            self.state(run, &step.id),
            StepState::Intended { .. } | StepState::Unknown { .. } | StepState::Backoff { .. }
        );
        if let (true, true, Some(intent)) = (step.idempotent, open, of_run.and_then(|r| r.intent(&step.id))) {
            return intent.key;
        }
        let generation = match &step.follows {
            Some(followed) => self.times_done(run, followed),
            None if step.idempotent => 0,
            None => attempt,
        };
        EffectKey::of(run, &step.id, generation)
    }

    /// A read, or a job for a human, that a human let go: its row is done with it.
    pub(super) fn conclude_row(
        &mut self,
        run: RunId,
        step: &Step,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        let gated = self.run(run).is_some_and(|r| r.gate(&step.id).is_some());
        if gated && !self.is_shadow(run) && self.claim(run, step, &Value::Null, around, out)? {
            self.task_event(run, &step.id, around, out, |step, fence| task::Event::Executed { step, fence });
        }
        Ok(())
    }

    /// The browser that a secret is for is there; before that, what is read of the subject would only grow old.
    fn is_awaited(&self, run: RunId, step: &StepId, around: &Around<'_>) -> bool {
        let seen = self.run(run).and_then(|r| r.gate(step)).and_then(|task| (around.presence)(task));
        seen.is_some_and(|seen| around.now.duration_since(seen).abs() <= task::Task::BROWSER_PRESENT)
    }

    /// The revoke after an earlier sending of this step is still on its way: one after the other.
    fn owes_revoke(&self, run: RunId, step: &StepId) -> bool {
        let follows = |(s, state): (&Step, &StepState)| {
            s.follows.as_ref() == Some(step) && !state.is_settled() && *state != StepState::Todo
        };
        self.run(run).is_some_and(|r| r.was_attempted(step) && r.steps().any(follows))
    }

    fn tell_of_refusal(&mut self, step: &Step, reason: &str, around: &Around<'_>, out: &mut Output) {
        if step.action == REVOKE {
            self.ask_beside(
                "A break-glass identity was named by an alert",
                format!("{}. If the alert is true, the tenant's last key is in other hands: act by hand, now, under your emergency procedure. Then report this done.", reason.trim_end_matches('.')),
                around,
                out,
            );
        }
    }

    /// Law 3: the sessions were revoked, accepted by Graph, after the latest activity of this case.
    pub fn is_contained(&self) -> bool {
        let latest = self.doc.case.as_ref().map(|case| case.latest_activity);
        let revoke_open = self.has_revoke_in_flight() || !self.doc.pending.is_empty();
        !revoke_open && latest.is_some_and(|latest| self.is_revoked_since(latest))
    }

    /// A revoke that left no earlier was accepted.
    pub(super) fn is_revoked_since(&self, activity: Timestamp) -> bool {
        self.doc.last_revoke.is_some_and(|left| left >= activity) || self.covers(activity)
    }

    /// The same effect open in another run of the case, or executed after this run's activity, is joined.
    pub(super) fn join(
        &mut self,
        run: RunId,
        step: &Step,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<bool, Illegal> {
        let Some(mine) = self.run(run) else { return Ok(false) };
        if step.class == EffectClass::Read && step.action != MANUAL {
            return Ok(false);
        }
        let activity = mine.activity;
        let mode = mine.mode;
        let by_hand = self.order_of(run).is_some();
        // What was ordered is decided already: a step that comes later joins it, however old its own run is.
        let (before, after) = self.runs.split_at(self.runs.iter().position(|r| r.id == run).unwrap_or(0));
        let ordered = after.iter().skip(1).filter(|other| !by_hand && self.order_of(other.id).is_some());
        let other = before.iter().chain(ordered).filter(|other| other.mode == mode).find_map(|other| {
            let same = |(s, state): &(&Step, &StepState)| {
                s.action == step.action
                    && s.with == step.with
                    && match state {
                        // Asked for although it was done before.
                        StepState::Done { .. } if by_hand => false,
                        // It may still be denied or lapse: containment and what was decided do not wait for that.
                        StepState::Waiting { .. } | StepState::Ready { .. } if by_hand => false,
                        state if step.action == REVOKE && s.approval.is_some() && !state.is_settled() => false,
                        // A revoke covers by the watermark, which trails the call until it is read back.
                        StepState::Done { .. } if step.action == REVOKE => self.covers(activity),
                        StepState::Done { left_at, .. } => *left_at >= activity && step.action != MANUAL,
                        // Decided, and only its reads are not through yet.
                        StepState::Todo if self.order_of(other.id).is_some() => other.is_open() && s.follows.is_none(),
                        StepState::Todo => other.is_open() && s.follows.is_none() && s.approval.is_none(),
                        // Approved and held by a guard: what was decided does not wait for that, everything else does.
                        state @ StepState::Parked { .. } if is_denied(state) => false,
                        StepState::Parked { .. } => {
                            other.is_open() && s.follows.is_none() && (s.approval.is_none() || !by_hand)
                        }
                        state => other.is_open() && !state.is_settled() && s.follows.is_none(),
                    }
            };
            other.steps().find(same).map(|(s, _)| (other.id, s.id.clone()))
        });
        match other {
            Some((other_run, other))
                if matches!(self.state(run, &step.id), StepState::Todo | StepState::Ready { .. }) =>
            {
                let event = Event::Joined { step: step.id.clone(), run: other_run, other };
                self.record(out, around.now, run, event)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// True when a step is being performed, or is about to be by this very output.
pub(super) fn is_busy(run: RunId, step: &StepId, around: &Around<'_>, out: &Output) -> bool {
    around.running.contains(&(run, step.clone())) || out.deeds.iter().any(|deed| deed.is_of(run, step))
}
