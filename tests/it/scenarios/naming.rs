//! Who is meant: what the payload says at once, what the directory is asked, what goes to a human.

use jiff::SignedDuration;
use oust::domain::Subject;
use oust::domain::task::Kind;
use oust::twin::{NewIncident, Special, cloud_sid};
use serde_json::json;
use uuid::Uuid;

use super::{app, by_upn, open, outcome, the};
use crate::support::App;

fn revokes(app: &App) -> u64 {
    app.twin.counters().verb("revokeSignInSessions").received
}

#[tokio::test(flavor = "multi_thread")]
async fn a_upn_that_nobody_has_becomes_a_held_task() {
    let app = app().await;
    let signal = app.deliver(&by_upn(&app, "nobody@contoso.example")).await[0];
    app.idle().await;
    assert_eq!(outcome(&app, signal).await["word"], "held");
    let task = the(&app, Kind::Held).await;
    assert!(task.identity.is_none());
    assert!(task.instructions.as_deref().is_some_and(|text| text.contains("no user of the tenant matches")));
    assert_eq!(revokes(&app), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_two_people_share_becomes_a_held_task() {
    let app = app().await;
    let mut finding = oust::sources::microsoft::parse(
        by_upn(&app, "alex@elsewhere.example").to_string().as_bytes(),
        &oust::sources::Context {
            entra_tenant_id: oust::twin::Config::default().tenant_id,
            arm_allow: Vec::new(),
            now: app.clock.now(),
        },
    )
    .expect("a detection")
    .findings
    .remove(0);
    finding.subject =
        Subject { object_id: None, upn: None, sid: None, sam: oust::domain::identity::SamAccount::parse(None, "alex") };
    let signal = super::accept(&app, "sentinel", vec![finding]).await[0];
    app.idle().await;
    assert_eq!(outcome(&app, signal).await["word"], "held");
    let task = the(&app, Kind::Held).await;
    assert!(task.instructions.as_deref().is_some_and(|text| text.contains("2 users of the tenant match")), "{task:?}");
    assert_eq!(revokes(&app), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_upn_that_one_person_has_is_acted_on() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    let signal = app.deliver(&by_upn(&app, "ADA@contoso.example")).await[0];
    app.idle().await;
    assert_eq!(outcome(&app, signal).await["word"], "act");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    assert_eq!(open(&app, Kind::Held).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entra_sid_is_an_object_id_and_needs_no_look_up() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    let mut body = app.twin.add_incident(&NewIncident { users: vec![ada], ..NewIncident::default() }).trigger;
    let entities = body["object"]["properties"]["relatedEntities"].as_array_mut().expect("entities");
    entities[0]["properties"] = json!({"sid": cloud_sid(ada), "accountName": "ada"});
    let signal = app.deliver(&body).await[0];
    app.idle().await;
    assert_eq!(outcome(&app, signal).await["word"], "act");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    assert_eq!(app.twin.counters().verb("listUsers").received, 0, "nobody was looked up");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_a_path_reaches_no_url() {
    let app = app().await;
    let mut body = by_upn(&app, "x");
    body["userId"] = json!("../me");
    body["userPrincipalName"] = json!("../../me?$select=id");
    let mut ids = app.deliver(&body).await;
    body["id"] = json!("second");
    body["userPrincipalName"] = json!("nobody'%20or%201@contoso.example");
    ids.extend(app.deliver(&body).await);
    app.idle().await;
    for id in ids {
        assert_eq!(outcome(&app, id).await["word"], "held");
    }
    let calls = app.twin.calls(0, 10_000);
    assert!(calls.iter().all(|call| !call.path.contains("me") || call.path.contains("users")), "{calls:#?}");
    assert!(calls.iter().all(|call| !call.path.contains("..") && !call.path.contains("/me")), "{calls:#?}");
    assert_eq!(revokes(&app), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_id_that_is_nobody_becomes_a_held_task_and_nothing_else() {
    let app = app().await;
    let nobody = Uuid::from_u128(0xdead_beef_0000_4000_8000_0000_0000_0001);
    let signal = app.alert(nobody, "anomalousToken").await;
    app.idle().await;
    assert_eq!(outcome(&app, signal).await["word"], "act");
    let task = the(&app, Kind::Held).await;
    assert!(task.title.contains("Nobody"), "{task:?}");
    assert_eq!(app.open_tasks().await.len(), 1, "no approval about nobody: {:#?}", app.open_tasks().await);
    assert_eq!(app.count("revokeSignInSessions", nobody).applied, 0);
    assert_eq!(revokes(&app), 1, "a 404 is an answer, not a reason to repeat");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_person_is_nobody_too() {
    let app = app().await;
    let gone = app.twin.special(Special::Deleted);
    app.alert(gone, "anomalousToken").await;
    app.idle().await;
    assert!(the(&app, Kind::Held).await.title.contains("Nobody"));
    assert_eq!(app.cases().await[0].state, "not_contained");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_of_one_alert_are_both_revoked() {
    let app = app().await;
    let (one, two) = (app.twin.person(1), app.twin.person(2));
    let raised = app.twin.add_incident(&NewIncident { users: vec![one, two], ..NewIncident::default() });
    let signals = app.deliver(&raised.trigger).await;
    assert_eq!(signals.len(), 2);
    app.idle().await;
    for user in [one, two] {
        assert_eq!(app.count("revokeSignInSessions", user).applied, 1);
    }
    assert_eq!(app.cases().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_held_story_told_twice_is_one_task() {
    let app = app().await;
    let body = by_upn(&app, "nobody@contoso.example");
    let first = app.deliver(&body).await[0];
    app.idle().await;
    let second = app.deliver(&body).await[0];
    app.idle().await;
    assert_eq!(outcome(&app, second).await["word"], "redelivery");
    assert_eq!(outcome(&app, second).await["first"], first.to_string());
    assert_eq!(open(&app, Kind::Held).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_fails_is_repeated_until_it_answers() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.twin.fault(oust::twin::Plan::on("/v1.0/users?", oust::twin::Fault::status(503)).method("GET").times(20));
    let signal = app.deliver(&by_upn(&app, "ada@contoso.example")).await[0];
    super::eventually(&app, "the look-up", async || {
        super::push(&app, SignedDuration::from_secs(5));
        outcome(&app, signal).await["word"] == "act"
    })
    .await;
    super::revoked(&app, ada, 1).await;
}
