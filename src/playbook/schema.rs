//! A JSON Schema of playbooks for editors, made from the vocabulary so that it knows the actions of this build.
//!
//! It helps while typing; the laws that span steps are `parse`'s alone.

use serde_json::{Map, Value, json};

use super::parse::{COLLECT_LIMIT, EVENTS, LABEL_LENGTH, MAX_ATTEMPTS, MAX_STEPS, PHASES, PLAYBOOK_KEYS};
use super::vocabulary::{ActionInfo, ParameterType, Vocabulary};
use crate::domain::Kind;
use crate::domain::plan::{EffectClass, Phase, RESET};

const DURATION: &str = "^[0-9]+(ms|s|m|h|d)$";

/// The schema, draft 2020-12.
pub fn schema(vocab: &dyn Vocabulary) -> Value {
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
    let events: Map<String, Value> = EVENTS.iter().map(|event| ((*event).to_owned(), names())).collect();
    let mut properties = json!({
        "name": {
            "type": "string", "pattern": format!("^[a-z0-9-]{{1,{LABEL_LENGTH}}}$"),
            "description": "The file's name without .yaml."
        },
        "version": { "type": "integer", "minimum": 1, "description": "For people; runs are pinned to the content." },
        "description": { "type": "string", "maxLength": 1000 },
        "attack": {
            "type": "array", "items": { "type": "string", "pattern": "^T[0-9]{4}(\\.[0-9]{3})?$" },
            "description": "MITRE ATT&CK techniques."
        },
        "on": {
            "type": "object", "additionalProperties": false, "required": ["signals"],
            "properties": {
                "signals": { "type": "array", "minItems": 1, "uniqueItems": true, "items": { "enum": kinds } },
                "when": condition("signal")
            }
        },
        "notify": { "type": "object", "additionalProperties": false, "properties": events }
    });
    for phase in PHASES {
        properties[phase.word()] = phase_schema(phase, vocab);
    }
    debug_assert!(PLAYBOOK_KEYS.iter().all(|key| properties.get(key).is_some()));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "oust playbook",
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "version", "on", "contain"],
        "properties": properties
    })
}

fn names() -> Value {
    json!({ "type": "array", "items": { "type": "string", "pattern": format!("^[A-Za-z0-9._-]{{1,{LABEL_LENGTH}}}$") } })
}

fn condition(roots: &str) -> Value {
    json!({ "type": ["string", "boolean"], "maxLength": 4096, "description": format!("A CEL condition over {roots}.") })
}

fn phase_schema(phase: Phase, vocab: &dyn Vocabulary) -> Value {
    let fits = |action: &&ActionInfo| {
        action.phases.contains(&phase)
            && match phase {
                Phase::Contain => action.containing && action.name != RESET,
                Phase::Collect => action.class == EffectClass::Read,
                Phase::Eradicate => action.name != RESET,
                Phase::Recover => true,
            }
    };
    let steps: Vec<Value> = vocab.all().into_iter().filter(fits).map(|action| step(phase, action)).collect();
    let (minimum, description) = match phase {
        Phase::Contain => (1, "At once, in order; begins with revoke_sessions."),
        Phase::Collect => (0, "In parallel, bounded in time, never blocks."),
        Phase::Eradicate => (0, "After collect: what the intruder left."),
        Phase::Recover => (0, "Back to the owner; the reset stands here."),
    };
    json!({
        "type": "array", "minItems": minimum, "maxItems": MAX_STEPS, "description": description,
        "items": { "oneOf": steps }
    })
}

fn step(phase: Phase, action: &ActionInfo) -> Value {
    let roots = match phase {
        Phase::Contain | Phase::Collect => "signal and case",
        Phase::Eradicate | Phase::Recover => "signal, case, collect and eradicate",
    };
    let mut properties = json!({
        "do": { "const": action.name, "description": action.summary },
        "id": { "type": "string", "pattern": "^[a-z][a-z0-9_]*$" },
        "when": condition(roots),
        "timeout": { "type": "string", "pattern": DURATION },
        "retry": { "oneOf": [
            { "type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS },
            {
                "type": "object", "additionalProperties": false,
                "properties": { "attempts": { "type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS } }
            }
        ] },
        "on_failure": { "enum": outcomes(phase) }
    });
    if phase == Phase::Collect {
        let told = format!("At most {}s in collect.", COLLECT_LIMIT.as_secs());
        properties["timeout"]["description"] = Value::from(told);
    }
    let gate = phase != Phase::Collect && (phase != Phase::Contain || action.class == EffectClass::Hard);
    if gate {
        properties["approval"] = json!({ "type": "string", "description": "An approval policy of oust.yaml." });
    }
    let unattended = action.may_be_unattended && (!action.containing || phase == Phase::Contain);
    if unattended {
        properties["unattended"] = json!({ "type": "boolean", "description": "Runs without asking a human." });
    }
    let mut required = vec!["do"];
    if !action.parameters.is_empty() {
        properties["with"] = with(action);
        if action.parameters.iter().any(|parameter| parameter.required) {
            required.push("with");
        }
    }
    let mut step = json!({
        "type": "object", "additionalProperties": false, "properties": properties, "required": required
    });
    if !action.free && unattended {
        step["anyOf"] = json!([{ "required": ["approval"] }, { "required": ["unattended"] }]);
    } else if !action.free {
        step["required"].as_array_mut().expect("made above").push("approval".into());
    }
    step
}

fn outcomes(phase: Phase) -> &'static [&'static str] {
    match phase {
        Phase::Contain | Phase::Collect => &["continue", "escalate"],
        Phase::Eradicate | Phase::Recover => &["stop", "continue", "escalate"],
    }
}

fn with(action: &ActionInfo) -> Value {
    let mut properties = Map::new();
    for parameter in action.parameters {
        let mut value = kind(parameter.kind);
        value["description"] = Value::from(parameter.summary);
        properties.insert(parameter.name.to_owned(), value);
    }
    let required: Vec<&str> = action.parameters.iter().filter(|p| p.required).map(|p| p.name).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

fn kind(kind: ParameterType) -> Value {
    match kind {
        ParameterType::Text => json!({ "type": "string" }),
        ParameterType::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        ParameterType::Boolean => json!({ "type": "boolean" }),
        ParameterType::Duration => json!({ "type": "string", "pattern": DURATION }),
        ParameterType::Word(words) => json!({ "enum": words }),
        ParameterType::TextList => json!({ "type": "array", "items": { "type": "string" } }),
        ParameterType::TextMap => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    }
}
