//! Ways in: every fixture of every shape, sender authentication, notifications, mapped JSON, hostile input.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use oust::domain::signal::Lookup;
use oust::domain::{Finding, Outcome};
use oust::sources::microsoft::{self, parse};
use oust::sources::{ArmWorkspace, Context};
use serde_json::{Value, json};

mod auth;
mod late;
mod mapped;
mod notifications;
mod properties;

pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub const ADA: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
pub const BOB: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

pub fn context() -> Context {
    Context {
        entra_tenant_id: TENANT.parse().expect("a tenant id"),
        arm_allow: vec![ArmWorkspace {
            subscription: "aaaaaaaa-0000-4000-8000-000000000001".parse().expect("a subscription"),
            workspace: "soc-prod".to_owned(),
        }],
        now: "2026-11-20T10:00:00Z".parse().expect("an instant"),
    }
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The bodies of a folder of fixtures, in order.
pub fn bodies(folder: &Path) -> Vec<PathBuf> {
    let is_body = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        !name.ends_with(".expect.json") && (name.ends_with(".json") || name.ends_with(".ndjson"))
    };
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).filter(is_body).collect();
    paths.sort();
    paths
}

/// Every body of every folder of fixtures.
pub fn all_bodies() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(fixtures()).expect("fixtures").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    folders.iter().flat_map(|folder| bodies(folder)).collect()
}

pub fn fixture(path: &str) -> Vec<u8> {
    fs::read(fixtures().join(path)).expect("a fixture")
}

/// A finding, as expectations write it.
pub fn picture(finding: &Finding) -> Value {
    let subject = &finding.subject;
    let who = match (subject.known_object_id(), &subject.upn, &subject.sid, &subject.sam) {
        (Some(id), ..) => json!(id.to_string()),
        (_, Some(upn), ..) => json!(upn.as_str()),
        (_, _, Some(sid), _) => json!(sid.as_str()),
        (_, _, _, Some(sam)) => json!(format!("{}\\{}", sam.domain.as_deref().unwrap_or_default(), sam.name)),
        _ => Value::Null,
    };
    let (outcome, detail) = match &finding.outcome {
        Outcome::Act => ("act", Value::Null),
        Outcome::Lookup { what } => ("lookup", json!(lookup_word(what))),
        Outcome::Held { reason } => ("held", json!(reason)),
        Outcome::Ignored { reason } => ("ignored", json!(reason)),
    };
    json!({
        "outcome": outcome,
        "kind": finding.kind.word(),
        "risk": finding.risk.word(),
        "who": who,
        "activity_at": finding.activity_at.map(|at| at.to_string()),
        "detected_at": finding.detected_at.map(|at| at.to_string()),
        "raw_kind": finding.raw_kind,
        "detail": detail,
    })
}

fn lookup_word(what: &Lookup) -> &'static str {
    match what {
        Lookup::Person => "person",
        Lookup::XdrIncident { .. } => "xdr_incident",
        Lookup::ArmIncident { .. } => "arm_incident",
        Lookup::GraphObject { .. } => "graph_object",
        Lookup::RiskOf { .. } => "risk_of",
    }
}

/// Compares what an expectation names; `reason` is a part of the reason, `lookup` the word of the question.
fn check(path: &Path, expected: &Value, finding: &Finding) {
    let seen = picture(finding);
    for (key, wanted) in expected.as_object().expect("an object") {
        match key.as_str() {
            "reason" => {
                let reason = seen["detail"].as_str().unwrap_or_default();
                let part = wanted.as_str().expect("a text");
                assert!(reason.contains(part), "{}: {reason:?} does not say {part:?}", path.display());
            }
            "lookup" => assert_eq!(&seen["detail"], wanted, "{}", path.display()),
            key => assert_eq!(&seen[key], wanted, "{}: {key} of {seen:#}", path.display()),
        }
    }
}

#[test]
fn every_fixture_gives_what_it_expects() {
    for path in all_bodies() {
        let body = fs::read(&path).expect("a body");
        let expectation = path.with_extension("expect.json");
        let expected = fs::read(&expectation).unwrap_or_else(|_| panic!("{} is missing", expectation.display()));
        let expected: Value = serde_json::from_slice(&expected).expect("an expectation");
        match (parse(&body, &context()), expected.as_array()) {
            (Ok(parsed), Some(list)) => {
                let seen: Vec<Value> = parsed.findings.iter().map(picture).collect();
                assert_eq!(seen.len(), list.len(), "{}: {seen:#?}", path.display());
                list.iter().zip(&parsed.findings).for_each(|(wanted, finding)| check(&path, wanted, finding));
            }
            (Err(error), None) => assert_eq!(expected["error"], error.reason(), "{}: {error}", path.display()),
            (Ok(parsed), None) => panic!("{}: expected an error, saw {parsed:#?}", path.display()),
            (Err(error), Some(_)) => panic!("{}: {error}", path.display()),
        }
    }
}

#[test]
fn every_registered_shape_has_fixtures_it_recognises() {
    for shape in microsoft::shapes() {
        let bodies = bodies(&fixtures().join(shape));
        assert!(bodies.len() >= 2, "{shape} has {} fixtures, two are the least", bodies.len());
        for path in bodies {
            let parsed = parse(&fs::read(&path).expect("a body"), &context()).expect("a known shape");
            assert_eq!(parsed.shapes, [shape], "{}", path.display());
            assert!(parsed.findings.iter().all(|finding| finding.shape == shape), "{}", path.display());
        }
    }
}

#[test]
fn the_same_body_in_another_wrapper_has_the_same_content() {
    let mut unwrapped = BTreeSet::new();
    for shape in microsoft::shapes() {
        for path in bodies(&fixtures().join(shape)).iter().filter(|path| path.extension().is_some_and(|e| e == "json"))
        {
            let body: Value = serde_json::from_slice(&fs::read(path).expect("a body")).expect("JSON");
            let plain = parse(body.to_string().as_bytes(), &context()).expect("a known shape");
            let wrapped = parse(json!({"body": body.to_string()}).to_string().as_bytes(), &context());
            let Ok(wrapped) = wrapped else {
                unwrapped.insert(shape);
                continue;
            };
            assert_eq!(plain.findings, wrapped.findings, "{}", path.display());
        }
    }
    assert_eq!(unwrapped, BTreeSet::new(), "what nobody wraps");
}

/// The contents of a body's findings.
fn contents(body: &Value) -> Vec<String> {
    let parsed = parse(body.to_string().as_bytes(), &context()).expect("a known shape");
    parsed.findings.into_iter().map(|finding| finding.content).collect()
}

#[test]
fn an_incident_update_is_new_only_for_new_accounts_and_newer_alerts() {
    let first: Value = serde_json::from_slice(&fixture("incident/one_account.json")).expect("JSON");
    let mut edited = first.clone();
    edited["objectEventType"] = json!("Update");
    edited["eventUniqueId"] = json!("another");
    edited["object"]["etag"] = json!("\"2\"");
    let properties = &mut edited["object"]["properties"];
    properties["owner"] = json!({"assignedTo": "somebody"});
    properties["severity"] = json!("Low");
    properties["lastModifiedTimeUtc"] = json!("2026-11-20T09:59:00Z");
    properties["comments"] = json!([{"message": "looking"}]);
    assert_eq!(contents(&first), contents(&edited));

    let mut account = edited.clone();
    let list = account["object"]["properties"]["relatedEntities"].as_array_mut().expect("a list");
    list.push(json!({"kind": "Account", "properties": {"aadUserId": BOB}}));
    let with_account = contents(&account);
    assert_eq!(with_account[0], contents(&first)[0]);
    assert_eq!(with_account.len(), 2);

    let mut alert = edited;
    let ends = &mut alert["object"]["properties"]["alerts"][0]["properties"]["endTimeUtc"];
    *ends = json!("2026-11-20T09:58:00Z");
    assert_ne!(contents(&alert), contents(&first));
}

#[test]
fn more_than_two_hundred_people_are_held_and_the_rest_goes_on() {
    let alert = |id: usize, people: std::ops::Range<usize>| {
        let entities: Vec<Value> = people
            .map(|n| json!({"Type": "account", "Name": format!("user{n}"), "UPNSuffix": "contoso.example"}))
            .collect();
        json!({"SystemAlertId": id.to_string(), "AlertDisplayName": "Atypical travel", "Entities": entities})
    };
    let body = json!([alert(1, 0..150), alert(2, 100..200), alert(3, 199..201), alert(4, 0..500)]).to_string();
    let parsed = parse(body.as_bytes(), &context()).expect("alerts");
    let held: Vec<&Finding> =
        parsed.findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Held { .. })).collect();
    assert_eq!(parsed.findings.len(), 150 + 100 + 1 + 1);
    assert_eq!(held.iter().map(|finding| finding.refs["alert"].as_str()).collect::<Vec<_>>(), ["3", "4"]);
}

#[test]
fn an_unknown_body_says_what_was_seen() {
    let error = parse(br#"{"result":{"user":"x"},"search_name":"y"}"#, &context()).expect_err("no shape");
    assert_eq!(error.to_string(), "not a shape oust knows; it has the keys result, search_name");
    let error = parse(b"", &context()).expect_err("empty");
    assert!(error.to_string().contains("Run trigger"), "{error}");
}
