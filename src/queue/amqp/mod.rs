//! RabbitMQ as the queue: receivers publish and are confirmed, workers fetch and acknowledge after their commit.
//!
//! Two connections at most: one publishes, one (of workers) fetches, so that a broker that stops publishers for want
//! of disk still gets its acknowledgements. Every failure drops the connection it happened on (`link`). What was sent
//! and not confirmed is sent again while its sender waits, and behind that stands the spool, where there is one.
//! Repetitions are harmless: signals have their ids, and the store takes each in once.

mod burial;
mod consume;
mod dial;
mod link;
mod publish;
mod settings;
mod shelf;
mod spooling;
mod topology;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::settings::{Config, Endpoint};
pub use self::topology::migrate;

use self::burial::Burial;
use self::consume::{Inlet, Intake};
use self::link::{Link, State};
use self::publish::{Outlet, publish};
use self::shelf::Shelf;
use self::spooling::Spooling;
use self::wire::Letter;
use super::{Claim, Condition, Error as QueueError, Queue};
use crate::store::sqlite::Spool;
use crate::store::{Acceptance, Audit, Receipt, Store};
use crate::telemetry::Telemetry;

/// A delivery is durable by then, or refused.
const ACCEPT_WITHIN: Duration = Duration::from_millis(2_500);
/// With a spool behind it, the broker gets less.
const TRY_WITHIN: Duration = Duration::from_millis(1_500);
/// The first connection is waited for at the start, so that a process that says "ready" knows.
const START_WITHIN: Duration = Duration::from_secs(5);
/// Hints go out at most this often.
const WAKE_EVERY: Duration = Duration::from_millis(20);

/// Why the broker is not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the broker {broker} cannot be reached: {reason}")]
    Unreachable { broker: String, reason: String },
    /// It answers, but exchange or queues are missing, declared otherwise, or not for us.
    #[error("the broker is not as it must be: {0}")]
    Topology(String),
    #[error("TLS to the broker: {0}")]
    Tls(String),
}

/// The queue on a broker.
#[derive(Debug)]
pub struct Amqp {
    outlet: Arc<Link<Outlet>>,
    /// Workers only.
    inlet: Option<Link<Inlet>>,
    shelf: Arc<Shelf>,
    spool: Option<Spooling>,
    woken: Arc<Notify>,
    wake: Arc<Notify>,
    depth: Arc<AtomicU64>,
    _stop: DropGuard,
}

impl Amqp {
    /// Opens it for a process that only publishes. It declares nothing and needs no right but to write.
    ///
    /// # Errors
    /// `Tls`: a certificate or key cannot be read. A broker that is away is no error: it is tried again.
    pub async fn open(config: Config, telemetry: Telemetry, spool: Option<Arc<Spool>>) -> Result<Arc<Self>, Error> {
        Self::build(config, telemetry, spool, None).await
    }

    /// Opens it for a worker, which declares the topology, fetches signals and files in `store` what is set aside.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_worker(
        config: Config,
        store: Arc<dyn Store>,
        telemetry: Telemetry,
        spool: Option<Arc<Spool>>,
    ) -> Result<Arc<Self>, Error> {
        Self::build(config, telemetry, spool, Some(store)).await
    }

    async fn build(
        config: Config,
        telemetry: Telemetry,
        spool: Option<Arc<Spool>>,
        store: Option<Arc<dyn Store>>,
    ) -> Result<Arc<Self>, Error> {
        // What cannot be read now will not be readable at the next attempt either.
        config.endpoint.connector()?;
        let stop = CancellationToken::new();
        let (shelf, woken, depth) = (Shelf::new(), Arc::<Notify>::default(), Arc::<AtomicU64>::default());
        let inlet = store.map(|store| {
            let intake = Arc::new(Intake {
                config: config.clone(),
                shelf: Arc::clone(&shelf),
                burial: Arc::new(Burial { store, telemetry: telemetry.clone() }),
                woken: Arc::clone(&woken),
                depth: Arc::clone(&depth),
            });
            let make = Box::new(move |live| {
                let intake = Arc::clone(&intake);
                Box::pin(intake.open(live)) as futures_util::future::BoxFuture<'static, _>
            });
            Link::keep(config.endpoint.clone(), "fetching", make, telemetry.clone(), stop.clone())
        });
        if let Some(inlet) = &inlet {
            // It declares what the other one needs.
            let _ = tokio::time::timeout(START_WITHIN, inlet.wait_known()).await;
        }
        let settings = config.clone();
        let make = Box::new(move |live| {
            let settings = settings.clone();
            Box::pin(async move { Outlet::open(live, &settings).await }) as futures_util::future::BoxFuture<'static, _>
        });
        let outlet = Link::keep(config.endpoint.clone(), "publishing", make, telemetry.clone(), stop.clone());
        let _ = tokio::time::timeout(START_WITHIN, outlet.wait_known()).await;
        let outlet = Arc::new(outlet);
        let wake = Arc::<Notify>::default();
        tokio::spawn(send_hints(Arc::clone(&outlet), Arc::clone(&wake), stop.clone()));
        let spool = spool.map(|spool| Spooling::start(spool, Arc::clone(&outlet), telemetry, stop.clone()));
        Ok(Arc::new(Self { outlet, inlet, shelf, spool, woken, wake, depth, _stop: stop.drop_guard() }))
    }

    /// Makes messages durable: on the broker, or in the spool behind what is there already.
    async fn send(&self, letters: Vec<Letter>) -> Result<(), QueueError> {
        let letters: Vec<Arc<Letter>> = letters.into_iter().map(Arc::new).collect();
        let Some(spool) = &self.spool else {
            return publish(&self.outlet, &letters, ACCEPT_WITHIN).await.map_err(QueueError::Away);
        };
        if spool.is_empty() && publish(&self.outlet, &letters, TRY_WITHIN).await.is_ok() {
            return Ok(());
        }
        spool.put(&letters).await
    }
}

async fn send_hints(outlet: Arc<Link<Outlet>>, wake: Arc<Notify>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = wake.notified() => {}
            () = stop.cancelled() => return,
        }
        // A hint may be lost: the next look is at most a second away.
        if let Ok(outlet) = outlet.up() {
            outlet.hint().await;
        }
        tokio::time::sleep(WAKE_EVERY).await;
    }
}

#[async_trait]
impl Queue for Amqp {
    async fn accept(&self, acceptance: Acceptance) -> Result<Receipt, QueueError> {
        let letters = wire::letters(&acceptance).map_err(|error| QueueError::Away(error.to_string()))?;
        self.send(letters).await.map(|()| Receipt::Accepted)
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claim>, QueueError> {
        Ok(self.shelf.claim(limit).await)
    }

    fn nudge(&self) {}

    fn wake(&self) {
        self.wake.notify_one();
    }

    async fn woken(&self) {
        self.woken.notified().await;
    }

    async fn rest(&self) {
        let rests = self.shelf.rest();
        // Without a connection the broker has everything already.
        if self.inlet.as_ref().is_some_and(|inlet| inlet.up().is_ok()) {
            self.shelf.rested(rests).await;
        }
    }

    async fn report(&self, audit: Audit) -> Result<(), QueueError> {
        let letter = wire::audit(audit).map_err(|error| QueueError::Away(error.to_string()))?;
        self.send(vec![letter]).await
    }

    fn condition(&self) -> Condition {
        let publishing = match self.outlet.state() {
            State::Up(outlet) if outlet.is_blocked() => Err("it is short of memory or disk".to_owned()),
            State::Up(_) => Ok(()),
            State::Dialling | State::Down { .. } => Err(self.outlet.up().err().unwrap_or_default()),
        };
        let fetching = match &self.inlet {
            Some(inlet) => inlet.up().map(|inlet| inlet.is_up()).map(drop),
            None => Ok(()),
        };
        let (spooled, spool_bytes) = self.spool.as_ref().map_or((0, 0), Spooling::figures);
        let depth = self.inlet.as_ref().map(|_| self.depth.load(Ordering::Relaxed));
        let away = publishing.err().or(fetching.err());
        let (ok, detail) = match (&away, &self.spool) {
            (None, None) => (true, "the broker confirms".to_owned()),
            (None, Some(_)) if spooled == 0 => (true, "the broker confirms, the spool is empty".to_owned()),
            (None, Some(_)) => (true, format!("the broker confirms, {spooled} spooled deliveries are on their way")),
            (Some(why), None) => (false, format!("broker {why}")),
            (Some(why), Some(spool)) if spool.is_full() => {
                (false, format!("the spool is full ({spooled} deliveries); broker {why}"))
            }
            (Some(why), Some(_)) => (true, format!("{spooled} deliveries spooled; broker {why}")),
        };
        Condition { ok, detail, depth, spooled, spool_bytes }
    }
}
