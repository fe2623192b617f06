//! Azure Resource Manager: the entities of a Sentinel incident, which arrive some seconds after it does.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Graph, Request};
use super::error::Error;
use super::terms::{Nature, Operation, Terms, Workload};

static ENTITIES: Operation = Operation {
    name: "read_incident_entities",
    permission: "Microsoft Sentinel Reader on the workspace",
    nature: Nature::Read,
    workload: Workload::Arm,
};

const API_VERSION: &str = "2024-03-01";
/// An incident with more is cut.
const MOST: usize = 500;

/// The ARM id of a Sentinel incident, checked segment by segment.
#[derive(Clone, PartialEq, Eq)]
pub struct ArmIncident(Vec<String>);

/// A text is not the ARM id of a Sentinel incident.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "not the ARM id of a Sentinel incident (/subscriptions/{{guid}}/resourceGroups/…/providers/\
     Microsoft.OperationalInsights/workspaces/…/providers/Microsoft.SecurityInsights/Incidents/{{guid}})"
)]
pub struct NotAnArmIncident;

/// The fixed segments; `None` = a name, checked by its rule.
const SHAPE: [Option<&str>; 12] = [
    Some("subscriptions"),
    None,
    Some("resourceGroups"),
    None,
    Some("providers"),
    Some("Microsoft.OperationalInsights"),
    Some("workspaces"),
    None,
    Some("providers"),
    Some("Microsoft.SecurityInsights"),
    Some("incidents"),
    None,
];

impl FromStr for ArmIncident {
    type Err = NotAnArmIncident;

    fn from_str(text: &str) -> Result<Self, NotAnArmIncident> {
        let path = text.strip_prefix('/').filter(|_| text.len() <= 1024).ok_or(NotAnArmIncident)?;
        let segments: Vec<&str> = path.split('/').collect();
        let fits = segments.len() == SHAPE.len()
            && segments.iter().zip(SHAPE).enumerate().all(|(at, (segment, fixed))| match (fixed, at) {
                (Some(fixed), _) => segment.eq_ignore_ascii_case(fixed),
                (None, 1 | 11) => segment.len() == 36 && uuid::Uuid::try_parse(segment).is_ok(),
                (None, _) => is_name(segment),
            });
        if !fits {
            return Err(NotAnArmIncident);
        }
        // Fixed segments are written our way, whatever the case of the text.
        let owned = segments.iter().zip(SHAPE).map(|(segment, fixed)| fixed.unwrap_or(segment).to_owned());
        Ok(Self(owned.collect()))
    }
}

/// Names of resource groups and workspaces: what both allow, and never a dot segment.
fn is_name(segment: &str) -> bool {
    (1..=90).contains(&segment.len())
        && !segment.starts_with('.')
        && !segment.ends_with('.')
        && segment.chars().all(|c| c.is_alphanumeric() || "-_.()".contains(c))
}

impl fmt::Debug for ArmIncident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0.join("/"))
    }
}

#[derive(Deserialize)]
struct Entities {
    #[serde(default)]
    entities: Vec<Value>,
}

impl Graph {
    /// The entities of a Sentinel incident, each `{kind, properties}`; empty while Sentinel has not attached them.
    ///
    /// # Errors
    /// As any read.
    pub async fn incident_entities(&self, incident: &ArmIncident, terms: &Terms) -> Result<Vec<Value>, Error> {
        let mut path: Vec<&str> = incident.0.iter().map(String::as_str).collect();
        path.push("entities");
        let mut request = Request::new(self, &ENTITIES, Method::POST, &path).query(&[("api-version", &API_VERSION)]);
        request.body = Some(Bytes::from_static(b"{}"));
        let mut found = self.one::<Entities>(request, terms).await?.entities;
        found.truncate(MOST);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg-soc/providers/\
                      Microsoft.OperationalInsights/workspaces/soc/providers/Microsoft.SecurityInsights/Incidents/\
                      3f2504e0-4f89-41d3-9a0c-0305e82c3301";

    #[test]
    fn only_the_exact_shape_of_an_incident_id_is_one() {
        assert!(ID.parse::<ArmIncident>().is_ok());
        for bad in [
            ID.replace("rg-soc", ".."),
            ID.replace("rg-soc", "a?b"),
            ID.replace("rg-soc", "a%2f"),
            ID.replace("Incidents", "alertRules"),
            ID.replace("11111111-2222-3333-4444-555555555555", "me"),
            format!("{ID}/entities"),
            format!("https://evil.example{ID}"),
            String::new(),
            "/".repeat(2000),
        ] {
            assert_eq!(bad.parse::<ArmIncident>(), Err(NotAnArmIncident), "{bad}");
        }
    }
}
