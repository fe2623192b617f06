//! The audit trail as a hash chain: each link covers its place, the link before it and the record's exact text.
//!
//! Pure. Whoever holds one link's hash can tell, offline, whether anything before it was changed, left out, added or
//! moved. Signatures over links are made elsewhere.

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// The end of a chain: how many records, and the last link's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    pub position: u64,
    pub hash: Digest,
}

impl Tip {
    /// The empty chain.
    pub const START: Self = Self { position: 0, hash: Digest::NONE };

    /// The chain with one more record.
    #[must_use]
    pub fn then(self, record: &str) -> Self {
        let position = self.position + 1;
        let place = position.to_be_bytes();
        Self { position, hash: Digest::of(&[b"oust audit v1\n", &place, self.hash.bytes(), record.as_bytes()]) }
    }

    /// What a checkpoint's signature covers.
    pub fn statement(self) -> String {
        format!("oust audit v1 checkpoint {} {}", self.position, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::NotADigest;
    use super::*;

    fn chain(records: &[&str]) -> Tip {
        records.iter().fold(Tip::START, |tip, record| tip.then(record))
    }

    #[test]
    fn any_change_changes_every_later_hash() {
        let whole = chain(&["a", "b", "c"]);
        let others =
            [&["a", "b"][..], &["a", "c", "b"], &["a", "x", "c"], &["b", "c"], &["a", "b", "c", ""], &["ab", "c"]];
        for other in others {
            assert_ne!(chain(other), whole, "{other:?}");
        }
        assert_eq!(chain(&["a", "b", "c"]), whole);
        assert_eq!(whole.position, 3);
    }

    #[test]
    fn a_hash_reads_back_and_rubbish_does_not() {
        let tip = chain(&["a"]);
        let text = serde_json::to_string(&tip).expect("JSON");
        assert_eq!(serde_json::from_str::<Tip>(&text).expect("reads"), tip);
        for bad in ["", "ab", &"g".repeat(64), &"é".repeat(32), &"a".repeat(65)] {
            assert_eq!(bad.parse::<Digest>(), Err(NotADigest), "{bad}");
        }
    }
}
