//! The audit trail as a hash chain: each link covers its place, the link before it and the record's exact text.
//!
//! Pure. Whoever holds one link's hash can tell, offline, whether anything before it was changed, left out, added or
//! moved. Signatures over links are made elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A link's hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Before the first record.
    pub const NONE: Self = Self([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// Not 64 digits of hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hash: expected 64 hexadecimal digits")]
pub struct NotAHash;

impl std::str::FromStr for Hash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAHash);
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| NotAHash)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The end of a chain: how many records, and the last link's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    pub position: u64,
    pub hash: Hash,
}

impl Tip {
    /// The empty chain.
    pub const START: Self = Self { position: 0, hash: Hash::NONE };

    /// The chain with one more record.
    #[must_use]
    pub fn then(self, record: &str) -> Self {
        let position = self.position + 1;
        let mut sha = Sha256::new();
        sha.update(b"oust audit v1\n");
        sha.update(position.to_be_bytes());
        sha.update(self.hash.0);
        sha.update(record.as_bytes());
        Self { position, hash: Hash(sha.finalize().into()) }
    }

    /// What a checkpoint's signature covers.
    pub fn statement(self) -> String {
        format!("oust audit v1 checkpoint {} {}", self.position, self.hash)
    }
}

#[cfg(test)]
mod tests {
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
            assert_eq!(bad.parse::<Hash>(), Err(NotAHash), "{bad}");
        }
    }
}
