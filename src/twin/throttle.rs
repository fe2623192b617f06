//! The documented limits as sliding windows (facts: graph §6). Each can be switched off by a knob.

use super::{clock::lock, config::Knobs, reply::Fail, verb::Class};
use std::{collections::VecDeque, sync::Mutex, time::Instant};

#[derive(Debug)]
struct Window {
    limit: usize,
    seconds: u64,
    says_when: bool,
    hits: Mutex<VecDeque<Instant>>,
}

impl Window {
    fn new(limit: usize, seconds: u64, says_when: bool) -> Self {
        Window { limit, seconds, says_when, hits: Mutex::default() }
    }

    #[allow(clippy::disallowed_methods, reason = "the simulated tenant meters real time")]
    fn take(&self) -> Result<(), Fail> {
        let now = Instant::now();
        let mut hits = lock(&self.hits);
        while hits.front().is_some_and(|hit| now.duration_since(*hit).as_secs() >= self.seconds) {
            hits.pop_front();
        }
        if hits.len() < self.limit {
            hits.push_back(now);
            return Ok(());
        }
        let oldest = hits.front().map_or(0, |hit| now.duration_since(*hit).as_secs());
        Err(Fail::throttled(self.says_when.then(|| self.seconds.saturating_sub(oldest).max(1))))
    }
}

#[derive(Debug)]
pub(super) struct Throttle {
    identity_protection: Window,
    audit_logs: Window,
    security: Window,
    directory_writes: Window,
}

impl Default for Throttle {
    fn default() -> Self {
        Throttle {
            identity_protection: Window::new(1, 1, false),
            audit_logs: Window::new(5, 10, true),
            security: Window::new(150, 60, true),
            directory_writes: Window::new(3_000, 150, true),
        }
    }
}

impl Throttle {
    /// Takes one request from the budget of its class, or refuses it.
    pub(super) fn take(&self, class: Class, changes: bool, knobs: &Knobs) -> Result<(), Fail> {
        match class {
            Class::IdentityProtection if knobs.throttle_identity_protection => self.identity_protection.take(),
            Class::AuditLogs if knobs.throttle_audit_logs => self.audit_logs.take(),
            Class::Security if knobs.throttle_security => self.security.take(),
            Class::Directory if changes && knobs.throttle_directory_writes => self.directory_writes.take(),
            _ => Ok(()),
        }
    }
}
