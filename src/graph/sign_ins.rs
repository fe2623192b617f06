//! Sign-ins, of a person or of the whole tenant: 5 requests per 10 s (facts: graph §6), newest first.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::ObjectId;

use super::client::{Graph, Request};
use super::error::Error;
use super::odata::instant;
use super::terms::{Nature, Operation, Terms, Workload};

static READ: Operation = Operation {
    name: "read_sign_ins",
    permission: "AuditLog.Read.All",
    nature: Nature::Read,
    workload: Workload::AuditLogs,
};

/// Graph's largest page here.
const PAGE: usize = 1000;

/// A sign-in, flattened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignIn {
    pub id: String,
    pub at: Option<Timestamp>,
    pub ip: Option<String>,
    pub city: Option<String>,
    pub country: Option<String>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    /// Of the network the address belongs to, where Graph says.
    pub asn: Option<u64>,
    pub app: Option<String>,
    /// The device's name, else its browser or system.
    pub device: Option<String>,
    /// The device's Entra id, when it has one.
    pub device_id: Option<String>,
    /// `None` when Graph does not say: not a success.
    pub success: Option<bool>,
    /// Risk during the sign-in: `none`, `low`, `medium`, `high`, `hidden`.
    pub risk: Option<String>,
    /// The session the sign-in belongs to.
    pub session: Option<String>,
    pub user_agent: Option<String>,
    /// Whether more than one factor was required.
    pub mfa: Option<bool>,
    /// How it was proved, in Microsoft's words: `MFA requirement satisfied by claim in the token`.
    pub mfa_detail: Option<String>,
    /// Whose sign-in it is; `None` when that is no object id.
    pub user_id: Option<ObjectId>,
}

impl SignIn {
    fn of(value: &Value) -> Option<Self> {
        let text =
            |path: &str| value.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let number = |path: &str| value.pointer(path).and_then(Value::as_f64);
        let device = ["/deviceDetail/displayName", "/deviceDetail/browser", "/deviceDetail/operatingSystem"];
        Some(Self {
            id: text("/id")?,
            at: text("/createdDateTime").and_then(|at| at.parse().ok()),
            ip: text("/ipAddress"),
            city: text("/location/city"),
            country: text("/location/countryOrRegion"),
            latitude: number("/location/geoCoordinates/latitude"),
            longitude: number("/location/geoCoordinates/longitude"),
            asn: value.pointer("/autonomousSystemNumber").and_then(Value::as_u64).filter(|asn| *asn > 0),
            app: text("/appDisplayName"),
            device: device.iter().find_map(|path| text(path)),
            device_id: text("/deviceDetail/deviceId"),
            success: value.pointer("/status/errorCode").and_then(Value::as_i64).map(|code| code == 0),
            risk: text("/riskLevelDuringSignIn"),
            session: text("/sessionId"),
            user_agent: text("/userAgent").or_else(|| text("/deviceDetail/browser")),
            mfa: text("/authenticationRequirement").map(|needed| needed == "multiFactorAuthentication"),
            mfa_detail: text("/status/additionalDetails").filter(|detail| detail.contains("MFA")),
            user_id: text("/userId").and_then(|id| id.parse().ok()),
        })
    }

    /// True when somebody got in.
    pub fn succeeded(&self) -> bool {
        self.success == Some(true)
    }
}

impl Graph {
    /// A person's sign-ins since an instant, newest first, at most `most`.
    ///
    /// # Errors
    /// As any read; 403 in a tenant without P1.
    pub async fn sign_ins_of(
        &self,
        user: ObjectId,
        since: Timestamp,
        most: usize,
        terms: &Terms,
    ) -> Result<Vec<SignIn>, Error> {
        self.sign_ins(&format!("userId eq '{user}' and createdDateTime ge {}", instant(since)), most, terms).await
    }

    /// The tenant's sign-ins since an instant, newest first, at most `most`.
    ///
    /// # Errors
    /// As any read; 403 in a tenant without P1.
    pub async fn sign_ins_since(&self, since: Timestamp, most: usize, terms: &Terms) -> Result<Vec<SignIn>, Error> {
        self.sign_ins(&format!("createdDateTime ge {}", instant(since)), most, terms).await
    }

    async fn sign_ins(&self, filter: &str, most: usize, terms: &Terms) -> Result<Vec<SignIn>, Error> {
        let request = Request::get(self, &READ, &["auditLogs", "signIns"])
            .query(&[("$filter", &filter), ("$top", &most.clamp(1, PAGE))]);
        let found: Vec<Value> = self.list(request, terms, most).await?;
        Ok(found.iter().filter_map(SignIn::of).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sign_in_without_a_status_is_not_a_success() {
        let bare = SignIn::of(&json!({ "id": "s1" })).expect("a sign-in");
        assert!(!bare.succeeded());
        let good = SignIn::of(&json!({
            "id": "s2", "status": { "errorCode": 0 }, "userId": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
            "deviceDetail": { "displayName": "", "browser": "Edge 131" }, "location": null,
        }))
        .expect("a sign-in");
        assert!(good.succeeded() && good.user_id.is_some());
        assert_eq!(good.device.as_deref(), Some("Edge 131"));
        assert_eq!(SignIn::of(&json!({ "id": 7 })), None);
    }

    #[test]
    fn a_sign_in_keeps_its_device_its_place_on_earth_and_how_it_was_proved() {
        let row = SignIn::of(&json!({
            "id": "s3", "status": { "errorCode": 0, "additionalDetails": "MFA requirement satisfied by claim in the token" },
            "deviceDetail": { "deviceId": "d1" }, "autonomousSystemNumber": 64_500,
            "location": { "city": "Lagos", "countryOrRegion": "NG", "geoCoordinates": { "altitude": null, "latitude": 6.455, "longitude": 3.384 } },
        }))
        .expect("a sign-in");
        assert_eq!((row.latitude, row.longitude, row.asn), (Some(6.455), Some(3.384), Some(64_500)));
        assert_eq!(row.device_id.as_deref(), Some("d1"));
        assert_eq!(row.mfa_detail.as_deref(), Some("MFA requirement satisfied by claim in the token"));
        let odd =
            json!({ "id": "s4", "autonomousSystemNumber": "x", "location": { "geoCoordinates": { "latitude": "6" } } });
        let odd = SignIn::of(&odd).expect("a sign-in");
        assert_eq!((odd.latitude, odd.asn, odd.mfa_detail), (None, None, None));
    }
}
