//! `oust buried …`: what was set aside. Replaying reads the stored body again, with the parsers of this version, and
//! puts it on the queue as a delivery of its own; the sender is not needed for it.

use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cases::with_next;
use super::out::{pretty, table};
use super::store::{LOOK, Paging, WRITE, broker_failed, failed, missing, open, open_at};
use super::{Code, ConfigArg, Context, Failure};
use crate::config::{Config, QueueAt};
use crate::domain::{BuriedId, DeliveryId, Signal};
use crate::http::chain;
use crate::queue::{Amqp, Embedded, Queue};
use crate::store::{Acceptance, Audit, Batch, Buried, BuriedState, Filter, Lane, Op, Page, Receipt, Store};
use crate::telemetry::Telemetry;

/// `oust buried …`
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Newest first.
    List {
        /// Also those that were replayed or dropped.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        config: ConfigArg,
    },
    /// One with its content.
    Show {
        id: BuriedId,
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Read it again and put it on the queue.
    Replay(Settle),
    /// Decide that it needs nothing.
    Drop(Settle),
}

/// Which rows to settle.
#[derive(Debug, Args)]
pub(super) struct Settle {
    /// Which ones.
    #[arg(required_unless_present = "all")]
    ids: Vec<BuriedId>,
    /// Everything that lies buried.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Why; goes into the audit trail.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    config: ConfigArg,
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List { all, paging, config } => list(context, all, &paging, &config).await,
            Self::Show { id, config } => {
                let store = open(context, &config, LOOK).await?;
                let row = store.buried(id).await.map_err(|error| failed(&error))?;
                let value = json!(row.ok_or_else(|| missing("buried", &id))?);
                context.out.say(&value, || pretty(&value));
                Ok(())
            }
            Self::Replay(settle) => {
                let config = context.load(&settle.config)?;
                let store = open_at(&config.store, WRITE).await?;
                let queue: Arc<dyn Queue> = match &config.queue {
                    QueueAt::Embedded => Embedded::new(store.clone()),
                    QueueAt::Amqp(broker) => {
                        let open = Amqp::open(broker.as_ref().clone(), Telemetry::new(), None).await;
                        open.map_err(|error| broker_failed(&error))?
                    }
                };
                let replay = |row| replay(&config, &*store, &*queue, row);
                let done = settle.each(context, &*store, BuriedState::Replayed, replay).await?;
                told(context, &done, "replayed")
            }
            Self::Drop(settle) => {
                if settle.reason.trim().is_empty() {
                    let next = "oust buried drop --reason \"a test of the forwarder\" …";
                    return Err(Failure::new(Code::Usage, "dropping needs a --reason", next));
                }
                let store = open(context, &settle.config, WRITE).await?;
                let done = settle.each(context, &*store, BuriedState::Dropped, |_| async { Ok(Vec::new()) }).await?;
                told(context, &done, "dropped")
            }
        }
    }
}

async fn list(context: &Context, all: bool, paging: &Paging, config: &ConfigArg) -> Result<(), Failure> {
    let store = open(context, config, LOOK).await?;
    let filter = Filter { open: !all, ..Filter::default() };
    let rows = store.buried_list(&filter, &paging.page()).await.map_err(|error| failed(&error))?;
    let items: Vec<Buried> = rows.items.into_iter().map(|row| Buried { content: Value::Null, ..row }).collect();
    context.out.say(&json!({ "items": items, "next": rows.next }), || {
        if items.is_empty() {
            return "nothing is buried".into();
        }
        let lines = items.iter().map(|row| {
            let state = match row.state {
                BuriedState::Buried => "buried",
                BuriedState::Replayed => "replayed",
                BuriedState::Dropped => "dropped",
            };
            [row.id.to_string(), row.at.to_string(), row.source.clone(), state.into(), row.reason.clone()]
        });
        with_next(table(["buried", "at", "source", "state", "reason"], lines), rows.next.as_deref(), "")
    });
    Ok(())
}

/// What became of one row: the ids of its signals, or why nothing did.
type Settled = (BuriedId, Result<Vec<String>, String>);

impl Settle {
    async fn rows(&self, store: &dyn Store) -> Result<Vec<BuriedId>, Failure> {
        if !self.all {
            return Ok(self.ids.clone());
        }
        let (mut ids, mut page) = (Vec::new(), Page { after: None, limit: 500 });
        let filter = Filter { open: true, ..Filter::default() };
        loop {
            let listed = store.buried_list(&filter, &page).await.map_err(|error| failed(&error))?;
            ids.extend(listed.items.into_iter().map(|row| row.id));
            match listed.next {
                Some(next) => page.after = Some(next),
                None => return Ok(ids),
            }
        }
    }

    /// Does `deed` with each row that is still buried and records it as settled.
    async fn each<F>(
        &self,
        context: &Context,
        store: &dyn Store,
        state: BuriedState,
        deed: impl Fn(Buried) -> F,
    ) -> Result<Vec<Settled>, Failure>
    where
        F: Future<Output = Result<Vec<String>, String>>,
    {
        let (by, mut done) = (context.environment.operator(), Vec::new());
        for id in self.rows(store).await? {
            let row = store.buried(id).await.map_err(|error| failed(&error))?;
            let row = row.ok_or_else(|| missing("buried", &id))?;
            if row.state != BuriedState::Buried {
                done.push((id, Err(format!("already {:?}", row.state).to_lowercase())));
                continue;
            }
            let result = deed(row).await;
            if let Ok(signals) = &result {
                let at = Timestamp::now();
                let audit = Audit {
                    at,
                    actor: by.clone(),
                    verb: if state == BuriedState::Replayed { "buried.replayed" } else { "buried.dropped" }.into(),
                    tenant: None,
                    object_id: None,
                    case: None,
                    detail: json!({ "buried": id, "reason": self.reason, "signals": signals }),
                };
                let settle = Op::SettleBuried { id, state, by: by.clone(), reason: self.reason.clone(), at };
                let ops = vec![settle, Op::Audit(Box::new(audit))];
                store.commit(Lane::Other, Batch { expect: None, ops }).await.map_err(|error| failed(&error))?;
            }
            done.push((id, result));
        }
        Ok(done)
    }
}

/// Reads a body again and makes it a delivery. Its name on the queue is the buried row's, so that a replay cut short
/// and repeated starts nothing twice.
async fn replay(config: &Config, store: &dyn Store, queue: &dyn Queue, row: Buried) -> Result<Vec<String>, String> {
    if let Some(signal) = row.content.get("signal") {
        return again(queue, &row, signal.clone()).await;
    }
    let source = config.sources.iter().find(|source| source.name == row.source);
    let source = source.ok_or_else(|| format!("no source is called {} any more", row.source))?.open()?;
    let kept = match row.delivery {
        Some(delivery) => store.delivery_body(delivery).await.map_err(|error| error.to_string())?,
        None => None,
    };
    let body = match (kept, &row.content) {
        (Some(body), _) => body,
        (None, Value::String(text)) => Bytes::from(text.clone()),
        (None, _) => return Err("it is no delivery: there is no body to read again".into()),
    };
    let parsed = source.parse(&body, row.at).map_err(|error| format!("still not understood: {error}"))?;
    let when = (DeliveryId::new(Uuid::now_v7()), row.at);
    let acceptance = source.acceptance(when, (body, Some(format!("replay:{}", row.id))), parsed.findings, |_| false);
    let ids = acceptance.signals.iter().map(|signal| signal.id.to_string()).collect();
    match queue.accept(acceptance).await.map_err(|error| chain(&error))? {
        Receipt::Accepted => Ok(ids),
        Receipt::Replay { answer } => {
            let ids = answer["ids"].as_array().into_iter().flatten();
            Ok(ids.filter_map(|id| id.as_str().map(str::to_owned)).collect())
        }
    }
}

/// A signal that the broker had given up: it goes back as it is. None of it was taken in, so its id is free.
async fn again(queue: &dyn Queue, row: &Buried, signal: Value) -> Result<Vec<String>, String> {
    let signal: Signal = serde_json::from_value(signal).map_err(|error| format!("still not understood: {error}"))?;
    let ids = vec![signal.id.to_string()];
    let acceptance = Acceptance {
        delivery: DeliveryId::new(Uuid::now_v7()),
        source: signal.source.clone(),
        tenant: signal.tenant.clone(),
        received_at: signal.received_at,
        webhook_id: Some(format!("replay:{}", row.id)),
        body: Bytes::new(),
        body_hash: String::new(),
        signals: vec![signal],
        buried: None,
        answer: json!({ "ids": ids }),
    };
    queue.accept(acceptance).await.map_err(|error| chain(&error))?;
    Ok(ids)
}

fn told(context: &Context, done: &[Settled], word: &str) -> Result<(), Failure> {
    let items: Vec<Value> = done
        .iter()
        .map(|(id, result)| match result {
            Ok(signals) => json!({ "id": id, "state": word, "signals": signals }),
            Err(reason) => json!({ "id": id, "problem": reason }),
        })
        .collect();
    context.out.say(&json!({ "items": items }), || {
        let line = |(id, result): &Settled| match result {
            Ok(signals) => format!("{id} {word} {}", signals.join(" ")).trim_end().to_owned(),
            Err(reason) => format!("{id} not {word}: {reason}"),
        };
        if done.is_empty() { "nothing is buried".into() } else { done.iter().map(line).collect::<Vec<_>>().join("\n") }
    });
    if done.iter().all(|(_, result)| result.is_ok()) { Ok(()) } else { Err(Failure::shown()) }
}
