//! Reads a whole body: at most so many bytes, within so much time. The signature is over these bytes.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::Limits;
use super::problem::Problem;

/// Read and thrown away of a body that is too large, so that the sender finishes and reads the answer instead of
/// meeting a reset connection. Beyond it the connection is cut.
const DRAINED: usize = 32 * 1024 * 1024;

/// Reads a body.
///
/// # Errors
/// 413 over `limits.max_body`, 408 past `limits.body_timeout`, 400 when it broke off.
pub async fn read(body: Body, headers: &HeaderMap, limits: &Limits) -> Result<Bytes, Problem> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let expects = headers.contains_key(EXPECT);
    if expects && declared.is_some_and(|bytes| bytes > limits.max_body as u64) {
        return Err(too_large(limits));
    }
    match tokio::time::timeout(limits.body_timeout, collect(body, limits.max_body)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large(limits)),
        Ok(Err(_)) => Err(Problem::broken_body("the connection or its framing broke off; send it again")),
        Err(_) => {
            let seconds = limits.body_timeout.as_secs_f64();
            Err(Problem::too_slow(format!("a body must arrive within {seconds} s; send it again")))
        }
    }
}

fn too_large(limits: &Limits) -> Problem {
    let detail = format!("at most {} bytes are taken; split the delivery or raise limits.max_body", limits.max_body);
    Problem::too_large(detail)
}

/// The whole body, or `None` when it is larger than `most`.
async fn collect(mut body: Body, most: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen > most {
            (first, whole) = (Bytes::new(), BytesMut::new());
            if seen > most.saturating_add(DRAINED) {
                break;
            }
        } else if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&data);
        }
    }
    if seen > most {
        return Ok(None);
    }
    Ok(Some(if whole.is_empty() { first } else { whole.freeze() }))
}

/// Refuses what is declared as something else than JSON in UTF-8. A missing declaration is fine: the body is parsed
/// strictly anyway, and some forwarders send none.
///
/// # Errors
/// 415.
pub fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.get(CONTENT_ENCODING).is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::unsupported("send the body without compression"));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or("?").to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let json = matches!(
        kind,
        "" | "application/json" | "text/json" | "application/x-ndjson" | "application/ndjson" | "application/jsonl"
    ) || (kind.starts_with("application/") && kind.ends_with("+json"));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some(("charset", charset)) => matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"),
        _ => true,
    });
    match (json, utf8) {
        (true, true) => Ok(()),
        (true, false) => Err(Problem::unsupported("send the body as UTF-8")),
        (false, _) => Err(Problem::unsupported("send the body with Content-Type: application/json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_its_many_names_is_taken_and_anything_else_is_not() {
        let check = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().expect("a header value"));
            check_type(&headers).is_ok()
        };
        assert!(check_type(&HeaderMap::new()).is_ok());
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/cloudevents+json; charset=\"utf-8\"",
            "text/json",
            "application/x-ndjson",
        ] {
            assert!(check(good), "{good}");
        }
        for bad in ["text/plain", "application/xml", "application/json; charset=utf-16", "multipart/form-data", "+json"]
        {
            assert!(!check(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_taken_and_one_byte_more_is_not() {
        let limits = Limits { max_body: 8, ..Limits::default() };
        let headers = HeaderMap::new();
        assert_eq!(read(Body::from("12345678"), &headers, &limits).await.expect("fits"), "12345678");
        assert!(read(Body::from("123456789"), &headers, &limits).await.is_err());
    }
}
