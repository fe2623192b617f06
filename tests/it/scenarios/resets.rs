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
    app.seen(task.id).await;
    eventually(&app, "the second reset", async || app.count("resetPassword", ada).applied == 1).await;
    app.idle().await;
    let count = app.count("resetPassword", ada);
    assert_eq!((count.received, count.applied), (2, 1));
    assert_eq!(super::task(&app, &task).await.state.word(), "sealed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_graph_refused_is_done_by_hand_and_the_sessions_are_revoked_after_that_again() {
    let (app, ada, task) = asked().await;
    app.twin.fault(Plan::on("/users/", Fault::status(403)).method("PATCH"));
    vote(&app, &task, Verdict::Approve, true).await.expect("a vote");
    app.idle().await;
    assert_eq!(super::task(&app, &task).await.state.word(), "failed");
    assert_eq!(app.count("resetPassword", ada).applied, 0);
    let by_hand = the(&app, Kind::Manual).await;
    assert!(by_hand.revokes_after, "{by_hand:#?}");
    let before = app.count("revokeSignInSessions", ada).applied;
    app.do_by_hand().await;
    super::revoked(&app, ada, before + 1).await;
    app.idle().await;
    let case = &app.cases().await[0];
    assert!(case.state == "closed" && case.detail["reset_at"].is_string(), "{case:#?}");
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

/// Opens what was sealed to the base point: its private half is 1.
async fn password(app: &App, task: &Task) -> String {
    use base64::Engine as _;
    use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256 as SUITE;
    use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey};
    let sealed = app.store.sealed(task.id).await.expect("a read").expect("a secret");
    let part = |name: &str| {
        let text = sealed[name].as_str().expect("a part");
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("base64url")
    };
    let mut one = vec![0; 32];
    one[31] = 1;
    let (key, enc) = (HpkePrivateKey::from(one), EncapsulatedSecret(part("enc")));
    let aad = task.id.to_string();
    let clear =
        SUITE.open(&enc, b"oust temporary password v1", aad.as_bytes(), &part("ciphertext"), &key).expect("opens");
    String::from_utf8(clear).expect("text")
}

async fn detail(app: &App) -> serde_json::Value {
    app.cases().await[0].detail["changed_by_user_at"].clone()
}

async fn looked(app: &App) {
    push(app, SignedDuration::from_secs(11));
    app.engine.watch_once().await;
    app.idle().await;
}

/// The case is closed by then, or not: either way it says that the one-time password is no longer in use.
#[tokio::test(flavor = "multi_thread")]
async fn the_case_says_when_the_person_replaced_the_one_time_password() {
    let (app, ada, task) = asked().await;
    vote(&app, &task, Verdict::Approve, true).await.expect("a vote");
    eventually(&app, "the reset", async || super::task(&app, &task).await.state.word() == "sealed").await;
    super::revoked(&app, ada, 2).await;
    app.idle().await;
    looked(&app).await;
    assert!(detail(&app).await.is_null(), "our own change is not the person's");
    push(&app, SignedDuration::from_secs(60));
    let issued = password(&app, &task).await;
    app.twin.change_password(ada, &issued, "Their own, 7 words long").expect("a change");
    looked(&app).await;
    let changed: jiff::Timestamp = detail(&app).await.as_str().expect("an instant").parse().expect("an instant");
    assert!(app.clock.now().duration_since(changed) < SignedDuration::from_mins(2));
    assert!(app.picture().await.contains("password.changed_by_user"));
    let doc = app.store.person(&app.identity(ada)).await.expect("a read").expect("a person").doc;
    assert!(doc["handover"].is_null(), "nothing is left to look at");
}
