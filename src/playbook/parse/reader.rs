//! Collecting mistakes while reading a tree: a wrong value is reported and read as absent, so that the rest is still
//! read and everything wrong is told at once.

use crate::playbook::diagnostic::{Diagnostic, Diagnostics, Severity, nearest, quote};
use crate::playbook::expr::{Condition, ExprError};
use crate::playbook::vocabulary::parse_duration;
use crate::playbook::yaml::{Key, Mark, Node, Tree};

/// Longest name of a playbook, policy, notifier or step, in characters.
pub const LABEL_LENGTH: usize = 64;

/// The mistakes of one file so far.
#[derive(Debug)]
pub struct Problems<'t> {
    file: &'t str,
    text: &'t str,
    found: Vec<Diagnostic>,
}

impl<'t> Problems<'t> {
    pub fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, found: Vec::new() }
    }

    /// Reports a mistake at a place, with what would be right.
    pub fn error(&mut self, at: Mark, message: impl Into<String>, help: Option<String>) {
        self.found.push(Diagnostic::at(Severity::Error, self.file, self.text, at, message.into(), help));
    }

    pub fn finish(self) -> Diagnostics {
        Diagnostics::new(self.found)
    }

    /// The value when nothing is wrong. `make` answers `None` only after reporting why.
    pub fn into_result<T>(self, make: impl FnOnce() -> Option<T>) -> Result<T, Diagnostics> {
        if !self.found.is_empty() {
            return Err(self.finish());
        }
        match make() {
            Some(value) => Ok(value),
            None => {
                Err(Diagnostics::new(vec![Diagnostic::of_file(self.file, "the playbook is incomplete".into(), None)]))
            }
        }
    }

    /// The entries of a mapping; unknown and doubled keys are reported.
    pub fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Fields<'n>> {
        let Tree::Map(entries) = &node.value else {
            let message = format!("{what} must be a mapping, not {}", node.value.kind());
            self.error(node.at, message, Some(format!("its keys are {}", known.join(", "))));
            return None;
        };
        let mut kept: Vec<(&Key, &Node)> = Vec::new();
        for (key, value) in entries {
            if !known.contains(&key.text.as_str()) {
                let help = match nearest(&key.text, known.iter().copied()) {
                    Some(guess) => format!("did you mean {guess}?"),
                    None => format!("{what} has the keys {}", known.join(", ")),
                };
                self.error(key.at, format!("unknown key {}", quote(&key.text)), Some(help));
            } else if let Some((first, _)) = kept.iter().find(|(kept, _)| kept.text == key.text) {
                let message =
                    format!("{} stands here a second time; first in line {}", quote(&key.text), first.at.line);
                self.error(key.at, message, None);
            } else {
                kept.push((key, value));
            }
        }
        Some(Fields { at: node.at, entries: kept })
    }

    /// Text, or a report.
    pub fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Tree::Text(text) => Some(text),
            other => {
                let help = matches!(other, Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_))
                    .then(|| "put it in quotes if it is meant as text".to_owned());
                self.error(node.at, format!("{what} must be text, not {}", other.kind()), help);
                None
            }
        }
    }

    /// A name that refers to something in `oust.yaml`.
    pub fn label<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let text = self.text(node, what)?;
        let fits = (1..=LABEL_LENGTH).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !fits {
            let message = format!("{what} {} is not a name", quote(text));
            self.error(node.at, message, Some("letters, digits, '-', '_' and '.', at most 64 of them".into()));
        }
        fits.then_some(text)
    }

    /// A whole number within bounds.
    pub fn whole(&mut self, node: &Node, what: &str, min: i64, max: i64) -> Option<u32> {
        if let Tree::Integer(number) = node.value
            && (min..=max).contains(&number)
        {
            return u32::try_from(number).ok();
        }
        self.error(node.at, format!("{what} must be a whole number from {min} to {max}"), None);
        None
    }

    /// Milliseconds of a duration such as `30s`.
    pub fn milliseconds(&mut self, node: &Node, what: &str) -> Option<u64> {
        let parsed = match &node.value {
            Tree::Text(text) => parse_duration(text),
            _ => None,
        };
        if parsed.is_none() {
            let help = "a number and ms, s, m, h or d, for example 30s".to_owned();
            self.error(node.at, format!("{what} must be a duration"), Some(help));
        }
        parsed.and_then(|duration| u64::try_from(duration.as_millis()).ok())
    }

    /// A condition, compiled.
    pub fn condition<'n>(&mut self, node: &'n Node) -> Option<Written<'n>> {
        let source = match &node.value {
            Tree::Text(text) => text.clone(),
            Tree::Bool(value) => value.to_string(),
            other => {
                self.error(node.at, format!("when must be a condition, not {}", other.kind()), None);
                return None;
            }
        };
        match Condition::compile(&source) {
            Ok(condition) => Some(Written { node, source, condition }),
            Err(ExprError { message, offset }) => {
                let at = self.within(node.at, &source, offset, 1);
                self.error(at, format!("when: {message}"), None);
                None
            }
        }
    }

    /// The place of a piece of a scalar, when the scalar stands in the file as it is read; else the scalar's own place.
    pub fn within(&self, at: Mark, content: &str, offset: usize, len: usize) -> Mark {
        let raw = self.text.get(at.start..at.start.saturating_add(at.len)).unwrap_or_default();
        let Some(found) = raw.find(content) else { return at };
        let before = &raw[..found + offset.min(content.len())];
        let lines = before.matches('\n').count();
        let column = match before.rfind('\n') {
            Some(newline) => before[newline + 1..].chars().count() + 1,
            None => at.column + before.chars().count(),
        };
        Mark { line: at.line + lines, column, start: at.start + before.len(), len }
    }
}

/// A compiled condition and where it was written.
#[derive(Debug)]
pub struct Written<'n> {
    pub node: &'n Node,
    pub source: String,
    pub condition: Condition,
}

/// The known keys of a mapping.
#[derive(Debug)]
pub struct Fields<'n> {
    /// The place of the mapping.
    pub at: Mark,
    entries: Vec<(&'n Key, &'n Node)>,
}

impl<'n> Fields<'n> {
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|(_, node)| node)
    }

    pub fn entry(&self, key: &str) -> Option<(&'n Key, &'n Node)> {
        self.entries.iter().copied().find(|(known, _)| known.text == key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'n Key, &'n Node)> {
        self.entries.iter().copied()
    }
}

/// The items of a list; empty, after a report, when it is none.
pub fn expect_list<'n>(problems: &mut Problems<'_>, node: &'n Node, what: &str) -> &'n [Node] {
    match &node.value {
        Tree::List(items) => items,
        other => {
            let help = matches!(other, Tree::Null).then(|| "write [] or leave the key out".to_owned());
            problems.error(node.at, format!("{what} must be a list, not {}", other.kind()), help);
            &[]
        }
    }
}
