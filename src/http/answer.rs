//! What a sender is told (contract §6.3): counts and ids, kept with the delivery so that a replay is told the same.

use serde::Serialize;
use serde_json::Value;

use crate::domain::{Finding, Outcome, Signal};

/// Why a person in a delivery starts nothing.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Ignored {
    pub reason: String,
}

/// The answer to a delivery.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Answer {
    /// Signals durably taken.
    pub accepted: usize,
    /// Those of them already known to be covered.
    pub covered: usize,
    pub ignored: Vec<Ignored>,
    /// Signals, and what was buried.
    pub ids: Vec<String>,
}

impl Answer {
    /// Divides findings into those that become signals (minted by `signal`) and those that are only answered. That a
    /// person's risk was closed starts nothing and is taken all the same: whoever is asked to decide about them must hear it.
    pub fn of(
        findings: Vec<Finding>,
        signal: impl Fn(Finding) -> Signal,
        covered: impl Fn(&Signal) -> bool,
    ) -> (Self, Vec<Signal>) {
        let (mut answer, mut signals) = (Self::default(), Vec::new());
        for finding in findings {
            let ignored = match &finding.outcome {
                Outcome::Ignored { reason } => Some(Ignored { reason: reason.clone() }),
                _ => None,
            };
            let starts = ignored.is_none();
            answer.ignored.extend(ignored);
            if !starts && finding.closes_risk().is_none() {
                continue;
            }
            let signal = signal(finding);
            answer.covered += usize::from(starts && covered(&signal));
            answer.ids.push(signal.id.to_string());
            signals.push(signal);
        }
        answer.accepted = signals.len();
        (answer, signals)
    }

    /// As stored and sent.
    pub fn json(&self) -> Value {
        serde_json::to_value(self).expect("counts and texts always serialise")
    }
}
