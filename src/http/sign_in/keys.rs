//! Passkey ceremonies that ask for an assertion: signing in, proving again. Each is begun and finished by `fetch` from
//! `passkey.js`; the answer is consumed once, in the transaction of what it brings about.

use axum::Json;
use axum::extract::{Request, State as Shared};
use axum::http::HeaderMap;
use axum::http::header::{HeaderValue, SET_COOKIE};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::browser::{self, hash, is_secret, secret, set_cookie};
use super::passkey::{Answer, Asserted, Begun, Error};
use super::session::{self, Id, SignedIn};
use super::state::{SignIn, actor, audit, failed, flow, not_accepted, told};
use crate::domain::reviewer::{Account, How, Session};
use crate::http::body;
use crate::http::{Problem, RequestId};
use crate::store::Op;
use crate::store::reviewers::{Challenge, Change, Credential, Purpose};

/// Reads a JSON body of at most 64 KiB.
pub(super) async fn read_json<T: DeserializeOwned>(sign_in: &SignIn, request: Request) -> Result<T, Problem> {
    let (parts, content) = request.into_parts();
    body::check_type(&parts.headers)?;
    let bytes = body::read(content, &parts.headers, sign_in.limits()).await?;
    serde_json::from_slice(&bytes).map_err(|error| Problem::not_json(format!("the body does not fit: {error}")))
}

/// The answer to a `begin`: the ceremony's handle and what `navigator.credentials` wants.
pub(super) fn begun(handle: &str, options: Value) -> Value {
    let mut answer = options;
    answer["ceremony"] = json!(handle);
    answer
}

/// What a `finish` sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Finish {
    pub ceremony: String,
    pub credential: Value,
    #[serde(default)]
    pub next: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
}

impl Finish {
    pub async fn read(sign_in: &SignIn, request: Request) -> Result<Self, Problem> {
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
        told_at: None,
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
            Err(not_accepted(&error).recorded())
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

pub(super) fn other_purpose(sign_in: &SignIn) -> Problem {
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

// ── prove again ──

/// Begins a fresh proof for the session.
pub(super) async fn prove_begin(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
) -> Result<Response, Problem> {
    sign_in.admit_account(&signed_in.account.id)?;
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
        sign_in.admit_account(reviewer)?;
        let now = sign_in.now();
        // What the browser calls it may be of any length, and anything.
        let detail = json!({ "reason": "the passkey is not theirs", "passkey_sha256": hash(&answer.credential()) });
        sign_in.commit(vec![audit(now, &actor(reviewer), "step_up.refused", detail)], id).await?;
        return Err(Problem::not_signed_in("this passkey is not yours, or was removed").recorded());
    };
    let (asserted, ops) = assert(sign_in, challenge, &answer, &known, "step_up.refused", id).await?;
    Ok((known, asserted, ops))
}
