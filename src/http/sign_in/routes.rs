//! A router that knows its routes: who may use each is written beside its path, enforced in front of its handler, and can
//! be listed, so that tests try every one of them. The console's pages use the same.

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::handler::Handler;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};

use super::browser::{self, CSRF, check_origin, csrf_of, same, seal, source};
use super::session::SignedIn;
use super::state::SignIn;
use crate::domain::reviewer::ReviewerId;
use crate::domain::task::Role;
use crate::http::body;
use crate::http::refused::Asked;
use crate::http::serve::Peer;
use crate::http::{Problem, RequestId};

/// What a page asks for by itself, while nobody may be there.
const FRAGMENT: &str = "fragment=";
const EVENTS: &str = "/console/events";

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: what signing in needs.
    Public,
    /// Somebody signed in with at least this role.
    Role(Role),
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub access: Access,
}

/// Routes with their guards.
#[derive(Debug)]
pub struct Routes {
    sign_in: SignIn,
    router: Router,
    list: Vec<Route>,
}

impl Routes {
    pub fn new(sign_in: SignIn) -> Self {
        Self { sign_in, router: Router::new(), list: Vec::new() }
    }

    /// Adds a route. A method that changes something is refused before its handler unless one of our own pages sent it,
    /// and, with a session, its token (header `x-csrf-token`, or the form's field `csrf`).
    #[must_use]
    pub fn route<H, T, S>(self, method: Method, path: &'static str, access: Access, handler: H, state: S) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        let layer = from_fn_with_state((self.sign_in.clone(), access), guard);
        let one: MethodRouter = MethodRouter::new().on(filter, handler).with_state(state).layer(layer);
        let mut list = self.list;
        list.push(Route { method, path, access });
        Self { sign_in: self.sign_in, router: self.router.route(path, one), list }
    }

    /// Every route added.
    pub fn list(&self) -> &[Route] {
        &self.list
    }

    /// The router, with the headers that every page has.
    pub fn into_router(self) -> Router {
        self.router.layer(from_fn(dress))
    }
}

async fn dress(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    seal(response.headers_mut());
    response
}

async fn guard(Shared((sign_in, access)): Shared<(SignIn, Access)>, request: Request, next: Next) -> Response {
    let wants_page = request.method() == Method::GET
        && request
            .headers()
            .get(ACCEPT)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|it| it.contains("text/html"));
    let path = request.uri().path_and_query().map(|path| path.as_str().to_owned());
    let asked = Asked::of(&request);
    match admit(&sign_in, access, request).await {
        Ok(request) => {
            let who = request.extensions().get::<SignedIn>().map(|who| who.account.id.clone());
            let answer = next.run(request).await;
            if let (Some(who), Some(refusal)) = (who, asked.refused(&answer)) {
                sign_in.record(&who, refusal).await;
            }
            answer
        }
        Err(Refused::Role(problem, who)) => {
            let answer = problem.into_response();
            if let Some(refusal) = asked.refused(&answer) {
                sign_in.record(&who, refusal).await;
            }
            answer
        }
        // The cookie stays: a dead one harms nothing, and this request may have set out before a proof in another tab
        // renewed the session. Removing it would remove the new one.
        Err(Refused::SignIn(problem)) => {
            if wants_page {
                let next = browser::next(path.as_deref());
                let next = url::form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>();
                let to = format!("/console/sign-in?next={next}");
                let mut response = StatusCode::SEE_OTHER.into_response();
                let to = HeaderValue::try_from(to).unwrap_or(HeaderValue::from_static("/console/sign-in"));
                response.headers_mut().insert(LOCATION, to);
                response
            } else {
                problem.into_response()
            }
        }
        Err(Refused::Problem(problem)) => problem.into_response(),
    }
}

/// Why a request does not reach its handler.
#[derive(Debug)]
enum Refused {
    /// Nobody is signed in.
    SignIn(Problem),
    /// Somebody is, whose roles do not reach.
    Role(Problem, ReviewerId),
    Problem(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

async fn admit(sign_in: &SignIn, access: Access, mut request: Request) -> Result<Request, Refused> {
    let id = RequestId::of(&request);
    let address = source(request.extensions().get::<Peer>(), request.headers());
    if let Err(forged) = check_origin(request.method(), request.headers(), sign_in.site()) {
        sign_in.refused(forged.word());
        return Err(Problem::forbidden("this request did not come from one of our own pages").into());
    }
    let Access::Role(role) = access else {
        sign_in.admit_address(&address)?;
        return Ok(request);
    };
    // Whoever is signed in is not limited by address: a whole team may sit behind one.
    let cookie = browser::cookie(request.headers(), sign_in.site().session_cookie());
    let Some(secret) = cookie else {
        sign_in.refused("no_session");
        sign_in.admit_stranger(&address)?;
        return Err(Refused::SignIn(Problem::not_signed_in("sign in first")));
    };
    let by_itself =
        request.uri().query().is_some_and(|query| query.contains(FRAGMENT)) || request.uri().path() == EVENTS;
    let signed_in = match SignedIn::load(sign_in, &secret, !by_itself, &id).await? {
        Ok(signed_in) => signed_in,
        Err(why) => {
            sign_in.refused("ended_session");
            sign_in.admit_stranger(&address)?;
            return Err(Refused::SignIn(Problem::not_signed_in(why)));
        }
    };
    if !request.method().is_safe() {
        request = check_token(sign_in, &secret, request).await?;
    }
    signed_in.require(role).map_err(|problem| Refused::Role(problem, signed_in.account.id.clone()))?;
    request.extensions_mut().insert(signed_in);
    Ok(request)
}

/// The session's token: in the header, or in the form.
async fn check_token(sign_in: &SignIn, secret: &str, request: Request) -> Result<Request, Problem> {
    let expected = csrf_of(secret);
    let refuse = |why| {
        sign_in.refused("no_token");
        Problem::forbidden(why)
    };
    let reload = "the page is too old: reload it and try again";
    if let Some(sent) = request.headers().get(&CSRF) {
        return if same(sent.to_str().unwrap_or_default(), &expected) { Ok(request) } else { Err(refuse(reload)) };
    }
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        return Err(refuse(reload));
    }
    let (parts, content) = request.into_parts();
    let bytes = body::read(content, &parts.headers, sign_in.limits()).await?;
    let mut fields = url::form_urlencoded::parse(&bytes).filter(|(name, _)| name == "csrf");
    let sent = fields.next().map(|(_, value)| value.into_owned()).unwrap_or_default();
    if !same(&sent, &expected) {
        // The answer is a page of its own, and reloading that would send the same again.
        return Err(refuse("the page that sent this is too old: go back to it, load it again there, then repeat it"));
    }
    Ok(Request::from_parts(parts, bytes.into()))
}
