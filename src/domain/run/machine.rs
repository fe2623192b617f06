//! The machine: folds a journal, one entry after the other, and refuses what may not follow.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::super::ids::{CaseId, RunId, SignalId, TaskId};
use super::super::plan::{EffectClass, OnFailure, Phase, Plan, Step, StepId};
use super::{End, Entry, Event, Illegal, Intent, Mode, StepState, Verdict};

/// One execution of one pinned plan.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: RunId,
    pub case: CaseId,
    pub plan_hash: String,
    pub plan: Arc<Plan>,
    pub mode: Mode,
    pub triggers: Vec<SignalId>,
    pub activity: Timestamp,
    pub received_at: Timestamp,
    pub opened_at: Timestamp,
    pub satisfied: bool,
    /// Shared, as results are: a run is copied for every decision.
    pub signal: Arc<Value>,
    /// The trace of the signal that opened it.
    pub traceparent: Option<String>,
    /// Results of steps by id, for conditions and later steps.
    pub results: BTreeMap<String, Arc<Value>>,
    pub collect_started: Option<Timestamp>,
    pub collect_ended: bool,
    pub end: Option<End>,
    /// Number of journal entries folded in.
    pub len: u64,
    states: BTreeMap<StepId, StepState>,
    attempts: BTreeMap<StepId, u32>,
    /// The latest intent of each step whose effect was ever to be sent.
    intents: BTreeMap<StepId, Intent>,
    /// The task that let each step go.
    gates: BTreeMap<StepId, TaskId>,
}

impl Run {
    /// Folds the first entry of a journal.
    ///
    /// # Errors
    /// `Illegal` when the entry is not `Opened` for this plan.
    pub fn open(id: RunId, case: CaseId, plan: Arc<Plan>, entry: &Entry) -> Result<Self, Illegal> {
        let Event::Opened { plan: hash, mode, triggers, activity, received_at, satisfied, signal, traceparent, .. } =
            &entry.event
        else {
            return Err(Illegal {
                run: id,
                step: String::new(),
                state: "unopened".into(),
                event: format!("{:?}", entry.event),
            });
        };
        let states = plan.steps.iter().map(|step| (step.id.clone(), StepState::Todo)).collect();
        Ok(Self {
            id,
            case,
            plan_hash: hash.clone(),
            plan,
            mode: *mode,
            triggers: triggers.clone(),
            activity: *activity,
            received_at: *received_at,
            opened_at: entry.at,
            satisfied: *satisfied,
            signal: Arc::new(signal.clone()),
            traceparent: traceparent.clone(),
            results: BTreeMap::new(),
            collect_started: None,
            collect_ended: false,
            end: None,
            len: 1,
            states,
            attempts: BTreeMap::new(),
            intents: BTreeMap::new(),
            gates: BTreeMap::new(),
        })
    }

    /// Folds a whole journal, as recovery does.
    ///
    /// # Errors
    /// `Illegal` at the first entry that may not follow.
    pub fn replay(id: RunId, case: CaseId, plan: Arc<Plan>, journal: &[Entry]) -> Result<Self, Illegal> {
        let Some((first, rest)) = journal.split_first() else {
            return Err(Illegal { run: id, step: String::new(), state: "empty".into(), event: "none".into() });
        };
        let mut run = Self::open(id, case, plan, first)?;
        for entry in rest {
            run.apply(entry)?;
        }
        Ok(run)
    }

    /// Where a step stands.
    ///
    /// # Panics
    /// Never for steps of this run's plan.
    pub fn state(&self, step: &StepId) -> &StepState {
        static TODO: StepState = StepState::Todo;
        self.states.get(step).unwrap_or(&TODO)
    }

    /// Attempts made so far at a step.
    pub fn attempts(&self, step: &StepId) -> u32 {
        self.attempts.get(step).copied().unwrap_or(0)
    }

    /// What this run's read of this kind found.
    pub fn found(&self, action: &str) -> Option<&Value> {
        let mut reads = self.plan.steps.iter().filter(|step| step.action == action);
        reads.find_map(|step| self.results.get(&step.id.0)).map(AsRef::as_ref)
    }

    /// Steps with their states, in plan order.
    pub fn steps(&self) -> impl Iterator<Item = (&Step, &StepState)> {
        self.plan.steps.iter().map(|step| (step, self.state(&step.id)))
    }

    /// True until the run was closed.
    pub fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// The task whose approval let a step go.
    pub fn gate(&self, step: &StepId) -> Option<TaskId> {
        self.gates.get(step).copied()
    }

    /// The latest intent of a step.
    pub fn intent(&self, step: &StepId) -> Option<&Intent> {
        self.intents.get(step)
    }

    /// True when the step was ever sent (or verified, or is being sent).
    pub fn was_attempted(&self, step: &StepId) -> bool {
        self.intents.contains_key(step)
    }

    /// A step of its own, or one that law 3 requires because what it follows was begun.
    pub fn is_owed(&self, step: &Step) -> bool {
        let begun = |followed| self.was_attempted(followed) || matches!(self.state(followed), StepState::ByHand { .. });
        step.follows.as_ref().is_none_or(begun)
    }

    /// Folds one event.
    ///
    /// # Errors
    /// `Illegal` when it may not happen in this state; the run is unchanged then.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Illegal> {
        use StepState as S;
        if self.end.is_some() {
            // A closed run takes nothing but late evidence and a verification of what it did.
            return match &entry.event {
                Event::Attached { .. } | Event::Verified { .. } => {
                    self.len += 1;
                    Ok(())
                }
                _ => Err(self.illegal(None, &entry.event)),
            };
        }
        let next: Option<(StepId, StepState)> = match &entry.event {
            Event::Opened { .. } => return Err(self.illegal(None, &entry.event)),
            Event::Attached { .. } | Event::Verified { .. } => None,
            Event::CollectStarted => {
                self.collect_started = Some(entry.at);
                None
            }
            Event::CollectEnded => {
                self.collect_ended = true;
                None
            }
            Event::Closed { end, .. } => {
                self.end = Some(*end);
                None
            }
            Event::Skipped { step, reason } => {
                self.expect(step, &entry.event, |s| {
                    !s.is_settled() && !matches!(s, S::Intended { .. } | S::Unknown { .. })
                })?;
                Some((step.clone(), S::Skipped { reason: reason.clone() }))
            }
            Event::Joined { step, run, other } => {
                self.expect(step, &entry.event, |s| matches!(s, S::Todo | S::Ready { .. } | S::Waiting { .. }))?;
                Some((step.clone(), S::Joined { run: *run, other: other.clone() }))
            }
            Event::Parked { step, reason } => {
                self.expect(step, &entry.event, |s| match s {
                    // Held still, and for another reason.
                    S::Parked { reason: was, .. } => was != reason,
                    _ => matches!(s, S::Todo | S::Ready { .. } | S::Backoff { .. }),
                })?;
                let task = self.gate(step);
                Some((step.clone(), S::Parked { at: entry.at, reason: reason.clone(), task }))
            }
            Event::Released { step } => {
                self.expect(step, &entry.event, |s| matches!(s, S::Parked { .. }))?;
                let state = match self.state(step) {
                    S::Parked { task: Some(task), .. } => S::Ready { task: Some(*task) },
                    _ => S::Todo,
                };
                Some((step.clone(), state))
            }
            Event::Refused { step, reason } => {
                // What may have been sent is not refused before it was called unknown.
                self.expect(step, &entry.event, |s| {
                    matches!(s, S::Todo | S::Ready { .. } | S::Parked { .. } | S::Backoff { .. } | S::Unknown { .. })
                })?;
                Some((step.clone(), S::Refused { reason: reason.clone() }))
            }
            Event::Asked { step, task } => {
                // Asked again where a person has to do what was approved.
                self.expect(step, &entry.event, |s| matches!(s, S::Todo | S::Ready { .. } | S::Backoff { .. }))?;
                Some((step.clone(), S::Waiting { task: *task }))
            }
            Event::Answered { step, task, verdict } => {
                let gate = self.gate(step);
                self.expect(step, &entry.event, |s| match s {
                    S::Waiting { task: asked } => asked == task,
                    // An approval can be withdrawn, or lapse, for as long as its step has not begun (again).
                    S::Ready { .. } | S::Parked { .. } => gate == Some(*task) && *verdict != Verdict::Go,
                    // Tried without effect, still approved: it waits for the reviewer's browser.
                    S::Backoff { .. } => gate == Some(*task),
                    _ => false,
                })?;
                if *verdict == Verdict::Go {
                    self.gates.insert(step.clone(), *task);
                }
                Some((step.clone(), answered(*verdict, *task, entry.at)))
            }
            Event::Again { step } => {
                let follows = self.plan.step(step).is_some_and(|s| s.follows.is_some());
                self.expect(step, &entry.event, |s| {
                    follows && matches!(s, S::Done { .. } | S::Failed { .. } | S::ByHand { .. })
                })?;
                Some((step.clone(), S::Todo))
            }
            Event::Intended { step, key, attempt, settle_by, before } => {
                let gated = self.plan.step(step).is_some_and(|s| s.approval.is_some() && s.class != EffectClass::Read);
                self.expect(step, &entry.event, |s| match s {
                    // Only a decision by a human releases a gated effect (law 4): from Todo it may not leave.
                    S::Todo => !gated,
                    S::Ready { .. } | S::Backoff { .. } | S::Intended { .. } | S::Unknown { .. } => true,
                    _ => false,
                })?;
                self.attempts.insert(step.clone(), *attempt);
                let intent = Intent { key: *key, attempt: *attempt, at: entry.at, before: before.clone() };
                self.intents.insert(step.clone(), intent);
                Some((
                    step.clone(),
                    S::Intended {
                        key: *key,
                        attempt: *attempt,
                        at: entry.at,
                        settle_by: *settle_by,
                        before: before.clone(),
                    },
                ))
            }
            Event::Done { step, result, left_at, .. } => {
                let read = self.plan.step(step).is_some_and(|s| s.class == EffectClass::Read);
                self.expect(step, &entry.event, |s| match s {
                    S::Intended { .. } | S::Unknown { .. } => true,
                    S::Todo | S::Ready { .. } | S::Backoff { .. } => read,
                    _ => false,
                })?;
                self.results.insert(step.0.clone(), Arc::new(result.clone()));
                Some((step.clone(), S::Done { at: entry.at, left_at: *left_at }))
            }
            Event::Failed { step, fault, retry_at } => {
                self.expect(step, &entry.event, |s| {
                    !s.is_settled() && !matches!(s, S::Waiting { .. } | S::Parked { .. })
                })?;
                if !matches!(self.state(step), S::Intended { .. } | S::Unknown { .. }) {
                    *self.attempts.entry(step.clone()).or_default() += 1;
                }
                let state = match retry_at {
                    Some(at) => S::Backoff { attempt: self.attempts(step), retry_at: *at, fault: fault.clone() },
                    None => S::Failed { fault: fault.clone() },
                };
                Some((step.clone(), state))
            }
            Event::Unknown { step, fault, verify_at } => {
                self.expect(step, &entry.event, |s| matches!(s, S::Intended { .. } | S::Unknown { .. }))?;
                let (key, at, before) = match self.state(step) {
                    S::Intended { key, at, before, .. } | S::Unknown { key, at, before, .. } => {
                        (*key, *at, before.clone())
                    }
                    _ => return Err(self.illegal(Some(step), &entry.event)),
                };
                Some((step.clone(), S::Unknown { key, at, before, fault: fault.clone(), verify_at: *verify_at }))
            }
        };
        if let Some((step, state)) = next {
            self.states.insert(step, state);
        }
        self.len += 1;
        Ok(())
    }

    fn expect(&self, step: &StepId, event: &Event, allowed: impl Fn(&StepState) -> bool) -> Result<(), Illegal> {
        match self.states.get(step) {
            Some(state) if allowed(state) => Ok(()),
            _ => Err(self.illegal(Some(step), event)),
        }
    }

    fn illegal(&self, step: Option<&StepId>, event: &Event) -> Illegal {
        let name = format!("{event:?}");
        Illegal {
            run: self.id,
            step: step.map(|s| s.0.clone()).unwrap_or_default(),
            state: step.map_or_else(|| "run".to_owned(), |s| self.state(s).word().to_owned()),
            event: name.split([' ', '{']).next().unwrap_or_default().to_owned(),
        }
    }

    /// True when a failed step of this run forbids the steps after it.
    pub fn is_stopped_before(&self, step: &StepId) -> bool {
        for (earlier, state) in self.steps() {
            if &earlier.id == step {
                return false;
            }
            let stops = earlier.on_failure == OnFailure::Stop && earlier.phase >= Phase::Eradicate;
            // What was tried in vain and left to a person has failed, until they report it done.
            let left = matches!(state, StepState::Waiting { .. }) && self.attempts(&earlier.id) > 0;
            let failed = left || matches!(state, StepState::Failed { .. } | StepState::Refused { .. });
            let held = matches!(
                state,
                StepState::Waiting { .. }
                    | StepState::Declined { .. }
                    | StepState::Parked { .. }
                    | StepState::Unknown { .. }
            );
            if stops && (failed || (held && earlier.on_failure_written)) {
                return true;
            }
        }
        false
    }
}

fn answered(verdict: Verdict, task: TaskId, at: Timestamp) -> StepState {
    match verdict {
        Verdict::Go => StepState::Ready { task: Some(task) },
        Verdict::Done => StepState::ByHand { at },
        Verdict::Skip => StepState::Skipped { reason: "a person said: skip it".into() },
        other => StepState::Declined { verdict: other },
    }
}
