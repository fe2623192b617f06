//! A one-time password that was handed over: until the person has replaced it, whoever knows it can sign in with it.
//!
//! Entra says when a password was last changed, not by whom. The first value read after the reset is ours, a later one
//! the person's own (facts: graph §5).

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::domain::ids::CaseId;

/// A password of ours that may still be in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    pub case: CaseId,
    /// When the accepted call left, on Graph's clock.
    pub left_at: Timestamp,
    /// What was read as changed until here is our own deed.
    pub ours_until: Timestamp,
    /// `lastPasswordChangeDateTime` of our own deed, once it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Timestamp>,
    pub next_at: Timestamp,
}

/// What a reading says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The person replaced it then.
    ByUser(Timestamp),
    /// Not yet; to be read again.
    NotYet(Handover),
    /// Nobody replaced it for as long as it was looked at.
    Never,
}

/// Clocks of replicas differ by less (contract §13.2).
const SKEW: SignedDuration = SignedDuration::from_secs(2);
/// Longest call that is believed.
const CALL: SignedDuration = SignedDuration::from_secs(60);
const GIVE_UP: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How long after the reset, and how often it is read until then.
const PACE: [(SignedDuration, SignedDuration); 3] = [
    (SignedDuration::from_mins(5), SignedDuration::from_secs(5)),
    (SignedDuration::from_hours(2), SignedDuration::from_mins(1)),
    (SignedDuration::from_hours(48), SignedDuration::from_mins(10)),
];
const SELDOM: SignedDuration = SignedDuration::from_hours(1);

impl Handover {
    /// After a reset that left at `left_at` and was known to be accepted at `now`.
    pub fn of(case: CaseId, left_at: Timestamp, now: Timestamp) -> Self {
        let took = now.duration_since(left_at).clamp(SignedDuration::ZERO, CALL);
        Self { case, left_at, ours_until: left_at + took + SKEW, seen: None, next_at: now + SKEW }
    }

    /// What was read back with the revoke after the reset: nobody was shown the password by then. An older value is a
    /// replica that lags behind.
    pub fn saw(&mut self, changed: Option<Timestamp>) {
        let ours = self.left_at - SKEW..=self.ours_until;
        self.seen = self.seen.or(changed.filter(|at| ours.contains(at)));
    }

    /// It could not be read: not again at once.
    pub fn unread(self, now: Timestamp) -> Change {
        self.again(SignedDuration::from_mins(1), now)
    }

    /// Judges what was read at `now`; `None` when Graph did not say.
    pub fn read(mut self, changed: Option<Timestamp>, now: Timestamp) -> Change {
        let ours = self.seen.unwrap_or(self.ours_until);
        if let Some(at) = changed.filter(|at| *at > ours) {
            return Change::ByUser(at);
        }
        self.saw(changed);
        let since = now.duration_since(self.left_at);
        let pace = PACE.iter().find(|(until, _)| since < *until).map_or(SELDOM, |(_, pace)| *pace);
        self.again(pace, now)
    }

    fn again(mut self, pace: SignedDuration, now: Timestamp) -> Change {
        if now.duration_since(self.left_at) >= GIVE_UP {
            return Change::Never;
        }
        self.next_at = now + pace;
        Change::NotYet(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + seconds)
    }

    fn fresh() -> Handover {
        Handover::of(CaseId::new(uuid::Uuid::nil()), at(0), at(1))
    }

    fn not_yet(change: Change) -> Handover {
        match change {
            Change::NotYet(handover) => handover,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn our_own_change_is_not_the_persons() {
        let looked = not_yet(fresh().read(Some(at(1)), at(3)));
        assert_eq!(looked.seen, Some(at(1)));
        let again = not_yet(looked.read(Some(at(1)), at(13)));
        assert_eq!(again.read(Some(at(40)), at(45)), Change::ByUser(at(40)));
    }

    #[test]
    fn a_quick_person_is_told_from_ourselves_by_what_was_read_at_once() {
        let mut handover = fresh();
        handover.saw(Some(at(-500)));
        assert_eq!(handover.seen, None, "a replica that lags");
        handover.saw(Some(at(1)));
        handover.saw(Some(at(2)));
        assert_eq!(handover.seen, Some(at(1)), "the first counts");
        assert_eq!(handover.read(Some(at(2)), at(3)), Change::ByUser(at(2)));
    }

    #[test]
    fn a_replica_that_lags_says_nothing() {
        let looked = not_yet(fresh().read(Some(at(-500)), at(3)));
        assert_eq!(looked.seen, None);
        assert_eq!(not_yet(looked.clone().read(None, at(13))).seen, None);
        assert_eq!(not_yet(looked.read(Some(at(1)), at(13))).seen, Some(at(1)));
    }

    #[test]
    fn a_change_long_after_the_call_is_the_persons_even_when_ours_was_never_read() {
        assert_eq!(fresh().read(Some(at(60)), at(70)), Change::ByUser(at(60)));
    }

    #[test]
    fn it_is_read_ever_more_seldom_and_at_last_given_up() {
        let pace = |seconds| not_yet(fresh().read(None, at(seconds))).next_at.duration_since(at(seconds)).as_secs();
        assert_eq!([60, 3_600, 86_400, 500_000].map(pace), [5, 60, 600, 3_600]);
        assert_eq!(fresh().read(None, at(14 * 24 * 3_600)), Change::Never);
    }

    proptest! {
        #[test]
        fn what_was_read_in_any_order_never_calls_our_own_change_the_persons(
            ours in 0_i64..=3, reads in prop::collection::vec((-100_i64..=0, any::<bool>()), 1..20),
        ) {
            let mut handover = fresh();
            for (step, (old, lags)) in reads.into_iter().enumerate() {
                let value = if lags { at(old - 10) } else { at(ours) };
                handover = not_yet(handover.read(Some(value), at(3 + 10 * i64::try_from(step).expect("few"))));
            }
        }
    }
}
