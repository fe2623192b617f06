//! The result of a call comes back: fold it, move the watermark, decide what it means.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::ids::RunId;
use super::super::ledger::{Disposition, Fault};
use super::super::plan::{EffectClass, OnFailure, Phase, RESET, REVOKE, Step, StepId};
use super::super::run::{Event, Illegal, Mode, StepState};
use super::super::task;
use super::ask::about;
use super::by_hand::{BY_HAND, RESET_BY_HAND};
use super::{Around, Handover, Note, Output, Person, ReadBack, Watch, Watermark};

/// What came back from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Done {
        result: Value,
        request_id: Option<String>,
        left_at: Timestamp,
    },
    /// `retry_at` is when a repetition would be due by the retry policy.
    Fault {
        fault: Fault,
        retry_at: Timestamp,
    },
    /// An unknown effect was looked at: it took effect.
    Applied(Value),
    /// It did not.
    NotApplied,
    /// It cannot be told for good.
    Undetermined(String),
    /// The look itself failed; look again at `verify_at`.
    StillUnknown {
        fault: Fault,
        verify_at: Timestamp,
    },
    /// `signInSessionsValidFromDateTime` and `lastPasswordChangeDateTime`, read back after a revoke.
    ReadBack {
        valid_from: Option<Timestamp>,
        password_changed: Option<Timestamp>,
    },
}

/// A call that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    pub run: RunId,
    pub step: StepId,
    pub answer: Answer,
}

/// An unverified watermark trails the accepted call by this much (contract §13.2).
pub const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// When an accepted revoke is read back: at once, then with growing patience; minutes of lag are normal.
const READ_BACK_AFTER: [i64; 9] = [0, 1, 3, 10, 30, 60, 120, 300, 600];

impl Person {
    /// Folds what came back.
    ///
    /// # Errors
    /// `Illegal` when the answer does not fit the journal (a late answer of a lost lease).
    pub fn settle(&mut self, settled: Settled, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let Settled { run, step, answer } = settled;
        if let Answer::ReadBack { valid_from, password_changed } = answer {
            if let Some(handover) = &mut self.doc.handover {
                handover.saw(password_changed);
            }
            return self.read_back(valid_from, around, out);
        }
        let Some(spec) = self.run(run).and_then(|r| r.plan.step(&step)).cloned() else { return Ok(()) };
        let is_late = self.run(run).is_some_and(|r| r.state(&step).is_settled());
        let is_look = matches!(
            answer,
            Answer::Applied(_) | Answer::NotApplied | Answer::Undetermined(_) | Answer::StillUnknown { .. }
        );
        if is_late && (spec.class == EffectClass::Read || is_look) {
            // Collect ended without it, or a person said what became of it; what was read is worth knowing all the same.
            if let (EffectClass::Read, Answer::Done { result, .. }) = (spec.class, &answer) {
                self.learn(&spec, result, around, out);
            }
            return Ok(());
        }
        if is_late && matches!(answer, Answer::Fault { .. }) {
            // A person decided otherwise while it was looked at.
            return Ok(());
        }
        match answer {
            Answer::Done { result, request_id, left_at } => {
                self.done(run, &spec, result, request_id, left_at, around, out)
            }
            Answer::Applied(result) => {
                let at = match self.run(run).map(|r| r.state(&step)) {
                    Some(StepState::Unknown { at, .. } | StepState::Intended { at, .. }) => *at,
                    _ => around.now,
                };
                self.task_event(run, &step, around, out, |s, _| task::Event::Verified { step: s, applied: true });
                self.done(run, &spec, result, None, at, around, out)
            }
            Answer::NotApplied => {
                self.task_event(run, &step, around, out, |s, _| task::Event::Verified { step: s, applied: false });
                let fault = Fault::retry(
                    "OUST-E-NOTAPPLIED",
                    "The call had no effect; it is tried again while its approval stands.",
                );
                let again = self.run(run).is_some_and(|r| r.attempts(&step) < spec.attempts);
                self.failed(run, &spec, fault, again.then_some(around.now), around, out)
            }
            Answer::Undetermined(why) => {
                let fault = Fault { disposition: Disposition::Unknown, ..Fault::refuse("OUST-E-UNKNOWN", why) };
                out.notes.push(Note { verb: "effect.unknown", detail: about(run, &step) });
                self.record(out, around.now, run, Event::Unknown { step, fault, verify_at: None })
            }
            Answer::Fault { fault, retry_at } => self.fault(run, &spec, fault, retry_at, around, out),
            Answer::StillUnknown { fault, verify_at } => {
                self.record(out, around.now, run, Event::Unknown { step, fault, verify_at: Some(verify_at) })
            }
            Answer::ReadBack { .. } => Ok(()),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one accepted answer")]
    pub(super) fn done(
        &mut self,
        run: RunId,
        step: &Step,
        result: Value,
        request_id: Option<String>,
        left_at: Timestamp,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        if step.class == EffectClass::Read {
            self.learn(step, &result, around, out);
        }
        let event = Event::Done { step: step.id.clone(), result, request_id, left_at };
        self.record(out, around.now, run, event)?;
        if step.class != EffectClass::Read {
            out.notes.push(Note { verb: "effect.applied", detail: about(run, &step.id) });
            self.task_event(run, &step.id, around, out, |step, fence| task::Event::Executed { step, fence });
        } else {
            self.conclude_row(run, step, around, out)?;
        }
        if step.action == REVOKE {
            self.revoked(run, step, left_at, around);
        }
        if step.action == RESET {
            self.password_changed(left_at);
            let case = self.doc.case.as_ref().map(|case| case.id);
            self.doc.handover = case.map(|case| Handover::of(case, left_at, around.now));
        }
        Ok(())
    }

    /// The password is another one since then: the continuous watch ends.
    pub(super) fn password_changed(&mut self, at: Timestamp) {
        if let Some(case) = &mut self.doc.case {
            case.reset_at = Some(at);
            case.changed_by_user_at = None;
            case.unchanged = false;
        }
        if let Some(watch) = &mut self.doc.watch {
            watch.continuous = false;
        }
    }

    fn revoked(&mut self, run: RunId, step: &Step, left_at: Timestamp, around: &Around<'_>) {
        let at = left_at - MARGIN;
        if self.doc.watermark.is_none_or(|mark| mark.at < at) {
            self.doc.watermark = Some(Watermark { at, verified: false });
        }
        self.doc.last_revoke = Some(self.doc.last_revoke.map_or(left_at, |last| last.max(left_at)));
        self.doc.read_back = Some(ReadBack { run, step: step.id.clone(), left_at, attempt: 0, next_at: around.now });
        let Some(case) = &mut self.doc.case else { return };
        case.revoke_accepted_at.get_or_insert(around.now);
        case.last_revoke_at = Some(around.now);
        let continuous = case.reset_at.is_none();
        let kind = case.kinds.iter().next().copied().unwrap_or(super::super::signal::Kind::Other);
        self.doc.watch = Some(Watch {
            last_revoke: left_at,
            continuous,
            looks: 0,
            next_at: around.now + around.rules.watch_every,
            traces: case.traces.clone(),
            kind,
        });
    }

    fn fault(
        &mut self,
        run: RunId,
        step: &Step,
        fault: Fault,
        retry_at: Timestamp,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        self.learn_from(step, &fault, around, out);
        match fault.disposition {
            Disposition::Unknown if self.was_sent(run, step) => {
                out.notes.push(Note { verb: "effect.unanswered", detail: about(run, &step.id) });
                if !step.idempotent {
                    self.task_event(run, &step.id, around, out, |step, fence| task::Event::Unknown { step, fence });
                }
                let step = step.id.clone();
                self.record(out, around.now, run, Event::Unknown { step, fault, verify_at: Some(retry_at) })
            }
            Disposition::Refuse if self.keeps_retrying(run, step) && !fault.is_nobody() => {
                self.escalate(run, step, &fault, around, out);
                let patient = around.now + SignedDuration::from_secs(30);
                self.failed(run, step, fault, Some(patient.max(retry_at)), around, out)
            }
            Disposition::Refuse => self.refused(run, step, fault, around, out),
            Disposition::Retry { .. } | Disposition::Unknown => {
                let made = self.run(run).map_or(0, |r| r.attempts(&step.id));
                let read = u32::from(step.class == EffectClass::Read);
                let again = self.keeps_retrying(run, step) || made + read < step.attempts;
                if again && made + read >= step.attempts {
                    self.escalate(run, step, &fault, around, out);
                }
                self.failed(run, step, fault, again.then_some(retry_at), around, out)
            }
        }
    }

    /// The step is out, or was: a failed look before it is not one.
    fn was_sent(&self, run: RunId, step: &Step) -> bool {
        let state = self.run(run).map(|r| r.state(&step.id));
        step.class != EffectClass::Read && matches!(state, Some(StepState::Intended { .. } | StepState::Unknown { .. }))
    }

    /// Containment, and a revoke that law 3 requires, never give up.
    fn keeps_retrying(&self, _run: RunId, step: &Step) -> bool {
        step.class != EffectClass::Read
            && (step.follows.is_some() || (step.phase == Phase::Contain && step.on_failure == OnFailure::Escalate))
    }

    fn refused(
        &mut self,
        run: RunId,
        step: &Step,
        fault: Fault,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        let by_hand = match fault.code.as_str() {
            code if BY_HAND.contains(&code) => Some(RESET_BY_HAND),
            "OUST-A-GONE" => Some("This version no longer knows a step of a pinned playbook"),
            _ => None,
        };
        let begun = matches!(
            self.run(run).map(|r| r.state(&step.id)),
            Some(StepState::Intended { .. } | StepState::Unknown { .. })
        );
        if let (Some(title), false) = (by_hand, begun) {
            // Nothing was sent: the step itself waits for the person who does it, and what follows it follows then.
            let text = fault.message.clone();
            self.task_event(run, &step.id, around, out, |step, _| task::Event::Dropped { step });
            return self.ask_manual(run, &step.id, title.into(), text, around, out);
        }
        if step.action == RESET {
            return self.failed(run, step, fault, None, around, out);
        }
        if let Some(title) = by_hand {
            let text = fault.message.clone();
            self.ask_beside(title, text, around, out);
        } else if step.action == REVOKE && fault.is_nobody() && step.phase == Phase::Contain {
            self.ask_held(
                "Nobody to contain: Graph knows no such user".into(),
                "The alert named an object id that is no user of this tenant (deleted, a service principal, or another tenant's). Find out who is meant and contain them by hand, or close this.".into(),
                around,
                out,
            );
        }
        let nobody = step.action == REVOKE && fault.is_nobody() && step.phase == Phase::Contain;
        self.failed(run, step, fault, None, around, out)?;
        if nobody { self.leave_nobody_alone(run, around, out) } else { Ok(()) }
    }

    /// Whoever does not exist is not read, and nobody is asked what to do with them. What follows a step looks itself
    /// whether that step was sent.
    fn leave_nobody_alone(&mut self, run: RunId, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let todo = |state: &StepState| matches!(state, StepState::Todo);
        let Some(of_run) = self.run(run) else { return Ok(()) };
        let left: Vec<StepId> = of_run
            .steps()
            .filter(|(step, state)| todo(state) && step.follows.is_none())
            .map(|(step, _)| step.id.clone())
            .collect();
        for step in left {
            let reason = "Graph knows no such user".into();
            self.record(out, around.now, run, Event::Skipped { step, reason })?;
        }
        Ok(())
    }

    pub(super) fn failed(
        &mut self,
        run: RunId,
        step: &Step,
        fault: Fault,
        retry_at: Option<Timestamp>,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        if step.class != EffectClass::Read {
            let detail = json!({"run": run, "step": step.id, "code": fault.code, "retry_at": retry_at});
            out.notes.push(Note { verb: "effect.failed", detail });
            let reason = fault.message.clone();
            self.task_event(run, &step.id, around, out, |step, fence| task::Event::Failed {
                step,
                fence,
                reason: reason.clone(),
                provably_no_effect: true,
            });
        }
        if step.action == RESET && retry_at.is_none() && fault.code != "OUST-T-CLAIM" {
            return self.leave_to_hand(run, step, fault, around, out);
        }
        self.record(out, around.now, run, Event::Failed { step: step.id.clone(), fault, retry_at })
    }

    fn escalate(&mut self, run: RunId, step: &Step, fault: &Fault, around: &Around<'_>, out: &mut Output) {
        out.notes.push(Note { verb: "step.escalated", detail: about(run, &step.id) });
        let title = format!("{} keeps failing", step.action);
        let text = format!(
            "{} ({}). oust keeps trying by itself. Until it succeeds the sessions may be alive: do it by hand in the Entra admin centre, then report this done; where it will be refused for good, also say at the step in the case that it was done by hand.",
            fault.message, fault.code
        );
        self.ask_beside(&title, text, around, out);
    }

    /// Tells the approval of a step what became of it.
    pub(super) fn task_event(
        &mut self,
        run: RunId,
        step: &StepId,
        around: &Around<'_>,
        out: &mut Output,
        event: impl Fn(String, u64) -> task::Event,
    ) {
        let of_step = |t: &&mut task::Task| t.run == Some(run) && t.rows.iter().any(|row| row.step == step.0);
        for task in self.tasks.values_mut().filter(of_step) {
            if let Ok(consequences) = task.apply(event(step.0.clone(), task.fence), around.now) {
                out.tasks.insert(task.id);
                out.drops_secret_of(task.id, &consequences);
            }
        }
    }

    fn read_back(
        &mut self,
        valid_from: Option<Timestamp>,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        let Some(mut reading) = self.doc.read_back.take() else { return Ok(()) };
        if let Some(valid_from) = valid_from.filter(|at| *at >= reading.left_at - MARGIN) {
            if self.doc.watermark.is_none_or(|mark| mark.at < valid_from) {
                self.doc.watermark = Some(Watermark { at: valid_from, verified: true });
            }
            if let Some(case) = &mut self.doc.case {
                case.revoke_verified_at = Some(around.now);
            }
            out.notes.push(Note { verb: "revoke.verified", detail: about(reading.run, &reading.step) });
            return self.record(out, around.now, reading.run, Event::Verified { step: reading.step, valid_from });
        }
        reading.attempt += 1;
        match READ_BACK_AFTER.get(reading.attempt as usize) {
            Some(seconds) => {
                reading.next_at = around.now + SignedDuration::from_secs(*seconds);
                self.doc.read_back = Some(reading);
            }
            None => {
                out.notes.push(Note { verb: "revoke.unverified", detail: about(reading.run, &reading.step) });
                self.ask_beside(
                    "Revoke accepted, but not visible",
                    "Graph accepted the revoke, but signInSessionsValidFromDateTime has not moved for minutes. Check the person in the Entra admin centre and revoke by hand if it still has not.".into(),
                    around,
                    out,
                );
            }
        }
        Ok(())
    }

    /// True when nothing with effects happens for this run.
    pub(super) fn is_shadow(&self, run: RunId) -> bool {
        self.run(run).is_some_and(|r| r.mode == Mode::Shadow)
    }
}
