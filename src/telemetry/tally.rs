//! What this process counted since it began, as its own pages show it. `/metrics` has the same and more, for machines
//! that add up many processes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Telemetry;

/// A source's deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deliveries {
    pub accepted: u64,
    /// By reason, words of a closed list; a repetition that was recognised counts as `replay`.
    pub refused: BTreeMap<&'static str, u64>,
    /// How long ago the last one was accepted.
    pub heard: Option<Duration>,
    /// How long ago the last one was refused, and why.
    pub turned_away: Option<(Duration, &'static str)>,
}

/// Calls of one kind that Microsoft answered with 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttled {
    pub operation: &'static str,
    pub calls: u64,
    /// How long ago the last one was.
    pub last: Duration,
}

/// Reads of a collection by the poller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    pub tenant: String,
    pub collection: &'static str,
    pub succeeded: u64,
    pub failed: u64,
    /// How long ago the last one succeeded.
    pub heard: Option<Duration>,
    /// The last one failed.
    pub failing: bool,
}

#[derive(Debug, Clone, Default)]
struct Source {
    accepted: u64,
    refused: BTreeMap<&'static str, u64>,
    heard: Option<Instant>,
    turned_away: Option<(Instant, &'static str)>,
}

#[derive(Debug, Clone, Default)]
struct Poll {
    succeeded: u64,
    failed: u64,
    heard: Option<Instant>,
    failing: bool,
}

#[derive(Debug, Default)]
struct Counts {
    sources: BTreeMap<String, Source>,
    throttled: BTreeMap<&'static str, (u64, Instant)>,
    calls: u64,
    polls: BTreeMap<(String, &'static str), Poll>,
}

/// The counts; names in it are configured ones, so it stays small.
#[derive(Debug)]
pub(super) struct Tally {
    begun: Instant,
    counts: Mutex<Counts>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), counts: Mutex::default() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn accepted(&self, source: &str) {
        let mut counts = self.counts();
        let entry = of(&mut counts.sources, source);
        entry.accepted += 1;
        entry.heard = Some(Instant::now());
    }

    pub(super) fn refused(&self, source: &str, reason: &'static str) {
        let mut counts = self.counts();
        let entry = of(&mut counts.sources, source);
        *entry.refused.entry(reason).or_default() += 1;
        entry.turned_away = Some((Instant::now(), reason));
    }

    pub(super) fn called(&self, operation: &'static str, throttled: bool) {
        let mut counts = self.counts();
        counts.calls += 1;
        if throttled {
            let entry = counts.throttled.entry(operation).or_insert((0, self.begun));
            *entry = (entry.0 + 1, Instant::now());
        }
    }

    pub(super) fn polled(&self, tenant: &str, collection: &'static str, well: bool) {
        let mut counts = self.counts();
        let entry = counts.polls.entry((tenant.to_owned(), collection)).or_default();
        entry.failing = !well;
        if well {
            entry.succeeded += 1;
            entry.heard = Some(Instant::now());
        } else {
            entry.failed += 1;
        }
    }
}

/// No new text for a name that is there.
fn of<'a>(sources: &'a mut BTreeMap<String, Source>, name: &str) -> &'a mut Source {
    if !sources.contains_key(name) {
        sources.insert(name.to_owned(), Source::default());
    }
    sources.entry(name.to_owned()).or_default()
}

impl Telemetry {
    /// How long this process has been counting.
    pub fn counting_for(&self) -> Duration {
        self.0.tally.begun.elapsed()
    }

    /// Deliveries to this process by source; a name that is no configured source counts as `unknown`.
    pub fn deliveries(&self) -> BTreeMap<String, Deliveries> {
        let counts = self.0.tally.counts();
        let told = |source: &Source| Deliveries {
            accepted: source.accepted,
            refused: source.refused.clone(),
            heard: source.heard.map(|at| at.elapsed()),
            turned_away: source.turned_away.map(|(at, why)| (at.elapsed(), why)),
        };
        counts.sources.iter().map(|(name, source)| (name.clone(), told(source))).collect()
    }

    /// Calls of this process to Microsoft Graph, and those of them that were throttled, by operation.
    pub fn throttling(&self) -> (u64, Vec<Throttled>) {
        let counts = self.0.tally.counts();
        let told = |(operation, (calls, last)): (&&'static str, &(u64, Instant))| Throttled {
            operation,
            calls: *calls,
            last: last.elapsed(),
        };
        (counts.calls, counts.throttled.iter().map(told).collect())
    }

    /// Polls by this process.
    pub fn polls(&self) -> Vec<Polled> {
        let counts = self.0.tally.counts();
        let told = |((tenant, collection), poll): (&(String, &'static str), &Poll)| Polled {
            tenant: tenant.clone(),
            collection,
            succeeded: poll.succeeded,
            failed: poll.failed,
            heard: poll.heard.map(|at| at.elapsed()),
            failing: poll.failing,
        };
        counts.polls.iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_buried_is_among_what_was_not_taken() {
        let telemetry = Telemetry::new();
        telemetry.0.tally.accepted("sentinel");
        telemetry.buried("sentinel", "unknown_shape");
        let sentinel = &telemetry.deliveries()["sentinel"];
        assert_eq!((sentinel.accepted, &sentinel.refused), (1, &BTreeMap::from([("unknown_shape", 1)])));
        assert!(sentinel.turned_away.is_some_and(|(_, why)| why == "unknown_shape"), "the newest one was not taken");
    }

    #[test]
    fn what_was_counted_is_told_by_source_reason_and_operation() {
        let telemetry = Telemetry::new();
        for reason in ["no_match", "no_match", "replay"] {
            telemetry.delivery_refused("sentinel", reason);
        }
        telemetry.0.tally.accepted("sentinel");
        telemetry.0.tally.called("revoke_sign_in_sessions", true);
        telemetry.0.tally.called("revoke_sign_in_sessions", false);
        telemetry.0.tally.polled("contoso", "risk_detections", false);
        let all = telemetry.deliveries();
        let sentinel = &all["sentinel"];
        assert_eq!((sentinel.accepted, &sentinel.refused), (1, &BTreeMap::from([("no_match", 2), ("replay", 1)])));
        assert!(sentinel.heard.is_some() && sentinel.turned_away.is_some_and(|(_, why)| why == "replay"));
        let (calls, throttled) = telemetry.throttling();
        assert_eq!((calls, throttled.len(), throttled[0].calls), (2, 1, 1));
        let polls = telemetry.polls();
        assert_eq!((polls[0].failed, polls[0].succeeded, polls[0].failing), (1, 0, true));
        assert!(Telemetry::new().deliveries().is_empty(), "each process counts its own");
    }
}
