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
use crate::store::{CaseRow, Filter, Page};

/// Cases on a page.
const ROWS: usize = 25;
/// A filter looks through so many cases for one page, a search for text through fewer: it reads their signals.
const FILTERED: (u32, usize) = (500, 8);
const SEARCHED: (u32, usize) = (100, 10);

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
    let _turn = if filter.is_set() { Some(console.turn().await?) } else { None };
    let Found { rows, next, looked_at } = look(&console, &filter, &asked, &id).await?;
    let untouched = rows.is_empty() && !filter.is_set() && {
        let any = console.store().cases(&Filter::default(), &Page { after: None, limit: 1 }).await;
        any.map_err(failed(&id))?.items.is_empty()
    };
    let tenants: Vec<String> = console.configured().tenants.iter().map(|tenant| tenant.name.to_string()).collect();
    let mut view = HomeView::of(filter, rows, next.as_deref(), &tenants, untouched);
    view.looked_at = (next.is_some() && view.rows.len() < ROWS).then_some(looked_at);
    asked.show(&HomePage { shell: &shell, view: &view })
}

/// A page of cases.
struct Found {
    rows: Vec<CaseLine>,
    /// Where the next page begins: after the last case that was looked at.
    next: Option<String>,
    looked_at: usize,
}

/// Keeps those that hold the text. Signals are read of those only where it may stand in them.
async fn search(
    console: &Console,
    filter: &HomeFilter,
    kept: &mut Vec<(usize, CaseRow)>,
    id: &RequestId,
) -> Result<(), Problem> {
    let nothing = Known::default();
    let unsure = kept.iter().filter(|(_, case)| !filter.admits(case, &nothing)).map(|(_, case)| case.id).collect();
    let maybe = console.may_hold(filter.q.trim(), unsure, id).await?;
    let known = console.briefs(maybe, id).await?;
    kept.retain(|(_, case)| filter.admits(case, known.get(&case.id).unwrap_or(&nothing)));
    Ok(())
}

/// Looks from the cursor on for cases that fit, until the page is full or enough was looked at.
async fn look(console: &Console, filter: &HomeFilter, asked: &Asked, id: &RequestId) -> Result<Found, Problem> {
    let wanted = Filter {
        open: !matches!(filter.state.as_str(), "closed" | "all"),
        object_id: filter.q.trim().parse().ok(),
        case: filter.q.trim().parse().ok(),
    };
    let (limit, pages) = match (filter.q.is_empty(), filter.is_set()) {
        (false, _) => SEARCHED,
        (true, true) => FILTERED,
        (true, false) => (ROWS as u32, 1),
    };
    let without_text = HomeFilter { q: String::new(), ..filter.clone() };
    let (mut fitting, mut looked_at, mut page) = (Vec::new(), 0, Page { after: asked.after(), limit });
    'pages: for _ in 0..pages {
        let listed = console.store().cases(&wanted, &page).await.map_err(failed(id))?;
        let count = listed.items.len();
        // What needs no signals is asked first.
        let nothing = Known::default();
        let mut kept: Vec<(usize, CaseRow)> = listed.items.into_iter().enumerate().collect();
        let last = kept.last().map(|(_, case)| case.cursor());
        kept.retain(|(_, case)| without_text.admits(case, &nothing));
        if !filter.q.is_empty() {
            search(console, filter, &mut kept, id).await?;
        }
        for (at, case) in kept {
            let here = case.cursor();
            fitting.push(case);
            if fitting.len() == ROWS {
                looked_at += at + 1;
                page.after = (at + 1 < count || listed.next.is_some()).then_some(here);
                break 'pages;
            }
        }
        looked_at += count;
        page.after = listed.next.and(last);
        if page.after.is_none() {
            break;
        }
    }
    let known = console.briefs(fitting.iter().map(|case| case.id), id).await?;
    let tasks = console.open_tasks(&fitting, id).await?;
    let releases = console.releases(&fitting, id).await?;
    let (none, no_tasks) = (Known::default(), Vec::new());
    let line = |case: &CaseRow| {
        let tasks = tasks.get(&case.id).unwrap_or(&no_tasks);
        let line = CaseLine::of(case, known.get(&case.id).unwrap_or(&none), tasks, console.now());
        line.released_by(case, releases.get(&case.identity.tenant), console.now())
    };
    Ok(Found { rows: fitting.iter().map(line).collect(), next: page.after, looked_at })
}
