//! Comparison with secrets: constant in time over content and length, over all of them.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Digests of shared secrets; comparing digests hides the length too.
#[derive(Clone)]
pub(super) struct Tokens {
    digests: Vec<[u8; 32]>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.digests.len())
    }
}

impl Tokens {
    pub fn of(secrets: &[SecretString]) -> Self {
        let digest = |secret: &SecretString| Sha256::digest(secret.expose_secret().as_bytes()).into();
        Self { digests: secrets.iter().map(digest).collect() }
    }

    /// True when the presented text is one of the secrets. All are compared.
    pub fn contain(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        let found = self.digests.iter().fold(Choice::from(0), |found, digest| found | digest.ct_eq(&presented));
        found.into()
    }
}
