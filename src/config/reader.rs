//! Walks the YAML tree and collects every mistake with its place. Knows nothing of what the keys mean.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use crate::playbook::diagnostic::{nearest, quote};
use crate::playbook::vocabulary::parse_duration;
use crate::playbook::yaml::{Key, Mark, Node, Tree};
use crate::playbook::{Diagnostic, Severity};

use super::environment::{Environment, OVERRIDES};

/// Collects diagnostics while values are read.
pub(super) struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<Diagnostic>,
    hidden: Vec<String>,
}

/// A mapping being read: keys that nobody takes are mistakes.
#[derive(Debug)]
pub(super) struct Section<'n> {
    pub at: Mark,
    entries: Vec<(&'n Key, &'n Node)>,
    taken: Vec<&'static str>,
}

impl<'n> Section<'n> {
    /// The value of a key, when it is there and not null.
    pub fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.taken.push(key);
        let found = self.entries.iter().find(|(k, _)| k.text == key);
        found.map(|(_, node)| *node).filter(|node| node.value != Tree::Null)
    }

    /// Every key and value, for mappings whose keys are names.
    pub fn all(&self) -> impl Iterator<Item = (&'n Key, &'n Node)> + use<'n> {
        self.entries.clone().into_iter()
    }
}

/// Marks of values that came from the environment have no line; the column tells which variable it was.
fn mark_of_variable(index: usize) -> Mark {
    Mark { line: 0, column: index + 1, start: 0, len: 0 }
}

/// Puts the `OUST_*` overrides into the tree, as if they stood in the file.
pub(super) fn overlay(tree: &mut Node, environment: &Environment) {
    if tree.value == Tree::Null {
        tree.value = Tree::Map(Vec::new());
    }
    for (index, (name, path)) in OVERRIDES.iter().enumerate() {
        if let Some(value) = environment.get(name).filter(|value| !value.is_empty()) {
            put(tree, path, Node { at: mark_of_variable(index), value: Tree::Text(value.to_owned()) });
        }
    }
}

fn put(tree: &mut Node, path: &[&str], value: Node) {
    let (Tree::Map(entries), Some((key, rest))) = (&mut tree.value, path.split_first()) else { return };
    if !entries.iter().any(|(k, _)| k.text == *key) {
        let empty = Node { at: value.at, value: Tree::Map(Vec::new()) };
        entries.push((Key { at: value.at, text: (*key).to_owned() }, empty));
    }
    for (_, node) in entries.iter_mut().filter(|(k, _)| k.text == *key) {
        if rest.is_empty() {
            *node = value.clone();
        } else {
            if node.value == Tree::Null {
                node.value = Tree::Map(Vec::new());
            }
            put(node, rest, value.clone());
        }
    }
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("file", &self.file).finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: Vec::new(), hidden: Vec::new() }
    }

    /// Everything found. Lines that hold a secret are not shown.
    pub fn into_found(mut self) -> Vec<Diagnostic> {
        // Looked for in the whole line: what is shown of a long one may end within the secret.
        let holds = |line: &str| self.hidden.iter().any(|secret| line.contains(secret));
        let lines: Vec<usize> =
            (1..).zip(self.text.lines()).filter(|(_, line)| holds(line)).map(|(at, _)| at).collect();
        for one in &mut self.found {
            if lines.contains(&one.line) && !one.source_line.is_empty() || holds(&one.source_line) {
                one.source_line = String::from("(not shown: it holds a secret)");
                one.span = (0, 0);
            }
        }
        self.found
    }

    /// A text of the file that must not be shown again.
    pub fn hide(&mut self, secret: &str) {
        self.hidden.push(secret.to_owned());
    }

    fn note(&mut self, severity: Severity, at: Mark, message: String, help: Option<String>) {
        let variable = at.column.checked_sub(1).and_then(|index| OVERRIDES.get(index)).filter(|_| at.line == 0);
        self.found.push(match variable {
            Some((name, _)) => Diagnostic::at(severity, name, "", Mark::default(), message, help),
            None => Diagnostic::at(severity, self.file, self.text, at, message, help),
        });
    }

    pub fn error(&mut self, at: Mark, message: impl Into<String>, help: impl Into<String>) {
        let help = Some(help.into()).filter(|help: &String| !help.is_empty());
        self.note(Severity::Error, at, message.into(), help);
    }

    pub fn warn(&mut self, at: Mark, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Warning, at, message.into(), Some(help.into()));
    }

    /// A mapping; anything else is a mistake. A key that stands twice is one too.
    pub fn section<'n>(&mut self, node: &'n Node, what: &str) -> Option<Section<'n>> {
        let Tree::Map(entries) = &node.value else {
            self.error(node.at, format!("{what} must be a mapping, not {}", node.value.kind()), "");
            return None;
        };
        for (index, (key, _)) in entries.iter().enumerate() {
            if entries[..index].iter().any(|(earlier, _)| earlier.text == key.text) {
                self.error(key.at, format!("the key {} stands here twice", quote(&key.text)), "remove one of them");
            }
        }
        Some(Section { at: node.at, entries: entries.iter().map(|(k, n)| (k, n)).collect(), taken: Vec::new() })
    }

    /// Reports the keys nobody took; `later` names keys that this version does not have, and what to do instead.
    pub fn finish(&mut self, section: Section<'_>, what: &str, later: &[(&str, &str)]) {
        for (key, _) in section.entries {
            if section.taken.contains(&key.text.as_str()) {
                continue;
            }
            if let Some((name, instead)) = later.iter().find(|(name, _)| *name == key.text) {
                self.error(key.at, format!("{name} is not available in this version"), *instead);
                continue;
            }
            let help = match nearest(&key.text, section.taken.iter().copied()) {
                Some(close) => format!("did you mean {close}?"),
                None => format!("known here: {}", section.taken.join(", ")),
            };
            self.error(key.at, format!("unknown key {} in {what}", quote(&key.text)), help);
        }
    }

    /// A required value of a section.
    pub fn need<'n>(&mut self, section: &mut Section<'n>, key: &'static str, what: &str) -> Option<&'n Node> {
        let node = section.take(key);
        if node.is_none() {
            self.error(section.at, format!("{what} lacks {key}"), format!("add `{key}: …`"));
        }
        node
    }

    pub fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Tree::Text(text) if !text.trim().is_empty() => Some(text.trim()),
            Tree::Text(_) => {
                self.error(node.at, format!("{what} is empty"), "");
                None
            }
            other => {
                self.error(node.at, format!("{what} must be text, not {}", other.kind()), "put it in quotes");
                None
            }
        }
    }

    /// A text that parses.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, node: &Node, what: &str) -> Option<T> {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(node.at, format!("{what}: {} is {error}", quote(text)), "");
                None
            }
        }
    }

    /// One of these words; `later` are words that exist, but not in this version.
    pub fn word(&mut self, node: &Node, what: &str, words: &[&'static str], later: &[&str]) -> Option<&'static str> {
        let text = self.text(node, what)?;
        if let Some(word) = words.iter().find(|word| **word == text) {
            return Some(word);
        }
        if later.contains(&text) {
            self.error(node.at, format!("{what} {text} is not available in this version"), words.join(" or "));
            return None;
        }
        let help = match nearest(text, words.iter().copied()) {
            Some(close) => format!("did you mean {close}?"),
            None => String::new(),
        };
        self.error(node.at, format!("{what} must be {}, not {}", words.join(" or "), quote(text)), help);
        None
    }

    /// A duration above zero and at most ten years.
    pub fn duration(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let text = self.text(node, what)?;
        let parsed = parse_duration(text).filter(|duration| !duration.is_zero());
        if parsed.is_none() {
            let message = format!("{what} must be a duration, not {}", quote(text));
            self.error(node.at, message, "write 30s, 15m, 24h or 7d");
        }
        parsed
    }

    /// True or false.
    pub fn flag(&mut self, node: &Node, what: &str) -> Option<bool> {
        match &node.value {
            Tree::Bool(flag) => Some(*flag),
            other => {
                self.error(node.at, format!("{what} must be true or false, not {}", other.kind()), "");
                None
            }
        }
    }

    /// A whole number in a range; numbers in quotes (and from the environment) are fine.
    pub fn integer(&mut self, node: &Node, what: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let number = match &node.value {
            Tree::Integer(number) => Some(*number),
            Tree::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let fits = number.filter(|number| range.contains(number));
        if fits.is_none() {
            let (from, to) = (range.start(), range.end());
            self.error(node.at, format!("{what} must be a whole number from {from} to {to}"), "");
        }
        fits
    }

    /// Bytes: a number, or a number with `KiB`, `MiB` or `GiB`.
    pub fn bytes(&mut self, node: &Node, what: &str, range: std::ops::RangeInclusive<usize>) -> Option<usize> {
        let parsed = match &node.value {
            Tree::Integer(number) => usize::try_from(*number).ok(),
            Tree::Text(text) => {
                let text = text.trim();
                let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
                let unit = match text[split..].trim() {
                    "" | "B" => Some(1),
                    "KiB" => Some(1024),
                    "MiB" => Some(1024 * 1024),
                    "GiB" => Some(1024 * 1024 * 1024),
                    _ => None,
                };
                unit.and_then(|unit: usize| text[..split].parse::<usize>().ok()?.checked_mul(unit))
            }
            _ => None,
        };
        let fits = parsed.filter(|bytes| range.contains(bytes));
        if fits.is_none() {
            let message = format!("{what} must be a size from {} to {} bytes", range.start(), range.end());
            self.error(node.at, message, "write 65536, 512KiB or 1MiB");
        }
        fits
    }

    /// The items of a list of at most `most`.
    pub fn list<'n>(&mut self, node: &'n Node, what: &str, most: usize) -> &'n [Node] {
        match &node.value {
            Tree::List(items) if items.len() <= most => items,
            Tree::List(items) => {
                self.error(node.at, format!("{what} has {} items; at most {most} fit", items.len()), "");
                &[]
            }
            other => {
                self.error(node.at, format!("{what} must be a list, not {}", other.kind()), "write [ … ] or - … lines");
                &[]
            }
        }
    }
}
