//! What makes two findings the same content: a SHA-256 over canonical JSON (contract §13.1).
//!
//! The hash has two layers: the detection (`base`), then the person in it (`of_person`). So entities that are fetched
//! late give the same content as if they had come in the webhook.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::domain::Subject;

/// Canonical JSON: keys sorted, no spaces, whole floats as integers.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, inner)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(inner, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, inner) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(inner, out);
            }
            out.push(']');
        }
        Value::Number(number) => match number.as_f64() {
            // Below 2^53 a whole float and the integer are the same number.
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 => {
                out.push_str(&format!("{float:.0}"));
            }
            _ => out.push_str(&number.to_string()),
        },
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// The hash of a detection, whoever it is about.
pub fn base(value: &Value) -> String {
    hex::encode(Sha256::digest(canonical(value).as_bytes()))
}

/// The hash of what a detection says about one person; the detection's own where nobody is named.
pub fn of_person(base: &str, subject: &Subject) -> String {
    let person = match (subject.known_object_id(), &subject.upn, &subject.sid, &subject.sam) {
        (Some(object_id), ..) => object_id.to_string(),
        (None, Some(upn), ..) => upn.to_string(),
        (None, None, Some(sid), _) => sid.to_string(),
        (None, None, None, Some(sam)) => format!("{}\\{}", sam.domain.as_deref().unwrap_or_default(), sam.name),
        (None, None, None, None) => return base.to_owned(),
    };
    hex::encode(Sha256::digest(format!("{base}|{person}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn order_of_keys_and_spelling_of_numbers_do_not_matter() {
        let a: Value = serde_json::from_str(r#"{"b":[1.0,"x"],"a":{"d":null,"c":true}}"#).expect("JSON");
        let b: Value = serde_json::from_str(r#"{ "a": {"c":true, "d":null}, "b": [1, "x"] }"#).expect("JSON");
        assert_eq!(canonical(&a), r#"{"a":{"c":true,"d":null},"b":[1,"x"]}"#);
        assert_eq!(base(&a), base(&b));
        assert_ne!(base(&a), base(&json!({"a": {"c": true, "d": null}, "b": [1, "y"]})));
    }

    #[test]
    fn people_of_one_detection_have_contents_of_their_own() {
        let ada = Subject { upn: "ada@contoso.example".parse().ok(), ..Subject::default() };
        let bob = Subject { upn: "bob@contoso.example".parse().ok(), ..Subject::default() };
        assert_ne!(of_person("x", &ada), of_person("x", &bob));
        assert_eq!(of_person("x", &Subject::default()), "x");
    }
}
