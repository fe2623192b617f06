//! Identity protection: detections, risky users, confirm and dismiss.
//!
//! One request a second per tenant, shared with every other application (facts: graph §2.2): the client's gate waits.

use std::net::IpAddr;

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::domain::ObjectId;

use super::client::{Graph, Request};
use super::error::Error;
use super::odata::{instant, lenient_instant, lenient_text};
use super::security::ResourceId;
use super::terms::{Accepted, Nature, Operation, Terms, Workload};

static DETECTIONS: Operation = Operation {
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
static CONFIRM: Operation = Operation {
    name: "confirm_compromised",
    permission: "IdentityRiskyUser.ReadWrite.All",
    nature: Nature::Idempotent,
    workload: Workload::IdentityProtection,
};
static DISMISS: Operation = Operation {
    name: "dismiss_risk",
    permission: "IdentityRiskyUser.ReadWrite.All",
    nature: Nature::Idempotent,
    workload: Workload::IdentityProtection,
};

/// Graph's largest page here.
const PAGE: usize = 500;

/// A risk detection, as far as a reviewer needs it; everything but the id is nullable (facts: graph §3.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct RiskDetection {
    pub id: String,
    #[serde(rename(deserialize = "riskEventType"), default, deserialize_with = "lenient_text")]
    pub kind: Option<String>,
    #[serde(rename(deserialize = "riskLevel"), default, deserialize_with = "lenient_text")]
    pub level: Option<String>,
    #[serde(rename(deserialize = "riskState"), default, deserialize_with = "lenient_text")]
    pub state: Option<String>,
    #[serde(rename(deserialize = "riskDetail"), default, deserialize_with = "lenient_text")]
    pub detail: Option<String>,
    #[serde(rename(deserialize = "activityDateTime"), default, deserialize_with = "lenient_instant")]
    pub activity_at: Option<Timestamp>,
    #[serde(rename(deserialize = "detectedDateTime"), default, deserialize_with = "lenient_instant")]
    pub detected_at: Option<Timestamp>,
    #[serde(rename(deserialize = "ipAddress"), default, deserialize_with = "lenient_text")]
    pub ip: Option<String>,
    #[serde(rename(deserialize = "userId"), default, deserialize_with = "lenient_text")]
    pub user_id: Option<String>,
    #[serde(default, deserialize_with = "lenient_location")]
    pub location: Option<Location>,
}

/// Where a detection was, as far as Graph knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    pub city: Option<String>,
    pub country: Option<String>,
}

/// A place with a name, or nothing where Graph sends null, a place without one, or another type.
fn lenient_location<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Location>, D::Error> {
    let value = Value::deserialize(from)?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let location = Location { city: text("city"), country: text("countryOrRegion") };
    Ok(Some(location).filter(|place| place.city.is_some() || place.country.is_some()))
}

impl RiskDetection {
    /// The address, when it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.ip.as_deref()?.parse().ok()
    }
}

/// What identity protection thinks of a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct RiskyUser {
    #[serde(default, deserialize_with = "lenient_text")]
    pub risk_level: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    pub risk_state: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    pub risk_detail: Option<String>,
    #[serde(rename(deserialize = "riskLastUpdatedDateTime"), default, deserialize_with = "lenient_instant")]
    pub updated_at: Option<Timestamp>,
}

impl Graph {
    /// A person's detections, newest first, at most `most`.
    ///
    /// # Errors
    /// As any read.
    pub async fn detections_of(&self, user: ObjectId, most: usize, terms: &Terms) -> Result<Vec<RiskDetection>, Error> {
        let filter = format!("userId eq '{user}'");
        let mut found: Vec<RiskDetection> = self.detections(&filter, most.max(PAGE), terms).await?;
        found.sort_by_key(|detection| std::cmp::Reverse(detection.detected_at));
        found.truncate(most);
        Ok(found)
    }

    /// A person's detections as Graph spells them, for the recogniser of payloads.
    ///
    /// # Errors
    /// As any read.
    pub async fn raw_detections_of(&self, user: ObjectId, most: usize, terms: &Terms) -> Result<Vec<Value>, Error> {
        self.detections(&format!("userId eq '{user}'"), most, terms).await
    }

    /// The tenant's detections made at or after an instant, as Graph spells them.
    ///
    /// # Errors
    /// As any read.
    pub async fn raw_detections_since(
        &self,
        since: Timestamp,
        most: usize,
        terms: &Terms,
    ) -> Result<Vec<Value>, Error> {
        self.detections(&format!("detectedDateTime ge {}", instant(since)), most, terms).await
    }

    async fn detections<T: serde::de::DeserializeOwned>(
        &self,
        filter: &str,
        most: usize,
        terms: &Terms,
    ) -> Result<Vec<T>, Error> {
        let request = Request::get(self, &DETECTIONS, &["identityProtection", "riskDetections"])
            .query(&[("$filter", &filter), ("$top", &most.clamp(1, PAGE))]);
        self.list(request, terms, most).await
    }

    /// One detection as Graph spells it.
    ///
    /// # Errors
    /// As any read; 404 when there is none.
    pub async fn raw_detection(&self, id: &ResourceId, terms: &Terms) -> Result<Value, Error> {
        let request = Request::get(self, &DETECTIONS, &["identityProtection", "riskDetections", id.as_str()]);
        self.one(request, terms).await
    }

    /// What identity protection thinks of a person; `None` when it knows nothing of them.
    ///
    /// # Errors
    /// As any read, without 404.
    pub async fn risky_user(&self, user: ObjectId, terms: &Terms) -> Result<Option<RiskyUser>, Error> {
        let request = Request::get(self, &RISKY_USER, &["identityProtection", "riskyUsers", &user.to_string()]);
        match self.one(request, terms).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One risky user as Graph spells it.
    ///
    /// # Errors
    /// As any read; 404 when there is none.
    pub async fn raw_risky_user(&self, user: ObjectId, terms: &Terms) -> Result<Value, Error> {
        let request = Request::get(self, &RISKY_USER, &["identityProtection", "riskyUsers", &user.to_string()]);
        self.one(request, terms).await
    }

    /// Sets the person's risk to high: risk-based policies and continuous access evaluation act on it. Safe to repeat.
    ///
    /// # Errors
    /// As any effect.
    pub async fn confirm_compromised(&self, user: ObjectId, terms: &Terms) -> Result<Accepted, Error> {
        self.judge(&CONFIRM, "confirmCompromised", user, terms).await
    }

    /// Dismisses the person's risk. Safe to repeat.
    ///
    /// # Errors
    /// As any effect.
    pub async fn dismiss_risk(&self, user: ObjectId, terms: &Terms) -> Result<Accepted, Error> {
        self.judge(&DISMISS, "dismiss", user, terms).await
    }

    async fn judge(
        &self,
        operation: &'static Operation,
        verb: &str,
        user: ObjectId,
        terms: &Terms,
    ) -> Result<Accepted, Error> {
        let request = Request::new(self, operation, Method::POST, &["identityProtection", "riskyUsers", verb])
            .json(&json!({ "userIds": [user.to_string()] }));
        self.effect(request, terms).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detection_keeps_its_place_and_is_read_without_one() {
        let read = |location: Value| {
            let row = json!({ "id": "r1", "location": location });
            serde_json::from_value::<RiskDetection>(row).expect("a detection").location
        };
        let lagos = Location { city: Some("Lagos".into()), country: Some("NG".into()) };
        assert_eq!(read(json!({ "city": "Lagos", "state": null, "countryOrRegion": "NG" })), Some(lagos));
        for none in [json!(null), json!({}), json!({ "city": "", "countryOrRegion": 7 }), json!("Lagos"), json!([1])] {
            assert_eq!(read(none.clone()), None, "{none}");
        }
        assert!(
            serde_json::from_value::<RiskDetection>(json!({ "id": "r2" })).expect("a detection").location.is_none()
        );
    }
}
