//! Microsoft Graph change notifications.

use oust::domain::signal::{Collection, Lookup};
use oust::domain::{Finding, Outcome};
use oust::sources::Error;
use oust::sources::auth::ClientState;
use oust::sources::graph_notifications::{Dropped, Lifecycle, LifecycleEvent, Notifications, Trust, parse};
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ADA, TENANT, context};

const SUBSCRIPTION: &str = "76619225-ff6b-4489-96ca-4ef547e78b22";

fn item(extra: Value) -> Value {
    let mut item = json!({"subscriptionId": SUBSCRIPTION, "subscriptionExpirationDateTime": "2026-12-10T11:00:00Z",
        "tenantId": TENANT, "clientState": "s3cret", "changeType": "updated"});
    let map = item.as_object_mut().expect("an object");
    map.extend(extra.as_object().expect("an object").clone());
    map.retain(|_, value| !value.is_null());
    item
}

fn read(items: &[Value]) -> Notifications {
    let states = ClientState::of(&[SecretString::from("s3cret")]);
    let body = json!({ "value": items }).to_string();
    parse(body.as_bytes(), &Trust { client_state: &states, own: None }, &context()).expect("notifications")
}

fn outcomes(findings: &[Finding]) -> Vec<Outcome> {
    findings.iter().map(|finding| finding.outcome.clone()).collect()
}

#[test]
fn a_notification_is_a_question_and_a_lifecycle_item_a_duty() {
    let notifications = read(&[
        item(json!({"id": "lsg1", "resource": "security/alerts/9a7e", "resourceData": {"id": "9a7e"}})),
        item(json!({"resource": format!("users/{ADA}")})),
        item(json!({"changeType": null, "lifecycleEvent": "reauthorizationRequired"})),
        item(json!({"changeType": null, "lifecycleEvent": "somethingNew"})),
    ]);
    assert_eq!(
        outcomes(&notifications.findings),
        [
            Outcome::Lookup { what: Lookup::GraphObject { collection: Collection::Alerts, id: "9a7e".to_owned() } },
            Outcome::Lookup { what: Lookup::RiskOf { user: ADA.parse().expect("an id") } },
        ]
    );
    let subscription_id: Uuid = SUBSCRIPTION.parse().expect("an id");
    assert_eq!(
        notifications.lifecycle,
        [
            Lifecycle { subscription_id, event: LifecycleEvent::ReauthorizationRequired },
            Lifecycle { subscription_id, event: LifecycleEvent::Other("somethingNew".to_owned()) },
        ]
    );
    assert_eq!(notifications.dropped, Dropped::default());
}

#[test]
fn a_wrong_client_state_is_dropped_and_counted() {
    let notifications = read(&[
        item(json!({"resource": "security/alerts/1", "clientState": "wrong"})),
        item(json!({"resource": "security/alerts/1", "clientState": null})),
        item(json!({"lifecycleEvent": "missed", "clientState": ""})),
        item(json!({"resource": "security/alerts/1", "subscriptionId": "no-guid"})),
        json!("nothing"),
    ]);
    assert_eq!(notifications.findings, []);
    assert_eq!(notifications.lifecycle, []);
    assert_eq!(notifications.dropped, Dropped { wrong_client_state: 4, malformed: 1, other_tenant: 0 });
}

#[test]
fn a_subscription_of_our_own_is_believed_by_its_own_state_only() {
    let states = ClientState::of(&[SecretString::from("s3cret")]);
    let own = |id: Uuid| (id.to_string() == SUBSCRIPTION).then(|| SecretString::from("its-own"));
    let trust = Trust { client_state: &states, own: Some(&own) };
    let body = json!({"value": [item(json!({"resource": "security/alerts/1"})),
        item(json!({"resource": "security/alerts/2", "clientState": "its-own"}))]});
    let notifications = parse(body.to_string().as_bytes(), &trust, &context()).expect("notifications");
    assert_eq!(notifications.findings.len(), 1);
    assert_eq!(notifications.dropped.wrong_client_state, 1);
}

#[test]
fn another_tenant_and_ids_that_are_none_are_held() {
    let other = "99999999-2222-3333-4444-555555555555";
    let notifications = read(&[
        item(json!({"resource": "security/alerts/1", "tenantId": other})),
        item(json!({"resource": "security/alerts/1", "tenantId": null})),
        item(json!({"resource": "users/../me"})),
        item(json!({"resource": "security/alerts/1", "changeType": "deleted"})),
        item(json!({"resource": "groups/1/members"})),
        item(json!({"lifecycleEvent": "missed", "tenantId": other})),
    ]);
    let words: Vec<&str> = notifications
        .findings
        .iter()
        .map(|finding| match &finding.outcome {
            Outcome::Held { .. } => "held",
            Outcome::Ignored { .. } => "ignored",
            _ => "neither",
        })
        .collect();
    assert_eq!(words, ["held", "held", "held", "ignored", "ignored"]);
    assert_eq!(notifications.dropped.other_tenant, 1);
}

#[test]
fn a_repeated_change_has_the_same_content_and_another_version_does_not() {
    let at = |etag: &str, id: &str| {
        item(json!({"id": id, "resource": "security/alerts/1", "resourceData": {"@odata.etag": etag}}))
    };
    let findings = read(&[at("W/1", "a"), at("W/1", "b"), at("W/2", "c")]).findings;
    assert_eq!(findings[0].content, findings[1].content);
    assert_ne!(findings[0].content, findings[2].content);
}

#[test]
fn another_body_is_pointed_to_its_own_kind() {
    let states = ClientState::of(&[]);
    let trust = Trust { client_state: &states, own: None };
    let error = parse(br#"{"schemaId":"x"}"#, &trust, &context()).expect_err("no collection");
    assert!(matches!(error, Error::Unknown { .. }) && error.to_string().contains("kind: microsoft"), "{error}");
    assert!(matches!(parse(b"", &trust, &context()), Err(Error::Empty)));
}
