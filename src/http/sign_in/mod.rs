//! Signing in: who is it, how sure are we, and the proof of a decision.
//!
//! Passkeys of our own or an identity provider; sessions in a cookie; every route with its guard (`routes`). It decides
//! nothing about a task: it binds what is wanted, checks the proof, and hands both to the engine. API tokens mean nothing
//! here. The console's pages use `Routes`, `SignedIn` and the views; `passkey.js` performs the ceremonies.

mod browser;
mod decide;
mod enrol;
mod keys;
mod oidc;
mod page;
mod passkey;
mod proof;
mod routes;
mod session;
mod site;
mod state;

pub use browser::CSRF;
pub use decide::problem_of;
pub use oidc::{Aal2, Config as OidcConfig, Error as OidcError};
pub use page::{SCRIPT, SignInView, sign_in_view};
pub use proof::{NotSigned, check_passkey, check_token};
pub use routes::{Access, Route, Routes};
pub use session::SignedIn;
pub use site::{Error as SiteError, Site};
pub use state::{Decider, Parts, Rates, SignIn};

use axum::Router;
use axum::http::Method;
use axum::middleware::from_fn;

use crate::domain::task::Role;

/// Why the sign-in cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Site(#[from] site::Error),
    #[error(transparent)]
    Passkeys(#[from] passkey::Error),
    #[error(transparent)]
    Oidc(#[from] oidc::Error),
}

/// An invitation's secret, for its link, and what the store keeps of it.
pub fn invitation() -> (String, String) {
    let secret = browser::secret();
    let hash = browser::hash(&secret);
    (secret, hash)
}

/// The link of an invitation.
pub fn invitation_url(site: &Site, secret: &str) -> String {
    site.url(&format!("/console/enrol/{secret}"))
}

/// Every route of the sign-in.
pub fn routes(sign_in: &SignIn) -> Routes {
    use Access::Public;
    let (get, post) = (|| Method::GET, || Method::POST);
    let viewer = Access::Role(Role::Viewer);
    let approver = Access::Role(Role::Approver);
    let s = || sign_in.clone();
    Routes::new(sign_in.clone())
        .route(get(), "/console/sign-in", Public, page::sign_in, s())
        .route(get(), "/console/sign-in/passkey.js", Public, page::script, s())
        .route(post(), "/console/sign-in/passkey/begin", Public, keys::sign_in_begin, s())
        .route(post(), "/console/sign-in/passkey/finish", Public, keys::sign_in_finish, s())
        .route(post(), "/console/sign-in/oidc", Public, oidc::begin, s())
        .route(get(), "/console/sign-in/oidc/callback", Public, oidc::landed, s())
        .route(post(), "/console/sign-in/oidc/callback", Public, oidc::finish, s())
        .route(get(), "/console/enrol/{token}", Public, page::enrol, s())
        .route(post(), "/console/enrol/{token}/begin", Public, enrol::enrol_begin, s())
        .route(post(), "/console/enrol/{token}/finish", Public, enrol::enrol_finish, s())
        .route(get(), "/console/session", viewer, page::session, s())
        .route(post(), "/console/sign-out", viewer, page::sign_out, s())
        .route(post(), "/console/sign-out-everywhere", viewer, page::sign_out_everywhere, s())
        .route(get(), "/console/passkeys", viewer, enrol::list, s())
        .route(post(), "/console/passkeys/begin", viewer, enrol::add_begin, s())
        .route(post(), "/console/passkeys/finish", viewer, enrol::add_finish, s())
        .route(post(), "/console/passkeys/{id}/remove", viewer, enrol::remove, s())
        .route(post(), "/console/prove/begin", viewer, keys::prove_begin, s())
        .route(post(), "/console/prove/finish", viewer, keys::prove_finish, s())
        .route(post(), "/console/prove/oidc", viewer, oidc::prove, s())
        .route(post(), "/console/decide/begin", approver, decide::begin, s())
        .route(post(), "/console/decide/finish", approver, decide::finish, s())
}

/// Every path of the sign-in, ready to be merged with the others.
pub fn router(sign_in: &SignIn) -> Router {
    routes(sign_in).into_router().layer(from_fn(super::around))
}
