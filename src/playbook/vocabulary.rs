//! What the playbook grammar must know of an action: its name, where it may stand, what it does to the outside, its
//! parameters. The registry of actions implements it one floor up.

use serde_json::Value;

use crate::domain::plan::{EffectClass, Phase};

/// The actions a playbook may name.
pub trait Vocabulary: Send + Sync {
    /// The description of an action, or `None` for an unknown verb.
    fn action(&self, name: &str) -> Option<&ActionInfo>;

    /// Every action, in catalogue order.
    fn all(&self) -> Vec<&ActionInfo>;
}

/// An action describing itself; `oust playbook actions` prints it.
#[derive(Debug, Clone)]
pub struct ActionInfo {
    /// The verb, as in YAML.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Phases it may stand in.
    pub phases: &'static [Phase],
    pub class: EffectClass,
    /// May stand in `contain`.
    pub containing: bool,
    /// May run without `approval` outright (reads, revoke, notify, manual, comment).
    pub free: bool,
    /// May run without `approval` when the step says `unattended: true`.
    pub may_be_unattended: bool,
    /// A revoke is appended after it.
    pub requires_revoke: bool,
    /// A human is shown a secret it makes.
    pub reveals: bool,
    /// May be sent again when its outcome is unknown.
    pub idempotent: bool,
    /// Least Graph application permissions; empty = none.
    pub permissions: &'static [&'static str],
    pub parameters: &'static [Parameter],
    /// The action that takes it back, or `none`.
    pub undo: &'static str,
    /// A YAML step that a test parses, e.g. `do: revoke_sessions`.
    pub example: &'static str,
    /// Milliseconds one attempt may take unless the playbook says otherwise.
    pub timeout_ms: u64,
}

/// One key of `with`.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    pub name: &'static str,
    pub kind: ParameterType,
    pub required: bool,
    pub summary: &'static str,
}

/// The types parameters have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterType {
    Text,
    Integer {
        min: i64,
        max: i64,
    },
    Boolean,
    /// `30s`, `15m`, `24h`, `7d`.
    Duration,
    /// One of these words.
    Word(&'static [&'static str]),
    TextList,
    /// An object whose values are text.
    TextMap,
}

impl ParameterType {
    /// What is wrong with a value, in words that follow "must be"; `None` when it fits.
    pub fn mismatch(self, value: &Value) -> Option<String> {
        let fits = match self {
            Self::Text => value.is_string(),
            Self::Integer { min, max } => value.as_i64().is_some_and(|n| (min..=max).contains(&n)),
            Self::Boolean => value.is_boolean(),
            Self::Duration => value.as_str().is_some_and(|text| parse_duration(text).is_some()),
            Self::Word(words) => value.as_str().is_some_and(|text| words.contains(&text)),
            Self::TextList => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
            Self::TextMap => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
        };
        (!fits).then(|| self.expected())
    }

    /// The type in words.
    pub fn expected(self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Boolean => "true or false".into(),
            Self::Duration => "a duration such as 30s, 15m, 24h or 7d".into(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::TextList => "a list of texts".into(),
            Self::TextMap => "a mapping of names to texts".into(),
        }
    }
}

/// Parses `250ms`, `30s`, `15m`, `24h`, `7d`; `None` for anything else or above ten years.
pub fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let total = number.checked_mul(millis)?;
    (total <= 10 * 366 * 86_400_000).then(|| std::time::Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_number_and_unit_and_nothing_else() {
        assert_eq!(parse_duration("15m"), Some(std::time::Duration::from_secs(900)));
        for bad in ["", "15", "m", "-1s", "1.5h", "15 m", "99999999999999999999s", "9999999999d"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
