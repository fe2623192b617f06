//! `revoke_sessions`: every refresh token and Entra session cookie issued before now is dead.
//!
//! Leaves undone what Graph leaves undone (facts: graph §4.1): access tokens already issued live on until continuous
//! access evaluation or their end; a guest's sessions belong to the home tenant; who knows the password signs in again.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::domain::ObjectId;
use crate::domain::ledger::Fault;
use crate::domain::plan::{EffectClass, Phase, REVOKE};
use crate::graph::{Graph, Terms};
use crate::playbook::ActionInfo;

use super::{Action, Call, Done, Verification};

static INFO: ActionInfo = ActionInfo {
    name: REVOKE,
    summary: "Invalidates every session of the person: whoever holds a stolen one must sign in again.",
    phases: &[Phase::Contain, Phase::Eradicate, Phase::Recover],
    class: EffectClass::Soft,
    containing: true,
    free: true,
    may_be_unattended: true,
    requires_revoke: false,
    reveals: false,
    idempotent: true,
    permissions: &["User.RevokeSessions.All", "User.Read.All"],
    parameters: &[],
    undo: "none",
    example: "do: revoke_sessions",
    timeout_ms: 5_000,
};

/// Both clocks may differ by this without anybody noticing (contract §13.2).
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

#[derive(Debug)]
pub(super) struct RevokeSessions;

#[async_trait]
impl Action for RevokeSessions {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault> {
        let accepted = call.graph.revoke(call.identity.object_id, &call.terms()).await?;
        let result = json!({ "accepted": true, "left_at": accepted.left_at });
        Ok(Done::of(accepted, result))
    }

    async fn verify(&self, call: &Call<'_>) -> Result<Verification, Fault> {
        let Some(intended_at) = call.intended_at else {
            return Ok(Verification::Undetermined("it is not recorded when the revoke was intended".into()));
        };
        let user = call.graph.user(call.identity.object_id, &call.read_terms()).await?;
        let since = call.graph.on_graphs_clock(intended_at);
        let since = since.checked_sub(TOLERANCE).unwrap_or(since);
        match user.sessions_valid_from {
            Some(valid_from) if valid_from >= since => {
                Ok(Verification::Applied(json!({ "accepted": true, "sessions_valid_from": valid_from })))
            }
            _ => match call.too_early(intended_at) {
                Some(later) => Err(later),
                None => Ok(Verification::NotApplied),
            },
        }
    }
}

/// Reads from when on the person's sessions are valid: what a revoke moves, sometimes only minutes later.
///
/// # Errors
/// As any read.
pub async fn read_back(graph: &Graph, person: ObjectId) -> Result<Option<Timestamp>, Fault> {
    let user = graph.user(person, &Terms::read(Duration::from_secs(10))).await?;
    Ok(user.sessions_valid_from)
}
