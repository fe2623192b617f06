//! What a playbook says of itself: name, version, techniques, which signals select it, whom it tells.

use std::collections::BTreeMap;

use super::reader::{Fields, LABEL_LENGTH, Problems, Written, expect_list};
use crate::domain::Kind;
use crate::domain::plan::{Plan, Step};
use crate::playbook::diagnostic::{nearest, quote};
use crate::playbook::yaml::Node;

/// Events a playbook may notify about.
pub const EVENTS: &[&str] = &["contained", "approval_needed", "closed"];

/// Longest description, in characters.
const DESCRIPTION_LENGTH: usize = 1_000;

/// The parts that are not steps. A part that is absent was reported.
#[derive(Debug)]
pub struct Header<'n> {
    name: Option<String>,
    version: Option<u32>,
    description: String,
    attack: Vec<String>,
    signals: Vec<Kind>,
    /// `on.when`.
    pub when: Option<Written<'n>>,
    notify: BTreeMap<String, Vec<String>>,
}

impl Header<'_> {
    /// The plan, when nothing required is missing.
    pub fn plan(self, steps: Vec<Step>) -> Option<Plan> {
        Some(Plan {
            name: self.name?,
            version: self.version?,
            description: self.description,
            attack: self.attack,
            signals: self.signals,
            when: self.when.map(|when| when.source),
            steps,
            notify: self.notify,
        })
    }
}

/// Reads the header.
pub fn read<'n>(problems: &mut Problems<'_>, fields: &Fields<'n>, stem: Option<&str>) -> Header<'n> {
    let required = |problems: &mut Problems<'_>, key: &str, example: &str| {
        let node = fields.get(key);
        if node.is_none() {
            problems.error(fields.at, format!("'{key}' is missing"), Some(format!("for example {example}")));
        }
        node
    };
    let example = format!("name: {}", stem.unwrap_or("token-theft"));
    let name = required(problems, "name", &example).and_then(|node| name(problems, node, stem));
    let version =
        required(problems, "version", "version: 1").and_then(|node| problems.whole(node, "version", 1, 1_000_000));
    let description = fields.get("description").and_then(|node| description(problems, node)).unwrap_or_default();
    let attack = fields.get("attack").map(|node| attack(problems, node)).unwrap_or_default();
    let (signals, when) = required(problems, "on", "on: { signals: [anomalous_token] }")
        .map(|node| on(problems, node))
        .unwrap_or_default();
    let notify = fields.get("notify").map(|node| notify(problems, node)).unwrap_or_default();
    Header { name, version, description, attack, signals, when, notify }
}

fn name(problems: &mut Problems<'_>, node: &Node, stem: Option<&str>) -> Option<String> {
    let text = problems.text(node, "name")?;
    let fits = (1..=LABEL_LENGTH).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits {
        let help = "small letters, digits and '-', at most 64 of them".to_owned();
        problems.error(node.at, format!("{} is not a playbook name", quote(text)), Some(help));
        return None;
    }
    if let Some(stem) = stem.filter(|stem| *stem != text) {
        let message = format!("the playbook is named {} but its file {}", quote(text), quote(stem));
        problems.error(node.at, message, Some(format!("rename the file to {text}.yaml, or the playbook")));
    }
    Some(text.to_owned())
}

fn description(problems: &mut Problems<'_>, node: &Node) -> Option<String> {
    let text = problems.text(node, "description")?;
    if text.chars().count() > DESCRIPTION_LENGTH {
        problems.error(node.at, format!("description has more than {DESCRIPTION_LENGTH} characters"), None);
        return None;
    }
    Some(text.trim_end().to_owned())
}

fn attack(problems: &mut Problems<'_>, node: &Node) -> Vec<String> {
    let mut techniques: Vec<String> = Vec::new();
    for item in expect_list(problems, node, "attack") {
        let Some(text) = problems.text(item, "a technique") else { continue };
        if !is_technique(text) {
            let help = "T and four digits, with three more after a dot: T1539, T1550.004".to_owned();
            problems.error(item.at, format!("{} is not a MITRE ATT&CK technique", quote(text)), Some(help));
        } else if !techniques.iter().any(|known| known == text) {
            techniques.push(text.to_owned());
        }
    }
    techniques.sort_unstable();
    techniques
}

fn is_technique(text: &str) -> bool {
    let digits = |part: &str, n: usize| part.len() == n && part.bytes().all(|b| b.is_ascii_digit());
    let Some(rest) = text.strip_prefix('T') else { return false };
    match rest.split_once('.') {
        Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
        None => digits(rest, 4),
    }
}

fn on<'n>(problems: &mut Problems<'_>, node: &'n Node) -> (Vec<Kind>, Option<Written<'n>>) {
    let Some(fields) = problems.fields(node, "on", &["signals", "when"]) else { return (Vec::new(), None) };
    let when = fields.get("when").and_then(|node| problems.condition(node));
    let Some(list) = fields.get("signals") else {
        problems.error(fields.at, "'signals' is missing", Some("for example signals: [anomalous_token]".into()));
        return (Vec::new(), when);
    };
    let items = expect_list(problems, list, "signals");
    if items.is_empty() {
        problems.error(list.at, "a playbook answers at least one kind of signal", Some(all_kinds()));
    }
    let mut kinds = Vec::new();
    for item in items {
        let Some(text) = problems.text(item, "a kind of signal") else { continue };
        let known = Kind::ALL.iter().copied().find(|kind| kind.word() == text);
        match known {
            Some(kind) if kinds.contains(&kind) => {
                problems.error(item.at, format!("{} is named twice", quote(text)), None);
            }
            Some(kind) => kinds.push(kind),
            None => {
                let guess = nearest(text, Kind::ALL.iter().map(|kind| kind.word()));
                let help = guess.map_or_else(all_kinds, |guess| format!("did you mean {guess}?"));
                problems.error(item.at, format!("unknown kind of signal {}", quote(text)), Some(help));
            }
        }
    }
    kinds.sort_unstable();
    (kinds, when)
}

fn all_kinds() -> String {
    let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
    format!("the kinds are {}", words.join(", "))
}

fn notify(problems: &mut Problems<'_>, node: &Node) -> BTreeMap<String, Vec<String>> {
    let mut events = BTreeMap::new();
    let Some(fields) = problems.fields(node, "notify", EVENTS) else { return events };
    for (key, list) in fields.iter() {
        let mut names: Vec<String> = Vec::new();
        for item in expect_list(problems, list, &key.text) {
            let Some(name) = problems.label(item, "a notifier") else { continue };
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        if !names.is_empty() {
            events.insert(key.text.clone(), names);
        }
    }
    events
}
