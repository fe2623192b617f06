//! The read API, pause, health.

use super::*;

#[tokio::test]
async fn the_read_api_wants_a_live_token_with_the_scope() {
    let house = House::open().await;
    for token in ["", "oust_unknown", "nonsense", BEARER] {
        let answer = house.get("/api/v1/cases", token).await;
        answer.is_problem(401, "not-authenticated");
        assert!(answer.headers.contains_key("www-authenticate"));
    }
    house.get("/api/v1/nothing", "oust_unknown").await.is_problem(401, "not-authenticated");
    let pauser = house.token(&["pause"]).await;
    house.get("/api/v1/cases", &pauser).await.is_problem(403, "forbidden");
    let reader = house.token(&["read"]).await;
    for path in ["cases", "tasks", "buried", "audit", "cases?open=true&limit=10", "tasks?limit=500"] {
        let answer = house.get(&format!("/api/v1/{path}"), &reader).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.json()["items"].is_array(), "{path}: {answer:?}");
    }
    assert_eq!(house.get("/api/v1/overview", &reader).await.json()["figures"]["queue_depth"], 0);
}

#[tokio::test]
async fn wrong_ids_questions_and_methods_of_the_api_are_problems() {
    let house = House::open().await;
    let reader = house.token(&["read"]).await;
    let unknown = "00000000000000000000000000000001";
    for path in ["cases/x", "cases/sig_1", "tasks/../cases", "nothing", &format!("signals/sig_{unknown}")] {
        house.get(&format!("/api/v1/{path}"), &reader).await.is_problem(404, "not-found");
    }
    for question in ["limit=0", "limit=501", "limit=x", "color=red", "object_id=me", "after="] {
        house.get(&format!("/api/v1/cases?{question}"), &reader).await.is_problem(400, "bad-request");
    }
    let post = format!("POST /api/v1/cases HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {reader}\r\n\r\n");
    house.ask(post.as_bytes()).await.is_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn what_was_buried_can_be_read_with_its_content() {
    let house = House::open().await;
    house.post("bearer", br#"{"weather": "rain"}"#).await.is_problem(422, "not-understood");
    let reader = house.token(&["read"]).await;
    let list = house.get("/api/v1/buried", &reader).await.json();
    assert_eq!((list["items"].as_array().map(Vec::len), &list["items"][0]["content"]), (Some(1), &Value::Null));
    let id = list["items"][0]["id"].as_str().expect("an id");
    let one = house.get(&format!("/api/v1/buried/{id}"), &reader).await.json();
    assert_eq!(one["content"], r#"{"weather": "rain"}"#);
}

#[tokio::test]
async fn a_token_may_pause_but_never_resume() {
    let house = House::open().await;
    let (reader, pauser) = (house.token(&["read"]).await, house.token(&["pause"]).await);
    let ask = |method: &str, token: &str, body: &str| {
        format!(
            "{method} /api/v1/pause HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    house.ask(ask("POST", &reader, "").as_bytes()).await.is_problem(403, "forbidden");
    house.ask(ask("POST", &pauser, "{\"why\": 1}").as_bytes()).await.is_problem(400, "not-json");
    assert_eq!(house.get("/api/v1/pause", &reader).await.json(), json!({ "paused": false }));
    let paused = house.ask(ask("POST", &pauser, "{\"reason\": \"a drill\"}").as_bytes()).await;
    assert_eq!((paused.status, &paused.json()["reason"]), (200, &json!("a drill")), "{paused:?}");
    let again = house.ask(ask("POST", &pauser, "{\"reason\": \"another\"}").as_bytes()).await;
    assert_eq!(again.json()["reason"], "a drill", "the first reason stays");
    let resume = house.ask(ask("DELETE", &pauser, "").as_bytes()).await;
    resume.is_problem(403, "forbidden");
    assert!(resume.body.contains("oust resume"), "{resume:?}");
    assert_eq!(house.get("/api/v1/pause", &reader).await.json()["by"], "token:test");
    assert!(house.get("/api/v1/audit", &reader).await.body.contains("\"verb\":\"pause\""));
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_token_and_name_nobody() {
    let house = House::open().await;
    house.post("bearer", &detection("a")).await;
    assert_eq!(house.get("/healthz", "").await.status, 200);
    let ready = house.get("/readyz", "").await;
    assert_eq!((ready.status, &ready.json()["checks"][0]["detail"]), (503, &json!("one is wrong")));
    let metrics = house.get("/metrics", "").await;
    assert_eq!(metrics.status, 200);
    let line = r#"oust_deliveries_total{source="bearer",outcome="accepted"} 1"#;
    assert!(metrics.body.contains(line), "{}", metrics.body);
    assert!(!metrics.body.contains(OID) && !metrics.body.contains("ada@"), "{}", metrics.body);
}
