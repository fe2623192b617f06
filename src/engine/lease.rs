//! The lease of this process: while it lives, nobody else judges or repeats what was begun under it (contract §13.3).
//!
//! An era is one lease from its taking to its loss. Lanes, calls and claims belong to an era and end with it; the
//! engine then begins another. The embedded store has one era: its lock file ends with the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Inner, lock};
use crate::graph::{SendBy, since_boot};
use crate::store::{Epoch, LEASE};

/// Renewed this often.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// Nothing is sent in the last part of a lease: what is written now must be on its way before the end.
const MARGIN: Duration = Duration::from_millis(300);

/// One lease.
#[derive(Debug)]
pub(super) struct Era {
    pub epoch: Epoch,
    /// Cancelled when the lease is lost, or the process' work is.
    pub ended: CancellationToken,
    /// Nanoseconds since boot; `u64::MAX` where nobody else can take over.
    sends_until: AtomicU64,
}

fn nanos(since_boot: Duration) -> u64 {
    u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX)
}

impl Era {
    fn new(epoch: Epoch, ended: CancellationToken, taken: Option<Duration>) -> Self {
        let era = Self { epoch, ended, sends_until: AtomicU64::new(u64::MAX) };
        if let Some(taken) = taken {
            era.extend(taken);
        }
        era
    }

    /// The lease was asked for at `asked` and granted.
    fn extend(&self, asked: Duration) {
        self.sends_until.store(nanos((asked + LEASE).saturating_sub(MARGIN)), Ordering::Relaxed);
    }

    fn is_spent(&self) -> bool {
        nanos(since_boot()) >= self.sends_until.load(Ordering::Relaxed)
    }

    /// The last instant at which a call that is prepared now may leave.
    pub(super) fn send_by(&self) -> SendBy {
        let here = since_boot() + LEASE.saturating_sub(MARGIN);
        SendBy::at(here.min(Duration::from_nanos(self.sends_until.load(Ordering::Relaxed))))
    }
}

impl Inner {
    pub(super) fn era(&self) -> Arc<Era> {
        Arc::clone(&self.era.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.era().epoch
    }

    /// Takes a lease and makes it the era of everything that begins from now on.
    pub(super) async fn begin_era(&self) -> Result<(), crate::store::Error> {
        let asked = since_boot();
        let epoch = self.store.begin_epoch().await?;
        let taken = self.store.is_shared().then_some(asked);
        let era = Arc::new(Era::new(epoch, self.killed.child_token(), taken));
        *self.era.write().unwrap_or_else(PoisonError::into_inner) = era;
        Ok(())
    }

    /// The lease is lost: what was begun under it ends here and goes on elsewhere.
    pub(super) fn fence(&self, era: &Era) {
        if !era.ended.is_cancelled() {
            self.telemetry.lease_lost(era.epoch.0);
            lock(&self.leading).clear();
            era.ended.cancel();
        }
    }
}

/// The era before the first: nothing lives in it.
pub(super) fn none() -> Arc<Era> {
    let ended = CancellationToken::new();
    ended.cancel();
    Arc::new(Era::new(Epoch(-1), ended, None))
}

/// Keeps the lease; when it is lost, gives everything back and begins another era.
pub(super) async fn keep(inner: Arc<Inner>) {
    if !inner.store.is_shared() {
        return;
    }
    let mut failures = 0;
    loop {
        let era = inner.era();
        tokio::select! {
            () = tokio::time::sleep(RENEW_EVERY) => {}
            () = era.ended.cancelled() => {}
        }
        if inner.is_dead() || inner.tasks.is_closed() && lock(&inner.lanes).is_empty() {
            return;
        }
        if !era.ended.is_cancelled() {
            renew(&inner, &era).await;
        }
        if !era.ended.is_cancelled() {
            continue;
        }
        inner.queue.rest().await;
        match inner.begin_era().await {
            Ok(()) => {
                failures = 0;
                inner.begun.notify_one();
                inner.due.notify_one();
            }
            Err(error) => {
                inner.telemetry.store_error("lease.begin", &error);
                if inner.pause_after_failure(&mut failures).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A store that does not answer in time is asked again; a lease that nobody can vouch for any more is lost.
async fn renew(inner: &Inner, era: &Era) {
    let asked = since_boot();
    match tokio::time::timeout(RENEW_EVERY, inner.store.renew(era.epoch)).await {
        Ok(Ok(true)) => era.extend(asked),
        Ok(Ok(false)) => inner.fence(era),
        Ok(Err(error)) => inner.telemetry.store_error("lease.renew", &error),
        Err(_) => tracing::warn!("the store did not answer a renewal of the lease in time"),
    }
    if era.is_spent() {
        inner.fence(era);
    }
}
