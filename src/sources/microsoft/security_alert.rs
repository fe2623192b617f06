//! Shape `security_alert`: the alert trigger of Sentinel, a row of the `SecurityAlert` table, an alert entity of ARM,
//! Defender for Cloud's export. One alert, its entities in a list or a JSON string (facts: sentinel §1.1).

use serde_json::{Value, json};

use super::entities::{self, opened, properties};
use super::{Context, Draft, Shape};
use crate::sources::normalise::json::{first, first_text, get, open, reference, text};
use crate::sources::normalise::person::{Account, People};
use crate::sources::normalise::{clock, evidence, risk};

#[derive(Debug)]
pub(super) struct SecurityAlert;

/// How the display name is spelt, by age of the schema.
const NAMES: [&str; 3] = ["alertDisplayName", "alertName", "displayName"];

impl Shape for SecurityAlert {
    fn word(&self) -> &'static str {
        "security_alert"
    }

    fn tells(&self, item: &Value) -> bool {
        let is_entity = text(item, "kind") == Some("SecurityAlert") && get(item, "properties").is_some();
        let alert = if is_entity { properties(item) } else { item };
        get(alert, "systemAlertId").is_some() && (get(alert, "alertType").is_some() || first(alert, &NAMES).is_some())
    }

    fn read(&self, items: &[&Value], _ctx: &Context) -> Vec<Draft> {
        items.iter().map(|item| self.draft(item)).collect()
    }
}

impl SecurityAlert {
    fn draft(&self, item: &Value) -> Draft {
        let is_entity = text(item, "kind") == Some("SecurityAlert");
        let alert = if is_entity { properties(item) } else { item };
        let mut draft = named(Draft::new(self.word()), alert);
        draft.title = first_text(alert, &NAMES).map(str::to_owned);
        draft.risk = risk::of(first(alert, &["severity", "alertSeverity"]));
        draft.activity_at = clock::of(alert, &["endTimeUtc", "endTime", "startTimeUtc", "startTime"]);
        draft.detected_at = clock::of(alert, &["timeGenerated", "processingEndTime"]);
        draft.closed = draft.closed.or_else(|| closed(alert));
        let found = entities::read(get(alert, "entities"));
        draft.people = found.people;
        draft.evidence = found.evidence;
        let extended = opened(alert, &["extendedProperties", "additionalData"]);
        evidence::add_extended(&mut draft.evidence, &extended);
        if draft.people.is_empty() {
            named_in_texts(alert, &extended, &mut draft.people);
        }
        draft.hold_if_nobody("the alert has no account among its entities");
        let id = reference(alert, &["systemAlertId"]);
        draft.refer("alert", id.clone());
        draft.refer("provider_alert", reference(alert, &["providerAlertId", "vendorOriginalId"]));
        draft.refer("product", reference(alert, &["productName"]));
        draft.about = json!({"alert": id, "kind": draft.raw_kind, "risk": draft.risk, "activity": draft.activity_at});
        draft
    }
}

/// Names the draft by what the rule's author said, else by display name, else by the provider's code.
pub(super) fn named(draft: Draft, alert: &Value) -> Draft {
    let custom = custom_names(alert);
    let fixed = NAMES.iter().chain(&["alertType"]).map(|key| text(alert, key));
    draft.named(custom.iter().map(|name| Some(name.as_str())).chain(fixed))
}

/// The custom details `oust_kind` and `RiskEventType` of an analytics rule; each a text or a list of texts.
fn custom_names(alert: &Value) -> Vec<String> {
    let extended = opened(alert, &["extendedProperties", "additionalData"]);
    let details = opened(&extended, &["Custom Details", "CustomDetails"]);
    let mut names = Vec::new();
    for value in ["oust_kind", "RiskEventType"].iter().filter_map(|key| get(&details, key)) {
        match &*open(value) {
            Value::String(name) => names.push(name.clone()),
            Value::Array(list) => names.extend(list.iter().filter_map(Value::as_str).take(4).map(str::to_owned)),
            _ => {}
        }
    }
    names
}

fn closed(alert: &Value) -> Option<String> {
    let status = text(alert, "status")?;
    ["resolved", "dismissed", "closed"]
        .iter()
        .any(|word| status.eq_ignore_ascii_case(word))
        .then(|| format!("closed: the alert is {status}"))
}

/// Alerts without entities: the user principal name in `CompromisedEntity` or among the extended properties.
fn named_in_texts(alert: &Value, extended: &Value, people: &mut People) {
    let texts = [text(alert, "compromisedEntity"), text(extended, "User Account"), text(extended, "User Name")];
    if let Some(upn) = texts.into_iter().flatten().find(|words| words.contains('@')) {
        people.add(&Account { upn: Some(upn), ..Account::default() });
    }
}
