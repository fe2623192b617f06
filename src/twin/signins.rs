//! The sign-in log: what people and thieves leave behind, and `GET /auditLogs/signIns`.
//!
//! Newest first, visible only after the tenant's lag. Token redemptions are logged once per session and address, else
//! an attacker who knocks four times a second would drown everything else.

use super::{
    Tenant,
    clock::{iso, lock, millis, read},
    page::{Options, Sizes, page},
    person::Person,
    reply::{Call, Fail, Reply},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::VecDeque, sync::Arc};
use uuid::Uuid;

const KEPT: usize = 200_000;
const KEPT_EACH: usize = 500;

const FILTERABLE: &[&str] = &[
    "userId",
    "userPrincipalName",
    "createdDateTime",
    "ipAddress",
    "appId",
    "id",
    "correlationId",
    "status",
    "isInteractive",
    "signInEventTypes",
    "riskLevelDuringSignIn",
    "riskState",
];

#[derive(Debug)]
pub(super) struct SignIn {
    visible_at: i64,
    session: Uuid,
    ip: String,
    code: u32,
    json: Value,
}

pub(super) type SignIns = std::sync::Mutex<VecDeque<Arc<SignIn>>>;

/// From where and with what somebody comes. Absent fields are an office in Berlin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Origin {
    /// IP address.
    pub ip: Option<String>,
    /// City.
    pub city: Option<String>,
    /// ISO country code.
    pub country: Option<String>,
    /// Device id, if it is a known device.
    pub device_id: Option<String>,
    /// Browser, as the log names it.
    pub browser: Option<String>,
}

impl Origin {
    /// An origin that stands for an attacker: an address of his own, abroad, on no known device.
    #[must_use]
    pub fn thief() -> Self {
        Origin {
            ip: Some("203.0.113.77".to_owned()),
            city: Some("Lagos".to_owned()),
            country: Some("NG".to_owned()),
            device_id: None,
            browser: Some("Python Requests 2.32".to_owned()),
        }
    }

    pub(super) fn address(&self) -> &str {
        self.ip.as_deref().unwrap_or("198.51.100.20")
    }

    /// Where a city is on earth, for the two that the twin's people and thieves are in unless told otherwise.
    pub(super) fn coordinates(city: &str) -> Value {
        let (latitude, longitude) = match city {
            "Berlin" => (Some(52.52), Some(13.405)),
            "Lagos" => (Some(6.455), Some(3.384)),
            _ => (None, None),
        };
        json!({"altitude": null, "latitude": latitude, "longitude": longitude})
    }
}

/// A sign-in to record, without anybody really holding a session.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSignIn {
    /// Whose.
    pub user: Uuid,
    /// From where.
    #[serde(default)]
    pub origin: Origin,
    /// AADSTS error number; 0 is a success.
    #[serde(default)]
    pub error_code: u32,
    /// Risk seen at sign-in: `none`, `low`, `medium`, `high`.
    #[serde(default)]
    pub risk: Option<String>,
    /// When; now if absent.
    #[serde(default)]
    pub at: Option<jiff::Timestamp>,
    /// Session id; drawn if absent.
    #[serde(default)]
    pub session: Option<Uuid>,
}

/// One event as the login host reports it to the log.
#[derive(Debug)]
pub(super) struct Event<'a> {
    pub(super) at: i64,
    pub(super) session: Uuid,
    pub(super) origin: &'a Origin,
    pub(super) code: u32,
    pub(super) reason: &'a str,
    pub(super) interactive: bool,
    pub(super) risk: &'a str,
}

impl Tenant {
    /// Logs a sign-in, unless it repeats what the log already says of this session and address.
    pub(super) fn log_sign_in(&self, person: &mut Person, event: &Event<'_>) -> Option<Uuid> {
        let same = |it: &Arc<SignIn>| {
            it.ip == event.origin.address() && it.code == event.code && (event.code != 0 || it.session == event.session)
        };
        let quiet = !event.interactive || event.code != 0;
        if quiet && person.sign_ins.iter().rev().take(32).any(same) {
            return None;
        }
        let id = self.clock.fresh_id();
        let sign_in = Arc::new(SignIn {
            visible_at: event.at.max(self.clock.now()) + millis(read(&self.knobs).sign_in_lag_ms),
            session: event.session,
            ip: event.origin.address().to_owned(),
            code: event.code,
            json: entry(person, id, event),
        });
        if person.sign_ins.len() >= KEPT_EACH {
            person.sign_ins.pop_front();
        }
        person.sign_ins.push_back(Arc::clone(&sign_in));
        let mut all = lock(&self.sign_ins);
        if all.len() >= KEPT {
            all.pop_front();
        }
        all.push_back(sign_in);
        Some(id)
    }

    pub(super) fn list_sign_ins(&self, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, FILTERABLE)?;
        let pinned = options.filter.as_ref().and_then(|filter| filter.pinned("userId"));
        let mut rows: Vec<Arc<SignIn>> = match pinned {
            Some(ids) => {
                let mut rows = Vec::new();
                for id in ids.iter().filter_map(|id| id.parse::<Uuid>().ok()) {
                    if let Some(person) = self.find(id) {
                        rows.extend(lock(&person).sign_ins.iter().cloned());
                    }
                }
                rows
            }
            None => lock(&self.sign_ins).iter().cloned().collect(),
        };
        rows.retain(|it| it.visible_at <= call.now && options.admits(&it.json));
        let created = |it: &Arc<SignIn>| {
            it.json["createdDateTime"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok())
        };
        rows.reverse();
        rows.sort_by_key(|it| std::cmp::Reverse(created(it)));
        let sizes = Sizes { default: 1_000, max: 1_000 };
        Ok(page(rows, &options, call, sizes, "auditLogs/signIns", |it| it.json.clone()))
    }
}

fn entry(person: &Person, id: Uuid, event: &Event<'_>) -> Value {
    let origin = event.origin;
    json!({
        "id": id,
        "createdDateTime": iso(event.at),
        "userDisplayName": person.display_name,
        "userPrincipalName": person.upn,
        "userId": person.id,
        "appId": "00000002-0000-0ff1-ce00-000000000000",
        "appDisplayName": "Office 365 Exchange Online",
        "resourceDisplayName": "Office 365 Exchange Online",
        "resourceId": "00000002-0000-0ff1-ce00-000000000000",
        "ipAddress": origin.address(),
        "clientAppUsed": "Browser",
        "correlationId": id,
        "sessionId": event.session,
        "conditionalAccessStatus": if event.code == 0 { "success" } else { "notApplied" },
        "isInteractive": event.interactive,
        "signInEventTypes": [if event.interactive { "interactiveUser" } else { "nonInteractiveUser" }],
        "riskDetail": "none",
        "riskLevelAggregated": event.risk,
        "riskLevelDuringSignIn": event.risk,
        "riskState": if event.risk == "none" { "none" } else { "atRisk" },
        "riskEventTypes_v2": [],
        "appliedConditionalAccessPolicies": [],
        "status": {"errorCode": event.code, "failureReason": if event.code == 0 { "Other." } else { event.reason },
            "additionalDetails": null},
        "deviceDetail": {"deviceId": origin.device_id.as_deref().unwrap_or(""), "displayName": "",
            "operatingSystem": "Windows 11", "browser": origin.browser.as_deref().unwrap_or("Edge 141.0.0"),
            "isCompliant": origin.device_id.is_some(), "isManaged": origin.device_id.is_some(), "trustType": ""},
        "location": {"city": origin.city.as_deref().unwrap_or("Berlin"), "state": null,
            "countryOrRegion": origin.country.as_deref().unwrap_or("DE"),
            "geoCoordinates": Origin::coordinates(origin.city.as_deref().unwrap_or("Berlin"))},
    })
}
