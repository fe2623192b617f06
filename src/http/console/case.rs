//! `GET /console/cases/{id}`: one case, whole.

use axum::Extension;
use axum::extract::{Path, State as Shared};
use axum::response::Response;

use super::answer::Asked;
use super::gather::{Run, failed};
use super::state::Console;
use super::view::case::{CasePage, CaseView};
use super::view::story::RunFacts;
use super::view::{Eye, Section};
use crate::domain::CaseId;
use crate::domain::plan::{RESET, Step};
use crate::http::sign_in::SignedIn;
use crate::http::{Problem, RequestId};
use crate::store::{Filter, Page};

/// Tasks of one case, and the newest lines of its audit trail; the audit page has all of them.
const TASKS: u32 = 100;
const TRAIL: u32 = 100;

pub(super) async fn one(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    Path(case): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let none = || Problem::not_found("there is no case with this id");
    let case: CaseId = case.parse().map_err(|_| none())?;
    let case = console.store().case(case).await.map_err(failed(&id))?.ok_or_else(none)?;
    let shell = console.shell(Section::Home, &who, &id).await?;
    let signals = console.store().signals_of(case.id).await.map_err(failed(&id))?;
    let runs = console.runs(case.id, &id).await?;
    let facts: Vec<RunFacts<'_>> = runs.iter().map(Run::facts).collect();
    let filter = Filter { open: false, object_id: None, case: Some(case.id) };
    let tasks = console.store().tasks(&filter, &Page { after: None, limit: TASKS }).await.map_err(failed(&id))?;
    let trail = console.store().audit_of(case.id, &Page { after: None, limit: TRAIL }).await.map_err(failed(&id))?;
    let (me, names) = (console.me(&who, &id).await?, console.names(&id).await?);
    let eye = Eye { now: console.now(), me: Some(&me), names: &names };
    let offers = console.offers(case.id, case.closed_at.is_some(), &id).await?;
    let mut view = CaseView::of(&case, &signals, &facts, &tasks.items, (&trail.items, &offers), eye);
    let releases = console.releases(std::slice::from_ref(&case), &id).await?;
    view = view.released_by(&case, releases.get(&case.identity.tenant), eye.now);
    // Where the playbook says who approves a reset, there is nothing to choose.
    let gated = |step: &Step| step.action == RESET && step.approval.is_some();
    if !facts.iter().filter_map(|run| run.plan).any(|plan| plan.steps.iter().any(gated)) {
        view.policies.clone_from(&console.configured().policies);
    }
    asked.show(&CasePage { shell: &shell, view: &view })
}
