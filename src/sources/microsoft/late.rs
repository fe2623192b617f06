//! What was asked for and came late: the fetched object of a notification, an incident with its alerts, the entities
//! of an incident. Read by the same shapes, so that late entities give the same findings as early ones.

use serde_json::Value;

use super::incident::{Part, Story, ask};
use super::{Context, alert_v2, draft, entities, legacy_alert, risk_detection, risky_user};
use crate::domain::signal::{Collection, Lookup};
use crate::domain::{Finding, Outcome, Subject};
use crate::sources::normalise::json::{first, get, list, reference, text};
use crate::sources::normalise::person::foreign_tenant;
use crate::sources::normalise::{clock, content, evidence, limits, risk};

/// The findings of an object that Graph returned from a collection; also of a list (`value`) of them. An empty list
/// gives no finding: the caller holds what it asked for.
pub fn judge_fetched(collection: Collection, answer: &Value, ctx: &Context) -> Vec<Finding> {
    let is_list = get(answer, "value").is_some_and(Value::is_array) && get(answer, "id").is_none();
    let items = if is_list { list(answer, "value") } else { std::slice::from_ref(answer) };
    let read = |item: &Value| match collection {
        Collection::RiskDetections => risk_detection::draft(item, "risk_detection", None, None),
        Collection::RiskyUsers => risky_user::draft(item, "risky_user", None, None),
        Collection::AlertsV2 => alert_v2::draft(item, "alert_v2"),
        Collection::Alerts => legacy_alert::draft(item, "legacy_alert"),
    };
    draft::settle(items.iter().take(limits::ITEMS).map(read).collect(), ctx)
}

/// The findings of a Defender incident fetched with its alerts (`GET /security/incidents/{id}?$expand=alerts`), in
/// place of `original`, which asked for it.
pub fn judge_incident(answer: &Value, original: &Finding, ctx: &Context) -> Vec<Finding> {
    let mut story = Story::new(shape_word(&original.shape));
    story.id = original.refs.get("incident").cloned().or_else(|| reference(answer, &["id"]));
    story.title = text(answer, "displayName").unwrap_or(&original.title).to_owned();
    story.risk = risk::higher(original.risk, risk::of(get(answer, "severity")));
    story.closed = alert_v2::closed(answer, "incident");
    story.created_at = original.detected_at.or_else(|| clock::of(answer, &["createdDateTime"]));
    story.last_activity_at = original.activity_at;
    story.evidence = original.evidence.clone();
    story.refs.clone_from(&original.refs);
    story.refs.remove(super::incident::MIXED);
    story.refer("xdr_incident", reference(answer, &["id"]));
    story.parts = list(answer, "alerts").iter().take(limits::ITEMS).map(part).collect();
    story.ask = Err("Defender, asked, names nobody either".to_owned());
    if let Some(target) = merged_into(answer, original) {
        // Merged into another incident: that one has the alerts now.
        story.ask = ask(Some(target), None, ctx);
        story.parts.clear();
    }
    let mut drafts = story.drafts(ctx);
    let tenants = std::iter::once(answer).chain(list(answer, "alerts"));
    let claimed = tenants.take(limits::ITEMS).find_map(|item| draft::tenant(text(item, "tenantId")));
    drafts.iter_mut().for_each(|draft| draft.tenant = draft.tenant.or(claimed));
    draft::settle(drafts, ctx)
}

/// The findings of an incident whose entities ARM returned (`POST {incident}/entities`), in place of `original`.
pub fn judge_arm_entities(answer: &Value, original: &Finding, ctx: &Context) -> Vec<Finding> {
    let found = entities::read(first(answer, &["entities", "value"]));
    let with = |subject: Subject, outcome: Outcome| {
        let mut finding = original.clone();
        evidence::merge(&mut finding.evidence, &found.evidence);
        finding.content = content::of_person(&original.content, &subject);
        finding.refs.remove(super::incident::MIXED);
        Finding { subject, outcome, ..finding }
    };
    let held = |reason: String| vec![with(Subject::default(), Outcome::Held { reason })];
    if found.people.is_empty() {
        return held("the incident, asked for its entities, names nobody".to_owned());
    }
    if found.people.is_overflowing() {
        return held(format!("names more than {} people in one delivery", limits::PEOPLE));
    }
    if original.refs.contains_key(super::incident::MIXED) && found.people.list().len() > 1 {
        return held(super::incident::MIXED_REASON.to_owned());
    }
    let one = |person: &crate::sources::normalise::person::Person| {
        let outcome = match foreign_tenant(person.tenant, ctx.entra_tenant_id) {
            Some(reason) => Outcome::Held { reason },
            None if person.subject.known_object_id().is_some() => Outcome::Act,
            None => Outcome::Lookup { what: Lookup::Person },
        };
        with(person.subject.clone(), outcome)
    };
    found.people.list().iter().map(one).collect()
}

/// An alert of a Defender incident, as part of its story.
fn part(alert: &Value) -> Part {
    let read = alert_v2::draft(alert, "alert_v2");
    let mut part = Part::new(read.kind, read.raw_kind);
    part.risk = read.risk;
    part.id = reference(alert, &["id"]);
    part.end = read.activity_at;
    part.people = read.people;
    part.evidence = read.evidence;
    part.closed = read.closed.or(part.closed);
    part
}

/// The incident this one was merged into, when it is another one.
fn merged_into(answer: &Value, original: &Finding) -> Option<String> {
    let is_redirected = text(answer, "status").is_some_and(|status| status.eq_ignore_ascii_case("redirected"));
    let target = reference(answer, &["redirectIncidentId"]).filter(|_| is_redirected)?;
    let is_other =
        original.refs.get("xdr_incident") != Some(&target) && reference(answer, &["id"]).as_ref() != Some(&target);
    (is_other && target.len() <= 19 && target.bytes().all(|b| b.is_ascii_digit())).then_some(target)
}

fn shape_word(word: &str) -> &'static str {
    super::shapes().find(|known| *known == word).unwrap_or("incident")
}
