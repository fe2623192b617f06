//! In which order people should look at open tasks.

use super::{Kind, State, Task};
use crate::domain::signal::Risk;

/// Microseconds until the year 4253; what no clock ends comes after what one does.
const LAST: i64 = (1 << 56) - 1;
/// Where the risk stands, and above it the rank.
const RISK: u32 = 56;
const RANK: u32 = 58;

impl Task {
    /// The least comes first: what is most dearly waited for, then what waits for a decision about the gravest risk, and
    /// among equals what a clock ends first. It changes only when the task does, so that it can be stored with it.
    pub fn urgency(&self) -> i64 {
        let ends = if self.state.is_undecided() { self.decide_by() } else { self.next_due() };
        let ends = ends.map_or(LAST, |at| at.as_microsecond().clamp(0, LAST));
        (self.rank() << RANK) | (self.gravity() << RISK) | ends
    }

    /// 0 is gravest, 2 least. What is about no case, or decided, is not ordered by it.
    fn gravity(&self) -> i64 {
        match self.risk.filter(|_| self.state.is_undecided()) {
            None | Some(Risk::High) => 0,
            Some(Risk::Medium | Risk::Unknown) => 1,
            Some(Risk::Low) => 2,
        }
    }

    /// A secret that one browser waits for; unknown outcomes; parked and unnamed people, and what somebody asked for by
    /// hand; what nobody decided in time;
    /// decisions; work by hand; what machines are at; the rest.
    fn rank(&self) -> i64 {
        match (&self.state, self.kind) {
            (state, _) if state.is_terminal() => 7,
            (State::Sealed { .. }, _) => 0,
            (State::Approved { .. }, _) if self.reveals() && !self.shadow => 0,
            (State::Unknown { .. }, _) => 1,
            (state, Kind::Release | Kind::Held | Kind::Order) if state.is_undecided() => 2,
            (State::Escalated { .. }, _) => 3,
            (State::Pending, Kind::Manual) => 5,
            (State::Pending, _) => 4,
            _ => 6,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::super::sample;
    use super::*;

    #[test]
    fn what_ends_sooner_is_more_urgent_and_what_nothing_ends_is_least() {
        let base = sample::plain();
        let within = |span| {
            let mut task = base.clone();
            task.policy.decide_within = span;
            task.urgency()
        };
        let (soon, late) = (within(Some(SignedDuration::from_mins(5))), within(Some(SignedDuration::from_hours(5))));
        assert!(0 < soon && soon < late && late < within(None));
        let mut done = base.clone();
        done.state = State::Expired { at: Timestamp::UNIX_EPOCH };
        assert!(done.urgency() > within(None));
        let mut held = base;
        held.kind = Kind::Held;
        assert!(held.urgency() < soon, "parked and unnamed people go before decisions");
        held.created_at = Timestamp::MIN;
        assert!(held.urgency() > 0, "no instant turns the order around");
    }

    #[test]
    fn a_graver_risk_goes_first_among_equals_and_newer_evidence_may_raise_it() {
        let mut task = sample::plain();
        let of = |risk| Task { risk: Some(risk), ..sample::plain() };
        let sorted = [Risk::High, Risk::Medium, Risk::Low].map(|risk| of(risk).urgency());
        assert!(sorted.is_sorted() && sorted[0] < sorted[2]);
        assert_eq!(of(Risk::Unknown).urgency(), of(Risk::Medium).urgency(), "nobody said how sure they are");
        task.risk = Some(Risk::Low);
        let soon = SignedDuration::from_mins(1);
        task.policy.decide_within = Some(soon);
        assert!(of(Risk::High).urgency() < task.urgency(), "a clock orders what is equally grave only");
        let before = task.revision;
        task.apply(super::super::Event::NewerEvidence { risk: Risk::High, acute: true }, sample::at(0))
            .expect("always taken");
        assert!(task.urgency() < of(Risk::High).urgency());
        assert_eq!(task.revision, before, "noise holds off no decision");
        let held = Task { kind: Kind::Held, risk: Some(Risk::Low), ..sample::plain() };
        assert!(held.urgency() < task.urgency(), "what is waited for more dearly goes before the graver");
    }
}
