//! Inbox rules. Mailbox-level forwarding and transport rules are not in this API (facts: graph §4).

use std::fmt;
use std::str::FromStr;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::domain::ObjectId;

use super::client::{Graph, Request};
use super::error::Error;
use super::odata::or_default;
use super::terms::{Accepted, Nature, Operation, Terms, Workload};

static LIST: Operation = Operation {
    name: "read_inbox_rules",
    permission: "MailboxSettings.Read",
    nature: Nature::Read,
    workload: Workload::Outlook,
};
static DISABLE: Operation = Operation {
    name: "disable_inbox_rule",
    permission: "MailboxSettings.ReadWrite",
    nature: Nature::Idempotent,
    workload: Workload::Outlook,
};

/// Exchange's name of a rule: base64 in either alphabet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuleId(String);

/// A text is not a rule id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not the id of an inbox rule (letters, digits and -_=+/, at most 512)")]
pub struct NotARuleId;

impl RuleId {
    /// The id, to be encoded as one path segment.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RuleId {
    type Err = NotARuleId;

    fn from_str(text: &str) -> Result<Self, NotARuleId> {
        let fits =
            (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=+/".contains(&b));
        if fits { Ok(Self(text.to_owned())) } else { Err(NotARuleId) }
    }
}

impl TryFrom<String> for RuleId {
    type Error = NotARuleId;

    fn try_from(text: String) -> Result<Self, NotARuleId> {
        text.parse()
    }
}

impl From<RuleId> for String {
    fn from(id: RuleId) -> Self {
        id.0
    }
}

impl fmt::Debug for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a rule sends mail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    pub address: String,
}

/// An inbox rule: what it is called, when it fires and what it does, as Graph spells the last two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct InboxRule {
    pub id: RuleId,
    #[serde(rename(deserialize = "displayName"), default, deserialize_with = "or_default")]
    pub name: String,
    #[serde(rename(deserialize = "isEnabled"), default, deserialize_with = "or_default")]
    pub enabled: bool,
    /// Cannot be changed through Graph.
    #[serde(rename(deserialize = "isReadOnly"), default, deserialize_with = "or_default")]
    pub read_only: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub conditions: Map<String, Value>,
    #[serde(default, deserialize_with = "or_default")]
    pub actions: Map<String, Value>,
}

impl InboxRule {
    /// Everybody the rule forwards or redirects to, of any of its three ways.
    pub fn forwards_to(&self) -> Vec<Recipient> {
        ["forwardTo", "redirectTo", "forwardAsAttachmentTo"]
            .iter()
            .filter_map(|way| self.actions.get(*way)?.as_array())
            .flatten()
            .filter_map(|to| to.pointer("/emailAddress/address")?.as_str())
            .map(|address| Recipient { address: address.to_owned() })
            .collect()
    }
}

impl Graph {
    /// A person's inbox rules, at most `most`.
    ///
    /// # Errors
    /// As any read; 404 when the person has no mailbox.
    pub async fn inbox_rules(&self, user: ObjectId, most: usize, terms: &Terms) -> Result<Vec<InboxRule>, Error> {
        let request = Request::get(self, &LIST, &["users", &user.to_string(), "mailFolders", "inbox", "messageRules"]);
        self.list(request, terms, most).await
    }

    /// Switches a rule off. Safe to repeat.
    ///
    /// # Errors
    /// As any effect; 404 when the rule is gone.
    pub async fn disable_inbox_rule(&self, user: ObjectId, rule: &RuleId, terms: &Terms) -> Result<Accepted, Error> {
        let user = user.to_string();
        let path = ["users", &user, "mailFolders", "inbox", "messageRules", rule.as_str()];
        let request = Request::new(self, &DISABLE, Method::PATCH, &path).json(&json!({ "isEnabled": false }));
        self.effect(request, terms).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_id_is_base64_and_no_path() {
        assert!("AQAAAJ5dZp8=".parse::<RuleId>().is_ok());
        for bad in ["", "..", "a b", "a?b", "a#b", &"a".repeat(513)] {
            assert_eq!(bad.parse::<RuleId>(), Err(NotARuleId), "{bad}");
        }
    }
}
