//! What a simulated tenant is made of, and the knobs that bend its behaviour while it runs.
//!
//! Knobs change how the tenant behaves for everybody (a lag, a missing guarantee); what goes wrong with single
//! calls is a fault plan (`fault.rs`), not a knob.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// A tenant to simulate. `Default` is a small one with every special user and no lag.
#[derive(Clone)]
pub struct Config {
    /// The Entra tenant id, part of the token URL.
    pub tenant_id: Uuid,
    /// The application that may call Graph.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Every id and password follows from it, so that two processes agree on them.
    pub seed: u64,
    /// How many ordinary cloud users there are: `user0001@contoso.example` and so on.
    pub people: usize,
    /// Graph permissions of the application; `None` grants everything.
    pub permissions: Option<Vec<String>>,
    /// Further applications, for example one that alone may reset passwords.
    pub apps: Vec<App>,
    /// How many calls the call log keeps in memory; 0 keeps none.
    pub call_log: usize,
    /// The knobs at start.
    pub knobs: Knobs,
}

/// A second application in the tenant.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Its client id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Its Graph permissions; absent grants everything.
    #[serde(default)]
    pub permissions: Option<Vec<String>>,
    /// Whether it holds the role that may touch administrators (Privileged Authentication Administrator).
    #[serde(default)]
    pub privileged: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            tenant_id: Uuid::from_u128(0x1111_1111_2222_3333_4444_5555_5555_5555),
            client_id: "00000000-0000-4000-8000-00000000a001".to_owned(),
            client_secret: "twin-secret".to_owned(),
            seed: 1,
            people: 100,
            permissions: None,
            apps: Vec::new(),
            call_log: 20_000,
            knobs: Knobs::default(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("tenant_id", &self.tenant_id)
            .field("client_id", &self.client_id)
            .field("client_secret", &"[redacted]")
            .field("seed", &self.seed)
            .field("people", &self.people)
            .field("permissions", &self.permissions)
            .field("apps", &self.apps)
            .field("call_log", &self.call_log)
            .field("knobs", &self.knobs)
            .finish()
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("client_id", &self.client_id)
            .field("client_secret", &"[redacted]")
            .field("permissions", &self.permissions)
            .field("privileged", &self.privileged)
            .finish()
    }
}

/// How the tenant behaves; every field can be changed while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// An accepted revoke answers 204 instead of 200 (both were seen; facts: graph §4).
    pub revoke_answers_204: bool,
    /// An accepted revoke never moves `signInSessionsValidFromDateTime`.
    pub revoke_field_frozen: bool,
    /// Milliseconds until the field shows an accepted revoke ("a delay of a few minutes is possible").
    pub revoke_field_lag_ms: u64,
    /// Milliseconds until an accepted revoke really kills refresh tokens.
    pub revoke_effect_lag_ms: u64,
    /// An accepted revoke kills nothing at all: the worst tenant.
    pub revoke_without_effect: bool,
    /// Milliseconds until `lastPasswordChangeDateTime` shows a change.
    pub password_field_lag_ms: u64,
    /// Access tokens live to their expiry whatever happens (no continuous access evaluation; facts: graph §8).
    pub access_tokens_outlive_revoke: bool,
    /// Milliseconds until a sign-in can be read from the audit log.
    pub sign_in_lag_ms: u64,
    /// Time fields of users are cut to whole seconds.
    pub whole_seconds: bool,
    /// 1 request a second for all identity protection calls, 429 without `Retry-After` (facts: graph §6).
    pub throttle_identity_protection: bool,
    /// 5 requests in 10 seconds for `/auditLogs`, 429 with `Retry-After` (facts: graph §6).
    pub throttle_audit_logs: bool,
    /// 150 requests a minute for `/security` alerts (facts: graph §6).
    pub throttle_security: bool,
    /// 3,000 directory writes in 150 seconds (facts: graph §6); off, since storms are what the twin is for.
    pub throttle_directory_writes: bool,
    /// The tenant's clock minus ours, in milliseconds: `Date` headers, token times and every field follow it.
    pub skew_ms: i64,
    /// Lifetime of an application's token in seconds.
    pub app_token_seconds: u64,
    /// Lifetime of a person's access token in seconds.
    pub access_token_seconds: u64,
    /// A risk-based policy refuses sign-ins of people at high risk (AADSTS53003).
    pub high_risk_blocked: bool,
    /// Subscriptions to risk detections and `alerts_v2` are taken; Microsoft lists neither (facts: graph §2.1).
    pub push_risk: bool,
    /// The legacy `/security/alerts` collection answers as after its retirement: with nothing.
    pub legacy_alerts_retired: bool,
}

impl Default for Knobs {
    fn default() -> Self {
        Knobs {
            revoke_answers_204: false,
            revoke_field_frozen: false,
            revoke_field_lag_ms: 0,
            revoke_effect_lag_ms: 0,
            revoke_without_effect: false,
            password_field_lag_ms: 0,
            access_tokens_outlive_revoke: false,
            sign_in_lag_ms: 0,
            whole_seconds: false,
            throttle_identity_protection: true,
            throttle_audit_logs: true,
            throttle_security: true,
            throttle_directory_writes: false,
            skew_ms: 0,
            app_token_seconds: 3_599,
            access_token_seconds: 4_500,
            high_risk_blocked: false,
            push_risk: false,
            legacy_alerts_retired: false,
        }
    }
}

impl Knobs {
    /// No documented throttle is applied: for storms and benches, where only planned faults may refuse.
    #[must_use]
    pub fn unthrottled() -> Self {
        Knobs {
            throttle_identity_protection: false,
            throttle_audit_logs: false,
            throttle_security: false,
            throttle_directory_writes: false,
            ..Knobs::default()
        }
    }
}
