//! Signals between receipt and intake. A queue carries signals only until intake commits; from then on the store owns
//! the work. `accept` returns once the delivery is durable; a claim is settled after the intake's commit.

mod embedded;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

pub use self::embedded::Embedded;
use self::embedded::Held;

use crate::domain::Signal;
use crate::store::{self, Acceptance, Op, Receipt};

/// Why the queue did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the delivery could not be made durable")]
    NotDurable(#[source] store::Error),
    #[error("the queue could not be read")]
    Unreadable(#[source] store::Error),
}

/// A signal taken from the queue by this process, until it is settled or dropped (then it comes again).
#[derive(Debug)]
pub struct Claim {
    pub signal: Signal,
    seq: i64,
    /// Where the claim is settled, or given back to when it is dropped.
    held: Option<Arc<Held>>,
}

impl Claim {
    /// The operation that takes the signal off the embedded queue within the intake's transaction; a broker-backed
    /// claim has none and is acknowledged by `done`.
    pub fn dequeue(&self) -> Option<Op> {
        Some(Op::Dequeue(self.seq))
    }

    /// The operation that puts the signal back, not before `due_at`.
    pub fn requeue(&self, due_at: Timestamp) -> Option<Op> {
        Some(Op::Requeue { seq: self.seq, due_at })
    }

    /// The intake's transaction was committed: the claim is over.
    pub async fn done(mut self) {
        if let Some(held) = self.held.take() {
            held.settle(self.seq);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            held.give_back(self.seq);
        }
    }
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

    /// Something may have been put on the queue by another way in; a hint.
    fn nudge(&self);
}
