//! Bounded JSON: documents of a body, fields whatever their case, JSON inside strings.
//!
//! Sentinel, Graph and Log Analytics spell the same field `userId`, `UserId` and `userid`, and carry objects as
//! strings that hold JSON (facts: sentinel §1.1, §1.4). Depth is checked on the bytes, before anything recurses.

use std::borrow::Cow;

use serde_json::{Deserializer, Value};

use super::{cut, limits};
use crate::sources::Error;

/// The documents of a body: one, or one per line (NDJSON, also with CRLF).
///
/// # Errors
/// [`Error::Empty`], [`Error::TooDeep`], [`Error::NotJson`] or [`Error::TooMany`].
pub fn documents(body: &[u8]) -> Result<Vec<Value>, Error> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::Empty);
    }
    if !within_depth(body) {
        return Err(Error::TooDeep);
    }
    let mut documents = Vec::new();
    for document in Deserializer::from_slice(body).into_iter::<Value>() {
        let document =
            document.map_err(|source| Error::NotJson { line: source.line(), column: source.column(), source })?;
        if documents.len() == limits::ITEMS {
            return Err(Error::TooMany);
        }
        documents.push(document);
    }
    Ok(documents)
}

/// True when no bracket outside a string opens more than [`limits::DEPTH`] levels.
fn within_depth(bytes: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > limits::DEPTH {
                    return false;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// The value, or what a string that holds a JSON object or array means. Broken or huge JSON stays a string: Logic
/// Apps cut long texts off in the middle (facts: sentinel §1.1).
pub fn open(value: &Value) -> Cow<'_, Value> {
    let Some(text) = value.as_str() else { return Cow::Borrowed(value) };
    let text = text.trim();
    let looks_like_json = text.starts_with(['{', '[']) && text.len() <= limits::EMBEDDED;
    if looks_like_json
        && within_depth(text.as_bytes())
        && let Ok(inner) = serde_json::from_str(text)
    {
        return Cow::Owned(inner);
    }
    Cow::Borrowed(value)
}

/// A field by name, exactly or else case-insensitively; null counts as absent.
pub fn get<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let map = value.as_object()?;
    map.get(key)
        .or_else(|| map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, found)| found))
        .filter(|found| !found.is_null())
}

/// The first of several spellings that is present.
pub fn first<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().find_map(|key| get(value, key))
}

/// A non-empty text field, trimmed.
pub fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    get(value, key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

/// The first of several spellings that holds a non-empty text.
pub fn first_text<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| text(value, key))
}

/// A text or a number as a short reference.
pub fn reference(value: &Value, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| match get(value, key)? {
        Value::String(text) if !text.trim().is_empty() => Some(cut(text, limits::TITLE)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// The elements of a list field; nothing when it is absent or something else.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    get(value, key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The names of an object's first keys, for an answer that says what was seen.
pub fn keys(value: &Value) -> String {
    match value {
        Value::Object(map) if map.is_empty() => "no keys".to_owned(),
        Value::Object(map) => {
            let names: Vec<String> = map.keys().take(12).map(|name| cut(name, 40)).collect();
            let more = if map.len() > 12 { ", …" } else { "" };
            format!("the keys {}{more}", names.join(", "))
        }
        Value::Array(items) => match items.first() {
            Some(first) => format!("a list of {}", keys(first)),
            None => "an empty list".to_owned(),
        },
        Value::String(_) => "a text".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Null => "null".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_of_json_are_documents_and_brackets_in_strings_are_text() {
        let body = b"\xef\xbb\xbf{\"a\":\"[[[{\\\"[\"}\r\n{\"b\":2}\r\n";
        assert_eq!(documents(body).expect("two documents"), [json!({"a": "[[[{\"["}), json!({"b": 2})]);
    }

    #[test]
    fn depth_and_count_are_bounded() {
        let deep = "[".repeat(limits::DEPTH + 1);
        assert!(matches!(documents(deep.as_bytes()), Err(Error::TooDeep)));
        let many = "{}\n".repeat(limits::ITEMS + 1);
        assert!(matches!(documents(many.as_bytes()), Err(Error::TooMany)));
        assert!(matches!(documents(b" \r\n"), Err(Error::Empty)));
        assert!(matches!(documents(b"{\n\"a\": }"), Err(Error::NotJson { line: 2, .. })));
    }

    #[test]
    fn json_in_a_string_is_opened_once_and_broken_json_stays_text() {
        assert_eq!(*open(&json!("[{\"Key\":1}]")), json!([{"Key": 1}]));
        assert_eq!(*open(&json!("[{\"Key\":")), json!("[{\"Key\":"));
        let deep = Value::String("[".repeat(100) + &"]".repeat(100));
        assert_eq!(*open(&deep), deep);
    }

    #[test]
    fn a_field_is_found_whatever_its_case_and_null_is_absent() {
        let row = json!({"UserId": "a", "riskLevel": null, "n": 7});
        assert_eq!(text(&row, "userid"), Some("a"));
        assert_eq!(get(&row, "RiskLevel"), None);
        assert_eq!(reference(&row, &["none", "N"]).as_deref(), Some("7"));
    }
}
