//! RabbitMQ that comes and goes, and networks that cut and stall: what was confirmed is there, and nobody waits for a
//! broker that is known to be away.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lapin::options::{BasicGetOptions, BasicNackOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use oust::queue;
use oust::queue::amqp;

use super::*;
use crate::support::proxy::Proxy;
use crate::support::{broker as rabbit, until, until_async};

fn away(result: Result<Receipt, queue::Error>) -> String {
    match result {
        Err(queue::Error::Away(why)) => why,
        other => panic!("it should be away: {other:?}"),
    }
}

/// A receiver whose connection passes a proxy.
async fn behind_a_proxy(stage: &Stage) -> (Arc<Amqp>, Proxy) {
    let proxy = Proxy::to(rabbit::address(stage.config())).await;
    let config = rabbit::through(stage.config(), proxy.address);
    (Amqp::open(config, Telemetry::new(), None).await.expect("opens"), proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_says_what_it_is_to_people_at_the_brokers_console() {
    let stage = Stage::amqp().await;
    let receiver = stage.receiver().await;
    accept(&*receiver, many(7, 1..=2)).await;
    // They travel side by side: either may be there first.
    let mut both = vec![
        stage.behind().take("signals").await.expect("a message"),
        stage.behind().take("signals").await.expect("another"),
    ];
    both.sort_by_key(|(properties, _)| properties.message_id().as_ref().map(ToString::to_string));
    let (_, other) = both.pop().expect("two");
    let (properties, data) = both.pop().expect("two");
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(
        properties.message_id().as_ref().expect("an id").as_str(),
        SignalId::new(Uuid::from_u128(1)).to_string()
    );
    assert_eq!(properties.content_type().as_ref().expect("a type").as_str(), "application/json");
    assert_eq!(properties.kind().as_ref().expect("a kind").as_str(), "signal");
    assert_eq!(properties.app_id().as_ref().expect("an app").as_str(), "oust");
    let headers = properties.headers().as_ref().expect("headers");
    assert!(matches!(headers.inner().get("traceparent"), Some(AMQPValue::LongString(_))));
    let first: serde_json::Value = serde_json::from_slice(&data).expect("JSON");
    assert_eq!((first["v"].as_u64(), first["kind"].as_str()), (Some(1), Some("signal")));
    assert!(first["delivery"]["body"].is_string() && first["delivery"]["answer"].is_object());
    let second: serde_json::Value = serde_json::from_slice(&other).expect("JSON");
    assert!(second["delivery"]["body"].is_null() && second["delivery"]["answer"].is_null(), "they travel once");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_reaches_a_worker() {
    let stage = Stage::amqp().await;
    let receiver = stage.receiver().await;
    let woken = stage.queue.woken();
    receiver.wake();
    tokio::time::timeout(Duration::from_secs(10), woken).await.expect("it is woken");
    for _ in 0..1_000 {
        receiver.wake();
    }
    tokio::time::timeout(Duration::from_secs(10), stage.queue.woken()).await.expect("and again");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_depth_is_what_lies_on_the_broker() {
    let stage = Stage::amqp().await;
    accept(&*stage.queue, many(7, 1..=5)).await;
    until("the depth", || stage.queue.condition().depth == Some(5)).await;
    let claims = stage.claim_all(5).await;
    stage.take_in(claims).await;
    until("the depth", || stage.queue.condition().depth == Some(0)).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_queue_takes_is_an_error_and_not_lost_in_silence() {
    let stage = Stage::amqp().await;
    let receiver = stage.receiver().await;
    let (queue, exchange) = (stage.behind().queue("signals"), stage.config().prefix.clone());
    let unbound = stage.behind().channel.queue_unbind(
        queue.as_str().into(),
        exchange.as_str().into(),
        "signals".into(),
        FieldTable::default(),
    );
    unbound.await.expect("unbound");
    let why = away(receiver.accept(one(1)).await);
    assert!(why.contains("nothing is bound"), "{why}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_before_any_worker_says_what_is_missing_and_goes_on_by_itself() {
    let config = rabbit::config();
    let receiver = Amqp::open(config.clone(), Telemetry::new(), None).await.expect("opens");
    let why = away(receiver.accept(one(1)).await);
    assert!(why.contains("oust migrate"), "{why}");
    assert!(!receiver.condition().ok);
    amqp::migrate(&config).await.expect("declared");
    amqp::migrate(&config).await.expect("as often as you like");
    until("the receiver to notice", || receiver.condition().ok).await;
    accept(&*receiver, one(1)).await;
    Behind::open(&config, &rabbit::url()).await.tidy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_declared_otherwise_is_named_with_what_to_do() {
    let config = rabbit::config();
    let behind = Behind::open(&config, &rabbit::url()).await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    behind
        .channel
        .queue_declare(behind.queue("signals").as_str().into(), durable, FieldTable::default())
        .await
        .expect("declared");
    let error = amqp::migrate(&config).await.expect_err("it differs");
    let text = error.to_string();
    assert!(text.contains("inequivalent arg") && text.contains(".signals") && text.contains("delete it"), "{text}");
    behind.tidy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_needs_the_right_to_write_and_no_other() {
    let stage = Stage::amqp().await;
    let user = stage.config().prefix.clone();
    rabbit::ctl(&["add_user", &user, "only-writes"]);
    rabbit::ctl(&["set_permissions", &user, "^$", &format!("^{user}$"), "^$"]);
    let mut config = stage.config().clone();
    config.endpoint.username.clone_from(&user);
    config.endpoint.password = "only-writes".to_owned().into();
    let receiver = Amqp::open(config.clone(), Telemetry::new(), None).await.expect("opens");
    accept(&*receiver, one(1)).await;
    let claims = stage.claim(1).await;
    assert_eq!(stage.take_in(claims).await, 1);
    let error = amqp::migrate(&config).await.expect_err("it may not");
    assert!(error.to_string().contains("configure"), "{error}");
    config.endpoint.password = "wrong-password".to_owned().into();
    let refused = Amqp::open(config, Telemetry::new(), None).await.expect("opens");
    let why = away(refused.accept(one(2)).await);
    for shown in [why.clone(), format!("{refused:?}"), format!("{:?}", refused.condition())] {
        assert!(!shown.contains("wrong-password"), "{shown}");
    }
    assert!(why.contains("ACCESS_REFUSED"), "{why}");
    rabbit::ctl(&["delete_user", &user]);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_between_publish_and_confirm_is_made_anew_while_the_sender_waits() {
    let stage = Stage::amqp().await;
    let (receiver, proxy) = behind_a_proxy(&stage).await;
    proxy.stall_answers();
    let sending = {
        let receiver = Arc::clone(&receiver);
        tokio::spawn(async move { receiver.accept(one(1)).await })
    };
    until_async("the message to be there, unconfirmed", async || stage.behind().count("signals").await == 1).await;
    proxy.resume();
    proxy.cut();
    assert_eq!(sending.await.expect("no panic").expect("durable"), Receipt::Accepted);
    let claims = stage.claim(1).await;
    assert_eq!(stage.take_in(claims).await, 1);
    while let Ok(claims) = tokio::time::timeout(Duration::from_millis(500), stage.queue.claim(10)).await {
        assert_eq!(stage.take_in(claims.expect("read")).await, 0, "at worst it came twice");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_falls_silent_is_given_up_in_time_and_then_not_waited_for() {
    let stage = Stage::amqp().await;
    let (receiver, proxy) = behind_a_proxy(&stage).await;
    accept(&*receiver, one(1)).await;
    proxy.stall();
    let begun = Instant::now();
    away(receiver.accept(one(2)).await);
    assert!(begun.elapsed() < Duration::from_millis(2_900), "{:?}", begun.elapsed());
    until("it to be known", || !receiver.condition().ok).await;
    let begun = Instant::now();
    let why = away(receiver.accept(one(3)).await);
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
    assert!(why.contains("away since"), "{why}");
    proxy.cut();
    proxy.resume();
    until("it to be back", || receiver.condition().ok).await;
    accept(&*receiver, one(4)).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_a_lost_connection_are_settled_over_no_other() {
    let stage = Stage::amqp().await;
    let proxy = Proxy::to(rabbit::address(stage.config())).await;
    let through = worker(&rabbit::through(stage.config(), proxy.address), &stage.store).await;
    accept(&*stage.queue, many(7, 1..=4)).await;
    let mut held = Vec::new();
    while held.len() < 4 {
        held.extend(claim(&*through, 10).await);
    }
    proxy.cut();
    // They come again over the next connection, where other numbers are theirs.
    let mut again = Vec::new();
    while again.len() < 4 {
        again.extend(claim(&*through, 10).await);
    }
    for late in held {
        late.done();
    }
    proxy.cut();
    let mut third = Vec::new();
    while third.len() < 4 {
        third.extend(claim(&*through, 10).await);
    }
    assert_eq!(numbers(&third).into_iter().collect::<BTreeSet<_>>(), (1..=4).collect());
    assert_eq!(stage.take_in(third).await, 4);
    drop(again);
    // What it settled is acknowledged before it goes, or it would come again.
    through.rest().await;
    drop(through);
    stage.assert_idle().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_takes_again() {
    let stage = Stage::amqp().await;
    let prefix = stage.config().prefix.clone();
    rabbit::ctl(&[
        "set_policy",
        &prefix,
        &format!("^{prefix}\\.signals$"),
        r#"{"max-length":3}"#,
        "--apply-to",
        "queues",
    ]);
    let receiver = stage.receiver().await;
    let mut taken = BTreeSet::new();
    let mut refused = None;
    for number in 1..=200 {
        match receiver.accept(one(number)).await {
            Ok(_) => drop(taken.insert(number)),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let why = away(Err(refused.expect("it is full at last")));
    assert!(why.contains("full"), "{why}");
    rabbit::ctl(&["clear_policy", &prefix]);
    let mut seen = BTreeSet::new();
    while !taken.is_subset(&seen) {
        let claims = stage.claim(100).await;
        seen.extend(numbers(&claims));
        stage.take_in(claims).await;
    }
    until_async("it to take again", async || receiver.accept(one(1_000)).await.is_ok()).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_nobody_can_finish_gets_one_intake_alone_and_is_filed() {
    let stage = Stage::amqp().await;
    accept(&*stage.queue, many(7, 1..=2)).await;
    poison(&stage, 2).await;
    until_async("both to be given up", async || stage.behind().count("buried").await == 2).await;
    // They come one by one: the second only when it is known what became of the first.
    let first = stage.claim(10).await;
    let [good] = numbers(&first)[..] else { panic!("alone: {first:?}") };
    let second = tokio::time::timeout(Duration::from_millis(700), stage.queue.claim(10)).await;
    assert!(second.is_err(), "{second:?}");
    assert_eq!(stage.take_in(first).await, 1, "this one goes well after all");
    let second = stage.claim(10).await;
    let bad = 3 - good;
    assert_eq!(numbers(&second), [bad]);
    drop(second);
    let page = store::Page { after: None, limit: 10 };
    until_async("it to be filed", async || {
        !stage.store.buried_list(&store::Filter::default(), &page).await.expect("a read").items.is_empty()
    })
    .await;
    let listed = stage.store.buried_list(&store::Filter::default(), &page).await.expect("a read");
    let row = stage.store.buried(listed.items[0].id).await.expect("a read").expect("there");
    assert_eq!(row.content["signal"]["id"], SignalId::new(Uuid::from_u128(bad)).to_string());
    assert!(row.reason.contains("gave this signal up"), "{}", row.reason);
    stage.assert_idle().await;
    let stage = stage.restarted().await;
    stage.assert_idle().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_up_signal_that_comes_back_from_its_one_intake_is_filed_at_once() {
    let stage = Stage::amqp().await;
    accept(&*stage.queue, one(1)).await;
    poison(&stage, 1).await;
    let held = stage.claim(1).await;
    // The process dies of it.
    stage.queue.rest().await;
    std::mem::forget(held);
    let stage = stage.restarted().await;
    stage.assert_idle().await;
    let page = store::Page { after: None, limit: 10 };
    until_async("it to be filed", async || {
        stage.store.buried_list(&store::Filter::default(), &page).await.expect("a read").items.len() == 1
    })
    .await;
    stage.queue.rest().await;
    until_async("the broker to be done with it", async || stage.behind().count("buried").await == 0).await;
    stage.end().await;
}

/// Gives the signals out and takes them back until the broker gives them up.
async fn poison(stage: &Stage, count: u32) {
    let queue = stage.behind().queue("signals");
    let mut given = 0;
    until_async("the broker to give them up", async || {
        while let Some(got) =
            stage.behind().channel.basic_get(queue.as_str().into(), BasicGetOptions::default()).await.expect("a get")
        {
            got.delivery
                .acker
                .nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() })
                .await
                .expect("back");
            given += 1;
            assert!(given < 1_000 * count, "they are given out for ever");
        }
        stage.behind().count("buried").await == count
    })
    .await;
}

/// One node for both, since a node of one's own takes its time to start.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_confirmed_is_lost_when_the_broker_stops_or_is_killed() {
    let node = rabbit::Node::start();
    let stage = Stage::amqp_at(&node.url).await;
    let receiver = stage.receiver().await;
    let (accepted, stop) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicBool::new(false)));
    let mut senders = Vec::new();
    for lane in 0..4_u128 {
        let (receiver, accepted, stop) = (Arc::clone(&receiver), Arc::clone(&accepted), Arc::clone(&stop));
        senders.push(tokio::spawn(async move {
            let mut number = lane + 1;
            while !stop.load(Ordering::SeqCst) {
                let begun = Instant::now();
                if receiver.accept(one(number)).await.is_ok() {
                    accepted.lock().expect("no panic").insert(number);
                } else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                assert!(begun.elapsed() < Duration::from_millis(2_900), "{:?}", begun.elapsed());
                number += 4;
            }
        }));
    }
    let taken: Arc<Mutex<BTreeSet<u128>>> = Arc::default();
    let fetching = {
        let (queue, store, taken) = (Arc::clone(&stage.queue), Arc::clone(&stage.store), Arc::clone(&taken));
        tokio::spawn(async move {
            loop {
                for claim in queue.claim(64).await.expect("it can be read") {
                    let mut ops = claim.take_off();
                    ops.push(Op::TakeSignal(Box::new(row(&claim.signal))));
                    match store.commit(Lane::Containment, Batch { expect: None, ops }).await {
                        Ok(()) | Err(store::Error::Repeated(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                    taken.lock().expect("no panic").insert(claim.signal.id.uuid().as_u128());
                    claim.done();
                }
            }
        })
    };
    let progress = async |what: &str| {
        let before = accepted.lock().expect("no panic").len();
        until(what, || accepted.lock().expect("no panic").len() > before + 50).await;
    };
    progress("deliveries").await;
    node.ctl(&["stop_app"]);
    until("the receiver to notice", || !receiver.condition().ok).await;
    node.ctl(&["start_app"]);
    progress("deliveries after a stop").await;
    node.kill();
    until("the receiver to notice", || !receiver.condition().ok).await;
    node.ctl(&["boot"]);
    progress("deliveries after a kill").await;
    stop.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.expect("no panic");
    }
    let accepted = accepted.lock().expect("no panic").clone();
    until("everything accepted", || accepted.is_subset(&taken.lock().expect("no panic"))).await;
    assert!(!fetching.is_finished(), "the worker goes on");
    fetching.abort();
}
