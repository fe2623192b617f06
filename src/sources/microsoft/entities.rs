//! Lists of entities in both spellings: alert entities (`Type`, capitalised keys, `$ref`) and ARM entities (`kind`,
//! `properties`), as an array or as a JSON string (facts: sentinel §1.1).

use std::borrow::Cow;

use serde_json::Value;

use crate::domain::signal::Evidence;
use crate::sources::normalise::evidence;
use crate::sources::normalise::json::{first, first_text, get, open, text};
use crate::sources::normalise::person::{Account, People};
use crate::sources::normalise::refs::Refs;

/// The people of a list of entities, and what else it shows.
#[derive(Debug, Default)]
pub(super) struct Entities {
    pub people: People,
    pub evidence: Evidence,
}

/// Reads a list of entities; anything else is an empty list.
pub(super) fn read(list: Option<&Value>) -> Entities {
    let mut entities = Entities::default();
    let Some(list) = list else { return entities };
    let list = open(list);
    let refs = Refs::of(&list);
    let items = list.as_array().map_or(&[] as &[Value], Vec::as_slice);
    let mut weaker = People::default();
    for item in items {
        let item = refs.resolve(item);
        match word(item).to_ascii_lowercase().as_str() {
            "account" => entities.people.add(&Account::read(properties(item))),
            "ip" => add_address(&mut entities.evidence, properties(item)),
            "mailbox" => weaker.add(&mailbox(properties(item))),
            "cloud-logon-session" | "cloudlogonsession" => {
                let session = properties(item);
                evidence::add(&mut entities.evidence.sessions, first_text(session, &["sessionId"]));
                evidence::add(&mut entities.evidence.user_agents, first_text(session, &["userAgent"]));
                if let Some(account) = get(session, "account") {
                    weaker.add(&Account::read(refs.resolve(account)));
                }
            }
            "host" => evidence::add(&mut entities.evidence.devices, first_text(properties(item), &["hostName"])),
            _ => {}
        }
    }
    // A mailbox or session names the person only where no account does, and only one person.
    if entities.people.is_empty() && weaker.list().len() == 1 {
        entities.people.join_all(&weaker);
    }
    entities
}

/// The kind word of an entity.
pub(super) fn word(entity: &Value) -> &str {
    first_text(entity, &["kind", "type", "entityType"]).unwrap_or_default()
}

/// Where an entity keeps its fields.
pub(super) fn properties(entity: &Value) -> &Value {
    get(entity, "properties").filter(|inner| inner.is_object()).unwrap_or(entity)
}

/// A field that may be an object or a JSON string.
pub(super) fn opened<'a>(value: &'a Value, keys: &[&str]) -> Cow<'a, Value> {
    first(value, keys).map_or(Cow::Owned(Value::Null), open)
}

fn mailbox(properties: &Value) -> Account<'_> {
    Account {
        upn: first_text(properties, &["upn", "mailboxPrimaryAddress"]),
        object_id: text(properties, "externalDirectoryObjectId"),
        ..Account::default()
    }
}

fn add_address(into: &mut Evidence, properties: &Value) {
    let address = text(properties, "address");
    let location = get(properties, "location").filter(|location| location.is_object());
    evidence::add_ip(into, address);
    if location.is_some() {
        evidence::add_place(into, evidence::place(location, address, None));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_spellings_and_strings_name_the_same_person() {
        let alert = json!([{"$id": "1", "Type": "account", "Name": "ada", "UPNSuffix": "contoso.example"},
            {"$id": "2", "Type": "ip", "Address": "203.0.113.7"}, {"$ref": "1"}]);
        let arm = json!([{"kind": "Account", "properties": {"accountName": "ada", "upnSuffix": "contoso.example"}},
            {"kind": "Ip", "properties": {"address": "203.0.113.7"}}]);
        let text = Value::String(alert.to_string());
        for list in [&alert, &arm, &text] {
            let entities = read(Some(list));
            assert_eq!(entities.people.list().len(), 1, "{list}");
            assert_eq!(entities.evidence.ips, ["203.0.113.7"], "{list}");
        }
    }

    #[test]
    fn a_mailbox_names_somebody_only_where_no_account_does() {
        let mailbox = json!({"Type": "mailbox", "Upn": "ada@contoso.example"});
        let other = json!({"Type": "mailbox", "Upn": "bob@contoso.example"});
        let account = json!({"Type": "account", "Name": "eve", "UPNSuffix": "contoso.example"});
        assert_eq!(read(Some(&json!([mailbox]))).people.list().len(), 1);
        assert_eq!(read(Some(&json!([mailbox, other]))).people.list().len(), 0);
        let named = read(Some(&json!([mailbox, account])));
        assert_eq!(named.people.list()[0].subject.upn, "eve@contoso.example".parse().ok());
    }
}
