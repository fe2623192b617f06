//! A lane: everything about one identity, one thing after the other. Lanes of different people run in parallel.
//!
//! A lane folds what came in, lets the ground decide, commits one batch, then does what was decided. The person in
//! memory is a cache of the store: on any conflict it is loaded anew. A lane ends when nothing is in flight and the
//! next due time is far; the row says when to look again.

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
use tracing::Instrument;

use super::hook::{Fate, Place};
use super::intake::{Asking, Held};
use super::lease::Era;
use super::record::{RowState, Turn};
use super::{Inner, lock, perform};
use crate::domain::ledger::{EffectKey, Fault};
use crate::domain::person::{Around, Arrival, Deed, Doc, Orphans, Output, Person, READ_BACK, Settled};
use crate::domain::plan::StepId;
use crate::domain::{Identity, RunId, Signal, SignalId, TaskId};
use crate::queue::Claim;
use crate::store::{self, Epoch, Lane as Priority, Op, Owner, PersonRecord, SignalOutcome, SignalRow};

/// Where a signal came from, so that it can be taken off there in the intake's transaction.
#[derive(Debug)]
pub(super) enum Origin {
    Queue(Box<Claim>),
    Waiting(Asking),
    /// Laid before us by another worker.
    Forwarded(SignalId),
}

/// A signal about this person.
#[derive(Debug)]
pub(super) struct Incoming {
    pub origin: Origin,
    pub signal: Signal,
    pub arrival: Arrival,
    pub also_matched: Vec<String>,
}

/// What a lane is told.
#[derive(Debug)]
pub(super) enum Message {
    Signal(Box<Incoming>),
    /// Something of this person changed in the store, or is due.
    Wake,
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
pub(super) enum Back {
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
pub(super) struct Door {
    sender: mpsc::UnboundedSender<Message>,
    /// The revision of the person's row as the lane last knew it.
    revision: Arc<AtomicU64>,
}

impl Door {
    /// True when the lane knows another revision than the row has.
    pub(super) fn is_behind(&self, revision: u64) -> bool {
        self.revision.load(Ordering::Relaxed) < revision
    }
}

pub(super) struct Lane {
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
    pub(super) fn tell(self: &Arc<Self>, identity: &Identity, message: Message, room: Option<OwnedSemaphorePermit>) {
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
        self.inner.saw_elsewhere(&record.seen);
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

    /// Whether this worker may work on the person, and what open intents mean then.
    fn may_own(&mut self, owner: Option<Owner>) -> bool {
        match owner {
            Some(owner) if owner.epoch == self.epoch() => true,
            Some(Owner { ended: None, .. }) => false,
            Some(Owner { ended: Some(ago), .. }) => {
                let at = self.inner.now() - SignedDuration::try_from(ago).unwrap_or(SignedDuration::ZERO);
                self.orphans = if self.inner.store.is_shared() { Orphans::LeaseEnded(at) } else { Orphans::Dead };
                true
            }
            None => true,
        }
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
        if self.person.is_none() || messages.iter().any(|message| matches!(message, Message::Wake)) {
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
                Message::Wake => {}
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

    /// A redelivery joins its signal and starts nothing, but makes an unfinished one continue (contract §13.1).
    async fn take_signal(&mut self, incoming: Incoming, turn: &mut Turn) -> Result<(), Gone> {
        let Incoming { origin, signal, arrival, also_matched } = incoming;
        // A sender's repetition has the same id over a broker; in one turn it is the same row.
        let is_here = turn.signals.iter().any(|row| row.signal.id == signal.id);
        match origin {
            Origin::Queue(claim) => {
                turn.ops.extend(claim.take_off());
                turn.claims.push(*claim);
                if !is_here {
                    turn.fresh.insert(signal.id);
                }
            }
            Origin::Forwarded(id) => turn.ops.push(Op::DropForwarded(id)),
            Origin::Waiting(asking) => {
                turn.ops.push(Op::DropWaiting(asking.id));
                turn.asking.push(asking);
            }
        }
        if is_here {
            return Ok(());
        }
        let content = signal.finding.content.clone();
        let same = |row: &SignalRow| row.signal.source == signal.source && row.signal.finding.content == content;
        let first = match turn.signals.iter().find(|row| row.first_of_content && same(row)) {
            Some(row) => Some(row.signal.id),
            None => self.first_of(&signal).await?,
        };
        let mut outcome = SignalOutcome { word: "redelivery".into(), reason: None, case: None, run: None, first };
        if first.is_none() {
            outcome.word = "act".into();
            if !also_matched.is_empty() {
                outcome.reason = Some(format!("also matched: {}", also_matched.join(", ")));
            }
            turn.arrivals.push(arrival);
        } else {
            self.inner.telemetry.signal_outcome(&signal, "redelivery");
        }
        let identity = Some(self.identity.clone());
        turn.signals.push(SignalRow { signal, identity, outcome, first_of_content: first.is_none() });
        Ok(())
    }

    /// Takes in what other workers laid before us.
    async fn take_forwarded(&mut self, turn: &mut Turn) -> Result<(), Gone> {
        for signal in std::mem::take(&mut self.forwarded) {
            if turn.signals.iter().any(|row| row.signal.id == signal.id) {
                continue;
            }
            let held = Held { origin: Origin::Forwarded(signal.id), signal, attempt: 0 };
            match self.inner.arrange(held) {
                Ok(incoming) => self.take_signal(incoming, turn).await?,
                Err(unchosen) => {
                    let inner = Arc::clone(&self.inner);
                    self.inner.tasks.spawn(async move { inner.unchosen(unchosen.0, &unchosen.1).await });
                }
            }
        }
        Ok(())
    }

    /// Lays what came in before the worker that holds the person; what is due there it knows itself.
    async fn forward(&mut self, mut turn: Turn) -> Result<(), Gone> {
        let mut failures = 0;
        loop {
            let Some(record) = self.foreign.take() else {
                // Nobody holds them any more: from the start, by the claims.
                return Err(Gone);
            };
            let Some(batch) = turn.forward(record, &self.identity, self.epoch(), self.inner.now()) else { break };
            match self.inner.store.commit(Priority::Containment, batch).await {
                Ok(()) => break,
                Err(store::Error::Repeated(signal)) => turn.forget(signal),
                Err(store::Error::Conflict(_)) => {}
                Err(store::Error::Fenced) => {
                    self.inner.fence(&self.era);
                    return Err(Gone);
                }
                Err(error) => {
                    self.inner.telemetry.store_error("signal.forward", &error);
                    self.inner.pause_after_failure(&mut failures).await.map_err(|()| Gone)?;
                }
            }
            self.reload().await?;
        }
        for claim in turn.claims.drain(..) {
            claim.done();
        }
        Err(Gone)
    }

    async fn first_of(&mut self, signal: &Signal) -> Result<Option<SignalId>, Gone> {
        let since = (!signal.finding.is_timed()).then(|| signal.received_at - Signal::UNTIMED_WINDOW);
        let mut failures = 0;
        loop {
            let found =
                self.inner.store.first_of_content(&signal.source, &self.identity, &signal.finding.content, since).await;
            match found {
                // A signal that was claimed again after a crash is not its own redelivery.
                Ok(found) => return Ok(found.map(|first| first.id).filter(|id| *id != signal.id)),
                Err(error) => {
                    self.inner.telemetry.store_error("signal.first_of_content", &error);
                    self.inner.pause_after_failure(&mut failures).await.map_err(|()| Gone)?;
                }
            }
        }
    }

    /// Decides on the state in hand and commits; decides anew when the state changed or a guard in the store said no.
    async fn commit(&mut self, turn: &mut Turn) -> Result<Output, Gone> {
        let mut over_cap = false;
        let mut failures = 0;
        loop {
            if self.is_over() {
                return Err(Gone);
            }
            let Some(mut person) = self.person.clone() else { return Err(Gone) };
            let mut output = self.decide(&mut person, turn, over_cap);
            self.ask_hook(&output, turn);
            if self.inner.is_dead() {
                return Err(Gone);
            }
            let inner = Arc::clone(&self.inner);
            let mut storm = (None, Vec::new());
            if output.parked_by_cap {
                storm.0 = Some(inner.storms.lock().await);
                storm.1 = inner.storm_ops(&person.identity.tenant, inner.now()).await;
            }
            let Some((batch, row)) = self.batch(&person, &output, turn, storm.1) else {
                self.person = Some(person);
                return Ok(output);
            };
            let lane = if person.is_urgent() { Priority::Containment } else { Priority::Other };
            let committed = self.inner.store.commit(lane, batch).await;
            drop(storm.0);
            match committed {
                Ok(()) => {
                    self.person = Some(person);
                    self.revision.fetch_add(1, Ordering::Relaxed);
                    self.row = Some(row);
                    return Ok(output);
                }
                Err(store::Error::Conflict(_)) => {
                    self.reload().await?;
                    if self.foreign.is_some() {
                        self.forward(std::mem::take(turn)).await?;
                        return Err(Gone);
                    }
                    self.take_forwarded(turn).await?;
                }
                Err(store::Error::Changed(_)) => {}
                // A broker delivers again what was committed and not yet acknowledged.
                Err(store::Error::Repeated(signal)) => turn.forget(signal),
                Err(store::Error::Fenced) => {
                    self.inner.fence(&self.era);
                    return Err(Gone);
                }
                Err(store::Error::OverBlastRadius(_)) => over_cap = true,
                Err(error) => {
                    self.inner.telemetry.store_error("person.commit", &error);
                    // Perhaps it was written and only the answer was lost: then it was not sent.
                    self.unsent.extend(output.deeds.iter().filter_map(|deed| match deed {
                        Deed::Effect { key, .. } => Some(*key),
                        _ => None,
                    }));
                    output.deeds.clear();
                    self.inner.pause_after_failure(&mut failures).await.map_err(|()| Gone)?;
                }
            }
        }
    }

    fn decide(&self, person: &mut Person, turn: &Turn, over_cap: bool) -> Output {
        let facts = self.inner.facts(&self.identity, over_cap);
        let presence = |task: TaskId| lock(&self.inner.presence).get(&task).copied();
        let around = Around {
            now: self.inner.now(),
            rules: &self.inner.rules,
            guard: &facts,
            conditions: &self.inner.conditions,
            running: &self.running,
            prepared: &self.prepared,
            presence: &presence,
            orphans: self.orphans,
            unsent: &self.unsent,
            mint: &Inner::mint,
        };
        let mut output = Output::default();
        for settled in &turn.settled {
            if let Err(illegal) = person.settle(settled.clone(), &around, &mut output) {
                tracing::warn!(run.id = %settled.run, step.id = %settled.step, error = %illegal, "a late answer was not recorded");
            }
        }
        for (run, step, _, _) in &turn.seals {
            person.sealed(*run, step, &around, &mut output);
        }
        for arrival in &turn.arrivals {
            if let Err(illegal) = person.arrive(arrival.clone(), &around, &mut output) {
                tracing::error!(identity.id = %self.identity.object_id, error = %illegal, "a signal could not be folded");
            }
        }
        if let Err(illegal) = person.advance(&around, &mut output) {
            tracing::error!(identity.id = %self.identity.object_id, error = %illegal, "a run could not go on");
        }
        output
    }

    fn ask_hook(&self, output: &Output, turn: &mut Turn) {
        turn.fates.clear();
        for deed in &output.deeds {
            if let Deed::Effect { step, .. } = deed
                && self.inner.hook.at(Place::BeforeIntent, &step.0) == Fate::Die
            {
                self.inner.die();
                turn.fates.push(Fate::Die);
            }
        }
    }

    /// After a commit, and after it was told: a closed case needs no memory any more.
    fn forget_closed(&mut self, output: &Output) {
        let Some(person) = &mut self.person else { return };
        for (run, _, _) in output.journal.iter().filter(|(_, seq, _)| *seq == 1) {
            if let Some(opened) = person.run(*run) {
                self.inner.was_pinned(&opened.plan_hash);
            }
        }
        if output.case_closed.is_some() {
            person.runs.clear();
            person.tasks.clear();
        }
        if let Some(mark) = person.doc.watermark {
            lock(&self.inner.watermarks).insert(self.identity.clone(), mark.at);
        }
    }

    fn perform(&mut self, deeds: Vec<Deed>) {
        let Some(person) = &self.person else { return };
        let mut begun = HashSet::new();
        let stopping = self.inner.stop.is_cancelled();
        for deed in deeds {
            let is_effect = matches!(deed, Deed::Effect { .. });
            // What only looks is begun again at the next start; an intent that is written is always sent.
            if stopping && !is_effect {
                continue;
            }
            let (run, step) = match &deed {
                Deed::Effect { run, step, .. }
                | Deed::Read { run, step }
                | Deed::Prepare { run, step }
                | Deed::Verify { run, step, .. } => (*run, step.clone()),
                Deed::ReadBack => match &person.doc.read_back {
                    Some(reading) => (reading.run, StepId(READ_BACK.into())),
                    None => continue,
                },
            };
            // A decision loop may name the same deed twice; it is one deed.
            if !begun.insert((run, step.clone())) || !self.running.insert((run, step.clone())) {
                continue;
            }
            if let Deed::Effect { key, .. } = &deed {
                self.unsent.remove(key);
            }
            if let Some(call) = perform::start(&self.inner, &self.era, person, deed) {
                if is_effect {
                    self.effects.insert((run, step));
                }
                self.calls.push(Box::pin(call.instrument(tracing::Span::current())));
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
    pub(super) async fn pause_after_failure(&self, failures: &mut u32) -> Result<(), ()> {
        let pause = Duration::from_millis(100 << (*failures).min(5));
        *failures += 1;
        tokio::select! {
            () = tokio::time::sleep(pause) => if self.is_dead() { Err(()) } else { Ok(()) },
            () = self.stop.cancelled() => Err(()),
        }
    }
}

impl Lane {
    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.era.epoch
    }

    pub(super) fn row(&self) -> Option<&RowState> {
        self.row.as_ref()
    }

    pub(super) fn person_doc(&self) -> Option<&Doc> {
        self.person.as_ref().map(|person| &person.doc)
    }

    pub(super) fn person_now(&self) -> Option<&Person> {
        self.person.as_ref()
    }

    pub(super) fn is_calling(&self) -> bool {
        !self.calls.is_empty()
    }
}
