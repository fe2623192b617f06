//! Reviewers, passkeys, sessions, ceremonies and proofs in the embedded store.

use jiff::{SignedDuration, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use async_trait::async_trait;

use super::encode::{Refusal, Statement, Wants, json, micros};
use super::read::{all, column, doc, instant, instant_if_any, one, parsed};
use super::readers::For;
use super::{Sqlite, sql};
use crate::domain::TaskId;
use crate::domain::reviewer::{Account, Proof, ReviewerId, Session};
use crate::store::Error;
use crate::store::reviewers::{Challenge, Change, Credential, Invite, Reviewers};

/// Ceremonies that are over are kept this long, then removed when another begins.
const KEEP_CHALLENGES: SignedDuration = SignedDuration::from_hours(24);
/// Sessions that are over are kept this long after the sign-in.
const KEEP_SESSIONS: SignedDuration = SignedDuration::from_hours(30 * 24);

fn statement<const N: usize>(sql: &'static str, values: [Value; N], wants: Wants) -> Statement {
    Statement { sql, values: values.into(), wants }
}

fn spent(what: &'static str) -> Wants {
    Wants::OneRow(Refusal::Spent(what))
}

fn taken(what: &'static str) -> Wants {
    Wants::OneRow(Refusal::Taken(what))
}

fn time(at: Timestamp) -> Value {
    Value::from(micros(at))
}

fn word(text: impl ToString) -> Value {
    Value::from(text.to_string())
}

/// The statements of a change.
pub(super) fn encode(change: Change, out: &mut Vec<Statement>) -> Result<(), Error> {
    match change {
        Change::AddReviewer(account) => out.push(statement(
            sql::ADD_REVIEWER,
            [
                word(&account.id),
                word(account.handle),
                time(account.created_at),
                Value::from(account.disabled_at.map(micros)),
                Value::from(json("a reviewer", &account)?),
            ],
            taken("this name"),
        )),
        Change::EditReviewer(account) => out.push(statement(
            sql::EDIT_REVIEWER,
            [word(&account.id), Value::from(json("a reviewer", &account)?)],
            spent("this account"),
        )),
        Change::IsLive(reviewer) => {
            out.push(statement(sql::LIVE_REVIEWER, [word(reviewer)], Wants::Found(Refusal::Spent("this account"))));
        }
        Change::Disable { reviewer, at } => {
            out.push(statement(sql::DISABLE_REVIEWER, [word(&reviewer), time(at)], spent("this account")));
            out.push(statement(sql::END_SESSIONS_OF, [word(&reviewer), time(at), word("")], Wants::Nothing));
            out.push(statement(sql::CLOSE_INVITES_OF, [word(reviewer), time(at)], Wants::Nothing));
        }
        Change::Link { issuer, subject, reviewer } => out.push(statement(
            sql::LINK_ACCOUNT,
            [word(issuer), word(subject), word(reviewer)],
            taken("this account elsewhere"),
        )),
        Change::PutInvite(invite) => out.push(statement(
            sql::PUT_INVITE,
            [
                word(&invite.hash),
                word(&invite.reviewer),
                word(&invite.by),
                time(invite.created_at),
                time(invite.expires_at),
                Value::from(invite.used_at.map(micros)),
            ],
            taken("this invitation"),
        )),
        Change::UseInvite { hash, at } => {
            out.push(statement(sql::USE_INVITE, [word(hash), time(at)], spent("this invitation")));
        }
        Change::AddCredential(credential) => out.push(statement(
            sql::ADD_CREDENTIAL,
            [
                word(&credential.id),
                word(&credential.reviewer),
                word(&credential.name),
                Value::from(credential.counter),
                time(credential.created_at),
                Value::from(json("a passkey", &credential.passkey)?),
            ],
            taken("this passkey"),
        )),
        Change::UseCredential { id, counter, passkey, at } => out.push(statement(
            sql::USE_CREDENTIAL,
            [word(id), Value::from(counter), Value::from(json("a passkey", &passkey)?), time(at)],
            spent("this passkey's counter"),
        )),
        Change::DisableCredential { id, reviewer, at, reason } => out.push(statement(
            sql::DISABLE_CREDENTIAL,
            [word(id), word(reviewer), time(at), word(reason)],
            spent("this passkey"),
        )),
        other => return encode_sessions(other, out),
    }
    Ok(())
}

fn encode_sessions(change: Change, out: &mut Vec<Statement>) -> Result<(), Error> {
    match change {
        Change::PutSession { hash, session } => {
            let horizon = session.created_at.checked_sub(KEEP_SESSIONS).unwrap_or(Timestamp::MIN);
            out.push(statement(sql::PRUNE_SESSIONS, [time(horizon)], Wants::Nothing));
            out.push(statement(
                sql::PUT_SESSION,
                [
                    word(hash),
                    word(&session.reviewer),
                    time(session.created_at),
                    time(session.used_at),
                    Value::from(json("a session", &session)?),
                ],
                taken("this session"),
            ));
        }
        Change::TouchSession { hash, at } => {
            out.push(statement(sql::TOUCH_SESSION, [word(hash), time(at)], Wants::Nothing));
        }
        Change::EndSession { hash, at } => {
            out.push(statement(sql::END_SESSION, [word(hash), time(at)], spent("this session")));
        }
        Change::EndSessionsOf { reviewer, except, at } => out.push(statement(
            sql::END_SESSIONS_OF,
            [word(reviewer), time(at), word(except.unwrap_or_default())],
            Wants::Nothing,
        )),
        Change::PutChallenge(challenge) => {
            let horizon = challenge.created_at.checked_sub(KEEP_CHALLENGES).unwrap_or(Timestamp::MIN);
            out.push(statement(sql::PRUNE_CHALLENGES, [time(horizon)], Wants::Nothing));
            out.push(statement(
                sql::PUT_CHALLENGE,
                [word(&challenge.id), time(challenge.expires_at), Value::from(json("a challenge", &challenge)?)],
                taken("this challenge"),
            ));
        }
        Change::UseChallenge { id, at } => {
            out.push(statement(sql::USE_CHALLENGE, [word(id), time(at)], spent("this challenge")));
        }
        Change::PutProof(proof) => out.push(statement(
            sql::PUT_PROOF,
            [word(&proof.challenge), word(proof.wanted.task), time(proof.at), Value::from(json("a proof", &proof)?)],
            spent("this challenge"),
        )),
        // The others were encoded above.
        _ => {}
    }
    Ok(())
}

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

fn session(row: &Row<'_>) -> Result<(Session, Account), Error> {
    const WHAT: &str = "session";
    let used_at = instant(row, 0, WHAT)?;
    Ok((Session { used_at, ..doc(row, 1, WHAT, 2)? }, account(row, 2)?))
}

fn challenge(row: &Row<'_>) -> Result<Challenge, Error> {
    const WHAT: &str = "challenge";
    let used_at = instant_if_any(row, 1, WHAT)?;
    Ok(Challenge { used_at, ..doc(row, 2, WHAT, 0)? })
}

impl Sqlite {
    async fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.readers.read(For::General, read).await
    }
}

#[async_trait]
impl Reviewers for Sqlite {
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
        self.look(move |conn| one(conn, "session", sql::SESSION, params![hash], session)).await
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
