//! A playbook as the engine sees it: phases of steps, typed, with the law-required revokes already appended.
//!
//! A `Plan` is made from YAML by `playbook` and pinned: its normalised JSON is stored under its hash in the
//! transaction that opens a run, and recovery reads it only from there.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::signal::Kind;

/// The four phases, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Contain,
    Collect,
    Eradicate,
    Recover,
}

impl Phase {
    /// The word used in YAML, logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Contain => "contain",
            Self::Collect => "collect",
            Self::Eradicate => "eradicate",
            Self::Recover => "recover",
        }
    }
}

/// What an action does to the outside: nothing, something harmless and reversible, or something that hurts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EffectClass {
    Read,
    Soft,
    Hard,
}

/// What a failed step means for the rest of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    Stop,
    Continue,
    Escalate,
}

/// A step's name within its plan.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub String);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One line of a playbook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub id: StepId,
    /// The verb, e.g. `revoke_sessions`.
    pub action: String,
    pub phase: Phase,
    /// Parameters, already checked against the action's types.
    #[serde(default)]
    pub with: serde_json::Value,
    /// Source of a condition; absent = always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Name of the approval policy that gates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// The playbook said that this gated verb may run without a human.
    #[serde(default)]
    pub unattended: bool,
    pub class: EffectClass,
    /// Milliseconds one attempt may take.
    pub timeout_ms: u64,
    /// Attempts before the step counts as failed; contain keeps retrying beyond it.
    pub attempts: u32,
    pub on_failure: OnFailure,
    /// True when the playbook wrote `on_failure` itself.
    #[serde(default)]
    pub on_failure_written: bool,
    /// The step reveals a secret to a human (a password, an access pass).
    #[serde(default)]
    pub reveals: bool,
    /// May be sent again when its outcome is unknown.
    #[serde(default)]
    pub idempotent: bool,
    /// A revoke appended because of this step: sent after it, whatever became of it, once it was attempted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<StepId>,
}

/// A playbook ready to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub name: String,
    pub version: u32,
    #[serde(default)]
    pub description: String,
    /// MITRE ATT&CK technique ids.
    #[serde(default)]
    pub attack: Vec<String>,
    pub signals: Vec<Kind>,
    /// Condition over the signal; an error counts as a match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// In file order, phases in order, appended revokes in place.
    pub steps: Vec<Step>,
    /// Event name (`contained`, `approval_needed`, `closed`) → notifier names.
    #[serde(default)]
    pub notify: BTreeMap<String, Vec<String>>,
}

impl Plan {
    /// The step of this name.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| &step.id == id)
    }

    /// The steps of one phase, in order.
    pub fn phase(&self, phase: Phase) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.phase == phase)
    }
}

/// Reads the account.
pub const READ_USER: &str = "read_user";
/// The action every plan begins with and every hard step is followed by.
pub const REVOKE: &str = "revoke_sessions";
/// The action no path may reach without an accepted revoke after the latest activity.
pub const RESET: &str = "reset_password";
/// Asserts to Microsoft that an account was taken over; after a reset it would raise the risk again.
pub const CONFIRM: &str = "confirm_compromised";
/// Tells Microsoft that a person's risk is no more.
pub const DISMISS: &str = "dismiss_risk";
/// A task for a human; has no effect of its own.
pub const MANUAL: &str = "manual";
