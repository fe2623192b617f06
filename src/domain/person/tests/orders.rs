//! What people order by hand, one point a scene.

use serde_json::json;

use super::super::*;
use super::laws;
use super::world::{How, World, step};
use crate::domain::plan::RESET;
use crate::domain::run::StepState;
use crate::domain::task::{Order, Task, sample};

/// Contained, everything read, and the reset approved.
fn with_reset_approved() -> World {
    let mut world = World::new(Mode::Enforce);
    world.arrive(3, 10);
    answered(&mut world);
    let reset = world.open_tasks()[0];
    assert!(world.approve(reset));
    world
}

/// Everything that is called succeeds until nothing is called any more.
fn answered(world: &mut World) {
    world.advance();
    while !world.calls.is_empty() {
        world.answer(0, How::Done);
    }
}

#[test]
fn an_order_waits_for_no_earlier_run_and_is_joined_to_nothing_older() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(3, 10);
    answered(&mut world);
    assert_eq!(world.state(0, "reset"), "waiting");
    world.pass(60);
    let order = world.ask(Order::Revoke);
    answered(&mut world);
    assert_eq!((world.person.runs.len(), world.sent("revoke")), (1, 1), "nothing before it was approved");
    assert!(world.approve(order));
    answered(&mut world);
    assert_eq!((world.state(1, "revoke"), world.sent("revoke")), ("done", 2));
    assert_eq!(world.person.tasks[&order].state.word(), "executed");
    assert_eq!(world.state(0, "reset"), "waiting");
}

#[test]
fn an_approved_order_is_begun_once_however_often_the_process_dies() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(3, 10);
    answered(&mut world);
    world.pass(60);
    let order = world.ask(Order::Revoke);
    assert!(world.approve(order));
    for _ in 0..3 {
        world.crash();
        world.advance();
    }
    answered(&mut world);
    assert_eq!(world.person.runs.len(), 2, "one run for one order");
    assert_eq!(world.person.tasks[&order].state.word(), "executed");
}

#[test]
fn an_order_whose_stored_plan_is_not_the_one_that_was_shown_is_never_begun() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(3, 10);
    answered(&mut world);
    world.pass(60);
    let order = world.ask(Order::ConfirmCompromised);
    let task = world.person.tasks.get_mut(&order).expect("the task");
    let plan = task.ordered.as_mut().and_then(|ordered| ordered.plan.as_mut()).expect("a plan");
    plan.steps.push(step("smuggled", "notify", "recover", json!({})));
    assert!(world.approve(order));
    answered(&mut world);
    assert_eq!(world.person.runs.len(), 1);
    assert_eq!(world.person.tasks[&order].state.word(), "cancelled");
}

#[test]
fn containment_of_a_newer_alert_is_not_joined_to_a_revoke_that_may_still_lapse() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(3, 10);
    answered(&mut world);
    world.pass(60);
    let order = world.ask(Order::Revoke);
    world.facts.paused = Some("drill".into());
    assert!(world.approve(order));
    world.advance();
    assert_eq!(world.state(1, "revoke"), "parked");
    world.arrive(0, 0);
    world.facts.paused = None;
    answered(&mut world);
    world.calm();
    laws::at_rest(&world);
    assert!(world.sent("revoke") >= 2);
}

#[test]
fn a_run_with_an_effect_in_doubt_is_neither_cancelled_nor_closed_over() {
    let mut world = with_reset_approved();
    while !matches!(world.person.runs[0].state(&StepId("reset".into())), StepState::Intended { .. }) {
        world.advance();
        world.answer(0, How::Done);
    }
    let run = world.person.runs[0].id;
    for order in [Order::Close, Order::Cancel { run }, Order::Skip { run, step: StepId("reset".into()) }] {
        assert!(world.person.may_be_ordered(&order, Mode::Enforce).is_err(), "{order:?}");
    }
    assert!(world.person.may_be_ordered(&Order::Close, Mode::Shadow).is_err());
}

#[test]
fn a_revoke_that_graph_refuses_for_good_is_settled_by_whoever_did_it_by_hand() {
    let mut world = with_reset_approved();
    while world.sent("revoke_after_reset") == 0 {
        world.advance();
        world.answer(0, How::Done);
    }
    let at = world.calls.iter().position(|deed| matches!(deed, Deed::Effect { .. })).expect("the second revoke");
    world.answer(at, How::Refuse);
    assert_eq!(world.state(0, "revoke_after_reset"), "retrying");
    let (run, step) = (world.person.runs[0].id, StepId("revoke_after_reset".into()));
    let settle = |applied| Order::Settle { run, step: step.clone(), applied };
    for order in [Order::Close, Order::Skip { run, step: step.clone() }, settle(false)] {
        assert!(world.person.may_be_ordered(&order, Mode::Enforce).is_err(), "{order:?}");
    }
    let watermark = world.person.doc.watermark;
    let order = world.ask(settle(true));
    assert!(world.approve(order));
    answered(&mut world);
    assert_eq!(world.state(0, "revoke_after_reset"), "done_by_hand");
    assert_eq!(world.person.doc.watermark, watermark, "Graph accepted nothing");
    assert_eq!(world.person.tasks[&order].state.word(), "executed");
}

#[test]
fn an_ordered_reset_that_a_guard_holds_is_joined_by_a_later_playbook() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(3, 10);
    answered(&mut world);
    world.pass(14_400);
    assert_eq!(world.state(0, "reset"), "declined", "the case is open, the password unchanged");
    let order = world.ask(Order::Reset);
    world.facts.membership = guard::Membership::NeverLoaded;
    assert!(world.approve(order));
    answered(&mut world);
    assert_eq!(world.state(1, "reset"), "parked");
    world.arrive(0, 0);
    answered(&mut world);
    assert_eq!((world.state(2, "revoke"), world.state(2, "reset")), ("done", "joined"), "{:#?}", laws::picture(&world));
}

#[test]
fn a_lost_password_is_replaced_although_a_playbook_waits_its_turn() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(1, 10);
    answered(&mut world);
    let asks = |task: &&Task| task.rows.iter().any(|row| row.action == RESET);
    let task = world.person.tasks.values().find(asks).expect("a reset waits").id;
    world.arrive(0, 0);
    answered(&mut world);
    assert!(world.approve(task));
    answered(&mut world);
    assert!(world.human(task, |_, _| sample::fetched("ada")));
    world.pass(16 * 60);
    answered(&mut world);
    assert_eq!(
        (world.state(0, "by_hand"), world.state(1, "reset")),
        ("waiting", "todo"),
        "{:#?}",
        laws::picture(&world)
    );
    let order = world.ask(Order::Reset);
    assert!(world.approve(order));
    answered(&mut world);
    assert_eq!(world.sent("reset"), 2);
    assert!(world.pass_on(order));
    world.calm();
    assert_eq!(world.sent("reset"), 2, "the playbook's own step joins it: {:#?}", laws::picture(&world));
}

/// Contained, all that was asked for denied, its manual step open.
fn with_reset_denied() -> World {
    let mut world = World::new(Mode::Enforce);
    world.arrive(1, 10);
    answered(&mut world);
    let asked = |task: &TaskId| world.person.tasks[task].kind == task::Kind::Approval;
    let asked: Vec<TaskId> = world.open_tasks().into_iter().filter(asked).collect();
    assert!(asked.into_iter().all(|task| world.deny(task)));
    assert_eq!(world.state(0, "reset"), "declined");
    assert_eq!(world.state(0, "by_hand"), "waiting", "the case is open");
    world
}

#[test]
fn an_ordered_reset_that_nobody_decides_or_begins_in_time_keeps_the_case_open() {
    let unchanged = |world: &World| world.person.doc.case.as_ref().expect("open").unchanged;
    let mut world = with_reset_denied();
    let order = world.ask(Order::Reset);
    world.pass(14_401);
    assert_eq!((world.person.tasks[&order].state.word(), unchanged(&world)), ("expired", true));
    world.calm();
    assert_eq!((world.closed_cases, unchanged(&world)), (0, true), "only a person closes it");

    let mut world = with_reset_denied();
    let order = world.ask(Order::Reset);
    let (now, task) = (world.now, world.person.tasks.get_mut(&order).expect("the order"));
    let vote = sample::approve(task, "ada", 2, now);
    task.apply(vote, now).expect("an entitled vote");
    world.pass(31 * 60);
    assert_eq!((world.person.tasks[&order].state.word(), unchanged(&world)), ("lapsed", true));

    let mut world = with_reset_denied();
    let order = world.ask(Order::Revoke);
    world.pass(14_401);
    assert_eq!(
        (world.person.tasks[&order].state.word(), unchanged(&world)),
        ("expired", false),
        "no password was asked"
    );
}

#[test]
fn what_people_denied_is_overruled_by_every_order_for_the_same() {
    let mut world = with_reset_denied();
    let again = Order::Again { run: world.person.runs[0].id, step: StepId("reset".into()) };
    assert!(world.person.overrules(&again, "omar") && world.person.overrules(&Order::Reset, "omar"));
    for other in [Order::ConfirmCompromised, Order::Revoke, Order::DismissRisk, Order::Close] {
        assert!(!world.person.overrules(&other, "omar"), "{other:?}");
    }
    let order = world.ask(Order::ConfirmCompromised);
    assert!(world.deny(order));
    assert!(
        world.person.overrules(&Order::ConfirmCompromised, "omar"),
        "an order that was denied is not asked for past them"
    );
    assert!(!world.person.overrules(&Order::ConfirmCompromised, "ben"), "ben may change his own mind");
    let mut rehearsal = World::new(Mode::Shadow);
    rehearsal.arrive(1, 10);
    answered(&mut rehearsal);
    for task in rehearsal.open_tasks() {
        rehearsal.deny(task);
    }
    assert!(!rehearsal.person.overrules(&Order::Reset, "omar"), "a rehearsal is practice");
}

#[test]
fn one_thing_is_not_asked_for_under_two_names() {
    let mut world = with_reset_denied();
    let again = Order::Again { run: world.person.runs[0].id, step: StepId("reset".into()) };
    for (one, other) in [(Order::Reset, &again), (again.clone(), &Order::Reset)] {
        let open = world.ask(one);
        let refused = world.person.may_be_ordered(other, Mode::Enforce);
        assert!(matches!(refused, Err(NotNow::AlreadyAsked { task, .. }) if task == open), "{refused:?}");
        assert!(world.deny(open));
    }
}

#[test]
fn a_reset_ordered_once_more_takes_the_place_of_one_that_was_left_to_be_done_by_hand() {
    let mut world = with_reset_approved();
    world.answer(0, How::Done);
    let sent = world.calls.iter().position(|deed| matches!(deed, Deed::Effect { .. })).expect("the reset");
    world.answer(sent, How::Refuse);
    answered(&mut world);
    assert_eq!(world.state(0, "reset"), "waiting");
    let by_hand = world.open_tasks()[0];
    let order = world.ask(Order::Reset);
    assert_eq!(world.state(0, "reset"), "waiting", "until it is approved");
    assert!(world.approve(order));
    assert_eq!((world.state(0, "reset"), world.person.tasks[&by_hand].state.word()), ("joined", "cancelled"));
    answered(&mut world);
    world.calm();
    laws::at_rest(&world);
    assert_eq!((world.sent("reset"), world.sent("revoke_after_reset"), world.closed_cases), (2, 2, 1));
}

#[test]
fn a_reset_that_failed_before_it_was_sent_can_be_ordered_once_more() {
    let mut world = with_reset_approved();
    // The person cannot be read: it comes to no intent.
    world.answer(0, How::Refuse);
    assert_eq!((world.state(0, "reset"), world.sent("reset")), ("waiting", 0));
    let by_hand = world.open_tasks()[0];
    let order = world.ask(Order::Reset);
    assert!(world.approve(order));
    assert_eq!((world.state(0, "reset"), world.person.tasks[&by_hand].state.word()), ("joined", "cancelled"));
    answered(&mut world);
    world.calm();
    laws::at_rest(&world);
    assert_eq!((world.sent("reset"), world.sent("revoke_after_reset"), world.closed_cases), (1, 1, 1));
}

#[test]
fn a_reset_by_hand_is_revoked_after_though_the_revoke_before_was_settled_by_hand() {
    let mut world = with_reset_approved();
    world.answer(0, How::Done);
    for _ in ["the reset", "the revoke after it"] {
        let at = world.calls.iter().position(|deed| matches!(deed, Deed::Effect { .. })).expect("a call");
        world.answer(at, How::Refuse);
    }
    assert_eq!((world.state(0, "reset"), world.state(0, "revoke_after_reset")), ("waiting", "retrying"));
    let (run, step) = (world.person.runs[0].id, StepId("revoke_after_reset".into()));
    let settle = world.ask(Order::Settle { run, step, applied: true });
    assert!(world.approve(settle));
    let told =
        |task: &&Task| task.kind == crate::domain::task::Kind::Manual && task.title == "Reset the password by hand";
    let by_hand = world.person.tasks.values().find(told).expect("a job by hand").id;
    let before = world.sent("revoke_after_reset");
    assert!(world.do_by_hand(by_hand));
    assert_eq!(world.sent("revoke_after_reset"), before + 1, "{:#?}", laws::picture(&world));
    answered(&mut world);
    assert_eq!(world.state(0, "revoke_after_reset"), "done");
}

#[test]
fn whoever_denied_the_job_by_hand_is_overruled_by_others_and_by_nobody_else() {
    let mut world = with_reset_approved();
    world.answer(0, How::Refuse);
    let by_hand = world.open_tasks()[0];
    // Something else that is asked for keeps the case open.
    world.ask(Order::ConfirmCompromised);
    assert!(world.deny(by_hand));
    assert_eq!(world.state(0, "reset"), "declined");
    assert!(world.person.overrules(&Order::Reset, "omar") && !world.person.overrules(&Order::Reset, "ben"));
}
