//! YAML text into a tree that knows where every value and every key stands.
//!
//! Bounded: size, nodes, depth, aliases and documents have caps far above any honest playbook, so that a hostile file
//! is refused in milliseconds. Knows nothing of playbooks; what is *wrong* with the tree is `parse`'s business. Syntax
//! is the one thing that cannot be reported together with other mistakes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

/// Largest playbook file, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;

/// A stretch of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// From 1; 0 when the place is unknown.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Byte offset of the first character.
    pub start: usize,
    /// Length in bytes; may reach over several lines.
    pub len: usize,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: Mark,
    pub value: Tree,
}

/// A key and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub at: Mark,
    pub text: String,
}

/// What stands there.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In file order; duplicates are kept so that they can be reported.
    Map(Vec<(Key, Node)>),
}

impl Tree {
    /// The kind of value in words that follow "not".
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    /// The same value as JSON. Later duplicates of a key are dropped; numbers JSON cannot hold become null.
    pub fn json(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Integer(value) => Value::from(*value),
            Self::Float(value) => Value::from(*value),
            Self::Text(value) => Value::from(value.as_str()),
            Self::List(items) => items.iter().map(|item| item.value.json()).collect(),
            Self::Map(entries) => {
                let mut map = serde_json::Map::new();
                for (key, node) in entries {
                    map.entry(key.text.as_str()).or_insert_with(|| node.value.json());
                }
                Value::Object(map)
            }
        }
    }
}

/// Why a text is not YAML that we read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the file has {bytes} bytes; a playbook has at most {MAX_BYTES}")]
    TooLarge { bytes: usize },
    #[error("{message}")]
    Syntax { at: Mark, message: String },
}

/// Reads one document.
///
/// # Errors
/// The text is too large, not YAML, or over one of the caps.
pub fn read(text: &str) -> Result<Node, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::TooLarge { bytes: text.len() });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MAX_BYTES),
            max_events: 20_000,
            max_nodes: 5_000,
            max_depth: 24,
            flow_nesting_limit: 24,
            max_aliases: 64,
            max_anchors: 64,
            max_documents: 1,
            max_merge_keys: 0,
            max_total_scalar_bytes: MAX_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 5_000, max_replay_stack_depth: 4 },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let tree: Spanned<Bare> = serde_saphyr::from_str_with_options(text, options).map_err(|error| syntax(&error))?;
    Ok(tree.into())
}

fn syntax(error: &serde_saphyr::Error) -> Error {
    let at = error.location().map(mark).unwrap_or_default();
    let message = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let message = message.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or(message);
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let message = message.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(message, |(_, m)| m);
    Error::Syntax { at, message: message.chars().take(300).collect() }
}

fn mark(location: Location) -> Mark {
    let narrow = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let span = location.span();
    Mark {
        line: narrow(location.line()),
        column: narrow(location.column()),
        start: narrow(span.byte_offset().unwrap_or_default()),
        len: narrow(span.byte_len().unwrap_or_default()),
    }
}

/// A value whose children have places and which has none itself: what `Spanned` wraps.
#[derive(Debug)]
enum Bare {
    Scalar(Tree),
    List(Vec<Spanned<Bare>>),
    Map(Vec<(Spanned<String>, Spanned<Bare>)>),
}

impl From<Spanned<Bare>> for Node {
    fn from(spanned: Spanned<Bare>) -> Self {
        let value = match spanned.value {
            Bare::Scalar(tree) => tree,
            Bare::List(items) => Tree::List(items.into_iter().map(Node::from).collect()),
            Bare::Map(entries) => Tree::Map(
                entries
                    .into_iter()
                    .map(|(key, node)| (Key { at: mark(key.referenced), text: key.value }, Node::from(node)))
                    .collect(),
            ),
        };
        Self { at: mark(spanned.referenced), value }
    }
}

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BareVisitor)
    }
}

struct BareVisitor;

impl<'de> Visitor<'de> for BareVisitor {
    type Value = Bare;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Bare, E> {
        Ok(Bare::Scalar(Tree::Null))
    }

    fn visit_none<E>(self) -> Result<Bare, E> {
        Ok(Bare::Scalar(Tree::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Bare, E> {
        Ok(Bare::Scalar(Tree::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Bare, E> {
        Ok(Bare::Scalar(Tree::Integer(value)))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Bare, E> {
        let value = i64::try_from(value).map_err(|_| E::custom("a number this large is not supported"))?;
        Ok(Bare::Scalar(Tree::Integer(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Bare, E> {
        Ok(Bare::Scalar(Tree::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Bare, E> {
        Ok(Bare::Scalar(Tree::Text(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Bare, E> {
        Ok(Bare::Scalar(Tree::Text(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Bare, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Bare::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Bare, A::Error> {
        let mut entries: Vec<(Spanned<String>, Spanned<Bare>)> = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            if key.value.len() > 256 {
                return Err(A::Error::custom("a key this long is not supported"));
            }
            entries.push((key, access.next_value()?));
        }
        Ok(Bare::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_line_column_and_bytes() {
        let text = "é: x\nlist:\n  - do: 'a b'\n    n: 3\n";
        let tree = read(text).expect("valid YAML");
        let Tree::Map(entries) = &tree.value else { panic!("{tree:?}") };
        assert_eq!((entries[1].0.at.line, entries[1].0.at.column), (2, 1));
        let Tree::List(items) = &entries[1].1.value else { panic!("{entries:?}") };
        let Tree::Map(step) = &items[0].value else { panic!("{items:?}") };
        let (key, node) = &step[0];
        assert_eq!((key.text.as_str(), key.at.line, key.at.column), ("do", 3, 5));
        assert_eq!(node.value, Tree::Text("a b".into()));
        assert_eq!(&text[node.at.start..node.at.start + node.at.len], "'a b'");
        assert_eq!(step[1].1.value, Tree::Integer(3));
    }

    #[test]
    fn words_that_yaml_once_read_as_booleans_stay_words() {
        let tree = read("a: [no, yes, on, 0777, 1_000, .inf, true, ~]").expect("valid YAML");
        let json = tree.value.json();
        assert_eq!(json["a"], serde_json::json!(["no", "yes", "on", "0777", "1_000", ".inf", true, null]));
    }

    #[test]
    fn hostile_files_are_refused_quickly() {
        let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
        for pair in ["ab", "bc", "cd", "de", "ef", "fg", "gh"] {
            let (from, to) = pair.split_at(1);
            let list = vec![format!("*{from}"); 9].join(",");
            bomb.push_str(&format!("{to}: &{to} [{list}]\n"));
        }
        let deep = format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000));
        let blocks = (0..2_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>();
        let wide = "- x\n".repeat(60_000);
        let huge = "# x\n".repeat(100_000);
        let started = std::time::Instant::now();
        for hostile in [bomb, deep, blocks, wide, huge, "a: !!js/function x".into(), "a\n---\nb".into(), "\u{0}".into()]
        {
            assert!(read(&hostile).is_err(), "{}", hostile.chars().take(40).collect::<String>());
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}
