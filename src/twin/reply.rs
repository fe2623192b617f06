//! Answers of the tenant before they become HTTP: a reply, or a failure in the words of Graph, ARM or the login host.
//!
//! Handlers never build responses themselves, so that a call inside a `$batch` and a call on the wire get the same
//! answer.

use super::clock::iso;
use serde_json::{Value, json};
use std::borrow::Cow;
use uuid::Uuid;

/// One call, already taken apart.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) bearer: Option<&'a str>,
    pub(super) client_request_id: Option<&'a str>,
    pub(super) host: &'a str,
    pub(super) raw: &'a [u8],
    pub(super) body: Body,
    pub(super) now: i64,
    pub(super) knobs: super::config::Knobs,
}

/// A request body as JSON, if it is any.
#[derive(Debug)]
pub(super) enum Body {
    Empty,
    Json(Value),
    Bad,
}

impl Body {
    pub(super) fn parse(raw: &[u8]) -> Self {
        if raw.iter().all(u8::is_ascii_whitespace) {
            return Body::Empty;
        }
        serde_json::from_slice(raw).map_or(Body::Bad, Body::Json)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Body::Json(value) => value.get(key),
            Body::Empty | Body::Bad => None,
        }
    }

    /// The body as an object, or Graph's 400.
    pub(super) fn object(&self) -> Result<&serde_json::Map<String, Value>, Fail> {
        match self {
            Body::Json(Value::Object(map)) => Ok(map),
            Body::Empty => Err(Fail::bad("Empty Payload. JSON content expected.")),
            Body::Json(_) | Body::Bad => Err(Fail::new(400, "BadRequest", "Unable to read JSON request payload.")),
        }
    }
}

/// What a handler did and says.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Option<Value>,
    pub(super) retry_after: Option<u64>,
    /// Whether something outside the twin's bookkeeping changed.
    pub(super) applied: bool,
}

impl Reply {
    pub(super) fn ok(body: Value) -> Self {
        Reply { status: 200, body: Some(body), retry_after: None, applied: false }
    }

    pub(super) fn status(status: u16, body: Option<Value>) -> Self {
        Reply { status, body, retry_after: None, applied: false }
    }

    pub(super) fn no_content() -> Self {
        Reply::status(204, None)
    }

    /// Marks the call's effect as done.
    pub(super) fn applied(mut self) -> Self {
        self.applied = true;
        self
    }
}

/// Whose words a failure is told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    Graph,
    Arm,
    Login,
    Control,
}

/// A refused call.
#[derive(Debug)]
pub(super) struct Fail {
    pub(super) status: u16,
    pub(super) code: Cow<'static, str>,
    pub(super) message: Cow<'static, str>,
    pub(super) retry_after: Option<u64>,
}

impl Fail {
    pub(super) fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Fail { status, code: code.into(), message: message.into(), retry_after: None }
    }

    pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Fail::new(400, "Request_BadRequest", message)
    }

    pub(super) fn not_found(what: &str) -> Self {
        Fail::new(
            404,
            "Request_ResourceNotFound",
            format!(
                "Resource '{what}' does not exist or one of its queried reference-property objects are not present."
            ),
        )
    }

    pub(super) fn denied() -> Self {
        Fail::new(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
    }

    pub(super) fn throttled(retry_after: Option<u64>) -> Self {
        Fail { retry_after, ..Fail::new(429, "TooManyRequests", "Too many requests. Please retry later.") }
    }

    /// The failure as a reply: Graph's error body with `innerError`, ARM's without (facts: graph §6).
    pub(super) fn render(self, surface: Surface, request_id: Uuid, call: &Call<'_>) -> Reply {
        let body = match surface {
            Surface::Graph => {
                let date = iso(call.now);
                let date = date.split(['.', 'Z']).next().unwrap_or_default().to_owned();
                let client = call.client_request_id.map_or_else(|| request_id.to_string(), str::to_owned);
                json!({"error": {"code": self.code, "message": self.message, "innerError": {
                    "date": date, "request-id": request_id, "client-request-id": client}}})
            }
            Surface::Arm | Surface::Control => json!({"error": {"code": self.code, "message": self.message}}),
            Surface::Login => json!({"error": self.code, "error_description": self.message, "error_codes": [],
                "timestamp": iso(call.now), "trace_id": request_id, "correlation_id": request_id}),
        };
        Reply { status: self.status, body: Some(body), retry_after: self.retry_after, applied: false }
    }
}
