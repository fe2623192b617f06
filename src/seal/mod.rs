//! Temporary passwords (skeleton).

/// The public key of the browser that may open a secret.
#[derive(Debug, Clone)]
pub struct RecipientKey;
