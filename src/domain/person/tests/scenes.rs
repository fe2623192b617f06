//! Single scenes, each with one point.

use super::super::*;
use super::laws;
use super::world::{How, World};
use crate::domain::task::{Kind as TaskKind, Order, State, Target};

/// The one task that asks for a reset and is not over.
fn reset_task(world: &World) -> TaskId {
    let asks = |task: &&Task| !task.state.is_terminal() && task.rows.iter().any(|row| row.step == "reset");
    world.person.tasks.values().find(asks).expect("a reset waits for a human").id
}

/// Answers the oldest call until none is left.
fn settle_all(world: &mut World) {
    for _ in 0..40 {
        world.answer(0, How::Done);
    }
}

/// Revoked, read, and a reset approved; the call that prepares it is out.
fn with_reset_approved() -> World {
    let mut world = World::new(Mode::Enforce);
    world.arrive(3, 10);
    world.answer(0, How::Done);
    settle_all(&mut world);
    let task = reset_task(&world);
    assert!(world.approve(task));
    world
}

fn answer_effect(world: &mut World, how: How) {
    let at = world.calls.iter().position(|deed| matches!(deed, Deed::Effect { .. })).expect("an effect is out");
    world.answer(at, how);
}

fn answer_look(world: &mut World, how: How) {
    let is_look = |deed: &Deed| matches!(deed, Deed::Prepare { .. } | Deed::Verify { .. });
    let at = world.calls.iter().position(is_look).expect("the subject is looked at");
    world.answer(at, how);
}

#[test]
fn a_signal_seen_while_a_revoke_is_out_is_judged_when_it_settles() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(0, 10);
    world.arrive(0, 20);
    world.arrive(0, 0);
    assert_eq!(world.person.runs.len(), 1);
    assert_eq!(world.person.doc.pending.len(), 2);
    world.answer(0, How::Done);
    assert!(world.person.doc.pending.is_empty());
    assert_eq!(world.sent("revoke"), 2, "the older one was covered, the newest was not");
}

#[test]
fn signals_without_end_behind_one_revoke_are_kept_in_a_bounded_document_and_answered_by_one_revoke() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(0, 1_000);
    for age in (0..200).rev() {
        world.arrive(0, age);
        world.arrive(1, age);
    }
    assert_eq!(world.person.doc.pending.len(), 40, "the newest of each playbook");
    assert_eq!(world.person.doc.case.as_ref().expect("open").signals, 361, "each is in the case, or waits");
    world.answer(0, How::Done);
    assert!(world.person.doc.pending.is_empty());
    assert_eq!(world.person.doc.case.as_ref().expect("open").signals, 401);
    while let Some(at) = world.calls.iter().position(|deed| matches!(deed, Deed::Effect { .. })) {
        world.answer(at, How::Done);
    }
    assert_eq!(world.sent("revoke"), 2, "one for all that was not covered");
}

#[test]
fn a_reset_that_was_turned_away_is_tried_again_under_the_same_approval() {
    let mut world = with_reset_approved();
    world.answer(0, How::Done);
    answer_effect(&mut world, How::Retry);
    assert_eq!(world.state(0, "reset"), "retrying");
    world.pass(10);
    settle_all(&mut world);
    assert_eq!(world.sent("reset"), 2, "{:#?}", laws::picture(&world));
    assert_eq!(world.state(0, "reset"), "done");
}

#[test]
fn a_pause_between_two_attempts_keeps_the_approval() {
    let mut world = with_reset_approved();
    world.answer(0, How::Done);
    answer_effect(&mut world, How::Retry);
    world.facts.paused = Some("drill".into());
    world.pass(10);
    assert_eq!(world.state(0, "reset"), "parked");
    world.facts.paused = None;
    world.advance();
    settle_all(&mut world);
    assert_eq!(world.state(0, "reset"), "done");
    assert_eq!(world.person.tasks.values().filter(|task| task.kind == TaskKind::Approval).count(), 1);
}

#[test]
fn an_approval_that_lapses_while_paused_ends_the_step_and_keeps_the_case_open() {
    let mut world = with_reset_approved();
    world.facts.paused = Some("drill".into());
    world.answer(0, How::Done);
    assert_eq!(world.state(0, "reset"), "parked");
    world.pass(31 * 60);
    assert_eq!(world.state(0, "reset"), "declined");
    world.calm();
    assert_eq!(world.sent("reset"), 0);
    assert!(world.person.doc.case.as_ref().expect("the case stays open").unchanged);
}

#[test]
fn a_reset_found_without_effect_and_sent_again_is_followed_by_a_revoke_of_its_own() {
    let mut world = with_reset_approved();
    world.answer(0, How::Done);
    answer_effect(&mut world, How::Unknown);
    assert_eq!(world.sent("revoke_after_reset"), 1, "nobody knows, so the sessions are revoked at once");
    answer_effect(&mut world, How::Done);
    world.pass(60);
    answer_look(&mut world, How::NotApplied);
    settle_all(&mut world);
    assert_eq!(world.sent("reset"), 2);
    assert_eq!(world.sent("revoke_after_reset"), 2, "{:#?}", laws::picture(&world));
}

#[test]
fn a_break_glass_listing_between_a_reset_and_its_second_revoke_does_not_spin() {
    let mut world = with_reset_approved();
    world.answer(0, How::Done);
    answer_effect(&mut world, How::Unknown);
    answer_effect(&mut world, How::Done);
    world.pass(60);
    answer_look(&mut world, How::NotApplied);
    answer_look(&mut world, How::Done);
    world.facts.listed = true;
    answer_effect(&mut world, How::Done);
    assert_eq!(world.state(0, "revoke_after_reset"), "refused");
}

#[test]
fn a_gated_effect_in_flight_at_a_crash_is_sent_again_under_its_claim() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(1, 10);
    settle_all(&mut world);
    let disable = |task: &&Task| task.rows.iter().any(|row| row.step == "disable");
    let task = world.person.tasks.values().find(disable).expect("disabling waits for a human").id;
    assert!(world.approve(task));
    answer_look(&mut world, How::Done);
    world.crash();
    world.calm();
    assert!(world.sent("disable") >= 2, "{:#?}", laws::picture(&world));
    assert!(world.sent("revoke_after_disable") >= 1);
}

#[test]
fn an_effect_whose_end_nobody_saw_is_not_repeated_on_a_break_glass_identity() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(3, 10);
    world.facts.listed = true;
    world.crash();
    let journal = &world.journals.values().next().expect("a journal").journal;
    let unknown = |entry: &Entry| matches!(entry.event, Event::Unknown { verify_at: None, .. });
    assert!(journal.iter().any(unknown), "what was sent is called unknown before it is refused");
    assert_eq!(world.state(0, "revoke"), "refused");
    assert_eq!(world.sent("revoke"), 1);
}

#[test]
fn a_read_let_go_by_a_human_after_collect_ended_is_made_and_its_task_ends() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(2, 10);
    settle_all(&mut world);
    let asks = |task: &&Task| task.rows.iter().any(|row| row.step == "read_user");
    let task = world.person.tasks.values().find(asks).expect("a human is asked").id;
    assert!(world.approve(task));
    settle_all(&mut world);
    assert_eq!(world.state(0, "read_user"), "done");
    assert!(matches!(world.person.tasks[&task].state, State::Executed { .. }));
}

#[test]
fn a_manual_step_that_could_not_be_decided_is_asked_for_once_a_human_lets_it_go() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(2, 10);
    settle_all(&mut world);
    let asks = |task: &&Task| task.rows.iter().any(|row| row.step == "by_hand");
    let task = world.person.tasks.values().find(asks).expect("a human is asked").id;
    assert!(world.approve(task));
    assert_eq!(world.state(0, "by_hand"), "waiting");
    let by_hand = |task: &&Task| task.kind == TaskKind::Manual;
    let by_hand = world.person.tasks.values().find(by_hand).expect("a job by hand").id;
    assert!(world.do_by_hand(by_hand));
    assert_eq!(world.state(0, "by_hand"), "done_by_hand");
}

#[test]
fn a_sender_whose_clock_runs_ahead_does_not_hold_up_the_reset() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(3, -240);
    world.calm();
    assert_eq!(world.sent("reset"), 1);
    assert_eq!(world.closed_cases, 1);
}

#[test]
fn an_activity_within_the_margin_of_an_unverified_revoke_revokes_again() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(0, 10);
    answer_effect(&mut world, How::Done);
    world.arrive(0, 2);
    assert_eq!(world.sent("revoke"), 2, "not covered, so not joined either: {:#?}", laws::picture(&world));
}

#[test]
fn a_reset_is_not_prepared_while_the_browser_it_is_for_is_away() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(3, 10);
    settle_all(&mut world);
    world.browser_here = false;
    let task = reset_task(&world);
    assert!(world.approve(task));
    assert!(world.calls.is_empty());
    assert_eq!(world.state(0, "reset"), "ready");
    world.browser_here = true;
    world.advance();
    assert!(matches!(world.calls[..], [Deed::Prepare { .. }]));
}

#[test]
fn a_target_that_changed_since_the_approval_is_not_touched_and_a_human_is_told() {
    let mut world = World::new(Mode::Enforce);
    world.arrive(3, 10);
    world.answer(0, How::Done);
    settle_all(&mut world);
    let task = reset_task(&world);
    // Somebody looked when people were asked, and showed an ordinary account.
    world.person.tasks.get_mut(&task).expect("the task").target = Some(Target::default());
    assert!(world.approve(task));
    world.answer(0, How::Changed);
    assert_eq!(world.state(0, "reset"), "declined");
    assert_eq!(world.sent("reset"), 0);
    let told = |task: &&Task| task.kind == TaskKind::Manual && task.title.contains("no longer what was approved");
    assert_eq!(world.person.tasks.values().filter(told).count(), 1);
}

#[test]
fn a_refused_reset_waits_for_whoever_does_it_by_hand_and_is_revoked_after_again() {
    let mut world = with_reset_approved();
    let task = reset_task(&world);
    world.answer(0, How::Done);
    answer_effect(&mut world, How::Refuse);
    assert_eq!(world.state(0, "reset"), "waiting");
    assert!(matches!(world.person.tasks[&task].state, State::Failed { may_retry: false, .. }));
    settle_all(&mut world);
    assert_eq!(world.sent("revoke_after_reset"), 1, "it was sent, so the sessions are revoked whatever became of it");
    let told = |task: &&Task| task.kind == TaskKind::Manual && task.title == "Reset the password by hand";
    let told: Vec<&Task> = world.person.tasks.values().filter(told).collect();
    assert!(told.len() == 1 && told[0].revokes_after, "{told:#?}");
    let by_hand = told[0].id;
    world.crash();
    let case = world.person.doc.case.clone().expect("open");
    assert!(case.reset_at.is_none());
    world.pass(600);
    assert!(world.do_by_hand(by_hand));
    assert_eq!(world.sent("revoke_after_reset"), 2, "{:#?}", laws::picture(&world));
    assert!(world.person.doc.case.as_ref().expect("open").reset_at.is_some());
    settle_all(&mut world);
    assert_eq!((world.sent("reset"), world.closed_cases), (1, 1));
}

#[test]
fn a_reset_found_without_effect_for_good_waits_for_whoever_does_it_by_hand() {
    let mut world = with_reset_approved();
    world.answer(0, How::Done);
    for round in 1..=3 {
        answer_effect(&mut world, How::Unknown);
        answer_effect(&mut world, How::Done);
        world.pass(60);
        answer_look(&mut world, How::NotApplied);
        if round < 3 {
            answer_look(&mut world, How::Done);
        }
    }
    assert_eq!((world.state(0, "reset"), world.sent("revoke_after_reset")), ("waiting", 3));
    let by_hand = world.person.tasks.values().find(|task| task.kind == TaskKind::Manual).expect("a job by hand").id;
    assert!(world.do_by_hand(by_hand));
    assert_eq!(world.sent("revoke_after_reset"), 4, "{:#?}", laws::picture(&world));
}

#[test]
fn what_a_rehearsal_left_open_holds_off_nothing_real() {
    let mut world = World::new(Mode::Shadow);
    world.arrive(3, 600);
    world.arrive(1, 600);
    settle_all(&mut world);
    let case = |world: &World| world.person.doc.case.clone().expect("open");
    assert_eq!(case(&world).mode, Mode::Shadow);
    world.rules.mode = Mode::Enforce;
    world.arrive(3, 10);
    settle_all(&mut world);
    assert_eq!((case(&world).mode, world.sent("revoke")), (Mode::Enforce, 1));
    let real = |world: &World| world.person.tasks.values().find(|task| !task.shadow).map(|task| task.id);
    let reset = real(&world).expect("the reset is asked for beside the rehearsals");
    assert!(world.deny(reset));
    assert!(world.person.may_be_ordered(&Order::Reset, Mode::Enforce).is_ok());
    world.arrive(1, 600);
    assert_eq!(world.person.runs.len(), 4, "covered, and only rehearsed: it runs");
    world.calm();
    let last = world.person.doc.last_case.clone().expect("a case that had effects");
    assert_eq!(last.playbooks, ["short", "travel"].map(str::to_owned).into());
}

#[test]
fn parked_by_the_cap_a_first_revoke_waits_for_its_release_and_for_nothing_else() {
    let mut world = World::new(Mode::Enforce);
    world.facts.over_cap = true;
    world.arrive(3, 10);
    world.pass(60);
    assert_eq!((world.state(0, "revoke"), world.sent("revoke")), ("parked", 0));
    world.facts.released_at = Some(world.now);
    world.advance();
    assert_eq!(world.sent("revoke"), 1);
}
