//! The words about the broker and the spool in front of it.

use std::fmt::Display;

use tracing::{error, info, warn};

use super::Telemetry;
use super::metrics::ByLink;

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Telemetry {
    /// A connection is there; `link` is what it is for, `broker` its address without a password.
    pub fn broker_connected(&self, link: &'static str, broker: &dyn Display) {
        self.0.broker_connected.get_or_create(&ByLink::of(link)).set(1);
        info!(link, broker = %broker, "connected to the broker");
    }

    /// It is gone, and tried again; said once for each reason.
    pub fn broker_lost(&self, link: &'static str, why: &str) {
        self.0.broker_connected.get_or_create(&ByLink::of(link)).set(0);
        warn!(link, reason = why, "the broker is away");
    }

    /// Signals ready on the broker, when a worker last asked.
    pub fn broker_messages(&self, messages: u64) {
        self.0.broker_messages.set(gauge(messages));
    }

    /// What lies in the spool.
    pub fn spool(&self, deliveries: u64, bytes: u64) {
        self.0.spool_deliveries.set(gauge(deliveries));
        self.0.spool_bytes.set(gauge(bytes));
    }

    /// A row of the spool does not read back; it lies in a file of its own now.
    pub fn spool_unreadable(&self, kept: &str, why: &str) {
        error!(kept, reason = why, "a delivery in the spool is unreadable and was set aside");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_and_the_spool_are_counted() {
        let telemetry = Telemetry::new();
        telemetry.broker_connected("publishing", &"amqp://oust@localhost:5672");
        telemetry.broker_lost("fetching", "it fell silent");
        telemetry.broker_messages(7);
        telemetry.spool(3, 4_096);
        let text = telemetry.render();
        for line in [
            "oust_broker_connected{link=\"publishing\"} 1",
            "oust_broker_connected{link=\"fetching\"} 0",
            "oust_broker_messages 7",
            "oust_spool_deliveries 3",
            "oust_spool_bytes 4096",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
