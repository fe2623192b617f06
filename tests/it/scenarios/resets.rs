//! A reset whose outcome nobody told: verified, never guessed, never repeated.

use jiff::SignedDuration;
use oust::domain::task::{Kind, Task, Verdict};
use oust::twin::{Fault, Plan, Special};
use uuid::Uuid;

use super::{RESET, app_with, eventually, playbook, push, the, vote};
use crate::support::{App, Setup};

async fn asked() -> (App, Uuid, Task) {
    let on = "  signals: [anomalous_token]\n";
    let app = app_with(Setup { playbooks: vec![playbook("plain", on, RESET)], ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let task = the(&app, Kind::Approval).await;
    (app, ada, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_whose_reply_is_lost_is_verified_as_executed_and_never_sent_again() {
    let (app, ada, task) = asked().await;
    app.twin.fault(Plan::on("/users/", Fault::LostReply).method("PATCH").times(1));
    vote(&app, &task, Verdict::Approve, true).await.expect("a vote");
    eventually(&app, "doubt", async || super::task(&app, &task).await.state.word() == "unknown").await;
    super::revoked(&app, ada, 2).await;
    assert!(app.picture().await.contains("effect.unanswered"));
    push(&app, SignedDuration::from_secs(25));
    eventually(&app, "certainty", async || super::task(&app, &task).await.state.word() == "sealed").await;
    app.idle().await;
    let count = app.count("resetPassword", ada);
    assert_eq!((count.received, count.applied), (1, 1), "never called twice");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2, "the revoke after it was sent in doubt already");
    assert!(app.cases().await[0].detail["reset_at"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_was_cut_before_it_took_effect_may_run_again_under_the_same_approval() {
    let (app, ada, task) = asked().await;
    app.twin.fault(Plan::on("/users/", Fault::Drop).method("PATCH").times(1));
    vote(&app, &task, Verdict::Approve, true).await.expect("a vote");
    eventually(&app, "doubt", async || super::task(&app, &task).await.state.word() == "unknown").await;
    push(&app, SignedDuration::from_secs(25));
    app.engine.seen(task.id);
    eventually(&app, "the second reset", async || app.count("resetPassword", ada).applied == 1).await;
    app.idle().await;
    let count = app.count("resetPassword", ada);
    assert_eq!((count.received, count.applied), (2, 1));
    assert_eq!(super::task(&app, &task).await.state.word(), "sealed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_in_doubt_is_verified_by_the_process_that_comes_after() {
    let (app, ada, task) = asked().await;
    app.twin.fault(Plan::on("/users/", Fault::LostReply).method("PATCH").times(1));
    vote(&app, &task, Verdict::Approve, true).await.expect("a vote");
    eventually(&app, "doubt", async || super::task(&app, &task).await.state.word() == "unknown").await;
    let app = app.restart(std::sync::Arc::new(oust::engine::NoHook)).await;
    push(&app, SignedDuration::from_secs(25));
    eventually(&app, "certainty", async || super::task(&app, &task).await.state.word() == "sealed").await;
    super::revoked(&app, ada, 2).await;
    app.idle().await;
    let count = app.count("resetPassword", ada);
    assert_eq!((count.received, count.applied), (1, 1));
}
