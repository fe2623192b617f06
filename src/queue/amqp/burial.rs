//! What is not taken in but kept: bodies nobody understood, lines of the audit trail, signals that no worker could
//! finish. A message is acknowledged only after the store has what it says; while the store is away it waits.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::wire::Unreadable;
use crate::domain::{BuriedId, Signal};
use crate::store::{Audit, Batch, Buried, BuriedState, Delivery, Lane, Op, Store};
use crate::telemetry::Telemetry;

/// Names of what is filed, so that a message that comes again is filed once.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f75_7374_0000_5000_8000_6275_7269_6564);

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// A signal that the broker gave up.
#[derive(Debug)]
pub(super) struct Dead {
    pub times: u64,
    pub signal: Box<Signal>,
    pub delivery: Option<Box<Delivery>>,
}

/// Writes to the store what has no lane of its own.
#[derive(Debug)]
pub(super) struct Burial {
    pub store: Arc<dyn Store>,
    pub telemetry: Telemetry,
}

impl Burial {
    pub(super) fn bury(
        self: Arc<Self>,
        buried: Box<Buried>,
        delivery: Option<Box<Delivery>>,
        over: CancellationToken,
        done: impl FnOnce() + Send + 'static,
    ) {
        let mut ops: Vec<Op> = delivery.into_iter().map(Op::PutDelivery).collect();
        ops.push(Op::Bury(buried));
        self.write(ops, over, done);
    }

    pub(super) fn keep(
        self: Arc<Self>,
        delivery: Box<Delivery>,
        over: CancellationToken,
        done: impl FnOnce() + Send + 'static,
    ) {
        self.write(vec![Op::PutDelivery(delivery)], over, done);
    }

    pub(super) fn audit(
        self: Arc<Self>,
        audit: Box<Audit>,
        over: CancellationToken,
        done: impl FnOnce() + Send + 'static,
    ) {
        self.write(vec![Op::Audit(audit)], over, done);
    }

    /// A signal that no worker finished: a human looks at it, and may replay it.
    pub(super) fn file(self: Arc<Self>, dead: Dead, over: CancellationToken, done: impl FnOnce() + Send + 'static) {
        let Dead { times, signal, delivery } = dead;
        let buried = Buried {
            id: BuriedId::new(Uuid::new_v5(&NAMESPACE, signal.id.uuid().as_bytes())),
            at: Timestamp::now(),
            source: signal.source.clone(),
            tenant: Some(signal.tenant.clone()),
            delivery: Some(signal.delivery),
            reason: format!("the broker gave this signal up ({times} time(s)), and one more intake did not end well"),
            state: BuriedState::Buried,
            settled: None,
            content: json!({ "signal": signal, "given_up": times }),
        };
        self.telemetry.buried(&buried.source, "given_up");
        self.bury(Box::new(buried), delivery, over, done);
    }

    /// A message of a newer oust, or of something else.
    pub(super) fn unreadable(
        self: Arc<Self>,
        data: &[u8],
        why: &Unreadable,
        over: CancellationToken,
        done: impl FnOnce() + Send + 'static,
    ) {
        let buried = Buried {
            id: BuriedId::new(Uuid::new_v5(&NAMESPACE, data)),
            at: Timestamp::now(),
            source: "queue".to_owned(),
            tenant: None,
            delivery: None,
            reason: format!("a message on the broker: {why}"),
            state: BuriedState::Buried,
            settled: None,
            content: json!({ "base64": STANDARD.encode(data), "text": text(data) }),
        };
        self.telemetry.buried(&buried.source, "unreadable");
        self.bury(Box::new(buried), None, over, done);
    }

    /// Writes until it is durable, or until the broker has the message again.
    fn write(self: Arc<Self>, ops: Vec<Op>, over: CancellationToken, done: impl FnOnce() + Send + 'static) {
        tokio::spawn(async move {
            let mut pause = SHORTEST;
            loop {
                match self.store.commit(Lane::Other, Batch { expect: None, ops: ops.clone() }).await {
                    Ok(()) => return done(),
                    Err(error) => self.telemetry.store_error("queue.file", &error),
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = over.cancelled() => return,
                }
                pause = (pause * 2).min(LONGEST);
            }
        });
    }
}

/// For people, where it is text.
fn text(data: &[u8]) -> Value {
    std::str::from_utf8(data).map_or(Value::Null, |text| Value::from(text.chars().take(2_000).collect::<String>()))
}
