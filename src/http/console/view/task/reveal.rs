//! Where the temporary password is on its way, as far as the page may know: never the password.

use jiff::Timestamp;

use super::super::markup::{Left, When};
use super::super::{Eye, paths};
use crate::domain::task::{Progress, State, Task};

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevealStage {
    /// Approved: the worker waits for the recipient's browser.
    Waiting,
    /// Set and sealed; can be fetched.
    Sealed,
    Revealed,
    Expired,
}

impl RevealStage {
    /// The word in `data-stage`, read by `reveal.js`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sealed => "sealed",
            Self::Revealed => "revealed",
            Self::Expired => "expired",
        }
    }
}

/// What the page needs to receive a secret.
#[derive(Debug, Clone)]
pub struct Reveal {
    pub stage: RevealStage,
    /// The signed-in reviewer is the one it is sealed to.
    pub mine: bool,
    pub recipient: String,
    /// The public key it is sealed to: the browser that has the private one shows the password.
    pub key: String,
    pub until: Option<(When, Left)>,
    pub presence: String,
    pub fetch: String,
    pub acknowledge: String,
    /// Where to ask for another reset once it is lost.
    pub reissue: Option<String>,
}

impl Reveal {
    pub(super) fn of(task: &Task, eye: Eye<'_>) -> Option<Self> {
        let approval = task.approval.as_ref()?;
        let recipient = approval.recipient.as_ref()?;
        let stage = stage(task)?;
        Some(Self {
            stage,
            mine: eye.me.is_some_and(|me| me.id == recipient.reviewer),
            recipient: eye.names.of(&recipient.reviewer),
            key: recipient
                .key
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
                .take(128)
                .collect(),
            until: until(task).map(|until| (When::new(until, eye.now), Left::new(until, eye.now))),
            presence: paths::presence(task.id),
            fetch: paths::reveal(task.id),
            acknowledge: paths::acknowledge(task.id),
            reissue: task.case.filter(|_| stage == RevealStage::Expired).map(paths::orders),
        })
    }

    /// This reviewer's browser has something to do.
    pub fn is_active(&self) -> bool {
        self.mine && matches!(self.stage, RevealStage::Waiting | RevealStage::Sealed)
    }
}

fn stage(task: &Task) -> Option<RevealStage> {
    let row = task.rows.iter().find(|row| row.reveals)?;
    match &row.progress {
        Progress::Sealed { .. } => Some(RevealStage::Sealed),
        Progress::Revealed { .. } => Some(RevealStage::Revealed),
        Progress::RevealExpired { .. } => Some(RevealStage::Expired),
        Progress::Executed { .. } | Progress::Skipped { .. } => None,
        _ if task.state.is_terminal() || matches!(task.state, State::Pending | State::Escalated { .. }) => None,
        _ => Some(RevealStage::Waiting),
    }
}

fn until(task: &Task) -> Option<Timestamp> {
    task.rows.iter().find_map(|row| match &row.progress {
        Progress::Sealed { until, .. } => *until,
        _ => None,
    })
}
