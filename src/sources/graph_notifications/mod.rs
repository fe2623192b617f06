//! Kind `graph`: change notifications of Microsoft Graph, basic and lifecycle (facts: graph §1).
//!
//! An item carries ids only; what it points to is fetched by the worker from an allow-list of collections, by an id
//! that parsed as one (contract §6.4), and judged by `judge_fetched`. The only proof on an item is its `clientState`.
//! A wrong one is dropped and counted, never answered differently. Does not fetch, decrypt or renew anything.

use std::fmt;

use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::auth::ClientState;
use super::draft::{self, Draft};
use super::normalise::json::{documents, get, keys, reference, text};
use super::normalise::{cut, limits};
use super::{Context, Error};
use crate::domain::{Finding, Outcome};

mod handshake;
mod resource;

pub use super::microsoft::{judge_arm_entities, judge_fetched, judge_incident};
pub use handshake::{BadToken, validation_token};

/// The word of the shape in findings.
pub const SHAPE: &str = "graph_notification";

/// Client states that are believed.
#[derive(Clone, Copy)]
pub struct Trust<'a> {
    /// The source's configured states.
    pub client_state: &'a ClientState,
    /// The state of one subscription, where oust made it itself; it stands over the configured ones.
    pub own: Option<&'a dyn Fn(Uuid) -> Option<SecretString>>,
}

impl fmt::Debug for Trust<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("client_state", self.client_state).field("own", &self.own.is_some()).finish()
    }
}

impl Trust<'_> {
    fn holds(&self, subscription: Option<Uuid>, presented: &str) -> bool {
        match subscription.zip(self.own).and_then(|(id, own)| own(id)) {
            Some(state) => ClientState::of(&[state]).contains(presented),
            None => self.client_state.contains(presented),
        }
    }
}

/// What a collection of notifications says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Notifications {
    pub findings: Vec<Finding>,
    pub lifecycle: Vec<Lifecycle>,
    pub dropped: Dropped,
}

/// Items that are answered like any other and then forgotten, for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Items whose `clientState` is missing or wrong.
    pub wrong_client_state: usize,
    /// Believed items that are no notification.
    pub malformed: usize,
    /// Lifecycle items of another tenant.
    pub other_tenant: usize,
}

/// Microsoft asks for something to be done to a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    pub subscription_id: Uuid,
    pub event: LifecycleEvent,
}

/// What is to be done (facts: graph §1.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// Reauthorise or renew.
    ReauthorizationRequired,
    /// Create again, then read what was missed.
    SubscriptionRemoved,
    /// Read what was missed.
    Missed,
    /// A word not known yet.
    Other(String),
}

impl LifecycleEvent {
    fn of(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "reauthorizationrequired" => Self::ReauthorizationRequired,
            "subscriptionremoved" => Self::SubscriptionRemoved,
            "missed" => Self::Missed,
            _ => Self::Other(cut(word, 64)),
        }
    }
}

/// Reads a `changeNotificationCollection`.
///
/// # Errors
/// When the body is not JSON, out of bounds, or no collection of notifications.
pub fn parse(body: &[u8], trust: &Trust<'_>, ctx: &Context) -> Result<Notifications, Error> {
    let documents = documents(body)?;
    let Some(document) = documents.first() else { return Err(Error::Empty) };
    let Some(items) = get(document, "value").and_then(Value::as_array).filter(|_| documents.len() == 1) else {
        let hint =
            Some("a source of `kind: graph` takes Microsoft Graph change notifications only; use `kind: microsoft`");
        return Err(Error::Unknown { saw: keys(document), hint });
    };
    if items.len() > limits::ITEMS {
        return Err(Error::TooMany);
    }
    let mut notifications = Notifications::default();
    let mut drafts = Vec::new();
    for item in items {
        let subscription = text(item, "subscriptionId").and_then(|id| Uuid::try_parse(id).ok());
        let presented = get(item, "clientState").and_then(Value::as_str).unwrap_or_default();
        if !trust.holds(subscription, presented) {
            notifications.dropped.wrong_client_state += 1;
            continue;
        }
        match (subscription, text(item, "lifecycleEvent")) {
            (None, _) => notifications.dropped.malformed += 1,
            (Some(subscription_id), Some(word)) => {
                if draft::tenant(text(item, "tenantId")).is_some_and(|tenant| tenant != ctx.entra_tenant_id) {
                    notifications.dropped.other_tenant += 1;
                } else {
                    notifications.lifecycle.push(Lifecycle { subscription_id, event: LifecycleEvent::of(word) });
                }
            }
            (Some(subscription_id), None) => drafts.push(notification(item, subscription_id)),
        }
    }
    notifications.findings = draft::settle(drafts, ctx);
    Ok(notifications)
}

/// One notification about an object.
fn notification(item: &Value, subscription: Uuid) -> Draft {
    let data = get(item, "resourceData").unwrap_or(&Value::Null);
    let resource = text(item, "resource").unwrap_or_default();
    let change = text(item, "changeType").unwrap_or_default();
    let mut draft = Draft::new(SHAPE);
    draft.raw_kind = "graph notification".to_owned();
    draft.title = Some(format!("Graph says that {} was {}", cut(resource, 120), cut(change, 20)));
    draft.tenant = draft::tenant(text(item, "tenantId"));
    draft.refer("subscription", Some(subscription.to_string()));
    draft.refer("notification", reference(item, &["id"]));
    draft.nobody = match draft.tenant {
        None => Outcome::Held { reason: "the notification does not say which tenant it is of".to_owned() },
        Some(_) if change.eq_ignore_ascii_case("deleted") => {
            Outcome::Ignored { reason: "closed: the object was deleted".to_owned() }
        }
        Some(_) => resource::outcome(resource, reference(data, &["id"]).as_deref()),
    };
    // Microsoft may deliver one change twice; its etag tells changes apart (facts: graph §1.5).
    draft.about = json!({
        "subscription": subscription,
        "resource": resource,
        "change": change,
        "version": reference(data, &["@odata.etag", "id"]),
    });
    draft
}
