//! `oust playbook …`: check playbooks, list what they can do, schema for editors.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::check::report;
use super::out::table;
use super::{Context, Failure};
use crate::actions::registry;
use crate::playbook::catalog::{SHIPPED, Source, read_folder};
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::lint::{Known, lint};
use crate::playbook::schema::schema;
use crate::playbook::{ActionInfo, Diagnostics, Vocabulary};

/// `oust playbook …`
#[derive(Debug, Subcommand)]
pub(super) enum Playbook {
    /// Every mistake in these files and folders; without any, in the playbooks that come with oust.
    Lint { paths: Vec<PathBuf> },
    /// What a step may do, with phases, permissions, parameters and undo.
    Actions,
    /// A JSON Schema for editors.
    Schema,
}

impl Playbook {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let actions = registry();
        match self {
            Self::Lint { paths } => {
                let (mut sources, mut wrong) = (Vec::new(), Vec::new());
                let read = |path: &PathBuf| texts(Some(path));
                let all = if paths.is_empty() { vec![texts(None)] } else { paths.iter().map(read).collect() };
                for one in all {
                    match one {
                        Ok(texts) => sources.extend(texts),
                        Err(mistakes) => wrong.extend(mistakes),
                    }
                }
                wrong.extend(lint(&sources, &actions, Known::default()));
                report(context, &wrong)
            }
            Self::Actions => {
                let all = actions.all();
                let value: Vec<Value> = all.iter().map(|action| described(action)).collect();
                context.out.say(&Value::Array(value), || catalogue(&all));
                Ok(())
            }
            Self::Schema => {
                let value = schema(&actions);
                context.out.say(&value, || serde_json::to_string_pretty(&value).unwrap_or_else(|_| value.to_string()));
                Ok(())
            }
        }
    }
}

/// The playbooks of a folder or of one file; without a path the shipped ones.
pub(super) fn texts(path: Option<&Path>) -> Result<Vec<Source>, Vec<Diagnostics>> {
    let Some(path) = path else {
        return Ok(SHIPPED.iter().map(|(file, text)| Source { file: (*file).into(), text: (*text).into() }).collect());
    };
    if path.is_dir() {
        return read_folder(path);
    }
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(vec![Source { file, text }]),
        Err(error) => {
            let one = Diagnostic::of_file(&file, format!("the file cannot be read: {error}"), None);
            Err(vec![Diagnostics::new(vec![one])])
        }
    }
}

fn described(action: &ActionInfo) -> Value {
    let parameters: Vec<Value> = action
        .parameters
        .iter()
        .map(|p| json!({ "name": p.name, "type": p.kind.expected(), "required": p.required, "summary": p.summary }))
        .collect();
    json!({
        "name": action.name,
        "summary": action.summary,
        "phases": action.phases,
        "class": action.class,
        "containing": action.containing,
        "free": action.free,
        "may_be_unattended": action.may_be_unattended,
        "requires_revoke": action.requires_revoke,
        "reveals": action.reveals,
        "idempotent": action.idempotent,
        "permissions": action.permissions,
        "parameters": parameters,
        "undo": action.undo,
        "example": action.example,
        "timeout_ms": action.timeout_ms,
    })
}

fn catalogue(all: &[&ActionInfo]) -> String {
    let rows = all.iter().map(|action| {
        let phases = action.phases.iter().map(|phase| phase.word()).collect::<Vec<_>>().join(" ");
        let gate = match (action.free, action.may_be_unattended) {
            (true, _) => "free",
            (false, true) => "approval or unattended",
            (false, false) => "approval",
        };
        let permissions = action.permissions.join("\n");
        let parameters = action.parameters.iter().map(|p| format!("{}: {}", p.name, p.kind.expected()));
        let parameters = parameters.collect::<Vec<_>>().join("\n");
        [action.name.into(), phases, gate.into(), permissions, parameters, action.undo.into(), action.summary.into()]
    });
    table(["action", "phases", "gate", "Graph permissions", "with", "undo", "what it does"], rows)
}
