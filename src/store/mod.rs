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
mod model;
mod page;
mod rows;
mod statement;

pub use lists::Lists;
pub use model::{
    Acceptance, Audit, Browser, Buried, BuriedState, Cap, CaseRow, Claimed, Delivery, Figures, Filter, Hint, Listed,
    Owner, Page, PersonRecord, PersonRow, Queued, Receipt, Recorded, RunRow, Settled, SignalOutcome, SignalRow,
    SignalRowBrief, Token, Waiting,
};

use crate::domain::ledger::Effect;
use crate::domain::run::Entry;
use crate::domain::task::Task;
use crate::domain::{BuriedId, CaseId, DeliveryId, Identity, RunId, Signal, SignalId, TaskId, TenantName, TokenId};

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
