//! Playbooks: YAML in, pinned `Plan`s out; every mistake at once, with line and column.
//!
//! Knows actions only through `Vocabulary`; knows neither Graph nor the store.

pub mod vocabulary;

pub mod diagnostic;

pub mod yaml;

pub mod expr;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use vocabulary::{ActionInfo, Parameter, ParameterType, Vocabulary};
