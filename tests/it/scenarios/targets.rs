//! People whose password or sessions are not ours to change.

use oust::domain::task::{Kind, Verdict};
use oust::twin::{Fault, Plan, Special};

use super::{app, app_with, open, playbook, the, vote};
use crate::support::{App, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_revoked_but_the_home_tenant_has_to_be_told() {
    let app = app().await;
    let guest = app.twin.special(Special::Guest);
    app.alert(guest, "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", guest).applied, 1);
    assert_eq!(app.cases().await[0].state, "not_contained_guest");
    let manual = open(&app, Kind::Manual).await;
    assert!(manual.iter().any(|task| task.title.contains("home tenant owns the sessions")), "{manual:#?}");
    let reset = manual.iter().find(|task| task.title == "Reset the password by hand").expect("a manual reset");
    assert!(reset.instructions.as_deref().is_some_and(|text| text.contains("home tenant")));
    let approval = the(&app, Kind::Approval).await;
    assert!(approval.rows.iter().all(|row| row.action != "reset_password"));
    assert_eq!(app.count("resetPassword", guest).received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synced_person_is_reset_by_hand_and_then_revoked_again() {
    let app = app().await;
    let sybil = app.twin.special(Special::Synced);
    app.alert(sybil, "anomalousToken").await;
    app.idle().await;
    let manual = open(&app, Kind::Manual).await;
    let reset = manual.iter().find(|task| task.title == "Reset the password by hand").expect("a manual reset");
    let text = reset.instructions.as_deref().unwrap_or_default();
    assert!(text.contains("Active Directory") && text.contains("reset the password twice"), "{text}");
    assert_eq!(app.count("revokeSignInSessions", sybil).applied, 1);
    app.do_by_hand().await;
    app.approve_all().await;
    app.idle().await;
    assert_eq!(app.count("resetPassword", sybil).received, 0);
    assert_eq!(app.count("revokeSignInSessions", sybil).applied, 2, "after every reset comes another revoke");
    assert_eq!(app.cases().await[0].state, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_reset_that_is_denied_is_not_followed_by_a_revoke() {
    let app = app().await;
    let sybil = app.twin.special(Special::Synced);
    app.alert(sybil, "anomalousToken").await;
    app.idle().await;
    let manual = open(&app, Kind::Manual).await;
    let reset = manual.iter().find(|task| task.title == "Reset the password by hand").expect("a manual reset");
    vote(&app, reset, Verdict::Deny, false).await.expect("a vote");
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", sybil).applied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_is_reset_by_hand_and_then_revoked_again() {
    let app = app().await;
    let root = app.twin.special(Special::Admin);
    is_reset_by_hand(&app, root, "directory role").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_federated_person_is_reset_by_hand_and_then_revoked_again() {
    let app = app().await;
    let fay = app.twin.special(Special::Federated);
    is_reset_by_hand(&app, fay, "federated identity provider").await;
    app.alert(app.twin.special(Special::Ada), "anomalousToken").await;
    app.idle().await;
    let asked: Vec<_> = open(&app, Kind::Approval).await.into_iter().flat_map(|task| task.rows).collect();
    assert!(asked.iter().any(|row| row.action == "reset_password"), "a managed domain is another one: {asked:?}");
}

/// Nobody is asked to approve a reset that a person has to do.
async fn is_reset_by_hand(app: &App, user: uuid::Uuid, says: &str) {
    app.alert(user, "anomalousToken").await;
    app.idle().await;
    let manual = open(app, Kind::Manual).await;
    let reset = manual.iter().find(|task| task.title == "Reset the password by hand").expect("a manual reset");
    assert!(reset.instructions.as_deref().is_some_and(|text| text.contains(says)), "{reset:?}");
    let asked = open(app, Kind::Approval).await;
    assert!(asked.iter().flat_map(|task| &task.rows).all(|row| row.action != "reset_password"), "{asked:?}");
    assert_eq!(app.count("revokeSignInSessions", user).applied, 1);
    app.do_by_hand().await;
    app.approve_all().await;
    app.idle().await;
    assert_eq!(app.count("resetPassword", user).received, 0);
    assert_eq!(app.count("revokeSignInSessions", user).applied, 2, "after every reset comes another revoke");
    assert_eq!(app.cases().await[0].state, "closed", "{}", app.picture().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_could_not_be_read_with_the_account_is_found_before_the_reset() {
    let app = app().await;
    let root = app.twin.special(Special::Admin);
    app.twin.fault(Plan::on("/transitiveMemberOf/", Fault::status(403)));
    app.alert(root, "anomalousToken").await;
    app.idle().await;
    app.twin.clear_faults();
    let approval = the(&app, Kind::Approval).await;
    vote(&app, &approval, Verdict::Approve, true).await.expect("a vote");
    app.idle().await;
    let manual = open(&app, Kind::Manual).await;
    let reset = manual.iter().find(|task| task.title == "Reset the password by hand").expect("a manual reset");
    assert!(reset.instructions.as_deref().is_some_and(|text| text.contains("directory role")), "{reset:?}");
    assert_eq!(app.count("resetPassword", root).received, 0);
    assert_eq!(app.count("revokeSignInSessions", root).applied, 1);
    app.do_by_hand().await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", root).applied, 2, "after every reset comes another revoke");
    assert_eq!(app.cases().await[0].state, "closed", "{}", app.picture().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_reset_lets_nobody_in_again_before_somebody_did_it_by_hand() {
    let text = "name: locks\nversion: 1\ndescription: A test.\non:\n  signals: [anomalous_token]\ncontain:\n  - do: revoke_sessions\n  - do: disable_account\n    unattended: true\nrecover:\n  - do: reset_password\n    approval: on_call\n  - do: enable_account\n    approval: on_call\n";
    let app = app_with(Setup { playbooks: vec![("locks.yaml".to_owned(), text.to_owned())], ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let enabled = || app.twin.user(ada).map(|user| user.enabled);
    assert_eq!(enabled(), Some(false), "{}", app.picture().await);
    app.twin.fault(Plan::on("/users/", Fault::status(403)).method("PATCH").times(1));
    let approval = the(&app, Kind::Approval).await;
    vote(&app, &approval, Verdict::Approve, true).await.expect("a vote");
    app.idle().await;
    let count = app.count("resetPassword", ada);
    assert_eq!((count.received, count.applied), (1, 0));
    assert_eq!(enabled(), Some(false), "with the old password they stay out: {}", app.picture().await);
    app.do_by_hand().await;
    app.idle().await;
    assert_eq!(enabled(), Some(true), "{}", app.picture().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_graph_forbids_leaves_a_failed_step_that_says_why() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.twin.fault(Plan::on("/users/", Fault::status(403)).method("PATCH"));
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let approval = the(&app, Kind::Approval).await;
    vote(&app, &approval, Verdict::Approve, true).await.expect("a vote");
    app.idle().await;
    let count = app.count("resetPassword", ada);
    assert_eq!((count.received, count.applied), (1, 0), "refused once, not repeated");
    let after = super::task(&app, &approval).await;
    assert_eq!(after.state.word(), "failed", "{after:#?}");
    let picture = app.picture().await;
    assert!(picture.contains("Privileged Authentication Administrator"), "{picture}");
    assert!(picture.contains("OUST-G403"));
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2, "a reset that was sent is followed by a revoke");
    assert_eq!(app.store.sealed(approval.id).await.expect("a read"), None, "what was sealed for it is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synced_person_of_whom_nothing_was_read_ends_the_approval_with_the_instructions() {
    let on = "  signals: [anomalous_token]\n";
    let setup = Setup { playbooks: vec![playbook("blind", on, super::RESET)], ..Setup::default() };
    let app = app_with(setup).await;
    let sybil = app.twin.special(Special::Synced);
    app.alert(sybil, "anomalousToken").await;
    app.idle().await;
    let approval = the(&app, Kind::Approval).await;
    vote(&app, &approval, Verdict::Approve, true).await.expect("a vote");
    app.idle().await;
    assert_eq!(app.count("resetPassword", sybil).received, 0);
    let after = super::task(&app, &approval).await;
    assert!(after.state.is_terminal(), "nothing waits behind a step that failed: {after:#?}");
    let manual = the(&app, Kind::Manual).await;
    assert!(manual.instructions.as_deref().is_some_and(|text| text.contains("Active Directory")), "{manual:?}");
    app.do_by_hand().await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", sybil).applied, 2);
    assert_eq!(app.cases().await[0].state, "closed");
}
