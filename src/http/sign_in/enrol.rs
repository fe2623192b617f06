//! Passkeys come and go: the first by an invitation, others by their owner with a fresh proof.

use axum::Json;
use axum::extract::{Path, Request, State as Shared};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::browser::{hash, is_secret};
use super::keys::{Finish, begun, flow_of, other_purpose, own, with_cookie};
use super::passkey::MOST;
use super::session::{self, Id, SignedIn};
use super::state::{SignIn, actor, audit, failed, flow, not_accepted, told};
use crate::domain::reviewer::{Account, How, Session};
use crate::http::{Problem, RequestId};
use crate::store::Op;
use crate::store::reviewers::{Challenge, Change, Credential, Invite, Purpose};

/// The longest name of a passkey, in characters.
const LONGEST_NAME: usize = 60;

// ── enrol ──

/// The invitation behind a link, if it can still be used, and whom it is for.
pub(super) async fn invitation(sign_in: &SignIn, token: &str, id: &RequestId) -> Result<(Invite, Account), Problem> {
    let gone = |reason| {
        sign_in.refused(reason);
        Problem::not_found("this link was used, has expired or never was; ask for another (`oust reviewer invite`)")
    };
    if !is_secret(token) {
        return Err(gone("unknown_invite"));
    }
    let found = sign_in.store().invite(&hash(token)).await.map_err(|error| failed(&error, id))?;
    let Some(invite) = found else { return Err(gone("unknown_invite")) };
    if invite.used_at.is_some() || invite.expires_at <= sign_in.now() {
        return Err(gone("spent_invite"));
    }
    let account = sign_in.store().reviewer(&invite.reviewer).await.map_err(|error| failed(&error, id))?;
    match account.filter(Account::is_live) {
        Some(account) => Ok((invite, account)),
        None => Err(gone("disabled_reviewer")),
    }
}

/// Begins the first passkey of an invited person.
pub(super) async fn enrol_begin(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (invite, account) = invitation(&sign_in, &token, &id).await?;
    let (browser, cookie) = flow_of(&sign_in, &headers);
    let purpose = Purpose::Enrol { invite: invite.hash };
    let answer = begin_making(&sign_in, &account, purpose, &browser, &id).await?;
    Ok(with_cookie(Json(answer), cookie))
}

/// Finishes it: invitation and ceremony are consumed, the passkey kept, and they are signed in.
pub(super) async fn enrol_finish(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    Path(token): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let browser = flow(sign_in.site(), request.headers());
    let before = session::before(&sign_in, request.headers());
    let finish = Finish::read(&sign_in, request).await?;
    let (invite, account) = invitation(&sign_in, &token, &id).await?;
    let challenge = sign_in.open_ceremony(&finish.ceremony, browser.as_deref().as_slice(), &id).await?;
    if challenge.purpose != (Purpose::Enrol { invite: invite.hash.clone() }) {
        return Err(other_purpose(&sign_in));
    }
    let now = sign_in.now();
    let (credential, mut ops) = made(&sign_in, &challenge, &account, finish, &id).await?;
    ops.insert(1, Change::UseInvite { hash: invite.hash, at: now }.into());
    let session = Session {
        reviewer: account.id.clone(),
        created_at: now,
        used_at: now,
        proved_at: now,
        how: How::Passkey { credential },
        aal2: true,
        roles: Vec::new(),
        groups: Vec::new(),
        told_at: None,
    };
    let started = session::begin(&sign_in, session);
    ops.extend(started.ops);
    ops.extend(before);
    sign_in.commit(ops, &id).await?;
    Ok(with_cookie(Json(json!({ "location": "/console", "csrf": started.csrf })), Some(started.cookie)))
}

async fn begin_making(
    sign_in: &SignIn,
    account: &Account,
    purpose: Purpose,
    browser: &str,
    id: &RequestId,
) -> Result<Value, Problem> {
    sign_in.admit_account(&account.id)?;
    let known = sign_in.store().credentials_of(&account.id).await.map_err(|error| failed(&error, id))?;
    if known.iter().filter(|one| one.disabled_at.is_none()).count() >= MOST {
        return Err(Problem::unfit(format!("at most {MOST} passkeys; remove one first")));
    }
    let made = sign_in.passkeys()?.begin_making(account, &known).map_err(|error| not_accepted(&error))?;
    let (handle, challenge) = sign_in.ceremony(purpose, Some(account.id.clone()), browser, made.state);
    sign_in.commit(vec![Change::PutChallenge(Box::new(challenge)).into()], id).await?;
    Ok(begun(&handle, made.options))
}

/// Checks a new passkey: its id, and the operations that consume the ceremony (first) and keep it.
async fn made(
    sign_in: &SignIn,
    challenge: &Challenge,
    account: &Account,
    finish: Finish,
    id: &RequestId,
) -> Result<(String, Vec<Op>), Problem> {
    let now = sign_in.now();
    let used = Change::UseChallenge { id: challenge.id.clone(), at: now };
    let made = match sign_in.passkeys()?.finish_making(finish.credential, &challenge.state) {
        Ok(made) => made,
        Err(error) => {
            let refused = audit(now, &actor(&account.id), "passkey.refused", told(&error));
            sign_in.commit(vec![used.into(), refused], id).await?;
            return Err(not_accepted(&error).recorded());
        }
    };
    let name = finish.name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "Passkey".to_owned());
    if name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(Problem::unfit(format!("a passkey's name has at most {LONGEST_NAME} characters")));
    }
    let detail = json!({
        "passkey": made.id, "key": made.key, "name": name, "synced": made.synced, "by": challenge.purpose.word(),
    });
    let credential = Credential {
        id: made.id.clone(),
        reviewer: account.id.clone(),
        name,
        counter: made.counter,
        passkey: made.passkey,
        created_at: now,
        used_at: None,
        disabled_at: None,
        disabled_reason: None,
    };
    let ops = vec![
        used.into(),
        Change::IsLive(account.id.clone()).into(),
        Change::AddCredential(Box::new(credential)).into(),
        audit(now, &actor(&account.id), "passkey.enrolled", detail),
    ];
    Ok((made.id, ops))
}

// ── one's own passkeys ──

/// One's own passkeys.
pub(super) async fn list(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
) -> Result<Response, Problem> {
    let known = sign_in.store().credentials_of(&signed_in.account.id).await.map_err(|error| failed(&error, &id))?;
    let used_now = match &signed_in.session.how {
        How::Passkey { credential } => Some(credential.as_str()),
        How::Oidc { .. } => None,
    };
    let shown = known.iter().map(|one| {
        json!({
            "id": one.id, "name": one.name, "created_at": one.created_at, "used_at": one.used_at,
            "disabled_at": one.disabled_at, "disabled_reason": one.disabled_reason,
            "this_session": used_now == Some(one.id.as_str()),
        })
    });
    Ok(Json(json!({ "items": shown.collect::<Vec<_>>() })).into_response())
}

/// Begins a further passkey: with a fresh proof only.
pub(super) async fn add_begin(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
) -> Result<Response, Problem> {
    signed_in.require_fresh(&sign_in)?;
    let answer = begin_making(&sign_in, &signed_in.account, Purpose::AddPasskey, &signed_in.key, &id).await?;
    Ok(Json(answer).into_response())
}

/// Finishes it.
pub(super) async fn add_finish(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
    request: Request,
) -> Result<Response, Problem> {
    let finish = Finish::read(&sign_in, request).await?;
    signed_in.require_fresh(&sign_in)?;
    let challenge = own(&sign_in, &signed_in, &finish.ceremony, &Purpose::AddPasskey, &id).await?;
    let (passkey, ops) = made(&sign_in, &challenge, &signed_in.account, finish, &id).await?;
    sign_in.commit(ops, &id).await?;
    Ok(Json(json!({ "id": passkey })).into_response())
}

/// Removes one and signs out everywhere else: with a fresh proof only, and never the last one of somebody who has no other way in.
pub(super) async fn remove(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
    Path(passkey): Path<String>,
) -> Result<Response, Problem> {
    signed_in.require_fresh(&sign_in)?;
    let reviewer = &signed_in.account.id;
    let known = sign_in.store().credentials_of(reviewer).await.map_err(|error| failed(&error, &id))?;
    let live: Vec<&Credential> = known.iter().filter(|one| one.disabled_at.is_none()).collect();
    let Some(one) = live.iter().find(|one| one.id == passkey) else {
        return Err(Problem::not_found("you have no such passkey"));
    };
    let by_passkey = matches!(signed_in.session.how, How::Passkey { .. });
    if live.len() == 1 && by_passkey {
        return Err(Problem::unfit("this is your last passkey: add another first"));
    }
    let now = sign_in.now();
    let detail = json!({ "passkey": one.id, "name": one.name });
    let reason = "removed by its owner".to_owned();
    let change = Change::DisableCredential { id: one.id.clone(), reviewer: reviewer.clone(), at: now, reason };
    // Whoever holds the device may be signed in on it.
    let others = Change::EndSessionsOf { reviewer: reviewer.clone(), except: Some(signed_in.key.clone()), at: now };
    let ops = vec![change.into(), others.into(), audit(now, &actor(reviewer), "passkey.removed", detail)];
    sign_in.commit(ops, &id).await?;
    Ok(Json(json!({ "removed": passkey })).into_response())
}
