//! The plans behind what people order by hand: built in, compiled like any playbook, every sending step gated.
//!
//! The grammar lets nobody write an approval on a revoke; here the order's own task is that approval, so it is set after
//! compiling.

use serde_json::Value;

use super::diagnostic::Diagnostics;
use super::parse::parse;
use super::vocabulary::Vocabulary;
use crate::domain::plan::{CONFIRM, DISMISS, EffectClass, Phase, Plan, RESET, REVOKE, StepId};

/// The policy that gated steps of these plans name: the order's own task.
pub const POLICY: &str = "by_hand";

const REVOKE_PLAN: &str = "name: by-hand-revoke
version: 1
description: A reviewer asked to revoke the sessions now.
on: { signals: [generic] }
contain: [{ do: revoke_sessions }]
";

const RESET_PLAN: &str = "name: by-hand-reset
version: 1
description: A reviewer asked for a new password. The sessions are revoked first where they were not.
on: { signals: [generic] }
contain: [{ do: revoke_sessions }]
collect: [{ do: read_user }, { do: read_risk }]
recover: [{ do: reset_password, approval: by_hand }]
";

const CONFIRM_PLAN: &str = "name: by-hand-confirm
version: 1
description: A reviewer asked to confirm to Microsoft that the account was taken over.
on: { signals: [generic] }
contain: [{ do: revoke_sessions }]
recover: [{ do: confirm_compromised, approval: by_hand }]
";

const DISMISS_PLAN: &str = "name: by-hand-dismiss
version: 1
description: A reviewer asked to dismiss the risk at Microsoft.
on: { signals: [generic] }
contain: [{ do: revoke_sessions }]
recover: [{ do: dismiss_risk, approval: by_hand }]
";

/// The plan that does one of the four things that can be asked for without a step of a run; `None` for other verbs.
///
/// # Errors
/// The vocabulary does not know its verbs: a build that must not run.
pub fn plan(action: &str, vocab: &dyn Vocabulary) -> Option<Result<Plan, Diagnostics>> {
    let text = match action {
        REVOKE => REVOKE_PLAN,
        RESET => RESET_PLAN,
        CONFIRM => CONFIRM_PLAN,
        DISMISS => DISMISS_PLAN,
        _ => return None,
    };
    Some(parse(text, "-", vocab).map(|mut plan| {
        if !matches!(action, REVOKE | RESET) {
            // Neither waits for a revoke nor needs one: what is shown is what is done.
            plan.steps.retain(|step| step.phase != Phase::Contain);
        }
        gate(&mut plan);
        plan
    }))
}

/// The plan that does one step of a pinned plan again, with the revoke that follows it; `None` if it has no such step.
pub fn again(of: &Plan, step: &StepId) -> Option<Plan> {
    let again = of.step(step)?;
    let reads_first = |other: &str| again.action == "disable_inbox_rules" && other == "read_inbox_rules";
    let is_part = |id: &StepId, follows: Option<&StepId>, action: &str| {
        id == step || follows == Some(step) || reads_first(action)
    };
    let mut plan = Plan {
        name: "by-hand-again".to_owned(),
        version: 1,
        description: format!("A reviewer asked to do {step} of {} again.", of.name),
        when: None,
        notify: Default::default(),
        steps: of.steps.iter().filter(|s| is_part(&s.id, s.follows.as_ref(), &s.action)).cloned().collect(),
        ..of.clone()
    };
    gate(&mut plan);
    let asked = plan.steps.iter_mut().find(|other| &other.id == step)?;
    asked.approval = Some(POLICY.to_owned());
    asked.follows = None;
    Some(plan)
}

/// Nothing that is sent leaves without the order's approval; the revoke that law 3 requires follows in any case.
fn gate(plan: &mut Plan) {
    for step in &mut plan.steps {
        step.when = None;
        step.unattended = false;
        if step.with.is_null() {
            step.with = Value::Object(serde_json::Map::new());
        }
        let sends = step.class != EffectClass::Read && step.follows.is_none();
        step.approval = sends.then(|| POLICY.to_owned());
    }
}
