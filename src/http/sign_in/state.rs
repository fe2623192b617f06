//! What the sign-in's handlers share, and the small deeds they have in common: audit, limits, ceremonies.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use axum::http::HeaderMap;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::browser::{hash, secret};
use super::oidc::Provider;
use super::passkey::{self, Passkeys};
use super::site::Site;
use crate::domain::reviewer::{Account, CEREMONY, ReviewerId, Session, Standing, deciding};
use crate::domain::task::{Event, Reviewer};
use crate::domain::{TaskId, TenantName};
use crate::engine::{DecideError, Engine, Evidence, Recorded};
use crate::http::refused::{self, Record, Refusal};
use crate::http::{Limits, Problem, Refusals, RequestId, chain};
use crate::store::reviewers::{Challenge, Change, Purpose, Reviewers};
use crate::store::{self, Audit, Batch, Filter, Lane, Op, Page};
use crate::telemetry::Telemetry;

/// The largest body of the sign-in: an attestation is a few KiB.
const MAX_BODY: usize = 64 * 1024;
/// Uses of sessions that are being noted at once; of a store that does not write, no more wait.
const TOUCHES: usize = 4;

/// Whoever records decisions: the engine.
#[async_trait]
pub trait Decider: Send + Sync + fmt::Debug {
    /// As `Engine::decide_proven`.
    async fn decide(&self, id: TaskId, actor: &str, event: Event, proof: Evidence) -> Result<Recorded, DecideError>;
}

#[async_trait]
impl Decider for Engine {
    async fn decide(&self, id: TaskId, actor: &str, event: Event, proof: Evidence) -> Result<Recorded, DecideError> {
        self.decide_proven(id, actor, event, proof).await
    }
}

/// How often something may be tried, in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Requests to the sign-in from one address; as many again without a session to what needs one.
    pub per_address: NonZeroU32,
    /// Ceremonies and deeds of one reviewer; as many refusals of theirs are recorded.
    pub per_account: NonZeroU32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            per_address: NonZeroU32::new(60).unwrap_or(NonZeroU32::MIN),
            per_account: NonZeroU32::new(30).unwrap_or(NonZeroU32::MIN),
        }
    }
}

/// What the app hands over.
pub struct Parts {
    pub store: Arc<dyn Reviewers>,
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub telemetry: Telemetry,
    pub limits: Limits,
    pub site: Site,
    /// Passkeys of our own.
    pub passkeys: bool,
    /// An identity provider.
    pub oidc: Option<super::oidc::Config>,
    /// Absent where this process records no decisions.
    pub decider: Option<Arc<dyn Decider>>,
    /// Configured tenants by their Entra id: whose account a reviewer's own is.
    pub tenants: HashMap<Uuid, TenantName>,
    pub rates: Rates,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("site", &self.site).field("oidc", &self.oidc).finish_non_exhaustive()
    }
}

struct Inner {
    store: Arc<dyn Reviewers>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    telemetry: Telemetry,
    limits: Limits,
    site: Site,
    passkeys: Option<Passkeys>,
    oidc: Option<Provider>,
    decider: Option<Arc<dyn Decider>>,
    tenants: HashMap<Uuid, TenantName>,
    addresses: DefaultKeyedRateLimiter<String>,
    /// Apart from those: pages of ended sessions must not use up what signing in needs.
    strangers: DefaultKeyedRateLimiter<String>,
    accounts: DefaultKeyedRateLimiter<String>,
    refusals: Mutex<Refusals>,
    record: Record,
    touches: Arc<Semaphore>,
}

/// The sign-in: cheap to clone.
#[derive(Clone)]
pub struct SignIn(Arc<Inner>);

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn").field("site", &self.0.site).finish_non_exhaustive()
    }
}

impl SignIn {
    /// # Errors
    /// Passkeys are wanted on a site without a host name, or the provider's client cannot be made.
    pub fn new(parts: Parts) -> Result<Self, super::Error> {
        let passkeys = parts.passkeys.then(|| Passkeys::new(&parts.site)).transpose()?;
        let redirect = parts.site.url(super::oidc::CALLBACK);
        let oidc = parts.oidc.map(|config| Provider::new(config, &redirect, Arc::clone(&parts.clock))).transpose()?;
        Ok(Self(Arc::new(Inner {
            store: parts.store,
            clock: parts.clock,
            telemetry: parts.telemetry,
            limits: Limits { max_body: MAX_BODY, ..parts.limits },
            site: parts.site,
            passkeys,
            oidc,
            decider: parts.decider,
            tenants: parts.tenants,
            addresses: RateLimiter::keyed(Quota::per_minute(parts.rates.per_address)),
            strangers: RateLimiter::keyed(Quota::per_minute(parts.rates.per_address)),
            accounts: RateLimiter::keyed(Quota::per_minute(parts.rates.per_account)),
            refusals: Mutex::default(),
            record: Record::per_minute(parts.rates.per_account),
            touches: Arc::new(Semaphore::new(TOUCHES)),
        })))
    }

    /// Where browsers find us.
    pub fn site(&self) -> &Site {
        &self.0.site
    }

    pub(super) fn store(&self) -> &dyn Reviewers {
        &*self.0.store
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Passkeys are offered.
    pub fn has_passkeys(&self) -> bool {
        self.0.passkeys.is_some()
    }

    /// An identity provider is offered.
    pub fn has_provider(&self) -> bool {
        self.0.oidc.is_some()
    }

    pub(super) fn passkeys(&self) -> Result<&Passkeys, Problem> {
        self.0.passkeys.as_ref().ok_or_else(|| Problem::not_found("passkeys are not offered here (reviewers.passkeys)"))
    }

    pub(super) fn provider(&self) -> Result<&Provider, Problem> {
        self.0.oidc.as_ref().ok_or_else(|| Problem::not_found("no identity provider is configured (reviewers.oidc)"))
    }

    pub(super) fn decider(&self) -> Result<&dyn Decider, Problem> {
        let none = || Problem::busy("this process records no decisions; ask one that runs the worker");
        self.0.decider.as_deref().ok_or_else(none)
    }

    /// Refused requests by reason since the last call; the app audits them once a minute (law 11).
    pub fn take_refusals(&self) -> Refusals {
        std::mem::take(&mut *self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a request that nobody stands behind.
    pub(super) fn refused(&self, reason: &'static str) {
        self.0.telemetry.delivery_refused("console", reason);
        let mut refusals = self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry(("console".to_owned(), reason)).or_default() += 1;
    }

    /// Records what somebody who is signed in was refused.
    pub(super) async fn record(&self, who: &ReviewerId, refusal: Refusal) {
        if !self.0.record.keeps(self.store(), actor(who), refusal, self.now()).await {
            self.refused(refused::NOT_RECORDED);
        }
    }

    /// Counts a request against its address.
    pub(super) fn admit_address(&self, address: &str) -> Result<(), Problem> {
        self.admit(&self.0.addresses, address, "too many requests from this address")
    }

    /// Counts a request without a live session to what needs one against its address.
    pub(super) fn admit_stranger(&self, address: &str) -> Result<(), Problem> {
        self.admit(&self.0.strangers, address, "too many requests from this address without signing in")
    }

    /// Counts against its reviewer what may leave a record: a ceremony, a deed.
    pub(in crate::http) fn admit_account(&self, reviewer: &ReviewerId) -> Result<(), Problem> {
        self.admit(&self.0.accounts, reviewer.as_str(), "too many attempts for this account")
    }

    fn admit(&self, limiter: &DefaultKeyedRateLimiter<String>, key: &str, text: &str) -> Result<(), Problem> {
        if limiter.len() > 50_000 {
            limiter.retain_recent();
        }
        limiter.check_key(&key.to_owned()).map_err(|not_until| {
            self.refused("too_fast");
            let wait = not_until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
            Problem::too_many_attempts(format!("{text}: wait {wait} s, then try again")).retry_after(wait)
        })
    }

    /// One transaction of the sign-in.
    pub(super) async fn commit(&self, ops: Vec<Op>, id: &RequestId) -> Result<(), Problem> {
        self.try_commit(ops).await.map_err(|error| failed(&error, id))
    }

    pub(super) async fn try_commit(&self, ops: Vec<Op>) -> Result<(), store::Error> {
        self.store().commit(Lane::Other, Batch { expect: None, ops }).await
    }

    /// Notes that a session is used, beside the request: what is asked for can be read where nothing can be written. A use
    /// that is not noted is noted at the next request.
    pub(super) fn touch(&self, hash: String, at: Timestamp) {
        let Ok(permit) = Arc::clone(&self.0.touches).try_acquire_owned() else { return };
        let sign_in = self.clone();
        tokio::spawn(async move {
            if let Err(error) = sign_in.try_commit(vec![Change::TouchSession { hash, at }.into()]).await {
                tracing::debug!(error = %chain(&error), "the use of a session could not be noted");
            }
            drop(permit);
        });
    }

    /// A new ceremony: its row (to be committed with its audit record) and the handle for the browser.
    pub(super) fn ceremony(
        &self,
        purpose: Purpose,
        reviewer: Option<ReviewerId>,
        browser: &str,
        state: Value,
    ) -> (String, Challenge) {
        let (handle, now) = (secret(), self.now());
        let challenge = Challenge {
            id: hash(&handle),
            purpose,
            reviewer,
            browser: browser.to_owned(),
            state,
            created_at: now,
            expires_at: now.checked_add(CEREMONY).unwrap_or(Timestamp::MAX),
            used_at: None,
        };
        (handle, challenge)
    }

    /// The open ceremony with this handle, begun by this browser (its flow, its session). Not yet consumed.
    pub(super) async fn open_ceremony(
        &self,
        handle: &str,
        browsers: &[&str],
        id: &RequestId,
    ) -> Result<Challenge, Problem> {
        let begin_again = |reason| {
            self.refused(reason);
            Problem::spent("this attempt was used before, has expired or belongs to another browser; begin again")
        };
        let found = self.store().challenge(&hash(handle)).await.map_err(|error| failed(&error, id))?;
        let Some(challenge) = found else { return Err(begin_again("unknown_challenge")) };
        if challenge.used_at.is_some() {
            return Err(begin_again("replayed_challenge"));
        }
        if challenge.expires_at <= self.now() {
            return Err(begin_again("expired_challenge"));
        }
        if !browsers.iter().any(|browser| super::browser::same(browser, &challenge.browser)) {
            return Err(begin_again("foreign_challenge"));
        }
        Ok(challenge)
    }

    /// What the store knows about the reviewer's own accounts: at risk, revoked when.
    pub(super) async fn standing(&self, account: &Account, id: &RequestId) -> Result<Standing, Problem> {
        let mut standing = Standing::default();
        for linked in &account.linked {
            let filter = Filter { open: false, object_id: Some(linked.object_id), case: None };
            let page = Page { after: None, limit: 20 };
            let cases = self.store().cases(&filter, &page).await.map_err(|error| failed(&error, id))?;
            for case in cases.items {
                standing.at_risk |= case.closed_at.is_none();
                standing.revoked_at = standing.revoked_at.max(case.last_revoke_at).max(case.revoke_accepted_at);
            }
        }
        Ok(standing)
    }

    /// The reviewer as the decision machine sees them, proved at `proved.0`, multi-factor if `proved.1`.
    ///
    /// # Errors
    /// The store is away.
    pub async fn reviewer(
        &self,
        account: &Account,
        session: &Session,
        proved: (Timestamp, bool),
        id: &RequestId,
    ) -> Result<Reviewer, Problem> {
        let standing = self.standing(account, id).await?;
        Ok(deciding(account, Some(session), standing, proved, |tenant| self.0.tenants.get(&tenant).cloned()))
    }
}

/// An audit record about a reviewer's sign-in.
pub(super) fn audit(at: Timestamp, actor: &str, verb: &str, detail: Value) -> Op {
    Op::Audit(Box::new(Audit {
        at,
        actor: actor.to_owned(),
        verb: verb.to_owned(),
        tenant: None,
        object_id: None,
        case: None,
        detail,
    }))
}

/// The name of a reviewer in the audit trail.
pub(super) fn actor(reviewer: &ReviewerId) -> String {
    format!("reviewer:{reviewer}")
}

/// The answer to a failing store.
pub(super) fn failed(error: &store::Error, id: &RequestId) -> Problem {
    match error {
        store::Error::Spent(_) | store::Error::Taken(_) => Problem::spent(error.to_string()),
        other => Problem::of_store(other, id),
    }
}

/// The answer to a ceremony that came to nothing.
pub(super) fn not_accepted(error: &passkey::Error) -> Problem {
    match error {
        passkey::Error::Unreadable(_) => {
            tracing::error!(error = %chain(error), "a stored passkey or ceremony is unreadable");
            Problem::internal("the log has the reason under this request's id")
        }
        passkey::Error::Malformed(_) => Problem::bad_request(error.to_string()),
        _ => Problem::not_signed_in(error.to_string()),
    }
}

/// What the audit trail says about it: kind and cause, nothing that the browser sent.
pub(super) fn told(error: &passkey::Error) -> Value {
    json!({ "reason": error.to_string() })
}

/// The flow cookie's hash: which browser this is before anybody signed in.
pub(super) fn flow(site: &Site, headers: &HeaderMap) -> Option<String> {
    super::browser::cookie(headers, site.flow_cookie()).map(|value| hash(&value))
}
