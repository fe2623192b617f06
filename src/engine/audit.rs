//! Chains the audit trail and signs where it stands: one worker at a time, behind the deeds (contract §13.7).
//!
//! Rows are written in the transaction of the deed, by many. Their order is the store's; here it is followed, one link
//! a record, and the end of the chain is kept. A checkpoint is a record of its own: a signature over the end so far.

use std::sync::Arc;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Inner;
use crate::domain::chain::Tip;
use crate::seal::SigningKey;
use crate::store::{self, Audit, Batch, Lane as Priority, Op};

/// The setting with the end of the chain.
const TIP: &str = "audit:tip";
/// The setting with the signing key, where the configuration names none.
const KEY: &str = "audit:key";
/// The verb of a checkpoint's record.
pub const CHECKPOINT: &str = "audit.checkpoint";
/// Records chained at once.
const MANY: u32 = 1_000;

/// Where the chain ends, as kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    tip: Tip,
    /// The store's word for the last record's place.
    cursor: String,
    /// Records since the last checkpoint that are none themselves.
    unsigned: u64,
}

/// Follows the trail to its end.
pub(super) async fn follow(inner: &Arc<Inner>) {
    if let Err(error) = chain(inner).await {
        inner.telemetry.store_error("audit.chain", &error);
    }
}

async fn chain(inner: &Inner) -> Result<(), store::Error> {
    loop {
        let known = inner.store.setting(TIP).await?;
        let mut kept = read(known.as_ref())?;
        let rows = inner.store.audit_in_order(kept.as_ref().map(|kept| kept.cursor.as_str()), MANY).await?;
        let Some(last) = rows.last() else {
            inner.telemetry.audit_lag(std::time::Duration::ZERO);
            return Ok(());
        };
        let oldest = rows.first().and_then(|row| serde_json::from_str::<Audit>(&row.record).ok()).map(|audit| audit.at);
        let mut tip = kept.as_ref().map_or(Tip::START, |kept| kept.tip);
        let mut unsigned = kept.take().map_or(0, |kept| kept.unsigned);
        for row in &rows {
            tip = tip.then(&row.record);
            unsigned = if is_checkpoint(&row.record) { 0 } else { unsigned + 1 };
        }
        let next = Kept { tip, cursor: last.cursor.clone(), unsigned };
        let value = serde_json::to_value(next).unwrap_or_default();
        let ops = vec![Op::SwapSetting { key: TIP.to_owned(), was: known, value }];
        match inner.store.commit(Priority::Other, Batch { expect: None, ops }).await {
            // Another worker leads now.
            Err(store::Error::Changed(_)) => return Ok(()),
            other => other?,
        }
        let lag = oldest.and_then(|at| std::time::Duration::try_from(inner.now().duration_since(at)).ok());
        inner.telemetry.audit_lag(lag.unwrap_or_default());
    }
}

fn read(known: Option<&Value>) -> Result<Option<Kept>, store::Error> {
    let corrupt = |error| store::Error::Corrupt { what: TIP.to_owned(), source: Some(Box::new(error)) };
    known.map(|known| serde_json::from_value(known.clone()).map_err(corrupt)).transpose()
}

fn is_checkpoint(record: &str) -> bool {
    serde_json::from_str::<Audit>(record).is_ok_and(|audit| audit.verb == CHECKPOINT)
}

/// Signs the end of the chain, if anything but checkpoints came since the last time.
pub(super) async fn sign(inner: &Arc<Inner>) {
    if let Err(error) = checkpoint(inner).await {
        inner.telemetry.store_error("audit.checkpoint", &error);
    }
}

async fn checkpoint(inner: &Inner) -> Result<(), store::Error> {
    chain(inner).await?;
    let known = inner.store.setting(TIP).await?;
    let Some(kept) = read(known.as_ref())?.filter(|kept| kept.unsigned > 0) else { return Ok(()) };
    let key = key(inner).await?;
    let record = record(&key, kept.tip, inner.now());
    // Written with what it signs: two leaders do not sign two ends.
    let value = serde_json::to_value(Kept { unsigned: 0, ..kept }).unwrap_or_default();
    let ops = vec![Op::SwapSetting { key: TIP.to_owned(), was: known, value }, Op::Audit(Box::new(record))];
    match inner.store.commit(Priority::Other, Batch { expect: None, ops }).await {
        Err(store::Error::Changed(_)) => Ok(()),
        other => other,
    }
}

/// A checkpoint as a record of the trail.
fn record(key: &SigningKey, tip: Tip, at: Timestamp) -> Audit {
    Audit {
        at,
        actor: "worker".into(),
        verb: CHECKPOINT.into(),
        tenant: None,
        object_id: None,
        case: None,
        detail: json!({
            "position": tip.position, "hash": tip.hash, "key": key.public().to_string(), "signature": key.sign(&tip.statement()),
        }),
    }
}

/// The configured key; else one that is drawn once and kept in the store.
async fn key(inner: &Inner) -> Result<SigningKey, store::Error> {
    let unusable = |error: crate::seal::SigningError| store::Error::Unusable(error.to_string());
    if let Some(text) = &inner.audit_key {
        return SigningKey::parse(text).map_err(unusable);
    }
    let kept = match inner.store.setting(KEY).await? {
        Some(kept) => kept,
        None => {
            let drawn = json!(SigningKey::draw().map_err(unusable)?.expose_secret());
            let ops = vec![Op::SwapSetting { key: KEY.to_owned(), was: None, value: drawn.clone() }];
            match inner.store.commit(Priority::Other, Batch { expect: None, ops }).await {
                Ok(()) => drawn,
                Err(store::Error::Changed(_)) => inner.store.setting(KEY).await?.unwrap_or_default(),
                Err(error) => return Err(error),
            }
        }
    };
    SigningKey::parse(&SecretString::from(kept.as_str().unwrap_or_default())).map_err(unusable)
}
