//! Which playbook, whether it may act, and what cannot be decided by rule.

use jiff::SignedDuration;
use oust::domain::task::{Kind, Verdict};
use oust::domain::{DeliveryId, Signal, SignalId};
use oust::queue::Queue;
use oust::sources::{self, microsoft};
use oust::store::Acceptance;
use oust::twin::{Fault, Plan, Plant, Special};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{RESET, app, app_with, open, outcome, playbook, the, vote};
use crate::support::{App, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn old_news_opens_a_task_and_sends_nothing() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    let body = app.detection(ada, "anomalousToken", SignedDuration::from_hours(73));
    let signal = app.deliver(&body).await[0];
    app.idle().await;
    assert_eq!(outcome(&app, signal).await["word"], "held");
    let held = the(&app, Kind::Held).await;
    assert!(held.title.starts_with("Old news"), "{held:?}");
    assert_eq!(held.identity, Some(app.identity(ada)));
    assert_eq!(app.count("revokeSignInSessions", ada).received, 0);
    let fresh = app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(outcome(&app, fresh).await["word"], "act");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
}

/// A case whose `disable_inbox_rules` could not be decided: the rules could not be read.
async fn undecided() -> (App, uuid::Uuid, String) {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    let rule = json!({"displayName": ".", "isEnabled": true, "actions": {"forwardTo": [{"emailAddress": {"address": "x@evil.example"}}]}});
    let id = app.twin.plant(ada, Plant::Rule { rule }).expect("a rule");
    app.twin.fault(Plan::on("messageRules", Fault::status(403)));
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    app.twin.clear_faults();
    (app, ada, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_cannot_be_decided_asks_and_a_denial_skips_the_step() {
    let (app, ada, _) = undecided().await;
    let task = the(&app, Kind::Undecided).await;
    assert!(task.title.contains("disable_inbox_rules"), "{task:?}");
    assert_eq!(open(&app, Kind::Approval).await.len(), 1, "the run goes on");
    vote(&app, &task, Verdict::Deny, false).await.expect("a vote");
    app.idle().await;
    assert_eq!(app.twin.counters().verb("updateInboxRule").received, 0);
    app.approve_all().await;
    app.do_by_hand().await;
    app.idle().await;
    assert_eq!(app.count("resetPassword", ada).applied, 1);
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_cannot_be_decided_asks_and_an_approval_runs_the_step() {
    let (app, _, _) = undecided().await;
    let undecided = the(&app, Kind::Undecided).await;
    vote(&app, &undecided, Verdict::Approve, false).await.expect("a vote");
    app.idle().await;
    let after = super::task(&app, &undecided).await;
    assert!(after.state.is_terminal(), "the step ran, or failed with its reason: {after:#?}");
    assert_ne!(after.state.word(), "denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecided_read_that_is_approved_runs_and_its_task_ends() {
    let on = "  signals: [anomalous_token]\n";
    let rest = "collect:\n  - do: read_user\n    when: signal.evidence.other.nothing == \"x\"\n";
    let app = app_with(Setup { playbooks: vec![playbook("asks", on, rest)], ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let before = app.count("readUser", ada).received;
    let undecided = the(&app, Kind::Undecided).await;
    vote(&app, &undecided, Verdict::Approve, false).await.expect("a vote");
    app.idle().await;
    assert_eq!(app.count("readUser", ada).received, before + 1, "read once");
    assert_eq!(app.open_tasks().await.len(), 0, "{:#?}", app.open_tasks().await);
    assert_eq!(app.cases().await[0].state, "closed");
}

fn with_risk(app: &App, risk: &str) -> Value {
    let mut body = app.detection(app.twin.special(Special::Ada), "anomalousToken", SignedDuration::from_mins(5));
    body["riskLevel"] = json!(risk);
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_excludes_holds_an_unknown_risk_and_ignores_a_known_one() {
    let on = "  signals: [anomalous_token]\n  when: signal.risk == \"high\"\n";
    let app = app_with(Setup { playbooks: vec![playbook("high-only", on, RESET)], ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    let unknown = app.deliver(&with_risk(&app, "hidden")).await[0];
    app.idle().await;
    assert_eq!(outcome(&app, unknown).await["word"], "held");
    let held = the(&app, Kind::Held).await;
    assert!(held.instructions.as_deref().is_some_and(|text| text.contains("high-only")), "{held:?}");
    let low = app.deliver(&with_risk(&app, "low")).await[0];
    app.idle().await;
    let said = outcome(&app, low).await;
    assert_eq!((&said["word"], &said["reason"]), (&json!("ignored"), &json!("no playbook's `when` admits it")));
    assert_eq!(app.count("revokeSignInSessions", ada).received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_without_a_playbook_is_ignored_with_the_reason() {
    let on = "  signals: [impossible_travel]\n";
    let app = app_with(Setup { playbooks: vec![playbook("other", on, RESET)], ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    let signal = app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let said = outcome(&app, signal).await;
    assert_eq!((&said["word"], &said["reason"]), (&json!("ignored"), &json!("no playbook")));
    assert_eq!(app.count("revokeSignInSessions", ada).received, 0);
    assert_eq!(app.open_tasks().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_playbooks_the_one_that_names_the_fewest_kinds_runs() {
    let setup = Setup {
        playbooks: vec![
            playbook("a-broad", "  signals: [anomalous_token, impossible_travel]\n", RESET),
            playbook("b-narrow", "  signals: [anomalous_token]\n", RESET),
            playbook("c-narrow", "  signals: [anomalous_token]\n", RESET),
        ],
        ..Setup::default()
    };
    let app = app_with(setup).await;
    let signal = app.alert(app.twin.special(Special::Ada), "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.cases().await[0].detail["playbooks"], json!(["b-narrow"]));
    let said = outcome(&app, signal).await;
    assert_eq!(said["reason"], "also matched: c-narrow, a-broad", "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_covered_signal_with_a_new_playbook_starts_it_without_another_revoke() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let body = app.detection(ada, "unlikelyTravel", SignedDuration::from_mins(30));
    let covered = app.deliver(&body).await[0];
    app.idle().await;
    let said = outcome(&app, covered).await;
    assert_eq!(said["word"], "covered");
    assert!(said["run"].is_string(), "{said}");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    let case = &app.cases().await[0];
    assert_eq!(case.detail["playbooks"], json!(["impossible-travel", "token-theft"]));
    assert_eq!(open(&app, Kind::Approval).await.len(), 1, "the open reset is joined, not asked for twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_signal_that_came_twice_at_once_is_taken_in_once_and_not_lost() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    // Before anybody looks, as a sender's repetition lies on a broker: two messages, one id.
    let given = {
        let context = sources::Context {
            entra_tenant_id: oust::twin::Config::default().tenant_id,
            arm_allow: Vec::new(),
            now: app.clock.now(),
        };
        let body = app.detection(ada, "anomalousToken", SignedDuration::from_mins(10)).to_string();
        microsoft::parse(body.as_bytes(), &context).expect("a detection").findings
    };
    let delivery = DeliveryId::new(Uuid::now_v7());
    let signal = Signal {
        id: SignalId::new(Uuid::now_v7()),
        delivery,
        source: "sentinel".into(),
        tenant: crate::support::TENANT.parse().expect("a name"),
        received_at: app.clock.now(),
        traceparent: None,
        finding: given[0].clone(),
    };
    let acceptance = Acceptance {
        delivery,
        source: "sentinel".into(),
        tenant: signal.tenant.clone(),
        received_at: signal.received_at,
        webhook_id: None,
        body: bytes::Bytes::new(),
        body_hash: String::new(),
        signals: vec![signal.clone(), signal.clone(), signal.clone()],
        buried: None,
        answer: json!({}),
    };
    app.queue.accept(acceptance).await.expect("durable");
    app.idle().await;
    assert_eq!(outcome(&app, signal.id).await["word"], "act");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    assert_eq!(app.cases().await[0].signals, 1);
}
