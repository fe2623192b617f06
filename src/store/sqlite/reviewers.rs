//! Reviewers, passkeys, sessions, ceremonies and proofs in the embedded store.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use async_trait::async_trait;

use super::read::{all, column, doc, instant, instant_if_any, one, parsed};
use super::readers::For;
use super::{Sqlite, sql};
use crate::domain::TaskId;
use crate::domain::reviewer::{Account, Proof, ReviewerId, Session};
use crate::store::Error;
use crate::store::reviewers::{Challenge, Credential, Invite, Reviewers};

fn account(row: &Row<'_>, from: usize) -> Result<Account, Error> {
    const WHAT: &str = "reviewer";
    let disabled_at = instant_if_any(row, from + 1, WHAT)?;
    Ok(Account { disabled_at, ..doc(row, from + 2, WHAT, from)? })
}

fn invite(row: &Row<'_>) -> Result<Invite, Error> {
    const WHAT: &str = "invitation";
    Ok(Invite {
        hash: column(row, 0, WHAT)?,
        reviewer: parsed(row, 1, WHAT)?,
        by: column(row, 2, WHAT)?,
        created_at: instant(row, 3, WHAT)?,
        expires_at: instant(row, 4, WHAT)?,
        used_at: instant_if_any(row, 5, WHAT)?,
    })
}

fn credential(row: &Row<'_>) -> Result<Credential, Error> {
    const WHAT: &str = "passkey";
    Ok(Credential {
        id: column(row, 0, WHAT)?,
        reviewer: parsed(row, 1, WHAT)?,
        name: column(row, 2, WHAT)?,
        counter: column(row, 3, WHAT)?,
        created_at: instant(row, 4, WHAT)?,
        used_at: instant_if_any(row, 5, WHAT)?,
        disabled_at: instant_if_any(row, 6, WHAT)?,
        disabled_reason: column(row, 7, WHAT)?,
        passkey: doc(row, 8, WHAT, 0)?,
    })
}

fn session(row: &Row<'_>) -> Result<Session, Error> {
    const WHAT: &str = "session";
    let used_at = instant(row, 0, WHAT)?;
    Ok(Session { used_at, ..doc(row, 1, WHAT, 1)? })
}

fn challenge(row: &Row<'_>) -> Result<Challenge, Error> {
    const WHAT: &str = "challenge";
    let used_at = instant_if_any(row, 1, WHAT)?;
    Ok(Challenge { used_at, ..doc(row, 2, WHAT, 0)? })
}

impl Sqlite {
    pub(super) async fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.readers.read(For::General, read).await
    }
}

#[async_trait]
impl Reviewers for Sqlite {
    /// Readers have threads of their own, and the writer has lanes.
    fn for_pages(self: Arc<Self>) -> Arc<dyn Reviewers> {
        self
    }

    async fn reviewer(&self, id: &ReviewerId) -> Result<Option<Account>, Error> {
        let id = id.to_string();
        self.look(move |conn| one(conn, "reviewer", sql::REVIEWER, params![id], |row| account(row, 0))).await
    }

    async fn reviewer_by_handle(&self, handle: Uuid) -> Result<Option<Account>, Error> {
        let handle = handle.to_string();
        self.look(move |conn| one(conn, "reviewer", sql::REVIEWER_BY_HANDLE, params![handle], |row| account(row, 0)))
            .await
    }

    async fn reviewer_by_account(&self, issuer: &str, subject: &str) -> Result<Option<Account>, Error> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        self.look(move |conn| {
            one(conn, "reviewer", sql::REVIEWER_BY_ACCOUNT, params![issuer, subject], |row| account(row, 0))
        })
        .await
    }

    async fn reviewers(&self) -> Result<Vec<Account>, Error> {
        self.look(|conn| all(conn, "reviewer", sql::REVIEWERS, [], |row| account(row, 0))).await
    }

    async fn invite(&self, hash: &str) -> Result<Option<Invite>, Error> {
        let hash = hash.to_owned();
        self.look(move |conn| one(conn, "invitation", sql::INVITE, params![hash], invite)).await
    }

    async fn credential(&self, id: &str) -> Result<Option<Credential>, Error> {
        let id = id.to_owned();
        self.look(move |conn| one(conn, "passkey", sql::CREDENTIAL, params![id], credential)).await
    }

    async fn credentials_of(&self, reviewer: &ReviewerId) -> Result<Vec<Credential>, Error> {
        let reviewer = reviewer.to_string();
        self.look(move |conn| all(conn, "passkey", sql::CREDENTIALS_OF, params![reviewer], credential)).await
    }

    async fn session(&self, hash: &str) -> Result<Option<(Session, Account)>, Error> {
        let hash = hash.to_owned();
        self.look(move |conn| {
            one(conn, "session", sql::SESSION, params![hash], |row| Ok((session(row)?, account(row, 2)?)))
        })
        .await
    }

    async fn sessions_of(&self, reviewer: &ReviewerId) -> Result<Vec<Session>, Error> {
        let reviewer = reviewer.to_string();
        self.look(move |conn| all(conn, "session", sql::SESSIONS_OF, params![reviewer], session)).await
    }

    async fn challenge(&self, id: &str) -> Result<Option<Challenge>, Error> {
        let id = id.to_owned();
        self.look(move |conn| one(conn, "challenge", sql::CHALLENGE, params![id], challenge)).await
    }

    async fn proofs_of(&self, task: TaskId) -> Result<Vec<Proof>, Error> {
        let task = task.to_string();
        self.look(move |conn| all(conn, "proof", sql::PROOFS_OF, params![task], |row| doc(row, 1, "proof", 0))).await
    }
}
