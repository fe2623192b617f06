//! Kind `mapped`: any JSON; CEL expressions say where things are (contract §6.2).
//!
//! `body` is the whole body; with `each`, `item` is one element of the list it yields. An expression that finds
//! nothing is absent, never a guess: no kind or no person means held, with the key and what happened. Expressions
//! are the operator's, not the sender's; they are bounded in source and nesting, and compiled once.

use cel::{Context as CelContext, Program};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::draft::{self, Draft};
use super::normalise::json::{documents, keys};
use super::normalise::person::Account;
use super::normalise::{clock, cut, evidence, limits, names, risk};
use super::{Context, Error, Parsed};
use crate::domain::Kind;

/// The word of the shape in findings.
pub const SHAPE: &str = "mapped";
/// Characters of an expression.
const MAX_SOURCE: usize = 4_096;
/// Brackets inside brackets of an expression.
const MAX_NESTING: usize = 32;

/// Where things are. Every value is a CEL expression over `body` (and `item`, with `each`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// A word of the vocabulary of kinds, or a name oust knows.
    pub kind: String,
    #[serde(default)]
    pub object_id: Option<String>,
    #[serde(default)]
    pub upn: Option<String>,
    #[serde(default)]
    pub sid: Option<String>,
    #[serde(default)]
    pub activity_at: Option<String>,
    #[serde(default)]
    pub detected_at: Option<String>,
    #[serde(default)]
    pub risk: Option<String>,
    #[serde(default)]
    pub title: Option<String>,
    #[serde(default)]
    pub ip: Option<String>,
    /// The provider's id of the event; a repetition of it is a redelivery.
    #[serde(default)]
    pub id: Option<String>,
}

/// The part of a source's configuration that is this kind's.
#[derive(Debug, Clone)]
pub struct Config {
    pub map: Map,
    /// A list of events in one body, e.g. `body.results`.
    pub each: Option<String>,
}

/// A mistake in an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{key}: {what}")]
    Expression { key: &'static str, what: String },
    #[error("map names nobody: set object_id, upn or sid")]
    NoPerson,
}

/// A compiled mapping.
#[derive(Debug)]
pub struct Mapping {
    kind: Expression,
    object_id: Option<Expression>,
    upn: Option<Expression>,
    sid: Option<Expression>,
    activity_at: Option<Expression>,
    detected_at: Option<Expression>,
    risk: Option<Expression>,
    title: Option<Expression>,
    ip: Option<Expression>,
    id: Option<Expression>,
    each: Option<Expression>,
}

#[derive(Debug)]
struct Expression {
    key: &'static str,
    program: Program,
}

impl Mapping {
    /// Compiles every expression.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn compile(config: &Config) -> Result<Self, Vec<ConfigError>> {
        let map = &config.map;
        let variables: &[&str] = if config.each.is_some() { &["body", "item"] } else { &["body"] };
        let mut mistakes = Vec::new();
        let mut take = |key, source: &Option<String>, variables: &[&str]| {
            let compiled = source.as_ref().map(|source| Expression::compile(key, source, variables)).transpose();
            compiled.unwrap_or_else(|mistake| {
                mistakes.push(mistake);
                None
            })
        };
        let kind = take("kind", &Some(map.kind.clone()), variables);
        let [object_id, upn, sid] =
            [("object_id", &map.object_id), ("upn", &map.upn), ("sid", &map.sid)].map(|(k, s)| take(k, s, variables));
        let [activity_at, detected_at] =
            [("activity_at", &map.activity_at), ("detected_at", &map.detected_at)].map(|(k, s)| take(k, s, variables));
        let [risk, title, ip, id] = [("risk", &map.risk), ("title", &map.title), ("ip", &map.ip), ("id", &map.id)]
            .map(|(k, s)| take(k, s, variables));
        let each = take("each", &config.each, &["body"]);
        if map.object_id.is_none() && map.upn.is_none() && map.sid.is_none() {
            mistakes.push(ConfigError::NoPerson);
        }
        match kind {
            Some(kind) if mistakes.is_empty() => {
                Ok(Self { kind, object_id, upn, sid, activity_at, detected_at, risk, title, ip, id, each })
            }
            _ => Err(mistakes),
        }
    }

    /// Reads a body into findings: one, or one for each element.
    ///
    /// # Errors
    /// When the body is not JSON, out of bounds, or `each` does not yield a list of it.
    pub fn parse(&self, body: &[u8], ctx: &Context) -> Result<Parsed, Error> {
        let mut drafts = Vec::new();
        for document in documents(body)? {
            let mut scope = CelContext::default();
            bind(&mut scope, "body", &document)?;
            let Some(each) = &self.each else {
                drafts.push(self.draft(&scope, &document));
                continue;
            };
            let items = match each.evaluate(&scope) {
                Ok(Value::Array(items)) => items,
                _ => {
                    let hint = Some("`each` of this source does not yield a list of it");
                    return Err(Error::Unknown { saw: keys(&document), hint });
                }
            };
            if drafts.len() + items.len() > limits::ITEMS {
                return Err(Error::TooMany);
            }
            for item in &items {
                let mut scope = scope.new_inner_scope();
                bind(&mut scope, "item", item)?;
                drafts.push(self.draft(&scope, item));
            }
        }
        if drafts.is_empty() {
            return Err(Error::Empty);
        }
        Ok(Parsed { shapes: vec![SHAPE], findings: draft::settle(drafts, ctx) })
    }

    fn draft(&self, scope: &CelContext<'_, '_>, event: &Value) -> Draft {
        let mut reader = Reader { scope, missing: Vec::new() };
        let mut draft = Draft::new(SHAPE);
        let kind = reader.text(Some(&self.kind));
        draft.raw_kind = cut(kind.as_deref().unwrap_or_default(), limits::TITLE);
        draft.kind = kind.as_deref().and_then(names::kind);
        draft.risk = reader.text(self.risk.as_ref()).map_or(draft.risk, |word| risk::level(&word));
        draft.title = reader.text(self.title.as_ref());
        draft.activity_at = reader.instant(self.activity_at.as_ref());
        draft.detected_at = reader.instant(self.detected_at.as_ref());
        let (object_id, upn, sid) =
            (reader.text(self.object_id.as_ref()), reader.text(self.upn.as_ref()), reader.text(self.sid.as_ref()));
        let ip = reader.text(self.ip.as_ref());
        let id = reader.text(self.id.as_ref());
        evidence::add_ip(&mut draft.evidence, ip.as_deref());
        draft.refer("event", id.as_deref().map(|id| cut(id, limits::TITLE)));
        let said = reader.said();
        for (key, what) in &reader.missing {
            evidence::add_other(&mut draft.evidence, &format!("mapping of {key}"), what);
        }
        // The word `admin_confirmed` is a human's; Entra's own name for it is the echo of a deed like ours.
        if draft.raw_kind.eq_ignore_ascii_case("adminConfirmedUserCompromised") {
            draft.closed = Some(draft::OWN_DEED.to_owned());
        }
        let is_other = draft.raw_kind.eq_ignore_ascii_case(Kind::Other.word());
        if draft.kind.is_some() || is_other {
            draft.people.add(&Account {
                object_id: object_id.as_deref(),
                upn: upn.as_deref(),
                sid: sid.as_deref(),
                ..Account::default()
            });
            draft.hold_if_nobody(&format!("the mapping names nobody{said}"));
        } else if draft.raw_kind.is_empty() {
            draft.hold_if_nobody(&format!("the mapping yields no kind{said}"));
        } else {
            draft.hold_if_nobody(&format!("kind: {:?} is no kind oust knows", cut(&draft.raw_kind, 64)));
        }
        draft.about = match id {
            Some(id) => json!({"event": id, "kind": draft.raw_kind, "risk": draft.risk, "activity": draft.activity_at}),
            None => event.clone(),
        };
        draft
    }
}

/// Evaluates expressions over one event and notes what was missing.
struct Reader<'a, 'p, 'v> {
    scope: &'a CelContext<'p, 'v>,
    missing: Vec<(&'static str, String)>,
}

impl Reader<'_, '_, '_> {
    fn value(&mut self, expression: Option<&Expression>) -> Option<Value> {
        let expression = expression?;
        match expression.evaluate(self.scope) {
            Ok(Value::Null) => {
                self.missing.push((expression.key, "yields null".to_owned()));
                None
            }
            Ok(value) => Some(value),
            Err(what) => {
                self.missing.push((expression.key, what));
                None
            }
        }
    }

    fn text(&mut self, expression: Option<&Expression>) -> Option<String> {
        let key = expression?.key;
        match self.value(expression)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            other => {
                self.missing.push((key, format!("yields {}, not a text", keys(&other))));
                None
            }
        }
    }

    fn instant(&mut self, expression: Option<&Expression>) -> Option<Timestamp> {
        let key = expression?.key;
        let value = self.value(expression)?;
        let at = clock::parse(&value);
        if at.is_none() {
            self.missing.push((key, "yields no time".to_owned()));
        }
        at
    }

    /// What was missing, for a reason: `: upn: No such key: user`.
    fn said(&self) -> String {
        let words: Vec<String> = self.missing.iter().map(|(key, what)| format!("{key}: {what}")).collect();
        if words.is_empty() { String::new() } else { cut(&format!(" ({})", words.join("; ")), limits::TEXT) }
    }
}

impl Expression {
    fn compile(key: &'static str, source: &str, variables: &[&str]) -> Result<Self, ConfigError> {
        let mistake = |what: String| ConfigError::Expression { key, what };
        if source.len() > MAX_SOURCE {
            return Err(mistake(format!("longer than {MAX_SOURCE} characters")));
        }
        if nesting(source) > MAX_NESTING {
            return Err(mistake(format!("nested deeper than {MAX_NESTING} brackets")));
        }
        let program = Program::compile(source).map_err(|error| mistake(cut(&error.to_string(), limits::TEXT)))?;
        // An expression like `high` without quotes would never find anything.
        let uses = program.references().variables().iter().any(|name| variables.contains(name));
        let named = program.references().variables().len();
        if named > 0 && !uses {
            let known = variables.join(" and ");
            return Err(mistake(format!(
                "knows no variable but {known}; a fixed text needs quotes inside, '\"high\"'"
            )));
        }
        Ok(Self { key, program })
    }

    fn evaluate(&self, scope: &CelContext<'_, '_>) -> Result<Value, String> {
        let value = self.program.execute(scope).map_err(|error| cut(&error.to_string(), limits::TITLE))?;
        value.json().map_err(|_| "yields something that is no JSON".to_owned())
    }
}

/// Makes a value known under a name. JSON always converts; if it ever did not, the body is understood as nothing.
fn bind(scope: &mut CelContext<'_, '_>, name: &str, value: &Value) -> Result<(), Error> {
    let converted = cel::to_value(value).map_err(|_| Error::Unknown { saw: keys(value), hint: None })?;
    scope.add_variable_from_value(name, converted);
    Ok(())
}

/// The deepest bracket of a source; brackets in texts count too, which only errs on the safe side.
fn nesting(source: &str) -> usize {
    let mut depth = 0usize;
    source.bytes().fold(0, |deepest, byte| {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest.max(depth)
    })
}
