//! What a journal may say, and in which order.

use serde_json::json;
use uuid::Uuid;

use super::super::ids::CaseId;
use super::super::ledger::EffectKey;
use super::super::plan::{Plan, StepId};
use super::*;
use crate::domain::ledger::Fault;

fn plan() -> std::sync::Arc<Plan> {
    let step = |id: &str, class: &str, more: Value| {
        let mut step = json!({
            "id": id, "action": id, "phase": "recover", "class": class, "timeout_ms": 1_000, "attempts": 3,
            "on_failure": "stop",
        });
        for (key, given) in more.as_object().expect("an object") {
            step[key] = given.clone();
        }
        step
    };
    let plan = json!({
        "name": "small", "version": 1, "signals": [], "steps": [
            step("read", "read", json!({})),
            step("reset", "hard", json!({"approval": "on_call", "on_failure_written": true})),
            step("revoke_after", "soft", json!({"follows": "reset"})),
            step("last", "soft", json!({})),
        ],
    });
    std::sync::Arc::new(serde_json::from_value(plan).expect("a plan"))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("an instant")
}

fn id(step: &str) -> StepId {
    StepId(step.into())
}

fn task() -> TaskId {
    TaskId::new(Uuid::from_u128(7))
}

fn opened() -> Entry {
    let event = Event::Opened {
        plan: "hash".into(),
        playbook: "small".into(),
        version: 1,
        mode: Mode::Enforce,
        triggers: vec![SignalId::new(Uuid::from_u128(1))],
        activity: at(0),
        received_at: at(1),
        satisfied: false,
        signal: json!({}),
        traceparent: None,
    };
    Entry { at: at(2), event }
}

fn run_of(events: Vec<Event>) -> Result<Run, Illegal> {
    let later = events.into_iter().enumerate().map(|(n, event)| Entry { at: at(3 + n as i64), event });
    let journal: Vec<Entry> = std::iter::once(opened()).chain(later).collect();
    Run::replay(RunId::new(Uuid::from_u128(2)), CaseId::new(Uuid::from_u128(3)), plan(), &journal)
}

fn intended(step: &str, attempt: u32) -> Event {
    let key = EffectKey::of(RunId::new(Uuid::from_u128(2)), &id(step), attempt);
    Event::Intended { step: id(step), key, attempt, settle_by: at(100), before: json!({}) }
}

fn done(step: &str) -> Event {
    Event::Done { step: id(step), result: json!({"n": 1}), request_id: None, left_at: at(50) }
}

fn failed(step: &str, retry_at: Option<Timestamp>) -> Event {
    Event::Failed { step: id(step), fault: Fault::retry("OUST-TEST", "No."), retry_at }
}

fn approved() -> Vec<Event> {
    vec![
        Event::Asked { step: id("reset"), task: task() },
        Event::Answered { step: id("reset"), task: task(), verdict: Verdict::Go },
    ]
}

fn after_approval(more: impl IntoIterator<Item = Event>) -> Result<Run, Illegal> {
    run_of(approved().into_iter().chain(more).collect())
}

#[test]
fn a_gated_effect_leaves_only_after_a_human_said_go() {
    assert!(run_of(vec![intended("reset", 1)]).is_err());
    assert!(run_of(vec![Event::Asked { step: id("reset"), task: task() }, intended("reset", 1)]).is_err());
    let run = after_approval([intended("reset", 1)]).expect("approved");
    assert_eq!(run.gate(&id("reset")), Some(task()));
}

#[test]
fn a_step_parked_between_two_attempts_is_still_approved_when_it_is_released() {
    let parked = Event::Parked { step: id("reset"), reason: "paused: drill".into() };
    let released = Event::Released { step: id("reset") };
    let run = after_approval([intended("reset", 1), failed("reset", Some(at(60))), parked, released])
        .expect("a legal journal");
    assert_eq!(*run.state(&id("reset")), StepState::Ready { task: Some(task()) });
    assert_eq!(run.attempts(&id("reset")), 1);
}

#[test]
fn another_task_answers_nothing() {
    let other = TaskId::new(Uuid::from_u128(8));
    let stray = Event::Answered { step: id("reset"), task: other, verdict: Verdict::Denied };
    assert!(run_of(vec![Event::Asked { step: id("reset"), task: task() }, stray.clone()]).is_err());
    assert!(after_approval([stray]).is_err());
}

#[test]
fn an_approval_can_be_taken_back_until_the_step_is_sent() {
    let back = Event::Answered { step: id("reset"), task: task(), verdict: Verdict::Revoked };
    let run = after_approval([back.clone()]).expect("not sent yet");
    assert_eq!(*run.state(&id("reset")), StepState::Declined { verdict: Verdict::Revoked });
    assert!(after_approval([intended("reset", 1), back]).is_err());
}

#[test]
fn a_settled_step_takes_nothing_more() {
    let settled = [intended("reset", 1), done("reset")];
    for event in [
        intended("reset", 2),
        failed("reset", None),
        done("reset"),
        Event::Asked { step: id("reset"), task: task() },
        Event::Again { step: id("reset") },
        Event::Skipped { step: id("reset"), reason: String::new() },
        Event::Parked { step: id("reset"), reason: String::new() },
        Event::Refused { step: id("reset"), reason: String::new() },
    ] {
        let word = format!("{event:?}");
        assert!(after_approval(settled.clone().into_iter().chain([event])).is_err(), "{word}");
    }
}

#[test]
fn only_a_revoke_that_follows_a_step_is_owed_again() {
    let again = |step: &str| Event::Again { step: id(step) };
    let run =
        run_of(vec![intended("revoke_after", 1), done("revoke_after"), again("revoke_after")]).expect("owed again");
    assert_eq!(*run.state(&id("revoke_after")), StepState::Todo);
    assert!(run_of(vec![intended("last", 1), done("last"), again("last")]).is_err());
    assert!(run_of(vec![again("revoke_after")]).is_err());
}

#[test]
fn a_closed_run_takes_only_late_evidence() {
    let closed = Event::Closed { end: End::Cancelled, reason: "test".into() };
    let late = Event::Attached { signal: SignalId::new(Uuid::from_u128(9)) };
    let verified = Event::Verified { step: id("revoke_after"), valid_from: at(60) };
    let run = run_of(vec![closed.clone(), late, verified]).expect("late evidence is taken");
    assert!(!run.is_open());
    assert!(run_of(vec![closed.clone(), done("read")]).is_err());
    assert!(run_of(vec![closed.clone(), closed]).is_err());
}

#[test]
fn a_refused_event_leaves_the_run_as_it_was() {
    let mut run = after_approval([]).expect("a legal journal");
    let before = format!("{run:?}");
    let illegal = run.apply(&Entry { at: at(90), event: done("last") }).expect_err("it was never sent");
    assert_eq!(illegal.to_string(), format!("illegal event Done for step last in state todo of {}", run.id));
    assert_eq!(format!("{run:?}"), before);
}

#[test]
fn a_journal_begins_with_its_opening_and_nothing_else() {
    let (run, case) = (RunId::new(Uuid::from_u128(2)), CaseId::new(Uuid::from_u128(3)));
    assert!(Run::replay(run, case, plan(), &[]).is_err());
    assert!(Run::replay(run, case, plan(), &[Entry { at: at(0), event: Event::CollectStarted }]).is_err());
    assert!(Run::replay(run, case, plan(), &[opened(), opened()]).is_err());
}

#[test]
fn a_step_no_plan_knows_is_illegal() {
    assert!(run_of(vec![intended("no_such_step", 1)]).is_err());
    assert!(run_of(vec![Event::Asked { step: id("no_such_step"), task: task() }]).is_err());
}

#[test]
fn a_written_stop_holds_back_what_comes_after_a_step_that_waits() {
    let run = run_of(vec![Event::Asked { step: id("reset"), task: task() }]).expect("a legal journal");
    assert!(run.is_stopped_before(&id("last")));
    assert!(!run.is_stopped_before(&id("reset")));
    let run = after_approval([intended("reset", 1), done("reset")]).expect("a legal journal");
    assert!(!run.is_stopped_before(&id("last")));
}

#[test]
fn a_journal_survives_being_written_down() {
    let unknown = Event::Unknown { step: id("reset"), fault: Fault::retry("OUST-TEST", "No."), verify_at: None };
    for event in approved().into_iter().chain([opened().event, intended("reset", 1), done("read"), unknown]) {
        let entry = Entry { at: at(5), event };
        let text = serde_json::to_string(&entry).expect("an entry can be written");
        assert_eq!(serde_json::from_str::<Entry>(&text).expect("an entry can be read"), entry);
    }
}
