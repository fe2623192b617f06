//! Shape `incident`: the body of Sentinel's incident trigger, untouched; and the rules about incidents, whichever way
//! they came.
//!
//! An incident lists alerts and accounts side by side and does not say which account belongs to which alert. So
//! (contract §6.4): every alert of a known kind, or none: all its accounts; kinds mixed and more than one account:
//! the accounts of the in-scope alerts, looked up, else held. Entities come minutes late, and some incidents arrive
//! without alerts: those are looked up too. An update repeats its content unless a person's in-scope alerts grew or
//! ended later.

use serde_json::Value;

use super::entities::{self, properties};
use super::{Context, Draft, Shape, security_alert};
use crate::sources::normalise::json::{first, first_text, get, list, reference, text};
use crate::sources::normalise::{clock, evidence, limits, risk};

mod story;

pub(super) use story::{MIXED, MIXED_REASON, Part, Story, ask};

#[derive(Debug)]
pub(super) struct IncidentTrigger;

impl Shape for IncidentTrigger {
    fn word(&self) -> &'static str {
        "incident"
    }

    fn tells(&self, item: &Value) -> bool {
        get(item, "object").is_some_and(|object| get(object, "properties").is_some())
            && first(item, &["objectSchemaType", "objectEventType"]).is_some()
    }

    fn read(&self, items: &[&Value], ctx: &Context) -> Vec<Draft> {
        items
            .iter()
            .filter_map(|item| get(item, "object"))
            .flat_map(|object| story(object, None, self.word(), ctx).drafts(ctx))
            .collect()
    }
}

/// Reads an incident object of Sentinel. `beside` is a list of entities that came next to it.
pub(super) fn story(object: &Value, beside: Option<&Value>, shape: &'static str, ctx: &Context) -> Story {
    let incident = properties(object);
    let mut story = Story::new(shape);
    story.id = reference(object, &["name"]).or_else(|| reference(object, &["id"]));
    story.title = text(incident, "title").unwrap_or_default().to_owned();
    story.risk = risk::of(get(incident, "severity"));
    story.closed = closed(incident);
    story.created_at = clock::of(incident, &["createdTimeUtc", "firstActivityTimeUtc"]);
    story.last_activity_at = clock::of(incident, &["lastActivityTimeUtc"]);
    let related = get(incident, "relatedEntities").or(beside).or_else(|| get(incident, "entities"));
    let found = entities::read(related);
    story.accounts = found.people;
    story.evidence = found.evidence;
    story.parts = list(incident, "alerts").iter().take(limits::ITEMS).map(part).collect();
    story.refer("incident", story.id.clone());
    story.refer("incident_number", reference(incident, &["incidentNumber"]));
    story.refer("xdr_incident", xdr_id(incident));
    let arm = text(object, "id").and_then(super::arm::ArmIncident::parse);
    story.refer("incident_arm_id", arm.as_ref().map(|arm| arm.path.clone()));
    story.ask = ask(xdr_id(incident), arm, ctx);
    story
}

/// The incident number in Defender, where the incident is Defender's: digits only.
fn xdr_id(incident: &Value) -> Option<String> {
    let provider = text(incident, "providerName")?;
    let is_defender =
        ["Microsoft XDR", "Microsoft 365 Defender"].iter().any(|name| provider.eq_ignore_ascii_case(name));
    let id = reference(incident, &["providerIncidentId"])?;
    (is_defender && (1..=19).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit())).then_some(id)
}

fn closed(incident: &Value) -> Option<String> {
    let status = text(incident, "status")?;
    let is_closed = ["closed", "resolved"].iter().any(|word| status.eq_ignore_ascii_case(word));
    let class = first_text(incident, &["classification"]).map(|word| format!(" as {word}")).unwrap_or_default();
    is_closed
        .then(|| crate::sources::normalise::cut(&format!("closed: the incident is {status}{class}"), limits::TITLE))
}

/// One alert of a Sentinel incident.
fn part(alert: &Value) -> Part {
    let alert = properties(alert);
    let named = security_alert::named(Draft::new("incident"), alert);
    let mut part = Part::new(named.kind, named.raw_kind);
    part.risk = risk::of(first(alert, &["severity", "alertSeverity"]));
    part.id = reference(alert, &["systemAlertId", "providerAlertId"]);
    part.end = clock::of(alert, &["endTimeUtc", "endTime", "startTimeUtc", "startTime"]);
    if let Some(own) = get(alert, "entities") {
        let own = entities::read(Some(own));
        part.people = own.people;
        part.evidence = own.evidence;
    }
    let extended = entities::opened(alert, &["additionalData", "extendedProperties"]);
    evidence::add_extended(&mut part.evidence, &extended);
    part
}
