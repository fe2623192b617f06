//! An HMAC of the body in a header, as many tools sign. It does not stop a recorded request from being sent again;
//! redelivery is harmless, and Standard Webhooks is better.

use ::hmac::{Hmac, KeyInit, Mac};
use base64::Engine;
use http::HeaderName;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

use super::standard_webhooks::BASE64;
use super::{ConfigError, Error, MIN_SECRET, Resolve, SecretRef, Unverified, Verify, header, resolve_all};

const WAY: &str = "hmac";

/// `hmac: { header: X-Signature, prefix: "sha256=", encoding: hex, secrets: [...] }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The header that carries the signature.
    pub header: String,
    /// What stands before it in the header, e.g. `sha256=`.
    #[serde(default)]
    pub prefix: String,
    /// How it is written.
    pub encoding: Encoding,
    /// The hash function.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Shared secrets; several while they rotate.
    pub secrets: Vec<SecretRef>,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal digits in either case.
    Hex,
    /// Standard alphabet, with or without padding.
    Base64,
}

/// The hash function of an HMAC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    #[default]
    Sha256,
    Sha512,
}

impl Config {
    pub(super) fn build(&self, resolve: &dyn Resolve) -> Result<Signed, ConfigError> {
        let header = HeaderName::try_from(self.header.as_str())
            .map_err(|_| ConfigError::Malformed { way: WAY, what: "header is not a header name" })?;
        Ok(Signed {
            header,
            prefix: self.prefix.clone(),
            encoding: self.encoding,
            algorithm: self.algorithm,
            secrets: resolve_all(WAY, &self.secrets, resolve, MIN_SECRET)?,
        })
    }
}

#[derive(Debug)]
pub(super) struct Signed {
    header: HeaderName,
    prefix: String,
    encoding: Encoding,
    algorithm: Algorithm,
    secrets: Vec<SecretString>,
}

impl Verify for Signed {
    fn way(&self) -> &'static str {
        WAY
    }

    fn verify(&self, request: &Unverified, _now: Timestamp) -> Result<Option<String>, Error> {
        let text = header(&request.headers, &self.header)?;
        let text = text.strip_prefix(self.prefix.as_str()).ok_or(Error::Malformed("the signature lacks its prefix"))?;
        let presented = match self.encoding {
            Encoding::Hex => hex::decode(text).ok(),
            Encoding::Base64 => BASE64.decode(text).ok(),
        };
        let presented = presented.ok_or(Error::Malformed("the signature is not in the configured encoding"))?;
        let mut found = Choice::from(0);
        for secret in &self.secrets {
            found |= sign(self.algorithm, secret, &request.body).as_slice().ct_eq(&presented);
        }
        if bool::from(found) { Ok(None) } else { Err(Error::BadSignature) }
    }
}

fn sign(algorithm: Algorithm, secret: &SecretString, body: &[u8]) -> Vec<u8> {
    let key = secret.expose_secret().as_bytes();
    match algorithm {
        Algorithm::Sha256 => mac::<Hmac<Sha256>>(key, body),
        Algorithm::Sha512 => mac::<Hmac<Sha512>>(key, body),
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

/// The value of the signature header for a body, as a sender makes it.
pub fn signature(config: &Config, secret: &SecretString, body: &[u8]) -> String {
    let mac = sign(config.algorithm, secret, body);
    let text = match config.encoding {
        Encoding::Hex => hex::encode(mac),
        Encoding::Base64 => base64::engine::general_purpose::STANDARD.encode(mac),
    };
    format!("{}{text}", config.prefix)
}
