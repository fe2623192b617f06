//! `read_inbox_rules`: the rules of the inbox and what is wrong with them.
//!
//! Judges by what thieves do: send mail out, make answers disappear, hide behind a name nobody reads. Mailbox-level
//! forwarding and transport rules are not visible here (facts: graph §4). A suspicion is shown to a human, never acted
//! on without one.

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::domain::ledger::Fault;
use crate::graph::{InboxRule, Terms};
use crate::playbook::ActionInfo;

use super::{Action, Call, Done, READ};

static INFO: ActionInfo = ActionInfo {
    name: "read_inbox_rules",
    summary: "Reads the person's inbox rules and marks those that forward, delete or hide mail.",
    permissions: &["MailboxSettings.Read", "User.Read.All"],
    example: "do: read_inbox_rules",
    ..READ
};

const MOST: usize = 200;
/// Conditions or actions larger than this are not kept.
const SHOWN: usize = 4096;

/// Folders nobody looks into. A rule names its folder by id only; well-known names occur too.
const HIDING: &[&str] = &[
    "rss",
    "archive",
    "conversation history",
    "conversationhistory",
    "junk",
    "deleted",
    "sync issues",
    "notes",
    "outbox",
    "clutter",
    "recoverable",
];

/// What a thief does not want the owner to read.
const WORDS: &[&str] = &[
    "password",
    "passwort",
    "security",
    "secure",
    "phish",
    "hack",
    "fraud",
    "scam",
    "spam",
    "suspicious",
    "virus",
    "malware",
    "compromis",
    "mfa",
    "2fa",
    "verification",
    "sign-in",
    "signin",
    "login",
    "unusual",
    "helpdesk",
    "help desk",
    "invoice",
    "payment",
    "wire",
    "bank",
    "iban",
    "payroll",
    "remittance",
    "docusign",
    "sharepoint",
    "microsoft",
    "mailer-daemon",
    "postmaster",
    "undeliver",
    "did you send",
];

#[derive(Debug)]
pub(super) struct ReadInboxRules;

#[async_trait]
impl Action for ReadInboxRules {
    fn info(&self) -> &'static ActionInfo {
        &INFO
    }

    async fn perform(&self, call: &Call<'_>) -> Result<Done, Fault> {
        let (person, end) = (call.identity.object_id, call.deadline());
        let rules = call.graph.inbox_rules(person, MOST, &call.terms()).await?;
        let left = Terms { timeout: end.saturating_duration_since(Instant::now()), ..call.read_terms() };
        // Without the home domain every forward counts as one to the outside.
        let home = match rules.iter().any(|rule| !rule.forwards_to().is_empty()) {
            true => call.graph.user(person, &left).await.ok().and_then(|user| user.domain()),
            false => None,
        };
        let mut suspicious = Vec::new();
        for rule in rules.iter().filter(|rule| rule.enabled) {
            let reasons = suspicions(rule, home.as_deref());
            if !reasons.is_empty() {
                suspicious.push(json!({
                    "id": rule.id, "name": rule.name, "enabled": rule.enabled, "read_only": rule.read_only,
                    "reasons": reasons,
                }));
            }
        }
        let rules: Vec<Value> = rules.iter().map(shown).collect();
        Ok(Done::read(call, json!({ "rules": rules, "suspicious": suspicious })))
    }
}

fn shown(rule: &InboxRule) -> Value {
    let bounded = |map: &Map<String, Value>| {
        if json!(map).to_string().len() > SHOWN { json!({ "omitted": "too large to show" }) } else { json!(map) }
    };
    json!({
        "id": rule.id, "name": rule.name, "enabled": rule.enabled, "read_only": rule.read_only,
        "conditions": bounded(&rule.conditions), "actions": bounded(&rule.actions),
    })
}

/// What is wrong with a rule, in words; empty = nothing.
fn suspicions(rule: &InboxRule, home: Option<&str>) -> Vec<String> {
    let mut reasons = Vec::new();
    for to in rule.forwards_to() {
        let domain = to.address.rsplit_once('@').map_or("an address without a domain", |(_, domain)| domain);
        if !is_home(domain, home) {
            reasons.push(format!("sends mail out to {domain}"));
        }
    }
    let catches = catches(rule);
    let on = |action: &str| rule.actions.get(action).and_then(Value::as_bool) == Some(true);
    let moves = rule.actions.get("moveToFolder").and_then(Value::as_str);
    if on("permanentDelete") {
        reasons.push("deletes mail beyond recovery".into());
    }
    if let Some(catches) = &catches {
        if on("delete") {
            reasons.push(format!("deletes {catches}"));
        }
        if moves.is_some() {
            reasons.push(format!("moves {catches} out of the inbox"));
        }
        if on("markAsRead") {
            reasons.push(format!("marks {catches} as read"));
        }
    }
    let hiding = moves.map(str::to_lowercase).and_then(|folder| HIDING.iter().find(|name| folder.contains(*name)));
    if let Some(folder) = hiding {
        reasons.push(format!("moves mail to a folder nobody reads ({folder})"));
    }
    if rule.name.chars().filter(|c| c.is_alphanumeric()).count() < 2 {
        reasons.push("its name is made to be overlooked".into());
    }
    reasons
}

fn is_home(domain: &str, home: Option<&str>) -> bool {
    home.is_some_and(|home| {
        let domain = domain.to_lowercase();
        domain == home || domain.strip_suffix(home).is_some_and(|rest| rest.ends_with('.'))
    })
}

/// What mail the rule takes, when that is a bad sign: all of it, or what warns the owner.
fn catches(rule: &InboxRule) -> Option<String> {
    let set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    if !rule.conditions.values().any(set) {
        return Some("all mail".into());
    }
    let mut words: Vec<&str> = rule
        .conditions
        .values()
        .filter_map(Value::as_array)
        .flatten()
        .take(500)
        .filter_map(Value::as_str)
        .map(str::to_lowercase)
        .filter_map(|text| WORDS.iter().copied().find(|word| text.contains(word)))
        .collect();
    words.sort_unstable();
    words.dedup();
    words.truncate(3);
    (!words.is_empty()).then(|| format!("mail about {}", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, conditions: Value, actions: Value) -> InboxRule {
        serde_json::from_value(json!({
            "id": "AQAAAJ5dZp8=", "displayName": name, "isEnabled": true, "conditions": conditions, "actions": actions,
        }))
        .expect("a rule")
    }

    fn to(address: &str) -> Value {
        json!([{ "emailAddress": { "name": "x", "address": address } }])
    }

    #[test]
    fn ordinary_rules_are_not_suspicious() {
        for (conditions, actions) in [
            (json!({ "senderContains": ["newsletter"] }), json!({ "moveToFolder": "AAMkAGI2", "markAsRead": true })),
            (json!({ "fromAddresses": [] , "subjectContains": ["lunch"] }), json!({ "delete": true })),
            (json!({ "subjectContains": ["report"] }), json!({ "forwardTo": to("boss@contoso.example") })),
            (json!({ "subjectContains": ["report"] }), json!({ "redirectTo": to("boss@eu.Contoso.example") })),
            (Value::Null, json!({ "assignCategories": ["red"] })),
        ] {
            let rule = rule("Weekly things", conditions, actions);
            assert_eq!(suspicions(&rule, Some("contoso.example")), Vec::<String>::new(), "{rule:?}");
        }
    }

    #[test]
    fn what_thieves_do_is_suspicious_and_says_why() {
        for (name, conditions, actions, why) in [
            ("Copy", json!({ "subjectContains": ["x"] }), json!({ "forwardTo": to("a@evil.example") }), "evil.example"),
            ("Copy", json!({}), json!({ "redirectTo": to("a@notcontoso.example") }), "notcontoso.example"),
            ("Copy", json!({}), json!({ "forwardAsAttachmentTo": to("nobody") }), "sends mail out"),
            ("Tidy", json!({ "bodyContains": ["Passwort geändert"] }), json!({ "delete": true }), "deletes mail about"),
            ("Tidy", json!({ "subjectContains": [] }), json!({ "delete": true }), "deletes all mail"),
            ("Tidy", json!({ "subjectContains": ["x"] }), json!({ "permanentDelete": true }), "beyond recovery"),
            ("Tidy", json!({ "subjectContains": ["x"] }), json!({ "moveToFolder": "RSS Feeds" }), "nobody reads"),
            ("Tidy", json!({ "senderContains": ["bank"] }), json!({ "moveToFolder": "AAMk" }), "out of the inbox"),
            (".", json!({ "subjectContains": ["x"] }), json!({}), "overlooked"),
            ("", json!({ "subjectContains": ["x"] }), json!({}), "overlooked"),
        ] {
            let reasons = suspicions(&rule(name, conditions, actions), Some("contoso.example")).join("; ");
            assert!(reasons.contains(why), "{why}: {reasons}");
        }
    }

    #[test]
    fn with_the_home_domain_unknown_every_forward_is_one_to_the_outside() {
        let rule = rule("Copy", json!({ "subjectContains": ["x"] }), json!({ "forwardTo": to("a@contoso.example") }));
        assert_eq!(suspicions(&rule, None), ["sends mail out to contoso.example"]);
    }

    #[test]
    fn hostile_shapes_do_no_harm() {
        for odd in [json!("text"), json!([1, [2]]), json!({ "emailAddress": null }), json!(7)] {
            let rule = rule("Odd rule", json!({ "subjectContains": odd }), json!({ "forwardTo": odd, "delete": odd }));
            assert!(suspicions(&rule, None).len() < 3);
        }
        let large = rule("Large rule", json!({ "subjectContains": ["x".repeat(10_000)] }), json!({}));
        assert!(shown(&large).to_string().len() < 500);
    }
}
