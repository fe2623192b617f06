//! A run: one execution of one pinned plan, as a journal of events.
//!
//! `apply` folds an event into the state and refuses what may not happen; live execution and recovery use the same
//! function. What to do next is decided one level up (`person`), because steps of several runs of one person meet.

mod machine;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::{RunId, SignalId, TaskId};
use super::ledger::{EffectKey, Fault};
use super::plan::StepId;

pub use machine::Run;

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
    /// A manual job reported done.
    Done,
    /// "Skip it."
    Skip,
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
        /// The trace of the signal that opened it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceparent: Option<String>,
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

/// The word of a step that a guard holds.
pub const PARKED: &str = "parked";

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
    /// A person did it and said so; Graph was not asked.
    ByHand {
        at: Timestamp,
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
                | Self::ByHand { .. }
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
            Self::Parked { .. } => PARKED,
            Self::Waiting { .. } => "waiting",
            Self::Ready { .. } => "ready",
            Self::Intended { .. } => "running",
            Self::Backoff { .. } => "retrying",
            Self::Unknown { .. } => "unknown",
            Self::Done { .. } => "done",
            Self::ByHand { .. } => "done_by_hand",
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
