//! Graph change notifications: the handshake, clientState, and 202 whatever they say (facts: graph §1).

use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::{Arrived, Problem, Way, peer, plain};
use crate::http::state::SourceKind;
use crate::sources::Error;
use crate::sources::graph_notifications::{self as graph, LifecycleEvent};

/// Answers `?validationToken=` with the token: Graph asks before it keeps a subscription.
pub(super) fn handshake(way: &Way, parts: &Parts) -> Option<Response> {
    let token = graph::validation_token(parts.uri.query()?).transpose()?;
    if !way.source.networks.admit(peer(parts)) {
        let problem = Problem::not_authenticated("the peer address is not in the source's networks");
        return Some(problem.into_response());
    }
    Some(match token {
        Ok(token) => plain(StatusCode::OK, token),
        Err(error) => Problem::bad_request(error.to_string()).into_response(),
    })
}

impl Arrived<'_> {
    /// Takes notifications and lifecycle events. What has a wrong clientState is dropped, counted, and answered as
    /// if it were right: a forger learns nothing.
    pub(super) async fn notified(&self, parts: &Parts, bytes: Bytes) -> Result<Response, Problem> {
        let source = &self.way.source;
        if !source.networks.admit(peer(parts)) {
            let problem = Problem::not_authenticated("the peer address is not in the source's networks");
            return Err(self.refuse("network", problem));
        }
        self.admit()?;
        let SourceKind::Graph { client_state } = &source.kind else {
            return Err(Problem::internal("the log has the reason under this request's id"));
        };
        let notified =
            match graph::parse(&bytes, &graph::Trust { client_state, own: None }, &source.context(self.received_at)) {
                Ok(notified) => notified,
                Err(error @ Error::Empty) => return Err(self.refuse("empty", Problem::empty_body(error.to_string()))),
                Err(error @ Error::NotJson { .. }) => {
                    return Err(self.refuse("not_json", Problem::not_json(error.to_string())));
                }
                // Nothing in it proves who sent it, so it is not kept either.
                Err(error) => return Err(self.refuse(error.reason(), Problem::bad_request(error.to_string()))),
            };
        let dropped = notified.dropped;
        for (reason, count) in [
            ("client_state", dropped.wrong_client_state),
            ("malformed", dropped.malformed),
            ("other_tenant", dropped.other_tenant),
        ] {
            for _ in 0..count {
                self.state.refused(&source.name, reason);
            }
        }
        for lifecycle in &notified.lifecycle {
            let (subscription, event) = (lifecycle.subscription_id, word(&lifecycle.event));
            tracing::warn!(source.name = source.name, subscription.id = %subscription, event, "lifecycle notification");
        }
        if notified.findings.is_empty() && notified.lifecycle.is_empty() {
            return Ok(StatusCode::ACCEPTED.into_response());
        }
        let acceptance = self.acceptance(bytes, None, notified.findings);
        let count = acceptance.signals.len();
        self.keep(acceptance).await?;
        self.state.telemetry().delivery_accepted(self.delivery, &source.name, count);
        Ok(StatusCode::ACCEPTED.into_response())
    }
}

fn word(event: &LifecycleEvent) -> &'static str {
    match event {
        LifecycleEvent::ReauthorizationRequired => "reauthorization_required",
        LifecycleEvent::SubscriptionRemoved => "subscription_removed",
        LifecycleEvent::Missed => "missed",
        LifecycleEvent::Other(_) => "other",
    }
}
