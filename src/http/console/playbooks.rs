//! `/console/playbooks`: what this process would run, the text of each, and what runs now that differs from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State as Shared};
use axum::response::Response;

use super::answer::Asked;
use super::gather::failed;
use super::state::Console;
use super::view::playbooks::{Differing, PlaybookCard, PlaybooksPage, PlaybooksView, Written};
use super::view::{Eye, Section};
use crate::domain::plan::Plan;
use crate::http::sign_in::SignedIn;
use crate::http::{Problem, RequestId};
use crate::playbook::catalog::{Catalog, Entry};
use crate::playbook::normalise;
use crate::store::RunRow;

/// Runs listed on the page of a playbook.
const RUNS: u32 = 20;
/// Open runs that are compared with the folder.
const OPEN: u32 = 500;

/// All of them.
pub(super) async fn list(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    asked: Asked,
) -> Result<Response, Problem> {
    let shell = console.shell(Section::Playbooks, &who, &id).await?;
    let (catalog, problems) = console.engine().playbooks();
    let names = console.names(&id).await?;
    let eye = Eye { now: console.now(), me: None, names: &names };
    let card = |entry: &Arc<Entry>| PlaybookCard::of(&entry.plan, &entry.pinned.hash, None, &[], eye);
    let open = console.store().open_runs(OPEN).await.map_err(failed(&id))?;
    let mut view = PlaybooksView {
        rows: catalog.entries().iter().map(card).collect(),
        differing: differing(&catalog, &open),
        ..PlaybooksView::default()
    };
    if !problems.is_empty() {
        let text: Vec<String> = problems.iter().map(|file| file.render(false)).collect();
        view = view.broken(&text.join("\n"));
    }
    asked.show(&PlaybooksPage { shell: &shell, view: &view })
}

/// Open runs by version, of those that this process would not start now.
fn differing(catalog: &Catalog, open: &[RunRow]) -> Vec<Differing> {
    let mut counts = BTreeMap::<(&str, &str), u64>::new();
    for run in open {
        if catalog.get(&run.playbook).is_none_or(|entry| entry.pinned.hash != run.plan) {
            *counts.entry((&run.playbook, &run.plan)).or_default() += 1;
        }
    }
    let told = |((name, hash), count)| Differing::of(name, hash, count, catalog.get(name).is_some());
    counts.into_iter().map(told).collect()
}

/// One playbook; `?version=` with a hash shows what runs of that version are pinned to.
pub(super) async fn one(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let (catalog, _) = console.engine().playbooks();
    let runs = console.store().runs_of_playbook(&name, RUNS).await.map_err(failed(&id))?;
    let entry = catalog.get(&name);
    let version = match (asked.get("version"), entry) {
        (version, _) if !version.is_empty() => Some(version),
        (_, Some(_)) => None,
        // Not in this process's set: shown as it ran last.
        (_, None) => runs.first().map(|run| run.plan.clone()),
    };
    let shell = console.shell(Section::Playbooks, &who, &id).await?;
    let names = console.names(&id).await?;
    let eye = Eye { now: console.now(), me: None, names: &names };
    let none = || Problem::not_found("no playbook of this name and version is here or ran lately");
    let one = match (version.filter(|hash| entry.is_none_or(|entry| entry.pinned.hash != *hash)), entry) {
        (None, Some(entry)) => {
            let written = if catalog.is_shipped() {
                Written::Shipped(&entry.text)
            } else {
                Written::Folder { file: &entry.file, text: &entry.text }
            };
            PlaybookCard::of(&entry.plan, &entry.pinned.hash, Some(written), &runs, eye)
        }
        (Some(hash), _) => {
            let (plan, text) =
                pinned(&console, &hash, &id).await?.filter(|(plan, _)| plan.name == name).ok_or_else(none)?;
            PlaybookCard::of(&plan, &hash, Some(Written::Pinned(&text)), &runs, eye)
        }
        (None, None) => return Err(none()),
    };
    let view = PlaybooksView { one: Some(one), ..PlaybooksView::default() };
    asked.show(&PlaybooksPage { shell: &shell, view: &view })
}

/// What runs are pinned to: the plan and its normalised text, laid out for reading.
async fn pinned(console: &Console, hash: &str, id: &RequestId) -> Result<Option<(Plan, String)>, Problem> {
    if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let Some(json) = console.store().plan(hash).await.map_err(failed(id))? else { return Ok(None) };
    let Ok(plan) = normalise::unpin_checked(&json, hash) else { return Ok(None) };
    let text = serde_json::from_str::<serde_json::Value>(&json).ok();
    let text = text.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or(json);
    Ok(Some((plan, text)))
}
