//! The console's other pages over HTTP: what lies buried is settled there, playbooks show what ran, the overview says what
//! was measured, lists hold together across pages.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Method;
use jiff::SignedDuration;
use oust::domain::BuriedId;
use oust::domain::task::Role;
use oust::store::{Batch, Buried, BuriedState, Lane, Op};
use oust::twin::Special;
use serde_json::{Value, json};
use uuid::Uuid;

use super::console::{Scene, scene};
use crate::sign_in::authenticator::ORIGIN;
use crate::sign_in::house::{Browser, Reply};

impl Scene {
    async fn commit(&self, ops: Vec<Op>) {
        self.app.store.commit(Lane::Other, Batch { expect: None, ops }).await.expect("written");
    }

    async fn bury(&self, number: u128, source: &str, content: Value) -> BuriedId {
        let id = BuriedId::new(Uuid::from_u128(number));
        let row = Buried {
            id,
            at: self.app.clock.now(),
            source: source.into(),
            tenant: None,
            delivery: None,
            reason: "no known shape".into(),
            state: BuriedState::Buried,
            content,
        };
        self.commit(vec![Op::Bury(Box::new(row))]).await;
        id
    }

    async fn state_of(&self, id: BuriedId) -> BuriedState {
        self.app.store.buried(id).await.expect("a read").expect("a row").state
    }
}

/// A form as a browser without script posts it.
async fn page_form(browser: &mut Browser<'_>, path: &str, fields: &[(&str, &str)]) -> Reply {
    let csrf = browser.csrf.take().expect("signed in");
    let fields = fields.iter().copied().chain([("csrf", csrf.as_str())]);
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = browser.request(Method::POST, path).header("origin", ORIGIN).header("sec-fetch-site", "same-origin");
    let request = request.header("content-type", "application/x-www-form-urlencoded").header("accept", "text/html");
    let reply = browser.send(request.body(Body::from(body)).expect("a request")).await;
    browser.csrf = Some(csrf);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_buried_is_replayed_by_an_approver_once() {
    let scene = scene().await;
    let bob = scene.app.twin.special(Special::AlexOne);
    let detection = scene.app.detection(bob, "anomalousToken", SignedDuration::from_mins(10));
    let row = scene.bury(1, "sentinel", Value::String(detection.to_string())).await;
    let (page, settle) = (format!("/console/buried/{row}"), format!("/console/buried/{row}/settle"));
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let (mut rita, _) = scene.house.signed_in("rita", Role::Approver).await;
    assert!(!vera.get(&page).await.text.contains("<button class=\"primary\">Replay"), "a viewer is offered nothing");
    assert_eq!(vera.post(&settle, json!({ "verb": "replay" })).await.status, 403);
    let offered = rita.get(&page).await.text;
    assert!(offered.contains(">Replay</button>") && offered.contains(">Drop</button>"), "{offered}");

    let done = page_form(&mut rita, &settle, &[("verb", "replay"), ("reason", "")]).await;
    assert_eq!((done.status.as_u16(), done.location()), (303, page.as_str()), "a form needs no script: {done:?}");
    assert_eq!(scene.state_of(row).await, BuriedState::Replayed);
    scene.app.idle().await;
    assert!(scene.app.count("revokeSignInSessions", bob).applied >= 1, "what was in it was acted on");
    let trail = scene.house.audited().await;
    let line = trail.iter().find(|(verb, _)| verb == "buried.replayed").expect("it is recorded");
    assert_eq!(line.1["signals"].as_array().map(Vec::len), Some(1), "{line:?}");
    let again = rita.post(&settle, json!({ "verb": "replay" })).await;
    assert_eq!(again.status, 409, "{again:?}");
    assert!(again.body["detail"].as_str().is_some_and(|text| text.contains("already replayed")), "{again:?}");
    assert!(!rita.get(&page).await.text.contains(">Replay</button>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_wants_a_reason_and_what_cannot_be_read_stays_buried() {
    let scene = scene().await;
    let (mut rita, _) = scene.house.signed_in("rita", Role::Approver).await;
    let foreign = scene.bury(1, "gone", json!("{}")).await;
    let unread = scene.bury(2, "sentinel", json!("not json")).await;
    let no_body = scene.bury(3, "sentinel", Value::Null).await;
    for (row, why) in [
        (foreign, "no source is called gone any more"),
        (unread, "still not understood"),
        (no_body, "there is no body to read again"),
    ] {
        let refused = rita.post(&format!("/console/buried/{row}/settle"), json!({ "verb": "replay" })).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(refused.body["detail"].as_str().is_some_and(|text| text.contains(why)), "{refused:?}");
        assert_eq!(scene.state_of(row).await, BuriedState::Buried);
    }
    let settle = format!("/console/buried/{unread}/settle");
    for body in [json!({ "verb": "drop" }), json!({ "verb": "drop", "reason": " \n" }), json!({ "verb": "burn" })] {
        assert_eq!(rita.post(&settle, body.clone()).await.status, 422, "{body}");
    }
    let long = json!({ "verb": "drop", "reason": "x".repeat(2_001) });
    assert_eq!(rita.post(&settle, long).await.status, 422);
    assert_eq!(rita.post(&settle, json!({ "verb": "drop", "reason": "a test of the forwarder" })).await.status, 200);
    assert_eq!(scene.state_of(unread).await, BuriedState::Dropped);
    let trail = scene.house.audited().await;
    let dropped = trail.iter().find(|(verb, _)| verb == "buried.dropped").expect("it is recorded");
    assert_eq!(dropped.1["reason"], "a test of the forwarder");
    assert_eq!(rita.post(&settle, json!({ "verb": "replay" })).await.status, 409);
    let none = format!("/console/buried/{}/settle", BuriedId::new(Uuid::from_u128(99)));
    assert_eq!(rita.post(&none, json!({ "verb": "replay" })).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_replay_one_row_at_once_start_it_once() {
    let scene = Arc::new(scene().await);
    let bob = scene.app.twin.special(Special::AlexOne);
    let detection = scene.app.detection(bob, "anomalousToken", SignedDuration::from_mins(10));
    let row = scene.bury(1, "sentinel", Value::String(detection.to_string())).await;
    let settle = format!("/console/buried/{row}/settle");
    let (mut rita, _) = scene.house.signed_in("rita", Role::Approver).await;
    let (mut carl, _) = scene.house.signed_in("carl", Role::Approver).await;
    let (one, two) =
        tokio::join!(rita.post(&settle, json!({ "verb": "replay" })), carl.post(&settle, json!({ "verb": "replay" })));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{one:?} {two:?}");
    scene.app.idle().await;
    assert_eq!(scene.app.count("revokeSignInSessions", bob).applied, 1);
    let times = scene.house.audited().await.iter().filter(|(verb, _)| verb == "buried.replayed").count();
    assert_eq!(times, 1);
}
