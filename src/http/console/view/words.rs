//! Words for people: kinds, actions, states, spans of time. One place, so that every page says the same.

use jiff::SignedDuration;
use serde_json::Value;

use super::markup::{Tag, Tone};
use super::text;

/// A kind of signal.
pub fn kind(word: &str) -> String {
    let known = match word {
        "impossible_travel" => "Impossible travel",
        "atypical_travel" => "Atypical travel",
        "anonymized_ip" => "Anonymised IP address",
        "malicious_ip" => "Malicious IP address",
        "new_country" => "New country",
        "anomalous_token" => "Anomalous token",
        "token_issuer_anomaly" => "Token issuer anomaly",
        "adversary_in_the_middle" => "Adversary in the middle",
        "prt_access" => "Access to the primary refresh token",
        "inbox_rule" => "Suspicious inbox rule",
        "inbox_forwarding" => "Suspicious inbox forwarding",
        "leaked_credentials" => "Leaked credentials",
        "password_spray" => "Password spray",
        "unfamiliar_sign_in" => "Unfamiliar sign-in",
        "mfa_fraud" => "MFA prompt reported as fraud",
        "admin_confirmed" => "Confirmed by an administrator",
        "generic" => "Generic risk",
        "other" => "Other detection",
        other => return capital(&plain(other)),
    };
    known.to_owned()
}

/// A level of risk.
pub fn risk(word: &str) -> Tag {
    match word {
        "high" => Tag::new("High risk", Tone::Bad),
        "medium" => Tag::new("Medium risk", Tone::Warn),
        "low" => Tag::new("Low risk", Tone::Plain),
        _ => Tag::new("Risk not told", Tone::Plain),
    }
}

/// An action as a verb: what a step does.
pub fn action(name: &str) -> String {
    let known = match name {
        "revoke_sessions" => "Revoke sessions",
        "disable_account" => "Disable the account",
        "enable_account" => "Enable the account",
        "confirm_compromised" => "Confirm the compromise to Microsoft",
        "dismiss_risk" => "Dismiss the risk at Microsoft",
        "reset_password" => "Reset the password",
        "issue_temporary_access_pass" => "Issue a temporary access pass",
        "read_user" => "Read the account",
        "read_sign_ins" => "Read sign-ins",
        "read_risk" => "Read the risk",
        "read_inbox_rules" => "Read inbox rules",
        "disable_inbox_rules" => "Disable inbox rules",
        "read_auth_methods" => "Read authentication methods",
        "remove_auth_method" => "Remove an authentication method",
        "read_oauth_grants" => "Read application grants",
        "remove_oauth_grants" => "Remove application grants",
        "read_devices" => "Read devices",
        "disable_device" => "Disable a device",
        "comment_incident" => "Comment on the incident",
        "notify" => "Notify",
        "manual" => "Work by hand",
        "http_request" => "Call a web service",
        "skip" => "Skip a step",
        "settle" => "Settle an unknown outcome",
        "cancel" => "Cancel the run",
        "close" => "Close the case",
        other => return capital(&plain(other)),
    };
    known.to_owned()
}

/// What an action does to this person, in one or two sentences: read before somebody says yes.
pub fn effect(name: &str, who: &str) -> String {
    match name {
        "revoke_sessions" => format!("Every session of {who} ends; they sign in again everywhere."),
        "disable_account" => format!("{who} cannot sign in at all until the account is enabled again."),
        "enable_account" => format!("{who} can sign in again."),
        "confirm_compromised" => {
            format!(
                "Microsoft is told that the account of {who} was taken over: user risk becomes high, and Conditional Access may block them."
            )
        }
        "dismiss_risk" => {
            format!("Microsoft is told that there is no risk: {who} is no longer held back by risk policies.")
        }
        "reset_password" => {
            format!(
                "{who} gets a temporary password and must choose a new one at the next sign-in. The old password stops working at once."
            )
        }
        "issue_temporary_access_pass" => {
            format!("{who} gets a pass that signs in once without password or second factor.")
        }
        "disable_inbox_rules" => {
            format!("The suspicious inbox rules of {who} are switched off; they are kept, not deleted.")
        }
        "remove_auth_method" => {
            format!("{who} can no longer sign in with this method. It cannot be put back from here.")
        }
        "remove_oauth_grants" => format!("Applications lose the access that {who} granted them."),
        "disable_device" => format!("{who} cannot sign in from this device until it is enabled again."),
        "skip" => "The step named below is left out; the run goes on.".to_owned(),
        "settle" => "The outcome below is recorded as what a person found out; oust asks Microsoft no more.".to_owned(),
        "cancel" => "The run ends where it stands; what waits in it is cancelled.".to_owned(),
        "close" => format!("The case of {who} is closed as it is; what waits in it is cancelled."),
        "comment_incident" => "A comment is written to the incident.".to_owned(),
        "http_request" => "A web service is called as the playbook says.".to_owned(),
        other => format!("{} for {who}.", action(other)),
    }
}

/// A step by its id: most are called after what they do.
pub fn step(id: &str) -> String {
    if id.starts_with(crate::domain::plan::REVOKE) && id != crate::domain::plan::REVOKE {
        return "Revoke sessions again".to_owned();
    }
    text::line(&action(id))
}

/// Parameters as `name: value` lines, bounded.
pub fn parameters(value: &Value) -> Vec<(String, String)> {
    let Some(map) = value.as_object() else { return Vec::new() };
    map.iter().take(12).map(|(key, value)| (text::cut(&plain(key), 60), brief(value))).collect()
}

/// A value as one line.
pub fn brief(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text::line(text),
        Value::Array(items) if items.len() <= 20 && items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            text::line(&items.iter().map(brief).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) if map.len() <= 12 => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{}: {}", text::cut(&plain(key), 60), scalar(value))).collect();
            text::line(&pairs.join(", "))
        }
        other => text::line(&other.to_string()),
    }
}

/// One level down, anything but a scalar is shown as it is.
fn scalar(value: &Value) -> String {
    if value.is_object() { text::line(&value.to_string()) } else { brief(value) }
}

/// Where a case stands.
pub fn case_state(word: &str) -> Tag {
    match word {
        "open" => Tag::new("Not revoked yet", Tone::Bad),
        "not_contained" => Tag::new("Not contained", Tone::Bad),
        "not_contained_guest" => Tag::new("Not contained: guest", Tone::Bad),
        "parked" => Tag::new("Parked", Tone::Warn),
        "revoke_accepted" => Tag::new("Revoked", Tone::Info),
        "contained" => Tag::new("Contained", Tone::Good),
        "password_unchanged" => Tag::new("Contained, password unchanged", Tone::Warn),
        "unknown" => Tag::new("Outcome unknown", Tone::Bad),
        "waiting" => Tag::new("Waiting", Tone::Info),
        "closed" => Tag::new("Closed", Tone::Plain),
        other => Tag::new(capital(&plain(other)), Tone::Plain),
    }
}

/// Where a step stands.
pub fn step_state(word: &str) -> Tag {
    match word {
        "todo" => Tag::new("To do", Tone::Plain),
        "parked" => Tag::new("Parked", Tone::Warn),
        "waiting" => Tag::new("Waits for a person", Tone::Info),
        "ready" => Tag::new("Approved", Tone::Info),
        "running" => Tag::new("Running", Tone::Info),
        "retrying" => Tag::new("Retrying", Tone::Warn),
        "unknown" => Tag::new("Outcome unknown", Tone::Bad),
        "done" => Tag::new("Done", Tone::Good),
        "done_by_hand" => Tag::new("Done by hand", Tone::Good),
        "joined" => Tag::new("Done by another run", Tone::Plain),
        "skipped" => Tag::new("Skipped", Tone::Plain),
        "refused" => Tag::new("Refused by a guard", Tone::Bad),
        "failed" => Tag::new("Failed", Tone::Bad),
        "declined" => Tag::new("Declined", Tone::Plain),
        other => Tag::new(capital(&plain(other)), Tone::Plain),
    }
}

/// Where a task stands.
pub fn task_state(word: &str) -> Tag {
    match word {
        "pending" => Tag::new("Waits for a decision", Tone::Info),
        "escalated" => Tag::new("Escalated", Tone::Warn),
        "approved" => Tag::new("Approved, not executed yet", Tone::Info),
        "claimed" => Tag::new("Executing", Tone::Info),
        "executed" => Tag::new("Done", Tone::Good),
        "sealed" => Tag::new("Password waits for the approver", Tone::Warn),
        "revealed" => Tag::new("Done, password passed on", Tone::Good),
        "reveal_expired" => Tag::new("Password never passed on", Tone::Bad),
        "failed" => Tag::new("Failed", Tone::Bad),
        "unknown" => Tag::new("Outcome unknown", Tone::Bad),
        "denied" => Tag::new("Denied", Tone::Plain),
        "expired" => Tag::new("Expired undecided", Tone::Warn),
        "cancelled" => Tag::new("Cancelled", Tone::Plain),
        "revoked" => Tag::new("Approval taken back", Tone::Plain),
        "lapsed" => Tag::new("Approved, never executed", Tone::Warn),
        other => Tag::new(capital(&plain(other)), Tone::Plain),
    }
}

/// What became of a signal.
pub fn outcome(word: &str) -> String {
    let known = match word {
        "act" => "acted on",
        "covered" => "covered by an earlier revoke",
        "held" => "held for a person to look at",
        "lookup" | "waiting" => "waits to be named",
        "pending" => "waits for the worker",
        other => return plain(other),
    };
    known.to_owned()
}

/// The end of a sentence that somebody else wrote: one full stop, whether they wrote it or not.
pub fn unstopped(text: &str) -> &str {
    text.trim_end().trim_end_matches('.')
}

/// What a kind of task asks for.
pub fn task_kind(word: &str) -> &'static str {
    match word {
        "approval" => "Approval",
        "manual" => "By hand",
        "release" => "Release",
        "held" => "Held",
        "undecided" => "Undecided step",
        "order" => "Order",
        _ => "Task",
    }
}

/// Seconds to days, as short as can be read: `40 ms`, `0.4 s`, `3 min 5 s`, `2 h 5 min`, `3 d 4 h`.
pub fn span(span: SignedDuration) -> String {
    let ms = span.as_millis().max(0);
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: i128, unit: &str, small: i128, lesser: &str| match small {
        0 => format!("{big} {unit}"),
        small => format!("{big} {unit} {small} {lesser}"),
    };
    match ms {
        0..100 => format!("{ms} ms"),
        100..10_000 => format!("{}.{} s", seconds, ms % 1000 / 100),
        10_000..60_000 => format!("{seconds} s"),
        60_000..600_000 => two(minutes, "min", seconds % 60, "s"),
        600_000..3_600_000 => format!("{minutes} min"),
        3_600_000..86_400_000 => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// `1 case`, `2 cases`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `a`, `a and b`, `a, b and c`.
pub fn and(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// Kinds of signals as one sentence: the first `most`, and how many more there are.
pub fn kinds(kinds: &[String], most: usize) -> String {
    let named: Vec<String> = kinds.iter().take(most).map(|word| kind(word)).collect();
    match kinds.len().saturating_sub(most) {
        0 => sentence(&named),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// `snake_case` as words.
pub fn plain(word: &str) -> String {
    text::cut(&word.replace(['_', '-'], " "), 80)
}

/// The first letter made small, unless the word is an acronym: for the middle of a sentence.
pub fn small(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain([second]).chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// Several titles as one sentence: `Confirm the compromise and reset the password`.
pub fn sentence(titles: &[String]) -> String {
    let titles: Vec<String> =
        titles.iter().enumerate().map(|(index, title)| if index == 0 { title.clone() } else { small(title) }).collect();
    and(&titles)
}

/// The first letter made large.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::signal::Kind;

    #[test]
    fn every_kind_of_signal_has_words_of_its_own() {
        for value in Kind::ALL {
            assert!(!kind(value.word()).contains('_'), "{value}");
            assert_ne!(kind(value.word()), "");
        }
        assert_eq!(kind("brand_new"), "Brand new");
    }

    #[test]
    fn a_span_is_as_short_as_can_be_read() {
        let cases =
            [(0, "0 ms"), (40, "40 ms"), (412, "0.4 s"), (9_990, "9.9 s"), (41_000, "41 s"), (185_000, "3 min 5 s")];
        for (ms, text) in cases {
            assert_eq!(span(SignedDuration::from_millis(ms)), text);
        }
        assert_eq!(
            sentence(&["Reset the password".into(), "MFA".into(), "Revoke it".into()]),
            "Reset the password, MFA and revoke it"
        );
        assert_eq!(span(SignedDuration::from_mins(125)), "2 h 5 min");
        assert_eq!(span(SignedDuration::from_hours(76)), "3 d 4 h");
        assert_eq!(span(SignedDuration::from_secs(-5)), "0 ms");
    }

    #[test]
    fn parameters_are_bounded_lines_whatever_is_in_them() {
        let hostile = json!({ "a_b": ["x", 1], "deep": { "x": "y".repeat(10_000) }, "n": null, "t": true });
        let lines = parameters(&hostile);
        assert_eq!(lines[0], ("a b".to_owned(), "x, 1".to_owned()));
        assert!(lines.iter().all(|(_, value)| value.chars().count() <= text::LINE));
        assert_eq!(parameters(&json!("text")), Vec::new());
    }
}
