//! `POST /webhooks/{source}`: whole body, who sent it, how fast, what it says; then durable; only then 2xx.
//!
//! Decides from body and configuration alone. The query string is never logged: it may hold a token.

mod accept;
mod graph;

use axum::extract::{Path, Request, State as Shared};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jiff::Timestamp;
use tracing::Instrument;
use uuid::Uuid;

use super::body;
use super::problem::{Problem, RequestId};
use super::serve::Peer;
use super::state::{SourceKind, State, Way};
use crate::domain::DeliveryId;
use crate::sources::Error;
use crate::sources::auth::Unverified;

/// A body whose bytes are all here, from a source that exists.
#[derive(Debug)]
struct Arrived<'a> {
    state: &'a State,
    way: &'a Way,
    id: RequestId,
    delivery: DeliveryId,
    received_at: Timestamp,
}

/// Takes a delivery.
pub(super) async fn deliver(shared: Shared<State>, path: Path<String>, request: Request) -> Response {
    arrive(shared, path, request, false).await
}

/// Takes lifecycle notifications of Graph subscriptions.
pub(super) async fn lifecycle(shared: Shared<State>, path: Path<String>, request: Request) -> Response {
    arrive(shared, path, request, true).await
}

async fn arrive(Shared(state): Shared<State>, Path(name): Path<String>, request: Request, lifecycle: bool) -> Response {
    let Some(way) = state.way(&name) else {
        state.refused("unknown", "no_such_source");
        return no_such_source().into_response();
    };
    let is_graph = matches!(way.source.kind, SourceKind::Graph { .. });
    if lifecycle && !is_graph {
        state.refused(&way.source.name, "no_such_path");
        return no_such_source().into_response();
    }
    let delivery = DeliveryId::new(Uuid::now_v7());
    let span = state.telemetry().delivery_span(delivery, &way.source.name);
    async {
        let (parts, content) = request.into_parts();
        let id = parts.extensions.get::<RequestId>().cloned().unwrap_or_else(|| RequestId(String::new()));
        if is_graph && let Some(token) = graph::handshake(way, &parts) {
            return token;
        }
        let bytes = match body::read(content, &parts.headers, state.limits()).await {
            Ok(bytes) => bytes,
            Err(problem) => {
                state.refused(&way.source.name, "body");
                return problem.into_response();
            }
        };
        let _place = match state.place() {
            Ok(place) => place,
            Err(problem) => {
                state.refused(&way.source.name, "busy");
                return problem.into_response();
            }
        };
        let arrived = Arrived { state: &state, way, id, delivery, received_at: state.now() };
        let answered =
            if is_graph { arrived.notified(&parts, bytes).await } else { arrived.delivered(parts, bytes).await };
        answered.unwrap_or_else(Problem::into_response)
    }
    .instrument(span)
    .await
}

fn no_such_source() -> Problem {
    Problem::not_found("no source of this name is configured; the path is /webhooks/ and its name in oust.yaml")
}

fn peer(parts: &Parts) -> Option<std::net::IpAddr> {
    parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical())
}

impl Arrived<'_> {
    fn refuse(&self, reason: &'static str, problem: Problem) -> Problem {
        self.state.refused(&self.way.source.name, reason);
        problem
    }

    fn admit(&self) -> Result<(), Problem> {
        self.way.admit().map_err(|problem| self.refuse("too_fast", problem))
    }

    /// Kinds `microsoft` and `mapped`.
    async fn delivered(&self, parts: Parts, bytes: Bytes) -> Result<Response, Problem> {
        let query = parts.uri.query().map(str::to_owned);
        let (peer, headers) = (peer(&parts), parts.headers);
        let typed = body::check_type(&headers);
        let request = Unverified { headers, query, body: bytes, peer };
        let Some(authenticator) = &self.way.source.auth else {
            return Err(self.refuse("no_auth", Problem::not_authenticated("this source admits nobody")));
        };
        let verified = request.verify(authenticator, self.received_at).map_err(|error| {
            let help = "check secret, header and clock of the sender against the source's `auth`";
            self.refuse(error.reason(), Problem::not_authenticated(format!("{error}; {help}")))
        })?;
        self.admit()?;
        typed.map_err(|problem| self.refuse("media_type", problem))?;
        let (by, webhook_id) = (verified.by(), verified.webhook_id().map(str::to_owned));
        let bytes = verified.into_body();
        match self.way.source.parse(&bytes, self.received_at) {
            Ok(parsed) => self.take(bytes, webhook_id, parsed).await,
            Err(error @ Error::Empty) => Err(self.refuse(error.reason(), Problem::empty_body(error.to_string()))),
            Err(error @ Error::NotJson { .. }) => {
                Err(self.refuse(error.reason(), Problem::not_json(error.to_string())))
            }
            Err(error) => self.bury(bytes, webhook_id, by, &error).await,
        }
    }
}

/// A plain text that no browser may take for anything else.
fn plain(status: StatusCode, text: String) -> Response {
    let mut response = (status, text).into_response();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(axum::http::header::CONTENT_TYPE, kind);
    response
}
