//! Pages that listen: what they hear, and when it ends.

use axum::body::Body;
use axum::http::Method;
use http_body_util::BodyExt;
use jiff::SignedDuration;
use oust::domain::task::{Role, Verdict};
use oust::store::reviewers::Change;
use oust::store::{Audit, Op};
use serde_json::json;
use tower::ServiceExt;

use super::PATIENCE;
use super::console::{Scene, scene};
use crate::sign_in::house::Browser;

/// A stream of events, with all that was heard.
struct Stream {
    body: Body,
    heard: String,
}

impl Stream {
    async fn open(browser: &Browser<'_>) -> Self {
        let request = browser.request(Method::GET, "/console/events").body(Body::empty()).expect("a request");
        let response = browser.house.router.clone().oneshot(request).await.expect("an answer");
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        assert_eq!((response.status().as_u16(), kind), (200, Some("text/event-stream")));
        Self { body: response.into_body(), heard: String::new() }
    }

    /// One frame more; false at the end.
    async fn goes_on(&mut self) -> bool {
        let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
        let frame = frame.unwrap_or_else(|_| panic!("something is said after {}", self.heard));
        let Some(frame) = frame else { return false };
        self.heard.push_str(&String::from_utf8_lossy(frame.expect("a frame").data_ref().expect("text")));
        true
    }

    async fn hears(&mut self, what: &str) {
        while !self.heard.contains(what) {
            assert!(self.goes_on().await, "the stream ended before {what}: {}", self.heard);
        }
    }

    /// Its last event.
    async fn ends(mut self) -> String {
        while self.goes_on().await {}
        self.heard.trim_end().rsplit("\n\n").next().unwrap_or_default().to_owned()
    }
}

const OVER: &str = "event: ended\ndata: session";

/// On the console's clock and on that of its invitations.
fn pass(scene: &Scene, minutes: i64) {
    scene.app.clock.advance(SignedDuration::from_mins(minutes));
    scene.house.clock.push(SignedDuration::from_mins(minutes));
}

/// Somebody else signs out, which makes the feed look at every session.
async fn somebody_leaves(scene: &Scene, name: &str) {
    let (mut other, _) = scene.house.signed_in(name, Role::Viewer).await;
    assert_eq!(other.post("/console/sign-out", json!({})).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listening_page_hears_of_a_decision_made_by_somebody_else() {
    let scene = scene().await;
    let (vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let mut stream = Stream::open(&vera).await;
    // The first look says that everything may have changed: from then on the feed knows what was there.
    stream.hears("\"*\"").await;
    super::vote(&scene.app, &scene.task, Verdict::Deny, false).await.expect("a vote");
    stream.hears(&format!("task:{}", scene.task.id)).await;
    assert!(stream.heard.contains("event: changed"), "{}", stream.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_session_when_its_reader_signs_out_or_is_disabled() {
    let scene = scene().await;
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let (carl, _) = scene.house.signed_in("carl", Role::Viewer).await;
    let (mut of_vera, mut of_carl) = (Stream::open(&vera).await, Stream::open(&carl).await);
    of_vera.hears("\"*\"").await;
    of_carl.hears("\"*\"").await;

    assert_eq!(vera.post("/console/sign-out", json!({})).await.status, 303);
    assert_eq!(of_vera.ends().await, OVER);
    of_carl.hears("audit").await;

    let at = scene.app.clock.now();
    let detail = json!({ "reviewer": "carl" });
    let (actor, verb) = ("operator:test".to_owned(), "reviewer.disabled".to_owned());
    let audit = Audit { at, actor, verb, tenant: None, object_id: None, case: None, detail };
    let disable = Change::Disable { reviewer: "carl".parse().expect("a name"), at };
    scene.house.commit(vec![disable.into(), Op::Audit(Box::new(audit))]).await;
    assert_eq!(of_carl.ends().await, OVER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_no_use_of_its_session_and_ends_when_that_was_idle_for_too_long() {
    let scene = scene().await;
    let (vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let mut stream = Stream::open(&vera).await;
    stream.hears("\"*\"").await;
    pass(&scene, 29);
    somebody_leaves(&scene, "one").await;
    stream.hears("settings").await;
    pass(&scene, 2);
    somebody_leaves(&scene, "two").await;
    assert_eq!(stream.ends().await, OVER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_without_a_record_is_missed_at_the_next_sign_of_life() {
    let scene = scene().await;
    let (vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let mut stream = Stream::open(&vera).await;
    stream.hears("\"*\"").await;
    let reviewer = "vera".parse().expect("a name");
    let end = Change::EndSessionsOf { reviewer, except: None, at: scene.app.clock.now() };
    scene.house.commit(vec![end.into()]).await;
    assert_eq!(stream.ends().await, OVER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listening_page_hears_when_the_store_goes_away_and_when_it_is_back() {
    let scene = scene().await;
    let (vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let mut stream = Stream::open(&vera).await;
    stream.hears("event: alive\ndata: {\"every\":15,\"store\":true}\n\n").await;
    stream.hears("\"*\"").await;
    // A table that is not there fails every look, as a store that is away does.
    let store = rusqlite::Connection::open(scene.app.dir.path().join("oust.db")).expect("opens");
    store.execute_batch("ALTER TABLE settings RENAME TO lost").expect("renamed");
    stream.hears("\"store\":false").await;
    stream.heard.clear();
    store.execute_batch("ALTER TABLE lost RENAME TO settings").expect("renamed");
    stream.hears("\"store\":true").await;
    stream.hears("\"*\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_eleventh_stream_of_a_session_ends_its_first() {
    let scene = scene().await;
    let (vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let mut streams = Vec::new();
    for _ in 0..11 {
        streams.push(Stream::open(&vera).await);
    }
    assert_eq!(streams.remove(0).ends().await, "event: ended\ndata: crowded");
    for mut stream in streams {
        stream.hears("\"*\"").await;
        assert!(!stream.heard.contains("ended"), "{}", stream.heard);
    }
}
