//! The use cases: a signal becomes a person, a person a lane, a lane turns decisions into records and deeds.
//!
//! The only place where decide → do → record are strung together: `domain` decides with plain values, adapters do one
//! thing outside, the store keeps. Knows neither axum nor clap nor the environment nor any concrete action.
//!
//! - `intake`: from a claimed signal to a lane, a held task, or a later look.
//! - `naming`: which person is meant; what Microsoft must be asked first.
//! - `lane`: one task per person at work; everything about one identity is serialised here.
//! - `lease`: what this process may do before others take over.
//! - `decide`: the only door by which a human moves a run.
//! - `order`: what a reviewer asks for by hand.
//! - `storm`: the task that releases whom the blast radius holds back.
//! - `presence`: whose browser is there to receive a secret.
//! - `watch`: sign-ins newer than the revoke, read for a whole tenant at once.
//! - `audit`: the hash chain over the audit trail.
//! - `poll`: what no webhook brings.
//! - `background`: claims of due work, and what must be looked at now and then.

mod audit;
mod background;
mod closing;
mod decide;
mod duties;
mod glance;
mod handover;
mod hook;
mod intake;
mod lane;
mod lease;
mod naming;
mod order;
mod perform;
mod poll;
mod presence;
mod record;
mod storm;
mod told;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::actions::Registry;
use crate::domain::guard::{Facts, Membership};
use crate::domain::person::Rules;
use crate::domain::plan::Plan;
use crate::domain::task::Policy;
use crate::domain::{Identity, ObjectId, Signal, SignalId, TaskId, TenantName};
use crate::graph::Graph;
use crate::playbook::catalog::{Catalog, Reloader};
use crate::playbook::expr::Conditions;
use crate::playbook::normalise;
use crate::queue::Queue;
use crate::store::reviewers::Reviewers;
use crate::store::{self, Batch, Browser, Expect, Op, PersonRow};
use crate::telemetry::Telemetry;

pub use audit::{CHECKPOINT, Chained, chained};
pub use decide::{DecideError, Evidence, Recorded};
pub use hook::{Fate, Hook, NoHook, Place};
pub use order::{Asked, OrderError, offers};
pub use poll::Polling;

/// The only clock the engine knows.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One tenant as the engine works in it.
#[derive(Debug)]
pub struct Tenant {
    pub name: TenantName,
    /// Entra tenant id.
    pub id: Uuid,
    pub graph: Graph,
    pub break_glass: BTreeSet<ObjectId>,
    pub break_glass_group: Option<ObjectId>,
    /// Subscriptions and workspaces whose incidents may be asked for entities, per source.
    pub arm: HashMap<String, Vec<crate::sources::ArmWorkspace>>,
    pub polling: Polling,
    members: RwLock<Option<(BTreeSet<ObjectId>, Timestamp)>>,
}

impl Tenant {
    /// A tenant whose group was never read.
    pub fn new(name: TenantName, id: Uuid, graph: Graph) -> Self {
        Self {
            name,
            id,
            graph,
            break_glass: BTreeSet::new(),
            break_glass_group: None,
            arm: HashMap::new(),
            polling: Polling::default(),
            members: RwLock::new(None),
        }
    }

    fn membership(&self, object_id: ObjectId) -> Membership {
        if self.break_glass_group.is_none() {
            return Membership::NotAMember;
        }
        match self.members.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            None => Membership::NeverLoaded,
            Some((members, _)) if members.contains(&object_id) => Membership::Member,
            Some(_) => Membership::NotAMember,
        }
    }
}

/// What the engine is built of.
#[derive(Debug)]
pub struct Config {
    pub rules: Rules,
    /// People per window, where a cap is configured.
    pub blast_radius: Option<(u32, Duration)>,
    /// A role holder's reset becomes a manual task.
    pub privileged_by_hand: bool,
    pub tenants: Vec<Tenant>,
    /// Calls in flight that are containment, and all others.
    pub containment_slots: usize,
    pub other_slots: usize,
    /// People being contained at once; above it signals wait in the queue.
    pub lanes: usize,
    /// Takes signals in and performs. A process that neither works nor polls takes no lease: it records decisions.
    pub works: bool,
    /// Reads what no webhook brings.
    pub polls: bool,
    /// Signs the audit trail's checkpoints; without one a key is drawn and kept in the store.
    pub audit_key: Option<SecretString>,
}

/// The parts below the engine.
pub struct Parts {
    pub store: Arc<dyn Reviewers>,
    pub queue: Arc<dyn Queue>,
    pub actions: Registry,
    pub playbooks: Reloader,
    pub telemetry: Telemetry,
    pub clock: Clock,
    pub hook: Arc<dyn Hook>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

/// The engine; a clone is the same engine.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    store: Arc<dyn Reviewers>,
    queue: Arc<dyn Queue>,
    actions: Registry,
    playbooks: Mutex<Reloader>,
    telemetry: Telemetry,
    clock: Clock,
    hook: Arc<dyn Hook>,
    rules: Rules,
    blast_radius: Option<(u32, Duration)>,
    privileged_by_hand: bool,
    tenants: HashMap<TenantName, Arc<Tenant>>,
    conditions: Conditions,
    plans: Mutex<HashMap<String, Arc<Plan>>>,
    /// Hashes of plans known to be in the store, where nothing ever deletes them.
    pinned: RwLock<HashSet<String>>,
    lanes: Mutex<HashMap<Identity, lane::Door>>,
    lane_room: Arc<Semaphore>,
    containment: Arc<Semaphore>,
    others: Arc<Semaphore>,
    paused: RwLock<Option<String>>,
    storm_answers: RwLock<HashMap<(TenantName, decide::Storm), Timestamp>>,
    storms: tokio::sync::Mutex<()>,
    presence: Mutex<HashMap<TaskId, Browser>>,
    watermarks: Mutex<HashMap<Identity, Timestamp>>,
    /// Waiting signals that are being looked up right now.
    asking: Mutex<HashSet<SignalId>>,
    /// The store's stamp as last seen.
    stamp: AtomicI64,
    /// The lease in force.
    era: RwLock<Arc<lease::Era>>,
    works: bool,
    polls: bool,
    polling: tokio::sync::Mutex<()>,
    audit_key: Option<SecretString>,
    /// Duties this worker does for all.
    leading: Mutex<HashSet<&'static str>>,
    /// Another era began.
    begun: Notify,
    /// Work may have become due.
    due: Notify,
    stop: CancellationToken,
    killed: CancellationToken,
    tasks: TaskTracker,
    /// A hook made this process die: nothing is written or sent any more.
    dead: AtomicBool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("era", &self.era()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Takes over the store: starts a new epoch, so that leases of a dead process are void, and reads the pause.
    ///
    /// # Errors
    /// The store is held by another process, or cannot be read.
    pub async fn start(config: Config, parts: Parts) -> Result<Self, store::Error> {
        let tenants = config.tenants.into_iter().map(|tenant| (tenant.name.clone(), Arc::new(tenant))).collect();
        let inner = Inner {
            store: parts.store,
            queue: parts.queue,
            actions: parts.actions,
            playbooks: Mutex::new(parts.playbooks),
            telemetry: parts.telemetry,
            clock: parts.clock,
            hook: parts.hook,
            rules: config.rules,
            blast_radius: config.blast_radius,
            privileged_by_hand: config.privileged_by_hand,
            tenants,
            conditions: Conditions::new(),
            plans: Mutex::default(),
            pinned: RwLock::default(),
            lanes: Mutex::default(),
            lane_room: Arc::new(Semaphore::new(config.lanes)),
            containment: Arc::new(Semaphore::new(config.containment_slots)),
            others: Arc::new(Semaphore::new(config.other_slots)),
            paused: RwLock::new(None),
            storm_answers: RwLock::default(),
            storms: tokio::sync::Mutex::default(),
            presence: Mutex::default(),
            watermarks: Mutex::default(),
            asking: Mutex::default(),
            stamp: AtomicI64::new(0),
            era: RwLock::new(lease::none()),
            works: config.works,
            polls: config.polls,
            polling: tokio::sync::Mutex::default(),
            audit_key: config.audit_key,
            leading: Mutex::default(),
            begun: Notify::new(),
            due: Notify::new(),
            stop: CancellationToken::new(),
            killed: CancellationToken::new(),
            tasks: TaskTracker::new(),
            dead: AtomicBool::new(false),
        };
        let engine = Self { inner: Arc::new(inner) };
        if engine.inner.works || engine.inner.polls {
            engine.inner.begin_era().await?;
        }
        background::read_settings(&engine.inner).await?;
        duties::read_members(&engine.inner).await?;
        Ok(engine)
    }

    /// Starts the loops: queue, due work, looks now and then. They end with `stop`.
    pub fn run(&self) {
        if self.inner.works || self.inner.polls {
            tokio::spawn(lease::keep(Arc::clone(&self.inner)));
        }
        background::spawn(&self.inner);
    }

    /// Stops claiming, lets what is in flight end (bounded by `patience`), and gives up what is left: it is in the
    /// store and goes on at the next start.
    pub async fn stop(&self, patience: Duration) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(patience, self.inner.tasks.wait()).await.is_err() {
            self.inner.die();
            self.inner.tasks.wait().await;
        }
        let era = self.inner.era();
        if self.inner.works && !self.inner.is_dead() && duties::leads(&self.inner, duties::AUDIT) {
            audit::sign(&self.inner).await;
        }
        if !era.ended.is_cancelled() {
            // Whatever is left need not wait for the lease to run out; if this fails, it does.
            let _ = self.inner.store.end_epoch(era.epoch).await;
        }
        self.inner.killed.cancel();
    }

    /// True while this process may act: its lease lives.
    pub fn holds_lease(&self) -> bool {
        !self.inner.era().ended.is_cancelled()
    }

    /// True once a hook ended this process' work.
    pub fn is_dead(&self) -> bool {
        self.inner.dead.load(Ordering::SeqCst)
    }

    /// The receiver's cheap answer to "is it already covered": from what this process saw, never from the store.
    pub fn knows_as_covered(&self, signal: &Signal) -> bool {
        let Some(object_id) = signal.finding.subject.known_object_id() else { return false };
        let identity = Identity { tenant: signal.tenant.clone(), object_id };
        lock(&self.inner.watermarks).get(&identity).is_some_and(|mark| signal.activity() <= *mark)
    }

    /// A pause was set or lifted in this process: look at once.
    pub fn settings_changed(&self) {
        let inner = Arc::clone(&self.inner);
        self.inner.tasks.spawn(async move {
            if let Err(error) = background::read_settings(&inner).await {
                inner.telemetry.store_error("settings.read", &error);
            }
        });
    }

    /// The current playbooks and what is wrong with the folder as it is now.
    pub fn playbooks(&self) -> (Arc<Catalog>, Vec<crate::playbook::Diagnostics>) {
        let mut playbooks = lock(&self.inner.playbooks);
        // A worker follows its folder by itself; any other process looks when somebody asks.
        if !self.inner.works && playbooks.changed() {
            playbooks.reload(&self.inner.actions);
        }
        (playbooks.catalog(), playbooks.problems().to_vec())
    }

    /// Approval policies by name.
    pub fn policies(&self) -> &BTreeMap<String, Policy> {
        &self.inner.rules.policies
    }

    /// Lanes at work in this process.
    pub fn lanes(&self) -> usize {
        lock(&self.inner.lanes).len()
    }

    /// Looks for due work once, now: queue, waiting signals, due people. For tests that drive the clock.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn look(&self) -> Result<(), store::Error> {
        background::look(&self.inner).await.map(drop)
    }

    /// Polls every tenant once, now.
    pub async fn poll_once(&self) {
        poll::all(&self.inner).await;
    }

    /// Reads the sign-ins of every watched tenant once, now.
    pub async fn watch_once(&self) {
        watch::once(&self.inner).await;
        handover::once(&self.inner).await;
    }
}

impl Inner {
    /// Adds to a batch what makes this person due now, whoever holds them.
    async fn touch(&self, identity: &Identity, now: Timestamp, batch: &mut Batch) -> Result<(), store::Error> {
        let Some(record) = self.store.person(identity).await? else { return Ok(()) };
        batch.expect = Some(Expect { identity: identity.clone(), revision: record.revision, epoch: None });
        let row = PersonRow { due_at: Some(now), ..record.into_row(identity.clone()) };
        batch.ops.push(Op::PutPerson(Box::new(row)));
        Ok(())
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Nothing is written or sent by this engine any more; every loop and lane ends where it stands.
    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.stop.cancel();
        self.killed.cancel();
    }

    fn mint() -> Uuid {
        Uuid::now_v7()
    }

    /// What the guards look at for one person, as known now; never the network (contract §13.5).
    fn facts(&self, identity: &Identity, over_cap: bool) -> Facts {
        let tenant = self.tenants.get(&identity.tenant);
        Facts {
            listed: tenant.is_some_and(|t| t.break_glass.contains(&identity.object_id)),
            membership: tenant.map_or(Membership::NotAMember, |t| t.membership(identity.object_id)),
            paused: self.paused.read().unwrap_or_else(PoisonError::into_inner).clone(),
            over_cap,
            released_at: self.answered_at(decide::Storm::Released, &identity.tenant),
            denied_at: self.answered_at(decide::Storm::Denied, &identity.tenant),
        }
    }

    /// A plan by its hash: from memory, else as it was pinned; never from the folder.
    async fn plan(&self, hash: &str) -> Result<Arc<Plan>, store::Error> {
        if let Some(plan) = lock(&self.plans).get(hash) {
            return Ok(Arc::clone(plan));
        }
        let corrupt = |source: Option<Box<dyn std::error::Error + Send + Sync>>| store::Error::Corrupt {
            what: format!("plan {hash}"),
            source,
        };
        let json = self.store.plan(hash).await?.ok_or_else(|| corrupt(None))?;
        let plan = normalise::unpin_checked(&json, hash).map_err(|error| corrupt(Some(Box::new(error))))?;
        self.was_pinned(hash);
        Ok(self.keep_plan(hash, &Arc::new(plan)))
    }

    fn is_pinned(&self, hash: &str) -> bool {
        self.pinned.read().unwrap_or_else(PoisonError::into_inner).contains(hash)
    }

    /// A plan was read from the store or committed to it.
    fn was_pinned(&self, hash: &str) {
        if !self.is_pinned(hash) {
            self.pinned.write().unwrap_or_else(PoisonError::into_inner).insert(hash.to_owned());
        }
    }

    fn keep_plan(&self, hash: &str, plan: &Arc<Plan>) -> Arc<Plan> {
        Arc::clone(lock(&self.plans).entry(hash.to_owned()).or_insert_with(|| Arc::clone(plan)))
    }
}
