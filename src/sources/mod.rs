//! Ways in: who sent it (`auth`) and what it says about whom (`microsoft`, `graph_notifications`, `mapped`).
//!
//! Everything here decides from bytes and configuration alone: no network, no store, no clock (`now` comes in), no
//! environment (secrets come in resolved). Every body is bounded before it is looked at, and whatever it holds ends
//! as findings with an outcome or as an `Error` that says what was seen; nothing is dropped silently. Called by the
//! webhook routes, by pollers, and by the worker for what it fetched late (`graph_notifications::judge_…`).

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::domain::Finding;

pub mod auth;
mod draft;
pub mod graph_notifications;
pub mod mapped;
pub mod microsoft;
pub mod normalise;

pub use normalise::limits;

/// What a source knows beside the body.
#[derive(Debug, Clone)]
pub struct Context {
    /// The Entra tenant this source belongs to; signals of any other tenant are held.
    pub entra_tenant_id: Uuid,
    /// Log Analytics workspaces whose incidents may be asked for entities.
    pub arm_allow: Vec<ArmWorkspace>,
    /// The receipt stamp; instants later than it (plus tolerance) are not believed.
    pub now: Timestamp,
}

/// A Log Analytics workspace whose Sentinel incidents oust may read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmWorkspace {
    /// Azure subscription id.
    pub subscription: Uuid,
    /// Workspace name, compared case-insensitively as ARM does.
    pub workspace: String,
}

/// What a body turned out to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The recognised shapes, in order of first appearance.
    pub shapes: Vec<&'static str>,
    /// One entry per person and detection, or per detection that names nobody.
    pub findings: Vec<Finding>,
}

/// Why a body was understood as nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The portal's "Run trigger" sends this.
    #[error(
        "the body holds nothing: a Logic App started by \"Run trigger\" sends an empty body; run it from an incident, \
         or send a sample with `oust send`"
    )]
    Empty,
    #[error("not JSON at line {line}, column {column}")]
    NotJson {
        line: usize,
        column: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("nested deeper than {} levels", limits::DEPTH)]
    TooDeep,
    #[error("more than {} items in one delivery", limits::ITEMS)]
    TooMany,
    /// No shape recognised itself. `saw` lists the top-level keys.
    #[error("not a shape oust knows; it has {saw}{}", hint.map(|hint| format!("; {hint}")).unwrap_or_default())]
    Unknown { saw: String, hint: Option<&'static str> },
}

impl Error {
    /// A stable word for metrics and answers.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotJson { .. } => "not_json",
            Self::TooDeep => "too_deep",
            Self::TooMany => "too_many",
            Self::Unknown { .. } => "unknown",
        }
    }
}
