//! `GET /console`: identities at risk.

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;

use super::answer::Asked;
use super::gather::failed;
use super::state::Console;
use super::view::Section;
use super::view::evidence::Known;
use super::view::home::{CaseLine, HomeFilter, HomePage, HomeView};
use crate::http::sign_in::SignedIn;
use crate::http::{Problem, RequestId};
use crate::store::{Filter, Page};

/// Cases on a page, about; a search reads so many more pages until it has found as many.
const ROWS: u32 = 25;
const PAGES: usize = 8;

pub(super) async fn home(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    asked: Asked,
) -> Result<Response, Problem> {
    let shell = console.shell(Section::Home, &who, &id).await?;
    let filter = HomeFilter {
        q: asked.get("q"),
        state: asked.get("state"),
        tenant: asked.get("tenant"),
        kind: asked.get("kind"),
        risk: asked.get("risk"),
        after: asked.get("after"),
    };
    let (rows, next) = lines(&console, &filter, &asked, &id).await?;
    let untouched = rows.is_empty() && !filter.is_set() && {
        let any = console.store().cases(&Filter::default(), &Page { after: None, limit: 1 }).await;
        any.map_err(failed(&id))?.items.is_empty()
    };
    let tenants: Vec<String> = console.configured().tenants.iter().map(|tenant| tenant.name.to_string()).collect();
    let view = HomeView::of(filter, rows, next.as_deref(), &tenants, untouched);
    asked.show(&HomePage { shell: &shell, view: &view })
}

async fn lines(
    console: &Console,
    filter: &HomeFilter,
    asked: &Asked,
    id: &RequestId,
) -> Result<(Vec<CaseLine>, Option<String>), Problem> {
    let wanted = Filter {
        open: !matches!(filter.state.as_str(), "closed" | "all"),
        object_id: filter.q.trim().parse().ok(),
        case: None,
    };
    let tasks = console.open_tasks(id).await?;
    let (mut rows, mut page) = (Vec::new(), Page { after: asked.after(), limit: ROWS });
    for _ in 0..PAGES {
        let listed = console.store().cases(&wanted, &page).await.map_err(failed(id))?;
        for case in listed.items {
            // What needs no signals is asked first.
            let without_text = HomeFilter { q: String::new(), ..filter.clone() };
            if !without_text.admits(&case, &Known::default()) {
                continue;
            }
            let known = console.brief(case.id, id).await?;
            if filter.admits(&case, &known) {
                let tasks = tasks.get(&case.id).map(Vec::as_slice).unwrap_or_default();
                rows.push(CaseLine::of(&case, &known, tasks, console.now()));
            }
        }
        page.after = listed.next;
        if page.after.is_none() || rows.len() >= ROWS as usize {
            break;
        }
    }
    Ok((rows, page.after))
}
