//! What every queue must do; each runs over each backend.

use oust::domain::BuriedId;
use oust::store::{Audit, Buried, BuriedState, Page};
use serde_json::Value;

use super::*;
use crate::support::until_async;

macro_rules! over_every_backend {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Stage::embedded()).await;
            })+
        }

        mod embedded_on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Stage::postgres().await).await;
            })+
        }

        mod amqp {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Stage::amqp().await).await;
            })+
        }
    };
}

over_every_backend!(
    signals_come_once_about_in_order_and_are_gone_when_settled,
    a_claim_dropped_unsettled_comes_again,
    a_claim_settled_before_its_neighbours_settles_only_itself,
    claimers_side_by_side_get_each_signal_once,
    what_was_not_settled_survives_a_restart,
    what_rests_is_given_to_another,
    after_a_rest_a_claim_fetches_again,
    a_delivery_is_kept_with_its_body,
    a_delivery_that_comes_twice_is_taken_in_once,
    what_was_not_understood_is_filed_once,
    a_line_for_the_audit_trail_arrives,
    a_good_queue_says_so,
    deliveries_from_many_senders_at_once_all_arrive,
);

async fn signals_come_once_about_in_order_and_are_gone_when_settled(stage: Stage) {
    for number in 1..=20 {
        accept(&*stage.queue, one(number)).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 20 {
        let claims = stage.claim(7).await;
        assert!(claims.len() <= 7);
        let count = claims.len();
        seen.extend(numbers(&claims));
        assert_eq!(stage.take_in(claims).await, count, "each is new");
    }
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());
    stage.assert_idle().await;
    let stage = stage.restarted().await;
    stage.assert_idle().await;
    stage.end().await;
}

async fn a_claim_dropped_unsettled_comes_again(stage: Stage) {
    for number in 1..=3 {
        accept(&*stage.queue, one(number)).await;
    }
    let mut claims = stage.claim_all(3).await;
    drop(claims.remove(1));
    let again = stage.claim(10).await;
    assert_eq!(numbers(&again), [2], "the other two are still held");
    drop(again);
    let again = stage.claim(10).await;
    assert_eq!(numbers(&again), [2], "as often as it takes");
    assert_eq!(stage.take_in(again).await + stage.take_in(claims).await, 3);
    stage.assert_idle().await;
    stage.end().await;
}

async fn a_claim_settled_before_its_neighbours_settles_only_itself(stage: Stage) {
    for number in 1..=5 {
        accept(&*stage.queue, one(number)).await;
    }
    let mut claims = stage.claim_all(5).await;
    let late = vec![claims.remove(3), claims.remove(0)];
    assert_eq!(stage.take_in(claims).await, 3);
    // What was settled must be settled before the process ends: the last one shows it.
    accept(&*stage.queue, one(6)).await;
    let last = stage.claim(1).await;
    assert_eq!(stage.take_in(last).await, 1);
    settled_on_the_broker(&stage, 2).await;
    std::mem::forget(late);
    let stage = stage.restarted().await;
    let again = stage.claim_all(2).await;
    assert_eq!(numbers(&again).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([1, 4]));
    assert_eq!(stage.take_in(again).await, 2);
    stage.assert_idle().await;
    stage.end().await;
}

/// Acknowledgements travel by themselves: waits until only so many signals are out. Another consumer sees them all.
async fn settled_on_the_broker(stage: &Stage, left: usize) {
    if let Backend::Amqp(..) = &stage.backend {
        stage.queue.rest().await;
        until_async("the broker to have the rest back", async || {
            usize::try_from(stage.behind().count("signals").await).expect("small") == left
        })
        .await;
    }
}

async fn claimers_side_by_side_get_each_signal_once(stage: Stage) {
    const COUNT: u128 = 200;
    for number in 1..=COUNT {
        accept(&*stage.queue, one(number)).await;
    }
    let other = stage.other().await;
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let mut claimers = Vec::new();
    for queue in [&stage.queue, &stage.queue, &other] {
        let (queue, sender, store) = (Arc::clone(queue), sender.clone(), Arc::clone(&stage.store));
        claimers.push(tokio::spawn(async move {
            loop {
                for claim in queue.claim(9).await.expect("it can be read") {
                    let mut ops = claim.take_off();
                    ops.push(Op::TakeSignal(Box::new(row(&claim.signal))));
                    store
                        .commit(Lane::Containment, Batch { expect: None, ops })
                        .await
                        .expect("it was never given twice");
                    let number = claim.signal.id.uuid().as_u128();
                    claim.done();
                    sender.send(number).expect("somebody counts");
                }
            }
        }));
    }
    let mut all = BTreeSet::new();
    while (all.len() as u128) < COUNT {
        let number =
            tokio::time::timeout(Duration::from_secs(30), seen.recv()).await.expect("in time").expect("a number");
        assert!(all.insert(number), "{number} came twice");
    }
    claimers.into_iter().for_each(|claimer| claimer.abort());
    drop(other);
    stage.end().await;
}

async fn what_was_not_settled_survives_a_restart(stage: Stage) {
    for number in 1..=4 {
        accept(&*stage.queue, one(number)).await;
    }
    let mut claims = stage.claim_all(4).await;
    let held = claims.split_off(2);
    assert_eq!(stage.take_in(claims).await, 2);
    settled_on_the_broker(&stage, 2).await;
    std::mem::forget(held);
    let stage = stage.restarted().await;
    let again = stage.claim_all(2).await;
    assert_eq!(numbers(&again).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([3, 4]));
    assert_eq!(stage.take_in(again).await, 2);
    stage.assert_idle().await;
    stage.end().await;
}

async fn what_rests_is_given_to_another(stage: Stage) {
    for number in 1..=6 {
        accept(&*stage.queue, one(number)).await;
    }
    let held = stage.claim_all(6).await;
    let other = stage.other().await;
    stage.queue.rest().await;
    drop(held);
    let mut seen = BTreeSet::new();
    while seen.len() < 6 {
        let claims = claim(&*other, 10).await;
        seen.extend(numbers(&claims));
        stage.take_in(claims).await;
    }
    // Its acknowledgements travel by themselves: it is let go of afterwards.
    stage.assert_idle().await;
    drop(other);
    stage.end().await;
}

async fn after_a_rest_a_claim_fetches_again(stage: Stage) {
    accept(&*stage.queue, one(1)).await;
    let held = stage.claim(1).await;
    stage.queue.rest().await;
    stage.queue.rest().await;
    // What a resting process settles late concerns nobody.
    drop(held);
    let again = stage.claim(1).await;
    assert_eq!(numbers(&again), [1]);
    assert_eq!(stage.take_in(again).await, 1);
    stage.assert_idle().await;
    stage.end().await;
}

async fn a_delivery_is_kept_with_its_body(stage: Stage) {
    let delivery = many(7, 1..=3);
    let (id, body) = (delivery.delivery, delivery.body.clone());
    accept(&*stage.queue, delivery).await;
    let empty = Acceptance { signals: Vec::new(), ..one(8) };
    let (empty_id, empty_body) = (empty.delivery, empty.body.clone());
    accept(&*stage.queue, empty).await;
    let claims = stage.claim_all(3).await;
    assert_eq!(stage.take_in(claims).await, 3);
    assert_eq!(stage.store.delivery_body(id).await.expect("a read"), Some(body));
    until_async("the delivery nobody is in", async || {
        stage.store.delivery_body(empty_id).await.expect("a read").as_ref() == Some(&empty_body)
    })
    .await;
    stage.end().await;
}

async fn a_delivery_that_comes_twice_is_taken_in_once(stage: Stage) {
    let given = Acceptance { webhook_id: Some("msg_1".to_owned()), ..many(7, 1..=2) };
    accept(&*stage.queue, given.clone()).await;
    let receipt = stage.queue.accept(given.clone()).await.expect("durable");
    assert!(matches!(&receipt, Receipt::Accepted | Receipt::Replay { .. }));
    let mut new = 0;
    let claims = stage.claim_all(2).await;
    new += stage.take_in(claims).await;
    if receipt == Receipt::Accepted {
        while let Ok(claims) = tokio::time::timeout(Duration::from_millis(500), stage.queue.claim(10)).await {
            new += stage.take_in(claims.expect("it can be read")).await;
        }
    }
    assert_eq!(new, 2);
    stage.assert_idle().await;
    stage.end().await;
}

async fn what_was_not_understood_is_filed_once(stage: Stage) {
    let id = BuriedId::new(Uuid::from_u128(99));
    let given = one(9);
    let buried = Buried {
        id,
        at: Timestamp::UNIX_EPOCH,
        source: "sentinel".to_owned(),
        tenant: Some(given.tenant.clone()),
        delivery: Some(given.delivery),
        reason: "unknown shape".to_owned(),
        state: BuriedState::Buried,
        settled: None,
        content: Value::from(String::from_utf8_lossy(&given.body)),
    };
    let given = Acceptance { signals: Vec::new(), buried: Some(buried.clone()), ..given };
    accept(&*stage.queue, given.clone()).await;
    // A worker must be at it.
    let claiming = Arc::clone(&stage.queue);
    let fetching = tokio::spawn(async move { claiming.claim(1).await });
    until_async("it to be filed", async || stage.store.buried(id).await.expect("a read").is_some()).await;
    let row = stage.store.buried(id).await.expect("a read").expect("it is there");
    assert_eq!((row.content, row.reason, row.state), (buried.content, buried.reason, BuriedState::Buried));
    assert_eq!(stage.store.delivery_body(given.delivery).await.expect("a read"), Some(given.body));
    fetching.abort();
    stage.end().await;
}

async fn a_line_for_the_audit_trail_arrives(stage: Stage) {
    let audit = Audit {
        at: Timestamp::UNIX_EPOCH,
        actor: "receiver".into(),
        verb: "deliveries.refused".into(),
        tenant: None,
        object_id: None,
        case: None,
        detail: json!([{ "source": "sentinel", "count": 3 }]),
    };
    stage.queue.report(audit).await.expect("durable");
    let claiming = Arc::clone(&stage.queue);
    let fetching = tokio::spawn(async move { claiming.claim(1).await });
    until_async("the line", async || {
        let listed = stage.store.audit(&Page { after: None, limit: 10 }).await.expect("a read");
        listed.items.iter().any(|(_, line)| line.verb == "deliveries.refused" && line.detail[0]["count"] == 3)
    })
    .await;
    fetching.abort();
    stage.end().await;
}

async fn a_good_queue_says_so(stage: Stage) {
    let condition = stage.queue.condition();
    assert!(condition.ok, "{condition:?}");
    assert_eq!((condition.spooled, condition.spool_bytes), (0, 0));
    stage.queue.nudge();
    stage.queue.wake();
    stage.end().await;
}

async fn deliveries_from_many_senders_at_once_all_arrive(stage: Stage) {
    const COUNT: u128 = 300;
    let accepts = (0..COUNT).map(|n| stage.queue.accept(many(n + 10_000, 2 * n + 1..=2 * n + 2)));
    for receipt in futures_util::future::join_all(accepts).await {
        assert_eq!(receipt.expect("durable"), Receipt::Accepted);
    }
    let (mut seen, mut new) = (BTreeSet::new(), 0);
    while (seen.len() as u128) < 2 * COUNT {
        let claims = stage.claim(64).await;
        seen.extend(numbers(&claims));
        new += stage.take_in(claims).await;
    }
    assert_eq!(seen, (1..=2 * COUNT).collect());
    assert_eq!(new, seen.len());
    stage.end().await;
}
