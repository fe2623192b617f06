//! The embedded queue over the embedded store.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::SignedDuration;

use super::*;
use crate::queue::sample::acceptance;
use crate::store::sqlite::{Options, Sqlite};
use crate::store::{Batch, Lane, Op};

/// Seconds of the clock of `a_signal_put_back_comes_again_at_its_time`, the only test that moves it.
static SECONDS: AtomicI64 = AtomicI64::new(0);

fn still() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn moving() -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(SECONDS.load(Ordering::SeqCst))
}

struct Stage {
    store: Arc<dyn Store>,
    queue: Arc<Embedded>,
    dir: tempfile::TempDir,
}

fn stage(now: fn() -> Timestamp) -> Stage {
    let dir = tempfile::tempdir().expect("a folder");
    let store: Arc<dyn Store> = Sqlite::open(dir.path().join("oust.db"), Options::default()).expect("opens");
    let queue = Embedded::with_clock(Arc::clone(&store), now);
    Stage { store, queue, dir }
}

impl Stage {
    async fn accept(&self, numbers: std::ops::RangeInclusive<u128>) {
        for number in numbers {
            self.queue.accept(acceptance(number, 1)).await.expect("durable");
        }
    }

    async fn claim(&self, limit: usize) -> Vec<Claim> {
        let claimed = tokio::time::timeout(Duration::from_secs(20), self.queue.claim(limit)).await;
        claimed.expect("something is due").expect("reads")
    }

    async fn settle(&self, claims: Vec<Claim>) {
        for claim in claims {
            let ops = claim.take_off();
            self.store.commit(Lane::Containment, Batch { expect: None, ops }).await.expect("commits");
            claim.done();
        }
    }

    /// Nothing is due: a claim is still waiting when the store has been looked at several times.
    async fn assert_idle(&self) {
        let looks = TICK * (SWEEP + 2);
        assert!(tokio::time::timeout(looks, self.queue.claim(10)).await.is_err(), "something came again");
    }
}

fn numbers(claims: &[Claim]) -> Vec<u128> {
    claims.iter().map(|claim| claim.signal.id.uuid().as_u128() >> 32).collect()
}

#[tokio::test]
async fn signals_come_once_in_order_and_are_gone_when_settled() {
    let stage = stage(still);
    stage.accept(1..=5).await;
    let first = stage.claim(2).await;
    let rest = stage.claim(10).await;
    assert_eq!((numbers(&first), numbers(&rest)), (vec![1, 2], vec![3, 4, 5]));
    stage.settle(first).await;
    stage.settle(rest).await;
    stage.assert_idle().await;
    assert!(stage.store.queued(0, still(), 10).await.expect("reads").is_empty());
}

#[tokio::test]
async fn a_claim_dropped_unsettled_comes_again() {
    let stage = stage(still);
    stage.accept(1..=3).await;
    let mut claims = stage.claim(3).await;
    drop(claims.remove(1));
    let again = stage.claim(10).await;
    assert_eq!(numbers(&again), [2], "the other two are still held");
    stage.settle(again).await;
    stage.settle(claims).await;
    stage.assert_idle().await;
}

#[tokio::test]
async fn a_signal_put_back_comes_again_at_its_time_and_new_ones_pass_it() {
    let stage = stage(moving);
    stage.accept(1..=2).await;
    let claims = stage.claim(1).await;
    let later = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(60);
    let ops = claims.iter().filter_map(|claim| claim.requeue(later)).collect();
    stage.store.commit(Lane::Other, Batch { expect: None, ops }).await.expect("commits");
    for claim in claims {
        claim.done();
    }
    let passing = stage.claim(10).await;
    assert_eq!(numbers(&passing), [2]);
    stage.settle(passing).await;
    stage.assert_idle().await;
    SECONDS.store(60, Ordering::SeqCst);
    let back = stage.claim(10).await;
    assert_eq!(numbers(&back), [1]);
    drop(back);
    let again = stage.claim(10).await;
    assert_eq!(numbers(&again), [1], "given back, it is found again");
    stage.settle(again).await;
    stage.assert_idle().await;
}

#[tokio::test]
async fn what_lay_there_before_the_start_is_claimed_in_full() {
    let stage = stage(still);
    let many = AHEAD as u128 * 2 + 10;
    stage.accept(1..=many).await;
    // Put back by a process that has died since, far behind fresh ones.
    let ops = vec![Op::Requeue { seq: i64::try_from(many).expect("small"), due_at: still() }];
    stage.store.commit(Lane::Other, Batch { expect: None, ops }).await.expect("commits");

    let restarted = Embedded::with_clock(Arc::clone(&stage.store), still);
    let stage = Stage { queue: restarted, ..stage };
    let mut seen = BTreeSet::new();
    while (seen.len() as u128) < many {
        let claims = stage.claim(100).await;
        for number in numbers(&claims) {
            assert!(seen.insert(number), "{number} came twice");
        }
        stage.settle(claims).await;
    }
    assert_eq!(seen, (1..=many).collect());
}

#[tokio::test]
async fn what_another_process_accepts_is_found() {
    let stage = stage(still);
    let other = Sqlite::open(stage.dir.path().join("oust.db"), Options::default()).expect("opens");
    other.accept(acceptance(7, 1)).await.expect("accepts");
    let claims = stage.claim(1).await;
    assert_eq!(numbers(&claims), [7]);
}

#[tokio::test]
async fn a_claim_settled_without_its_transaction_is_not_lost() {
    let stage = stage(still);
    stage.accept(1..=2).await;
    for claim in stage.claim(2).await {
        claim.done();
    }
    let mut again = stage.claim(2).await;
    if again.len() < 2 {
        again.extend(stage.claim(2).await);
    }
    assert_eq!(numbers(&again), [1, 2]);
}

#[tokio::test]
async fn no_more_is_given_out_than_can_be_held_until_some_is_settled() {
    let stage = stage(still);
    let acceptances = (1..=MOST_HELD as u128 + 2).map(|number| stage.queue.accept(acceptance(number, 1)));
    for receipt in futures_util::future::join_all(acceptances).await {
        assert_eq!(receipt.expect("durable"), Receipt::Accepted);
    }
    let mut held = Vec::new();
    while held.len() < MOST_HELD {
        held.extend(stage.claim(usize::MAX).await);
    }
    assert_eq!(held.len(), MOST_HELD);
    stage.assert_idle().await;
    let settled = held.split_off(MOST_HELD - 2);
    stage.settle(settled).await;
    assert_eq!(stage.claim(10).await.len(), 2);
}
