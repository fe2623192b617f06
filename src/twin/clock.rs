//! The tenant's clock, the order of its events, and the ids that follow from its seed.
//!
//! The one place of the twin that reads the wall clock. Times are UTC milliseconds; what came first is decided by
//! the sequence, never by comparing times, so that two events in one millisecond still have an order.

use jiff::Timestamp;
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use uuid::Uuid;

/// Wall time plus the tenant's skew, and a counter of events.
#[derive(Debug)]
pub(super) struct Clock {
    seed: u64,
    skew_ms: AtomicI64,
    events: AtomicU64,
}

impl Clock {
    pub(super) fn new(seed: u64, skew_ms: i64) -> Self {
        Clock { seed, skew_ms: AtomicI64::new(skew_ms), events: AtomicU64::new(1) }
    }

    /// The tenant's time in milliseconds.
    #[allow(clippy::disallowed_methods, reason = "the simulated tenant has a clock of its own, read only here")]
    pub(super) fn now(&self) -> i64 {
        Timestamp::now().as_millisecond().saturating_add(self.skew_ms.load(Ordering::Relaxed))
    }

    pub(super) fn set_skew(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }

    /// The next event's number; later events have higher numbers.
    pub(super) fn tick(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed)
    }

    /// A fresh id, cheap and deterministic in sequence.
    pub(super) fn fresh_id(&self) -> Uuid {
        seeded_id(self.seed, 0xF5E5_0000_0000_0000 ^ self.tick())
    }
}

/// Object id of the `index`-th ordinary user (from 1) of a tenant with this seed.
#[must_use]
pub fn person_id(seed: u64, index: usize) -> Uuid {
    seeded_id(seed, index as u64)
}

/// An id that follows from a seed and a number.
pub(super) fn seeded_id(seed: u64, number: u64) -> Uuid {
    let high = mix(seed ^ 0x6f75_7374).wrapping_add(mix(number));
    let pair = (u128::from(mix(high)) << 64) | u128::from(mix(high ^ number.rotate_left(17)));
    uuid::Builder::from_random_bytes(pair.to_be_bytes()).into_uuid()
}

/// A number for a name, so that special users have stable ids.
pub(super) fn name_number(name: &str) -> u64 {
    name.bytes().fold(0x5EED_0000_0000_0001, |sum, byte| mix(sum ^ u64::from(byte)))
}

/// splitmix64's finaliser.
pub(super) fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The cloud SID that encodes an object id: four little-endian 32-bit parts (facts: sentinel §1.1).
#[must_use]
pub fn cloud_sid(id: Uuid) -> String {
    let bytes = id.to_bytes_le();
    let part = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    format!("S-1-12-1-{}-{}-{}-{}", part(0), part(4), part(8), part(12))
}

/// RFC 3339 in UTC, as Graph writes it.
pub(super) fn iso(ms: i64) -> String {
    instant(ms).to_string()
}

pub(super) fn instant(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// An HTTP `Date`.
pub(super) fn http_date(ms: i64) -> String {
    instant(ms).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A duration as milliseconds that cannot overflow a time.
pub(super) fn millis(span: u64) -> i64 {
    i64::try_from(span).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

pub(super) fn pause(ms: u64) -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_millis(ms.min(3_600_000)))
}

/// A mutex whose holder panicked still holds plain data: go on with it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
