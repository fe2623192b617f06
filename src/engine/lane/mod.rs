//! A lane: everything about one identity, one thing after the other. Lanes of different people run in parallel.
//!
//! A lane folds what came in, lets the ground decide, commits one batch, then does what was decided. The person in
//! memory is a cache of the store: on any conflict it is loaded anew. A lane ends when nothing is in flight and the
//! next due time is far; the row says when to look again.

mod act;
mod forward;
mod take;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::domain::ledger::{EffectKey, Fault};
use crate::domain::person::{Arrival, Doc, Orphans, Person, READ_BACK, Settled};
use crate::domain::plan::StepId;
use crate::domain::{Identity, RunId, Signal, SignalId};
use crate::engine::hook::{Fate, Place};
use crate::engine::intake::Asking;
use crate::engine::lease::Era;
use crate::engine::record::{RowState, Turn};
use crate::engine::{Inner, lock};
use crate::queue::Claim;
use crate::store::{self, Epoch, PersonRecord};

/// Where a signal came from, so that it can be taken off there in the intake's transaction.
#[derive(Debug)]
pub(in crate::engine) enum Origin {
    Queue(Box<Claim>),
    Waiting(Asking),
    /// Laid before us by another worker.
    Forwarded(SignalId),
}

/// A signal about this person.
#[derive(Debug)]
pub(in crate::engine) struct Incoming {
    pub origin: Origin,
    pub signal: Signal,
    pub arrival: Arrival,
    pub also_matched: Vec<String>,
}

/// What a lane is told.
#[derive(Debug)]
pub(in crate::engine) enum Message {
    Signal(Box<Incoming>),
    /// Something of this person changed in the store, or is due.
    Wake,
    /// As `Wake`; the worker that held this person lost its lease so long ago.
    TakenOver(Duration),
    /// A secret was sealed and must be durable before the call leaves.
    Seal {
        run: RunId,
        step: StepId,
        sealed: Value,
        kept: oneshot::Sender<Result<(), Fault>>,
    },
}

/// What came back from a deed.
#[derive(Debug)]
pub(in crate::engine) enum Back {
    Settled(Settled),
    Prepared { run: RunId, step: StepId, before: Value },
}

/// Something is due and cannot be done yet: pause before the next look.
const OVERDUE: Duration = Duration::from_millis(200);

/// A lane that ends as soon as it may keeps its person in memory for this long, for timers of the retry policy.
const LINGER: SignedDuration = SignedDuration::from_secs(2);
/// A lane with a timer looks at the clock this often.
const GLANCE: Duration = Duration::from_secs(1);

/// How a lane is reached.
#[derive(Debug)]
pub(in crate::engine) struct Door {
    sender: mpsc::UnboundedSender<Message>,
    /// The revision of the person's row as the lane last knew it.
    revision: Arc<AtomicU64>,
}

impl Door {
    /// True when the lane knows another revision than the row has.
    pub(in crate::engine) fn is_behind(&self, revision: u64) -> bool {
        self.revision.load(Ordering::Relaxed) < revision
    }
}

pub(in crate::engine) struct Lane {
    inner: Arc<Inner>,
    /// The lease it works under.
    era: Arc<Era>,
    identity: Identity,
    inbox: mpsc::UnboundedReceiver<Message>,
    calls: FuturesUnordered<BoxFuture<'static, Back>>,
    running: BTreeSet<(RunId, StepId)>,
    /// Those of them that change something outside: a stop waits for these only.
    effects: BTreeSet<(RunId, StepId)>,
    prepared: BTreeMap<(RunId, StepId), Value>,
    person: Option<Person>,
    revision: Arc<AtomicU64>,
    row: Option<RowState>,
    /// What intents mean that nobody reports about.
    orphans: Orphans,
    /// Keys of intents whose commit was answered by an error: what of them is in the store was never sent.
    unsent: HashSet<EffectKey>,
    /// Another worker holds this person: what comes in is laid before it.
    foreign: Option<PersonRecord>,
    /// Signals found laid before us at the last load.
    forwarded: Vec<Signal>,
    /// Its place among those that are being contained; given back once they are (law 2: nobody waits behind a read).
    room: Option<OwnedSemaphorePermit>,
}

/// The lane cannot go on: it is loaded again later.
struct Gone;

impl Inner {
    /// Hands a message to the person's lane, starting it if there is none.
    pub(in crate::engine) fn tell(
        self: &Arc<Self>,
        identity: &Identity,
        message: Message,
        room: Option<OwnedSemaphorePermit>,
    ) {
        let era = self.era();
        if !self.works || self.is_dead() || era.ended.is_cancelled() {
            // Not ours to do; in the store, on the queue or by its claim it comes to whoever may.
            return;
        }
        let mut lanes = lock(&self.lanes);
        let message = match lanes.get(identity) {
            Some(lane) => match lane.sender.send(message) {
                Ok(()) => return,
                Err(unsent) => unsent.0,
            },
            None => message,
        };
        let (sender, inbox) = mpsc::unbounded_channel();
        if sender.send(message).is_err() {
            return;
        }
        let revision = Arc::new(AtomicU64::new(0));
        lanes.insert(identity.clone(), Door { sender, revision: Arc::clone(&revision) });
        drop(lanes);
        let lane = Lane {
            inner: Arc::clone(self),
            era,
            identity: identity.clone(),
            inbox,
            calls: FuturesUnordered::new(),
            running: BTreeSet::new(),
            effects: BTreeSet::new(),
            prepared: BTreeMap::new(),
            person: None,
            revision,
            row: None,
            orphans: Orphans::Ours,
            unsent: HashSet::new(),
            foreign: None,
            forwarded: Vec::new(),
            room,
        };
        self.tasks.spawn(lane.live());
    }
}

impl Lane {
    async fn live(mut self) {
        loop {
            let mut messages = Vec::new();
            let mut backs = Vec::new();
            if !self.wait(&mut messages, &mut backs).await || self.is_over() {
                break;
            }
            // Boxed: a lane mostly waits, and then needs no room for what a turn needs.
            if Box::pin(self.turn(messages, backs)).await.is_err() || self.is_over() {
                break;
            }
            if self.person.as_ref().is_some_and(|person| !person.is_urgent()) {
                drop(self.room.take());
            }
            if self.inner.stop.is_cancelled() && self.effects.is_empty() {
                break;
            }
            if self.may_rest() && self.leave() {
                return;
            }
        }
        lock(&self.inner.lanes).remove(&self.identity);
        // Whatever is left in the inbox is in the store or on the queue: dropped claims come again.
    }

    fn is_over(&self) -> bool {
        self.inner.is_dead() || self.era.ended.is_cancelled()
    }

    fn next_wake(&self) -> Option<Timestamp> {
        let person = self.person.as_ref()?;
        person.wake_at(self.inner.rules.collect_limit)
    }

    fn may_rest(&self) -> bool {
        let soon = self.inner.now() + LINGER;
        self.calls.is_empty() && self.inbox.is_empty() && self.next_wake().is_none_or(|at| at > soon)
    }

    /// Leaves the map of lanes unless something arrived meanwhile.
    fn leave(&mut self) -> bool {
        let mut lanes = lock(&self.inner.lanes);
        if !self.inbox.is_empty() {
            return false;
        }
        lanes.remove(&self.identity);
        true
    }

    /// Waits for something to do; gathers all that is there. False when there will be nothing any more.
    async fn wait(&mut self, messages: &mut Vec<Message>, backs: &mut Vec<Back>) -> bool {
        let now = self.inner.now();
        let timer = self.next_wake().map(|at| match Duration::try_from(at.duration_since(now)) {
            // Looked at anew each second: a clock may jump, as that of a suspended machine does.
            Ok(wait) if !wait.is_zero() => wait.min(GLANCE),
            // Overdue: a call in flight ends it, or something outside does; looked at again, without spinning.
            _ if !self.calls.is_empty() => GLANCE,
            _ => OVERDUE,
        });
        let stop = self.inner.stop.clone();
        let ended = self.era.ended.clone();
        tokio::select! {
            biased;
            () = ended.cancelled() => return false,
            message = self.inbox.recv() => match message {
                Some(message) => messages.push(message),
                None => return false,
            },
            Some(back) = self.calls.next(), if !self.calls.is_empty() => backs.push(back),
            () = sleep(timer) => {}
            () = stop.cancelled(), if self.effects.is_empty() => return false,
        }
        while let Ok(message) = self.inbox.try_recv() {
            messages.push(message);
        }
        while let Some(Some(back)) = futures_util::FutureExt::now_or_never(self.calls.next()) {
            backs.push(back);
        }
        true
    }

    async fn load(&mut self) -> Result<(), store::Error> {
        let record = self.inner.store.person(&self.identity).await?;
        self.row = None;
        self.foreign = None;
        let Some(mut record) = record else {
            self.person = Some(Person::new(self.identity.clone()));
            self.revision.store(0, Ordering::Relaxed);
            return Ok(());
        };
        self.revision.store(record.revision, Ordering::Relaxed);
        if !self.may_own(record.owner) {
            self.foreign = Some(record);
            return Ok(());
        }
        self.forwarded = std::mem::take(&mut record.forwarded);
        self.inner.saw_elsewhere(std::mem::take(&mut record.seen));
        let corrupt = |source: Box<dyn std::error::Error + Send + Sync>| store::Error::Corrupt {
            what: format!("person {}", self.identity),
            source: Some(source),
        };
        let doc: Doc = serde_json::from_value(record.doc).map_err(|error| corrupt(Box::new(error)))?;
        let mut journals = Vec::with_capacity(record.runs.len());
        for (row, journal) in record.runs {
            journals.push((row.id, row.case, self.inner.plan(&row.plan).await?, journal));
        }
        let person = Person::restore(self.identity.clone(), doc, journals, record.tasks)
            .map_err(|error| corrupt(Box::new(error)))?;
        self.person = Some(person);
        Ok(())
    }

    /// Loads until it works; a store that is away is waited for.
    async fn reload(&mut self) -> Result<(), Gone> {
        let mut failures = 0;
        loop {
            match self.load().await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.inner.telemetry.store_error("person.load", &error);
                    if matches!(error, store::Error::Corrupt { .. }) && failures > 2 {
                        return Err(Gone);
                    }
                    self.inner.pause_after_failure(&mut failures).await.map_err(|()| Gone)?;
                }
            }
        }
    }

    /// One turn: fold, decide, commit, do.
    async fn turn(&mut self, messages: Vec<Message>, backs: Vec<Back>) -> Result<(), Gone> {
        for message in &messages {
            if let Message::TakenOver(ago) = message {
                self.succeed(*ago);
            }
        }
        let is_told = |message: &Message| matches!(message, Message::Wake | Message::TakenOver(_));
        if self.person.is_none() || messages.iter().any(is_told) {
            self.reload().await?;
        }
        let mut turn = Turn::default();
        self.take_forwarded(&mut turn).await?;
        for back in backs {
            self.take_back(back, &mut turn);
        }
        for message in messages {
            match message {
                Message::Signal(incoming) => self.take_signal(*incoming, &mut turn).await?,
                Message::Wake | Message::TakenOver(_) => {}
                Message::Seal { run, step, sealed, kept } => turn.seals.push((run, step, sealed, kept)),
            }
        }
        let output = match self.foreign {
            None => self.commit(&mut turn).await?,
            Some(_) => return self.forward(turn).await,
        };
        for claim in turn.claims.drain(..) {
            claim.done();
        }
        for (_, _, _, kept) in turn.seals.drain(..) {
            // A receiver that is gone means the call was given up; the sealed row is dropped with the task.
            let _ = kept.send(Ok(()));
        }
        // What was read fresh and not used now is read again when it is needed (contract §13.6).
        self.prepared.clear();
        self.told(&turn, &output);
        self.forget_closed(&output);
        if turn.fates.contains(&Fate::Die) {
            return Err(Gone);
        }
        self.perform(output.deeds);
        Ok(())
    }

    fn take_back(&mut self, back: Back, turn: &mut Turn) {
        match back {
            Back::Prepared { run, step, before } => {
                self.running.remove(&(run, step.clone()));
                self.prepared.insert((run, step), before);
            }
            Back::Settled(settled) => {
                self.running.remove(&(settled.run, settled.step.clone()));
                self.effects.remove(&(settled.run, settled.step.clone()));
                self.prepared.remove(&(settled.run, settled.step.clone()));
                if settled.step.0 != READ_BACK && self.inner.hook.at(Place::BeforeResult, &settled.step.0) == Fate::Die
                {
                    self.inner.die();
                }
                turn.settled.push(settled);
            }
        }
    }
}

/// Sleeps for a time, or for ever.
async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => pending().await,
    }
}

impl Inner {
    /// The store failed: a growing pause, ended early by a stop (then `Err`).
    pub(in crate::engine) async fn pause_after_failure(&self, failures: &mut u32) -> Result<(), ()> {
        let pause = Duration::from_millis(100 << (*failures).min(5));
        *failures += 1;
        tokio::select! {
            () = tokio::time::sleep(pause) => if self.is_dead() { Err(()) } else { Ok(()) },
            () = self.stop.cancelled() => Err(()),
        }
    }
}

impl Lane {
    pub(in crate::engine) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(in crate::engine) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(in crate::engine) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }

    pub(in crate::engine) fn epoch(&self) -> Epoch {
        self.era.epoch
    }

    pub(in crate::engine) fn row(&self) -> Option<&RowState> {
        self.row.as_ref()
    }

    pub(in crate::engine) fn person_doc(&self) -> Option<&Doc> {
        self.person.as_ref().map(|person| &person.doc)
    }

    pub(in crate::engine) fn person_now(&self) -> Option<&Person> {
        self.person.as_ref()
    }

    pub(in crate::engine) fn is_calling(&self) -> bool {
        !self.calls.is_empty()
    }
}
