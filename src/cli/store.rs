//! The store as commands open it: the same as a running `oust serve`, for short transactions.

use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::{Code, ConfigArg, Context, Failure};
use crate::app::open_store;
use crate::config::{self, QueueAt, StoreAt};
use crate::queue::amqp;
use crate::store::reviewers::Reviewers;
use crate::store::{self, Access, Page};

/// `oust migrate`
#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    config: ConfigArg,
}

impl Migrate {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let at = config::store_of(&context.path(&self.config), &context.options());
        let at = at.map_err(|error| context.refused(&error))?;
        let queue = config::queue_of(&context.path(&self.config), &context.options());
        let queue = queue.map_err(|error| context.refused(&error))?;
        drop(open_store(&at, Access::Write).await.map_err(|error| failed(&error))?);
        let shown = at.to_string();
        let broker = match &queue {
            QueueAt::Embedded => None,
            QueueAt::Amqp(broker) => {
                amqp::migrate(broker).await.map_err(|error| broker_failed(&error))?;
                Some(broker.endpoint.to_string())
            }
        };
        context.out.say(&json!({ "store": shown, "current": true, "broker": broker }), || {
            let mut told = format!("{shown}: the schema is current");
            if let Some(broker) = &broker {
                told.push_str(&format!("\n{broker}: exchange and queues are there"));
            }
            told
        });
        Ok(())
    }
}

/// How rows are paged on the command line.
#[derive(Debug, Args)]
pub(super) struct Paging {
    /// Rows at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// The `next` of the page before.
    #[arg(long)]
    after: Option<String>,
}

impl Paging {
    pub fn page(&self) -> Page {
        Page { after: self.after.clone(), limit: self.limit }
    }
}

/// The configured store.
pub(super) async fn open(context: &Context, arg: &ConfigArg, access: Access) -> Result<Arc<dyn Reviewers>, Failure> {
    let at = config::store_of(&context.path(arg), &context.options()).map_err(|error| context.refused(&error))?;
    open_at(&at, access).await
}

/// The store that is there. A file must exist: a command never makes an empty one by mistake.
pub(super) async fn open_at(at: &StoreAt, access: Access) -> Result<Arc<dyn Reviewers>, Failure> {
    if let StoreAt::Sqlite(path) = at
        && !path.exists()
    {
        let message = format!("there is no store at {}", path.display());
        return Err(Failure::new(Code::Unreachable, message, "start `oust serve` once, or run `oust migrate`"));
    }
    open_store(at, access).await.map_err(|error| failed(&error))
}

/// Looks only.
pub(super) const LOOK: Access = Access::Look;

/// Looks and writes.
pub(super) const WRITE: Access = Access::Write;

/// A store that did not do it.
pub(super) fn failed(error: &store::Error) -> Failure {
    let next = match error {
        store::Error::Away(_) => {
            "free disk space, fix permissions, or see whether the database is there; then run it again"
        }
        store::Error::Conflict(_) => "somebody else wrote meanwhile; look again and repeat",
        _ => "see whether the file, or the database, can be reached by this user",
    };
    Failure::of(Code::Unreachable, error, next)
}

/// A broker that did not do it.
pub(super) fn broker_failed(error: &amqp::Error) -> Failure {
    let next = match error {
        amqp::Error::Topology(_) => "do what it says, then run it again",
        _ => "see `queue` in the configuration, and whether the broker runs and can be reached from here",
    };
    Failure::of(Code::Unreachable, error, next)
}

/// No such row.
pub(super) fn missing(what: &str, id: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::Problems, format!("there is no {what} {id}"), format!("`oust {what} list` shows what there is"))
}
