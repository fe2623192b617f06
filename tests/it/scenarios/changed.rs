//! What changed since it was shown: an approval is refused with the difference, at submit and at the claim.

use jiff::SignedDuration;
use oust::domain::task::{Changed, Kind, Role, Task, Verdict};
use oust::twin::{Fault, Plan, Special};
use reqwest::Method;
use serde_json::{Value, json};

use super::console::{Scene, scene_on};
use super::decisions::in_entra;
use super::{RESET, app_with, eventually, open, playbook, push, the, vote};
use crate::sign_in::authenticator::{Key, Says};
use crate::sign_in::house::{Browser, Reply};
use crate::support::{App, Setup};

/// A reset after a look at the account.
fn looking() -> Vec<(String, String)> {
    vec![playbook("plain", "  signals: [anomalous_token]\n", &format!("collect:\n  - do: read_user\n{RESET}"))]
}

async fn disable(app: &App, user: uuid::Uuid) {
    in_entra(app, Method::PATCH, &format!("users/{user}"), json!({ "accountEnabled": false })).await;
}

/// Somebody whose collection is so slow that people are asked before it ends; its result comes while they look.
async fn asked_too_early(scene: &Scene, read: &str, victim: uuid::Uuid) -> Task {
    let app = &scene.app;
    // The revoke is read back, and the risk read, by requests that look alike: all are slow.
    app.twin.fault(Plan::on(read, Fault::Delay { ms: 3_500 }).method("GET").times(4));
    app.alert(victim, "anomalousToken").await;
    let about = async || {
        let tasks = open(app, Kind::Approval).await;
        tasks.into_iter().find(|task| task.identity == Some(app.identity(victim)))
    };
    super::revoked(app, victim, 1).await;
    // From then on the collection's time runs.
    eventually(app, "the reading to be out", async || app.twin.faults().iter().any(|plan| plan.matched > 0)).await;
    push(app, SignedDuration::from_secs(21));
    eventually(app, "the question", async || about().await.is_some()).await;
    about().await.expect("asked")
}

async fn begin(browser: &mut Browser<'_>, task: &Task, verdict: &str, recipient: &str) -> Reply {
    let wanted = json!({
        "task": task.id, "revision": task.revision, "verdict": verdict, "digest": task.digest(), "reason": "on the phone",
        "recipient_key": recipient,
    });
    browser.post("/console/decide/begin", wanted).await
}

async fn finish(browser: &mut Browser<'_>, key: &mut Key, begun: &Reply) -> Reply {
    assert_eq!(begun.status, 200, "{begun:?}");
    let credential = key.get(&begun.body, &Says::get());
    let finish = json!({ "ceremony": begun.body["ceremony"], "credential": credential });
    browser.post("/console/decide/finish", finish).await
}

fn difference(reply: &Reply) -> &Value {
    assert_eq!((reply.status.as_u16(), &reply.body["type"]), (409, &json!("urn:oust:problem:conflict")), "{reply:?}");
    &reply.body["difference"]
}

async fn scene() -> Scene {
    scene_with(looking()).await
}

async fn scene_with(playbooks: Vec<(String, String)>) -> Scene {
    scene_on(Setup { playbooks, ..Setup::default() }, |_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_found_disabled_since_refuses_the_old_page_and_takes_the_new_one() {
    let scene = scene().await;
    let (app, recipient) = (&scene.app, scene.app.recipient.clone());
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    let victim = app.twin.person(1);
    disable(app, victim).await;
    let shown = asked_too_early(&scene, &victim.to_string(), victim).await;
    let early = begin(&mut rita, &shown, "approve", &recipient).await;
    eventually(app, "the reading", async || super::task(app, &shown).await.target.is_some()).await;
    let changed = json!([{ "what": "target", "shown": "not read", "now": "disabled" }]);
    let submitted = finish(&mut rita, &mut key, &early).await;
    assert_eq!(difference(&submitted), &changed, "begun before, proved after");
    let old = begin(&mut rita, &shown, "approve", &recipient).await;
    assert_eq!(difference(&old), &changed, "begun after");
    let task = super::task(app, &shown).await;
    assert_eq!(task.state.word(), "pending");
    assert!(scene.house.has_audited("task.refused").await);

    let page = rita.get(&format!("/console/tasks/{}", task.id)).await.text;
    assert!(page.contains("<dt>Account</dt><dd>disabled</dd>"), "the page says so: {page}");
    app.seen(task.id).await;
    let begun = begin(&mut rita, &task, "approve", &recipient).await;
    assert_eq!(finish(&mut rita, &mut key, &begun).await.status, 200);
    eventually(app, "the reset", async || app.count("resetPassword", victim).applied == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_disabled_between_approval_and_claim_is_not_reset_and_somebody_is_told_why() {
    let app = app_with(Setup { playbooks: looking(), ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let asked = the(&app, Kind::Approval).await;
    vote(&app, &asked, Verdict::Approve, false).await.expect("a vote");
    app.idle().await;
    disable(&app, ada).await;
    app.seen(asked.id).await;
    eventually(&app, "the cancellation", async || super::task(&app, &asked).await.state.is_terminal()).await;
    app.idle().await;
    assert_eq!(super::task(&app, &asked).await.state.word(), "cancelled");
    assert_eq!(app.count("resetPassword", ada).received, 0);
    let told = open(&app, Kind::Manual).await;
    let says = |task: &Task| task.instructions.as_deref().is_some_and(|text| text.contains("is disabled"));
    assert!(told.iter().any(says), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_oust_itself_did_to_the_account_holds_off_no_reset() {
    let rest = format!("  - do: disable_account\n    unattended: true\ncollect:\n  - do: read_user\n{RESET}");
    let hard = playbook("hard", "  signals: [anomalous_token]\n", &rest);
    let app = app_with(Setup { playbooks: vec![hard], ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.twin.user(ada).map(|user| user.enabled), Some(false), "{}", app.picture().await);
    let asked = the(&app, Kind::Approval).await;
    vote(&app, &asked, Verdict::Approve, true).await.expect("a vote");
    eventually(&app, "the reset", async || app.count("resetPassword", ada).applied == 1).await;
}

/// Identity protection's word for the person, as it is pushed when an administrator dismisses the risk.
fn dismissed(app: &App, user: uuid::Uuid, state: &str) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.riskyUser", "id": user, "isDeleted": false, "isProcessing": false,
        "riskLevel": "none", "riskState": state, "riskDetail": "none", "riskLastUpdatedDateTime": app.clock.now(),
        "userDisplayName": "Ada", "userPrincipalName": "ada@contoso.example",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_risk_closed_since_refuses_approvals_takes_denials_and_newer_evidence_opens_it_again() {
    let scene = scene().await;
    let (app, recipient) = (&scene.app, scene.app.recipient.clone());
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    let early = begin(&mut rita, &scene.task, "approve", &recipient).await;
    push(app, SignedDuration::from_secs(30));
    app.deliver(&dismissed(app, scene.ada, "remediated")).await;
    app.idle().await;
    assert_eq!(super::task(app, &scene.task).await.risk_closed, None, "our own reset remediates too");
    app.deliver(&dismissed(app, scene.ada, "dismissed")).await;
    app.idle().await;
    let late = finish(&mut rita, &mut key, &early).await;
    let told = &difference(&late)[0];
    assert_eq!((&told["what"], &told["shown"]), (&json!("risk"), &json!("open")), "{told}");
    assert!(told["now"].as_str().is_some_and(|now| now.contains("dismissed, told by sentinel")), "{told}");
    assert!(scene.house.has_audited("risk.closed").await);
    let task = super::task(app, &scene.task).await;
    let reloaded = begin(&mut rita, &task, "approve", &recipient).await;
    assert_eq!(difference(&reloaded)[0]["what"], "risk", "reloading does not help");
    assert_eq!(begin(&mut rita, &task, "deny", &recipient).await.status, 200);

    app.deliver(&app.detection(scene.ada, "anomalousToken", SignedDuration::from_mins(15))).await;
    app.idle().await;
    let task = super::task(app, &scene.task).await;
    assert!(task.risk_closed.is_some() && task.newer == 1, "it happened before the revoke: it says nothing of now");
    app.deliver(&app.detection(scene.ada, "anomalousToken", SignedDuration::ZERO)).await;
    app.idle().await;
    let task = super::task(app, &scene.task).await;
    assert_eq!(task.risk_closed, None, "at risk again");
    assert_eq!(begin(&mut rita, &task, "approve", &recipient).await.status, 200);
}

async fn dismiss(app: &App, user: uuid::Uuid) {
    in_entra(app, Method::POST, "identityProtection/riskyUsers/dismiss", json!({ "userIds": [user] })).await;
}

/// Somebody at risk in Entra, and a playbook that reads it.
async fn at_risk() -> (App, uuid::Uuid) {
    let rest = format!("collect:\n  - do: read_risk\n{RESET}");
    let reads = playbook("plain", "  signals: [anomalous_token]\n", &rest);
    let app = app_with(Setup { playbooks: vec![reads], ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.twin.add_detection(&oust::twin::NewDetection { user: ada, ..Default::default() }).expect("a detection");
    (app, ada)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_risk_dismissed_before_the_alert_holds_off_no_reset() {
    let (app, ada) = at_risk().await;
    dismiss(&app, ada).await;
    push(&app, SignedDuration::from_hours(30));
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let asked = the(&app, Kind::Approval).await;
    assert_eq!(asked.risk_closed, None);
    vote(&app, &asked, Verdict::Approve, true).await.expect("a vote");
    eventually(&app, "the reset", async || app.count("resetPassword", ada).applied == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_risk_dismissed_between_approval_and_claim_cancels_with_the_reason_and_ends_the_case() {
    let (app, ada) = at_risk().await;
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let asked = the(&app, Kind::Approval).await;
    vote(&app, &asked, Verdict::Approve, false).await.expect("a vote");
    app.idle().await;
    push(&app, SignedDuration::from_secs(2));
    dismiss(&app, ada).await;
    app.seen(asked.id).await;
    eventually(&app, "the cancellation", async || super::task(&app, &asked).await.state.is_terminal()).await;
    app.idle().await;
    let ended = json!(super::task(&app, &asked).await.state);
    assert_eq!(ended["state"], "cancelled");
    assert!(ended["reason"].as_str().is_some_and(|why| why.contains("dismissed meanwhile")), "{ended}");
    assert_eq!(app.count("resetPassword", ada).received, 0);
    assert_eq!(app.cases().await[0].state, "closed", "whoever dismissed the risk decided that nothing is left to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_a_revoke_covers_opens_no_dismissed_risk_again() {
    let (app, ada) = at_risk().await;
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let asked = the(&app, Kind::Approval).await;
    push(&app, SignedDuration::from_secs(2));
    dismiss(&app, ada).await;
    push(&app, SignedDuration::from_secs(2));
    app.deliver(&app.detection(ada, "anomalousToken", SignedDuration::from_mins(40))).await;
    app.idle().await;
    assert_eq!((super::task(&app, &asked).await.newer, app.count("revokeSignInSessions", ada).applied), (1, 1));
    vote(&app, &asked, Verdict::Approve, true).await.expect("a vote");
    eventually(&app, "the cancellation", async || super::task(&app, &asked).await.state.is_terminal()).await;
    assert_eq!(super::task(&app, &asked).await.state.word(), "cancelled");
    assert_eq!(app.count("resetPassword", ada).received, 0);
    assert!(app.picture().await.contains("task.cancelled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_that_never_read_the_risk_still_stops_for_a_dismissal() {
    let reads = vec![playbook("plain", "  signals: [anomalous_token]\n", RESET)];
    let app = app_with(Setup { playbooks: reads, ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.twin.add_detection(&oust::twin::NewDetection { user: ada, ..Default::default() }).expect("a detection");
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let asked = the(&app, Kind::Approval).await;
    push(&app, SignedDuration::from_secs(2));
    dismiss(&app, ada).await;
    vote(&app, &asked, Verdict::Approve, true).await.expect("a vote");
    eventually(&app, "the cancellation", async || super::task(&app, &asked).await.state.is_terminal()).await;
    assert_eq!(super::task(&app, &asked).await.state.word(), "cancelled");
    assert_eq!(app.count("resetPassword", ada).received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_risk_read_as_dismissed_while_the_page_is_open_refuses_the_approval() {
    let tokens = playbook("plain", "  signals: [anomalous_token]\n", RESET);
    let rest = "collect:\n  - do: read_risk\nrecover:\n  - do: confirm_compromised\n    approval: on_call\n    on_failure: continue\n  - do: manual\n    with: { instructions: Call them. }\n  - do: reset_password\n    approval: on_call\n";
    let scene = scene_with(vec![tokens, playbook("travel", "  signals: [impossible_travel]\n", rest)]).await;
    let (app, recipient) = (&scene.app, scene.app.recipient.clone());
    let (mut rita, _) = scene.house.signed_in("rita", Role::Approver).await;
    let victim = app.twin.person(1);
    app.twin.add_detection(&oust::twin::NewDetection { user: victim, ..Default::default() }).expect("a detection");
    app.alert(victim, "impossibleTravel").await;
    app.idle().await;
    let tasks = open(app, Kind::Approval).await;
    let about = |action: &str| {
        let is_meant = |task: &&Task| {
            task.identity == Some(app.identity(victim)) && task.rows.iter().any(|row| row.action == action)
        };
        tasks.iter().find(is_meant).expect("asked")
    };
    let (confirm, shown) = (about("confirm_compromised"), about("reset_password"));
    push(app, SignedDuration::from_secs(2));
    dismiss(app, victim).await;
    vote(app, confirm, Verdict::Approve, false).await.expect("a vote");
    eventually(app, "the reading", async || super::task(app, shown).await.risk_closed.is_some()).await;
    let task = super::task(app, shown).await;
    let refused = begin(&mut rita, &task, "approve", &recipient).await;
    assert_eq!(difference(&refused)[0]["what"], "risk");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_second_is_told_what_became_of_it_as_a_list_too() {
    let scene = scene().await;
    let recipient = scene.app.recipient.clone();
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    let (mut carl, mut of_carl) = scene.house.signed_in("carl", Role::Approver).await;
    let early = begin(&mut carl, &scene.task, "approve", &recipient).await;
    let begun = begin(&mut rita, &scene.task, "deny", &recipient).await;
    assert_eq!(finish(&mut rita, &mut key, &begun).await.status, 200);
    let late = finish(&mut carl, &mut of_carl, &early).await;
    assert_eq!(difference(&late), &json!([Changed::new("state", "open", "denied")]));
    assert_eq!((&late.body["who"], &late.body["what"]), (&json!("rita"), &json!("denied")), "{late:?}");
    assert!(late.body["when"].is_string());
}
