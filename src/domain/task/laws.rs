//! Laws that hold for every sequence of events.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::sample::*;
use super::*;

const OTHER: &str = "confirm_compromised";

/// An event, before it knows the task it meets.
#[derive(Debug, Clone)]
enum Move {
    Vote { who: u8, verdict: Verdict, stale: bool },
    Claim { other: bool, fence: u64, twist: u8 },
    Report { other: bool, fence: u64, what: u8 },
    Fetch { who: u8, acknowledge: bool },
    Cancel,
    Done { who: u8 },
    RevealExpired,
    Newer,
    Learn { guest: bool, closed: bool },
    Tick,
}

fn moves() -> impl Strategy<Value = Vec<(Move, i64)>> {
    let verdict = prop_oneof![2 => Just(Verdict::Approve), 1 => Just(Verdict::Deny)];
    let one = prop_oneof![
        6 => (0..6u8, verdict, prop::bool::weighted(0.1))
            .prop_map(|(who, verdict, stale)| Move::Vote { who, verdict, stale }),
        6 => (any::<bool>(), 0..4u64, 0..12u8).prop_map(|(other, fence, twist)| Move::Claim { other, fence, twist }),
        9 => (any::<bool>(), 0..4u64, 0..8u8).prop_map(|(other, fence, what)| Move::Report { other, fence, what }),
        3 => (0..6u8, any::<bool>()).prop_map(|(who, acknowledge)| Move::Fetch { who, acknowledge }),
        1 => Just(Move::Cancel),
        1 => (0..6u8).prop_map(|who| Move::Done { who }),
        1 => Just(Move::RevealExpired),
        1 => Just(Move::Newer),
        1 => (any::<bool>(), prop::bool::weighted(0.3)).prop_map(|(guest, closed)| Move::Learn { guest, closed }),
        3 => Just(Move::Tick),
    ];
    let minutes = prop_oneof![8 => 0..5i64, 1 => 5..60i64, 1 => 60..3_000i64];
    prop::collection::vec((one, minutes), 0..40)
}

fn tasks() -> impl Strategy<Value = Task> {
    let kinds = prop::sample::select(Kind::ALL);
    (kinds, 1..3u32, 1..3u32, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(kind, approve, deny, timed, reveals, shadow)| {
            let mut policy = policy(approve, deny);
            if !timed {
                (policy.decide_within, policy.escalate, policy.execute_within) = (None, None, None);
            }
            let mut task = task_of(kind, policy, vec![row(OTHER, false), row(STEP, reveals)]);
            task.shadow = shadow;
            task
        },
    )
}

/// Person 0 is the subject, person 5 is person 4 with another account.
fn reviewer_number(who: u8, now: Timestamp) -> Reviewer {
    let mut by = reviewer(&format!("r{who}"), 1 + u128::from(who), now);
    if who == 5 {
        by.linked = vec![account(5)];
    }
    by
}

fn event(task: &Task, played: &Move, now: Timestamp) -> Event {
    let step = |other: bool| if other { OTHER } else { STEP };
    match *played {
        Move::Vote { who, verdict, stale } => {
            let shown = if stale { plain() } else { task.clone() };
            ballot(&shown, reviewer_number(who, now), verdict)
        }
        Move::Claim { other, fence, twist } => {
            let mut claim = claim_of(task, step(other), fence, now);
            match twist {
                0 => claim.risk_closed = Some("dismissed".into()),
                1 => claim.now.target = Some(Target::of([TargetClass::Disabled])),
                2 => claim.now.rows.clear(),
                3 => claim.browser_seen = None,
                _ => {}
            }
            Event::Claim(Box::new(claim))
        }
        Move::Report { other, fence, what } => match what {
            0 => Event::Sealed { step: step(other).into(), fence },
            1 | 2 => executed(step(other), fence),
            3 => failed(step(other), fence, true),
            4 => failed(step(other), fence, false),
            5 => Event::Unknown { step: step(other).into(), fence },
            6 => Event::Dropped { step: step(other).into() },
            _ => Event::Verified { step: step(other).into(), applied: fence % 2 == 0 },
        },
        Move::Fetch { who, acknowledge } => {
            let (by, key) = (format!("r{who}"), KEY.to_owned());
            if acknowledge { Event::Acknowledged { by, key } } else { Event::Fetched { by, key } }
        }
        Move::Cancel => Event::Cancel { by: "operator".into(), reason: "duplicate".into() },
        Move::Done { who } => Event::Done { by: Box::new(reviewer_number(who, now)), note: None },
        Move::RevealExpired => Event::RevealExpired,
        Move::Newer => Event::NewerEvidence { risk: Risk::High, acute: true },
        Move::Learn { guest, closed } => Event::Learned {
            target: Some(Target::default().with(TargetClass::Guest, guest)),
            risk_closed: closed.then(|| "dismissed".into()),
        },
        Move::Tick => Event::Tick,
    }
}

/// Plays moves; gives every taken event with its time, and checks each step.
fn play(
    task: &mut Task,
    moves: &[(Move, i64)],
    mut check: impl FnMut(&Task, &Event, &Task),
) -> Vec<(Event, Timestamp)> {
    let mut now = at(0);
    let mut taken = Vec::new();
    for (played, minutes) in moves {
        now += SignedDuration::from_mins(*minutes);
        let before = task.clone();
        let event = event(task, played, now);
        match task.apply(event.clone(), now) {
            Ok(_) => {
                check(&before, &event, task);
                taken.push((event, now));
            }
            Err(_) => assert_eq!(*task, before, "a refused event changed the task"),
        }
    }
    taken
}

/// Distinct persons among the votes with a verdict.
fn persons(task: &Task, verdict: Verdict) -> usize {
    let votes: Vec<_> = task.votes.iter().filter(|vote| vote.verdict == verdict).collect();
    let first = |index: usize| !votes[..index].iter().any(|earlier| earlier.person.is(&votes[index].person));
    (0..votes.len()).filter(|index| first(*index)).count()
}

proptest! {
    #[test]
    fn nothing_leads_out_of_a_terminal_state(mut task in tasks(), moves in moves()) {
        play(&mut task, &moves, |before, _, after| {
            if before.state.is_terminal() {
                assert_eq!(before, after);
            }
        });
    }

    #[test]
    fn time_alone_never_approves_claims_or_executes(mut task in tasks(), moves in moves(), ticks in prop::collection::vec(0..3_000i64, 1..20)) {
        play(&mut task, &moves, |_, _, _| {});
        let begun = |task: &Task| task.rows.iter().filter(|row| !matches!(row.progress, Progress::Waiting | Progress::Skipped { .. })).count();
        let mut now = at(0);
        for minutes in ticks {
            now += SignedDuration::from_mins(minutes);
            let before = task.clone();
            task.apply(Event::Tick, now).expect("a tick is always taken");
            assert_eq!(begun(&before), begun(&task));
            assert_eq!(before.approval.is_some(), task.approval.is_some());
            if before.state != task.state {
                assert!(!matches!(task.state, State::Approved { .. } | State::Claimed { .. } | State::Revealed { .. }), "{:?}", task.state);
            }
        }
    }

    #[test]
    fn an_approval_takes_distinct_entitled_persons_and_never_the_subject(mut task in tasks(), moves in moves()) {
        play(&mut task, &moves, |before, _, after| {
            if before.approval.is_none() && after.approval.is_some() {
                assert!(persons(after, Verdict::Approve) >= after.policy.approve as usize);
                assert!(persons(after, Verdict::Deny) < after.policy.deny as usize);
            }
            assert!(after.votes.iter().all(|vote| !vote.person.accounts.contains(&account(1))));
        });
    }

    #[test]
    fn an_effect_begins_only_under_a_standing_timely_approval_of_exactly_that(mut task in tasks(), moves in moves()) {
        let mut now = at(0);
        for (played, minutes) in &moves {
            now += SignedDuration::from_mins(*minutes);
            let before = task.clone();
            let event = event(&task, played, now);
            let taken = task.apply(event.clone(), now).is_ok();
            let claimed = |task: &Task| task.rows.iter().filter(|row| matches!(row.progress, Progress::Claimed { .. })).count();
            if taken && claimed(&task) > claimed(&before) {
                let Event::Claim(claim) = event else { panic!("claimed by {event:?}") };
                let approval = before.approval.as_ref().expect("an approval");
                assert!(approval.withdrawn.is_none() && !before.shadow && claim.risk_closed.is_none());
                assert!(approval.execute_by.is_none_or(|by| now < by));
                assert_eq!(claim.now.digest(&before.snapshot), approval.digest);
                assert_eq!(claimed(&task), 1);
            }
        }
    }

    #[test]
    fn a_row_that_took_effect_never_runs_again(mut task in tasks(), moves in moves()) {
        play(&mut task, &moves, |before, _, after| {
            for (was, is) in before.rows.iter().zip(&after.rows) {
                let done = |p: &Progress| matches!(p, Progress::Executed { .. } | Progress::Sealed { .. } | Progress::Revealed { .. } | Progress::RevealExpired { .. } | Progress::Skipped { .. });
                assert!(!done(&was.progress) || done(&is.progress), "{:?} became {:?}", was.progress, is.progress);
            }
        });
    }

    #[test]
    fn of_an_approval_and_a_denial_exactly_one_decides(deny_first in any::<bool>(), seconds in 0..10_000i64) {
        let mut task = plain();
        let now = at(0) + SignedDuration::from_secs(seconds);
        let (yes, no) = (approve(&task, "ada", 2, now), deny(&task, "bob", 3, now));
        let (first, second) = if deny_first { (no, yes) } else { (yes, no) };
        take(&mut task, first, now);
        let decided = task.state.clone();
        let outcome = task.apply(second, now);
        if deny_first {
            assert!(matches!(outcome, Err(Refused::Conflict { .. })));
            assert_eq!(task.state, decided);
        } else {
            assert_eq!(task.state.word(), "revoked");
        }
    }

    #[test]
    fn a_vote_counts_before_the_deadline_and_never_at_or_after_it(offset in -3_000..3_000i64) {
        let mut task = plain();
        let now = at(240) + SignedDuration::from_millis(offset);
        let yes = approve(&task, "ada", 2, now);
        assert_eq!(task.apply(yes, now).is_ok(), offset < 0);
    }

    #[test]
    fn replay_from_json_equals_live(task in tasks(), moves in moves()) {
        let mut live = task.clone();
        let mut replayed = task;
        let taken = play(&mut live, &moves, |_, _, _| {});
        for (event, now) in taken {
            let text = serde_json::to_string(&event).expect("an event serialises");
            let event = serde_json::from_str(&text).expect("an event reads back");
            let stored = serde_json::to_string(&replayed).expect("a task serialises");
            replayed = serde_json::from_str(&stored).expect("a task reads back");
            replayed.apply(event, now).expect("what was taken live is taken again");
        }
        assert_eq!(replayed, live);
    }

    #[test]
    fn a_due_timer_does_something_so_that_the_scheduler_never_spins(mut task in tasks(), moves in moves()) {
        play(&mut task, &moves, |_, _, _| {});
        for _ in 0..8 {
            let Some(due) = task.next_due() else { break };
            let before = task.clone();
            task.apply(Event::Tick, due).expect("a tick is always taken");
            assert_ne!(task, before, "due at {due}, nothing happened");
        }
        assert_eq!(task.next_due(), None);
    }
}
