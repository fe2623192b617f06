//! Faults on demand, `$batch`, and the books kept of it all.

use super::{
    super::{Fault, Plan},
    body, plain,
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::time::Duration;

const REVOKE: &str = "revokeSignInSessions";
const NEVER_MS: u64 = 3_600_000;

fn impatient() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_millis(300)).build().expect("a plain client")
}

#[tokio::test]
async fn a_lost_reply_applies_the_effect_and_cuts_the_connection() {
    let t = plain().await;
    t.twin.fault(Plan::on(REVOKE, Fault::LostReply).times(1));
    let path = format!("/v1.0/users/{}/{REVOKE}", t.ada());
    let lost = t.request(Method::POST, &path).header("client-request-id", "key-7").send().await;
    assert!(lost.is_err_and(|error| !error.is_timeout() && !error.is_connect()));
    let count = t.twin.count(REVOKE, t.ada());
    assert_eq!((count.received, count.applied), (1, 1));
    assert_eq!(t.twin.counters().keys["key-7"].applied, 1);
    assert_eq!(t.revoke(t.ada()).await.status(), 200, "only once");
    let last = t.twin.calls(0, 100).into_iter().find(|call| call.verb == REVOKE).expect("it is logged");
    assert_eq!((last.status, last.effect_applied, last.oid), (0, true, Some(t.ada())));
}

#[tokio::test]
async fn a_dropped_call_has_no_effect() {
    let t = plain().await;
    t.twin.fault(Plan::on(REVOKE, Fault::Drop).method("POST").user(t.ada()).times(1));
    let path = format!("/v1.0/users/{}/{REVOKE}", t.ada());
    let dropped = t.request(Method::POST, &path).body("{}").send().await;
    assert!(dropped.is_err());
    assert_eq!(t.twin.count(REVOKE, t.ada()).applied, 0);
    assert_eq!(t.twin.count(REVOKE, t.ada()).received, 1);
}

#[tokio::test]
async fn a_planned_status_comes_with_or_without_retry_after_and_only_where_planned() {
    let t = plain().await;
    let busy = Fault::Status { status: 429, retry_after: Some(7), code: None, message: None };
    t.twin.fault(Plan::on(REVOKE, busy).user(t.ada()).skip(1).times(1));
    assert_eq!(t.revoke(t.twin.person(1)).await.status(), 200);
    assert_eq!(t.revoke(t.ada()).await.status(), 200, "skipped");
    let refused = t.revoke(t.ada()).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "7");
    assert_eq!(t.revoke(t.ada()).await.status(), 200, "used up");
    t.twin.fault(Plan::on(REVOKE, Fault::status(503)));
    let down = t.revoke(t.ada()).await;
    assert_eq!(down.status(), 503);
    assert_eq!(down.headers().get("retry-after"), None);
    t.twin.clear_faults();
    assert_eq!(t.revoke(t.ada()).await.status(), 200);
    assert_eq!(t.twin.count(REVOKE, t.ada()).applied, 3);
}

#[tokio::test]
async fn a_delayed_call_proceeds_later_a_late_reply_was_applied_before_and_a_hung_one_never_is() {
    let t = plain().await;
    let url = format!("{}/v1.0/users/{}/{REVOKE}", t.base, t.ada());
    let hasty =
        async || impatient().post(&url).bearer_auth(&t.token).send().await.is_err_and(|error| error.is_timeout());
    t.twin.fault(Plan::on(REVOKE, Fault::Delay { ms: NEVER_MS }).times(1));
    assert!(hasty().await);
    assert_eq!(t.twin.count(REVOKE, t.ada()).applied, 0);
    t.twin.fault(Plan::on(REVOKE, Fault::Hang).times(1));
    assert!(hasty().await);
    assert_eq!(t.twin.count(REVOKE, t.ada()).applied, 0);
    t.twin.fault(Plan::on(REVOKE, Fault::LateReply { ms: NEVER_MS }).times(1));
    assert!(hasty().await);
    assert_eq!(t.twin.count(REVOKE, t.ada()).applied, 1);
    t.twin.fault(Plan::on(REVOKE, Fault::Delay { ms: 1 }).times(1));
    assert_eq!(t.revoke(t.ada()).await.status(), 200);
    assert_eq!(t.twin.faults().iter().filter(|state| state.hit == 1).count(), 4);
}

#[tokio::test]
async fn every_nth_call_can_be_hit() {
    let t = plain().await;
    t.twin.fault(Plan { every: Some(3), ..Plan::on(REVOKE, Fault::status(500)) });
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(t.revoke(t.ada()).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 500, 200, 200, 500]);
}

#[tokio::test]
async fn the_control_plane_plans_faults_counts_and_lists_calls() {
    let t = plain().await;
    let plan = json!({"path": REVOKE, "user": t.ada(), "times": 1, "fault": {"kind": "status", "status": 504}});
    assert_eq!(t.control(Method::POST, "/faults", &plan).await.status(), 200);
    assert_eq!(t.revoke(t.ada()).await.status(), 504);
    assert_eq!(t.control(Method::DELETE, "/faults", &json!({})).await.status(), 204);
    assert_eq!(t.revoke(t.ada()).await.status(), 200);
    let counters = body(t.control(Method::GET, "/counters", &json!({})).await).await;
    assert_eq!(counters["objects"][REVOKE][t.ada().to_string()], json!({"received": 2, "applied": 1}));
    let calls = body(t.control(Method::GET, "/calls?since=1", &json!({})).await).await;
    let seen: Vec<&Value> = calls.as_array().into_iter().flatten().map(|call| &call["status"]).collect();
    assert_eq!(seen, [504, 200]);
    assert_eq!(t.control(Method::POST, "/faults", &json!({"fault": {"kind": "quake"}})).await.status(), 400);
    assert_eq!(t.control(Method::PATCH, "/knobs", &json!({"skew_ms": 5_000})).await.status(), 200);
    assert_eq!(t.twin.knobs().skew_ms, 5_000);
    assert_eq!(t.control(Method::PATCH, "/knobs", &json!({"speed": 1})).await.status(), 400);
}

#[tokio::test]
async fn everything_in_the_tenant_can_be_made_over_the_control_plane() {
    let t = plain().await;
    let made =
        body(t.control(Method::POST, "/users", &json!({"upn": "new@contoso.example", "kind": "guest"})).await).await;
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!(t.control(Method::POST, "/users", &json!({"upn": "new@contoso.example"})).await.status(), 409);
    assert_eq!(body(t.control(Method::GET, &format!("/users/{id}"), &json!({})).await).await["kind"], "guest");
    for (path, new) in [
        ("/signins", json!({"user": id, "origin": {"ip": "192.0.2.9"}})),
        ("/detections", json!({"user": id, "kind": "anomalousToken"})),
        ("/alerts", json!({"users": [id], "title": "Impossible travel"})),
        ("/incidents", json!({"users": [id], "entities_after_ms": 5})),
        ("/plant", json!({"user": id, "plant": {"what": "device", "name": "PHONE"}})),
        ("/thieves", json!({"user": id, "password": made["initial_password"], "every_ms": 1000})),
    ] {
        assert_eq!(t.control(Method::POST, path, &new).await.status(), 201, "{path}");
    }
    assert_eq!(t.control(Method::DELETE, &format!("/users/{id}"), &json!({})).await.status(), 204);
    assert_eq!(t.revoke(id.parse().expect("an id")).await.status(), 404);
}

#[tokio::test]
async fn a_batch_answers_each_item_by_itself_and_in_any_order() {
    let t = plain().await;
    t.twin.fault(
        Plan::on(REVOKE, Fault::Status { status: 429, retry_after: Some(3), code: None, message: None })
            .user(t.twin.person(1)),
    );
    let item = |name: &str, path: String, key: &str| json!({"id": name, "method": "POST", "url": path, "headers": {"client-request-id": key}});
    let requests = json!({"requests": [
        item("1", format!("/users/{}/{REVOKE}", t.ada()), "a"),
        item("2", format!("/users/{}/{REVOKE}", t.twin.person(1)), "b"),
        {"id": "3", "method": "PATCH", "url": format!("users/{}", t.ada()), "body": {"accountEnabled": false}},
        {"id": "4", "method": "PATCH", "url": format!("users/{}", t.ada()), "body": {"accountEnabled": false},
            "headers": {"Content-Type": "application/json"}, "dependsOn": ["2"]},
        {"id": "5", "method": "GET", "url": format!("/users/{}?$select=id", t.ada())},
    ]});
    let answer = t.send(Method::POST, "/v1.0/$batch", &requests).await;
    assert_eq!(answer.status(), 200);
    let answer = body(answer).await;
    let of = |name: &str| {
        answer["responses"].as_array().into_iter().flatten().find(|it| it["id"] == name).cloned().expect(name)
    };
    assert_eq!(of("1")["body"]["value"], true);
    assert_eq!(of("2")["status"], 429);
    assert_eq!(of("2")["headers"]["Retry-After"], "3");
    assert_eq!(of("3")["status"], 400, "a body without its content type");
    assert_eq!(of("4")["status"], 424, "its dependency failed");
    assert_eq!(of("5")["body"]["id"], json!(t.ada()));
    assert_eq!(t.twin.counters().keys["a"].applied, 1);
    assert_eq!(t.twin.counters().keys["b"].applied, 0);
    assert!(t.twin.user(t.ada()).expect("ada exists").enabled);
}

#[tokio::test]
async fn a_batch_that_is_too_long_or_names_two_alike_is_refused_as_a_whole() {
    let t = plain().await;
    let get = |name: String| json!({"id": name, "method": "GET", "url": "/users"});
    let long: Vec<Value> = (0..21).map(|at| get(at.to_string())).collect();
    let twins = vec![get("a".to_owned()), get("A".to_owned())];
    let absolute = vec![json!({"id": "1", "method": "GET", "url": "https://elsewhere.example/users"})];
    for bad in [long, twins, absolute, vec![]] {
        assert_eq!(t.send(Method::POST, "/v1.0/$batch", &json!({"requests": bad})).await.status(), 400);
    }
    let nested = json!({"requests": [{"id": "1", "method": "POST", "url": "/$batch", "body": {}}]});
    let answer = body(t.send(Method::POST, "/v1.0/$batch", &nested).await).await;
    assert_eq!(answer["responses"][0]["status"], 400);
}

#[tokio::test]
async fn a_lost_reply_to_one_item_loses_the_whole_batch_and_keeps_its_effect() {
    let t = plain().await;
    t.twin.fault(Plan::on(REVOKE, Fault::LostReply).times(1));
    let requests = json!({"requests": [{"id": "1", "method": "POST", "url": format!("/users/{}/{REVOKE}", t.ada())}]});
    let lost = t.request(Method::POST, "/v1.0/$batch").json(&requests).send().await;
    assert!(lost.is_err());
    assert_eq!(t.twin.count(REVOKE, t.ada()).applied, 1);
}

#[tokio::test]
async fn the_call_log_is_bounded_and_also_written_to_a_file() {
    let t = super::tenant(super::Config { call_log: 2, ..super::config() }).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("calls.jsonl");
    t.twin.log_calls_to(&file).expect("the file is made");
    for _ in 0..3 {
        t.revoke(t.ada()).await;
    }
    let kept: Vec<u64> = t.twin.calls(0, 10).iter().map(|call| call.seq).collect();
    assert_eq!(kept, [3, 4]);
    let written = std::fs::read_to_string(&file).expect("the file is there");
    assert_eq!(written.lines().count(), 3);
    assert!(!written.contains("Bearer") && !written.contains(&t.token));
    assert!(t.twin.log_calls_to(&folder.path().join("no/such/folder")).is_err());
}

#[tokio::test]
async fn a_batch_is_a_call_of_its_own_that_can_fail_as_a_whole() {
    let t = plain().await;
    t.twin.fault(Plan::on("$batch", Fault::status(503)).times(1));
    let requests = json!({"requests": [{"id": "1", "method": "POST", "url": format!("/users/{}/{REVOKE}", t.ada())}]});
    assert_eq!(t.send(Method::POST, "/v1.0/$batch", &requests).await.status(), 503);
    assert_eq!(t.twin.count(REVOKE, t.ada()).received, 0);
    assert_eq!(t.send(Method::POST, "/v1.0/$batch", &requests).await.status(), 200);
    assert_eq!(t.twin.counters().verb("batch").received, 2);
    assert_eq!(t.twin.counters().verb(REVOKE).applied, 1);
    let calls = t.twin.calls(0, 10);
    assert!(calls.iter().any(|call| call.verb == REVOKE && call.batched));
}
