//! A receiver that spools: accepts while the broker is away, keeps the order, survives its own end.

use oust::queue;

use super::*;
use crate::support::proxy::Proxy;
use crate::support::{broker as rabbit, until, until_async};

const ROOM: u64 = 64 * 1024 * 1024;

/// A receiver with a spool behind a proxy.
async fn receiver(stage: &Stage, max: u64) -> (Arc<Amqp>, Proxy) {
    let proxy = Proxy::to(rabbit::address(stage.config())).await;
    let spool = Spool::open(stage.spool_path(), max).expect("a spool");
    let queue = spooling(&rabbit::through(stage.config(), proxy.address), spool).await;
    (queue, proxy)
}

async fn drained(stage: &Stage, count: u128) -> Vec<u128> {
    let mut seen = Vec::new();
    while (seen.iter().collect::<BTreeSet<_>>().len() as u128) < count {
        let claims = stage.claim(100).await;
        seen.extend(numbers(&claims));
        stage.take_in(claims).await;
    }
    seen
}

/// The spool, once the last of its process has ended.
async fn let_go(stage: &Stage) -> std::sync::Arc<Spool> {
    let mut spool = None;
    until("the spool to be free", || {
        spool = Spool::open(stage.spool_path(), ROOM).ok();
        spool.is_some()
    })
    .await;
    spool.expect("open")
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_away_deliveries_are_taken_and_come_over_in_order() {
    let stage = Stage::amqp().await;
    let (queue, proxy) = receiver(&stage, ROOM).await;
    accept(&*queue, one(1)).await;
    assert_eq!(queue.condition().spooled, 0);
    proxy.shut();
    until("it to be known", || queue.condition().detail.contains("away")).await;
    for number in 2..=60 {
        let begun = std::time::Instant::now();
        accept(&*queue, one(number)).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    let condition = queue.condition();
    assert!(condition.ok, "it can still accept: {condition:?}");
    assert_eq!(condition.spooled, 59);
    assert!(condition.spool_bytes > 0);
    assert!(
        condition.detail.contains("59 deliveries spooled") && condition.detail.contains("away since"),
        "{condition:?}"
    );
    proxy.resume();
    // Newcomers go behind what is there.
    for number in 61..=70 {
        accept(&*queue, one(number)).await;
    }
    assert_eq!(drained(&stage, 70).await, (1..=70).collect::<Vec<_>>());
    until("the spool to be empty", || queue.condition().spooled == 0).await;
    assert_eq!(stage.store.delivery_body(one(33).delivery).await.expect("a read"), Some(one(33).body));
    stage.assert_idle().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_falls_silent_costs_the_sender_little_and_the_delivery_is_spooled() {
    let stage = Stage::amqp().await;
    let (queue, proxy) = receiver(&stage, ROOM).await;
    proxy.stall();
    let begun = std::time::Instant::now();
    accept(&*queue, many(7, 1..=3)).await;
    assert!(begun.elapsed() < Duration::from_millis(2_500), "{:?}", begun.elapsed());
    assert_eq!(queue.condition().spooled, 1);
    proxy.cut();
    proxy.resume();
    drained(&stage, 3).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spooled_survives_the_process() {
    let stage = Stage::amqp().await;
    let (queue, proxy) = receiver(&stage, ROOM).await;
    proxy.shut();
    for number in 1..=10 {
        accept(&*queue, one(number)).await;
    }
    drop(queue);
    let spool = let_go(&stage).await;
    let again = spooling(stage.config(), spool).await;
    assert_eq!(drained(&stage, 10).await, (1..=10).collect::<Vec<_>>());
    until("the spool to be empty", || again.condition().spooled == 0).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_refuses_and_says_so() {
    let stage = Stage::amqp().await;
    let (queue, proxy) = receiver(&stage, 5_000).await;
    proxy.shut();
    until("it to be known", || queue.condition().detail.contains("away")).await;
    let mut taken = 0_u128;
    let refused = loop {
        match queue.accept(one(taken + 1)).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, queue::Error::NotDurable(_)), "{refused}");
    assert!((1..20).contains(&taken), "{taken}");
    let condition = queue.condition();
    assert!(!condition.ok && condition.detail.contains("full"), "{condition:?}");
    proxy.resume();
    assert_eq!(drained(&stage, taken).await, (1..=taken).collect::<Vec<_>>());
    until("it to be empty", || queue.condition().spooled == 0).await;
    assert!(queue.condition().ok);
    accept(&*queue, one(100)).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_full_fills_the_spool_instead() {
    let stage = Stage::amqp().await;
    let prefix = stage.config().prefix.clone();
    let policy = format!("^{prefix}\\.signals$");
    rabbit::ctl(&["set_policy", &prefix, &policy, r#"{"max-length":3}"#, "--apply-to", "queues"]);
    let (queue, _proxy) = receiver(&stage, ROOM).await;
    for number in 1..=100 {
        accept(&*queue, one(number)).await;
    }
    assert!(queue.condition().spooled > 0);
    rabbit::ctl(&["clear_policy", &prefix]);
    drained(&stage, 100).await;
    until("the spool to be empty", || queue.condition().spooled == 0).await;
    stage.end().await;
}

/// Killed after the broker confirmed and before the spool forgot: it is sent again, and taken in once.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_and_not_yet_forgotten_is_sent_twice_and_taken_in_once() {
    let stage = Stage::amqp().await;
    let (queue, proxy) = receiver(&stage, ROOM).await;
    proxy.shut();
    for number in 1..=5 {
        accept(&*queue, one(number)).await;
    }
    // The spool as it was before anything was brought over, as a process killed then leaves it behind.
    drop(queue);
    drop(let_go(&stage).await);
    let kept = stage.folder.path().join("kept.db");
    std::fs::copy(stage.spool_path(), &kept).expect("copied");
    let mut new = 0;
    for path in [stage.spool_path(), kept] {
        let queue = spooling(stage.config(), Spool::open(path, ROOM).expect("a spool")).await;
        until("it to be brought over", || queue.condition().spooled == 0).await;
        until_async("all to be taken in", async || {
            while let Ok(claims) = tokio::time::timeout(Duration::from_millis(300), stage.queue.claim(10)).await {
                new += stage.take_in(claims.expect("read")).await;
            }
            new == 5
        })
        .await;
    }
    assert_eq!(new, 5);
    stage.assert_idle().await;
    stage.end().await;
}
