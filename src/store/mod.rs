//! State: one contract, kept by the embedded SQLite here (and by PostgreSQL past one machine).
//!
//! A use case reads what it needs, decides with pure functions, and commits one `Batch`: plain data, applied in one
//! transaction or not at all. A batch about a person carries the revision it was decided on; a late writer is refused
//! (`Error::Conflict`), which is the fencing of contract §13.3. Nothing above this module knows SQL.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast;

pub mod reviewers;
pub mod sqlite;

pub mod postgres;

mod found;
mod lists;
mod page;
mod rows;

pub use lists::Lists;

use crate::domain::ledger::Effect;
use crate::domain::run::{Entry, Mode};
use crate::domain::task::Task;
use crate::domain::{
    BuriedId, CaseId, DeliveryId, Identity, ObjectId, RunId, Signal, SignalId, TaskId, TenantName, TokenId,
};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else wrote this person since the batch was decided: load again and decide anew.
    #[error("the state of {0} changed meanwhile")]
    Conflict(Identity),
    /// The writer's lease has ended (contract §13.3): its work goes on elsewhere, it must start over as a new epoch.
    #[error("the lease of this worker has ended; its work goes on under another one")]
    Fenced,
    /// `TakeSignal` of a signal that was taken in before.
    #[error("signal {0} was taken in before")]
    Repeated(SignalId),
    /// The cap on revocations is reached; nothing of the batch was written.
    #[error("the blast radius of tenant {0} is reached")]
    OverBlastRadius(TenantName),
    /// The database cannot be reached, read or written, its disk is full, or it does not answer in time; nothing of a
    /// batch was written. It heals by itself.
    #[error("the store is away ({0}); see to its server, disk space and permissions, then it continues by itself")]
    Away(String),
    /// A row does not read back as it was written.
    #[error("stored {what} is unreadable")]
    Corrupt {
        what: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The file is held by another `oust serve`, or has a schema newer than this binary.
    #[error("{0}")]
    Unusable(String),
    /// A setting is not what the batch was decided on: read it again and decide anew.
    #[error("the setting {0} changed meanwhile")]
    Changed(String),
    /// A challenge, invitation, session, passkey or account was used before, has expired, ended or is gone.
    #[error("{0} was used before, has expired or is gone")]
    Spent(&'static str),
    /// A name, account or passkey is somebody's already.
    #[error("{0} is taken")]
    Taken(&'static str),
    /// The cursor of a page was not given out by this list.
    #[error("this is not a cursor of this list; start again without one")]
    BadCursor,
    /// Anything else the database said.
    #[error("the store failed at {what}")]
    Backend {
        what: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To write, with the newest schema.
    Write,
    /// To look and change nothing: it must be there.
    Look,
}

/// Which queue of the writer a batch waits in: containment has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Containment,
    Accept,
    Other,
}

/// How long a lease lasts after it was taken or renewed (contract §13.3).
pub const LEASE: Duration = Duration::from_secs(3);

/// The process that holds leases: a new one at every start. Leases of older epochs of the embedded store are void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub i64);

/// A batch about a person is applied only if the person's row still has this revision (0 = there is no row), and only
/// while the writer's lease lives.
#[derive(Debug, Clone)]
pub struct Expect {
    pub identity: Identity,
    pub revision: u64,
    /// The worker that writes; `None` for a process that holds no lease (a decision, an operator).
    pub epoch: Option<Epoch>,
}

/// One transaction.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub expect: Option<Expect>,
    pub ops: Vec<Op>,
}

/// What a transaction may contain.
#[derive(Debug, Clone)]
pub enum Op {
    /// Takes a claimed signal off the embedded queue; a row already gone is no error.
    Dequeue(i64),
    /// Puts a claimed signal back, not before `due_at`.
    Requeue {
        seq: i64,
        due_at: Timestamp,
    },
    /// A signal off the queue: fails the batch as `Repeated` if it was taken in before (a broker delivers again what
    /// was committed and not yet acknowledged).
    TakeSignal(Box<SignalRow>),
    /// Inserts or replaces by id.
    PutSignal(Box<SignalRow>),
    /// Keeps the body of a delivery that came over a broker; an existing row is left alone.
    PutDelivery(Box<Delivery>),
    /// Lays a signal before the worker that holds this person; the person's revision must change in the same batch.
    Forward {
        identity: Identity,
        signal: Box<Signal>,
    },
    /// A forwarded signal was taken in.
    DropForwarded(SignalId),
    /// The browser of a task's recipient was there.
    Seen {
        task: TaskId,
        browser: Browser,
    },
    /// Late knowledge about a signal: its outcome, case and run.
    Outcome {
        signal: SignalId,
        outcome: SignalOutcome,
    },
    /// Stores a pinned plan; an existing row is left alone.
    PutPlan {
        hash: String,
        json: String,
    },
    /// Writes the person's row, with revision + 1.
    PutPerson(Box<PersonRow>),
    PutCase(Box<CaseRow>),
    PutRun(Box<RunRow>),
    /// Appends; `seq` must be the next one (1, 2, …) or the batch fails as `Conflict`.
    Journal {
        run: RunId,
        seq: u64,
        entry: Box<Entry>,
    },
    /// Inserts or replaces by key.
    PutEffect(Box<Effect>),
    /// Inserts or replaces by id, if the stored revision is lower.
    PutTask(Box<Task>),
    /// Ciphertext of a revealed secret, by task and step.
    PutSealed {
        task: TaskId,
        sealed: Value,
    },
    DropSealed {
        task: TaskId,
    },
    Bury(Box<Buried>),
    /// A buried row was replayed or dropped; one already settled (or unknown) fails the batch as `Backend`.
    SettleBuried {
        id: BuriedId,
        state: BuriedState,
        by: String,
        reason: String,
        at: Timestamp,
    },
    Audit(Box<Audit>),
    /// Counts a person against the tenant's cap; over it the whole batch fails with `OverBlastRadius`.
    CountRevocation {
        identity: Identity,
        at: Timestamp,
        cap: Option<Cap>,
    },
    PutWaiting(Box<Waiting>),
    DropWaiting(SignalId),
    PutSetting {
        key: String,
        value: Value,
    },
    /// Writes a setting only if it is still `was`; otherwise the batch fails as `Changed`.
    SwapSetting {
        key: String,
        was: Option<Value>,
        value: Value,
    },
    DropSetting {
        key: String,
    },
    PutToken(Box<Token>),
    RevokeToken {
        id: TokenId,
        at: Timestamp,
    },
    /// A reviewer, passkey, session, ceremony or proof.
    Reviewer(Box<reviewers::Change>),
}

/// `revocations` distinct people since `since`, the one being counted included.
#[derive(Debug, Clone, Copy)]
pub struct Cap {
    pub revocations: u32,
    pub since: Timestamp,
}

/// A person's row: what the engine folds and when it must look again.
#[derive(Debug, Clone)]
pub struct PersonRow {
    pub identity: Identity,
    /// The engine's own document (`domain::person`).
    pub doc: Value,
    /// Who works on it now; `None` = nobody.
    pub owner: Option<Epoch>,
    /// When somebody must look at it; `None` = only when something happens.
    pub due_at: Option<Timestamp>,
    /// A containment is outstanding: claimed before all others.
    pub urgent: bool,
    /// When sign-ins must be read for it next.
    pub watch_at: Option<Timestamp>,
}

/// A person this worker has to look at now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub identity: Identity,
    /// Taken from a worker whose lease ended so long ago; `None` where nobody held them.
    pub ended: Option<Duration>,
}

/// Who works on a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub epoch: Epoch,
    /// How long ago its lease ended; `None` while it lives. The embedded store knows no time here: an older epoch's
    /// process is dead for certain.
    pub ended: Option<Duration>,
}

/// A person as loaded, with everything of the open case.
#[derive(Debug, Clone)]
pub struct PersonRecord {
    pub revision: u64,
    pub owner: Option<Owner>,
    pub due_at: Option<Timestamp>,
    pub urgent: bool,
    pub watch_at: Option<Timestamp>,
    pub doc: Value,
    /// Runs of the open case (or, with none open, none), oldest first, with their journals.
    pub runs: Vec<(RunRow, Vec<Entry>)>,
    /// Every task of the open case, terminal ones included: steps read their answers from them.
    pub tasks: Vec<Task>,
    /// Signals laid before whoever holds this person, oldest first.
    pub forwarded: Vec<Signal>,
    /// The browsers of the tasks' recipients, with sessions that nobody ended.
    pub seen: Vec<(TaskId, Browser)>,
}

/// The browser of a task's recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Browser {
    /// When it was last there.
    pub at: Timestamp,
    /// The key of the session that it was there with.
    pub session: String,
}

impl PersonRecord {
    /// The row as it was read, to be written again with something changed.
    pub fn into_row(self, identity: Identity) -> PersonRow {
        PersonRow {
            identity,
            doc: self.doc,
            owner: self.owner.map(|owner| owner.epoch),
            due_at: self.due_at,
            urgent: self.urgent,
            watch_at: self.watch_at,
        }
    }
}

/// What became of a signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalOutcome {
    /// `act`, `covered`, `late_evidence`, `redelivery`, `ignored`, `held`, `waiting`, `pending`.
    pub word: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<CaseId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// For a redelivery: the signal it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<SignalId>,
}

/// A signal after intake.
#[derive(Debug, Clone, Serialize)]
pub struct SignalRow {
    pub signal: Signal,
    pub identity: Option<Identity>,
    pub outcome: SignalOutcome,
    /// Kept as the first of its content: later equals are its redeliveries.
    pub first_of_content: bool,
}

/// A case's row, for lists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaseRow {
    pub id: CaseId,
    pub identity: Identity,
    pub opened_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    /// `open`, `contained`, `not_contained`, `waiting`, `unknown`, `password_unchanged`, `closed` …
    pub state: String,
    pub kinds: Vec<String>,
    pub risk: String,
    pub mode: Mode,
    /// Signals attached so far.
    pub signals: u32,
    pub received_at: Timestamp,
    /// The first one.
    pub revoke_accepted_at: Option<Timestamp>,
    /// The latest one, where it was written down.
    #[serde(default)]
    pub last_revoke_at: Option<Timestamp>,
    pub revoke_verified_at: Option<Timestamp>,
    /// Further facts for people.
    pub detail: Value,
}

/// A run's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRow {
    pub id: RunId,
    pub case: CaseId,
    pub identity: Identity,
    pub plan: String,
    pub playbook: String,
    pub mode: Mode,
    pub opened_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    /// `open`, `finished`, `stopped`, `cancelled`.
    pub state: String,
}

/// A delivery as a broker carried it, for the record.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: DeliveryId,
    pub source: String,
    pub tenant: TenantName,
    pub received_at: Timestamp,
    pub webhook_id: Option<String>,
    pub body: bytes::Bytes,
    /// SHA-256 (hex) of the body.
    pub body_hash: String,
    pub answer: Value,
}

/// What another process wrote that this one may want to look at: sent after the commit, may be lost or doubled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// This person was decided about, or a signal was laid before them.
    Person(Identity),
    /// Signals were put on the queue in the store.
    Queue,
    /// A pause, a release, or another setting.
    Settings,
    /// Hints were lost: look at everything.
    Anything,
}

/// What a receiver hands over: one authenticated body and what was understood of it.
#[derive(Debug, Clone)]
pub struct Acceptance {
    pub delivery: DeliveryId,
    pub source: String,
    pub tenant: TenantName,
    pub received_at: Timestamp,
    /// The sender's message id, for replay detection within the source.
    pub webhook_id: Option<String>,
    pub body: bytes::Bytes,
    /// SHA-256 (hex) of the body.
    pub body_hash: String,
    pub signals: Vec<Signal>,
    /// Set when nothing was understood.
    pub buried: Option<Buried>,
    /// What the sender is answered, kept so that a replay gets the same.
    pub answer: Value,
}

/// What became of an acceptance.
#[derive(Debug, Clone, PartialEq)]
pub enum Receipt {
    Accepted,
    /// The same `webhook_id` with the same body came before: this was the answer.
    Replay {
        answer: Value,
    },
}

/// A signal on the embedded queue.
#[derive(Debug, Clone)]
pub struct Queued {
    pub seq: i64,
    /// It was claimed before and put back.
    pub put_back: bool,
    pub signal: Signal,
}

/// A signal whose person or object is still to be named by Microsoft.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub signal: Signal,
    pub attempt: u32,
    pub due_at: Timestamp,
    pub reason: String,
}

/// A delivery or run set aside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Buried {
    pub id: BuriedId,
    pub at: Timestamp,
    pub source: String,
    pub tenant: Option<TenantName>,
    pub delivery: Option<DeliveryId>,
    /// One line for people.
    pub reason: String,
    pub state: BuriedState,
    /// Who replayed or dropped it, when and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    /// What was set aside: the body's text for deliveries, JSON for others.
    #[serde(default)]
    pub content: Value,
}

/// What became of a buried row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// As the audit trail names whoever it was.
    pub by: String,
    /// Empty where none was given.
    pub reason: String,
    pub at: Timestamp,
}

/// Where a buried row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuriedState {
    Buried,
    Replayed,
    Dropped,
}

/// One line of the audit trail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Audit {
    pub at: Timestamp,
    /// `system`, `worker`, `operator:<unix user>`, `reviewer:<id>`, `source:<name>`.
    pub actor: String,
    /// What was done or refused, e.g. `revoke.intended`, `guard.refused`.
    pub verb: String,
    pub tenant: Option<TenantName>,
    pub object_id: Option<ObjectId>,
    pub case: Option<CaseId>,
    pub detail: Value,
}

/// A record of the audit trail with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The store's word for the place; ask for what comes after it.
    pub cursor: String,
    /// The record's exact text, JSON of [`Audit`].
    pub record: String,
}

/// An API token: its hash, never its text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    /// SHA-256 (hex) of the token.
    pub hash: String,
    pub scopes: Vec<String>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// A page of a list: `after` is the cursor of the previous page's last row.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub after: Option<String>,
    /// At most 500; 0 = 100.
    pub limit: u32,
}

/// Rows and the cursor of the next page.
#[derive(Debug, Clone, Serialize)]
pub struct Listed<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

/// Which tasks, cases or buried rows to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only open (not terminal, not closed, not settled) rows.
    pub open: bool,
    pub object_id: Option<ObjectId>,
    pub case: Option<CaseId>,
}

/// Numbers for `/metrics` and `/readyz`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    pub queue_depth: u64,
    pub queue_oldest: Option<Timestamp>,
    pub waiting: u64,
    pub people_due: u64,
    pub runs_open: u64,
    pub cases_open: u64,
    /// Open tasks by kind, and the oldest.
    pub tasks_open: Vec<(String, u64)>,
    pub tasks_oldest: Option<Timestamp>,
    pub effects_unknown: u64,
    pub buried: u64,
    pub parked: u64,
}

/// The store contract. Every method is one transaction or one consistent read.
#[async_trait]
pub trait Store: Lists + Send + Sync + std::fmt::Debug {
    /// Applies a batch, durably: when it returns `Ok`, the data is synced.
    ///
    /// # Errors
    /// See `Error`; on any error nothing of the batch was written.
    async fn commit(&self, lane: Lane, batch: Batch) -> Result<(), Error>;

    /// Stores a delivery with its signals on the embedded queue (or buried), durably, in one transaction with the
    /// memory of its `webhook_id`.
    ///
    /// # Errors
    /// `Away` when it is not durable.
    async fn accept(&self, acceptance: Acceptance) -> Result<Receipt, Error>;

    /// Signals on the embedded queue, oldest first: up to `limit` never put back and after `after`, and up to `limit`
    /// put back whose time has come, wherever they are. An unreadable row is buried and left out.
    async fn queued(&self, after: i64, now: Timestamp, limit: u32) -> Result<Vec<Queued>, Error>;

    /// The person's row and the open case; `None` for a person never seen.
    async fn person(&self, identity: &Identity) -> Result<Option<PersonRecord>, Error>;

    /// Claims people that must be looked at and that nobody with a live lease holds: urgent first, then by due time.
    /// Where several workers share a store they are `me`'s afterwards, and nobody else is given them.
    async fn claim_people(&self, now: Timestamp, me: Epoch, limit: u32) -> Result<Vec<Claimed>, Error>;

    /// Everybody `me` holds, with the revision of the row: what memory knows otherwise was changed by another process.
    async fn held(&self, me: Epoch) -> Result<Vec<(Identity, u64)>, Error>;

    /// Claims signals whose naming is due; given again only when `me`'s lease has ended, or to `me` itself.
    async fn due_waiting(&self, now: Timestamp, me: Epoch, limit: u32) -> Result<Vec<Waiting>, Error>;

    /// People of a tenant whose sign-ins are watched, with the documents; at most `limit`, due ones first.
    async fn watched(&self, tenant: &TenantName, now: Timestamp, limit: u32) -> Result<Vec<(Identity, Value)>, Error>;

    /// The first signal with this content about this person from this source; without a time of its own only when
    /// received at or after `untimed_since`.
    async fn first_of_content(
        &self,
        source: &str,
        identity: &Identity,
        content: &str,
        untimed_since: Option<Timestamp>,
    ) -> Result<Option<SignalRowBrief>, Error>;

    /// A pinned plan's JSON.
    async fn plan(&self, hash: &str) -> Result<Option<String>, Error>;

    async fn signal(&self, id: SignalId) -> Result<Option<Value>, Error>;
    async fn signals_of(&self, case: CaseId) -> Result<Vec<Value>, Error>;
    async fn cases(&self, filter: &Filter, page: &Page) -> Result<Listed<CaseRow>, Error>;
    async fn case(&self, id: CaseId) -> Result<Option<CaseRow>, Error>;
    async fn runs_of(&self, case: CaseId) -> Result<Vec<(RunRow, Vec<Entry>)>, Error>;
    async fn run(&self, id: RunId) -> Result<Option<(RunRow, Vec<Entry>)>, Error>;
    async fn effects_of(&self, run: RunId) -> Result<Vec<Effect>, Error>;
    async fn tasks(&self, filter: &Filter, page: &Page) -> Result<Listed<Task>, Error>;
    async fn task(&self, id: TaskId) -> Result<Option<Task>, Error>;
    async fn sealed(&self, task: TaskId) -> Result<Option<Value>, Error>;
    /// Without the contents, which may be large: `buried` has them.
    async fn buried_list(&self, filter: &Filter, page: &Page) -> Result<Listed<Buried>, Error>;
    async fn buried(&self, id: BuriedId) -> Result<Option<Buried>, Error>;
    async fn delivery_body(&self, id: DeliveryId) -> Result<Option<bytes::Bytes>, Error>;
    async fn audit(&self, page: &Page) -> Result<Listed<(u64, Audit)>, Error>;
    /// The audit trail after a place, oldest first, in the one order that never changes: a record that is given has
    /// nothing before it that could still come.
    async fn audit_in_order(&self, after: Option<&str>, limit: u32) -> Result<Vec<Recorded>, Error>;
    async fn setting(&self, key: &str) -> Result<Option<Value>, Error>;
    async fn tokens(&self) -> Result<Vec<Token>, Error>;
    /// The live token with this hash (not revoked, not expired at `now`).
    async fn token_by_hash(&self, hash: &str, now: Timestamp) -> Result<Option<Token>, Error>;
    async fn figures(&self, now: Timestamp) -> Result<Figures, Error>;

    /// A number that changes when another process wrote what workers must notice (the embedded file: anything; a shared
    /// database: pause and releases); cheap.
    async fn stamp(&self) -> Result<i64, Error>;

    /// Starts a new epoch with a lease of `LEASE`. The embedded store takes its lock, once for the process.
    ///
    /// # Errors
    /// `Unusable` when another `serve` holds the embedded store.
    async fn begin_epoch(&self) -> Result<Epoch, Error>;

    /// True where several workers may share the store. False: an older epoch is dead for certain (the lock file says so).
    fn is_shared(&self) -> bool;

    /// Renews the lease for another `LEASE`; false when it had ended: it never lives again.
    async fn renew(&self, me: Epoch) -> Result<bool, Error>;

    /// Ends the lease now, so that others need not wait for what `me` held; a hint of a clean stop.
    async fn end_epoch(&self, me: Epoch) -> Result<(), Error>;

    /// Takes or keeps a duty that one worker at a time does (`watch`, `clocks`, …); false while another live lease has it.
    async fn lead(&self, duty: &str, me: Epoch) -> Result<bool, Error>;

    /// What other processes wrote, from now on.
    fn hints(&self) -> broadcast::Receiver<Hint>;

    /// Every table as text with ids and instants as they are, for tests that compare whole stores.
    async fn picture(&self) -> Result<String, Error>;
}

/// What a redelivery joins.
#[derive(Debug, Clone)]
pub struct SignalRowBrief {
    pub id: SignalId,
    pub outcome: SignalOutcome,
}
