//! Law 3, the second half: after every reset, disable or removal comes another revoke. The author may write it
//! directly behind the step; where he did not, it is appended.

use serde_json::Value;

use super::reader::Problems;
use super::step::{DEFAULT_ATTEMPTS, Draft};
use crate::domain::plan::{EffectClass, OnFailure, Phase, RESET, REVOKE, Step, StepId};
use crate::playbook::vocabulary::Vocabulary;

/// Milliseconds of an appended revoke where the vocabulary does not describe the verb.
const REVOKE_TIMEOUT_MS: u64 = 10_000;

/// The id of the revoke after a step.
pub fn name(before: &str) -> String {
    format!("revoke_after_{before}")
}

/// True when a revoke must come after this step.
fn requires(draft: &Draft<'_>) -> bool {
    draft.action.name != REVOKE && (draft.action.requires_revoke || draft.action.name == RESET)
}

/// When the step at `index` is a written revoke that follows an effect: the index of that effect.
pub fn of(drafts: &[Draft<'_>], index: usize) -> Option<usize> {
    let before = index.checked_sub(1)?;
    let follows =
        drafts[index].action.name == REVOKE && drafts[before].phase == drafts[index].phase && requires(&drafts[before]);
    follows.then_some(before)
}

/// True when a revoke has to be appended after the step at `index`.
pub fn is_due(drafts: &[Draft<'_>], index: usize) -> bool {
    let written = index + 1 < drafts.len() && of(drafts, index + 1).is_some();
    requires(&drafts[index]) && !written
}

/// The steps of the plan, every demanded revoke in its place.
pub fn place(problems: &mut Problems<'_>, drafts: Vec<Draft<'_>>, vocab: &dyn Vocabulary) -> Vec<Step> {
    let due: Vec<bool> = (0..drafts.len()).map(|index| is_due(&drafts, index)).collect();
    let follows: Vec<Option<StepId>> =
        (0..drafts.len()).map(|index| of(&drafts, index).map(|before| StepId(drafts[before].name.clone()))).collect();
    if due.contains(&true) && vocab.action(REVOKE).is_none() {
        problems.error(drafts[0].at, format!("this build does not know {REVOKE}, which is appended"), None);
    }
    let mut steps = Vec::with_capacity(drafts.len() * 2);
    for ((draft, due), follows) in drafts.into_iter().zip(due).zip(follows) {
        let (before, phase) = (draft.name.clone(), draft.phase);
        steps.push(step(draft, follows));
        if due {
            steps.push(appended(&before, phase, vocab));
        }
    }
    steps
}

fn step(draft: Draft<'_>, follows: Option<StepId>) -> Step {
    let default = match draft.phase {
        _ if follows.is_some() => OnFailure::Escalate,
        Phase::Contain => OnFailure::Escalate,
        Phase::Collect | Phase::Eradicate => OnFailure::Continue,
        Phase::Recover => OnFailure::Stop,
    };
    Step {
        id: StepId(draft.name),
        action: draft.action.name.to_owned(),
        phase: draft.phase,
        with: draft.with,
        when: draft.when.map(|when| when.source),
        approval: draft.approval.map(|(policy, _)| policy),
        unattended: draft.unattended.is_some(),
        class: draft.action.class,
        timeout_ms: draft.timeout_ms,
        attempts: draft.attempts,
        on_failure: draft.on_failure.map_or(default, |(told, _)| told),
        on_failure_written: draft.on_failure.is_some(),
        reveals: draft.action.reveals,
        idempotent: draft.action.idempotent,
        follows,
    }
}

fn appended(before: &str, phase: Phase, vocab: &dyn Vocabulary) -> Step {
    let timeout_ms = vocab.action(REVOKE).map_or(REVOKE_TIMEOUT_MS, |revoke| revoke.timeout_ms);
    Step {
        id: StepId(name(before)),
        action: REVOKE.to_owned(),
        phase,
        with: Value::Object(serde_json::Map::new()),
        when: None,
        approval: None,
        unattended: false,
        class: EffectClass::Soft,
        timeout_ms,
        attempts: DEFAULT_ATTEMPTS,
        on_failure: OnFailure::Escalate,
        on_failure_written: false,
        reveals: false,
        idempotent: true,
        follows: Some(StepId(before.to_owned())),
    }
}
