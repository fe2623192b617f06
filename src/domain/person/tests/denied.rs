//! What people did not let go: held, and in nobody's way.

use super::super::*;
use super::laws;
use super::world::{How, World};
use crate::domain::task::Order;

/// Beyond the cap, one more signal waiting behind it, and its release denied.
fn denied() -> World {
    let mut world = World::new(Mode::Enforce);
    world.facts.over_cap = true;
    world.arrive(3, 600);
    world.pass(60);
    world.arrive(3, 10);
    assert_eq!((world.state(0, "revoke"), world.person.doc.pending.len()), ("parked", 1));
    assert!(world.person.may_be_ordered(&Order::Revoke, Mode::Enforce).is_err(), "its release is not decided");
    world.facts.denied_at = Some(world.now);
    world.pass(60);
    assert_eq!((world.state(0, "revoke"), world.person.doc.pending.len()), ("parked", 1), "a denial asks nothing anew");
    assert_eq!((world.person.runs.len(), world.sent("revoke")), (1, 0));
    world
}

fn answer_effects(world: &mut World) {
    while let Some(at) = world.calls.iter().position(|deed| matches!(deed, Deed::Effect { .. } | Deed::ReadBack)) {
        world.answer(at, How::Done);
    }
}

#[test]
fn a_newer_alert_after_a_denied_release_is_contained_where_the_cap_has_room() {
    let mut world = denied();
    world.facts.over_cap = false;
    world.crash();
    world.arrive(3, 20);
    assert_eq!(world.sent("revoke"), 1, "{:#?}", laws::picture(&world));
    answer_effects(&mut world);
    assert_eq!(world.state(0, "revoke"), "skipped", "what was parked is done by it");
    assert!(world.person.doc.pending.is_empty());
    world.calm();
    laws::at_rest(&world);
    assert_eq!((world.sent("revoke"), world.sent("reset"), world.closed_cases), (1, 1, 1));
}

#[test]
fn a_newer_alert_after_a_denied_release_parks_anew_where_the_cap_has_none() {
    let mut world = denied();
    world.arrive(3, 20);
    assert_eq!((world.state(0, "revoke"), world.state(1, "revoke"), world.sent("revoke")), ("parked", "parked", 0));
    world.arrive(3, 0);
    assert_eq!((world.person.runs.len(), world.person.doc.pending.len()), (2, 2), "it waits for the new release");
    world.calm();
    laws::at_rest(&world);
    assert_eq!(world.closed_cases, 1);
}

#[test]
fn a_release_after_a_denial_frees_what_was_denied() {
    let mut world = denied();
    world.facts.released_at = Some(world.now);
    world.advance();
    assert_eq!(world.sent("revoke"), 1);
}

#[test]
fn a_revoke_by_hand_passes_what_people_did_not_let_go() {
    let mut world = denied();
    world.facts.over_cap = false;
    let order = world.ask(Order::Revoke);
    assert!(world.approve(order));
    assert_eq!((world.state(0, "revoke"), world.sent("revoke")), ("parked", 1), "{:#?}", laws::picture(&world));
    answer_effects(&mut world);
    assert_eq!((world.state(0, "revoke"), world.state(1, "revoke")), ("skipped", "done"));
    assert_eq!(world.person.tasks[&order].state.word(), "executed");
    world.calm();
    laws::at_rest(&world);
}
