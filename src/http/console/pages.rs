//! The pages that only show: playbooks, audit, overview.

use axum::Extension;
use axum::extract::{Path, State as Shared};
use axum::response::Response;
use jiff::SignedDuration;
use serde_json::Value;

use super::answer::Asked;
use super::gather::failed;
use super::state::Console;
use super::view::audit::{AuditPage, AuditView, Chain};
use super::view::overview::{OverviewFacts, OverviewPage, OverviewView};
use super::view::playbooks::{PlaybookCard, PlaybooksPage, PlaybooksView};
use super::view::{Eye, Section};
use crate::http::sign_in::SignedIn;
use crate::http::{Problem, RequestId};
use crate::store::{Filter, Page, RunRow};

/// Rows on a page.
const ROWS: u32 = 50;
/// Cases that the histogram is made of, at most.
const MEASURED: u32 = 500;
/// Cases looked through for the last runs of a playbook.
const RECENT: u32 = 30;

/// The playbooks of this process.
pub(super) async fn playbooks(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    asked: Asked,
) -> Result<Response, Problem> {
    let shell = console.shell(Section::Playbooks, &who, &id).await?;
    let (catalog, problems) = console.engine().playbooks();
    let names = console.names(&id).await?;
    let eye = Eye { now: console.now(), me: None, names: &names };
    let card = |entry: &std::sync::Arc<crate::playbook::catalog::Entry>| {
        PlaybookCard::of(&entry.plan, &entry.pinned.hash, None, &[], eye)
    };
    let mut view = PlaybooksView { rows: catalog.entries().iter().map(card).collect(), ..PlaybooksView::default() };
    if !problems.is_empty() {
        let text: Vec<String> = problems.iter().map(|file| file.render(false)).collect();
        view = view.broken(&text.join("\n"));
    }
    asked.show(&PlaybooksPage { shell: &shell, view: &view })
}

/// One playbook.
pub(super) async fn playbook(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let (catalog, _) = console.engine().playbooks();
    let entry = catalog.get(&name).ok_or_else(|| Problem::not_found("no playbook has this name here"))?;
    let shell = console.shell(Section::Playbooks, &who, &id).await?;
    let names = console.names(&id).await?;
    let runs = last_runs(&console, &entry.plan.name, &id).await?;
    let eye = Eye { now: console.now(), me: None, names: &names };
    let one = PlaybookCard::of(&entry.plan, &entry.pinned.hash, None, &runs, eye);
    let view = PlaybooksView { one: Some(one), ..PlaybooksView::default() };
    asked.show(&PlaybooksPage { shell: &shell, view: &view })
}

async fn last_runs(console: &Console, name: &str, id: &RequestId) -> Result<Vec<RunRow>, Problem> {
    let cases = console.store().cases(&Filter::default(), &Page { after: None, limit: RECENT }).await;
    let mut runs = Vec::new();
    for case in cases.map_err(failed(id))?.items {
        let of_case = console.store().runs_of(case.id).await.map_err(failed(id))?;
        runs.extend(of_case.into_iter().map(|(row, _)| row).filter(|row| row.playbook == name));
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.opened_at));
    runs.truncate(20);
    Ok(runs)
}

/// The audit trail.
pub(super) async fn audit(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    asked: Asked,
) -> Result<Response, Problem> {
    let shell = console.shell(Section::Audit, &who, &id).await?;
    let page = Page { after: asked.after(), limit: ROWS };
    let listed = console.store().audit(&page).await.map_err(failed(&id))?;
    let last = match asked.after() {
        None => listed.items.first().map(|(seq, _)| *seq),
        Some(_) => {
            let newest = console.store().audit(&Page { after: None, limit: 1 }).await.map_err(failed(&id))?;
            newest.items.first().map(|(seq, _)| *seq)
        }
    };
    let tip = console.store().setting("audit:tip").await.map_err(failed(&id))?;
    let chain = Chain {
        to: tip.as_ref().and_then(|tip| tip.get("position")).and_then(Value::as_u64),
        last: last.unwrap_or(0),
        ..Chain::default()
    };
    let names = console.names(&id).await?;
    let eye = Eye { now: console.now(), me: None, names: &names };
    let view = AuditView::of(&listed.items, chain, listed.next.as_deref(), &asked.get("after"), eye);
    asked.show(&AuditPage { shell: &shell, view: &view })
}

/// How fast, how much waits.
pub(super) async fn overview(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    asked: Asked,
) -> Result<Response, Problem> {
    let shell = console.shell(Section::Overview, &who, &id).await?;
    let now = console.now();
    let cases = console.store().cases(&Filter::default(), &Page { after: None, limit: MEASURED }).await;
    let day = SignedDuration::from_hours(24);
    let recent: Vec<_> = cases
        .map_err(failed(&id))?
        .items
        .into_iter()
        .filter(|case| now.duration_since(case.received_at) <= day)
        .collect();
    let revokes = recent.iter().filter_map(|case| Some(case.revoke_accepted_at?.duration_since(case.received_at)));
    let activity = |case: &crate::store::CaseRow| {
        let text = case.detail.get("latest_activity").and_then(Value::as_str)?;
        let at: jiff::Timestamp = text.parse().ok()?;
        Some(case.received_at.duration_since(at)).filter(|lag| !lag.is_negative())
    };
    let facts = OverviewFacts {
        figures: console.figures(&id).await?,
        revokes: revokes.collect(),
        lags: recent.iter().filter_map(activity).collect(),
        ..OverviewFacts::default()
    };
    let mut view = OverviewView::of(&facts, now);
    view.measured = false;
    asked.show(&OverviewPage { shell: &shell, view: &view })
}
