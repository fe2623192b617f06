//! Doing: one deed, one call, one answer. Writes nothing; what comes back is folded and recorded by the lane.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::Inner;
use super::hook::{Fate, Place};
use super::lane::{Back, Message};
use super::lease::Era;
use crate::actions::{Action, Call, SealedSink, Verification};
use crate::domain::ledger::{Disposition, EffectKey, Fault};
use crate::domain::person::{Answer, Deed, PRIVILEGED_RESET, Person, READ_BACK, Settled};
use crate::domain::plan::{Phase, READ_USER, RESET, Step, StepId};
use crate::domain::reviewer::{Account, Standing, deciding};
use crate::domain::task::Task;
use crate::domain::{Identity, RunId, TaskId};
use crate::graph::retry::{Schedule, jitter};
use crate::graph::{self, DirectoryRole, Graph, RiskyUser, Terms};
use crate::seal::{RecipientKey, Sealed};
use crate::store;
use crate::telemetry;

/// How long reading a user back may take.
const READ_BACK_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything one step's call needs, taken out of the person so that the call can outlive the turn.
struct Job {
    inner: Arc<Inner>,
    era: Arc<Era>,
    graph: Graph,
    identity: Identity,
    run: RunId,
    step: Step,
    results: Value,
    before: Value,
    key: EffectKey,
    attempt: u32,
    intended_at: Option<Timestamp>,
    task: Option<TaskId>,
    /// The task, where its approvers must still be entitled when its step is claimed.
    fresh: Option<Box<Task>>,
    recipient: Option<String>,
    containing: bool,
    traceparent: Option<String>,
}

/// Starts a deed; `None` when the person's state no longer has it.
pub(super) fn start(
    inner: &Arc<Inner>,
    era: &Arc<Era>,
    person: &Person,
    deed: Deed,
) -> Option<BoxFuture<'static, Back>> {
    let Some(tenant) = inner.tenants.get(&person.identity.tenant) else {
        tracing::error!(tenant.name = %person.identity.tenant, "a case of a tenant that is no longer configured waits");
        return None;
    };
    let graph = tenant.graph.clone();
    match deed {
        Deed::ReadBack => {
            let reading = person.doc.read_back.clone()?;
            let object_id = person.identity.object_id;
            let inner = Arc::clone(inner);
            Some(
                async move {
                    let slot = inner.others.clone().acquire_owned().await;
                    let read = graph.user(object_id, &Terms::read(READ_BACK_TIMEOUT)).await;
                    drop(slot);
                    let (valid_from, password_changed) =
                        read.map_or((None, None), |user| (user.sessions_valid_from, user.last_password_change));
                    let answer = Answer::ReadBack { valid_from, password_changed };
                    Back::Settled(Settled { run: reading.run, step: StepId(READ_BACK.into()), answer })
                }
                .boxed(),
            )
        }
        Deed::Effect { run, step, key, attempt, before, intended_at } => {
            let job = Job::new((inner, era), graph, person, run, &step, key, attempt, before, Some(intended_at))?;
            Some(async move { job.effect().await }.boxed())
        }
        Deed::Read { run, step } => {
            let attempt = person.run(run).map_or(0, |r| r.attempts(&step)) + 1;
            let key = EffectKey::of(run, &step, attempt);
            let job = Job::new((inner, era), graph, person, run, &step, key, attempt, Value::Null, None)?;
            Some(async move { job.read().await }.boxed())
        }
        Deed::Prepare { run, step } => {
            let attempt = person.run(run).map_or(0, |r| r.attempts(&step)) + 1;
            let key = EffectKey::of(run, &step, attempt);
            let job = Job::new((inner, era), graph, person, run, &step, key, attempt, Value::Null, None)?;
            Some(async move { job.prepare().await }.boxed())
        }
        Deed::Verify { run, step, key, before, intended_at } => {
            let attempt = person.run(run).map_or(1, |r| r.attempts(&step));
            let job = Job::new((inner, era), graph, person, run, &step, key, attempt, before, Some(intended_at))?;
            Some(async move { job.verify().await }.boxed())
        }
    }
}

/// Makes a sealed secret durable before the call leaves, through the person's lane.
struct Sink<'a>(&'a Job);

impl std::fmt::Debug for Sink<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

#[async_trait]
impl SealedSink for Sink<'_> {
    async fn keep(&self, sealed: Sealed) -> Result<(), Fault> {
        let lost = || Fault::retry("OUST-E-SEAL", "The sealed secret could not be stored, so nothing was sent.");
        let (kept, answer) = oneshot::channel();
        let sealed = serde_json::to_value(&sealed).map_err(|_| lost())?;
        let message = Message::Seal { run: self.0.run, step: self.0.step.id.clone(), sealed, kept };
        self.0.inner.tell(&self.0.identity, message, None);
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Job {
    #[expect(clippy::too_many_arguments, reason = "the fields of one deed")]
    fn new(
        (inner, era): (&Arc<Inner>, &Arc<Era>),
        graph: Graph,
        person: &Person,
        run: RunId,
        step: &StepId,
        key: EffectKey,
        attempt: u32,
        before: Value,
        intended_at: Option<Timestamp>,
    ) -> Option<Self> {
        let of_run = person.run(run)?;
        let step = of_run.plan.step(step)?.clone();
        let results: Map<String, Value> =
            of_run.results.iter().map(|(id, value)| (id.clone(), Value::clone(value))).collect();
        let task = person.task_of(run, &step.id);
        let decided = task.and_then(|id| person.tasks.get(&id));
        let approval = decided.and_then(|task| task.approval.as_ref());
        let recipient =
            approval.and_then(|approval| approval.recipient.as_ref()).map(|recipient| recipient.key.clone());
        let containing = step.phase == Phase::Contain || step.follows.is_some();
        Some(Self {
            inner: Arc::clone(inner),
            era: Arc::clone(era),
            graph,
            identity: person.identity.clone(),
            run,
            results: Value::Object(results),
            before,
            key,
            attempt,
            intended_at,
            task,
            fresh: decided.filter(|task| task.policy.fresh_at_claim).cloned().map(Box::new),
            recipient,
            containing,
            traceparent: of_run.traceparent.clone(),
            step,
        })
    }

    fn back(&self, answer: Answer) -> Back {
        Back::Settled(Settled { run: self.run, step: self.step.id.clone(), answer })
    }

    fn action(&self) -> Result<&dyn Action, Fault> {
        self.inner.actions.get(&self.step.action).ok_or_else(|| {
            Fault::refuse(
                "OUST-A-GONE",
                format!(
                    "This version of oust has no action {}. Do it by hand, then report this done.",
                    self.step.action
                ),
            )
        })
    }

    /// Part of the trace that began with the signal's receipt.
    fn span(&self) -> tracing::Span {
        let span = self.inner.telemetry.step_span(&self.step.id.0, &self.step.action, self.attempt);
        if let Some(parent) = &self.traceparent {
            telemetry::set_parent(&span, parent);
        }
        span
    }

    /// When a repetition is due by the retry policy.
    fn retry_at(&self, fault: &Fault) -> Timestamp {
        let after = match fault.disposition {
            Disposition::Retry { after_ms } => after_ms.map(Duration::from_millis),
            _ => None,
        };
        let attempt = self.attempt.saturating_sub(1);
        let schedule = if self.containing { Schedule::containment() } else { Schedule::step(u32::MAX) };
        let delay = schedule.delay(attempt, after, jitter()).unwrap_or(Duration::from_secs(1));
        self.inner.now() + SignedDuration::try_from(delay).unwrap_or(SignedDuration::from_secs(1))
    }

    /// An unknown effect that must not be repeated is looked at no earlier than its lease and deadline allow (§13.4).
    fn verify_at(&self, fault: &Fault) -> Timestamp {
        if fault.disposition != Disposition::Unknown || self.step.idempotent {
            return self.retry_at(fault);
        }
        let timeout = SignedDuration::from_millis(i64::try_from(self.step.timeout_ms).unwrap_or(15_000));
        let intended = self.intended_at.unwrap_or_else(|| self.inner.now());
        self.retry_at(fault).max(intended + self.inner.rules.lease + timeout)
    }

    fn fault(&self, fault: Fault) -> Back {
        let retry_at = self.verify_at(&fault);
        self.back(Answer::Fault { fault, retry_at })
    }

    async fn slot(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let slots = if self.containing { &self.inner.containment } else { &self.inner.others };
        Arc::clone(slots).acquire_owned().await.ok()
    }

    async fn with_call<T, F>(&self, work: F) -> Result<T, Fault>
    where
        F: for<'c> FnOnce(&'c dyn Action, &'c Call<'c>) -> BoxFuture<'c, Result<T, Fault>>,
    {
        let action = self.action()?;
        let recipient = match &self.recipient {
            Some(key) => Some(key.parse::<RecipientKey>().map_err(|_| {
                Fault::refuse("OUST-R-RECIPIENT", "The browser key of the decision is not a P-256 point; decide again.")
            })?),
            None => None,
        };
        let sink = Sink(self);
        let call = Call {
            graph: &self.graph,
            identity: &self.identity,
            with: &self.step.with,
            results: &self.results,
            before: &self.before,
            key: self.key,
            send_by: self.era.send_by(),
            timeout: Duration::from_millis(self.step.timeout_ms),
            priority: self.containing,
            recipient: recipient.as_ref(),
            task: self.task,
            intended_at: self.intended_at,
            sealed: &sink,
        };
        work(action, &call).await
    }

    async fn effect(&self) -> Back {
        let span = self.span();
        let _slot = self.slot().await;
        let fate = self.inner.hook.at(Place::BeforeCall, &self.step.id.0);
        if fate == Fate::Die {
            self.inner.die();
            return std::future::pending().await;
        }
        let work = async {
            if fate == Fate::Twice && self.step.idempotent {
                let _first = self.with_call(|action, call| action.perform(call)).await;
            }
            self.with_call(|action, call| action.perform(call)).await
        };
        match tracing::Instrument::instrument(work, span).await {
            Ok(done) => {
                self.back(Answer::Done { result: done.result, request_id: done.request_id, left_at: done.left_at })
            }
            Err(fault) => self.fault(fault),
        }
    }

    async fn read(&self) -> Back {
        let span = self.span();
        let _slot = self.slot().await;
        let fate = self.inner.hook.at(Place::BeforeCall, &self.step.id.0);
        if fate == Fate::Die {
            self.inner.die();
            return std::future::pending().await;
        }
        let began = self.inner.now();
        let work = async {
            if fate == Fate::Twice {
                let _first = self.with_call(|action, call| action.perform(call)).await;
            }
            self.with_call(|action, call| action.perform(call)).await
        };
        let read = graph::answered(tracing::Instrument::instrument(work, span));
        let (answer, privileged) = tokio::join!(read, self.is_privileged());
        match answer {
            (Ok(done), request_id) => self.back(Answer::Done {
                result: with_privilege(done.result, privileged),
                request_id: done.request_id.or(request_id),
                left_at: done.left_at.min(began),
            }),
            (Err(fault), _) => self.fault(fault),
        }
    }

    /// Reads the subject fresh before a hard effect; a risk that was closed meanwhile cancels it (contract §13.6).
    async fn prepare(&self) -> Back {
        let _slot = self.slot().await;
        let before = match self.with_call(|action, call| action.before(call)).await {
            Ok(before) => before,
            Err(fault) => return self.fault(fault),
        };
        if let Err(fault) = self.check_privileged().await {
            return self.fault(fault);
        }
        let mut before = if before.is_object() { before } else { json!({}) };
        if let (Some(risk), Some(before)) = (self.risk_now().await, before.as_object_mut()) {
            before.insert("risk_state".into(), json!(risk.risk_state));
            before.insert("risk_updated_at".into(), json!(risk.updated_at));
        }
        match (self.no_longer_entitled().await, before.as_object_mut()) {
            (Ok(lost), Some(before)) if !lost.is_empty() => drop(before.insert("lost".into(), json!(lost))),
            (Ok(_), _) => {}
            (Err(error), _) => {
                let fault = Fault::retry("OUST-E-STORE", format!("Who approved could not be read: {error}."));
                return self.fault(fault);
            }
        }
        Back::Prepared { run: self.run, step: self.step.id.clone(), before }
    }

    /// Approvers who may not decide this any more, where the policy wants to know (facts: approvals §8).
    async fn no_longer_entitled(&self) -> Result<Vec<String>, store::Error> {
        let Some(task) = &self.fresh else { return Ok(Vec::new()) };
        let mut lost = Vec::new();
        for approver in task.approval.iter().flat_map(|approval| &approval.by) {
            let account = match approver.parse() {
                Ok(id) => self.inner.store.reviewer(&id).await?.filter(Account::is_live),
                Err(_) => None,
            };
            let Some(account) = account else {
                lost.push(approver.clone());
                continue;
            };
            // What a provider said last counts, in whichever session: a sign-in by passkey asks none.
            let sessions = self.inner.store.sessions_of(&account.id).await?;
            let session = sessions.iter().max_by_key(|session| (session.told_at, session.created_at));
            let now = self.inner.now();
            let as_is = deciding(&account, session, Standing::default(), (now, true), |_| None);
            if !task.entitles(&as_is, now) {
                lost.push(approver.clone());
            }
        }
        Ok(lost)
    }

    /// `guards.privileged: task`: a role holder's reset is done by hand, by somebody who may.
    async fn check_privileged(&self) -> Result<(), Fault> {
        if !self.inner.privileged_by_hand || self.step.action != RESET {
            return Ok(());
        }
        if self.roles(Duration::from_secs(10)).await?.is_empty() {
            return Ok(());
        }
        Err(Fault::refuse("OUST-R-PRIVILEGED", PRIVILEGED_RESET))
    }

    async fn roles(&self, timeout: Duration) -> Result<Vec<DirectoryRole>, graph::Error> {
        self.graph.roles_of(self.identity.object_id, &Terms::read(timeout)).await
    }

    /// Where the person's roles decide who resets the password, they are read with the account, so that nobody is asked to
    /// approve what is then left to hands. What is not known here is asked again before the effect.
    async fn is_privileged(&self) -> Option<bool> {
        if !self.inner.privileged_by_hand || self.step.action != READ_USER {
            return None;
        }
        self.roles(Duration::from_secs(5)).await.ok().map(|roles| !roles.is_empty())
    }

    /// The person's risk, for what people approved; without them only where the run read it before, so that nothing waits
    /// for a read that may not be allowed.
    async fn risk_now(&self) -> Option<RiskyUser> {
        if self.task.is_none() {
            self.results.get("read_risk")?;
        }
        self.graph.risky_user(self.identity.object_id, &Terms::read(Duration::from_secs(5))).await.ok()?
    }

    async fn verify(&self) -> Back {
        let _slot = self.slot().await;
        match self.with_call(|action, call| action.verify(call)).await {
            Ok(Verification::Applied(result)) => self.back(Answer::Applied(result)),
            Ok(Verification::NotApplied) => self.back(Answer::NotApplied),
            Ok(Verification::Undetermined(why)) => self.back(Answer::Undetermined(why)),
            Err(fault) => {
                let verify_at = self.retry_at(&fault).max(self.inner.now() + SignedDuration::from_secs(1));
                self.back(Answer::StillUnknown { fault, verify_at })
            }
        }
    }
}

/// What was read of an account, with whether it holds a role where that is known.
fn with_privilege(mut read: Value, privileged: Option<bool>) -> Value {
    if let (Some(privileged), Some(read)) = (privileged, read.as_object_mut()) {
        read.insert("privileged".into(), json!(privileged));
    }
    read
}
