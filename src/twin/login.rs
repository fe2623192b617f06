//! The login host: tokens for applications, sessions for people and for thieves.
//!
//! The rules the product exists for: a refresh token outlives a password reset; a revoke kills every refresh token
//! issued before it and none issued after; a guest's tokens are the home tenant's (facts: graph §4.1, §8).
//! Multi-factor prompts and lockout are not simulated: the thief of a token has passed them, that of a password
//! relays them.

use super::{
    Tenant,
    clock::{instant, iso, lock, millis, read},
    password,
    person::{Kind, Person},
    reply::{Call, Fail, Reply},
    signins::{Event, Origin},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::Sha256;
use std::collections::HashMap;
use url::form_urlencoded;
use uuid::Uuid;

/// A person (or a thief) signing in.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Object id or UPN.
    pub user: String,
    /// The password typed.
    pub password: String,
    /// A new password, where a change is demanded.
    #[serde(default)]
    pub new_password: Option<String>,
    /// From where.
    #[serde(default)]
    pub origin: Origin,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// What a successful sign-in or redemption yields.
#[derive(Clone, Serialize, Deserialize)]
pub struct Session {
    /// Redeemable until revoked.
    pub refresh_token: String,
    /// Reads mail until it expires, or until a critical event where access is evaluated continuously.
    pub access_token: String,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// The session id that the sign-in log shows.
    pub session_id: Uuid,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}

/// Why the login host said no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AADSTS{code}: {message}")]
pub struct Refusal {
    /// The AADSTS number, such as 50173 for a revoked token.
    pub code: u32,
    /// What the host says.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(code: u32, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into() }
    }

    /// OAuth's error body (facts: graph §7).
    fn reply(&self, call: &Call<'_>, trace: Uuid) -> Reply {
        let (status, error) = match self.code {
            7_000_215 => (401, "invalid_client"),
            700_016 => (400, "unauthorized_client"),
            900_144 => (400, "invalid_request"),
            70_003 => (400, "unsupported_grant_type"),
            90_002 | 70_011 => (400, "invalid_request"),
            _ => (400, "invalid_grant"),
        };
        let body = json!({"error": error, "error_description": self.to_string(), "error_codes": [self.code],
            "timestamp": iso(call.now), "trace_id": trace, "correlation_id": trace});
        Reply::status(status, Some(body))
    }
}

/// What a person's token says, authenticated by the tenant's key.
#[derive(Clone, Copy, Debug)]
struct Claim {
    person: Uuid,
    session: Uuid,
    event: u64,
    at: i64,
}

impl Tenant {
    /// `POST /{tenant}/oauth2/v2.0/token`.
    pub(super) fn token(&self, tenant: &str, call: &Call<'_>) -> Reply {
        let form: HashMap<String, String> = form_urlencoded::parse(call.raw).into_owned().collect();
        let trace = self.clock.fresh_id();
        self.grant(tenant, &form, call).unwrap_or_else(|refusal| refusal.reply(call, trace))
    }

    fn grant(&self, tenant: &str, form: &HashMap<String, String>, call: &Call<'_>) -> Result<Reply, Refusal> {
        let field = |name: &str| form.get(name).map(String::as_str);
        let known = tenant.parse::<Uuid>().is_ok_and(|id| id == self.config.tenant_id)
            || ["common", "organizations", "contoso.example", "contoso.onmicrosoft.com"].contains(&tenant);
        if !known {
            return Err(Refusal::new(90_002, format!("Tenant '{tenant}' not found.")));
        }
        let need = |name: &'static str| {
            field(name).ok_or_else(|| {
                Refusal::new(900_144, format!("The request body must contain the following parameter: '{name}'."))
            })
        };
        let origin = Origin { ip: field("ip").map(str::to_owned), ..Origin::default() };
        match need("grant_type")? {
            "client_credentials" => {
                let app = self.app(need("client_id")?, form)?;
                let scope = need("scope")?;
                if !scope.ends_with("/.default") {
                    return Err(Refusal::new(
                        70_011,
                        "The provided value for the input parameter 'scope' is not valid.",
                    ));
                }
                let token = self.app_token(app, scope, call);
                let seconds = call.knobs.app_token_seconds;
                Ok(Reply::ok(json!({"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds,
                    "access_token": token})))
            }
            "refresh_token" => self.redeem(need("refresh_token")?, &origin).map(|it| oauth(&it)),
            "password" => {
                let login = Login {
                    user: need("username")?.to_owned(),
                    password: need("password")?.to_owned(),
                    new_password: None,
                    origin,
                };
                self.login(&login).map(|session| oauth(&session))
            }
            other => Err(Refusal::new(70_003, format!("The app requested an unsupported grant type '{other}'."))),
        }
    }

    /// A person or a thief signs in with a password.
    pub(super) fn login(&self, login: &Login) -> Result<Session, Refusal> {
        let unknown = || Refusal::new(50_034, "The user account does not exist in the directory.");
        let id = self.resolve(&login.user).ok_or_else(unknown)?;
        let person = self.find(id).ok_or_else(unknown)?;
        let mut person = lock(&person);
        let now = self.clock.now();
        let session = self.clock.fresh_id();
        let verdict = self.may_sign_in(&mut person, login, now);
        let (code, reason) = verdict.as_ref().err().map_or((0, ""), |no| (no.code, no.message.as_str()));
        let risk = person.risk.level;
        self.log_sign_in(
            &mut person,
            &Event { at: now, session, origin: &login.origin, code, reason, interactive: true, risk },
        );
        verdict.map(|()| self.open(&person, session, self.clock.tick(), now))
    }

    fn may_sign_in(&self, person: &mut Person, login: &Login, now: i64) -> Result<(), Refusal> {
        if person.deleted {
            return Err(Refusal::new(50_034, "The user account does not exist in the directory."));
        }
        if !person.knows(self.config.seed, &login.password) {
            return Err(Refusal::new(50_126, "Error validating credentials due to invalid username or password."));
        }
        if !person.enabled {
            return Err(Refusal::new(50_057, "The user account is disabled."));
        }
        if person.risk.level == "high" && read(&self.knobs).high_risk_blocked {
            return Err(Refusal::new(53_003, "Access has been blocked by Conditional Access policies."));
        }
        if person.must_change {
            let expired = || Refusal::new(50_055, "The password is expired.");
            let word = login.new_password.as_deref().ok_or_else(expired)?;
            self.change(person, word, now)?;
        }
        Ok(())
    }

    /// A person changes the password with the current one.
    pub(super) fn change_password(&self, user: &str, current: &str, new: &str) -> Result<(), Refusal> {
        let unknown = || Refusal::new(50_034, "The user account does not exist in the directory.");
        let person = self.resolve(user).and_then(|id| self.find(id)).ok_or_else(unknown)?;
        let mut person = lock(&person);
        if person.deleted || !person.knows(self.config.seed, current) {
            return Err(Refusal::new(50_126, "Error validating credentials due to invalid username or password."));
        }
        self.change(&mut person, new, self.clock.now())
    }

    fn change(&self, person: &mut Person, word: &str, now: i64) -> Result<(), Refusal> {
        if let Some(rule) = password::refusal(word, &[&person.upn, &person.display_name]) {
            return Err(Refusal::new(50_142, format!("The new password does not meet the policy ({rule}).")));
        }
        self.set_password(person, word, false, now);
        Ok(())
    }

    /// Sets a password. Refresh tokens live on; access tokens under continuous evaluation do not.
    pub(super) fn set_password(&self, person: &mut Person, word: &str, must_change: bool, now: i64) {
        person.password = Some(password::digest(person.id, word));
        person.must_change = must_change;
        let seen = now + millis(read(&self.knobs).password_field_lag_ms);
        person.password_changed.set(now, now, seen);
        person.critical.set(self.clock.tick(), now, now);
    }

    /// A refresh token becomes an access token, for whoever holds it.
    pub(super) fn redeem(&self, token: &str, origin: &Origin) -> Result<Session, Refusal> {
        let claim = self
            .open_token("rt", token)
            .ok_or_else(|| Refusal::new(9_002_313, "Invalid request. Request is malformed or invalid."))?;
        let gone = || Refusal::new(50_034, "The user account does not exist in the directory.");
        let person = self.find(claim.person).ok_or_else(gone)?;
        let mut person = lock(&person);
        let now = self.clock.now();
        let verdict = may_redeem(&mut person, &claim, now);
        let (code, reason) = verdict.as_ref().err().map_or((0, ""), |no| (no.code, no.message.as_str()));
        let risk = person.risk.level;
        let event = Event { at: now, session: claim.session, origin, code, reason, interactive: false, risk };
        self.log_sign_in(&mut person, &event);
        verdict.map(|()| Session {
            refresh_token: token.to_owned(),
            ..self.open(&person, claim.session, self.clock.tick(), now)
        })
    }

    fn open(&self, person: &Person, session: Uuid, event: u64, now: i64) -> Session {
        let seconds = read(&self.knobs).access_token_seconds;
        let expires = now + millis(seconds.saturating_mul(1000));
        Session {
            refresh_token: self.seal_token("rt", &Claim { person: person.id, session, event, at: now }),
            access_token: self.seal_token("at", &Claim { person: person.id, session, event, at: expires }),
            expires_in: seconds,
            session_id: session,
        }
    }

    /// Whose mail an access token reads now.
    pub(super) fn mailbox(&self, access_token: &str) -> Result<Uuid, Fail> {
        let refuse = |message| Fail::new(401, "InvalidAuthenticationToken", message);
        let claim = self.open_token("at", access_token).ok_or_else(|| refuse("The token is malformed."))?;
        let person = self.find(claim.person).ok_or_else(|| refuse("The user was not found."))?;
        let mut person = lock(&person);
        let now = self.clock.now();
        if claim.at <= now {
            return Err(refuse("Lifetime validation failed, the token is expired."));
        }
        let evaluated = !read(&self.knobs).access_tokens_outlive_revoke && person.kind != Kind::Guest;
        if evaluated && (claim.event < person.critical.get(now) || !person.enabled || person.deleted) {
            return Err(refuse("Continuous access evaluation resulted in challenge: TokenRevoked."));
        }
        Ok(claim.person)
    }

    fn seal_token(&self, kind: &str, claim: &Claim) -> String {
        let text = format!("{kind}.{}.{}.{}.{}", claim.person.simple(), claim.session.simple(), claim.event, claim.at);
        let tag = self.seal(&text);
        format!("{text}.{tag}")
    }

    fn open_token(&self, kind: &str, token: &str) -> Option<Claim> {
        let (text, tag) = token.rsplit_once('.')?;
        if !password::same_text(&self.seal(text), tag) {
            return None;
        }
        let mut parts = text.split('.');
        if parts.next() != Some(kind) {
            return None;
        }
        Some(Claim {
            person: parts.next()?.parse().ok()?,
            session: parts.next()?.parse().ok()?,
            event: parts.next()?.parse().ok()?,
            at: parts.next()?.parse().ok()?,
        })
    }

    pub(super) fn seal(&self, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a MAC takes keys of any length");
        mac.update(text.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }
}

fn may_redeem(person: &mut Person, claim: &Claim, now: i64) -> Result<(), Refusal> {
    if person.deleted {
        return Err(Refusal::new(50_034, "The user account does not exist in the directory."));
    }
    if !person.enabled {
        return Err(Refusal::new(50_057, "The user account is disabled."));
    }
    // The home tenant owns a guest's sessions; our revoke does not reach them (facts: graph §4.1).
    if person.kind != Kind::Guest && claim.event < person.dead_before.get(now) {
        let valid_from = instant(person.valid_from.get(now));
        let issued: Timestamp = instant(claim.at);
        return Err(Refusal::new(
            50_173,
            format!(
                "The provided grant has expired due to it being revoked, a fresh auth token is needed. The grant was \
                 issued on '{issued}' and the TokensValidFrom date (before which tokens are not valid) for this user \
                 is '{valid_from}'."
            ),
        ));
    }
    Ok(())
}

fn oauth(session: &Session) -> Reply {
    Reply::ok(json!({"token_type": "Bearer", "expires_in": session.expires_in, "scope": "Mail.Read",
        "access_token": session.access_token, "refresh_token": session.refresh_token,
        "session_id": session.session_id}))
}

/// A refusal as the control plane tells it.
pub(super) fn refused(refusal: &Refusal, call: &Call<'_>, trace: Uuid) -> Reply {
    refusal.reply(call, trace)
}
