//! Pages as answers: whole or one region, and refusals as pages for browsers.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request, State as Shared};
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::{Json, RequestPartsExt as _};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::state::Console;
use super::view::error::{ErrorPage, ErrorView};
use super::view::{Page, Shell};
use crate::domain::task::{Changed, Forbidden};
use crate::http::body;
use crate::http::problem::{Problem, RequestId, Unrendered};
use crate::http::sign_in::SignedIn;
use crate::store::reviewers::Change;
use crate::store::{self, Op};

/// What a page was asked with: its query, and which region.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub query: BTreeMap<String, String>,
}

/// The longest value of a query, in characters.
const LONGEST: usize = 300;

impl Asked {
    /// A parameter, cut; empty where there is none.
    pub fn get(&self, name: &str) -> String {
        self.query.get(name).map(|value| value.chars().take(LONGEST).collect()).unwrap_or_default()
    }

    /// A cursor; `None` for the first page.
    pub fn after(&self) -> Option<String> {
        Some(self.get("after")).filter(|after| !after.is_empty())
    }

    /// The whole page, or the region that was asked for.
    pub fn show(&self, page: &dyn Page) -> Result<Response, Problem> {
        let region = self.query.get("fragment").map(|name| page.fragment(name)).transpose();
        let html = region.and_then(|found| found.flatten().map_or_else(|| page.html(), Ok));
        match html {
            Ok(html) => Ok(Html(html).into_response()),
            Err(error) => {
                tracing::error!(error = %error, "a page could not be made");
                Err(Problem::internal("the log has the reason under this request's id"))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let read = parts.extract::<Query<Vec<(String, String)>>>().await;
        let Query(pairs) = read.map_err(|_| Problem::bad_request("the query is not readable"))?;
        Ok(Self { query: pairs.into_iter().take(20).collect() })
    }
}

/// Below it stand the links of invitations.
const ENROL: &str = "/console/enrol/";

/// True where a page is wanted rather than JSON.
fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|it| it.contains("text/html"))
}

/// Refusals become pages where a browser asked for one.
pub(super) async fn pretty(Shared(console): Shared<Console>, request: Request, next: Next) -> Response {
    let (page, id) = (wants_page(request.headers()), RequestId::of(&request));
    let enrols = request.uri().path().starts_with(ENROL);
    let again = request.uri().path_and_query().filter(|_| request.method() == Method::GET).map(ToString::to_string);
    let mut response = next.run(request).await;
    let Some(Unrendered(problem)) = response.extensions_mut().remove::<Unrendered>() else { return response };
    if !page {
        response.extensions_mut().insert(Unrendered(problem));
        return response;
    }
    let mut view = match response.status() {
        StatusCode::NOT_FOUND if enrols => ErrorView::no_invitation(),
        _ => explained(&problem, response.headers(), &id),
    };
    if let (503, Some(again)) = (view.status, again) {
        view = view.back_to(again, "Try again");
    }
    let shell = Shell::outside(console.now());
    let Ok(html) = (ErrorPage { shell: &shell, view: &view }).html() else {
        response.extensions_mut().insert(Unrendered(problem));
        return response;
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Response::from_parts(parts, html.into())
}

fn explained(problem: &Value, headers: &HeaderMap, id: &RequestId) -> ErrorView {
    let text = |key: &str| problem.get(key).and_then(Value::as_str).unwrap_or_default();
    let wait = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let detail = text("detail");
    match problem.get("status").and_then(Value::as_u64).unwrap_or(500) {
        403 => ErrorView::forbidden(detail),
        404 => ErrorView::not_found(detail),
        429 => ErrorView::too_many(wait.unwrap_or(60)),
        503 if text("type").ends_with(":busy") => ErrorView::busy(detail, wait),
        503 => ErrorView::store_away(&id.0),
        500 | 502 => ErrorView::internal(&id.0),
        status => {
            let mut view = ErrorView::not_found(detail);
            view.status = u16::try_from(status).unwrap_or(500);
            view.title = text("title").to_owned();
            view.todo = vec!["Go back, load the page again and look.".to_owned()];
            let difference = problem.get("difference").and_then(|all| Vec::<Changed>::deserialize(all).ok());
            view.changed(&difference.unwrap_or_default())
        }
    }
}

/// Nothing is below this path.
pub(super) async fn nothing() -> Problem {
    Problem::not_found("there is no such page")
}

/// What somebody does: about what the path names (empty where it names nothing), with what was sent along.
pub(super) struct Deed {
    pub console: Console,
    pub id: RequestId,
    pub who: SignedIn,
    pub about: String,
    pub sent: Sent,
}

impl FromRequest<Console> for Deed {
    type Rejection = Problem;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Problem> {
        let id = RequestId::of(&request);
        let (mut parts, content) = request.into_parts();
        let who = parts.extract::<SignedIn>().await?;
        let named =
            parts.extract::<RawPathParams>().await.map_err(|_| Problem::bad_request("the path is not readable"))?;
        let about = named.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default();
        let sent = Sent::read(console, Request::from_parts(parts, content)).await?;
        Ok(Self { console: console.clone(), id, who, about, sent })
    }
}

impl Deed {
    /// As the audit trail names whoever does it.
    pub fn actor(&self) -> String {
        format!("reviewer:{}", self.who.account.id)
    }

    /// What changes more than one's own settings wants a fresh proof, of somebody whose account is not in other hands.
    ///
    /// # Errors
    /// 403, with `step_up` where a proof helps.
    pub async fn may_act(&self) -> Result<(), Problem> {
        self.who.require_fresh(self.console.sign_in())?;
        let me = self.console.proved(&self.who, &self.id).await?;
        let refused = match me.revoked_at {
            _ if me.at_risk => Forbidden::AtRisk,
            Some(at) if at >= me.session_started => Forbidden::SessionRevoked,
            _ => return Ok(()),
        };
        let problem = Problem::forbidden(refused.to_string());
        Err(if refused.is_alarming() { problem.alarming() } else { problem })
    }

    /// The account must still be live in the transaction of the deed.
    pub fn live(&self) -> Op {
        Change::IsLive(self.who.account.id.clone()).into()
    }
}

/// The refusal of a deed that the store did not take.
pub(super) fn not_done(id: &RequestId) -> impl Fn(store::Error) -> Problem {
    |error| match error {
        store::Error::Spent(_) => Problem::not_signed_in("your account was disabled"),
        error => Problem::of_store(&error, id),
    }
}

/// What a form or a script sent: its fields, and how it wants to be answered.
#[derive(Debug)]
pub(super) struct Sent {
    fields: BTreeMap<String, String>,
    page: bool,
}

impl Sent {
    /// Reads a form or a flat JSON object.
    ///
    /// # Errors
    /// 400, 413, 415.
    pub async fn read(console: &Console, request: Request) -> Result<Self, Problem> {
        let (parts, content) = request.into_parts();
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_form = kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
        if !is_form {
            body::check_type(&parts.headers)?;
        }
        let bytes = body::read(content, &parts.headers, console.limits()).await?;
        let fields = if is_form {
            url::form_urlencoded::parse(&bytes).into_owned().collect()
        } else {
            let object: BTreeMap<String, Value> = serde_json::from_slice(&bytes)
                .map_err(|error| Problem::not_json(format!("the body does not fit: {error}")))?;
            let text = |value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            object.into_iter().map(|(key, value)| (key, text(value))).collect()
        };
        Ok(Self { fields, page: is_form && wants_page(&parts.headers) })
    }

    /// A form of a page without script.
    pub fn is_page(&self) -> bool {
        self.page
    }

    /// A field; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.fields.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A text of at most `most` characters; `None` where it is empty.
    ///
    /// # Errors
    /// 422 when it is longer.
    pub fn text(&self, name: &str, most: usize) -> Result<Option<String>, Problem> {
        let text = self.get(name).trim();
        if text.chars().count() > most {
            return Err(Problem::unfit(format!("{name} has at most {most} characters")));
        }
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    /// The revision that was shown.
    ///
    /// # Errors
    /// 422 without one.
    pub fn revision(&self) -> Result<u64, Problem> {
        self.get("revision").parse().map_err(|_| Problem::unfit("revision is missing: reload the page"))
    }

    /// Where to go on: a redirect for a form, JSON for a script.
    pub fn done(&self, to: &str) -> Response {
        if self.page {
            let to = HeaderValue::try_from(to).unwrap_or(HeaderValue::from_static("/console"));
            return (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response();
        }
        Json(json!({ "location": to })).into_response()
    }
}
