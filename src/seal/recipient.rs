//! Sealing to a browser: HPKE (RFC 9180) base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
//!
//! The browser makes the key pair and opens with `WebCrypto`; its private key cannot be exported. The task id is bound
//! as associated data, so that a ciphertext moved to another task does not open. There is no opening here.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePublicKey};
use serde::{Deserialize, Serialize};

use super::{Error, TemporaryPassword};
use crate::domain::TaskId;

/// Bound into every seal; the browser gives the same.
pub const INFO: &[u8] = b"oust temporary password v1";

/// A browser's public key: a point on P-256, uncompressed.
#[derive(Clone, PartialEq, Eq)]
pub struct RecipientKey([u8; 65]);

impl FromStr for RecipientKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() != 87 {
            return Err(Error::NotAKey);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::NotAKey)?;
        let point: [u8; 65] = bytes.try_into().map_err(|_| Error::NotAKey)?;
        if point[0] != 4 {
            return Err(Error::NotAKey);
        }
        // A key agreement with the point is the check that it is on the curve.
        SUITE.setup_sealer(INFO, &HpkePublicKey(point.to_vec())).map_err(|_| Error::NotOnCurve)?;
        Ok(Self(point))
    }
}

impl fmt::Display for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A password that only one browser can open. Both parts base64url without padding, as the browser gets them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The encapsulated key: an uncompressed P-256 point.
    pub enc: String,
    /// Ciphertext and tag.
    pub ciphertext: String,
}

/// Seals a password to the browser that decided the task.
pub fn seal(password: &TemporaryPassword, key: &RecipientKey, task: TaskId) -> Result<Sealed, Error> {
    let aad = task.to_string();
    let (EncapsulatedSecret(enc), ciphertext) = SUITE
        .seal(INFO, aad.as_bytes(), password.expose().as_bytes(), &HpkePublicKey(key.0.to_vec()))
        .map_err(|_| Error::NotSealed)?;
    Ok(Sealed { enc: URL_SAFE_NO_PAD.encode(enc), ciphertext: URL_SAFE_NO_PAD.encode(ciphertext) })
}

#[cfg(test)]
mod tests {
    use rustls::crypto::hpke::HpkePrivateKey;
    use uuid::Uuid;

    use super::*;

    fn browser() -> (RecipientKey, HpkePrivateKey) {
        let (HpkePublicKey(public), private) = SUITE.generate_key_pair().expect("a key pair");
        (URL_SAFE_NO_PAD.encode(public).parse().expect("a valid key"), private)
    }

    fn open(sealed: &Sealed, private: &HpkePrivateKey, info: &[u8], task: TaskId) -> Option<String> {
        let enc = EncapsulatedSecret(URL_SAFE_NO_PAD.decode(&sealed.enc).expect("base64url"));
        let ciphertext = URL_SAFE_NO_PAD.decode(&sealed.ciphertext).expect("base64url");
        let clear = SUITE.open(&enc, info, task.to_string().as_bytes(), &ciphertext, private).ok()?;
        String::from_utf8(clear).ok()
    }

    fn task(number: u128) -> TaskId {
        TaskId::new(Uuid::from_u128(number))
    }

    fn password() -> TemporaryPassword {
        TemporaryPassword::issued("hk7-Nq.44".into())
    }

    #[test]
    fn only_the_right_browser_opens_it_for_the_right_task_and_purpose() {
        let (key, private) = browser();
        let sealed = seal(&password(), &key, task(1)).expect("sealed");
        assert_eq!(open(&sealed, &private, INFO, task(1)).as_deref(), Some("hk7-Nq.44"));
        assert_eq!(open(&sealed, &private, INFO, task(2)), None, "another task");
        assert_eq!(open(&sealed, &private, b"another purpose", task(1)), None);
        assert_eq!(open(&sealed, &browser().1, INFO, task(1)), None, "another browser");
    }

    #[test]
    fn the_same_password_sealed_twice_looks_different_and_never_like_itself() {
        let (key, _) = browser();
        let (one, two) = (seal(&password(), &key, task(1)), seal(&password(), &key, task(1)));
        let (one, two) = (one.expect("sealed"), two.expect("sealed"));
        assert_ne!(one.ciphertext, two.ciphertext);
        let stored = serde_json::to_string(&one).expect("JSON");
        assert!(!stored.contains("hk7") && !stored.contains(&URL_SAFE_NO_PAD.encode("hk7-Nq.44")[..8]), "{stored}");
    }

    #[test]
    fn a_changed_ciphertext_does_not_open() {
        let (key, private) = browser();
        let mut sealed = seal(&password(), &key, task(1)).expect("sealed");
        let mut bytes = URL_SAFE_NO_PAD.decode(&sealed.ciphertext).expect("base64url");
        bytes[0] ^= 1;
        sealed.ciphertext = URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(open(&sealed, &private, INFO, task(1)), None);
    }

    #[test]
    fn a_key_reads_back_as_written() {
        let (key, _) = browser();
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn rubbish_compressed_points_and_points_off_the_curve_are_no_keys() {
        let good = browser().0.to_string();
        let mut compressed = URL_SAFE_NO_PAD.decode(&good).expect("base64url");
        compressed[0] = 2;
        for bad in [
            String::new(),
            "A".repeat(87),
            "!".repeat(87),
            format!("{good}="),
            good[..86].to_owned(),
            "A".repeat(1_000_000),
            URL_SAFE_NO_PAD.encode(&compressed),
            URL_SAFE_NO_PAD.encode(&compressed[..33]),
        ] {
            assert_eq!(bad.parse::<RecipientKey>(), Err(Error::NotAKey), "{:.100}", bad);
        }
        let mut off = URL_SAFE_NO_PAD.decode(&good).expect("base64url");
        off[64] ^= 1;
        assert_eq!(URL_SAFE_NO_PAD.encode(off).parse::<RecipientKey>(), Err(Error::NotOnCurve));
        let infinity = [&[4u8][..], &[0; 64]].concat();
        assert_eq!(URL_SAFE_NO_PAD.encode(infinity).parse::<RecipientKey>(), Err(Error::NotOnCurve));
    }
}
