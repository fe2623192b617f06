//! Secrets that people and auditors rely on: temporary passwords, sealed to one browser (law 6), and signatures.
//!
//! In clear a password lives in memory only, on its way to Graph; what is stored is a ciphertext that nobody but the
//! deciding reviewer's browser can open. This module stores and sends nothing, and cannot open what it sealed.

mod password;
mod recipient;
mod signing;

pub use password::{Rules, TemporaryPassword, generate};
pub use recipient::{RecipientKey, Sealed, seal};
pub use signing::{PublicKey, SigningError, SigningKey};

/// Why there is no password or no sealed one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The random source or the list of terms to avoid is unusable.
    #[error("no temporary password found that contains none of the {avoided} names to avoid")]
    NoPassword { avoided: usize },
    #[error("not a browser key: expected an uncompressed P-256 point as 87 characters of base64url")]
    NotAKey,
    #[error("not a browser key: the point is not on the curve P-256")]
    NotOnCurve,
    #[error("the temporary password could not be sealed to the browser's key")]
    NotSealed,
}
