//! Shape `sign_in`: a sign-in record that carries risk (row of `SigninLogs`, or of the diagnostic stream). A sign-in
//! without risk, or one that failed, starts nothing.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::entities::opened;
use super::{Context, Draft, Shape, risk_detection};
use crate::domain::Risk;
use crate::sources::normalise::json::{first, first_text, get, reference, text};
use crate::sources::normalise::{clock, evidence, limits, risk};

#[derive(Debug)]
pub(super) struct SignIn;

const EVENT_KEYS: [&str; 3] = ["riskEventTypes_v2", "riskEventTypesV2", "riskEventTypes"];

impl Shape for SignIn {
    fn word(&self) -> &'static str {
        "sign_in"
    }

    fn tells(&self, item: &Value) -> bool {
        first(item, &["userId", "userPrincipalName"]).is_some()
            && (first(item, &EVENT_KEYS).is_some() || get(item, "riskLevelDuringSignIn").is_some())
    }

    fn read(&self, items: &[&Value], _ctx: &Context) -> Vec<Draft> {
        items.iter().flat_map(|item| drafts(item, self.word(), None, None)).collect()
    }
}

/// Reads one sign-in: a draft for each risk event it names. `tenant` and `seen_at` come from the envelope.
pub(super) fn drafts(
    item: &Value,
    shape: &'static str,
    tenant: Option<Uuid>,
    seen_at: Option<Timestamp>,
) -> Vec<Draft> {
    let events =
        EVENT_KEYS.iter().map(|key| opened(item, &[key])).find(|list| list.as_array().is_some_and(|l| !l.is_empty()));
    let mut names: Vec<&str> = events
        .iter()
        .flat_map(|list| list.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .filter(|name| *name != "none")
        .collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(limits::EVIDENCE);
    if names.is_empty() {
        names.push("");
    }
    names.into_iter().map(|name| draft(item, name, shape, tenant, seen_at)).collect()
}

fn draft(item: &Value, name: &str, shape: &'static str, tenant: Option<Uuid>, seen_at: Option<Timestamp>) -> Draft {
    let mut draft = Draft::new(shape).named([Some(name)]);
    draft.risk = risk::higher(risk::of(get(item, "riskLevelDuringSignIn")), risk::of(get(item, "riskLevelAggregated")));
    draft.tenant = tenant;
    draft.activity_at = clock::of(item, &["createdDateTime", "timeGenerated"]).or(seen_at);
    draft.detected_at = seen_at;
    if name.is_empty() {
        draft.raw_kind = "risky sign-in".to_owned();
    }
    draft.closed = draft.closed.or_else(|| risk_detection::closed(item)).or_else(|| closed(item, name, draft.risk));
    draft.people.add(&risk_detection::account(item));
    draft.hold_if_nobody("the sign-in names nobody: its userId is no object id and it has no user principal name");
    draft.refer("sign_in", reference(item, &["id"]));
    draft.refer("correlation", reference(item, &["correlationId"]));
    let into = &mut draft.evidence;
    evidence::add(&mut into.requests, text(item, "id"));
    evidence::add(&mut into.requests, text(item, "correlationId"));
    evidence::add(&mut into.sessions, text(item, "sessionId"));
    evidence::add(&mut into.user_agents, text(item, "userAgent"));
    let device = opened(item, &["deviceDetail"]);
    evidence::add(&mut into.devices, first_text(&device, &["deviceId", "displayName"]));
    let location = opened(item, &["locationDetails", "location"]);
    let location = Some(&*location).filter(|value| !value.is_null());
    evidence::add_place(into, evidence::place(location, text(item, "ipAddress"), draft.activity_at));
    draft.about = match reference(item, &["id"]) {
        Some(id) => {
            json!({"sign_in": id, "kind": draft.raw_kind, "risk": draft.risk, "state": text(item, "riskState")})
        }
        None => json!({"sign_in": item, "kind": draft.raw_kind}),
    };
    draft
}

fn closed(item: &Value, name: &str, level: Risk) -> Option<String> {
    let state = text(item, "riskState").unwrap_or("none").to_ascii_lowercase();
    if name.is_empty() && level == Risk::Unknown && !["atrisk", "confirmedcompromised"].contains(&state.as_str()) {
        return Some("out of scope: a sign-in without risk".to_owned());
    }
    let status = opened(item, &["status"]);
    let code = reference(&status, &["errorCode"]).or_else(|| reference(item, &["resultType"]))?;
    (code != "0").then(|| format!("out of scope: the sign-in failed ({code})"))
}
