//! Alerts and incidents of Defender, as Graph spells them: the recogniser of payloads reads them like any delivery.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::Value;

use crate::domain::signal::Collection;

use super::client::{Graph, Request};
use super::error::Error;
use super::odata::instant;
use super::terms::{Nature, Operation, Terms, Workload};

static ALERT: Operation = Operation {
    name: "read_alert",
    permission: "SecurityAlert.Read.All",
    nature: Nature::Read,
    workload: Workload::Security,
};
static INCIDENT: Operation = Operation {
    name: "read_incident",
    permission: "SecurityIncident.Read.All",
    nature: Nature::Read,
    workload: Workload::Security,
};
static DETECTION: Operation = Operation {
    name: "read_risk_detections",
    permission: "IdentityRiskEvent.Read.All",
    nature: Nature::Read,
    workload: Workload::IdentityProtection,
};
static RISKY_USER: Operation = Operation {
    name: "read_risky_user",
    permission: "IdentityRiskyUser.Read.All",
    nature: Nature::Read,
    workload: Workload::IdentityProtection,
};

/// The id of an alert, incident or detection: a text that cannot be a path.
#[derive(Clone, PartialEq, Eq)]
pub struct ResourceId(String);

/// A text is not the id of a resource.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a resource id (letters, digits and -_=.:, at most 256, not beginning with a dot)")]
pub struct NotAResourceId;

impl ResourceId {
    /// The id, safe as one path segment.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourceId {
    type Err = NotAResourceId;

    fn from_str(text: &str) -> Result<Self, NotAResourceId> {
        let fits = (1..=256).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=.:".contains(&b));
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAResourceId) }
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Graph {
    /// One object of an allow-listed collection.
    ///
    /// # Errors
    /// As any read; 404 when there is none, or the collection no longer answers.
    pub async fn object(&self, collection: Collection, id: &ResourceId, terms: &Terms) -> Result<Value, Error> {
        let operation = match collection {
            Collection::Alerts | Collection::AlertsV2 => &ALERT,
            Collection::RiskDetections => &DETECTION,
            Collection::RiskyUsers => &RISKY_USER,
        };
        let mut path: Vec<&str> = collection.path().split('/').collect();
        path.push(id.as_str());
        self.one(Request::get(self, operation, &path), terms).await
    }

    /// An incident with its alerts.
    ///
    /// # Errors
    /// As any read; 404 when there is none.
    pub async fn incident(&self, id: &ResourceId, terms: &Terms) -> Result<Value, Error> {
        let request =
            Request::get(self, &INCIDENT, &["security", "incidents", id.as_str()]).query(&[("$expand", &"alerts")]);
        self.one(request, terms).await
    }

    /// Alerts of any product changed at or after an instant, at most `most`.
    ///
    /// # Errors
    /// As any read.
    pub async fn alerts_since(&self, since: Timestamp, most: usize, terms: &Terms) -> Result<Vec<Value>, Error> {
        let filter = format!("lastUpdateDateTime ge {}", instant(since));
        let request = Request::get(self, &ALERT, &["security", "alerts_v2"]).query(&[("$filter", &filter)]);
        self.list(request, terms, most).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_a_query_or_a_dot_segment_is_not_a_resource_id() {
        assert!("ad1b2c3d-4e5f_x=".parse::<ResourceId>().is_ok());
        for bad in ["", "..", ".", ".hidden", "a/b", "a?b", "a%2fb", "a b", "a#b", "ü", &"a".repeat(257)] {
            assert_eq!(bad.parse::<ResourceId>(), Err(NotAResourceId), "{bad}");
        }
    }
}
