//! The cluster under everything that happens to clusters: processes killed and stopped, broker and database restarted,
//! connections cut, Graph throttling, failing and losing replies. At the end the books must agree.
//!
//! Shortened here; `tests/chaos` runs it in full.

#![expect(clippy::print_stderr, reason = "the tally is for people")]

mod cluster;
mod judge;
mod reviewers;
mod servers;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use oust::config::Environment;
use oust::store::Store;
use oust::twin::{Fault, Plan, Twin};
use tokio::sync::RwLock;
use uuid::Uuid;

use self::cluster::Cluster;
use self::judge::{Aftermath, REVOKE, is_final, outcomes};
use self::reviewers::Reviewers;
use crate::process::{Dice, detection};
use crate::support::start_twin;

const KINDS: [&str; 5] = ["anomalousToken", "unlikelyTravel", "anonymizedIPAddress", "leakedCredentials", "newCountry"];

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Size {
    seed: u64,
    signals: usize,
    people: usize,
    senders: usize,
    /// Things that happen while signals pour in.
    events: usize,
    /// Resets that a human approves meanwhile.
    approvals: usize,
    /// The whole must be over by then.
    patience: Duration,
}

const SHORT: Size = Size {
    seed: 3,
    signals: 900,
    people: 150,
    senders: 8,
    events: 8,
    approvals: 4,
    patience: Duration::from_secs(150),
};
const FULL: Size = Size {
    seed: 5,
    signals: 20_000,
    people: 2_000,
    senders: 32,
    events: 60,
    approvals: 40,
    patience: Duration::from_secs(1_800),
};

/// What one sender was promised.
#[derive(Default)]
pub struct Promised {
    /// Ids of signals answered with 200, with the person and the activity they are about.
    pub signals: Vec<(String, usize, Timestamp)>,
    /// When each was answered, by whom, and after how many attempts.
    pub answered: HashMap<String, (Timestamp, usize, usize)>,
    /// Attempts that ended without a 2xx.
    pub retries: usize,
    pub redelivered: usize,
}

/// Where senders and mischief meet.
struct Stage {
    size: Size,
    twin: Twin,
    cluster: RwLock<Cluster>,
    acks: AtomicUsize,
    poured: AtomicBool,
}

impl Stage {
    /// One sender: its share of the signals, 10 % of them twice.
    async fn send(&self, lane: usize) -> Promised {
        let mut dice = Dice::new(self.size.seed ^ (lane as u64 + 1).wrapping_mul(0x5851_F42D));
        let mut promised = Promised::default();
        for _ in (lane..self.size.signals).step_by(self.size.senders) {
            let person = usize::try_from(dice.roll(self.size.people as u64)).expect("small");
            let kind = KINDS[usize::try_from(dice.roll(KINDS.len() as u64)).expect("small")];
            let now = Timestamp::now();
            let activity = match dice.roll(6) {
                0 => now,
                _ => now - SignedDuration::from_secs(i64::try_from(60 + dice.roll(29 * 60)).expect("small")),
            };
            let body = detection(self.twin.person(person + 1), kind, activity).to_string();
            let id = format!("msg_{}", Uuid::new_v4().simple());
            let ids = self.deliver(&id, body.as_bytes(), &mut dice, &mut promised).await;
            assert_eq!(ids.len(), 1);
            self.acks.fetch_add(1, Ordering::SeqCst);
            let mut all = ids.clone();
            let again = dice.roll(20);
            match again {
                // The sender did not believe the answer, and asks the other receiver perhaps.
                0 => {
                    let told = self.deliver(&id, body.as_bytes(), &mut dice, &mut promised).await;
                    assert_eq!(told, ids, "the same ids from whoever answers");
                }
                // Another road brings the same story under another id.
                1 => {
                    let id = format!("msg_{}", Uuid::new_v4().simple());
                    all.extend(self.deliver(&id, body.as_bytes(), &mut dice, &mut promised).await);
                }
                _ => {}
            }
            promised.redelivered += usize::from(again < 2);
            promised.signals.extend(all.into_iter().map(|id| (id, person, activity)));
        }
        promised
    }

    /// Sends until one of the receivers answers with a 2xx, as real senders do; the ids in the answer.
    async fn deliver(&self, id: &str, body: &[u8], dice: &mut Dice, promised: &mut Promised) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let receiver = usize::try_from(dice.roll(2)).expect("small");
            let cluster = self.cluster.read().await;
            match cluster.attempt(receiver, id, body).await {
                Ok((200, answer)) => {
                    let ids = answer["ids"].as_array().into_iter().flatten();
                    let ids: Vec<String> = ids.filter_map(|id| id.as_str().map(str::to_owned)).collect();
                    let fact = (Timestamp::now(), receiver, promised.retries);
                    promised.answered.extend(ids.iter().map(|id| (id.clone(), fact)));
                    return ids;
                }
                Ok((503 | 429, _)) | Err(_) => promised.retries += 1,
                Ok((status, answer)) => panic!("{status}: {answer}\n{}", cluster.log()),
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "no answer for two minutes\n{}", cluster.log());
            drop(cluster);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One thing after another, spread over the pour.
    async fn mischief(&self) -> HashMap<&'static str, u64> {
        let mut dice = Dice::new(self.size.seed);
        let mut done: HashMap<&'static str, u64> = HashMap::new();
        for event in 0..self.size.events {
            let mark = self.size.signals * (event + 1) / (self.size.events + 2);
            while self.acks.load(Ordering::SeqCst) < mark && !self.poured.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // Each kind once, then by lot.
            let kinds = 8;
            let kind = if event < kinds { event as u64 } else { dice.roll(kinds as u64) };
            let began = Timestamp::now();
            let what = self.strike(kind, &mut dice).await;
            eprintln!("{began} to {}: {what}", Timestamp::now());
            *done.entry(what).or_default() += 1;
            let restarted = self.cluster.write().await.supervise();
            *done.entry("started again by its supervisor").or_default() += restarted;
        }
        done
    }

    async fn strike(&self, kind: u64, dice: &mut Dice) -> &'static str {
        let any = |dice: &mut Dice, from: u64, to: u64| usize::try_from(from + dice.roll(to - from)).expect("small");
        match kind {
            0 => {
                let at = any(dice, 2, 5);
                self.cluster.write().await.kill(at);
                "worker killed"
            }
            1 => {
                let (plan, times) = (|fault| Plan { every: Some(2), ..Plan::on(REVOKE, fault) }, 40);
                self.twin.fault(plan(Fault::status(429)).times(times));
                self.twin.fault(plan(Fault::status(503)).times(times));
                self.twin.fault(plan(Fault::LostReply).times(times / 2));
                "Graph failing"
            }
            2 => {
                self.cluster.read().await.to_broker.cut();
                "broker connections cut"
            }
            3 => {
                self.cluster.read().await.to_database.cut();
                "database connections cut"
            }
            4 => {
                let at = any(dice, 2, 5);
                self.cluster.read().await.signal(at, Signal::SIGSTOP);
                // Past its lease: what it held is taken over.
                tokio::time::sleep(Duration::from_millis(4_500)).await;
                self.cluster.read().await.signal(at, Signal::SIGCONT);
                "worker stopped past its lease"
            }
            5 => {
                self.cluster.write().await.database.restart().await;
                "database crashed"
            }
            6 => {
                self.cluster.write().await.broker.restart().await;
                "broker crashed"
            }
            _ => {
                let at = [0, 1, 5][any(dice, 0, 3)];
                self.cluster.write().await.kill(at);
                "receiver or console killed"
            }
        }
    }
}

/// Waits until every promised signal has its final outcome and nothing is left to do.
async fn settled(
    stage: &Stage,
    store: &Arc<dyn Store>,
    promised: &[Promised],
    until: Instant,
) -> HashMap<String, String> {
    let mut known: HashMap<String, String> = HashMap::new();
    let all: Vec<String> = promised.iter().flat_map(|promised| &promised.signals).map(|(id, ..)| id.clone()).collect();
    loop {
        let open: Vec<String> = all.iter().filter(|id| !known.contains_key(*id)).cloned().collect();
        let found = outcomes(store, open.into_iter()).await;
        let waiting: Vec<(String, String)> =
            found.iter().filter(|(_, word)| !is_final(word)).map(|(id, word)| (id.clone(), word.clone())).collect();
        known.extend(found.into_iter().filter(|(_, word)| is_final(word)));
        stage.cluster.write().await.supervise();
        let figures = store.figures(Timestamp::now()).await.expect("a read");
        let missing = all.iter().filter(|id| !known.contains_key(*id)).count();
        if missing == 0 && figures.people_due == 0 && stage.is_calm(store).await {
            return known;
        }
        if Instant::now() >= until {
            let cluster = stage.cluster.read().await;
            let answered = |id: &str| promised.iter().find_map(|promised| promised.answered.get(id));
            let some: Vec<_> = waiting.iter().take(20).map(|(id, word)| (id, word, answered(id))).collect();
            let whereabouts = cluster.whereabouts().await;
            panic!(
                "not settled: {missing} signals without an outcome, such as {some:?}, {figures:?}\n{whereabouts}\n{}",
                cluster.log()
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

impl Stage {
    /// Nobody waits for containment and no effect is in the air.
    async fn is_calm(&self, store: &Arc<dyn Store>) -> bool {
        let picture = store.figures(Timestamp::now()).await.expect("a read");
        picture.effects_unknown == 0 && self.cluster.read().await.open_effects().await == 0
    }
}

async fn chaos(size: Size) {
    let begun = Instant::now();
    let (twin, base) = start_twin(size.people).await;
    let cluster = Cluster::start(&base).await;
    let accounts = cluster.store().await;
    let store: Arc<dyn Store> = accounts.clone();
    let reviewers = Reviewers::start(accounts, size.approvals).await;
    let ready = begun.elapsed();
    let stage =
        Stage { size, twin, cluster: RwLock::new(cluster), acks: AtomicUsize::new(0), poured: AtomicBool::new(false) };
    let senders = async {
        let sent = futures_util::future::join_all((0..size.senders).map(|lane| stage.send(lane))).await;
        stage.poured.store(true, Ordering::SeqCst);
        sent
    };
    let (promised, events) = futures_util::future::join(senders, stage.mischief()).await;
    let poured = begun.elapsed();
    stage.twin.clear_faults();
    reviewers.finished().await;
    let known = settled(&stage, &store, &promised, begun + size.patience).await;
    let approved = reviewers.end().await;
    let aftermath = Aftermath::read(&store, promised, known, events.values().sum()).await;
    eprintln!(
        "{size:?}\nready after {:.1} s, poured after {:.1} s, settled after {:.1} s; resets approved {approved}\n{events:?}\n{}",
        ready.as_secs_f64(),
        poured.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
        aftermath.tally(&stage.twin),
    );
    let log = tokio::task::block_in_place(|| stage.cluster.blocking_read().log());
    aftermath.holds(&stage.twin, &|| log.clone());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_survives_everything_at_once_and_its_books_agree() {
    let size = match Environment::of_process().get("OUST_CHAOS") {
        Some("full") => FULL,
        _ => SHORT,
    };
    chaos(size).await;
}
