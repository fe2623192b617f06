//! Ed25519 (RFC 8032): signatures over the audit trail's checkpoints, checked with nothing but the public key.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use secrecy::{ExposeSecret, SecretString};

/// Why there is no key, or no valid signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    #[error("not a signing key: expected an Ed25519 key as `oust audit key --new` prints it")]
    NotAKey,
    #[error("not a public key: expected 43 characters of base64url")]
    NotAPublicKey,
    #[error("the signature does not belong to this text and key")]
    Invalid,
    #[error("no key could be drawn")]
    NotDrawn,
}

/// Signs. `Debug` shows the public half only.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

impl SigningKey {
    /// Draws a key; its text is base64url of the PKCS #8 document.
    ///
    /// # Errors
    /// The random source failed.
    pub fn draw() -> Result<SecretString, SigningError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| SigningError::NotDrawn)?;
        let document = pair.to_pkcs8().map_err(|_| SigningError::NotDrawn)?;
        Ok(SecretString::from(BASE64.encode(document.as_ref())))
    }

    /// Reads a key back.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &SecretString) -> Result<Self, SigningError> {
        let document =
            zeroize::Zeroizing::new(BASE64.decode(text.expose_secret().trim()).map_err(|_| SigningError::NotAKey)?);
        Ed25519KeyPair::from_pkcs8(&document).map(Self).map_err(|_| SigningError::NotAKey)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().to_vec())
    }

    /// A signature over a text, base64url.
    pub fn sign(&self, text: &str) -> String {
        BASE64.encode(self.0.sign(text.as_bytes()).as_ref())
    }
}

/// Checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl std::str::FromStr for PublicKey {
    type Err = SigningError;

    fn from_str(text: &str) -> Result<Self, SigningError> {
        let bytes = BASE64.decode(text.trim()).map_err(|_| SigningError::NotAPublicKey)?;
        if bytes.len() == 32 { Ok(Self(bytes)) } else { Err(SigningError::NotAPublicKey) }
    }
}

impl PublicKey {
    /// # Errors
    /// `Invalid`, whatever is wrong with it.
    pub fn check(&self, text: &str, signature: &str) -> Result<(), SigningError> {
        let signature = BASE64.decode(signature).map_err(|_| SigningError::Invalid)?;
        UnparsedPublicKey::new(&ED25519, &self.0).verify(text.as_bytes(), &signature).map_err(|_| SigningError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_text_and_key_only() {
        let text = SigningKey::draw().expect("a key");
        let key = SigningKey::parse(&text).expect("reads back");
        let signature = key.sign("checkpoint 7");
        let public: PublicKey = key.public().to_string().parse().expect("a public key");
        assert_eq!(public.check("checkpoint 7", &signature), Ok(()));
        assert_eq!(public.check("checkpoint 8", &signature), Err(SigningError::Invalid));
        let other = SigningKey::parse(&SigningKey::draw().expect("a key")).expect("reads");
        assert_eq!(other.public().check("checkpoint 7", &signature), Err(SigningError::Invalid));
        for forged in ["", "AAAA", "not base64!", &signature[1..]] {
            assert_eq!(public.check("checkpoint 7", forged), Err(SigningError::Invalid), "{forged}");
        }
        assert!(!format!("{key:?}").contains(text.expose_secret()));
    }

    #[test]
    fn rubbish_is_no_key() {
        for text in ["", "hello", "AAAA", &"A".repeat(5_000)] {
            assert!(SigningKey::parse(&SecretString::from(text)).is_err(), "{text}");
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
    }
}
