//! The pages of signing in, made by the console's views, and what ends a session. Scripts come from files: the policy
//! allows nothing inline.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::browser;
use super::enrol::invitation;
use super::session::{Id, SignedIn};
use super::state::{SignIn, actor, audit, failed};
use crate::domain::task::Role;
use crate::http::Problem;
use crate::http::console::view::sign_in::{
    EnrolPage, EnrolView as EnrolPageView, SignInPage, SignInView as SignInPageView,
};
use crate::http::console::view::{Page, Shell};
use crate::http::html::escaped;
use crate::store;
use crate::store::reviewers::Change;

/// The ceremonies in the browser.
pub const SCRIPT: &str = include_str!("../console/assets/passkey.js");

/// What a sign-in page shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignInView {
    pub passkeys: bool,
    pub provider: bool,
    /// Where to go afterwards: a path of the console.
    pub next: String,
    /// Why they are here again, if they are.
    pub notice: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    next: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// What the sign-in page shows.
pub fn sign_in_view(sign_in: &SignIn, next: Option<&str>, error: Option<&str>) -> SignInView {
    let notice = match error {
        Some("provider") => Some("The identity provider did not sign you in. Try again."),
        Some("out") => Some("You are signed out."),
        Some("over") => Some("Your session ended. Sign in again to go on where you were."),
        _ => None,
    };
    SignInView {
        passkeys: sign_in.has_passkeys(),
        provider: sign_in.has_provider(),
        next: browser::next(next),
        notice: notice.map(str::to_owned),
    }
}

/// The sign-in page. Another name of this machine is sent to the one that passkeys know.
pub(super) async fn sign_in(
    Shared(sign_in): Shared<SignIn>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let view = sign_in_view(&sign_in, asked.next.as_deref(), asked.error.as_deref());
    let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let ours = sign_in.site().url("");
    let elsewhere = ours.split_once("://").is_some_and(|(_, ours)| ours != host);
    if elsewhere && !sign_in.site().is_secure() && sign_in.site().accepts(&format!("http://{host}")) {
        let next = url::form_urlencoded::byte_serialize(view.next.as_bytes()).collect::<String>();
        let to = sign_in.site().url(&format!("/console/sign-in?next={next}"));
        let to = HeaderValue::try_from(to).unwrap_or(HeaderValue::from_static("/console/sign-in"));
        return (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response();
    }
    let oidc = view.provider.then_some(("your organisation", "/console/sign-in/oidc"));
    let mut shown = SignInPageView::of(view.passkeys, oidc, Some(&view.next));
    match asked.error.as_deref() {
        Some("out" | "over") => shown.ended = view.notice,
        _ => shown.error = view.notice,
    }
    if !view.passkeys && !view.provider {
        shown.error = Some("No way to sign in is configured: see `reviewers` in oust.yaml.".to_owned());
    }
    rendered(&SignInPage { shell: &Shell::outside(sign_in.now()), view: &shown })
}

/// The page behind an invitation: shows for whom it is. Looking changes nothing.
pub(super) async fn enrol(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let (path, now) = (format!("/console/enrol/{token}"), sign_in.now());
    sign_in.passkeys()?;
    let (invite, account) = invitation(&sign_in, &token, &id).await?;
    let role = account.roles.iter().max().copied().unwrap_or(Role::Viewer);
    let name = format!("{} ({})", account.display_name, account.id);
    let shown = EnrolPageView::open(&name, role, &account.groups, invite.expires_at, &path, now);
    Ok(rendered(&EnrolPage { shell: &Shell::outside(now), view: &shown }))
}

/// A page of a view.
fn rendered(page: &dyn Page) -> Response {
    match page.html() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(error = %error, "a page could not be made");
            Problem::internal("the log has the reason under this request's id").into_response()
        }
    }
}

/// The script.
pub(super) async fn script() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, SCRIPT).into_response()
}

/// Who is signed in, for scripts.
pub(super) async fn session(Shared(sign_in): Shared<SignIn>, signed_in: SignedIn) -> Response {
    let session = &signed_in.session;
    Json(json!({
        "reviewer": signed_in.account.id, "display_name": signed_in.account.display_name,
        "roles": signed_in.roles(), "groups": signed_in.groups(), "with": session.how.word(), "aal2": session.aal2,
        "since": session.created_at, "proved_at": session.proved_at, "fresh": session.is_fresh(sign_in.now()),
        "csrf": signed_in.csrf(),
    }))
    .into_response()
}

/// Ends this session.
pub(super) async fn sign_out(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
) -> Result<Response, Problem> {
    let now = sign_in.now();
    let end = Change::EndSession { hash: signed_in.key.clone(), at: now };
    let ended = audit(now, &actor(&signed_in.account.id), "session.ended", json!({ "reason": "signed_out" }));
    match sign_in.try_commit(vec![end.into(), ended]).await {
        Ok(()) | Err(store::Error::Spent(_)) => Ok(signed_out(&sign_in)),
        Err(error) => Err(failed(&error, &id)),
    }
}

/// Ends every session of this reviewer.
pub(super) async fn sign_out_everywhere(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
) -> Result<Response, Problem> {
    let now = sign_in.now();
    let reviewer = signed_in.account.id.clone();
    let ended = audit(now, &actor(&reviewer), "session.ended", json!({ "reason": "signed_out_everywhere" }));
    sign_in.commit(vec![Change::EndSessionsOf { reviewer, except: None, at: now }.into(), ended], &id).await?;
    Ok(signed_out(&sign_in))
}

fn signed_out(sign_in: &SignIn) -> Response {
    let site = sign_in.site();
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/console/sign-in?error=out"));
    headers.append(SET_COOKIE, browser::set_cookie(site, site.session_cookie(), ""));
    // Not "storage": the key there opens what was sealed to this browser, which only its reviewer is given, signed in again.
    headers.insert("clear-site-data", HeaderValue::from_static("\"cache\""));
    response
}

/// A page without ornament.
pub(super) fn page(title: &str, main: &str) -> Response {
    let title = escaped(title);
    Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · oust</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <script src=\"/console/sign-in/passkey.js\" defer></script></head>\
         <body><main><h1>{title}</h1>{main}<p role=\"status\" aria-live=\"polite\" data-passkey-problem></p></main></body></html>"
    ))
    .into_response()
}
