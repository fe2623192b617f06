//! One request on the wire, and the meaning of what comes back.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use uuid::Uuid;

use super::client::{Graph, Reply, Request};
use super::clock::SendBy;
use super::error::{Error, redact};
use super::outgoing::{Fate, Guarded};
use super::retry::{http_date, retry_after};
use super::terms::{GraphCall, Nature, Operation, Terms};
use super::token::Token;

/// No answer that this client asks for is larger.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;

tokio::task_local! {
    /// Graph's `request-id` of the last answer.
    static ANSWERED: RefCell<Option<String>>;
}

/// What comes of some work, and the `request-id` of the last answer that Graph gave in it: reads of several requests
/// have several, and the last one is the one to ask support about.
pub async fn answered<T>(work: impl Future<Output = T>) -> (T, Option<String>) {
    let both = async {
        let done = work.await;
        (done, ANSWERED.with(RefCell::take))
    };
    ANSWERED.scope(RefCell::default(), both).await
}

impl Graph {
    /// One request on the wire.
    pub(super) async fn exchange(
        &self,
        request: &Request,
        terms: &Terms,
        token: &Token,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let operation = request.operation;
        if terms.send_by.is_some_and(SendBy::passed) {
            return Err(Error::Late { operation });
        }
        let started = Instant::now();
        let (wire, fate) = self.wire(request, terms, token);
        let http = match (operation.nature, terms.priority) {
            (Nature::Once, _) => &self.inner.once,
            (_, true) => &self.inner.priority,
            (_, false) => &self.inner.normal,
        };
        let asked_at = self.now();
        let result = match tokio::time::timeout_at(deadline, http.execute(wire)).await {
            Ok(Ok(answer)) => self.read_answer(request, answer, &fate, asked_at, deadline).await,
            Ok(Err(error)) => Err(unanswered(request, &fate, Some(error))),
            Err(_) => Err(unanswered(request, &fate, None)),
        };
        let status = match &result {
            Ok(reply) => Some(reply.status),
            Err(error) => error.status(),
        };
        (self.inner.hooks.observer)(GraphCall {
            operation: operation.name,
            status,
            throttled: status == Some(429),
            took: started.elapsed(),
        });
        result
    }

    fn wire(&self, request: &Request, terms: &Terms, token: &Token) -> (reqwest::Request, Arc<Fate>) {
        let mut wire = reqwest::Request::new(request.method.clone(), request.url.clone());
        let headers = wire.headers_mut();
        headers.insert("authorization", token.header.clone());
        let id = terms.key.map_or_else(|| Uuid::new_v4().hyphenated().to_string(), |key| key.to_string());
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("client-request-id", id);
        }
        headers.insert("accept", HeaderValue::from_static("application/json"));
        if terms.priority {
            headers.insert("x-ms-throttle-priority", HeaderValue::from_static("high"));
        }
        if request.eventual {
            headers.insert(HeaderName::from_static("consistencylevel"), HeaderValue::from_static("eventual"));
        }
        let Some(bytes) = &request.body else { return (wire, Arc::default()) };
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let body = Guarded::new(bytes.clone(), terms.send_by, self.inner.hooks.now.clone());
        let fate = body.fate();
        *wire.body_mut() = Some(reqwest::Body::wrap(body));
        (wire, fate)
    }

    async fn read_answer(
        &self,
        request: &Request,
        mut answer: reqwest::Response,
        fate: &Fate,
        asked_at: Timestamp,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let operation = request.operation;
        let status = answer.status().as_u16();
        let request_id = identifier(answer.headers(), "request-id");
        let span = tracing::Span::current();
        span.record("http.status", status);
        if let Some(id) = &request_id {
            span.record("graph.request_id", id.as_str());
            let _nobody_asks = ANSWERED.try_with(|last| last.replace(Some(id.clone())));
        }
        let now = self.now();
        self.watch_clock(answer.headers(), now);
        let wait = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|value| retry_after(value, now));
        let body = tokio::time::timeout_at(deadline, collect(operation, &mut answer)).await;
        let body = body.unwrap_or(Err(Error::Lost { operation, source: None }));
        if !(200..300).contains(&status) {
            // The status alone decides; a body that did not arrive takes nothing from it.
            return Err(explained(request, status, request_id, wait, &body.unwrap_or_default()));
        }
        let left_at = self.on_graphs_clock(fate.written_at().unwrap_or(asked_at));
        let body = match (body, operation.nature) {
            (Ok(body), _) => body,
            // A 2xx says that it was done, and of such calls nothing else is read.
            (Err(_), Nature::Once) => Vec::new(),
            (Err(error), _) => return Err(error),
        };
        Ok(Reply { status, request_id, left_at, body })
    }

    fn watch_clock(&self, headers: &HeaderMap, now: Timestamp) {
        let date = headers.get("date").and_then(|value| value.to_str().ok()).and_then(http_date);
        if let Some(date) = date {
            // `Date` is cut to whole seconds: the middle of that second is the best guess.
            let skew = date.duration_since(now).as_millis().saturating_add(500);
            self.inner.skew.store(i64::try_from(skew).unwrap_or(0), Ordering::Relaxed);
        }
    }
}

/// No answer: the body's fate tells whether anything was written.
fn unanswered(request: &Request, fate: &Fate, error: Option<reqwest::Error>) -> Error {
    let operation = request.operation;
    // The address may hold an identifier that is nobody's business in a log.
    let source = error.map(reqwest::Error::without_url);
    let connecting = source.as_ref().is_some_and(reqwest::Error::is_connect);
    if fate.was_late() {
        Error::Late { operation }
    } else if connecting || (request.body.is_some() && fate.written_at().is_none()) {
        Error::NotSent { operation, source }
    } else {
        Error::Lost { operation, source }
    }
}

async fn collect(operation: &'static Operation, answer: &mut reqwest::Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    loop {
        let chunk = answer.chunk().await;
        match chunk.map_err(|error| Error::Lost { operation, source: Some(error.without_url()) })? {
            Some(chunk) if body.len() + chunk.len() > ANSWER_LIMIT => {
                return Err(Error::TooLarge { operation, limit: ANSWER_LIMIT });
            }
            Some(chunk) => body.extend_from_slice(&chunk),
            None => return Ok(body),
        }
    }
}

/// Graph's error body: `{"error":{"code","message",…}}`, every part of it optional (facts: graph §6).
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Complaint {
    code: String,
    message: String,
}

fn explained(
    request: &Request,
    status: u16,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Error {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Envelope {
        error: Complaint,
    }
    let Complaint { code, message } = serde_json::from_slice::<Envelope>(body).unwrap_or_default().error;
    // Where a secret was sent, no word of the answer is repeated.
    let says = |texts: &[&str], word| texts.iter().any(|text| text.to_ascii_lowercase().contains(word));
    let detail = if request.operation.nature == Nature::Once { String::new() } else { redact(&message) };
    let about_password = status == 400
        && says(&[&code, &message], "password")
        && !["on-premises", "federat"].iter().any(|where_else| says(&[&message], where_else));
    Error::Status {
        operation: request.operation,
        status,
        code: code.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(80).collect(),
        detail,
        about_password,
        request_id,
        retry_after,
    }
}

/// A header that goes into records: short and plain, or not at all.
fn identifier(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    let plain =
        value.len() <= 64 && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    (plain && !value.is_empty()).then(|| value.to_owned())
}
