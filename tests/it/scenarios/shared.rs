//! The key scenarios on the shared store: the same outcomes as on a file of its own.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use oust::domain::task::{Kind, Verdict};
use oust::engine::{Fate, NoHook, Place as At};
use oust::store::{Batch, Lane, Op, Store};
use oust::twin::Special;

use super::{RESET, app_with, eventually, outcome, playbook, revoked, the, vote};
use crate::support::postgres::Place;
use crate::support::{App, Plan, Setup};

async fn shared(setup: Setup) -> App {
    app_with(Setup { place: Some(Place::new().await), ..setup }).await
}

/// The store as another process opens it.
async fn elsewhere(app: &App) -> Arc<dyn Store> {
    app.setup.place.as_ref().expect("a shared store").open().await
}

fn plain() -> Vec<(String, String)> {
    vec![playbook("plain", "  signals: [anomalous_token]\n", &format!("collect:\n  - do: read_risk\n{RESET}"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_contains_its_person_once_however_often_it_comes() {
    let app = shared(Setup::default()).await;
    let ada = app.twin.special(Special::Ada);
    let body = app.detection(ada, "anomalousToken", SignedDuration::from_mins(10));
    let first = app.deliver(&body).await[0];
    revoked(&app, ada, 1).await;
    app.idle().await;
    let again = app.deliver(&body).await[0];
    app.idle().await;
    assert_eq!(outcome(&app, first).await["word"], "act");
    assert_eq!(outcome(&app, again).await["word"], "redelivery");
    let count = app.count("revokeSignInSessions", ada);
    assert_eq!((count.received, count.applied), (1, 1));
    let cases = app.cases().await;
    assert_eq!(cases.len(), 1);
    assert!(cases[0].revoke_verified_at.is_some(), "{cases:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_alerts_at_once_contain_everybody_once() {
    let app = shared(Setup::default()).await;
    for index in 1..=25 {
        app.alert(app.twin.person(index), "anomalousToken").await;
    }
    eventually(&app, "everybody", async || {
        (1..=25).all(|index| app.count("revokeSignInSessions", app.twin.person(index)).applied == 1)
    })
    .await;
    app.idle().await;
    let counters = app.twin.counters().verb("revokeSignInSessions");
    assert_eq!((counters.received, counters.applied), (25, 25), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_reset_is_executed_once_and_revoked_after() {
    let app = shared(Setup { playbooks: plain(), ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let asked = the(&app, Kind::Approval).await;
    vote(&app, &asked, Verdict::Approve, true).await.expect("a vote");
    eventually(&app, "the reset", async || app.count("resetPassword", ada).applied == 1).await;
    app.idle().await;
    assert_eq!(super::task(&app, &asked).await.state.word(), "sealed");
    assert!(app.store.sealed(asked.id).await.expect("a read").is_some());
    assert_eq!(app.count("resetPassword", ada).received, 1);
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_another_process_holds_all_and_its_end_frees_containment() {
    let app = shared(Setup::default()).await;
    let ada = app.twin.special(Special::Ada);
    let other = elsewhere(&app).await;
    let pause = oust::http::Pause { by: "operator:op".into(), reason: None, at: Timestamp::now() };
    other.commit(Lane::Containment, pause.batch()).await.expect("durable");
    let app = app.restart(Arc::new(NoHook)).await;
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).received, 0);
    assert_eq!(app.cases().await[0].state, "parked");
    let ops = vec![Op::DropSetting { key: oust::http::PAUSE.into() }];
    other.commit(Lane::Containment, Batch { expect: None, ops }).await.expect("durable");
    revoked(&app, ada, 1).await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_capped_exactly() {
    let app = shared(Setup { blast_radius: Some((5, Duration::from_secs(600))), ..Setup::default() }).await;
    for index in 1..=20 {
        app.alert(app.twin.person(index), "anomalousToken").await;
    }
    app.idle().await;
    assert_eq!(app.twin.counters().verb("revokeSignInSessions").applied, 5);
    assert_eq!(app.cases().await.iter().filter(|case| case.state == "parked").count(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_any_place_of_a_revoke_is_succeeded_and_the_session_ends() {
    for place in [At::BeforeCall, At::BeforeResult] {
        let hook = Plan::once(place, "revoke_sessions", Fate::Die);
        let app = shared(Setup { hook: hook.clone(), ..Setup::default() }).await;
        let ada = app.twin.special(Special::Ada);
        app.alert(ada, "anomalousToken").await;
        crate::support::until("the worker to die", || hook.was_met()).await;
        // The lease of the dead one ends by itself: until then nobody touches the person.
        let app = app.restart(Arc::new(NoHook)).await;
        eventually(&app, "the containment", async || {
            app.cases().await.first().is_some_and(|case| case.revoke_verified_at.is_some())
        })
        .await;
        assert!((1..=2).contains(&app.count("revokeSignInSessions", ada).applied), "{place:?}");
        assert_eq!(app.cases().await.len(), 1, "{place:?}");
    }
}
