//! What is wrong with a playbook, where, and what would be right; as text for people and as JSON for tools.
//!
//! A diagnostic carries the line it is about, so it can be shown long after the file changed. Text that came from the
//! file is cut and freed of control characters before it gets here.

use std::fmt;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::yaml::Mark;

/// Most diagnostics kept for one file; a file with more is better rewritten than repaired.
pub const MAX_DIAGNOSTICS: usize = 200;

/// Longest source line shown, in characters.
const SHOWN_LINE: usize = 160;

/// Whether a playbook is refused for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// As it was given to the parser.
    pub file: String,
    /// From 1; 0 when the mistake has no place (an unreadable file).
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The line it is about, cut around the mistake when very long.
    pub source_line: String,
    /// Byte range of the mistake within `source_line`.
    #[serde(skip)]
    pub span: (usize, usize),
}

impl Diagnostic {
    /// A mistake at a place in `text`.
    pub fn at(severity: Severity, file: &str, text: &str, mark: Mark, message: String, help: Option<String>) -> Self {
        let (source_line, span) = shown_line(text, mark);
        Self { severity, file: file.to_owned(), line: mark.line, column: mark.column, message, help, source_line, span }
    }

    /// A mistake of the whole file.
    pub fn of_file(file: &str, message: String, help: Option<String>) -> Self {
        Self::at(Severity::Error, file, "", Mark::default(), message, help)
    }

    /// The picture: message, line, marker, help.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message.as_str());
        let group = if self.line == 0 {
            Group::with_title(title).element(annotate_snippets::Origin::path(self.file.as_str()))
        } else {
            let annotation = AnnotationKind::Primary.span(self.span.0..self.span.1);
            let snippet = Snippet::source(self.source_line.as_str()).line_start(self.line).path(self.file.as_str());
            Group::with_title(title).element(snippet.annotation(annotation))
        };
        let help = self.help.as_deref().map(|help| Level::HELP.message(help));
        let group = if let Some(help) = help { group.element(help) } else { group };
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
    }
}

/// One line: `file:line:column: message`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)
        } else {
            write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
        }
    }
}

/// Everything wrong with one file, in file order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Sorts by place, drops repetitions and cuts at [`MAX_DIAGNOSTICS`].
    pub fn new(mut all: Vec<Diagnostic>) -> Self {
        all.sort_by_key(|one| (one.line, one.column, one.severity));
        all.dedup();
        all.truncate(MAX_DIAGNOSTICS);
        Self(all)
    }

    /// The diagnostics in file order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every picture, a blank line between them.
    pub fn render(&self, colour: bool) -> String {
        self.0.iter().map(|one| one.render(colour)).collect::<Vec<_>>().join("\n\n")
    }

    /// For tools: a list of objects with file, line, column, message, help and the line itself.
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("texts and numbers always serialise")
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{one}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Text of the file as it may stand in a message: cut, in single quotes, control characters escaped.
pub fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    shown = shown.replace("\\'", "'").replace("\\\"", "\"");
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    format!("'{shown}'")
}

/// The closest of the candidates, when one is close enough to be a slip of the hand.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace) from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The line of a mark, freed of control characters, and where the mark stands in it.
fn shown_line(text: &str, mark: Mark) -> (String, (usize, usize)) {
    let Some(line) = mark.line.checked_sub(1).and_then(|n| text.lines().nth(n)) else {
        return (String::new(), (0, 0));
    };
    let before = mark.column.saturating_sub(1);
    let width = match text.get(mark.start..mark.start.saturating_add(mark.len)) {
        Some(marked) => marked.lines().next().unwrap_or_default().trim_end().chars().count(),
        None => 1,
    };
    let skipped = before.saturating_sub(SHOWN_LINE / 2);
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let shown: String = line.chars().skip(skipped).take(SHOWN_LINE).map(clean).collect();
    let byte_of = |n: usize| shown.char_indices().nth(n).map_or(shown.len(), |(at, _)| at);
    let start = byte_of(before - skipped);
    let end = byte_of((before - skipped).saturating_add(width.max(1)));
    (shown, (start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_is_guessed_and_nonsense_is_not() {
        let known = ["revoke_sessions", "reset_password", "read_user"];
        assert_eq!(nearest("revoke_session", known), Some("revoke_sessions"));
        assert_eq!(nearest("reed_user", known), Some("read_user"));
        assert_eq!(nearest("bake_cake", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn a_long_line_is_cut_around_the_mistake_and_loses_its_control_characters() {
        let text = format!("{}\u{1b}[31mX{}", "é".repeat(500), "y".repeat(500));
        let mark = Mark { line: 1, column: 506, start: text.find('X').expect("there is one"), len: 1 };
        let one = Diagnostic::at(Severity::Error, "f.yaml", &text, mark, "wrong".into(), None);
        assert!(one.source_line.chars().count() <= SHOWN_LINE);
        assert!(!one.source_line.contains('\u{1b}'));
        assert_eq!(&one.source_line[one.span.0..one.span.1], "X");
    }

    #[test]
    fn the_picture_shows_the_line_a_marker_and_the_help() {
        let mark = Mark { line: 2, column: 4, start: 8, len: 3 };
        let help = Some("write two".into());
        let one = Diagnostic::at(Severity::Warning, "a.yaml", "x: 1\ny: twp\n", mark, "no such number".into(), help);
        let picture = one.render(false);
        assert!(picture.contains("warning: no such number"), "{picture}");
        assert!(picture.contains("a.yaml:2:4"), "{picture}");
        assert!(picture.contains("y: twp"), "{picture}");
        assert!(picture.contains("^^^"), "{picture}");
        assert!(picture.contains("help: write two"), "{picture}");
        assert_eq!(one.to_string(), "a.yaml:2:4: no such number");
    }
}
