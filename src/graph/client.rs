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
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tracing::Instrument;
use url::Url;

use crate::domain::ledger::Disposition;

use super::config::{Config, ConfigError, Hooks, is_loopback};
use super::domains::Known;
use super::error::Error;
use super::retry::{Schedule, jitter};
use super::terms::{Nature, Operation, Terms, Workload};
use super::throttle::{Brake, Busy, Gate};
use super::token::TokenCache;

/// A difference between clocks below this is noise: `Date` has whole seconds (contract §13.2).
const SKEW_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// The client of one tenant; a clone is the same client.
#[derive(Clone)]
pub struct Graph {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    graph: Url,
    arm: Url,
    tokens: TokenCache,
    recover_tokens: Option<TokenCache>,
    arm_tokens: TokenCache,
    /// Containment's connections.
    pub(super) priority: reqwest::Client,
    pub(super) normal: reqwest::Client,
    /// A fresh connection for every request.
    pub(super) once: reqwest::Client,
    identity_gate: Option<Gate>,
    audit_gate: Option<Gate>,
    brake: Brake,
    pub(super) hooks: Hooks,
    pub(super) domains: Known,
    /// Graph's clock minus ours, in milliseconds.
    pub(super) skew: AtomicI64,
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
            domains: Known::default(),
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
