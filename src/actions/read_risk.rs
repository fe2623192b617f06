//! `read_risk`: what identity protection thinks of the person. Needs P2; Graph allows one request per second.

use async_trait::async_trait;
use serde_json::json;
use tokio::time::Instant;

use crate::domain::ledger::Fault;
use crate::graph::Terms;
use crate::playbook::ActionInfo;

use super::{Action, Call, Done, READ};

static INFO: ActionInfo = ActionInfo {
    name: "read_risk",
    summary: "Reads the person's risk and the latest detections behind it, at most 50.",
    permissions: &["IdentityRiskyUser.Read.All", "IdentityRiskEvent.Read.All"],
    example: "do: read_risk",
    ..READ
};

const MOST: usize = 50;

#[derive(Debug)]
pub(super) struct ReadRisk;

#[async_trait]
impl Action for ReadRisk {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault> {
        let (person, end) = (call.identity.object_id, call.deadline());
        let user = call.graph.risky_user(person, &call.terms()).await?;
        let left = Terms { timeout: end.saturating_duration_since(Instant::now()), ..call.terms() };
        let detections = call.graph.detections_of(person, MOST, &left).await?;
        let result = json!({
            "risk_level": user.as_ref().and_then(|user| user.risk_level.as_deref()),
            "risk_state": user.as_ref().and_then(|user| user.risk_state.as_deref()),
            "risk_detail": user.as_ref().and_then(|user| user.risk_detail.as_deref()),
            "risk_updated_at": user.as_ref().and_then(|user| user.updated_at),
            "detections": detections,
        });
        Ok(Done::read(call, result))
    }
}
