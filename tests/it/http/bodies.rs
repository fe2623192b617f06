//! Bodies that are wrong: the exact answer, and nothing kept but what is buried.

use super::*;

#[tokio::test]
async fn malformed_json_is_400_and_nothing_is_kept() {
    let house = House::open().await;
    for body in [&b"{\"a\":"[..], b"nonsense", b"\xff\xfe", b"{]", b"{\"a\":1}}"] {
        house.post("bearer", body).await.is_problem(400, "not-json");
    }
    assert_eq!((house.queued().await, house.buried().await.len()), (0, 0));
}

#[tokio::test]
async fn an_empty_body_is_400_and_the_answer_says_where_it_comes_from() {
    let house = House::open().await;
    for body in [&b""[..], b" \r\n"] {
        let answer = house.post("bearer", body).await;
        answer.is_problem(400, "empty-body");
        assert!(answer.body.contains("Run trigger"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_declared_as_json_is_415() {
    let house = House::open().await;
    let auth = format!("Bearer {BEARER}");
    for kind in ["text/plain", "application/xml", "application/json; charset=utf-16"] {
        let headers = [("authorization", auth.as_str()), ("content-type", kind)];
        house.ask(&request("bearer", &headers, &detection("a"))).await.is_problem(415, "unsupported-media-type");
    }
    let packed = [("authorization", auth.as_str()), ("content-encoding", "gzip")];
    house.ask(&request("bearer", &packed, b"x")).await.is_problem(415, "unsupported-media-type");
    assert_eq!(house.queued().await, 0);
}

#[tokio::test]
async fn wrong_types_inside_known_shapes_are_held_or_buried_but_never_acted_on() {
    let house = House::open().await;
    let body = String::from_utf8(detection("a")).expect("text");
    let body = body.replace(&format!("\"{OID}\""), "{\"id\": 7}").replace("ada@contoso.example", "../me");
    let answer = house.post("bearer", body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let claims = house.gate.claim(10).await.expect("claims");
    let outcome = &claims[0].signal.finding.outcome;
    assert!(matches!(outcome, oust::domain::Outcome::Held { .. }), "{outcome:?}");
}

#[tokio::test]
async fn ten_mebibytes_are_413_and_the_sender_can_read_the_answer() {
    let house = House::open().await;
    let body = vec![b' '; 10 * 1024 * 1024];
    house.post("bearer", &body).await.is_problem(413, "too-large");
    assert_eq!(house.queued().await, 0);
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_413_as_well() {
    let house = House::open().await;
    let mut stream = house.connect().await;
    let head = "POST /webhooks/bearer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    for _ in 0..20 {
        stream.write_all(&chunk).await.expect("sent");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("sent");
    answer(&mut stream).await.is_problem(413, "too-large");
}

#[tokio::test]
async fn deep_nesting_is_buried_and_422_and_quick() {
    let house = House::open().await;
    let body = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let began = Instant::now();
    let answer = house.post("bearer", body.as_bytes()).await;
    answer.is_problem(422, "not-understood");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(house.buried().await.len(), 1);
}

#[tokio::test]
async fn an_unknown_shape_is_buried_and_422_with_its_id() {
    let house = House::open().await;
    let answer = house.post("bearer", br#"{"weather": "rain"}"#).await;
    answer.is_problem(422, "not-understood");
    let buried = house.buried().await;
    assert_eq!(answer.json()["buried"], buried[0].id.to_string());
    let kept = house.store.buried(buried[0].id).await.expect("a read").expect("a row");
    assert_eq!(kept.content, json!(r#"{"weather": "rain"}"#));
    assert!(answer.body.contains("weather"), "it says what it saw: {answer:?}");
    assert_eq!(house.queued().await, 0);
}

#[tokio::test]
async fn senders_that_would_be_muted_get_200_for_an_unknown_shape() {
    let house = House::open().await;
    let unknown = br#"{"weather": "rain"}"#;
    let common = br#"{"schemaId": "AzureMonitorMetricAlert", "data": 7}"#;
    let query = house.ask(&request("query?token=query-secret-of-a-test", &[], unknown)).await;
    let lenient = house.post("lenient", unknown).await;
    let alert = house.post("bearer", common).await;
    for answer in [query, lenient, alert] {
        assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(0)), "{answer:?}");
        assert!(answer.json()["ids"][0].as_str().is_some_and(|id| id.starts_with("bur_")), "{answer:?}");
    }
    assert_eq!(house.buried().await.len(), 3);
}
