//! The only door by which a human moves a run: one function for every route, one conditional update, and the loser is
//! told who was first.

use jiff::Timestamp;
use serde_json::json;

use super::lane::Message;
use super::storm::storm_key;
use super::{Engine, Inner, lock};
use crate::domain::reviewer::Proof;
use crate::domain::run::PARKED;
use crate::domain::task::{Consequence, Event, Kind, Refused, State, Task};
use crate::domain::{Identity, Outcome, Signal, SignalId, TaskId, TenantName};
use crate::store::reviewers::Change;
use crate::store::{self, Audit, Batch, CaseRow, Filter, Lane as Priority, Op, Page, Waiting};

/// What shows that a human decided this, consumed in the transaction of the decision. A decision that the machine refuses
/// consumes it too: a proof is good for one attempt.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Goes with the decision and with its refusal.
    pub consume: Vec<Op>,
    /// Goes with a recorded decision only.
    pub keep: Vec<Op>,
}

impl Evidence {
    /// What is kept to show later that this reviewer decided exactly this.
    fn shown(&self) -> Option<&Proof> {
        self.keep.iter().find_map(|op| match op {
            Op::Reviewer(change) => match &**change {
                Change::PutProof(proof) => Some(&**proof),
                _ => None,
            },
            _ => None,
        })
    }

    /// Whoever decided about an open task and finds it decided came second: a denial of what was open does not take back
    /// what was approved meanwhile.
    fn came_second(&self, task: &Task) -> bool {
        self.shown().is_some_and(|proof| proof.wanted.revision != task.revision) && !task.state.is_undecided()
    }
}

/// A decision as recorded.
#[derive(Debug)]
pub struct Recorded {
    pub task: Task,
    pub consequences: Vec<Consequence>,
}

/// Why a decision was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    #[error("there is no such task")]
    NoSuchTask,
    #[error(transparent)]
    Refused(Refused),
    /// The proof was used before, has expired, or its account ended.
    #[error("prove again that it is you: {0} was used before, has expired or is gone")]
    Spent(&'static str),
    #[error("too many people decide at once; try again")]
    Busy,
    #[error("the decision could not be stored")]
    Store(#[source] store::Error),
}

impl Engine {
    /// Applies what a human did to a task, durably, and wakes the person's lane. Refusals are recorded too.
    ///
    /// # Errors
    /// Refused by the decision machine, or the store is away (then nothing happened).
    pub async fn decide(&self, id: TaskId, actor: &str, event: Event) -> Result<Recorded, DecideError> {
        self.decide_proven(id, actor, event, Evidence::default()).await
    }

    /// The tenant whose parked revokes a release task is about; `None` where a newer one took its place.
    ///
    /// # Errors
    /// The store is away.
    pub async fn tenant_of_release(&self, task: TaskId) -> Result<Option<TenantName>, store::Error> {
        self.inner.tenant_of_storm(task).await
    }

    /// The task that somebody decides to free a tenant's parked revokes, while it waits.
    ///
    /// # Errors
    /// The store is away.
    pub async fn release_task(&self, tenant: &TenantName) -> Result<Option<Task>, store::Error> {
        let setting = self.inner.store.setting(&storm_key(tenant)).await?;
        self.inner.open_storm(setting.as_ref()).await
    }

    /// The same, with a proof that is consumed and kept in the transaction of the decision.
    ///
    /// # Errors
    /// As `decide`; `Spent` when the proof was used before (then nothing happened).
    pub async fn decide_proven(
        &self,
        id: TaskId,
        actor: &str,
        event: Event,
        proof: Evidence,
    ) -> Result<Recorded, DecideError> {
        for _ in 0..20 {
            match self.inner.decide_once(id, actor, &event, &proof).await {
                // Somebody else wrote the person, or a task that is about nobody.
                Err(DecideError::Store(store::Error::Conflict(_) | store::Error::Changed(_))) => {}
                Err(DecideError::Store(store::Error::Spent(what))) => return Err(DecideError::Spent(what)),
                Ok(recorded) => {
                    self.inner.after_decision(&recorded).await;
                    return Ok(recorded);
                }
                Err(error) => return Err(error),
            }
        }
        Err(DecideError::Busy)
    }
}

impl Inner {
    async fn decide_once(
        self: &std::sync::Arc<Self>,
        id: TaskId,
        actor: &str,
        event: &Event,
        proof: &Evidence,
    ) -> Result<Recorded, DecideError> {
        let mut task = self.store.task(id).await.map_err(DecideError::Store)?.ok_or(DecideError::NoSuchTask)?;
        let now = self.now();
        let before = task.revision;
        let named = match event {
            Event::Named { identity, .. } => {
                Some(self.named_signal(&task, identity).await.map_err(DecideError::Store)?)
            }
            _ => None,
        };
        let applied = match &named {
            Some(Err(refused)) => Err(refused.clone()),
            _ if proof.came_second(&task) => Err(task.conflict()),
            _ => task.apply(event.clone(), now),
        };
        let consequences = match applied {
            Ok(consequences) => consequences,
            Err(refused) => {
                let mut ops = proof.consume.clone();
                ops.push(decision_audit(&task, actor, "task.refused", (event, None), &refused.to_string(), now));
                self.store.commit(Priority::Other, Batch { expect: None, ops }).await.map_err(DecideError::Store)?;
                return Err(DecideError::Refused(refused));
            }
        };
        let mut batch = Batch { expect: None, ops: [proof.consume.clone(), proof.keep.clone()].concat() };
        if let Some(identity) = task.identity.clone().filter(|_| task.case.is_some()) {
            self.touch(&identity, now, &mut batch).await.map_err(DecideError::Store)?;
        }
        if let Some(Ok(signal)) = named {
            batch.ops.push(decision_audit(
                &task,
                actor,
                "task.named",
                (event, None),
                &format!("signal {}", signal.id),
                now,
            ));
            let reason = "a reviewer named the person".to_owned();
            batch.ops.push(Op::PutWaiting(Box::new(Waiting { signal: *signal, attempt: 0, due_at: now, reason })));
        }
        if let Some(answer) = Storm::answer(&task) {
            let tenant = self.tenant_of_storm(id).await.map_err(DecideError::Store)?;
            batch.ops.extend(tenant.map(|tenant| Op::PutSetting { key: answer.key(&tenant), value: json!(now) }));
        }
        if task.revision == before {
            task.revision += 1;
        }
        batch.ops.push(Op::PutTask(Box::new(task.clone())));
        let how = (event, proof.shown());
        batch.ops.push(decision_audit(&task, actor, "task.decided", how, task.state.word(), now));
        self.store.commit(Priority::Containment, batch).await.map_err(DecideError::Store)?;
        Ok(Recorded { task, consequences })
    }

    /// The signal of a held task with the person that a reviewer named: it starts over and is acted on.
    async fn named_signal(
        &self,
        task: &Task,
        identity: &Identity,
    ) -> Result<Result<Box<Signal>, Refused>, store::Error> {
        let refused = |why: &str| Ok(Err(Refused::Invalid { why: why.to_owned() }));
        if task.kind != Kind::Held || task.identity.is_some() {
            return refused("only an open held task about nobody can be given a person");
        }
        let id = task.snapshot.items.first().and_then(|item| item.id.parse::<SignalId>().ok());
        let row = match id {
            Some(id) => self.store.signal(id).await?,
            None => None,
        };
        let Some(row) = row else {
            return refused("the signal of this task is gone: contain them by hand, then close it");
        };
        let corrupt = |error: serde_json::Error| store::Error::Corrupt {
            what: "signal of a held task".to_owned(),
            source: Some(Box::new(error)),
        };
        let mut signal: Signal = serde_json::from_value(row["signal"].clone()).map_err(corrupt)?;
        if signal.tenant != identity.tenant {
            return refused("that person is of another tenant than the alert");
        }
        signal.finding.subject.object_id = Some(identity.object_id);
        signal.finding.outcome = Outcome::Act;
        Ok(Ok(Box::new(signal)))
    }

    async fn after_decision(self: &std::sync::Arc<Self>, recorded: &Recorded) {
        let task = &recorded.task;
        if let (Some(identity), Some(_)) = (&task.identity, task.case) {
            self.tell(identity, Message::Wake, None);
            self.queue.wake();
        }
        if task.kind == Kind::Held {
            // A signal may start over.
            self.due.notify_one();
        }
        if let Some(answer) = Storm::answer(task)
            && let Ok(Some(tenant)) = self.tenant_of_storm(task.id).await
        {
            self.storm_answered(answer, &tenant, self.now());
            if let Err(error) = self.wake_parked(Some(&tenant)).await {
                self.telemetry.store_error("parked.wake", &error);
            }
        }
    }

    /// Remembers how people answered for a tenant's parked work; gives when they last did before.
    pub(super) fn storm_answered(&self, answer: Storm, tenant: &TenantName, at: Timestamp) -> Option<Timestamp> {
        let mut answers = self.storm_answers.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        answers.insert((tenant.clone(), answer), at)
    }

    /// When people last answered so.
    pub(super) fn answered_at(&self, answer: Storm, tenant: &TenantName) -> Option<Timestamp> {
        let answers = self.storm_answers.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        answers.get(&(tenant.clone(), answer)).copied()
    }

    async fn tenant_of_storm(&self, id: TaskId) -> Result<Option<TenantName>, store::Error> {
        for tenant in self.tenants.keys() {
            let setting = self.store.setting(&storm_key(tenant)).await?;
            if setting.as_ref().and_then(serde_json::Value::as_str) == Some(id.to_string().as_str()) {
                return Ok(Some(tenant.clone()));
            }
        }
        Ok(None)
    }

    /// Wakes everybody whose work is parked, oldest first.
    pub(super) async fn wake_parked(
        self: &std::sync::Arc<Self>,
        tenant: Option<&TenantName>,
    ) -> Result<(), store::Error> {
        let filter = Filter { open: true, ..Filter::default() };
        let mut page = Page { after: None, limit: 500 };
        let mut people = Vec::new();
        loop {
            let listed = self.store.cases(&filter, &page).await?;
            let of_tenant = |name: &TenantName| tenant.is_none_or(|wanted| wanted == name);
            people.extend(
                listed
                    .items
                    .into_iter()
                    .filter(|case| of_tenant(&case.identity.tenant) && has_parked(case))
                    .map(|case| (case.opened_at, case.identity)),
            );
            match listed.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        people.sort_by_key(|(opened, _)| *opened);
        for (_, identity) in people {
            self.tell(&identity, Message::Wake, None);
        }
        Ok(())
    }

    /// Forgets which watermarks this process saw, when there are too many to keep.
    pub(super) fn bound_watermarks(&self) {
        let mut marks = lock(&self.watermarks);
        if marks.len() > 100_000 {
            marks.clear();
        }
    }
}

/// True when a step of the case is held by a guard.
fn has_parked(case: &CaseRow) -> bool {
    let steps = case.detail.get("steps").and_then(serde_json::Value::as_array);
    steps.is_some_and(|steps| steps.iter().any(|step| step["state"] == PARKED))
}

/// What people said to the release of a tenant's parked work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Storm {
    Released,
    Denied,
}

impl Storm {
    pub(super) const ALL: [Self; 2] = [Self::Released, Self::Denied];

    fn answer(task: &Task) -> Option<Self> {
        match (task.kind, &task.state) {
            (Kind::Release, State::Executed { .. }) => Some(Self::Released),
            (Kind::Release, State::Denied { .. }) => Some(Self::Denied),
            _ => None,
        }
    }

    /// The setting that holds when it was said.
    pub(super) fn key(self, tenant: &TenantName) -> String {
        match self {
            Self::Released => format!("release:{tenant}"),
            Self::Denied => format!("release:{tenant}:denied"),
        }
    }
}

/// The record of what a human did. A vote names the verdict and its proof: challenge, revision as shown, and the SHA-256
/// of what is kept beside the trail.
fn decision_audit(
    task: &Task,
    actor: &str,
    verb: &str,
    (event, proof): (&Event, Option<&Proof>),
    what: &str,
    now: Timestamp,
) -> Op {
    let mut detail = json!({
        "task": task.id, "kind": task.kind.word(), "event": event.word(), "what": what, "digest": task.digest().to_string(),
    });
    if let Event::Vote(ballot) = event {
        detail["verdict"] = json!(ballot.verdict);
    }
    if let Event::Done { note: Some(note), .. } = event {
        detail["note"] = json!(note);
    }
    if let Some(proof) = proof {
        detail["revision"] = json!(proof.wanted.revision);
        detail["challenge"] = json!(proof.challenge);
        detail["proof"] = json!(proof.digest());
    }
    Op::Audit(Box::new(Audit {
        at: now,
        actor: actor.to_owned(),
        verb: verb.into(),
        tenant: task.identity.as_ref().map(|identity| identity.tenant.clone()),
        object_id: task.identity.as_ref().map(|identity| identity.object_id),
        case: task.case,
        detail,
    }))
}
