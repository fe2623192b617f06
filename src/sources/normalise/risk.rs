//! Risk words of every sender, as one of ours.

use serde_json::Value;

use crate::domain::Risk;

/// The level of a risk or severity word. `informational`, `hidden`, `none` and everything unheard-of are `unknown`:
/// an unknown level acts, a low one may not (contract §5). Azure Monitor's Sev3 is its word for informational, and
/// the default of a new rule, so it is no statement that the risk is low.
pub fn level(word: &str) -> Risk {
    match word.trim().to_ascii_lowercase().as_str() {
        "low" => Risk::Low,
        "medium" | "moderate" | "sev2" => Risk::Medium,
        "high" | "critical" | "sev0" | "sev1" => Risk::High,
        _ => Risk::Unknown,
    }
}

/// The level of a field; `unknown` when it is absent or no text.
pub fn of(value: Option<&Value>) -> Risk {
    value.and_then(Value::as_str).map_or(Risk::Unknown, level)
}

/// The higher of two levels; `unknown` yields to any.
pub fn higher(a: Risk, b: Risk) -> Risk {
    let rank = |risk| match risk {
        Risk::Unknown => 0,
        Risk::Low => 1,
        Risk::Medium => 2,
        Risk::High => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_all_senders_become_levels() {
        for (word, risk) in [
            ("High", Risk::High),
            ("Sev1", Risk::High),
            ("Sev2", Risk::Medium),
            ("low", Risk::Low),
            ("Sev3", Risk::Unknown),
            ("Informational", Risk::Unknown),
            ("hidden", Risk::Unknown),
            ("none", Risk::Unknown),
            ("unknownFutureValue", Risk::Unknown),
            ("", Risk::Unknown),
        ] {
            assert_eq!(level(word), risk, "{word}");
        }
        assert_eq!(higher(Risk::Unknown, Risk::Low), Risk::Low);
        assert_eq!(higher(Risk::High, Risk::Medium), Risk::High);
    }
}
