//! Conditions (`when`): CEL, compiled at load time, bounded, and never quietly false.
//!
//! A condition says true or false or why it cannot say: missing data, a wrong type or an answer that is not a boolean
//! is an error, because "no" and "could not tell" lead to different deeds. This is the only module that knows which
//! expression language it is.
//!
//! Bounds: 4 KiB of source, 32 levels of brackets, 400 tokens, loops two deep. They are checked before the compiler
//! sees the text, whose recursion is the thing to protect; CEL has no loops besides those over lists and a regular
//! expression engine of linear time, so evaluation needs no fuel.

mod measure;

mod walk;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::domain::Signal;

pub use measure::{MAX_NESTING, MAX_SOURCE, MAX_TOKENS};
pub use walk::{FUNCTIONS, Reference};

/// Loops (`all`, `exists`, `map`, `filter`) within loops.
pub const MAX_LOOPS: usize = 2;

/// Compiled conditions kept for pinned plans; beyond it the cache starts anew.
const MAX_CACHED: usize = 1_024;

/// Fields of `signal` in a condition, as [`signal_context`] makes them.
pub const SIGNAL_FIELDS: &[&str] = &[
    "id",
    "source",
    "tenant",
    "received_at",
    "activity_at",
    "detected_at",
    "kind",
    "raw_kind",
    "risk",
    "title",
    "shape",
    "subject",
    "refs",
    "evidence",
];

/// Fields of `case` in a condition, as `domain::person` makes them.
pub const CASE_FIELDS: &[&str] = &["id", "kinds", "risk", "signals", "opened_at", "latest_activity", "guest"];

/// The standard functions, built once: building them costs many times what asking a condition does.
static LANGUAGE: LazyLock<Arc<cel::Env>> = LazyLock::new(|| Arc::new(cel::Env::stdlib()));

/// A condition that does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    pub message: String,
    /// Bytes into the source.
    pub offset: usize,
}

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    program: cel::Program,
    references: Vec<Reference>,
}

impl Condition {
    /// Compiles and checks a source text.
    ///
    /// # Errors
    /// It is too long or too deep, not an expression, calls an unknown function, or can never be true or false.
    pub fn compile(source: &str) -> Result<Self, ExprError> {
        measure::check(source)?;
        let program = cel::Program::compile(source).map_err(|errors| syntax(source, &errors))?;
        let references = walk::check(&program, source)?;
        Ok(Self { program, references })
    }

    /// What it reads, in order of appearance.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Asks it. `context` is an object with one key per root (`signal`, `case`, `collect`, …).
    ///
    /// # Errors
    /// Something it reads is missing or of a wrong type, or the answer is neither true nor false.
    pub fn holds(&self, context: &Value) -> Result<bool, String> {
        let mut scope = cel::Context::with_env(Arc::clone(&LANGUAGE));
        for (index, reference) in self.references.iter().enumerate() {
            let root = reference.root.as_str();
            if self.references[..index].iter().any(|earlier| earlier.root == root) {
                continue;
            }
            if let Some(value) = context.get(root) {
                scope.add_variable(root, value).map_err(|error| format!("'{root}' cannot be read: {error}"))?;
            }
        }
        match self.program.execute(&scope) {
            Ok(cel::Value::Bool(answer)) => Ok(answer),
            Ok(other) => Err(format!("the answer is {}, neither true nor false", other.type_of())),
            Err(error) => Err(in_words(&error)),
        }
    }

    /// The answer when it reads nothing; `None` when it depends on data.
    pub fn constant(&self) -> Option<bool> {
        if !self.references.is_empty() {
            return None;
        }
        self.holds(&Value::Null).ok()
    }
}

/// The compiler's complaint, without its picture, at a byte offset.
fn syntax(source: &str, errors: &cel::ParseErrors) -> ExprError {
    let Some(first) = errors.errors.first() else {
        return ExprError { message: "not an expression".into(), offset: 0 };
    };
    let line = usize::try_from(first.pos.0).unwrap_or(1).max(1);
    let column = usize::try_from(first.pos.1).unwrap_or(1).max(1);
    let before: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let tail = source.get(before..).unwrap_or_default();
    let offset = before + tail.char_indices().nth(column - 1).map_or(tail.len(), |(at, _)| at);
    ExprError { message: in_plain(&first.msg), offset }
}

/// A parser's complaint without its jargon.
fn in_plain(complaint: &str) -> String {
    let line = complaint.lines().next().unwrap_or_default();
    let jargon =
        ["mismatched input '", "extraneous input '", "no viable alternative at input '", "recognition error at: '"];
    let input = jargon.iter().find_map(|start| line.split_once(start)).map(|(_, rest)| rest);
    match input.and_then(|rest| rest.split_once('\'')) {
        Some(("<EOF>", _)) => "the condition ends too early".into(),
        Some((token, _)) => format!("unexpected {}", crate::playbook::diagnostic::quote(token)),
        None => line.trim_start_matches("Syntax error: ").chars().take(160).collect(),
    }
}

/// An evaluation error without dumps of the values it met: those may be personal data and end up in a task's title.
fn in_words(error: &cel::ExecutionError) -> String {
    use cel::ExecutionError as E;
    match error {
        E::NoSuchKey(key) => format!("there is no '{key}' in the data"),
        E::UndeclaredReference(name) => format!("there is no '{name}' yet"),
        E::UnsupportedBinaryOperator(operator, left, right) => {
            format!("'{operator}' does not work on {} and {}", left.type_of(), right.type_of())
        }
        E::ValuesNotComparable(left, right) => {
            format!("{} and {} cannot be compared", left.type_of(), right.type_of())
        }
        E::UnexpectedType { got, want } => format!("found {got} where {want} is needed"),
        E::NoSuchOverload(overload) => format!("{overload}"),
        E::DivisionByZero(_) | E::RemainderByZero(_) => "division by zero".into(),
        E::IndexOutOfBounds(_) => "the list is shorter than the index".into(),
        E::UnsupportedIndex(..) => "the index is of a wrong type".into(),
        E::FunctionError { function, .. } => format!("{function}() failed"),
        E::Overflow(operator, ..) => format!("'{operator}' went beyond the range of numbers"),
        _ => "the data is not what the condition expects".into(),
    }
}

/// What conditions see as `signal`: everything a source said, nothing of our own bookkeeping. Evidence lists that are
/// empty are present as `[]`; any other absent fact is absent, so that asking for it is an error (or `has()` is false).
pub fn signal_context(signal: &Signal) -> Value {
    let mut value = serde_json::to_value(signal).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.retain(|key, _| SIGNAL_FIELDS.contains(&key.as_str()));
        if let Some(evidence) = object.get_mut("evidence").and_then(Value::as_object_mut) {
            for list in ["places", "ips", "user_agents", "devices", "sessions", "requests"] {
                evidence.entry(list).or_insert_with(|| json!([]));
            }
            evidence.entry("other").or_insert_with(|| json!({}));
        }
        object.entry("refs").or_insert_with(|| json!({}));
    }
    value
}

/// Compiled conditions by their source, for plans read back from their pinned text.
#[derive(Debug, Default)]
pub struct Conditions {
    compiled: Mutex<HashMap<String, Result<Arc<Condition>, ExprError>>>,
}

impl Conditions {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks a condition, compiling it on first sight.
    ///
    /// # Errors
    /// It does not compile, or cannot be answered from `context`.
    pub fn holds(&self, source: &str, context: &Value) -> Result<bool, String> {
        self.get(source).map_err(|error| error.message)?.holds(context)
    }

    fn get(&self, source: &str) -> Result<Arc<Condition>, ExprError> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compiled.get(source) {
            return known.clone();
        }
        let fresh = Condition::compile(source).map(Arc::new);
        if compiled.len() >= MAX_CACHED {
            compiled.clear();
        }
        // A source over the limit is refused before any work is done, so it need not be remembered.
        if source.len() <= MAX_SOURCE {
            compiled.insert(source.to_owned(), fresh.clone());
        }
        fresh
    }
}

impl crate::domain::person::Conditions for Conditions {
    fn holds(&self, source: &str, context: &Value) -> Result<bool, String> {
        Self::holds(self, source, context)
    }
}

#[cfg(test)]
mod tests;
