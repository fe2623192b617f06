//! Graph change notifications.

use super::*;

#[tokio::test]
async fn the_handshake_of_graph_is_answered_in_plain_text() {
    let house = House::open().await;
    let answer =
        house.ask(&request("graph?validationToken=Validation%3A+a%26b", &[("content-type", "text/plain")], b"")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "Validation: a&b"));
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let lifecycle = house.ask(&request("graph/lifecycle?validationToken=x", &[], b"")).await;
    assert_eq!((lifecycle.status, lifecycle.body.as_str()), (200, "x"));
    let hostile = format!("graph?validationToken={}", "x".repeat(5_000));
    house.ask(&request(&hostile, &[], b"")).await.is_problem(400, "bad-request");
    house.ask(&request("bearer?validationToken=x", &[], b"{}")).await.is_problem(401, "not-authenticated");
}

fn notification(client_state: &str) -> Vec<u8> {
    json!({ "value": [{
        "subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07", "clientState": client_state,
        "changeType": "updated", "resource": "security/alerts_v2/da637551227677560813",
        "tenantId": "11111111-2222-3333-4444-555555555555",
    }] })
    .to_string()
    .into_bytes()
}

#[tokio::test]
async fn a_notification_with_the_client_state_is_202_and_queued() {
    let house = House::open().await;
    let answer = house.ask(&request("graph", &[], &notification("client-state-of-a-test"))).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn a_notification_with_a_wrong_client_state_is_202_dropped_and_counted() {
    let house = House::open().await;
    let answer = house.ask(&request("graph", &[], &notification("guessed"))).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    assert_eq!(house.queued().await, 0);
    assert_eq!(house.state.take_refusals()[&("graph".to_owned(), "client_state")], 1);
    house.ask(&request("graph", &[], b"nonsense")).await.is_problem(400, "not-json");
    house.ask(&request("graph", &[], b"{\"a\": 1}")).await.is_problem(400, "bad-request");
    house.gate.full.store(true, Ordering::SeqCst);
    let refused = house.ask(&request("graph", &[], &notification("client-state-of-a-test"))).await;
    refused.is_problem(503, "not-durable");
}
