//! The watch between revoke and reset (contract §4): sign-ins newer than the revoke, read once for a whole tenant.
//!
//! A success from an address, device or session in the evidence, or with risk, is an uncovered signal: it goes the way
//! of every other signal, so that it is durable, deduplicated and revokes again.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Inner, Tenant};
use crate::domain::person::{Doc, Traces, Watch};
use crate::domain::signal::{Evidence, Finding, Place};
use crate::domain::{DeliveryId, Identity, Outcome, Risk, Signal, SignalId, Subject};
use crate::graph::{SignIn, Terms};
use crate::playbook::normalise;
use crate::store::{self, Acceptance, Batch, Expect, Lane as Priority, Op, PersonRow};

/// The source name of signals that the watch makes.
pub const SOURCE: &str = "watch";
const MOST_PEOPLE: u32 = 2_000;
const MOST_SIGN_INS: usize = 5_000;

/// Reads every tenant that has somebody due.
pub(super) async fn once(inner: &Arc<Inner>) {
    for tenant in inner.tenants.values() {
        let docs = match docs(inner, tenant).await {
            Ok(docs) => docs,
            Err(error) => {
                inner.telemetry.store_error("people.watched", &error);
                continue;
            }
        };
        if let Err(error) = look(inner, tenant, &docs).await {
            tracing::warn!(tenant.name = %tenant.name, error = %error, "the watch could not read; it looks again");
        }
    }
}

/// Everybody of a tenant who is looked after.
pub(super) async fn docs(inner: &Inner, tenant: &Tenant) -> Result<Vec<(Identity, Doc)>, store::Error> {
    let watched = inner.store.watched(&tenant.name, inner.now(), MOST_PEOPLE).await?;
    let corrupt = |error| store::Error::Corrupt {
        what: "the document of a watched person".into(),
        source: Some(Box::new(error)),
    };
    watched.into_iter().map(|(identity, doc)| Ok((identity, serde_json::from_value(doc).map_err(corrupt)?))).collect()
}

async fn look(
    inner: &Arc<Inner>,
    tenant: &Arc<Tenant>,
    docs: &[(Identity, Doc)],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let now = inner.now();
    let watches = |(identity, doc): &(Identity, Doc)| Some((identity.clone(), doc.watch.clone()?));
    let people: Vec<(Identity, Watch)> = docs.iter().filter_map(watches).collect();
    if !people.iter().any(|(_, watch)| watch.next_at <= now) {
        return Ok(());
    }
    let oldest = people.iter().map(|(_, watch)| watch.last_revoke).min().unwrap_or(now);
    let since = (oldest - SignedDuration::from_secs(5)).max(now - SignedDuration::from_mins(70));
    let sign_ins = tenant.graph.sign_ins_since(since, MOST_SIGN_INS, &Terms::read(Duration::from_secs(20))).await?;
    for (identity, watch) in &people {
        let theirs = sign_ins.iter().filter(|sign_in| sign_in.user_id == Some(identity.object_id));
        let hits: Vec<&SignIn> = theirs.filter(|sign_in| is_hit(sign_in, watch)).collect();
        for sign_in in hits {
            raise(inner, identity, watch, sign_in, now).await?;
        }
    }
    for (identity, _) in people.iter().filter(|(_, watch)| watch.next_at <= now) {
        looked(inner, identity, now).await?;
    }
    Ok(())
}

/// Newer than the revoke, successful, and from the intruder's traces or with risk.
fn is_hit(sign_in: &SignIn, watch: &Watch) -> bool {
    let newer = sign_in.at.is_some_and(|at| at > watch.last_revoke);
    let risky = sign_in.risk.as_deref().is_some_and(|risk| matches!(risk, "low" | "medium" | "high"));
    newer && sign_in.succeeded() && (risky || is_traced(sign_in, &watch.traces))
}

fn is_traced(sign_in: &SignIn, traces: &Traces) -> bool {
    let known = |value: &Option<String>, set: &std::collections::BTreeSet<String>| {
        value.as_ref().is_some_and(|v| set.contains(v))
    };
    known(&sign_in.ip, &traces.ips)
        || known(&sign_in.device, &traces.devices)
        || known(&sign_in.device_id, &traces.devices)
        || known(&sign_in.session, &traces.sessions)
}

async fn raise(
    inner: &Arc<Inner>,
    identity: &Identity,
    watch: &Watch,
    sign_in: &SignIn,
    now: Timestamp,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let content = normalise::hash(&format!("watch/{identity}/{}", sign_in.id));
    if inner.store.first_of_content(SOURCE, identity, &content, None).await?.is_some() {
        return Ok(());
    }
    let delivery = DeliveryId::new(Inner::mint());
    let place = Place {
        ip: sign_in.ip.clone(),
        city: sign_in.city.clone(),
        country: sign_in.country.clone(),
        at: sign_in.at,
        ..Place::default()
    };
    let finding = Finding {
        kind: watch.kind,
        raw_kind: "sign_in_after_revoke".into(),
        risk: Risk::High,
        title: "Sign-in after the revoke".into(),
        shape: "watch".into(),
        subject: Subject::of(identity.object_id),
        activity_at: sign_in.at,
        detected_at: Some(now),
        refs: [("sign_in".to_owned(), sign_in.id.clone())].into(),
        evidence: Evidence {
            places: vec![place],
            ips: sign_in.ip.iter().cloned().collect(),
            devices: sign_in.device.iter().cloned().collect(),
            sessions: sign_in.session.iter().cloned().collect(),
            user_agents: sign_in.user_agent.iter().cloned().collect(),
            ..Evidence::default()
        },
        content,
        outcome: Outcome::Act,
    };
    let signal = Signal {
        id: SignalId::new(Inner::mint()),
        delivery,
        source: SOURCE.into(),
        tenant: identity.tenant.clone(),
        received_at: now,
        traceparent: None,
        finding,
    };
    tracing::error!(tenant.name = %identity.tenant, identity.id = %identity.object_id, "a sign-in after the revoke: revoking again");
    inner
        .queue
        .accept(Acceptance {
            delivery,
            source: SOURCE.into(),
            tenant: identity.tenant.clone(),
            received_at: now,
            webhook_id: None,
            body: bytes::Bytes::new(),
            body_hash: String::new(),
            answer: json!({"watch": signal.id}),
            signals: vec![signal],
            buried: None,
        })
        .await?;
    Ok(())
}

/// Writes when to look next: continuously until the reset, then 15 and 60 min after the last revoke.
async fn looked(
    inner: &Arc<Inner>,
    identity: &Identity,
    now: Timestamp,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for _ in 0..5 {
        let Some(record) = inner.store.person(identity).await? else { return Ok(()) };
        let expect = Some(Expect { identity: identity.clone(), revision: record.revision, epoch: Some(inner.epoch()) });
        let row = record.into_row(identity.clone());
        let mut doc: Doc = serde_json::from_value(row.doc)?;
        doc.watch = doc.watch.and_then(|watch| watch.looked(now, doc.case.is_some(), inner.rules.watch_every));
        let row = PersonRow { watch_at: doc.watch_at(), doc: serde_json::to_value(&doc)?, ..row };
        match inner.store.commit(Priority::Other, Batch { expect, ops: vec![Op::PutPerson(Box::new(row))] }).await {
            Err(store::Error::Conflict(_)) => {}
            other => return Ok(other?),
        }
    }
    Ok(())
}
