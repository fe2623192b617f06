//! The ground: what a signal, an identity, a run and a task are, and the rules that decide about them.
//!
//! Plain values and pure functions. No I/O, no async, no clock, no randomness: `now`, new ids and answers from outside
//! come in as arguments. Knows no YAML, SQL, HTTP or tracing.

pub mod ids;

pub mod digest;

pub mod chain;

pub mod identity;

pub mod signal;

pub mod plan;

pub mod ledger;

pub mod guard;

pub mod task;

pub mod reviewer;

pub mod run;

pub mod person;

pub use identity::{Identity, ObjectId, Subject, TenantName};
pub use ids::{BuriedId, CaseId, DeliveryId, RunId, SignalId, TaskId, TokenId};
pub use jiff::Timestamp;
pub use signal::{Finding, Kind, Outcome, Risk, Signal};
