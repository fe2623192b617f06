//! The metrics by name (contract §11). Counters get their `_total` in the text.
//!
//! Label values are words of closed vocabularies or configured names, never what a sender wrote.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::said::Said;
use super::tally::Tally;

/// `Content-Type` of [`super::Telemetry::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A gauge of seconds.
pub(super) type Seconds = Gauge<f64, AtomicU64>;
type Timings<L> = Family<L, Histogram, fn() -> Histogram>;

macro_rules! labels {
    ($($name:ident { $($label:ident),+ })+) => {$(
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name { $(pub(super) $label: String),+ }

        impl $name {
            pub(super) fn of($($label: impl Into<String>),+) -> Self {
                Self { $($label: $label.into()),+ }
            }
        }
    )+};
}
labels! {
    BySource { source, outcome }
    ByState { state }
    ByKind { kind }
    ByAction { action, result }
    ByActionOnly { action }
    ByOperation { operation, status }
    ByOperationOnly { operation }
    ByVerdict { kind, verdict }
    ByReason { reason }
    ByTenant { tenant }
    ByHop { hop }
    ByDuty { duty }
    ByLink { link }
    ByPoll { tenant, collection }
}

/// From receipt (or call) to the answer.
const FAST: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// From activity to receipt: minutes to days, and not ours.
const LAG: [f64; 10] = [1.0, 10.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

fn fast() -> Histogram {
    Histogram::new(FAST)
}

pub(super) struct Metrics {
    registry: Registry,
    pub(super) tally: Tally,
    pub(super) said: Said,
    pub(super) time_to_revoke: Histogram,
    pub(super) detection_lag: Histogram,
    pub(super) deliveries: Family<BySource, Counter>,
    pub(super) signals: Family<BySource, Counter>,
    pub(super) queue_depth: Gauge,
    pub(super) queue_oldest: Seconds,
    pub(super) cases: Family<ByState, Gauge>,
    pub(super) runs: Family<ByState, Gauge>,
    pub(super) steps: Family<ByAction, Counter>,
    pub(super) step_time: Timings<ByActionOnly>,
    pub(super) tasks_open: Family<ByKind, Gauge>,
    pub(super) tasks_oldest: Seconds,
    pub(super) decisions: Family<ByVerdict, Counter>,
    pub(super) decisions_refused: Family<ByReason, Counter>,
    pub(super) graph_calls: Family<ByOperation, Counter>,
    pub(super) graph_time: Timings<ByOperationOnly>,
    pub(super) graph_throttled: Counter,
    pub(super) effects_unknown: Gauge,
    pub(super) buried: Family<ByReason, Counter>,
    pub(super) buried_open: Gauge,
    pub(super) paused: Gauge,
    pub(super) break_glass_refused: Counter,
    pub(super) break_glass_group_age: Family<ByTenant, Seconds>,
    pub(super) parked: Family<ByReason, Counter>,
    pub(super) leases_lost: Counter,
    pub(super) leads: Family<ByDuty, Gauge>,
    pub(super) polled_at: Family<ByPoll, Seconds>,
    pub(super) polls_failed: Family<ByPoll, Counter>,
    pub(super) store_errors: Family<ByOperationOnly, Counter>,
    pub(super) watch_hits: Counter,
    pub(super) canary_age: Seconds,
    pub(super) canaries_lost: Family<ByHop, Counter>,
    pub(super) audit_lag: Seconds,
    pub(super) broker_connected: Family<ByLink, Gauge>,
    pub(super) broker_messages: Gauge,
    pub(super) spool_deliveries: Gauge,
    pub(super) spool_bytes: Gauge,
}

/// Registers a fresh or given metric and hands it back.
fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("oust");
        let r = &mut registry;
        Self {
            time_to_revoke: add(r, "time_to_revoke_seconds", "Receipt to the accepted revoke", fast()),
            detection_lag: add(r, "detection_lag_seconds", "Activity to receipt; the sender's", Histogram::new(LAG)),
            deliveries: add(r, "deliveries", "Deliveries by source and outcome", Family::default()),
            signals: add(r, "signals", "Signals by source and outcome", Family::default()),
            queue_depth: add(r, "queue_depth", "Deliveries waiting for intake", Gauge::default()),
            queue_oldest: add(r, "queue_oldest_seconds", "Age of the oldest waiting delivery", Seconds::default()),
            cases: add(r, "cases", "Open cases by where they stand", Family::default()),
            runs: add(r, "runs", "Runs by state", Family::default()),
            steps: add(r, "steps", "Finished steps by action and result", Family::default()),
            step_time: add(r, "step_seconds", "Time a step took", Timings::new_with_constructor(fast)),
            tasks_open: add(r, "tasks_open", "Tasks waiting for a human", Family::default()),
            tasks_oldest: add(r, "tasks_oldest_seconds", "Age of the oldest open task", Seconds::default()),
            decisions: add(r, "decisions", "Decisions of humans by kind and verdict", Family::default()),
            decisions_refused: add(r, "decisions_refused", "Refused attempts to decide", Family::default()),
            graph_calls: add(r, "graph_calls", "Calls to Microsoft Graph by status", Family::default()),
            graph_time: add(r, "graph_call_seconds", "Time a call took", Timings::new_with_constructor(fast)),
            graph_throttled: add(r, "graph_throttled", "Calls answered 429", Counter::default()),
            effects_unknown: add(r, "effects_unknown", "Effects whose outcome nobody knows yet", Gauge::default()),
            buried: add(r, "buried", "Deliveries and runs set aside", Family::default()),
            buried_open: add(r, "buried_open", "Set aside and neither replayed nor dropped", Gauge::default()),
            paused: add(r, "paused", "1 while all effects are paused", Gauge::default()),
            break_glass_refused: add(r, "break_glass_refused", "Refused break-glass effects", Counter::default()),
            break_glass_group_age: add(
                r,
                "break_glass_group_age_seconds",
                "Age of the known members of the break-glass group",
                Family::default(),
            ),
            parked: add(r, "parked", "Effects parked by a guard", Family::default()),
            leases_lost: add(r, "leases_lost", "Leases lost while working", Counter::default()),
            store_errors: add(r, "store_errors", "Failed store operations", Family::default()),
            watch_hits: add(r, "watch_hits", "Sign-ins of the thief after a revoke", Counter::default()),
            canary_age: add(r, "canary_age_seconds", "Since the last canary came through", Seconds::default()),
            canaries_lost: add(r, "canaries_lost", "Canaries that did not come through", Family::default()),
            polled_at: add(
                r,
                "poll_last_success_timestamp_seconds",
                "When a collection was last read",
                Family::default(),
            ),
            polls_failed: add(r, "polls_failed", "Polls that failed", Family::default()),
            leads: add(r, "leads", "1 where this process does a duty for all", Family::default()),
            audit_lag: add(r, "audit_lag_seconds", "Age of the oldest unchained audit record", Seconds::default()),
            broker_connected: add(
                r,
                "broker_connected",
                "1 while the connection to the broker is up",
                Family::default(),
            ),
            broker_messages: add(r, "broker_messages", "Signals ready on the broker", Gauge::default()),
            spool_deliveries: add(r, "spool_deliveries", "Deliveries waiting on disk for the broker", Gauge::default()),
            spool_bytes: add(r, "spool_bytes", "What they weigh", Gauge::default()),
            registry,
            tally: Tally::new(),
            said: Said::new(),
        }
    }

    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}
