//! `dismiss_risk`: tells Entra that the person's risk is no more. It does not make a known password safe.

use async_trait::async_trait;
use serde_json::json;

use crate::domain::ledger::Fault;
use crate::domain::plan::{EffectClass, Phase};
use crate::playbook::ActionInfo;

use super::{Action, Call, Done, Verification};

static INFO: ActionInfo = ActionInfo {
    name: "dismiss_risk",
    summary: "Dismisses the person's risk, so that risk policies let them in again.",
    phases: &[Phase::Recover],
    class: EffectClass::Soft,
    containing: false,
    free: false,
    may_be_unattended: false,
    requires_revoke: false,
    reveals: false,
    idempotent: true,
    permissions: &["IdentityRiskyUser.ReadWrite.All"],
    parameters: &[],
    undo: "confirm_compromised",
    example: "do: dismiss_risk\napproval: on_call",
    timeout_ms: 10_000,
};

/// The state that Graph shows afterwards.
const STATE: &str = "dismissed";

#[derive(Debug)]
pub(super) struct DismissRisk;

#[async_trait]
impl Action for DismissRisk {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault> {
        let accepted = call.graph.dismiss_risk(call.identity.object_id, &call.terms()).await?;
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
