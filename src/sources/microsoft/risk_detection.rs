//! Shape `risk_detection`: a riskDetection of Entra ID Protection (Graph object, forwarded by hand, or a row of
//! `AADUserRiskEvents`). Also read by the diagnostic stream and the poller.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::entities::opened;
use super::{Context, Draft, Shape};
use crate::domain::signal::Evidence;
use crate::sources::normalise::json::{first, first_text, get, open, reference, text};
use crate::sources::normalise::person::Account;
use crate::sources::normalise::{clock, evidence, limits, risk};

#[derive(Debug)]
pub(super) struct RiskDetection;

impl Shape for RiskDetection {
    fn word(&self) -> &'static str {
        "risk_detection"
    }

    fn tells(&self, item: &Value) -> bool {
        get(item, "riskEventType").is_some() && first(item, &["userId", "userPrincipalName"]).is_some()
    }

    fn read(&self, items: &[&Value], _ctx: &Context) -> Vec<Draft> {
        items.iter().map(|item| draft(item, self.word(), None, None)).collect()
    }
}

/// Reads one detection. `tenant` and `seen_at` come from the envelope of a diagnostic record.
pub(super) fn draft(item: &Value, shape: &'static str, tenant: Option<Uuid>, seen_at: Option<Timestamp>) -> Draft {
    let mut draft = Draft::new(shape).named([text(item, "riskEventType"), text(item, "riskType")]);
    draft.risk = risk::of(get(item, "riskLevel"));
    draft.tenant = tenant;
    draft.activity_at = clock::of(item, &["activityDateTime"]);
    draft.detected_at = clock::of(item, &["detectedDateTime"]).or(seen_at);
    draft.closed = draft.closed.or_else(|| closed(item));
    draft.people.add(&account(item));
    draft.hold_if_nobody(
        "the risk detection names nobody: its userId is no object id and it has no user principal name",
    );
    draft.refer("risk_detection", reference(item, &["id"]));
    draft.refer("request", reference(item, &["requestId"]));
    draft.refer("correlation", reference(item, &["correlationId"]));
    evidence::add(&mut draft.evidence.requests, text(item, "requestId"));
    evidence::add(&mut draft.evidence.requests, text(item, "correlationId"));
    let location = opened(item, &["location"]);
    let location = Some(&*location).filter(|value| !value.is_null());
    evidence::add_place(&mut draft.evidence, evidence::place(location, text(item, "ipAddress"), draft.activity_at));
    add_additional(&mut draft.evidence, &opened(item, &["additionalInfo"]));
    draft.about = match reference(item, &["id"]) {
        Some(id) => json!({
            "risk_detection": id,
            "kind": draft.raw_kind,
            "risk": draft.risk,
            "state": text(item, "riskState"),
            "activity": draft.activity_at,
            "detected": draft.detected_at,
        }),
        None => item.clone(),
    };
    draft
}

/// The account a Graph risk or sign-in object is about: `userId` only where it is a GUID, else the name.
pub(super) fn account(item: &Value) -> Account<'_> {
    Account { object_id: text(item, "userId"), upn: text(item, "userPrincipalName"), ..Account::default() }
}

/// Why a risk starts nothing: closed by somebody, or the trace of our own deed (facts: sentinel §5.6, graph §3.1).
pub(super) fn closed(item: &Value) -> Option<String> {
    let words = |key| text(item, key).unwrap_or_default();
    if words("activity").eq_ignore_ascii_case("servicePrincipal") {
        return Some("out of scope: a service principal, not a person".to_owned());
    }
    let state = words("riskState").to_ascii_lowercase();
    if ["remediated", "dismissed", "confirmedsafe"].contains(&state.as_str()) {
        return Some(format!("closed: the risk is {}", words("riskState")));
    }
    let detail = words("riskDetail").to_ascii_lowercase();
    match detail.as_str() {
        "admingeneratedtemporarypassword" | "adminconfirmedusercompromised" | "microsoftrevokedsessions" => {
            Some(format!("our own deed: {}", words("riskDetail")))
        }
        "adminconfirmedsigninsafe"
        | "aiconfirmedsigninsafe"
        | "adminconfirmedaccountsafe"
        | "admindismissedallriskforuser"
        | "admindismissedriskforsignin"
        | "admindismissedallriskforserviceprincipal"
        | "m365dadmindismisseddetection" => Some(format!("closed: {}", words("riskDetail"))),
        "adminconfirmedserviceprincipalcompromised" => {
            Some("out of scope: a service principal, not a person".to_owned())
        }
        _ => None,
    }
}

/// `additionalInfo`: a list of `{Key, Value}` whose values may be of any type (facts: graph §9.8). For travel the
/// other end of the journey is in here.
fn add_additional(into: &mut Evidence, list: &Value) {
    let items = list.as_array().map_or(&[] as &[Value], Vec::as_slice);
    let pairs =
        || items.iter().take(limits::ITEMS).filter_map(|item| Some((first_text(item, &["key"])?, get(item, "value")?)));
    let related_at =
        pairs().find(|(key, _)| *key == "relatedEventTimeInUtc").and_then(|(_, value)| clock::parse(value));
    for (key, value) in pairs() {
        match key {
            "userAgent" | "relatedUserAgent" => evidence::add(&mut into.user_agents, value.as_str()),
            "relatedLocation" => evidence::add_place(into, evidence::place(Some(&open(value)), None, related_at)),
            "clientIp" => evidence::add_ip(into, value.as_str()),
            "requestId" | "correlationId" => evidence::add(&mut into.requests, value.as_str()),
            "riskReasons" | "mitreTechniques" | "alertUrl" | "deviceInformation" => match value {
                Value::String(words) => evidence::add_other(into, key, words),
                Value::Array(list) => {
                    let words: Vec<&str> = list.iter().filter_map(Value::as_str).take(limits::EVIDENCE).collect();
                    evidence::add_other(into, key, &words.join(", "));
                }
                _ => {}
            },
            _ => {}
        }
    }
}
