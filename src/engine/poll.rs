//! The poller: reads what no webhook brings, and what one should have brought (facts: graph §2.2, §2.4).
//!
//! Of every tenant one poller at a time, under a lease. What it finds goes the way of every delivery; what came by
//! webhook before is covered there. A tenant's first poll only sets the watermark: history is not acted on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::background::every;
use super::duties::{POLL, leads};
use super::{Inner, Tenant};
use crate::domain::{BuriedId, DeliveryId, Signal, SignalId};
use crate::graph::{self, Terms};
use crate::sources::{Context, microsoft};
use crate::store::{self, Acceptance, Batch, Buried, BuriedState, Lane as Priority, Op};

/// How long one reading may take; it waits for the tenant's budget of requests.
const PATIENCE: Duration = Duration::from_secs(25);
/// Rows read at once, at most.
const MOST: usize = 5_000;
/// Rows made durable together.
const TOGETHER: usize = 100;
/// Keys remembered, at most; more than a window ever holds in a tenant of a sane size.
const REMEMBERED: usize = 20_000;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Collection {
    RiskDetections,
    Alerts,
}

impl Collection {
    fn word(self) -> &'static str {
        match self {
            Self::RiskDetections => "risk_detections",
            Self::Alerts => "alerts",
        }
    }

    /// How far back is read each time. An offline detection is up to 48 h late, and its state changes without moving
    /// its date; alerts are filtered by their last change.
    fn window(self) -> SignedDuration {
        match self {
            Self::RiskDetections => SignedDuration::from_hours(48),
            Self::Alerts => SignedDuration::from_mins(15),
        }
    }

    async fn read(self, tenant: &Tenant, since: Timestamp) -> Result<Vec<Value>, graph::Error> {
        let terms = Terms::read(PATIENCE);
        match self {
            Self::RiskDetections => tenant.graph.raw_detections_since(since, MOST, &terms).await,
            Self::Alerts => tenant.graph.alerts_since(since, MOST, &terms).await,
        }
    }

    /// Graph's filter knows whole seconds only. A row without a date is not from before.
    fn is_since(self, row: &Value, floor: Timestamp) -> bool {
        let field = match self {
            Self::RiskDetections => "detectedDateTime",
            Self::Alerts => "lastUpdateDateTime",
        };
        row[field].as_str().and_then(|at| at.parse::<Timestamp>().ok()).is_none_or(|at| at >= floor)
    }

    /// What makes a row another one than before: its id and everything that judges it.
    fn key(self, row: &Value) -> String {
        let fields: &[&str] = match self {
            Self::RiskDetections => &["id", "lastUpdatedDateTime", "riskState", "riskLevel"],
            Self::Alerts => &["id", "lastUpdateDateTime", "status", "severity"],
        };
        let text: Vec<String> = fields.iter().map(|field| row[*field].to_string()).collect();
        hex::encode(&Sha256::digest(text.join("\n").as_bytes())[..12])
    }
}

/// Where a poll stands, kept in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Standing {
    /// Nothing from before is ever acted on.
    floor: Timestamp,
    /// Rows handed over, and when.
    seen: BTreeMap<String, Timestamp>,
}

impl Standing {
    /// Forgets what no reading brings again.
    fn prune(&mut self, horizon: Timestamp) {
        self.seen.retain(|_, at| *at >= horizon);
        while self.seen.len() > REMEMBERED {
            let Some(oldest) = self.seen.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone()) else { return };
            self.seen.remove(&oldest);
        }
    }
}

/// How often a tenant's collections are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Polling {
    pub risk_detections: Option<Duration>,
    pub alerts: Option<Duration>,
}

/// Starts the polls of every tenant that wants them.
pub(super) fn spawn(inner: &Arc<Inner>) {
    for tenant in inner.tenants.values() {
        let wanted =
            [(Collection::RiskDetections, tenant.polling.risk_detections), (Collection::Alerts, tenant.polling.alerts)];
        for (collection, period) in wanted {
            let (Some(period), tenant) = (period, Arc::clone(tenant)) else { continue };
            inner.tasks.spawn(every(Arc::clone(inner), period, move |inner| {
                let tenant = Arc::clone(&tenant);
                async move {
                    if leads(&inner, POLL) {
                        once(&inner, &tenant, collection).await;
                    }
                }
                .boxed()
            }));
        }
    }
}

/// Every poll of every tenant, once.
pub(super) async fn all(inner: &Arc<Inner>) {
    for tenant in inner.tenants.values() {
        if tenant.polling.risk_detections.is_some() {
            once(inner, tenant, Collection::RiskDetections).await;
        }
        if tenant.polling.alerts.is_some() {
            once(inner, tenant, Collection::Alerts).await;
        }
    }
}

async fn once(inner: &Arc<Inner>, tenant: &Tenant, collection: Collection) {
    // One at a time: two would hand the same rows over twice.
    let alone = inner.polling.lock().await;
    let polled = poll(inner, tenant, collection).await;
    drop(alone);
    let problem = polled.as_ref().err().map(ToString::to_string);
    inner.telemetry.polled(&tenant.name, collection.word(), inner.now(), problem.as_deref());
}

async fn poll(
    inner: &Arc<Inner>,
    tenant: &Tenant,
    collection: Collection,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let key = format!("poll:{}:{}", tenant.name, collection.word());
    let now = inner.now();
    let Some(known) = inner.store.setting(&key).await? else {
        let first = Standing { floor: now, seen: BTreeMap::new() };
        return Ok(keep(inner, &key, &first).await?);
    };
    let mut standing: Standing = serde_json::from_value(known)?;
    let since = (now - collection.window()).max(standing.floor);
    let rows = collection.read(tenant, since).await?;
    if rows.len() >= MOST {
        tracing::warn!(tenant.name = %tenant.name, collection = collection.word(), rows = rows.len(), "more rows than one poll reads; the rest comes with the next");
    }
    let fresh: Vec<(String, Value)> = rows
        .into_iter()
        .map(|row| (collection.key(&row), row))
        .filter(|(key, row)| !standing.seen.contains_key(key) && collection.is_since(row, standing.floor))
        .collect();
    if fresh.is_empty() {
        return Ok(());
    }
    for some in fresh.chunks(TOGETHER) {
        let values: Vec<&Value> = some.iter().map(|(_, row)| row).collect();
        // Durable first, remembered after: a crash between the two brings a repetition, which is known by its content.
        inner.queue.accept(delivery(tenant, collection, &values, now)).await?;
        standing.seen.extend(some.iter().map(|(key, _)| (key.clone(), now)));
        standing.prune(now - collection.window() * 2);
        keep(inner, &key, &standing).await?;
    }
    Ok(())
}

async fn keep(inner: &Inner, key: &str, standing: &Standing) -> Result<(), store::Error> {
    let value = serde_json::to_value(standing).unwrap_or_default();
    let ops = vec![Op::PutSetting { key: key.to_owned(), value }];
    inner.store.commit(Priority::Other, Batch { expect: None, ops }).await
}

/// Rows as one delivery of the poller; what nobody understands is buried with it.
fn delivery(tenant: &Tenant, collection: Collection, rows: &[&Value], now: Timestamp) -> Acceptance {
    let id = DeliveryId::new(Inner::mint());
    let source = format!("poll.{}", collection.word());
    let body = Bytes::from(json!({ "value": rows }).to_string());
    let context = Context { entra_tenant_id: tenant.id, arm_allow: Vec::new(), now };
    let (findings, buried) = match microsoft::parse(&body, &context) {
        Ok(parsed) => (parsed.findings, None),
        Err(error) => {
            let buried = Buried {
                id: BuriedId::new(Inner::mint()),
                at: now,
                source: source.clone(),
                tenant: Some(tenant.name.clone()),
                delivery: Some(id),
                reason: error.to_string(),
                state: BuriedState::Buried,
                settled: None,
                content: Value::from(String::from_utf8_lossy(&body)),
            };
            (Vec::new(), Some(buried))
        }
    };
    let signals: Vec<Signal> = findings
        .into_iter()
        .map(|finding| Signal {
            id: SignalId::new(Inner::mint()),
            delivery: id,
            source: source.clone(),
            tenant: tenant.name.clone(),
            received_at: now,
            traceparent: None,
            finding,
        })
        .collect();
    let ids: Vec<String> = signals.iter().map(|signal| signal.id.to_string()).collect();
    Acceptance {
        delivery: id,
        source,
        tenant: tenant.name.clone(),
        received_at: now,
        webhook_id: None,
        body_hash: hex::encode(Sha256::digest(&body)),
        body,
        signals,
        buried,
        answer: json!({ "polled": collection.word(), "ids": ids }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_another_one_when_its_judgement_changed() {
        let row =
            |state: &str| json!({ "id": "d1", "riskState": state, "riskLevel": "high", "ipAddress": "192.0.2.1" });
        let key = |row: Value| Collection::RiskDetections.key(&row);
        assert_eq!(key(row("atRisk")), key(row("atRisk")));
        assert_ne!(key(row("atRisk")), key(row("dismissed")));
        assert_ne!(key(json!({ "id": "a\nb" })), key(json!({ "id": "a", "lastUpdatedDateTime": "b" })));
    }

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest() {
        let at = |seconds: i64| Timestamp::from_second(seconds).expect("an instant");
        let seen = (0..REMEMBERED + 5).map(|n| (format!("{n:06}"), at(i64::try_from(n).expect("small")))).collect();
        let mut standing = Standing { floor: at(0), seen };
        standing.prune(at(2));
        assert_eq!(standing.seen.len(), REMEMBERED);
        assert!(!standing.seen.contains_key("000004") && standing.seen.contains_key("000005"));
    }
}
