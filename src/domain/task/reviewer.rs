//! Who decides, and who must not: entitlement by policy, by person, by the state of their own account.
//!
//! Persons are compared, not accounts: two accounts with a common object id are one person (facts: approvals §8).

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Policy, State, Task};
use crate::domain::identity::{Identity, ObjectId};

/// How old the proof of presence (passkey assertion, step-up) may be at the decision.
pub const FRESH: SignedDuration = SignedDuration::from_mins(5);

/// What a reviewer may do in general; a policy narrows it to the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Viewer,
    Analyst,
    Approver,
    Admin,
}

impl Role {
    /// The word used in YAML, tables and URLs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Analyst => "analyst",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A human, by reviewer id and by every directory account known to be theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub id: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<ObjectId>,
}

impl Person {
    /// True when both are one human.
    pub fn is(&self, other: &Person) -> bool {
        self.id == other.id || self.accounts.iter().any(|account| other.accounts.contains(account))
    }
}

/// A signed-in reviewer at the moment of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewer {
    pub id: String,
    /// Their own directory account, where they have one.
    pub identity: Option<Identity>,
    /// Object ids of their other accounts.
    #[serde(default)]
    pub linked: Vec<ObjectId>,
    pub roles: Vec<Role>,
    #[serde(default)]
    pub groups: Vec<String>,
    pub session_started: Timestamp,
    /// An open case or a risk on one of their accounts, as far as the store knows.
    pub at_risk: bool,
    /// Last accepted revoke of one of their accounts.
    pub revoked_at: Option<Timestamp>,
    /// Multi-factor; phishing-resistant where we run the sign-in ourselves.
    pub aal2: bool,
    /// When they proved their presence for this decision.
    pub proved_at: Timestamp,
}

impl Reviewer {
    /// The human behind the session.
    pub fn person(&self) -> Person {
        let own = self.identity.iter().map(|identity| identity.object_id);
        Person { id: self.id.clone(), accounts: own.chain(self.linked.iter().copied()).collect() }
    }

    /// True when one of the policy's entries names them.
    fn is_named_in(&self, entries: &[String]) -> bool {
        entries.iter().any(|entry| match entry.split_once(':') {
            Some(("group", group)) => self.groups.iter().any(|mine| mine == group),
            Some(("role", role)) => self.roles.iter().any(|mine| mine.word() == role),
            Some(("reviewer", id)) => self.id == id,
            _ => self.id == *entry,
        })
    }
}

/// Why somebody may not do what they asked for. The texts are shown as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Forbidden {
    #[error("deciding needs the role approver or admin")]
    Role,
    #[error("the policy of this task names other reviewers")]
    NotNamed,
    #[error("this task is about you: nobody decides about their own account")]
    Subject,
    #[error("you asked for this yourself: somebody else has to decide")]
    Requester,
    #[error("your own account is at risk right now: somebody else has to decide")]
    AtRisk,
    #[error("your session began before your own sessions were revoked: sign in again, or let somebody else decide")]
    SessionRevoked,
    #[error("this needs a sign-in with a second factor (a passkey, or what the identity provider calls multi-factor)")]
    NotAal2,
    #[error("prove again that it is you: the last proof is older than 5 minutes")]
    NotFresh,
    #[error("the secret was sealed to the browser that decided: nobody else can fetch it, and it is never shown again")]
    NotRecipient,
    #[error("this task was made in shadow mode: nothing of it is ever executed")]
    Shadow,
}

impl Forbidden {
    /// Somebody must look: the attempt itself is a sign of trouble.
    pub fn is_alarming(self) -> bool {
        matches!(self, Self::Subject | Self::AtRisk | Self::SessionRevoked | Self::NotRecipient)
    }
}

impl Task {
    /// May this reviewer decide it at `now`? The same question for every route, also asked before a challenge is made.
    pub fn may_decide(&self, reviewer: &Reviewer, now: Timestamp) -> Result<(), Forbidden> {
        let person = reviewer.person();
        let is_subject = self.identity.as_ref().is_some_and(|subject| person.accounts.contains(&subject.object_id));
        let is_requester = self.requester.as_ref().is_some_and(|requester| requester.is(&person));
        let fresh = (-CLOCK_SKEW..=FRESH).contains(&now.duration_since(reviewer.proved_at));
        let checks = [
            (!is_subject, Forbidden::Subject),
            (!is_requester, Forbidden::Requester),
            (reviewer.roles.iter().any(|role| *role >= Role::Approver), Forbidden::Role),
            (self.names(reviewer, now), Forbidden::NotNamed),
            (!reviewer.at_risk, Forbidden::AtRisk),
            (reviewer.revoked_at.is_none_or(|at| at < reviewer.session_started), Forbidden::SessionRevoked),
            (reviewer.aal2, Forbidden::NotAal2),
            (fresh, Forbidden::NotFresh),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, why)| Err(why))
    }

    /// The policy lets this reviewer decide tasks like this one, whoever it is about.
    pub fn entitles(&self, reviewer: &Reviewer, now: Timestamp) -> bool {
        reviewer.roles.iter().any(|role| *role >= Role::Approver) && self.names(reviewer, now)
    }

    /// Named by the policy, or by its escalation once that is due (the clock decides, not the last tick).
    fn names(&self, reviewer: &Reviewer, now: Timestamp) -> bool {
        let Policy { reviewers, escalate, .. } = &self.policy;
        let escalated =
            matches!(self.state, State::Escalated { .. }) || self.escalates_at().is_some_and(|at| at <= now);
        reviewer.is_named_in(reviewers)
            || (escalated && escalate.as_ref().is_some_and(|escalation| reviewer.is_named_in(&escalation.to)))
    }
}

/// A proof from another process of ours may be this much ahead of our clock.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);
