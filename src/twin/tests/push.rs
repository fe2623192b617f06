//! Subscriptions: the handshake, the notifications, and what is never pushed.

use super::{
    super::{Knobs, NewAlert, NewDetection},
    Tenant, body, plain, soon,
};
use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use jiff::ToSpan as _;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio::{net::TcpListener, sync::mpsc};

/// A receiver that echoes validation tokens and hands on what else it gets.
async fn receiver(tenant: &Tenant, echo: bool) -> (String, mpsc::UnboundedReceiver<Value>) {
    let (sender, inbox) = mpsc::unbounded_channel();
    let handler = move |State(sender): State<mpsc::UnboundedSender<Value>>,
                        Query(query): Query<HashMap<String, String>>,
                        body: String| async move {
        match query.get("validationToken") {
            Some(token) if echo => ([(header::CONTENT_TYPE, "text/plain")], token.clone()).into_response(),
            Some(_) => "something else".into_response(),
            None => {
                // Nobody listens any more when the test is over.
                let _ = sender.send(serde_json::from_str(&body).unwrap_or(Value::Null));
                StatusCode::ACCEPTED.into_response()
            }
        }
    };
    let router = Router::new().route("/hook", post(handler)).with_state(sender);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let stop = tenant.stop.clone();
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    tenant.twin.0.tasks.spawn(async move { serving.await });
    (format!("http://{address}/hook?code=1"), inbox)
}

fn subscription(t: &Tenant, url: &str, resource: &str) -> Value {
    let until = t.twin.now().checked_add(100.hours()).expect("a time");
    json!({"changeType": "created,updated", "notificationUrl": url, "lifecycleNotificationUrl": url,
        "resource": resource, "expirationDateTime": until.to_string(), "clientState": "s3cret"})
}

#[tokio::test]
async fn a_subscription_is_made_after_a_handshake_and_carries_its_client_state() {
    let t = plain().await;
    let (url, mut inbox) = receiver(&t, true).await;
    let wanted = subscription(&t, &url, "security/alerts?$filter=vendorInformation/provider eq 'IPC'");
    let made = t.send(Method::POST, "/v1.0/subscriptions", &wanted).await;
    assert_eq!(made.status(), 201);
    let id = body(made).await["id"].as_str().expect("an id").to_owned();
    let alert = t.twin.add_alert(&NewAlert { users: vec![t.ada()], ..NewAlert::default() });
    let note = soon(inbox.recv()).await.expect("a notification")["value"][0].clone();
    assert_eq!(note["clientState"], "s3cret");
    assert_eq!(note["resource"], json!(format!("security/alerts/{alert}")));
    assert_eq!(note["subscriptionId"], json!(id));
    t.twin.lifecycle(id.parse().expect("an id"), "reauthorizationRequired").expect("it exists");
    let life = soon(inbox.recv()).await.expect("a lifecycle event")["value"][0].clone();
    assert_eq!(life["lifecycleEvent"], "reauthorizationRequired");
    assert_eq!(life.get("resource"), None);
    soon(t.twin.settled()).await;
    let report = body(t.control(Method::GET, "/subscriptions", &json!({})).await).await;
    assert_eq!(report[0]["delivered"], 2);
}

#[tokio::test]
async fn a_subscription_is_listed_without_its_secret_renewed_reauthorized_and_deleted() {
    let t = plain().await;
    let (url, _inbox) = receiver(&t, true).await;
    let made = body(t.send(Method::POST, "/v1.0/subscriptions", &subscription(&t, &url, "users")).await).await;
    let path = format!("/v1.0/subscriptions/{}", made["id"].as_str().expect("an id"));
    let listed = body(t.get("/v1.0/subscriptions").await).await;
    assert_eq!(listed["value"][0]["id"], made["id"]);
    assert_eq!(listed["value"][0]["clientState"], json!(null));
    let until = t.twin.now().checked_add(200.hours()).expect("a time").to_string();
    let renewed = t.send(Method::PATCH, &path, &json!({"expirationDateTime": until})).await;
    assert_eq!(renewed.status(), 200);
    assert_eq!(t.send(Method::POST, &format!("{path}/reauthorize"), &json!({})).await.status(), 204);
    t.twin.set_knobs(Knobs { skew_ms: 201 * 3_600_000, ..t.twin.knobs() });
    let mut late = t;
    let token = body(late.app_token(&late.twin.0.config.client_id, "twin-secret").await).await;
    late.token = token["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(late.get(&path).await.status(), 404, "expired");
    assert_eq!(late.send(Method::DELETE, &path, &json!({})).await.status(), 204);
    assert_eq!(late.send(Method::DELETE, &path, &json!({})).await.status(), 404);
}

#[tokio::test]
async fn a_receiver_that_does_not_echo_gets_no_subscription() {
    let t = plain().await;
    let (url, _inbox) = receiver(&t, false).await;
    assert_eq!(t.send(Method::POST, "/v1.0/subscriptions", &subscription(&t, &url, "users")).await.status(), 400);
    assert_eq!(body(t.get("/v1.0/subscriptions").await).await["value"], json!([]));
}

#[tokio::test]
async fn bad_subscriptions_and_other_machines_are_refused() {
    let t = plain().await;
    let (url, _inbox) = receiver(&t, true).await;
    let good = subscription(&t, &url, "users");
    let with = |name: &str, value: Value| {
        let mut bad = good.clone();
        bad[name] = value;
        bad
    };
    for bad in [
        with("notificationUrl", json!("http://198.51.100.7/hook")),
        with("notificationUrl", json!("nonsense")),
        with("clientState", json!("x".repeat(129))),
        with("expirationDateTime", json!("2020-01-01T00:00:00Z")),
        with("expirationDateTime", json!("soon")),
        with("resource", json!("me/messages")),
        with("changeType", json!(null)),
    ] {
        assert_eq!(t.send(Method::POST, "/v1.0/subscriptions", &bad).await.status(), 400, "{bad}");
    }
}

#[tokio::test]
async fn identity_risk_is_pushed_only_by_a_tenant_that_pretends_to() {
    let t = plain().await;
    let (url, mut inbox) = receiver(&t, true).await;
    let wanted = subscription(&t, &url, "identityProtection/riskDetections");
    assert_eq!(t.send(Method::POST, "/v1.0/subscriptions", &wanted).await.status(), 400);
    t.twin.set_knobs(Knobs { push_risk: true, ..t.twin.knobs() });
    assert_eq!(t.send(Method::POST, "/v1.0/subscriptions", &wanted).await.status(), 201);
    let id = t.twin.add_detection(&NewDetection { user: t.ada(), ..NewDetection::default() }).expect("ada exists");
    let note = soon(inbox.recv()).await.expect("a notification");
    assert_eq!(note["value"][0]["resourceData"]["id"], json!(id));
}
