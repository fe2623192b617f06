//! Changes to reviewers as named statements; each backend has its own SQL for the names.

use jiff::{SignedDuration, Timestamp};

use super::Change;
use crate::store::Error;
use crate::store::rows::{json, micros};
use crate::store::statement::{Name, Refusal, Statement, Value, Wants};

/// Ceremonies that are over are kept this long, then removed when another begins.
const KEEP_CHALLENGES: SignedDuration = SignedDuration::from_hours(24);
/// Sessions that are over are kept this long after the sign-in.
const KEEP_SESSIONS: SignedDuration = SignedDuration::from_hours(30 * 24);

fn statement<const N: usize>(name: Name, values: [Value; N], wants: Wants) -> Statement {
    Statement { name, values: values.into(), wants }
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
pub(in crate::store) fn encode(change: Change, out: &mut Vec<Statement>) -> Result<(), Error> {
    match change {
        Change::AddReviewer(account) => out.push(statement(
            Name::AddReviewer,
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
            Name::EditReviewer,
            [word(&account.id), Value::from(json("a reviewer", &account)?)],
            spent("this account"),
        )),
        Change::IsLive(reviewer) => {
            out.push(statement(Name::LiveReviewer, [word(reviewer)], Wants::Found(Refusal::Spent("this account"))));
        }
        Change::Disable { reviewer, at } => {
            out.push(statement(Name::DisableReviewer, [word(&reviewer), time(at)], spent("this account")));
            out.push(statement(Name::EndSessionsOf, [word(&reviewer), time(at), word("")], Wants::Nothing));
            out.push(statement(Name::CloseInvitesOf, [word(reviewer), time(at)], Wants::Nothing));
        }
        Change::Link { issuer, subject, reviewer } => out.push(statement(
            Name::LinkAccount,
            [word(issuer), word(subject), word(reviewer)],
            taken("this account elsewhere"),
        )),
        Change::PutInvite(invite) => out.push(statement(
            Name::PutInvite,
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
            out.push(statement(Name::UseInvite, [word(hash), time(at)], spent("this invitation")));
        }
        Change::AddCredential(credential) => out.push(statement(
            Name::AddCredential,
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
            Name::UseCredential,
            [word(id), Value::from(counter), Value::from(json("a passkey", &passkey)?), time(at)],
            spent("this passkey's counter"),
        )),
        Change::DisableCredential { id, reviewer, at, reason } => out.push(statement(
            Name::DisableCredential,
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
            out.push(statement(Name::PruneSessions, [time(horizon)], Wants::Nothing));
            out.push(statement(
                Name::PutSession,
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
            out.push(statement(Name::TouchSession, [word(hash), time(at)], Wants::Nothing));
        }
        Change::SessionLives(hash) => {
            out.push(statement(Name::LiveSession, [word(hash)], Wants::Found(Refusal::Spent("this session"))));
        }
        Change::EditSession { hash, session } => out.push(statement(
            Name::EditSession,
            [word(hash), Value::from(json("a session", &session)?)],
            spent("this session"),
        )),
        Change::EndSession { hash, at } => {
            out.push(statement(Name::EndSession, [word(hash), time(at)], spent("this session")));
        }
        Change::LeaveSession { hash, at } => {
            out.push(statement(Name::EndSession, [word(hash), time(at)], Wants::Nothing));
        }
        Change::EndSessionsOf { reviewer, except, at } => out.push(statement(
            Name::EndSessionsOf,
            [word(reviewer), time(at), word(except.unwrap_or_default())],
            Wants::Nothing,
        )),
        Change::PutChallenge(challenge) => {
            let horizon = challenge.created_at.checked_sub(KEEP_CHALLENGES).unwrap_or(Timestamp::MIN);
            out.push(statement(Name::PruneChallenges, [time(horizon)], Wants::Nothing));
            out.push(statement(
                Name::PutChallenge,
                [word(&challenge.id), time(challenge.expires_at), Value::from(json("a challenge", &challenge)?)],
                taken("this challenge"),
            ));
        }
        Change::UseChallenge { id, at } => {
            out.push(statement(Name::UseChallenge, [word(id), time(at)], spent("this challenge")));
        }
        Change::PutProof(proof) => out.push(statement(
            Name::PutProof,
            [word(&proof.challenge), word(proof.wanted.task), time(proof.at), Value::from(json("a proof", &proof)?)],
            spent("this challenge"),
        )),
        // The others were encoded above.
        _ => {}
    }
    Ok(())
}
