//! The grammar's laws over the steps of one playbook: what stands where, what needs a human, what comes after what.
//!
//! They hold whatever an action says of itself: the verbs the laws speak of are named here, and an action's own
//! description can only narrow what is allowed.

use super::reader::{Fields, Problems};
use super::step::Draft;
use super::{PHASES, follow};
use crate::domain::plan::{CONFIRM, EffectClass, OnFailure, Phase, RESET, REVOKE};
use crate::playbook::diagnostic::quote;
use crate::playbook::yaml::Tree;

/// Judges all steps and gives each the name it goes by.
pub fn judge(problems: &mut Problems<'_>, fields: &Fields<'_>, drafts: &mut [Draft<'_>]) {
    begins_with_revoke(problems, fields, drafts);
    for draft in drafts.iter() {
        if stands_where_it_may(problems, draft) {
            has_its_human(problems, draft);
        }
    }
    for index in 0..drafts.len() {
        fails_lawfully(problems, drafts, index);
    }
    resets_once_and_last(problems, drafts);
    name(problems, drafts);
}

/// Law 2: nothing stands before the first revoke.
fn begins_with_revoke(problems: &mut Problems<'_>, fields: &Fields<'_>, drafts: &[Draft<'_>]) {
    let example = || Some(format!("contain: [{{ do: {REVOKE} }}]"));
    let Some((key, node)) = fields.entry(Phase::Contain.word()) else {
        problems.error(fields.at, "'contain' is missing: every playbook begins by revoking sessions", example());
        return;
    };
    match &node.value {
        Tree::List(items) if items.is_empty() => {
            problems.error(key.at, format!("contain is empty: it begins with {REVOKE}"), example());
        }
        Tree::List(_) => {
            // A first item that is no step at all was reported as such.
            let first = drafts.iter().find(|draft| draft.phase == Phase::Contain && draft.index == 0);
            let Some(first) = first else { return };
            if first.action.name != REVOKE {
                let message = format!("contain begins with {REVOKE}, not {}", first.action.name);
                let help = match first.action.class {
                    EffectClass::Read => format!("the revoke waits for nothing: move {} to collect", first.action.name),
                    _ => format!("put - do: {REVOKE} in front of it"),
                };
                problems.error(first.at, message, Some(help));
            }
        }
        _ => {}
    }
}

/// False, after a report, when the step has no business in its phase; then nothing more is asked of it.
fn stands_where_it_may(problems: &mut Problems<'_>, draft: &Draft<'_>) -> bool {
    let (verb, phase) = (draft.action.name, draft.phase);
    let refusal = match phase {
        Phase::Contain if verb == RESET || !(draft.action.containing || verb == REVOKE) => {
            Some(format!("contain takes only what stops an intruder at once; {verb} does not"))
        }
        Phase::Collect if draft.action.class != EffectClass::Read => {
            Some(format!("collect only reads; {verb} changes something"))
        }
        Phase::Eradicate | Phase::Recover if verb == RESET && phase != Phase::Recover => {
            Some(format!("{RESET} stands only in recover"))
        }
        _ if verb != REVOKE && !draft.action.phases.contains(&phase) => {
            Some(format!("{verb} does not stand in {}", phase.word()))
        }
        _ => None,
    };
    let Some(message) = refusal else { return true };
    let places: Vec<&str> = PHASES.into_iter().filter(|phase| may_stand(draft, *phase)).map(Phase::word).collect();
    let help = (!places.is_empty()).then(|| format!("{verb} may stand in {}", places.join(", ")));
    problems.error(draft.at, message, help);
    false
}

fn may_stand(draft: &Draft<'_>, phase: Phase) -> bool {
    let action = draft.action;
    let named = action.phases.contains(&phase);
    match phase {
        Phase::Contain => action.name == REVOKE || (named && action.containing && action.name != RESET),
        Phase::Collect => named && action.class == EffectClass::Read,
        Phase::Eradicate => named && action.name != RESET,
        Phase::Recover => named,
    }
}

/// Law 4: what hurts runs only after a human said so, except where the playbook takes that upon itself and may.
fn has_its_human(problems: &mut Problems<'_>, draft: &Draft<'_>) {
    let (verb, phase) = (draft.action.name, draft.phase);
    let free = verb != RESET && (draft.action.free || verb == REVOKE);
    let may_be_unattended =
        verb != RESET && draft.action.may_be_unattended && (!draft.action.containing || phase == Phase::Contain);
    if let Some((_, at)) = &draft.approval {
        let refusal = match phase {
            Phase::Contain if draft.action.class != EffectClass::Hard => {
                Some(format!("{verb} waits for nobody: in contain only what hurts may carry an approval"))
            }
            Phase::Collect => Some("collecting waits for nobody: no approval here".to_owned()),
            _ => None,
        };
        if let Some(message) = refusal {
            problems.error(*at, message, Some("leave 'approval' out".into()));
        }
        if let Some(at) = draft.unattended {
            problems.error(at, "a step is either approved or unattended, not both", None);
        }
        return;
    }
    if let Some(at) = draft.unattended {
        if free {
            problems.error(at, format!("{verb} never waits for a human"), Some("leave 'unattended' out".into()));
        } else if !may_be_unattended {
            let help = "give it an approval, for example approval: on_call".to_owned();
            problems.error(at, format!("in {} {verb} may not run unattended", phase.word()), Some(help));
        }
    } else if !free && !draft.flawed {
        let mut help = "for example approval: on_call".to_owned();
        if may_be_unattended {
            help.push_str("; or unattended: true if no human shall be asked");
        }
        problems.error(draft.at, format!("{verb} needs an approval"), Some(help));
    }
}

/// A containing step never holds back another, collecting never stops a run, a revoke is never given up quietly.
fn fails_lawfully(problems: &mut Problems<'_>, drafts: &[Draft<'_>], index: usize) {
    let draft = &drafts[index];
    let follows = follow::of(drafts, index).is_some();
    if let Some((told, at)) = draft.on_failure {
        let phase = draft.phase.word();
        let revoke = draft.action.name == REVOKE && (draft.phase == Phase::Contain || follows);
        if revoke && told != OnFailure::Escalate {
            let help = Some("leave on_failure out: it pages and is tried again".to_owned());
            problems.error(at, format!("a failed {REVOKE} always escalates here"), help);
        } else if told == OnFailure::Stop && matches!(draft.phase, Phase::Contain | Phase::Collect) {
            let help = Some("continue or escalate".to_owned());
            problems.error(at, format!("a step of {phase} never holds back another: no stop here"), help);
        }
    }
    if follows && (draft.when.is_some() || draft.approval.is_some()) {
        let before = drafts[index - 1].action.name;
        let at = draft.when.as_ref().map(|when| when.node.at).or(draft.approval.as_ref().map(|(_, at)| *at));
        let message = format!("the {REVOKE} after {before} is sent in any case: no when, no approval");
        problems.error(at.unwrap_or(draft.at), message, Some("leave it out: it is appended by itself".into()));
    }
}

/// One reset at most; nothing asserts the compromise after it.
fn resets_once_and_last(problems: &mut Problems<'_>, drafts: &[Draft<'_>]) {
    let mut resets = drafts.iter().filter(|draft| draft.action.name == RESET);
    let Some(first) = resets.next() else { return };
    for again in resets {
        problems.error(again.at, format!("a second {RESET}; the first is in line {}", first.at.line), None);
    }
    let position = drafts.iter().position(|draft| draft.action.name == RESET).unwrap_or(drafts.len());
    for late in drafts[position..].iter().filter(|draft| draft.action.name == CONFIRM) {
        let message = format!("{CONFIRM} after {RESET} would raise the risk again");
        problems.error(late.at, message, Some(format!("move it in front of {RESET}")));
    }
}

/// Ids: as written, else the verb; a written revoke that follows an effect is called as the appended one would be.
fn name(problems: &mut Problems<'_>, drafts: &mut [Draft<'_>]) {
    for index in 0..drafts.len() {
        let name = match (&drafts[index].id, follow::of(drafts, index)) {
            (Some((id, _)), _) => id.clone(),
            (None, Some(before)) => follow::name(&drafts[before].name),
            (None, None) => drafts[index].action.name.to_owned(),
        };
        drafts[index].name = name;
    }
    let place = |draft: &Draft<'_>| draft.id.as_ref().map_or(draft.at, |(_, at)| *at);
    for (index, draft) in drafts.iter().enumerate() {
        if let Some(first) = drafts[..index].iter().find(|earlier| earlier.name == draft.name) {
            let message = format!("a step {} is already in line {}", quote(&draft.name), first.at.line);
            problems.error(
                place(draft),
                message,
                Some("give this one an id of its own, for example id: second".into()),
            );
        }
        let appended = drafts
            .iter()
            .enumerate()
            .find(|(other, before)| follow::is_due(drafts, *other) && follow::name(&before.name) == draft.name);
        if let Some((_, before)) = appended {
            let message = format!("the id {} belongs to the revoke appended after {}", quote(&draft.name), before.name);
            problems.error(place(draft), message, Some("choose another id".into()));
        }
    }
}
