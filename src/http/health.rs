//! `/healthz`, `/readyz`, `/metrics`: for load balancers and Prometheus. No tokens; nothing about people in them.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::State;
use crate::telemetry;

/// Whether a part of the process can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `store`, `queue`, `playbooks`, …
    pub name: String,
    pub ok: bool,
    /// What is wrong, or a word about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether the process can do its work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Readiness {
    pub checks: Vec<Check>,
}

impl Readiness {
    /// True when every check is.
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }
}

/// The process answers.
pub(super) async fn live() -> Response {
    Json(json!({ "live": true })).into_response()
}

/// It can take deliveries.
pub(super) async fn ready(Shared(state): Shared<State>) -> Response {
    let readiness = state.readiness();
    let ready = readiness.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "checks": readiness.checks }))).into_response()
}

pub(super) async fn metrics(Shared(state): Shared<State>) -> Response {
    ([(CONTENT_TYPE, telemetry::CONTENT_TYPE)], state.telemetry().render()).into_response()
}
