//! Pause over the API: a token with the scope `pause` may stop every effect; only a human starts them again.

use axum::extract::{Request, State as Shared};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::problem::{Problem, RequestId};
use super::state::{Limits, State};
use super::{body, token};
use crate::store::{Audit, Batch, Lane, Op, Token};

/// The store's setting that stops every effect while it is there.
pub const PAUSE: &str = "pause";

/// Who stopped everything, why and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// `token:<name>`, `operator:<unix user>`.
    pub by: String,
    #[serde(default)]
    pub reason: Option<String>,
    pub at: Timestamp,
}

impl Pause {
    /// The transaction that records the pause and who asked for it.
    pub fn batch(&self) -> Batch {
        let value = json!({ "by": self.by, "reason": self.reason, "at": self.at });
        let audit = Audit {
            at: self.at,
            actor: self.by.clone(),
            verb: "pause".into(),
            tenant: None,
            object_id: None,
            case: None,
            detail: json!({ "reason": self.reason }),
        };
        let ops = vec![Op::PutSetting { key: PAUSE.into(), value }, Op::Audit(Box::new(audit))];
        Batch { expect: None, ops }
    }
}

/// Longest reason, in characters.
const REASON: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    reason: Option<String>,
}

/// Reads whether everything stands still.
pub(super) async fn show(
    Shared(state): Shared<State>,
    Extension(id): Extension<RequestId>,
    Extension(bearer): Extension<Token>,
) -> Result<Response, Problem> {
    token::entitled(&bearer, "read")?;
    let held = state.need_store()?.setting(PAUSE).await.map_err(|error| Problem::of_store(&error, &id))?;
    Ok(Json(answer(held)).into_response())
}

/// Stops every effect, containment included; signals are still taken.
pub(super) async fn begin(
    Shared(state): Shared<State>,
    Extension(id): Extension<RequestId>,
    Extension(bearer): Extension<Token>,
    request: Request,
) -> Result<Response, Problem> {
    token::entitled(&bearer, "pause")?;
    let (parts, content) = request.into_parts();
    let limits = Limits { max_body: 4096, ..state.limits().clone() };
    let bytes = body::read(content, &parts.headers, &limits).await?;
    let asked = match bytes.trim_ascii() {
        [] => Asked { reason: None },
        bytes => serde_json::from_slice(bytes)
            .map_err(|_| Problem::not_json("send nothing, or {\"reason\": \"…\"} and nothing else"))?,
    };
    if asked.reason.as_deref().is_some_and(|reason| reason.chars().count() > REASON) {
        return Err(Problem::bad_request(format!("a reason has at most {REASON} characters")));
    }
    let store = state.need_store()?;
    let held = store.setting(PAUSE).await.map_err(|error| Problem::of_store(&error, &id))?;
    if held.is_some() {
        return Ok(Json(answer(held)).into_response());
    }
    let pause = Pause { by: format!("token:{}", bearer.name), reason: asked.reason, at: state.now() };
    store.commit(Lane::Containment, pause.batch()).await.map_err(|error| Problem::of_store(&error, &id))?;
    state.telemetry().paused(true, &pause.by);
    state.pause_recorded();
    let held = serde_json::to_value(&pause).ok();
    Ok(Json(answer(held)).into_response())
}

/// No token starts effects again.
pub(super) async fn end(Extension(bearer): Extension<Token>) -> Problem {
    match token::entitled(&bearer, "pause") {
        Ok(()) => Problem::forbidden("a human starts effects again, and is recorded: run `oust resume` on the machine"),
        Err(problem) => problem,
    }
}

fn answer(held: Option<Value>) -> Value {
    match held {
        Some(Value::Object(mut map)) => {
            map.insert("paused".into(), Value::Bool(true));
            Value::Object(map)
        }
        Some(_) => json!({ "paused": true }),
        None => json!({ "paused": false }),
    }
}
