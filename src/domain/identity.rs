//! Who a signal is about: what the payload said (`Subject`) and who it turned out to be (`Identity`).
//!
//! Nothing from a payload reaches a URL before it parsed here as what it claims to be. Generic, machine and service
//! account names are not people (facts: sentinel §1.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the identifier it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnIdentifier {
    #[error("not an object id (a GUID such as 3f2504e0-4f89-41d3-9a0c-0305e82c3301)")]
    ObjectId,
    #[error("not a user principal name (name@domain, no spaces or control characters, at most 320 characters)")]
    Upn,
    #[error("not a security identifier (S-1-…)")]
    Sid,
    #[error("not a tenant name (letters, digits, '-', '_' and '.', at most 64)")]
    TenantName,
}

/// The configured name of a tenant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantName(String);

impl TenantName {
    /// The name as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantName {
    type Err = NotAnIdentifier;

    fn from_str(text: &str) -> Result<Self, NotAnIdentifier> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAnIdentifier::TenantName) }
    }
}

/// An Entra object id: a GUID in its hyphenated form, compared case-insensitively.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId(Uuid);

impl ObjectId {
    /// Wraps a GUID known to be an object id.
    pub fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The GUID inside.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl FromStr for ObjectId {
    type Err = NotAnIdentifier;

    fn from_str(text: &str) -> Result<Self, NotAnIdentifier> {
        // Only the 36-character form: anything else in a payload is not an object id, whatever a lenient parser says.
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == 36 && !uuid.is_nil() => Ok(Self(uuid)),
            _ => Err(NotAnIdentifier::ObjectId),
        }
    }
}

/// A user principal name, lower-cased: sources differ in case (facts: sentinel §1.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upn(String);

impl Upn {
    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the last `@`.
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or(self.0.as_str(), |(local, _)| local)
    }
}

impl FromStr for Upn {
    type Err = NotAnIdentifier;

    fn from_str(text: &str) -> Result<Self, NotAnIdentifier> {
        let text = text.trim();
        let Some((local, domain)) = text.rsplit_once('@') else { return Err(NotAnIdentifier::Upn) };
        let plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '/' | '\\' | '?' | '"' | '<' | '>');
        let fits = !local.is_empty()
            && !domain.is_empty()
            && text.len() <= 320
            && text.chars().all(plain)
            && !domain.contains("..")
            && !domain.starts_with('.');
        if fits { Ok(Self(text.to_lowercase())) } else { Err(NotAnIdentifier::Upn) }
    }
}

/// A security identifier, upper-cased.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sid(String);

impl Sid {
    /// The identifier, `S-1-…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `S-1-12-1-a-b-c-d` holds the Entra object id as four little-endian 32-bit parts (facts: sentinel §1.1).
    pub fn object_id(&self) -> Option<ObjectId> {
        let mut parts = self.0.strip_prefix("S-1-12-1-")?.split('-');
        let mut bytes = [0u8; 16];
        for chunk in bytes.chunks_exact_mut(4) {
            chunk.copy_from_slice(&parts.next()?.parse::<u32>().ok()?.to_le_bytes());
        }
        let uuid = Uuid::from_bytes_le(bytes);
        (parts.next().is_none() && !uuid.is_nil()).then_some(ObjectId(uuid))
    }

    /// Well-known and machine-local identifiers (`S-1-5-18` and the like) never name a person.
    pub fn is_well_known(&self) -> bool {
        !self.0.starts_with("S-1-12-1-") && !self.0.starts_with("S-1-5-21-")
    }
}

impl FromStr for Sid {
    type Err = NotAnIdentifier;

    fn from_str(text: &str) -> Result<Self, NotAnIdentifier> {
        let upper = text.trim().to_ascii_uppercase();
        let parts: Vec<&str> = upper.split('-').collect();
        let fits = upper.len() <= 184
            && parts.len() >= 3
            && parts[0] == "S"
            && parts[1] == "1"
            && parts[2..].iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        if fits { Ok(Self(upper)) } else { Err(NotAnIdentifier::Sid) }
    }
}

macro_rules! text_form {
    ($name:ident, |$value:ident| $text:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $value = self;
                write!(f, "{}", $text)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl TryFrom<String> for $name {
            type Error = NotAnIdentifier;
            fn try_from(text: String) -> Result<Self, NotAnIdentifier> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}
text_form!(TenantName, |v| v.0);
text_form!(ObjectId, |v| v.0.hyphenated());
text_form!(Upn, |v| v.0);
text_form!(Sid, |v| v.0);

/// An on-premises account: `DOMAIN\name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SamAccount {
    /// NetBIOS or DNS domain, when the payload gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// `sAMAccountName`, lower-cased, 1–64 characters without `/\[]:;|=,+*?<>"@` or control characters.
    pub name: String,
}

impl SamAccount {
    /// Parses a name and an optional domain; `None` when the name could not be an account name.
    pub fn parse(domain: Option<&str>, name: &str) -> Option<Self> {
        let fits = |text: &str| {
            !text.is_empty()
                && text.len() <= 64
                && !text.chars().any(|c| c.is_control() || "/\\[]:;|=,+*?<>\"@'".contains(c))
        };
        let name = name.trim().to_lowercase();
        let domain = domain.map(|d| d.trim().to_lowercase()).filter(|d| !d.is_empty());
        (fits(&name) && domain.as_deref().is_none_or(fits)).then_some(Self { domain, name })
    }
}

/// Everything a payload said about who the person is. At least one identifier is present.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_id: Option<ObjectId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upn: Option<Upn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<Sid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sam: Option<SamAccount>,
}

impl Subject {
    /// A person known by object id.
    pub fn of(object_id: ObjectId) -> Self {
        Self { object_id: Some(object_id), ..Self::default() }
    }

    /// The object id, given or decoded from an Entra SID; needs no look-up.
    pub fn known_object_id(&self) -> Option<ObjectId> {
        self.object_id.or_else(|| self.sid.as_ref().and_then(Sid::object_id))
    }

    /// True when no identifier is present.
    pub fn is_empty(&self) -> bool {
        self.object_id.is_none() && self.upn.is_none() && self.sid.is_none() && self.sam.is_none()
    }
}

/// The person: a tenant and an object id. UPNs are for display and look-up only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    pub tenant: TenantName,
    pub object_id: ObjectId,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.object_id)
    }
}

/// Names Sentinel and Windows use for accounts that are not people (facts: sentinel §1.1). Machine accounts end in `$`.
pub fn is_generic_account(name: &str) -> bool {
    const GENERIC: &[&str] = &[
        "admin",
        "administrator",
        "system",
        "root",
        "anonymous",
        "anonymous logon",
        "anonymized",
        "guest",
        "network service",
        "local service",
        "local system",
        "localsystem",
        "networkservice",
        "localservice",
        "nt authority",
        "default",
        "user",
        "unknown",
        "n/a",
        "na",
        "none",
        "null",
        "-",
        "everyone",
        "authenticated users",
        "self",
        "iusr",
        "krbtgt",
        "service",
        "dwm-1",
        "umfd-0",
        "nobody",
        "daemon",
        "test",
    ];
    let name = name.trim().to_lowercase();
    name.is_empty() || name.ends_with('$') || GENERIC.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entra_sid_decodes_to_its_object_id() {
        let oid: ObjectId = "3f2504e0-4f89-41d3-9a0c-0305e82c3301".parse().expect("a GUID");
        let bytes = oid.uuid().to_bytes_le();
        let part = |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        let text = format!("s-1-12-1-{}-{}-{}-{}", part(0), part(4), part(8), part(12));
        assert_eq!(text.parse::<Sid>().expect("a SID").object_id(), Some(oid));
    }

    #[test]
    fn a_path_or_short_form_is_not_an_object_id() {
        for bad in ["../me", "me", "", "3f2504e04f8941d39a0c0305e82c3301", "{3f2504e0-4f89-41d3-9a0c-0305e82c3301}"] {
            assert_eq!(bad.parse::<ObjectId>(), Err(NotAnIdentifier::ObjectId), "{bad}");
        }
    }

    #[test]
    fn a_upn_with_a_path_or_quote_is_refused_and_case_is_folded() {
        assert_eq!("Ada@Contoso.example".parse::<Upn>().expect("a UPN").as_str(), "ada@contoso.example");
        for bad in ["../me", "a/b@c", "a b@c", "@c", "a@", "[\"a@b\"]"] {
            assert!(bad.parse::<Upn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn machine_and_generic_accounts_are_not_people() {
        for name in ["ADMINISTRATOR", "PC42$", "Network Service", " system "] {
            assert!(is_generic_account(name), "{name}");
        }
        assert!(!is_generic_account("ada"));
    }
}
