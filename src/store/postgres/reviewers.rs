//! Reviewers, passkeys, sessions, ceremonies and proofs in the shared store.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::Row;
use uuid::Uuid;

use super::flight::rows;
use super::read::desk::one;
use super::read::{collect, column, doc, instant, instant_if_any, parsed};
use super::{Postgres, sql};
use crate::domain::TaskId;
use crate::domain::reviewer::{Account, Proof, ReviewerId, Session};
use crate::store::Error;
use crate::store::reviewers::{Challenge, Credential, Invite, Reviewers};
use crate::store::statement::Value;

fn account(row: &Row, from: usize) -> Result<Account, Error> {
    const WHAT: &str = "reviewer";
    let disabled_at = instant_if_any(row, from + 1, WHAT)?;
    Ok(Account { disabled_at, ..doc(row, from + 2, WHAT, from)? })
}

fn invite(row: &Row) -> Result<Invite, Error> {
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

fn credential(row: &Row) -> Result<Credential, Error> {
    const WHAT: &str = "passkey";
    Ok(Credential {
        id: column(row, 0, WHAT)?,
        reviewer: parsed(row, 1, WHAT)?,
        name: column(row, 2, WHAT)?,
        counter: u32::try_from(column::<i64>(row, 3, WHAT)?).unwrap_or(u32::MAX),
        created_at: instant(row, 4, WHAT)?,
        used_at: instant_if_any(row, 5, WHAT)?,
        disabled_at: instant_if_any(row, 6, WHAT)?,
        disabled_reason: column(row, 7, WHAT)?,
        passkey: doc(row, 8, WHAT, 0)?,
    })
}

fn session(row: &Row) -> Result<Session, Error> {
    const WHAT: &str = "session";
    let used_at = instant(row, 0, WHAT)?;
    Ok(Session { used_at, ..doc(row, 1, WHAT, 1)? })
}

fn challenge(row: &Row) -> Result<Challenge, Error> {
    const WHAT: &str = "challenge";
    let used_at = instant_if_any(row, 1, WHAT)?;
    Ok(Challenge { used_at, ..doc(row, 2, WHAT, 0)? })
}

#[async_trait]
impl Reviewers for Postgres {
    fn for_pages(self: Arc<Self>) -> Arc<dyn Reviewers> {
        self.paged()
    }

    async fn reviewer(&self, id: &ReviewerId) -> Result<Option<Account>, Error> {
        one(&self.reads, "reviewer", sql::REVIEWER, id.as_str(), |row| account(row, 0)).await
    }

    async fn reviewer_by_handle(&self, handle: Uuid) -> Result<Option<Account>, Error> {
        let handle = handle.to_string();
        one(&self.reads, "reviewer", sql::REVIEWER_BY_HANDLE, &handle, |row| account(row, 0)).await
    }

    async fn reviewer_by_account(&self, issuer: &str, subject: &str) -> Result<Option<Account>, Error> {
        // Text from outside may hold the one character the server's text cannot.
        let (issuer, subject) = (Value::from(issuer.to_owned()), Value::from(subject.to_owned()));
        let found = rows(&self.reads, "reviewer", sql::REVIEWER_BY_ACCOUNT, &[&issuer, &subject]).await?;
        found.first().map(|row| account(row, 0)).transpose()
    }

    async fn reviewers(&self) -> Result<Vec<Account>, Error> {
        collect(&rows(&self.reads, "reviewer", sql::REVIEWERS, &[]).await?, |row| account(row, 0))
    }

    async fn invite(&self, hash: &str) -> Result<Option<Invite>, Error> {
        one(&self.reads, "invitation", sql::INVITE, hash, invite).await
    }

    async fn credential(&self, id: &str) -> Result<Option<Credential>, Error> {
        one(&self.reads, "passkey", sql::CREDENTIAL, id, credential).await
    }

    async fn credentials_of(&self, reviewer: &ReviewerId) -> Result<Vec<Credential>, Error> {
        collect(&rows(&self.reads, "passkey", sql::CREDENTIALS_OF, &[&reviewer.as_str()]).await?, credential)
    }

    async fn session(&self, hash: &str) -> Result<Option<(Session, Account)>, Error> {
        one(&self.reads, "session", sql::SESSION, hash, |row| Ok((session(row)?, account(row, 2)?))).await
    }

    async fn sessions_of(&self, reviewer: &ReviewerId) -> Result<Vec<Session>, Error> {
        collect(&rows(&self.reads, "session", sql::SESSIONS_OF, &[&reviewer.as_str()]).await?, session)
    }

    async fn challenge(&self, id: &str) -> Result<Option<Challenge>, Error> {
        one(&self.reads, "challenge", sql::CHALLENGE, id, challenge).await
    }

    async fn proofs_of(&self, task: TaskId) -> Result<Vec<Proof>, Error> {
        let found = rows(&self.reads, "proof", sql::PROOFS_OF, &[&task.to_string()]).await?;
        collect(&found, |row| doc(row, 1, "proof", 0))
    }
}
