//! Alerts and incidents: `/security/alerts_v2`, the legacy `/security/alerts`, `/security/incidents`, and Sentinel's
//! incidents in ARM.
//!
//! Entities may come late, as they do in the field: an object exists, its evidence appears after a while
//! (facts: sentinel §1.1).

use super::{
    Tenant,
    belongings::merge,
    clock::{iso, lock},
    page::{Options, Sizes, page, sort_by_text},
    reply::{Call, Fail, Reply},
};
use serde_json::{Value, json};
use std::{borrow::Cow, collections::HashMap, sync::Mutex};
use uuid::Uuid;

const ALERT_FILTERS: &[&str] = &[
    "id",
    "assignedTo",
    "classification",
    "determination",
    "createdDateTime",
    "lastUpdateDateTime",
    "severity",
    "serviceSource",
    "status",
    "evidence",
];
const LEGACY_FILTERS: &[&str] =
    &["id", "title", "category", "severity", "status", "createdDateTime", "eventDateTime", "vendorInformation"];
const INCIDENT_FILTERS: &[&str] =
    &["id", "assignedTo", "classification", "createdDateTime", "lastUpdateDateTime", "severity", "status"];
const ALERTS: Sizes = Sizes { default: 50, max: 1_000 };

#[derive(Debug)]
pub(super) struct Alert {
    pub(super) json: Value,
    pub(super) legacy: Value,
    pub(super) evidence: Value,
    pub(super) visible_at: i64,
}

#[derive(Debug)]
pub(super) struct Incident {
    pub(super) json: Value,
    pub(super) arm: Value,
    pub(super) entities: Value,
    pub(super) visible_at: i64,
    pub(super) alerts: Vec<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Security {
    pub(super) alerts: Vec<Alert>,
    pub(super) incidents: Vec<Incident>,
    pub(super) alert_ids: HashMap<String, usize>,
    pub(super) incident_ids: HashMap<String, usize>,
    pub(super) names: HashMap<Uuid, usize>,
}

pub(super) type Securities = Mutex<Security>;

impl Alert {
    fn show(&self, now: i64) -> Value {
        let mut row = self.json.clone();
        row["evidence"] = if now >= self.visible_at { self.evidence.clone() } else { json!([]) };
        row
    }
}

impl Tenant {
    pub(super) fn list_alerts(&self, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, ALERT_FILTERS)?;
        let security = lock(&self.security);
        let mut rows: Vec<Value> =
            security.alerts.iter().map(|alert| alert.show(call.now)).filter(|row| options.admits(row)).collect();
        sort_by_text(&mut rows, true, |row| Cow::Borrowed(row["createdDateTime"].as_str().unwrap_or_default()));
        Ok(page(rows, &options, call, ALERTS, "security/alerts_v2", |row| row))
    }

    pub(super) fn read_alert(&self, id: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let security = lock(&self.security);
        let alert = security.alert_ids.get(id).and_then(|at| security.alerts.get(*at));
        alert.map(|alert| Reply::ok(alert.show(call.now))).ok_or_else(|| Fail::not_found(id))
    }

    pub(super) fn update_alert(&self, id: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let changes = Value::Object(call.body.object()?.clone());
        let mut security = lock(&self.security);
        let at = security.alert_ids.get(id).copied().ok_or_else(|| Fail::not_found(id))?;
        let alert = &mut security.alerts[at];
        merge(&mut alert.json, &changes);
        alert.json["lastUpdateDateTime"] = json!(iso(call.now));
        Ok(Reply::ok(alert.show(call.now)).applied())
    }

    /// A comment on an alert or, if `incident`, on an incident.
    pub(super) fn comment(&self, id: &str, incident: bool, call: &Call<'_>) -> Result<Reply, Fail> {
        let text =
            call.body.get("comment").and_then(Value::as_str).ok_or_else(|| Fail::bad("A comment is required."))?;
        let entry = json!({"comment": text, "createdByDisplayName": "application", "createdDateTime": iso(call.now)});
        let mut security = lock(&self.security);
        let index = if incident { &security.incident_ids } else { &security.alert_ids };
        let at = index.get(id).copied().ok_or_else(|| Fail::not_found(id))?;
        let json = if incident { &mut security.incidents[at].json } else { &mut security.alerts[at].json };
        if let Some(comments) = json["comments"].as_array_mut() {
            comments.push(entry);
        }
        Ok(Reply::ok(json!({"value": json["comments"]})).applied())
    }

    pub(super) fn list_legacy(&self, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, LEGACY_FILTERS)?;
        let security = lock(&self.security);
        let rows: Vec<&Value> = security
            .alerts
            .iter()
            .map(|alert| &alert.legacy)
            .filter(|row| !call.knobs.legacy_alerts_retired && options.admits(row))
            .collect();
        Ok(page(rows, &options, call, ALERTS, "security/alerts", Value::clone))
    }

    pub(super) fn read_legacy(&self, id: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let security = lock(&self.security);
        let alert = security.alert_ids.get(id).and_then(|at| security.alerts.get(*at));
        let alert = alert.filter(|_| !call.knobs.legacy_alerts_retired);
        alert.map(|alert| Reply::ok(alert.legacy.clone())).ok_or_else(|| Fail::not_found(id))
    }

    pub(super) fn list_incidents(&self, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, INCIDENT_FILTERS)?;
        let security = lock(&self.security);
        let rows: Vec<&Value> =
            security.incidents.iter().rev().map(|it| &it.json).filter(|row| options.admits(row)).collect();
        Ok(page(rows, &options, call, ALERTS, "security/incidents", Value::clone))
    }

    pub(super) fn read_incident(&self, id: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let options = Options::of(call, INCIDENT_FILTERS)?;
        let security = lock(&self.security);
        let incident = security.incident_ids.get(id).and_then(|at| security.incidents.get(*at));
        let incident = incident.ok_or_else(|| Fail::not_found(id))?;
        let mut row = incident.json.clone();
        if options.expand.as_deref().is_some_and(|what| what.split(',').any(|it| it == "alerts")) {
            let alerts = incident.alerts.iter().filter_map(|at| security.alerts.get(*at));
            row["alerts"] = alerts.map(|alert| alert.show(call.now)).collect();
        }
        Ok(Reply::ok(row))
    }

    pub(super) fn update_incident(&self, id: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let changes = Value::Object(call.body.object()?.clone());
        let mut security = lock(&self.security);
        let at = security.incident_ids.get(id).copied().ok_or_else(|| Fail::not_found(id))?;
        let incident = &mut security.incidents[at];
        merge(&mut incident.json, &changes);
        Ok(Reply::ok(incident.json.clone()).applied())
    }

    /// Sentinel's view of an incident: the object, its entities, or a comment put on it.
    pub(super) fn arm(&self, what: Arm<'_>, name: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        if !call.query.contains("api-version=") {
            let message = "The api-version query parameter (?api-version=) is required for all requests.";
            return Err(Fail::new(400, "MissingApiVersionParameter", message));
        }
        let gone = || Fail::new(404, "NotFound", format!("The incident '{name}' was not found."));
        let mut security = lock(&self.security);
        let at = name.parse().ok().and_then(|name: Uuid| security.names.get(&name).copied()).ok_or_else(gone)?;
        let incident = &mut security.incidents[at];
        match what {
            Arm::Incident => Ok(Reply::ok(incident.arm.clone())),
            Arm::Entities => {
                let here = if call.now >= incident.visible_at { incident.entities.clone() } else { json!([]) };
                let mut kinds = std::collections::BTreeMap::new();
                for entity in here.as_array().into_iter().flatten() {
                    *kinds.entry(entity["kind"].as_str().unwrap_or_default().to_owned()).or_insert(0) += 1;
                }
                let meta: Vec<Value> =
                    kinds.into_iter().map(|(kind, count)| json!({"entityKind": kind, "count": count})).collect();
                Ok(Reply::ok(json!({"entities": here, "metaData": meta})))
            }
            Arm::Comment(id) => {
                let message = call.body.get("properties").and_then(|it| it["message"].as_str());
                let message = message.ok_or_else(|| Fail::new(400, "BadRequest", "properties.message is required."))?;
                let entry = json!({"name": id, "properties": {"message": message, "createdTimeUtc": iso(call.now)}});
                let comments = &mut incident.arm["properties"]["comments"];
                let Some(comments) = comments.as_array_mut() else { return Err(gone()) };
                let status = if let Some(old) = comments.iter_mut().find(|it| it["name"] == id) {
                    *old = entry.clone();
                    200
                } else {
                    comments.push(entry.clone());
                    201
                };
                Ok(Reply::status(status, Some(entry)).applied())
            }
        }
    }
}

/// What is asked of Sentinel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arm<'a> {
    Incident,
    Entities,
    Comment(&'a str),
}
