//! The secret: sealed before it counts as executed, shown to one browser, gone after its time.

use super::super::sample::*;
use super::super::*;

fn acknowledged(by: &str) -> Event {
    Event::Acknowledged { by: by.into(), key: KEY.into() }
}

fn claimed() -> Task {
    let mut task = approved(reset());
    let event = claim(&task, STEP, 1, at(2));
    take(&mut task, event, at(2));
    task
}

fn drop_secret() -> Consequence {
    Consequence::DropSecret { step: STEP.into() }
}

#[test]
fn a_revealing_step_waits_until_the_browser_is_present() {
    let mut task = approved(reset());
    for browser_seen in [None, Some(at(0)), Some(Timestamp::MIN)] {
        let claim = Claim { browser_seen, ..claim_of(&task, STEP, 1, at(2)) };
        let refused = refuse(&mut task, Event::Claim(Box::new(claim)), at(2));
        assert_eq!(refused.to_string(), "not yet: open this page to continue");
    }
    let claim = Claim { browser_seen: Some(at(1)), ..claim_of(&task, STEP, 1, at(2)) };
    take(&mut task, Event::Claim(Box::new(claim)), at(2));
    assert_eq!(task.state.word(), "claimed");
}

#[test]
fn a_reset_counts_as_executed_only_when_its_secret_is_sealed() {
    let mut task = claimed();
    assert_eq!(refuse(&mut task, executed(STEP, 1), at(3)).refusal(), Refusal::Invalid);
    let seal = Event::Sealed { step: STEP.into(), fence: 1 };
    take(&mut task, seal.clone(), at(3));
    take(&mut task, seal, at(3));
    let reveal = Consequence::Reveal { step: STEP.into() };
    assert_eq!(take(&mut task, executed(STEP, 1), at(3)), [Consequence::Wake, reveal]);
    assert_eq!(task.state, State::Sealed { at: at(3), step: STEP.into(), until: None });
}

#[test]
fn the_deciding_browser_fetches_again_until_fifteen_minutes_after_the_first_fetch() {
    let mut task = sealed();
    take(&mut task, fetched("ada"), at(10));
    assert_eq!(task.next_due(), Some(at(25)));
    let revision = task.revision;
    take(&mut task, fetched("ada"), at(24));
    assert_eq!(task.revision, revision, "a second fetch starts no new clock");
    let refused = refuse(&mut task, fetched("ada"), at(25));
    assert_eq!(refused.to_string(), "too late: the time to fetch the secret ended at 1970-01-01T00:25:00Z");
    assert_eq!(take(&mut task, Event::Tick, at(25)), [Consequence::Wake, drop_secret()]);
    assert_eq!(task.state, State::RevealExpired { at: at(25) });
}

#[test]
fn nobody_else_and_no_other_browser_fetches_the_secret() {
    let mut task = sealed();
    let thief = Event::Fetched { by: "ada".into(), key: "another browser".into() };
    for event in [fetched("bob"), thief, acknowledged("bob")] {
        let refused = refuse(&mut task, event, at(4));
        assert!(refused.is_alarming());
        assert_eq!(refused, Refused::Forbidden { why: Forbidden::NotRecipient });
    }
}

#[test]
fn passing_it_on_drops_the_secret_and_there_is_no_second_time() {
    let mut task = sealed();
    assert_eq!(refuse(&mut task, acknowledged("ada"), at(4)).to_string(), "not yet: the secret was not fetched");
    take(&mut task, fetched("ada"), at(4));
    assert_eq!(take(&mut task, acknowledged("ada"), at(5)), [drop_secret(), Consequence::Wake]);
    assert_eq!(task.state, State::Revealed { at: at(5) });
    let refused = refuse(&mut task, fetched("ada"), at(5));
    assert_eq!(refused.to_string(), "already revealed (ada, 1970-01-01T00:05:00Z)");
}

#[test]
fn a_secret_nobody_fetches_is_dropped_after_a_day_or_when_it_is_given_up() {
    let mut task = sealed();
    assert_eq!(task.next_due(), Some(at(3 + 24 * 60)));
    let mut given_up = task.clone();
    assert!(take(&mut given_up, Event::RevealExpired, at(4)).contains(&drop_secret()));
    assert!(take(&mut task, Event::Tick, at(3 + 24 * 60)).contains(&drop_secret()));
    for task in [task, given_up] {
        assert_eq!(task.state.word(), "reveal_expired");
    }
    assert_eq!(refuse(&mut claimed(), Event::RevealExpired, at(3)).refusal(), Refusal::Invalid);
}

#[test]
fn the_secret_cannot_be_fetched_while_the_outcome_is_unknown_and_can_once_it_is_verified() {
    let mut task = claimed();
    take(&mut task, Event::Sealed { step: STEP.into(), fence: 1 }, at(2));
    take(&mut task, Event::Unknown { step: STEP.into(), fence: 1 }, at(3));
    assert!(matches!(refuse(&mut task, fetched("ada"), at(3)), Refused::Conflict { .. }));
    take(&mut task, Event::Verified { step: STEP.into(), applied: true }, at(4));
    take(&mut task, fetched("ada"), at(5));
    assert_eq!(task.state.word(), "sealed");
}

#[test]
fn a_reset_verified_without_effect_drops_its_secret_and_may_run_again() {
    let mut task = claimed();
    take(&mut task, Event::Sealed { step: STEP.into(), fence: 1 }, at(2));
    take(&mut task, Event::Unknown { step: STEP.into(), fence: 1 }, at(3));
    let consequences = take(&mut task, Event::Verified { step: STEP.into(), applied: false }, at(4));
    assert!(consequences.contains(&drop_secret()));
    let event = claim(&task, STEP, 2, at(5));
    take(&mut task, event, at(5));
    assert_eq!(task.rows[0].progress, Progress::Claimed { at: at(5), fence: 2, sealed: false });
}

#[test]
fn an_effect_whose_secret_never_reached_the_store_says_so() {
    let mut task = claimed();
    take(&mut task, Event::Unknown { step: STEP.into(), fence: 1 }, at(3));
    let consequences = take(&mut task, Event::Verified { step: STEP.into(), applied: true }, at(4));
    assert!(consequences.contains(&Consequence::SecretLost { step: STEP.into() }));
    assert_eq!(task.state.word(), "executed");
}

#[test]
fn a_waiting_secret_stays_fetchable_when_the_rest_of_the_task_lapses() {
    let mut task = approved(task_of(Kind::Approval, policy(1, 1), vec![row(STEP, true), row("later", false)]));
    let event = claim(&task, STEP, 1, at(2));
    take(&mut task, event, at(2));
    take(&mut task, Event::Sealed { step: STEP.into(), fence: 1 }, at(2));
    take(&mut task, executed(STEP, 1), at(30));
    take(&mut task, Event::Tick, at(31));
    assert_eq!(task.state.word(), "sealed");
    take(&mut task, fetched("ada"), at(32));
    take(&mut task, acknowledged("ada"), at(33));
    assert_eq!(task.state, State::Lapsed { at: at(31) });
}

#[test]
fn a_secret_goes_to_the_browser_of_the_vote_that_decided() {
    let mut task = task_of(Kind::Approval, policy(2, 1), vec![row(STEP, true)]);
    for (id, number) in [("ada", 2), ("bob", 3)] {
        let event = approve(&task, id, number, at(1));
        take(&mut task, event, at(1));
    }
    let recipient = task.approval.and_then(|approval| approval.recipient).expect("a recipient");
    assert_eq!(recipient, Recipient { reviewer: "bob".into(), key: KEY.into() });
}
