//! What is legal but probably not meant: kinds that two playbooks want, policies and notifiers that nobody configured,
//! steps that never run. Mistakes proper come from `parse` and are listed along.

use std::collections::BTreeMap;

use super::catalog::{Catalog, Source};
use super::diagnostic::{Diagnostic, Diagnostics, Severity, nearest, quote};
use super::expr::Condition;
use super::parse::{PHASES, parse};
use super::vocabulary::Vocabulary;
use super::yaml::{self, Mark, Node, Tree};
use crate::domain::plan::{Plan, REVOKE};

/// Names from `oust.yaml`; `None` = not known here, so nothing is said about them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'k> {
    /// Approval policies.
    pub policies: Option<&'k [String]>,
    /// Notifiers.
    pub notifiers: Option<&'k [String]>,
}

/// Everything to say about these files, one item per file with something to say, in their order.
pub fn lint(sources: &[Source], vocab: &dyn Vocabulary, known: Known<'_>) -> Vec<Diagnostics> {
    let mut found: BTreeMap<usize, Vec<Diagnostic>> = BTreeMap::new();
    let mut valid: Vec<(usize, Plan, Node)> = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        match (parse(&source.text, &source.file, vocab), yaml::read(&source.text)) {
            (Ok(plan), Ok(tree)) => valid.push((index, plan, tree)),
            (Err(wrong), _) => found.entry(index).or_default().extend(wrong.iter().cloned()),
            (Ok(_), Err(_)) => {}
        }
    }
    for (position, (index, plan, tree)) in valid.iter().enumerate() {
        let mut page = Page { source: &sources[*index], found: Vec::new() };
        for (other, earlier, _) in &valid[..position] {
            page.overlap(plan, tree, earlier, &sources[*other].file);
        }
        page.names(tree, known);
        page.unreachable(tree);
        if plan.when.as_deref().and_then(constant) == Some(false) {
            let at = child(tree, "on").and_then(|on| child(on, "when")).map_or(tree.at, |node| node.at);
            page.warn(at, "this is never true: the playbook is never chosen".into(), None);
        }
        if !page.found.is_empty() {
            found.entry(*index).or_default().extend(page.found);
        }
    }
    let alone = found.is_empty() || found.values().flatten().all(|one| one.severity == Severity::Warning);
    let mut all: Vec<Diagnostics> = found.into_values().map(Diagnostics::new).collect();
    // Two files of one name are each valid alone; only the set as a whole is wrong.
    if alone && let Err(wrong) = Catalog::of(sources, vocab) {
        all.extend(wrong);
    }
    all
}

struct Page<'s> {
    source: &'s Source,
    found: Vec<Diagnostic>,
}

impl Page<'_> {
    fn warn(&mut self, at: Mark, message: String, help: Option<String>) {
        let Source { file, text } = self.source;
        self.found.push(Diagnostic::at(Severity::Warning, file, text, at, message, help));
    }

    /// Kinds that an earlier playbook also names.
    fn overlap(&mut self, plan: &Plan, tree: &Node, earlier: &Plan, file: &str) {
        let order = |plan: &Plan| (plan.signals.len(), plan.name.clone());
        let preferred = if order(plan) < order(earlier) { &plan.name } else { &earlier.name };
        let signals = child(tree, "on").and_then(|on| child(on, "signals"));
        for item in signals.map(items).unwrap_or_default() {
            let Tree::Text(word) = &item.value else { continue };
            if earlier.signals.iter().any(|kind| kind.word() == word) {
                let help = format!("where both match, {preferred} runs: it names fewer kinds, or comes first by name");
                self.warn(item.at, format!("{word} is also answered by {} ({file})", earlier.name), Some(help));
            }
        }
    }

    /// Policies and notifiers that the configuration does not have.
    fn names(&mut self, tree: &Node, known: Known<'_>) {
        if let Some(policies) = known.policies {
            for step in steps(tree) {
                if let Some(node) = child(step, "approval") {
                    self.configured(node, "approval policy", policies);
                }
            }
        }
        if let Some(notifiers) = known.notifiers
            && let Some(Tree::Map(events)) = child(tree, "notify").map(|node| &node.value)
        {
            for name in events.iter().flat_map(|(_, list)| items(list)) {
                self.configured(name, "notifier", notifiers);
            }
        }
    }

    fn configured(&mut self, node: &Node, what: &str, configured: &[String]) {
        let Tree::Text(name) = &node.value else { return };
        if configured.iter().any(|known| known == name) {
            return;
        }
        let help = match nearest(name, configured.iter().map(String::as_str)) {
            Some(guess) => format!("did you mean {guess}?"),
            None if configured.is_empty() => format!("oust.yaml configures no {what}"),
            None => format!("configured are {}", configured.join(", ")),
        };
        self.warn(node.at, format!("there is no {what} {}", quote(name)), Some(help));
    }

    /// Steps that are never run: their condition is never true, or an equal step in front of them does their work.
    fn unreachable(&mut self, tree: &Node) {
        let mut seen: Vec<(String, usize)> = Vec::new();
        for step in steps(tree) {
            let Some(verb) = child(step, "do") else { continue };
            let when = child(step, "when");
            let source = when.and_then(|node| match &node.value {
                Tree::Text(text) => Some(text.clone()),
                Tree::Bool(value) => Some(value.to_string()),
                _ => None,
            });
            if let (Some(node), Some(false)) = (when, source.as_deref().and_then(constant)) {
                self.warn(node.at, "this is never true: the step never runs".into(), None);
                continue;
            }
            let with = child(step, "with").map_or_else(|| serde_json::json!({}), |node| node.value.json());
            let Tree::Text(action) = &verb.value else { continue };
            let deed = format!("{action} {with}");
            if action != REVOKE {
                if let Some((_, line)) = seen.iter().find(|(earlier, _)| *earlier == deed) {
                    let message = format!("the same as the step in line {line}, whose result this one would join");
                    self.warn(verb.at, message, Some("leave one of them out".into()));
                } else if when.is_none() {
                    seen.push((deed, verb.at.line));
                }
            }
        }
    }
}

fn constant(source: &str) -> Option<bool> {
    Condition::compile(source).ok()?.constant()
}

fn steps(tree: &Node) -> impl Iterator<Item = &Node> {
    PHASES.into_iter().filter_map(|phase| child(tree, phase.word())).flat_map(items)
}

fn child<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    match &node.value {
        Tree::Map(entries) => entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| node),
        _ => None,
    }
}

fn items(node: &Node) -> &[Node] {
    match &node.value {
        Tree::List(items) => items,
        _ => &[],
    }
}
