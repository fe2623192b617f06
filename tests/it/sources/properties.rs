//! Hostile input: arbitrary JSON at every shape and wrapper, and arbitrary mutations of the fixtures. Nothing panics,
//! everything is bounded, and nothing acts on an id that is none.

use std::fs;

use oust::domain::signal::Collection;
use oust::domain::signal::Lookup;
use oust::domain::{Finding, Outcome};
use oust::sources::auth::ClientState;
use oust::sources::graph_notifications::{self, Trust, judge_arm_entities, judge_fetched, judge_incident};
use oust::sources::{limits, microsoft};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::{ADA, all_bodies, context};

/// Keys that shapes look at, so that arbitrary objects are recognised now and then.
const KEYS: &[&str] = &[
    "body",
    "records",
    "value",
    "data",
    "event",
    "category",
    "properties",
    "object",
    "objectSchemaType",
    "schemaId",
    "SystemAlertId",
    "AlertDisplayName",
    "Entities",
    "relatedEntities",
    "alerts",
    "kind",
    "Type",
    "IncidentArmID",
    "Entity",
    "riskEventType",
    "userId",
    "userPrincipalName",
    "serviceSource",
    "evidence",
    "roles",
    "userAccount",
    "azureAdUserId",
    "aadUserId",
    "accountName",
    "upnSuffix",
    "sid",
    "userStates",
    "vendorInformation",
    "riskState",
    "riskEventTypes_v2",
    "riskLastUpdatedDateTime",
    "id",
    "name",
    "type",
    "time",
    "activityDateTime",
    "endTimeUtc",
    "tenantId",
    "essentials",
    "alertContext",
    "condition",
    "allOf",
    "dimensions",
    "SearchResults",
    "tables",
    "columns",
    "rows",
    "BehaviorId",
    "ActionType",
    "AlertId",
    "EntityType",
    "AdditionalFields",
    "additionalInfo",
    "$id",
    "$ref",
    "subscriptionId",
    "clientState",
    "resource",
    "resourceData",
    "lifecycleEvent",
    "providerName",
    "providerIncidentId",
    "status",
    "title",
];

/// Texts that mean something somewhere, and some that mean harm.
const TEXTS: &[&str] = &[
    "",
    "../me",
    "me",
    "ada@contoso.example",
    "a/b@c",
    ADA,
    "S-1-12-1-1-2-3-4",
    "S-1-5-18",
    "CONTOSO\\ada",
    "PC42$",
    "unlikelyTravel",
    "Atypical travel",
    "high",
    "2026-11-20T08:12:41Z",
    "8/22/2022 6:07:16 PM",
    "/Date(1)/",
    "99999-99-99T99:99:99Z",
    "Account",
    "account",
    "User",
    "Microsoft XDR",
    "4711",
    "azureMonitorCommonAlertSchema",
    "UserRiskEvents",
    "AdvancedHunting-AlertInfo",
    "#microsoft.graph.security.userEvidence",
    "compromised",
    "[{\"Key\":\"userAgent\",\"Value\":[1]}]",
    "{\"a\":",
    "Closed",
    "s3cret",
    "users/../me",
    "security/alerts('x')",
    "76619225-ff6b-4489-96ca-4ef547e78b22",
    "ä\u{202e}\u{0}\n",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => proptest::sample::select(TEXTS).prop_map(|text| json!(text)),
        1 => any::<i64>().prop_map(|number| json!(number)),
        1 => any::<f64>().prop_map(|number| json!(number)),
        1 => any::<bool>().prop_map(|word| json!(word)),
        1 => Just(Value::Null),
        1 => ".{0,40}".prop_map(|text| json!(text)),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(6, 96, 8, |inner| {
        prop_oneof![
            3 => proptest::collection::vec((proptest::sample::select(KEYS), inner.clone()), 0..10)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
            1 => proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            1 => inner.prop_map(|value| json!(value.to_string())),
        ]
    })
}

/// Every object and list of a document, by pointer.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| {
            pointers(inner, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), out);
        }),
        Value::Array(list) => list.iter().enumerate().for_each(|(n, inner)| pointers(inner, &format!("{at}/{n}"), out)),
        _ => {}
    }
}

/// Replaces, removes or doubles one place of a document.
fn mutate(document: &mut Value, place: usize, way: usize, with: Value) {
    let mut places = Vec::new();
    pointers(document, "", &mut places);
    let place = &places[place % places.len()];
    let (parent, key) = place.rsplit_once('/').unwrap_or(("", ""));
    match (way % 3, document.pointer_mut(parent)) {
        (1, Some(Value::Object(map))) => {
            map.remove(key);
        }
        (2, Some(Value::Array(list))) if !list.is_empty() => list.push(list[0].clone()),
        _ => {
            if let Some(target) = document.pointer_mut(place) {
                *target = with;
            }
        }
    }
}

/// What must hold for every finding of any input.
fn check(findings: &[Finding]) {
    // One question for each item and one finding for each person and kind: bounded, whatever came in.
    assert!(findings.len() <= limits::ITEMS * 20, "{} findings", findings.len());
    for finding in findings {
        assert!(finding.title.chars().count() <= limits::TITLE, "{}", finding.title);
        assert!(finding.raw_kind.chars().count() <= limits::TITLE);
        assert_eq!(finding.content.len(), 64);
        let evidence = &finding.evidence;
        for list in [&evidence.ips, &evidence.user_agents, &evidence.devices, &evidence.sessions, &evidence.requests] {
            assert!(list.len() <= limits::EVIDENCE && list.iter().all(|text| text.chars().count() <= limits::TEXT));
        }
        assert!(evidence.places.len() <= limits::EVIDENCE && evidence.other.len() <= limits::EVIDENCE);
        match &finding.outcome {
            Outcome::Act => assert!(finding.subject.known_object_id().is_some(), "{finding:?}"),
            Outcome::Lookup { what: Lookup::Person } => {
                assert!(!finding.subject.is_empty() && finding.subject.known_object_id().is_none(), "{finding:?}");
            }
            Outcome::Lookup { what: Lookup::XdrIncident { incident } } => {
                assert!(!incident.is_empty() && incident.bytes().all(|b| b.is_ascii_digit()), "{incident}");
            }
            Outcome::Lookup { what: Lookup::ArmIncident { arm_id, .. } } => {
                assert!(arm_id.starts_with("/subscriptions/") && !arm_id.contains(".."), "{arm_id}");
            }
            Outcome::Lookup { what: Lookup::GraphObject { id, .. } } => {
                assert!(
                    id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') && !id.is_empty(),
                    "{id}"
                );
            }
            Outcome::Lookup { what: Lookup::RiskOf { .. } } => {}
            Outcome::Held { reason } | Outcome::Ignored { reason } => {
                assert!(!reason.is_empty() && reason.chars().count() <= limits::TEXT + 200, "{reason}");
            }
        }
        let text = serde_json::to_string(finding).expect("a finding serialises");
        let back: Finding = serde_json::from_str(&text).expect("a finding is read back");
        assert_eq!(back.content, finding.content);
    }
}

fn throw(body: &[u8]) {
    if let Ok(parsed) = microsoft::parse(body, &context()) {
        check(&parsed.findings);
    }
    let states = ClientState::of(&[SecretString::from("s3cret")]);
    if let Ok(parsed) = graph_notifications::parse(body, &Trust { client_state: &states, own: None }, &context()) {
        check(&parsed.findings);
    }
}

fn throw_late(value: &Value) {
    for collection in [Collection::RiskDetections, Collection::RiskyUsers, Collection::AlertsV2, Collection::Alerts] {
        check(&judge_fetched(collection, value, &context()));
    }
    let asked = super::fixture("incident/entities_are_late.json");
    let asked = microsoft::parse(&asked, &context()).expect("an incident").findings.remove(0);
    check(&judge_incident(value, &asked, &context()));
    check(&judge_arm_entities(value, &asked, &context()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_json_is_read_or_refused(value in tree()) {
        throw(value.to_string().as_bytes());
        throw(json!({"value": [value.clone()]}).to_string().as_bytes());
        throw_late(&value);
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        throw(&bytes);
    }

    #[test]
    fn mutated_fixtures_are_read_or_refused(
        which in any::<usize>(),
        changes in proptest::collection::vec((any::<usize>(), any::<usize>(), tree()), 1..5),
        cut in any::<Option<u16>>(),
    ) {
        let paths = all_bodies();
        let body = fs::read(&paths[which % paths.len()]).expect("a fixture");
        let Ok(mut document) = serde_json::from_slice::<Value>(&body) else { return Ok(()) };
        for (place, way, with) in changes {
            mutate(&mut document, place, way, with);
        }
        let mut bytes = document.to_string().into_bytes();
        throw_late(&document);
        if let Some(cut) = cut {
            bytes.truncate(usize::from(cut));
        }
        throw(&bytes);
    }
}

#[test]
fn a_hostile_body_costs_no_more_than_its_bytes() {
    let deep = "{\"body\":".repeat(20_000);
    throw(deep.as_bytes());
    throw("[".repeat(1_000_000).as_bytes());
    let accounts: Vec<Value> =
        (0..20_000).map(|n| json!({"Type": "account", "Name": format!("u{n}"), "UPNSuffix": "x.example"})).collect();
    throw(json!({"SystemAlertId": "1", "AlertType": "x", "Entities": accounts}).to_string().as_bytes());
    let circle: Vec<Value> = (0..20_000).map(|n| json!({"$id": n.to_string(), "$ref": (n + 1).to_string()})).collect();
    throw(json!({"SystemAlertId": "1", "AlertType": "x", "Entities": circle}).to_string().as_bytes());
    let wide: Map<String, Value> = (0..50_000).map(|n| (format!("k{n}"), Value::Null)).collect();
    throw(Value::Object(wide).to_string().as_bytes());
    throw(json!({"riskEventType": "x".repeat(900_000), "userId": ADA}).to_string().as_bytes());
}
