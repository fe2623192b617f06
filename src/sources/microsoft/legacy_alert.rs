//! Shape `legacy_alert`: an alert of Graph's old `security/alerts`, as relays still forward it (the API itself ends;
//! facts: graph §2.1). A user's own sign-in time stands over the alert's.

use serde_json::{Value, json};

use super::{Context, Draft, Shape};
use crate::sources::draft::tenant;
use crate::sources::normalise::json::{get, list, reference, text};
use crate::sources::normalise::person::Account;
use crate::sources::normalise::{clock, evidence, limits, risk};

#[derive(Debug)]
pub(super) struct LegacyAlert;

impl Shape for LegacyAlert {
    fn word(&self) -> &'static str {
        "legacy_alert"
    }

    fn tells(&self, item: &Value) -> bool {
        get(item, "userStates").is_some() && get(item, "vendorInformation").is_some()
    }

    fn read(&self, items: &[&Value], _ctx: &Context) -> Vec<Draft> {
        items.iter().map(|item| draft(item, self.word())).collect()
    }
}

/// Reads one alert.
pub(super) fn draft(item: &Value, shape: &'static str) -> Draft {
    let provider = get(item, "vendorInformation").and_then(|vendor| text(vendor, "provider"));
    // Identity Protection's old category for atypical travel says impossible travel (facts: sentinel §2.1).
    let category = match (provider, text(item, "category")) {
        (Some("IPC"), Some(category)) if category.eq_ignore_ascii_case("ImpossibleTravel") => Some("unlikelyTravel"),
        (_, category) => category,
    };
    let mut draft = Draft::new(shape).named([text(item, "title"), category]);
    draft.title = text(item, "title").map(str::to_owned);
    draft.risk = risk::of(get(item, "severity"));
    draft.tenant = tenant(text(item, "azureTenantId"));
    draft.activity_at = clock::of(item, &["eventDateTime"]);
    draft.detected_at = clock::of(item, &["createdDateTime"]);
    draft.closed = draft.closed.or_else(|| closed(item));
    for state in list(item, "userStates").iter().take(limits::ITEMS) {
        draft.people.add_active(&Account::read(state), clock::of(state, &["logonDateTime"]));
        let location = get(state, "logonLocation");
        let at = clock::of(state, &["logonDateTime"]);
        evidence::add_place(&mut draft.evidence, evidence::place(location, text(state, "logonIp"), at));
    }
    draft.hold_if_nobody("the alert has no user state that names a person");
    let id = reference(item, &["id"]);
    draft.refer("alert", id.clone());
    draft.refer("provider", reference(get(item, "vendorInformation").unwrap_or(&Value::Null), &["provider"]));
    draft.about = match id {
        Some(id) => json!({"alert": id, "kind": draft.raw_kind, "risk": draft.risk, "activity": draft.activity_at}),
        None => item.clone(),
    };
    draft
}

fn closed(item: &Value) -> Option<String> {
    let is =
        |key, words: &[&str]| text(item, key).filter(|said| words.iter().any(|word| said.eq_ignore_ascii_case(word)));
    if let Some(status) = is("status", &["resolved", "dismissed"]) {
        return Some(format!("closed: the alert is {status}"));
    }
    is("feedback", &["falsePositive", "benignPositive"]).map(|said| format!("closed: the alert is marked {said}"))
}
