//! Votes, races, entitlement, time.

use super::super::sample::*;
use super::super::*;

fn forbidden(refused: Refused) -> Forbidden {
    match refused {
        Refused::Forbidden { why } => why,
        other => panic!("not forbidden: {other:?}"),
    }
}

#[test]
fn the_first_of_two_opposite_votes_wins_and_the_second_is_told_who_when_and_what() {
    let mut task = plain();
    let (no, yes) = (deny(&task, "bob", 3, at(1)), approve(&task, "ada", 2, at(2)));
    assert_eq!(
        take(&mut task, no, at(1)),
        [Consequence::Undone { why: "denied: seen enough".into() }, Consequence::Wake]
    );
    let refused = refuse(&mut task, yes, at(2));
    assert_eq!(refused.to_string(), "already denied (bob, 1970-01-01T00:01:00Z)");
    assert_eq!(refused.refusal(), Refusal::Conflict);
}

#[test]
fn a_conditional_update_on_the_revision_lets_one_of_two_simultaneous_votes_through() {
    for approve_first in [true, false] {
        let shown = plain();
        let mut stored = shown.clone();
        let (yes, no) = (approve(&shown, "ada", 2, at(1)), deny(&shown, "bob", 3, at(1)));
        let events = if approve_first { [yes, no] } else { [no, yes] };
        let mut written = 0;
        for event in events {
            let mut mine = shown.clone();
            take(&mut mine, event, at(1));
            if stored.revision == shown.revision {
                stored = mine;
                written += 1;
            }
        }
        assert_eq!((written, stored.revision, stored.votes.len()), (1, 1, 1));
    }
}

#[test]
fn a_denial_between_approval_and_claim_revokes_and_nothing_can_be_claimed_any_more() {
    let mut task = approved(plain());
    let no = deny(&task, "bob", 3, at(2));
    assert!(take(&mut task, no, at(2)).contains(&Consequence::Wake));
    assert_eq!(task.state, State::Revoked { at: at(2), by: vec!["bob".into()], reason: "seen enough".into() });
    let event = claim(&task, "confirm_compromised", 1, at(3));
    assert_eq!(refuse(&mut task, event, at(3)).to_string(), "already revoked (bob, 1970-01-01T00:02:00Z)");
}

#[test]
fn taking_back_an_approval_needs_a_reason_and_is_open_to_the_approver() {
    let mut task = approved(plain());
    let mut no = Ballot {
        by: reviewer("ada", 2, at(2)),
        verdict: Verdict::Deny,
        reason: Some(" ".into()),
        digest: task.digest(),
        recipient_key: None,
    };
    let refused = refuse(&mut task, Event::Vote(Box::new(no.clone())), at(2));
    assert_eq!(refused.to_string(), "taking back an approval needs a reason");
    no.reason = Some("wrong person".into());
    take(&mut task, Event::Vote(Box::new(no)), at(2));
    assert_eq!(task.state.word(), "revoked");
}

#[test]
fn a_denial_after_the_claim_is_refused_with_the_claim_time() {
    let mut task = approved(plain());
    let event = claim(&task, "confirm_compromised", 1, at(2));
    take(&mut task, event, at(2));
    let no = deny(&task, "bob", 3, at(3));
    let refused = refuse(&mut task, no, at(3));
    assert_eq!(refused.to_string(), "already executing (confirm_compromised, 1970-01-01T00:02:00Z)");
}

#[test]
fn at_the_very_instant_of_expiry_a_vote_is_too_late_and_just_before_it_is_not() {
    let nanosecond = jiff::SignedDuration::from_nanos(1);
    let mut task = plain();
    let mut early = task.clone();
    let event = approve(&task, "ada", 2, at(240));
    let refused = refuse(&mut task, event.clone(), at(240));
    assert_eq!(refused.to_string(), "too late: the time to decide ended at 1970-01-01T04:00:00Z");
    take(&mut early, event, at(240) - nanosecond);
    assert_eq!(early.state.word(), "approved");
}

#[test]
fn time_escalates_then_expires_and_says_that_the_case_stays_open() {
    let mut task = plain();
    assert_eq!(task.next_due(), Some(at(30)));
    assert_eq!(take(&mut task, Event::Tick, at(29)), []);
    assert_eq!(take(&mut task, Event::Tick, at(30)), [Consequence::Escalated { to: vec!["group:soc-leads".into()] }]);
    assert_eq!((task.state.word(), task.next_due()), ("escalated", Some(at(240))));
    let consequences = take(&mut task, Event::Tick, at(240));
    assert_eq!(consequences[0], Consequence::Undone { why: "nobody decided in time".into() });
    assert_eq!((task.state.word(), task.next_due()), ("expired", None));
    assert_eq!(take(&mut task, Event::Tick, at(999)), []);
}

#[test]
fn a_task_without_a_deadline_waits_for_ever() {
    let parked = Policy { decide_within: None, escalate: None, ..policy(1, 1) };
    let mut task = task_of(Kind::Release, parked, Vec::new());
    assert_eq!(task.next_due(), None);
    assert_eq!(take(&mut task, Event::Tick, Timestamp::MAX), []);
    assert_eq!(task.state, State::Pending);
}

#[test]
fn an_escalated_audience_may_decide_only_once_escalation_is_due() {
    let mut task = plain();
    let mut lead = reviewer("grace", 4, at(29));
    lead.groups = vec!["soc-leads".into()];
    let event = ballot(&task, lead.clone(), Verdict::Approve);
    assert_eq!(forbidden(refuse(&mut task, event, at(29))), Forbidden::NotNamed);
    lead.proved_at = at(30);
    let event = ballot(&task, lead, Verdict::Approve);
    take(&mut task, event, at(30));
    assert_eq!(task.state.word(), "approved");
}

#[test]
fn nobody_decides_about_themselves_not_even_through_another_account() {
    let mut task = plain();
    let event = approve(&task, "subject", 1, at(1));
    assert_eq!(forbidden(refuse(&mut task, event, at(1))), Forbidden::Subject);
    let mut other = reviewer("subject-admin", 7, at(1));
    other.linked = vec![account(1)];
    let event = ballot(&task, other, Verdict::Deny);
    let refused = refuse(&mut task, event, at(1));
    assert!(refused.is_alarming());
    assert_eq!(forbidden(refused), Forbidden::Subject);
}

#[test]
fn the_requester_does_not_decide_whatever_account_they_use() {
    let mut task = plain();
    task.requester = Some(Person { id: "ada".into(), accounts: vec![account(2), account(8)] });
    for (id, number) in [("ada", 99), ("ada-admin", 8)] {
        let event = approve(&task, id, number, at(1));
        assert_eq!(forbidden(refuse(&mut task, event, at(1))), Forbidden::Requester, "{id}");
    }
}

#[test]
fn every_missing_entitlement_is_refused_with_its_own_reason() {
    type Spoil = fn(&mut Reviewer);
    let spoil: [(Spoil, Forbidden); 8] = [
        (|r| r.roles = vec![Role::Viewer, Role::Analyst], Forbidden::Role),
        (|r| r.groups.clear(), Forbidden::NotNamed),
        (|r| r.at_risk = true, Forbidden::AtRisk),
        (|r| r.revoked_at = Some(r.session_started), Forbidden::SessionRevoked),
        (|r| r.aal2 = false, Forbidden::NotAal2),
        (|r| r.proved_at = at(4), Forbidden::NotFresh),
        (|r| r.proved_at = at(11), Forbidden::NotFresh),
        (|r| r.proved_at = Timestamp::MIN, Forbidden::NotFresh),
    ];
    for (spoil, expected) in spoil {
        let mut task = plain();
        let mut by = reviewer("ada", 2, at(10));
        spoil(&mut by);
        let event = ballot(&task, by, Verdict::Approve);
        let refused = refuse(&mut task, event, at(10));
        assert_eq!(refused.refusal(), Refusal::Forbidden);
        assert_eq!(forbidden(refused), expected);
    }
}

#[test]
fn a_session_begun_after_the_revoke_may_decide() {
    let mut task = plain();
    let mut by = reviewer("ada", 2, at(10));
    (by.revoked_at, by.session_started) = (Some(at(5)), at(6));
    let event = ballot(&task, by, Verdict::Approve);
    take(&mut task, event, at(10));
    assert_eq!(task.state.word(), "approved");
}

#[test]
fn a_second_vote_of_the_same_person_is_refused_and_the_first_stands() {
    let mut task = task_of(Kind::Approval, policy(2, 1), vec![row("confirm_compromised", false)]);
    let first = approve(&task, "ada", 2, at(1));
    let counted = Consequence::Counted { verdict: Verdict::Approve, have: 1, need: 2 };
    assert_eq!(take(&mut task, first, at(1)), [counted]);
    let mut twin = reviewer("ada-admin", 8, at(2));
    twin.linked = vec![account(2)];
    for event in [approve(&task, "ada", 2, at(2)), ballot(&task, twin, Verdict::Approve)] {
        assert_eq!(refuse(&mut task, event, at(2)).to_string(), "already approved (ada, 1970-01-01T00:01:00Z)");
    }
    let second = approve(&task, "bob", 3, at(3));
    take(&mut task, second, at(3));
    assert_eq!(
        task.state,
        State::Approved { at: at(3), by: vec!["ada".into(), "bob".into()], execute_by: Some(at(33)) }
    );
}

#[test]
fn a_vote_on_something_else_than_is_there_is_stale() {
    let mut task = plain();
    let other = reset();
    let event = approve(&other, "ada", 2, at(1));
    let refused = refuse(&mut task, event, at(1));
    assert!(refused.to_string().starts_with("this changed since it was shown to you: page: was "), "{refused}");
    assert_eq!(refused.refusal(), Refusal::Conflict);
}

#[test]
fn whoever_decides_from_a_page_older_than_a_change_of_the_account_is_told_the_change() {
    let mut task = task_of(Kind::Approval, policy(2, 1), vec![row("confirm_compromised", false)]);
    let (old, first) = (approve(&task, "bob", 3, at(2)), approve(&task, "ada", 2, at(1)));
    take(&mut task, first, at(1));
    let learnt = |target: Target| Event::Learned { target: Some(target), risk_closed: None };
    take(&mut task, learnt(Target::default()), at(2));
    assert_eq!((task.votes.len(), task.earlier.len()), (1, 0), "a plain account is no news");
    take(&mut task, learnt(Target::of([TargetClass::Guest])), at(2));
    assert_eq!(task.votes, [], "approved was something else");
    let difference = vec![Changed::new("target", "an enabled member", "guest")];
    assert_eq!(refuse(&mut task, old, at(2)), Refused::Stale { difference });
    for (id, number) in [("ada", 2), ("bob", 3)] {
        let event = approve(&task, id, number, at(3));
        take(&mut task, event, at(3));
    }
    assert_eq!(task.state.word(), "approved");
    let stands = task.clone();
    take(&mut task, learnt(Target::default()), at(4));
    assert_eq!(task, stands, "what was approved is compared at the claim");
}

#[test]
fn a_closed_risk_takes_denials_only_until_there_is_newer_evidence() {
    let mut task = plain();
    take(&mut task, Event::Learned { target: None, risk_closed: Some("dismissed by sentinel".into()) }, at(1));
    let yes = approve(&task, "ada", 2, at(2));
    let Refused::Stale { difference } = refuse(&mut task, yes.clone(), at(2)) else { panic!("stale") };
    assert_eq!((difference[0].what.as_str(), difference[0].shown.as_str()), ("risk", "open"));
    assert!(difference[0].now.starts_with("dismissed by sentinel, 1970-01-01T00:01:00Z"), "{difference:?}");
    let mut denied = task.clone();
    let no = deny(&denied, "ada", 2, at(2));
    take(&mut denied, no, at(2));
    assert_eq!(denied.state.word(), "denied");
    take(&mut task, Event::NewerEvidence { risk: Risk::High, acute: true }, at(3));
    take(&mut task, yes, at(3));
    assert_eq!(task.state.word(), "approved");
}

#[test]
fn an_account_that_changes_for_ever_is_remembered_up_to_a_bound() {
    let mut task = plain();
    for round in 0..100 {
        let target = Target::default().with(TargetClass::Disabled, round % 2 == 0);
        take(&mut task, Event::Learned { target: Some(target), risk_closed: None }, at(1));
    }
    assert_eq!(task.earlier.len(), 16);
}

#[test]
fn fifty_duplicates_while_pending_are_newer_items_and_hold_off_no_decision() {
    let mut task = plain();
    let event = approve(&task, "ada", 2, at(1));
    for _ in 0..50 {
        assert_eq!(take(&mut task, Event::NewerEvidence { risk: Risk::High, acute: true }, at(1)), []);
    }
    assert_eq!((task.newer, task.revision), (50, 0));
    take(&mut task, event, at(1));
    assert_eq!(task.state.word(), "approved");
}

#[test]
fn a_reason_of_ten_thousand_characters_is_refused() {
    let mut task = plain();
    let Event::Vote(mut vote) = approve(&task, "ada", 2, at(1)) else { panic!("a vote") };
    vote.reason = Some("é".repeat(10_000));
    assert_eq!(refuse(&mut task, Event::Vote(vote), at(1)).refusal(), Refusal::Invalid);
}

#[test]
fn a_manual_task_is_done_by_an_entitled_person_and_not_approved() {
    let mut task = task_of(Kind::Manual, policy(1, 1), Vec::new());
    let event = approve(&task, "ada", 2, at(1));
    assert_eq!(refuse(&mut task, event, at(1)).refusal(), Refusal::Invalid);
    let done = |number| Event::Done { by: Box::new(reviewer("ada", number, at(1))), note: None };
    assert_eq!(forbidden(refuse(&mut task, done(1), at(1))), Forbidden::Subject);
    assert_eq!(take(&mut task, done(2), at(1)), [Consequence::Wake]);
    assert_eq!(task.state, State::Executed { at: at(1), by: vec!["ada".into()] });
    assert_eq!(refuse(&mut plain(), done(2), at(1)).refusal(), Refusal::Invalid);
}

#[test]
fn a_release_takes_effect_with_the_decision() {
    let mut task = task_of(Kind::Release, policy(1, 1), Vec::new());
    task.identity = None;
    let event = approve(&task, "ada", 2, at(1));
    assert_eq!(take(&mut task, event, at(1)), [Consequence::Wake]);
    assert_eq!(task.state, State::Executed { at: at(1), by: vec!["ada".into()] });
}

#[test]
fn a_held_task_without_a_person_can_be_closed_or_named_but_not_approved() {
    let mut task = task_of(Kind::Held, policy(1, 1), Vec::new());
    task.identity = None;
    let event = approve(&task, "ada", 2, at(1));
    assert_eq!(
        refuse(&mut task, event.clone(), at(1)).to_string(),
        "nobody is named: name the person first, or deny to close it"
    );
    let mut closed = task.clone();
    let no = deny(&closed, "ada", 2, at(1));
    take(&mut closed, no, at(1));
    assert_eq!(closed.state.word(), "denied");
    let named =
        |by: u128, whom: u128| Event::Named { by: Box::new(reviewer("ada", by, at(1))), identity: person_of(whom) };
    assert_eq!(forbidden(refuse(&mut task, named(2, 2), at(1))), Forbidden::Subject, "nobody names himself");
    take(&mut task, named(2, 1), at(1));
    assert_eq!((task.state.word(), task.identity.clone()), ("executed", Some(person_of(1))));
    assert!(matches!(refuse(&mut task, event, at(2)), Refused::Conflict { .. }), "the old page comes too late");
}

#[test]
fn an_undecided_step_runs_only_after_a_claim_and_a_denial_skips_it() {
    let mut task = task_of(Kind::Undecided, policy(1, 1), vec![row("disable_inbox_rules", false)]);
    let mut skipped = task.clone();
    let no = deny(&skipped, "ada", 2, at(1));
    take(&mut skipped, no, at(1));
    assert_eq!(skipped.state.word(), "denied");
    let yes = approve(&task, "ada", 2, at(1));
    take(&mut task, yes, at(1));
    assert_eq!(task.state.word(), "approved");
}

#[test]
fn an_approval_that_reveals_a_secret_needs_a_browser_key_of_sane_length() {
    for key in [None, Some(String::new()), Some("k".repeat(4_000))] {
        let mut task = reset();
        let Event::Vote(mut vote) = approve(&task, "ada", 2, at(1)) else { panic!("a vote") };
        vote.recipient_key = key;
        assert_eq!(refuse(&mut task, Event::Vote(vote), at(1)).refusal(), Refusal::Invalid);
    }
}
