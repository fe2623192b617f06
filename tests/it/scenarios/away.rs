//! The console while its database waits for somebody else, and where there is none.

use axum::body::Body;
use axum::http::{Method, Request};
use futures_util::future::join_all;
use http_body_util::BodyExt;
use oust::domain::task::Role;
use serde_json::Value;
use tokio_postgres::Client;
use tower::ServiceExt;

use super::console::{Scene, scene_on};
use crate::support::Setup;
use crate::support::postgres::Place;

async fn shared_scene() -> Scene {
    scene_on(Setup { place: Some(Place::new().await), ..Setup::default() }, |_| {}).await
}

/// Whoever reads this table waits.
async fn lock(scene: &Scene, table: &str) -> Client {
    let sql = scene.app.setup.place.as_ref().expect("a shared store").sql().await;
    sql.batch_execute(&format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await.expect("locks");
    sql
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_store_that_is_away_says_so_and_offers_itself_again() {
    let scene = shared_scene().await;
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let lock = lock(&scene, "reviewers").await;
    let page = vera.get("/console/tasks?show=all").await;
    assert_eq!((page.status.as_u16(), page.headers["retry-after"].to_str().ok()), (503, Some("5")), "{page:?}");
    assert!(page.text.contains("<h1>The store is away</h1>"), "{page:?}");
    assert!(page.text.contains("href=\"/console/tasks?show=all\">Try again</a>"), "{page:?}");
    let request = vera.request(Method::GET, "/console/tasks").body(Body::empty()).expect("a request");
    let json = vera.send(request).await;
    assert_eq!((json.status.as_u16(), json.headers["retry-after"].to_str().ok()), (503, Some("5")), "{json:?}");
    assert_eq!(json.body["type"], "urn:oust:problem:store-away", "{json:?}");
    lock.batch_execute("ROLLBACK").await.expect("lets go");
    assert_eq!(vera.get("/console/tasks?show=all").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_search_at_once_and_who_waits_too_long_is_told_to_come_again() {
    let scene = shared_scene().await;
    let (vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let lock = lock(&scene, "signals").await;
    let asked = (0..3).map(|_| async {
        let mut browser = scene.house.browser();
        browser.jar = vera.jar.clone();
        browser.get("/console?q=somebody").await
    });
    let answers = join_all(asked).await;
    assert!(answers.iter().all(|answer| answer.status == 503), "{answers:?}");
    let (busy, away): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.text.contains("Too much at once"));
    assert_eq!((busy.len(), away.len()), (1, 2), "{answers:?}");
    assert_eq!(busy[0].headers["retry-after"], "2");
    assert!(busy[0].text.contains("href=\"/console?q=somebody\">Try again</a>"), "{busy:?}");
    lock.batch_execute("ROLLBACK").await.expect("lets go");
    let mut browser = scene.house.browser();
    browser.jar = vera.jar.clone();
    assert_eq!(browser.get("/console?q=somebody").await.status, 200, "turns are given back");
}

#[tokio::test]
async fn where_there_is_no_console_its_paths_say_why() {
    for path in ["/", "/console", "/console/tasks/task_1"] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = oust::http::console::absent().oneshot(request).await.expect("an answer");
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (404, &"application/problem+json".parse().expect("a value"))
        );
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&bytes).expect("JSON");
        let detail = body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("nobody could sign in") && detail.contains("public_url"), "{path}: {body}");
    }
}
