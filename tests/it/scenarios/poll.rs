//! What no webhook brings is found by reading; what one brought is not done twice.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use oust::engine::{NoHook, Polling};
use oust::store::{Filter, Page};
use oust::twin::{Fault, NewAlert, NewDetection, Plan, Special};
use uuid::Uuid;

use super::{app_with, eventually, push};
use crate::support::{App, Setup};

/// Polls only when told to: the first look at the start sets the watermark.
async fn polled() -> App {
    let hour = Some(Duration::from_secs(3_600));
    let app = app_with(Setup { polling: Polling { risk_detections: hour, alerts: hour }, ..Setup::default() }).await;
    for collection in ["risk_detections", "alerts"] {
        let key = format!("poll:contoso:{collection}");
        eventually(&app, "the watermark", async || app.store.setting(&key).await.expect("a read").is_some()).await;
    }
    push(&app, SignedDuration::from_secs(5));
    app
}

fn of(user: Uuid) -> NewDetection {
    NewDetection { user, ..NewDetection::default() }
}

fn detect(app: &App, user: Uuid) {
    app.twin.add_detection(&of(user)).expect("a user");
}

fn revoked(app: &App, user: Uuid) -> u64 {
    app.count("revokeSignInSessions", user).applied
}

async fn poll(app: &App) {
    app.engine.poll_once().await;
    app.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_not_acted_on() {
    let (twin, base) = crate::support::start_twin(10).await;
    let ada = twin.special(Special::Ada);
    twin.add_detection(&of(ada)).expect("a user");
    let hour = Some(Duration::from_secs(3_600));
    let setup = Setup { polling: Polling { risk_detections: hour, alerts: hour }, ..Setup::default() };
    let app = App::on(setup, twin, base).await;
    poll(&app).await;
    poll(&app).await;
    assert_eq!(revoked(&app, ada), 0);
    assert!(app.cases().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detection_that_no_webhook_brought_is_contained_once() {
    let app = polled().await;
    let ada = app.twin.special(Special::Ada);
    detect(&app, ada);
    poll(&app).await;
    assert_eq!(revoked(&app, ada), 1);
    poll(&app).await;
    poll(&app).await;
    assert_eq!(revoked(&app, ada), 1);
    assert_eq!(app.cases().await[0].signals, 1, "what was seen is not handed over again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_webhook_brought_first_is_covered_when_it_is_found() {
    let app = polled().await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(revoked(&app, ada), 1);
    app.twin
        .add_detection(&NewDetection { activity_at: Some(app.clock.now() - SignedDuration::from_mins(10)), ..of(ada) })
        .expect("a user");
    poll(&app).await;
    assert_eq!(revoked(&app, ada), 1, "the sessions were revoked after that activity");
    assert_eq!(app.cases().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_is_found_too() {
    let app = polled().await;
    let ada = app.twin.special(Special::Ada);
    let _id = app.twin.add_alert(&NewAlert { users: vec![ada], ..NewAlert::default() });
    poll(&app).await;
    assert_eq!(revoked(&app, ada), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_or_failing_poll_is_made_up_for() {
    let app = polled().await;
    let ada = app.twin.special(Special::Ada);
    detect(&app, ada);
    for status in [429, 503, 403] {
        app.twin.fault(Plan::on("riskDetections", Fault::status(status)));
        poll(&app).await;
        assert_eq!(revoked(&app, ada), 0, "{status}");
        app.twin.clear_faults();
    }
    poll(&app).await;
    assert_eq!(revoked(&app, ada), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_neither_forgets_nor_repeats() {
    let app = polled().await;
    let (ada, other) = (app.twin.special(Special::Ada), app.twin.person(5));
    detect(&app, ada);
    poll(&app).await;
    let app = app.restart(Arc::new(NoHook)).await;
    detect(&app, other);
    poll(&app).await;
    assert_eq!((revoked(&app, ada), revoked(&app, other)), (1, 1));
    let signals = app.store.cases(&Filter::default(), &Page::default()).await.expect("a read").items;
    assert!(signals.iter().all(|case| case.signals == 1), "{signals:?}");
}
