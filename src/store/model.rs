//! What the store keeps and gives back, as plain data: rows as the engine writes them, and what readers list.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Epoch;
use crate::domain::run::{Entry, Mode};
use crate::domain::task::Task;
use crate::domain::{
    BuriedId, CaseId, DeliveryId, Identity, ObjectId, RunId, Signal, SignalId, TaskId, TenantName, TokenId,
};

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
    /// Open cases by where they stand (`CaseRow::state`).
    pub cases_by_state: Vec<(String, u64)>,
    /// Open tasks by kind, and the oldest.
    pub tasks_open: Vec<(String, u64)>,
    pub tasks_oldest: Option<Timestamp>,
    pub effects_unknown: u64,
    pub buried: u64,
    pub parked: u64,
}

impl Figures {
    /// Open cases that stand there.
    pub fn cases_in(&self, state: &str) -> u64 {
        among(&self.cases_by_state, state)
    }
}

/// The count of this word.
pub(super) fn among(counts: &[(String, u64)], word: &str) -> u64 {
    counts.iter().find(|(one, _)| one == word).map_or(0, |(_, count)| *count)
}

/// What a redelivery joins.
#[derive(Debug, Clone)]
pub struct SignalRowBrief {
    pub id: SignalId,
    pub outcome: SignalOutcome,
}
