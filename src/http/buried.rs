//! What was set aside, settled: read again and laid before the workers as a delivery of its own, or dropped with a reason.
//! The command line and the console do it through here, so that both mean the same and leave the same record. Everything
//! is one transaction of the store: it needs no broker, and nothing of it is done twice.
//!
//! It decides nothing about a person: a replay goes the way of every delivery.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::state::Source;
use crate::domain::{BuriedId, DeliveryId, Identity, Signal};
use crate::store::{
    self, Acceptance, Audit, Batch, Buried, BuriedState, Delivery, Lane, Op, SignalOutcome, SignalRow, Store, Waiting,
};

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

/// Reads a row's body again, lays its signals before the workers and records that; the ids of the signals found in it.
///
/// # Errors
/// As [`Error`]; then nothing happened.
pub async fn replay(store: &dyn Store, open: &OpenSource, id: BuriedId, mut by: By) -> Result<Vec<String>, Error> {
    let row = lying(store, id).await?;
    let acceptance = match row.content.get("signal") {
        Some(signal) => again(&row, signal.clone())?,
        None => reread(store, open, &row).await?,
    };
    let ids: Vec<String> = acceptance.signals.iter().map(|signal| signal.id.to_string()).collect();
    by.with.extend(taken(acceptance, by.at));
    settle(store, id, BuriedState::Replayed, &ids, by).await?;
    Ok(ids)
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

/// Reads a body again and makes it a delivery.
async fn reread(store: &dyn Store, open: &OpenSource, row: &Buried) -> Result<Acceptance, Error> {
    let source = open(&row.source).map_err(Error::Unread)?;
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
    Ok(source.acceptance(when, (body, Some(format!("replay:{}", row.id))), parsed.findings, |_| false))
}

/// A signal that the broker had given up: it goes back as it is. None of it was taken in, so its id is free.
fn again(row: &Buried, signal: Value) -> Result<Acceptance, Error> {
    let signal: Signal =
        serde_json::from_value(signal).map_err(|error| Error::Unread(format!("still not understood: {error}")))?;
    Ok(Acceptance {
        delivery: DeliveryId::new(Uuid::now_v7()),
        source: signal.source.clone(),
        tenant: signal.tenant.clone(),
        received_at: signal.received_at,
        webhook_id: Some(format!("replay:{}", row.id)),
        body: Bytes::new(),
        body_hash: String::new(),
        answer: json!({ "ids": [signal.id] }),
        signals: vec![signal],
        buried: None,
    })
}

/// A delivery whose signals wait to be taken in, now, by any worker.
fn taken(acceptance: Acceptance, now: Timestamp) -> Vec<Op> {
    const REASON: &str = "replayed";
    let mut ops = vec![Op::PutDelivery(Box::new(Delivery {
        id: acceptance.delivery,
        source: acceptance.source,
        tenant: acceptance.tenant,
        received_at: acceptance.received_at,
        webhook_id: acceptance.webhook_id,
        body: acceptance.body,
        body_hash: acceptance.body_hash,
        answer: acceptance.answer,
    }))];
    for signal in acceptance.signals {
        let object_id = signal.finding.subject.known_object_id();
        ops.push(Op::PutSignal(Box::new(SignalRow {
            identity: object_id.map(|object_id| Identity { tenant: signal.tenant.clone(), object_id }),
            signal: signal.clone(),
            outcome: SignalOutcome {
                word: "waiting".into(),
                reason: Some(REASON.into()),
                case: None,
                run: None,
                first: None,
            },
            first_of_content: false,
        })));
        ops.push(Op::PutWaiting(Box::new(Waiting { signal, attempt: 0, due_at: now, reason: REASON.into() })));
    }
    ops
}
