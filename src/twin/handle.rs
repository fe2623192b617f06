//! What tests, the demo and the control plane do to a tenant: people, knobs, faults, counts, events.

use super::{
    CallRecord, Count, Counters, Error, Knobs, Login, NewAlert, NewDetection, NewIncident, NewSignIn, NewUser, Origin,
    Plan, PlanState, Plant, Raised, Refusal, Session, Special, Twin, UserView,
    clock::{instant, lock, read, write},
    directory, signins,
};
use jiff::Timestamp;
use std::path::Path;
use uuid::Uuid;

impl Twin {
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
