//! Between the question and the deed: expiry, lapse, denial, absence, a closed risk, a stale page.

use jiff::SignedDuration;
use oust::domain::task::{Ballot, Escalation, Event, Kind, Policy, Refused, Reviewer, Task, Verdict};
use oust::engine::DecideError;
use oust::twin::{Fault, Plan, Special};
use uuid::Uuid;

use super::{RESET, app, app_with, eventually, open, playbook, push, the, vote};
use crate::support::{App, Setup, policy, reviewer};

/// A contained person whose reset waits for a decision, nothing else beside it.
async fn waiting() -> (App, Uuid, Task) {
    let on = "  signals: [anomalous_token]\n";
    let rest = format!("collect:\n  - do: read_risk\n{RESET}");
    let app = app_with(Setup { playbooks: vec![playbook("plain", on, &rest)], ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let task = the(&app, Kind::Approval).await;
    (app, ada, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_executes_nothing_and_leaves_the_case_open() {
    let (app, ada, asked) = waiting().await;
    push(&app, SignedDuration::from_hours(4));
    app.idle().await;
    assert_eq!(super::task(&app, &asked).await.state.word(), "expired");
    assert!(app.picture().await.contains("task.expired"), "what clocks do is in the trail");
    let case = &app.cases().await[0];
    assert_eq!((case.state.as_str(), case.closed_at), ("password_unchanged", None));
    assert_eq!(app.count("resetPassword", ada).received, 0);
    let late = vote(&app, &asked, Verdict::Approve, true).await;
    assert!(matches!(late, Err(DecideError::Refused(Refused::Conflict { .. }))), "{late:?}");
    app.idle().await;
    assert_eq!(app.count("resetPassword", ada).received, 0);
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_task_is_escalated_to_may_decide_it_from_then_on() {
    let escalate = Escalation { after: SignedDuration::from_mins(10), to: vec!["group:leads".into()] };
    let rest = vec![playbook("plain", "  signals: [anomalous_token]\n", RESET)];
    let slow = Policy { escalate: Some(escalate), ..policy() };
    let app = app_with(Setup { playbooks: rest, policy: slow, ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let asked = the(&app, Kind::Approval).await;
    let lead = async || {
        let shown = super::task(&app, &asked).await;
        let by = Reviewer { groups: vec!["leads".into()], ..reviewer("lea", app.clock.now()) };
        let ballot = Ballot {
            by,
            verdict: Verdict::Deny,
            reason: Some("a test by the team".into()),
            digest: shown.digest(),
            recipient_key: None,
        };
        app.engine.decide(asked.id, "reviewer:lea", Event::Vote(Box::new(ballot))).await
    };
    let early = lead().await;
    assert!(matches!(early, Err(DecideError::Refused(Refused::Forbidden { .. }))), "{early:?}");
    push(&app, SignedDuration::from_mins(10));
    app.idle().await;
    assert_eq!(super::task(&app, &asked).await.state.word(), "escalated");
    assert!(app.picture().await.contains("task.escalated"), "what clocks do is in the trail");
    lead().await.expect("entitled now");
    assert_eq!(super::task(&app, &asked).await.state.word(), "denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_lapses_executes_nothing() {
    let (app, ada, asked) = waiting().await;
    vote(&app, &asked, Verdict::Approve, false).await.expect("a vote");
    app.idle().await;
    assert_eq!(super::task(&app, &asked).await.state.word(), "approved");
    push(&app, SignedDuration::from_hours(1));
    app.seen(asked.id).await;
    app.idle().await;
    assert_eq!(super::task(&app, &asked).await.state.word(), "lapsed");
    assert!(app.picture().await.contains("task.lapsed"), "what clocks do is in the trail");
    assert_eq!(app.count("resetPassword", ada).received, 0);
    assert_eq!(app.cases().await[0].state, "password_unchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_deciding_browser_a_reset_is_not_begun_until_it_is_seen() {
    let (app, ada, asked) = waiting().await;
    vote(&app, &asked, Verdict::Approve, false).await.expect("a vote");
    app.idle().await;
    push(&app, SignedDuration::from_mins(5));
    app.idle().await;
    assert_eq!(app.count("resetPassword", ada).received, 0);
    assert_eq!(super::task(&app, &asked).await.state.word(), "approved");
    app.seen(asked.id).await;
    eventually(&app, "the reset", async || app.count("resetPassword", ada).applied == 1).await;
    app.idle().await;
    assert_eq!(super::task(&app, &asked).await.state.word(), "sealed");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_after_the_approval_and_before_the_claim_wins() {
    let (app, ada, asked) = waiting().await;
    vote(&app, &asked, Verdict::Approve, false).await.expect("a vote");
    app.idle().await;
    vote(&app, &asked, Verdict::Deny, false).await.expect("a vote");
    app.seen(asked.id).await;
    app.idle().await;
    assert_eq!(super::task(&app, &asked).await.state.word(), "revoked");
    assert_eq!(app.count("resetPassword", ada).received, 0);
    let again = vote(&app, &asked, Verdict::Approve, true).await;
    assert!(matches!(again, Err(DecideError::Refused(Refused::Conflict { .. }))), "{again:?}");
    app.idle().await;
    assert_eq!(app.count("resetPassword", ada).received, 0);
    assert_eq!(app.cases().await[0].state, "closed");
}

/// Somebody changes something in Entra itself.
pub(super) async fn in_entra(app: &App, method: reqwest::Method, path: &str, body: serde_json::Value) {
    let token = app.twin_token().await;
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client")
        .request(method, format!("{}v1.0/{path}", app.base))
        .bearer_auth(token)
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .expect("an answer");
    assert!(answer.status().is_success(), "{answer:?}");
}

async fn dismiss(app: &App, user: Uuid) {
    let path = "identityProtection/riskyUsers/dismiss";
    in_entra(app, reqwest::Method::POST, path, serde_json::json!({"userIds": [user]})).await;
}

trait Token {
    async fn twin_token(&self) -> String;
}

impl Token for App {
    async fn twin_token(&self) -> String {
        let config = oust::twin::Config::default();
        let url = format!("{}{}/oauth2/v2.0/token", self.base, config.tenant_id);
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default",
            config.client_id, config.client_secret
        );
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer =
            client.post(url).header("content-type", "application/x-www-form-urlencoded").body(form).send().await;
        let text = answer.expect("an answer").text().await.expect("a body");
        let body: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        body["access_token"].as_str().unwrap_or_else(|| panic!("no token in {text}")).to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_risk_dismissed_between_approval_and_claim_cancels_the_reset() {
    let (app, ada, _) = {
        let (app, ada, asked) = waiting().await;
        vote(&app, &asked, Verdict::Approve, false).await.expect("a vote");
        app.idle().await;
        (app, ada, asked)
    };
    app.twin.add_detection(&oust::twin::NewDetection { user: ada, ..Default::default() }).expect("a detection");
    dismiss(&app, ada).await;
    assert_eq!(app.twin.user(ada).expect("ada").risk_state, "dismissed");
    let asked = the(&app, Kind::Approval).await;
    app.seen(asked.id).await;
    eventually(&app, "the cancellation", async || super::task(&app, &asked).await.state.is_terminal()).await;
    app.idle().await;
    let after = super::task(&app, &asked).await;
    assert_eq!(after.state.word(), "cancelled", "{after:#?}");
    assert!(format!("{:?}", after.state).contains("risk was"), "{:?}", after.state);
    assert_eq!(app.count("resetPassword", ada).received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_risk_dismissed_after_the_approval_cancels_the_confirmation_too() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let asked = the(&app, Kind::Approval).await;
    app.twin.add_detection(&oust::twin::NewDetection { user: ada, ..Default::default() }).expect("a detection");
    dismiss(&app, ada).await;
    vote(&app, &asked, Verdict::Approve, true).await.expect("a vote");
    app.idle().await;
    assert_eq!(super::task(&app, &asked).await.state.word(), "cancelled");
    assert_eq!(app.count("confirmCompromised", ada).received, 0);
    assert_eq!(app.count("resetPassword", ada).received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_of_a_stale_page_is_refused() {
    let (app, ada, asked) = waiting().await;
    let now = app.clock.now();
    let mut other = asked.clone();
    other.snapshot.number += 1;
    let ballot = Ballot {
        by: reviewer("rita", now),
        verdict: Verdict::Approve,
        reason: None,
        digest: other.digest(),
        recipient_key: Some(app.recipient.clone()),
    };
    let refused = app.engine.decide(asked.id, "reviewer:rita", Event::Vote(Box::new(ballot))).await;
    assert!(matches!(refused, Err(DecideError::Refused(Refused::Stale { .. }))), "{refused:?}");
    app.idle().await;
    assert_eq!(super::task(&app, &asked).await.state.word(), "pending");
    assert_eq!(app.count("resetPassword", ada).received, 0);
    assert!(app.picture().await.contains("task.refused"), "refusals are recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_evidence_is_counted_and_holds_off_no_decision() {
    let (app, ada, asked) = waiting().await;
    let body = app.detection(ada, "anomalousToken", SignedDuration::from_mins(20));
    app.deliver(&body).await;
    app.idle().await;
    assert_eq!(super::task(&app, &asked).await.newer, 1);
    vote(&app, &asked, Verdict::Approve, true).await.expect("what was shown is what is decided");
    eventually(&app, "the reset", async || app.count("resetPassword", ada).applied == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_waits_for_the_revoke_of_a_newer_activity() {
    let (app, ada, asked) = waiting().await;
    push(&app, SignedDuration::from_mins(2));
    app.twin.fault(Plan::on("revokeSignInSessions", Fault::status(503)));
    app.deliver(&app.detection(ada, "anomalousToken", SignedDuration::ZERO)).await;
    eventually(&app, "the failing revoke", async || app.count("revokeSignInSessions", ada).received >= 2).await;
    vote(&app, &asked, Verdict::Approve, true).await.expect("a vote");
    eventually(&app, "some more tries", async || app.count("revokeSignInSessions", ada).received >= 4).await;
    assert_eq!(app.count("resetPassword", ada).received, 0, "not before the revoke was accepted");
    app.twin.clear_faults();
    app.seen(asked.id).await;
    eventually(&app, "the reset", async || app.count("resetPassword", ada).applied == 1).await;
    assert_eq!(open(&app, Kind::Held).await.len(), 0);
    let task = app.store.task(asked.id).await.expect("a read").expect("the task");
    assert_ne!(task.state.word(), "pending");
}
