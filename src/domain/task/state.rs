//! Where a task and each of its rows stand.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Task, after};

/// How far a row has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum Progress {
    #[default]
    Waiting,
    /// A worker is at it. `sealed`: its secret is stored, sealed to the reviewer's browser.
    Claimed {
        at: Timestamp,
        fence: u64,
        sealed: bool,
    },
    Executed {
        at: Timestamp,
    },
    /// Without effect, provably.
    Failed {
        at: Timestamp,
        reason: String,
        may_retry: bool,
    },
    /// Sent, no answer; to be verified.
    Unknown {
        at: Timestamp,
        fence: u64,
        sealed: bool,
    },
    /// Executed; the secret waits. `until` is set by the first fetch.
    Sealed {
        at: Timestamp,
        until: Option<Timestamp>,
    },
    Revealed {
        at: Timestamp,
    },
    RevealExpired {
        at: Timestamp,
    },
    /// Never executed: revoked, lapsed or cancelled before its turn.
    Skipped {
        at: Timestamp,
    },
}

impl Progress {
    /// A worker may begin it under an approval that still stands.
    pub(super) fn is_claimable(&self) -> bool {
        matches!(self, Self::Waiting | Self::Failed { may_retry: true, .. })
    }

    /// When a waiting secret is dropped.
    pub(super) fn reveal_by(&self) -> Option<Timestamp> {
        match self {
            Self::Sealed { until: Some(until), .. } => Some(*until),
            Self::Sealed { at, until: None } => after(*at, Task::FETCH_WITHIN),
            _ => None,
        }
    }
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    Pending,
    Escalated {
        at: Timestamp,
    },
    Approved {
        at: Timestamp,
        by: Vec<String>,
        execute_by: Option<Timestamp>,
    },
    Denied {
        at: Timestamp,
        by: Vec<String>,
        reason: Option<String>,
    },
    Expired {
        at: Timestamp,
    },
    Cancelled {
        at: Timestamp,
        by: String,
        reason: String,
    },
    /// Denied after approval, before the claim.
    Revoked {
        at: Timestamp,
        by: Vec<String>,
        reason: String,
    },
    /// Approved, but not claimed in time.
    Lapsed {
        at: Timestamp,
    },
    Claimed {
        at: Timestamp,
        step: String,
        fence: u64,
    },
    /// Done: executed, released, or done by hand.
    Executed {
        at: Timestamp,
        by: Vec<String>,
    },
    Failed {
        at: Timestamp,
        reason: String,
        /// Under the same approval, until it lapses.
        may_retry: bool,
    },
    Unknown {
        at: Timestamp,
        step: String,
    },
    /// Executed; a secret waits for the deciding browser.
    Sealed {
        at: Timestamp,
        step: String,
        until: Option<Timestamp>,
    },
    Revealed {
        at: Timestamp,
    },
    RevealExpired {
        at: Timestamp,
    },
}

impl State {
    /// The word used in tables, URLs, logs and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Escalated { .. } => "escalated",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Expired { .. } => "expired",
            Self::Cancelled { .. } => "cancelled",
            Self::Revoked { .. } => "revoked",
            Self::Lapsed { .. } => "lapsed",
            Self::Claimed { .. } => "claimed",
            Self::Executed { .. } => "executed",
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "unknown",
            Self::Sealed { .. } => "sealed",
            Self::Revealed { .. } => "revealed",
            Self::RevealExpired { .. } => "reveal_expired",
        }
    }

    /// Nothing leaves a terminal state.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Denied { .. }
            | Self::Expired { .. }
            | Self::Cancelled { .. }
            | Self::Revoked { .. }
            | Self::Lapsed { .. }
            | Self::Executed { .. }
            | Self::Revealed { .. }
            | Self::RevealExpired { .. } => true,
            Self::Failed { may_retry, .. } => !may_retry,
            Self::Pending
            | Self::Escalated { .. }
            | Self::Approved { .. }
            | Self::Claimed { .. }
            | Self::Unknown { .. }
            | Self::Sealed { .. } => false,
        }
    }

    /// A vote can still decide it.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Self::Pending | Self::Escalated { .. })
    }
}
