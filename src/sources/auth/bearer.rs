//! `Authorization: Bearer …`: a static token, for senders that can set a header and nothing more.

use http::header::AUTHORIZATION;
use jiff::Timestamp;
use serde::Deserialize;

use super::same::Tokens;
use super::{ConfigError, Error, MIN_SECRET, Resolve, SecretRef, Unverified, Verify, header, resolve_all};

const WAY: &str = "bearer";

/// `bearer: { secrets: [...] }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Tokens; several while they rotate.
    pub secrets: Vec<SecretRef>,
}

impl Config {
    pub(super) fn build(&self, resolve: &dyn Resolve) -> Result<Bearer, ConfigError> {
        Ok(Bearer { tokens: Tokens::of(&resolve_all(WAY, &self.secrets, resolve, MIN_SECRET)?) })
    }
}

#[derive(Debug)]
pub(super) struct Bearer {
    tokens: Tokens,
}

impl Verify for Bearer {
    fn way(&self) -> &'static str {
        WAY
    }

    fn verify(&self, request: &Unverified, _now: Timestamp) -> Result<Option<String>, Error> {
        let value = header(&request.headers, &AUTHORIZATION)?;
        let (scheme, token) = value.split_once(' ').ok_or(Error::Malformed("authorization"))?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Error::Malformed("authorization"));
        }
        if self.tokens.contain(token.trim()) { Ok(None) } else { Err(Error::BadToken) }
    }
}
