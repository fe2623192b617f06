//! What a reviewer asks for by hand in a case: written down as a task, decided by the one door, carried out by a worker.

use std::sync::Arc;

use serde_json::json;

use super::lane::Message;
use super::{Engine, Inner};
use crate::domain::person::{Doc, NotNow, Person, Request};
use crate::domain::plan::{Plan, RESET, REVOKE};
use crate::domain::run::Mode;
use crate::domain::task::{Ballot, Forbidden, Order, Ordered, Policy, Reviewer, Role, Task};
use crate::domain::{CaseId, Identity, RunId, TaskId};
use crate::playbook::by_hand;
use crate::store::{self, Audit, Batch, Expect, Lane as Priority, Op, PersonRecord, PersonRow};

/// An order as somebody asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub order: Order,
    /// Why; needed for everything that sends nothing.
    pub reason: Option<String>,
    /// A policy of the configuration, for a reset; `None`: that of the case's own reset, else any approver.
    pub policy: Option<String>,
    pub by: Reviewer,
}

/// Why an order was not written down. Texts are shown as they are.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("there is no such case")]
    NoSuchCase,
    #[error("this case is closed: nothing more can be ordered in it")]
    Closed,
    #[error("shadow: nothing has effects, so nothing can be ordered")]
    Shadow,
    /// The same is asked for already: decide that task.
    #[error("{what} ({task})")]
    AlreadyAsked { task: TaskId, what: &'static str },
    #[error("{0}")]
    Unfit(String),
    #[error("asking for this needs the role analyst, approver or admin")]
    Role,
    #[error(transparent)]
    Forbidden(Forbidden),
    #[error("say why: {0} needs a reason")]
    NoReason(&'static str),
    #[error("a reason has at most {most} characters")]
    LongReason { most: usize },
    #[error("there is no approval policy {0} in the configuration")]
    NoSuchPolicy(String),
    #[error("too many people work on this case at once; try again")]
    Busy,
    #[error("the order could not be stored")]
    Store(#[source] store::Error),
}

impl From<NotNow> for OrderError {
    fn from(why: NotNow) -> Self {
        match why {
            NotNow::AlreadyAsked { task, what } => Self::AlreadyAsked { task, what },
            NotNow::Unfit(why) => Self::Unfit(why),
        }
    }
}

/// The orders that make sense now in a person's open case.
pub fn offers(person: &Person, mode: Mode) -> Vec<Order> {
    person.offers(mode)
}

impl Engine {
    /// Writes an order down as a task that waits for its decision. Nothing is done before that.
    ///
    /// # Errors
    /// It makes no sense now, this reviewer may not ask for it, or the store is away (then nothing happened).
    pub async fn order(&self, case: CaseId, asked: Asked, actor: &str) -> Result<Task, OrderError> {
        for _ in 0..20 {
            match self.inner.order_once(case, &asked, actor).await {
                Err(OrderError::Store(store::Error::Conflict(_))) => {}
                Err(refused) => {
                    self.inner.order_refused(case, &asked, actor, &refused).await;
                    return Err(refused);
                }
                Ok(task) => return Ok(task),
            }
        }
        Err(OrderError::Busy)
    }

    /// The orders that make sense now in a case, for its buttons; none in a closed one.
    ///
    /// # Errors
    /// There is no such case, or the store is away.
    pub async fn offers(&self, case: CaseId) -> Result<Vec<Order>, OrderError> {
        match self.inner.person_in(case).await {
            Ok((person, _)) => Ok(offers(&person, self.inner.rules.mode)),
            Err(OrderError::Closed) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

impl Inner {
    async fn order_once(self: &Arc<Self>, case: CaseId, asked: &Asked, actor: &str) -> Result<Task, OrderError> {
        let (mut person, record) = self.person_in(case).await?;
        let reason = reason_of(asked)?;
        may_ask(&asked.by, &person)?;
        if self.rules.mode == Mode::Shadow {
            return Err(OrderError::Shadow);
        }
        person.may_be_ordered(&asked.order, self.rules.mode)?;
        let plan = self.plan_of(&person, &asked.order)?;
        let resets = plan.as_ref().is_some_and(|plan| plan.steps.iter().any(|step| step.action == RESET));
        let now = self.now();
        // Where a password was set and reached nobody, the case asks for another one, not this reviewer (law 5). What
        // others denied, nobody lets go alone.
        let requester = (person.overrules(&asked.order, &asked.by.id) || (resets && !person.is_password_lost()))
            .then(|| asked.by.person());
        let task = person.ask_order(Request {
            task: TaskId::new(Self::mint()),
            run: RunId::new(Self::mint()),
            ordered: Ordered { order: asked.order.clone(), by: asked.by.id.clone(), reason, plan },
            policy: self.policy_for(&person, asked, resets)?,
            requester,
            now,
        });
        let identity = person.identity.clone();
        let expect = Some(Expect { identity: identity.clone(), revision: record.revision, epoch: None });
        let doc = serde_json::to_value(&person.doc).unwrap_or_default();
        let row = PersonRow { doc, due_at: Some(now), ..record.into_row(identity.clone()) };
        let ops = vec![
            Op::PutPerson(Box::new(row)),
            Op::PutTask(Box::new(task.clone())),
            self.order_audit(case, Some(&identity), asked, actor, ("order.asked", None, Some(&task))),
        ];
        self.store.commit(Priority::Containment, Batch { expect, ops }).await.map_err(OrderError::Store)?;
        self.telemetry.task_opened(&task);
        self.tell(&identity, Message::Wake, None);
        Ok(task)
    }

    /// What was asked for and not written down is recorded all the same (law 11).
    async fn order_refused(&self, case: CaseId, asked: &Asked, actor: &str, why: &OrderError) {
        if matches!(why, OrderError::Store(_) | OrderError::Busy | OrderError::NoSuchCase) {
            return;
        }
        let op = self.order_audit(case, None, asked, actor, ("order.refused", Some(why.to_string()), None));
        if let Err(error) = self.store.commit(Priority::Other, Batch { expect: None, ops: vec![op] }).await {
            self.telemetry.store_error("order.refused", &error);
        }
    }

    fn order_audit(
        &self,
        case: CaseId,
        identity: Option<&Identity>,
        asked: &Asked,
        actor: &str,
        (verb, why, task): (&str, Option<String>, Option<&Task>),
    ) -> Op {
        Op::Audit(Box::new(Audit {
            at: self.now(),
            actor: actor.to_owned(),
            verb: verb.to_owned(),
            tenant: identity.map(|identity| identity.tenant.clone()),
            object_id: identity.map(|identity| identity.object_id),
            case: Some(case),
            detail: json!({
                "order": asked.order, "reason": asked.reason.as_deref().map(brief), "why": why,
                "task": task.map(|task| task.id), "digest": task.map(|task| task.digest().to_string()),
            }),
        }))
    }

    /// The person of an open case as the store has them.
    async fn person_in(&self, case: CaseId) -> Result<(Person, PersonRecord), OrderError> {
        let row = self.store.case(case).await.map_err(OrderError::Store)?.ok_or(OrderError::NoSuchCase)?;
        if row.closed_at.is_some() {
            return Err(OrderError::Closed);
        }
        let record = self.store.person(&row.identity).await.map_err(OrderError::Store)?.ok_or(OrderError::Closed)?;
        let corrupt = |source: Box<dyn std::error::Error + Send + Sync>| {
            OrderError::Store(store::Error::Corrupt { what: format!("person {}", row.identity), source: Some(source) })
        };
        let doc: Doc = serde_json::from_value(record.doc.clone()).map_err(|error| corrupt(Box::new(error)))?;
        if doc.case.as_ref().is_none_or(|open| open.id != case) {
            return Err(OrderError::Closed);
        }
        let mut journals = Vec::with_capacity(record.runs.len());
        for (run, journal) in &record.runs {
            let plan = self.plan(&run.plan).await.map_err(OrderError::Store)?;
            journals.push((run.id, run.case, plan, journal.clone()));
        }
        let person = Person::restore(row.identity.clone(), doc, journals, record.tasks.clone())
            .map_err(|error| corrupt(Box::new(error)))?;
        Ok((person, record))
    }

    /// The plan of an order that sends something.
    fn plan_of(&self, person: &Person, order: &Order) -> Result<Option<Plan>, OrderError> {
        if !order.sends() {
            return Ok(None);
        }
        let gone = || OrderError::Unfit("this case has no such step".to_owned());
        match (person.action_of(order).ok_or_else(gone)?, order) {
            (action, Order::Again { run, step }) if !matches!(action, REVOKE | RESET) => {
                let of = person.run(*run).and_then(|run| by_hand::again(&run.plan, step));
                of.map(Some).ok_or_else(gone)
            }
            (action, _) => self.built_in(action),
        }
    }

    fn built_in(&self, action: &str) -> Result<Option<Plan>, OrderError> {
        by_hand::plan(action, &self.actions).transpose().map_err(|wrong| {
            tracing::error!(problem = %wrong, "a built-in plan does not compile");
            OrderError::Unfit(format!("this version of oust cannot do {action}"))
        })
    }

    fn policy_for(&self, person: &Person, asked: &Asked, resets: bool) -> Result<Policy, OrderError> {
        if !resets && asked.policy.is_some() {
            return Err(OrderError::Unfit("only a reset is decided under a policy of its own".to_owned()));
        }
        let action = person.action_of(&asked.order);
        // Whoever asks does not choose another measure than the playbook of this case has for the same.
        let steps = person.runs.iter().rev().flat_map(|run| &run.plan.steps);
        let of_case = steps
            .filter(|step| Some(step.action.as_str()) == action)
            .filter_map(|step| step.approval.as_ref())
            .find_map(|name| self.rules.policies.get(name));
        let chosen = match &asked.policy {
            Some(name) => Some(self.rules.policies.get(name).ok_or_else(|| OrderError::NoSuchPolicy(brief(name)))?),
            None => None,
        };
        let policy = match (of_case, chosen) {
            (Some(own), Some(other)) if own != other => {
                return Err(OrderError::Unfit("the playbook of this case says who approves its reset".to_owned()));
            }
            (own, chosen) => own.or(chosen).cloned().unwrap_or_else(Policy::open),
        };
        Ok(if resets { policy } else { Policy { decide_within: Some(Person::DECIDE_ORDER_WITHIN), ..policy } })
    }
}

fn reason_of(asked: &Asked) -> Result<Option<String>, OrderError> {
    let reason = asked.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_none() && asked.order.needs_reason() {
        return Err(OrderError::NoReason(asked.order.word()));
    }
    if reason.is_some_and(|reason| reason.chars().count() > Ballot::LONGEST_REASON) {
        return Err(OrderError::LongReason { most: Ballot::LONGEST_REASON });
    }
    Ok(reason.map(str::to_owned))
}

/// Who asks does not decide by that; still nobody asks about himself, nor from a session that may be an intruder's.
fn may_ask(by: &Reviewer, person: &Person) -> Result<(), OrderError> {
    if by.person().accounts.contains(&person.identity.object_id) {
        return Err(OrderError::Forbidden(Forbidden::Subject));
    }
    if !by.roles.iter().any(|role| *role >= Role::Analyst) {
        return Err(OrderError::Role);
    }
    if by.at_risk {
        return Err(OrderError::Forbidden(Forbidden::AtRisk));
    }
    if by.revoked_at.is_some_and(|at| at >= by.session_started) {
        return Err(OrderError::Forbidden(Forbidden::SessionRevoked));
    }
    Ok(())
}

/// A text of the outside in the audit trail.
fn brief(text: &str) -> String {
    text.chars().take(Ballot::LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::registry;
    use crate::domain::plan::{CONFIRM, DISMISS, StepId};
    use crate::playbook::by_hand::{again, plan};
    use crate::playbook::parse;

    fn built(action: &str) -> Plan {
        plan(action, &registry()).expect("a built-in plan").unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    fn steps(plan: &Plan) -> Vec<(&str, bool)> {
        plan.steps.iter().map(|step| (step.id.0.as_str(), step.approval.is_some())).collect()
    }

    #[test]
    fn every_built_in_plan_compiles_and_gates_what_it_sends() {
        assert_eq!(steps(&built(REVOKE)), [("revoke_sessions", true)]);
        assert_eq!(
            steps(&built(RESET)),
            [
                ("revoke_sessions", true),
                ("read_user", false),
                ("read_risk", false),
                ("reset_password", true),
                ("revoke_after_reset_password", false)
            ]
        );
        assert_eq!(steps(&built(CONFIRM)), [("confirm_compromised", true)]);
        assert_eq!(steps(&built(DISMISS)), [("dismiss_risk", true)]);
        assert!(plan("disable_account", &registry()).is_none());
    }

    #[test]
    fn a_step_done_again_keeps_its_revoke_and_what_it_reads() {
        let text = "name: x\nversion: 3\non: { signals: [generic] }\ncontain: [{ do: revoke_sessions }, { do: disable_account, approval: on_call }]\ncollect: [{ do: read_user }, { do: read_inbox_rules }]\neradicate: [{ do: disable_inbox_rules, when: 'size(collect.read_inbox_rules.suspicious) > 0', approval: on_call }]\n";
        let of = parse(text, "-", &registry()).unwrap_or_else(|wrong| panic!("{wrong}"));
        let disable = again(&of, &StepId("disable_account".into())).expect("a plan");
        assert_eq!(steps(&disable)[0], ("disable_account", true));
        assert!(disable.steps.iter().skip(1).all(|step| step.follows.is_some() && step.approval.is_none()));
        let rules = again(&of, &StepId("disable_inbox_rules".into())).expect("a plan");
        assert_eq!(steps(&rules), [("read_inbox_rules", false), ("disable_inbox_rules", true)]);
        assert!(rules.steps.iter().all(|step| step.when.is_none()), "it was asked for, whatever the playbook thinks");
        let read = again(&of, &StepId("read_user".into())).expect("a plan");
        assert_eq!(steps(&read), [("read_user", true)]);
        assert!(again(&of, &StepId("nothing".into())).is_none());
    }
}
