//! What tests stand on: an engine on a real store in a folder of its own, against a twin reached over a socket.

pub mod broker;
pub mod browsers;
pub mod postgres;
pub mod proxy;
pub mod router;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use oust::domain::person::Rules;
use oust::domain::run::Mode;
use oust::domain::task::{Ballot, Event, Policy, Reviewer, Role, State, Task, Verdict};
use oust::domain::{DeliveryId, Identity, ObjectId, Signal, SignalId, TaskId, TenantName};
use oust::engine::{self, Engine, Fate, Hook, NoHook, Parts, Place, Tenant};
use oust::graph;
use oust::playbook::catalog::{Catalog, Reloader};
use oust::queue::Embedded;
use oust::queue::Queue;
use oust::sources::{self, microsoft};
use oust::store::reviewers::Reviewers;
use oust::store::sqlite::{Options, Sqlite};
use oust::store::{Acceptance, CaseRow, Filter, Page, Receipt};
use oust::telemetry::Telemetry;
use oust::twin::{self, Twin};
use secrecy::SecretString;
use serde_json::json;
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A clock that tests push forward.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_millis(self.0.load(Ordering::SeqCst))
    }

    pub fn advance(&self, by: SignedDuration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).expect("a test's span"), Ordering::SeqCst);
    }
}

/// A planned end: at the n-th passage of a place by a step.
#[derive(Debug)]
pub struct Plan {
    pub place: Place,
    pub step: String,
    pub fate: Fate,
    left: AtomicI64,
}

impl Plan {
    pub fn once(place: Place, step: &str, fate: Fate) -> Arc<Self> {
        Arc::new(Self { place, step: step.to_owned(), fate, left: AtomicI64::new(1) })
    }

    pub fn was_met(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }
}

impl Hook for Plan {
    fn at(&self, place: Place, step: &str) -> Fate {
        if place == self.place && step == self.step && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            return self.fate;
        }
        Fate::Go
    }
}

/// What an app is made with.
pub struct Setup {
    pub mode: Mode,
    pub hook: Arc<dyn Hook>,
    pub playbooks: Vec<(String, String)>,
    pub blast_radius: Option<(u32, Duration)>,
    pub break_glass: Vec<Uuid>,
    pub break_glass_group: Option<Uuid>,
    pub people: usize,
    pub policy: Policy,
    /// Where a shared store is; `None` = a file of its own.
    pub place: Option<postgres::Place>,
    pub polling: engine::Polling,
    /// What the engine tells.
    pub telemetry: Telemetry,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            hook: Arc::new(NoHook),
            playbooks: Vec::new(),
            blast_radius: None,
            break_glass: Vec::new(),
            break_glass_group: None,
            people: 50,
            policy: policy(),
            place: None,
            polling: engine::Polling::default(),
            telemetry: Telemetry::new(),
        }
    }
}

/// The policy `on_call` of tests.
pub fn policy() -> Policy {
    Policy {
        reviewers: vec!["group:on-call".into()],
        approve: 1,
        deny: 1,
        decide_within: Some(SignedDuration::from_hours(4)),
        escalate: None,
        execute_within: Some(SignedDuration::from_hours(1)),
        fresh_at_claim: false,
    }
}

/// A running engine, and what is needed to end it and start it again on the same folder.
pub struct App {
    pub dir: TempDir,
    pub twin: Twin,
    pub base: Url,
    pub clock: Clock,
    pub setup: Setup,
    pub store: Arc<dyn Reviewers>,
    pub queue: Arc<Embedded>,
    pub engine: Engine,
    pub recipient: String,
}

pub const TENANT: &str = "contoso";

fn tenant() -> TenantName {
    TENANT.parse().expect("a tenant name")
}

/// A twin on a port of its own.
pub async fn start_twin(people: usize) -> (Twin, Url) {
    let config = twin::Config { people, knobs: twin::Knobs::unthrottled(), ..twin::Config::default() };
    let twin = Twin::new(config);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let base = Url::parse(&format!("http://{}", listener.local_addr().expect("an address"))).expect("a URL");
    tokio::spawn(twin.clone().serve(listener, std::future::pending()));
    (twin, base)
}

fn database(dir: &TempDir) -> PathBuf {
    dir.path().join("oust.db")
}

/// The store of a setup.
async fn open(setup: &Setup, dir: &TempDir) -> Arc<dyn Reviewers> {
    match &setup.place {
        Some(place) => place.open().await,
        None => Sqlite::open(database(dir), Options::default()).expect("the store's file"),
    }
}

async fn build(store: Arc<dyn Reviewers>, queue: Arc<Embedded>, base: &Url, clock: &Clock, setup: &Setup) -> Engine {
    let engine = build_idle(store, queue, base, clock, setup, true).await;
    engine.run();
    engine
}

/// An engine that does nothing by itself yet; one that does not `work` never does.
async fn build_idle(
    store: Arc<dyn Reviewers>,
    queue: Arc<Embedded>,
    base: &Url,
    clock: &Clock,
    setup: &Setup,
    works: bool,
) -> Engine {
    let twin = twin::Config::default();
    let secret = SecretString::from(twin.client_secret.clone());
    let credential = graph::Credential::ClientSecret { client_id: twin.client_id.clone(), secret };
    let mut config = graph::Config::new(twin.tenant_id, credential).at(base);
    config.limits = graph::Limits { identity_protection: None, audit_logs: None };
    config.read_lag = Duration::ZERO;
    let now = clock.clone();
    let hooks = graph::Hooks { now: Arc::new(move || now.now()), ..graph::Hooks::default() };
    let mut contoso = Tenant::new(tenant(), twin.tenant_id, config.build_with(hooks).expect("a client"));
    contoso.break_glass = setup.break_glass.iter().map(|id| ObjectId::new(*id)).collect();
    contoso.polling = setup.polling;
    contoso.break_glass_group = setup.break_glass_group.map(ObjectId::new);
    let actions = oust::actions::registry();
    let catalog = if setup.playbooks.is_empty() {
        Catalog::shipped(&actions).expect("the shipped playbooks are valid")
    } else {
        let source = |(file, text): &(String, String)| oust::playbook::catalog::Source {
            file: file.clone(),
            text: text.clone(),
        };
        Catalog::of(&setup.playbooks.iter().map(source).collect::<Vec<_>>(), &actions).expect("valid playbooks")
    };
    let rules = Rules {
        mode: setup.mode,
        policies: BTreeMap::from([("on_call".to_owned(), setup.policy.clone())]),
        ..Rules::default()
    };
    let now = clock.clone();
    let parts = Parts {
        store,
        queue,
        actions,
        playbooks: Reloader::fixed(catalog),
        telemetry: setup.telemetry.clone(),
        clock: Arc::new(move || now.now()),
        hook: Arc::clone(&setup.hook),
    };
    let config = engine::Config {
        rules,
        blast_radius: setup.blast_radius,
        privileged_by_hand: true,
        tenants: vec![contoso],
        containment_slots: 64,
        other_slots: 64,
        lanes: 10_000,
        works,
        polls: works && setup.polling != engine::Polling::default(),
        audit_key: None,
    };
    Engine::start(config, parts).await.expect("the store is free")
}

impl App {
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> Self {
        let (twin, base) = start_twin(setup.people).await;
        Self::on(setup, twin, base).await
    }

    pub async fn on(setup: Setup, twin: Twin, base: Url) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = Clock::default();
        let store = open(&setup, &dir).await;
        let queue = Embedded::new(store.clone());
        let engine = build(store.clone(), queue.clone(), &base, &clock, &setup).await;
        let recipient = recipient_key();
        Self { dir, twin, base, clock, setup, store, queue, engine, recipient }
    }

    /// Ends the engine as it stands (killed if a hook did not do it already) and starts again on the same folder.
    pub async fn restart(self, hook: Arc<dyn Hook>) -> Self {
        let Self { dir, twin, base, clock, mut setup, store, queue, engine, recipient } = self;
        engine.stop(Duration::ZERO).await;
        drop((engine, queue));
        let last = Arc::downgrade(&store);
        drop(store);
        until("the old store to be released", || last.strong_count() == 0).await;
        setup.hook = hook;
        let store = open(&setup, &dir).await;
        let queue = Embedded::new(store.clone());
        let engine = build(store.clone(), queue.clone(), &base, &clock, &setup).await;
        Self { dir, twin, base, clock, setup, store, queue, engine, recipient }
    }

    /// The engine of a console on the same store: it records decisions and performs nothing.
    pub async fn console_engine(&self) -> Engine {
        build_idle(self.store.clone(), self.queue.clone(), &self.base, &self.clock, &self.setup, false).await
    }

    pub fn identity(&self, user: Uuid) -> Identity {
        Identity { tenant: tenant(), object_id: ObjectId::new(user) }
    }

    /// Accepts a body as the receiver would; gives the signals' ids.
    pub async fn deliver(&self, body: &serde_json::Value) -> Vec<SignalId> {
        let received_at = self.clock.now();
        let context = sources::Context {
            entra_tenant_id: twin::Config::default().tenant_id,
            arm_allow: Vec::new(),
            now: received_at,
        };
        let text = serde_json::to_vec(body).expect("JSON");
        let parsed = microsoft::parse(&text, &context).expect("a known shape");
        let delivery = DeliveryId::new(Uuid::now_v7());
        let signals: Vec<Signal> = parsed
            .findings
            .into_iter()
            .map(|finding| Signal {
                id: SignalId::new(Uuid::now_v7()),
                delivery,
                source: "sentinel".into(),
                tenant: tenant(),
                received_at,
                traceparent: None,
                finding,
            })
            .collect();
        let ids = signals.iter().map(|signal| signal.id).collect();
        let acceptance = Acceptance {
            delivery,
            source: "sentinel".into(),
            tenant: tenant(),
            received_at,
            webhook_id: None,
            body: text.into(),
            body_hash: String::new(),
            signals,
            buried: None,
            answer: json!({}),
        };
        assert_eq!(self.queue.accept(acceptance).await.expect("durable"), Receipt::Accepted);
        ids
    }

    /// A risk detection about a user, `age` ago.
    pub fn detection(&self, user: Uuid, kind: &str, age: SignedDuration) -> serde_json::Value {
        let at = self.clock.now() - age;
        json!({
            "id": Uuid::new_v4().simple().to_string(), "riskEventType": kind, "riskState": "atRisk", "riskLevel": "high",
            "riskDetail": "none", "source": "IdentityProtection", "activity": "signin", "ipAddress": "203.0.113.77",
            "activityDateTime": at, "detectedDateTime": at, "lastUpdatedDateTime": at,
            "userId": user, "userPrincipalName": "somebody@contoso.example", "additionalInfo": "[]",
        })
    }

    pub async fn alert(&self, user: Uuid, kind: &str) -> SignalId {
        self.deliver(&self.detection(user, kind, SignedDuration::from_mins(10))).await[0]
    }

    pub async fn signal(&self, id: SignalId) -> serde_json::Value {
        self.store.signal(id).await.expect("a read").unwrap_or_default()
    }

    pub async fn cases(&self) -> Vec<CaseRow> {
        self.store.cases(&Filter::default(), &Page { after: None, limit: 500 }).await.expect("a read").items
    }

    pub async fn tasks(&self) -> Vec<Task> {
        self.store.tasks(&Filter::default(), &Page { after: None, limit: 500 }).await.expect("a read").items
    }

    pub async fn open_tasks(&self) -> Vec<Task> {
        self.tasks().await.into_iter().filter(|task| !task.state.is_terminal()).collect()
    }

    /// Waits until nothing is left that this engine could do now.
    pub async fn idle(&self) {
        let begun = Instant::now();
        // Looking costs more than most of what is waited for: less often, the longer it takes.
        let mut pause = Duration::from_millis(2);
        loop {
            self.engine.look().await.expect("a read");
            let figures = self.store.figures(self.clock.now()).await.expect("a read");
            if self.engine.is_dead() {
                return;
            }
            if figures.queue_depth == 0 && figures.people_due == 0 && self.engine.lanes() == 0 {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "not idle: {figures:?}, {} lanes\n{}",
                self.engine.lanes(),
                self.picture().await
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(30));
        }
    }

    pub async fn picture(&self) -> String {
        self.store.picture().await.expect("a picture")
    }

    /// The effects the twin applied and the calls it got, for a verb and a user.
    pub fn count(&self, verb: &str, user: Uuid) -> twin::Count {
        self.twin.count(verb, user)
    }

    /// An entitled reviewer approves (with a browser key) or denies.
    pub async fn vote(&self, task: TaskId, verdict: Verdict) -> Result<engine::Recorded, engine::DecideError> {
        let shown = self.store.task(task).await.expect("a read").expect("the task");
        let now = self.clock.now();
        self.seen(task).await;
        let ballot = Ballot {
            by: reviewer("rita", now),
            verdict,
            reason: Some("seen on the phone".into()),
            digest: shown.digest(),
            recipient_key: shown.reveals().then(|| self.recipient.clone()),
        };
        self.engine.decide(task, "reviewer:rita", Event::Vote(Box::new(ballot))).await
    }

    /// Approves every open approval; gives how many.
    pub async fn approve_all(&self) -> usize {
        let mut approved = 0;
        for task in self.open_tasks().await {
            if task.state.is_undecided() && task.kind == oust::domain::task::Kind::Approval {
                self.vote(task.id, Verdict::Approve).await.expect("an entitled vote");
                approved += 1;
            }
        }
        approved
    }

    /// Reports every open manual task done.
    pub async fn do_by_hand(&self) {
        for task in self.open_tasks().await {
            if task.kind == oust::domain::task::Kind::Manual {
                let by = Box::new(reviewer("rita", self.clock.now()));
                let event = Event::Done { by, note: Some("done".into()) };
                self.engine.decide(task.id, "reviewer:rita", event).await.expect("a manual task can be done");
            }
        }
    }
}

/// A reviewer on call, freshly proved.
pub fn reviewer(id: &str, now: Timestamp) -> Reviewer {
    Reviewer {
        id: id.to_owned(),
        identity: None,
        linked: Vec::new(),
        roles: vec![Role::Approver],
        groups: vec!["on-call".into()],
        session_started: now,
        at_risk: false,
        revoked_at: None,
        aal2: true,
        proved_at: now,
    }
}

/// A browser's public key: the base point of P-256 is on the curve, and nobody here needs the private half.
pub fn recipient_key() -> String {
    use base64::Engine as _;
    let point = hex::decode(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    )
    .expect("hex");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(point)
}

/// Waits for something that must come, without naming a time.
pub async fn until(what: &str, holds: impl FnMut() -> bool) {
    let mut holds = holds;
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// True when somebody could still decide.
pub fn is_waiting(task: &Task) -> bool {
    matches!(task.state, State::Pending | State::Escalated { .. })
}

/// As [`until`], for conditions that must themselves be waited for.
pub async fn until_async(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < 2 * PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
