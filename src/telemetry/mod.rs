//! Seeing: one vocabulary of operational events (a word emits log line and metric under the same names), trace context
//! that travels over the queue, and the subscriber that installs it all.
//!
//! Callers use words, never tracing macros with fields of their own. People appear by object id only; bodies, names,
//! titles, reasons and secrets have no parameter here through which they could get in.

mod broker;
mod events;
mod metrics;
mod people;
mod said;
mod subscriber;
mod tally;
mod trace;

pub use events::{GraphCall, Revoked, Step};
pub use metrics::CONTENT_TYPE;
pub use said::Said;
pub use subscriber::{Config, Error, Guard, Log, install};
pub use tally::{Deliveries, Polled, Throttled};
pub use trace::{current_traceparent, set_parent};

use std::fmt;
use std::sync::Arc;

use metrics::Metrics;

/// The metrics of one process and the words that count them. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Metrics>);

impl Telemetry {
    /// Metrics at zero, in a registry of their own.
    pub fn new() -> Self {
        Self(Arc::new(Metrics::new()))
    }

    /// The metrics as `OpenMetrics` text, to be served as [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        self.0.render()
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry")
    }
}
