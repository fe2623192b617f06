//! Directory roles: template ids, and which of them a User Administrator may still reset.

use super::clock::{name_number, seeded_id};
use serde_json::{Value, json};

/// Roles whose holders a User Administrator may reset (facts: graph §4.2).
const LIMITED: &[&str] = &[
    "Directory Readers",
    "Guest Inviter",
    "Helpdesk Administrator",
    "Message Center Reader",
    "Password Administrator",
    "Reports Reader",
    "Usage Summary Reports Reader",
    "Groups Administrator",
    "User Administrator",
];

const TEMPLATES: &[(&str, &str)] = &[
    ("Global Administrator", "62e90394-69f5-4237-9190-012177145e10"),
    ("Privileged Role Administrator", "e8611ab8-c189-46e8-94e1-60213ab1f814"),
    ("Privileged Authentication Administrator", "7be44c8a-adaf-4e2a-84d6-ab2649e08a13"),
    ("User Administrator", "fe930be7-5e62-47db-91af-98c3a49a38b1"),
    ("Helpdesk Administrator", "729827e3-9c14-49f7-bb1b-9608f156bbb8"),
    ("Exchange Administrator", "29232cdf-9323-42fd-ade2-1d097af3e4de"),
    ("Security Reader", "5d6b6bb7-de71-4623-b4af-96380a352509"),
    ("Reports Reader", "4a5d8f65-41da-4de4-8968-e035b65339cf"),
    ("Directory Readers", "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"),
];

pub(super) fn is_limited(role: &str) -> bool {
    LIMITED.contains(&role)
}

pub(super) fn template(role: &str) -> String {
    TEMPLATES
        .iter()
        .find(|(name, _)| *name == role)
        .map_or_else(|| seeded_id(0, name_number(role)).to_string(), |(_, id)| (*id).to_owned())
}

/// The directory role object of a role's name.
pub(super) fn object(seed: u64, role: &str) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.directoryRole",
        "id": seeded_id(seed, name_number(role)),
        "displayName": role,
        "description": role,
        "roleTemplateId": template(role),
    })
}
