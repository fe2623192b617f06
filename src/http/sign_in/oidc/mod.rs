//! Signing in by an identity provider, and proving again there. Which of its claims mean multi-factor is what the
//! configuration says; a person is known by issuer and subject (Entra: by directory and object), never by a name.
//!
//! The provider sends the browser back with a GET, which changes nothing: its page posts what came to ourselves, so that
//! the check against forged requests and the browser's cookie stand in front of the one consumption.

mod claims;
mod provider;

pub use claims::Aal2;
pub(super) use provider::Provider;

use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State as Shared};
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, LOCATION};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use openidconnect::ClaimsVerificationError;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use self::claims::{Claims, NotSignedIn, roles};
use self::provider::{Asking, SKEW, Verified};
use super::browser::{self, is_secret};
use super::decide;
use super::keys::{flow_of, with_cookie};
use super::page::{escaped, page};
use super::session::{self, Id, SignedIn};
use super::state::{SignIn, actor, audit, failed, flow};
use crate::domain::reviewer::{Account, How, Session, Shown};
use crate::domain::task::Role;
use crate::http::{Problem, RequestId, body, chain};
use crate::store::reviewers::{Challenge, Change, Purpose};
use crate::store::{self, Op};

/// Where the provider sends browsers back to.
pub(super) const CALLBACK: &str = "/console/sign-in/oidc/callback";
/// A code of a provider is at most this long.
const LONGEST_CODE: usize = 4096;

/// `reviewers.oidc`.
#[derive(Debug, Clone)]
pub struct Config {
    /// As the provider writes itself.
    pub issuer: String,
    pub client_id: String,
    /// Absent for a public client.
    pub client_secret: Option<SecretString>,
    pub aal2: Aal2,
    /// The claim with the groups.
    pub groups_claim: String,
    /// Which groups give which role; `*` is everybody.
    pub roles: BTreeMap<Role, Vec<String>>,
    /// Asked for beside `openid profile`.
    pub scopes: Vec<String>,
}

/// Why the provider did not sign somebody in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
    #[error("reviewers.oidc.issuer is no address")]
    Address,
    /// With its causes, for the log.
    #[error("the identity provider cannot be used: {0}")]
    Unusable(String),
    #[error("the identity provider refused the code ({0}); begin again")]
    Refused(String),
    #[error("the answer is not one of the configured provider")]
    MixUp,
    #[error("the token is signed by a key that the provider does not show")]
    UnknownKey,
    #[error("the token does not hold")]
    Token(#[source] ClaimsVerificationError),
    #[error("the identity provider's answer does not fit: {0}")]
    Answer(String),
}

#[derive(Debug, Deserialize)]
struct Form {
    #[serde(default)]
    next: Option<String>,
}

/// What the provider sends back.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Returned {
    #[serde(default)]
    state: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// Sends a browser to the provider.
pub(super) async fn begin(Shared(sign_in): Shared<SignIn>, Id(id): Id, request: Request) -> Result<Response, Problem> {
    sign_in.provider()?;
    let (parts, content) = request.into_parts();
    let form: Form = read_form(&sign_in, &parts.headers, content).await?;
    let (browser, cookie) = flow_of(&sign_in, &parts.headers);
    let next = browser::next(form.next.as_deref());
    let to = leave(&sign_in, (Purpose::SignIn, None), &browser, &next, Vec::new(), &id).await?;
    Ok(with_cookie(see_other(&to), cookie))
}

/// Sends somebody signed in to the provider to prove again that it is them.
pub(super) async fn prove(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let form: Form = read_form(&sign_in, &parts.headers, content).await?;
    let next = browser::next(form.next.as_deref());
    let to = begin_for(&sign_in, &signed_in, Purpose::Prove, &next, Vec::new(), &id).await?;
    Ok(see_other(&to))
}

/// A ceremony of somebody signed in by the provider: where to send the browser. `also` is committed with its row.
pub(super) async fn begin_for(
    sign_in: &SignIn,
    signed_in: &SignedIn,
    purpose: Purpose,
    next: &str,
    also: Vec<Op>,
    id: &RequestId,
) -> Result<String, Problem> {
    if !matches!(signed_in.session.how, How::Oidc { .. }) {
        return Err(Problem::forbidden("you did not sign in by the identity provider; use your passkey"));
    }
    sign_in.admit_account(&signed_in.account.id)?;
    leave(sign_in, (purpose, Some(signed_in)), &signed_in.key, next, also, id).await
}

async fn leave(
    sign_in: &SignIn,
    (purpose, who): (Purpose, Option<&SignedIn>),
    browser: &str,
    next: &str,
    also: Vec<Op>,
    id: &RequestId,
) -> Result<String, Problem> {
    let asking = if purpose == Purpose::SignIn { Asking::SignIn } else { Asking::StepUp };
    let reviewer = who.map(|who| who.account.id.clone());
    let (handle, mut challenge) = sign_in.ceremony(purpose, reviewer, browser, Value::Null);
    let (to, mut kept) = sign_in.provider()?.way(&handle, asking).await.map_err(|error| told(&error, id))?;
    kept["next"] = json!(next);
    challenge.state = kept;
    let mut ops = vec![Op::from(Change::PutChallenge(Box::new(challenge)))];
    ops.extend(also);
    sign_in.commit(ops, id).await?;
    Ok(to.into())
}

fn see_other(to: &str) -> Response {
    let to = HeaderValue::try_from(to).unwrap_or(HeaderValue::from_static("/console/sign-in?error=provider"));
    (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response()
}

async fn read_form<T: serde::de::DeserializeOwned>(
    sign_in: &SignIn,
    headers: &HeaderMap,
    content: axum::body::Body,
) -> Result<T, Problem> {
    let bytes = body::read(content, headers, sign_in.limits()).await?;
    let pairs: serde_json::Map<String, Value> = url::form_urlencoded::parse(&bytes)
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    T::deserialize(Value::Object(pairs)).map_err(|_| Problem::bad_request("the form does not fit"))
}

/// The browser is back. Nothing happens yet: the page posts what came with it to ourselves.
pub(super) async fn landed(
    Shared(sign_in): Shared<SignIn>,
    returned: Result<Query<Returned>, QueryRejection>,
) -> Response {
    let returned = returned.map(|Query(returned)| returned).unwrap_or_default();
    if sign_in.provider().is_err() || returned.error.is_some() || !fits(&returned) {
        sign_in.refused("provider_error");
        return see_other("/console/sign-in?error=provider");
    }
    let mut form = format!("<form method=\"post\" action=\"{CALLBACK}\" data-submit>");
    let iss = returned.iss.as_deref().map(|iss| ("iss", iss));
    for (name, value) in [("state", returned.state.as_str()), ("code", returned.code.as_str())].into_iter().chain(iss) {
        form.push_str(&format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value)));
    }
    form.push_str("<p><button>Continue</button></p></form>");
    page("Signing in", &form)
}

fn fits(returned: &Returned) -> bool {
    is_secret(&returned.state)
        && (1..=LONGEST_CODE).contains(&returned.code.len())
        && returned.iss.as_ref().is_none_or(|iss| iss.len() <= 512)
}

/// Consumes what came back: a session, a fresh proof, or a decision.
pub(super) async fn finish(Shared(sign_in): Shared<SignIn>, Id(id): Id, request: Request) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let returned: Returned = read_form(&sign_in, &parts.headers, content).await?;
    if !fits(&returned) {
        return Err(Problem::bad_request("this is no answer of the identity provider"));
    }
    let site = sign_in.site();
    let secret = browser::cookie(&parts.headers, site.session_cookie());
    let session = secret.as_deref().map(browser::hash);
    let flow = flow(site, &parts.headers);
    // A sign-in belongs to the browser's flow, a step-up to its session.
    let browsers: Vec<&str> = flow.as_deref().into_iter().chain(session.as_deref()).collect();
    let challenge = sign_in.open_ceremony(&returned.state, &browsers, &id).await?;
    let verified = sign_in.provider()?.exchange(&returned.code, returned.iss.as_deref(), &challenge.state).await;
    let verified = match verified {
        Ok(verified) => verified,
        Err(error) => return Err(refuse(&sign_in, &challenge, &error, &id).await),
    };
    let next = browser::next(challenge.state["next"].as_str());
    match &challenge.purpose {
        Purpose::SignIn => {
            let before = session::before(&sign_in, &parts.headers);
            welcome(&sign_in, (&challenge, before), &verified, &next, &id).await
        }
        Purpose::Prove | Purpose::Decide { .. } => {
            let signed_in = match &secret {
                Some(secret) => SignedIn::load(&sign_in, secret, &id).await?.map_err(Problem::not_signed_in)?,
                None => return Err(Problem::not_signed_in("sign in first")),
            };
            again(&sign_in, &challenge, &verified, &signed_in, &next, &id).await
        }
        Purpose::Enrol { .. } | Purpose::AddPasskey => {
            Err(Problem::spent("this attempt was begun for something else; begin again"))
        }
    }
}

/// A failed exchange consumes the attempt; one that could not be tried leaves it to expire.
async fn refuse(sign_in: &SignIn, challenge: &Challenge, error: &Error, id: &RequestId) -> Problem {
    if !matches!(error, Error::Unusable(_)) {
        let who = challenge.reviewer.as_ref().map_or_else(|| "browser".to_owned(), actor);
        let now = sign_in.now();
        let used = Change::UseChallenge { id: challenge.id.clone(), at: now };
        let detail = json!({ "with": "oidc", "reason": chain(error) });
        if let Err(error) = sign_in.try_commit(vec![used.into(), audit(now, &who, "sign_in.refused", detail)]).await {
            return failed(&error, id);
        }
    }
    told(error, id)
}

/// The only mapping from a provider's failure to an answer.
fn told(error: &Error, id: &RequestId) -> Problem {
    match error {
        Error::Unusable(cause) => {
            tracing::error!(request.id = %id.0, cause, "the identity provider cannot be used");
            Problem::provider_failed("it cannot be reached, or says something unexpected; try again").retry_after(10)
        }
        Error::Token(_) | Error::Answer(_) | Error::UnknownKey | Error::MixUp | Error::Refused(_) => {
            tracing::warn!(request.id = %id.0, cause = %chain(error), "the identity provider's answer was refused");
            Problem::not_signed_in(error.to_string())
        }
        Error::Client(_) | Error::Address => Problem::internal("the log has the reason under this request's id"),
    }
}

/// Whom a token is about: the issuer and subject under which the store knows them.
fn keys(claims: &Claims, issuer: &url::Url) -> Result<Vec<(String, String)>, NotSignedIn> {
    let mut keys = Vec::new();
    if let Some(linked) = claims.linked(issuer)? {
        keys.push((format!("entra:{}", linked.tenant), linked.object_id.to_string()));
    }
    keys.push((claims.iss.clone(), claims.sub.clone()));
    Ok(keys)
}

async fn known(sign_in: &SignIn, keys: &[(String, String)], id: &RequestId) -> Result<Option<Account>, Problem> {
    for (issuer, subject) in keys {
        let found = sign_in.store().reviewer_by_account(issuer, subject).await.map_err(|error| failed(&error, id))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What the token gives for this session.
struct Standing {
    keys: Vec<(String, String)>,
    groups: Vec<String>,
    roles: Vec<Role>,
    aal2: bool,
}

fn standing(sign_in: &SignIn, claims: &Claims) -> Result<Standing, NotSignedIn> {
    let Ok(provider) = sign_in.provider() else { return Err(NotSignedIn::NoRole) };
    let groups = claims.groups(&provider.config.groups_claim)?;
    Ok(Standing {
        keys: keys(claims, provider.issuer())?,
        roles: roles(&provider.config.roles, &groups),
        groups,
        aal2: claims.is_aal2(&provider.config.aal2),
    })
}

/// Somebody whom the provider let in and we do not: the attempt is consumed, the reason told and audited.
async fn turned_away(
    sign_in: &SignIn,
    (challenge, claims): (&Challenge, &Claims),
    verb: &str,
    why: String,
    id: &RequestId,
) -> Problem {
    let now = sign_in.now();
    let who = challenge.reviewer.as_ref().map_or_else(|| "browser".to_owned(), actor);
    let used = Change::UseChallenge { id: challenge.id.clone(), at: now };
    let detail = json!({ "with": "oidc", "issuer": claims.iss, "subject": claims.sub, "reason": why });
    match sign_in.commit(vec![used.into(), audit(now, &who, verb, detail)], id).await {
        Ok(()) if challenge.reviewer.is_some() => Problem::forbidden(why).with("step_up", true),
        Ok(()) => Problem::forbidden(why),
        Err(problem) => problem,
    }
}

/// A sign-in: known people by what the store knows of them, others become reviewers if a role is theirs.
async fn welcome(
    sign_in: &SignIn,
    (challenge, before): (&Challenge, Option<Op>),
    verified: &Verified,
    next: &str,
    id: &RequestId,
) -> Result<Response, Problem> {
    let claims = &verified.claims;
    let now = sign_in.now();
    let used = Op::from(Change::UseChallenge { id: challenge.id.clone(), at: now });
    let turn_away =
        |why: NotSignedIn| turned_away(sign_in, (challenge, claims), "sign_in.refused", why.to_string(), id);
    let standing = match standing(sign_in, claims) {
        Ok(standing) => standing,
        Err(why) => return Err(turn_away(why).await),
    };
    let mut ops = vec![used.clone()];
    let account = match known(sign_in, &standing.keys, id).await? {
        Some(account) if account.is_live() => account,
        Some(_) => return Err(turn_away(NotSignedIn::NoRole).await),
        None if standing.roles.is_empty() => return Err(turn_away(NotSignedIn::NoRole).await),
        None => provision(sign_in, claims, &standing, &mut ops),
    };
    if account.roles.is_empty() && standing.roles.is_empty() {
        return Err(turn_away(NotSignedIn::NoRole).await);
    }
    let session = Session {
        reviewer: account.id.clone(),
        created_at: now,
        used_at: now,
        // Not later than they really were asked; a provider that says nothing proves nothing fresh.
        proved_at: claims.authenticated_at().map_or(Timestamp::UNIX_EPOCH, |at| at.min(now)),
        how: How::Oidc { issuer: claims.iss.clone(), subject: claims.sub.clone(), sid: claims.sid.clone() },
        aal2: standing.aal2,
        roles: standing.roles,
        groups: standing.groups,
    };
    let started = session::begin(sign_in, session);
    ops.extend(started.ops);
    ops.extend(before);
    sign_in.try_commit(ops).await.map_err(|error| match error {
        store::Error::Taken(_) => Problem::spent("you signed in twice at once; try again"),
        other => failed(&other, id),
    })?;
    Ok(with_cookie(see_other(next), Some(started.cookie)))
}

/// Somebody whom the provider's groups make a reviewer: their account holds no role of its own.
fn provision(sign_in: &SignIn, claims: &Claims, standing: &Standing, ops: &mut Vec<Op>) -> Account {
    let now = sign_in.now();
    let linked = sign_in.provider().ok().and_then(|provider| claims.linked(provider.issuer()).ok()?);
    let account = Account {
        id: claims.provisioned_id(),
        handle: Uuid::new_v4(),
        display_name: claims.display_name(),
        roles: Vec::new(),
        groups: Vec::new(),
        linked: linked.into_iter().collect(),
        created_at: now,
        disabled_at: None,
    };
    ops.push(Change::AddReviewer(Box::new(account.clone())).into());
    for (issuer, subject) in &standing.keys {
        let (issuer, subject) = (issuer.clone(), subject.clone());
        ops.push(Change::Link { issuer, subject, reviewer: account.id.clone() }.into());
    }
    let detail = json!({ "reviewer": account.id, "issuer": claims.iss, "subject": claims.sub });
    ops.push(audit(now, &actor(&account.id), "reviewer.provisioned", detail));
    account
}

/// A step-up: the same person, asked again after this attempt began, by more than a password.
async fn again(
    sign_in: &SignIn,
    challenge: &Challenge,
    verified: &Verified,
    signed_in: &SignedIn,
    next: &str,
    id: &RequestId,
) -> Result<Response, Problem> {
    let claims = &verified.claims;
    let now = sign_in.now();
    let used = Op::from(Change::UseChallenge { id: challenge.id.clone(), at: now });
    let turn_away = |why: String| turned_away(sign_in, (challenge, claims), "step_up.refused", why, id);
    let standing = match standing(sign_in, claims) {
        Ok(standing) => standing,
        Err(why) => return Err(turn_away(why.to_string()).await),
    };
    let same = known(sign_in, &standing.keys, id).await?.is_some_and(|account| account.id == signed_in.account.id);
    if !same || challenge.reviewer.as_ref() != Some(&signed_in.account.id) {
        return Err(turn_away("somebody else signed in at the provider".to_owned()).await);
    }
    let earliest = challenge.created_at.as_second() - SKEW;
    match claims.authenticated_at() {
        None => return Err(turn_away(NotSignedIn::NoAuthTime.to_string()).await),
        Some(at) if at.as_second() < earliest => return Err(turn_away(NotSignedIn::OldAuthTime.to_string()).await),
        Some(_) => {}
    }
    if !standing.aal2 {
        let text = "the provider did not ask for a second factor (see reviewers.oidc.aal2)";
        return Err(turn_away(text.to_owned()).await);
    }
    if let Purpose::Decide { .. } = challenge.purpose {
        let shown = Shown::Oidc {
            issuer: claims.iss.clone(),
            subject: claims.sub.clone(),
            nonce: challenge.state["nonce"].as_str().unwrap_or_default().to_owned(),
            id_token: verified.raw.clone(),
            claims: verified.payload.clone(),
        };
        let outcomes = decide::record(sign_in, signed_in, challenge, (&shown, true), vec![used], id).await?;
        let refused = outcomes.iter().filter(|one| one.result.is_err()).count();
        return match outcomes.into_iter().next() {
            Some(decide::Outcome { result: Err(error), .. }) if refused == 1 && next.contains("/tasks/") => {
                Err(decide::problem_of(&error, id))
            }
            _ => Ok(see_other(next)),
        };
    }
    let how = How::Oidc { issuer: claims.iss.clone(), subject: claims.sub.clone(), sid: claims.sid.clone() };
    let renewed = session::renew(sign_in, signed_in, how, true);
    let mut ops = vec![used];
    ops.extend(renewed.ops);
    sign_in.commit(ops, id).await?;
    Ok(with_cookie(see_other(next), Some(renewed.cookie)))
}
