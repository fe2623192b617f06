//! Raising alerts and incidents, and writing the documents that describe them.
//!
//! An incident gets its alerts, its entities in Sentinel, and the body that an incident-triggered playbook forwards.

use super::{
    Tenant,
    belongings::merge,
    clock::{cloud_sid, iso, lock, millis},
    security::{Alert, Incident},
    signins::Origin,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

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
        "id": format!("/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/soc/providers/Microsoft.OperationalInsights/workspaces/soc-prod/providers/Microsoft.SecurityInsights/Incidents/{name}"),
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
            "WorkspaceName": "soc-prod"},
        "workspaceId": "00000000-0000-4000-8000-000000000002", "object": object})
}
