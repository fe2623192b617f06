//! The pages that only show: audit and overview.

use std::time::Duration;

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;
use jiff::SignedDuration;
use serde_json::Value;

use super::answer::Asked;
use super::gather::failed;
use super::state::Console;
use super::view::audit::{AuditPage, AuditView, Chain};
use super::view::overview::{CountedFacts, OverviewFacts, OverviewPage, OverviewView, SourceFacts};
use super::view::{Eye, Section};
use crate::engine;
use crate::http::sign_in::SignedIn;
use crate::http::{Problem, RequestId};
use crate::store::{Filter, Page};
use crate::telemetry::Deliveries;

/// Rows on a page.
const ROWS: u32 = 50;
/// Cases that the histogram is made of, at most.
const MEASURED: u32 = 500;

/// The audit trail.
pub(super) async fn audit(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    asked: Asked,
) -> Result<Response, Problem> {
    let shell = console.shell(Section::Audit, &who, &id).await?;
    let page = Page { after: asked.after(), limit: ROWS };
    let case = match asked.get("case").as_str() {
        "" => None,
        case => Some(case.parse().map_err(|_| Problem::not_found("there is no case with this id"))?),
    };
    let listed = match case {
        Some(case) => console.store().audit_of(case, &page).await,
        None => console.store().audit(&page).await,
    };
    let listed = listed.map_err(failed(&id))?;
    let newest = console.store().audit(&Page { after: None, limit: 1 }).await.map_err(failed(&id))?;
    let last = newest.items.first().map(|(seq, _)| *seq);
    let chained = engine::chained(console.store()).await.map_err(failed(&id))?;
    let lag = chained.waits_since.map(|at| console.now().duration_since(at));
    let chain = Chain { to: chained.to, last: last.unwrap_or(0), lag };
    let names = console.names(&id).await?;
    let eye = Eye { now: console.now(), me: None, names: &names };
    let view = AuditView::of(&listed.items, chain, (listed.next.as_deref(), &asked.get("after")), case, eye);
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
        counted: Some(counted(&console)),
        unready: console.unheld().await.map_err(failed(&id))?.iter().map(unheld).collect(),
    };
    asked.show(&OverviewPage { shell: &shell, view: &OverviewView::of(&facts, now) })
}

/// A policy that waits for somebody.
fn unheld((policy, group): &(String, String)) -> (String, String) {
    (format!("Policy {policy}"), format!("nobody who may approve is in group:{group}."))
}

/// What this process counted, as far as it is its work.
fn counted(console: &Console) -> CountedFacts {
    let (now, telemetry, configured) = (console.now(), console.telemetry(), console.configured());
    let ago =
        |ago: Duration| SignedDuration::try_from(ago).ok().and_then(|ago| now.checked_sub(ago).ok()).unwrap_or(now);
    let (calls, throttled) = telemetry.throttling();
    let lines = throttled.iter().map(|one| (one.operation.to_owned(), one.calls, ago(one.last))).collect();
    CountedFacts {
        since: ago(telemetry.counting_for()),
        sources: configured.receives.then(|| sources(console, &ago)),
        calls: configured.works.then_some((calls, lines)),
    }
}

/// Configured sources, what came to none of them, and collections that are polled here.
fn sources(console: &Console, ago: &dyn Fn(Duration) -> jiff::Timestamp) -> Vec<SourceFacts> {
    let mut counts = console.telemetry().deliveries();
    let told = |facts: SourceFacts, found: Option<Deliveries>| {
        let found = found.unwrap_or_default();
        let newest_was_refused = match (found.turned_away, found.heard) {
            (Some((refused, why)), heard) if why != "replay" => {
                heard.is_none_or(|heard| refused < heard).then_some(why)
            }
            _ => None,
        };
        SourceFacts {
            last: found.heard.map(ago),
            accepted: found.accepted,
            refused: found.refused.iter().map(|(why, count)| ((*why).to_owned(), *count)).collect(),
            problem: newest_was_refused
                .map(|why| format!("the newest delivery was refused: {}", why.replace('_', " "))),
            ..facts
        }
    };
    let mut all: Vec<SourceFacts> = Vec::new();
    for source in &console.configured().sources {
        let (name, kind, tenant) = (source.name.clone(), source.kind.clone(), source.tenant.clone());
        let found = counts.remove(&name);
        all.push(told(SourceFacts { name, kind, tenant, ..SourceFacts::default() }, found));
    }
    // What else is counted is no sender: refused sign-ins, messages of the broker.
    if let Some(found) = counts.remove("unknown") {
        let facts = SourceFacts { name: "unknown".into(), kind: "no such source".into(), ..SourceFacts::default() };
        all.push(SourceFacts { problem: None, ..told(facts, Some(found)) });
    }
    for poll in console.telemetry().polls() {
        all.push(SourceFacts {
            name: poll.collection.to_owned(),
            kind: "polled".into(),
            tenant: poll.tenant,
            last: poll.heard.map(ago),
            accepted: poll.succeeded,
            refused: if poll.failed > 0 { vec![("failed".into(), poll.failed)] } else { Vec::new() },
            problem: poll.failing.then(|| "the last read failed; it is tried again".to_owned()),
        });
    }
    all
}
