//! `disable_account`: the person cannot sign in anywhere until somebody enables the account again.
//!
//! The hard way to contain. Sessions live on until the revoke that follows; a synced account is disabled on-premises.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::domain::ledger::Fault;
use crate::domain::plan::{EffectClass, Phase};
use crate::playbook::ActionInfo;

use super::{Action, Call, Done, Verification, target};

static INFO: ActionInfo = ActionInfo {
    name: "disable_account",
    summary: "Blocks every sign-in of the person until the account is enabled again.",
    phases: &[Phase::Contain, Phase::Eradicate, Phase::Recover],
    class: EffectClass::Hard,
    containing: true,
    free: false,
    may_be_unattended: true,
    requires_revoke: true,
    reveals: false,
    idempotent: true,
    permissions: &["User.EnableDisableAccount.All", "User.Read.All"],
    parameters: &[],
    undo: "enable_account",
    example: "do: disable_account\napproval: on_call",
    timeout_ms: 10_000,
};

#[derive(Debug)]
pub(super) struct DisableAccount;

#[async_trait]
impl Action for DisableAccount {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn before(&self, call: &Call<'_>) -> Result<Value, Fault> {
        let user = call.graph.user(call.identity.object_id, &call.read_terms()).await?;
        if user.synced {
            return Err(Fault::refuse(
                "OUST-A-SYNCED",
                "the account is mastered on-premises: disable it in Active Directory and let it synchronise",
            ));
        }
        Ok(json!({ "account_enabled": user.account_enabled, "target": target(&user) }))
    }

    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault> {
        let accepted = call.graph.set_enabled(call.identity.object_id, false, &call.terms()).await?;
        Ok(Done::of(accepted, json!({ "account_enabled": false })))
    }

    async fn verify(&self, call: &Call<'_>) -> Result<Verification, Fault> {
        let user = call.graph.user(call.identity.object_id, &call.read_terms()).await?;
        let Some(enabled) = user.account_enabled else {
            return Ok(Verification::Undetermined("Graph does not say whether the account is enabled".into()));
        };
        if !enabled {
            return Ok(Verification::Applied(json!({ "account_enabled": false })));
        }
        match call.intended_at.and_then(|at| call.too_early(at)) {
            Some(later) => Err(later),
            None => Ok(Verification::NotApplied),
        }
    }
}
