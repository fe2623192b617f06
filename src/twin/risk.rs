//! Identity protection: risk detections, risky users, and what confirming, dismissing and resetting do to them.
//!
//! Deeds of an administrator come back as detections of their own (`adminConfirmedUserCompromised`): a responder
//! that takes them for news runs in circles (facts: sentinel §0).

use super::{
    Tenant,
    clock::{iso, lock},
    page::{Options, Sizes, page, sort_by_text},
    person::{Person, RiskView},
    reply::{Call, Fail, Reply},
    signins::Origin,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::Mutex,
};
use uuid::Uuid;

const DETECTION_FILTERS: &[&str] = &[
    "id",
    "detectedDateTime",
    "activityDateTime",
    "userId",
    "userPrincipalName",
    "userDisplayName",
    "riskEventType",
    "riskLevel",
    "riskState",
    "riskDetail",
    "detectionTimingType",
    "ipAddress",
];
const RISKY_FILTERS: &[&str] =
    &["id", "riskState", "riskLevel", "riskDetail", "userPrincipalName", "riskLastUpdatedDateTime", "isDeleted"];
const SIZES: Sizes = Sizes { default: 20, max: 500 };

#[derive(Debug, Default)]
pub(super) struct Risk {
    detections: Vec<Value>,
    by_id: HashMap<String, usize>,
    by_user: HashMap<Uuid, Vec<usize>>,
    risky: BTreeSet<Uuid>,
}

pub(super) type Risks = Mutex<Risk>;

/// A risk detection to raise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewDetection {
    /// Object id of the person.
    pub user: Uuid,
    /// Graph's `riskEventType`, such as `unlikelyTravel`; `anomalousToken` if absent.
    pub kind: Option<String>,
    /// `low`, `medium`, `high`, `hidden`; `high` if absent.
    pub level: Option<String>,
    /// `atRisk` if absent.
    pub state: Option<String>,
    /// `none` if absent.
    pub detail: Option<String>,
    /// From where.
    pub origin: Origin,
    /// When the person (or the thief) was active; now if absent.
    pub activity_at: Option<Timestamp>,
    /// When it was detected; now if absent.
    pub detected_at: Option<Timestamp>,
    /// Id; drawn if absent.
    pub id: Option<String>,
}

impl Tenant {
    /// Raises a detection and the person's risk; returns its id, or `None` if there is no such person.
    pub(super) fn add_detection(&self, new: &NewDetection) -> Option<String> {
        let person = self.find(new.user)?;
        let mut person = lock(&person);
        let now = self.clock.now();
        let level = known_level(new.level.as_deref().unwrap_or("high"));
        if matches!(level, "low" | "medium" | "high") && new.state.as_deref().is_none_or(|state| state == "atRisk") {
            person.risk = RiskView { level, state: "atRisk", detail: "none", updated: now };
        }
        let id = self.detect(&person, new, now);
        drop(person);
        self.notify("identityProtection/riskDetections", "created", &id);
        Some(id)
    }

    fn detect(&self, person: &Person, new: &NewDetection, now: i64) -> String {
        let drawn = self.clock.fresh_id().simple().to_string();
        let id = new.id.clone().unwrap_or_else(|| format!("{drawn}{drawn}"));
        let time = |at: Option<Timestamp>| at.map_or_else(|| iso(now), |at| at.to_string());
        let detected = time(new.detected_at);
        let origin = &new.origin;
        let row = json!({
            "id": id, "requestId": self.clock.fresh_id(), "correlationId": self.clock.fresh_id(),
            "riskEventType": new.kind.as_deref().unwrap_or("anomalousToken"),
            "riskState": new.state.as_deref().unwrap_or("atRisk"),
            "riskLevel": new.level.as_deref().unwrap_or("high"),
            "riskDetail": new.detail.as_deref().unwrap_or("none"),
            "source": "IdentityProtection", "detectionTimingType": "offline", "activity": "signin",
            "tokenIssuerType": "AzureAD", "ipAddress": origin.address(),
            "location": {"city": origin.city.as_deref().unwrap_or("Lagos"), "state": null,
                "countryOrRegion": origin.country.as_deref().unwrap_or("NG"),
                "geoCoordinates": Origin::coordinates(origin.city.as_deref().unwrap_or("Lagos"))},
            "activityDateTime": time(new.activity_at), "detectedDateTime": detected,
            "lastUpdatedDateTime": detected, "userId": person.id, "userDisplayName": person.display_name,
            "userPrincipalName": person.upn,
            "additionalInfo": "[{\"Key\":\"userAgent\",\"Value\":\"Mozilla/5.0\"},{\"Key\":\"riskReasons\",\"Value\":null}]",
        });
        let mut risk = lock(&self.risks);
        let at = risk.detections.len();
        risk.detections.push(row);
        risk.by_id.insert(id.clone(), at);
        risk.by_user.entry(person.id).or_default().push(at);
        risk.risky.insert(person.id);
        id
    }

    /// What an administrator's password reset does to the person's risk (facts: graph §4.2).
    pub(super) fn risk_after_reset(&self, person: &mut Person, now: i64) {
        if person.risk.state == "atRisk" || person.risk.state == "confirmedCompromised" {
            self.settle(person, "remediated", "adminGeneratedTemporaryPassword", now);
        }
    }

    fn settle(&self, person: &mut Person, state: &'static str, detail: &'static str, now: i64) {
        person.risk = RiskView { level: "none", state, detail, updated: now };
        let mut risk = lock(&self.risks);
        let risk = &mut *risk;
        risk.risky.insert(person.id);
        for at in risk.by_user.get(&person.id).map_or(&[][..], Vec::as_slice) {
            if let Some(row) = risk.detections.get_mut(*at).filter(|row| row["riskState"] == "atRisk") {
                row["riskState"] = json!(state);
                row["riskDetail"] = json!(detail);
                row["lastUpdatedDateTime"] = json!(iso(now));
            }
        }
    }

    /// `confirmCompromised`, `confirmSafe` and `dismiss`.
    pub(super) fn judge(&self, verdict: Verdict, call: &Call<'_>) -> Result<Reply, Fail> {
        call.body.object()?;
        let ids = user_ids(&call.body);
        let named = call.body.get("userIds").and_then(Value::as_array).map_or(0, Vec::len);
        if ids.is_empty() || ids.len() != named || named > 60 {
            return Err(Fail::bad("userIds must hold 1 to 60 object ids."));
        }
        let mut people = Vec::with_capacity(ids.len());
        for id in &ids {
            people.push(self.user(&id.to_string())?);
        }
        for person in people {
            let mut person = lock(&person);
            let now = self.clock.now();
            match verdict {
                Verdict::Compromised => {
                    person.risk = RiskView {
                        level: "high",
                        state: "confirmedCompromised",
                        detail: "adminConfirmedUserCompromised",
                        updated: now,
                    };
                    person.critical.set(self.clock.tick(), now, now);
                    let own = NewDetection {
                        user: person.id,
                        kind: Some("adminConfirmedUserCompromised".to_owned()),
                        state: Some("confirmedCompromised".to_owned()),
                        detail: Some("adminConfirmedUserCompromised".to_owned()),
                        ..NewDetection::default()
                    };
                    self.detect(&person, &own, now);
                }
                Verdict::Safe => self.settle(&mut person, "confirmedSafe", "adminConfirmedAccountSafe", now),
                Verdict::Dismissed => self.settle(&mut person, "dismissed", "adminDismissedAllRiskForUser", now),
            }
        }
        Ok(Reply::no_content().applied())
    }

    pub(super) fn list_detections(&self, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, DETECTION_FILTERS)?;
        let risk = lock(&self.risks);
        let pinned = options.filter.as_ref().and_then(|filter| filter.pinned("userId"));
        let mut rows: Vec<&Value> = match pinned {
            Some(ids) => ids
                .iter()
                .filter_map(|id| risk.by_user.get(&id.parse::<Uuid>().ok()?))
                .flatten()
                .filter_map(|at| risk.detections.get(*at))
                .filter(|row| options.admits(row))
                .collect(),
            None => risk.detections.iter().filter(|row| options.admits(row)).collect(),
        };
        let (field, descending) = options.order.clone().unwrap_or_else(|| ("detectedDateTime".to_owned(), true));
        sort_by_text(&mut rows, descending, |row| Cow::Borrowed(row[field.as_str()].as_str().unwrap_or_default()));
        Ok(page(rows, &options, call, SIZES, "identityProtection/riskDetections", Value::clone))
    }

    pub(super) fn read_detection(&self, id: &str) -> Result<Reply, Fail> {
        let risk = lock(&self.risks);
        let row = risk.by_id.get(id).and_then(|at| risk.detections.get(*at));
        row.map(|row| Reply::ok(row.clone())).ok_or_else(|| Fail::not_found(id))
    }

    pub(super) fn list_risky(&self, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, RISKY_FILTERS)?;
        let ids: Vec<Uuid> = lock(&self.risks).risky.iter().copied().collect();
        let rows: Vec<Value> = ids
            .into_iter()
            .filter_map(|id| Some(risky(&lock(&*self.find(id)?))))
            .filter(|row| options.admits(row))
            .collect();
        Ok(page(rows, &options, call, SIZES, "identityProtection/riskyUsers", |row| row))
    }

    pub(super) fn read_risky(&self, id: &str) -> Result<Reply, Fail> {
        let person = self.user(id)?;
        let person = lock(&person);
        if person.risk.state == "none" {
            return Err(Fail::not_found(id));
        }
        Ok(Reply::ok(risky(&person)))
    }
}

/// What an administrator says about a person's risk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Compromised,
    Safe,
    Dismissed,
}

/// The object ids in a `{"userIds": […]}` body.
pub(super) fn user_ids(body: &super::reply::Body) -> Vec<Uuid> {
    let ids = body.get("userIds").and_then(Value::as_array);
    ids.map(|ids| ids.iter().filter_map(|id| id.as_str()?.parse().ok()).collect()).unwrap_or_default()
}

fn risky(person: &Person) -> Value {
    json!({"id": person.id, "isDeleted": person.deleted, "isProcessing": false, "riskLevel": person.risk.level,
        "riskState": person.risk.state, "riskDetail": person.risk.detail,
        "riskLastUpdatedDateTime": iso(person.risk.updated), "userDisplayName": person.display_name,
        "userPrincipalName": person.upn})
}

fn known_level(level: &str) -> &'static str {
    match level {
        "low" => "low",
        "medium" => "medium",
        "high" => "high",
        _ => "hidden",
    }
}
