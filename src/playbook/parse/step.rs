//! One line of a phase: its keys, the action's parameters, timing. What depends on other steps is judged in `laws`.

use std::time::Duration;

use serde_json::Value;

use super::COLLECT_LIMIT;
use super::reader::{Fields, Problems, Written};
use crate::domain::plan::{OnFailure, Phase};
use crate::playbook::diagnostic::{nearest, quote};
use crate::playbook::vocabulary::{ActionInfo, Vocabulary};
use crate::playbook::yaml::{Mark, Node, Tree};

/// Attempts unless the step says otherwise.
pub const DEFAULT_ATTEMPTS: u32 = 5;
/// Most attempts a step may ask for.
pub const MAX_ATTEMPTS: i64 = 20;
/// Shortest time for one attempt.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// Longest time for one attempt.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest step id: a revoke that is appended after it is `revoke_after_` and that id.
const ID_LENGTH: usize = 48;

/// Largest `with`, in bytes of its JSON.
const WITH_BYTES: usize = 16 * 1024;

/// Keys of a step, in the order we write them.
pub const STEP_KEYS: &[&str] =
    &["do", "id", "with", "when", "approval", "unattended", "timeout", "retry", "on_failure"];

/// Words that cannot stand behind a dot in a condition, so that no step may be called so.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "null",
    "package",
    "namespace",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// A step as written. Parts that were wrong are absent and were reported.
#[derive(Debug)]
pub struct Draft<'n> {
    /// The place of the verb.
    pub at: Mark,
    pub phase: Phase,
    /// Its place in the phase's list, from 0; unlike a mark it cannot be led astray by an alias.
    pub index: usize,
    pub action: &'n ActionInfo,
    /// As written.
    pub id: Option<(String, Mark)>,
    /// The id it goes by; filled in by `laws`.
    pub name: String,
    pub with: Value,
    pub when: Option<Written<'n>>,
    pub approval: Option<(String, Mark)>,
    /// `unattended: true`.
    pub unattended: Option<Mark>,
    pub timeout_ms: u64,
    pub attempts: u32,
    pub on_failure: Option<(OnFailure, Mark)>,
    /// What it says of approval was reported, so that its absence means nothing.
    pub flawed: bool,
}

/// Reads a step; `None`, after a report, when it has no known verb.
pub fn read<'n>(
    problems: &mut Problems<'_>,
    node: &'n Node,
    (phase, index): (Phase, usize),
    vocab: &'n dyn Vocabulary,
) -> Option<Draft<'n>> {
    if let Tree::Text(verb) = &node.value {
        let verb = verb.chars().take(48).collect::<String>();
        problems.error(node.at, "a step must be a mapping, not text", Some(format!("write - do: {verb}")));
        return None;
    }
    let fields = problems.fields(node, "a step", STEP_KEYS)?;
    let action = action(problems, &fields, vocab);
    let id = fields.get("id").map(|node| id(problems, node));
    let when = fields.get("when").map(|node| problems.condition(node));
    let approval = fields.get("approval").map(|node| problems.label(node, "approval").map(|t| (t.to_owned(), node.at)));
    let unattended = fields.get("unattended").map(|node| unattended(problems, node));
    let timeout = fields.get("timeout").map(|node| timeout(problems, node, phase));
    let attempts = fields.get("retry").map(|node| attempts(problems, node));
    let on_failure = fields.get("on_failure").map(|node| on_failure(problems, node));
    let (at, action) = action?;
    let with = with(problems, at, action, fields.get("with"));
    let flawed = approval.as_ref().is_some_and(Option::is_none) || unattended.as_ref().is_some_and(Option::is_none);
    let limit = if phase == Phase::Collect { COLLECT_LIMIT } else { MAX_TIMEOUT };
    let default_timeout = action.timeout_ms.min(milliseconds(limit));
    Some(Draft {
        at,
        phase,
        index,
        action,
        id: id.flatten(),
        name: String::new(),
        with,
        when: when.flatten(),
        approval: approval.flatten(),
        unattended: unattended.flatten().flatten(),
        timeout_ms: timeout.flatten().unwrap_or(default_timeout),
        attempts: attempts.flatten().unwrap_or(DEFAULT_ATTEMPTS),
        on_failure: on_failure.flatten(),
        flawed,
    })
}

fn action<'n>(
    problems: &mut Problems<'_>,
    fields: &Fields<'n>,
    vocab: &'n dyn Vocabulary,
) -> Option<(Mark, &'n ActionInfo)> {
    let Some(node) = fields.get("do") else {
        problems.error(fields.at, "the step does not say what to do", Some("for example do: revoke_sessions".into()));
        return None;
    };
    let verb = problems.text(node, "do")?;
    if let Some(action) = vocab.action(verb) {
        return Some((node.at, action));
    }
    let all: Vec<&str> = vocab.all().iter().map(|action| action.name).collect();
    let help = match nearest(verb, all.iter().copied()) {
        Some(guess) => format!("did you mean {guess}?"),
        None => format!("the actions are {}", all.join(", ")),
    };
    problems.error(node.at, format!("unknown action {}", quote(verb)), Some(help));
    None
}

fn id(problems: &mut Problems<'_>, node: &Node) -> Option<(String, Mark)> {
    let text = problems.text(node, "id")?;
    let fits = (1..=ID_LENGTH).contains(&text.len())
        && text.as_bytes()[0].is_ascii_lowercase()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !RESERVED.contains(&text);
    // The id of an appended revoke may be written out, however long.
    let appended = text.strip_prefix("revoke_after_").is_some_and(|rest| !rest.is_empty() && rest.len() <= ID_LENGTH);
    if !fits && !appended {
        let help = format!("a small letter, then small letters, digits and '_', at most {ID_LENGTH}; no reserved word");
        problems.error(node.at, format!("{} is not a step id", quote(text)), Some(help));
        return None;
    }
    Some((text.to_owned(), node.at))
}

/// `None`, after a report, when it is neither.
fn unattended(problems: &mut Problems<'_>, node: &Node) -> Option<Option<Mark>> {
    match node.value {
        Tree::Bool(true) => Some(Some(node.at)),
        Tree::Bool(false) => Some(None),
        _ => {
            problems.error(node.at, "unattended must be true or false", None);
            None
        }
    }
}

fn timeout(problems: &mut Problems<'_>, node: &Node, phase: Phase) -> Option<u64> {
    let told = problems.milliseconds(node, "timeout")?;
    let longest = if phase == Phase::Collect { COLLECT_LIMIT } else { MAX_TIMEOUT };
    if told < milliseconds(MIN_TIMEOUT) || told > milliseconds(longest) {
        let longest = longest.as_secs();
        let message = format!("in {} a timeout is between 100ms and {longest}s", phase.word());
        problems.error(node.at, message, None);
        return None;
    }
    Some(told)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn attempts(problems: &mut Problems<'_>, node: &Node) -> Option<u32> {
    if matches!(node.value, Tree::Integer(_)) {
        return problems.whole(node, "retry", 1, MAX_ATTEMPTS);
    }
    if !matches!(node.value, Tree::Map(_)) {
        let help = "for example retry: 3 or retry: { attempts: 3 }".to_owned();
        problems.error(node.at, "retry must be a number or a mapping", Some(help));
        return None;
    }
    let fields = problems.fields(node, "retry", &["attempts"])?;
    fields.get("attempts").and_then(|node| problems.whole(node, "attempts", 1, MAX_ATTEMPTS))
}

fn on_failure(problems: &mut Problems<'_>, node: &Node) -> Option<(OnFailure, Mark)> {
    let told = match &node.value {
        Tree::Text(text) => match text.as_str() {
            "stop" => Some(OnFailure::Stop),
            "continue" => Some(OnFailure::Continue),
            "escalate" => Some(OnFailure::Escalate),
            _ => None,
        },
        _ => None,
    };
    if told.is_none() {
        problems.error(node.at, "on_failure must be stop, continue or escalate", None);
    }
    told.map(|told| (told, node.at))
}

/// The parameters, each checked against its type. Always an object, so that `with: {}` and no `with` are one.
fn with(problems: &mut Problems<'_>, at: Mark, action: &ActionInfo, node: Option<&Node>) -> Value {
    let known: Vec<&str> = action.parameters.iter().map(|parameter| parameter.name).collect();
    let mut object = serde_json::Map::new();
    if let Some(node) = node {
        if known.is_empty() && matches!(&node.value, Tree::Map(entries) if !entries.is_empty()) {
            problems.error(node.at, format!("{} takes no parameters", action.name), Some("leave 'with' out".into()));
            return Value::Object(object);
        }
        let Some(fields) = problems.fields(node, "with", &known) else { return Value::Object(object) };
        for (key, value) in fields.iter() {
            let json = value.value.json();
            let kind = action.parameters.iter().find(|parameter| parameter.name == key.text).map(|p| p.kind);
            match kind.and_then(|kind| kind.mismatch(&json)) {
                Some(expected) => problems.error(value.at, format!("{} must be {expected}", key.text), None),
                None => drop(object.insert(key.text.clone(), json)),
            }
        }
        if serde_json::to_string(&object).map_or(0, |json| json.len()) > WITH_BYTES {
            problems.error(node.at, format!("'with' is larger than {WITH_BYTES} bytes"), None);
        }
        report_missing(problems, node.at, action, |name| fields.get(name).is_some());
    } else {
        report_missing(problems, at, action, |_| false);
    }
    Value::Object(object)
}

fn report_missing(problems: &mut Problems<'_>, at: Mark, action: &ActionInfo, given: impl Fn(&str) -> bool) {
    for parameter in action.parameters.iter().filter(|parameter| parameter.required && !given(parameter.name)) {
        let message = format!("{} needs {}", action.name, parameter.name);
        let help = format!("with: {{ {}: … }} is {}: {}", parameter.name, parameter.kind.expected(), parameter.summary);
        problems.error(at, message, Some(help));
    }
}
