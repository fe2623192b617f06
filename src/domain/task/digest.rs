//! What a decision binds, and the digest of it (law 5, contract §13.6).
//!
//! The digest covers identity, actions, parameters, playbook and the evidence as shown, as canonical JSON: keys
//! sorted by their bytes, no white space, so that every process computes the same text. Evidence that came after the
//! snapshot is no part of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Playbook;
pub use crate::domain::digest::Digest;
use crate::domain::digest::canonical;
use crate::domain::identity::Identity;

/// One piece of evidence as it was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotItem {
    pub id: String,
    /// SHA-256 (hex) of its content.
    pub hash: String,
}

/// The evidence as it was shown: immutable and numbered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Counts the snapshots of a case.
    pub number: u32,
    pub taken_at: Timestamp,
    pub items: Vec<SnapshotItem>,
}

/// What exactly would be done to whom, by which playbook. A claim brings it as it is then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    pub identity: Option<Identity>,
    pub playbook: Option<Playbook>,
    /// Action and parameters of every row, in order.
    pub rows: Vec<(String, Value)>,
}

impl Binding {
    /// Binds rows given as (action, parameters).
    pub fn new<'a>(
        identity: Option<Identity>,
        playbook: Option<Playbook>,
        rows: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) -> Self {
        let rows = rows.into_iter().map(|(action, params)| (action.to_owned(), params.clone())).collect();
        Self { identity, playbook, rows }
    }

    /// The digest of this together with the evidence as shown.
    pub fn digest(&self, snapshot: &Snapshot) -> Digest {
        let playbook = self.playbook.as_ref().map(|p| json!([p.name, p.version, p.hash]));
        let identity = self.identity.as_ref().map(|i| json!([i.tenant.as_str(), i.object_id.to_string()]));
        let rows: Vec<Value> = self.rows.iter().map(|(action, params)| json!([action, params])).collect();
        let items: Vec<Value> = snapshot.items.iter().map(|item| json!([item.id, item.hash])).collect();
        let whole = json!({
            "oust": "task v1",
            "identity": identity,
            "playbook": playbook,
            "rows": rows,
            "snapshot": [snapshot.number, items],
        });
        let mut text = String::new();
        canonical(&whole, &mut text);
        Digest::of(&[text.as_bytes()])
    }

    /// What differs from what was shown, for people; `None` when nothing does.
    pub fn difference_from(&self, shown: &Binding) -> Option<String> {
        let mut lines = Vec::new();
        if self.identity != shown.identity {
            lines.push(format!("subject: was {}, is {}", name(&shown.identity), name(&self.identity)));
        }
        if self.playbook != shown.playbook {
            lines.push(format!("playbook: was {}, is {}", version(shown), version(self)));
        }
        for index in 0..self.rows.len().max(shown.rows.len()) {
            match (shown.rows.get(index), self.rows.get(index)) {
                (Some((was, _)), Some((is, _))) if was != is => lines.push(format!("action: was {was}, is {is}")),
                (Some((action, was)), Some((_, is))) if was != is => {
                    lines.push(format!("parameters of {action}: was {}, is {}", brief(was), brief(is)));
                }
                (Some((action, _)), None) => lines.push(format!("action: {action} is gone")),
                (None, Some((action, _))) => lines.push(format!("action: {action} is new")),
                _ => {}
            }
        }
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

fn name(identity: &Option<Identity>) -> String {
    identity.as_ref().map_or_else(|| "nobody".to_owned(), Identity::to_string)
}

fn version(binding: &Binding) -> String {
    binding.playbook.as_ref().map_or_else(
        || "none".to_owned(),
        |p| format!("{} version {} ({})", p.name, p.version, p.hash.get(..12).unwrap_or(&p.hash)),
    )
}

fn brief(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    if text.chars().count() > 120 { text.chars().take(119).chain(['…']).collect() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest::NotADigest;

    fn snapshot(items: &[(&str, &str)]) -> Snapshot {
        let items = items.iter().map(|(id, hash)| SnapshotItem { id: (*id).into(), hash: (*hash).into() }).collect();
        Snapshot { number: 1, taken_at: Timestamp::UNIX_EPOCH, items }
    }

    fn binding(params: Value) -> Binding {
        Binding::new(None, None, [("reset_password", &params)])
    }

    #[test]
    fn the_order_of_keys_does_not_matter_and_every_value_does() {
        let one: Value = serde_json::from_str(r#"{"b":{"y":1,"x":[1,2]},"a":"ü\n"}"#).expect("JSON");
        let two: Value = serde_json::from_str(r#"{"a":"ü\n", "b":{"x":[1,2],"y":1}}"#).expect("JSON");
        let empty = snapshot(&[]);
        assert_eq!(binding(one.clone()).digest(&empty), binding(two).digest(&empty));
        assert_ne!(binding(one).digest(&empty), binding(json!({"a":"ü\n","b":{"x":[2,1],"y":1}})).digest(&empty));
    }

    #[test]
    fn a_changed_or_missing_item_of_evidence_changes_the_digest_and_its_time_does_not() {
        let bound = binding(json!({}));
        let shown = snapshot(&[("sig_1", "aa"), ("sig_2", "bb")]);
        let digest = bound.digest(&shown);
        assert_ne!(digest, bound.digest(&snapshot(&[("sig_1", "aa")])));
        assert_ne!(digest, bound.digest(&snapshot(&[("sig_1", "aa"), ("sig_2", "bc")])));
        let later = Snapshot { taken_at: Timestamp::MAX, ..shown };
        assert_eq!(digest, bound.digest(&later));
    }

    #[test]
    fn moving_text_between_fields_does_not_keep_the_digest() {
        let one = snapshot(&[("a", "bc")]);
        let two = snapshot(&[("ab", "c")]);
        assert_ne!(binding(json!({})).digest(&one), binding(json!({})).digest(&two));
    }

    #[test]
    fn a_difference_names_the_parameter_and_is_cut() {
        let was = binding(json!({"force": true}));
        let is = binding(json!({"force": "x".repeat(10_000)}));
        let text = is.difference_from(&was).expect("they differ");
        assert!(text.starts_with(r#"parameters of reset_password: was {"force":true}, is {"force":"xxx"#), "{text}");
        assert!(text.len() < 400, "{}", text.len());
        assert_eq!(was.difference_from(&was.clone()), None);
    }

    #[test]
    fn a_digest_reads_back_and_a_short_one_does_not() {
        let digest = binding(json!({})).digest(&snapshot(&[]));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "ab", &"g".repeat(64), &"a".repeat(66)] {
            assert_eq!(bad.parse::<Digest>(), Err(NotADigest), "{bad}");
        }
    }
}
