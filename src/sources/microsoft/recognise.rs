//! Takes wrappers off until a shape recognises itself (facts: sentinel §1.7).
//!
//! Wrappers: `body` (Logic Apps), `data` and `event` (Event Grid and home-made), `records` (Event Hub), `value`
//! (Log Analytics and Graph lists), arrays, and any of them as a JSON string.

use serde_json::Value;

use super::SHAPES;
use crate::sources::Error;
use crate::sources::normalise::json::{get, keys, open};
use crate::sources::normalise::limits;

/// Keys that wrap other items.
const WRAPPERS: &[&str] = &["body", "records", "value", "data", "event"];

/// One item, and the index of the shape that recognised it.
#[derive(Debug)]
pub(super) struct Item {
    pub shape: Option<usize>,
    pub value: Value,
}

/// The items of a delivery, in order.
///
/// # Errors
/// [`Error::TooMany`]; [`Error::Unknown`] for a Graph notification, which needs a source of its own kind because it is
/// authenticated by client state.
pub(super) fn unwrap(documents: Vec<Value>) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    for document in documents {
        open_item(document, limits::UNWRAPS, &mut items)?;
    }
    Ok(items)
}

fn open_item(value: Value, unwraps: usize, items: &mut Vec<Item>) -> Result<(), Error> {
    match value {
        Value::Array(list) => list.into_iter().try_for_each(|item| open_item(item, unwraps, items)),
        Value::Null => Ok(()),
        Value::Object(map) if map.is_empty() => Ok(()),
        Value::String(_) => match open(&value).into_owned() {
            Value::String(text) if text.trim().is_empty() => Ok(()),
            text @ Value::String(_) => keep(None, text, items),
            _ if unwraps == 0 => keep(None, value, items),
            inner => open_item(inner, unwraps - 1, items),
        },
        value => {
            let shape = SHAPES.iter().position(|shape| shape.tells(&value));
            if shape.is_some() {
                return keep(shape, value, items);
            }
            if is_graph_notification(&value) {
                let hint = Some("this is a Microsoft Graph change notification: it needs a source of `kind: graph`");
                return Err(Error::Unknown { saw: keys(&value), hint });
            }
            match wrapped(&value).filter(|_| unwraps > 0) {
                Some(inner) => open_item(inner, unwraps - 1, items),
                None => keep(None, value, items),
            }
        }
    }
}

fn keep(shape: Option<usize>, value: Value, items: &mut Vec<Item>) -> Result<(), Error> {
    if items.len() == limits::ITEMS {
        return Err(Error::TooMany);
    }
    items.push(Item { shape, value });
    Ok(())
}

/// What the first wrapper key holds, when that is an object or a list.
fn wrapped(value: &Value) -> Option<Value> {
    WRAPPERS.iter().filter_map(|key| get(value, key)).find_map(|inner| {
        let inner = open(inner);
        (inner.is_object() || inner.is_array()).then(|| inner.into_owned())
    })
}

fn is_graph_notification(value: &Value) -> bool {
    get(value, "validationTokens").is_some()
        || get(value, "value")
            .and_then(Value::as_array)
            .is_some_and(|items| items.first().is_some_and(|item| get(item, "subscriptionId").is_some()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn detection() -> Value {
        json!({"riskEventType": "unlikelyTravel", "userId": "x"})
    }

    fn count(value: Value) -> (usize, usize) {
        let items = unwrap(vec![value]).expect("items");
        (items.len(), items.iter().filter(|item| item.shape.is_some()).count())
    }

    #[test]
    fn wrappers_are_taken_off_up_to_the_limit() {
        assert_eq!(count(json!({"body": {"value": [detection(), detection()]}})), (2, 2));
        assert_eq!(count(json!({"records": [{"event": detection()}]})), (1, 1));
        assert_eq!(count(json!({"data": detection().to_string()})), (1, 1));
        assert_eq!(count(json!({"body": {"body": {"body": detection()}}})), (1, 1));
        assert_eq!(count(json!({"body": {"body": {"body": {"body": detection()}}}})), (1, 0));
        assert_eq!(count(json!([{}, null, [], ""])), (0, 0));
    }

    #[test]
    fn a_graph_notification_is_pointed_to_its_own_kind() {
        let notification = json!({"value": [{"subscriptionId": "s", "resource": "security/alerts/1"}]});
        let error = unwrap(vec![notification]).expect_err("not for this kind");
        assert!(error.to_string().contains("kind: graph"), "{error}");
    }

    #[test]
    fn more_items_than_the_limit_are_refused() {
        let list: Vec<Value> = (0..=limits::ITEMS).map(|_| detection()).collect();
        assert!(matches!(unwrap(vec![Value::Array(list)]), Err(Error::TooMany)));
    }
}
