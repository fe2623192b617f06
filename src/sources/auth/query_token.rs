//! A token in the query string, for senders that can do nothing else (Azure Monitor action groups; facts: sentinel
//! §1.3). Query strings end up in logs of proxies: the last choice, and never in ours.

use jiff::Timestamp;
use serde::Deserialize;
use url::form_urlencoded;

use super::same::Tokens;
use super::{ConfigError, Error, MIN_SECRET, Resolve, SecretRef, Unverified, Verify, resolve_all};

const WAY: &str = "query_token";

/// `query_token: { parameter: token, secrets: [...] }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The parameter that carries the token.
    pub parameter: String,
    /// Tokens; several while they rotate.
    pub secrets: Vec<SecretRef>,
}

impl Config {
    pub(super) fn build(&self, resolve: &dyn Resolve) -> Result<QueryToken, ConfigError> {
        let what = "parameter is empty";
        if self.parameter.trim().is_empty() {
            return Err(ConfigError::Malformed { way: WAY, what });
        }
        let tokens = Tokens::of(&resolve_all(WAY, &self.secrets, resolve, MIN_SECRET)?);
        Ok(QueryToken { parameter: self.parameter.clone(), tokens })
    }
}

#[derive(Debug)]
pub(super) struct QueryToken {
    parameter: String,
    tokens: Tokens,
}

impl Verify for QueryToken {
    fn way(&self) -> &'static str {
        WAY
    }

    fn verify(&self, request: &Unverified, _now: Timestamp) -> Result<Option<String>, Error> {
        let query = request.query.as_deref().unwrap_or_default();
        let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| *name == self.parameter);
        let (_, token) = values.next().ok_or(Error::Missing)?;
        if values.next().is_some() {
            return Err(Error::Malformed("the token is there twice"));
        }
        if self.tokens.contain(&token) { Ok(None) } else { Err(Error::BadToken) }
    }
}
