//! `oust buried …`: what was set aside. Replaying reads the stored body again, with the parsers of this version, and
//! lays it before the workers as a delivery of its own; the sender is not needed for it.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cases::with_next;
use super::out::{pretty, table};
use super::store::{LOOK, Paging, WRITE, failed, missing, open, open_at};
use super::{Code, ConfigArg, Context, Failure};
use crate::config;
use crate::domain::BuriedId;
use crate::http::buried;
use crate::store::{Buried, BuriedState, Filter, Page, Store};

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
    /// Read it again and let the workers take it in.
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
                let sources = config::opener(&config.sources);
                let done = settle.each(context, &*store, |id, by| buried::replay(&*store, &sources, id, by)).await?;
                told(context, &done, "replayed")
            }
            Self::Drop(settle) => {
                if settle.reason.trim().is_empty() {
                    let next = "oust buried drop --reason \"a test of the forwarder\" …";
                    return Err(Failure::new(Code::Usage, "dropping needs a --reason", next));
                }
                let store = open(context, &settle.config, WRITE).await?;
                let dropped = |id, by| {
                    let store = &*store;
                    async move { buried::discard(store, id, by).await.map(|()| Vec::new()) }
                };
                let done = settle.each(context, &*store, dropped).await?;
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

    /// Does `deed` with each row: what became of it, or why nothing did.
    async fn each<F>(
        &self,
        context: &Context,
        store: &dyn Store,
        deed: impl Fn(BuriedId, buried::By) -> F,
    ) -> Result<Vec<Settled>, Failure>
    where
        F: Future<Output = Result<Vec<String>, buried::Error>>,
    {
        let (actor, mut done) = (context.environment.operator(), Vec::new());
        for id in self.rows(store).await? {
            let by = buried::By {
                actor: actor.clone(),
                reason: self.reason.clone(),
                at: Timestamp::now(),
                with: Vec::new(),
            };
            let result = match deed(id, by).await {
                Err(buried::Error::NoSuch(id)) => return Err(missing("buried", &id)),
                Err(buried::Error::Store(error)) => return Err(failed(&error)),
                other => other.map_err(|why| why.to_string()),
            };
            done.push((id, result));
        }
        Ok(done)
    }
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
