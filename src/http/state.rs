//! What the handlers share: the ways in, the adapters, the caps. Built by the app, cheap to clone.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::domain::{DeliveryId, Finding, Signal, SignalId, TenantName};
use crate::queue::Queue;
use crate::sources::mapped::Mapping;
use crate::sources::{ArmWorkspace, Context, Error, Parsed, auth, microsoft};
use crate::store::{Acceptance, Store, Token};
use crate::telemetry::{self, Telemetry};

use super::Problem;
use super::answer::Answer;
use super::health::Readiness;
use super::refused::{self, Record, Refusal};

/// What a connection and a request may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one body.
    pub max_body: usize,
    /// Deliveries worked on at once, counted from the last byte of the body; more are answered 503.
    pub concurrency: usize,
    /// Sockets held at once. While one more waits to be accepted, the one that is idle for longest is closed.
    pub connections: usize,
    /// From the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    /// A connection without a request is closed after this long.
    pub idle_timeout: Duration,
    /// What is under way at shutdown may take this long.
    pub shutdown_timeout: Duration,
    /// A delivery that is not durable by then is answered 503.
    pub accept_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 1024 * 1024,
            concurrency: 512,
            connections: 1024,
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(10),
            accept_timeout: Duration::from_secs(5),
        }
    }
}

/// A configured way in.
#[derive(Debug)]
pub struct Source {
    pub name: String,
    pub tenant: TenantName,
    pub entra_tenant_id: Uuid,
    pub kind: SourceKind,
    /// Who may send, networks included; `None` for kind `graph`, whose bodies prove themselves.
    pub auth: Option<auth::Authenticator>,
    /// Asked alone for kind `graph`.
    pub networks: auth::networks::Networks,
    /// `None` = no cap.
    pub rate: Option<Rate>,
    /// `None`: accept where a refusal would mute the sender, reject elsewhere.
    pub on_unknown: Option<OnUnknown>,
}

impl Source {
    /// Reads an authenticated body of kind `microsoft` or `mapped`.
    ///
    /// # Errors
    /// Why it was understood as nothing.
    pub fn parse(&self, body: &[u8], received_at: Timestamp) -> Result<Parsed, Error> {
        if body.trim_ascii().is_empty() {
            return Err(Error::Empty);
        }
        match &self.kind {
            SourceKind::Mapped(mapping) => mapping.parse(body, &self.context(received_at)),
            SourceKind::Microsoft { .. } | SourceKind::Graph { .. } => {
                microsoft::parse(body, &self.context(received_at))
            }
        }
    }

    pub(super) fn context(&self, received_at: Timestamp) -> Context {
        let arm_allow = match &self.kind {
            SourceKind::Microsoft { arm } => arm.clone(),
            SourceKind::Graph { .. } | SourceKind::Mapped(_) => Vec::new(),
        };
        Context { entra_tenant_id: self.entra_tenant_id, arm_allow, now: received_at }
    }

    /// A delivery ready to be made durable, with ids for its signals and the answer that names them.
    pub fn acceptance(
        &self,
        (delivery, received_at): (DeliveryId, Timestamp),
        (body, webhook_id): (Bytes, Option<String>),
        findings: Vec<Finding>,
        covered: impl Fn(&Signal) -> bool,
    ) -> Acceptance {
        let traceparent = telemetry::current_traceparent();
        let body_hash = hex::encode(Sha256::digest(&body));
        let named = webhook_id.as_deref().map(|id| Named::new(&self.name, id, &body_hash));
        let delivery = named.as_ref().map_or(delivery, |named| DeliveryId::new(named.uuid("delivery")));
        let index = Cell::new(0_usize);
        let mint = |finding: Finding| Signal {
            id: SignalId::new(match &named {
                Some(named) => named.uuid(&format!("signal {} {}", index.replace(index.get() + 1), finding.content)),
                None => Uuid::now_v7(),
            }),
            delivery,
            source: self.name.clone(),
            tenant: self.tenant.clone(),
            received_at,
            traceparent: traceparent.clone(),
            finding,
        };
        let (answer, signals) = Answer::of(findings, mint, covered);
        Acceptance {
            delivery,
            source: self.name.clone(),
            tenant: self.tenant.clone(),
            received_at,
            webhook_id,
            body_hash,
            body,
            signals,
            buried: None,
            answer: answer.json(),
        }
    }
}

/// The ids of a delivery that has one of its sender: a repetition gets the same, whoever receives it, with no store to
/// ask.
#[derive(Debug)]
pub(super) struct Named(String);

impl Named {
    const NAMESPACE: Uuid = Uuid::from_u128(0x6f75_7374_0000_5000_8000_6465_6c69_7665);

    pub(super) fn new(source: &str, webhook_id: &str, body_hash: &str) -> Self {
        Self(format!("{}:{source} {}:{webhook_id} {body_hash}", source.len(), webhook_id.len()))
    }

    /// The id of a part of it.
    pub(super) fn uuid(&self, part: &str) -> Uuid {
        Uuid::new_v5(&Self::NAMESPACE, format!("{} {part}", self.0).as_bytes())
    }
}

/// How the bodies of a source are read.
#[derive(Debug)]
pub enum SourceKind {
    Microsoft { arm: Vec<ArmWorkspace> },
    Graph { client_state: auth::ClientState },
    Mapped(Box<Mapping>),
}

/// So many deliveries in a second or a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub deliveries: NonZeroU32,
    pub per_minute: bool,
}

/// What an authenticated body of unknown shape is answered; it is buried all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    Reject,
    Accept,
}

/// What the app hands over.
pub struct Parts {
    pub sources: Vec<Source>,
    pub queue: Arc<dyn Queue>,
    /// Absent in a process that only hands deliveries to a broker: it answers no reads.
    pub store: Option<Arc<dyn Store>>,
    pub telemetry: Telemetry,
    pub limits: Limits,
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub ready: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// Whether the signal is already known to be covered; false where nothing is known.
    pub covered: Arc<dyn Fn(&Signal) -> bool + Send + Sync>,
    /// Called when a pause was recorded, so that workers look at once.
    pub paused: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("sources", &self.sources).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A source and its rate.
#[derive(Debug)]
pub(super) struct Way {
    pub source: Source,
    rate: Option<DefaultDirectRateLimiter>,
}

impl Way {
    /// Counts a delivery against the source's rate.
    pub fn admit(&self) -> Result<(), Problem> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.check().map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Problem::too_fast("this source sends faster than its configured rate").retry_after(seconds.max(1))
        })
    }
}

struct Inner {
    ways: HashMap<String, Way>,
    queue: Arc<dyn Queue>,
    store: Option<Arc<dyn Store>>,
    telemetry: Telemetry,
    limits: Limits,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ready: Arc<dyn Fn() -> Readiness + Send + Sync>,
    covered: Arc<dyn Fn(&Signal) -> bool + Send + Sync>,
    paused: Arc<dyn Fn() + Send + Sync>,
    deliveries: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    refusals: Mutex<Refusals>,
    record: Record,
}

/// Refusals by source and reason since they were last taken.
pub type Refusals = BTreeMap<(String, &'static str), u64>;

/// What the handlers share.
#[derive(Clone)]
pub struct State(Arc<Inner>);

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("ways", &self.0.ways).finish_non_exhaustive()
    }
}

/// Reads of the API answered at once; they must not starve deliveries of the store.
const READERS: usize = 64;
/// Refusals of one token that are recorded in a minute.
const PER_TOKEN: NonZeroU32 = NonZeroU32::new(30).expect("it is not zero");

impl State {
    pub fn new(parts: Parts) -> Self {
        let ways = parts.sources.into_iter().map(|source| {
            let quota = source.rate.map(|rate| match rate.per_minute {
                true => Quota::per_minute(rate.deliveries),
                false => Quota::per_second(rate.deliveries),
            });
            (source.name.clone(), Way { source, rate: quota.map(RateLimiter::direct) })
        });
        Self(Arc::new(Inner {
            ways: ways.collect(),
            queue: parts.queue,
            store: parts.store,
            telemetry: parts.telemetry,
            deliveries: Arc::new(Semaphore::new(parts.limits.concurrency.min(Semaphore::MAX_PERMITS))),
            readers: Arc::new(Semaphore::new(READERS)),
            limits: parts.limits,
            clock: parts.clock,
            ready: parts.ready,
            covered: parts.covered,
            paused: parts.paused,
            refusals: Mutex::default(),
            record: Record::per_minute(PER_TOKEN),
        }))
    }

    /// Refused deliveries by source and reason since the last call: the app writes them to the audit trail once a
    /// minute (law 11).
    pub fn take_refusals(&self) -> Refusals {
        std::mem::take(&mut *self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a refused delivery. `source` is a configured name, or `unknown`.
    pub(super) fn refused(&self, source: &str, reason: &'static str) {
        self.0.telemetry.delivery_refused(source, reason);
        let mut refusals = self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry((source.to_owned(), reason)).or_default() += 1;
    }

    /// Records what the bearer of a token was refused.
    pub(super) async fn record(&self, bearer: &Token, refusal: Refusal) {
        let Some(store) = self.store() else { return };
        if !self.0.record.keeps(&**store, format!("token:{}", bearer.name), refusal, self.now()).await {
            self.refused("api", refused::NOT_RECORDED);
        }
    }

    pub(super) fn way(&self, name: &str) -> Option<&Way> {
        self.0.ways.get(name)
    }

    pub(super) fn queue(&self) -> &dyn Queue {
        &*self.0.queue
    }

    pub(super) fn store(&self) -> Option<&Arc<dyn Store>> {
        self.0.store.as_ref()
    }

    /// The store, or the answer of a process that has none.
    pub(super) fn need_store(&self) -> Result<&Arc<dyn Store>, Problem> {
        self.store().ok_or_else(Problem::no_store)
    }

    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    pub(super) fn readiness(&self) -> Readiness {
        (self.0.ready)()
    }

    pub(super) fn covers(&self, signal: &Signal) -> bool {
        (self.0.covered)(signal)
    }

    pub(super) fn pause_recorded(&self) {
        (self.0.paused)();
    }

    /// A place for one delivery, or 503.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.0.deliveries).try_acquire_owned();
        place.map_err(|_| Problem::busy("all hands are at other deliveries; send it again").retry_after(1))
    }

    /// A place for one read of the API, or 503.
    pub(super) fn reading_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.0.readers).try_acquire_owned();
        place.map_err(|_| Problem::busy("too many reads at once; try again").retry_after(1))
    }
}
