//! The playbooks of this process: loaded together, chosen from, replaced together.
//!
//! A catalogue is immutable; a change on disk makes a new one, and only when every file is valid.

mod folder;

mod reload;

mod shipped;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::diagnostic::{Diagnostic, Diagnostics, quote};
use super::expr::{Condition, signal_context};
use super::normalise::{self, Pinned, pin};
use super::parse::parse;
use super::vocabulary::Vocabulary;
use crate::domain::plan::Plan;
use crate::domain::{Kind, Signal};

pub use folder::{MAX_FILES, Source, read_folder};
pub use reload::Reloader;
pub use shipped::SHIPPED;

/// A playbook ready to be chosen.
#[derive(Debug)]
pub struct Entry {
    /// Where it was read from.
    pub file: String,
    /// As it was written.
    pub text: String,
    pub plan: Plan,
    pub pinned: Pinned,
    /// `on.when`, compiled.
    when: Option<Condition>,
}

/// What became of a signal at the catalogue.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The playbook to run.
    pub entry: Option<Arc<Entry>>,
    /// Names of the others that matched.
    pub also_matched: Vec<String>,
    /// Names of those whose `on.when` could not be decided, with the reason; they count as matches.
    pub undecided: Vec<(String, String)>,
    /// Names of those that name the kind but whose `on.when` said false.
    pub declined: Vec<String>,
}

impl Choice {
    /// The chosen plan.
    pub fn plan(&self) -> Option<&Plan> {
        self.entry.as_deref().map(|entry| &entry.plan)
    }

    /// A playbook names the kind, and none wanted the signal. With an unknown risk such a signal is held, not ignored.
    pub fn is_near_miss(&self) -> bool {
        self.entry.is_none() && !self.declined.is_empty()
    }
}

/// All playbooks, those that name the fewest kinds first, then by name.
#[derive(Debug)]
pub struct Catalog {
    entries: Vec<Arc<Entry>>,
    set_hash: String,
    shipped: bool,
}

impl Catalog {
    /// The playbooks of a folder: every `*.yaml` and `*.yml` that is not a test (`*.test.yaml`).
    ///
    /// # Errors
    /// The folder cannot be read or holds no playbook, or any of them is wrong; one `Diagnostics` per file.
    pub fn load(dir: &Path, vocab: &dyn Vocabulary) -> Result<Self, Vec<Diagnostics>> {
        Self::of(&read_folder(dir)?, vocab)
    }

    /// The playbooks that came with this build.
    ///
    /// # Errors
    /// The vocabulary does not fit them: a build that must not run.
    pub fn shipped(vocab: &dyn Vocabulary) -> Result<Self, Vec<Diagnostics>> {
        let sources: Vec<Source> =
            SHIPPED.iter().map(|(file, text)| Source { file: (*file).into(), text: (*text).into() }).collect();
        Ok(Self { shipped: true, ..Self::of(&sources, vocab)? })
    }

    /// The playbooks of these texts.
    ///
    /// # Errors
    /// Any of them is wrong, or two have one name.
    pub fn of(sources: &[Source], vocab: &dyn Vocabulary) -> Result<Self, Vec<Diagnostics>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut wrong = Vec::new();
        for source in sources {
            match entry(source, vocab) {
                Ok(entry) => match entries.iter().find(|other| other.plan.name == entry.plan.name) {
                    Some(other) => {
                        let message = format!("{} also defines {}", other.file, quote(&entry.plan.name));
                        let help = Some("one file, one playbook, one name".into());
                        wrong.push(Diagnostics::new(vec![Diagnostic::of_file(&source.file, message, help)]));
                    }
                    None => entries.push(entry),
                },
                Err(diagnostics) => wrong.push(diagnostics),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        entries.sort_by(|a, b| (a.plan.signals.len(), &a.plan.name).cmp(&(b.plan.signals.len(), &b.plan.name)));
        Ok(Self { set_hash: set_hash(&entries), entries: entries.into_iter().map(Arc::new).collect(), shipped: false })
    }

    /// The playbook for a signal.
    pub fn choose(&self, signal: &Signal) -> Choice {
        let mut context = serde_json::Map::new();
        context.insert("signal".into(), signal_context(signal));
        self.choose_in(signal.finding.kind, &Value::Object(context))
    }

    /// The playbook for a kind, conditions asked in `context` (an object with the key `signal`).
    pub fn choose_in(&self, kind: Kind, context: &Value) -> Choice {
        let mut choice = Choice::default();
        for entry in self.entries.iter().filter(|entry| entry.plan.signals.contains(&kind)) {
            match entry.when.as_ref().map_or(Ok(true), |when| when.holds(context)) {
                Ok(false) => {
                    choice.declined.push(entry.plan.name.clone());
                    continue;
                }
                Ok(true) => {}
                Err(reason) => choice.undecided.push((entry.plan.name.clone(), reason)),
            }
            if choice.entry.is_none() {
                choice.entry = Some(Arc::clone(entry));
            } else {
                choice.also_matched.push(entry.plan.name.clone());
            }
        }
        choice
    }

    /// True when some playbook names the kind, whatever its `when` says.
    pub fn near_miss(&self, kind: Kind) -> bool {
        self.entries.iter().any(|entry| entry.plan.signals.contains(&kind))
    }

    /// The playbook of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        self.entries.iter().find(|entry| entry.plan.name == name)
    }

    /// All playbooks in the order in which they are preferred.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The set that came with this build, because no folder is configured.
    pub fn is_shipped(&self) -> bool {
        self.shipped
    }

    /// One hash for the whole set: workers compare it.
    pub fn set_hash(&self) -> &str {
        &self.set_hash
    }
}

fn entry(source: &Source, vocab: &dyn Vocabulary) -> Result<Entry, Diagnostics> {
    let plan = parse(&source.text, &source.file, vocab)?;
    let when = plan.when.as_deref().map(Condition::compile).transpose().map_err(|error| {
        Diagnostics::new(vec![Diagnostic::of_file(&source.file, format!("on.when: {error}"), None)])
    })?;
    Ok(Entry { file: source.file.clone(), text: source.text.clone(), pinned: pin(&plan), plan, when })
}

fn set_hash(entries: &[Entry]) -> String {
    let mut lines: Vec<String> =
        entries.iter().map(|entry| format!("{} {}\n", entry.plan.name, entry.pinned.hash)).collect();
    lines.sort_unstable();
    normalise::hash(&lines.concat())
}
