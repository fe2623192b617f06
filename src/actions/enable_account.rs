//! `enable_account`: lets a disabled person sign in again. Services follow within 15 to 40 minutes (facts: graph §8).

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::domain::ledger::Fault;
use crate::domain::plan::{EffectClass, Phase};
use crate::playbook::ActionInfo;

use super::{Action, Call, Done, Verification, target};

static INFO: ActionInfo = ActionInfo {
    name: "enable_account",
    summary: "Lets a disabled person sign in again.",
    phases: &[Phase::Recover],
    class: EffectClass::Hard,
    containing: false,
    free: false,
    may_be_unattended: false,
    requires_revoke: false,
    reveals: false,
    idempotent: true,
    permissions: &["User.EnableDisableAccount.All", "User.Read.All"],
    parameters: &[],
    undo: "disable_account",
    example: "do: enable_account\napproval: on_call",
    timeout_ms: 10_000,
};

#[derive(Debug)]
pub(super) struct EnableAccount;

#[async_trait]
impl Action for EnableAccount {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn before(&self, call: &Call<'_>) -> Result<Value, Fault> {
        let user = call.graph.user(call.identity.object_id, &call.read_terms()).await?;
        if user.synced {
            return Err(Fault::refuse(
                "OUST-A-SYNCED",
                "the account is mastered on-premises: enable it in Active Directory and let it synchronise",
            ));
        }
        Ok(json!({ "account_enabled": user.account_enabled, "target": target(&user) }))
    }

    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault> {
        let accepted = call.graph.set_enabled(call.identity.object_id, true, &call.terms()).await?;
        Ok(Done::of(accepted, json!({ "account_enabled": true })))
    }

    async fn verify(&self, call: &Call<'_>) -> Result<Verification, Fault> {
        let user = call.graph.user(call.identity.object_id, &call.read_terms()).await?;
        let Some(enabled) = user.account_enabled else {
            return Ok(Verification::Undetermined("Graph does not say whether the account is enabled".into()));
        };
        if enabled {
            return Ok(Verification::Applied(json!({ "account_enabled": true })));
        }
        match call.intended_at.and_then(|at| call.too_early(at)) {
            Some(later) => Err(later),
            None => Ok(Verification::NotApplied),
        }
    }
}
