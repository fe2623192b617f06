//! Graph's limits, respected before they are hit: rate gates per tenant, and who may speak while Graph says 429.
//!
//! Everything waits at most until the caller's deadline and says so at once when that will not do. Time is tokio's,
//! so that tests can hold it.

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
        let Some(told) = self.told() else { return Ok(None) };
        if !priority {
            wait(told.normal, deadline).await?;
            return Ok(None);
        }
        let permit = match tokio::time::timeout_at(deadline, self.probe.acquire()).await {
            Ok(Ok(permit)) => permit,
            // The semaphore is never closed; its other error is the deadline.
            Ok(Err(_)) | Err(_) => return Err(Busy { after: PROBE_EVERY }),
        };
        if let Some(told) = self.told() {
            wait(told.probe, deadline).await?;
        }
        Ok(Some(permit))
    }

    /// Graph answered 429.
    pub(super) fn throttled(&self, retry_after: Option<Duration>) {
        let now = Instant::now();
        let wait = retry_after.unwrap_or(UNTOLD);
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let normal = until.map_or(now + wait, |told| told.normal.max(now + wait));
        *until = Some(Told { normal, probe: now + wait.min(PROBE_EVERY) });
    }

    /// Graph answered something else to the priority lane: the next probe need not wait.
    pub(super) fn answered(&self) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = until.as_mut() {
            told.probe = Instant::now();
        }
    }

    fn told(&self) -> Option<Told> {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|told| told.normal <= Instant::now()) {
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

    #[tokio::test(start_paused = true)]
    async fn no_window_ever_holds_more_calls_than_the_limit() {
        let gate = Gate::new(Limit { calls: 5, per: 10 * SECOND });
        let start = Instant::now();
        let mut turns = Vec::new();
        for _ in 0..17 {
            gate.pass(start + 100 * SECOND).await.expect("time enough");
            turns.push(Instant::now());
        }
        assert!(turns.windows(6).all(|six| six[5] - six[0] >= 10 * SECOND));
        assert_eq!(turns[4], start, "a burst up to the limit does not wait");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_beyond_the_deadline_is_refused_at_once_and_takes_no_turn() {
        let gate = Gate::new(Limit { calls: 1, per: SECOND });
        let start = Instant::now();
        gate.pass(start).await.expect("the first goes");
        assert_eq!(gate.pass(start + SECOND / 2).await, Err(Busy { after: SECOND }));
        assert_eq!(Instant::now(), start);
        gate.pass(start + SECOND).await.expect("the refused call took no turn");
    }

    #[tokio::test(start_paused = true)]
    async fn while_graph_throttles_the_normal_lane_waits_and_containment_goes_first() {
        let brake = Brake::new();
        let start = Instant::now();
        brake.throttled(Some(20 * SECOND));
        assert!(brake.pass(false, start + 5 * SECOND).await.is_err(), "beyond its deadline");
        let permit = brake.pass(true, start + 5 * SECOND).await.expect("containment goes");
        assert!(permit.is_some(), "as a probe");
        assert!(Instant::now() - start <= SECOND);
        assert!(brake.pass(true, Instant::now() + SECOND).await.is_err(), "one probe at a time");
        drop(permit);
        brake.answered();
        let before = Instant::now();
        drop(brake.pass(true, before + SECOND).await.expect("the next probe"));
        assert_eq!(Instant::now(), before, "an answered probe lets the next go at once");
        brake.pass(false, start + 30 * SECOND).await.expect("waits it out");
        assert_eq!(Instant::now() - start, 20 * SECOND);
    }
}
