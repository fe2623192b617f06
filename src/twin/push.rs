//! Change notifications: subscriptions with their handshake, deliveries with `clientState`, lifecycle events.
//!
//! Only loopback addresses are called: a simulated tenant must not become a way to reach other machines. Microsoft
//! pushes no identity risk (facts: graph §2.1); the knob `push_risk` pretends it did.

use super::{
    Tenant, Twin,
    clock::{instant, iso, lock, read},
    reply::{Call, Fail, Reply},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::IpAddr, sync::Mutex, time::Duration};
use tokio::sync::watch;
use url::{Host, Url};
use uuid::Uuid;

const HANDSHAKE: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 4;
/// Shortest subscription Graph keeps: 45 minutes (facts: graph §1.7).
const SHORTEST_MS: i64 = 45 * 60_000;
const LONGEST_MS: i64 = 43_200 * 60_000;

#[derive(Clone, Debug)]
struct Subscription {
    json: Value,
    client_state: Option<String>,
    url: Url,
    lifecycle: Option<Url>,
    expires: i64,
    delivered: u64,
    failed: u64,
}

#[derive(Debug)]
pub(super) struct Push {
    subscriptions: Mutex<BTreeMap<Uuid, Subscription>>,
    client: reqwest::Client,
    in_flight: watch::Sender<usize>,
}

impl Push {
    pub(super) fn new() -> Self {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(HANDSHAKE)
            .build()
            .expect("a client without certificates of its own can always be built");
        Push { subscriptions: Mutex::default(), client, in_flight: watch::Sender::new(0) }
    }

    /// Waits until no notification is on its way.
    pub(super) async fn settled(&self) {
        // The sender lives in `self`, so the channel cannot close while we wait.
        let _ = self.in_flight.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Tenant {
    pub(super) async fn create_subscription(&self, call: &Call<'_>) -> Result<Reply, Fail> {
        let body = call.body.object()?;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let need = |name: &'static str| {
            text(name).ok_or_else(|| Fail::new(400, "ValidationError", format!("{name} is a required property.")))
        };
        let resource = need("resource")?.trim_start_matches('/').to_owned();
        pushable(&resource, call.knobs.push_risk)?;
        let change = need("changeType")?.to_owned();
        let url = callback(need("notificationUrl")?)?;
        let lifecycle = text("lifecycleNotificationUrl").map(callback).transpose()?;
        let client_state = text("clientState").map(str::to_owned);
        if client_state.as_ref().is_some_and(|state| state.len() > 128) {
            return Err(Fail::new(400, "ValidationError", "clientState must not exceed 128 characters."));
        }
        let expires = expiry(need("expirationDateTime")?, call.now)?;
        for target in std::iter::once(&url).chain(&lifecycle) {
            self.handshake(target).await?;
        }
        let id = self.clock.fresh_id();
        let json = json!({"id": id, "resource": resource, "changeType": change, "notificationUrl": url.as_str(),
            "lifecycleNotificationUrl": lifecycle.as_ref().map(Url::as_str), "clientState": client_state,
            "applicationId": self.config.client_id, "creatorId": self.config.client_id,
            "includeResourceData": false, "latestSupportedTlsVersion": "v1_2", "expirationDateTime": iso(expires)});
        let subscription =
            Subscription { json: json.clone(), client_state, url, lifecycle, expires, delivered: 0, failed: 0 };
        lock(&self.push.subscriptions).insert(id, subscription);
        Ok(Reply::status(201, Some(json)).applied())
    }

    /// Asks the receiver to echo a token, as Graph does before it creates a subscription (facts: graph §1.1).
    async fn handshake(&self, target: &Url) -> Result<(), Fail> {
        let token = format!(
            "Validation: Testing client application reachability for subscription Request-Id: {}+x",
            self.clock.fresh_id()
        );
        let mut url = target.clone();
        url.query_pairs_mut().append_pair("validationToken", &token);
        let failed =
            |why: String| Fail::new(400, "ValidationError", format!("Subscription validation request failed. {why}"));
        let request = self.push.client.post(url).header("content-type", "text/plain; charset=utf-8").body("");
        let answer = request.send().await.map_err(|_| failed("Notification endpoint could not be reached.".into()))?;
        if answer.status() != 200 {
            return Err(failed(format!("Notification endpoint answered {}.", answer.status().as_u16())));
        }
        let plain = answer.headers().get("content-type").and_then(|it| it.to_str().ok());
        if !plain.is_some_and(|it| it.starts_with("text/plain")) {
            return Err(failed("The answer is not text/plain.".into()));
        }
        let echoed = answer.text().await.map_err(|_| failed("The answer broke off.".into()))?;
        if echoed == token { Ok(()) } else { Err(failed("The answer is not the validation token.".into())) }
    }

    pub(super) fn list_subscriptions(&self, call: &Call<'_>) -> Reply {
        let mut all = lock(&self.push.subscriptions);
        all.retain(|_, it| it.expires > call.now);
        let value: Vec<Value> = all.values().map(|it| hidden(&it.json)).collect();
        Reply::ok(json!({"value": value}))
    }

    pub(super) fn read_subscription(&self, id: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        self.with_subscription(id, call.now, |it| Ok(Reply::ok(hidden(&it.json))))
    }

    pub(super) fn renew_subscription(&self, id: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        let body = call.body.object()?;
        let until = body.get("expirationDateTime").and_then(Value::as_str);
        let until = until.ok_or_else(|| Fail::new(400, "ValidationError", "expirationDateTime is required."))?;
        let expires = expiry(until, call.now)?;
        self.with_subscription(id, call.now, |it| {
            it.expires = expires;
            it.json["expirationDateTime"] = json!(iso(expires));
            Ok(Reply::ok(hidden(&it.json)).applied())
        })
    }

    pub(super) fn reauthorize_subscription(&self, id: &str, call: &Call<'_>) -> Result<Reply, Fail> {
        self.with_subscription(id, call.now, |_| Ok(Reply::no_content().applied()))
    }

    pub(super) fn delete_subscription(&self, id: &str) -> Result<Reply, Fail> {
        let known = id.parse().ok().and_then(|id: Uuid| lock(&self.push.subscriptions).remove(&id));
        known.map(|_| Reply::no_content().applied()).ok_or_else(|| Fail::not_found(id))
    }

    fn with_subscription(
        &self,
        id: &str,
        now: i64,
        act: impl FnOnce(&mut Subscription) -> Result<Reply, Fail>,
    ) -> Result<Reply, Fail> {
        let mut all = lock(&self.push.subscriptions);
        let found = id.parse().ok().and_then(|id: Uuid| all.get_mut(&id)).filter(|it| it.expires > now);
        act(found.ok_or_else(|| Fail::not_found(id))?)
    }

    /// What became of the subscriptions' deliveries, for the control plane.
    pub(super) fn subscription_report(&self) -> Value {
        lock(&self.push.subscriptions)
            .iter()
            .map(|(id, it)| {
                json!({"id": id, "resource": it.json["resource"], "notificationUrl": it.url.as_str(),
                    "expirationDateTime": iso(it.expires), "delivered": it.delivered, "failed": it.failed})
            })
            .collect()
    }

    /// Tells every subscriber of `collection` that `id` changed.
    pub(super) fn notify(&self, collection: &str, change: &str, id: &str) {
        let now = self.clock.now();
        let due: Vec<(Uuid, Subscription)> = lock(&self.push.subscriptions)
            .iter()
            .filter(|(_, it)| it.expires > now && watches(&it.json, collection, change))
            .map(|(id, it)| (*id, it.clone()))
            .collect();
        for (subscription, it) in due {
            let kind = if collection.ends_with("alerts_v2") {
                "#microsoft.graph.security.alert"
            } else if collection.ends_with("riskDetections") {
                "#microsoft.graph.riskDetection"
            } else if collection == "users" {
                "#microsoft.graph.user"
            } else {
                "#microsoft.graph.alert"
            };
            let item = json!({"id": self.clock.fresh_id(), "subscriptionId": subscription,
                "subscriptionExpirationDateTime": iso(it.expires), "tenantId": self.config.tenant_id,
                "clientState": it.client_state, "changeType": change, "resource": format!("{collection}/{id}"),
                "resourceData": {"@odata.type": kind, "@odata.id": format!("{collection}/{id}"), "id": id}});
            self.deliver(subscription, it.url, json!({"value": [item]}));
        }
    }

    /// Sends a lifecycle event; `false` if there is no such subscription or no lifecycle URL.
    pub(super) fn lifecycle(&self, subscription: Uuid, event: &str) -> bool {
        let found = lock(&self.push.subscriptions).get(&subscription).cloned();
        let Some((it, url)) = found.and_then(|it| it.lifecycle.clone().map(|url| (it, url))) else {
            return false;
        };
        // Lifecycle items come without `resource` and `changeType` (facts: graph §1.2).
        let item = json!({"subscriptionId": subscription, "subscriptionExpirationDateTime": iso(it.expires),
            "tenantId": self.config.tenant_id, "clientState": it.client_state, "lifecycleEvent": event});
        self.deliver(subscription, url, json!({"value": [item]}));
        if event == "subscriptionRemoved" {
            lock(&self.push.subscriptions).remove(&subscription);
        }
        true
    }

    fn deliver(&self, subscription: Uuid, url: Url, body: Value) {
        // Handles of a running server carry a runtime; without one nobody can be listening either.
        let (Some(tenant), Ok(runtime)) = (self.me.upgrade(), tokio::runtime::Handle::try_current()) else { return };
        self.push.in_flight.send_modify(|count| *count += 1);
        let twin = Twin(tenant);
        self.tasks.spawn_on(
            async move {
                let delivered = twin.0.attempt(&url, &body).await;
                if let Some(it) = lock(&twin.0.push.subscriptions).get_mut(&subscription) {
                    it.delivered += u64::from(delivered);
                    it.failed += u64::from(!delivered);
                }
                twin.0.push.in_flight.send_modify(|count| *count -= 1);
            },
            &runtime,
        );
    }

    /// Any 2xx is a delivery; else it is tried again, sooner than Microsoft would.
    async fn attempt(&self, url: &Url, body: &Value) -> bool {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(250 << attempt)).await;
            }
            let answer = self.push.client.post(url.clone()).json(body).send().await;
            if answer.is_ok_and(|it| it.status().is_success()) {
                return true;
            }
        }
        false
    }
}

fn watches(subscription: &Value, collection: &str, change: &str) -> bool {
    let resource = subscription["resource"].as_str().unwrap_or_default();
    let path = resource.split('?').next().unwrap_or_default().trim_end_matches('/');
    path == collection && subscription["changeType"].as_str().is_some_and(|it| it.split(',').any(|it| it == change))
}

/// Secrets are not read back.
fn hidden(json: &Value) -> Value {
    let mut json = json.clone();
    json["clientState"] = Value::Null;
    json
}

fn pushable(resource: &str, risk: bool) -> Result<(), Fail> {
    let path = resource.split('?').next().unwrap_or_default();
    let known = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["users"] | ["users", _] | ["groups", _, "members"] | ["security", "alerts", _] => true,
        ["security", "alerts"] => resource.contains("$filter=") || risk,
        ["security", "alerts_v2"] | ["identityProtection", "riskDetections" | "riskyUsers"] => risk,
        _ => false,
    };
    if known {
        return Ok(());
    }
    Err(Fail::new(400, "InvalidRequest", format!("Resource '{path}' is not supported for change notifications.")))
}

fn callback(text: &str) -> Result<Url, Fail> {
    let refuse = |why: &'static str| Fail::new(400, "ValidationError", why);
    let url = Url::parse(text).map_err(|_| refuse("The notification URL is not a URL."))?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    };
    if loopback && matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err(refuse("The twin calls loopback addresses only."))
    }
}

fn expiry(text: &str, now: i64) -> Result<i64, Fail> {
    let at: Timestamp =
        text.parse().map_err(|_| Fail::new(400, "ValidationError", "expirationDateTime is not a time."))?;
    if at <= instant(now) {
        return Err(Fail::new(400, "ValidationError", "Subscription expiration must be in the future."));
    }
    if at > instant(now + LONGEST_MS) {
        return Err(Fail::new(
            400,
            "ValidationError",
            "Subscription expiration can only be 43200 minutes in the future.",
        ));
    }
    Ok(at.as_millisecond().max(now + SHORTEST_MS))
}

impl Tenant {
    /// The knobs in force.
    pub(super) fn knobs(&self) -> super::config::Knobs {
        *read(&self.knobs)
    }
}
