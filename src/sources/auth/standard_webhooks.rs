//! Standard Webhooks (<https://www.standardwebhooks.com>): HMAC-SHA256 over id, timestamp and body, so that a
//! recorded request cannot be sent again later or with another body. The best way a sender can have.

use ::hmac::{Hmac, KeyInit, Mac};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderName;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{ConfigError, Error, MIN_SECRET, Resolve, SecretRef, Unverified, Verify, header, resolve_all};

const WAY: &str = "standard_webhooks";
const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// How old or how early a timestamp may be.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// Signatures looked at in one header.
const MAX_SIGNATURES: usize = 16;
/// Characters of a message id.
const MAX_ID: usize = 256;
/// Base64 with or without padding: senders differ.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `standard_webhooks: { secrets: [...] }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `whsec_` and base64; several while they rotate.
    pub secrets: Vec<SecretRef>,
}

impl Config {
    pub(super) fn build(&self, resolve: &dyn Resolve) -> Result<StandardWebhooks, ConfigError> {
        let secrets = resolve_all(WAY, &self.secrets, resolve, MIN_SECRET)?;
        Ok(StandardWebhooks { keys: secrets.iter().map(key).collect::<Result<_, _>>()? })
    }
}

/// The bytes of a `whsec_…` secret.
fn key(secret: &SecretString) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    let text = secret.expose_secret();
    let encoded = text.strip_prefix("whsec_").unwrap_or(text);
    let what = "a secret is not whsec_ and base64";
    let key = BASE64.decode(encoded).map(Zeroizing::new).map_err(|_| ConfigError::Malformed { way: WAY, what })?;
    if key.len() < MIN_SECRET { Err(ConfigError::TooShort { way: WAY, min: MIN_SECRET }) } else { Ok(key) }
}

pub(super) struct StandardWebhooks {
    keys: Vec<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for StandardWebhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StandardWebhooks({} secrets)", self.keys.len())
    }
}

impl Verify for StandardWebhooks {
    fn way(&self) -> &'static str {
        WAY
    }

    fn verify(&self, request: &Unverified, now: Timestamp) -> Result<Option<String>, Error> {
        let id = header(&request.headers, &ID)?;
        let timestamp = header(&request.headers, &TIMESTAMP)?;
        let signatures = header(&request.headers, &SIGNATURE)?;
        // The parts are joined by dots: a dot in the id would let a body begin inside it.
        if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(|b| b.is_ascii_graphic() && b != b'.') {
            return Err(Error::Malformed("webhook-id"));
        }
        let digits = !timestamp.is_empty() && timestamp.len() <= 12 && timestamp.bytes().all(|b| b.is_ascii_digit());
        let seconds: i64 = timestamp.parse().ok().filter(|_| digits).ok_or(Error::Malformed("webhook-timestamp"))?;
        let sent = Timestamp::from_second(seconds).map_err(|_| Error::Malformed("webhook-timestamp"))?;
        let presented: Vec<Vec<u8>> = signatures
            .split_ascii_whitespace()
            .take(MAX_SIGNATURES)
            .filter_map(|signature| signature.strip_prefix("v1,"))
            .filter_map(|encoded| BASE64.decode(encoded).ok())
            .collect();
        if presented.is_empty() {
            return Err(Error::Malformed("webhook-signature"));
        }
        let mut found = Choice::from(0);
        for key in &self.keys {
            let expected = sign(key, id, timestamp, &request.body);
            for signature in &presented {
                found |= expected.as_slice().ct_eq(signature);
            }
        }
        if !bool::from(found) {
            return Err(Error::BadSignature);
        }
        // Only what is signed may tell the sender about its clock.
        match now.duration_since(sent) {
            age if age > TOLERANCE => Err(Error::Stale),
            age if age < -TOLERANCE => Err(Error::Future),
            _ => Ok(Some(id.to_owned())),
        }
    }
}

fn sign(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// The value of `webhook-signature` for a message, as a sender makes it.
///
/// # Errors
/// When the secret is not `whsec_` and base64.
pub fn signature(secret: &SecretString, id: &str, sent: Timestamp, body: &[u8]) -> Result<String, ConfigError> {
    let mac = sign(&key(secret)?, id, &sent.as_second().to_string(), body);
    Ok(format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(mac)))
}
