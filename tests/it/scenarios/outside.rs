//! Reviewers without a passkey: what needs a fresh proof sends them to their provider, a certified one here.

use jiff::SignedDuration;
use oust::domain::task::{Kind, Task};
use oust::http::PAUSE;
use oust::store::{Batch, Lane, Op};
use serde_json::{Value, json};
use uuid::Uuid;

use super::console::{Scene, scene_on};
use super::open;
use crate::sign_in::house::Browser;
use crate::sign_in::real_provider::{Away, config, land};
use crate::support::Setup;

fn login(account: &str) -> Value {
    json!({
        "account": account, "acr": "urn:high", "amr": ["pwd", "mfa"],
        "claims": { "groups": ["on-call"], "name": "Grace Hopper" },
    })
}

/// Somebody of the provider, signed in.
async fn grace(scene: &Scene) -> (Browser<'_>, Away, Value) {
    let login = login(&Uuid::new_v4().to_string());
    let (mut browser, mut away) = (scene.house.browser(), Away::default());
    let to = browser.post("/console/sign-in/oidc", json!({})).await;
    let at = away.follow(to.away(), &login).await;
    assert_eq!(land(&mut browser, &at).await.status, 303);
    token(&mut browser).await;
    // The provider's clock cannot be pushed: the session is made to have proved itself long ago.
    let file = rusqlite::Connection::open(scene.app.dir.path().join("oust.db")).expect("the store's file");
    let ago = scene.app.clock.now() - SignedDuration::from_mins(6);
    let sql = "UPDATE sessions SET doc = json_set(doc, '$.proved_at', ?1)";
    assert_eq!(file.execute(sql, [ago.to_string()]).expect("changed"), 1);
    (browser, away, login)
}

async fn token(browser: &mut Browser<'_>) {
    browser.csrf = browser.get("/console/session").await.body["csrf"].as_str().map(str::to_owned);
}

/// Away to the provider and back to `next`, asked again there.
async fn proved(browser: &mut Browser<'_>, away: &mut Away, login: &Value, next: &str) {
    let to = browser.post("/console/prove/oidc", json!({ "next": next })).await;
    let at = away.follow(to.away(), login).await;
    let back = land(browser, &at).await;
    assert_eq!((back.status.as_u16(), back.location()), (303, next), "{back:?}");
    token(browser).await;
}

async fn scene() -> Scene {
    scene_on(Setup::default(), |parts| parts.oidc = Some(config())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_and_resuming_wait_for_a_proof_at_the_provider() {
    let scene = scene().await;
    let (mut browser, mut away, login) = grace(&scene).await;
    let why = json!({ "reason": "drill" });
    let refused = browser.post("/console/pause", why.clone()).await;
    assert_eq!((refused.status.as_u16(), &refused.body["step_up"]), (403, &json!(true)), "{refused:?}");
    let without = browser.post("/console/prove/begin", json!({})).await;
    assert_eq!((without.status.as_u16(), &without.body["no_passkey"]), (403, &json!(true)), "{without:?}");
    proved(&mut browser, &mut away, &login, "/console/settings").await;
    assert_eq!(browser.post("/console/pause", why).await.status, 200);
    let held = scene.house.store.setting(PAUSE).await.expect("a read").expect("paused");
    assert!(held["by"].as_str().is_some_and(|by| by.starts_with("reviewer:oidc-")), "{held}");
    assert_eq!(browser.post("/console/resume", json!({ "reason": "over" })).await.status, 200);
    assert!(scene.house.store.setting(PAUSE).await.expect("a read").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_task_is_reported_done_after_a_proof_at_the_provider() {
    let scene = scene().await;
    let now = scene.app.clock.now();
    let manual = Task { kind: Kind::Manual, rows: Vec::new(), ..scene.task.clone() };
    let manual =
        Task { id: oust::domain::TaskId::new(Uuid::new_v4()), case: None, run: None, created_at: now, ..manual };
    let ops = vec![Op::PutTask(Box::new(manual.clone()))];
    scene.app.store.commit(Lane::Other, Batch { expect: None, ops }).await.expect("written");
    let (mut browser, mut away, login) = grace(&scene).await;
    let page = format!("/console/tasks/{}", manual.id);
    let done = json!({ "revision": manual.revision, "note": "done by hand" });
    let refused = browser.post(&format!("{page}/done"), done.clone()).await;
    assert_eq!((refused.status.as_u16(), &refused.body["step_up"]), (403, &json!(true)), "{refused:?}");
    assert_eq!(open(&scene.app, Kind::Manual).await.len(), 1);
    proved(&mut browser, &mut away, &login, &page).await;
    let reported = browser.post(&format!("{page}/done"), done).await;
    assert_eq!((reported.status.as_u16(), &reported.body["location"]), (200, &json!(page)), "{reported:?}");
    assert_eq!(super::task(&scene.app, &manual).await.state.word(), "executed");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_decisions_at_once_go_to_the_provider_once_and_come_back_to_the_queue() {
    let scene = scene().await;
    scene.app.alert(scene.app.twin.person(2), "anomalousToken").await;
    scene.app.idle().await;
    let tasks = open(&scene.app, Kind::Approval).await;
    assert_eq!(tasks.len(), 2);
    let (mut browser, mut away, login) = grace(&scene).await;
    let chosen: Vec<String> =
        tasks.iter().map(|task| format!("{}/{}/{}", task.id, task.revision, task.digest())).collect();
    let begun = browser
        .post("/console/decide/begin", json!({ "tasks": chosen, "verdict": "deny", "reason": "a rule that is wrong" }))
        .await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let to = begun.body["redirect"].as_str().unwrap_or_else(|| panic!("a redirect: {begun:?}"));
    let at = away.follow(to, &login).await;
    let back = land(&mut browser, &at).await;
    assert_eq!((back.status.as_u16(), back.location()), (303, "/console/tasks"), "{back:?}");
    for task in &tasks {
        assert_eq!(super::task(&scene.app, task).await.state.word(), "denied");
        let proofs = scene.house.store.proofs_of(task.id).await.expect("a read");
        assert_eq!(proofs.len(), 1);
        assert!(json!(proofs[0])["shown_by"]["key"].is_object(), "with the provider's key: {proofs:?}");
    }
    assert_eq!(land(&mut browser, &at).await.status, 409, "once");
}
