//! The control plane under `/twin/…`: everything the handle can do, for other processes and for `curl`.
//!
//! Loopback only by the choice of whoever binds it; it has no authentication and must never face a network.

use super::{
    Tenant, Twin,
    belongings::Plant,
    clock::lock,
    fault::Plan,
    login::{Login, refused},
    person::NewUser,
    raise::{NewAlert, NewIncident},
    reply::{Call, Fail, Reply, Surface},
    risk::NewDetection,
    signins::{NewSignIn, Origin},
    thief::Loot,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::time::Duration;
use url::form_urlencoded;
use uuid::Uuid;

const CALLS_AT_ONCE: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    user: String,
    current: String,
    new: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redemption {
    refresh_token: String,
    #[serde(default)]
    origin: Origin,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Planting {
    user: Uuid,
    plant: Plant,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LifecycleEvent {
    subscription: Uuid,
    event: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    name: String,
    members: Vec<Uuid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewThief {
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    every_ms: Option<u64>,
    #[serde(default)]
    origin: Option<Origin>,
}

fn parse<T: DeserializeOwned>(call: &Call<'_>) -> Result<T, Fail> {
    serde_json::from_slice(call.raw).map_err(|error| Fail::bad(format!("the body is not understood: {error}")))
}

fn parameter(call: &Call<'_>, name: &str) -> Option<u64> {
    form_urlencoded::parse(call.query.as_bytes()).find(|(key, _)| key == name).and_then(|(_, value)| value.parse().ok())
}

fn encode(value: &impl serde::Serialize) -> Reply {
    Reply::ok(serde_json::to_value(value).unwrap_or(Value::Null))
}

fn no_user(id: Uuid) -> Fail {
    Fail::new(404, "NotFound", super::Error::NoSuchUser(id).to_string())
}

impl Tenant {
    /// One call of the control plane.
    pub(super) async fn control(&self, call: &Call<'_>) -> Reply {
        let Some(twin) = self.me.upgrade().map(Twin) else { return Reply::status(503, None) };
        let path: Vec<&str> = call.path.split('/').filter(|part| !part.is_empty()).skip(1).collect();
        let result = match path.as_slice() {
            ["settled"] => {
                twin.settled().await;
                Ok(Reply::no_content())
            }
            ["login" | "token" | "password" | "mail" | "thieves", ..] => twin.do_people(call, &path),
            ["faults" | "knobs" | "expire-tokens" | "counters" | "calls" | "subscriptions" | "lifecycle", ..] => {
                twin.do_workings(call, &path)
            }
            _ => twin.do_contents(call, &path),
        };
        result.unwrap_or_else(|fail| fail.render(Surface::Control, Uuid::nil(), call))
    }
}

fn unknown(call: &Call<'_>) -> Fail {
    Fail::new(404, "NotFound", format!("the twin has no {} {}", call.method, call.path))
}

impl Twin {
    /// How the tenant behaves, and what it counted.
    fn do_workings(&self, call: &Call<'_>, path: &[&str]) -> Result<Reply, Fail> {
        match (call.method, path) {
            ("GET", ["faults"]) => Ok(encode(&self.faults())),
            ("POST", ["faults"]) => {
                // One plan or a list of them.
                let ids: Vec<u64> = match parse::<Value>(call)? {
                    Value::Array(_) => parse::<Vec<Plan>>(call)?.into_iter().map(|plan| self.fault(plan)).collect(),
                    _ => vec![self.fault(parse(call)?)],
                };
                Ok(Reply::ok(json!({"ids": ids})))
            }
            ("DELETE", ["faults"]) => {
                self.clear_faults();
                Ok(Reply::no_content())
            }
            ("GET", ["knobs"]) => Ok(encode(&self.knobs())),
            ("POST" | "PATCH", ["knobs"]) => {
                let mut whole = serde_json::to_value(self.knobs()).unwrap_or(Value::Null);
                super::belongings::merge(&mut whole, &parse(call)?);
                let knobs = serde_json::from_value(whole).map_err(|error| Fail::bad(error.to_string()))?;
                self.set_knobs(knobs);
                Ok(encode(&knobs))
            }
            ("POST", ["expire-tokens"]) => {
                self.expire_app_tokens();
                Ok(Reply::no_content())
            }
            ("GET", ["counters"]) => Ok(encode(&self.counters())),
            ("GET", ["counters", "verbs"]) => Ok(encode(&self.0.ledger.verb_totals())),
            ("GET", ["counters", id]) => {
                let id = id.parse().map_err(|_| Fail::bad("that is no object id"))?;
                Ok(encode(&self.0.ledger.object(id)))
            }
            ("GET", ["calls"]) => {
                let limit = parameter(call, "limit").and_then(|it| usize::try_from(it).ok()).unwrap_or(CALLS_AT_ONCE);
                Ok(encode(&self.calls(parameter(call, "since").unwrap_or(0), limit.min(100_000))))
            }
            ("GET", ["subscriptions"]) => Ok(Reply::ok(self.0.subscription_report())),
            ("POST", ["lifecycle"]) => {
                let event: LifecycleEvent = parse(call)?;
                self.lifecycle(event.subscription, &event.event)
                    .map_err(|error| Fail::new(404, "NotFound", error.to_string()))?;
                Ok(Reply::no_content())
            }
            _ => Err(unknown(call)),
        }
    }

    /// What is in the tenant.
    fn do_contents(&self, call: &Call<'_>, path: &[&str]) -> Result<Reply, Fail> {
        match (call.method, path) {
            ("GET", [] | ["health"]) => {
                Ok(Reply::ok(json!({"tenant_id": self.0.config.tenant_id, "users": self.people(), "now": self.now()})))
            }
            ("GET", ["directory"]) => {
                let users: Vec<Value> = self
                    .specials()
                    .into_iter()
                    .map(|(special, upn, id)| json!({"special": special, "upn": upn, "id": id}))
                    .collect();
                Ok(Reply::ok(json!({"specials": users, "break_glass_group": self.break_glass_group(),
                    "first_person": self.person(1)})))
            }
            ("POST", ["users"]) => {
                let id = self.add_user(parse::<NewUser>(call)?);
                let id = id.map_err(|error| Fail::new(409, "Conflict", error.to_string()))?;
                Ok(Reply::status(201, Some(json!({"id": id, "initial_password": self.initial_password(id)}))))
            }
            ("GET", ["users", id]) => {
                let id = self.0.resolve(id).and_then(|id| self.user(id));
                id.map(|user| encode(&user)).ok_or_else(|| unknown(call))
            }
            ("GET", ["users", id, "initial-password"]) => {
                let id = self.0.resolve(id).filter(|id| self.0.find(*id).is_some()).ok_or_else(|| unknown(call))?;
                Ok(Reply::ok(json!({"password": self.initial_password(id)})))
            }
            ("DELETE", ["users", id]) => {
                let id = self.0.resolve(id).ok_or_else(|| unknown(call))?;
                self.delete_user(id).map_err(|_| no_user(id))?;
                Ok(Reply::no_content())
            }
            ("POST", ["groups"]) => {
                let group: NewGroup = parse(call)?;
                Ok(Reply::status(201, Some(json!({"id": self.add_group(&group.name, &group.members)}))))
            }
            ("POST", ["signins"]) => {
                let new: NewSignIn = parse(call)?;
                let id = self.add_sign_in(&new).map_err(|_| no_user(new.user))?;
                Ok(Reply::status(201, Some(json!({"id": id}))))
            }
            ("POST", ["detections"]) => {
                let new: NewDetection = parse(call)?;
                let id = self.add_detection(&new).map_err(|_| no_user(new.user))?;
                Ok(Reply::status(201, Some(json!({"id": id}))))
            }
            ("POST", ["alerts"]) => {
                Ok(Reply::status(201, Some(json!({"id": self.add_alert(&parse::<NewAlert>(call)?)}))))
            }
            ("POST", ["incidents"]) => {
                let raised = self.add_incident(&parse::<NewIncident>(call)?);
                Ok(Reply { status: 201, ..encode(&raised) })
            }
            ("POST", ["plant"]) => {
                let planting: Planting = parse(call)?;
                let id = self.plant(planting.user, planting.plant);
                let id = id.map_err(|error| Fail::new(404, "NotFound", error.to_string()))?;
                Ok(Reply::status(201, Some(json!({"id": id}))))
            }
            _ => Err(unknown(call)),
        }
    }

    /// What people and thieves do.
    fn do_people(&self, call: &Call<'_>, path: &[&str]) -> Result<Reply, Fail> {
        let trace = self.0.clock.fresh_id();
        match (call.method, path) {
            ("POST", ["login"]) => {
                let login: Login = parse(call)?;
                Ok(self.login(&login).map_or_else(|no| refused(&no, call, trace), |it| encode(&it)))
            }
            ("POST", ["token"]) => {
                let it: Redemption = parse(call)?;
                let session = self.redeem(&it.refresh_token, &it.origin);
                Ok(session.map_or_else(|no| refused(&no, call, trace), |it| encode(&it)))
            }
            ("POST", ["password"]) => {
                let change: PasswordChange = parse(call)?;
                let done = self.0.change_password(&change.user, &change.current, &change.new);
                Ok(done.map_or_else(|no| refused(&no, call, trace), |()| Reply::no_content()))
            }
            ("GET", ["mail"]) => self.0.read_mail(call),
            ("POST", ["thieves"]) => {
                let new: NewThief = parse(call)?;
                let loot = match (new.refresh_token, new.user, new.password) {
                    (Some(token), None, None) => Loot::RefreshToken(token),
                    (None, Some(user), Some(password)) => Loot::Password { user, password },
                    _ => return Err(Fail::bad("a thief has either refresh_token, or user and password")),
                };
                let interval = Duration::from_millis(new.every_ms.unwrap_or(250));
                let thief = self.thief(loot, new.origin.unwrap_or_else(Origin::thief), interval);
                Ok(Reply::status(201, Some(json!({"id": self.keep_thief(thief)}))))
            }
            ("GET", ["thieves", id]) => {
                let thieves = lock(&self.0.thieves);
                let thief = id.parse().ok().and_then(|id: Uuid| thieves.get(&id));
                thief.map(|thief| encode(&thief.report())).ok_or_else(|| unknown(call))
            }
            ("DELETE", ["thieves", id]) => {
                let thief = id.parse().ok().and_then(|id: Uuid| lock(&self.0.thieves).remove(&id));
                thief.map(|_| Reply::no_content()).ok_or_else(|| unknown(call))
            }
            _ => Err(unknown(call)),
        }
    }
}
