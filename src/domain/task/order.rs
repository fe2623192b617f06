//! What a person asks for by hand in a case. An order is a task: it is decided by the vote every task is decided by,
//! and carried out by the person's lane (`person::order`).
//!
//! What is to be done stands in the task's rows, and so in the digest that a decision is bound to. Deliberately not here:
//! which orders make sense in a case, and the plans that carry them out.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Class, Kind, Progress, Row, Task};
use crate::domain::ids::RunId;
use crate::domain::plan::{Plan, StepId};

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Revoke the sessions now.
    Revoke,
    /// A new temporary password.
    Reset,
    ConfirmCompromised,
    DismissRisk,
    /// A step that failed, was declined or lapsed is done again.
    Again {
        run: RunId,
        step: StepId,
    },
    /// A step that is not in flight is left out.
    Skip {
        run: RunId,
        step: StepId,
    },
    /// A person says what became of an effect that stays unknown.
    Settle {
        run: RunId,
        step: StepId,
        applied: bool,
    },
    /// A run ends where it stands.
    Cancel {
        run: RunId,
    },
    /// The case ends: contained, whatever became of the password (law 4).
    Close,
}

impl Order {
    /// The word used in forms, audit lines and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Reset => "reset",
            Self::ConfirmCompromised => "confirm_compromised",
            Self::DismissRisk => "dismiss_risk",
            Self::Again { .. } => "again",
            Self::Skip { .. } => "skip",
            Self::Settle { .. } => "settle",
            Self::Cancel { .. } => "cancel",
            Self::Close => "close",
        }
    }

    /// One line for people.
    pub fn title(&self) -> String {
        match self {
            Self::Revoke => "Revoke sessions now".to_owned(),
            Self::Reset => "Reset the password".to_owned(),
            Self::ConfirmCompromised => "Confirm compromised".to_owned(),
            Self::DismissRisk => "Dismiss the risk".to_owned(),
            Self::Again { step, .. } => format!("Do {step} again"),
            Self::Skip { step, .. } => format!("Skip {step}"),
            Self::Settle { step, applied: true, .. } => format!("Settle {step}: it took effect"),
            Self::Settle { step, applied: false, .. } => format!("Settle {step}: it did not take effect"),
            Self::Cancel { .. } => "Cancel the run".to_owned(),
            Self::Close => "Close the case".to_owned(),
        }
    }

    /// It sends something: a run of its own does it. The others are done as soon as they are approved.
    pub fn sends(&self) -> bool {
        matches!(self, Self::Revoke | Self::Reset | Self::ConfirmCompromised | Self::DismissRisk | Self::Again { .. })
    }

    /// Nobody may ask for it without saying why.
    pub fn needs_reason(&self) -> bool {
        !self.sends()
    }

    /// Both cannot be asked for at once.
    pub fn is_about_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Settle { run, step, .. }, Self::Settle { run: other_run, step: other_step, .. }) => {
                (run, step) == (other_run, other_step)
            }
            (one, other) => one == other,
        }
    }

    /// The step it is about.
    pub fn step(&self) -> Option<(RunId, &StepId)> {
        match self {
            Self::Again { run, step } | Self::Skip { run, step } | Self::Settle { run, step, .. } => Some((*run, step)),
            Self::Revoke | Self::Reset | Self::ConfirmCompromised | Self::DismissRisk | Self::Cancel { .. } => None,
            Self::Close => None,
        }
    }
}

/// An order as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ordered {
    #[serde(flatten)]
    pub order: Order,
    /// Id of the reviewer who asked.
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What an order that sends something does; its hash is the one of the task's playbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

impl Ordered {
    /// What is to be done, a row each: the gated steps of the plan, or the order itself.
    pub fn rows(&self) -> Vec<Row> {
        let Some(plan) = &self.plan else {
            let mut params = json!(self.order);
            if let (Some(params), Some(reason)) = (params.as_object_mut(), &self.reason) {
                params.insert("reason".to_owned(), Value::from(reason.as_str()));
            }
            let word = self.order.word().to_owned();
            return vec![Row {
                step: word.clone(),
                action: word,
                params,
                class: Class::Soft,
                reveals: false,
                progress: Progress::default(),
            }];
        };
        plan.steps.iter().filter(|step| step.approval.is_some()).map(Row::of).collect()
    }
}

impl Task {
    /// The same task as an order: its rows say what is to be done.
    pub fn ordering(mut self, ordered: Ordered) -> Self {
        self.kind = Kind::Order;
        self.rows = ordered.rows();
        self.ordered = Some(Box::new(ordered));
        self
    }

    /// What it orders, if it is an order.
    pub fn order(&self) -> Option<&Order> {
        self.ordered.as_ref().map(|ordered| &ordered.order)
    }
}
