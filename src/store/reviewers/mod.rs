//! Who may sign in, and what they proved: the part of the store behind the sign-in.
//!
//! Changes travel as `Op::Reviewer` in ordinary batches, so that a consumed challenge, the decision it proves and the
//! audit record are one transaction. Every consumption is one conditional update: the second comer gets `Error::Spent`.
//! Secrets (session ids, invitation tokens) come in as SHA-256 in hex; nothing here could be used to sign in.

pub(in crate::store) mod rows;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Error, Op, Store};
use crate::domain::TaskId;
use crate::domain::reviewer::{Account, Proof, ReviewerId, Session, Wanted};

/// A change to reviewers, credentials, sessions, ceremonies or proofs.
#[derive(Debug, Clone)]
pub enum Change {
    /// Fails as `Taken` if the name or the handle is there already.
    AddReviewer(Box<Account>),
    /// Replaces a live account; fails as `Spent` if there is none.
    EditReviewer(Box<Account>),
    /// Fails as `Spent` unless the account is there and live: a sign-in cannot slip past `Disable`.
    IsLive(ReviewerId),
    /// Ends the account, its sessions and its open invitations; fails as `Spent` if it ended before.
    Disable {
        reviewer: ReviewerId,
        at: Timestamp,
    },
    /// An account elsewhere (`entra:<tenant>` and object id, or issuer and subject) is this reviewer's; fails as
    /// `Taken` if it is anybody's who is live. A disabled one keeps it until then, so that they cannot come back by it.
    Link {
        issuer: String,
        subject: String,
        reviewer: ReviewerId,
    },
    PutInvite(Box<Invite>),
    /// Fails as `Spent` if it was used or has expired.
    UseInvite {
        hash: String,
        at: Timestamp,
    },
    /// Fails as `Taken` if the credential is known.
    AddCredential(Box<Credential>),
    /// Keeps what a ceremony said about a credential; fails as `Spent` if it was disabled, or if its counter moved past
    /// `counter` meanwhile (0 = it does not count).
    UseCredential {
        id: String,
        counter: u32,
        passkey: Value,
        at: Timestamp,
    },
    /// Fails as `Spent` if it is not there, not this reviewer's or disabled already.
    DisableCredential {
        id: String,
        reviewer: ReviewerId,
        at: Timestamp,
        reason: String,
    },
    PutSession {
        hash: String,
        session: Box<Session>,
    },
    TouchSession {
        hash: String,
        at: Timestamp,
    },
    /// Fails as `Spent` unless the session is there and nobody ended it.
    SessionLives(String),
    /// Replaces what a session is; fails as `Spent` if it has ended.
    EditSession {
        hash: String,
        session: Box<Session>,
    },
    /// Fails as `Spent` if it has ended.
    EndSession {
        hash: String,
        at: Timestamp,
    },
    /// Ends a session if it has not ended: a browser that signs in again.
    LeaveSession {
        hash: String,
        at: Timestamp,
    },
    /// Ends every session of a reviewer, but this one.
    EndSessionsOf {
        reviewer: ReviewerId,
        except: Option<String>,
        at: Timestamp,
    },
    PutChallenge(Box<Challenge>),
    /// Fails as `Spent` if it was used or has expired: the one place where a ceremony is consumed.
    UseChallenge {
        id: String,
        at: Timestamp,
    },
    /// Fails as `Spent` if this challenge proved a decision about this task before.
    PutProof(Box<Proof>),
}

impl From<Change> for Op {
    fn from(change: Change) -> Self {
        Self::Reviewer(Box::new(change))
    }
}

/// A link by which somebody makes their first passkey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// SHA-256 (hex) of the link's token.
    pub hash: String,
    pub reviewer: ReviewerId,
    pub by: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub used_at: Option<Timestamp>,
}

/// A passkey: public parts only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Credential {
    /// Base64url of the credential id.
    pub id: String,
    pub reviewer: ReviewerId,
    /// What its owner calls it.
    pub name: String,
    pub counter: u32,
    pub passkey: Value,
    pub created_at: Timestamp,
    pub used_at: Option<Timestamp>,
    pub disabled_at: Option<Timestamp>,
    pub disabled_reason: Option<String>,
}

/// What a ceremony is for, with what is needed to finish it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Purpose {
    SignIn,
    /// The first passkey, by an invitation (its hash).
    Enrol {
        invite: String,
    },
    AddPasskey,
    /// A fresh proof for the session.
    Prove,
    /// Bound to exactly these decisions, in this order.
    Decide {
        wanted: Vec<Wanted>,
    },
}

impl Purpose {
    /// The word in tables and the audit trail.
    pub fn word(&self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Enrol { .. } => "enrol",
            Self::AddPasskey => "add_passkey",
            Self::Prove => "prove",
            Self::Decide { .. } => "decide",
        }
    }
}

/// A ceremony under way: single use, short-lived, bound to a browser and (but for sign-ins) to a reviewer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Challenge {
    /// SHA-256 (hex) of what the browser holds.
    pub id: String,
    pub purpose: Purpose,
    pub reviewer: Option<ReviewerId>,
    /// SHA-256 (hex) of the cookie of the browser that began it: a session's id, or a flow's.
    pub browser: String,
    /// What the library needs to finish; for OpenID Connect: nonce, verifier and where to go next.
    pub state: Value,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub used_at: Option<Timestamp>,
}

/// Reads of the sign-in; writes go through `Store::commit`.
#[async_trait]
pub trait Reviewers: Store {
    /// The same store for whoever reads pages: what they ask for waits for each other, and holds up nobody else.
    fn for_pages(self: Arc<Self>) -> Arc<dyn Reviewers>;

    async fn reviewer(&self, id: &ReviewerId) -> Result<Option<Account>, Error>;
    async fn reviewer_by_handle(&self, handle: Uuid) -> Result<Option<Account>, Error>;
    /// Whose account elsewhere this is.
    async fn reviewer_by_account(&self, issuer: &str, subject: &str) -> Result<Option<Account>, Error>;
    /// Everybody, by name; disabled ones too.
    async fn reviewers(&self) -> Result<Vec<Account>, Error>;
    async fn invite(&self, hash: &str) -> Result<Option<Invite>, Error>;
    async fn credential(&self, id: &str) -> Result<Option<Credential>, Error>;
    /// Oldest first; disabled ones too.
    async fn credentials_of(&self, reviewer: &ReviewerId) -> Result<Vec<Credential>, Error>;
    /// A session that nobody ended, with its live account. Its limits are the caller's to check.
    async fn session(&self, hash: &str) -> Result<Option<(Session, Account)>, Error>;
    /// The newest 50 sign-ins of a reviewer, newest first, ended or not, as far as sessions are kept.
    async fn sessions_of(&self, reviewer: &ReviewerId) -> Result<Vec<Session>, Error>;
    async fn challenge(&self, id: &str) -> Result<Option<Challenge>, Error>;
    /// Oldest first.
    async fn proofs_of(&self, task: TaskId) -> Result<Vec<Proof>, Error>;
}
