//! A simulated Entra tenant: Graph, the login host and Sentinel's part of ARM on one loopback port.
//!
//! It obeys the documented semantics rather than the convenient ones: a reset alone does not remove the thief of a
//! token, a revoke alone does not stop the thief of a password, synced, federated, guest and administrator targets
//! refuse as Microsoft's do, entities come late, and anything can be made to fail on demand. Every effect is counted.
//!
//! Nothing outside this module knows that it is not the real thing: it is reached by URL. It uses nothing of the
//! crate but itself. It keeps no state across a restart, and proves nothing about Microsoft that the facts did not.

mod apps;
mod batch;
mod belongings;
mod clock;
mod config;
mod control;
mod directory;
mod door;
mod fault;
mod filter;
mod front;
mod handle;
mod ledger;
mod login;
mod page;
mod password;
mod permissions;
mod person;
mod push;
mod raise;
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
pub use raise::{NewAlert, NewIncident, Raised};
pub use risk::NewDetection;
pub use signins::{NewSignIn, Origin};
pub use thief::{Loot, Thief, ThiefReport};

use clock::{Clock, mix};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
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
    app_tokens: apps::AppTokens,
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
            app_tokens: apps::AppTokens::default(),
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
}
