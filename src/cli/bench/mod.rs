//! `oust bench`: the budgets on this machine, against a stub on loopback, as a table.
//!
//! The sender and the stub live in this process, `oust serve` in a child, all on the same cores: figures are of the
//! whole, and a stub costs less than the network and Microsoft would. They inform and fail nothing.

mod copies;
mod rows;
mod sender;
mod stage;
mod stub;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use self::stage::{Shape, Stage};
use super::out::table;
use super::{Code, Failure, Out};

/// `oust bench`
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Fewer signals and cases: about a minute.
    #[arg(long)]
    quick: bool,
    /// Where the store is put for the time [default: the system's folder for temporary files; in memory, syncs are free].
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Instead of the embedded store: an empty database to be thrown away (postgres://…), for what stays in it.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Instead of the embedded queue: a broker (amqp://…), on which queues of its own stay.
    #[arg(long, value_name = "URL", requires = "store")]
    queue: Option<String>,
    /// Only rows of these groups.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Group>,
}

/// Rows that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    Floor,
    Start,
    Idle,
    Backlog,
    Storm,
    Whole,
    Accepts,
    Restart,
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Signals one by one.
    singles: usize,
    backlog: usize,
    accept_for: Duration,
    queued: usize,
    storm: usize,
    whole: usize,
    cases: usize,
}

const FULL: Sizes = Sizes {
    singles: 200,
    backlog: 10_000,
    accept_for: Duration::from_secs(6),
    queued: 100_000,
    storm: 10_000,
    whole: 5_000,
    cases: 100_000,
};
const QUICK: Sizes = Sizes {
    singles: 100,
    backlog: 1_000,
    accept_for: Duration::from_secs(2),
    queued: 10_000,
    storm: 2_000,
    whole: 1_000,
    cases: 10_000,
};

/// One figure.
#[derive(Debug, Serialize)]
struct Row {
    what: String,
    /// Absent where the figure only explains others.
    budget: Option<Budget>,
    seen: f64,
    unit: &'static str,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Budget {
    AtMost(f64),
    AtLeast(f64),
}

impl Row {
    fn at_most(what: impl Into<String>, budget: f64, seen: f64, unit: &'static str) -> Self {
        Self { what: what.into(), budget: Some(Budget::AtMost(budget)), seen, unit }
    }

    fn at_least(what: impl Into<String>, budget: f64, seen: f64, unit: &'static str) -> Self {
        Self { what: what.into(), budget: Some(Budget::AtLeast(budget)), seen, unit }
    }

    fn fact(what: impl Into<String>, seen: f64, unit: &'static str) -> Self {
        Self { what: what.into(), budget: None, seen, unit }
    }

    fn is_ok(&self) -> Option<bool> {
        self.budget.map(|budget| match budget {
            Budget::AtMost(most) => self.seen <= most,
            Budget::AtLeast(least) => self.seen >= least,
        })
    }

    fn cells(&self) -> [String; 4] {
        let number = |value: f64| match value {
            value if value >= 100.0 => format!("{value:.0} {}", self.unit),
            value if value >= 10.0 => format!("{value:.1} {}", self.unit),
            value => format!("{value:.2} {}", self.unit),
        };
        let budget = match self.budget {
            None => String::new(),
            Some(Budget::AtMost(most)) => format!("≤ {most} {}", self.unit),
            Some(Budget::AtLeast(least)) => format!("≥ {least} {}", self.unit),
        };
        let verdict = match self.is_ok() {
            None => "",
            Some(true) => "ok",
            Some(false) => "over",
        };
        [self.what.clone(), budget, number(self.seen), verdict.to_owned()]
    }
}

impl Bench {
    pub async fn run(self, out: Out) -> Result<(), Failure> {
        let next = "is the folder writable, and may this machine start processes and listen on 127.0.0.1?";
        let failed = |error: &anyhow::Error| Failure::of(Code::Problems, error.as_ref(), next);
        let stage = Stage::build(self.folder.as_deref(), self.shape()).await.map_err(|error| failed(&error))?;
        let mut rows = Vec::new();
        let mut failure = None;
        for group in Group::value_variants().iter().filter(|group| self.wants(**group)) {
            out.note(&format!("measuring {group:?} …").to_lowercase());
            match self.measure(*group, &stage).await {
                Ok(more) => rows.extend(more),
                Err(error) => {
                    let error = error.context(format!("{group:?} could not be measured"));
                    out.fail(&failed(&error));
                    failure = Some(Failure::shown());
                }
            }
        }
        let judged: Vec<_> = rows.iter().map(|row| json!({ "row": row, "ok": row.is_ok() })).collect();
        out.say(&json!({ "quick": self.quick, "rows": judged }), || {
            let head = ["what", "budget", "seen", ""];
            let debug = if cfg!(debug_assertions) { "\nThis binary is not optimised: the figures say nothing." } else { "" };
            format!(
                "{}\n\nSender and Graph stub share these cores with `oust serve`; budgets are for 2 cores and an SSD.{debug}",
                table(head, rows.iter().map(Row::cells))
            )
        });
        failure.map_or(Ok(()), Err)
    }

    fn shape(&self) -> Shape {
        Shape { store: self.store.clone(), queue: self.queue.clone() }
    }

    fn wants(&self, group: Group) -> bool {
        self.only.is_empty() || self.only.contains(&group)
    }

    async fn measure(&self, group: Group, stage: &Stage) -> anyhow::Result<Vec<Row>> {
        let sizes = if self.quick { QUICK } else { FULL };
        match group {
            Group::Floor => rows::floor(stage),
            Group::Start => rows::start(stage).await,
            Group::Idle => rows::idle(stage, sizes).await,
            Group::Backlog => rows::behind_backlog(stage, sizes).await,
            Group::Storm => rows::storm(stage, sizes).await,
            Group::Whole => rows::whole(stage, sizes).await,
            Group::Accepts => rows::accepts(stage, sizes).await,
            Group::Restart => rows::restart(stage, sizes).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_by_the_side_its_budget_is_on() {
        assert_eq!(Row::at_most("latency", 10.0, 10.0, "ms").is_ok(), Some(true));
        assert_eq!(Row::at_most("latency", 10.0, 10.1, "ms").is_ok(), Some(false));
        assert_eq!(Row::at_least("rate", 10.0, 9.9, "/s").is_ok(), Some(false));
        assert_eq!(Row::fact("floor", 1.0, "ms").is_ok(), None);
        assert_eq!(Row::at_most("latency", 10.0, 0.123, "ms").cells(), ["latency", "≤ 10 ms", "0.12 ms", "ok"]);
    }
}
