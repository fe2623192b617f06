//! What has to be asked for: entities that come late, objects that a notification only points to.

use jiff::SignedDuration;
use oust::domain::task::Kind;
use oust::domain::{Finding, SignalId};
use oust::sources::auth::ClientState;
use oust::sources::graph_notifications::{self, Trust};
use oust::sources::{ArmWorkspace, Context, microsoft};
use oust::store::Epoch;
use oust::twin::{NewDetection, NewIncident, Raised, Special};
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{accept, app, eventually, open, outcome, push, revoked, the};
use crate::support::{App, until_async};

const WORKSPACE: Uuid = Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0001);

fn context(app: &App) -> Context {
    Context {
        entra_tenant_id: oust::twin::Config::default().tenant_id,
        arm_allow: vec![ArmWorkspace { subscription: WORKSPACE, workspace: "soc-prod".into() }],
        now: app.clock.now(),
    }
}

/// An incident whose entities come after `minutes`; `provider` decides who is asked.
fn late_incident(app: &App, minutes: u64, provider: &str) -> (Raised, Vec<Finding>) {
    let ada = app.twin.special(Special::Ada);
    let raised = app.twin.add_incident(&NewIncident {
        users: vec![ada],
        entities_after_ms: minutes * 60_000,
        activity_at: Some(app.clock.now() - SignedDuration::from_mins(5)),
        ..NewIncident::default()
    });
    let mut body = raised.trigger.clone();
    body["object"]["properties"]["providerName"] = json!(provider);
    let findings = microsoft::parse(body.to_string().as_bytes(), &context(app)).expect("an incident").findings;
    (raised, findings)
}

async fn looks(app: &App, signal: SignalId, minutes: &[i64]) {
    let mut passed = 0;
    for minute in minutes {
        push(app, SignedDuration::from_mins(*minute - passed) + SignedDuration::from_secs(2));
        passed = *minute;
        let before = asked(app);
        let looked = async || asked(app) > before || outcome(app, signal).await["word"] != "waiting";
        eventually(app, "the next look", looked).await;
        let due = async || app.store.due_waiting(app.clock.now(), Epoch(1), 10).await.expect("a read");
        // Looking meanwhile would find it due for as long as it is not recorded, and may ask once more.
        until_async("the record of the look", async || due().await.is_empty()).await;
        app.idle().await;
    }
}

fn asked(app: &App) -> u64 {
    let counters = app.twin.counters();
    counters.verb("readIncident").received + counters.verb("armIncidentEntities").received
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_that_come_late_are_asked_for_at_defender_and_at_arm() {
    for provider in ["Microsoft XDR", "Azure Sentinel"] {
        let app = app().await;
        let ada = app.twin.special(Special::Ada);
        let (_, findings) = late_incident(&app, 4, provider);
        let signal = accept(&app, "sentinel", findings).await[0];
        eventually(&app, "the first look", async || asked(&app) == 1).await;
        until_async("its record", async || outcome(&app, signal).await["word"] == "waiting").await;
        looks(&app, signal, &[1, 2]).await;
        assert_eq!(asked(&app), 3, "{provider}: at once, after 1 and after 2 minutes");
        assert_eq!(app.count("revokeSignInSessions", ada).received, 0);
        looks(&app, signal, &[5]).await;
        revoked(&app, ada, 1).await;
        app.idle().await;
        assert_eq!(outcome(&app, signal).await["word"], "lookup", "{provider}");
        assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
        assert_eq!(open(&app, Kind::Held).await.len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_that_never_come_become_a_held_task_after_fifteen_minutes() {
    let app = app().await;
    let (_, findings) = late_incident(&app, 600, "Azure Sentinel");
    let signal = accept(&app, "sentinel", findings).await[0];
    eventually(&app, "the first look", async || asked(&app) == 1).await;
    eventually(&app, "its record", async || outcome(&app, signal).await["word"] == "waiting").await;
    looks(&app, signal, &[1, 2, 5, 10]).await;
    assert_eq!(outcome(&app, signal).await["word"], "waiting");
    assert_eq!(open(&app, Kind::Held).await.len(), 0);
    looks(&app, signal, &[15]).await;
    assert_eq!(asked(&app), 6, "at once, then after 1, 2, 5, 10 and 15 minutes");
    assert_eq!(outcome(&app, signal).await["word"], "held");
    let held = the(&app, Kind::Held).await;
    assert!(held.instructions.as_deref().is_some_and(|text| text.contains("asked again for 15 minutes")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_entities_survives_a_restart() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    let (_, findings) = late_incident(&app, 1, "Microsoft XDR");
    let signal = accept(&app, "sentinel", findings).await[0];
    eventually(&app, "the first look", async || outcome(&app, signal).await["word"] == "waiting").await;
    app.idle().await;
    let app = app.restart(std::sync::Arc::new(oust::engine::NoHook)).await;
    looks(&app, signal, &[2]).await;
    revoked(&app, ada, 1).await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
}

fn notification(app: &App, resource: &str) -> Vec<Finding> {
    let states = ClientState::of(&[SecretString::from("s3cret")]);
    let item: Value = json!({"subscriptionId": "76619225-ff6b-4489-96ca-4ef547e78b22", "clientState": "s3cret",
        "subscriptionExpirationDateTime": "2036-12-10T11:00:00Z", "changeType": "created", "resource": resource,
        "tenantId": oust::twin::Config::default().tenant_id});
    let body = json!({"value": [item]}).to_string();
    let trust = Trust { client_state: &states, own: None };
    graph_notifications::parse(body.as_bytes(), &trust, &context(app)).expect("a notification").findings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_fetched_and_then_acted_on() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    let detection =
        app.twin.add_detection(&NewDetection { user: ada, ..NewDetection::default() }).expect("a detection");
    let findings = notification(&app, &format!("identityProtection/riskDetections/{detection}"));
    let signal = accept(&app, "graph", findings).await[0];
    revoked(&app, ada, 1).await;
    app.idle().await;
    let said = outcome(&app, signal).await;
    assert_eq!(said["word"], "lookup");
    assert!(said["reason"].as_str().is_some_and(|reason| reason.starts_with("fetched; became ")), "{said}");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_about_a_user_reads_that_persons_detections() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    for _ in 0..2 {
        let activity_at = Some(app.clock.now() - SignedDuration::from_mins(9));
        let new = NewDetection { user: ada, activity_at, ..NewDetection::default() };
        app.twin.add_detection(&new).expect("a detection");
    }
    accept(&app, "graph", notification(&app, &format!("users/{ada}"))).await;
    revoked(&app, ada, 1).await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1, "one revoke covers both");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_whose_object_is_gone_is_held() {
    let app = app().await;
    let missing = notification(&app, "identityProtection/riskDetections/0123456789abcdef");
    let nobody = notification(&app, &format!("users/{}", app.twin.person(3)));
    let mut signals = accept(&app, "graph", missing).await;
    signals.extend(accept(&app, "graph", nobody).await);
    app.idle().await;
    for signal in &signals {
        assert_eq!(outcome(&app, *signal).await["word"], "held", "{}", outcome(&app, *signal).await);
    }
    let reason = outcome(&app, signals[0]).await["reason"].clone();
    assert!(reason.as_str().is_some_and(|reason| reason.contains("no longer answers")), "{reason}");
    assert_eq!(open(&app, Kind::Held).await.len(), 2);
}
