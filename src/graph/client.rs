//! The one way out: `send` puts token, lane, limits and `send_by` in front of a request and meaning behind its answer.
//!
//! Reads are repeated here, within their deadline; effects are sent once per call and the engine repeats them from
//! its ledger. A non-idempotent effect travels on a connection of its own, HTTP/1.1, never a pooled one, so that
//! nothing below can send it again. Redirects are not followed: a token goes to one host only.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tracing::Instrument;
use url::Url;
use uuid::Uuid;

use crate::domain::ledger::{Disposition, EffectKey};

use super::clock::SendBy;
use super::config::{Config, ConfigError, Hooks, is_loopback};
use super::error::{Error, redact};
use super::outgoing::{Fate, Guarded};
use super::retry::{Schedule, http_date, jitter, retry_after};
use super::throttle::{Brake, Busy, Gate};
use super::token::{Token, TokenCache};

/// No answer that this client asks for is larger.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;
/// A difference between clocks below this is noise: `Date` has whole seconds (contract §13.2).
const SKEW_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// May the same request be sent again?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It changes nothing.
    Read,
    /// Twice is as once.
    Idempotent,
    /// Twice is not once: never without proof that the first had no effect.
    Once,
}

/// Whose limits a call counts against (facts: graph §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    Directory,
    IdentityProtection,
    AuditLogs,
    Security,
    Outlook,
    Arm,
}

/// One kind of call.
#[derive(Debug)]
pub struct Operation {
    /// The word in metrics, spans and messages.
    pub name: &'static str,
    /// The least application permission; named when Graph answers 403.
    pub permission: &'static str,
    pub nature: Nature,
    pub workload: Workload,
}

/// The conditions of one call.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Sent as `client-request-id`; drawn when absent.
    pub key: Option<EffectKey>,
    /// Past it nothing is written.
    pub send_by: Option<SendBy>,
    /// When the call must have ended: token, waits and repetitions included.
    pub timeout: Duration,
    /// Containment: a lane of its own, and first while Graph throttles.
    pub priority: bool,
}

impl Terms {
    /// A read in the normal lane.
    pub fn read(timeout: Duration) -> Self {
        Self { key: None, send_by: None, timeout, priority: false }
    }

    /// An effect in the normal lane.
    pub fn effect(key: EffectKey, send_by: SendBy, timeout: Duration) -> Self {
        Self { key: Some(key), send_by: Some(send_by), timeout, priority: false }
    }

    /// The same in the priority lane.
    #[must_use]
    pub fn first(self) -> Self {
        Self { priority: true, ..self }
    }
}

/// An effect that Graph accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Graph's `request-id`.
    pub request_id: Option<String>,
    /// When the successful attempt left, on Graph's clock where it differs from ours by more than 2 s.
    pub left_at: Timestamp,
}

/// One HTTP call, for metrics.
#[derive(Debug, Clone, Copy)]
pub struct GraphCall {
    pub operation: &'static str,
    /// `None` when no answer came.
    pub status: Option<u16>,
    pub throttled: bool,
    pub took: Duration,
}

/// Is told of every HTTP call.
pub type Observer = Arc<dyn Fn(GraphCall) + Send + Sync>;

/// The client of one tenant; a clone is the same client.
#[derive(Clone)]
pub struct Graph {
    inner: Arc<Inner>,
}

struct Inner {
    graph: Url,
    arm: Url,
    tokens: TokenCache,
    recover_tokens: Option<TokenCache>,
    arm_tokens: TokenCache,
    /// Containment's connections.
    priority: reqwest::Client,
    normal: reqwest::Client,
    /// A fresh connection for every request.
    once: reqwest::Client,
    identity_gate: Option<Gate>,
    audit_gate: Option<Gate>,
    brake: Brake,
    hooks: Hooks,
    /// Graph's clock minus ours, in milliseconds.
    skew: AtomicI64,
    read_lag: Duration,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").field("graph", &self.inner.graph.as_str()).finish_non_exhaustive()
    }
}

/// A request before it has a token.
pub(super) struct Request {
    pub operation: &'static Operation,
    pub method: Method,
    pub url: Url,
    /// Effects always carry one: it is what the `send_by` check stands in front of.
    pub body: Option<Bytes>,
    /// `ConsistencyLevel: eventual`, which some filters need.
    pub eventual: bool,
}

/// A 2xx.
pub(super) struct Reply {
    pub status: u16,
    pub request_id: Option<String>,
    pub left_at: Timestamp,
    pub body: Vec<u8>,
}

impl Graph {
    pub(super) fn new(config: &Config, hooks: Hooks) -> Result<Self, ConfigError> {
        // Normally installed by main; a second installation changes nothing.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let cloud = config.cloud;
        let graph = config.base(config.graph_url.as_ref(), cloud.graph(), "graph_url")?;
        let login = config.base(config.login_url.as_ref(), cloud.login(), "login_url")?;
        let arm = config.base(config.arm_url.as_ref(), cloud.arm(), "arm_url")?;
        let mut endpoint = login.clone();
        if let Ok(mut path) = endpoint.path_segments_mut() {
            let tenant = config.tenant_id.hyphenated().to_string();
            path.pop_if_empty().extend([tenant.as_str(), "oauth2", "v2.0", "token"]);
        }
        let tokens = |audience, credential: &_| TokenCache::new(endpoint.clone(), audience, Clone::clone(credential));
        let local = [&graph, &login, &arm].iter().all(|url| is_loopback(url));
        let gate = |limit: Option<_>| limit.map(Gate::new);
        let inner = Inner {
            tokens: tokens(cloud.graph(), &config.credential),
            recover_tokens: config.recover_credential.as_ref().map(|credential| tokens(cloud.graph(), credential)),
            arm_tokens: tokens(cloud.arm(), &config.credential),
            priority: http_client(config, local, false)?,
            normal: http_client(config, local, false)?,
            once: http_client(config, local, true)?,
            graph,
            arm,
            identity_gate: gate(config.limits.identity_protection),
            audit_gate: gate(config.limits.audit_logs),
            brake: Brake::new(),
            hooks,
            skew: AtomicI64::new(0),
            read_lag: config.read_lag,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Keeps the tokens fresh, ahead of need, for as long as it is polled: run it beside the workers.
    pub async fn warm(&self) -> Infallible {
        let mut failures = 0;
        loop {
            let deadline = Instant::now() + Duration::from_secs(10);
            let mut next = Duration::from_secs(3600);
            let mut failed = false;
            for tokens in std::iter::once(&self.inner.tokens).chain(&self.inner.recover_tokens) {
                if tokens.refresh_in().is_zero() {
                    failed |= tokens.refresh(&self.inner.normal, deadline).await.is_err();
                }
                next = next.min(tokens.refresh_in());
            }
            failures = if failed { failures + 1 } else { 0 };
            let wait =
                if failed { Schedule::containment().delay(failures, None, jitter()).unwrap_or_default() } else { next };
            tokio::time::sleep(wait.max(Duration::from_secs(1))).await;
        }
    }

    /// Shifts an instant of ours to Graph's clock where the two differ by more than 2 s.
    pub fn on_graphs_clock(&self, at: Timestamp) -> Timestamp {
        let skew = SignedDuration::from_millis(self.inner.skew.load(Ordering::Relaxed));
        if skew.abs() > SKEW_TOLERANCE { at.checked_add(skew).unwrap_or(at) } else { at }
    }

    /// The wall clock this client was built with.
    pub fn now(&self) -> Timestamp {
        (self.inner.hooks.now)()
    }

    /// How long a change of a user may take until a read shows it.
    pub fn read_lag(&self) -> Duration {
        self.inner.read_lag
    }

    pub(super) fn base(&self, workload: Workload) -> &Url {
        if workload == Workload::Arm { &self.inner.arm } else { &self.inner.graph }
    }

    /// Sends a request under its terms. Reads are repeated within the deadline, effects are not.
    pub(super) async fn send(&self, request: &Request, terms: &Terms) -> Result<Reply, Error> {
        let span = tracing::info_span!(
            "graph_call",
            "graph.operation" = request.operation.name,
            "http.status" = tracing::field::Empty,
            "graph.request_id" = tracing::field::Empty,
        );
        let deadline = Instant::now() + terms.timeout;
        async {
            let mut attempt = 0;
            loop {
                let error = match self.attempt(request, terms, deadline).await {
                    Err(error) if request.operation.nature == Nature::Read => error,
                    other => return other,
                };
                let Disposition::Retry { after_ms } = error.disposition() else { return Err(error) };
                // A token was already tried for again, and a gate has no room before the deadline.
                let pointless = matches!(error, Error::Token { .. } | Error::Busy { .. } | Error::Late { .. });
                let wait = Schedule::read().delay(attempt, after_ms.map(Duration::from_millis), jitter());
                match wait {
                    Some(wait) if !pointless && Instant::now() + wait < deadline => tokio::time::sleep(wait).await,
                    _ => return Err(error),
                }
                attempt += 1;
            }
        }
        .instrument(span)
        .await
    }

    async fn attempt(&self, request: &Request, terms: &Terms, deadline: Instant) -> Result<Reply, Error> {
        let probe = self.admit(request.operation, terms, deadline).await?;
        let tokens = self.tokens_for(request.operation);
        let mut renewed = false;
        loop {
            let http = if terms.priority { &self.inner.priority } else { &self.inner.normal };
            let token = tokens
                .get(http, deadline)
                .await
                .map_err(|source| Error::Token { operation: request.operation, source })?;
            let result = self.exchange(request, terms, &token, deadline).await;
            self.learn(request.operation, probe.is_some(), &result);
            match result {
                // 401 is provably without effect: one new token, one more try.
                Err(Error::Status { status: 401, .. }) if !renewed => {
                    tokens.reject(token.serial);
                    renewed = true;
                }
                other => return other,
            }
        }
    }

    async fn admit(
        &self,
        operation: &'static Operation,
        terms: &Terms,
        deadline: Instant,
    ) -> Result<Option<SemaphorePermit<'_>>, Error> {
        let busy = |Busy { after }| Error::Busy { operation, after };
        let gate = match operation.workload {
            Workload::IdentityProtection => self.inner.identity_gate.as_ref(),
            Workload::AuditLogs => self.inner.audit_gate.as_ref(),
            Workload::Directory => return self.inner.brake.pass(terms.priority, deadline).await.map_err(busy),
            Workload::Security | Workload::Outlook | Workload::Arm => None,
        };
        if let Some(gate) = gate {
            gate.pass(deadline).await.map_err(busy)?;
        }
        Ok(None)
    }

    fn learn(&self, operation: &Operation, probe: bool, result: &Result<Reply, Error>) {
        if operation.workload != Workload::Directory {
            return;
        }
        match result {
            Err(Error::Status { status: 429, retry_after, .. }) => {
                self.inner.brake.throttled(Instant::now(), *retry_after)
            }
            Ok(_) | Err(Error::Status { .. }) if probe => self.inner.brake.answered(Instant::now()),
            _ => {}
        }
    }

    fn tokens_for(&self, operation: &Operation) -> &TokenCache {
        match (operation.workload, &self.inner.recover_tokens) {
            (Workload::Arm, _) => &self.inner.arm_tokens,
            (_, Some(recover)) if operation.nature == Nature::Once => recover,
            _ => &self.inner.tokens,
        }
    }

    /// One request on the wire.
    async fn exchange(
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

fn http_client(config: &Config, local: bool, once: bool) -> Result<reqwest::Client, ConfigError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("oust/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(Duration::from_secs(50));
    if local {
        builder = builder.no_proxy();
    }
    if once {
        builder = builder.http1_only().pool_max_idle_per_host(0);
    }
    builder.build().map_err(ConfigError::Http)
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
