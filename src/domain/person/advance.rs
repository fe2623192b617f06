//! What is next for a person: contain first and for every run, then one run at a time through its other phases.

use std::ops::Deref;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::ids::RunId;
use super::super::ledger::{EffectKey, Fault};
use super::super::plan::{Phase, Plan, READ_USER, REVOKE, Step, StepId};
use super::super::run::{End, Event, Illegal, Mode, Run, StepState};
use super::super::task;
use super::ask::is_reset;
use super::attempt::is_busy;
use super::by_hand::RESET_BY_HAND;
use super::{Around, Deed, LastCase, Note, Output, Person};

/// The pseudo step under which a read-back runs.
pub const READ_BACK: &str = "read_back";

/// Why a first revoke is left out.
pub(super) const COVERED: &str = "sessions were already revoked after this activity";

/// A step held by its plan, so that the person may change meanwhile.
pub(super) struct Planned {
    plan: Arc<Plan>,
    at: usize,
}

impl Deref for Planned {
    type Target = Step;

    fn deref(&self) -> &Step {
        &self.plan.steps[self.at]
    }
}

impl Person {
    /// Decides everything that can be decided now, and what is to be done outside.
    ///
    /// # Errors
    /// `Illegal` only when the state in hand is corrupt.
    pub fn advance(&mut self, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        loop {
            let written = out.journal.len();
            self.read_answers(around, out)?;
            self.keep_denied(around, out)?;
            self.carry_out(around, out)?;
            self.judge_pending(around, out)?;
            let open: Vec<RunId> = self.runs.iter().filter(|run| run.is_open()).map(|run| run.id).collect();
            for run in &open {
                self.contain(*run, around, out)?;
            }
            // One playbook after the other; what people ordered waits for none of them, and nothing for a rehearsal.
            let ordered = |run: &RunId| self.order_of(*run).is_some();
            let first_of = |shadow| open.iter().find(|run| !ordered(run) && self.is_shadow(**run) == shadow).copied();
            let first: Vec<RunId> = first_of(false).into_iter().chain(first_of(true)).collect();
            let beside: Vec<RunId> = open.iter().copied().filter(ordered).collect();
            for run in first.into_iter().chain(beside) {
                self.later_phases(run, around, out)?;
                self.close_run(run, around, out)?;
            }
            if out.journal.len() == written {
                break;
            }
        }
        self.close_rows(around, out);
        self.close_case(around, out);
        let reading = self.doc.read_back.as_ref().filter(|reading| reading.next_at <= around.now);
        if let Some(reading) = reading
            && !around.running.contains(&(reading.run, StepId(READ_BACK.into())))
        {
            out.deeds.push(Deed::ReadBack);
        }
        Ok(())
    }

    /// When somebody must look again, if nothing happens before.
    pub fn wake_at(&self, collect_limit: jiff::SignedDuration) -> Option<Timestamp> {
        let mut times: Vec<Timestamp> = self.doc.read_back.iter().map(|reading| reading.next_at).collect();
        times.extend(self.tasks.values().filter_map(task::Task::next_due));
        for run in self.runs.iter().filter(|run| run.is_open()) {
            if let (Some(started), false) = (run.collect_started, run.collect_ended) {
                times.push(started + collect_limit);
            }
            for (_, state) in run.steps() {
                match state {
                    StepState::Backoff { retry_at, .. } => times.push(*retry_at),
                    StepState::Unknown { verify_at: Some(at), .. } => times.push(*at),
                    StepState::Intended { settle_by, .. } => times.push(*settle_by),
                    _ => {}
                }
            }
        }
        times.into_iter().min()
    }

    /// True when an uncontained person waits for something of ours.
    pub fn is_urgent(&self) -> bool {
        self.runs.iter().filter(|run| run.is_open()).any(|run| {
            run.steps().any(|(step, state)| {
                step.phase == Phase::Contain
                    && match state {
                        StepState::Todo => run.is_owed(step),
                        StepState::Intended { .. } | StepState::Backoff { .. } | StepState::Unknown { .. } => true,
                        _ => false,
                    }
            })
        })
    }

    pub(super) fn spec(&self, run: RunId, step: &StepId) -> Option<(&Run, &Step)> {
        let run = self.run(run)?;
        Some((run, run.plan.step(step)?))
    }

    pub(super) fn state(&self, run: RunId, step: &StepId) -> StepState {
        self.run(run).map_or(StepState::Todo, |r| r.state(step).clone())
    }

    pub(super) fn steps_of(&self, run: RunId, wanted: impl Fn(Phase) -> bool) -> Vec<Planned> {
        let Some(run) = self.run(run) else { return Vec::new() };
        let of = |(at, _)| Planned { plan: Arc::clone(&run.plan), at };
        run.plan.steps.iter().enumerate().filter(|(_, step)| wanted(step.phase)).map(of).collect()
    }

    /// Contain: at once, in order; a step that waits or fails never holds back another.
    fn contain(&mut self, run: RunId, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let mut first_revoke = true;
        for step in self.steps_of(run, |phase| phase == Phase::Contain) {
            let is_first = step.action == REVOKE && std::mem::take(&mut first_revoke);
            match self.state(run, &step.id) {
                StepState::Todo if step.follows.is_none() => {
                    if is_first && self.run(run).is_some_and(|r| r.satisfied) {
                        let reason = COVERED.to_owned();
                        self.record(out, around.now, run, Event::Skipped { step: step.id.clone(), reason })?;
                    } else if self.admits(run, &step, around, out)? {
                        match &step.approval {
                            Some(policy) => {
                                self.ask_approval(run, policy, std::slice::from_ref(&step.id), around, out)?;
                            }
                            None => self.attempt(run, &step, is_first, around, out)?,
                        }
                    }
                }
                _ if step.follows.is_some() => self.follow(run, &step, around, out)?,
                _ => self.attempt(run, &step, is_first, around, out)?,
            }
            let first_try = self.run(run).is_some_and(|r| r.attempts(&step.id) <= 1);
            if first_try && matches!(self.state(run, &step.id), StepState::Intended { .. }) {
                break;
            }
        }
        Ok(())
    }

    fn later_phases(&mut self, run: RunId, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let waits_for_contain = self.steps_of(run, |phase| phase == Phase::Contain).iter().any(|step| {
            let state = self.state(run, &step.id);
            let tried = self.run(run).is_some_and(|r| r.attempts(&step.id) > 1);
            // What follows a step that waits for a human holds nothing back.
            let owed = self.run(run).is_some_and(|r| r.is_owed(step));
            (matches!(state, StepState::Todo) && owed) || (matches!(state, StepState::Intended { .. }) && !tried)
        });
        if waits_for_contain {
            return Ok(());
        }
        if !self.run(run).is_none_or(|r| r.collect_ended) {
            self.collect(run, around, out)?;
        }
        if self.run(run).is_some_and(|r| r.collect_ended) {
            self.read_late(run, around, out)?;
            self.raise_all(run, around, out)?;
            self.execute(run, around, out)?;
        }
        Ok(())
    }

    /// Collect: in parallel, bounded in time, never blocks.
    fn collect(&mut self, run: RunId, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let steps = self.steps_of(run, |phase| phase == Phase::Collect);
        if self.run(run).is_some_and(|r| r.collect_started.is_none()) {
            self.record(out, around.now, run, Event::CollectStarted)?;
        }
        let started = self.run(run).and_then(|r| r.collect_started).unwrap_or(around.now);
        let over = around.now.duration_since(started) >= around.rules.collect_limit;
        for step in &steps {
            let state = self.state(run, &step.id);
            if state.is_settled() || matches!(state, StepState::Waiting { .. }) {
                continue;
            }
            if over {
                let limit = around.rules.collect_limit.as_secs();
                let fault =
                    Fault::refuse("OUST-E-TIMEOUT", format!("No answer within the {limit} s that collect may take."));
                self.record(out, around.now, run, Event::Failed { step: step.id.clone(), fault, retry_at: None })?;
            } else if !matches!(state, StepState::Todo) {
                self.attempt(run, step, false, around, out)?;
            } else if self.admits(run, step, around, out)? {
                match &step.approval {
                    Some(policy) => self.ask_approval(run, policy, std::slice::from_ref(&step.id), around, out)?,
                    None => self.attempt(run, step, false, around, out)?,
                }
            }
        }
        let ended = steps.iter().all(|step| {
            let state = self.state(run, &step.id);
            state.is_settled() || matches!(state, StepState::Waiting { .. })
        });
        if ended {
            self.record(out, around.now, run, Event::CollectEnded)?;
            self.tell_of_guest(run, around, out);
        }
        Ok(())
    }

    /// A read that a human let go after collect had ended.
    fn read_late(&mut self, run: RunId, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        for step in self.steps_of(run, |phase| phase == Phase::Collect) {
            if matches!(self.state(run, &step.id), StepState::Ready { .. } | StepState::Backoff { .. }) {
                self.attempt(run, &step, false, around, out)?;
            }
        }
        Ok(())
    }

    fn tell_of_guest(&mut self, run: RunId, around: &Around<'_>, out: &mut Output) {
        let guest = self.run(run).and_then(|r| r.found(READ_USER)).and_then(|read| read.get("guest"));
        let is_guest = guest.and_then(Value::as_bool) == Some(true);
        if let (true, Some(case)) = (is_guest, &mut self.doc.case) {
            case.guest = true;
            self.ask_beside(
                "Not contained: the home tenant owns the sessions",
                "This person is a guest. The revoke was sent, but their sessions belong to the home tenant. Tell that tenant's security team; block the guest's sign-in here if it cannot wait. Then report this done.".into(),
                around,
                out,
            );
        }
    }

    /// All approvals of eradicate and recover are raised together: a task for consecutive steps under one policy.
    fn raise_all(&mut self, run: RunId, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let mut groups: Vec<(String, Vec<StepId>)> = Vec::new();
        let mut consecutive = false;
        for step in self.steps_of(run, |phase| phase >= Phase::Eradicate) {
            if step.follows.is_some() {
                continue;
            }
            if self.state(run, &step.id) != StepState::Todo || !self.may_be_judged(run, &step) {
                consecutive = false;
                continue;
            }
            if self.run(run).is_some_and(|r| r.is_stopped_before(&step.id)) {
                let reason = "an earlier step did not succeed and says on_failure: stop".into();
                self.record(out, around.now, run, Event::Skipped { step: step.id.clone(), reason })?;
                continue;
            }
            // Never two open resets: where one is open, nobody is asked whether there should be another.
            if is_reset(&step) && self.join(run, &step, around, out)? {
                continue;
            }
            if !self.admits(run, &step, around, out)? || self.join(run, &step, around, out)? {
                continue;
            }
            if let (true, Some(text)) = (is_reset(&step), self.manual_reset_text(run)) {
                self.task_event(run, &step.id, around, out, |step, _| task::Event::Dropped { step });
                self.ask_manual(run, &step.id, RESET_BY_HAND.into(), text.into(), around, out)?;
            } else if let Some(policy) = &step.approval {
                match groups.last_mut().filter(|(name, _)| consecutive && name == policy) {
                    Some((_, steps)) => steps.push(step.id.clone()),
                    None => groups.push((policy.clone(), vec![step.id.clone()])),
                }
                consecutive = true;
                continue;
            }
            consecutive = false;
        }
        for (policy, steps) in groups {
            self.ask_approval(run, &policy, &steps, around, out)?;
        }
        Ok(())
    }

    /// A condition over eradicate's results waits until eradicate is through.
    fn may_be_judged(&self, run: RunId, step: &Step) -> bool {
        let asks = step.when.as_ref().is_some_and(|when| when.contains("eradicate"));
        let Some(run) = self.run(run) else { return false };
        !asks || run.steps().filter(|(s, _)| s.phase == Phase::Eradicate).all(|(_, state)| state.is_settled())
    }

    /// Eradicate and recover in file order; what waits for a human never holds back a later step.
    fn execute(&mut self, run: RunId, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let mut holder: Option<StepId> = None;
        for step in self.steps_of(run, |phase| phase >= Phase::Eradicate) {
            if holder.is_some() && step.follows != holder {
                break;
            }
            match self.state(run, &step.id) {
                _ if step.follows.is_some() => self.follow(run, &step, around, out)?,
                StepState::Todo if !self.may_be_judged(run, &step) => {}
                StepState::Todo | StepState::Ready { .. }
                    if self.run(run).is_some_and(|r| r.is_stopped_before(&step.id)) => {}
                _ => self.attempt(run, &step, false, around, out)?,
            }
            let preparing = is_busy(run, &step.id, around, out);
            let in_flight = match self.state(run, &step.id) {
                StepState::Intended { .. } | StepState::Backoff { .. } => true,
                StepState::Unknown { verify_at, .. } => verify_at.is_some(),
                _ => preparing,
            };
            if in_flight && holder.is_none() {
                holder = Some(step.id.clone());
            }
        }
        Ok(())
    }

    /// The revoke that law 3 requires after a step: sent once that step was sent, whatever became of it.
    fn follow(&mut self, run: RunId, step: &Step, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let Some(followed) = &step.follows else { return Ok(()) };
        let mine = self.state(run, &step.id);
        if mine != StepState::Todo && !mine.is_settled() {
            return self.attempt(run, step, false, around, out);
        }
        let state = self.state(run, followed);
        match self.run(run).and_then(|r| r.intent(followed)) {
            Some(_) if state.is_settled() || matches!(state, StepState::Unknown { .. } | StepState::Waiting { .. }) => {
                let since = EffectKey::of(run, &step.id, self.times_done(run, followed));
                let revoked = self.run(run).and_then(|r| r.intent(&step.id)).map(|revoke| revoke.key);
                let was_done =
                    matches!(mine, StepState::Done { .. } | StepState::Failed { .. } | StepState::ByHand { .. });
                if was_done && revoked.is_some_and(|key| key != since) {
                    self.record(out, around.now, run, Event::Again { step: step.id.clone() })?;
                }
                self.attempt(run, step, false, around, out)
            }
            None if matches!(state, StepState::ByHand { .. }) => self.attempt(run, step, false, around, out),
            None if state.is_settled() && mine == StepState::Todo => {
                let reason = format!("{followed} was not sent");
                self.record(out, around.now, run, Event::Skipped { step: step.id.clone(), reason })
            }
            _ => Ok(()),
        }
    }

    /// Evaluates `when`. False: skipped; an error: a task, and the run goes on.
    pub(super) fn admits(
        &mut self,
        run: RunId,
        step: &Step,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<bool, Illegal> {
        let Some(when) = &step.when else { return Ok(true) };
        match around.conditions.holds(when, &self.context(run)) {
            Ok(true) => Ok(true),
            Ok(false) => {
                let reason = format!("when: {when} is false");
                self.record(out, around.now, run, Event::Skipped { step: step.id.clone(), reason })?;
                Ok(false)
            }
            Err(error) => {
                self.ask_undecided(run, step, &error, around, out)?;
                Ok(false)
            }
        }
    }

    /// What conditions see.
    pub fn context(&self, run: RunId) -> Value {
        let Some(run) = self.run(run) else { return Value::Null };
        let of_phase = |wanted: Phase| -> Value {
            let results =
                run.plan.phase(wanted).filter_map(|s| Some((s.id.0.clone(), Value::clone(run.results.get(&s.id.0)?))));
            Value::Object(results.collect::<Map<_, _>>())
        };
        let case = self.doc.case.as_ref().map_or(Value::Null, |case| {
            json!({
                "id": case.id, "kinds": case.kinds, "risk": case.risk, "signals": case.signals,
                "opened_at": case.opened_at, "latest_activity": case.latest_activity, "guest": case.guest,
            })
        });
        json!({"signal": *run.signal, "case": case, "collect": of_phase(Phase::Collect), "eradicate": of_phase(Phase::Eradicate)})
    }

    /// What a step's end leaves over of the task that gated it is closed: nobody is asked for what cannot happen.
    fn close_rows(&mut self, around: &Around<'_>, out: &mut Output) {
        let runs = &self.runs;
        for task in self.tasks.values_mut().filter(|task| !task.state.is_terminal() && !task.rows.is_empty()) {
            let Some(run) = task.run.and_then(|id| runs.iter().find(|run| run.id == id)) else { continue };
            let is_over = |step: &str| run.state(&StepId(step.to_owned())).is_settled();
            let over: Vec<String> =
                task.rows.iter().filter(|row| is_over(&row.step)).map(|row| row.step.clone()).collect();
            let changed = if task.approval.is_some() {
                let drop = |step: String| task.apply(task::Event::Dropped { step }, around.now).is_ok();
                over.into_iter().map(drop).filter(|dropped| *dropped).count() > 0
            } else if over.len() == task.rows.len() {
                let reason = "what it asked about came to its end without it".to_owned();
                task.apply(task::Event::Cancel { by: "worker".to_owned(), reason }, around.now).is_ok()
            } else {
                false
            };
            if changed {
                out.tasks.insert(task.id);
            }
        }
    }

    fn close_run(&mut self, run: RunId, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let Some(mine) = self.run(run).filter(|r| r.is_open() && r.collect_ended) else { return Ok(()) };
        if !mine.steps().all(|(_, state)| state.is_settled()) {
            return Ok(());
        }
        let stopped = mine
            .steps()
            .any(|(_, s)| matches!(s, StepState::Skipped { reason } if reason.contains("on_failure: stop")));
        let (end, reason) = if stopped {
            (End::Stopped, "a step failed and says stop")
        } else {
            (End::Finished, "every step is settled")
        };
        self.record(out, around.now, run, Event::Closed { end, reason: reason.into() })
    }

    /// A case closes when no run, task, unknown effect or unrevealed secret of it is open (contract §4).
    fn close_case(&mut self, around: &Around<'_>, out: &mut Output) {
        let busy = self.runs.iter().any(Run::is_open)
            || self.tasks.values().any(|task| !task.state.is_terminal())
            || !self.doc.pending.is_empty()
            || self.doc.read_back.is_some();
        let unchanged = self.doc.case.as_ref().is_none_or(|case| case.unchanged);
        if busy || unchanged || self.is_password_lost() {
            return;
        }
        self.end_case(None, around, out);
    }

    /// Ends the open case; `why` when a person closed it.
    pub(super) fn end_case(&mut self, why: Option<&str>, around: &Around<'_>, out: &mut Output) {
        let Some(case) = self.doc.case.take() else { return };
        let playbooks = case.playbooks.iter().filter(|name| self.has_run(name, Mode::Enforce)).cloned().collect();
        self.doc.last_case =
            (case.mode == Mode::Enforce).then_some(LastCase { id: case.id, closed_at: around.now, playbooks });
        let mut detail = json!({"case": case.id});
        if let Some(why) = why {
            detail["closed_by"] = json!(why);
            detail["unchanged"] = json!(case.unchanged);
        }
        out.notes.push(Note { verb: "case.closed", detail });
        out.case_closed = Some(case);
    }
}
