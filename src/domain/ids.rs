//! Identifiers with a visible prefix (`case_…`, `run_…`), so that a log line or URL says what it names.
//!
//! Minting takes the UUID as an argument: the ground draws no random numbers. Shells pass a UUIDv7, whose order is
//! the order of creation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An identifier was not of the expected form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a {expected} id (it looks like {expected}_ followed by 32 hex digits)")]
pub struct NotAnId {
    expected: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a freshly drawn UUID (v7 where order matters).
            pub fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|rest| rest.len() == 32)
                    .and_then(|rest| Uuid::try_parse(rest).ok())
                    .map(Self)
                    .ok_or(NotAnId { expected: $prefix })
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAnId;

            fn try_from(text: String) -> Result<Self, NotAnId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

id!(
    /// One authenticated HTTP body.
    DeliveryId, "dlv"
);
id!(
    /// One normalised detection about one person.
    SignalId, "sig"
);
id!(
    /// Everything about evicting one identity.
    CaseId, "case"
);
id!(
    /// One execution of one pinned playbook.
    RunId, "run"
);
id!(
    /// What waits for a human.
    TaskId, "task"
);
id!(
    /// A delivery or run set aside with a reason.
    BuriedId, "bur"
);
id!(
    /// An API token (its row, not its secret).
    TokenId, "tok"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_written_and_refuses_another_prefix() {
        let id = SignalId::new(Uuid::from_u128(7));
        assert_eq!(id.to_string(), "sig_00000000000000000000000000000007");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("run_00000000000000000000000000000007".parse::<SignalId>().is_err());
        assert!("sig_7".parse::<SignalId>().is_err());
    }
}
