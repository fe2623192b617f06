//! `guards`, `approvals` and `limits`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;

use crate::domain::ObjectId;
use crate::domain::task::{Escalation, Policy};
use crate::http::Limits;
use crate::playbook::diagnostic::quote;
use crate::playbook::yaml::Node;

use super::reader::{Reader, Section};

/// Rules that refuse or park an effect, whatever a playbook says (contract §13.5).
#[derive(Debug, Clone)]
pub struct Guards {
    /// Never touched, by object id.
    pub break_glass: Vec<ObjectId>,
    /// Its members are never touched either.
    pub break_glass_group: Option<ObjectId>,
    /// What a hard effect on a role holder becomes.
    pub privileged: Privileged,
    /// `None` = no cap.
    pub blast_radius: Option<BlastRadius>,
    /// Activity older than this opens a task instead of acting.
    pub max_age: Duration,
}

/// What a role holder's reset becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileged {
    /// A job for a human.
    Task,
    /// Like anybody's.
    Act,
}

/// At most so many distinct people of one tenant within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlastRadius {
    pub revocations: u32,
    pub per: Duration,
}

const MAX_AGE: Duration = Duration::from_secs(72 * 3600);

pub(super) fn guards(reader: &mut Reader<'_>, top: &mut Section<'_>) -> Option<Guards> {
    let mut guards = Guards {
        break_glass: Vec::new(),
        break_glass_group: None,
        privileged: Privileged::Task,
        blast_radius: None,
        max_age: MAX_AGE,
    };
    let at = match top.take("guards") {
        Some(node) => {
            let mut section = reader.section(node, "guards")?;
            if let Some(list) = section.take("break_glass") {
                let ids = reader.list(list, "break_glass", 1_000);
                guards.break_glass = ids.iter().filter_map(|id| reader.parse(id, "break_glass")).collect();
            }
            guards.break_glass_group =
                section.take("break_glass_group").and_then(|node| reader.parse(node, "break_glass_group"));
            if let Some(node) = section.take("privileged") {
                let word = reader.word(node, "privileged", &["task", "act"], &[])?;
                guards.privileged = if word == "act" { Privileged::Act } else { Privileged::Task };
            }
            guards.blast_radius = section.take("blast_radius").and_then(|node| blast_radius(reader, node));
            if let Some(node) = section.take("max_age") {
                guards.max_age = reader.duration(node, "max_age")?;
            }
            reader.finish(section, "guards", &[]);
            node.at
        }
        None => top.at,
    };
    if guards.blast_radius.is_none() {
        let help = "add `blast_radius: { revocations: 500, per: 10m }` under guards";
        reader.warn(at, "no blast_radius: a storm of false alerts may sign out everybody", help);
    }
    if guards.break_glass.is_empty() && guards.break_glass_group.is_none() {
        let help = "add `break_glass: [<object id>]` under guards";
        reader.warn(at, "no break_glass: your emergency accounts are not protected", help);
    }
    Some(guards)
}

fn blast_radius(reader: &mut Reader<'_>, node: &Node) -> Option<BlastRadius> {
    let mut section = reader.section(node, "blast_radius")?;
    let revocations = reader.need(&mut section, "revocations", "blast_radius");
    let revocations = revocations.and_then(|node| reader.integer(node, "revocations", 1..=1_000_000));
    let per = reader.need(&mut section, "per", "blast_radius").and_then(|node| reader.duration(node, "per"));
    reader.finish(section, "blast_radius", &[]);
    Some(BlastRadius { revocations: u32::try_from(revocations?).ok()?, per: per? })
}

pub(super) fn approvals(reader: &mut Reader<'_>, top: &mut Section<'_>) -> BTreeMap<String, Policy> {
    let mut policies = BTreeMap::new();
    let Some(section) = top.take("approvals").and_then(|node| reader.section(node, "approvals")) else {
        return policies;
    };
    for (key, node) in section.all() {
        if !super::is_name(&key.text) {
            let message = format!("{} cannot name a policy", quote(&key.text));
            reader.error(key.at, message, "letters, digits, '-' and '_', at most 64");
        }
        if let Some(policy) = policy(reader, node) {
            policies.insert(key.text.clone(), policy);
        }
    }
    policies
}

fn policy(reader: &mut Reader<'_>, node: &Node) -> Option<Policy> {
    let mut section = reader.section(node, "a policy")?;
    let reviewers = reader.need(&mut section, "reviewers", "a policy").map(|node| people(reader, node, "reviewers"));
    let mut votes = |reader: &mut Reader<'_>, key| match section.take(key) {
        Some(node) => reader.integer(node, key, 1..=20).and_then(|n| u32::try_from(n).ok()),
        None => Some(1),
    };
    let (approve, deny) = (votes(reader, "approve"), votes(reader, "deny"));
    let mut within = |reader: &mut Reader<'_>, key| section.take(key).and_then(|node| signed(reader, node, key));
    let decide_within = within(reader, "decide_within");
    let execute_within = within(reader, "execute_within");
    let fresh = section.take("fresh_at_claim").map_or(Some(false), |node| reader.flag(node, "fresh_at_claim"));
    let escalate = section.take("escalate").and_then(|node| escalation(reader, node));
    if let (Some(escalate), Some(decide)) = (&escalate, decide_within)
        && escalate.after >= decide
    {
        reader.error(section.at, "escalate.after is not before decide_within", "nobody would ever be asked");
    }
    reader.finish(section, "a policy", &[]);
    Some(Policy {
        reviewers: reviewers?,
        approve: approve?,
        deny: deny?,
        decide_within,
        escalate,
        execute_within,
        fresh_at_claim: fresh?,
    })
}

fn escalation(reader: &mut Reader<'_>, node: &Node) -> Option<Escalation> {
    let mut section = reader.section(node, "escalate")?;
    let after = reader.need(&mut section, "after", "escalate").and_then(|node| signed(reader, node, "after"));
    let to = reader.need(&mut section, "to", "escalate").map(|node| people(reader, node, "to"));
    reader.finish(section, "escalate", &[]);
    Some(Escalation { after: after?, to: to? })
}

/// `group:<name>`, `role:<name>`, `reviewer:<id>` or a bare reviewer id.
fn people(reader: &mut Reader<'_>, node: &Node, what: &str) -> Vec<String> {
    let items = reader.list(node, what, 100);
    if super::is_empty(node) {
        reader.error(node.at, format!("{what} names nobody: such a task could never be decided"), "[group:on-call]");
    }
    let mut people = Vec::new();
    for item in items {
        let Some(text) = reader.text(item, what) else { continue };
        let (prefix, name) = text.split_once(':').unwrap_or(("reviewer", text));
        if !matches!(prefix, "group" | "role" | "reviewer") || name.is_empty() || text.len() > 200 {
            let help = "group:<name>, role:<name>, reviewer:<id> or a reviewer's id";
            reader.error(item.at, format!("{} names no reviewer", quote(text)), help);
        }
        people.push(text.to_owned());
    }
    people
}

fn signed(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<SignedDuration> {
    reader.duration(node, what).and_then(|duration| SignedDuration::try_from(duration).ok())
}

pub(super) fn limits(reader: &mut Reader<'_>, top: &mut Section<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut section) = top.take("limits").and_then(|node| reader.section(node, "limits")) else { return limits };
    if let Some(bytes) = section.take("max_body") {
        limits.max_body = reader.bytes(bytes, "max_body", 1_024..=64 * 1024 * 1024).unwrap_or(limits.max_body);
    }
    for (key, value) in [("concurrency", &mut limits.concurrency), ("connections", &mut limits.connections)] {
        let number = section.take(key).and_then(|node| reader.integer(node, key, 1..=100_000));
        *value = number.and_then(|number| usize::try_from(number).ok()).unwrap_or(*value);
    }
    for (key, value) in [
        ("header_timeout", &mut limits.header_timeout),
        ("body_timeout", &mut limits.body_timeout),
        ("idle_timeout", &mut limits.idle_timeout),
        ("shutdown_timeout", &mut limits.shutdown_timeout),
    ] {
        *value = section.take(key).and_then(|node| reader.duration(node, key)).unwrap_or(*value);
    }
    reader.finish(section, "limits", &[]);
    limits
}
