//! The console's map: every page and deed with the role it needs, beside those of the sign-in.

use axum::Router;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::get;

use super::answer::{nothing, pretty};
use super::state::Console;
use super::view::paths;
use super::{assets, buried, case, deeds, feed, home, orders, pages, playbooks, settings, tasks};
use crate::domain::task::Role;
use crate::http::Problem;
use crate::http::sign_in::{self, Access, Routes};

/// Every route of the console and its sign-in, with who may use it.
pub fn routes(console: &Console) -> Routes {
    let (g, p) = (|| Method::GET, || Method::POST);
    let viewer = Access::Role(Role::Viewer);
    let (analyst, approver) = (Access::Role(Role::Analyst), Access::Role(Role::Approver));
    let s = || console.clone();
    sign_in::routes(console.sign_in())
        .route(g(), paths::HOME, viewer, home::home, s())
        .route(g(), paths::TASKS, viewer, tasks::list, s())
        .route(g(), "/console/tasks/{id}", viewer, tasks::one, s())
        .route(g(), "/console/cases/{id}", viewer, case::one, s())
        .route(g(), paths::BURIED, viewer, buried::list, s())
        .route(g(), "/console/buried/{id}", viewer, buried::one, s())
        .route(g(), paths::PLAYBOOKS, viewer, playbooks::list, s())
        .route(g(), "/console/playbooks/{name}", viewer, playbooks::one, s())
        .route(g(), paths::AUDIT, viewer, pages::audit, s())
        .route(g(), paths::OVERVIEW, viewer, pages::overview, s())
        .route(g(), paths::SETTINGS, viewer, settings::show, s())
        .route(g(), paths::EVENTS, viewer, feed::events, s())
        .route(p(), paths::PAUSE, approver, settings::pause, s())
        .route(p(), paths::RESUME, approver, settings::resume, s())
        .route(p(), "/console/cases/{id}/orders", analyst, orders::order, s())
        .route(p(), "/console/tasks/{id}/person", approver, deeds::named, s())
        .route(p(), "/console/buried/{id}/settle", approver, buried::settle, s())
        .route(p(), paths::BULK, approver, deeds::scriptless, s())
        .route(p(), "/console/tasks/{id}/decision", approver, deeds::scriptless, s())
        .route(p(), "/console/tasks/{id}/done", approver, deeds::done, s())
        .route(p(), "/console/tasks/{id}/presence", approver, deeds::presence, s())
        .route(p(), "/console/tasks/{id}/reveal", approver, deeds::reveal, s())
        .route(p(), "/console/tasks/{id}/acknowledge", approver, deeds::acknowledge, s())
}

/// Why there is no console, and what to do.
pub const ABSENT: &str = "there is no console: nobody could sign in. Add `public_url: https://…` with a host name, the \
    address your reviewers open, or `reviewers.oidc`, and start oust again";

/// What stands where the console would: why it is not there.
pub fn absent() -> Router {
    let absent = || get(|| async { Problem::not_found(ABSENT) });
    let paths = ["/", paths::HOME, "/console/{*path}"];
    let router = paths.into_iter().fold(Router::new(), |router, path| router.route(path, absent()));
    router.layer(from_fn(crate::http::around))
}

/// Everything below `/console`, and the way there from `/`, ready to be merged with the others.
pub fn router(console: &Console) -> Router {
    let lost = Router::new().route("/console/{*path}", get(nothing));
    routes(console)
        .into_router()
        .merge(lost)
        .route("/", get(|| async { Redirect::temporary(paths::HOME) }))
        .route(assets::ROUTE, get(assets::serve))
        .layer(from_fn_with_state(console.clone(), pretty))
        .layer(from_fn(crate::http::around))
}
