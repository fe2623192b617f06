//! API tokens: `Authorization: Bearer oust_…`. Only their SHA-256 is stored; a look-up by hash needs no comparison of
//! secrets. A token reads, and may be given the right to pause; none decides a task.

use axum::extract::{Request, State as Shared};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::problem::{Problem, RequestId};
use super::refused::Asked;
use super::state::State;
use crate::store::Token;

/// SHA-256 (hex) of a token's text.
pub fn hash_of(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Lets requests with a live token pass, the token in their extensions, and records what such a one is refused.
pub(super) async fn required(Shared(state): Shared<State>, mut request: Request, next: Next) -> Response {
    let _place = match state.reading_place() {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    let id = RequestId::of(&request);
    match token(&state, request.headers(), &id).await {
        Ok(token) => {
            let asked = Asked::of(&request);
            request.extensions_mut().insert(token.clone());
            let answer = next.run(request).await;
            if let Some(refusal) = asked.refused(&answer) {
                state.record(&token, refusal).await;
            }
            answer
        }
        Err(problem) => problem.into_response(),
    }
}

async fn token(state: &State, headers: &HeaderMap, id: &RequestId) -> Result<Token, Problem> {
    let refuse = |reason, detail: &str| {
        state.refused("api", reason);
        Problem::not_authenticated(detail).ask_for_token()
    };
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Err(refuse("missing", "send Authorization: Bearer oust_… (made with `oust token create`)"));
    };
    let text = header.to_str().ok().and_then(|text| text.split_once(' '));
    let text = text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    let Some(text) = text.filter(|text| text.starts_with("oust_") && text.len() <= 128) else {
        return Err(refuse("malformed", "the header must read: Authorization: Bearer oust_…"));
    };
    match state.need_store()?.token_by_hash(&hash_of(text), state.now()).await {
        Ok(Some(token)) => Ok(token),
        Ok(None) => Err(refuse("unknown_token", "this token is unknown, expired or revoked")),
        Err(error) => Err(Problem::of_store(&error, id)),
    }
}

/// Refuses a token without the scope.
pub(super) fn entitled(token: &Token, scope: &str) -> Result<(), Problem> {
    if token.scopes.iter().any(|held| held == scope) {
        return Ok(());
    }
    Err(Problem::forbidden(format!("this token lacks the scope {scope}; make one that has it")))
}
