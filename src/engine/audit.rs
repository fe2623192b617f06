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
use crate::store::{self, Audit, Batch, Lane as Priority, Op, Store};

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
    /// The end that was signed last; the checkpoint itself comes after it.
    signed: Option<u64>,
}

impl Kept {
    /// True when more came since the last signature than its own record.
    fn wants_a_signature(&self) -> bool {
        self.tip.position > self.signed.map_or(0, |position| position + 1)
    }
}

/// How far the trail is chained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chained {
    /// The last record that is; `None`: none is.
    pub to: Option<u64>,
    /// When the first that is not was written; `None`: all are.
    pub waits_since: Option<Timestamp>,
}

/// Looks how far the trail is chained. An end that cannot be read is none: nothing behind it is chained either.
///
/// # Errors
/// The store is away.
pub async fn chained(store: &dyn Store) -> Result<Chained, store::Error> {
    let known = store.setting(TIP).await?;
    let kept = read(known.as_ref()).ok().flatten();
    let rows = store.audit_in_order(kept.as_ref().map(|kept| kept.cursor.as_str()), 1).await?;
    Ok(Chained { to: kept.map(|kept| kept.tip.position), waits_since: rows.first().and_then(written_at) })
}

fn written_at(row: &store::Recorded) -> Option<Timestamp> {
    serde_json::from_str::<Audit>(&row.record).ok().map(|audit| audit.at)
}

/// Says how far the chain is behind: here, and whoever leads, so that a chain that stands still is seen everywhere.
pub(super) async fn measure(inner: &Inner) {
    match chained(&*inner.store).await {
        Ok(chained) => inner.told_behind(chained.waits_since),
        Err(error) => inner.telemetry.store_error("audit.lag", &error),
    }
}

impl Inner {
    fn told_behind(&self, since: Option<Timestamp>) {
        let lag = since.and_then(|at| std::time::Duration::try_from(self.now().duration_since(at)).ok());
        self.telemetry.audit_lag(lag.unwrap_or_default());
    }
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
        let kept = read(known.as_ref())?;
        let rows = inner.store.audit_in_order(kept.as_ref().map(|kept| kept.cursor.as_str()), MANY).await?;
        inner.told_behind(rows.first().and_then(written_at));
        let Some(last) = rows.last() else { return Ok(()) };
        let (tip, signed) = kept.map_or((Tip::START, None), |kept| (kept.tip, kept.signed));
        let tip = rows.iter().fold(tip, |tip, row| tip.then(&row.record));
        let next = Kept { tip, cursor: last.cursor.clone(), signed };
        let value = serde_json::to_value(next).unwrap_or_default();
        let ops = vec![Op::SwapSetting { key: TIP.to_owned(), was: known, value }];
        match inner.store.commit(Priority::Other, Batch { expect: None, ops }).await {
            // Another worker leads now.
            Err(store::Error::Changed(_)) => return Ok(()),
            other => other?,
        }
    }
}

fn read(known: Option<&Value>) -> Result<Option<Kept>, store::Error> {
    let corrupt = |error| store::Error::Corrupt { what: TIP.to_owned(), source: Some(Box::new(error)) };
    known.map(|known| serde_json::from_value(known.clone()).map_err(corrupt)).transpose()
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
    let Some(kept) = read(known.as_ref())?.filter(Kept::wants_a_signature) else { return Ok(()) };
    let key = key(inner).await?;
    let record = record(&key, kept.tip, inner.now());
    // Written with what it signs: two leaders do not sign two ends.
    let value = serde_json::to_value(Kept { signed: Some(kept.tip.position), ..kept }).unwrap_or_default();
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
