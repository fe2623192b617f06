//! The HTTP surface: webhooks in, a read API behind tokens, health. It only translates: senders are verified and
//! bodies parsed by `sources`, deliveries made durable by `queue`, rows read from `store`. Decides nothing about a case
//! and no token decides a task.
//!
//! `router` is the whole map; `serve` puts it behind clocks and caps.

mod answer;
mod api;
mod body;
pub mod buried;
pub mod console;
mod crowd;
mod health;
pub(crate) mod html;
mod pause;
mod problem;
mod refused;
mod serve;
pub mod sign_in;
mod state;
mod token;
mod webhooks;

pub use health::{Check, Readiness};
pub use pause::{PAUSE, Pause};
pub use problem::{Problem, RequestId, chain};
pub use serve::{Peer, serve};
pub use state::{Limits, OnUnknown, Parts, Rate, Refusals, Source, SourceKind, State};
pub use token::hash_of;

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::FutureExt;
use uuid::Uuid;

/// Every path there is.
pub fn router(state: State) -> Router {
    let reads = match state.store() {
        Some(_) => api::routes(&state),
        None => Router::new().fallback(async || Problem::no_store()),
    };
    Router::new()
        .route("/webhooks/{source}", post(webhooks::deliver))
        .route("/webhooks/{source}/lifecycle", post(webhooks::lifecycle))
        .nest("/api/v1", reads)
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(around))
        .with_state(state)
}

async fn nothing() -> Problem {
    Problem::not_found("known paths begin with /webhooks/, /api/v1/, /healthz, /readyz or /metrics")
}

async fn wrong_method() -> Problem {
    Problem::method_not_allowed("see the Allow header for what does")
}

/// Around everything: a request id, no panic that reaches the connection, the last hand on the answer.
async fn around(mut request: Request, next: Next) -> Response {
    let id = RequestId(format!("req_{}", Uuid::now_v7().simple()));
    request.extensions_mut().insert(id.clone());
    let response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(request.id = %id.0, "a request could not be answered: the code that answers it panicked");
            Problem::internal("the log has the reason under this request's id").into_response()
        }
    };
    problem::seal(response, &id)
}
