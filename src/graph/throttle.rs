//! Graph's limits, respected before they are hit: rate gates per tenant, and who may speak while Graph says 429.
//!
//! Everything waits at most until the caller's deadline and says so at once when that will not do.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::config::Limit;

/// The wait would outlast the caller's deadline.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy {
    /// When it would be worth asking again.
    pub after: Duration,
}

/// At most so many calls in any window of time, exactly (facts: graph §6: 1/s identity protection, 5/10 s reports).
#[derive(Debug)]
pub(super) struct Gate {
    limit: Limit,
    granted: Mutex<VecDeque<Instant>>,
}

impl Gate {
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, granted: Mutex::new(VecDeque::new()) }
    }

    /// Waits for a turn.
    pub(super) async fn pass(&self, deadline: Instant) -> Result<(), Busy> {
        let turn = self.reserve(Instant::now(), deadline)?;
        tokio::time::sleep_until(turn).await;
        Ok(())
    }

    fn reserve(&self, now: Instant, deadline: Instant) -> Result<Instant, Busy> {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = usize::try_from(self.limit.calls.max(1)).unwrap_or(1);
        let turn = match granted.front() {
            Some(oldest) if granted.len() >= calls => now.max(*oldest + self.limit.per),
            _ => now,
        };
        if turn > deadline {
            return Err(Busy { after: turn - now });
        }
        if granted.len() >= calls {
            granted.pop_front();
        }
        granted.push_back(turn);
        Ok(turn)
    }
}

/// What Graph said on the users' workload: while a `Retry-After` runs, the normal lane waits and containment goes on
/// one call at a time.
#[derive(Debug)]
pub(super) struct Brake {
    until: Mutex<Option<Told>>,
    probe: Semaphore,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    /// The normal lane waits for this.
    normal: Instant,
    /// The next probe of the priority lane waits for this.
    probe: Instant,
}

/// What Graph's 429 without `Retry-After` is taken to mean.
const UNTOLD: Duration = Duration::from_secs(1);
/// Containment asks again after this at the latest, whatever `Retry-After` says: somebody is being robbed.
const PROBE_EVERY: Duration = Duration::from_secs(1);

impl Brake {
    pub(super) fn new() -> Self {
        Self { until: Mutex::new(None), probe: Semaphore::new(1) }
    }

    /// Waits for leave to send; a permit is held over the call when it is a probe.
    pub(super) async fn pass(&self, priority: bool, deadline: Instant) -> Result<Option<SemaphorePermit<'_>>, Busy> {
        let Some(told) = self.told(Instant::now()) else { return Ok(None) };
        if !priority {
            wait(told.normal, deadline).await?;
            return Ok(None);
        }
        let permit = match tokio::time::timeout_at(deadline, self.probe.acquire()).await {
            Ok(Ok(permit)) => permit,
            // The semaphore is never closed; its other error is the deadline.
            Ok(Err(_)) | Err(_) => return Err(Busy { after: PROBE_EVERY }),
        };
        if let Some(told) = self.told(Instant::now()) {
            wait(told.probe, deadline).await?;
        }
        Ok(Some(permit))
    }

    /// Graph answered 429.
    pub(super) fn throttled(&self, now: Instant, retry_after: Option<Duration>) {
        let wait = retry_after.unwrap_or(UNTOLD);
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let normal = until.map_or(now + wait, |told| told.normal.max(now + wait));
        *until = Some(Told { normal, probe: now + wait.min(PROBE_EVERY) });
    }

    /// Graph answered something else to the priority lane: the next probe need not wait.
    pub(super) fn answered(&self, now: Instant) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = until.as_mut() {
            told.probe = now;
        }
    }

    fn told(&self, now: Instant) -> Option<Told> {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|told| told.normal <= now) {
            *until = None;
        }
        *until
    }
}

async fn wait(until: Instant, deadline: Instant) -> Result<(), Busy> {
    if until > deadline {
        return Err(Busy { after: until.saturating_duration_since(Instant::now()) });
    }
    tokio::time::sleep_until(until).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn no_window_ever_holds_more_calls_than_the_limit() {
        let gate = Gate::new(Limit { calls: 5, per: 10 * SECOND });
        let start = Instant::now();
        let turns: Vec<Instant> = (0..17u32)
            .map(|n| gate.reserve(start + SECOND * n / 7, start + 100 * SECOND).expect("time enough"))
            .collect();
        assert!(turns.windows(6).all(|six| six[5] - six[0] >= 10 * SECOND));
        assert_eq!(turns[4], start + SECOND * 4 / 7, "a burst up to the limit does not wait");
    }

    #[test]
    fn a_wait_beyond_the_deadline_is_refused_at_once_and_takes_no_turn() {
        let gate = Gate::new(Limit { calls: 1, per: SECOND });
        let start = Instant::now();
        assert_eq!(gate.reserve(start, start), Ok(start));
        assert_eq!(gate.reserve(start, start + SECOND / 2), Err(Busy { after: SECOND }));
        assert_eq!(gate.reserve(start, start + SECOND), Ok(start + SECOND), "the refused call took no turn");
    }

    #[test]
    fn a_server_that_asks_to_wait_holds_the_normal_lane_and_only_spaces_the_probes() {
        let brake = Brake::new();
        let start = Instant::now();
        assert!(brake.told(start).is_none());
        brake.throttled(start, Some(20 * SECOND));
        let told = brake.told(start).expect("held");
        assert_eq!((told.normal, told.probe), (start + 20 * SECOND, start + SECOND));
        brake.throttled(start, None);
        assert_eq!(brake.told(start).expect("held").normal, start + 20 * SECOND, "never shortened");
        brake.answered(start);
        assert_eq!(brake.told(start).expect("held").probe, start, "an answered probe lets the next go at once");
        assert!(brake.told(start + 20 * SECOND).is_none());
    }

    #[tokio::test]
    async fn while_graph_throttles_containment_goes_first_and_one_at_a_time() {
        let brake = Brake::new();
        let start = Instant::now();
        brake.throttled(start, Some(20 * SECOND));
        brake.answered(start);
        assert!(brake.pass(false, start + 5 * SECOND).await.is_err(), "the normal lane has no time to wait it out");
        let permit = brake.pass(true, start + 5 * SECOND).await.expect("containment goes");
        assert!(permit.is_some(), "as a probe");
        assert!(brake.pass(true, Instant::now()).await.is_err(), "one at a time");
        drop(permit);
        assert!(brake.pass(true, start + 5 * SECOND).await.is_ok());
    }
}
