//! Between revoke and reset: sign-ins newer than the revoke.

use jiff::SignedDuration;
use oust::twin::{NewSignIn, Origin, Special};
use serde_json::Value;
use uuid::Uuid;

use super::{app, eventually, push, revoked};
use crate::support::App;

fn sign_in(app: &App, user: Uuid, origin: Origin) {
    let new = NewSignIn { user, origin, error_code: 0, risk: None, at: None, session: None };
    app.twin.add_sign_in(&new).expect("a sign-in");
}

async fn watch(app: &App, user: Uuid) -> Value {
    let person = app.store.person(&app.identity(user)).await.expect("a read").expect("a person");
    person.doc["watch"].clone()
}

async fn look(app: &App) {
    push(app, SignedDuration::from_secs(11));
    app.engine.watch_once().await;
    app.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_after_the_revoke_from_the_alerts_address_revokes_again() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    push(&app, SignedDuration::from_secs(20));
    sign_in(&app, ada, Origin::thief());
    look(&app).await;
    revoked(&app, ada, 2).await;
    app.idle().await;
    look(&app).await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2, "one sign-in is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_from_elsewhere_without_risk_revokes_nothing() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    push(&app, SignedDuration::from_secs(20));
    sign_in(&app, ada, Origin::default());
    let failed =
        NewSignIn { user: ada, origin: Origin::thief(), error_code: 50126, risk: None, at: None, session: None };
    app.twin.add_sign_in(&failed).expect("a sign-in");
    look(&app).await;
    look(&app).await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    let risky = NewSignIn {
        user: ada,
        origin: Origin::default(),
        error_code: 0,
        risk: Some("high".into()),
        at: None,
        session: None,
    };
    app.twin.add_sign_in(&risky).expect("a sign-in");
    look(&app).await;
    revoked(&app, ada, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watch_ends_with_looks_at_fifteen_and_sixty_minutes_after_the_last_revoke() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(watch(&app, ada).await["continuous"], true);
    app.approve_all().await;
    app.do_by_hand().await;
    eventually(&app, "the second revoke", async || app.count("revokeSignInSessions", ada).applied == 2).await;
    app.idle().await;
    assert_eq!(watch(&app, ada).await["continuous"], false);
    look(&app).await;
    let last: jiff::Timestamp = watch(&app, ada).await["last_revoke"].as_str().expect("text").parse().expect("a time");
    for minutes in [15, 60] {
        let next: jiff::Timestamp = watch(&app, ada).await["next_at"].as_str().expect("text").parse().expect("a time");
        assert_eq!(next, last + SignedDuration::from_mins(minutes));
        push(&app, next.duration_since(app.clock.now()) + SignedDuration::from_secs(1));
        app.engine.watch_once().await;
        app.idle().await;
    }
    assert!(watch(&app, ada).await.is_null(), "{}", watch(&app, ada).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thief_seen_at_the_second_look_is_evicted_again() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    app.approve_all().await;
    app.do_by_hand().await;
    eventually(&app, "the second revoke", async || app.count("revokeSignInSessions", ada).applied == 2).await;
    app.idle().await;
    look(&app).await;
    push(&app, SignedDuration::from_mins(10));
    sign_in(&app, ada, Origin::thief());
    push(&app, SignedDuration::from_mins(6));
    app.engine.watch_once().await;
    revoked(&app, ada, 3).await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 3);
}
