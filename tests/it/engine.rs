//! From a signal to an eviction, on a real store against the twin.

use jiff::SignedDuration;
use oust::domain::person::CASE_WORDS;
use oust::domain::task::{Kind, Verdict};
use oust::store::{Audit, Batch, Lane, Op};
use oust::twin::Special;
use serde_json::json;

use crate::support::{App, Setup, is_waiting, until, until_async};

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_revokes_at_once_and_a_reset_waits_for_a_human() {
    let app = App::start().await;
    let ada = app.twin.special(Special::Ada);
    let signal = app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1, "{}", app.picture().await);
    assert_eq!(app.signal(signal).await["outcome"]["word"], "act");
    let waiting: Vec<_> = app.open_tasks().await.into_iter().filter(|t| t.kind == Kind::Approval).collect();
    assert_eq!(waiting.len(), 1, "one task for consecutive steps under one policy");
    let actions: Vec<_> = waiting[0].rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["confirm_compromised", "reset_password"]);
    assert!(is_waiting(&waiting[0]));
    assert_eq!(app.count("resetPassword", ada).received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_reset_is_followed_by_another_revoke_and_the_case_closes() {
    let app = App::start().await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.approve_all().await, 1);
    app.do_by_hand().await;
    app.idle().await;
    assert_eq!(app.count("resetPassword", ada).applied, 1, "{}", app.picture().await);
    assert_eq!(app.count("confirmCompromised", ada).applied, 1);
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_reset_changes_nothing_more() {
    let app = App::start().await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "unlikelyTravel").await;
    app.idle().await;
    let task = app.open_tasks().await.into_iter().find(|t| t.kind == Kind::Approval).expect("a task");
    app.vote(task.id, Verdict::Deny).await.expect("a vote");
    app.idle().await;
    assert_eq!(app.count("resetPassword", ada).received, 0);
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    assert_eq!(app.cases().await[0].state, "closed", "{}", app.picture().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_covered_signal_joins_and_a_later_one_revokes_again() {
    let app = App::start().await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let older = app.deliver(&app.detection(ada, "anomalousToken", SignedDuration::from_mins(30))).await[0];
    app.idle().await;
    assert_eq!(app.signal(older).await["outcome"]["word"], "covered");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    app.clock.advance(SignedDuration::from_mins(1));
    let newer = app.deliver(&app.detection(ada, "anomalousToken", SignedDuration::ZERO)).await[0];
    app.idle().await;
    assert_eq!(app.signal(newer).await["outcome"]["word"], "act");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2, "{}", app.picture().await);
    let approvals = app.open_tasks().await.into_iter().filter(|t| t.kind == Kind::Approval).count();
    assert_eq!(approvals, 1, "never two open reset tasks");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivery_starts_nothing() {
    let app = App::start().await;
    let ada = app.twin.special(Special::Ada);
    let body = app.detection(ada, "anomalousToken", SignedDuration::from_mins(5));
    let first = app.deliver(&body).await[0];
    app.idle().await;
    let again = app.deliver(&body).await[0];
    app.idle().await;
    assert_eq!(app.signal(first).await["outcome"]["word"], "act");
    assert_eq!(app.signal(again).await["outcome"]["word"], "redelivery");
    assert_eq!(app.signal(again).await["outcome"]["first"], first.to_string());
    assert_eq!(app.count("revokeSignInSessions", ada).received, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_glass_identity_is_never_touched() {
    let mut setup = Setup::default();
    let app = App::start().await;
    let glass = app.twin.special(Special::BreakGlass);
    setup.break_glass = vec![glass];
    let app = App::on(setup, app.twin.clone(), app.base.clone()).await;
    app.alert(glass, "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", glass).received, 0);
    assert!(app.picture().await.contains("guard.refused"));
    assert!(app.open_tasks().await.iter().any(|t| t.title.contains("break-glass")));
}

/// What a gauge stands at.
fn gauge(app: &App, name: &str) -> Option<f64> {
    let text = app.setup.telemetry.render();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_stands_still_is_seen_to_fall_behind() {
    let app = App::start().await;
    let record = |at| {
        let (actor, verb) = ("operator:ada".to_owned(), "a.deed".to_owned());
        Op::Audit(Box::new(Audit { at, actor, verb, tenant: None, object_id: None, case: None, detail: json!({}) }))
    };
    // An end that nobody can go on from.
    let torn = Op::PutSetting { key: "audit:tip".into(), value: json!({ "position": "torn" }) };
    let one = vec![torn, record(app.clock.now())];
    app.store.commit(Lane::Other, Batch { expect: None, ops: one }).await.expect("written");
    app.clock.advance(SignedDuration::from_mins(7));
    let another = vec![record(app.clock.now())];
    app.store.commit(Lane::Other, Batch { expect: None, ops: another }).await.expect("written");
    until("the oldest one's age", || gauge(&app, "oust_audit_lag_seconds ").is_some_and(|lag| lag >= 420.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_cases_are_counted_by_where_they_stand() {
    let app = App::start().await;
    app.alert(app.twin.person(1), "anomalousToken").await;
    app.idle().await;
    let of = |word: &str| gauge(&app, &format!("oust_cases{{state=\"{word}\"}} "));
    until_async("one case where it stands, none elsewhere", async || {
        let state = app.cases().await[0].state.clone();
        CASE_WORDS.iter().all(|word| of(word) == Some(if *word == state { 1.0 } else { 0.0 }))
    })
    .await;
}
