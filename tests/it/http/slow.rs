//! Slow peers, full stores, busy hands, and the end.

use super::*;

#[tokio::test]
async fn headers_that_do_not_come_end_the_connection() {
    let house =
        House::with(Limits { header_timeout: Duration::from_millis(300), ..limits() }, Options::default()).await;
    for start in [&b""[..], b"POST /webhooks/be", b"PRI * HT"] {
        let mut stream = house.connect().await;
        stream.write_all(start).await.expect("sent");
        let began = Instant::now();
        assert!(read(&mut stream).await.is_none_or(|answer| answer.status == 408), "{start:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{start:?}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let house = House::with(Limits { body_timeout: Duration::from_millis(300), ..limits() }, Options::default()).await;
    let mut stream = house.connect().await;
    let head = "POST /webhooks/bearer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"a\":";
    stream.write_all(head.as_bytes()).await.expect("sent");
    answer(&mut stream).await.is_problem(408, "too-slow");
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing_behind() {
    let house = House::open().await;
    let body = detection("a");
    let whole = request("bearer", &[("authorization", &format!("Bearer {BEARER}"))], &body);
    let mut stream = house.connect().await;
    stream.write_all(&whole[..whole.len() - 10]).await.expect("sent");
    drop(stream);
    assert_eq!(house.post("bearer", &detection("b")).await.status, 200);
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn with_all_hands_busy_a_delivery_is_503_with_a_time_and_health_still_answers() {
    let house = House::with(Limits { concurrency: 1, ..limits() }, Options::default()).await;
    house.gate.shut.store(true, Ordering::SeqCst);
    let mut first = house.connect().await;
    let auth = format!("Bearer {BEARER}");
    first.write_all(&request("bearer", &[("authorization", &auth)], &detection("a"))).await.expect("sent");
    house.gate.waiting.notified().await;
    let refused = house.post("bearer", &detection("b")).await;
    refused.is_problem(503, "busy");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(house.get("/healthz", "").await.status, 200);
    house.gate.shut.store(false, Ordering::SeqCst);
    house.gate.opened.notify_one();
    assert_eq!(answer(&mut first).await.status, 200);
    assert_eq!(house.post("bearer", &detection("b")).await.status, 200);
}

#[tokio::test]
async fn a_store_that_does_not_answer_in_time_is_503_and_promises_nothing() {
    let limits = Limits { accept_timeout: Duration::from_millis(200), ..limits() };
    let house = House::with(limits, Options::default()).await;
    house.gate.shut.store(true, Ordering::SeqCst);
    let refused = house.post("bearer", &detection("a")).await;
    refused.is_problem(503, "not-durable");
    assert_eq!(refused.headers["retry-after"], "5");
}

#[tokio::test]
async fn what_is_not_durable_is_503_and_the_same_delivery_is_taken_later() {
    let house = House::open().await;
    house.gate.full.store(true, Ordering::SeqCst);
    let body = detection("a");
    let refused = send_signed(&house, "msg_1", Timestamp::now(), &body).await;
    refused.is_problem(503, "not-durable");
    assert_eq!(refused.headers["retry-after"], "5");
    assert!(!refused.body.contains("disk full"), "5xx say nothing but the request's id");
    assert_eq!(house.queued().await, 0);
    house.gate.full.store(false, Ordering::SeqCst);
    assert_eq!(send_signed(&house, "msg_1", Timestamp::now(), &body).await.status, 200);
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn a_full_disk_is_503_and_exactly_what_was_answered_200_is_there() {
    let house = House::with(limits(), Options { max_pages: Some(160), ..Options::default() }).await;
    let (mut taken, mut refused) = (0, 0);
    for number in 0..400 {
        let mut body: Value = serde_json::from_slice(&detection(&number.to_string())).expect("JSON");
        body["additionalInfo"] = Value::from("x".repeat(16 * 1024));
        let answer = house.post("bearer", body.to_string().as_bytes()).await;
        if answer.status == 200 {
            taken += 1;
        } else {
            answer.is_problem(503, "not-durable");
            assert_eq!(answer.headers["retry-after"], "5");
            refused += 1;
        }
        if refused == 3 {
            break;
        }
    }
    assert!(taken > 0 && refused == 3, "taken {taken}, refused {refused}");
    assert_eq!(house.queued().await, taken);
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_accepted() {
    let mut house = House::open().await;
    house.gate.shut.store(true, Ordering::SeqCst);
    let mut stream = house.connect().await;
    let auth = format!("Bearer {BEARER}");
    stream.write_all(&request("bearer", &[("authorization", &auth)], &detection("a"))).await.expect("sent");
    house.gate.waiting.notified().await;
    house.stop.take().expect("not stopped yet").send(()).expect("it listens");
    house.gate.shut.store(false, Ordering::SeqCst);
    house.gate.opened.notify_one();
    assert_eq!(answer(&mut stream).await.status, 200);
    assert_eq!(house.served.await.expect("it ended"), 0);
    assert_eq!(house.store.figures(Timestamp::now()).await.expect("figures").queue_depth, 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let limits = Limits { idle_timeout: Duration::from_millis(300), ..limits() };
    let house = House::with(limits, Options::default()).await;
    let mut stream = house.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    assert_eq!(answer(&mut stream).await.status, 200);
    assert!(read(&mut stream).await.is_none(), "closed without a word");
}

#[tokio::test]
async fn with_all_places_taken_the_connection_that_is_idle_for_longest_makes_room_for_a_delivery() {
    let house = House::with(Limits { connections: 3, ..limits() }, Options::default()).await;
    let health = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = house.connect().await;
        stream.write_all(health).await.expect("sent");
        assert_eq!(answer(&mut stream).await.status, 200);
        idle.push(stream);
    }
    let began = Instant::now();
    assert_eq!(house.post("bearer", &detection("a")).await.status, 200);
    assert!(began.elapsed() < limits().idle_timeout / 4, "it did not wait for a place");
    assert!(read(&mut idle[0]).await.is_none(), "closed without a word");
    for stream in &mut idle[1..] {
        stream.write_all(health).await.expect("sent");
        assert_eq!(answer(stream).await.status, 200, "the others stay");
    }
}

#[tokio::test]
async fn connections_that_send_no_request_make_room_for_a_delivery_but_one_at_work_does_not() {
    let limits = Limits { connections: 2, header_timeout: Duration::from_secs(60), ..limits() };
    let house = House::with(limits, Options::default()).await;
    house.gate.shut.store(true, Ordering::SeqCst);
    let mut first = house.connect().await;
    let auth = format!("Bearer {BEARER}");
    first.write_all(&request("bearer", &[("authorization", &auth)], &detection("a"))).await.expect("sent");
    house.gate.waiting.notified().await;
    let mut silent = house.connect().await;
    silent.write_all(b"POST /webhooks/be").await.expect("sent");
    assert_eq!(house.get("/healthz", "").await.status, 200);
    assert!(read(&mut silent).await.is_none(), "closed without a word");
    house.gate.shut.store(false, Ordering::SeqCst);
    house.gate.opened.notify_one();
    assert_eq!(answer(&mut first).await.status, 200);
}

#[tokio::test]
async fn a_panic_is_500_with_the_request_id_only_and_the_next_delivery_is_taken() {
    let house = House::open().await;
    let answer = house.post("bearer", &detection("panic")).await;
    answer.is_problem(500, "internal");
    assert!(!answer.body.contains("planted"), "{answer:?}");
    assert_eq!(house.post("bearer", &detection("a")).await.status, 200);
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let limits = Limits { shutdown_timeout: Duration::from_millis(200), ..limits() };
    let mut house = House::with(limits, Options::default()).await;
    house.gate.shut.store(true, Ordering::SeqCst);
    let mut stream = house.connect().await;
    let auth = format!("Bearer {BEARER}");
    stream.write_all(&request("bearer", &[("authorization", &auth)], &detection("a"))).await.expect("sent");
    house.gate.waiting.notified().await;
    house.stop.take().expect("not stopped yet").send(()).expect("it listens");
    assert_eq!(house.served.await.expect("it ended"), 1, "one connection was cut");
    assert!(read(&mut stream).await.is_none(), "and was promised nothing");
}
