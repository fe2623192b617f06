//! Passkey ceremonies: sign in, enrol by invitation, add one, remove one, prove again. Each is begun and finished by
//! `fetch` from `passkey.js`; the answer is consumed once, in the transaction of what it brings about.

use axum::Json;
use axum::extract::{Path, Request, State as Shared};
use axum::http::HeaderMap;
use axum::http::header::{HeaderValue, SET_COOKIE};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::browser::{self, hash, is_secret, secret, set_cookie};
use super::passkey::{Answer, Asserted, Begun, Error, MOST};
use super::session::{self, Id, SignedIn};
use super::state::{SignIn, actor, audit, failed, flow, not_accepted, told};
use crate::domain::reviewer::{Account, How, Session};
use crate::http::body;
use crate::http::{Problem, RequestId};
use crate::store::Op;
use crate::store::reviewers::{Challenge, Change, Credential, Invite, Purpose};

/// The longest name of a passkey, in characters.
const LONGEST_NAME: usize = 60;

/// Reads a JSON body of at most 64 KiB.
pub(super) async fn read_json<T: DeserializeOwned>(sign_in: &SignIn, request: Request) -> Result<T, Problem> {
    let (parts, content) = request.into_parts();
    body::check_type(&parts.headers)?;
    let bytes = body::read(content, &parts.headers, sign_in.limits()).await?;
    serde_json::from_slice(&bytes).map_err(|error| Problem::not_json(format!("the body does not fit: {error}")))
}

/// The answer to a `begin`: the ceremony's handle and what `navigator.credentials` wants.
fn begun(handle: &str, options: Value) -> Value {
    let mut answer = options;
    answer["ceremony"] = json!(handle);
    answer
}

/// What a `finish` sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    ceremony: String,
    credential: Value,
    #[serde(default)]
    next: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

impl Finish {
    async fn read(sign_in: &SignIn, request: Request) -> Result<Self, Problem> {
        let read: Self = read_json(sign_in, request).await?;
        if is_secret(&read.ceremony) { Ok(read) } else { Err(Problem::bad_request("ceremony is not one of ours")) }
    }
}

// ── sign in ──

/// Begins a sign-in by anybody.
pub(super) async fn sign_in_begin(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Begun { options, state } = sign_in.passkeys()?.begin(&[]).map_err(|error| not_accepted(&error))?;
    let (browser, cookie) = flow_of(&sign_in, &headers);
    let (handle, challenge) = sign_in.ceremony(Purpose::SignIn, None, &browser, state);
    sign_in.commit(vec![Change::PutChallenge(Box::new(challenge)).into()], &id).await?;
    Ok(with_cookie(Json(begun(&handle, options)), cookie))
}

/// Finishes it: the credential says who it is.
pub(super) async fn sign_in_finish(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let browser = flow(sign_in.site(), request.headers());
    let before = session::before(&sign_in, request.headers());
    let finish = Finish::read(&sign_in, request).await?;
    let challenge = sign_in.open_ceremony(&finish.ceremony, browser.as_deref().as_slice(), &id).await?;
    if challenge.purpose != Purpose::SignIn {
        return Err(other_purpose(&sign_in));
    }
    let answer = Answer::read(finish.credential).map_err(|error| not_accepted(&error))?;
    let unknown = |reason| {
        sign_in.refused(reason);
        Problem::not_signed_in("this passkey is not known here, or was removed; ask for an invitation")
    };
    let known = sign_in.store().credential(&answer.credential()).await.map_err(|error| failed(&error, &id))?;
    let Some(known) = known.filter(|known| known.disabled_at.is_none()) else {
        burn(&sign_in, &challenge).await;
        return Err(unknown("unknown_passkey"));
    };
    let account = sign_in.store().reviewer(&known.reviewer).await.map_err(|error| failed(&error, &id))?;
    let Some(account) = account.filter(Account::is_live) else {
        burn(&sign_in, &challenge).await;
        return Err(unknown("disabled_reviewer"));
    };
    if answer.handle() != Some(account.handle.as_bytes().as_slice()) {
        burn(&sign_in, &challenge).await;
        return Err(unknown("foreign_handle"));
    }
    let (asserted, mut ops) = assert(&sign_in, &challenge, &answer, &known, "sign_in.refused", &id).await?;
    let now = sign_in.now();
    let session = Session {
        reviewer: account.id.clone(),
        created_at: now,
        used_at: now,
        proved_at: now,
        how: How::Passkey { credential: known.id.clone() },
        aal2: true,
        roles: Vec::new(),
        groups: Vec::new(),
    };
    drop(asserted);
    let started = session::begin(&sign_in, session);
    ops.extend(started.ops);
    ops.extend(before);
    sign_in.commit(ops, &id).await?;
    let to = browser::next(finish.next.as_deref());
    Ok(with_cookie(Json(json!({ "location": to, "csrf": started.csrf })), Some(started.cookie)))
}

/// Checks an assertion: its operations consume the ceremony and keep the counter. A refusal consumes the ceremony too and
/// is audited under `refused`; a cloned authenticator's passkey is disabled and its owner signed out everywhere.
pub(super) async fn assert(
    sign_in: &SignIn,
    challenge: &Challenge,
    answer: &Answer,
    known: &Credential,
    refused: &str,
    id: &RequestId,
) -> Result<(Asserted, Vec<Op>), Problem> {
    sign_in.admit_account(&known.reviewer)?;
    let now = sign_in.now();
    let used = Change::UseChallenge { id: challenge.id.clone(), at: now };
    match sign_in.passkeys()?.finish(answer, &challenge.state, known) {
        Ok(asserted) => {
            let kept = Change::UseCredential {
                id: known.id.clone(),
                counter: asserted.counter,
                passkey: asserted.passkey.clone(),
                at: now,
            };
            Ok((asserted, vec![used.into(), kept.into()]))
        }
        Err(error) => {
            let who = actor(&known.reviewer);
            let mut ops = vec![Op::from(used), audit(now, &who, refused, told(&error))];
            if matches!(error, Error::Cloned) {
                let (credential, reviewer) = (known.id.clone(), known.reviewer.clone());
                let reason = "its counter went back: there may be a copy".to_owned();
                ops.push(audit(now, &who, "passkey.cloned", json!({ "passkey": credential, "name": known.name })));
                let disable = Change::DisableCredential { id: credential, reviewer: reviewer.clone(), at: now, reason };
                ops.extend([Op::from(disable), Change::EndSessionsOf { reviewer, except: None, at: now }.into()]);
                tracing::warn!(reviewer = %known.reviewer, "a passkey's counter went back: it is disabled");
            }
            sign_in.commit(ops, id).await?;
            Err(not_accepted(&error))
        }
    }
}

/// Consumes a ceremony that came to nothing, so that it cannot be tried until it fits.
async fn burn(sign_in: &SignIn, challenge: &Challenge) {
    let used = Change::UseChallenge { id: challenge.id.clone(), at: sign_in.now() };
    if let Err(error) = sign_in.try_commit(vec![used.into()]).await {
        tracing::debug!(error = %error, "a refused ceremony could not be consumed; it expires");
    }
}

fn other_purpose(sign_in: &SignIn) -> Problem {
    sign_in.refused("other_purpose");
    Problem::spent("this attempt was begun for something else; begin again")
}

/// The browser's flow id (kept, so that two tabs do not disturb each other) and its cookie if it is new.
pub(super) fn flow_of(sign_in: &SignIn, headers: &HeaderMap) -> (String, Option<HeaderValue>) {
    let site = sign_in.site();
    match flow(site, headers) {
        Some(known) => (known, None),
        None => {
            let fresh = secret();
            (hash(&fresh), Some(set_cookie(site, site.flow_cookie(), &fresh)))
        }
    }
}

pub(super) fn with_cookie(answer: impl IntoResponse, cookie: Option<HeaderValue>) -> Response {
    let mut response = answer.into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

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
            return Err(not_accepted(&error));
        }
    };
    let name = finish.name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "Passkey".to_owned());
    if name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(Problem::unfit(format!("a passkey's name has at most {LONGEST_NAME} characters")));
    }
    let detail = json!({ "passkey": made.id, "name": name, "synced": made.synced, "by": challenge.purpose.word() });
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

/// Removes one: with a fresh proof only, and never the last one of somebody who has no other way in.
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
    sign_in.commit(vec![change.into(), audit(now, &actor(reviewer), "passkey.removed", detail)], &id).await?;
    Ok(Json(json!({ "removed": passkey })).into_response())
}

// ── prove again ──

/// Begins a fresh proof for the session.
pub(super) async fn prove_begin(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
) -> Result<Response, Problem> {
    let (handle, options, challenge) = ask(&sign_in, &signed_in, Purpose::Prove, &id).await?;
    sign_in.commit(vec![Change::PutChallenge(Box::new(challenge)).into()], &id).await?;
    Ok(Json(begun(&handle, options)).into_response())
}

/// Finishes it: the session goes on under a new id.
pub(super) async fn prove_finish(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
    request: Request,
) -> Result<Response, Problem> {
    let finish = Finish::read(&sign_in, request).await?;
    let challenge = own(&sign_in, &signed_in, &finish.ceremony, &Purpose::Prove, &id).await?;
    let (known, _, mut ops) = proven(&sign_in, &signed_in, &challenge, finish.credential, &id).await?;
    let how = How::Passkey { credential: known.id };
    let renewed = session::renew(&sign_in, &signed_in, how, true);
    ops.extend(renewed.ops);
    sign_in.commit(ops, &id).await?;
    let to = finish.next.map(|to| browser::next(Some(&to)));
    Ok(with_cookie(Json(json!({ "csrf": renewed.csrf, "location": to })), Some(renewed.cookie)))
}

/// A ceremony of somebody signed in, with one of their own passkeys: handle, options, row.
pub(super) async fn ask(
    sign_in: &SignIn,
    signed_in: &SignedIn,
    purpose: Purpose,
    id: &RequestId,
) -> Result<(String, Value, Challenge), Problem> {
    let reviewer = &signed_in.account.id;
    let mut known = sign_in.store().credentials_of(reviewer).await.map_err(|error| failed(&error, id))?;
    known.retain(|one| one.disabled_at.is_none());
    if known.is_empty() {
        return Err(Problem::forbidden("you have no passkey: add one first").with("no_passkey", true));
    }
    let Begun { options, state } = sign_in.passkeys()?.begin(&known).map_err(|error| not_accepted(&error))?;
    let (handle, challenge) = sign_in.ceremony(purpose, Some(reviewer.clone()), &signed_in.key, state);
    Ok((handle, options, challenge))
}

/// The open ceremony of this session for this purpose.
pub(super) async fn own(
    sign_in: &SignIn,
    signed_in: &SignedIn,
    handle: &str,
    purpose: &Purpose,
    id: &RequestId,
) -> Result<Challenge, Problem> {
    let challenge = sign_in.open_ceremony(handle, &[&signed_in.key], id).await?;
    let fits = std::mem::discriminant(&challenge.purpose) == std::mem::discriminant(purpose)
        && challenge.reviewer.as_ref() == Some(&signed_in.account.id);
    if fits { Ok(challenge) } else { Err(other_purpose(sign_in)) }
}

/// Checks the answer to `ask`: whose passkey, what was shown, what consumes it.
pub(super) async fn proven(
    sign_in: &SignIn,
    signed_in: &SignedIn,
    challenge: &Challenge,
    answer: Value,
    id: &RequestId,
) -> Result<(Credential, Asserted, Vec<Op>), Problem> {
    let answer = Answer::read(answer).map_err(|error| not_accepted(&error))?;
    let reviewer = &signed_in.account.id;
    let known = sign_in.store().credential(&answer.credential()).await.map_err(|error| failed(&error, id))?;
    let own = |known: &Credential| known.disabled_at.is_none() && known.reviewer == *reviewer;
    let handle_fits = answer.handle().is_none_or(|handle| handle == signed_in.account.handle.as_bytes().as_slice());
    let Some(known) = known.filter(own).filter(|_| handle_fits) else {
        burn(sign_in, challenge).await;
        let now = sign_in.now();
        let detail = json!({ "reason": "the passkey is not theirs", "passkey": answer.credential() });
        sign_in.commit(vec![audit(now, &actor(reviewer), "step_up.refused", detail)], id).await?;
        return Err(Problem::not_signed_in("this passkey is not yours, or was removed"));
    };
    let (asserted, ops) = assert(sign_in, challenge, &answer, &known, "step_up.refused", id).await?;
    Ok((known, asserted, ops))
}
