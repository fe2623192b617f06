//! The queue of a process: in the store, or on a broker with a spool before it.

use std::sync::Arc;

use anyhow::Context as _;

use crate::config::{Config, QueueAt, Role};
use crate::queue::{Amqp, Embedded, Queue};
use crate::store::Store;
use crate::store::sqlite::Spool;
use crate::telemetry::Telemetry;

/// Opens it.
pub(super) async fn open_queue(
    config: &Config,
    roles: &[Role],
    store: Option<&Arc<dyn Store>>,
    telemetry: &Telemetry,
) -> anyhow::Result<Arc<dyn Queue>> {
    // A console takes nothing in and passes everything on in the store: it has no business at the broker.
    let carries = roles.iter().any(|role| !matches!(role, Role::Console));
    let broker = match &config.queue {
        QueueAt::Amqp(broker) if carries => broker,
        _ => return Ok(Embedded::new(Arc::clone(store.context("the embedded queue needs a store")?))),
    };
    let (broker, telemetry) = (broker.as_ref().clone(), telemetry.clone());
    // It stands in front of the broker where deliveries come in; another process may have the same configuration.
    let spool = match &config.spool {
        Some(at) if roles.contains(&Role::Receiver) => {
            Some(Spool::open(&at.path, at.max).context("the spool cannot be used")?)
        }
        _ => None,
    };
    let queue = match store {
        Some(store) if roles.contains(&Role::Worker) => {
            Amqp::open_worker(broker, Arc::clone(store), telemetry, spool).await
        }
        _ => Amqp::open(broker, telemetry, spool).await,
    };
    Ok(queue.context("the queue cannot be used")?)
}
