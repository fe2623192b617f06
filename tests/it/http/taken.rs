//! What is answered 2xx, and is there afterwards.

use super::*;

#[tokio::test]
async fn a_delivery_that_is_answered_200_is_durable_and_names_its_signals() {
    let house = House::open().await;
    let answer = house.post("bearer", &detection("a")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["accepted"], &body["covered"]), (&json!(1), &json!(0)));
    assert_eq!(body["ignored"], json!([]));
    assert!(body["ids"][0].as_str().is_some_and(|id| id.starts_with("sig_")), "{body}");
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body_is_sent() {
    let house = House::open().await;
    let body = detection("a");
    let auth = format!("Bearer {BEARER}");
    let whole = request("bearer", &[("authorization", &auth), ("expect", "100-continue")], &body);
    let (head, rest) = whole.split_at(whole.len() - body.len());
    let mut stream = house.connect().await;
    stream.write_all(head).await.expect("sent");
    assert_eq!(answer(&mut stream).await.status, 100);
    stream.write_all(rest).await.expect("sent");
    assert_eq!(answer(&mut stream).await.status, 200);
}

#[tokio::test]
async fn a_declared_body_over_the_limit_is_refused_before_it_is_sent() {
    let house = House::open().await;
    let mut stream = house.connect().await;
    let head = "POST /webhooks/bearer HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    answer(&mut stream).await.is_problem(413, "too-large");
}

#[tokio::test]
async fn http2_without_tls_is_served_to_clients_that_know() {
    let house = House::open().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let url = format!("http://{}/webhooks/bearer", house.address);
    let sent = client.post(url).bearer_auth(BEARER).header("content-type", "application/json").body(detection("a"));
    let answer = sent.send().await.expect("answered");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn a_mapped_body_is_read_by_its_expressions() {
    let house = House::open().await;
    let body = json!({ "who": OID, "at": "2026-11-22T10:00:00Z" }).to_string();
    let answer = house.post("mapped", body.as_bytes()).await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(1)), "{answer:?}");
}

#[tokio::test]
async fn news_that_starts_nothing_is_answered_with_its_reason() {
    let house = House::open().await;
    let body = String::from_utf8(detection("a")).expect("text").replace("atRisk", "dismissed");
    let answer = house.post("bearer", body.as_bytes()).await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(0)), "{answer:?}");
    assert!(answer.json()["ignored"][0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{answer:?}");
    assert_eq!(house.queued().await, 0);
}

/// Whoever is asked to decide about somebody must hear that the risk was closed, wherever it was told.
#[tokio::test]
async fn that_somebodys_risk_was_dismissed_starts_nothing_and_reaches_the_workers_all_the_same() {
    let house = House::open().await;
    for (state, taken) in [("remediated", 0), ("dismissed", 1), ("confirmedSafe", 2)] {
        let body = json!({
            "@odata.type": "#microsoft.graph.riskyUser", "id": OID, "isDeleted": false, "isProcessing": false,
            "riskLevel": "none", "riskState": state, "riskDetail": "none", "userPrincipalName": "ada@contoso.example",
            "riskLastUpdatedDateTime": Timestamp::now().to_string(),
        });
        let answer = house.post("bearer", body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.json();
        assert!(told["ignored"][0]["reason"].as_str().is_some_and(|reason| reason.contains(state)), "{told}");
        assert_eq!((&told["accepted"], &told["covered"]), (&json!(u8::from(taken > 0)), &json!(0)), "{told}");
        assert_eq!(house.queued().await, taken, "{state}");
    }
}
