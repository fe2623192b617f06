//! The attacker: holds a stolen refresh token or a stolen password, and reads mail until he cannot.
//!
//! He keeps knocking after he is refused, so that a report tells not only when he was thrown out but whether he came
//! back.

use super::{
    Twin,
    clock::{instant, lock},
    login::{Login, Refusal},
    signins::Origin,
};
use jiff::Timestamp;
use serde::Serialize;
use std::{fmt, time::Duration};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What was stolen.
#[derive(Clone)]
pub enum Loot {
    /// A refresh token: he is somebody's session.
    RefreshToken(String),
    /// A password: he signs in whenever he likes.
    Password {
        /// Object id or UPN.
        user: String,
        /// The password as he knows it.
        password: String,
    },
}

impl fmt::Debug for Loot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loot::RefreshToken(_) => "RefreshToken",
            Loot::Password { .. } => "Password",
        })
    }
}

/// What the thief has to tell so far.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ThiefReport {
    /// Times he tried to read mail.
    pub attempts: u64,
    /// Times he read it.
    pub successes: u64,
    /// When he first read it.
    pub first_success: Option<Timestamp>,
    /// When he last read it.
    pub last_success: Option<Timestamp>,
    /// When he was first refused after having been inside.
    pub first_refusal: Option<Timestamp>,
    /// In which words he was last refused.
    pub refusal: Option<String>,
    /// The AADSTS number of that refusal.
    pub refusal_code: Option<u32>,
    /// Times he was inside again after a refusal.
    pub returns: u64,
    /// Whether the last attempt succeeded.
    pub inside: bool,
}

/// A thief at work; he stops when this is dropped.
#[derive(Debug)]
pub struct Thief {
    id: Uuid,
    report: watch::Receiver<ThiefReport>,
    stop: CancellationToken,
}

impl Thief {
    /// His number.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// What he has to tell now.
    #[must_use]
    pub fn report(&self) -> ThiefReport {
        self.report.borrow().clone()
    }

    /// A channel that follows him.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ThiefReport> {
        self.report.clone()
    }

    /// Waits until his report says so; `None` if he stopped before it did.
    pub async fn until(&self, says: impl FnMut(&ThiefReport) -> bool) -> Option<ThiefReport> {
        let mut report = self.report.clone();
        report.wait_for(says).await.ok().map(|report| report.clone())
    }
}

impl Drop for Thief {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Twin {
    /// Sets a thief to work, reading mail at once and then at every `interval`. Needs a tokio runtime.
    #[must_use]
    pub fn thief(&self, loot: Loot, origin: Origin, interval: Duration) -> Thief {
        let (sender, report) = watch::channel(ThiefReport::default());
        let stop = CancellationToken::new();
        let work = Work { twin: self.clone(), loot, origin, access: None, refresh: None };
        self.0.tasks.spawn(steal(work, interval.max(Duration::from_millis(1)), sender, stop.clone()));
        Thief { id: self.0.clock.fresh_id(), report, stop }
    }

    /// Keeps a thief under his number, for the control plane.
    pub(super) fn keep_thief(&self, thief: Thief) -> Uuid {
        let id = thief.id();
        lock(&self.0.thieves).insert(id, thief);
        id
    }
}

struct Work {
    twin: Twin,
    loot: Loot,
    origin: Origin,
    access: Option<String>,
    refresh: Option<String>,
}

async fn steal(mut work: Work, interval: Duration, report: watch::Sender<ThiefReport>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let outcome = work.read();
        let now = instant(work.twin.0.clock.now());
        report.send_modify(|it| it.note(now, outcome.as_ref().err()));
    }
}

impl Work {
    /// One look into the mailbox: with the access token, else with a new one, else by signing in again.
    fn read(&mut self) -> Result<(), Refusal> {
        if self.access.as_deref().is_some_and(|token| self.twin.reads_mail(token)) {
            return Ok(());
        }
        let session = match &self.loot {
            Loot::RefreshToken(token) => self.twin.redeem(token, &self.origin),
            Loot::Password { user, password } => {
                let again = self.refresh.as_deref().and_then(|token| self.twin.redeem(token, &self.origin).ok());
                let login = Login {
                    user: user.clone(),
                    password: password.clone(),
                    new_password: None,
                    origin: self.origin.clone(),
                };
                again.map_or_else(|| self.twin.login(&login), Ok)
            }
        }?;
        let reads = self.twin.reads_mail(&session.access_token);
        self.access = Some(session.access_token);
        self.refresh = Some(session.refresh_token);
        if reads { Ok(()) } else { Err(Refusal { code: 0, message: "the new access token was refused".to_owned() }) }
    }
}

impl ThiefReport {
    fn note(&mut self, now: Timestamp, refusal: Option<&Refusal>) {
        self.attempts += 1;
        match refusal {
            None => {
                self.successes += 1;
                self.returns += u64::from(!self.inside && self.first_success.is_some());
                self.first_success.get_or_insert(now);
                self.last_success = Some(now);
                self.inside = true;
            }
            Some(refusal) => {
                if self.first_success.is_some() {
                    self.first_refusal.get_or_insert(now);
                }
                self.refusal = Some(refusal.to_string());
                self.refusal_code = Some(refusal.code);
                self.inside = false;
            }
        }
    }
}
