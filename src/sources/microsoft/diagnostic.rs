//! Shape `diagnostic`: records of Entra diagnostic settings (`UserRiskEvents`, `RiskyUsers`, sign-in logs), passed on
//! from an Event Hub or a storage account. Here `tenantId` is the real Entra tenant (facts: sentinel §1.4). Other
//! categories of the same stream are out of scope, not unknown.

use serde_json::Value;

use super::entities::opened;
use super::{Context, Draft, Shape, risk_detection, risky_user, sign_in};
use crate::sources::draft::tenant;
use crate::sources::normalise::json::{get, text};
use crate::sources::normalise::{clock, cut};

#[derive(Debug)]
pub(super) struct Diagnostic;

impl Shape for Diagnostic {
    fn word(&self) -> &'static str {
        "diagnostic"
    }

    fn tells(&self, item: &Value) -> bool {
        get(item, "category").is_some_and(Value::is_string)
            && get(item, "properties").is_some()
            && (get(item, "operationName").is_some() || get(item, "time").is_some())
    }

    fn read(&self, items: &[&Value], _ctx: &Context) -> Vec<Draft> {
        items.iter().flat_map(|record| self.record(record)).collect()
    }
}

impl Diagnostic {
    fn record(&self, record: &Value) -> Vec<Draft> {
        let properties = opened(record, &["properties"]);
        let (shape, tenant, seen_at) = (self.word(), tenant(text(record, "tenantId")), clock::of(record, &["time"]));
        let category = text(record, "category").unwrap_or_default();
        match category.to_ascii_lowercase().as_str() {
            "userriskevents" => vec![risk_detection::draft(&properties, shape, tenant, seen_at)],
            "riskyusers" => vec![risky_user::draft(&properties, shape, tenant, seen_at)],
            "signinlogs" | "noninteractiveusersigninlogs" => sign_in::drafts(&properties, shape, tenant, seen_at),
            _ => {
                let mut draft = Draft::new(shape);
                draft.raw_kind = cut(category, 64);
                draft.closed = Some(format!("out of scope: records of category {}", draft.raw_kind));
                draft.detected_at = seen_at;
                draft.about = record.clone();
                vec![draft]
            }
        }
    }
}
