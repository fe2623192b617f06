//! `$batch`: several calls in one request, each routed, counted, throttled and refused by itself.
//!
//! Items run one after the other and are answered in another order, since callers must not rely on any.

use super::{
    Tenant,
    front::{Outcome, Stop},
    reply::{Body, Call, Fail, Reply, Surface},
    verb::{Route, Verb},
};
use serde_json::{Value, json};
use std::pin::Pin;
use uuid::Uuid;

const MAX_BATCH: usize = 20;

impl Tenant {
    /// `POST /$batch`: up to 20 calls, each counted, throttled and refused by itself (facts: graph §6).
    pub(super) async fn batch(&self, call: &Call<'_>) -> Result<Reply, Stop> {
        let requests = batch_items(&call.body)?;
        let mut responses: Vec<Value> = Vec::with_capacity(requests.len());
        let mut failed: Vec<String> = Vec::new();
        for request in requests {
            let name = request["id"].as_str().unwrap_or_default().to_owned();
            let depends = request["dependsOn"].as_array().map_or(&[][..], Vec::as_slice);
            let broken = depends.iter().any(|it| failed.iter().any(|name| it.as_str() == Some(name)));
            let (reply, request_id) = if broken {
                let id = self.clock.fresh_id();
                let fail = Fail::new(424, "FailedDependency", "A request this one depends on failed.");
                (fail.render(Surface::Graph, id, call), id)
            } else {
                match self.batch_item(request, call).await {
                    Outcome::Answer(reply, id) => (reply, id),
                    Outcome::Cut => return Err(Stop::Cut),
                    Outcome::Hang => return Err(Stop::Hang),
                }
            };
            if reply.status >= 400 {
                failed.push(name.clone());
            }
            responses.push(batch_answer(&name, reply, request_id));
        }
        // Answers come in any order on the wire; last first is as good as any and catches who relies on it.
        responses.reverse();
        Ok(Reply::ok(json!({"responses": responses})))
    }

    /// One item. Boxed, since a batch is itself a call.
    fn batch_item<'a>(
        &'a self,
        request: &'a Value,
        outer: &'a Call<'_>,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(async move {
            let url = request["url"].as_str().unwrap_or_default();
            let version = outer.path.split('/').nth(1).unwrap_or("v1.0");
            let full = format!("/{version}/{}", url.trim_start_matches('/'));
            let (path, query) = full.split_once('?').unwrap_or((&full, ""));
            let method = request["method"].as_str().unwrap_or_default();
            let headers = request["headers"].as_object();
            let header = |name: &str| {
                headers?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str())
            };
            let body = match request.get("body") {
                None | Some(Value::Null) => Body::Empty,
                // A body without its content type is not read (facts: graph §6).
                Some(_) if header("content-type").is_none() => Body::Bad,
                Some(body) => Body::Json(body.clone()),
            };
            let route = Route::of(method, path, &body);
            let call = Call {
                method,
                path,
                query,
                bearer: outer.bearer,
                client_request_id: header("client-request-id"),
                host: outer.host,
                raw: &[],
                body,
                now: self.clock.now(),
                knobs: outer.knobs,
            };
            if matches!(route.verb, Verb::Batch | Verb::Token | Verb::CreateSubscription)
                || route.surface != Surface::Graph
            {
                let id = self.clock.fresh_id();
                return Outcome::Answer(
                    Fail::bad("This request cannot be batched.").render(Surface::Graph, id, &call),
                    id,
                );
            }
            self.one(&route, &call, true).await
        })
    }
}

fn batch_items(body: &Body) -> Result<&Vec<Value>, Fail> {
    let requests = body.object()?.get("requests").and_then(Value::as_array);
    let requests = requests.ok_or_else(|| Fail::new(400, "BadRequest", "requests is missing."))?;
    if requests.is_empty() || requests.len() > MAX_BATCH {
        return Err(Fail::new(400, "BadRequest", "Number of batch request steps must be 1 to 20."));
    }
    let mut names: Vec<String> = Vec::with_capacity(requests.len());
    for request in requests {
        let name = request["id"].as_str().unwrap_or_default().to_lowercase();
        let whole = request["method"].is_string() && request["url"].as_str().is_some_and(|url| !url.contains("://"));
        if name.is_empty() || names.contains(&name) || !whole {
            return Err(Fail::new(400, "BadRequest", "Every request needs a unique id, a method and a relative url."));
        }
        names.push(name);
    }
    Ok(requests)
}

fn batch_answer(name: &str, reply: Reply, request_id: Uuid) -> Value {
    let mut headers = json!({"request-id": request_id});
    if let Some(seconds) = reply.retry_after {
        headers["Retry-After"] = json!(seconds.to_string());
    }
    if reply.body.is_some() {
        headers["Content-Type"] = json!("application/json");
    }
    json!({"id": name, "status": reply.status, "headers": headers, "body": reply.body})
}
