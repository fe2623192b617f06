//! The only mapping from what went wrong to what the caller is told (RFC 9457). 4xx say what to fix; 5xx say nothing
//! but the request's id, under which the log has the chain.

use axum::Json;
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::telemetry::Said;
use crate::{queue, store};

/// A request's id, in the answer's `instance` and in the log: `req_…`.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

impl RequestId {
    /// The id that the outermost layer gave this request.
    pub(super) fn of<B>(request: &axum::http::Request<B>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_else(|| Self(String::new()))
    }
}

/// Where the request's id is answered.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What was said of a refusal besides the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Nowhere,
    /// Nothing yet, and somebody must look: the attempt itself is a sign of trouble.
    Alarm,
    /// Whoever refused it has put it into the audit trail.
    Recorded,
    /// Nothing was refused: it is not there yet, and a page that waits for it asks again and again.
    NotYet,
}

/// A refusal, before it knows its request's id.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    /// The last part of `type`, `urn:oust:problem:…`: stable, for programs.
    word: &'static str,
    title: &'static str,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    extra: Map<String, Value>,
    told: Told,
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $word:literal, $title:literal;)+) => {
        impl Problem {
            $($(#[$doc])*
            pub fn $name(detail: impl Into<String>) -> Self {
                Self::new(StatusCode::$status, $word, $title, detail.into())
            })+
        }
    };
}

problems! {
    /// 400: the body is not what a body must be.
    not_json = BAD_REQUEST, "not-json", "The body is not JSON";
    /// 400: nothing in it.
    empty_body = BAD_REQUEST, "empty-body", "The body is empty";
    /// 400: the body broke off.
    broken_body = BAD_REQUEST, "broken-body", "The body did not arrive whole";
    /// 400: a parameter is wrong.
    bad_request = BAD_REQUEST, "bad-request", "The request is not valid";
    /// 401 for senders; nothing is stored.
    not_authenticated = UNAUTHORIZED, "not-authenticated", "The sender is not authenticated";
    /// 403: authenticated, but not entitled.
    forbidden = FORBIDDEN, "forbidden", "This is not allowed";
    /// 401 for people: nobody is signed in, or the proof does not hold.
    not_signed_in = UNAUTHORIZED, "not-signed-in", "You are not signed in";
    /// 410: it was there, and never will be again.
    gone = GONE, "gone", "This is over";
    /// 409: an attempt, link or name that was used before.
    spent = CONFLICT, "spent", "This was used before or is over";
    /// 409: somebody was first, or it is not what was shown.
    conflict = CONFLICT, "conflict", "This is not as it was any more";
    /// 422: it does not fit.
    unfit = UNPROCESSABLE_ENTITY, "unfit", "This does not fit";
    /// 502: the identity provider did not answer as it must.
    provider_failed = BAD_GATEWAY, "provider-failed", "The identity provider did not answer as it must";
    /// 404: no such path, source or row.
    not_found = NOT_FOUND, "not-found", "There is nothing here";
    /// 405.
    method_not_allowed = METHOD_NOT_ALLOWED, "method-not-allowed", "This method does nothing here";
    /// 408: the body came too slowly.
    too_slow = REQUEST_TIMEOUT, "too-slow", "The body came too slowly";
    /// 413.
    too_large = PAYLOAD_TOO_LARGE, "too-large", "The body is too large";
    /// 415.
    unsupported = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is not declared as JSON";
    /// 422: authenticated, understood as nothing, buried.
    not_understood = UNPROCESSABLE_ENTITY, "not-understood", "The body was understood as nothing";
    /// 429: over the source's rate.
    too_fast = TOO_MANY_REQUESTS, "too-fast", "Too many deliveries";
    /// 429 for people: over what an address or an account may try.
    too_many_attempts = TOO_MANY_REQUESTS, "too-many-attempts", "Too many attempts";
    /// 503: all hands are busy.
    busy = SERVICE_UNAVAILABLE, "busy", "Busy";
    /// 503: it could not be made durable.
    not_durable = SERVICE_UNAVAILABLE, "not-durable", "The delivery could not be made durable";
    /// 503: nothing can be read or written now.
    store_away = SERVICE_UNAVAILABLE, "store-away", "The store is away";
    /// 500.
    internal = INTERNAL_SERVER_ERROR, "internal", "Something went wrong here";
}

impl Problem {
    fn new(status: StatusCode, word: &'static str, title: &'static str, detail: String) -> Self {
        Self { status, word, title, detail, headers: Vec::new(), extra: Map::new(), told: Told::Nowhere }
    }

    /// It stands in the audit trail: whoever is known is not recorded again as refused.
    pub fn recorded(self) -> Self {
        Self { told: Told::Recorded, ..self }
    }

    /// It only says that something is not there yet.
    pub fn not_yet(self) -> Self {
        Self { told: Told::NotYet, ..self }
    }

    /// It is to be recorded as a sign of trouble.
    pub fn alarming(self) -> Self {
        Self { told: Told::Alarm, ..self }
    }

    /// Adds `Retry-After`, in seconds.
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Asks for an API token.
    pub fn ask_for_token(self) -> Self {
        self.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"oust\""))
    }

    /// 404: the process has no store to read from.
    pub fn no_store() -> Self {
        Self::not_found("this process has no store: it only takes deliveries; ask one with the role worker")
    }

    /// Names the methods that do something here.
    pub fn allow(self, methods: &'static str) -> Self {
        self.header(ALLOW, HeaderValue::from_static(methods))
    }

    fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds a member to the answer.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// 5xx: the reason is ours, and another attempt may go well.
    pub fn is_ours(&self) -> bool {
        self.status.is_server_error()
    }

    /// The answer without the request's id: what is stored with a delivery, so that a replay gets the same.
    pub fn json(&self) -> Value {
        let mut body = json!({
            "type": format!("urn:oust:problem:{}", self.word),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Value::Object(map) = &mut body {
            map.extend(self.extra.clone());
        }
        body
    }

    /// The answer to a failing store, whose chain is logged here and nowhere else; a store that is away, once in a while.
    pub fn of_store(error: &store::Error, id: &RequestId) -> Self {
        if let store::Error::Away(_) = error {
            tell_of_away("a page", id, error);
            return Self::store_away("nothing was changed; try again").retry_after(5);
        }
        tracing::error!(request.id = %id.0, error = %chain(error), "a read of the store failed");
        Self::internal("the log has the reason under this request's id")
    }

    /// The answer to a delivery that is not durable: the sender must come again.
    pub fn of_queue(error: &queue::Error, id: &RequestId) -> Self {
        match error {
            // Said once by whoever keeps the connection, and counted here for each delivery.
            queue::Error::Away(why) => tracing::debug!(request.id = %id.0, why, "a delivery could not be made durable"),
            queue::Error::NotDurable(store::Error::Away(_)) => tell_of_away("a delivery", id, error),
            _ => tracing::error!(request.id = %id.0, error = %chain(error), "a delivery could not be made durable"),
        }
        Self::not_durable("nothing was taken; send it again").retry_after(5)
    }
}

/// Logs once in a while that the store is away, however many ask; each of them for those who look closely.
fn tell_of_away(what: &'static str, id: &RequestId, error: &dyn std::error::Error) {
    static SAID: Said = Said::new();
    let error = chain(error);
    match SAID.anew(what, "away") {
        Some(unsaid) => tracing::error!(request.id = %id.0, error, unsaid, "{what} was refused: the store is away"),
        None => tracing::debug!(request.id = %id.0, error, "{what} was refused: the store is away"),
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// What a handler returns instead of a body: `seal` renders it once the request's id is at hand.
#[derive(Debug, Clone)]
pub(super) struct Unrendered(pub(super) Value);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        for (name, value) in &self.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response.extensions_mut().insert(Unrendered(self.json()));
        response.extensions_mut().insert(self.told);
        response
    }
}

/// A stored answer, given again: a refusal is rendered as one, anything else is what it was.
pub fn replay(stored: Value) -> Response {
    let refused = stored.get("type").is_some();
    let status = stored.get("status").and_then(Value::as_u64).filter(|_| refused);
    let status = status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
    let Some(status) = status else { return Json(stored).into_response() };
    let mut response = status.into_response();
    response.extensions_mut().insert(Unrendered(stored));
    response
}

/// The last hand on every answer: renders problems, adds the request's id and what keeps browsers from guessing.
pub fn seal(mut response: Response, id: &RequestId) -> Response {
    if let Some(Unrendered(mut body)) = response.extensions_mut().remove::<Unrendered>() {
        if let Value::Object(map) = &mut body {
            map.insert("instance".to_owned(), Value::from(id.0.as_str()));
        }
        let headers: HeaderMap = std::mem::take(response.headers_mut());
        let mut rendered = (response.status(), body.to_string()).into_response();
        rendered.headers_mut().extend(headers);
        let kind = HeaderValue::from_static("application/problem+json");
        rendered.headers_mut().insert(CONTENT_TYPE, kind);
        response = rendered;
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.entry("cache-control").or_insert(HeaderValue::from_static("no-store"));
    response
}
