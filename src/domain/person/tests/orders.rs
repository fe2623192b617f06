//! What people order by hand, one point a scene.

use serde_json::json;

use super::super::*;
use super::laws;
use super::world::{How, World, step};
use crate::domain::run::StepState;
use crate::domain::task::Order;

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
    let mut world = World::new(Mode::Enforce);
    world.arrive(3, 10);
    answered(&mut world);
    let reset = world.open_tasks()[0];
    assert!(world.approve(reset));
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
