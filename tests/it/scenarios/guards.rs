//! Guards below every playbook: break-glass, pause, the blast radius.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use oust::domain::task::{Kind, Task, Verdict};
use oust::store::sqlite::{Options, Sqlite};
use oust::store::{Batch, Lane, Op, Store};
use oust::twin::{Fault, Plan, Special};

use super::{app_with, eventually, lasting_twin, open, outcome, playbook, push, revoked, the, vote};
use crate::support::{App, Setup};

/// The store as another process opens it.
fn elsewhere(app: &App) -> std::sync::Arc<Sqlite> {
    Sqlite::open(app.dir.path().join("oust.db"), Options::default()).expect("the same store")
}

async fn pause(app: &App) {
    let pause =
        oust::http::Pause { by: "operator:op".into(), reason: Some("change freeze".into()), at: Timestamp::now() };
    elsewhere(app).commit(Lane::Containment, pause.batch()).await.expect("durable");
}

async fn resume(app: &App) {
    let ops = vec![Op::DropSetting { key: oust::http::PAUSE.into() }];
    elsewhere(app).commit(Lane::Containment, Batch { expect: None, ops }).await.expect("durable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_break_glass_group_is_never_touched() {
    let (twin, base) = lasting_twin(5).await;
    let glass = twin.special(Special::BreakGlass);
    let setup = Setup { break_glass_group: Some(twin.break_glass_group()), ..Setup::default() };
    let app = App::on(setup, twin, base).await;
    eventually(&app, "the members", async || app.picture().await.contains("break_glass_group:contoso")).await;
    app.alert(glass, "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", glass).received, 0);
    assert!(open(&app, Kind::Manual).await.iter().any(|task| task.title.contains("break-glass")));
    assert!(app.picture().await.contains("guard.refused"));
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    revoked(&app, ada, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_never_read_lets_the_revoke_go_and_parks_the_reset_until_it_is() {
    let (twin, base) = lasting_twin(5).await;
    twin.fault(Plan::on("/groups/", Fault::status(503)));
    let ada = twin.special(Special::Ada);
    let setup = Setup { break_glass_group: Some(twin.break_glass_group()), ..Setup::default() };
    let app = App::on(setup, twin, base).await;
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    assert_eq!(app.approve_all().await, 1);
    app.idle().await;
    assert_eq!(app.count("resetPassword", ada).received, 0, "hard effects park");
    assert!(app.picture().await.contains("its members were never read yet"));
    app.twin.clear_faults();
    let app = app.restart(std::sync::Arc::new(oust::engine::NoHook)).await;
    for task in app.open_tasks().await {
        app.seen(task.id).await;
    }
    eventually(&app, "the reset", async || app.count("resetPassword", ada).applied == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_every_effect_takes_every_signal_and_its_end_frees_containment() {
    let app = app_with(Setup::default()).await;
    let (ada, one) = (app.twin.special(Special::Ada), app.twin.person(1));
    pause(&app).await;
    let app = app.restart(std::sync::Arc::new(oust::engine::NoHook)).await;
    let signals = [app.alert(ada, "anomalousToken").await, app.alert(one, "unlikelyTravel").await];
    app.idle().await;
    for signal in signals {
        assert_eq!(outcome(&app, signal).await["word"], "act");
    }
    assert_eq!(app.twin.counters().verb("revokeSignInSessions").received, 0);
    assert!(app.cases().await.iter().all(|case| case.state == "parked"), "{:#?}", app.cases().await);
    let later = app.alert(ada, "anomalousToken").await;
    app.idle().await;
    resume(&app).await;
    revoked(&app, ada, 1).await;
    revoked(&app, one, 1).await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1, "all that waited is one revoke");
    assert_ne!(outcome(&app, later).await["word"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_comes_while_running_is_noticed_and_its_end_while_down_too() {
    let app = app_with(Setup::default()).await;
    let ada = app.twin.special(Special::Ada);
    pause(&app).await;
    // What is alerted before the pause was noticed goes; the next person is another one.
    eventually(&app, "the pause to be noticed", async || {
        app.cases().await.iter().any(|case| case.state == "parked") || {
            app.alert(app.twin.person(app.cases().await.len() + 1), "anomalousToken").await;
            app.idle().await;
            false
        }
    })
    .await;
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).received, 0);
    app.engine.stop(Duration::from_secs(5)).await;
    resume(&app).await;
    let app = app.restart(std::sync::Arc::new(oust::engine::NoHook)).await;
    revoked(&app, ada, 1).await;
}

async fn storm(people: usize) -> (App, HashSet<uuid::Uuid>) {
    let setup = Setup { blast_radius: Some((5, Duration::from_secs(600))), ..Setup::default() };
    let app = app_with(setup).await;
    for index in 1..=people {
        app.alert(app.twin.person(index), "anomalousToken").await;
    }
    app.idle().await;
    let revoked = done(&app, people);
    (app, revoked)
}

fn done(app: &App, people: usize) -> HashSet<uuid::Uuid> {
    let count = |index| (app.twin.person(index), app.count("revokeSignInSessions", app.twin.person(index)));
    (1..=people).map(count).filter(|(_, count)| count.applied == 1).map(|(user, _)| user).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_beyond_the_cap_parks_the_rest_under_one_task_whose_approval_frees_all() {
    let (app, first) = storm(20).await;
    assert_eq!(first.len(), 5, "exactly as many as the cap allows");
    let parked = app.cases().await.iter().filter(|case| case.state == "parked").count();
    assert_eq!(parked, 15);
    let release = the(&app, Kind::Release).await;
    vote(&app, &release, Verdict::Approve, false).await.expect("a vote");
    eventually(&app, "everybody", async || done(&app, 20).len() == 20).await;
    app.idle().await;
    let counters = app.twin.counters().verb("revokeSignInSessions");
    assert_eq!((counters.received, counters.applied), (20, 20), "each once");
    assert_eq!(open(&app, Kind::Release).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_survives_a_restart_before_and_after_its_release() {
    let (app, first) = storm(20).await;
    assert_eq!(first.len(), 5);
    let app = app.restart(std::sync::Arc::new(oust::engine::NoHook)).await;
    app.idle().await;
    assert_eq!(done(&app, 20).len(), 5, "a restart releases nothing");
    let release = the(&app, Kind::Release).await;
    // Approved, and killed before anybody was woken.
    app.twin.fault(Plan::on("revokeSignInSessions", Fault::status(503)));
    vote(&app, &release, Verdict::Approve, false).await.expect("a vote");
    let app = app.restart(std::sync::Arc::new(oust::engine::NoHook)).await;
    app.twin.clear_faults();
    eventually(&app, "everybody", async || {
        super::push(&app, SignedDuration::from_secs(1));
        done(&app, 20).len() == 20
    })
    .await;
    app.idle().await;
    assert_eq!(app.twin.counters().verb("revokeSignInSessions").applied, 20, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_release_leaves_the_rest_parked() {
    let (app, first) = storm(8).await;
    assert_eq!(first.len(), 5);
    let release = the(&app, Kind::Release).await;
    vote(&app, &release, Verdict::Deny, false).await.expect("a vote");
    app.idle().await;
    assert_eq!(done(&app, 8).len(), 5);
    assert_eq!(app.cases().await.iter().filter(|case| case.state == "parked").count(), 3);
}

async fn deny(app: &App) -> Task {
    let release = the(app, Kind::Release).await;
    vote(app, &release, Verdict::Deny, false).await.expect("a vote");
    app.idle().await;
    release
}

/// Somebody whose revoke the storm parked.
fn parked(app: &App, first: &HashSet<uuid::Uuid>) -> uuid::Uuid {
    let person = (1..=8).map(|index| app.twin.person(index)).find(|person| !first.contains(person));
    person.expect("three are beyond the cap")
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_denial_a_newer_alert_goes_where_there_is_room_and_pages_a_new_release_where_there_is_none() {
    let (app, first) = storm(8).await;
    let (denied, one) = (deny(&app).await, parked(&app, &first));
    app.alert(one, "anomalousToken").await;
    app.idle().await;
    let release = the(&app, Kind::Release).await;
    assert_ne!(release.id, denied.id, "people are asked anew");
    assert_eq!(app.count("revokeSignInSessions", one).received, 0);
    deny(&app).await;
    let app = app.restart(std::sync::Arc::new(oust::engine::NoHook)).await;
    push(&app, SignedDuration::from_mins(11));
    let signal = app.alert(one, "anomalousToken").await;
    revoked(&app, one, 1).await;
    app.idle().await;
    assert_eq!(outcome(&app, signal).await["word"], "act");
    assert_eq!(open(&app, Kind::Release).await.len(), 0);
    assert_eq!(done(&app, 8).len(), 6, "nobody else was let go");
    let case = app.cases().await.into_iter().find(|case| case.identity == app.identity(one)).expect("her case");
    assert_ne!(case.state, "parked", "what was parked is done with it");
}

/// A hard containing step that waits for a human holds back neither the next revoke nor the rest of its run.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_in_contain_holds_nothing_back() {
    let on = "  signals: [anomalous_token]\n";
    let rest = "  - do: disable_account\n    approval: on_call\ncollect:\n  - do: read_user\n";
    let app = app_with(Setup { playbooks: vec![playbook("strict", on, rest)], ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let waiting = the(&app, Kind::Approval).await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    assert!(app.picture().await.contains("collect_ended"), "the reads go on");
    push(&app, SignedDuration::from_mins(15));
    app.alert(ada, "anomalousToken").await;
    revoked(&app, ada, 2).await;
    app.idle().await;
    assert_eq!(super::task(&app, &waiting).await.state.word(), "pending");
    assert!(app.twin.user(ada).expect("ada").enabled, "nothing was released");
    vote(&app, &waiting, Verdict::Approve, true).await.expect("a vote");
    revoked(&app, ada, 3).await;
}
