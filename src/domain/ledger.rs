//! Effects: what was intended, before it was sent, and what became of it; and faults as data, for journals.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::identity::Identity;
use super::ids::RunId;
use super::plan::StepId;

/// The fixed name of one intended effect; it is sent as `client-request-id`, so it is a GUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectKey(Uuid);

impl EffectKey {
    /// The key of a step's effect: the same for every attempt, so that a repetition is recognisable at Graph.
    pub fn of(run: RunId, step: &StepId, generation: u32) -> Self {
        Self(Uuid::new_v5(&run.uuid(), format!("{step}/{generation}").as_bytes()))
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.hyphenated())
    }
}

impl fmt::Debug for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for EffectKey {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

/// What to do about a failure; decided once, where the failure is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "disposition", rename_all = "snake_case")]
pub enum Disposition {
    /// Provably no effect; may be sent again, not before `after_ms`.
    Retry {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
    },
    /// Provably no effect, and sending it again will not help.
    Refuse,
    /// The request left and no answer came (or one that does not tell).
    Unknown,
}

/// Why a call did not do what it should: a value that goes into journals and pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    #[serde(flatten)]
    pub disposition: Disposition,
    /// Stable code (`OUST-G403`), explained in README.
    pub code: String,
    /// What happened and what to do, in one or two sentences; no secrets, no UPNs.
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Graph's `request-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Fault {
    /// A fault that a repetition will not cure.
    pub fn refuse(code: &str, message: impl Into<String>) -> Self {
        Self {
            disposition: Disposition::Refuse,
            code: code.to_owned(),
            message: message.into(),
            status: None,
            request_id: None,
        }
    }

    /// Graph's 404 or 400 for an object id says that it is no user (contract §13.5).
    pub fn is_nobody(&self) -> bool {
        matches!(self.status, Some(404 | 400))
    }

    /// A fault that provably had no effect and may pass.
    pub fn retry(code: &str, message: impl Into<String>) -> Self {
        Self { disposition: Disposition::Retry { after_ms: None }, ..Self::refuse(code, message) }
    }
}

/// What became of an intended effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectState {
    /// Written before the call; no result yet.
    Intended,
    /// Accepted by Graph (or verified to have been).
    Applied,
    /// Provably without effect.
    Failed,
    /// Sent, and nobody knows.
    Unknown,
}

impl EffectState {
    /// The word in tables and pages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// One row of the effect ledger: one changing call to the outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    pub key: EffectKey,
    pub identity: Identity,
    pub run: RunId,
    pub step: StepId,
    pub action: String,
    pub attempt: u32,
    pub state: EffectState,
    pub intended_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// What was read before the call, for verification afterwards.
    #[serde(default)]
    pub before: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
