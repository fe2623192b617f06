//! What was asked for and came late gives the same findings as if it had come in the webhook.

use oust::domain::signal::{Collection, Lookup};
use oust::domain::{Finding, Outcome};
use oust::sources::graph_notifications::{judge_arm_entities, judge_fetched, judge_incident};
use oust::sources::microsoft::parse;
use serde_json::{Value, json};

use super::{ADA, BOB, context, fixture, picture};

fn findings(body: &[u8]) -> Vec<Finding> {
    parse(body, &context()).expect("a known shape").findings
}

fn json_of(path: &str) -> Value {
    serde_json::from_slice(&fixture(path)).expect("JSON")
}

#[test]
fn entities_of_arm_give_what_the_webhook_would_have_given() {
    let mut body = json_of("incident/two_people_one_by_entra_sid.json");
    let entities = body["object"]["properties"]["relatedEntities"].take();
    let early = findings(&fixture("incident/two_people_one_by_entra_sid.json"));
    let asked = findings(body.to_string().as_bytes());
    assert_eq!(asked.len(), 1);
    assert!(matches!(asked[0].outcome, Outcome::Lookup { what: Lookup::ArmIncident { .. } }));
    let late = judge_arm_entities(&json!({"entities": entities, "metaData": []}), &asked[0], &context());
    assert_eq!(late, early);
}

#[test]
fn an_incident_that_still_names_nobody_is_held() {
    let asked = findings(&fixture("incident/entities_are_late.json")).remove(0);
    let late = judge_arm_entities(&json!({"entities": []}), &asked, &context());
    assert!(matches!(&late[..], [Finding { outcome: Outcome::Held { .. }, .. }]), "{late:?}");
    let late = judge_incident(&json!({"id": "4711", "alerts": []}), &asked, &context());
    assert!(matches!(&late[..], [Finding { outcome: Outcome::Held { .. }, .. }]), "{late:?}");
}

#[test]
fn mixed_kinds_stay_held_when_arm_names_several_accounts() {
    let mut body = json_of("incident/mixed_kinds_two_accounts.json");
    let entities = body["object"]["properties"]["relatedEntities"].take();
    let asked = findings(body.to_string().as_bytes()).remove(0);
    let late = judge_arm_entities(&json!({ "entities": entities }), &asked, &context());
    assert!(matches!(&late[..], [Finding { outcome: Outcome::Held { .. }, .. }]), "{late:?}");
    let late = judge_arm_entities(&json!({"entities": [entities[0]]}), &asked, &context());
    assert!(matches!(&late[..], [Finding { outcome: Outcome::Act, .. }]), "{late:?}");
}

#[test]
fn defender_tells_whose_alert_is_whose() {
    let asked = findings(&fixture("incident/mixed_kinds_at_defender.json")).remove(0);
    let travel = json_of("alert_v2/anonymous_ip.json");
    let mut malware = travel.clone();
    malware["id"] = json!("ad2");
    malware["title"] = json!("Malware was prevented");
    malware["detectorId"] = json!("x");
    malware["evidence"][0]["userAccount"]["azureAdUserId"] = json!(BOB);
    let mut resolved = travel.clone();
    resolved["id"] = json!("ad3");
    resolved["status"] = json!("resolved");
    resolved["evidence"][0]["userAccount"]["azureAdUserId"] = json!(BOB);
    let answer = json!({"id": "4711", "status": "active", "severity": "high", "alerts": [malware, travel, resolved]});
    let late = judge_incident(&answer, &asked, &context());
    assert_eq!(late.len(), 1, "{late:#?}");
    let seen = picture(&late[0]);
    assert_eq!((&seen["outcome"], &seen["who"], &seen["kind"]), (&json!("act"), &json!(ADA), &json!("anonymized_ip")));
    assert_eq!(seen["activity_at"], "2026-11-20T08:55:00Z");
    assert_eq!(late[0].refs["incident"], asked.refs["incident"]);
}

#[test]
fn an_incident_resolved_merged_or_foreign_at_defender_is_not_acted_on() {
    let asked = findings(&fixture("incident/phantom_of_defender.json")).remove(0);
    let alert = json_of("alert_v2/anonymous_ip.json");
    let judge = |answer: Value| judge_incident(&answer, &asked, &context()).remove(0).outcome;
    assert!(matches!(judge(json!({"id": "4711", "status": "resolved", "alerts": [alert]})), Outcome::Ignored { .. }));
    assert_eq!(
        judge(json!({"id": "4711", "status": "redirected", "redirectIncidentId": "4800", "alerts": []})),
        Outcome::Lookup { what: Lookup::XdrIncident { incident: "4800".to_owned() } }
    );
    let mut foreign = alert.clone();
    foreign["tenantId"] = json!("99999999-2222-3333-4444-555555555555");
    assert!(matches!(judge(json!({"id": "4711", "alerts": [foreign]})), Outcome::Held { .. }));
    assert_eq!(judge(json!({"id": "4711", "alerts": [alert]})), Outcome::Act);
}

#[test]
fn a_fetched_object_gives_what_its_webhook_would_have_given() {
    for (collection, path) in [
        (Collection::RiskDetections, "risk_detection/atypical_travel.json"),
        (Collection::RiskyUsers, "risky_user/at_risk.json"),
        (Collection::AlertsV2, "alert_v2/anonymous_ip.json"),
        (Collection::Alerts, "legacy_alert/impossible_travel.json"),
    ] {
        let early = findings(&fixture(path));
        assert_eq!(judge_fetched(collection, &json_of(path), &context()), early, "{path}");
        let list = json!({"@odata.context": "x", "value": [json_of(path)]});
        assert_eq!(judge_fetched(collection, &list, &context()), early, "{path}");
    }
    assert_eq!(judge_fetched(Collection::RiskDetections, &json!({"value": []}), &context()), []);
}
