//! When to try again: a schedule is a value, asked by the client (reads, tokens) and by the engine (effects).
//!
//! Full jitter over an exponential ceiling; `Retry-After` wins. Decides only *when*; *whether* is the disposition's.
//! `backon` supplies the ceiling. Its iterators are run to the attempt asked for instead of being kept: the delay of
//! attempt n must be known after a restart, without the n-1 before it.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;

/// No wait asked for by a server is honoured beyond this: a wrong header must not hold a containment for a day.
pub const RETRY_AFTER_CAP: Duration = Duration::from_secs(300);

/// By this attempt every schedule here has reached its cap.
const LAST_RISE: u32 = 16;

/// Waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    base: Duration,
    cap: Duration,
    /// Waits there are at most; `None` = never gives up.
    retries: Option<u32>,
}

impl Schedule {
    /// 0.2 s · 2ⁿ, capped at 30 s, for ever: containment never gives up.
    pub const fn containment() -> Self {
        Self { base: Duration::from_millis(200), cap: Duration::from_secs(30), retries: None }
    }

    /// Steps other than containment: 0.5 s · 2ⁿ, capped at 60 s, as many as the step has attempts left.
    pub const fn step(retries: u32) -> Self {
        Self { base: Duration::from_millis(500), cap: Duration::from_secs(60), retries: Some(retries) }
    }

    /// Reads, within their deadline: 0.2 s · 2ⁿ, capped at 5 s, five times.
    pub const fn read() -> Self {
        Self { base: Duration::from_millis(200), cap: Duration::from_secs(5), retries: Some(5) }
    }

    /// Tokens, within the deadline of the call that needs one: 0.1 s · 2ⁿ, capped at 2 s, three times.
    pub const fn token() -> Self {
        Self { base: Duration::from_millis(100), cap: Duration::from_secs(2), retries: Some(3) }
    }

    /// The wait after failed attempt `attempt` (0 = the first); `None` = give up. `jitter` lies in 0..=1 ([`jitter`]).
    pub fn delay(&self, attempt: u32, retry_after: Option<Duration>, jitter: f64) -> Option<Duration> {
        if self.retries.is_some_and(|most| attempt >= most) {
            return None;
        }
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 1.0 };
        if let Some(asked) = retry_after {
            // Never earlier than asked; a little later, so that a crowd that was told the same does not return as one.
            return Some(asked.min(RETRY_AFTER_CAP) + self.base.mul_f64(jitter));
        }
        Some(self.ceiling(attempt).mul_f64(jitter))
    }

    fn ceiling(&self, attempt: u32) -> Duration {
        let doubling = ExponentialBuilder::new()
            .with_factor(2.0)
            .with_min_delay(self.base)
            .with_max_delay(self.cap)
            .without_max_times();
        let delay = doubling.build().nth(attempt.min(LAST_RISE) as usize).unwrap_or(self.cap);
        // backon multiplies in single precision; whole milliseconds take the noise away.
        Duration::from_secs_f64((delay.as_secs_f64() * 1_000.0).round() / 1_000.0).min(self.cap)
    }
}

/// A draw for [`Schedule::delay`].
pub fn jitter() -> f64 {
    rand::random::<f64>()
}

/// Reads a `Retry-After`: seconds or an HTTP date; `None` when it says neither. Bounded by [`RETRY_AFTER_CAP`].
pub(super) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        let most = RETRY_AFTER_CAP.as_secs_f64();
        return (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(most)));
    }
    let until = http_date(header)?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO).min(RETRY_AFTER_CAP))
}

/// Parses `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    if text.len() > 64 {
        return None;
    }
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_containment_never_gives_up() {
        let schedule = Schedule::containment();
        let at = |n| schedule.delay(n, None, 1.0).expect("never gives up");
        assert_eq!(at(0), Duration::from_millis(200));
        assert_eq!(at(3), Duration::from_millis(1600));
        assert_eq!(at(9), Duration::from_secs(30));
        assert_eq!(at(u32::MAX), Duration::from_secs(30));
        assert_eq!(schedule.delay(5, None, 0.0), Some(Duration::ZERO), "full jitter starts at zero");
    }

    #[test]
    fn a_read_gives_up_after_its_retries() {
        assert!(Schedule::read().delay(4, None, 0.5).is_some());
        assert_eq!(Schedule::read().delay(5, None, 0.5), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_nothing_else() {
        let now: Timestamp = "2026-11-20T08:00:00Z".parse().expect("an instant");
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("0.5", now), Some(Duration::from_millis(500)));
        assert_eq!(retry_after("Fri, 20 Nov 2026 08:00:09 GMT", now), Some(Duration::from_secs(9)));
        assert_eq!(retry_after("Fri, 20 Nov 2026 07:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999999999", now), Some(RETRY_AFTER_CAP));
        for bad in ["", "soon", "-1", "NaN", "inf", "1;2", &"9".repeat(400)] {
            assert!(retry_after(bad, now).is_none_or(|wait| wait <= RETRY_AFTER_CAP), "{bad}");
        }
        assert_eq!(retry_after("soon", now), None);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_shorter_than_asked_and_never_longer_than_the_cap(n in 0u32..100, asked in 0u64..400, draw in 0.0f64..=1.0) {
            let schedule = Schedule::containment();
            let plain = schedule.delay(n, None, draw).expect("never gives up");
            prop_assert!(plain <= Duration::from_secs(30));
            let asked = Duration::from_secs(asked);
            let told = schedule.delay(n, Some(asked), draw).expect("never gives up");
            prop_assert!(told >= asked.min(RETRY_AFTER_CAP));
            prop_assert!(told <= RETRY_AFTER_CAP + Duration::from_millis(200));
        }
    }
}
