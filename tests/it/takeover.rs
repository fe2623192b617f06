//! Two workers on one database: one is stopped in the middle of a call, past its lease, and wakes up again.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oust::domain::ledger::EffectState;
use oust::domain::run::{Entry, Event};
use oust::store::{Filter, Page, RunRow, Store};
use oust::twin::{Fault, Plan};

use crate::process::{Process, Site, detection};
use crate::support::postgres::Place;
use crate::support::{start_twin, until_async};

const REVOKE: &str = "revokeSignInSessions";

fn send(process: &Process, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(process.id()).expect("a pid")), signal).expect("alive");
}

fn site(graph: &url::Url, place: &Place) -> Site {
    let site = Site::new(graph);
    site.reconfigure("store: sqlite:oust.db\n", &format!("store: \"{}\"\n", place.url));
    site
}

async fn runs(store: &dyn Store) -> Vec<(RunRow, Vec<Entry>)> {
    let cases = store.cases(&Filter::default(), &Page::default()).await.expect("a read").items;
    match cases.first() {
        Some(case) => store.runs_of(case.id).await.expect("a read"),
        None => Vec::new(),
    }
}

/// Every outcome of the revoke in the journal, in order.
fn outcomes(runs: &[(RunRow, Vec<Entry>)]) -> Vec<&'static str> {
    let entries = runs.iter().flat_map(|(_, journal)| journal);
    let words = entries.filter_map(|entry| match &entry.event {
        Event::Intended { step, .. } if step.0 == "revoke_sessions" => Some("intended"),
        Event::Done { step, .. } if step.0 == "revoke_sessions" => Some("done"),
        Event::Failed { step, .. } if step.0 == "revoke_sessions" => Some("failed"),
        Event::Unknown { step, .. } if step.0 == "revoke_sessions" => Some("unknown"),
        _ => None,
    });
    words.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stopped_past_its_lease_is_replaced_and_cannot_write_when_it_wakes() {
    let (twin, graph) = start_twin(20).await;
    let place = Place::new().await;
    let (first, second) = (site(&graph, &place), site(&graph, &place));
    let store = place.open().await;
    let (alice, bob) = (twin.person(3), twin.person(4));
    // The call of the first worker is under way while it is stopped; its answer comes when it wakes.
    twin.fault(Plan::on(REVOKE, Fault::LateReply { ms: 9_000 }).user(alice).times(1));

    let stopped = first.serve().await;
    let body = detection(alice, "anomalousToken", Timestamp::now()).to_string();
    assert_eq!(first.post("sentinel", body.as_bytes()).await.0, 200);
    until_async("the first worker's call", async || twin.count(REVOKE, alice).received == 1).await;
    send(&stopped, Signal::SIGSTOP);
    let since = Instant::now();

    let _working = second.spawn_as("worker");
    until_async("the second worker's call", async || twin.count(REVOKE, alice).received == 2).await;
    let taken_over = since.elapsed();
    until_async("the record of it", async || outcomes(&runs(&*store).await).last() == Some(&"done")).await;
    let recorded = outcomes(&runs(&*store).await);
    assert_eq!(recorded, ["intended", "intended", "done"], "the intent of the dead, our own, our result");

    // Long enough for the late answer to lie in its socket.
    until_async("the late answer", async || since.elapsed() > Duration::from_secs(10)).await;
    send(&stopped, Signal::SIGCONT);
    // A connection kept from before is cut as idle: ask on a new one.
    until_async("it to answer again", async || first.is_ready().await).await;
    until_async("it to notice that its lease is over", async || {
        first.metrics().await.lines().any(|line| line == "oust_leases_lost_total 1")
    })
    .await;
    until_async("it to be a worker again", async || first.is_ready().await).await;

    let body = detection(bob, "anomalousToken", Timestamp::now()).to_string();
    assert_eq!(first.post("sentinel", body.as_bytes()).await.0, 200);
    until_async("life to go on", async || twin.count(REVOKE, bob).applied >= 1).await;
    let filter = Filter { object_id: Some(oust::domain::ObjectId::new(alice)), ..Filter::default() };
    let case = store.cases(&filter, &Page::default()).await.expect("a read").items.remove(0);
    let run = store.runs_of(case.id).await.expect("a read").remove(0);
    assert_eq!(outcomes(std::slice::from_ref(&run)), recorded, "the late answer was written");
    let effects = store.effects_of(run.0.id).await.expect("a read");
    let revoke = effects.iter().find(|effect| effect.action == "revoke_sessions").expect("a row");
    assert_eq!((revoke.state, revoke.attempt), (EffectState::Applied, 2));
    assert_eq!(twin.count(REVOKE, alice).received, 2, "one call of each, under one key");
    eprintln!("stopped to the next worker's call: {:.1} s", taken_over.as_secs_f64());
}
