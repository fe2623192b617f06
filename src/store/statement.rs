//! A statement by name, what its columns hold, and what must be true of it; each backend has its own SQL for the names.

use super::rows::plain;
use crate::domain::{Identity, SignalId, TenantName};
use crate::store::Error;

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Integer(flag.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! names {
    ($($name:ident),+ $(,)?) => {
        /// What a statement does; the backends' tables say how.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Name { $($name),+ }

        impl Name {
            /// Every one, for tests that prepare them.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

names! {
    PersonAny, PersonAt, Dequeue, Requeue, TakeSignal, PutSignal, Forward, DropForwarded, Seen, PutPlan, PutCase,
    PutRun, Append, PutEffect, PutSealed, BlankSealed, DropSealed, SettleBuried, Audit, PutWaiting, DropWaiting,
    PutSetting, SwapSetting, NoSetting, DropSetting, PutToken, RevokeToken, PutDelivery, Outcome, PutPerson,
    PutTask, Bury, CountRevocation, PruneRevocations, WithinCap, BuryQueued, BuryWaiting,
    AddReviewer, EditReviewer, LiveReviewer, DisableReviewer, LinkAccount, PutInvite, UseInvite, CloseInvitesOf, AddCredential, UseCredential, DisableCredential, PutSession, TouchSession, LiveSession, EditSession, EndSession, EndSessionsOf, PruneSessions, PutChallenge, UseChallenge, PruneChallenges, PutProof,
}

/// One statement, its values, and what must be true of it.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) name: Name,
    pub(super) values: Vec<Value>,
    pub(super) wants: Wants,
}

impl Statement {
    /// One of which nothing must be true.
    pub(super) fn plain(name: Name, values: Vec<Value>) -> Self {
        Self { name, values, wants: Wants::Nothing }
    }
}

/// What makes a statement's success: otherwise the whole batch is refused.
#[derive(Debug)]
pub(super) enum Wants {
    Nothing,
    /// It changes exactly one row.
    OneRow(Refusal),
    /// It finds a row.
    Found(Refusal),
    /// It finds none.
    Absent(Refusal),
}

/// Why a batch is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    Conflict(Identity),
    OverBlastRadius(TenantName),
    Repeated(SignalId),
    Changed(String),
    Settled(&'static str),
    Spent(&'static str),
    Taken(&'static str),
}

impl Refusal {
    pub(super) fn error(&self) -> Error {
        match self {
            Self::Conflict(identity) => Error::Conflict(identity.clone()),
            Self::OverBlastRadius(tenant) => Error::OverBlastRadius(tenant.clone()),
            Self::Repeated(signal) => Error::Repeated(*signal),
            Self::Changed(key) => Error::Changed(key.clone()),
            Self::Settled(text) => plain("a batch", text),
            Self::Spent(what) => Error::Spent(what),
            Self::Taken(what) => Error::Taken(what),
        }
    }
}
