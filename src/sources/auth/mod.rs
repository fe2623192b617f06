//! Sender authentication over the raw bytes of a request: one file per way.
//!
//! `Unverified` goes in, `Verified` comes out, and there is no other way to make one. Any one way that a source
//! configures suffices; the network allow-list is in addition. Every comparison with a secret takes the same time
//! whatever differs, and all secrets are always tried (several mean rotation). An [`Error`] never says which secret,
//! which way, or how near. Reads no file and no environment: [`Resolve`] is injected by the configuration.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http::HeaderMap;
use ipnet::IpNet;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

pub mod bearer;
pub mod client_state;
pub mod hmac;
pub mod networks;
pub mod query_token;
mod same;
pub mod standard_webhooks;

pub use client_state::ClientState;

/// The shortest shared secret that is accepted, in characters (bytes, for a decoded key).
pub const MIN_SECRET: usize = 16;

/// Where a secret is: in a file, in the environment, or (demo only) inline.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a secret: { file: path }, { env: NAME } or a text")]
pub enum SecretRef {
    File(InFile),
    Env(InEnv),
    Inline(SecretString),
}

/// `{ file: path }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InFile {
    pub file: PathBuf,
}

/// `{ env: NAME }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InEnv {
    pub env: String,
}

/// Turns a reference into the secret. Implemented by the configuration, the only reader of files and environment.
pub trait Resolve {
    /// The secret.
    ///
    /// # Errors
    /// A sentence that names the file or variable, never a value.
    fn secret(&self, reference: &SecretRef) -> Result<SecretString, String>;
}

/// One way of a source's `auth` list.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Config {
    StandardWebhooks(standard_webhooks::Config),
    Hmac(hmac::Config),
    Bearer(bearer::Config),
    QueryToken(query_token::Config),
}

/// A mistake in a source's `auth`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("auth is empty: name at least one way to authenticate the sender")]
    NoWay,
    #[error("{way}: secrets is empty: name at least one")]
    NoSecret { way: &'static str },
    #[error("{way}: {what}")]
    Unresolved { way: &'static str, what: String },
    #[error("{way}: a secret is too short (at least {min} characters)")]
    TooShort { way: &'static str, min: usize },
    #[error("{way}: {what}")]
    Malformed { way: &'static str, what: &'static str },
}

/// Why a request is not from the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Error {
    #[error("the peer address is not in the source's networks")]
    Network,
    #[error("no credential was presented")]
    Missing,
    #[error("the credential is malformed: {0}")]
    Malformed(&'static str),
    #[error("the token is not one of the source's")]
    BadToken,
    #[error("the signature matches none of the source's secrets")]
    BadSignature,
    #[error("the signature is older than five minutes")]
    Stale,
    #[error("the signature is from the future; check the sender's clock")]
    Future,
}

impl Error {
    /// A stable word for metrics and the audit summary.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Missing => "missing",
            Self::Malformed(_) => "malformed",
            Self::BadToken => "bad_token",
            Self::BadSignature => "bad_signature",
            Self::Stale => "stale",
            Self::Future => "future",
        }
    }
}

/// A request as received. Debug shows neither headers nor query nor body.
pub struct Unverified {
    pub headers: HeaderMap,
    /// The raw query string, without `?`.
    pub query: Option<String>,
    pub body: Bytes,
    /// The sender's address, as the listener or a trusted proxy says.
    pub peer: Option<IpAddr>,
}

impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified").field("bytes", &self.body.len()).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// A request from the sender it claims. Only [`Unverified::verify`] makes one.
pub struct Verified {
    body: Bytes,
    webhook_id: Option<String>,
    by: &'static str,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("bytes", &self.body.len()).field("by", &self.by).finish_non_exhaustive()
    }
}

impl Verified {
    /// The body that was verified.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body that was verified, taken out.
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// The sender's id of this message, where it is signed; a repetition is a replay.
    pub fn webhook_id(&self) -> Option<&str> {
        self.webhook_id.as_deref()
    }

    /// The way that verified it, for metrics.
    pub fn by(&self) -> &'static str {
        self.by
    }
}

/// One way, built: its secrets are resolved and checked.
trait Verify: fmt::Debug + Send + Sync {
    /// The word of the way.
    fn way(&self) -> &'static str;
    /// The signed message id, if the way has one.
    ///
    /// # Errors
    /// Why the request is not from the sender.
    fn verify(&self, request: &Unverified, now: Timestamp) -> Result<Option<String>, Error>;
}

/// A source's ways, built.
#[derive(Debug)]
pub struct Authenticator {
    ways: Vec<Box<dyn Verify>>,
    networks: networks::Networks,
}

impl Authenticator {
    /// Builds a source's ways.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn build(ways: &[Config], networks: &[IpNet], resolve: &dyn Resolve) -> Result<Self, Vec<ConfigError>> {
        let mut built: Vec<Box<dyn Verify>> = Vec::new();
        let mut mistakes = Vec::new();
        if ways.is_empty() {
            mistakes.push(ConfigError::NoWay);
        }
        for way in ways {
            let way: Result<Box<dyn Verify>, ConfigError> = match way {
                Config::StandardWebhooks(config) => config.build(resolve).map(|way| Box::new(way) as _),
                Config::Hmac(config) => config.build(resolve).map(|way| Box::new(way) as _),
                Config::Bearer(config) => config.build(resolve).map(|way| Box::new(way) as _),
                Config::QueryToken(config) => config.build(resolve).map(|way| Box::new(way) as _),
            };
            match way {
                Ok(way) => built.push(way),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(Self { ways: built, networks: networks::Networks::new(networks) })
    }
}

impl Unverified {
    /// Checks the request against every way of the source.
    ///
    /// # Errors
    /// The most telling reason when no way verifies it.
    pub fn verify(self, authenticator: &Authenticator, now: Timestamp) -> Result<Verified, Error> {
        if !authenticator.networks.admit(self.peer) {
            return Err(Error::Network);
        }
        let mut verified = None;
        let mut refused = Error::Missing;
        // All ways are tried, so that the time taken does not say which one fits.
        for way in &authenticator.ways {
            match way.verify(&self, now) {
                Ok(id) => verified = verified.or(Some((way.way(), id))),
                Err(error) => refused = refused.max(error),
            }
        }
        match verified {
            Some((by, webhook_id)) => Ok(Verified { body: self.body, webhook_id, by }),
            None => Err(refused),
        }
    }
}

/// Resolves a list of secrets; none may be missing or short.
fn resolve_all(
    way: &'static str,
    references: &[SecretRef],
    resolve: &dyn Resolve,
    min: usize,
) -> Result<Vec<SecretString>, ConfigError> {
    if references.is_empty() {
        return Err(ConfigError::NoSecret { way });
    }
    let secret = |reference: &SecretRef| {
        let secret = resolve.secret(reference).map_err(|what| ConfigError::Unresolved { way, what })?;
        // A file usually ends in a line break that is not part of the secret.
        let trimmed = secret.expose_secret().trim();
        if trimmed.chars().count() < min {
            Err(ConfigError::TooShort { way, min })
        } else {
            Ok(SecretString::from(trimmed))
        }
    };
    references.iter().map(secret).collect()
}

/// The one value of a header, as text.
fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Result<&'a str, Error> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Error::Missing)?;
    if values.next().is_some() {
        return Err(Error::Malformed("a header is there twice"));
    }
    value.to_str().map(str::trim).map_err(|_| Error::Malformed("a header is not plain text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_referred_to_in_three_ways_and_debug_shows_none() {
        let file: SecretRef = serde_json::from_str(r#"{"file": "/run/secrets/x"}"#).expect("a file");
        assert!(matches!(file, SecretRef::File(InFile { ref file }) if file.ends_with("x")));
        let env: SecretRef = serde_json::from_str(r#"{"env": "OUST_X"}"#).expect("a variable");
        assert!(matches!(env, SecretRef::Env(InEnv { ref env }) if env == "OUST_X"));
        let inline: SecretRef = serde_json::from_str(r#""planted-secret""#).expect("inline");
        assert!(!format!("{inline:?}").contains("planted"));
        assert!(serde_json::from_str::<SecretRef>(r#"{"file": "x", "env": "y"}"#).is_err());
    }

    #[test]
    fn a_way_is_one_key_and_unknown_keys_are_errors() {
        let parse = serde_json::from_str::<Config>;
        assert!(matches!(parse(r#"{"bearer": {"secrets": ["x"]}}"#), Ok(Config::Bearer(_))));
        assert!(parse(r#"{"bearer": {"secrets": ["x"], "realm": "y"}}"#).is_err());
        assert!(parse(r#"{"entra": {"audience": "api://oust"}}"#).is_err());
    }

    #[test]
    fn requests_show_no_secret_in_debug() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer planted".parse().expect("a value"));
        let request = Unverified {
            headers,
            query: Some("token=planted".into()),
            body: Bytes::from_static(b"planted"),
            peer: None,
        };
        assert!(!format!("{request:?}").contains("planted"));
    }
}
