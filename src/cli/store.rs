//! The store as commands open it: the same file as a running `oust serve`, for short transactions.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::{Code, ConfigArg, Context, Failure};
use crate::config::{self, QueueAt};
use crate::queue::amqp;
use crate::store::sqlite::{Options, Sqlite};
use crate::store::{self, Page};

/// `oust migrate`
#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    config: ConfigArg,
}

impl Migrate {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let path = config::store_of(&context.path(&self.config), &context.options());
        let path = path.map_err(|error| context.refused(&error))?;
        let queue = config::queue_of(&context.path(&self.config), &context.options());
        let queue = queue.map_err(|error| context.refused(&error))?;
        let store = Sqlite::open(&path, Options::default()).map_err(|error| failed(&error))?;
        drop(store);
        let shown = path.display().to_string();
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

/// The configured store. It must exist: a command never makes an empty one by mistake.
pub(super) fn open(context: &Context, arg: &ConfigArg, options: Options) -> Result<Arc<Sqlite>, Failure> {
    let path = config::store_of(&context.path(arg), &context.options()).map_err(|error| context.refused(&error))?;
    open_file(&path, options)
}

/// The store in a file that must exist.
pub(super) fn open_file(path: &Path, options: Options) -> Result<Arc<Sqlite>, Failure> {
    if !path.exists() {
        let message = format!("there is no store at {}", path.display());
        return Err(Failure::new(Code::Unreachable, message, "start `oust serve` once, or run `oust migrate`"));
    }
    Sqlite::open(path, options).map_err(|error| failed(&error))
}

/// Looks only.
pub(super) const LOOK: Options = Options { read_only: true, max_pages: None };

/// Looks and writes.
pub(super) const WRITE: Options = Options { read_only: false, max_pages: None };

/// A store that did not do it.
pub(super) fn failed(error: &store::Error) -> Failure {
    let next = match error {
        store::Error::CannotPersist(_) => "free disk space or fix the file's permissions, then run it again",
        store::Error::Conflict(_) => "somebody else wrote meanwhile; look again and repeat",
        _ => "see whether the file and its folder are readable by this user",
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
