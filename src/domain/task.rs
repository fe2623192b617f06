//! Placeholder until the decision machine lands.
use super::identity::Identity;
use super::ids::{CaseId, TaskId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What waits for a human.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub revision: u64,
    pub kind: String,
    pub identity: Option<Identity>,
    pub case: Option<CaseId>,
    pub created_at: Timestamp,
}
