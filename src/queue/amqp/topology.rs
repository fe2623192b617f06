//! What must be on the broker (contract §10). Declared by workers and `oust migrate`, never by receivers. Only what
//! RabbitMQ 3.10 and 4 both know.

use std::sync::Arc;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ErrorKind, ExchangeKind};

use super::dial::{Live, dial, words};
use super::{Config, Error};

/// A signal that was given out this often and never settled is set aside.
const DELIVERY_LIMIT: i64 = 100;
/// RabbitMQ 4 would drop what was given out 20 times; there is no word for "never" that 3.10 knows too.
const NEVER: i64 = 2_000_000_000;
/// Hints: the newest suffice.
const MOST_HINTS: i64 = 64;

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn word(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn queues(config: &Config) -> [(&'static str, FieldTable); 3] {
    let quorum = ("x-queue-type", word("quorum"));
    let signals = table(&[
        quorum.clone(),
        ("x-delivery-limit", AMQPValue::LongLongInt(DELIVERY_LIMIT)),
        ("x-dead-letter-exchange", word(&config.prefix)),
        ("x-dead-letter-routing-key", word("buried")),
        ("x-dead-letter-strategy", word("at-least-once")),
        ("x-overflow", word("reject-publish")),
    ]);
    let wake = table(&[
        quorum.clone(),
        ("x-max-length", AMQPValue::LongLongInt(MOST_HINTS)),
        ("x-overflow", word("drop-head")),
    ]);
    let buried =
        table(&[quorum, ("x-delivery-limit", AMQPValue::LongLongInt(NEVER)), ("x-overflow", word("reject-publish"))]);
    // Where dead letters go is there before what sends them.
    [("buried", buried), ("signals", signals), ("wake", wake)]
}

/// Declares exchange, queues and bindings; what is there already is left alone.
pub(super) async fn declare(live: &Live, config: &Config) -> Result<(), Error> {
    let broken = |error: lapin::Error| refused(config, &error);
    let channel = live.connection.create_channel().await.map_err(broken)?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let exchange = config.prefix.as_str();
    channel
        .exchange_declare(exchange.into(), ExchangeKind::Direct, durable, FieldTable::default())
        .await
        .map_err(broken)?;
    for (name, arguments) in queues(config) {
        let queue = config.queue(name);
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.as_str().into(), durable, arguments).await.map_err(broken)?;
        channel
            .queue_bind(
                queue.as_str().into(),
                exchange.into(),
                name.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(broken)?;
    }
    close(&channel).await;
    Ok(())
}

/// Looks whether the exchange is there, where looking is allowed; declares nothing.
pub(super) async fn look(live: &Live, config: &Config) -> Result<(), Error> {
    let broken = |error: lapin::Error| refused(config, &error);
    let channel = live.connection.create_channel().await.map_err(broken)?;
    let passive = ExchangeDeclareOptions { passive: true, durable: true, ..ExchangeDeclareOptions::default() };
    let exchange = config.prefix.as_str().into();
    match channel.exchange_declare(exchange, ExchangeKind::Direct, passive, FieldTable::default()).await {
        Ok(()) => {
            close(&channel).await;
            Ok(())
        }
        // It may publish and may not look: then the first message shows it.
        Err(error) if code(&error) == Some(403) => Ok(()),
        Err(error) => Err(broken(error)),
    }
}

async fn close(channel: &Channel) {
    // Nothing depends on the answer.
    let _ = channel.close(200, "done".into()).await;
}

fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// What the broker has against it, and what to do.
fn refused(config: &Config, error: &lapin::Error) -> Error {
    let (broker, said) = (config.endpoint.to_string(), words(error));
    match code(error) {
        Some(404) => Error::Topology(format!(
            "{broker}: {said}; start a worker or run `oust migrate` with an account that may configure `{}*`",
            config.prefix
        )),
        Some(406) => Error::Topology(format!(
            "{broker}: {said}; it was declared otherwise before: delete it once it is empty (workers declare it \
             anew), or set another `prefix`"
        )),
        Some(403) => Error::Topology(format!(
            "{broker}: {said}; a worker needs to configure, write and read `{}*`, a receiver only to write to the \
             exchange `{}`",
            config.prefix, config.prefix
        )),
        _ => Error::Unreachable { broker, reason: said },
    }
}

/// Connects, declares everything and leaves: what `oust migrate` does.
///
/// # Errors
/// The broker cannot be reached or refuses; `Topology` says what differs and what to do.
pub async fn migrate(config: &Config) -> Result<(), Error> {
    let tls = config.endpoint.connector()?;
    let live = Arc::new(dial(&config.endpoint, tls.as_ref(), "oust migrate").await?);
    let declared = declare(&live, config).await;
    live.close().await;
    declared
}
