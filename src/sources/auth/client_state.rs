//! The `clientState` of Graph notifications: the only proof on a basic or lifecycle item (facts: graph §1.3).

use secrecy::{ExposeSecret, SecretString};

use serde::Deserialize;

use super::same::Tokens;
use super::{ConfigError, Resolve, SecretRef, resolve_all};

const WAY: &str = "client_state";
/// Microsoft's limit, in characters.
const MAX: usize = 128;

/// `client_state: { secrets: [...] }`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// States of subscriptions that others made; those made by oust have their own.
    pub secrets: Vec<SecretRef>,
}

/// The client states a source accepts.
#[derive(Debug, Clone)]
pub struct ClientState {
    tokens: Tokens,
}

impl ClientState {
    /// Resolves the configured states. There may be none where every subscription has its own.
    ///
    /// # Errors
    /// When a secret cannot be had, is empty or is longer than Graph would carry.
    pub fn build(config: &Config, resolve: &dyn Resolve) -> Result<Self, ConfigError> {
        let secrets = &config.secrets;
        if secrets.is_empty() {
            return Ok(Self::of(&[]));
        }
        let secrets = resolve_all(WAY, secrets, resolve, 1)?;
        if secrets.iter().any(|secret| secret.expose_secret().chars().count() > MAX) {
            return Err(ConfigError::Malformed { way: WAY, what: "a secret is longer than 128 characters" });
        }
        Ok(Self::of(&secrets))
    }

    /// Wraps resolved states.
    pub fn of(secrets: &[SecretString]) -> Self {
        Self { tokens: Tokens::of(secrets) }
    }

    /// True when the presented state is one of these. Constant in time, over all of them.
    pub fn contains(&self, presented: &str) -> bool {
        self.tokens.contain(presented)
    }
}
