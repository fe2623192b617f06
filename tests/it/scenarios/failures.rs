//! Graph refuses, throttles, loses and hangs: containment goes on, and every effect has one outcome.

use std::time::Instant;

use jiff::SignedDuration;
use oust::domain::task::Kind;
use oust::twin::{Fault, Plan, Special};

use super::{app, eventually, open, push, revoked, the};

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_revoke_is_tried_until_it_is_allowed_beside_one_manual_task() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.twin.fault(Plan::on("revokeSignInSessions", Fault::status(403)));
    app.alert(ada, "anomalousToken").await;
    eventually(&app, "the manual task", async || !open(&app, Kind::Manual).await.is_empty()).await;
    for round in 2..5 {
        push(&app, SignedDuration::from_secs(40));
        eventually(&app, "the next try", async || app.count("revokeSignInSessions", ada).received >= round).await;
        app.idle().await;
    }
    let failing = |tasks: Vec<oust::domain::task::Task>| {
        tasks.into_iter().filter(|task| task.title.contains("keeps failing")).count()
    };
    assert_eq!(failing(open(&app, Kind::Manual).await), 1);
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 0);
    assert_eq!(app.count("resetPassword", ada).received, 0);
    app.twin.clear_faults();
    push(&app, SignedDuration::from_secs(40));
    revoked(&app, ada, 1).await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    assert_eq!(app.cases().await[0].state, "contained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_revoke_waits_as_told_and_takes_effect_once() {
    for retry_after in [Some(1), None] {
        let app = app().await;
        let ada = app.twin.special(Special::Ada);
        let status = Fault::Status { status: 429, retry_after, code: None, message: None };
        app.twin.fault(Plan::on("revokeSignInSessions", status).times(2));
        app.alert(ada, "anomalousToken").await;
        revoked(&app, ada, 1).await;
        app.idle().await;
        let count = app.count("revokeSignInSessions", ada);
        assert_eq!((count.received, count.applied), (3, 1), "Retry-After {retry_after:?}");
        assert_eq!(open(&app, Kind::Held).await.len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_whose_reply_is_lost_is_repeated_under_the_same_key() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.twin.fault(Plan::on("revokeSignInSessions", Fault::LostReply).times(1));
    app.alert(ada, "anomalousToken").await;
    eventually(&app, "the repetition", async || app.count("revokeSignInSessions", ada).received == 2).await;
    app.idle().await;
    let calls = app.twin.calls(0, 10_000);
    let mut keys: Vec<_> = calls
        .iter()
        .filter(|call| call.verb == "revokeSignInSessions")
        .filter_map(|call| call.client_request_id.clone())
        .collect();
    assert_eq!(keys.len(), 2, "{calls:#?}");
    keys.dedup();
    assert_eq!(keys.len(), 1, "one key");
    assert_eq!(app.cases().await[0].state, "contained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_collaborator_delays_no_revoke_and_collect_ends_after_twenty_seconds() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.twin.fault(Plan::on("auditLogs/signIns", Fault::Hang));
    let begun = Instant::now();
    app.alert(ada, "anomalousToken").await;
    revoked(&app, ada, 1).await;
    assert!(begun.elapsed().as_secs() < 5, "the revoke did not wait");
    eventually(&app, "the other reads", async || app.count("readAuthMethods", ada).received > 0).await;
    assert_eq!(open(&app, Kind::Approval).await.len(), 0, "collect still waits");
    push(&app, SignedDuration::from_secs(21));
    eventually(&app, "the approval", async || !open(&app, Kind::Approval).await.is_empty()).await;
    assert!(begun.elapsed().as_secs() < 9, "it did not wait for the read's own deadline");
    assert_eq!(the(&app, Kind::Approval).await.rows.len(), 2);
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmoved_field_after_an_accepted_revoke_raises_a_task_at_last() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.twin.set_knobs(oust::twin::Knobs { revoke_field_frozen: true, ..app.twin.knobs() });
    app.alert(ada, "anomalousToken").await;
    revoked(&app, ada, 1).await;
    let title = "Revoke accepted, but not visible";
    eventually(&app, "the task", async || {
        push(&app, SignedDuration::from_secs(601));
        open(&app, Kind::Manual).await.iter().any(|task| task.title == title)
    })
    .await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    assert_eq!(app.cases().await[0].revoke_verified_at, None);
}
