//! What a reviewer asks for by hand in a case: written down as a task, decided by the one door, carried out by a worker.

use super::Engine;
use crate::domain::person::{NotNow, Person};
use crate::domain::run::Mode;
use crate::domain::task::{Forbidden, Order, Reviewer, Task};
use crate::domain::{CaseId, TaskId};
use crate::store;

/// An order as somebody asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub order: Order,
    /// Why; needed for everything that sends nothing.
    pub reason: Option<String>,
    /// A policy of the configuration, for a reset; `None`: that of the case's own reset, else any approver.
    pub policy: Option<String>,
    pub by: Reviewer,
}

/// Why an order was not written down. Texts are shown as they are.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("there is no such case")]
    NoSuchCase,
    #[error("this case is closed: nothing more can be ordered in it")]
    Closed,
    #[error("shadow: nothing has effects, so nothing can be ordered")]
    Shadow,
    /// The same is asked for already: decide that task.
    #[error("{what} ({task})")]
    AlreadyAsked { task: TaskId, what: &'static str },
    #[error("{0}")]
    Unfit(String),
    #[error("asking for this needs the role analyst, approver or admin")]
    Role,
    #[error(transparent)]
    Forbidden(Forbidden),
    #[error("say why: {0} needs a reason")]
    NoReason(&'static str),
    #[error("a reason has at most {most} characters")]
    LongReason { most: usize },
    #[error("there is no approval policy {0} in the configuration")]
    NoSuchPolicy(String),
    #[error("too many people work on this case at once; try again")]
    Busy,
    #[error("the order could not be stored")]
    Store(#[source] store::Error),
}

impl From<NotNow> for OrderError {
    fn from(why: NotNow) -> Self {
        match why {
            NotNow::AlreadyAsked { task, what } => Self::AlreadyAsked { task, what },
            NotNow::Unfit(why) => Self::Unfit(why),
        }
    }
}

/// The orders that make sense now in a person's open case.
pub fn offers(person: &Person, mode: Mode) -> Vec<Order> {
    person.offers(mode)
}

impl Engine {
    /// Writes an order down as a task that waits for its decision. Nothing is done before that.
    ///
    /// # Errors
    /// It makes no sense now, this reviewer may not ask for it, or the store is away (then nothing happened).
    pub async fn order(&self, _case: CaseId, asked: Asked, _actor: &str) -> Result<Task, OrderError> {
        Err(OrderError::Unfit(format!("{} cannot be ordered yet", asked.order.word())))
    }

    /// The orders that make sense now in a case, for its buttons; none in a closed one.
    ///
    /// # Errors
    /// There is no such case, or the store is away.
    pub async fn offers(&self, _case: CaseId) -> Result<Vec<Order>, OrderError> {
        Ok(Vec::new())
    }
}
