//! A person whom another worker holds: what came in here is laid before that worker, and what was laid before us is taken in.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::{Gone, Lane, Origin};
use crate::domain::person::Orphans;
use crate::engine::intake::Held;
use crate::engine::record::Turn;
use crate::store::{self, Lane as Priority, Owner};

impl Lane {
    /// Whether this worker may work on the person, and what open intents mean then.
    pub(super) fn may_own(&mut self, owner: Option<Owner>) -> bool {
        match owner {
            Some(owner) if owner.epoch == self.epoch() => true,
            Some(Owner { ended: None, .. }) => false,
            Some(Owner { ended: Some(ago), .. }) => {
                self.succeed(ago);
                true
            }
            None => true,
        }
    }

    /// What is left open was begun by a worker whose lease ended so long ago.
    pub(super) fn succeed(&mut self, ago: Duration) {
        let at = self.inner.now() - SignedDuration::try_from(ago).unwrap_or(SignedDuration::ZERO);
        self.orphans = if self.inner.store.is_shared() { Orphans::LeaseEnded(at) } else { Orphans::Dead };
    }

    /// Takes in what other workers laid before us.
    pub(super) async fn take_forwarded(&mut self, turn: &mut Turn) -> Result<(), Gone> {
        for signal in std::mem::take(&mut self.forwarded) {
            if turn.signals.iter().any(|row| row.signal.id == signal.id) {
                continue;
            }
            let held = Held { origin: Origin::Forwarded(signal.id), signal, attempt: 0 };
            match self.inner.arrange(held) {
                Ok(incoming) => self.take_signal(incoming, turn).await?,
                Err(unchosen) => {
                    let inner = Arc::clone(&self.inner);
                    self.inner.tasks.spawn(async move { inner.unchosen(unchosen.0, &unchosen.1).await });
                }
            }
        }
        Ok(())
    }

    /// Lays what came in before the worker that holds the person; what is due there it knows itself.
    pub(super) async fn forward(&mut self, mut turn: Turn) -> Result<(), Gone> {
        let mut failures = 0;
        loop {
            let Some(record) = self.foreign.take() else {
                // Nobody holds them any more: from the start, by the claims.
                return Err(Gone);
            };
            let Some(batch) = turn.forward(record, &self.identity, self.epoch(), self.inner.now()) else { break };
            match self.inner.store.commit(Priority::Containment, batch).await {
                Ok(()) => break,
                Err(store::Error::Repeated(signal)) => turn.forget(signal),
                Err(store::Error::Conflict(_)) => {}
                Err(store::Error::Fenced) => {
                    self.inner.fence(&self.era);
                    return Err(Gone);
                }
                Err(error) => {
                    self.inner.telemetry.store_error("signal.forward", &error);
                    self.inner.pause_after_failure(&mut failures).await.map_err(|()| Gone)?;
                }
            }
            self.reload().await?;
        }
        for claim in turn.claims.drain(..) {
            claim.done();
        }
        Err(Gone)
    }
}
