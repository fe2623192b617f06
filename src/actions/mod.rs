//! What a playbook can do. One file per action; each describes itself (`ActionInfo`) and does one thing outside.
//!
//! Actions decide nothing about a case: the engine has checked guards, written the intent and holds the lease before
//! `perform` is called, and records what comes back. Add an action: one file, one line in `registry`.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use crate::domain::Identity;
use crate::domain::ledger::{EffectKey, Fault};
use crate::graph::{Graph, SendBy};
use crate::playbook::ActionInfo;
use crate::seal::RecipientKey;

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
    pub timeout: std::time::Duration,
    /// Containment goes out in the priority lane.
    pub priority: bool,
    /// Who may open what the step reveals, and the task it is bound to.
    pub recipient: Option<&'a RecipientKey>,
    pub task: Option<crate::domain::TaskId>,
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
