//! A worker's side of the broker: signals to the shelf, what was set aside to the store, hints to whoever waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery as Message;
use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::burial::{Burial, Dead};
use super::dial::{Live, words};
use super::shelf::{Acks, Fetched, Shelf};
use super::wire::{self, Content};
use super::{Config, Error, topology};

/// Messages of the queue of the buried in hand at once: they may be large.
const BURIED_AT_ONCE: u16 = 32;
const HINTS_AT_ONCE: u16 = 8;
const COUNT_EVERY: Duration = Duration::from_secs(2);
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What a worker's connection feeds.
#[derive(Debug)]
pub(super) struct Intake {
    pub config: Config,
    pub shelf: Arc<Shelf>,
    pub burial: Arc<Burial>,
    pub woken: Arc<Notify>,
    /// Messages ready on the queue of signals when last counted.
    pub depth: Arc<AtomicU64>,
}

/// The consuming side of a connection.
#[derive(Debug)]
pub(super) struct Inlet {
    live: Arc<Live>,
}

impl Inlet {
    pub(super) fn is_up(&self) -> bool {
        !self.live.gone.is_cancelled()
    }
}

impl Intake {
    /// Declares the topology and begins.
    pub(super) async fn open(self: Arc<Self>, live: Arc<Live>) -> Result<Inlet, Error> {
        topology::declare(&live, &self.config).await?;
        let broken = |error: lapin::Error| Error::Unreachable {
            broker: self.config.endpoint.to_string(),
            reason: words(&error),
        };
        let hints = live.connection.create_channel().await.map_err(broken)?;
        let heard = consume(&hints, &self.config.queue("wake"), HINTS_AT_ONCE, true).await.map_err(broken)?;
        tokio::spawn(listen(Arc::clone(&live), hints, heard, Arc::clone(&self.woken)));
        let counting = live.connection.create_channel().await.map_err(broken)?;
        tokio::spawn(Arc::clone(&self).count(Arc::clone(&live), counting));
        tokio::spawn(Arc::clone(&self).serve(Arc::clone(&live)));
        Ok(Inlet { live })
    }

    /// Fetches while somebody claims; gives everything back when told to rest.
    async fn serve(self: Arc<Self>, live: Arc<Live>) {
        let mut orders = self.shelf.orders();
        loop {
            let now = *orders.borrow_and_update();
            self.shelf.has_rested(now.rests);
            if !now.wanted {
                tokio::select! {
                    () = live.gone.cancelled() => return,
                    changed = orders.changed() => if changed.is_err() { return },
                }
                continue;
            }
            let over = live.gone.child_token();
            let channels = match self.fetch(&live, &over).await {
                Ok(channels) => channels,
                Err(error) => return live.fail(words(&error)),
            };
            tokio::select! {
                () = live.gone.cancelled() => {
                    self.shelf.begin();
                    return;
                }
                _ = orders.wait_for(|orders| orders.rests != now.rests) => {}
            }
            over.cancel();
            self.shelf.begin();
            for (channel, acks) in channels {
                let closed = timeout(CLOSE_WITHIN, async {
                    // What was settled need not come again.
                    acks.flush().await;
                    let _ = channel.close(200, "rest".into()).await;
                });
                if closed.await.is_err() {
                    return live.fail("the broker does not close a channel");
                }
            }
        }
    }

    async fn fetch(
        self: &Arc<Self>,
        live: &Arc<Live>,
        over: &CancellationToken,
    ) -> Result<Vec<(Channel, Acks)>, lapin::Error> {
        let generation = self.shelf.begin();
        let mut opened = Vec::with_capacity(2);
        for (name, prefetch) in [("signals", self.config.prefetch.max(1)), ("buried", BURIED_AT_ONCE)] {
            let channel = live.connection.create_channel().await?;
            let consumer = consume(&channel, &self.config.queue(name), prefetch, false).await?;
            let acks = Acks::of(channel.clone(), Arc::clone(live));
            let pump = Pump {
                intake: Arc::clone(self),
                live: Arc::clone(live),
                over: over.clone(),
                acks: acks.clone(),
                generation,
            };
            tokio::spawn(pump.work(consumer));
            opened.push((channel, acks));
        }
        Ok(opened)
    }

    /// How many signals lie on the broker, now and then.
    async fn count(self: Arc<Self>, live: Arc<Live>, channel: Channel) {
        let mut ticks = tokio::time::interval(COUNT_EVERY);
        loop {
            tokio::select! {
                () = live.gone.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let passive = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
            let queue = self.config.queue("signals");
            match channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await {
                Ok(queue) => self.depth.store(u64::from(queue.message_count()), Ordering::Relaxed),
                // Somebody deleted it: it is declared anew over the next connection.
                Err(error) => return live.fail(words(&error)),
            }
        }
    }
}

async fn consume(channel: &Channel, queue: &str, prefetch: u16, no_ack: bool) -> lapin::Result<Consumer> {
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions { no_ack, ..BasicConsumeOptions::default() };
    channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await
}

async fn listen(live: Arc<Live>, _channel: Channel, mut heard: Consumer, woken: Arc<Notify>) {
    loop {
        tokio::select! {
            () = live.gone.cancelled() => return,
            message = heard.next() => match message {
                Some(Ok(_)) => woken.notify_one(),
                Some(Err(error)) => return live.fail(words(&error)),
                None => return live.fail("the broker ended the subscription to hints"),
            },
        }
    }
}

/// From one channel to where its messages belong.
#[derive(Debug)]
struct Pump {
    intake: Arc<Intake>,
    live: Arc<Live>,
    /// The channel was closed by us, or the connection ended.
    over: CancellationToken,
    acks: Acks,
    generation: u64,
}

impl Pump {
    async fn work(self, mut consumer: Consumer) {
        loop {
            let message = tokio::select! {
                biased;
                () = self.over.cancelled() => return,
                message = consumer.next() => message,
            };
            match message {
                Some(Ok(message)) => self.receive(message),
                Some(Err(error)) => return self.live.fail(words(&error)),
                // The queue was deleted, or its leader moved.
                None if self.over.is_cancelled() => return,
                None => return self.live.fail("the broker ended the subscription"),
            }
        }
    }

    fn receive(&self, message: Message) {
        let tag = message.delivery_tag;
        self.acks.came(tag);
        let deaths = deaths(&message);
        let burial = Arc::clone(&self.intake.burial);
        let (acks, over) = (self.acks.clone(), self.over.clone());
        let done = move || acks.settle(tag);
        match wire::read(&message.data) {
            Ok(Content::Signal(signal, delivery)) => {
                let dead = deaths.map(|times| Dead { times, signal: signal.clone(), delivery: delivery.clone() });
                let file = match dead {
                    // It was given out alone before, and came back.
                    Some(dead) if message.redelivered => return burial.file(dead, over, done),
                    Some(dead) => {
                        let file: super::shelf::File = Box::new(move || burial.file(dead, over, done));
                        Some(file)
                    }
                    None => None,
                };
                self.intake.shelf.put(Fetched {
                    signal,
                    delivery,
                    tag,
                    acks: self.acks.clone(),
                    generation: self.generation,
                    is_dead_letter: file.is_some(),
                    file: Mutex::new(file),
                });
            }
            Ok(Content::Buried(buried, delivery)) => burial.bury(buried, delivery, over, done),
            Ok(Content::Delivery(delivery)) => burial.keep(delivery, over, done),
            Ok(Content::Audit(audit)) => burial.audit(audit, over, done),
            Err(why) => burial.unreadable(&message.data, &why, over, done),
        }
    }
}

/// How often the broker gave a message up, where it did.
fn deaths(message: &Message) -> Option<u64> {
    let headers = message.properties.headers().as_ref()?;
    let AMQPValue::FieldArray(deaths) = headers.inner().get("x-death")? else { return None };
    let count = deaths.as_slice().iter().filter_map(|death| match death {
        AMQPValue::FieldTable(death) => match death.inner().get("count")? {
            AMQPValue::LongLongInt(count) => u64::try_from(*count).ok(),
            AMQPValue::LongInt(count) => u64::try_from(*count).ok(),
            _ => None,
        },
        _ => None,
    });
    Some(count.sum())
}
