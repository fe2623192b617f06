//! Which person is meant: what the payload did not say, Microsoft is asked. Zero or several matches go to a human.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::intake::next_look;
use super::{Inner, Tenant};
use crate::domain::ledger::Disposition;
use crate::domain::signal::{Collection, Lookup};
use crate::domain::{Finding, ObjectId, Signal, Subject};
use crate::graph::retry::{Schedule, jitter};
use crate::graph::{self, ArmIncident, ResourceId, Terms};
use crate::sources::{Context, graph_notifications};

/// How long one question may take; containment may wait on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of asking.
#[derive(Debug)]
pub(super) enum Naming {
    Named(Named),
    Held(String),
    /// Ask again.
    Again {
        at: Timestamp,
        reason: String,
    },
}

/// What was found.
#[derive(Debug)]
pub(super) enum Named {
    Person(ObjectId),
    /// A fetched object, judged like a delivery of its own.
    Findings(Vec<Finding>),
}

impl Inner {
    /// Asks Microsoft what the signal left open.
    pub(super) async fn ask(&self, signal: &Signal, what: &Lookup, attempt: u32) -> Naming {
        let Some(tenant) = self.tenants.get(&signal.tenant) else {
            return Naming::Held("the tenant of this signal is not configured here".into());
        };
        let asked = match what {
            Lookup::Person => self.find_person(tenant, &signal.finding.subject).await,
            Lookup::GraphObject { collection, id } => self.fetch(tenant, signal, *collection, id).await,
            Lookup::RiskOf { user } => self.risk_of(tenant, signal, *user).await,
            Lookup::XdrIncident { incident } => {
                return self.late(signal, attempt, self.xdr_incident(tenant, signal, incident).await);
            }
            Lookup::ArmIncident { arm_id, .. } => {
                return self.late(signal, attempt, self.arm_incident(tenant, signal, arm_id).await);
            }
        };
        asked.unwrap_or_else(|error| self.failed(&error, attempt))
    }

    fn context(&self, tenant: &Tenant, signal: &Signal) -> Context {
        Context {
            entra_tenant_id: tenant.id,
            arm_allow: tenant.arm.get(&signal.source).cloned().unwrap_or_default(),
            now: signal.received_at,
        }
    }

    fn failed(&self, error: &graph::Error, attempt: u32) -> Naming {
        let after = match error.disposition() {
            Disposition::Refuse => return Naming::Held(format!("Microsoft refused the look-up: {error}")),
            Disposition::Retry { after_ms } => after_ms.map(Duration::from_millis),
            Disposition::Unknown => None,
        };
        let delay = Schedule::containment().delay(attempt, after, jitter()).unwrap_or(Duration::from_secs(30));
        let at = self.now() + SignedDuration::try_from(delay).unwrap_or(SignedDuration::from_secs(30));
        Naming::Again { at, reason: format!("the look-up failed and is tried again: {error}") }
    }

    /// Object id, then UPN, SID, on-premises account; the first that names anybody decides (facts: sentinel §1.1).
    async fn find_person(&self, tenant: &Tenant, subject: &Subject) -> Result<Naming, graph::Error> {
        let terms = Terms::read(PATIENCE).first();
        let mut found = Vec::new();
        if let Some(object_id) = subject.known_object_id() {
            return Ok(Naming::Named(Named::Person(object_id)));
        }
        if let Some(upn) = &subject.upn {
            found = tenant.graph.find_by_upn(upn, &terms).await?;
        }
        if let (true, Some(sid)) = (found.is_empty(), &subject.sid) {
            found = tenant.graph.find_by_sid(sid, &terms).await?;
        }
        if let (true, Some(sam)) = (found.is_empty(), &subject.sam) {
            found = tenant.graph.find_by_sam(sam, &terms).await?;
        }
        let mut people: Vec<ObjectId> = found.iter().map(|user| user.object_id).collect();
        people.sort();
        people.dedup();
        Ok(match people.as_slice() {
            [one] => Naming::Named(Named::Person(*one)),
            [] => Naming::Held("no user of the tenant matches what the alert says".into()),
            several => Naming::Held(format!("{} users of the tenant match what the alert says", several.len())),
        })
    }

    async fn fetch(
        &self,
        tenant: &Tenant,
        signal: &Signal,
        collection: Collection,
        id: &str,
    ) -> Result<Naming, graph::Error> {
        let gone = || Naming::Held(format!("the collection {} no longer answers for this id", collection.path()));
        let Ok(id) = id.parse::<ResourceId>() else { return Ok(Naming::Held("the notification's id is no id".into())) };
        let object = match tenant.graph.object(collection, &id, &Terms::read(PATIENCE)).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(gone()),
            Err(error) => return Err(error),
        };
        let findings = graph_notifications::judge_fetched(collection, &object, &self.context(tenant, signal));
        Ok(if findings.is_empty() { gone() } else { Naming::Named(Named::Findings(findings)) })
    }

    async fn risk_of(&self, tenant: &Tenant, signal: &Signal, user: ObjectId) -> Result<Naming, graph::Error> {
        let detections = match tenant.graph.raw_detections_of(user, 100, &Terms::read(PATIENCE)).await {
            Ok(detections) => detections,
            Err(error) if error.is_not_found() => Vec::new(),
            Err(error) => return Err(error),
        };
        let list = serde_json::json!({ "value": detections });
        let findings =
            graph_notifications::judge_fetched(Collection::RiskDetections, &list, &self.context(tenant, signal));
        Ok(if findings.is_empty() {
            Naming::Held("the notification names a user for whom no risk detection is found".into())
        } else {
            Naming::Named(Named::Findings(findings))
        })
    }

    async fn xdr_incident(&self, tenant: &Tenant, signal: &Signal, id: &str) -> Result<Vec<Finding>, graph::Error> {
        let Ok(id) = id.parse::<ResourceId>() else { return Ok(Vec::new()) };
        let answer = match tenant.graph.incident(&id, &Terms::read(PATIENCE)).await {
            Ok(answer) => answer,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let context = self.context(tenant, signal);
        Ok(named(graph_notifications::judge_incident(&answer, &signal.finding, &context)))
    }

    async fn arm_incident(&self, tenant: &Tenant, signal: &Signal, id: &str) -> Result<Vec<Finding>, graph::Error> {
        let Ok(id) = id.parse::<ArmIncident>() else { return Ok(Vec::new()) };
        let entities = match tenant.graph.incident_entities(&id, &Terms::read(PATIENCE)).await {
            Ok(entities) => entities,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let answer = serde_json::json!({ "entities": Value::Array(entities) });
        let context = self.context(tenant, signal);
        Ok(named(graph_notifications::judge_arm_entities(&answer, &signal.finding, &context)))
    }

    /// Entities come minutes after their incident: look again at 1, 2, 5, 10 and 15 min, then a human.
    fn late(&self, signal: &Signal, attempt: u32, found: Result<Vec<Finding>, graph::Error>) -> Naming {
        let why = match found {
            Ok(findings) if !findings.is_empty() => return Naming::Named(Named::Findings(findings)),
            Ok(_) => "the incident has no entities yet".to_owned(),
            Err(error) => format!("the incident's entities could not be read: {error}"),
        };
        match next_look(signal.received_at, attempt, self.now()) {
            Some(at) => Naming::Again { at, reason: why },
            None => Naming::Held(format!("{why} (asked again for 15 minutes)")),
        }
    }
}

/// Findings that name somebody or say something final; an answer that still asks for entities is not one.
fn named(findings: Vec<Finding>) -> Vec<Finding> {
    use crate::domain::Outcome;
    let final_words = |finding: &Finding| match &finding.outcome {
        Outcome::Act | Outcome::Ignored { .. } => true,
        Outcome::Lookup { what } => matches!(what, Lookup::Person),
        Outcome::Held { .. } => !finding.subject.is_empty(),
    };
    findings.into_iter().filter(final_words).collect()
}
