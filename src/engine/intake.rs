//! From a claimed signal to a lane, a held task, a later look, or a recorded "no".
//!
//! Whatever becomes of a signal is written in the transaction that takes it off the queue; a claim that cannot be
//! settled comes again.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::lane::{Incoming, Message, Origin};
use super::naming::{Named, Naming};
use super::{Inner, lock};
use crate::domain::person::{Arrival, PlanRef, Traces};
use crate::domain::task::{Kind, New, Policy, Snapshot, SnapshotItem, Task};
use crate::domain::{DeliveryId, Identity, Outcome, Risk, Signal, SignalId, TaskId};
use crate::playbook::catalog::Choice;
use crate::playbook::expr::signal_context;
use crate::playbook::normalise;
use crate::queue::Claim;
use crate::store::{self, Acceptance, Audit, Batch, Lane as Priority, Op, SignalOutcome, SignalRow, Waiting};
use crate::telemetry;

/// A waiting signal in work: until this is dropped (what became of it is durable, or was given up) it is not taken
/// again.
pub(super) struct Asking {
    inner: Arc<Inner>,
    pub id: SignalId,
}

impl Asking {
    /// `None` when it is in work already.
    pub(super) fn begin(inner: &Arc<Inner>, id: SignalId) -> Option<Self> {
        lock(&inner.asking).insert(id).then(|| Self { inner: Arc::clone(inner), id })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        lock(&self.inner.asking).remove(&self.id);
    }
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Asking").field(&self.id).finish()
    }
}

/// A signal in hand and where it must be taken off.
#[derive(Debug)]
pub(super) struct Held {
    pub origin: Origin,
    pub signal: Signal,
    /// Times Microsoft was asked before.
    pub attempt: u32,
}

impl Held {
    pub(super) fn queued(claim: Claim) -> Self {
        Self { signal: claim.signal.clone(), origin: Origin::Queue(Box::new(claim)), attempt: 0 }
    }

    pub(super) fn waiting(waiting: Waiting, asking: Asking) -> Self {
        Self { origin: Origin::Waiting(asking), signal: waiting.signal, attempt: waiting.attempt }
    }

    fn take_off(&self) -> Vec<Op> {
        match &self.origin {
            Origin::Queue(claim) => claim.take_off(),
            Origin::Waiting(asking) => vec![Op::DropWaiting(asking.id)],
            Origin::Forwarded(id) => vec![Op::DropForwarded(*id)],
        }
    }

    /// The operation that writes what became of it.
    fn put(&self, row: SignalRow) -> Op {
        match &self.origin {
            Origin::Queue(_) => Op::TakeSignal(Box::new(row)),
            Origin::Waiting(_) | Origin::Forwarded(_) => Op::PutSignal(Box::new(row)),
        }
    }

    fn done(self) {
        if let Origin::Queue(claim) = self.origin {
            claim.done();
        }
    }
}

impl Inner {
    /// Takes one signal in. `room` is the lane's place in memory.
    pub(super) async fn take_in(self: Arc<Self>, held: Held, room: Option<OwnedSemaphorePermit>) {
        let span = tracing::info_span!("signal", signal.id = %held.signal.id, source.name = held.signal.source);
        if let Some(parent) = &held.signal.traceparent {
            telemetry::set_parent(&span, parent);
        }
        async move {
            match held.signal.finding.outcome.clone() {
                Outcome::Act => self.act(held, room).await,
                Outcome::Lookup { what } => {
                    // Not asked to the end, the signal is where it was and is asked about at the next start.
                    let naming = tokio::select! {
                        naming = self.ask(&held.signal, &what, held.attempt) => naming,
                        () = self.stop.cancelled() => return,
                    };
                    self.named(held, naming, room).await;
                }
                Outcome::Held { reason } => self.hold(held, &reason).await,
                Outcome::Ignored { reason } => {
                    if let Err(error) = self.close_risk(&held.signal).await {
                        // The claim comes again when it is dropped here.
                        return self.telemetry.store_error("risk.close", &error);
                    }
                    self.ignore(held, "ignored", &reason).await;
                }
            }
        }
        .instrument(span)
        .await;
    }

    async fn named(self: &Arc<Self>, mut held: Held, naming: Naming, room: Option<OwnedSemaphorePermit>) {
        match naming {
            Naming::Named(Named::Person(object_id)) => {
                held.signal.finding.subject.object_id = Some(object_id);
                self.act(held, room).await;
            }
            Naming::Named(Named::Findings(findings)) => self.derive(held, findings).await,
            Naming::Held(reason) => self.hold(held, &reason).await,
            Naming::Again { at, reason } => self.wait_for(held, at, &reason).await,
        }
    }

    /// Named and in scope: to the person's lane, with the playbook this worker's folder chooses.
    async fn act(self: &Arc<Self>, held: Held, room: Option<OwnedSemaphorePermit>) {
        let Some(object_id) = held.signal.finding.subject.known_object_id() else {
            return self.hold(held, "nobody is named by an object id").await;
        };
        if !self.tenants.contains_key(&held.signal.tenant) {
            return self.hold(held, "the tenant of this signal is not configured here").await;
        }
        let identity = Identity { tenant: held.signal.tenant.clone(), object_id };
        match self.arrange(held) {
            Ok(incoming) => self.tell(&identity, Message::Signal(Box::new(incoming)), room),
            Err(unchosen) => self.unchosen(unchosen.0, &unchosen.1).await,
        }
    }

    /// With the playbook this worker's folder chooses; the signal back, if it chooses none.
    pub(super) fn arrange(&self, held: Held) -> Result<Incoming, Box<(Held, Choice)>> {
        let choice = lock(&self.playbooks).catalog().choose(&held.signal);
        let Some(entry) = &choice.entry else { return Err(Box::new((held, choice))) };
        let plan = match lock(&self.plans).get(&entry.pinned.hash) {
            Some(plan) => Arc::clone(plan),
            None => Arc::new(entry.plan.clone()),
        };
        let plan = self.keep_plan(&entry.pinned.hash, &plan);
        let finding = &held.signal.finding;
        let arrival = Arrival {
            signal: held.signal.id,
            kind: finding.kind,
            risk: finding.risk,
            activity: held.signal.activity(),
            received_at: held.signal.received_at,
            content: finding.content.clone(),
            context: signal_context(&held.signal),
            traceparent: held.signal.traceparent.clone(),
            traces: traces(&held.signal),
            plan: PlanRef { hash: entry.pinned.hash.clone(), plan },
        };
        Ok(Incoming { origin: held.origin, signal: held.signal, arrival, also_matched: choice.also_matched })
    }

    pub(super) async fn unchosen(self: &Arc<Self>, held: Held, choice: &Choice) {
        if choice.is_near_miss() && held.signal.finding.risk == Risk::Unknown {
            let names = choice.declined.join(", ");
            return self
                .hold(held, &format!("no playbook's `when` admits it ({names}), and its risk is unknown"))
                .await;
        }
        let why = if choice.declined.is_empty() { "no playbook" } else { "no playbook's `when` admits it" };
        self.ignore(held, "ignored", why).await;
    }

    fn row(signal: &Signal, word: &str, reason: &str) -> SignalRow {
        let object_id = signal.finding.subject.known_object_id();
        SignalRow {
            identity: object_id.map(|object_id| Identity { tenant: signal.tenant.clone(), object_id }),
            signal: signal.clone(),
            outcome: SignalOutcome {
                word: word.into(),
                reason: Some(reason.to_owned()),
                case: None,
                run: None,
                first: None,
            },
            first_of_content: false,
        }
    }

    fn audit(&self, signal: &Signal, verb: &str, reason: &str) -> Op {
        Op::Audit(Box::new(Audit {
            at: self.now(),
            actor: "worker".into(),
            verb: verb.into(),
            tenant: Some(signal.tenant.clone()),
            object_id: signal.finding.subject.known_object_id(),
            case: None,
            detail: json!({"signal": signal.id, "source": signal.source, "reason": reason}),
        }))
    }

    async fn ignore(&self, held: Held, word: &'static str, reason: &str) {
        let mut ops = held.take_off();
        ops.push(held.put(Self::row(&held.signal, word, reason)));
        ops.push(self.audit(&held.signal, "signal.ignored", reason));
        self.settle(held, ops, "signal.ignore", word).await;
    }

    /// In scope, and nobody can be named or judged: a task, never silence. The same story told again joins its task.
    async fn hold(&self, held: Held, reason: &str) {
        let mut ops = held.take_off();
        let finding = &held.signal.finding;
        // An incident that first named nobody and now names too many is another story, whatever became of the first task.
        let story = normalise::hash(&format!("{}/{reason}", finding.content));
        let key = format!("held:{}:{}:{story}", held.signal.tenant, held.signal.source);
        let known = match self.store.setting(&key).await {
            Ok(known) => known.and_then(|value| value.as_str().and_then(|id| id.parse::<SignalId>().ok())),
            Err(error) => {
                // The claim comes again when it is dropped here.
                self.telemetry.store_error("signal.hold", &error);
                return;
            }
        };
        let mut row = Self::row(&held.signal, "held", reason);
        if let Some(first) = known.filter(|first| *first != held.signal.id) {
            row.outcome.word = "redelivery".into();
            row.outcome.first = Some(first);
        } else {
            let task = self.held_task(&held.signal, reason);
            self.telemetry.task_opened(&task);
            ops.push(Op::PutTask(Box::new(task)));
            // Another worker may hold the same story at this moment: the later one comes again and joins.
            ops.push(Op::SwapSetting { key, was: known.map(|id| json!(id)), value: json!(held.signal.id) });
        }
        ops.push(held.put(row));
        ops.push(self.audit(&held.signal, "signal.held", reason));
        self.settle(held, ops, "signal.hold", "held").await;
    }

    fn held_task(&self, signal: &Signal, reason: &str) -> Task {
        let finding = &signal.finding;
        let object_id = finding.subject.known_object_id();
        Task::open(New {
            id: TaskId::new(Self::mint()),
            kind: Kind::Held,
            title: format!(
                "{} from {}: nobody could be acted on",
                finding.kind.word().replace('_', " "),
                signal.source
            ),
            policy: Policy::open(),
            created_at: self.now(),
            snapshot: Snapshot {
                number: 1,
                taken_at: self.now(),
                items: vec![SnapshotItem { id: signal.id.to_string(), hash: finding.content.clone() }],
            },
            shadow: false,
            identity: object_id.map(|object_id| Identity { tenant: signal.tenant.clone(), object_id }),
            case: None,
            run: None,
            instructions: Some(format!(
                "{}. The alert is in scope, so it is not dropped: find out who is meant and contain them by hand, or close this with the reason.",
                reason.trim_end_matches('.')
            )),
            requester: None,
            playbook: None,
            rows: Vec::new(),
        })
    }

    async fn wait_for(&self, held: Held, at: Timestamp, reason: &str) {
        let mut ops = match &held.origin {
            Origin::Waiting(_) => Vec::new(),
            Origin::Queue(_) | Origin::Forwarded(_) => held.take_off(),
        };
        let waiting =
            Waiting { signal: held.signal.clone(), attempt: held.attempt + 1, due_at: at, reason: reason.to_owned() };
        ops.push(Op::PutWaiting(Box::new(waiting)));
        ops.push(held.put(Self::row(&held.signal, "waiting", reason)));
        self.settle(held, ops, "signal.wait", "waiting").await;
    }

    /// What was fetched becomes signals of its own; they go the way of all others. A crash between the two commits
    /// fetches again, and the repetition is known by its content.
    async fn derive(&self, held: Held, findings: Vec<crate::domain::Finding>) {
        let signals: Vec<Signal> = findings
            .into_iter()
            .map(|finding| Signal { id: SignalId::new(Self::mint()), finding, ..held.signal.clone() })
            .collect();
        let ids: Vec<String> = signals.iter().map(|signal| signal.id.to_string()).collect();
        let acceptance = Acceptance {
            delivery: DeliveryId::new(Self::mint()),
            source: held.signal.source.clone(),
            tenant: held.signal.tenant.clone(),
            received_at: held.signal.received_at,
            webhook_id: None,
            body: bytes::Bytes::new(),
            body_hash: String::new(),
            signals,
            buried: None,
            answer: json!({"derived_from": held.signal.id}),
        };
        if let Err(error) = self.queue.accept(acceptance).await {
            self.telemetry.store_error("signal.derive", &error);
            return;
        }
        let reason = format!("fetched; became {}", ids.join(", "));
        self.ignore(held, "lookup", &reason).await;
    }

    /// Commits what settles a signal; when nothing was written, the signal comes again.
    async fn settle(&self, held: Held, ops: Vec<Op>, what: &'static str, word: &'static str) {
        if self.is_dead() {
            return;
        }
        match self.store.commit(Priority::Other, Batch { expect: None, ops }).await {
            Ok(()) => self.telemetry.signal_outcome(&held.signal, word),
            // A broker delivers again what was committed and not yet acknowledged.
            Err(store::Error::Repeated(_)) => {}
            Err(error) => return self.telemetry.store_error(what, &error),
        }
        held.done();
    }
}

/// What identifies the intruder in later sign-ins.
fn traces(signal: &Signal) -> Traces {
    let evidence = &signal.finding.evidence;
    Traces {
        ips: evidence.ips.iter().chain(evidence.places.iter().filter_map(|place| place.ip.as_ref())).cloned().collect(),
        devices: evidence.devices.iter().cloned().collect(),
        sessions: evidence.sessions.iter().cloned().collect(),
    }
}

/// An incident without entities is looked at again after these minutes, then held (contract, late entities).
pub(super) const LATE_ENTITIES: [i64; 5] = [1, 2, 5, 10, 15];

/// When attempt `attempt` (0 = the first look, at once) failed to find entities: the next look, counted from receipt.
pub(super) fn next_look(received_at: Timestamp, attempt: u32, now: Timestamp) -> Option<Timestamp> {
    let minutes = LATE_ENTITIES.get(attempt as usize)?;
    Some((received_at + SignedDuration::from_mins(*minutes)).max(now + SignedDuration::from_secs(1)))
}
