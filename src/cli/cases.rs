//! `oust case …` and `oust task …`: look at what is going on. Reads only.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::out::{pretty, printable, table};
use super::store::{LOOK, Paging, failed, missing, open};
use super::{ConfigArg, Context, Failure};
use crate::domain::{CaseId, ObjectId, TaskId};
use crate::store::{CaseRow, Filter, Page, Store};

/// Which rows.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Only what is open.
    #[arg(long)]
    open: bool,
    /// Only of this person.
    #[arg(long, value_name = "OBJECT_ID")]
    object_id: Option<ObjectId>,
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    config: ConfigArg,
}

impl Which {
    fn filter(&self) -> Filter {
        Filter { open: self.open, object_id: self.object_id, case: None }
    }
}

/// `oust case …`
#[derive(Debug, Subcommand)]
pub(super) enum Case {
    /// Newest first.
    List(Which),
    /// One case with its signals, runs, effects and tasks.
    Show {
        id: CaseId,
        #[command(flatten)]
        config: ConfigArg,
    },
}

/// `oust task …`
#[derive(Debug, Subcommand)]
pub(super) enum Task {
    /// Newest first.
    List(Which),
    /// One task whole.
    Show {
        id: TaskId,
        #[command(flatten)]
        config: ConfigArg,
    },
}

impl Case {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(which) => {
                let store = open(context, &which.config, LOOK).await?;
                let rows = store.cases(&which.filter(), &which.paging.page()).await.map_err(|error| failed(&error))?;
                let value = json!({ "items": rows.items, "next": rows.next });
                context.out.say(&value, || with_next(cases(&rows.items), rows.next.as_deref(), "no cases"));
            }
            Self::Show { id, config } => {
                let store = open(context, &config, LOOK).await?;
                let value = whole(&*store, id).await?;
                context.out.say(&value, || told(&value));
            }
        }
        Ok(())
    }
}

impl Task {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(which) => {
                let store = open(context, &which.config, LOOK).await?;
                let rows = store.tasks(&which.filter(), &which.paging.page()).await.map_err(|error| failed(&error))?;
                let value = json!({ "items": rows.items, "next": rows.next });
                let lines = rows.items.iter().map(|task| {
                    let subject = task.identity.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
                    let (kind, state) = (task.kind.word().to_owned(), task.state.word().to_owned());
                    [task.id.to_string(), kind, state, subject, task.created_at.to_string(), task.title.clone()]
                });
                let header = ["task", "kind", "state", "person", "created", "title"];
                context.out.say(&value, || {
                    let shown = if rows.items.is_empty() { String::new() } else { table(header, lines) };
                    with_next(shown, rows.next.as_deref(), "no tasks")
                });
            }
            Self::Show { id, config } => {
                let store = open(context, &config, LOOK).await?;
                let task = store.task(id).await.map_err(|error| failed(&error))?.ok_or_else(|| missing("task", &id))?;
                let value = json!(task);
                context.out.say(&value, || pretty(&value));
            }
        }
        Ok(())
    }
}

/// A table and how to go on, or the word for nothing.
pub(super) fn with_next(shown: String, next: Option<&str>, nothing: &str) -> String {
    match (shown.is_empty(), next) {
        (true, _) => nothing.to_owned(),
        (false, None) => shown,
        (false, Some(next)) => format!("{shown}\nmore: --after {next}"),
    }
}

fn cases(rows: &[CaseRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let lines = rows.iter().map(|case| {
        let revoked = case.revoke_accepted_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let kinds = case.kinds.join(" ");
        let (person, opened) = (case.identity.to_string(), case.opened_at.to_string());
        [case.id.to_string(), case.state.clone(), person, kinds, case.risk.clone(), opened, revoked]
    });
    table(["case", "state", "person", "kinds", "risk", "opened", "revoked"], lines)
}

/// A case with everything in it, as `/api/v1/cases/{id}` has it.
async fn whole(store: &dyn Store, id: CaseId) -> Result<Value, Failure> {
    let case = store.case(id).await.map_err(|error| failed(&error))?.ok_or_else(|| missing("case", &id))?;
    let signals = store.signals_of(id).await.map_err(|error| failed(&error))?;
    let mut runs = Vec::new();
    for (row, journal) in store.runs_of(id).await.map_err(|error| failed(&error))? {
        let effects = store.effects_of(row.id).await.map_err(|error| failed(&error))?;
        runs.push(json!({ "run": row, "journal": journal, "effects": effects }));
    }
    let filter = Filter { case: Some(id), ..Filter::default() };
    let tasks = store.tasks(&filter, &Page { after: None, limit: 500 }).await.map_err(|error| failed(&error))?;
    Ok(json!({ "case": case, "signals": signals, "runs": runs, "tasks": tasks.items }))
}

/// A case as a story: who, what, and the journal line by line.
fn told(value: &Value) -> String {
    let word = |value: &Value| match value {
        Value::String(text) => printable(text),
        Value::Null => "-".to_owned(),
        Value::Array(items) => printable(&items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        other => printable(&other.to_string()),
    };
    let case = &value["case"];
    let mut lines = vec![
        format!("{}  {}", word(&case["id"]), word(&case["state"])),
        format!("person    {}/{}", word(&case["identity"]["tenant"]), word(&case["identity"]["object_id"])),
        format!("kinds     {}  risk {}  mode {}", word(&case["kinds"]), word(&case["risk"]), word(&case["mode"])),
        format!("received  {}", word(&case["received_at"])),
        format!("revoked   {}  verified {}", word(&case["revoke_accepted_at"]), word(&case["revoke_verified_at"])),
    ];
    for run in value["runs"].as_array().into_iter().flatten() {
        let row = &run["run"];
        lines.push(format!("\n{}  {}  {}", word(&row["id"]), word(&row["playbook"]), word(&row["state"])));
        for entry in run["journal"].as_array().into_iter().flatten() {
            let what = ["reason", "verdict", "task", "end"].iter().find_map(|key| entry.get(*key)).map(word);
            let step = entry.get("step").map(word).unwrap_or_default();
            let (at, event) = (word(&entry["at"]), word(&entry["event"]));
            let line = format!("  {at}  {event:<16} {step:<28} {}", what.unwrap_or_default());
            lines.push(line.trim_end().to_owned());
        }
    }
    for task in value["tasks"].as_array().into_iter().flatten() {
        lines.push(format!("\n{}  {}  {}", word(&task["id"]), word(&task["kind"]), word(&task["title"])));
    }
    lines.join("\n")
}
