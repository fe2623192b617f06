//! Shape `alert_v2`: an alert of Defender XDR as Graph returns it (`security/alerts_v2`), forwarded or fetched.
//!
//! Who is meant (contract §6.4): user evidence with the role compromised or attacked; user evidence without a role
//! where no other has one; never evidence with the verdict `noThreatsFound`.

use serde_json::{Value, json};

use super::{Context, Draft, Shape};
use crate::sources::draft::tenant;
use crate::sources::normalise::json::{first_text, get, list, reference, text};
use crate::sources::normalise::person::{Account, People};
use crate::sources::normalise::{clock, evidence, limits, risk};

#[derive(Debug)]
pub(super) struct AlertV2;

impl Shape for AlertV2 {
    fn word(&self) -> &'static str {
        "alert_v2"
    }

    fn tells(&self, item: &Value) -> bool {
        get(item, "serviceSource").is_some()
            || text(item, "@odata.type").is_some_and(|kind| kind.to_ascii_lowercase().ends_with("security.alert"))
    }

    fn read(&self, items: &[&Value], _ctx: &Context) -> Vec<Draft> {
        items.iter().map(|item| draft(item, self.word())).collect()
    }
}

/// Reads one alert.
pub(super) fn draft(item: &Value, shape: &'static str) -> Draft {
    let mut draft = Draft::new(shape).named([text(item, "title"), text(item, "detectorId")]);
    draft.title = text(item, "title").map(str::to_owned);
    draft.risk = risk::of(get(item, "severity"));
    draft.tenant = tenant(text(item, "tenantId"));
    draft.activity_at = clock::of(item, &["lastActivityDateTime", "firstActivityDateTime"]);
    draft.detected_at = clock::of(item, &["createdDateTime"]);
    draft.closed = draft.closed.or_else(|| closed(item, "alert"));
    let found = list(item, "evidence");
    let found = &found[..found.len().min(limits::ITEMS)];
    draft.people = people(found);
    found.iter().for_each(|one| add_evidence(&mut draft, one));
    draft.hold_if_nobody("no user in the alert's evidence is compromised or attacked");
    let id = reference(item, &["id"]);
    draft.refer("alert", id.clone());
    draft.refer("provider_alert", reference(item, &["providerAlertId"]));
    draft.refer("xdr_incident", reference(item, &["incidentId"]));
    draft.about = match id {
        Some(id) => json!({"alert": id, "kind": draft.raw_kind, "risk": draft.risk, "activity": draft.activity_at}),
        None => item.clone(),
    };
    draft
}

/// Why an alert or incident of Defender starts nothing.
pub(super) fn closed(item: &Value, noun: &str) -> Option<String> {
    let word = |key| text(item, key).unwrap_or_default();
    if word("status").eq_ignore_ascii_case("resolved") {
        return Some(format!("closed: the {noun} is resolved"));
    }
    let is = |key, words: &[&str]| words.iter().any(|one| word(key).eq_ignore_ascii_case(one));
    if is("classification", &["falsePositive", "informationalExpectedActivity"]) {
        return Some(format!("closed: the {noun} is classified {}", word("classification")));
    }
    is("determination", &["notMalicious", "confirmedUserActivity"])
        .then(|| format!("closed: the {noun} is determined {}", word("determination")))
}

fn is_kind(one: &Value, name: &str) -> bool {
    text(one, "@odata.type")
        .and_then(|kind| kind.rsplit('.').next())
        .is_some_and(|kind| kind.eq_ignore_ascii_case(name))
}

fn is_cleared(one: &Value) -> bool {
    text(one, "verdict").is_some_and(|verdict| verdict.eq_ignore_ascii_case("noThreatsFound"))
}

/// The roles that say something.
fn roles(one: &Value) -> Vec<&str> {
    let said = |role: &&str| !["unknown", "unknownFutureValue"].iter().any(|word| role.eq_ignore_ascii_case(word));
    list(one, "roles").iter().filter_map(Value::as_str).filter(said).collect()
}

fn people(found: &[Value]) -> People {
    let users: Vec<&Value> = found.iter().filter(|one| is_kind(one, "userEvidence")).collect();
    let is_victim = |one: &Value| {
        roles(one).iter().any(|role| ["compromised", "attacked"].iter().any(|word| role.eq_ignore_ascii_case(word)))
    };
    let has_victims = users.iter().any(|one| is_victim(one));
    let has_roles = users.iter().any(|one| !roles(one).is_empty());
    let is_meant = |one: &Value| if has_victims { is_victim(one) } else { !has_roles };
    let mut people = People::default();
    for one in users.iter().filter(|one| is_meant(one) && !is_cleared(one)) {
        people.add(&Account::read(get(one, "userAccount").unwrap_or(one)));
    }
    if users.is_empty() {
        return owners(found);
    }
    people
}

/// Alerts about a mailbox or a session carry no user evidence; they name somebody where they agree on one.
fn owners(found: &[Value]) -> People {
    let mut people = People::default();
    for one in found.iter().filter(|one| !is_cleared(one)) {
        if let Some(account) = get(one, "userAccount").or_else(|| get(one, "account")).filter(|value| value.is_object())
        {
            people.add(&Account::read(account));
        } else if is_kind(one, "mailboxEvidence") || is_kind(one, "mailboxConfigurationEvidence") {
            people.add(&Account {
                object_id: text(one, "externalDirectoryObjectId"),
                upn: first_text(one, &["upn", "primaryAddress", "mailboxPrimaryAddress"]),
                ..Account::default()
            });
        }
    }
    if people.list().len() == 1 { people } else { People::default() }
}

fn add_evidence(draft: &mut Draft, one: &Value) {
    let into = &mut draft.evidence;
    if is_kind(one, "ipEvidence") {
        let location = get(one, "location").filter(|value| value.is_object());
        let mut place = evidence::place(location, text(one, "ipAddress"), None);
        place.country = place
            .country
            .or_else(|| text(one, "countryLetterCode").map(|word| crate::sources::normalise::cut(word, 8)));
        evidence::add_place(into, place);
    } else if is_kind(one, "cloudLogonSessionEvidence") {
        evidence::add(&mut into.sessions, text(one, "sessionId"));
        evidence::add(&mut into.user_agents, text(one, "userAgent"));
        evidence::add(&mut into.devices, text(one, "deviceName"));
    } else if is_kind(one, "cloudLogonRequestEvidence") {
        evidence::add(&mut into.requests, text(one, "requestId"));
    } else if is_kind(one, "oauthApplicationEvidence") {
        evidence::add_other(into, "oauth_application", first_text(one, &["displayName", "appId"]).unwrap_or_default());
    }
}
