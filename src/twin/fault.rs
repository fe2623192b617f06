//! Faults on demand: a list of plans, each saying which calls go wrong, how, and how often.
//!
//! The first plan that matches and is not used up decides. Plans touch the calls of the client under test only, never
//! the control plane.

use super::{clock::lock, reply::Call};
use serde::{Deserialize, Serialize};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};
use uuid::Uuid;

/// Which calls, and what happens to them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// HTTP method, upper case; absent = any.
    #[serde(default)]
    pub method: Option<String>,
    /// A part of the path (with its query); absent = any.
    #[serde(default)]
    pub path: Option<String>,
    /// The object id named in the path or in the body; absent = any.
    #[serde(default)]
    pub user: Option<Uuid>,
    /// Matching calls let through first.
    #[serde(default)]
    pub skip: u64,
    /// Of the matching calls after `skip`, every n-th is hit; absent = each.
    #[serde(default)]
    pub every: Option<u64>,
    /// How many calls are hit; absent = for ever.
    #[serde(default)]
    pub times: Option<u64>,
    /// What happens.
    pub fault: Fault,
}

/// What goes wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// This answer instead, and no effect.
    Status {
        /// HTTP status.
        status: u16,
        /// `Retry-After` in seconds, if the answer has one.
        #[serde(default)]
        retry_after: Option<u64>,
        /// Graph's error code.
        #[serde(default)]
        code: Option<String>,
        /// Graph's message.
        #[serde(default)]
        message: Option<String>,
    },
    /// The effect takes place, then the connection is cut without an answer.
    LostReply,
    /// The connection is cut before any effect.
    Drop,
    /// The call waits, then proceeds.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The effect takes place at once, the answer waits.
    LateReply {
        /// Milliseconds.
        ms: u64,
    },
    /// No effect and no answer until the caller gives up.
    Hang,
}

impl Plan {
    /// A plan for calls whose path contains `path`, hitting each of them.
    #[must_use]
    pub fn on(path: &str, fault: Fault) -> Self {
        Plan { method: None, path: Some(path.to_owned()), user: None, skip: 0, every: None, times: None, fault }
    }

    /// Hits only the first `times` matching calls.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Hits only calls about this object.
    #[must_use]
    pub fn user(mut self, user: Uuid) -> Self {
        self.user = Some(user);
        self
    }

    /// Hits only calls with this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Lets the first `skip` matching calls through.
    #[must_use]
    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    fn matches(&self, call: &Call<'_>, targets: &[Uuid]) -> bool {
        self.method.as_deref().is_none_or(|method| method.eq_ignore_ascii_case(call.method))
            && self.user.is_none_or(|user| targets.contains(&user))
            && self.path.as_deref().is_none_or(|part| {
                call.path.contains(part)
                    || (part.contains(['?', '$', '=']) && format!("{}?{}", call.path, call.query).contains(part))
            })
    }
}

impl Fault {
    /// An answer with this status and nothing else.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Fault::Status { status, retry_after: None, code: None, message: None }
    }
}

/// A plan and what became of it so far.
#[derive(Clone, Debug, Serialize)]
pub struct PlanState {
    /// Number of the plan.
    pub id: u64,
    /// The plan.
    pub plan: Plan,
    /// Calls that matched it.
    pub matched: u64,
    /// Calls it hit.
    pub hit: u64,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    any: AtomicBool,
    plans: Mutex<(u64, Vec<PlanState>)>,
}

impl Faults {
    pub(super) fn add(&self, plan: Plan) -> u64 {
        let mut plans = lock(&self.plans);
        plans.0 += 1;
        let id = plans.0;
        plans.1.push(PlanState { id, plan, matched: 0, hit: 0 });
        self.any.store(true, Ordering::Release);
        id
    }

    pub(super) fn clear(&self) {
        let mut plans = lock(&self.plans);
        plans.1.clear();
        self.any.store(false, Ordering::Release);
    }

    pub(super) fn list(&self) -> Vec<PlanState> {
        lock(&self.plans).1.clone()
    }

    /// The fault this call meets, if any.
    pub(super) fn decide(&self, call: &Call<'_>, targets: &[Uuid]) -> Option<Fault> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut plans = lock(&self.plans);
        for state in &mut plans.1 {
            if state.plan.times.is_some_and(|times| state.hit >= times) || !state.plan.matches(call, targets) {
                continue;
            }
            state.matched += 1;
            let due = state.matched.checked_sub(state.plan.skip).filter(|nth| *nth > 0);
            if due.is_some_and(|nth| nth % state.plan.every.unwrap_or(1).max(1) == 0) {
                state.hit += 1;
                return Some(state.plan.fault.clone());
            }
        }
        None
    }
}
