//! Claims, fences, preconditions, failures, unknown outcomes.

use serde_json::json;

use super::super::sample::*;
use super::super::*;

const CONFIRM: &str = "confirm_compromised";

fn claimed() -> Task {
    let mut task = approved(plain());
    let event = claim(&task, CONFIRM, 5, at(2));
    take(&mut task, event, at(2));
    task
}

/// Claims with a twist that must cancel; gives back what followed.
fn cancelled_by(twist: impl FnOnce(&mut Claim)) -> (Task, Vec<Consequence>) {
    let mut task = approved(plain());
    let mut claim = claim_of(&task, CONFIRM, 1, at(2));
    twist(&mut claim);
    let consequences = take(&mut task, Event::Claim(Box::new(claim)), at(2));
    assert_eq!(task.state.word(), "cancelled");
    (task, consequences)
}

#[test]
fn nothing_is_claimed_before_the_approval() {
    let mut task = plain();
    let event = claim(&task, CONFIRM, 1, at(1));
    assert_eq!(refuse(&mut task, event, at(1)).to_string(), "not yet: nobody approved it");
}

#[test]
fn a_claim_at_the_instant_of_lapsing_is_too_late_and_the_tick_lapses_the_task() {
    let mut task = approved(plain());
    assert_eq!(task.next_due(), Some(at(31)));
    let event = claim(&task, CONFIRM, 1, at(31));
    let refused = refuse(&mut task, event.clone(), at(31));
    assert_eq!(refused.to_string(), "too late: the time to execute ended at 1970-01-01T00:31:00Z");
    let mut early = task.clone();
    take(&mut early, event, at(31) - SignedDuration::from_nanos(1));
    assert_eq!(early.state.word(), "claimed");
    assert!(take(&mut task, Event::Tick, at(31)).contains(&Consequence::Undone { why: "not executed in time".into() }));
    assert_eq!(task.state, State::Lapsed { at: at(31) });
}

#[test]
fn a_claim_freezes_the_clock() {
    let mut task = claimed();
    assert_eq!(task.next_due(), None);
    assert_eq!(take(&mut task, Event::Tick, at(10_000)), []);
    assert_eq!(take(&mut task, executed(CONFIRM, 5), at(10_000)), [Consequence::Wake]);
    assert_eq!(task.state, State::Executed { at: at(10_000), by: vec!["ada".into()] });
}

#[test]
fn newer_evidence_does_not_refuse_a_claim() {
    let mut task = approved(plain());
    take(&mut task, Event::NewerEvidence { risk: Risk::High, acute: true }, at(2));
    let event = claim(&task, CONFIRM, 1, at(2));
    take(&mut task, event, at(2));
    assert_eq!(task.state.word(), "claimed");
}

#[test]
fn changed_parameters_cancel_at_the_claim_and_people_are_asked_again_with_the_difference() {
    let (task, consequences) = cancelled_by(|claim| claim.now.rows[0].1 = json!({ "force_change": false }));
    let what = "parameters of confirm_compromised";
    let difference = vec![Changed::new(what, "{\"force_change\":true}", "{\"force_change\":false}")];
    assert_eq!(consequences.last(), Some(&Consequence::AskAgain { difference: difference.clone() }));
    let line = Changed::line(&difference);
    assert!(matches!(&task.state, State::Cancelled { reason, .. } if *reason == line), "{:?}", task.state);
}

#[test]
fn a_changed_subject_action_playbook_or_target_cancels_at_the_claim() {
    let twists: [fn(&mut Claim); 4] = [
        |claim| claim.now.identity = Some(person_of(77)),
        |claim| claim.now.rows[0].0 = "disable_account".into(),
        |claim| claim.now.playbook.as_mut().expect("a playbook").version = 2,
        |claim| claim.now.target = Some(Target::of([TargetClass::Privileged])),
    ];
    for twist in twists {
        let (_, consequences) = cancelled_by(twist);
        assert!(matches!(consequences.last(), Some(Consequence::AskAgain { .. })), "{consequences:?}");
    }
}

#[test]
fn a_closed_risk_cancels_at_the_claim_and_nobody_is_asked_again() {
    let (task, consequences) = cancelled_by(|claim| claim.risk_closed = Some("dismissed by an administrator".into()));
    assert!(!consequences.iter().any(|c| matches!(c, Consequence::AskAgain { .. })), "{consequences:?}");
    assert!(task.rows.iter().all(|row| matches!(row.progress, Progress::Skipped { .. })));
}

#[test]
fn a_task_tampered_with_in_the_store_cannot_be_claimed() {
    let mut task = approved(plain());
    task.rows[0].params = json!({ "force_change": false });
    let event = claim(&task, CONFIRM, 1, at(2));
    take(&mut task, event, at(2));
    assert!(matches!(&task.state, State::Cancelled { reason, .. } if reason.contains("something else in the store")));
}

#[test]
fn a_vote_stands_when_its_voter_loses_the_role_unless_the_policy_wants_it_fresh() {
    for fresh_at_claim in [false, true] {
        let policy = Policy { fresh_at_claim, ..policy(1, 1) };
        let mut task = approved(task_of(Kind::Approval, policy, vec![row(CONFIRM, false)]));
        let claim = Claim { lost: vec!["ada".into()], ..claim_of(&task, CONFIRM, 1, at(2)) };
        take(&mut task, Event::Claim(Box::new(claim)), at(2));
        assert_eq!(task.state.word(), if fresh_at_claim { "cancelled" } else { "claimed" });
    }
}

#[test]
fn a_worker_past_its_lease_is_fenced_off() {
    let mut task = claimed();
    let event = claim(&task, CONFIRM, 6, at(2));
    assert!(matches!(refuse(&mut task, event, at(2)), Refused::Conflict { .. }), "a claim is not taken over");
    take(&mut task, Event::Unknown { step: CONFIRM.into(), fence: 6 }, at(3));
    let refused = refuse(&mut task, executed(CONFIRM, 5), at(4));
    assert_eq!(refused.to_string(), "fence 5 is older than 6: another worker took over");
    assert!(matches!(refuse(&mut task, executed(CONFIRM, 6), at(4)), Refused::Conflict { .. }));
}

#[test]
fn what_failed_without_effect_runs_again_under_the_same_approval_until_it_lapses() {
    let mut task = claimed();
    take(&mut task, failed(CONFIRM, 5, true), at(3));
    assert!(matches!(&task.state, State::Failed { may_retry: true, .. }));
    assert_eq!(task.next_due(), Some(at(31)));
    let event = claim(&task, CONFIRM, 5, at(4));
    take(&mut task, event, at(4));
    take(&mut task, failed(CONFIRM, 5, true), at(5));
    take(&mut task, Event::Tick, at(31));
    assert!(matches!(&task.state, State::Failed { may_retry: false, .. }));
    assert!(task.state.is_terminal());
}

#[test]
fn a_failure_after_the_time_to_execute_is_final() {
    let mut task = claimed();
    let consequences = take(&mut task, failed(CONFIRM, 5, true), at(31));
    assert!(consequences.contains(&Consequence::Undone { why: "confirm_compromised failed".into() }));
    assert!(task.state.is_terminal());
}

#[test]
fn a_failure_that_is_not_provably_without_effect_is_unknown() {
    let mut task = claimed();
    let verify = Consequence::Verify { step: CONFIRM.into() };
    assert_eq!(take(&mut task, failed(CONFIRM, 5, false), at(3)), [verify]);
    assert_eq!(task.state, State::Unknown { at: at(3), step: CONFIRM.into() });
}

#[test]
fn an_unknown_outcome_is_resolved_by_verification_only() {
    for (applied, word) in [(true, "executed"), (false, "failed")] {
        let mut task = claimed();
        take(&mut task, Event::Unknown { step: CONFIRM.into(), fence: 5 }, at(3));
        assert_eq!(take(&mut task, Event::Tick, at(9_999)), []);
        let event = claim(&task, CONFIRM, 6, at(4));
        assert!(matches!(refuse(&mut task, event, at(4)), Refused::Conflict { .. }));
        take(&mut task, Event::Verified { step: CONFIRM.into(), applied }, at(4));
        assert_eq!(task.state.word(), word);
    }
}

#[test]
fn a_denial_while_the_outcome_is_unknown_keeps_it_from_running_again() {
    let mut task = claimed();
    take(&mut task, Event::Unknown { step: CONFIRM.into(), fence: 5 }, at(3));
    let no = deny(&task, "bob", 3, at(4));
    take(&mut task, no, at(4));
    assert_eq!(task.state.word(), "unknown");
    take(&mut task, Event::Verified { step: CONFIRM.into(), applied: false }, at(5));
    assert_eq!(task.state.word(), "revoked");
}

#[test]
fn what_was_made_in_shadow_is_decided_for_practice_and_never_claimed() {
    let mut task = plain();
    task.shadow = true;
    let mut task = approved(task);
    let event = claim(&task, CONFIRM, 1, at(2));
    assert_eq!(refuse(&mut task, event, at(2)), Refused::Forbidden { why: Forbidden::Shadow });
}

#[test]
fn rows_are_claimed_one_by_one_and_a_denial_between_them_withholds_the_rest() {
    let mut task = approved(task_of(Kind::Approval, policy(1, 1), vec![row(CONFIRM, false), row(STEP, true)]));
    let event = claim(&task, CONFIRM, 1, at(2));
    take(&mut task, event, at(2));
    let event = claim(&task, STEP, 1, at(2));
    assert!(matches!(refuse(&mut task, event, at(2)), Refused::Conflict { .. }), "one row at a time");
    take(&mut task, executed(CONFIRM, 1), at(3));
    assert_eq!(task.state.word(), "approved");
    let no = deny(&task, "bob", 3, at(4));
    take(&mut task, no, at(4));
    assert_eq!(task.state.word(), "revoked");
    assert_eq!(task.rows[0].progress, Progress::Executed { at: at(3) });
    assert_eq!(task.rows[1].progress, Progress::Skipped { at: at(4) });
}

#[test]
fn a_failed_row_does_not_hold_back_the_next_one() {
    let mut task = approved(task_of(Kind::Approval, policy(1, 1), vec![row(CONFIRM, false), row("second", false)]));
    let event = claim(&task, CONFIRM, 1, at(2));
    take(&mut task, event, at(2));
    take(&mut task, failed(CONFIRM, 1, true), at(3));
    let event = claim(&task, "second", 1, at(4));
    take(&mut task, event, at(4));
    take(&mut task, executed("second", 1), at(5));
    assert!(matches!(&task.state, State::Failed { may_retry: true, .. }));
    take(&mut task, Event::Tick, at(31));
    assert!(matches!(&task.state, State::Failed { may_retry: false, .. }));
}

#[test]
fn an_operator_cancels_what_waits_and_not_what_runs() {
    let cancel = || Event::Cancel { by: "operator".into(), reason: "duplicate".into() };
    for mut task in [plain(), approved(plain())] {
        take(&mut task, cancel(), at(2));
        assert_eq!(task.state.word(), "cancelled");
    }
    assert!(matches!(refuse(&mut claimed(), cancel(), at(3)), Refused::Conflict { .. }));
}

#[test]
fn a_duplicate_after_execution_changes_nothing() {
    let mut task = claimed();
    take(&mut task, executed(CONFIRM, 5), at(3));
    let event = claim(&task, CONFIRM, 9, at(4));
    for event in [
        event,
        executed(CONFIRM, 9),
        Event::NewerEvidence { risk: Risk::High, acute: true },
        deny(&task, "bob", 3, at(4)),
    ] {
        let refused = refuse(&mut task, event, at(4));
        assert_eq!(refused.to_string(), "already executed (ada, 1970-01-01T00:03:00Z)");
    }
}

#[test]
fn a_step_that_is_not_in_the_task_is_refused() {
    let mut task = claimed();
    assert_eq!(refuse(&mut task, executed("../other", 5), at(3)).refusal(), Refusal::Invalid);
}
