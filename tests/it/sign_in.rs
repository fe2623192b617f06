//! Signing in over the router: a software authenticator, browsers with cookies, a real identity provider.

pub mod authenticator;
pub mod fake_provider;
pub mod forged;
pub mod house;
pub mod oidc;
mod passkeys;
pub mod real_provider;
mod sessions;
