//! Access tokens by client credentials: one cache per credential and audience, one flight at a time.
//!
//! Graph's tokens are opaque: nothing here reads them. The secret and the token never appear in an error or a log.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use crate::domain::ledger::Disposition;

use super::clock::since_boot;
use super::config::Credential;
use super::retry::{Schedule, jitter, retry_after};

/// No reply of a token endpoint is larger.
const REPLY_LIMIT: usize = 256 * 1024;
/// Access tokens live 60–90 minutes (facts: graph §7); nothing longer than a day is believed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Why there is no token. Holds no secret and none of the endpoint's own words but its `AADSTS` code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The endpoint knows the application and says no.
    #[error("Entra refuses the credential ({code}): {advice}")]
    Refused { code: String, advice: &'static str },
    /// The endpoint is throttling or failing.
    #[error("the token endpoint answered {status}; it is tried again")]
    Unavailable { status: u16, after: Option<Duration> },
    /// The endpoint cannot be reached in time.
    #[error("the token endpoint cannot be reached; check the network, DNS and proxy between oust and Microsoft")]
    Unreachable,
    /// The endpoint answered 200 with something else than a token.
    #[error("the token endpoint's answer is not a token; something else may be answering in its place")]
    NotAToken,
}

impl TokenError {
    /// No token means nothing was sent to Graph: never unknown.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Refused { .. } => Disposition::Refuse,
            Self::Unavailable { after, .. } => {
                Disposition::Retry { after_ms: after.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)) }
            }
            Self::Unreachable | Self::NotAToken => Disposition::Retry { after_ms: None },
        }
    }
}

/// A token ready to be sent.
#[derive(Clone)]
pub(super) struct Token {
    /// `Bearer …`, marked sensitive.
    pub header: HeaderValue,
    /// Which fetch it came from.
    pub serial: u64,
    refresh_at: Duration,
    expires_at: Duration,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("serial", &self.serial).field("expires_at", &self.expires_at).finish()
    }
}

/// The tokens of one credential for one audience.
#[derive(Debug)]
pub(super) struct TokenCache {
    endpoint: Url,
    scope: String,
    credential: Credential,
    state: Mutex<State>,
    /// Held over a fetch: whoever waited finds its outcome.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    serial: u64,
    failed: Option<(Instant, TokenError)>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: serde_json::Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Denied {
    error: String,
    error_description: String,
}

impl TokenCache {
    /// `audience` is the cloud's resource, such as `https://graph.microsoft.com`.
    pub(super) fn new(endpoint: Url, audience: &str, credential: Credential) -> Self {
        Self {
            endpoint,
            scope: format!("{audience}/.default"),
            credential,
            state: Mutex::default(),
            flight: tokio::sync::Mutex::new(()),
        }
    }

    /// A token that has not expired; fetched if need be, by one caller for all.
    pub(super) async fn get(&self, http: &reqwest::Client, deadline: Instant) -> Result<Token, TokenError> {
        if let Some(token) = self.current() {
            return Ok(token);
        }
        let asked = Instant::now();
        let Ok(_flight) = tokio::time::timeout_at(deadline, self.flight.lock()).await else {
            return Err(TokenError::Unreachable);
        };
        if let Some(token) = self.current() {
            return Ok(token);
        }
        // Who waited for a fetch that failed shares its failure instead of queueing up for another one.
        if let Some((at, error)) = &self.lock().failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        self.fetch(http, deadline).await
    }

    /// Replaces a token that is due although it still serves; nothing when another caller just did.
    pub(super) async fn refresh(&self, http: &reqwest::Client, deadline: Instant) -> Result<(), TokenError> {
        let _flight = self.flight.lock().await;
        if self.refresh_in().is_zero() { self.fetch(http, deadline).await.map(|_| ()) } else { Ok(()) }
    }

    /// Graph did not accept this token: forget it, unless a newer one is already there.
    pub(super) fn reject(&self, serial: u64) {
        let mut state = self.lock();
        if state.token.as_ref().is_some_and(|token| token.serial == serial) {
            state.token = None;
        }
    }

    /// Time until the present token should be replaced: at 80 % of its life; zero when there is none.
    pub(super) fn refresh_in(&self) -> Duration {
        self.lock().token.as_ref().map_or(Duration::ZERO, |token| token.refresh_at.saturating_sub(since_boot()))
    }

    fn current(&self) -> Option<Token> {
        self.lock().token.as_ref().filter(|token| since_boot() < token.expires_at).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, http: &reqwest::Client, deadline: Instant) -> Result<Token, TokenError> {
        let mut attempt = 0;
        loop {
            let error = match tokio::time::timeout_at(deadline, self.ask(http)).await {
                Ok(Ok(granted)) => return self.keep(&granted),
                Ok(Err(error)) => error,
                Err(_) => TokenError::Unreachable,
            };
            let again = match error.disposition() {
                Disposition::Retry { after_ms } => {
                    Schedule::token().delay(attempt, after_ms.map(Duration::from_millis), jitter())
                }
                Disposition::Refuse | Disposition::Unknown => None,
            };
            match again {
                Some(wait) if Instant::now() + wait < deadline => tokio::time::sleep(wait).await,
                _ => {
                    self.lock().failed = Some((Instant::now(), error.clone()));
                    return Err(error);
                }
            }
            attempt += 1;
        }
    }

    async fn ask(&self, http: &reqwest::Client) -> Result<Granted, TokenError> {
        let Credential::ClientSecret { client_id, secret } = &self.credential;
        let form = [
            ("client_id", client_id.as_str()),
            ("scope", self.scope.as_str()),
            ("grant_type", "client_credentials"),
            ("client_secret", secret.expose_secret()),
        ];
        let unreachable = |_| TokenError::Unreachable;
        let mut reply = http.post(self.endpoint.clone()).form(&form).send().await.map_err(unreachable)?;
        let status = reply.status().as_u16();
        let after = reply.headers().get("retry-after").and_then(|value| value.to_str().ok()).and_then(|value| {
            // The clock matters for the date form only, which this endpoint does not use.
            retry_after(value, jiff::Timestamp::UNIX_EPOCH)
        });
        let mut body = Vec::new();
        while let Some(chunk) = reply.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > REPLY_LIMIT {
                return Err(TokenError::NotAToken);
            }
            body.extend_from_slice(&chunk);
        }
        match status {
            200 => serde_json::from_slice(&body).map_err(|_| TokenError::NotAToken),
            400..=404 => Err(refused(&serde_json::from_slice::<Denied>(&body).unwrap_or_default())),
            _ => Err(TokenError::Unavailable { status, after }),
        }
    }

    fn keep(&self, granted: &Granted) -> Result<Token, TokenError> {
        // A number from Entra, a text from managed identities (facts: graph §7).
        let seconds = match &granted.expires_in {
            serde_json::Value::Number(number) => number.as_u64(),
            serde_json::Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let life = Duration::from_secs(seconds.ok_or(TokenError::NotAToken)?).min(LONGEST);
        let mut header = HeaderValue::from_str(&format!("Bearer {}", granted.access_token))
            .ok()
            .filter(|_| !granted.access_token.is_empty())
            .ok_or(TokenError::NotAToken)?;
        header.set_sensitive(true);
        let now = since_boot();
        let margin = (life / 10).min(Duration::from_secs(60));
        let mut state = self.lock();
        state.serial += 1;
        let token = Token {
            header,
            serial: state.serial,
            refresh_at: now + life.mul_f64(0.8),
            expires_at: now + life - margin,
        };
        state.token = Some(token.clone());
        state.failed = None;
        Ok(token)
    }
}

/// The code and what to do about it; the description itself may quote what was sent.
fn refused(denied: &Denied) -> TokenError {
    let code = denied
        .error_description
        .find("AADSTS")
        .map(|at| &denied.error_description[at..])
        .map(|text| text.chars().take_while(char::is_ascii_alphanumeric).take(16).collect::<String>())
        .unwrap_or_else(|| {
            denied.error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect::<String>()
        });
    let advice = match code.as_str() {
        "AADSTS7000215" => "the client secret is wrong (give the secret's value, not its id)",
        "AADSTS7000222" => "the client secret has expired; make a new one in the app registration",
        "AADSTS700016" => "the tenant does not know this client_id; check it, and that the app was consented to there",
        "AADSTS90002" => "there is no such tenant in this cloud; check tenant_id and cloud",
        "AADSTS53003" => "a Conditional Access policy for workload identities blocks the app",
        "AADSTS7000112" => "the app registration is disabled",
        _ => "check tenant_id, cloud, client_id and the credential",
    };
    TokenError::Refused { code: if code.is_empty() { "no code".into() } else { code }, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_the_code_and_nothing_that_was_sent() {
        let error = refused(&Denied {
            error: "invalid_client".into(),
            error_description: "AADSTS7000215: Invalid client secret provided: hunter2.".into(),
        });
        assert_eq!(error.disposition(), Disposition::Refuse);
        assert!(error.to_string().contains("AADSTS7000215"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn a_refusal_without_a_code_is_still_one() {
        let text = refused(&Denied::default()).to_string();
        assert!(text.contains("no code"), "{text}");
        let text = refused(&Denied { error: "un<b>auth\norized".into(), ..Denied::default() }).to_string();
        assert!(text.contains("unbauthorized"), "{text}");
    }
}
