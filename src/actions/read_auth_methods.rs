//! `read_auth_methods`: a thief likes to leave a method of his own. Numbers and addresses are shown shortened.

use async_trait::async_trait;
use serde_json::json;

use crate::domain::ledger::Fault;
use crate::playbook::ActionInfo;

use super::{Action, Call, Done, READ};

static INFO: ActionInfo = ActionInfo {
    name: "read_auth_methods",
    summary: "Reads which sign-in methods the person has and when each was added.",
    permissions: &["UserAuthenticationMethod.Read.All"],
    example: "do: read_auth_methods",
    ..READ
};

const MOST: usize = 100;

#[derive(Debug)]
pub(super) struct ReadAuthMethods;

#[async_trait]
impl Action for ReadAuthMethods {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault> {
        let methods = call.graph.auth_methods(call.identity.object_id, MOST, &call.terms()).await?;
        Ok(Done::read(call, json!({ "methods": methods })))
    }
}
