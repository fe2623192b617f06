//! What a condition may read, by where it stands: a step sees only what is certainly known when it is its turn.

use super::header::Header;
use super::reader::{Problems, Written};
use super::step::Draft;
use crate::domain::plan::Phase;
use crate::playbook::diagnostic::{nearest, quote};
use crate::playbook::expr::{CASE_FIELDS, Reference, SIGNAL_FIELDS};

/// Judges `on.when` and every step's `when`.
pub fn judge(problems: &mut Problems<'_>, header: &Header<'_>, drafts: &[Draft<'_>]) {
    if let Some(when) = &header.when {
        let place = Place { what: "on.when", roots: &["signal"], collected: &[], done: &[] };
        place.judge(problems, when);
    }
    let named = |phase: Phase| drafts.iter().filter(move |draft| draft.phase == phase).map(|draft| draft.name.as_str());
    let collected: Vec<&str> = named(Phase::Collect).collect();
    let eradicated: Vec<&str> = named(Phase::Eradicate).collect();
    for (index, draft) in drafts.iter().enumerate() {
        let Some(when) = &draft.when else { continue };
        let before = drafts[..index].iter().filter(|earlier| earlier.phase == Phase::Eradicate).count();
        let place = Place {
            what: draft.phase.word(),
            roots: match draft.phase {
                Phase::Contain | Phase::Collect => &["signal", "case"],
                Phase::Eradicate | Phase::Recover => &["signal", "case", "collect", "eradicate"],
            },
            collected: &collected,
            done: &eradicated[..before],
        };
        place.judge(problems, when);
    }
}

struct Place<'s> {
    what: &'s str,
    roots: &'s [&'s str],
    /// Ids of collect.
    collected: &'s [&'s str],
    /// Ids of eradicate that ran before.
    done: &'s [&'s str],
}

impl Place<'_> {
    fn judge(&self, problems: &mut Problems<'_>, when: &Written<'_>) {
        for reference in when.condition.references() {
            if let Some((message, help)) = self.refusal(reference) {
                let at = problems.within(when.node.at, &when.source, reference.offset, reference.root.len());
                problems.error(at, message, help);
            }
        }
    }

    fn refusal(&self, reference: &Reference) -> Option<(String, Option<String>)> {
        let root = reference.root.as_str();
        if !self.roots.contains(&root) {
            let message = match root {
                "signal" | "case" | "collect" | "eradicate" => format!("'{root}' is not known yet in {}", self.what),
                _ => format!("unknown name {}", quote(root)),
            };
            let help = match nearest(root, self.roots.iter().copied()) {
                Some(guess) => format!("did you mean {guess}?"),
                None => format!("a condition of {} reads {}", self.what, self.roots.join(", ")),
            };
            return Some((message, Some(help)));
        }
        let first = reference.path.first()?.as_str();
        let (known, what): (&[&str], _) = match root {
            "signal" => (SIGNAL_FIELDS, "a signal has"),
            "case" => (CASE_FIELDS, "a case has"),
            "collect" => (self.collected, "collect has the steps"),
            "eradicate" => (self.done, "before this step eradicate has"),
            _ => return None,
        };
        if known.contains(&first) {
            return None;
        }
        let help = match nearest(first, known.iter().copied()) {
            Some(guess) => format!("did you mean {root}.{guess}?"),
            None if known.is_empty() => format!("{what} none"),
            None => format!("{what} {}", known.join(", ")),
        };
        Some((format!("there is no {root}.{}", quote(first).trim_matches('\'')), Some(help)))
    }
}
