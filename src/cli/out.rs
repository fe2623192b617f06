//! What a command says: results on stdout (text, or JSON with `--json`), failures on stderr with what to do next.

use std::error::Error;
use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::http::chain;
use crate::http::console::view::text;
use crate::playbook::{Diagnostics, Severity};

/// Exit codes, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// It ran and found problems.
    Problems = 1,
    /// It was asked wrongly.
    Usage = 2,
    /// Something was not there: a file, a store, a server.
    Unreachable = 3,
}

/// Why a command did not do it.
#[derive(Debug)]
pub struct Failure {
    pub code: Code,
    /// The chain of causes in one line; empty when stdout already has everything.
    message: String,
    next: String,
}

impl Failure {
    /// A failure and what to do next.
    pub fn new(code: Code, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code, message: message.into(), next: next.into() }
    }

    /// A failure with its causes.
    pub fn of(code: Code, error: &(dyn Error + 'static), next: impl Into<String>) -> Self {
        Self::new(code, chain(error), next)
    }

    /// Problems that were already shown.
    pub fn shown() -> Self {
        Self::new(Code::Problems, "", "")
    }
}

/// How a command speaks.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    pub json: bool,
    /// Colours are welcome on stderr and stdout where they are terminals.
    pub colour: bool,
}

impl Out {
    /// A result: JSON, or the text made of it.
    pub fn say(self, value: &Value, text: impl FnOnce() -> String) {
        let line = if self.json { value.to_string() } else { text() };
        // A reader that left (`| head`) is no failure.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    /// A remark beside the result.
    pub fn note(self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// A failure, on stderr.
    pub fn fail(self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        if self.json {
            self.note(&json!({ "error": failure.message, "next": failure.next }).to_string());
            return;
        }
        self.note(&format!("error: {}", failure.message));
        if !failure.next.is_empty() {
            self.note(&format!("  next: {}", failure.next));
        }
    }

    /// Pictures of mistakes on stderr; with `--json` nothing, for the result carries them.
    pub fn pictures(self, found: &Diagnostics) {
        if !self.json && !found.is_empty() {
            let colour = self.colour && std::io::stderr().is_terminal();
            self.note(&found.render(colour));
            self.note("");
        }
    }
}

/// `2 errors, 1 warning`.
pub fn tally<'d>(all: impl IntoIterator<Item = &'d Diagnostics>) -> (usize, usize) {
    all.into_iter().flat_map(|one| one.iter()).fold((0, 0), |(errors, warnings), one| match one.severity {
        Severity::Error => (errors + 1, warnings),
        Severity::Warning => (errors, warnings + 1),
    })
}

/// A table for people.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.map(str::to_uppercase));
    for row in rows {
        table.add_row(row.map(|cell| text::cut(&cell, usize::MAX)));
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Text from outside, freed of what a terminal would obey and of what hides or turns text around.
pub fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    text.chars().filter(|c| !text::is_hidden(*c)).map(plain).collect()
}

/// JSON for people: indented.
pub fn pretty(value: &Value) -> String {
    printable(&serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_command_the_terminal() {
        let shown = table(["reason"], [["\u{1b}[2Jgone".to_owned()]]);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn text_from_outside_stays_in_its_cell_and_reads_in_one_direction() {
        let row = |name: &str| [name.to_owned(), "held".to_owned()];
        let shown = table(["name", "state"], [row("eve\ncase_1  closed"), row("\u{202e}moc.elpmaxe\u{200b}")]);
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines,
            [vec!["NAME", "STATE"], vec!["eve", "case_1", "closed", "held"], vec!["moc.elpmaxe", "held"]]
        );
        assert_eq!(printable("a\u{2066}b\u{61c}\n\u{9b}c\u{e0041}"), "ab\n c");
        assert_eq!(pretty(&json!({ "upn": "\u{202e}a" })), "{\n  \"upn\": \"a\"\n}");
    }
}
