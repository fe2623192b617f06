//! A signal that meets a revoke in flight is judged when that settles.

use jiff::SignedDuration;
use oust::twin::{Fault, Plan, Special};

use super::{app, eventually, outcome, push, revoked};

#[tokio::test(flavor = "multi_thread")]
async fn an_older_signal_that_meets_a_revoke_in_flight_is_covered_by_it() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.twin.fault(Plan::on("revokeSignInSessions", Fault::LateReply { ms: 700 }).times(1));
    app.alert(ada, "anomalousToken").await;
    revoked(&app, ada, 1).await;
    let met = app.deliver(&app.detection(ada, "anomalousToken", SignedDuration::from_mins(20))).await[0];
    eventually(&app, "the verdict", async || outcome(&app, met).await["word"] == "pending").await;
    app.idle().await;
    assert_eq!(outcome(&app, met).await["word"], "covered");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_signal_that_meets_a_revoke_in_flight_revokes_again_after_it() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.twin.fault(Plan::on("revokeSignInSessions", Fault::LateReply { ms: 700 }).times(1));
    app.alert(ada, "anomalousToken").await;
    revoked(&app, ada, 1).await;
    push(&app, SignedDuration::from_secs(30));
    let met = app.deliver(&app.detection(ada, "anomalousToken", SignedDuration::ZERO)).await[0];
    eventually(&app, "the verdict", async || outcome(&app, met).await["word"] == "pending").await;
    assert_eq!(app.count("revokeSignInSessions", ada).received, 1, "never two at once");
    revoked(&app, ada, 2).await;
    app.idle().await;
    assert_eq!(outcome(&app, met).await["word"], "act");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2);
}
