//! No password is made that nobody can open: the browser that is to receive it is asked for until the very call.

use std::num::NonZeroU32;

use oust::domain::task::{Role, Verdict};
use oust::http::PAUSE;
use oust::http::sign_in::Rates;
use oust::store::Op;
use oust::store::reviewers::Change;
use serde_json::json;

use super::console::{Scene, scene_on};
use super::eventually;
use crate::sign_in::authenticator::{Key, Says};
use crate::sign_in::house::{Browser, many};
use crate::support::Setup;
use crate::support::postgres::Place;

/// How a browser stops being the recipient's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    SignOut,
    SignOutEverywhere,
    Disabled,
}

impl Scene {
    fn deed(&self, deed: &str) -> String {
        format!("{}/{deed}", self.task_page())
    }

    async fn is_here(&self, browser: &mut Browser<'_>) -> u16 {
        browser.post(&self.deed("presence"), json!({ "key": self.app.recipient })).await.status.as_u16()
    }

    /// The reset waits for its browser and for nothing else.
    async fn is_ready(&self) -> bool {
        let steps = self.app.cases().await.remove(0).detail["steps"].clone();
        let ready = |step: &serde_json::Value| step["step"] == "reset_password" && step["state"] == "ready";
        steps.as_array().is_some_and(|steps| steps.iter().any(ready))
    }
}

/// Approved and present while everything stands still; then the browser's session ends, and only then work goes on.
async fn released_after(scene: &Scene, end: End, browser: &mut Browser<'_>, key: &mut Key) {
    assert_eq!(browser.post("/console/pause", json!({ "reason": "a drill" })).await.status, 200);
    assert_eq!(scene.decide(browser, key, Verdict::Approve).await.status, 200);
    scene.app.idle().await;
    assert_eq!(scene.is_here(browser).await, 204);
    scene.app.idle().await;
    match end {
        End::SignOut => {
            let out = browser.post("/console/sign-out", json!({})).await;
            assert_eq!(
                (out.status.as_u16(), &out.headers["clear-site-data"]),
                (303, &"\"cache\"".parse().expect("text"))
            );
        }
        End::SignOutEverywhere => {
            assert_eq!(browser.post("/console/sign-out-everywhere", json!({})).await.status, 303);
        }
        End::Disabled => {
            let (reviewer, at) = ("rita".parse().expect("a name"), scene.app.clock.now());
            scene.house.commit(vec![Change::Disable { reviewer, at }.into()]).await;
        }
    }
    scene.house.commit(vec![Op::DropSetting { key: PAUSE.into() }]).await;
    scene.app.engine.settings_changed();
    eventually(&scene.app, "the reset to be released", async || scene.is_ready().await).await;
    scene.app.idle().await;
}

async fn nothing_is_sealed_to(end: End, setup: Setup) {
    let scene = scene_on(setup, |_| {}).await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    released_after(&scene, end, &mut rita, &mut key).await;
    assert_eq!(scene.state().await, "approved", "{end:?}: it waits for the browser");
    assert_eq!(scene.app.count("resetPassword", scene.ada).received, 0, "{end:?}");
    assert_eq!(scene.is_here(&mut rita).await, 401, "{end:?}");
    if end == End::Disabled {
        return;
    }
    assert_eq!(rita.sign_in(&mut key, &Says::get()).await.status, 200);
    assert_eq!(scene.is_here(&mut rita).await, 204, "the same browser, signed in again");
    eventually(&scene.app, "the reset", async || scene.state().await == "sealed").await;
    let sealed = rita.post(&scene.deed("reveal"), json!({ "key": scene.app.recipient })).await;
    assert!(sealed.status == 200 && sealed.body["ciphertext"].is_string(), "{sealed:?}");
    assert_eq!(scene.app.count("resetPassword", scene.ada).applied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_made_for_somebody_who_signed_out() {
    nothing_is_sealed_to(End::SignOut, Setup::default()).await;
    nothing_is_sealed_to(End::SignOutEverywhere, Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_made_for_somebody_who_was_disabled() {
    nothing_is_sealed_to(End::Disabled, Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_made_for_nobody_on_a_shared_store_either() {
    for end in [End::SignOut, End::Disabled] {
        nothing_is_sealed_to(end, Setup { place: Some(Place::new().await), ..Setup::default() }).await;
    }
}

/// Signing out keeps the browser's key: what was sealed to it can be opened by its reviewer, and by nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn who_signs_out_before_looking_signs_in_again_and_looks() {
    let scene = scene_on(Setup::default(), |_| {}).await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    let (mut carl, _) = scene.house.signed_in("carl", Role::Approver).await;
    assert_eq!(scene.decide(&mut rita, &mut key, Verdict::Approve).await.status, 200);
    assert_eq!(scene.is_here(&mut rita).await, 204);
    eventually(&scene.app, "the reset", async || scene.state().await == "sealed").await;
    let out = rita.post("/console/sign-out", json!({})).await;
    assert_eq!(&out.headers["clear-site-data"], "\"cache\"", "the key stays");
    let mine = json!({ "key": scene.app.recipient });
    assert_eq!(rita.post(&scene.deed("reveal"), mine.clone()).await.status, 401);
    assert_eq!(carl.post(&scene.deed("reveal"), mine.clone()).await.status, 403, "the next person at that browser");
    assert_eq!(rita.sign_in(&mut key, &Says::get()).await.status, 200);
    assert_eq!(rita.post(&scene.deed("reveal"), mine).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_at_anothers_secret_and_refused_orders_are_few_in_the_trail() {
    let few = Rates { per_account: NonZeroU32::new(8).expect("not zero"), ..many() };
    let scene = scene_on(Setup::default(), |parts| parts.rates = few).await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    assert_eq!(scene.decide(&mut rita, &mut key, Verdict::Approve).await.status, 200);
    let (mut carl, _) = scene.house.signed_in("carl", Role::Approver).await;
    let case = scene.app.cases().await.remove(0).id;
    let refused = async || {
        let all = scene.house.audited().await;
        all.iter().filter(|(verb, _)| verb == "task.refused" || verb == "order.refused").count()
    };
    for (path, body) in [
        (scene.deed("presence"), json!({ "key": "B".repeat(87) })),
        (scene.deed("reveal"), json!({ "key": "B".repeat(87) })),
        (format!("/console/cases/{case}/orders"), json!({ "order": "close" })),
    ] {
        let mut last = 0;
        for _ in 0..10 {
            last = carl.post(&path, body.clone()).await.status.as_u16();
        }
        assert_eq!(last, 429, "{path}");
        assert!(refused().await <= 8, "{path}: {} records", refused().await);
    }
    assert!(refused().await > 0, "the first ones are told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_waits_for_a_password_leaves_no_refusals_in_the_trail() {
    let scene = scene_on(Setup::default(), |_| {}).await;
    let (mut rita, _) = scene.house.signed_in("rita", Role::Approver).await;
    let mine = json!({ "key": scene.app.recipient });
    for path in [scene.deed("presence"), scene.deed("reveal")] {
        assert_eq!(rita.post(&path, mine.clone()).await.status, 404, "{path}: nobody decided yet");
    }
    assert!(!scene.house.has_audited("request.refused").await);
    assert_eq!(rita.post("/console/tasks/none/presence", mine).await.status, 404);
    assert!(scene.house.has_audited("request.refused").await, "what never was is another matter");
}
