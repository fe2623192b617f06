//! Shadow: everything but effects, and nothing of it is ever executed.

use oust::domain::run::Mode;
use oust::domain::task::{Kind, Verdict};
use oust::twin::Special;

use super::{app_with, outcome, the, vote};
use crate::support::{App, Setup};

fn shadow() -> Setup {
    Setup { mode: Mode::Shadow, ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_sends_nothing_and_its_tasks_say_so() {
    let app = app_with(shadow()).await;
    let ada = app.twin.special(Special::Ada);
    let signal = app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(outcome(&app, signal).await["word"], "act");
    assert!(app.open_tasks().await.iter().all(|task| task.shadow));
    let approval = the(&app, Kind::Approval).await;
    vote(&app, &approval, Verdict::Approve, true).await.expect("practice");
    app.do_by_hand().await;
    app.idle().await;
    for verb in ["revokeSignInSessions", "resetPassword", "confirmCompromised"] {
        assert_eq!(app.count(verb, ada).received, 0, "{verb}");
    }
    assert!(app.count("readUser", ada).received > 0, "it collects as always");
    let case = &app.cases().await[0];
    assert_eq!((case.state.as_str(), case.mode), ("closed", Mode::Shadow));
    assert_eq!(case.revoke_accepted_at, None);
}

/// A person whose alert was rehearsed; from now on effects are sent.
async fn rehearsed() -> (App, uuid::Uuid) {
    let mut app = app_with(shadow()).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    app.setup.mode = Mode::Enforce;
    let app = app.restart(std::sync::Arc::new(oust::engine::NoHook)).await;
    (app, ada)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shadow_rehearsed_covers_nothing_in_enforce() {
    let (app, ada) = rehearsed().await;
    app.approve_all().await;
    app.do_by_hand().await;
    app.idle().await;
    assert_eq!(app.count("resetPassword", ada).received, 0, "made in shadow, never executed");
    assert_eq!(app.count("revokeSignInSessions", ada).received, 0);
    let again = app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(outcome(&app, again).await["word"], "act", "the watermark did not move");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_was_rehearsed_is_a_real_one_from_its_first_effect_on() {
    let (app, ada) = rehearsed().await;
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let case = &app.cases().await[0];
    assert_eq!((case.mode, case.state.as_str()), (Mode::Enforce, "contained"));
    let real = app.open_tasks().await.into_iter().filter(|task| !task.shadow && task.kind == Kind::Approval).count();
    assert_eq!(real, 1, "the rehearsal still waits, and holds nothing off: {:#?}", app.open_tasks().await);
}
