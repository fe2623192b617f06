//! Any JSON, by expressions.

use oust::domain::{Kind, Outcome, Risk};
use oust::sources::mapped::{Config, ConfigError, Map, Mapping};
use oust::sources::{Error, Parsed};
use serde_json::{Value, json};

use super::{ADA, context, picture};

fn mapping(map: Value, each: Option<&str>) -> Result<Mapping, Vec<ConfigError>> {
    let map: Map = serde_json::from_value(map).expect("a map");
    Mapping::compile(&Config { map, each: each.map(str::to_owned) })
}

fn read(map: Value, each: Option<&str>, body: &Value) -> Result<Parsed, Error> {
    mapping(map, each).expect("a mapping").parse(body.to_string().as_bytes(), &context())
}

fn splunk() -> Value {
    json!({"kind": "\"impossible_travel\"", "upn": "body.result.user", "activity_at": "body.result._time", "risk": "\"high\"",
        "ip": "body.result.src", "title": "body.search_name"})
}

#[test]
fn a_search_result_becomes_a_finding() {
    let body = json!({"search_name": "Travel", "result": {"user": "Ada@contoso.example", "_time": "1763626361", "src": "203.0.113.77"}});
    let parsed = read(splunk(), None, &body).expect("a finding");
    let finding = &parsed.findings[0];
    assert_eq!((finding.kind, finding.risk, finding.title.as_str()), (Kind::ImpossibleTravel, Risk::High, "Travel"));
    assert_eq!(picture(finding)["activity_at"], "2025-11-20T08:12:41Z");
    assert_eq!(picture(finding)["outcome"], "lookup");
    assert_eq!(finding.evidence.ips, ["203.0.113.77"]);
}

#[test]
fn a_list_gives_one_finding_each() {
    let map = json!({"kind": "item.type", "object_id": "item.oid", "id": "item.id", "detected_at": "body.sent"});
    let body = json!({"sent": "2026-11-20T09:00:00Z", "results": [{"type": "anomalousToken", "oid": ADA, "id": 7},
        {"type": "anomalousToken", "oid": "../me", "id": 8}]});
    let parsed = read(map.clone(), Some("body.results"), &body).expect("findings");
    assert_eq!(parsed.findings.len(), 2);
    assert_eq!(parsed.findings[0].outcome, Outcome::Act);
    assert!(matches!(parsed.findings[1].outcome, Outcome::Held { .. }));
    assert!(matches!(read(map.clone(), Some("body.results"), &json!({"results": 1})), Err(Error::Unknown { .. })));
    let many: Vec<u8> = vec![0; 1_001];
    assert!(matches!(read(map, Some("body.results"), &json!({"results": many})), Err(Error::TooMany)));
}

#[test]
fn missing_data_is_held_with_the_key_and_what_happened() {
    for (map, body, said) in [
        (splunk(), json!({"result": {}}), "upn: No such key: user"),
        (json!({"kind": "body.k", "upn": "body.u"}), json!({"u": "ada@contoso.example"}), "kind: No such key: k"),
        (json!({"kind": "body.k", "upn": "body.u"}), json!({"k": "teleport", "u": "ada@contoso.example"}), "teleport"),
        (
            json!({"kind": "body.k", "upn": "body.u"}),
            json!({"k": null, "u": "ada@contoso.example"}),
            "kind: yields null",
        ),
        (
            json!({"kind": "body.k", "upn": "body.u"}),
            json!({"k": "generic", "u": ["x"]}),
            "upn: yields a list of a text",
        ),
        (json!({"kind": "body.k", "upn": "body.u"}), json!({"k": "generic", "u": "a/b@c"}), "no identifier"),
    ] {
        let parsed = read(map, None, &body).expect("a finding");
        let Outcome::Held { reason } = &parsed.findings[0].outcome else { panic!("{:?}", parsed.findings[0]) };
        assert!(reason.contains(said), "{reason:?} does not say {said:?}");
    }
}

#[test]
fn a_missing_time_or_address_does_not_stop_a_finding() {
    let parsed =
        read(splunk(), None, &json!({"result": {"user": "ada@contoso.example", "_time": "soon"}})).expect("a finding");
    let finding = &parsed.findings[0];
    assert!(matches!(finding.outcome, Outcome::Lookup { .. }));
    assert_eq!(finding.activity_at, None);
    assert_eq!(finding.evidence.other["mapping of activity_at"], "yields no time");
}

#[test]
fn mistakes_in_expressions_are_reported_together() {
    let deep = format!("{}body.x{}", "(".repeat(33), ")".repeat(33));
    let long = format!("body.x == \"{}\"", "x".repeat(4_096));
    let map = json!({"kind": "impossible_travel", "upn": "body.", "risk": deep, "title": long});
    let mistakes = mapping(map, None).expect_err("mistakes");
    let text = mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(mistakes.len(), 4, "{text}");
    for said in ["kind: knows no variable but body", "upn: ", "risk: nested deeper", "title: longer than"] {
        assert!(text.contains(said), "{text}");
    }
    assert_eq!(mapping(json!({"kind": "\"generic\""}), None).expect_err("nobody"), [ConfigError::NoPerson]);
    assert!(serde_json::from_value::<Map>(json!({"kind": "x", "user": "y"})).is_err());
}
