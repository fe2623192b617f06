//! A simulated Entra tenant: Graph, the login host and Sentinel's part of ARM on one loopback port.
//!
//! It obeys the documented semantics rather than the convenient ones: a reset alone does not remove the thief of a
//! token, a revoke alone does not stop the thief of a password, synced, federated, guest and administrator targets
//! refuse as Microsoft's do, entities come late, and anything can be made to fail on demand. Every effect is counted.
//!
//! Nothing outside this module knows that it is not the real thing: it is reached by URL. It uses nothing of the
//! crate but itself. It keeps no state across a restart, and proves nothing about Microsoft that the facts did not.

mod belongings;
mod clock;
mod config;
mod control;
mod directory;
mod fault;
mod filter;
mod front;
mod ledger;
mod login;
mod page;
mod password;
mod permissions;
mod person;
mod push;
mod reply;
mod risk;
mod roles;
mod security;
mod serve;
mod signins;
#[cfg(test)]
mod tests;
mod thief;
mod throttle;
mod users;
mod verb;

pub use belongings::Plant;
pub use clock::{cloud_sid, person_id};
pub use config::{App, Config, Knobs};
pub use directory::{Special, break_glass_group, person_upn};
pub use fault::{Fault, Plan, PlanState};
pub use ledger::{CallRecord, Count, Counters};
pub use login::{Login, Refusal, Session};
pub use person::{Kind, NewUser};
pub use risk::NewDetection;
pub use security::{NewAlert, NewIncident, Raised};
pub use signins::{NewSignIn, Origin};
pub use thief::{Loot, Thief, ThiefReport};

use clock::{Clock, instant, lock, mix, read, write};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, RwLock, Weak},
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// What cannot be done to the simulated tenant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody has this object id.
    #[error("there is no user {0} in the twin")]
    NoSuchUser(Uuid),
    /// The object id or the UPN is taken, or the UPN is no name.
    #[error("the user {0} cannot be added: the name is taken or empty")]
    Taken(String),
    /// The thing to plant is of no known kind.
    #[error("the twin cannot plant this")]
    NoSuchKind,
    /// There is no subscription with this id and a lifecycle URL.
    #[error("there is no subscription {0} with a lifecycle URL")]
    NoSuchSubscription(Uuid),
    /// The call log cannot be written.
    #[error("cannot open the call log")]
    CallLog(#[source] std::io::Error),
}

/// A handle to a simulated tenant; clones are the same tenant.
#[derive(Clone, Debug)]
pub struct Twin(Arc<Tenant>);

/// A user as the twin knows it, never with a password.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserView {
    /// Object id.
    pub id: Uuid,
    /// User principal name.
    pub upn: String,
    /// Where mastered.
    pub kind: Kind,
    /// Sign-in is possible.
    pub enabled: bool,
    /// The id answers 404.
    pub deleted: bool,
    /// A new password is demanded at the next sign-in.
    pub must_change: bool,
    /// `signInSessionsValidFromDateTime` as readers see it now.
    pub sessions_valid_from: Timestamp,
    /// `lastPasswordChangeDateTime` as readers see it now.
    pub password_changed: Timestamp,
    /// Level of user risk.
    pub risk_level: String,
    /// State of user risk.
    pub risk_state: String,
}

#[derive(Debug)]
struct Tenant {
    me: Weak<Tenant>,
    config: Config,
    /// All applications, the configuration's own first.
    apps: Vec<App>,
    clock: Clock,
    /// Authenticates the tokens of people.
    key: [u8; 32],
    knobs: RwLock<Knobs>,
    directory: RwLock<directory::Directory>,
    app_tokens: login::AppTokens,
    ledger: ledger::Ledger,
    faults: fault::Faults,
    throttle: throttle::Throttle,
    risks: risk::Risks,
    security: security::Securities,
    sign_ins: signins::SignIns,
    push: push::Push,
    thieves: Mutex<HashMap<Uuid, Thief>>,
    tasks: TaskTracker,
}

impl Twin {
    /// A tenant with `config.people` ordinary users and every special one.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let clock = Clock::new(config.seed, config.knobs.skew_ms);
        let own = App {
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            permissions: config.permissions.clone(),
            privileged: false,
        };
        let mut key = [0; 32];
        for (at, part) in key.chunks_mut(8).enumerate() {
            part.copy_from_slice(&mix(config.seed ^ mix(at as u64)).to_be_bytes());
        }
        Twin(Arc::new_cyclic(|me| Tenant {
            me: Weak::clone(me),
            apps: std::iter::once(own).chain(config.apps.iter().cloned()).collect(),
            key,
            knobs: RwLock::new(config.knobs),
            directory: RwLock::new(directory::Directory::new(config.seed, config.people, clock.now())),
            app_tokens: login::AppTokens::default(),
            ledger: ledger::Ledger::new(config.call_log),
            faults: fault::Faults::default(),
            throttle: throttle::Throttle::default(),
            risks: Mutex::default(),
            security: Mutex::default(),
            sign_ins: Mutex::default(),
            push: push::Push::new(),
            thieves: Mutex::default(),
            tasks: TaskTracker::new(),
            clock,
            config,
        }))
    }

    /// Object id of the `index`-th ordinary user, from 1.
    #[must_use]
    pub fn person(&self, index: usize) -> Uuid {
        person_id(self.0.config.seed, index)
    }

    /// Object id of a special user.
    #[must_use]
    pub fn special(&self, special: Special) -> Uuid {
        special.id(self.0.config.seed)
    }

    /// Object id of the break-glass group.
    #[must_use]
    pub fn break_glass_group(&self) -> Uuid {
        break_glass_group(self.0.config.seed)
    }

    /// The password a user has until someone changes it.
    #[must_use]
    pub fn initial_password(&self, user: Uuid) -> String {
        password::initial(self.0.config.seed, user)
    }

    /// Adds a user and returns the object id.
    ///
    /// # Errors
    /// [`Error::Taken`] if the id or the UPN exists, or the UPN is empty.
    pub fn add_user(&self, user: NewUser) -> Result<Uuid, Error> {
        let id = user.id.unwrap_or_else(|| self.0.clock.fresh_id());
        let upn = user.upn.clone();
        let now = self.0.clock.now();
        if upn.is_empty() || !write(&self.0.directory).add(user, id, self.0.config.seed, now) {
            return Err(Error::Taken(upn));
        }
        Ok(id)
    }

    /// Adds a group with these members, which may be groups.
    #[must_use]
    pub fn add_group(&self, name: &str, members: &[Uuid]) -> Uuid {
        let id = self.0.clock.fresh_id();
        let group = directory::Group { name: name.to_owned(), members: members.to_vec() };
        write(&self.0.directory).groups.insert(id, group);
        id
    }

    /// A user as of now.
    #[must_use]
    pub fn user(&self, id: Uuid) -> Option<UserView> {
        let person = self.0.find(id)?;
        let mut person = lock(&person);
        let now = self.0.clock.now();
        Some(UserView {
            id,
            upn: person.upn.clone(),
            kind: person.kind,
            enabled: person.enabled,
            deleted: person.deleted,
            must_change: person.must_change,
            sessions_valid_from: instant(person.valid_from.get(now)),
            password_changed: instant(person.password_changed.get(now)),
            risk_level: person.risk.level.to_owned(),
            risk_state: person.risk.state.to_owned(),
        })
    }

    /// Deletes a user: the id answers 404 from now on.
    ///
    /// # Errors
    /// [`Error::NoSuchUser`].
    pub fn delete_user(&self, id: Uuid) -> Result<(), Error> {
        let person = self.0.find(id).ok_or(Error::NoSuchUser(id))?;
        lock(&person).deleted = true;
        Ok(())
    }

    /// The tenant's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        instant(self.0.clock.now())
    }

    /// The knobs in force.
    #[must_use]
    pub fn knobs(&self) -> Knobs {
        self.0.knobs()
    }

    /// Sets all knobs.
    pub fn set_knobs(&self, knobs: Knobs) {
        self.0.clock.set_skew(knobs.skew_ms);
        *write(&self.0.knobs) = knobs;
    }

    /// Adds a fault plan and returns its number.
    pub fn fault(&self, plan: Plan) -> u64 {
        self.0.faults.add(plan)
    }

    /// The fault plans and how often each was hit.
    #[must_use]
    pub fn faults(&self) -> Vec<PlanState> {
        self.0.faults.list()
    }

    /// Removes all fault plans.
    pub fn clear_faults(&self) {
        self.0.faults.clear();
    }

    /// All counts.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.ledger.counters()
    }

    /// The count of one verb on one object, cheaply.
    #[must_use]
    pub fn count(&self, verb: &str, object: Uuid) -> Count {
        self.0.ledger.object(object).get(verb).copied().unwrap_or_default()
    }

    /// Up to `limit` logged calls after position `since`, oldest first.
    #[must_use]
    pub fn calls(&self, since: u64, limit: usize) -> Vec<CallRecord> {
        self.0.ledger.calls(since, limit)
    }

    /// Writes every later call to this file too, one JSON object a line.
    ///
    /// # Errors
    /// [`Error::CallLog`] if the file cannot be created.
    pub fn log_calls_to(&self, file: &Path) -> Result<(), Error> {
        self.0.ledger.write_to(file).map_err(Error::CallLog)
    }

    /// Invalidates every application token: the next call of each caller meets a 401.
    pub fn expire_app_tokens(&self) {
        self.0.expire_app_tokens();
    }

    /// Somebody signs in with a password.
    ///
    /// # Errors
    /// The login host's refusal.
    pub fn login(&self, login: &Login) -> Result<Session, Refusal> {
        self.0.login(login)
    }

    /// The owner signs in with the seeded password, from the usual place.
    ///
    /// # Errors
    /// The login host's refusal.
    pub fn owner_session(&self, user: Uuid) -> Result<Session, Refusal> {
        let password = self.initial_password(user);
        self.login(&Login { user: user.to_string(), password, new_password: None, origin: Origin::default() })
    }

    /// Somebody who knows the password changes it.
    ///
    /// # Errors
    /// The login host's refusal.
    pub fn change_password(&self, user: Uuid, current: &str, new: &str) -> Result<(), Refusal> {
        self.0.change_password(&user.to_string(), current, new)
    }

    /// Somebody redeems a refresh token.
    ///
    /// # Errors
    /// The login host's refusal; 50173 for a revoked token.
    pub fn redeem(&self, refresh_token: &str, origin: &Origin) -> Result<Session, Refusal> {
        self.0.redeem(refresh_token, origin)
    }

    /// Whether this access token reads mail now.
    #[must_use]
    pub fn reads_mail(&self, access_token: &str) -> bool {
        self.0.mailbox(access_token).is_ok()
    }

    /// Records a sign-in without opening a session; returns its id in the log.
    ///
    /// # Errors
    /// [`Error::NoSuchUser`].
    pub fn add_sign_in(&self, new: &NewSignIn) -> Result<Option<Uuid>, Error> {
        let person = self.0.find(new.user).ok_or(Error::NoSuchUser(new.user))?;
        let at = new.at.map_or_else(|| self.0.clock.now(), |at| at.as_millisecond());
        let session = new.session.unwrap_or_else(|| self.0.clock.fresh_id());
        let event = signins::Event {
            at,
            session,
            origin: &new.origin,
            code: new.error_code,
            reason: "Planted.",
            interactive: true,
            risk: new.risk.as_deref().unwrap_or("none"),
        };
        Ok(self.0.log_sign_in(&mut lock(&person), &event))
    }

    /// Raises a risk detection and returns its id.
    ///
    /// # Errors
    /// [`Error::NoSuchUser`].
    pub fn add_detection(&self, new: &NewDetection) -> Result<String, Error> {
        self.0.add_detection(new).ok_or(Error::NoSuchUser(new.user))
    }

    /// Raises an alert and returns its id.
    #[must_use]
    pub fn add_alert(&self, new: &NewAlert) -> String {
        self.0.add_alert(new)
    }

    /// Raises an incident with its alerts.
    #[must_use]
    pub fn add_incident(&self, new: &NewIncident) -> Raised {
        self.0.add_incident(new)
    }

    /// Plants an inbox rule, a method, a consent or a device on a user and returns its id.
    ///
    /// # Errors
    /// [`Error::NoSuchUser`], [`Error::NoSuchKind`].
    pub fn plant(&self, user: Uuid, plant: Plant) -> Result<String, Error> {
        if self.0.find(user).is_none() {
            return Err(Error::NoSuchUser(user));
        }
        self.0.plant(user, plant).ok_or(Error::NoSuchKind)
    }

    /// Sends a lifecycle event (`reauthorizationRequired`, `subscriptionRemoved`, `missed`) to a subscriber.
    ///
    /// # Errors
    /// [`Error::NoSuchSubscription`].
    pub fn lifecycle(&self, subscription: Uuid, event: &str) -> Result<(), Error> {
        if self.0.lifecycle(subscription, event) { Ok(()) } else { Err(Error::NoSuchSubscription(subscription)) }
    }

    /// Waits until no notification is on its way.
    pub async fn settled(&self) {
        self.0.push.settled().await;
    }

    /// The special users and their ids.
    #[must_use]
    pub fn specials(&self) -> Vec<(Special, &'static str, Uuid)> {
        Special::ALL.iter().map(|it| (*it, it.upn(), self.special(*it))).collect()
    }

    /// How many users there are.
    #[must_use]
    pub fn people(&self) -> usize {
        read(&self.0.directory).order.len()
    }
}
