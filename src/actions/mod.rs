//! What a playbook can do. One file per action; each describes itself (`ActionInfo`) and does one thing outside.
//!
//! Actions decide nothing about a case: the engine has checked guards, written the intent and holds the lease before
//! `perform` is called, and records what comes back. Add an action: one file, one line in `registry`.

mod confirm_compromised;
mod disable_account;
mod disable_inbox_rules;
mod dismiss_risk;
mod enable_account;
mod manual;
mod read_auth_methods;
mod read_inbox_rules;
mod read_risk;
mod read_sign_ins;
mod read_user;
mod registry;
mod reset_password;
mod revoke_sessions;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::domain::Identity;
use crate::domain::ledger::{Disposition, EffectKey, Fault};
use crate::domain::plan::{EffectClass, Phase};
use crate::domain::task::{Target, TargetClass};
use crate::graph::{Accepted, Graph, SendBy, Terms, UserState};
use crate::playbook::ActionInfo;
use crate::seal::{RecipientKey, Sealed};

pub use registry::{Registry, registry};
pub use revoke_sessions::read_back;

/// Keeps what was sealed, durably, before the call that makes it true leaves (law 6).
#[async_trait]
pub trait SealedSink: Send + Sync + std::fmt::Debug {
    /// Replaces whatever this step kept before.
    ///
    /// # Errors
    /// It could not be kept: the call is not made.
    async fn keep(&self, sealed: Sealed) -> Result<(), Fault>;
}

/// Everything an action may know of the step it performs.
#[derive(Debug)]
pub struct Call<'a> {
    pub graph: &'a Graph,
    pub identity: &'a Identity,
    /// The step's checked parameters.
    pub with: &'a Value,
    /// Results of earlier steps by id: `{"read_user": {…}, …}`.
    pub results: &'a Value,
    /// What `before` returned when the intent was written.
    pub before: &'a Value,
    /// Sent as `client-request-id`; the same for every attempt.
    pub key: EffectKey,
    /// Checked immediately before the request is written; past it nothing is sent.
    pub send_by: SendBy,
    /// When the call must have ended.
    pub timeout: Duration,
    /// Containment goes out in the priority lane.
    pub priority: bool,
    /// Who may open what the step reveals, and the task it is bound to.
    pub recipient: Option<&'a RecipientKey>,
    pub task: Option<crate::domain::TaskId>,
    /// Where a sealed secret goes before the call leaves.
    pub sealed: &'a dyn SealedSink,
    /// When the intent was written; `verify` compares with it.
    pub intended_at: Option<Timestamp>,
}

impl Call<'_> {
    /// The terms of the step's own call.
    fn terms(&self) -> Terms {
        Terms { key: Some(self.key), send_by: Some(self.send_by), timeout: self.timeout, priority: self.priority }
    }

    /// The terms of a read beside it (`before`, `verify`): an id of its own, no longer than the step may take.
    fn read_terms(&self) -> Terms {
        Terms { priority: self.priority, ..Terms::read(self.timeout) }
    }

    /// A text parameter.
    fn text(&self, name: &str) -> Option<&str> {
        self.with.get(name).and_then(Value::as_str)
    }

    /// When the call must have ended, on the runtime's clock.
    fn deadline(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + self.timeout
    }

    /// Until when a read may still not show what the call did, on our clock.
    fn settled_at(&self, intended_at: Timestamp) -> Timestamp {
        let span = SignedDuration::try_from(self.timeout + self.graph.read_lag()).unwrap_or(SignedDuration::MAX);
        intended_at.checked_add(span).unwrap_or(Timestamp::MAX)
    }

    /// A verification that has to be asked again when reads have caught up.
    fn too_early(&self, intended_at: Timestamp) -> Option<Fault> {
        let left = self.settled_at(intended_at).duration_since(self.graph.now());
        let after_ms = u64::try_from(left.as_millis()).ok().filter(|ms| *ms > 0)?;
        let fault = Fault::retry("OUST-A001", "a read may not show the change yet; it is read again");
        Some(Fault { disposition: Disposition::Retry { after_ms: Some(after_ms) }, ..fault })
    }
}

/// A call that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// The step's result, as expressions and pages see it.
    pub result: Value,
    /// Graph's `request-id`.
    pub request_id: Option<String>,
    /// When the successful attempt left, on Graph's clock where its `Date` differs from ours by more than 2 s.
    pub left_at: Timestamp,
}

impl Done {
    fn of(accepted: Accepted, result: Value) -> Self {
        Self { result, request_id: accepted.request_id, left_at: accepted.left_at }
    }

    /// A read: nothing was accepted, so nothing left that matters.
    fn read(call: &Call<'_>, result: Value) -> Self {
        Self { result, request_id: None, left_at: call.graph.now() }
    }
}

/// What became of an effect whose answer was lost.
#[derive(Debug, Clone, PartialEq)]
pub enum Verification {
    /// It took effect, provably by our call.
    Applied(Value),
    /// It did not.
    NotApplied,
    /// Cannot be told: the reason is shown to a human.
    Undetermined(String),
}

/// One verb of the playbook language.
#[async_trait]
pub trait Action: Send + Sync + std::fmt::Debug {
    /// What it is, where it may stand, what it needs.
    fn info(&self) -> &'static ActionInfo;

    /// Read before the intent is written; what it returns is kept in the ledger for `verify`. Only hard,
    /// non-idempotent actions need it.
    ///
    /// # Errors
    /// The subject could not be read, or is not one this action can work on.
    async fn before(&self, _call: &Call<'_>) -> Result<Value, Fault> {
        Ok(Value::Null)
    }

    /// Does it, once.
    ///
    /// # Errors
    /// A fault whose disposition says whether anything may have happened.
    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault>;

    /// Finds out what became of an attempt without a recorded result.
    ///
    /// # Errors
    /// The reading itself failed; ask again later.
    async fn verify(&self, _call: &Call<'_>) -> Result<Verification, Fault> {
        Ok(Verification::Undetermined("this action cannot be verified afterwards".into()))
    }
}

/// What kind of account was just read: compared with what was approved.
fn target(user: &UserState) -> Target {
    let classes = [
        (TargetClass::Synced, user.synced),
        (TargetClass::Guest, user.is_guest()),
        (TargetClass::Disabled, user.account_enabled == Some(false)),
    ];
    Target::of(classes.into_iter().filter_map(|(class, is)| is.then_some(class)))
}

/// A person's domain is looked up for at most so long: without it Graph refuses a reset itself.
const LOOK: Duration = Duration::from_secs(3);

/// What most reads have in common.
const READ: ActionInfo = ActionInfo {
    name: "",
    summary: "",
    phases: &[Phase::Collect],
    class: EffectClass::Read,
    containing: false,
    free: true,
    may_be_unattended: false,
    requires_revoke: false,
    reveals: false,
    idempotent: true,
    permissions: &[],
    parameters: &[],
    undo: "none",
    example: "",
    timeout_ms: 10_000,
};
