//! `read_user`: what the directory says about the person now.

use async_trait::async_trait;
use serde_json::json;

use crate::domain::ledger::Fault;
use crate::graph::Terms;
use crate::playbook::ActionInfo;

use super::{Action, Call, Done, LOOK, READ};

static INFO: ActionInfo = ActionInfo {
    name: "read_user",
    summary: "Reads whether the account is enabled, synced, federated or a guest, when its password last changed, and (guards.privileged: task) whether it holds a directory role.",
    permissions: &["User.Read.All"],
    example: "do: read_user",
    ..READ
};

#[derive(Debug)]
pub(super) struct ReadUser;

#[async_trait]
impl Action for ReadUser {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault> {
        let user = call.graph.user(call.identity.object_id, &call.terms()).await?;
        let federated = match user.sign_in_domain().filter(|_| !user.is_guest()) {
            Some(domain) => call.graph.was_federated(domain, &Terms::read(call.timeout.min(LOOK))).await,
            None => None,
        };
        let mut result = json!({
            "account_enabled": user.account_enabled,
            "user_type": user.user_type,
            "synced": user.synced,
            "guest": user.is_guest(),
            "upn": user.upn,
            "display_name": user.display_name,
            "sessions_valid_from": user.sessions_valid_from,
            "last_password_change": user.last_password_change,
        });
        // What is not known is absent: a condition on it is an error, not false.
        if let (Some(federated), Some(result)) = (federated, result.as_object_mut()) {
            result.insert("federated".into(), json!(federated));
        }
        Ok(Done::read(call, result))
    }
}
