//! What people order by hand in a case: asked for, decided, carried out once, and refused where it makes no sense.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use oust::domain::plan::StepId;
use oust::domain::run::Mode;
use oust::domain::task::{Ballot, Event, Forbidden, Kind, Order, Refused, Reviewer, Role, Task, Verdict};
use oust::domain::{CaseId, Identity, ObjectId, RunId};
use oust::engine::{Asked, DecideError, Engine, Fate, NoHook, OrderError, Place as At, Recorded};
use oust::store::sqlite::{Options, Sqlite};
use oust::store::{Batch, Lane, Op, Store};
use oust::twin::{self, Fault, Special};
use uuid::Uuid;

use super::{RESET, app, app_with, by_upn, eventually, lasting_twin, open, outcome, playbook, push, revoked, the};
use crate::support::postgres::Place;
use crate::support::{App, Plan, Setup, reviewer};

/// A case that stays open: a confirmation waits for its approval.
const CONFIRM: &str = "recover:\n  - do: confirm_compromised\n    approval: on_call\n";

fn plain(rest: &str) -> Setup {
    Setup { playbooks: vec![playbook("plain", "  signals: [anomalous_token]\n", rest)], ..Setup::default() }
}

/// A contained person whose case waits for somebody.
async fn contained(rest: &str) -> (App, Uuid) {
    contained_in(plain(rest)).await
}

async fn contained_in(setup: Setup) -> (App, Uuid) {
    let app = app_with(setup).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    (app, ada)
}

async fn case_of(app: &App, user: Uuid) -> CaseId {
    let case = app.cases().await.into_iter().find(|case| case.identity == app.identity(user));
    case.expect("a case").id
}

/// The run of a playbook, and where one of its steps stands.
async fn run_of(app: &App, user: Uuid, playbook: &str) -> RunId {
    let runs = app.store.runs_of(case_of(app, user).await).await.expect("a read");
    runs.iter().find(|(run, _)| run.playbook == playbook).expect("the run").0.id
}

async fn run_state(app: &App, run: RunId) -> String {
    app.store.run(run).await.expect("a read").expect("the run").0.state
}

fn asked(app: &App, by: &str, order: Order) -> Asked {
    Asked { order, reason: Some("talked to her".into()), policy: None, by: reviewer(by, app.clock.now()) }
}

async fn ask(app: &App, user: Uuid, by: &str, order: Order) -> Result<Task, OrderError> {
    app.engine.order(case_of(app, user).await, asked(app, by, order), &format!("reviewer:{by}")).await
}

async fn decide_at(engine: &Engine, app: &App, on: &Task, by: &str, verdict: Verdict) -> Result<Recorded, DecideError> {
    let shown = super::task(app, on).await;
    let ballot = Ballot {
        by: reviewer(by, app.clock.now()),
        verdict,
        reason: Some("asked them on the phone".into()),
        digest: shown.digest(),
        recipient_key: shown.reveals().then(|| app.recipient.clone()),
    };
    engine.decide(on.id, &format!("reviewer:{by}"), Event::Vote(Box::new(ballot))).await
}

/// Approves with the page open.
async fn approve(app: &App, on: &Task, by: &str) {
    app.seen(on.id).await;
    decide_at(&app.engine, app, on, by, Verdict::Approve).await.expect("an entitled vote");
    app.idle().await;
}

/// Asks and decides, as one person may for everything but a reset.
async fn ordered(app: &App, user: Uuid, order: Order) -> Task {
    let task = ask(app, user, "rita", order).await.expect("it makes sense");
    approve(app, &task, "rita").await;
    super::task(app, &task).await
}

async fn offers(app: &App, user: Uuid) -> Vec<Order> {
    app.engine.offers(case_of(app, user).await).await.expect("a read")
}

fn step(id: &str) -> StepId {
    StepId(id.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_by_hand_is_sent_once_beside_a_playbook_that_waits() {
    let (app, ada) = contained(RESET).await;
    assert!(offers(&app, ada).await.contains(&Order::Revoke));
    let asked = ask(&app, ada, "rita", Order::Revoke).await.expect("it makes sense");
    assert_eq!((asked.kind, asked.rows.len(), &*asked.rows[0].action), (Kind::Order, 1, "revoke_sessions"));
    assert!(asked.requester.is_none() && asked.decide_by().is_some());
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).received, 1, "not before it was decided");
    approve(&app, &asked, "rita").await;
    let count = app.count("revokeSignInSessions", ada);
    assert_eq!((count.received, count.applied), (2, 2));
    assert_eq!(super::task(&app, &asked).await.state.word(), "executed");
    assert_eq!(run_state(&app, asked.run.expect("a run")).await, "finished");
    the(&app, Kind::Approval).await;
    let picture = app.picture().await;
    for verb in ["order.asked", "task.decided", "order.begun"] {
        assert!(picture.contains(verb), "{verb} is recorded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_by_hand_waits_for_no_reading() {
    let (app, ada) = contained(RESET).await;
    let asked = ask(&app, ada, "rita", Order::Revoke).await.expect("it makes sense");
    app.twin.fault(twin::Plan::on("/users/", Fault::status(503)).method("GET"));
    app.seen(asked.id).await;
    decide_at(&app.engine, &app, &asked, "rita", Verdict::Approve).await.expect("an entitled vote");
    revoked(&app, ada, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_asked_and_decided_twice_at_once_happens_once() {
    let (app, ada) = contained(RESET).await;
    let (one, two) = tokio::join!(ask(&app, ada, "rita", Order::Revoke), ask(&app, ada, "carl", Order::Revoke));
    let (task, refused) = match (one, two) {
        (Ok(task), Err(refused)) | (Err(refused), Ok(task)) => (task, refused),
        both => panic!("one of two: {both:?}"),
    };
    assert!(matches!(refused, OrderError::AlreadyAsked { task: other, .. } if other == task.id), "{refused:?}");
    let (one, two) = tokio::join!(
        decide_at(&app.engine, &app, &task, "rita", Verdict::Approve),
        decide_at(&app.engine, &app, &task, "carl", Verdict::Approve)
    );
    assert_eq!([&one, &two].iter().filter(|vote| vote.is_ok()).count(), 1, "{one:?} {two:?}");
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).received, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_by_hand_goes_at_once_and_a_crash_repeats_nothing_but_what_may_be() {
    let (app, ada) = contained(&format!("{CONFIRM}  - do: reset_password\n    approval: on_call\n")).await;
    let waiting = the(&app, Kind::Approval).await;
    let task = ask(&app, ada, "rita", Order::ConfirmCompromised).await.expect("it makes sense");
    // Decided in a process that performs nothing, while no worker lives.
    app.engine.stop(Duration::ZERO).await;
    let console = app.console_engine().await;
    decide_at(&console, &app, &task, "rita", Verdict::Approve).await.expect("a vote");
    assert_eq!(super::task(&app, &task).await.state.word(), "approved");
    drop(console);
    let hook = Plan::once(At::BeforeCall, "confirm_compromised", Fate::Die);
    let app = app.restart(hook.clone()).await;
    crate::support::until("the worker to die", || hook.was_met()).await;
    let app = app.restart(Arc::new(NoHook)).await;
    eventually(&app, "the confirmation", async || app.count("confirmCompromised", ada).applied == 1).await;
    app.idle().await;
    assert_eq!(app.count("confirmCompromised", ada).received, 1);
    assert_eq!(super::task(&app, &task).await.state.word(), "executed");
    assert_eq!(super::task(&app, &waiting).await.state.word(), "pending", "the playbook still waits for its own");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
    let runs = app.store.runs_of(case_of(&app, ada).await).await.expect("a read");
    assert_eq!(runs.len(), 2, "the order opened one run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dismissal_by_hand_is_sent_once() {
    let (app, ada) = contained(CONFIRM).await;
    app.twin.add_detection(&twin::NewDetection { user: ada, ..Default::default() }).expect("a detection");
    let task = ordered(&app, ada, Order::DismissRisk).await;
    assert_eq!(task.state.word(), "executed", "{task:#?}");
    assert_eq!(app.count("dismissRisk", ada).received, 1);
    assert_eq!(app.twin.user(ada).expect("ada").risk_state, "dismissed");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_a_reset_does_not_decide_it_and_somebody_else_is_shown_the_password() {
    let (app, ada) = contained(CONFIRM).await;
    let task = ask(&app, ada, "rita", Order::Reset).await.expect("it makes sense");
    assert_eq!(task.requester.as_ref().map(|person| person.id.as_str()), Some("rita"));
    let own = decide_at(&app.engine, &app, &task, "rita", Verdict::Approve).await;
    assert!(matches!(own, Err(DecideError::Refused(Refused::Forbidden { why: Forbidden::Requester }))), "{own:?}");
    approve(&app, &task, "carl").await;
    let reset = app.count("resetPassword", ada);
    assert_eq!((reset.received, reset.applied), (1, 1));
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2, "revoked before, and revoked again after it");
    let sealed = super::task(&app, &task).await;
    assert_eq!(sealed.state.word(), "sealed");
    assert_eq!(sealed.approval.and_then(|a| a.recipient).map(|r| r.reviewer).as_deref(), Some("carl"));
    let confirm = ask(&app, ada, "rita", Order::ConfirmCompromised).await;
    assert!(matches!(confirm, Err(OrderError::Unfit(_))), "after a reset it would raise the risk again: {confirm:?}");
    let close = ask(&app, ada, "rita", Order::Close).await;
    assert!(matches!(&close, Err(OrderError::Unfit(why)) if why.contains("password")), "{close:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_by_hand_of_a_case_that_is_not_contained_revokes_first() {
    let app = app_with(plain(CONFIRM)).await;
    let ada = app.twin.special(Special::Ada);
    // Nobody could be revoked: Graph refused it for good, so a person asks for all of it.
    app.twin.fault(twin::Plan::on("revokeSignInSessions", Fault::status(404)));
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    app.twin.clear_faults();
    let before = app.count("revokeSignInSessions", ada).applied;
    assert_eq!(before, 0);
    let task = ask(&app, ada, "rita", Order::Reset).await.expect("it makes sense");
    let actions: Vec<&str> = task.rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["revoke_sessions", "reset_password"]);
    approve(&app, &task, "carl").await;
    eventually(&app, "the reset", async || app.count("resetPassword", ada).applied == 1).await;
    revoked(&app, ada, 2).await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn never_are_two_resets_open() {
    let (app, ada) = contained(RESET).await;
    let waiting = the(&app, Kind::Approval).await;
    let refused = ask(&app, ada, "rita", Order::Reset).await;
    assert!(matches!(refused, Err(OrderError::AlreadyAsked { task, .. }) if task == waiting.id), "{refused:?}");
    assert!(!offers(&app, ada).await.contains(&Order::Reset));

    // The other way round: a playbook comes to its reset while an order for one waits.
    let confirms = playbook("plain", "  signals: [anomalous_token]\n", CONFIRM);
    let resets = playbook("other", "  signals: [impossible_travel]\n", RESET);
    let app = app_with(Setup { playbooks: vec![confirms, resets], ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let order = ask(&app, ada, "rita", Order::Reset).await.expect("it makes sense");
    app.alert(ada, "impossibleTravel").await;
    app.idle().await;
    let confirm = the(&app, Kind::Approval).await;
    decide_at(&app.engine, &app, &confirm, "rita", Verdict::Deny).await.expect("a vote");
    app.idle().await;
    let asks = |task: &Task| task.rows.iter().any(|row| row.action == "reset_password");
    let asking = app.open_tasks().await.into_iter().filter(asks).count();
    assert_eq!(asking, 1, "{:#?}", app.open_tasks().await);
    assert_eq!(super::task(&app, &order).await.state.word(), "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_nobody_passed_on_keeps_the_case_open_and_is_asked_for_anew() {
    let (app, ada) = contained(RESET).await;
    let first = the(&app, Kind::Approval).await;
    approve(&app, &first, "rita").await;
    assert_eq!(super::task(&app, &first).await.state.word(), "sealed");
    assert!(app.store.sealed(first.id).await.expect("a read").is_some());
    push(&app, SignedDuration::from_hours(25));
    app.idle().await;
    assert_eq!(super::task(&app, &first).await.state.word(), "reveal_expired");
    assert_eq!(app.store.sealed(first.id).await.expect("a read"), None, "what was sealed is gone");
    assert!(app.picture().await.contains("task.reveal_expired"));
    assert_eq!(app.cases().await[0].state, "password_lost");
    assert_eq!(app.cases().await[0].closed_at, None);
    let again = ask(&app, ada, "rita", Order::Reset).await.expect("it makes sense");
    assert!(again.requester.is_none(), "the case asks for it, not rita");
    approve(&app, &again, "rita").await;
    assert_eq!(app.count("resetPassword", ada).applied, 2);
    let (by, key) = ("rita".to_owned(), app.recipient.clone());
    for event in [Event::Fetched { by: by.clone(), key: key.clone() }, Event::Acknowledged { by, key }] {
        app.engine.decide(again.id, "reviewer:rita", event).await.expect("the recipient");
    }
    app.idle().await;
    assert_eq!(super::task(&app, &again).await.state.word(), "revealed");
    assert_eq!(app.cases().await[0].state, "closed");
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 3, "one, and one after each reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_done_again_and_what_was_done_is_not() {
    let (app, ada) =
        contained(&format!("{CONFIRM}    on_failure: continue\n  - do: reset_password\n    approval: on_call\n")).await;
    let run = run_of(&app, ada, "plain").await;
    let again = Order::Again { run, step: step("confirm_compromised") };
    let early = ask(&app, ada, "rita", again.clone()).await;
    assert!(matches!(&early, Err(OrderError::Unfit(why)) if why.contains("waiting")), "{early:?}");
    app.twin.fault(twin::Plan::on("confirmCompromised", Fault::status(403)));
    let waiting = the(&app, Kind::Approval).await;
    decide_at(&app.engine, &app, &waiting, "rita", Verdict::Approve).await.expect("a vote");
    app.idle().await;
    app.twin.clear_faults();
    assert_eq!(app.count("confirmCompromised", ada).applied, 0);
    assert!(offers(&app, ada).await.contains(&again), "{:#?}", app.picture().await);
    let task = ordered(&app, ada, again.clone()).await;
    assert_eq!(task.state.word(), "executed", "{task:#?}");
    assert_eq!(app.count("confirmCompromised", ada).applied, 1);
    let twice = ask(&app, ada, "rita", again).await;
    assert!(matches!(&twice, Err(OrderError::Unfit(why)) if why.contains("since")), "{twice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_denied_is_not_let_go_by_whoever_asks_for_it_again() {
    let (app, ada) = contained(&format!("{CONFIRM}  - do: manual\n    with: {{ instructions: Call them. }}\n")).await;
    let run = run_of(&app, ada, "plain").await;
    let waiting = the(&app, Kind::Approval).await;
    decide_at(&app.engine, &app, &waiting, "carl", Verdict::Deny).await.expect("a vote");
    app.idle().await;
    for order in [Order::Again { run, step: step("confirm_compromised") }, Order::ConfirmCompromised] {
        let task = ask(&app, ada, "rita", order).await.expect("the case is open");
        assert_eq!(task.policy.reviewers, ["group:on-call"], "under the policy of the playbook");
        let own = decide_at(&app.engine, &app, &task, "rita", Verdict::Approve).await;
        assert!(matches!(own, Err(DecideError::Refused(Refused::Forbidden { why: Forbidden::Requester }))), "{own:?}");
        let other = ask(&app, ada, "carl", Order::ConfirmCompromised).await;
        assert!(matches!(&other, Err(OrderError::AlreadyAsked { task: open, .. }) if *open == task.id), "{other:?}");
        decide_at(&app.engine, &app, &task, "carl", Verdict::Deny).await.expect("a vote");
        app.idle().await;
    }
    assert_eq!(app.count("confirmCompromised", ada).received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_a_reset_does_not_choose_another_policy_than_the_playbooks() {
    let (app, ada) = contained(RESET).await;
    let waiting = the(&app, Kind::Approval).await;
    let run = run_of(&app, ada, "plain").await;
    push(&app, SignedDuration::from_hours(4));
    app.idle().await;
    assert!(super::task(&app, &waiting).await.state.is_terminal());
    let mut other = asked(&app, "rita", Order::Again { run, step: step("reset_password") });
    other.policy = Some("nowhere".into());
    let refused = app.engine.order(case_of(&app, ada).await, other, "reviewer:rita").await;
    assert!(matches!(refused, Err(OrderError::NoSuchPolicy(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_nobody_decided_in_time_is_asked_for_again() {
    let (app, ada) = contained(RESET).await;
    let run = run_of(&app, ada, "plain").await;
    push(&app, SignedDuration::from_hours(4));
    app.idle().await;
    assert_eq!(app.cases().await[0].state, "password_unchanged");
    let task =
        ask(&app, ada, "rita", Order::Again { run, step: step("reset_password") }).await.expect("it makes sense");
    assert!(task.requester.is_some(), "a new reset is a new decision of somebody else");
    assert_eq!(task.policy.reviewers, ["group:on-call"], "under the policy of the playbook");
    approve(&app, &task, "carl").await;
    assert_eq!(app.count("resetPassword", ada).applied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skipped_step_takes_its_question_with_it_and_the_revoke_after_a_reset_is_never_skipped() {
    let (app, ada) = contained(RESET).await;
    let run = run_of(&app, ada, "plain").await;
    let waiting = the(&app, Kind::Approval).await;
    let owed = ask(&app, ada, "rita", Order::Skip { run, step: step("revoke_after_reset_password") }).await;
    assert!(matches!(owed, Err(OrderError::Unfit(_))), "{owed:?}");
    let mut silent = asked(&app, "rita", Order::Skip { run, step: step("reset_password") });
    silent.reason = Some("  ".into());
    let silent = app.engine.order(case_of(&app, ada).await, silent, "reviewer:rita").await;
    assert!(matches!(silent, Err(OrderError::NoReason("skip"))), "{silent:?}");
    let task = ordered(&app, ada, Order::Skip { run, step: step("reset_password") }).await;
    assert_eq!(task.state.word(), "executed", "{task:#?}");
    assert_eq!(super::task(&app, &waiting).await.state.word(), "cancelled");
    assert_eq!(run_state(&app, run).await, "finished");
    assert_eq!(app.cases().await[0].state, "closed");
    assert!(app.picture().await.contains("skipped by rita: talked to her"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_with_all_it_asks_for() {
    let (app, ada) = contained(&format!("{CONFIRM}  - do: manual\n    with: {{ instructions: Call them. }}\n")).await;
    let run = run_of(&app, ada, "plain").await;
    assert_eq!(app.open_tasks().await.len(), 2);
    let task = ordered(&app, ada, Order::Cancel { run }).await;
    assert_eq!(task.state.word(), "executed", "{task:#?}");
    assert_eq!(run_state(&app, run).await, "cancelled");
    assert_eq!(app.open_tasks().await.len(), 0, "{:#?}", app.open_tasks().await);
    assert_eq!(app.cases().await[0].state, "closed");
    assert_eq!(app.count("confirmCompromised", ada).received, 0);
}

/// A reset whose outcome nobody can tell for good: cut off, and the password changed much later by its owner.
async fn in_doubt() -> (App, Uuid, RunId, Task) {
    let (app, ada) = contained(RESET).await;
    let task = the(&app, Kind::Approval).await;
    app.twin.fault(twin::Plan::on("/users/", Fault::Drop).method("PATCH").times(1));
    app.seen(task.id).await;
    decide_at(&app.engine, &app, &task, "rita", Verdict::Approve).await.expect("a vote");
    eventually(&app, "doubt", async || super::task(&app, &task).await.state.word() == "unknown").await;
    revoked(&app, ada, 2).await;
    let mut knobs = app.twin.knobs();
    knobs.skew_ms += 40_000;
    app.twin.set_knobs(knobs);
    app.twin
        .change_password(ada, &app.twin.initial_password(ada), "Another-Long-1-Passphrase")
        .expect("her own change");
    app.clock.advance(SignedDuration::from_secs(40));
    eventually(&app, "doubt for good", async || app.picture().await.contains("effect.unknown")).await;
    app.idle().await;
    let run = run_of(&app, ada, "plain").await;
    (app, ada, run, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_unknown_is_settled_by_a_person_as_executed() {
    let (app, ada, run, task) = in_doubt().await;
    for order in [Order::Close, Order::Cancel { run }, Order::Skip { run, step: step("reset_password") }, Order::Reset]
    {
        let refused = ask(&app, ada, "rita", order.clone()).await;
        assert!(
            matches!(refused, Err(OrderError::Unfit(_) | OrderError::AlreadyAsked { .. })),
            "{order:?}: {refused:?}"
        );
    }
    let settled = ordered(&app, ada, Order::Settle { run, step: step("reset_password"), applied: true }).await;
    assert_eq!(settled.state.word(), "executed", "{settled:#?}");
    assert_eq!(super::task(&app, &task).await.state.word(), "sealed", "its password can be fetched");
    assert!(app.cases().await[0].detail["reset_at"].is_string());
    assert_eq!(app.count("resetPassword", ada).received, 1);
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_unknown_is_settled_by_a_person_as_not_executed() {
    let (app, ada, run, task) = in_doubt().await;
    ordered(&app, ada, Order::Settle { run, step: step("reset_password"), applied: false }).await;
    app.seen(task.id).await;
    app.idle().await;
    assert_eq!(super::task(&app, &task).await.state.word(), "failed");
    assert_eq!(app.count("resetPassword", ada).received, 1, "nothing is sent again by itself");
    assert_eq!(app.cases().await[0].state, "password_unchanged");
    assert!(app.store.sealed(task.id).await.expect("a read").is_none(), "nobody is shown a password that is none");
    assert!(offers(&app, ada).await.contains(&Order::Reset));
    ordered(&app, ada, Order::Close).await;
    assert_eq!(app.cases().await[0].state, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_with_an_unchanged_password_is_closed_by_a_person_with_a_reason_and_by_nothing_else() {
    let (app, ada) = contained(RESET).await;
    push(&app, SignedDuration::from_hours(4));
    app.idle().await;
    push(&app, SignedDuration::from_hours(100));
    app.idle().await;
    assert_eq!(app.cases().await[0].state, "password_unchanged");
    let task = ordered(&app, ada, Order::Close).await;
    assert_eq!(task.state.word(), "executed", "{task:#?}");
    let case = &app.cases().await[0];
    assert_eq!((case.state.as_str(), case.closed_at.is_some()), ("closed", true));
    assert!(app.picture().await.contains("rita: talked to her"), "the reason is in the audit trail");
    let late = ask(&app, ada, "rita", Order::Revoke).await;
    assert!(matches!(late, Err(OrderError::Closed)), "{late:?}");
    assert_eq!(offers(&app, ada).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_case_ends_its_runs_and_all_that_is_asked_in_it() {
    let (app, ada) = contained(RESET).await;
    let (waiting, run) = (the(&app, Kind::Approval).await, run_of(&app, ada, "plain").await);
    let other = ask(&app, ada, "carl", Order::Revoke).await.expect("it makes sense");
    let close = ask(&app, ada, "rita", Order::Close).await.expect("it makes sense");
    approve(&app, &close, "rita").await;
    assert_eq!(super::task(&app, &waiting).await.state.word(), "cancelled");
    assert_eq!(super::task(&app, &other).await.state.word(), "cancelled");
    assert_eq!(run_state(&app, run).await, "cancelled");
    assert_eq!(app.cases().await[0].state, "closed");
    let late = decide_at(&app.engine, &app, &other, "rita", Verdict::Approve).await;
    assert!(matches!(late, Err(DecideError::Refused(Refused::Conflict { .. }))), "{late:?}");
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).received, 1, "covered: the case before it revoked later");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_ask_is_told_and_recorded() {
    let (app, ada) = contained(RESET).await;
    let case = case_of(&app, ada).await;
    let of = |change: fn(&mut Reviewer)| {
        let mut asked = asked(&app, "rita", Order::Revoke);
        change(&mut asked.by);
        asked
    };
    let mut herself = of(|_| {});
    herself.by.linked = vec![ObjectId::new(ada)];
    let refused = app.engine.order(case, herself, "reviewer:rita").await;
    assert!(matches!(refused, Err(OrderError::Forbidden(Forbidden::Subject))), "{refused:?}");
    let refused = app.engine.order(case, of(|by| by.roles = vec![Role::Viewer]), "reviewer:rita").await;
    assert!(matches!(refused, Err(OrderError::Role)), "{refused:?}");
    let refused = app.engine.order(case, of(|by| by.at_risk = true), "reviewer:rita").await;
    assert!(matches!(refused, Err(OrderError::Forbidden(Forbidden::AtRisk))), "{refused:?}");
    let policy = Some("nobody".to_owned());
    let with_policy = |order| Asked { policy: policy.clone(), ..asked(&app, "rita", order) };
    let refused = app.engine.order(case, with_policy(Order::Revoke), "reviewer:rita").await;
    assert!(matches!(refused, Err(OrderError::Unfit(_))), "{refused:?}");
    let long = Asked { reason: Some("x".repeat(2_001)), ..asked(&app, "rita", Order::Close) };
    let refused = app.engine.order(case, long, "reviewer:rita").await;
    assert!(matches!(refused, Err(OrderError::LongReason { .. })), "{refused:?}");
    let nobody = CaseId::new(Uuid::nil());
    let refused = app.engine.order(nobody, of(|_| {}), "reviewer:rita").await;
    assert!(matches!(refused, Err(OrderError::NoSuchCase)), "{refused:?}");
    for order in [
        Order::Again { run: RunId::new(Uuid::nil()), step: step("reset_password") },
        Order::Skip { run: run_of(&app, ada, "plain").await, step: step("../x") },
        Order::Cancel { run: RunId::new(Uuid::nil()) },
    ] {
        let refused = ask(&app, ada, "rita", order.clone()).await;
        assert!(matches!(refused, Err(OrderError::Unfit(_))), "{order:?}: {refused:?}");
    }
    assert!(app.picture().await.contains("order.refused"));
    assert_eq!(open(&app, Kind::Order).await.len(), 0);
    let analyst = of(|by| by.roles = vec![Role::Analyst]);
    let task = app.engine.order(case, analyst, "reviewer:rita").await.expect("an analyst asks");
    let mut ballot = Ballot {
        by: reviewer("rita", app.clock.now()),
        verdict: Verdict::Approve,
        reason: None,
        digest: task.digest(),
        recipient_key: None,
    };
    ballot.by.roles = vec![Role::Analyst];
    let decided = app.engine.decide(task.id, "reviewer:rita", Event::Vote(Box::new(ballot))).await;
    assert!(matches!(decided, Err(DecideError::Refused(Refused::Forbidden { why: Forbidden::Role }))), "{decided:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_nothing_can_be_ordered() {
    let app = app_with(Setup { mode: Mode::Shadow, ..plain(RESET) }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let refused = ask(&app, ada, "rita", Order::Revoke).await;
    assert!(matches!(refused, Err(OrderError::Shadow)), "{refused:?}");
    assert_eq!(offers(&app, ada).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_nobody_decides_expires_and_changes_nothing() {
    let (app, ada) = contained(RESET).await;
    let task = ask(&app, ada, "rita", Order::Revoke).await.expect("it makes sense");
    push(&app, SignedDuration::from_mins(15));
    app.idle().await;
    assert_eq!(super::task(&app, &task).await.state.word(), "expired");
    assert_eq!(app.count("revokeSignInSessions", ada).received, 1);
    assert_ne!(app.cases().await[0].state, "password_unchanged");
    assert!(offers(&app, ada).await.contains(&Order::Revoke));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_glass_identity_is_refused_for_orders_too() {
    let (twin, base) = lasting_twin(5).await;
    let glass = twin.special(Special::BreakGlass);
    let app = App::on(Setup { break_glass: vec![glass], ..plain(RESET) }, twin, base).await;
    app.alert(glass, "anomalousToken").await;
    app.idle().await;
    let task = ordered(&app, glass, Order::Revoke).await;
    assert!(task.state.is_terminal() && task.state.word() != "executed", "{task:#?}");
    let task = ordered(&app, glass, Order::ConfirmCompromised).await;
    assert!(task.state.is_terminal() && task.state.word() != "executed", "{task:#?}");
    let counters = app.twin.counters();
    assert_eq!((counters.verb("revokeSignInSessions").received, counters.verb("confirmCompromised").received), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_parks_what_was_ordered_until_it_ends() {
    let (app, ada) = contained(RESET).await;
    let elsewhere = Sqlite::open(app.dir.path().join("oust.db"), Options::default()).expect("the same store");
    let pause = oust::http::Pause { by: "operator:op".into(), reason: None, at: Timestamp::now() };
    elsewhere.commit(Lane::Containment, pause.batch()).await.expect("durable");
    let app = app.restart(Arc::new(NoHook)).await;
    let task = ordered(&app, ada, Order::Revoke).await;
    assert_eq!(task.state.word(), "approved", "{task:#?}");
    assert_eq!(app.count("revokeSignInSessions", ada).received, 1);
    let ops = vec![Op::DropSetting { key: oust::http::PAUSE.into() }];
    elsewhere.commit(Lane::Containment, Batch { expect: None, ops }).await.expect("durable");
    revoked(&app, ada, 2).await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", ada).received, 2);
    assert_eq!(super::task(&app, &task).await.state.word(), "executed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_blast_radius_counts_a_person_once_and_holds_orders_as_it_holds_alerts() {
    let setup = Setup { blast_radius: Some((1, Duration::from_secs(600))), ..plain(RESET) };
    let (app, ada) = contained_in(setup).await;
    ordered(&app, ada, Order::Revoke).await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2, "she is counted already");
    push(&app, SignedDuration::from_mins(11));
    let one = app.twin.person(1);
    app.alert(one, "anomalousToken").await;
    app.idle().await;
    assert_eq!(app.count("revokeSignInSessions", one).applied, 1);
    let task = ordered(&app, ada, Order::Revoke).await;
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 2, "one more than the cap allows: it waits");
    assert_eq!(task.state.word(), "approved", "{task:#?}");
    let release = the(&app, Kind::Release).await;
    decide_at(&app.engine, &app, &release, "carl", Verdict::Approve).await.expect("a release");
    revoked(&app, ada, 3).await;
    app.idle().await;
    assert_eq!(super::task(&app, &task).await.state.word(), "executed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_new_alert_is_contained_while_an_order_waits_behind_a_pause_of_its_approval() {
    let (app, ada) = contained(RESET).await;
    let task = ask(&app, ada, "rita", Order::Revoke).await.expect("it makes sense");
    push(&app, SignedDuration::from_mins(2));
    app.deliver(&app.detection(ada, "anomalousToken", SignedDuration::ZERO)).await;
    revoked(&app, ada, 2).await;
    app.idle().await;
    assert_eq!(super::task(&app, &task).await.state.word(), "pending", "containment waits for no order");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_is_gone_fifteen_minutes_after_it_was_first_fetched() {
    let (app, _) = contained(RESET).await;
    let task = the(&app, Kind::Approval).await;
    approve(&app, &task, "rita").await;
    let fetched = || Event::Fetched { by: "rita".into(), key: app.recipient.clone() };
    app.engine.decide(task.id, "reviewer:rita", fetched()).await.expect("the recipient");
    push(&app, SignedDuration::from_mins(14));
    app.idle().await;
    assert!(app.store.sealed(task.id).await.expect("a read").is_some(), "for fifteen minutes");
    push(&app, SignedDuration::from_mins(1));
    app.idle().await;
    assert_eq!(super::task(&app, &task).await.state.word(), "reveal_expired");
    assert_eq!(app.store.sealed(task.id).await.expect("a read"), None, "then nobody can open it, with whatever key");
    let late = app.engine.decide(task.id, "reviewer:rita", fetched()).await;
    assert!(matches!(late, Err(DecideError::Refused(_))), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_shared_store_an_order_is_carried_out_by_a_worker_whoever_recorded_it() {
    let (app, ada) = contained_in(Setup { place: Some(Place::new().await), ..plain(RESET) }).await;
    let console = app.console_engine().await;
    let case = case_of(&app, ada).await;
    let task = console.order(case, asked(&app, "rita", Order::Revoke), "reviewer:rita").await.expect("it makes sense");
    decide_at(&console, &app, &task, "rita", Verdict::Approve).await.expect("a vote");
    revoked(&app, ada, 2).await;
    app.idle().await;
    assert_eq!(super::task(&app, &task).await.state.word(), "executed");
    let run = run_of(&app, ada, "plain").await;
    let skip = Order::Skip { run, step: step("reset_password") };
    let task = console.order(case, asked(&app, "rita", skip), "reviewer:rita").await.expect("it makes sense");
    decide_at(&console, &app, &task, "rita", Verdict::Approve).await.expect("a vote");
    eventually(&app, "the case to close", async || app.cases().await[0].state == "closed").await;
    let figures = app.store.figures(app.clock.now()).await.expect("a read");
    assert_eq!(figures.tasks_open, []);
}

fn named(app: &App, by: &str, identity: Identity) -> Event {
    Event::Named { by: Box::new(reviewer(by, app.clock.now())), identity }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_whom_a_reviewer_names_is_contained_as_if_the_alert_had_named_them() {
    let app = app().await;
    let ada = app.twin.special(Special::Ada);
    let signal = app.deliver(&by_upn(&app, "nobody@contoso.example")).await[0];
    app.idle().await;
    let held = the(&app, Kind::Held).await;
    let stranger = Identity { tenant: "fabrikam".parse().expect("a name"), object_id: ObjectId::new(ada) };
    let refused = app.engine.decide(held.id, "reviewer:rita", named(&app, "rita", stranger)).await;
    assert!(matches!(refused, Err(DecideError::Refused(Refused::Invalid { .. }))), "{refused:?}");
    let console = app.console_engine().await;
    let (one, two) = tokio::join!(
        console.decide(held.id, "reviewer:rita", named(&app, "rita", app.identity(ada))),
        app.engine.decide(held.id, "reviewer:carl", named(&app, "carl", app.identity(app.twin.person(1))))
    );
    assert_eq!([&one, &two].iter().filter(|named| named.is_ok()).count(), 1, "{one:?} {two:?}");
    let whom = if one.is_ok() { ada } else { app.twin.person(1) };
    revoked(&app, whom, 1).await;
    app.idle().await;
    assert_eq!(app.twin.counters().verb("revokeSignInSessions").received, 1);
    assert_eq!(outcome(&app, signal).await["word"], "act");
    assert_eq!(super::task(&app, &held).await.state.word(), "executed");
    assert_eq!(open(&app, Kind::Held).await.len(), 0);
    assert!(app.picture().await.contains("task.named"));
    let again = app.engine.decide(held.id, "reviewer:rita", named(&app, "rita", app.identity(ada))).await;
    assert!(matches!(again, Err(DecideError::Refused(_))), "{again:?}");
}
