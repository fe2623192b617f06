//! A run is pinned to its playbook, and a restart keeps everything.

use std::sync::Arc;

use oust::domain::task::Kind;
use oust::engine::NoHook;
use oust::twin::Special;
use serde_json::json;

use super::{RESET, app, app_with, eventually, playbook, the};
use crate::support::Setup;

const ON: &str = "  signals: [anomalous_token]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_as_it_was_pinned_and_only_new_runs_follow_the_edit() {
    let setup = Setup { playbooks: vec![playbook("plain", ON, RESET)], ..Setup::default() };
    let mut app = app_with(setup).await;
    let (ada, one) = (app.twin.special(Special::Ada), app.twin.person(1));
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let asked = the(&app, Kind::Approval).await;
    let edited = "recover:\n  - do: confirm_compromised\n    approval: on_call\n";
    app.setup.playbooks = vec![playbook("plain", ON, edited)];
    let app = app.restart(Arc::new(NoHook)).await;
    app.alert(one, "anomalousToken").await;
    app.idle().await;
    let tasks = app.open_tasks().await;
    let of_one = tasks.iter().find(|task| task.identity == Some(app.identity(one))).expect("a task");
    assert_eq!(of_one.rows[0].action, "confirm_compromised", "new runs follow the edit");
    assert_eq!(super::task(&app, &asked).await.rows[0].action, "reset_password");
    app.approve_all().await;
    eventually(&app, "the reset", async || app.count("resetPassword", ada).applied == 1).await;
    app.idle().await;
    assert_eq!(app.count("confirmCompromised", ada).received, 0);
    assert_eq!(app.count("confirmCompromised", one).applied, 1);
    assert_eq!(app.count("resetPassword", one).received, 0);
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_that_was_removed_still_ends_its_runs() {
    let setup = Setup { playbooks: vec![playbook("plain", ON, RESET)], ..Setup::default() };
    let mut app = app_with(setup).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    app.setup.playbooks = vec![playbook("other", "  signals: [inbox_rule]\n", RESET)];
    let app = app.restart(Arc::new(NoHook)).await;
    app.approve_all().await;
    eventually(&app, "the second revoke", async || app.count("revokeSignInSessions", ada).applied == 2).await;
    assert_eq!(app.count("resetPassword", ada).applied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_a_waiting_task_changes_nothing_that_was_stored() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    app.engine.stop(std::time::Duration::from_secs(5)).await;
    let keep = |picture: String| -> Vec<String> {
        // Every start counts one epoch more, in a table of one number, and follows the audit trail to its last record;
        // nothing else may differ.
        let moves = |line: &&str| line.starts_with("  one=1 ") || line.contains("audit:tip");
        picture.lines().filter(|line| !moves(line)).map(str::to_owned).collect()
    };
    let before = keep(app.picture().await);
    let app = app.restart(Arc::new(NoHook)).await;
    app.idle().await;
    app.engine.stop(std::time::Duration::from_secs(5)).await;
    let after = keep(app.picture().await);
    let lost: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
    let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    assert_eq!((lost, new), (Vec::<&String>::new(), Vec::new()));
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    assert_eq!(app.cases().await[0].detail["playbooks"], json!(["token-theft"]));
}
