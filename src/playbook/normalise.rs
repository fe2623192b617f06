//! A plan's one canonical text and its hash: what a run is pinned to.
//!
//! The hash covers meaning: formatting, comments, key order, spelled-out defaults and a written-out second revoke make
//! no difference. Keys are sorted, so the text is the same on every build and machine.

use sha2::{Digest, Sha256};

use crate::domain::digest::canonical;
use crate::domain::plan::Plan;

/// A plan as it is stored when a run opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// SHA-256 of `json`, lower-case hex.
    pub hash: String,
    /// Canonical JSON.
    pub json: String,
}

/// A pinned text that is not a plan of this or an older build.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the pinned playbook cannot be read")]
    Unreadable {
        #[source]
        source: serde_json::Error,
    },
    #[error("the pinned playbook does not match its hash {expected}")]
    Altered { expected: String },
}

/// The canonical text and its hash.
pub fn pin(plan: &Plan) -> Pinned {
    let value = serde_json::to_value(plan).expect("a plan is texts, numbers and JSON");
    let mut json = String::with_capacity(2_048);
    canonical(&value, &mut json);
    Pinned { hash: hash(&json), json }
}

/// The plan of a pinned text.
///
/// # Errors
/// The text is not a plan.
pub fn unpin(json: &str) -> Result<Plan, Error> {
    serde_json::from_str(json).map_err(|source| Error::Unreadable { source })
}

/// The plan of a pinned text that must have this hash.
///
/// # Errors
/// The text is not a plan, or not the one the hash was taken of.
pub fn unpin_checked(json: &str, expected: &str) -> Result<Plan, Error> {
    if hash(json) != expected {
        return Err(Error::Altered { expected: expected.to_owned() });
    }
    unpin(json)
}

/// SHA-256 of a text, lower-case hex.
pub fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_written_with_sorted_keys() {
        let mut out = String::new();
        canonical(&serde_json::json!({ "b": [1, null, "é\n"], "a": { "d": true, "c": 1.5 } }), &mut out);
        assert_eq!(out, r#"{"a":{"c":1.5,"d":true},"b":[1,null,"é\n"]}"#);
    }

    #[test]
    fn a_text_that_is_no_plan_or_was_altered_is_refused() {
        assert!(unpin("{}").is_err());
        assert!(unpin("[").is_err());
        assert!(matches!(unpin_checked("{}", "00"), Err(Error::Altered { .. })));
    }
}
