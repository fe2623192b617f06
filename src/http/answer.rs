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
    /// Divides findings into those that become signals (minted by `signal`) and those that are only answered.
    pub fn of(
        findings: Vec<Finding>,
        signal: impl Fn(Finding) -> Signal,
        covered: impl Fn(&Signal) -> bool,
    ) -> (Self, Vec<Signal>) {
        let (mut answer, mut signals) = (Self::default(), Vec::new());
        for finding in findings {
            if let Outcome::Ignored { reason } = &finding.outcome {
                answer.ignored.push(Ignored { reason: reason.clone() });
                continue;
            }
            let signal = signal(finding);
            answer.covered += usize::from(covered(&signal));
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
