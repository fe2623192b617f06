//! Reviewers as the sign-in knows them: who they are, how a session ends, what a decision was bound to and how it was
//! proved. Whether somebody may decide a given task is `task::reviewer`'s question; nothing here reaches a store.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::identity::{Identity, ObjectId, TenantName};
use super::ids::TaskId;
use super::task::{Ballot, Digest, FRESH, Reviewer, Role, Verdict};

/// A session unused for so long is over.
pub const IDLE: SignedDuration = SignedDuration::from_mins(30);
/// A session is over so long after the sign-in, used or not.
pub const ABSOLUTE: SignedDuration = SignedDuration::from_hours(12);
/// An enrolment link lives so long.
pub const INVITED_FOR: SignedDuration = SignedDuration::from_mins(15);
/// A ceremony must be finished within so long.
pub const CEREMONY: SignedDuration = SignedDuration::from_mins(5);
/// Uses closer together than this are not written down: a session's idle time is known to within a minute.
const USE_GRAIN: SignedDuration = SignedDuration::from_secs(60);
/// Another process of ours may be this much ahead.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);
/// Most decisions that one proof may carry.
pub const MOST_DECISIONS: usize = 50;

/// Why a text is not what it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAReviewer {
    #[error("not a reviewer's name (1 to 64 of a-z, 0-9, '.', '_', '-' and '@', beginning with a letter or digit)")]
    Name,
    #[error("not TENANT/OBJECT_ID (two GUIDs with a slash between)")]
    Link,
}

/// A reviewer's name: what policies and the audit trail call them. Given once, never reused.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReviewerId(String);

impl ReviewerId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReviewerId {
    type Err = NotAReviewer;

    fn from_str(text: &str) -> Result<Self, NotAReviewer> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-' | b'@');
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let fits = (1..=64).contains(&text.len()) && begins && text.bytes().all(plain);
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAReviewer::Name) }
    }
}

impl TryFrom<String> for ReviewerId {
    type Error = NotAReviewer;

    fn try_from(text: String) -> Result<Self, NotAReviewer> {
        text.parse()
    }
}

impl From<ReviewerId> for String {
    fn from(id: ReviewerId) -> String {
        id.0
    }
}

impl fmt::Display for ReviewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ReviewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A directory account known to be a reviewer's: Entra tenant and object id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Linked {
    pub tenant: Uuid,
    pub object_id: ObjectId,
}

impl FromStr for Linked {
    type Err = NotAReviewer;

    fn from_str(text: &str) -> Result<Self, NotAReviewer> {
        let (tenant, object_id) = text.split_once('/').ok_or(NotAReviewer::Link)?;
        let tenant: ObjectId = tenant.parse().map_err(|_| NotAReviewer::Link)?;
        let object_id = object_id.parse().map_err(|_| NotAReviewer::Link)?;
        Ok(Self { tenant: tenant.uuid(), object_id })
    }
}

impl fmt::Display for Linked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.object_id)
    }
}

/// A human who may sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub id: ReviewerId,
    /// What authenticators keep as the user's handle: random, says nothing about the person.
    pub handle: Uuid,
    pub display_name: String,
    pub roles: Vec<Role>,
    #[serde(default)]
    pub groups: Vec<String>,
    /// Their own directory accounts: nobody decides about themselves.
    #[serde(default)]
    pub linked: Vec<Linked>,
    pub created_at: Timestamp,
    #[serde(default)]
    pub disabled_at: Option<Timestamp>,
}

impl Account {
    /// The longest display name, in characters.
    pub const LONGEST_NAME: usize = 100;

    /// True while they may sign in.
    pub fn is_live(&self) -> bool {
        self.disabled_at.is_none()
    }
}

/// How a session was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "with", rename_all = "snake_case")]
pub enum How {
    /// By a passkey of ours, user verified: phishing-resistant.
    Passkey { credential: String },
    /// By an identity provider; `sid` is its session, if it says.
    Oidc { issuer: String, subject: String, sid: Option<String> },
}

impl How {
    /// The word in the audit trail.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passkey { .. } => "passkey",
            Self::Oidc { .. } => "oidc",
        }
    }
}

/// A signed-in browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub reviewer: ReviewerId,
    /// The sign-in; kept when the session gets a new id.
    pub created_at: Timestamp,
    pub used_at: Timestamp,
    /// When they last proved that it is them.
    pub proved_at: Timestamp,
    pub how: How,
    /// Multi-factor, as we saw it ourselves or as the configuration reads the provider's claims.
    pub aal2: bool,
    /// What the provider said for this session, in addition to the account's own.
    #[serde(default)]
    pub roles: Vec<Role>,
    #[serde(default)]
    pub groups: Vec<String>,
    /// When it last said so; `None` where no provider was asked.
    #[serde(default)]
    pub told_at: Option<Timestamp>,
}

/// Why a session is over. Texts are shown as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    #[error("you were signed out after 30 minutes without use; sign in again")]
    Idle,
    #[error("a session lasts 12 hours; sign in again")]
    Absolute,
}

impl Session {
    /// May it be used at `now`?
    ///
    /// # Errors
    /// It was idle for too long, or is too old. At the very instant of the limit it is over.
    pub fn check(&self, now: Timestamp) -> Result<(), Ended> {
        if now.duration_since(self.created_at) >= ABSOLUTE {
            return Err(Ended::Absolute);
        }
        if now.duration_since(self.used_at) >= IDLE {
            return Err(Ended::Idle);
        }
        Ok(())
    }

    /// The proof is young enough for what needs a fresh one.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        (-CLOCK_SKEW..=FRESH).contains(&now.duration_since(self.proved_at))
    }

    /// This use is to be written down.
    pub fn is_due_for_touch(&self, now: Timestamp) -> bool {
        now.duration_since(self.used_at) >= USE_GRAIN
    }
}

/// What the store knows about a reviewer's own accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// A case is open about one of them.
    pub at_risk: bool,
    /// Their sessions were last revoked then.
    pub revoked_at: Option<Timestamp>,
}

/// The reviewer as the decision machine sees them: account, session (what it adds, where one is known), proof.
pub fn deciding(
    account: &Account,
    session: Option<&Session>,
    standing: Standing,
    proved: (Timestamp, bool),
    tenant: impl Fn(Uuid) -> Option<TenantName>,
) -> Reviewer {
    let own = |linked: &Linked| Some(Identity { tenant: tenant(linked.tenant)?, object_id: linked.object_id });
    let mut roles = account.roles.clone();
    roles.extend(session.iter().flat_map(|session| session.roles.iter().copied()));
    roles.sort_unstable();
    roles.dedup();
    let mut groups = account.groups.clone();
    groups.extend(session.iter().flat_map(|session| session.groups.iter().cloned()));
    groups.sort_unstable();
    groups.dedup();
    let (proved_at, aal2) = proved;
    Reviewer {
        id: account.id.to_string(),
        identity: account.linked.iter().find_map(own),
        linked: account.linked.iter().map(|linked| linked.object_id).collect(),
        roles,
        groups,
        session_started: session.map_or(Timestamp::UNIX_EPOCH, |session| session.created_at),
        at_risk: standing.at_risk,
        revoked_at: standing.revoked_at,
        aal2,
        proved_at,
    }
}

/// What a decision is bound to before the challenge leaves: nothing of it is taken from the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    pub task: TaskId,
    /// Of the task as shown.
    pub revision: u64,
    pub verdict: Verdict,
    /// Of what was shown.
    pub digest: Digest,
    #[serde(default)]
    pub reason: Option<String>,
    /// The browser's public key, where the task reveals a secret.
    #[serde(default)]
    pub recipient_key: Option<String>,
}

impl Wanted {
    /// The vote that this is, by somebody who proved it.
    pub fn ballot(&self, by: Reviewer) -> Ballot {
        Ballot {
            by,
            verdict: self.verdict,
            reason: self.reason.clone(),
            digest: self.digest,
            recipient_key: self.recipient_key.clone(),
        }
    }
}

/// What shows later that this reviewer decided exactly this: kept for ever, beside the audit record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// The ceremony's row: it was bound to `wanted` before it was sent.
    pub challenge: String,
    pub reviewer: ReviewerId,
    pub at: Timestamp,
    pub wanted: Wanted,
    pub shown_by: Shown,
}

/// How it was proved. Binary parts are base64url without padding, exactly as signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Shown {
    /// A WebAuthn assertion: the signature is over `authenticator_data` and the SHA-256 of `client_data`, which holds
    /// the challenge's random value.
    Passkey {
        credential: String,
        /// COSE key of the credential, as JSON.
        public_key: Value,
        /// The random value that was sent.
        nonce: String,
        rp_id: String,
        authenticator_data: String,
        client_data: String,
        signature: String,
    },
    /// An identity token with our nonce in it, signed by the provider: that it was this person is the provider's word.
    Oidc {
        issuer: String,
        subject: String,
        nonce: String,
        id_token: String,
        claims: Value,
        /// The provider's public key (JWK) that the signature was checked with.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        key: Value,
    },
}

impl Proof {
    /// SHA-256 of the proof as JSON with sorted keys: what the audit trail holds of it.
    pub fn digest(&self) -> Digest {
        json_digest(&serde_json::to_value(self).unwrap_or_default())
    }
}

/// SHA-256 of JSON with sorted keys and no white space.
pub fn json_digest(value: &Value) -> Digest {
    let mut text = String::new();
    super::digest::canonical(value, &mut text);
    Digest::of(&[text.as_bytes()])
}

/// SHA-256 of a challenge's random value, as the audit trail holds it.
pub fn nonce_digest(nonce: &str) -> Digest {
    Digest::of(&[b"oust decision nonce\n", nonce.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("an instant")
    }

    fn session() -> Session {
        Session {
            reviewer: "ada".parse().expect("a name"),
            created_at: at(0),
            used_at: at(0),
            proved_at: at(0),
            how: How::Passkey { credential: "c".into() },
            aal2: true,
            roles: vec![Role::Approver],
            groups: vec!["on-call".into()],
            told_at: None,
        }
    }

    #[test]
    fn a_session_ends_at_the_very_instant_of_its_limits() {
        let mut session = session();
        assert_eq!(session.check(at(30 * 60 - 1)), Ok(()));
        assert_eq!(session.check(at(30 * 60)), Err(Ended::Idle));
        session.used_at = at(12 * 3600 - 60);
        assert_eq!(session.check(at(12 * 3600 - 1)), Ok(()));
        assert_eq!(session.check(at(12 * 3600)), Err(Ended::Absolute));
    }

    #[test]
    fn a_proof_is_fresh_for_five_minutes_and_not_from_the_future() {
        let session = session();
        assert!(session.is_fresh(at(300)) && session.is_fresh(at(-5)));
        assert!(!session.is_fresh(at(301)) && !session.is_fresh(at(-6)));
    }

    #[test]
    fn uses_within_a_minute_are_not_written_again() {
        let session = session();
        assert!(!session.is_due_for_touch(at(59)));
        assert!(session.is_due_for_touch(at(60)));
    }

    #[test]
    fn names_are_plain_and_links_are_two_guids() {
        for good in ["ada", "ada@contoso.example", "0-o", "a.b_c-d"] {
            assert!(good.parse::<ReviewerId>().is_ok(), "{good}");
        }
        for bad in ["", "Ada", ".ada", "a b", "ada/x", "ä", &"a".repeat(65), "group:on-call", "a\n"] {
            assert!(bad.parse::<ReviewerId>().is_err(), "{bad:?}");
        }
        let tenant = "11111111-2222-3333-4444-555555555555";
        let person = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
        let linked: Linked = format!("{tenant}/{person}").parse().expect("a link");
        assert_eq!(linked.to_string(), format!("{tenant}/{person}"));
        for bad in [tenant, "a/b", &format!("{tenant}/{person}/x"), &format!("{tenant}/")] {
            assert!(bad.parse::<Linked>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_deciding_reviewer_has_the_roles_and_groups_of_account_and_session() {
        let tenant = Uuid::from_u128(1);
        let account = Account {
            id: "ada".parse().expect("a name"),
            handle: Uuid::nil(),
            display_name: "Ada".into(),
            roles: vec![Role::Viewer, Role::Approver],
            groups: vec!["leads".into(), "on-call".into()],
            linked: vec![Linked { tenant, object_id: ObjectId::new(Uuid::from_u128(7)) }],
            created_at: at(0),
            disabled_at: None,
        };
        let name = |id| (id == tenant).then(|| "contoso".parse().expect("a name"));
        let reviewer = deciding(&account, Some(&session()), Standing::default(), (at(9), true), name);
        assert_eq!(reviewer.roles, [Role::Viewer, Role::Approver]);
        assert_eq!(reviewer.groups, ["leads", "on-call"]);
        assert_eq!(reviewer.identity.map(|identity| identity.object_id), Some(ObjectId::new(Uuid::from_u128(7))));
        assert_eq!((reviewer.session_started, reviewer.proved_at), (at(0), at(9)));
    }
}
