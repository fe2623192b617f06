//! `/console/buried`: what was set aside, replayed or dropped by an approver through the same code as the command line.

use axum::Extension;
use axum::extract::{Path, State as Shared};
use axum::response::Response;

use super::answer::{Asked, Deed};
use super::gather::failed;
use super::state::{Console, may_act};
use super::view::buried::{BuriedDetail, BuriedLine, BuriedPage, BuriedView};
use super::view::{Eye, Section, paths};
use crate::domain::BuriedId;
use crate::http::buried::{self, By, Error};
use crate::http::sign_in::SignedIn;
use crate::http::{Problem, RequestId};
use crate::store::{self, Filter, Page};

/// Rows on a page.
const ROWS: u32 = 50;
/// Longest reason, in characters.
const REASON: usize = 2_000;

/// The list.
pub(super) async fn list(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    asked: Asked,
) -> Result<Response, Problem> {
    let shell = console.shell(Section::Buried, &who, &id).await?;
    let open = asked.get("show") != "all";
    let filter = Filter { open, ..Filter::default() };
    let page = Page { after: asked.after(), limit: ROWS };
    let listed = console.store().buried_list(&filter, &page).await.map_err(failed(&id))?;
    let names = console.names(&id).await?;
    let eye = Eye { now: console.now(), me: None, names: &names };
    let rows = listed.items.iter().map(|row| BuriedLine::of(row, eye)).collect();
    let view = BuriedView::of(rows, open, listed.next.as_deref(), &asked.get("after"), may_act(&who));
    asked.show(&BuriedPage { shell: &shell, view: &view })
}

fn row_of(text: &str) -> Result<BuriedId, Problem> {
    text.parse().map_err(|_| nothing())
}

fn nothing() -> Problem {
    Problem::not_found("nothing is buried under this id")
}

/// One of them.
pub(super) async fn one(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    Path(row): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let row = console.store().buried(row_of(&row)?).await.map_err(failed(&id))?.ok_or_else(nothing)?;
    let shell = console.shell(Section::Buried, &who, &id).await?;
    let names = console.names(&id).await?;
    let eye = Eye { now: console.now(), me: None, names: &names };
    let view = BuriedView::one(BuriedDetail::of(&row, eye), may_act(&who));
    asked.show(&BuriedPage { shell: &shell, view: &view })
}

/// Replays or drops one.
pub(super) async fn settle(deed: Deed) -> Result<Response, Problem> {
    deed.may_act().await?;
    let (actor, live) = (deed.actor(), deed.live());
    let Deed { console, id, about: row, sent, .. } = deed;
    let row = row_of(&row)?;
    let reason = sent.text("reason", REASON)?;
    let by = |reason: String| By { actor: actor.clone(), reason, at: console.now(), with: vec![live.clone()] };
    let done = match (sent.get("verb"), reason) {
        ("replay", reason) => {
            buried::replay(console.store(), console.sources(), row, by(reason.unwrap_or_default())).await.map(drop)
        }
        ("drop", Some(reason)) => buried::discard(console.store(), row, by(reason)).await,
        ("drop", None) => return Err(Problem::unfit("say why it needs nothing: a dropped row stays listed with it")),
        _ => return Err(Problem::unfit("verb is replay or drop")),
    };
    done.map_err(|error| refused(&error, &id))?;
    Ok(sent.done(&paths::buried(row)))
}

fn refused(error: &Error, id: &RequestId) -> Problem {
    match error {
        Error::NoSuch(_) => nothing(),
        Error::Settled(_) => Problem::conflict(format!("{error}; nothing more was done")),
        Error::Unread(why) => Problem::unfit(format!("it was not replayed: {why}")),
        Error::Store(store::Error::Spent(_)) => Problem::not_signed_in("your account was disabled"),
        Error::Store(error) => Problem::of_store(error, id),
    }
}
