//! `disable_inbox_rules`: switches off the rules that `read_inbox_rules` of the same run found suspicious.
//!
//! Nothing is deleted, so the owner can switch them on again in Outlook. Only rules a reviewer could see are touched.

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::domain::ledger::{Disposition, Fault};
use crate::domain::plan::{EffectClass, Phase};
use crate::graph::{Accepted, Error, RuleId, Terms};
use crate::playbook::ActionInfo;

use super::{Action, Call, Done, Verification};

static INFO: ActionInfo = ActionInfo {
    name: "disable_inbox_rules",
    summary: "Switches off the inbox rules that read_inbox_rules found suspicious.",
    phases: &[Phase::Eradicate],
    class: EffectClass::Soft,
    containing: false,
    free: false,
    may_be_unattended: false,
    requires_revoke: false,
    reveals: false,
    idempotent: true,
    permissions: &["MailboxSettings.ReadWrite"],
    parameters: &[],
    undo: "none",
    example: "do: disable_inbox_rules\nwhen: size(collect.read_inbox_rules.suspicious) > 0\napproval: on_call",
    timeout_ms: 15_000,
};

const MOST: usize = 100;

#[derive(Debug)]
pub(super) struct DisableInboxRules;

/// A rule as `read_inbox_rules` left it in the results.
struct Suspect {
    id: RuleId,
    name: String,
    read_only: bool,
}

/// The suspicious rules of every `read_inbox_rules` among the results, each once.
fn suspects(results: &Value) -> Vec<Suspect> {
    let mut found: Vec<Suspect> = Vec::new();
    let steps = results.as_object().into_iter().flat_map(|steps| steps.values());
    for rule in steps
        .filter(|result| result.get("rules").is_some_and(Value::is_array))
        .filter_map(|result| result.get("suspicious")?.as_array())
        .flatten()
    {
        let Some(id) = rule.get("id").and_then(Value::as_str).and_then(|id| id.parse::<RuleId>().ok()) else {
            continue;
        };
        if found.len() < MOST && !found.iter().any(|known| known.id == id) {
            found.push(Suspect {
                id,
                name: rule.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
                read_only: rule.get("read_only").and_then(Value::as_bool) == Some(true),
            });
        }
    }
    found
}

/// True when some step of the run read the rules.
fn was_read(results: &Value) -> bool {
    let steps = results.as_object().into_iter().flat_map(|steps| steps.values());
    steps.into_iter().any(|result| result.get("rules").is_some_and(Value::is_array))
}

#[async_trait]
impl Action for DisableInboxRules {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault> {
        let end = call.deadline();
        if !was_read(call.results) {
            let why = "the person's inbox rules could not be read before, so oust does not know which to switch off: \
                       look at them in the Exchange admin centre";
            return Err(Fault::refuse("OUST-A-UNREAD", why));
        }
        let mut last = None;
        let mut outcomes = Vec::new();
        for rule in suspects(call.results) {
            let outcome = if rule.read_only {
                "read_only".to_owned()
            } else {
                let left = Terms { timeout: end.saturating_duration_since(Instant::now()), ..call.terms() };
                switched_off(call.graph.disable_inbox_rule(call.identity.object_id, &rule.id, &left).await, &mut last)?
            };
            outcomes.push(json!({ "id": rule.id, "name": rule.name, "outcome": outcome }));
        }
        let disabled = outcomes.iter().filter(|rule| rule["outcome"] == "disabled").count();
        let result = json!({ "disabled": disabled, "rules": outcomes });
        Ok(match last {
            Some(accepted) => Done::of(accepted, result),
            None => Done::read(call, result),
        })
    }

    async fn verify(&self, call: &Call<'_>) -> Result<Verification, Fault> {
        let rules = call.graph.inbox_rules(call.identity.object_id, 2 * MOST, &call.read_terms()).await?;
        let suspects = suspects(call.results);
        let still_on = rules
            .iter()
            .any(|rule| rule.enabled && suspects.iter().any(|suspect| suspect.id == rule.id && !suspect.read_only));
        if still_on {
            return Ok(Verification::NotApplied);
        }
        let outcomes: Vec<Value> = suspects
            .iter()
            .map(|rule| {
                let outcome = if rule.read_only { "read_only" } else { "disabled" };
                json!({ "id": rule.id, "name": rule.name, "outcome": outcome })
            })
            .collect();
        let disabled = suspects.iter().filter(|rule| !rule.read_only).count();
        Ok(Verification::Applied(json!({ "disabled": disabled, "rules": outcomes })))
    }
}

/// One rule's outcome. What may pass ends the step, which may be repeated as a whole; so does a missing permission.
fn switched_off(answer: Result<Accepted, Error>, last: &mut Option<Accepted>) -> Result<String, Fault> {
    match answer {
        Ok(accepted) => {
            *last = Some(accepted);
            Ok("disabled".into())
        }
        Err(error) if error.is_not_found() => Ok("gone".into()),
        Err(error) if error.disposition() == Disposition::Refuse && error.status() == Some(400) => {
            Ok(format!("refused ({})", error.code()))
        }
        Err(error) => Err(error.into()),
    }
}
