//! Senders that are wrong, too fast, or repeat themselves.

use super::*;

#[tokio::test]
async fn a_wrong_signature_is_401_and_nothing_is_kept() {
    let house = House::open().await;
    let body = detection("a");
    let mut headers = signed("msg_1", Timestamp::now(), &body);
    headers[2].1 = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    house.ask(&request("signed", &headers, &body)).await.is_problem(401, "not-authenticated");
    house.ask(&request("signed", &[], &body)).await.is_problem(401, "not-authenticated");
    house
        .ask(&request("bearer", &[("authorization", "Bearer nope")], &body))
        .await
        .is_problem(401, "not-authenticated");
    house.ask(&request("query?token=nope", &[], &body)).await.is_problem(401, "not-authenticated");
    assert_eq!((house.queued().await, house.buried().await.len()), (0, 0));
    let refusals = house.state.take_refusals();
    assert_eq!(refusals[&("signed".to_owned(), "bad_signature")], 1, "{refusals:?}");
    assert_eq!(refusals[&("signed".to_owned(), "missing")], 1, "{refusals:?}");
    assert!(house.state.take_refusals().is_empty());
}

#[tokio::test]
async fn a_stale_or_future_timestamp_is_401_and_says_so() {
    let house = House::open().await;
    let body = detection("a");
    for (at, word) in [
        (Timestamp::now() - SignedDuration::from_mins(6), "older"),
        (Timestamp::now() + SignedDuration::from_mins(6), "future"),
    ] {
        let answer = send_signed(&house, "msg_1", at, &body).await;
        answer.is_problem(401, "not-authenticated");
        assert!(answer.body.contains(word), "{answer:?}");
    }
    assert_eq!(house.queued().await, 0);
}

#[tokio::test]
async fn a_peer_outside_the_networks_is_401_even_with_the_secret() {
    let house = House::open().await;
    house.post("elsewhere", &detection("a")).await.is_problem(401, "not-authenticated");
    assert_eq!(house.queued().await, 0);
}

#[tokio::test]
async fn a_repeated_webhook_id_with_the_same_body_gets_the_same_ids_and_starts_nothing() {
    let house = House::open().await;
    let body = detection("a");
    let first = send_signed(&house, "msg_1", Timestamp::now(), &body).await;
    let again = send_signed(&house, "msg_1", Timestamp::now(), &body).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.json(), again.json());
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn a_repeated_webhook_id_with_another_body_is_a_new_delivery() {
    let house = House::open().await;
    let first = send_signed(&house, "msg_1", Timestamp::now(), &detection("a")).await;
    let other = send_signed(&house, "msg_1", Timestamp::now(), &detection("b")).await;
    assert_eq!((first.status, other.status), (200, 200));
    assert_ne!(first.json()["ids"], other.json()["ids"]);
    assert_eq!(house.queued().await, 2);
}

#[tokio::test]
async fn a_repeated_unknown_shape_is_buried_once_and_answered_alike() {
    let house = House::open().await;
    let body = br#"{"weather": "rain"}"#;
    let first = send_signed(&house, "msg_1", Timestamp::now(), body).await;
    let again = send_signed(&house, "msg_1", Timestamp::now(), body).await;
    again.is_problem(422, "not-understood");
    assert_eq!(first.json()["buried"], again.json()["buried"]);
    assert_eq!(house.buried().await.len(), 1);
}

#[tokio::test]
async fn an_unknown_source_and_an_unknown_path_are_404_problems() {
    let house = House::open().await;
    house.post("nobody", &detection("a")).await.is_problem(404, "not-found");
    house.post("bearer/lifecycle", &detection("a")).await.is_problem(404, "not-found");
    house.post("%2e%2e/x/y", b"{}").await.is_problem(404, "not-found");
    house.get("/nothing", "").await.is_problem(404, "not-found");
    assert!(house.state.take_refusals().keys().all(|(source, _)| ["unknown", "bearer"].contains(&source.as_str())));
}

#[tokio::test]
async fn get_changes_nothing_and_is_405_on_webhooks() {
    let house = House::open().await;
    let answer = house.get("/webhooks/bearer", BEARER).await;
    answer.is_problem(405, "method-not-allowed");
    assert_eq!(answer.headers["allow"], "POST");
}

#[tokio::test]
async fn over_the_rate_is_429_with_a_time_and_only_authenticated_senders_use_it_up() {
    let house = House::open().await;
    for _ in 0..3 {
        house.ask(&request("slow", &[], &detection("a"))).await.is_problem(401, "not-authenticated");
    }
    assert_eq!(house.post("slow", &detection("a")).await.status, 200);
    let refused = house.post("slow", &detection("b")).await;
    refused.is_problem(429, "too-fast");
    let wait: u64 = refused.headers["retry-after"].parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(house.queued().await, 1);
}
