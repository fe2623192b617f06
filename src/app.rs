//! Builds the floors bottom-up from a configuration and runs them: one process, one shutdown, the only clock.

mod console;

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::actions;
use crate::config::{self, Config, QueueAt, Role, StoreAt};
use crate::domain::person::Rules;
use crate::domain::run::Mode;
use crate::engine::{self, Clock, Engine, NoHook, Tenant};
use crate::graph::{self, Graph};
use crate::http::console::Console;
use crate::http::sign_in::SignIn;
use crate::http::{self, Check, Readiness};
use crate::playbook::catalog::{Catalog, Reloader};
use crate::queue::{Amqp, Embedded, Queue};
use crate::store::postgres::Postgres;
use crate::store::reviewers::Reviewers;
use crate::store::sqlite::{Options, Spool, Sqlite};
use crate::store::{self, Access, Audit, Store};
use crate::telemetry::{GraphCall, Telemetry};

/// What is in flight at shutdown may take this long; the rest goes on at the next start.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls in flight that are containment, and all others.
const CONTAINMENT_SLOTS: usize = 256;
const OTHER_SLOTS: usize = 64;
/// People being contained at once; above it signals wait on the queue.
const LANES: usize = 4_000;

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
    let queue = open_queue(&config, roles, store.as_ref(), &telemetry).await?;
    let stop = CancellationToken::new();
    let engine = match &store {
        // A console records decisions, wherever the work is done.
        Some(store) if works || roles.contains(&Role::Console) => {
            Some(engine(&config, roles, store, &queue, &telemetry, &clock).await?)
        }
        _ => None,
    };
    let address = config.listen;
    let mut running = Running { address, store, queue: Arc::clone(&queue), engine, stop, served: None };
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("{} cannot be listened on", config.listen))?;
    running.address = listener.local_addr()?;
    let surface = running.surface(&config, roles, &queue, &telemetry, &clock)?;
    let console = console::console(&running, &config, roles, reviewers, &telemetry, &clock)?;
    if roles.contains(&Role::Receiver) || console.is_some() {
        running.audit_refusals(&surface, console.as_ref().map(Console::sign_in), &queue, &clock);
    }
    let mut router = http::router(surface);
    if let Some(console) = &console {
        router = router.merge(http::console::router(console));
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
        queue: &Arc<dyn Queue>,
        telemetry: &Telemetry,
        clock: &Clock,
    ) -> anyhow::Result<http::State> {
        let works = roles.contains(&Role::Worker) || roles.contains(&Role::Poller);
        // Health and metrics every process has; ways in only a receiver, reads only a console.
        let taken = config.sources.iter().filter(|_| roles.contains(&Role::Receiver));
        let sources = taken.map(config::Source::open).collect::<Result<_, _>>();
        let store = self.store.clone().filter(|_| roles.contains(&Role::Console));
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
            queue: Arc::clone(queue),
            store,
            telemetry: telemetry.clone(),
            limits: config.limits.clone(),
            clock: Arc::clone(clock),
            ready: self.readiness(telemetry, matches!(config.queue, QueueAt::Embedded), works),
            covered,
            paused,
        }))
    }

    /// Refused senders are audited as one summary a minute (law 11), and once more at the end.
    fn audit_refusals(&self, surface: &http::State, sign_in: Option<&SignIn>, queue: &Arc<dyn Queue>, clock: &Clock) {
        let sign_in = sign_in.cloned();
        let (surface, clock, queue, stop) = (surface.clone(), Arc::clone(clock), Arc::clone(queue), self.stop.clone());
        tokio::spawn(async move {
            let (mut ending, mut unsaid) = (false, VecDeque::new());
            while !ending {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(60)) => {}
                    () = stop.cancelled() => ending = true,
                }
                let mut refused = surface.take_refusals();
                refused.extend(sign_in.iter().flat_map(SignIn::take_refusals));
                let lines = refused.iter().map(
                    |((source, reason), count)| serde_json::json!({"source": source, "reason": reason, "count": count}),
                );
                let audit = Audit {
                    at: clock(),
                    actor: "receiver".into(),
                    verb: "deliveries.refused".into(),
                    tenant: None,
                    object_id: None,
                    case: None,
                    detail: lines.collect(),
                };
                if !refused.is_empty() {
                    unsaid.push_back(audit);
                }
                // What could not be told is told later; a day of minutes is kept.
                while unsaid.len() > 1_440 {
                    unsaid.pop_front();
                }
                while let Some(audit) = unsaid.front() {
                    if let Err(error) = queue.report(audit.clone()).await {
                        let waiting = unsaid.len();
                        tracing::warn!(error = %http::chain(&error), waiting, "refused deliveries could not be audited yet");
                        break;
                    }
                    unsaid.pop_front();
                }
            }
        });
    }

    /// Looks at store and queue once a second, so that `/readyz` answers without waiting for them.
    fn readiness(
        &self,
        telemetry: &Telemetry,
        is_embedded: bool,
        works: bool,
    ) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
        let healthy = Arc::new(AtomicBool::new(true));
        let problem = Arc::new(Mutex::new(None::<String>));
        let (store, queue, stop) = (self.store.clone(), Arc::clone(&self.queue), self.stop.clone());
        let telemetry = telemetry.clone();
        let (seen, said) = (Arc::clone(&healthy), Arc::clone(&problem));
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = stop.cancelled() => return,
                }
                let condition = queue.condition();
                telemetry.spool(condition.spooled, condition.spool_bytes);
                telemetry.broker_messages(condition.depth.unwrap_or(0));
                let Some(store) = &store else { continue };
                let answer = store.setting("pause").await;
                seen.store(answer.is_ok(), Ordering::Relaxed);
                *said.lock().unwrap_or_else(PoisonError::into_inner) = answer.err().map(|error| error.to_string());
            }
        });
        let (engine, queue, has_store) = (self.engine.clone(), Arc::clone(&self.queue), self.store.is_some());
        Arc::new(move || {
            let detail = problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let ok = healthy.load(Ordering::Relaxed);
            let condition = queue.condition();
            let mut checks = Vec::new();
            if has_store {
                checks.push(Check { name: "store".into(), ok, detail });
            }
            // In the store it fares as the store does.
            let queue_ok = condition.ok && (ok || !is_embedded);
            checks.push(Check { name: "queue".into(), ok: queue_ok, detail: Some(condition.detail) });
            if let Some(engine) = &engine {
                if works {
                    let leased = engine.holds_lease();
                    let detail = (!leased).then(|| "lost; another is asked for".to_owned());
                    checks.push(Check { name: "lease".into(), ok: leased, detail });
                }
                let (catalog, problems) = engine.playbooks();
                let detail = match problems.first() {
                    None => format!("{} playbooks, set {}", catalog.entries().len(), catalog.set_hash()),
                    Some(problem) => format!("the folder is not valid, the last valid set is in use: {problem}"),
                };
                // A typing mistake in a file must not turn senders away: the last valid set is at work.
                checks.push(Check { name: "playbooks".into(), ok: true, detail: Some(detail) });
            }
            Readiness { checks }
        })
    }
}

async fn open_queue(
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

async fn engine(
    config: &Config,
    roles: &[Role],
    store: &Arc<dyn Store>,
    queue: &Arc<dyn Queue>,
    telemetry: &Telemetry,
    clock: &Clock,
) -> anyhow::Result<Engine> {
    let actions = actions::registry();
    let playbooks = match &config.playbooks {
        Some(dir) => Reloader::open(dir, &actions),
        None => Catalog::shipped(&actions).map(Reloader::fixed),
    };
    let playbooks = playbooks.map_err(|wrong| {
        anyhow!("{}", wrong.iter().map(|file| file.render(false)).collect::<Vec<_>>().join("\n"))
            .context("the playbooks are not valid (`oust playbook lint` shows every mistake)")
    })?;
    let tenants = config.tenants.iter().map(|tenant| open_tenant(config, tenant, telemetry, clock));
    let parts = engine::Parts {
        store: Arc::clone(store),
        queue: Arc::clone(queue),
        actions,
        playbooks,
        telemetry: telemetry.clone(),
        clock: Arc::clone(clock),
        hook: Arc::new(NoHook),
    };
    let config = engine::Config {
        rules: Rules {
            mode: config.mode,
            policies: config.approvals.clone(),
            max_age: SignedDuration::try_from(config.guards.max_age)?,
            ..Rules::default()
        },
        blast_radius: config.guards.blast_radius.map(|cap| (cap.revocations, cap.per)),
        privileged_by_hand: config.guards.privileged == config::Privileged::Task,
        tenants: tenants.collect::<anyhow::Result<_>>()?,
        containment_slots: CONTAINMENT_SLOTS,
        other_slots: OTHER_SLOTS,
        lanes: LANES,
        works: roles.contains(&Role::Worker),
        polls: roles.contains(&Role::Poller),
        audit_key: config.audit_key.clone(),
    };
    let engine = Engine::start(config, parts).await.context("the worker cannot start")?;
    engine.run();
    Ok(engine)
}

fn open_tenant(
    config: &Config,
    tenant: &config::Tenant,
    telemetry: &Telemetry,
    clock: &Clock,
) -> anyhow::Result<Tenant> {
    let graph = open_graph(tenant, telemetry, clock).with_context(|| format!("tenant {}", tenant.name))?;
    let mut open = Tenant::new(tenant.name.clone(), tenant.tenant_id, graph);
    open.break_glass = config.guards.break_glass.iter().copied().collect();
    open.break_glass_group = config.guards.break_glass_group;
    open.polling = tenant.polling;
    for source in config.sources.iter().filter(|source| source.tenant == tenant.name) {
        if let config::Kind::Microsoft { arm } = &source.kind {
            open.arm.insert(source.name.clone(), arm.clone());
        }
    }
    Ok(open)
}

fn open_graph(tenant: &config::Tenant, telemetry: &Telemetry, clock: &Clock) -> anyhow::Result<Graph> {
    let credential = |credential: &config::Credential| graph::Credential::ClientSecret {
        client_id: credential.client_id.to_string(),
        secret: credential.client_secret.clone(),
    };
    let mut graph = graph::Config::new(tenant.tenant_id, credential(&tenant.credential));
    graph.cloud = match tenant.cloud {
        config::Cloud::Global => graph::Cloud::Global,
        config::Cloud::UsGov => graph::Cloud::UsGov,
        config::Cloud::UsDod => graph::Cloud::UsDod,
        config::Cloud::China => graph::Cloud::China,
    };
    graph.graph_url.clone_from(&tenant.graph_url);
    graph.login_url.clone_from(&tenant.login_url);
    graph.arm_url.clone_from(&tenant.arm_url);
    graph.recover_credential = tenant.recover_credential.as_ref().map(credential);
    let telemetry = telemetry.clone();
    let hooks = graph::Hooks {
        now: Arc::clone(clock),
        observer: Arc::new(move |call: graph::GraphCall| {
            telemetry.graph_call(&GraphCall {
                operation: call.operation,
                status: call.status,
                client_request_id: "",
                request_id: None,
                took: call.took,
            });
        }),
    };
    Ok(graph.build_with(hooks)?)
}

/// The machine's wall clock; the only place that reads it.
fn now() -> Timestamp {
    Timestamp::now()
}
