//! Signing in by an identity provider, and proving again there. Which of its claims mean multi-factor is what the
//! configuration says; a person is known by issuer and subject (Entra: by directory and object), never by a name.
//!
//! The provider sends the browser back with a GET, which changes nothing: its page posts what came to ourselves, so that
//! the check against forged requests and the browser's cookie stand in front of the one consumption.

mod arrive;
mod claims;
mod provider;

pub use claims::Aal2;
pub(super) use provider::Provider;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State as Shared};
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, LOCATION};
use axum::response::{IntoResponse, Response};
use openidconnect::ClaimsVerificationError;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use self::arrive::{again, welcome};
use self::provider::Asking;
use super::browser::{self, is_secret};
use super::decide;
use super::keys::{flow_of, read_json, with_cookie};
use super::page::page;
use super::session::{self, Id, SignedIn};
use super::state::{SignIn, actor, audit, failed, flow};
use crate::domain::reviewer::How;
use crate::domain::task::Role;
use crate::http::html::escaped;
use crate::http::{Problem, RequestId, body, chain};
use crate::store::Op;
use crate::store::reviewers::{Challenge, Change, Purpose};

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

/// Begins a sign-in at the provider.
pub(super) async fn begin(Shared(sign_in): Shared<SignIn>, Id(id): Id, request: Request) -> Result<Response, Problem> {
    sign_in.provider()?;
    let (browser, cookie) = flow_of(&sign_in, request.headers());
    let (next, way) = asked(&sign_in, request).await?;
    let to = leave(&sign_in, (Purpose::SignIn, None), &browser, &next, Vec::new(), &id).await?;
    Ok(with_cookie(way.to(&to), cookie))
}

/// Begins a proof by somebody signed in that it is them.
pub(super) async fn prove(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
    request: Request,
) -> Result<Response, Problem> {
    let (next, way) = asked(&sign_in, request).await?;
    let to = begin_for(&sign_in, &signed_in, Purpose::Prove, &next, Vec::new(), &id).await?;
    Ok(way.to(&to))
}

/// How a browser is sent to the provider. Never by a redirect: a form may lead to our own pages only, whatever it is
/// redirected to, and the provider may send the browser on to others.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// A script goes there.
    Script,
    /// A person follows a link.
    Link,
}

impl Way {
    fn to(self, to: &str) -> Response {
        match self {
            Self::Script => Json(json!({ "redirect": to })).into_response(),
            Self::Link => {
                let link = escaped(to);
                page("Continue at your organisation", &format!("<p><a href=\"{link}\">Continue</a></p>"))
            }
        }
    }
}

/// Where to go afterwards, and how to leave: a script sends JSON, a page without one its form.
async fn asked(sign_in: &SignIn, request: Request) -> Result<(String, Way), Problem> {
    let (parts, content) = request.into_parts();
    let (form, way): (Form, Way) = match body::check_type(&parts.headers) {
        Ok(()) => (read_json(sign_in, Request::from_parts(parts, content)).await?, Way::Script),
        Err(_) => (read_form(sign_in, &parts.headers, content).await?, Way::Link),
    };
    Ok((browser::next(form.next.as_deref()), way))
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
    let mut ops: Vec<Op> = decide::begun_audit(&challenge).into_iter().chain(also).collect();
    ops.push(Change::PutChallenge(Box::new(challenge)).into());
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
                Some(secret) => SignedIn::load(&sign_in, secret, true, &id).await?.map_err(Problem::not_signed_in)?,
                None => return Err(Problem::not_signed_in("sign in first")),
            };
            again(&sign_in, &challenge, &verified, signed_in, &next, &id).await
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
