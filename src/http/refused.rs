//! What somebody known was refused, in the audit trail (law 11): one short record of who asked for what and why not.
//!
//! Nothing of what they sent is in it. Whoever nobody knows is counted instead, and so is what comes too fast. What was
//! refused behind a door that writes it down itself, with more than is known here, is not written again.

use std::num::NonZeroU32;

use axum::extract::{MatchedPath, OriginalUri, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::problem::{Told, Unrendered, chain};
use crate::domain::CaseId;
use crate::store::{Audit, Batch, Lane, Op, Store};

/// The verb of such a record.
const VERB: &str = "request.refused";
/// Why a refusal of somebody known is only in the summary of the minute.
pub(super) const NOT_RECORDED: &str = "not_recorded";
/// Longest texts of a record, in characters.
const ABOUT: usize = 80;
const WHY: usize = 200;

/// What was asked for: kept while the request goes on.
#[derive(Debug)]
pub(super) struct Asked {
    method: Method,
    route: Option<MatchedPath>,
    path: String,
}

impl Asked {
    pub fn of(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            route: request.extensions().get().cloned(),
            // Of a nested router the request has only its part.
            path: request.extensions().get::<OriginalUri>().map_or(request.uri(), |uri| &uri.0).path().to_owned(),
        }
    }

    /// The refusal that this answer is and nobody recorded. A read is refused where it is not allowed; what is not there to
    /// be read was not refused.
    pub fn refused(&self, answer: &Response) -> Option<Refusal> {
        let (status, told) = (answer.status(), answer.extensions().get().copied().unwrap_or(Told::Nowhere));
        let is_refusal = match status {
            // Counted where it is limited.
            StatusCode::TOO_MANY_REQUESTS => false,
            StatusCode::FORBIDDEN => true,
            status => status.is_client_error() && !self.method.is_safe(),
        };
        (is_refusal && matches!(told, Told::Nowhere | Told::Alarm)).then(|| {
            let problem = answer.extensions().get::<Unrendered>().map(|Unrendered(problem)| problem);
            let text = |key| problem.and_then(|problem| problem.get(key)).and_then(Value::as_str);
            // What does not fit is described with words of what was sent.
            let why = match status.as_u16() {
                401 | 403 | 409 | 410 => text("detail"),
                _ => text("title"),
            };
            let route = self.route.as_ref().map_or("", |route| route.as_str());
            let about = about(route, &self.path);
            Refusal {
                case: case_of(route, &about).filter(|_| status != StatusCode::NOT_FOUND),
                deed: format!("{} {route}", self.method),
                about: cut(&about, ABOUT),
                status: status.as_u16(),
                why: cut(why.or(status.canonical_reason()).unwrap_or_default(), WHY),
                is_alarming: told == Told::Alarm,
            }
        })
    }
}

/// What stands in the path where the route has a placeholder; the path, where there is no route.
fn about(route: &str, path: &str) -> String {
    if route.is_empty() {
        return path.to_owned();
    }
    let named = route.split('/').zip(path.split('/')).filter(|(pattern, _)| pattern.starts_with('{'));
    named.map(|(_, value)| value).collect::<Vec<_>>().join("/")
}

fn case_of(route: &str, about: &str) -> Option<CaseId> {
    about.parse().ok().filter(|_| route.starts_with("/console/cases/"))
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// A refusal that is to be recorded.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Method and route.
    deed: String,
    about: String,
    case: Option<CaseId>,
    status: u16,
    why: String,
    is_alarming: bool,
}

/// Where refusals of people and tokens are written down: so many of each in a minute.
#[derive(Debug)]
pub(super) struct Record(DefaultKeyedRateLimiter<String>);

impl Record {
    pub fn per_minute(rate: NonZeroU32) -> Self {
        Self(RateLimiter::keyed(Quota::per_minute(rate)))
    }

    /// Writes it down; false where it is to be counted instead: they were refused too often, or nothing can be written.
    #[must_use]
    pub async fn keeps(&self, store: &dyn Store, who: String, refusal: Refusal, at: Timestamp) -> bool {
        if refusal.is_alarming {
            tracing::error!(who, deed = refusal.deed, why = refusal.why, "alarming attempt refused");
        }
        if self.0.len() > 50_000 {
            self.0.retain_recent();
        }
        if self.0.check_key(&who).is_err() {
            return false;
        }
        let mut detail = json!({ "deed": refusal.deed, "status": refusal.status, "why": refusal.why });
        if !refusal.about.is_empty() {
            detail["about"] = json!(refusal.about);
        }
        if refusal.is_alarming {
            detail["alarming"] = json!(true);
        }
        let audit =
            Audit { at, actor: who, verb: VERB.to_owned(), tenant: None, object_id: None, case: refusal.case, detail };
        let batch = Batch { expect: None, ops: vec![Op::Audit(Box::new(audit))] };
        match store.commit(Lane::Other, batch).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "a refusal could not be recorded; it is counted");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_deed_is_about_stands_where_its_route_has_a_placeholder() {
        assert_eq!(about("/console/tasks/{id}/done", "/console/tasks/task_1/done"), "task_1");
        assert_eq!(about("/console/pause", "/console/pause"), "");
        assert_eq!(about("", "/api/v1/nothing"), "/api/v1/nothing");
    }
}
