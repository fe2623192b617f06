//! What holds back a task that was approved, and where it is let go: its clock runs all the same.

use super::super::paths;
use crate::domain::CaseId;
use crate::domain::plan::RESET;
use crate::domain::task::{Progress, Task};

/// A guard in front of what was approved.
#[derive(Debug, Clone)]
pub struct Held {
    /// It waits until this; half a sentence.
    pub until: &'static str,
    /// What else there is to know, in a sentence.
    pub note: Option<&'static str>,
    /// Where it is let go.
    pub way: (String, &'static str),
}

impl Held {
    /// Nothing at all is sent.
    pub fn paused() -> Self {
        Self {
            until: "effects are resumed",
            note: None,
            way: (format!("{}#pause", paths::SETTINGS), "Resume in settings"),
        }
    }

    /// No password is set before the sessions were revoked, and that waits for the task that frees it: `None` where none
    /// waits for a decision.
    pub fn parked(release: Option<&Task>, case: CaseId) -> Self {
        let until = "the revoke of this person's sessions is released";
        match release {
            Some(task) => Self { until, note: None, way: (paths::task(task.id), "Decide its release") },
            None => Self {
                until,
                note: Some("No release waits for a decision: ask for a revoke by hand in the case."),
                way: (paths::case(case), "Open the case"),
            },
        }
    }
}

/// Approved, and something of it is still to be executed.
pub fn is_due(task: &Task) -> bool {
    let approved = task.approval.as_ref().is_some_and(|approval| approval.withdrawn.is_none());
    let left = |progress: &Progress| matches!(progress, Progress::Waiting | Progress::Failed { may_retry: true, .. });
    approved && !task.shadow && !task.state.is_terminal() && task.rows.iter().any(|row| left(&row.progress))
}

/// It waits for the revoke in front of it.
pub fn follows_revoke(task: &Task) -> bool {
    task.rows.iter().any(|row| row.action == RESET)
}
