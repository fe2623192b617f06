//! Messages to the broker: persistent, mandatory, confirmed, bounded in number and in time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, PublisherConfirm};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::dial::{Live, words};
use super::link::Link;
use super::wire::Letter;
use super::{Config, Error, topology};

/// Why a message is not on the broker.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The connection ended first: it may or may not be there.
    Gone(String),
    /// The broker said no.
    No(String),
}

/// The publishing side of a connection.
#[derive(Debug)]
pub(super) struct Outlet {
    live: Arc<Live>,
    channel: Channel,
    exchange: String,
    room: Arc<Semaphore>,
    progress: Mutex<Progress>,
}

/// When the broker last said anything, and when it last said yes (or the connection was made).
#[derive(Debug, Clone, Copy)]
struct Progress {
    word: Instant,
    yes: Instant,
}

/// A broker that says no for this long is asked over another connection: it keeps in mind for each that a queue was
/// full, and may never think again when the limit itself was raised.
const ASK_ANEW: Duration = Duration::from_secs(5);

impl Outlet {
    /// Opens the channel. The exchange must be there already.
    pub(super) async fn open(live: Arc<Live>, config: &Config) -> Result<Self, Error> {
        topology::look(&live, config).await?;
        let broken =
            |error: lapin::Error| Error::Unreachable { broker: config.endpoint.to_string(), reason: words(&error) };
        let channel = live.connection.create_channel().await.map_err(broken)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(broken)?;
        Ok(Self {
            live,
            channel,
            exchange: config.prefix.clone(),
            room: Arc::new(Semaphore::new(config.in_flight.clamp(1, Semaphore::MAX_PERMITS))),
            progress: Mutex::new(Progress { word: Instant::now(), yes: Instant::now() }),
        })
    }

    /// Known to take nothing for now.
    pub(super) fn is_blocked(&self) -> bool {
        self.live.is_blocked()
    }

    pub(super) fn is_up(&self) -> bool {
        !self.live.gone.is_cancelled()
    }

    /// Hands a message to the connection.
    pub(super) async fn begin(&self, letter: &Letter) -> Result<PublisherConfirm, Refusal> {
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, route) = (self.exchange.as_str().into(), letter.route.word().into());
        let payload = letter.payload.get().as_bytes();
        let sent = self.channel.basic_publish(exchange, route, mandatory, payload, letter.properties());
        tokio::select! {
            biased;
            sent = sent => sent.map_err(|error| self.failed(&error)),
            () = self.live.gone.cancelled() => Err(Refusal::Gone(self.live.why())),
        }
    }

    /// Waits for the broker's word on it.
    pub(super) async fn end(&self, confirm: PublisherConfirm) -> Result<(), Refusal> {
        let confirmation = tokio::select! {
            biased;
            confirmation = confirm => confirmation.map_err(|error| self.failed(&error))?,
            () = self.live.gone.cancelled() => return Err(Refusal::Gone(self.live.why())),
        };
        let now = Instant::now();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.word = now;
        let refused_since = progress.yes;
        if confirmation.is_ack() {
            progress.yes = now;
        }
        drop(progress);
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(returned)) => {
                let (exchange, key) = (&self.exchange, &returned.delivery.routing_key);
                Err(Refusal::No(format!("nothing is bound to {exchange} for {key}; run `oust migrate`")))
            }
            Confirmation::Nack(_) => {
                let why = "the broker refuses messages: a queue is full";
                if now.duration_since(refused_since) > ASK_ANEW {
                    self.live.fail(why);
                }
                Err(Refusal::No(why.to_owned()))
            }
            Confirmation::NotRequested => Err(Refusal::Gone("the channel confirms nothing".to_owned())),
        }
    }

    /// A channel that refused once is of no use any more.
    fn failed(&self, error: &lapin::Error) -> Refusal {
        let why = words(error);
        self.live.fail(why.clone());
        Refusal::Gone(why)
    }

    /// Nothing was confirmed since `began`: it does not answer any more, although the connection looks alive.
    fn doubt(&self, began: Instant) {
        let silent = self.progress.lock().unwrap_or_else(PoisonError::into_inner).word < began;
        if silent && !self.is_blocked() {
            self.live.fail("the broker confirms nothing");
        }
    }
}

/// Publishes all of them, anew over the next connection where one ended, until `deadline`.
///
/// # Errors
/// Why not all of them are durable. A broker known to be away is not waited for.
pub(super) async fn publish(link: &Link<Outlet>, letters: &[Arc<Letter>], within: Duration) -> Result<(), String> {
    let began = Instant::now();
    let deadline = began + within;
    let mut outlet = link.up()?;
    let mut left: Vec<Arc<Letter>> = letters.to_vec();
    loop {
        if outlet.is_blocked() {
            return Err("the broker is short of memory or disk and takes no messages".to_owned());
        }
        let mut sent = Vec::with_capacity(left.len());
        for letter in &left {
            // Held until the broker's word, whoever still waits for it.
            let room = timeout_at(deadline, Arc::clone(&outlet.room).acquire_owned()).await;
            let Ok(Ok(room)) = room else {
                outlet.doubt(began);
                return Err("too many messages are on their way to the broker".to_owned());
            };
            let (outlet, letter) = (Arc::clone(&outlet), Arc::clone(letter));
            sent.push(tokio::spawn(async move {
                let result = match outlet.begin(&letter).await {
                    Ok(confirm) => outlet.end(confirm).await,
                    Err(refusal) => Err(refusal),
                };
                drop(room);
                result
            }));
        }
        let Ok(results) = timeout_at(deadline, join_all(sent)).await else {
            outlet.doubt(began);
            return Err(format!("the broker confirmed nothing within {} ms", within.as_millis()));
        };
        let mut again = Vec::new();
        for (letter, result) in left.into_iter().zip(results) {
            match result {
                Ok(Ok(())) => {}
                Ok(Err(Refusal::No(why))) => return Err(why),
                Ok(Err(Refusal::Gone(_))) | Err(_) => again.push(letter),
            }
        }
        if again.is_empty() {
            return Ok(());
        }
        left = again;
        let next = timeout_at(deadline, async {
            // The state may still show the connection that has just ended.
            loop {
                match link.wait_up().await {
                    Some(next) if next.is_up() => return Some(next),
                    Some(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    None => return None,
                }
            }
        });
        outlet = match next.await {
            Ok(Some(next)) => next,
            _ => return Err(link.up().err().unwrap_or_else(|| "the connection ended".to_owned())),
        };
    }
}

impl Outlet {
    /// Tells workers elsewhere to look, unconfirmed.
    pub(super) async fn hint(&self) {
        let (exchange, options) = (self.exchange.as_str().into(), BasicPublishOptions::default());
        let properties = lapin::BasicProperties::default().with_app_id("oust".into()).with_type("wake".into());
        match self
            .channel
            .basic_publish(exchange, "wake".into(), options, b"{\"v\":1,\"kind\":\"wake\"}", properties)
            .await
        {
            // The confirm must be taken off the books.
            Ok(confirm) => drop(tokio::time::timeout(Duration::from_secs(2), confirm).await),
            Err(error) => drop(self.failed(&error)),
        }
    }
}
