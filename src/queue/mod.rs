//! Signals between receipt and intake. A queue carries signals only until intake commits; from then on the store owns
//! the work. `accept` returns once the delivery is durable; a claim is settled after the intake's commit.

pub mod amqp;
mod embedded;
#[cfg(test)]
mod sample;

use async_trait::async_trait;
use jiff::Timestamp;

pub use self::amqp::Amqp;
pub use self::embedded::Embedded;
use crate::domain::Signal;
use crate::store::{self, Acceptance, Audit, Op, Receipt};

/// Why the queue did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the delivery could not be made durable")]
    NotDurable(#[source] store::Error),
    /// Broker and spool are away or full.
    #[error("the delivery could not be made durable: {0}")]
    Away(String),
    #[error("the queue could not be read")]
    Unreadable(#[source] store::Error),
}

/// How a backend ends a claim; exactly one of `settle` and `give_back` is called, once.
pub trait Handle: Send + Sync + std::fmt::Debug {
    /// The operations that belong to the intake's transaction: they take the signal off a queue in the store, or keep
    /// what came with it over a broker.
    fn take_off(&self) -> Vec<Op>;

    /// Puts the signal back, not before `due_at`, where the queue is in the store.
    fn put_back(&self, _due_at: Timestamp) -> Option<Op> {
        None
    }

    /// The intake's transaction is durable: a broker is told now.
    fn settle(&self);

    /// Nothing was written: the signal must come again, here or elsewhere.
    fn give_back(&self);
}

/// A signal taken from the queue by this process, until it is settled or dropped (then it comes again).
#[derive(Debug)]
pub struct Claim {
    pub signal: Signal,
    handle: Option<Box<dyn Handle>>,
}

impl Claim {
    pub fn new(signal: Signal, handle: Box<dyn Handle>) -> Self {
        Self { signal, handle: Some(handle) }
    }

    /// See [`Handle::take_off`].
    pub fn take_off(&self) -> Vec<Op> {
        self.handle.as_ref().map(|handle| handle.take_off()).unwrap_or_default()
    }

    /// The operation that puts the signal back, not before `due_at`.
    pub fn requeue(&self, due_at: Timestamp) -> Option<Op> {
        self.handle.as_ref()?.put_back(due_at)
    }

    /// The intake's transaction was committed: the claim is over.
    pub fn done(mut self) {
        if let Some(handle) = self.handle.take() {
            handle.settle();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.give_back();
        }
    }
}

/// How a queue fares, for `/readyz` and `/metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// False while deliveries cannot be made durable, or none can be fetched.
    pub ok: bool,
    /// What is wrong, or a word about it.
    pub detail: String,
    /// Messages on the broker; `None` where the store counts (or nobody can).
    pub depth: Option<u64>,
    /// Deliveries in the spool, and the bytes it takes.
    pub spooled: u64,
    pub spool_bytes: u64,
}

/// The queue contract.
#[async_trait]
pub trait Queue: Send + Sync + std::fmt::Debug {
    /// Makes a delivery durable.
    ///
    /// # Errors
    /// `NotDurable`: the sender must be told to come again (503).
    async fn accept(&self, acceptance: Acceptance) -> Result<Receipt, Error>;

    /// Waits until at least one signal is due and claims up to `limit`.
    ///
    /// # Errors
    /// `Unreadable`: try again later; nothing is lost.
    async fn claim(&self, limit: usize) -> Result<Vec<Claim>, Error>;

    /// Something may have been put on the queue by another way in: this process looks. A hint.
    fn nudge(&self);

    /// Work became due in the store: workers elsewhere look. A hint, sent after the commit, which may be lost.
    fn wake(&self) {}

    /// Resolves when such a hint came in.
    async fn woken(&self) {
        std::future::pending().await
    }

    /// The store is away: gives everything back and fetches nothing until `claim` is called again. Claims in hand are
    /// void.
    async fn rest(&self) {}

    /// Carries a line of the audit trail to where there is a store.
    ///
    /// # Errors
    /// `NotDurable`: keep it and try again.
    async fn report(&self, audit: Audit) -> Result<(), Error>;

    fn condition(&self) -> Condition;
}
