//! `confirm_compromised`: sets the person's risk to high.
//!
//! Risk-based Conditional Access and continuous access evaluation act on it, so it can lock somebody out: a hard
//! effect, taken back by `dismiss_risk`. Needs P2. After a reset it would raise the risk again: the grammar refuses it.

use async_trait::async_trait;
use serde_json::json;

use crate::domain::ledger::Fault;
use crate::domain::plan::{EffectClass, Phase};
use crate::playbook::ActionInfo;

use super::{Action, Call, Done, Verification};

static INFO: ActionInfo = ActionInfo {
    name: "confirm_compromised",
    summary: "Tells Entra that the account is compromised: its risk becomes high and risk policies act.",
    phases: &[Phase::Contain, Phase::Eradicate, Phase::Recover],
    class: EffectClass::Hard,
    containing: true,
    free: false,
    may_be_unattended: true,
    requires_revoke: false,
    reveals: false,
    idempotent: true,
    permissions: &["IdentityRiskyUser.ReadWrite.All"],
    parameters: &[],
    undo: "dismiss_risk",
    example: "do: confirm_compromised\napproval: on_call\non_failure: continue",
    timeout_ms: 10_000,
};

/// The state that Graph shows afterwards.
const STATE: &str = "confirmedCompromised";

#[derive(Debug)]
pub(super) struct ConfirmCompromised;

#[async_trait]
impl Action for ConfirmCompromised {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault> {
        let accepted = call.graph.confirm_compromised(call.identity.object_id, &call.terms()).await?;
        Ok(Done::of(accepted, json!({ "risk_state": STATE })))
    }

    async fn verify(&self, call: &Call<'_>) -> Result<Verification, Fault> {
        let user = call.graph.risky_user(call.identity.object_id, &call.read_terms()).await?;
        let state = user.and_then(|user| user.risk_state);
        if state.is_some_and(|state| state.eq_ignore_ascii_case(STATE)) {
            return Ok(Verification::Applied(json!({ "risk_state": STATE })));
        }
        match call.intended_at.and_then(|at| call.too_early(at)) {
            Some(later) => Err(later),
            None => Ok(Verification::NotApplied),
        }
    }
}
