//! Looks whether a person has replaced the one-time password, and writes it into the case, open or closed by then. Beside
//! the watch, which must not wait for it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use serde_json::json;

use super::{Inner, Tenant, watch};
use crate::domain::Identity;
use crate::domain::person::{Change, Doc, Handover};
use crate::graph::Terms;
use crate::store::{self, Audit, Batch, Expect, Lane as Priority, Op, PersonRow};

/// People of a tenant read in one pass, soonest due first; the others follow in the next.
const MOST: usize = 20;
/// Of them at a time.
const AT_A_TIME: usize = 4;
const PATIENCE: Duration = Duration::from_secs(5);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Reads everybody who is due, in every tenant.
pub(super) async fn once(inner: &Arc<Inner>) {
    for tenant in inner.tenants.values() {
        let looked = async { look(inner, tenant, &watch::docs(inner, tenant).await?).await };
        if let Err(error) = looked.await {
            tracing::warn!(tenant.name = %tenant.name, error = %error, "what became of new passwords could not be written; it looks again");
        }
    }
}

async fn look(inner: &Arc<Inner>, tenant: &Arc<Tenant>, people: &[(Identity, Doc)]) -> Result<(), Failure> {
    let now = inner.now();
    let due = |(who, doc): &(Identity, Doc)| {
        doc.handover.clone().filter(|handover| handover.next_at <= now).map(|handover| (who.clone(), handover))
    };
    let read = |(identity, handover): (Identity, Handover)| async move {
        let read = tenant.graph.user(identity.object_id, &Terms::read(PATIENCE)).await;
        (identity, handover, read)
    };
    let mut reads = stream::iter(people.iter().filter_map(due).take(MOST)).map(read).buffer_unordered(AT_A_TIME);
    while let Some((identity, handover, read)) = reads.next().await {
        let changed = match read {
            Ok(user) => Some(user.last_password_change),
            Err(error) => {
                tracing::debug!(identity.id = %identity.object_id, error = %error, "the last password change could not be read");
                None
            }
        };
        record(inner, &identity, &handover, changed, inner.now()).await?;
    }
    Ok(())
}

async fn record(
    inner: &Arc<Inner>,
    identity: &Identity,
    looked_at: &Handover,
    changed: Option<Option<Timestamp>>,
    now: Timestamp,
) -> Result<(), Failure> {
    for _ in 0..5 {
        let Some(record) = inner.store.person(identity).await? else { return Ok(()) };
        let expect = Some(Expect { identity: identity.clone(), revision: record.revision, epoch: Some(inner.epoch()) });
        let row = record.into_row(identity.clone());
        let mut doc: Doc = serde_json::from_value(row.doc)?;
        // Another reset came in between: it has a handover of its own.
        let Some(handover) = doc.handover.take().filter(|handover| handover.left_at == looked_at.left_at) else {
            return Ok(());
        };
        let case = handover.case;
        let mut ops = Vec::new();
        let change = match changed {
            Some(changed) => handover.read(changed, now),
            None => handover.unread(now),
        };
        match change {
            Change::NotYet(next) => doc.handover = Some(next),
            Change::ByUser(at) => {
                if let Some(open) = doc.case.as_mut().filter(|open| open.id == case) {
                    open.changed_by_user_at = Some(at);
                }
                if let Some(mut row) = inner.store.case(case).await? {
                    row.detail["changed_by_user_at"] = json!(at);
                    ops.push(Op::PutCase(Box::new(row)));
                }
                ops.push(told(identity, case, "password.changed_by_user", json!({ "at": at }), now));
            }
            Change::Never => ops.push(told(identity, case, "password.not_changed_by_user", json!({}), now)),
        }
        let row = PersonRow { watch_at: doc.watch_at(), doc: serde_json::to_value(&doc)?, ..row };
        ops.insert(0, Op::PutPerson(Box::new(row)));
        match inner.store.commit(Priority::Other, Batch { expect, ops }).await {
            Err(store::Error::Conflict(_)) => {}
            other => return Ok(other?),
        }
    }
    Ok(())
}

fn told(
    identity: &Identity,
    case: crate::domain::CaseId,
    verb: &'static str,
    detail: serde_json::Value,
    now: Timestamp,
) -> Op {
    Op::Audit(Box::new(Audit {
        at: now,
        actor: "worker".into(),
        verb: verb.into(),
        tenant: Some(identity.tenant.clone()),
        object_id: Some(identity.object_id),
        case: Some(case),
        detail,
    }))
}
