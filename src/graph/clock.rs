//! The clock of `send_by`: it counts while the machine sleeps, so that a lease lost over a suspension is noticed.

use std::fmt;
use std::time::Duration;

/// The last instant at which a request may be written, on a clock that counts suspension (contract §13.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SendBy(Duration);

impl SendBy {
    /// So far from now.
    pub fn within(span: Duration) -> Self {
        Self(since_boot().saturating_add(span))
    }

    /// At a reading of [`since_boot`].
    pub fn at(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// True when nothing may be written any more.
    pub fn passed(self) -> bool {
        since_boot() >= self.0
    }

    /// What is left; zero when passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_sub(since_boot())
    }
}

impl fmt::Debug for SendBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendBy(in {:?})", self.remaining())
    }
}

/// Time since boot, suspension included.
pub fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    // Elsewhere the monotonic clock is the nearest there is; macOS's own counts suspension.
    #[cfg(not(target_os = "linux"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(CLOCK);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_by_of_now_has_passed_and_one_of_later_has_not() {
        assert!(SendBy::within(Duration::ZERO).passed());
        let later = SendBy::within(Duration::from_secs(60));
        assert!(!later.passed());
        assert!(later.remaining() > Duration::from_secs(59));
        assert!(SendBy::at(Duration::ZERO).passed());
    }
}
