//! The machine: folds a journal, one entry after the other, and refuses what may not follow.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

<<<<<<< HEAD:src/domain/run/machine.rs
use super::super::ids::{CaseId, RunId, SignalId, TaskId};
use super::super::plan::{EffectClass, OnFailure, Phase, Plan, Step, StepId};
use super::{End, Entry, Event, Illegal, Intent, Mode, StepState, Verdict};
=======
use super::ids::{CaseId, RunId, SignalId, TaskId};
use super::ledger::{EffectKey, Fault};
use super::plan::{EffectClass, OnFailure, Phase, Plan, Step, StepId};

/// Whether effects are sent; fixed per run at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Enforce,
    Shadow,
}

/// How a human (or the clock) answered a step's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Approved, released, "run it": go.
    Go,
    /// "Skip it", or a manual job reported done.
    Done,
    Denied,
    Expired,
    /// Approved, then withdrawn before execution.
    Revoked,
    /// Approved, never executed in time.
    Lapsed,
    Cancelled,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Every step reached its end.
    Finished,
    /// A failed step said `on_failure: stop`.
    Stopped,
    Cancelled,
}

/// One line of a run's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Timestamp,
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Always first. `signal` is what conditions see; `satisfied` = the first revoke was already done for it.
    Opened {
        plan: String,
        playbook: String,
        version: u32,
        mode: Mode,
        triggers: Vec<SignalId>,
        activity: Timestamp,
        received_at: Timestamp,
        satisfied: bool,
        signal: Value,
    },
    /// A later signal that this run's revoke covers, or evidence that came late.
    Attached {
        signal: SignalId,
    },
    Skipped {
        step: StepId,
        reason: String,
    },
    /// The same effect is open, or was executed after this signal's activity, in another run of the case.
    Joined {
        step: StepId,
        run: RunId,
        other: StepId,
    },
    /// A guard holds it back; a human frees it.
    Parked {
        step: StepId,
        reason: String,
    },
    Released {
        step: StepId,
    },
    /// A guard refuses it for good.
    Refused {
        step: StepId,
        reason: String,
    },
    /// A task waits for a human.
    Asked {
        step: StepId,
        task: TaskId,
    },
    Answered {
        step: StepId,
        task: TaskId,
        verdict: Verdict,
    },
    /// Written before the call leaves.
    Intended {
        step: StepId,
        key: EffectKey,
        attempt: u32,
        settle_by: Timestamp,
        before: Value,
    },
    /// Accepted by Graph, or read, or verified to have taken effect.
    Done {
        step: StepId,
        result: Value,
        request_id: Option<String>,
        left_at: Timestamp,
    },
    /// No effect; `retry_at` when it will be tried again.
    Failed {
        step: StepId,
        fault: Fault,
        retry_at: Option<Timestamp>,
    },
    /// Sent, and nobody knows; looked at again at `verify_at`.
    Unknown {
        step: StepId,
        fault: Fault,
        verify_at: Option<Timestamp>,
    },
    /// What this revoke follows was sent once more: so must the revoke be (law 3).
    Again {
        step: StepId,
    },
    /// Read back after the fact: the effect holds.
    Verified {
        step: StepId,
        valid_from: Timestamp,
    },
    CollectStarted,
    CollectEnded,
    Closed {
        end: End,
        reason: String,
    },
}

/// Where one step stands.
#[derive(Debug, Clone, PartialEq)]
pub enum StepState {
    Todo,
    /// Held by a guard; `task` is the approval it already has.
    Parked {
        at: Timestamp,
        reason: String,
        task: Option<TaskId>,
    },
    Waiting {
        task: TaskId,
    },
    /// A human said go.
    Ready {
        task: Option<TaskId>,
    },
    Intended {
        key: EffectKey,
        attempt: u32,
        at: Timestamp,
        settle_by: Timestamp,
        before: Value,
    },
    Backoff {
        attempt: u32,
        retry_at: Timestamp,
        fault: Fault,
    },
    Unknown {
        key: EffectKey,
        at: Timestamp,
        before: Value,
        fault: Fault,
        verify_at: Option<Timestamp>,
    },
    Done {
        at: Timestamp,
        left_at: Timestamp,
    },
    Joined {
        run: RunId,
        other: StepId,
    },
    Skipped {
        reason: String,
    },
    Refused {
        reason: String,
    },
    Failed {
        fault: Fault,
    },
    Declined {
        verdict: Verdict,
    },
}

impl StepState {
    /// Nothing more will happen to it by itself or by a human.
    pub fn is_settled(&self) -> bool {
        matches!(
            self,
            Self::Done { .. }
                | Self::Joined { .. }
                | Self::Skipped { .. }
                | Self::Refused { .. }
                | Self::Failed { .. }
                | Self::Declined { .. }
        )
    }

    /// The word shown to people and in the API.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Todo => "todo",
            Self::Parked { .. } => "parked",
            Self::Waiting { .. } => "waiting",
            Self::Ready { .. } => "ready",
            Self::Intended { .. } => "running",
            Self::Backoff { .. } => "retrying",
            Self::Unknown { .. } => "unknown",
            Self::Done { .. } => "done",
            Self::Joined { .. } => "joined",
            Self::Skipped { .. } => "skipped",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
            Self::Declined { .. } => "declined",
        }
    }
}

/// An event that may not happen in the state it met; a journal with one is corrupt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("illegal event {event} for step {step} in state {state} of {run}")]
pub struct Illegal {
    pub run: RunId,
    pub step: String,
    pub state: String,
    pub event: String,
}

/// What was written before a call left.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    pub key: EffectKey,
    pub attempt: u32,
    pub at: Timestamp,
    /// What was read before it, for verification.
    pub before: Value,
}
>>>>>>> h-playbook:src/domain/run.rs

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
    pub signal: Value,
    /// The trace of the signal that opened it.
    pub traceparent: Option<String>,
    /// Results of steps by id, for conditions and later steps.
    pub results: BTreeMap<String, Value>,
    pub collect_started: Option<Timestamp>,
    pub collect_ended: bool,
    pub end: Option<End>,
    /// Number of journal entries folded in.
    pub len: u64,
    states: BTreeMap<StepId, StepState>,
    attempts: BTreeMap<StepId, u32>,
    /// The latest intent of each step whose effect was ever to be sent.
    intents: BTreeMap<StepId, Intent>,
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
            signal: signal.clone(),
            traceparent: traceparent.clone(),
            results: BTreeMap::new(),
            collect_started: None,
            collect_ended: false,
            end: None,
            len: 1,
            states,
            attempts: BTreeMap::new(),
            intents: BTreeMap::new(),
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

    /// Steps with their states, in plan order.
    pub fn steps(&self) -> impl Iterator<Item = (&Step, &StepState)> {
        self.plan.steps.iter().map(|step| (step, self.state(&step.id)))
    }

    /// True until the run was closed.
    pub fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// The latest intent of a step.
    pub fn intent(&self, step: &StepId) -> Option<&Intent> {
        self.intents.get(step)
    }

    /// True when the step was ever sent (or verified, or is being sent).
    pub fn was_attempted(&self, step: &StepId) -> bool {
        self.intents.contains_key(step)
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
                self.expect(step, &entry.event, |s| matches!(s, S::Todo | S::Ready { .. } | S::Backoff { .. }))?;
                let task = match self.state(step) {
                    S::Ready { task } => *task,
                    _ => None,
                };
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
                self.expect(step, &entry.event, |s| {
                    matches!(s, S::Todo | S::Ready { .. } | S::Parked { .. } | S::Backoff { .. })
                })?;
                Some((step.clone(), S::Refused { reason: reason.clone() }))
            }
            Event::Asked { step, task } => {
                self.expect(step, &entry.event, |s| matches!(s, S::Todo))?;
                Some((step.clone(), S::Waiting { task: *task }))
            }
            Event::Answered { step, task, verdict } => {
                self.expect(step, &entry.event, |s| match s {
                    S::Waiting { task: asked } => asked == task,
                    // Tried without effect, still approved: it waits for the reviewer's browser.
                    S::Backoff { .. } => *verdict == Verdict::Go,
                    S::Ready { task: Some(asked) } => asked == task && *verdict != Verdict::Go,
                    _ => false,
                })?;
                Some((step.clone(), answered(*verdict, *task)))
            }
            Event::Again { step } => {
                let follows = self.plan.step(step).is_some_and(|s| s.follows.is_some());
                self.expect(step, &entry.event, |s| {
                    follows && matches!(s, S::Done { .. } | S::Failed { .. } | S::Refused { .. })
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
                    S::Todo | S::Backoff { .. } => read,
                    _ => false,
                })?;
                self.results.insert(step.0.clone(), result.clone());
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
            let failed = matches!(state, StepState::Failed { .. } | StepState::Refused { .. });
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

fn answered(verdict: Verdict, task: TaskId) -> StepState {
    match verdict {
        Verdict::Go => StepState::Ready { task: Some(task) },
        Verdict::Done => StepState::Skipped { reason: "settled by a person".into() },
        other => StepState::Declined { verdict: other },
    }
}
