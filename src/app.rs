//! Builds the floors bottom-up from a configuration and runs them: one process, one shutdown, the only clock.

mod console;
mod engine;
mod queue;
mod watch;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, QueueAt, Role, StoreAt};
use crate::domain::run::Mode;
use crate::engine::{Clock, Engine};
use crate::http;
use crate::http::console::Console;
use crate::queue::Queue;
use crate::store::postgres::Postgres;
use crate::store::reviewers::Reviewers;
use crate::store::sqlite::{Options, Sqlite};
use crate::store::{self, Access, Store};
use crate::telemetry::Telemetry;

/// What is in flight at shutdown may take this long; the rest goes on at the next start.
const PATIENCE: Duration = Duration::from_secs(10);
/// A running process.
#[derive(Debug)]
pub struct Running {
    /// Where it listens: health and metrics at least.
    pub address: SocketAddr,
    /// Absent in a process that only hands deliveries to a broker.
    pub store: Option<Arc<dyn Store>>,
    queue: Arc<dyn Queue>,
    engine: Option<Engine>,
    stop: CancellationToken,
    served: Option<tokio::task::JoinHandle<usize>>,
    /// Audits what is refused; its last summary comes once nobody is answered any more.
    refusals: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
}

/// Opens the store that is configured.
///
/// # Errors
/// `Unusable` with what to do.
pub async fn open_store(at: &StoreAt, access: Access) -> Result<Arc<dyn Reviewers>, store::Error> {
    Ok(match at {
        StoreAt::Sqlite(path) => {
            Sqlite::open(path, Options { read_only: access == Access::Look, ..Options::default() })?
        }
        StoreAt::Postgres(config) => Postgres::open(config, access).await?,
    })
}

/// Serves until `shutdown` resolves, then finishes what was accepted.
///
/// # Errors
/// The store is held by another process or unusable, the playbooks are not valid, the address is taken.
pub async fn serve(config: Config, roles: &[Role], shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
    let running = start(config, roles).await?;
    shutdown.await;
    running.stop().await;
    Ok(())
}

/// Starts everything and returns once it is ready.
///
/// # Errors
/// As [`serve`].
pub async fn start(config: Config, roles: &[Role]) -> anyhow::Result<Running> {
    if config.mode == Mode::Shadow {
        tracing::warn!("mode is shadow: everything but effects happens; set `mode: enforce` to act");
    }
    let telemetry = Telemetry::new();
    let clock: Clock = Arc::new(now);
    let works = roles.contains(&Role::Worker) || roles.contains(&Role::Poller);
    let reviewers = match config.queue {
        // A receiver in front of a broker needs no store, and has no right to one.
        QueueAt::Amqp(_) if !works && !roles.contains(&Role::Console) => None,
        _ => Some(open_store(&config.store, Access::Write).await.context("the store cannot be used")?),
    };
    let store = reviewers.clone().map(|store| store as Arc<dyn Store>);
    let queue = queue::open_queue(&config, roles, store.as_ref(), &telemetry).await?;
    let stop = CancellationToken::new();
    let engine = match &reviewers {
        // A console records decisions, wherever the work is done.
        Some(store) if works || roles.contains(&Role::Console) => {
            Some(engine::engine(&config, roles, store, &queue, &telemetry, &clock).await?)
        }
        _ => None,
    };
    let address = config.listen;
    let mut running = Running { address, store, queue: Arc::clone(&queue), engine, stop, served: None, refusals: None };
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("{} cannot be listened on", config.listen))?;
    running.address = listener.local_addr()?;
    // People's reading has a way of its own into the store.
    let pages = reviewers.filter(|_| roles.contains(&Role::Console)).map(Reviewers::for_pages);
    let surface = running.surface(&config, roles, pages.clone(), &telemetry, &clock)?;
    let console = console::console(&running, &config, roles, pages, &telemetry, &clock)?;
    if roles.contains(&Role::Receiver) || roles.contains(&Role::Console) {
        running.audit_refusals(&surface, console.as_ref().map(Console::sign_in), &queue, &clock);
    }
    let mut router = http::router(surface);
    match &console {
        Some(console) => {
            console::tell_of_policies(console).await;
            router = router.merge(http::console::router(console));
        }
        None if roles.contains(&Role::Console) => router = router.merge(http::console::absent()),
        None => {}
    }
    let told = running.stop.clone();
    running.served = Some(tokio::spawn(http::serve(listener, router, config.limits.clone(), async move {
        told.cancelled().await;
    })));
    tracing::info!(address = %running.address, mode = ?config.mode, "ready");
    Ok(running)
}

impl Running {
    /// Stops taking deliveries, answers those under way, ends what is in flight, lets go of the store.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(served) = self.served.take() {
            match served.await {
                Ok(0) => {}
                Ok(cut) => tracing::warn!(cut, "connections were cut at shutdown"),
                Err(error) => tracing::error!(error = %error, "the HTTP surface ended badly"),
            }
        }
        if let Some((closed, refusals)) = self.refusals.take() {
            closed.cancel();
            if tokio::time::timeout(PATIENCE, refusals).await.is_err() {
                tracing::warn!("the last refusals could not be audited in time");
            }
        }
        if let Some(engine) = &self.engine {
            engine.stop(PATIENCE).await;
        }
    }

    /// The engine of this process, if it is a worker.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    fn surface(
        &self,
        config: &Config,
        roles: &[Role],
        pages: Option<Arc<dyn Reviewers>>,
        telemetry: &Telemetry,
        clock: &Clock,
    ) -> anyhow::Result<http::State> {
        let works = roles.contains(&Role::Worker) || roles.contains(&Role::Poller);
        // Health and metrics every process has; ways in only a receiver, reads only a console.
        let taken = config.sources.iter().filter(|_| roles.contains(&Role::Receiver));
        let sources = taken.map(config::Source::open).collect::<Result<_, _>>();
        let covered: Arc<dyn Fn(&crate::domain::Signal) -> bool + Send + Sync> = match self.engine.clone() {
            Some(engine) => Arc::new(move |signal| engine.knows_as_covered(signal)),
            None => Arc::new(|_| false),
        };
        let looked = self.engine.clone();
        let paused: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            if let Some(engine) = &looked {
                engine.settings_changed();
            }
        });
        Ok(http::State::new(http::Parts {
            sources: sources.map_err(|error| anyhow!(error))?,
            queue: Arc::clone(&self.queue),
            store: pages.map(|store| store as Arc<dyn Store>),
            telemetry: telemetry.clone(),
            limits: config.limits.clone(),
            clock: Arc::clone(clock),
            ready: self.readiness(telemetry, matches!(config.queue, QueueAt::Embedded), works),
            covered,
            paused,
        }))
    }
}

/// The machine's wall clock; the only place that reads it.
fn now() -> Timestamp {
    Timestamp::now()
}
