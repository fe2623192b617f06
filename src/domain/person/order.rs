//! What a person orders by hand: which orders make sense now, and carrying out those that were approved.

use super::super::ids::TaskId;
use super::super::run::Mode;
use super::super::task::Order;
use super::Person;

/// Why an order makes no sense now. Texts are shown as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    #[error("{what} ({task})")]
    AlreadyAsked { task: TaskId, what: &'static str },
    #[error("{0}")]
    Unfit(String),
}

impl Person {
    /// The orders that make sense for the open case now.
    pub fn offers(&self, _mode: Mode) -> Vec<Order> {
        Vec::new()
    }

    /// Whether an order makes sense now.
    ///
    /// # Errors
    /// Why not.
    pub fn may_be_ordered(&self, _order: &Order, _mode: Mode) -> Result<(), NotNow> {
        Err(NotNow::Unfit("orders cannot be carried out yet".to_owned()))
    }
}
