//! In which order people should look at open tasks.

use super::{Kind, State, Task};

/// Microseconds until the year 4253; what no clock ends comes after what one does.
const LAST: i64 = (1 << 56) - 1;

impl Task {
    /// The least comes first: what is most dearly waited for, and among equals what a clock ends first. It changes only
    /// when the task does, so that it can be stored with it.
    pub fn urgency(&self) -> i64 {
        let ends = if self.state.is_undecided() { self.decide_by() } else { self.next_due() };
        let ends = ends.map_or(LAST, |at| at.as_microsecond().clamp(0, LAST));
        (self.rank() << 56) | ends
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
}
