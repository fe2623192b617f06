//! What can happen to a task, what follows from it, and how it is refused.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::{Binding, Changed, Digest};
use super::reviewer::{Forbidden, Reviewer};
use super::target::Target;
use crate::domain::identity::Identity;
use crate::domain::signal::Risk;

/// A reviewer's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Approve,
    Deny,
}

impl Verdict {
    /// As told to the one who came second.
    pub fn past(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Deny => "denied",
        }
    }
}

/// A vote as submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    pub by: Reviewer,
    pub verdict: Verdict,
    /// At most [`Ballot::LONGEST_REASON`] characters; a denial after the approval needs one.
    pub reason: Option<String>,
    /// Of what the reviewer was shown.
    pub digest: Digest,
    /// The browser's public key, where the task reveals a secret.
    pub recipient_key: Option<String>,
}

impl Ballot {
    /// In characters.
    pub const LONGEST_REASON: usize = 2_000;
    /// In characters; a P-256 point is 87.
    pub const LONGEST_KEY: usize = 128;
}

/// A worker wants to execute one row, and tells what it found when it looked again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    pub step: String,
    /// Of the worker's lease.
    pub fence: u64,
    /// What would be done now, to an account of the class that was just read.
    pub now: Binding,
    /// The risk was dismissed or confirmed safe: by what.
    pub risk_closed: Option<String>,
    /// Approvers who are no longer entitled; counts only where the policy wants it fresh.
    #[serde(default)]
    pub lost: Vec<String>,
    /// When the recipient's browser was last seen.
    pub browser_seen: Option<Timestamp>,
}

/// What can happen to a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An approval or a denial.
    Vote(Box<Ballot>),
    /// A manual task was done.
    Done { by: Box<Reviewer>, note: Option<String> },
    /// A human named the person of a held task.
    Named { by: Box<Reviewer>, identity: Identity },
    /// Risk dismissed, duplicate, case closed, operator.
    Cancel { by: String, reason: String },
    /// Time passed: escalates, expires, lapses, drops a secret. Never releases anything.
    Tick,
    /// A worker begins a row.
    Claim(Box<Claim>),
    /// The row's secret is stored, sealed to the recipient; before a reset's call, after a temporary access pass's reply.
    Sealed { step: String, fence: u64 },
    /// The effect was accepted.
    Executed { step: String, fence: u64 },
    /// The effect was refused. What is not provably without effect counts as unknown.
    Failed { step: String, fence: u64, reason: String, provably_no_effect: bool },
    /// The call left and no answer came.
    Unknown { step: String, fence: u64 },
    /// The step came to its end without this approval, or will not be tried again under it.
    Dropped { step: String },
    /// An unknown effect was verified.
    Verified { step: String, applied: bool },
    /// The recipient's browser takes the ciphertext; again as often as it likes until the time is up.
    Fetched { by: String, key: String },
    /// "I have passed it on."
    Acknowledged { by: String, key: String },
    /// The secret is given up before its time (the browser is lost).
    RevealExpired,
    /// Evidence came after the snapshot, and with it the case is at this risk. `acute`: no revoke covers it; whoever is at
    /// risk again is decided about again.
    NewerEvidence { risk: Risk, acute: bool },
    /// The store learnt what kind of account this is, or that the risk was closed.
    Learned { target: Option<Target>, risk_closed: Option<String> },
}

impl Event {
    /// The word in the audit trail.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Vote(_) => "vote",
            Self::Done { .. } => "done",
            Self::Named { .. } => "named",
            Self::Cancel { .. } => "cancel",
            Self::Tick => "tick",
            Self::Claim(_) => "claim",
            Self::Sealed { .. } => "sealed",
            Self::Executed { .. } => "executed",
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "unknown",
            Self::Dropped { .. } => "dropped",
            Self::Verified { .. } => "verified",
            Self::Fetched { .. } => "fetched",
            Self::Acknowledged { .. } => "acknowledged",
            Self::RevealExpired => "reveal_expired",
            Self::NewerEvidence { .. } => "newer_evidence",
            Self::Learned { .. } => "learned",
        }
    }
}

/// What the shell does in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "consequence", rename_all = "snake_case")]
pub enum Consequence {
    /// A vote counted, its threshold is not reached.
    Counted { verdict: Verdict, have: u32, need: u32 },
    /// The decision or the row's end moves the run: make it runnable.
    Wake,
    /// Ask these people too.
    Escalated { to: Vec<String> },
    /// The task is closed and its steps were not (all) done: the case stays open and says so, daily.
    Undone { why: String },
    /// What would be done now is not what was approved: raise a new task.
    AskAgain { difference: Vec<Changed> },
    /// Look at the target until the outcome is known.
    Verify { step: String },
    /// The sealed secret can be fetched by the recipient.
    Reveal { step: String },
    /// Delete the ciphertext.
    DropSecret { step: String },
    /// The step took effect but its secret never reached the store: a human has to issue another.
    SecretLost { step: String },
}

/// Why an event changes nothing. Texts are shown as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refused", rename_all = "snake_case")]
pub enum Refused {
    /// Somebody or something was first.
    #[error("already {what} ({who}, {when})")]
    Conflict { who: String, when: Timestamp, what: String },
    #[error("{why}")]
    Forbidden { why: Forbidden },
    /// What was shown is not what is there.
    #[error("this changed since it was shown to you: {}", Changed::line(difference))]
    Stale { difference: Vec<Changed> },
    #[error("too late: the time {what} ended at {at}")]
    TooLate { what: String, at: Timestamp },
    #[error("not yet: {why}")]
    NotYet { why: String },
    /// A worker that lost its lease.
    #[error("fence {fence} is older than {latest}: another worker took over")]
    Fenced { fence: u64, latest: u64 },
    /// The event does not fit the task.
    #[error("{why}")]
    Invalid { why: String },
}

/// How a refusal is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 409.
    Conflict,
    /// 403.
    Forbidden,
    /// 422.
    Invalid,
}

impl Refused {
    /// The class of answer.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Conflict { .. }
            | Self::Stale { .. }
            | Self::TooLate { .. }
            | Self::NotYet { .. }
            | Self::Fenced { .. } => Refusal::Conflict,
            Self::Forbidden { .. } => Refusal::Forbidden,
            Self::Invalid { .. } => Refusal::Invalid,
        }
    }

    /// Somebody must look at the attempt.
    pub fn is_alarming(&self) -> bool {
        matches!(self, Self::Forbidden { why } if why.is_alarming())
    }
}

impl From<Forbidden> for Refused {
    fn from(why: Forbidden) -> Self {
        Self::Forbidden { why }
    }
}
