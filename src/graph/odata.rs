//! Addresses and pages: paths from typed segments, filters with quotes doubled, next pages on the same host only.

use std::fmt::Display;

use bytes::Bytes;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use url::Url;

use super::client::{Graph, Reply, Request};
use super::error::Error;
use super::terms::{Accepted, Nature, Operation, Terms, Workload};

/// Pages followed at most in one listing, however many more are promised.
pub const PAGE_LIMIT: usize = 50;

/// Everything is encoded in a query but what RFC 3986 calls unreserved.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A text as an `OData` literal: `'it''s'`.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// An instant as an `OData` literal, in whole seconds, rounded down.
pub(super) fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// One page of a listing.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(default = "Vec::new")]
    value: Vec<T>,
    #[serde(rename = "@odata.nextLink", default)]
    next: Option<String>,
}

impl Request {
    /// A request to `/v1.0/{segments}`; each segment is encoded as one.
    pub(super) fn new(graph: &Graph, operation: &'static Operation, method: Method, segments: &[&str]) -> Self {
        let mut url = graph.base(operation.workload).clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty();
            if operation.workload != Workload::Arm {
                path.push("v1.0");
            }
            path.extend(segments);
        }
        Self { operation, method, url, body: None, eventual: false }
    }

    pub(super) fn get(graph: &Graph, operation: &'static Operation, segments: &[&str]) -> Self {
        Self::new(graph, operation, Method::GET, segments)
    }

    /// Adds query parameters; names are literals of ours, values are encoded.
    pub(super) fn query(mut self, pairs: &[(&str, &dyn Display)]) -> Self {
        let mut query = String::new();
        for (name, value) in pairs {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(name);
            query.push('=');
            query.extend(utf8_percent_encode(&value.to_string(), QUERY));
        }
        self.url.set_query(Some(&query));
        self
    }

    pub(super) fn json(mut self, body: &Value) -> Self {
        self.body = Some(Bytes::from(body.to_string()));
        self
    }

    pub(super) fn bytes(mut self, body: Bytes) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) fn eventual(mut self) -> Self {
        self.eventual = true;
        self
    }
}

impl Reply {
    pub(super) fn json<T: DeserializeOwned>(&self, operation: &'static Operation) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::Unreadable {
            operation,
            line: error.line(),
            column: error.column(),
        })
    }

    pub(super) fn accepted(self) -> Accepted {
        Accepted { request_id: self.request_id, left_at: self.left_at }
    }
}

impl Graph {
    /// Reads one object.
    pub(super) async fn one<T: DeserializeOwned>(&self, request: Request, terms: &Terms) -> Result<T, Error> {
        self.send(&request, terms).await?.json(request.operation)
    }

    /// Sends an effect of which only the acceptance is read.
    pub(super) async fn effect(&self, request: Request, terms: &Terms) -> Result<Accepted, Error> {
        debug_assert!(request.body.is_some() && request.operation.nature != Nature::Read);
        Ok(self.send(&request, terms).await?.accepted())
    }

    /// Reads a listing: at most `most` items and [`PAGE_LIMIT`] pages. The timeout counts for the whole of it.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        mut request: Request,
        terms: &Terms,
        most: usize,
    ) -> Result<Vec<T>, Error> {
        let operation = request.operation;
        let end = tokio::time::Instant::now() + terms.timeout;
        let mut items = Vec::new();
        for _ in 0..PAGE_LIMIT {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            let page: Page<T> = self.send(&request, &Terms { timeout: left, ..*terms }).await?.json(operation)?;
            items.extend(page.value);
            match page.next {
                Some(next) if items.len() < most => request.url = self.same_host(operation, &next)?,
                _ => break,
            }
        }
        items.truncate(most);
        Ok(items)
    }

    /// The token goes to our own base address only, whatever an answer says.
    fn same_host(&self, operation: &'static Operation, next: &str) -> Result<Url, Error> {
        let base = self.base(operation.workload);
        let url = Url::parse(next).map_err(|_| Error::ForeignLink { operation })?;
        let root = base.path().trim_end_matches('/');
        let same = url.origin() == base.origin()
            && url.username().is_empty()
            && url.password().is_none()
            && url.path().starts_with(&format!("{root}/v1.0/"));
        if same && next.len() <= 16 * 1024 { Ok(url) } else { Err(Error::ForeignLink { operation }) }
    }
}

/// An instant, or nothing where Graph sends null or something that is none.
pub(super) fn lenient_instant<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) => text.parse().ok(),
        _ => None,
    })
}

/// A text, or nothing where Graph sends null, an empty text or another type.
pub(super) fn lenient_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// The default where Graph sends null.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_name_cannot_leave_its_literal() {
        assert_eq!(quoted("o'brien@contoso.example"), "'o''brien@contoso.example'");
        assert_eq!(quoted("x' or 1 eq 1 or 'a' eq 'a"), "'x'' or 1 eq 1 or ''a'' eq ''a'");
    }

    #[test]
    fn an_instant_is_written_in_whole_seconds() {
        let at: Timestamp = "2026-11-20T08:12:41.987Z".parse().expect("an instant");
        assert_eq!(instant(at), "2026-11-20T08:12:41Z");
    }
}
