//! `$id` / `$ref` inside a list of entities, as Sentinel and Defender write them (facts: sentinel §1.1).
//!
//! Bounded and cycle-safe: a reference is followed at most `HOPS` times, and only to an object of the same list.

use std::collections::HashMap;

use serde_json::Value;

use super::limits;

/// References followed one after the other.
const HOPS: usize = 8;
/// Levels searched for `$id`.
const SEARCH_DEPTH: usize = 6;

/// The objects of one document that carry a `$id`.
#[derive(Debug, Default)]
pub struct Refs<'a> {
    by_id: HashMap<&'a str, &'a Value>,
}

impl<'a> Refs<'a> {
    /// Collects at most [`limits::ITEMS`] identified objects.
    pub fn of(root: &'a Value) -> Self {
        let mut refs = Self::default();
        refs.collect(root, SEARCH_DEPTH);
        refs
    }

    fn collect(&mut self, value: &'a Value, depth: usize) {
        if depth == 0 || self.by_id.len() >= limits::ITEMS {
            return;
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item, depth - 1)),
            Value::Object(map) => {
                if let Some(id) = map.get("$id").and_then(Value::as_str) {
                    self.by_id.entry(id).or_insert(value);
                }
                map.values().filter(|inner| inner.is_object() || inner.is_array()).for_each(|inner| {
                    self.collect(inner, depth - 1);
                });
            }
            _ => {}
        }
    }

    /// The object a reference points to; the value itself when it is none, or points nowhere or in a circle.
    pub fn resolve(&self, value: &'a Value) -> &'a Value {
        let mut at = value;
        for _ in 0..HOPS {
            match at.get("$ref").and_then(Value::as_str).and_then(|id| self.by_id.get(id)) {
                Some(next) => at = next,
                None => return at,
            }
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_is_resolved_and_a_circle_ends() {
        let list = json!([{"$id": "1", "Name": "ada", "Host": {"$id": "2", "HostName": "pc"}}, {"$ref": "1"},
            {"$id": "3", "$ref": "4"}, {"$id": "4", "$ref": "3"}, {"$ref": "9"}]);
        let refs = Refs::of(&list);
        assert_eq!(refs.resolve(&list[1])["Name"], "ada");
        assert_eq!(refs.resolve(&json!({"$ref": "2"}))["HostName"], "pc");
        assert_eq!(refs.resolve(&list[2]), &list[2]);
        assert_eq!(refs.resolve(&list[4]), &list[4]);
    }
}
