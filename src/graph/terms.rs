//! What a call is and under which conditions it is made.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::ledger::EffectKey;

use super::clock::SendBy;

/// May the same request be sent again?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It changes nothing.
    Read,
    /// Twice is as once.
    Idempotent,
    /// Twice is not once: never without proof that the first had no effect.
    Once,
}

/// Whose limits a call counts against (facts: graph §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    Directory,
    IdentityProtection,
    AuditLogs,
    Security,
    Outlook,
    Arm,
}

/// One kind of call.
#[derive(Debug)]
pub struct Operation {
    /// The word in metrics, spans and messages.
    pub name: &'static str,
    /// The least application permission; named when Graph answers 403.
    pub permission: &'static str,
    pub nature: Nature,
    pub workload: Workload,
}

/// The conditions of one call.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Sent as `client-request-id`; drawn when absent.
    pub key: Option<EffectKey>,
    /// Past it nothing is written.
    pub send_by: Option<SendBy>,
    /// When the call must have ended: token, waits and repetitions included.
    pub timeout: Duration,
    /// Containment: a lane of its own, and first while Graph throttles.
    pub priority: bool,
}

impl Terms {
    /// A read in the normal lane.
    pub fn read(timeout: Duration) -> Self {
        Self { key: None, send_by: None, timeout, priority: false }
    }

    /// An effect in the normal lane.
    pub fn effect(key: EffectKey, send_by: SendBy, timeout: Duration) -> Self {
        Self { key: Some(key), send_by: Some(send_by), timeout, priority: false }
    }

    /// The same in the priority lane.
    #[must_use]
    pub fn first(self) -> Self {
        Self { priority: true, ..self }
    }
}

/// An effect that Graph accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Graph's `request-id`.
    pub request_id: Option<String>,
    /// When the successful attempt left, on Graph's clock where it differs from ours by more than 2 s.
    pub left_at: Timestamp,
}

/// One HTTP call, for metrics.
#[derive(Debug, Clone, Copy)]
pub struct GraphCall {
    pub operation: &'static str,
    /// `None` when no answer came.
    pub status: Option<u16>,
    pub throttled: bool,
    pub took: Duration,
}

/// Is told of every HTTP call.
pub type Observer = Arc<dyn Fn(GraphCall) + Send + Sync>;
