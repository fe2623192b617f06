//! Queues: one contract over every backend, and what only a broker can go through.

mod broker;
mod contract;
mod hostile;
mod spool;
mod tls;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use oust::domain::signal::Evidence;
use oust::domain::{DeliveryId, Finding, Kind, ObjectId, Outcome, Risk, Signal, SignalId, Subject, TenantName};
use oust::queue::amqp::{Amqp, Config};
use oust::queue::{Claim, Embedded, Queue};
use oust::store::sqlite::{Options, Spool, Sqlite};
use oust::store::{self, Acceptance, Batch, Lane, Op, Receipt, SignalOutcome, SignalRow, Store};
use oust::telemetry::Telemetry;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::broker::{self as rabbit, Behind};
use crate::support::postgres::Place;

/// Where a queue keeps its messages.
#[derive(Debug)]
enum Backend {
    /// In the store.
    Embedded,
    /// On the broker at this address.
    Amqp(Box<Config>, Box<Behind>),
}

/// A queue on a store of its own.
#[derive(Debug)]
struct Stage {
    backend: Backend,
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    folder: TempDir,
    /// The schema of a shared store.
    _place: Option<Place>,
}

impl Stage {
    fn store_in(folder: &TempDir) -> Arc<dyn Store> {
        Sqlite::open(folder.path().join("oust.db"), Options::default()).expect("a store")
    }

    fn embedded() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Self::store_in(&folder);
        Self { queue: Embedded::new(Arc::clone(&store)), backend: Backend::Embedded, store, folder, _place: None }
    }

    async fn postgres() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::new().await;
        let store: Arc<dyn Store> = place.open().await;
        // Rows are claimed under a lease there.
        let (me, renewed) = (store.begin_epoch().await.expect("a lease"), Arc::downgrade(&store));
        tokio::spawn(async move {
            while let Some(store) = renewed.upgrade() {
                assert!(store.renew(me).await.expect("renewed"), "the lease lives");
                drop(store);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        Self {
            queue: Embedded::new(Arc::clone(&store)),
            backend: Backend::Embedded,
            store,
            folder,
            _place: Some(place),
        }
    }

    async fn amqp() -> Self {
        Self::amqp_at(&rabbit::url()).await
    }

    async fn amqp_at(url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Self::store_in(&folder);
        let config = rabbit::config_at(url);
        let queue = worker(&config, &store).await;
        let behind = Behind::open(&config, url).await;
        Self { queue, backend: Backend::Amqp(Box::new(config), Box::new(behind)), store, folder, _place: None }
    }

    /// The same queue for another process: over a broker another connection, in the store there is but one.
    async fn other(&self) -> Arc<dyn Queue> {
        match &self.backend {
            Backend::Embedded => Arc::clone(&self.queue),
            Backend::Amqp(config, _) => worker(config, &self.store).await,
        }
    }

    /// What was in memory is gone.
    async fn restarted(self) -> Self {
        let queue: Arc<dyn Queue> = match &self.backend {
            Backend::Embedded => Embedded::new(Arc::clone(&self.store)),
            Backend::Amqp(config, _) => worker(config, &self.store).await,
        };
        Self { queue, ..self }
    }

    fn config(&self) -> &Config {
        match &self.backend {
            Backend::Amqp(config, _) => config,
            Backend::Embedded => panic!("no broker"),
        }
    }

    fn behind(&self) -> &Behind {
        match &self.backend {
            Backend::Amqp(_, behind) => behind,
            Backend::Embedded => panic!("no broker"),
        }
    }

    /// A process that only publishes.
    async fn receiver(&self) -> Arc<Amqp> {
        Amqp::open(self.config().clone(), Telemetry::new(), None).await.expect("opens")
    }

    fn spool_path(&self) -> PathBuf {
        self.folder.path().join("spool.db")
    }

    /// Nothing of this test stays on the broker.
    async fn end(self) {
        if let Backend::Amqp(_, behind) = &self.backend {
            behind.tidy().await;
        }
    }

    async fn claim(&self, limit: usize) -> Vec<Claim> {
        claim(&*self.queue, limit).await
    }

    /// Claims until so many different signals were seen.
    async fn claim_all(&self, count: usize) -> Vec<Claim> {
        let mut claims = Vec::new();
        while numbers(&claims).into_iter().collect::<BTreeSet<_>>().len() < count {
            claims.extend(self.claim(count).await);
        }
        claims
    }

    /// Takes signals in as the engine does; how many were new.
    async fn take_in(&self, claims: Vec<Claim>) -> usize {
        let mut new = 0;
        for claim in claims {
            let mut ops = claim.take_off();
            ops.push(Op::TakeSignal(Box::new(row(&claim.signal))));
            match self.store.commit(Lane::Containment, Batch { expect: None, ops }).await {
                Ok(()) => new += 1,
                Err(store::Error::Repeated(_)) => {}
                Err(error) => panic!("{error}"),
            }
            claim.done();
        }
        new
    }

    /// Nothing is due for a while.
    async fn assert_idle(&self) {
        let claimed = tokio::time::timeout(Duration::from_millis(1_500), self.queue.claim(10)).await;
        assert!(claimed.is_err(), "something came again: {claimed:?}");
    }
}

async fn worker(config: &Config, store: &Arc<dyn Store>) -> Arc<dyn Queue> {
    Amqp::open_worker(config.clone(), Arc::clone(store), Telemetry::new(), None).await.expect("opens")
}

/// A receiver with a spool.
async fn spooling(config: &Config, spool: Arc<Spool>) -> Arc<Amqp> {
    Amqp::open(config.clone(), Telemetry::new(), Some(spool)).await.expect("opens")
}

async fn claim(queue: &dyn Queue, limit: usize) -> Vec<Claim> {
    let claimed = tokio::time::timeout(Duration::from_secs(30), queue.claim(limit)).await;
    claimed.expect("something is due").expect("it can be read")
}

fn numbers(claims: &[Claim]) -> Vec<u128> {
    claims.iter().map(|claim| claim.signal.id.uuid().as_u128()).collect()
}

fn row(signal: &Signal) -> SignalRow {
    SignalRow {
        signal: signal.clone(),
        identity: None,
        outcome: SignalOutcome { word: "act".into(), reason: None, case: None, run: None, first: None },
        first_of_content: false,
    }
}

/// A delivery of one signal.
fn one(number: u128) -> Acceptance {
    many(number, number..=number)
}

/// A delivery of these signals.
fn many(number: u128, signals: std::ops::RangeInclusive<u128>) -> Acceptance {
    let tenant: TenantName = "contoso".parse().expect("a name");
    let delivery = DeliveryId::new(Uuid::from_u128(number));
    let signal = |number: u128| Signal {
        id: SignalId::new(Uuid::from_u128(number)),
        delivery,
        source: "sentinel".to_owned(),
        tenant: tenant.clone(),
        received_at: Timestamp::UNIX_EPOCH,
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        finding: Finding {
            kind: Kind::AnomalousToken,
            raw_kind: "anomalousToken".to_owned(),
            risk: Risk::High,
            title: String::new(),
            shape: "risk_detection".to_owned(),
            subject: Subject::of(ObjectId::new(Uuid::from_u128(1))),
            activity_at: None,
            detected_at: None,
            refs: BTreeMap::new(),
            evidence: Evidence::default(),
            content: number.to_string(),
            outcome: Outcome::Act,
        },
    };
    Acceptance {
        delivery,
        source: "sentinel".to_owned(),
        tenant: tenant.clone(),
        received_at: Timestamp::UNIX_EPOCH,
        webhook_id: None,
        body: format!("{{\"number\": {number}}}").into(),
        body_hash: format!("{number:064x}"),
        signals: signals.map(signal).collect(),
        buried: None,
        answer: json!({ "accepted": 1 }),
    }
}

async fn accept(queue: &dyn Queue, acceptance: Acceptance) {
    assert_eq!(queue.accept(acceptance).await.expect("durable"), Receipt::Accepted);
}
