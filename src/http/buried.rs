//! What was set aside, settled: read again and put on the queue as a delivery of its own, or dropped with a reason. The
//! command line and the console do it through here, so that both mean the same and leave the same record.
//!
//! It decides nothing about a person: a replay goes the way of every delivery.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::problem::chain;
use super::state::Source;
use crate::domain::{BuriedId, DeliveryId, Signal};
use crate::queue::Queue;
use crate::store::{self, Acceptance, Audit, Batch, Buried, BuriedState, Lane, Op, Receipt, Store};

/// Why a row was not settled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("nothing is buried under {0}")]
    NoSuch(BuriedId),
    /// Somebody was first.
    #[error("already {}", word(*.0))]
    Settled(BuriedState),
    /// It cannot be read: the source is gone, there is no body, or it is still not understood.
    #[error("{0}")]
    Unread(String),
    /// The queue did not take it; the row stays as it is.
    #[error("it could not be put on the queue: {0}")]
    NotDurable(String),
    #[error(transparent)]
    Store(#[from] store::Error),
}

fn word(state: BuriedState) -> &'static str {
    match state {
        BuriedState::Buried => "buried",
        BuriedState::Replayed => "replayed",
        BuriedState::Dropped => "dropped",
    }
}

/// Opens the configured source of a name; the text says why there is none.
pub type OpenSource = Arc<dyn Fn(&str) -> Result<Source, String> + Send + Sync>;

/// What a body is read with again, and where it goes.
#[derive(Clone)]
pub struct Reader {
    pub queue: Arc<dyn Queue>,
    pub source: OpenSource,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// Who settles, why and when.
#[derive(Debug, Clone)]
pub struct By {
    /// `operator:<unix user>`, `reviewer:<id>`.
    pub actor: String,
    pub reason: String,
    pub at: Timestamp,
    /// What must hold, or be written, in the same transaction.
    pub with: Vec<Op>,
}

/// Reads a row's body again, puts it on the queue and records that; the ids of the signals found in it.
///
/// # Errors
/// As [`Error`]. Cut short, it can be done again: the same body starts nothing twice.
pub async fn replay(store: &dyn Store, reader: &Reader, id: BuriedId, by: By) -> Result<Vec<String>, Error> {
    let row = lying(store, id).await?;
    let signals = match row.content.get("signal") {
        Some(signal) => again(&*reader.queue, &row, signal.clone()).await?,
        None => reread(store, reader, &row).await?,
    };
    settle(store, id, BuriedState::Replayed, &signals, by).await?;
    Ok(signals)
}

/// Decides that a row needs nothing; it stays listed.
///
/// # Errors
/// As [`Error`].
pub async fn discard(store: &dyn Store, id: BuriedId, by: By) -> Result<(), Error> {
    lying(store, id).await?;
    settle(store, id, BuriedState::Dropped, &[], by).await
}

/// The row, if nobody settled it.
async fn lying(store: &dyn Store, id: BuriedId) -> Result<Buried, Error> {
    let row = store.buried(id).await?.ok_or(Error::NoSuch(id))?;
    if row.state == BuriedState::Buried { Ok(row) } else { Err(Error::Settled(row.state)) }
}

async fn settle(store: &dyn Store, id: BuriedId, state: BuriedState, signals: &[String], by: By) -> Result<(), Error> {
    let By { actor, reason, at, with } = by;
    let audit = Audit {
        at,
        actor: actor.clone(),
        verb: format!("buried.{}", word(state)),
        tenant: None,
        object_id: None,
        case: None,
        detail: json!({ "buried": id, "reason": reason, "signals": signals }),
    };
    let mut ops = with;
    ops.push(Op::SettleBuried { id, state, by: actor, reason, at });
    ops.push(Op::Audit(Box::new(audit)));
    match store.commit(Lane::Other, Batch { expect: None, ops }).await {
        Ok(()) => Ok(()),
        // Two at once: the second is told what the first did.
        Err(error @ store::Error::Backend { .. }) => {
            lying(store, id).await?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads a body again and makes it a delivery. Its name on the queue is the buried row's, so that a replay cut short
/// and repeated starts nothing twice.
async fn reread(store: &dyn Store, reader: &Reader, row: &Buried) -> Result<Vec<String>, Error> {
    let source = (reader.source)(&row.source).map_err(Error::Unread)?;
    let kept = match row.delivery {
        Some(delivery) => store.delivery_body(delivery).await?,
        None => None,
    };
    let body = match (kept, &row.content) {
        (Some(body), _) => body,
        (None, Value::String(text)) => Bytes::from(text.clone()),
        (None, _) => return Err(Error::Unread("it is no delivery: there is no body to read again".into())),
    };
    let parsed =
        source.parse(&body, row.at).map_err(|error| Error::Unread(format!("still not understood: {error}")))?;
    let when = (DeliveryId::new(Uuid::now_v7()), row.at);
    let acceptance = source.acceptance(when, (body, Some(format!("replay:{}", row.id))), parsed.findings, |_| false);
    let ids = acceptance.signals.iter().map(|signal| signal.id.to_string()).collect();
    match accept(&*reader.queue, acceptance).await? {
        Receipt::Accepted => Ok(ids),
        Receipt::Replay { answer } => {
            let ids = answer["ids"].as_array().into_iter().flatten();
            Ok(ids.filter_map(|id| id.as_str().map(str::to_owned)).collect())
        }
    }
}

/// A signal that the broker had given up: it goes back as it is. None of it was taken in, so its id is free.
async fn again(queue: &dyn Queue, row: &Buried, signal: Value) -> Result<Vec<String>, Error> {
    let signal: Signal =
        serde_json::from_value(signal).map_err(|error| Error::Unread(format!("still not understood: {error}")))?;
    let ids = vec![signal.id.to_string()];
    let acceptance = Acceptance {
        delivery: DeliveryId::new(Uuid::now_v7()),
        source: signal.source.clone(),
        tenant: signal.tenant.clone(),
        received_at: signal.received_at,
        webhook_id: Some(format!("replay:{}", row.id)),
        body: Bytes::new(),
        body_hash: String::new(),
        signals: vec![signal],
        buried: None,
        answer: json!({ "ids": ids }),
    };
    accept(queue, acceptance).await?;
    Ok(ids)
}

async fn accept(queue: &dyn Queue, acceptance: Acceptance) -> Result<Receipt, Error> {
    queue.accept(acceptance).await.map_err(|error| Error::NotDurable(chain(&error)))
}
