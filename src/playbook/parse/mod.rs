//! Playbook text into a `Plan`, or every mistake in it at once.
//!
//! `header` reads what a playbook says of itself, `step` reads one line of a phase, `laws` judges the steps together
//! (design laws 3, 4 and 9: what is written here cannot reset before it revoked, nor act without a human where one
//! is due), `scope` judges what conditions read, `follow` places the revokes that the law demands.

mod follow;

mod header;

mod laws;

mod reader;

mod scope;

mod step;

use std::path::Path;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::vocabulary::Vocabulary;
use super::yaml;
use crate::domain::plan::{Phase, Plan};

pub use header::EVENTS;
pub use reader::LABEL_LENGTH;
pub use step::{DEFAULT_ATTEMPTS, MAX_ATTEMPTS, MAX_TIMEOUT, MIN_TIMEOUT};

use reader::{Problems, expect_list};

/// Most steps in one playbook, appended revokes not counted.
pub const MAX_STEPS: usize = 100;

/// Collecting ends after this; no step of it may ask for more.
pub const COLLECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

/// Keys of a playbook, in the order we write them.
pub const PLAYBOOK_KEYS: &[&str] =
    &["name", "version", "description", "attack", "on", "contain", "collect", "eradicate", "recover", "notify"];

/// The phases in the order they run.
pub const PHASES: [Phase; 4] = [Phase::Contain, Phase::Collect, Phase::Eradicate, Phase::Recover];

/// Reads one playbook. `file` names it in diagnostics; its stem must be the playbook's name (`-` has no stem).
///
/// # Errors
/// Every mistake in it; a syntax error is necessarily alone.
pub fn parse(text: &str, file: &str, vocab: &dyn Vocabulary) -> Result<Plan, Diagnostics> {
    let mut problems = Problems::new(file, text);
    let tree = match yaml::read(text) {
        Ok(tree) => tree,
        Err(yaml::Error::Syntax { at, message }) => {
            problems.error(at, message, None);
            return Err(problems.finish());
        }
        Err(error @ yaml::Error::TooLarge { .. }) => {
            return Err(Diagnostics::new(vec![Diagnostic::of_file(file, error.to_string(), None)]));
        }
    };
    let Some(fields) = problems.fields(&tree, "a playbook", PLAYBOOK_KEYS) else { return Err(problems.finish()) };
    let header = header::read(&mut problems, &fields, stem(file));
    let mut drafts = Vec::new();
    for phase in PHASES {
        let Some((key, node)) = fields.entry(phase.word()) else { continue };
        for (index, item) in expect_list(&mut problems, node, key.text.as_str()).iter().enumerate() {
            if drafts.len() == MAX_STEPS {
                problems.error(item.at, format!("a playbook has at most {MAX_STEPS} steps"), None);
                break;
            }
            drafts.extend(step::read(&mut problems, item, (phase, index), vocab));
        }
    }
    laws::judge(&mut problems, &fields, &mut drafts);
    scope::judge(&mut problems, &header, &drafts);
    let steps = follow::place(&mut problems, drafts, vocab);
    problems.into_result(|| header.plan(steps))
}

/// The file's name without its extension; `None` for standard input.
fn stem(file: &str) -> Option<&str> {
    if file == "-" {
        return None;
    }
    Path::new(file).file_stem().and_then(std::ffi::OsStr::to_str)
}
