//! `GET /console/tasks`, `GET /console/tasks/{id}`: what waits for a human.

use axum::Extension;
use axum::extract::{Path, State as Shared};
use axum::response::Response;

use super::answer::Asked;
use super::gather::failed;
use super::state::Console;
use super::view::task::{TaskPage, TaskView};
use super::view::tasks::{Shown, TaskLine, TasksPage, TasksView};
use super::view::{Eye, Section};
use crate::domain::task::{Kind, Order};
use crate::http::sign_in::SignedIn;
use crate::http::{Problem, RequestId};
use crate::store::{Filter, Page};

/// Tasks on a page.
const ROWS: u32 = 50;

/// The queue.
pub(super) async fn list(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    asked: Asked,
) -> Result<Response, Problem> {
    let shell = console.shell(Section::Tasks, &who, &id).await?;
    let shown = if asked.get("show") == "all" { Shown::All } else { Shown::Open };
    let page = Page { after: asked.after(), limit: ROWS };
    let listed = match shown {
        Shown::Open => console.store().tasks_by_urgency(&page).await,
        Shown::All => console.store().tasks(&Filter::default(), &page).await,
    };
    let listed = listed.map_err(failed(&id))?;
    let (me, names) = (console.me(&who, &id).await?, console.names(&id).await?);
    let eye = Eye { now: console.now(), me: Some(&me), names: &names };
    let known = console.briefs_of_tasks(&listed.items, &id).await?;
    let rows = listed.items.iter().zip(&known).map(|(task, known)| TaskLine::of(task, known, eye)).collect();
    let view = TasksView::of(rows, shown, listed.next.as_deref(), &asked.get("after"));
    asked.show(&TasksPage { shell: &shell, view: &view })
}

/// One task.
pub(super) async fn one(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    Path(task): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let task = console.task(&task, &id).await?;
    let shell = console.shell(Section::Tasks, &who, &id).await?;
    let (me, names) = (console.me(&who, &id).await?, console.names(&id).await?);
    let known = console.known(&task, &id).await?;
    let eye = Eye { now: console.now(), me: Some(&me), names: &names };
    let mut view = TaskView::of(&task, known, None, eye);
    if task.kind == Kind::Release {
        view.parked = console.parked(&task, &id).await?;
    }
    if let (Some(reveal), Some(case)) = (&mut view.reveal, task.case)
        && reveal.reissue.is_some()
        && !console.offers(case, false, &id).await?.contains(&Order::Reset)
    {
        reveal.reissue = None;
    }
    view.held = console.held(&task, shell.paused.is_some(), &id).await?;
    view.goes_on_by_hand(&console.by_hand(&task, &id).await?);
    asked.show(&TaskPage { shell: &shell, view: &view })
}
