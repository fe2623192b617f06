//! `read_sign_ins`: where the person (or somebody else) signed in lately. Needs P1; Graph allows 5 requests per 10 s.

use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::json;

use crate::domain::ledger::Fault;
use crate::playbook::vocabulary::parse_duration;
use crate::playbook::{ActionInfo, Parameter, ParameterType};

use super::{Action, Call, Done, READ};

static INFO: ActionInfo = ActionInfo {
    name: "read_sign_ins",
    summary: "Reads the latest sign-ins of the person, newest first, at most 100.",
    permissions: &["AuditLog.Read.All"],
    parameters: &[Parameter {
        name: "window",
        kind: ParameterType::Duration,
        required: false,
        summary: "How far back to look; 24h unless given, 30 days at most.",
    }],
    example: "do: read_sign_ins\nwith: { window: 24h }",
    ..READ
};

const MOST: usize = 100;
const DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Graph keeps no more.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Debug)]
pub(super) struct ReadSignIns;

#[async_trait]
impl Action for ReadSignIns {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault> {
        let window = call.text("window").and_then(parse_duration).unwrap_or(DEFAULT).min(LONGEST);
        let now = call.graph.on_graphs_clock(call.graph.now());
        let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::ZERO);
        let since = now.checked_sub(window).unwrap_or(now);
        let sign_ins = call.graph.sign_ins_of(call.identity.object_id, since, MOST, &call.terms()).await?;
        Ok(Done::read(call, json!({ "count": sign_ins.len(), "sign_ins": sign_ins })))
    }
}
