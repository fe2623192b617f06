//! From findings to a durable delivery, and from what was not understood to a buried one.

use axum::Json;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use super::{Arrived, Problem};
use crate::domain::{BuriedId, Finding};
use crate::http::answer::{Answer, Ignored};
use crate::http::problem;
use crate::http::state::{Named, OnUnknown};
use crate::sources::{Error, Parsed};
use crate::store::{Acceptance, Buried, BuriedState, Receipt};

impl Arrived<'_> {
    /// Makes what was understood durable and answers.
    pub(super) async fn take(
        &self,
        body: Bytes,
        webhook_id: Option<String>,
        parsed: Parsed,
    ) -> Result<Response, Problem> {
        let acceptance = self.acceptance(body, webhook_id, parsed.findings);
        let (count, json, delivery) = (acceptance.signals.len(), acceptance.answer.clone(), acceptance.delivery);
        if let Some(earlier) = self.keep(acceptance).await? {
            return Ok(problem::replay(earlier));
        }
        self.state.telemetry().delivery_accepted(delivery, &self.way.source.name, count);
        Ok(Json(json).into_response())
    }

    /// Sets a body aside that is of no known shape, and answers so that the sender is not muted for it.
    pub(super) async fn bury(
        &self,
        body: Bytes,
        webhook_id: Option<String>,
        by: &'static str,
        error: &Error,
    ) -> Result<Response, Problem> {
        let source = &self.way.source;
        let understood = self.acceptance(body.clone(), webhook_id, Vec::new());
        let named = understood.webhook_id.as_deref().map(|id| Named::new(&source.name, id, &understood.body_hash));
        let id = BuriedId::new(named.map_or_else(Uuid::now_v7, |named| named.uuid("buried")));
        let refusal = Problem::not_understood(format!("{error}; it is kept as {id} and can be replayed"))
            .with("buried", id.to_string());
        let taken = Answer {
            ignored: vec![Ignored { reason: format!("not understood, buried: {error}") }],
            ids: vec![id.to_string()],
            ..Answer::default()
        };
        let accepts = source.on_unknown.map(|word| word == OnUnknown::Accept);
        let accepts = accepts.unwrap_or_else(|| by == "query_token" || is_common_alert(&body));
        let json = if accepts { taken.json() } else { refusal.json() };
        let buried = Buried {
            id,
            at: self.received_at,
            source: source.name.clone(),
            tenant: Some(source.tenant.clone()),
            delivery: Some(understood.delivery),
            reason: error.to_string(),
            state: BuriedState::Buried,
            settled: None,
            content: Value::from(String::from_utf8_lossy(&body)),
        };
        let acceptance = Acceptance { buried: Some(buried), answer: json.clone(), ..understood };
        if let Some(earlier) = self.keep(acceptance).await? {
            return Ok(problem::replay(earlier));
        }
        self.state.telemetry().buried(&source.name, error.reason());
        if accepts { Ok(Json(json).into_response()) } else { Err(refusal) }
    }

    /// The delivery with what was found in it.
    pub(super) fn acceptance(&self, body: Bytes, webhook_id: Option<String>, findings: Vec<Finding>) -> Acceptance {
        let (when, what) = ((self.delivery, self.received_at), (body, webhook_id));
        self.way.source.acceptance(when, what, findings, |signal| self.state.covers(signal))
    }

    /// Makes it durable; `Some` is the answer that the same delivery got before.
    pub(super) async fn keep(&self, acceptance: Acceptance) -> Result<Option<Value>, Problem> {
        let within = self.state.limits().accept_timeout;
        match tokio::time::timeout(within, self.state.queue().accept(acceptance)).await {
            Ok(Ok(Receipt::Accepted)) => Ok(None),
            Ok(Ok(Receipt::Replay { answer })) => {
                self.state.telemetry().delivery_refused(&self.way.source.name, "replay");
                Ok(Some(answer))
            }
            Ok(Err(error)) => Err(self.refuse("not_durable", Problem::of_queue(&error, &self.id))),
            // It may become durable yet: then the repetition is recognised and starts nothing.
            Err(_) => {
                tracing::error!(request.id = %self.id.0, "a delivery was not durable in time");
                let late = Problem::not_durable("nothing was promised; send it again").retry_after(5);
                Err(self.refuse("not_durable", late))
            }
        }
    }
}

/// Action groups mute an endpoint that refuses them; these are the schemas they send (facts: sentinel §1.3).
fn is_common_alert(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Schema<'a> {
        #[serde(rename = "schemaId", borrow)]
        id: std::borrow::Cow<'a, str>,
    }
    let starts = |id: &str, with: &str| id.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    serde_json::from_slice::<Schema<'_>>(body)
        .is_ok_and(|schema| starts(&schema.id, "azureMonitor") || starts(&schema.id, "Microsoft.Insights/"))
}
