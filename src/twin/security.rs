//! Alerts and incidents: `/security/alerts_v2`, the legacy `/security/alerts`, `/security/incidents`, and Sentinel's
//! incidents in ARM.
//!
//! Entities may come late, as they do in the field: an object exists, its evidence appears after a while
//! (facts: sentinel §1.1).

use super::{
    Tenant,
    belongings::merge,
    clock::{cloud_sid, iso, lock, millis},
    page::{Options, Sizes, page, sort_by_text},
    reply::{Call, Fail, Reply},
    signins::Origin,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
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

/// An alert to raise in Defender.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewAlert {
    /// Who is compromised; nobody is allowed too.
    pub users: Vec<Uuid>,
    /// Title; `Anonymous IP address` if absent.
    pub title: Option<String>,
    /// `detectorId`.
    pub detector: Option<String>,
    /// `serviceSource`; `azureAdIdentityProtection` if absent.
    pub service_source: Option<String>,
    /// `high` if absent.
    pub severity: Option<String>,
    /// `new` if absent.
    pub status: Option<String>,
    /// From where.
    pub origin: Origin,
    /// When the thief was active; now if absent.
    pub activity_at: Option<Timestamp>,
    /// Milliseconds until the evidence appears.
    pub entities_after_ms: u64,
    /// The incident it belongs to.
    pub incident: Option<String>,
    /// Fields laid over what the twin makes of the above.
    pub over: Value,
}

/// An incident to raise in Defender and in Sentinel.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewIncident {
    /// Its accounts.
    pub users: Vec<Uuid>,
    /// Title.
    pub title: Option<String>,
    /// Titles of its alerts, each about all users; one alert if empty.
    pub alert_titles: Vec<String>,
    /// `New` if absent.
    pub status: Option<String>,
    /// From where.
    pub origin: Origin,
    /// When the thief was active; now if absent.
    pub activity_at: Option<Timestamp>,
    /// Milliseconds until its entities and its alerts' evidence appear.
    pub entities_after_ms: u64,
}

/// What was raised.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Raised {
    /// Incident id in Graph, a number.
    pub incident_id: String,
    /// Incident name in Sentinel, a GUID.
    pub name: Uuid,
    /// Ids of its alerts in `alerts_v2`.
    pub alert_ids: Vec<String>,
    /// The body that an incident-triggered playbook would forward.
    pub trigger: Value,
}

#[derive(Debug)]
struct Alert {
    json: Value,
    legacy: Value,
    evidence: Value,
    visible_at: i64,
}

#[derive(Debug)]
struct Incident {
    json: Value,
    arm: Value,
    entities: Value,
    visible_at: i64,
    alerts: Vec<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Security {
    alerts: Vec<Alert>,
    incidents: Vec<Incident>,
    alert_ids: HashMap<String, usize>,
    incident_ids: HashMap<String, usize>,
    names: HashMap<Uuid, usize>,
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
    /// Raises an alert in both collections and returns its id.
    pub(super) fn add_alert(&self, new: &NewAlert) -> String {
        let id = self.clock.fresh_id().simple().to_string();
        let alert = self.build_alert(new, &id);
        let id = alert.json["id"].as_str().unwrap_or(&id).to_owned();
        {
            let mut security = lock(&self.security);
            let at = security.alerts.len();
            security.alert_ids.insert(id.clone(), at);
            security.alerts.push(alert);
        }
        self.notify("security/alerts_v2", "created", &id);
        self.notify("security/alerts", "created", &id);
        id
    }

    fn build_alert(&self, new: &NewAlert, id: &str) -> Alert {
        let now = self.clock.now();
        let at = new.activity_at.map_or_else(|| iso(now), |at| at.to_string());
        let title = new.title.as_deref().unwrap_or("Anonymous IP address");
        let severity = new.severity.as_deref().unwrap_or("high");
        let (mut evidence, mut states) = (Vec::new(), Vec::new());
        let base = json!({"createdDateTime": iso(now), "verdict": "suspicious", "remediationStatus": "none",
            "remediationStatusDetails": null, "detailedRoles": [], "tags": []});
        for user in &new.users {
            let Some(person) = self.find(*user) else { continue };
            let person = lock(&person);
            let local = person.upn.split('@').next().unwrap_or_default();
            let mut item = json!({"@odata.type": "#microsoft.graph.security.userEvidence", "roles": ["compromised"],
                "userAccount": {"accountName": local, "domainName": null, "userSid": cloud_sid(*user),
                    "azureAdUserId": user, "userPrincipalName": person.upn, "displayName": person.display_name}});
            merge(&mut item, &base);
            evidence.push(item);
            states.push(json!({"aadUserId": user, "accountName": local, "domainName": "contoso.example",
                "emailRole": "unknown", "isVpn": null, "logonDateTime": at, "logonIp": new.origin.address(),
                "userPrincipalName": person.upn, "onPremisesSecurityIdentifier": null, "riskScore": null}));
        }
        let mut ip = json!({"@odata.type": "#microsoft.graph.security.ipEvidence", "roles": ["attacker"],
            "ipAddress": new.origin.address(), "countryLetterCode": new.origin.country, "location": null});
        merge(&mut ip, &base);
        evidence.push(ip);
        let mut json = json!({"@odata.type": "#microsoft.graph.security.alert", "id": id, "providerAlertId": id,
            "incidentId": new.incident, "tenantId": self.config.tenant_id,
            "status": new.status.as_deref().unwrap_or("new"), "severity": severity, "classification": null,
            "determination": null,
            "serviceSource": new.service_source.as_deref().unwrap_or("azureAdIdentityProtection"),
            "detectionSource": new.service_source.as_deref().unwrap_or("azureAdIdentityProtection"),
            "productName": "Microsoft Entra ID Protection", "detectorId": new.detector.as_deref().unwrap_or("AnonymousLogin"),
            "alertPolicyId": null, "title": title, "description": title, "recommendedActions": "",
            "category": "InitialAccess", "categories": ["InitialAccess"], "assignedTo": null,
            "mitreTechniques": ["T1078.004"], "createdDateTime": iso(now), "lastUpdateDateTime": iso(now),
            "resolvedDateTime": null, "firstActivityDateTime": at, "lastActivityDateTime": at, "comments": [],
            "systemTags": [], "investigationState": "unknown", "evidence": []});
        merge(&mut json, &new.over);
        let legacy = json!({"id": json["id"], "azureTenantId": self.config.tenant_id, "title": title,
            "category": new.detector.as_deref().unwrap_or("AnonymousLogin"), "description": title,
            "severity": severity, "status": "newAlert", "createdDateTime": iso(now), "eventDateTime": at,
            "lastModifiedDateTime": iso(now), "userStates": states, "cloudAppStates": [], "networkConnections": [],
            "vendorInformation": {"provider": "IPC", "providerVersion": null, "subProvider": null,
                "vendor": "Microsoft"}, "triggers": [], "incidentIds": [], "comments": [], "tags": []});
        let visible_at = now + millis(new.entities_after_ms);
        Alert { json, legacy, evidence: Value::Array(evidence), visible_at }
    }

    /// Raises an incident with its alerts.
    pub(super) fn add_incident(&self, new: &NewIncident) -> Raised {
        let now = self.clock.now();
        let number = (46_000 + self.clock.tick()).to_string();
        let name = self.clock.fresh_id();
        let titles = if new.alert_titles.is_empty() {
            vec![new.title.clone().unwrap_or_else(|| "Anonymous IP address".to_owned())]
        } else {
            new.alert_titles.clone()
        };
        let alert_ids: Vec<String> = titles
            .iter()
            .map(|title| {
                self.add_alert(&NewAlert {
                    users: new.users.clone(),
                    title: Some(title.clone()),
                    origin: new.origin.clone(),
                    activity_at: new.activity_at,
                    entities_after_ms: new.entities_after_ms,
                    incident: Some(number.clone()),
                    ..NewAlert::default()
                })
            })
            .collect();
        let entities = self.entities(new);
        let shown = if new.entities_after_ms == 0 { entities.clone() } else { json!([]) };
        let activity = new.activity_at.map_or_else(|| iso(now), |at| at.to_string());
        let title = new.title.clone().unwrap_or_else(|| format!("{} involving one user", titles[0]));
        let arm = arm_incident(name, &number, &title, new, &activity, &iso(now), &alert_ids, &titles);
        let trigger = trigger(&arm, &shown);
        let json = json!({"@odata.type": "#microsoft.graph.security.incident", "id": number,
            "tenantId": self.config.tenant_id, "displayName": title, "status": "active", "severity": "high",
            "createdDateTime": iso(now), "lastUpdateDateTime": iso(now), "assignedTo": null, "classification": "unknown",
            "determination": "unknown", "comments": [], "customTags": [], "redirectIncidentId": null});
        let mut security = lock(&self.security);
        let alerts = alert_ids.iter().filter_map(|id| security.alert_ids.get(id).copied()).collect();
        let at = security.incidents.len();
        security.incident_ids.insert(number.clone(), at);
        security.names.insert(name, at);
        let visible_at = now + millis(new.entities_after_ms);
        security.incidents.push(Incident { json, arm, entities, visible_at, alerts });
        Raised { incident_id: number, name, alert_ids, trigger }
    }

    fn entities(&self, new: &NewIncident) -> Value {
        let mut entities = Vec::new();
        for user in &new.users {
            let Some(person) = self.find(*user) else { continue };
            let person = lock(&person);
            let (local, domain) = person.upn.split_once('@').unwrap_or((&person.upn, ""));
            entities.push(json!({"id": format!("entities/{}", self.clock.fresh_id()), "name": self.clock.fresh_id(),
                "type": "Microsoft.SecurityInsights/Entities", "kind": "Account",
                "properties": {"accountName": local, "upnSuffix": domain, "aadUserId": user,
                    "aadTenantId": self.config.tenant_id, "sid": cloud_sid(*user),
                    "displayName": person.display_name, "friendlyName": person.display_name, "isDomainJoined": false}}));
        }
        entities.push(json!({"id": format!("entities/{}", self.clock.fresh_id()), "name": self.clock.fresh_id(),
            "type": "Microsoft.SecurityInsights/Entities", "kind": "Ip",
            "properties": {"address": new.origin.address(), "friendlyName": new.origin.address()}}));
        Value::Array(entities)
    }

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

#[allow(clippy::too_many_arguments, reason = "the parts of one document, used once")]
fn arm_incident(
    name: Uuid,
    number: &str,
    title: &str,
    new: &NewIncident,
    activity: &str,
    now: &str,
    alert_ids: &[String],
    titles: &[String],
) -> Value {
    let alerts: Vec<Value> = alert_ids
        .iter()
        .zip(titles)
        .map(|(id, title)| {
            json!({"kind": "SecurityAlert", "type": "Microsoft.SecurityInsights/Entities", "properties": {
                "systemAlertId": id, "providerAlertId": id, "alertDisplayName": title, "friendlyName": title,
                "alertType": "AnonymousLogin", "severity": "High", "status": "New", "vendorName": "Microsoft",
                "productName": "Azure Active Directory Identity Protection", "startTimeUtc": activity,
                "endTimeUtc": activity, "timeGenerated": now, "tactics": ["InitialAccess"], "additionalData": {}}})
        })
        .collect();
    json!({
        "id": format!("/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/soc/providers/Microsoft.OperationalInsights/workspaces/soc/providers/Microsoft.SecurityInsights/Incidents/{name}"),
        "name": name, "etag": "\"0\"", "type": "Microsoft.SecurityInsights/Incidents",
        "properties": {"title": title, "severity": "High", "status": new.status.as_deref().unwrap_or("New"),
            "owner": {"objectId": null, "email": null, "assignedTo": null, "userPrincipalName": null}, "labels": [],
            "firstActivityTimeUtc": activity, "lastActivityTimeUtc": activity, "lastModifiedTimeUtc": now,
            "createdTimeUtc": now, "incidentNumber": number.parse::<u64>().unwrap_or_default(),
            "additionalData": {"alertsCount": alert_ids.len(), "bookmarksCount": 0, "commentsCount": 0,
                "alertProductNames": ["Azure Active Directory Identity Protection"],
                "tactics": ["InitialAccess"], "techniques": []},
            "relatedAnalyticRuleIds": [], "providerName": "Microsoft XDR", "providerIncidentId": number,
            "alerts": alerts, "bookmarks": [], "comments": []}
    })
}

fn trigger(arm: &Value, entities: &Value) -> Value {
    let mut object = arm.clone();
    object["properties"]["relatedEntities"] = entities.clone();
    json!({"eventUniqueId": arm["name"], "objectSchemaType": "Incident", "objectEventType": "Create",
        "workspaceInfo": {"SubscriptionId": "00000000-0000-4000-8000-000000000001", "ResourceGroupName": "soc",
            "WorkspaceName": "soc"},
        "workspaceId": "00000000-0000-4000-8000-000000000002", "object": object})
}
