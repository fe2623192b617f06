//! Playbooks: YAML in, pinned `Plan`s out; every mistake at once, with line and column.
//!
//! Knows actions only through `Vocabulary`; knows neither Graph nor the store, and starts nothing: whoever holds a
//! `Reloader` asks it when he has time.

pub mod vocabulary;

pub mod diagnostic;

pub mod yaml;

pub mod expr;

pub mod parse;

pub mod normalise;

pub mod by_hand;

pub mod catalog;

pub mod lint;

pub mod schema;

pub use catalog::{Catalog, Choice, Entry, Reloader};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use expr::{Condition, Conditions, ExprError, signal_context};
pub use lint::{Known, lint};
pub use normalise::{Pinned, pin, unpin};
pub use parse::parse;
pub use schema::schema;
pub use vocabulary::{ActionInfo, Parameter, ParameterType, Vocabulary};
