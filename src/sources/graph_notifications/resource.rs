//! Where a notification points: an allow-listed collection and an id that is one; nothing else becomes a URL.

use crate::domain::signal::{Collection, Lookup};
use crate::domain::{ObjectId, Outcome};
use crate::sources::normalise::cut;

/// Collections, as a resource path spells them, in lower case. `None` is users: read their risk detections.
const COLLECTIONS: &[(&str, Option<Collection>)] = &[
    ("security/alerts_v2", Some(Collection::AlertsV2)),
    ("security/alerts", Some(Collection::Alerts)),
    ("identityprotection/riskdetections", Some(Collection::RiskDetections)),
    ("identityprotection/riskyusers", Some(Collection::RiskyUsers)),
    ("users", None),
];

/// What a resource path asks for. `data_id` is the id in `resourceData`, for paths that end at the collection.
pub(super) fn outcome(resource: &str, data_id: Option<&str>) -> Outcome {
    let path = resource.trim().trim_start_matches('/');
    let path = ["v1.0/", "beta/"].iter().find_map(|version| path.strip_prefix(version)).unwrap_or(path);
    let path = path.split('?').next().unwrap_or_default().trim_end_matches('/');
    let Some((collection, id)) = split(path) else {
        return Outcome::Ignored { reason: format!("out of scope: oust does not read {}", cut(resource, 120)) };
    };
    let Some(id) = id.or(data_id).filter(|id| is_id(id)) else {
        return Outcome::Held { reason: format!("the id in {} is not one", cut(resource, 120)) };
    };
    let is_person = matches!(collection, None | Some(Collection::RiskyUsers));
    match (collection, id.parse::<ObjectId>()) {
        (None, Ok(user)) => Outcome::Lookup { what: Lookup::RiskOf { user } },
        (_, Err(_)) if is_person => {
            Outcome::Held { reason: format!("the user in {} is not named by object id", cut(resource, 120)) }
        }
        (Some(collection), _) => Outcome::Lookup { what: Lookup::GraphObject { collection, id: id.to_owned() } },
        (None, Err(_)) => Outcome::Held { reason: "names nobody".to_owned() },
    }
}

/// The collection and the id, of `collection/id`, `collection('id')` and `collection`.
fn split(path: &str) -> Option<(Option<Collection>, Option<&str>)> {
    COLLECTIONS.iter().find_map(|(name, collection)| {
        let rest = path.get(name.len()..).filter(|_| path[..name.len()].eq_ignore_ascii_case(name))?;
        let id = match rest.as_bytes().first() {
            None => None,
            Some(b'/') => Some(&rest[1..]),
            Some(b'(') => Some(rest[1..].strip_suffix(')')?.trim_matches('\'')),
            Some(_) => return None,
        };
        // `users/{id}/messages` is another resource.
        (!id.is_some_and(|id| id.contains('/') && !id.contains(".."))).then_some((*collection, id))
    })
}

fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";

    fn object(collection: Collection, id: &str) -> Outcome {
        Outcome::Lookup { what: Lookup::GraphObject { collection, id: id.to_owned() } }
    }

    #[test]
    fn every_spelling_of_a_path_is_read() {
        let user = Outcome::Lookup { what: Lookup::RiskOf { user: ADA.parse().expect("an id") } };
        for (resource, expected) in [
            ("security/alerts/9a7e", object(Collection::Alerts, "9a7e")),
            ("/security/alerts('9a7e')", object(Collection::Alerts, "9a7e")),
            ("v1.0/security/alerts_v2/ad_1-b", object(Collection::AlertsV2, "ad_1-b")),
            ("security/alerts_v2", object(Collection::AlertsV2, "data")),
            ("security/alerts/?$filter=status eq 'New'", object(Collection::Alerts, "data")),
            ("IdentityProtection/RiskDetections/7f", object(Collection::RiskDetections, "7f")),
            (&format!("identityProtection/riskyUsers/{ADA}"), object(Collection::RiskyUsers, ADA)),
            (&format!("Users/{ADA}"), user.clone()),
            (&format!("users('{ADA}')"), user),
        ] {
            assert_eq!(outcome(resource, Some("data")), expected, "{resource}");
        }
    }

    #[test]
    fn what_is_no_id_is_held_and_other_resources_are_ignored() {
        for resource in
            ["users/me", "users/../me", "security/alerts/..", "security/alerts('a'b')", "users/ada@contoso.example"]
        {
            assert!(
                matches!(outcome(resource, None), Outcome::Held { .. }),
                "{resource}: {:?}",
                outcome(resource, None)
            );
        }
        for resource in ["", "groups/1/members", &format!("users/{ADA}/messages/1"), "security/alertsX/1", "ä"] {
            assert!(matches!(outcome(resource, None), Outcome::Ignored { .. }), "{resource}");
        }
    }
}
