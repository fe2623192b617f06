//! Overview: how fast, how much waits, which sources and services are well. Numbers that we measured (law 12).

mod histogram;

use jiff::{SignedDuration, Timestamp};

use super::markup::{Tag, Tone, When};
use super::{paths, text, words};
use crate::store::Figures;

pub use histogram::{Bar, Histogram};

/// A number with its words.
#[derive(Debug, Clone)]
pub struct Figure {
    pub name: &'static str,
    pub value: String,
    pub says: String,
    pub tone: Tone,
    pub href: Option<&'static str>,
}

/// What is known of a source.
#[derive(Debug, Clone)]
pub struct SourceFacts {
    pub name: String,
    pub kind: String,
    pub tenant: String,
    pub last: Option<Timestamp>,
    pub accepted: u64,
    pub refused: u64,
    /// It should have been heard from by now.
    pub silent: bool,
    /// What is wrong, where something is.
    pub problem: Option<String>,
}

/// A source's line.
#[derive(Debug, Clone)]
pub struct SourceLine {
    pub name: String,
    pub kind: String,
    pub tenant: String,
    pub state: Tag,
    pub last: Option<When>,
    pub accepted: u64,
    pub refused: u64,
    pub problem: Option<String>,
}

impl SourceLine {
    /// As a row.
    pub fn of(facts: &SourceFacts, now: Timestamp) -> Self {
        let state = match facts {
            SourceFacts { problem: Some(_), .. } => Tag::new("Failing", Tone::Bad),
            SourceFacts { silent: true, .. } => Tag::new("Silent", Tone::Warn),
            SourceFacts { last: None, .. } => Tag::new("Never heard from", Tone::Warn),
            _ => Tag::new("Well", Tone::Good),
        };
        Self {
            name: text::cut(&facts.name, 60),
            kind: words::plain(&facts.kind),
            tenant: text::cut(&facts.tenant, 64),
            state,
            last: facts.last.map(|at| When::new(at, now)),
            accepted: facts.accepted,
            refused: facts.refused,
            problem: text::some(facts.problem.as_deref()),
        }
    }
}

/// Microsoft holds back part of a tenant's calls.
#[derive(Debug, Clone)]
pub struct ThrottleLine {
    pub tenant: String,
    pub workload: String,
    /// Refused with 429 in the last hour.
    pub refused: u64,
    pub until: Option<When>,
}

/// Everything the page is made of.
#[derive(Debug, Clone, Default)]
pub struct OverviewFacts {
    pub figures: Figures,
    /// From receipt to accepted revoke, of the last 24 hours.
    pub revokes: Vec<SignedDuration>,
    /// From the activity to our receipt, of the same signals.
    pub lags: Vec<SignedDuration>,
    pub sources: Vec<SourceFacts>,
    /// Tenant, workload, 429s in the last hour, until when.
    pub throttled: Vec<(String, String, u64, Option<Timestamp>)>,
    /// When the canary last came through; `None`: it never did.
    pub canary: Option<Timestamp>,
    /// The hop at which it was lost.
    pub canary_lost: Option<String>,
    /// Parts that are not ready, with what is wrong.
    pub unready: Vec<(String, String)>,
}

/// The page.
#[derive(Debug, Clone)]
pub struct OverviewView {
    pub figures: Vec<Figure>,
    pub tasks: Vec<(String, u64)>,
    pub oldest_task: Option<When>,
    pub revokes: Histogram,
    /// Median and 99th percentile of Microsoft's and the sender's time before us.
    pub lag: Option<(String, String)>,
    /// Sources, throttling and canary are measured here; otherwise nothing is said about them.
    pub measured: bool,
    pub sources: Vec<SourceLine>,
    pub throttled: Vec<ThrottleLine>,
    pub canary: Tag,
    pub canary_at: Option<When>,
    pub unready: Vec<(String, String)>,
}

/// The canary travels once a minute; two lost are a fact.
const CANARY: SignedDuration = SignedDuration::from_secs(150);

impl OverviewView {
    /// From facts to words.
    pub fn of(facts: &OverviewFacts, now: Timestamp) -> Self {
        let canary = match (&facts.canary_lost, facts.canary) {
            (Some(hop), _) => Tag::new(text::line(&format!("Lost at {hop}")), Tone::Bad),
            (None, None) => Tag::new("Not seen yet", Tone::Warn),
            (None, Some(at)) if now.duration_since(at) > CANARY => Tag::new("Late", Tone::Bad),
            (None, Some(_)) => Tag::new("Came through", Tone::Good),
        };
        let throttled = facts.throttled.iter().take(50).map(|(tenant, workload, refused, until)| ThrottleLine {
            tenant: text::cut(tenant, 64),
            workload: words::plain(workload),
            refused: *refused,
            until: until.map(|at| When::new(at, now)),
        });
        let mut lags = facts.lags.clone();
        lags.sort_unstable();
        let lag = histogram::at(&lags, 50).zip(histogram::at(&lags, 99));
        Self {
            figures: figures(&facts.figures, now),
            tasks: facts.figures.tasks_open.iter().map(|(kind, n)| (words::task_kind(kind).to_owned(), *n)).collect(),
            oldest_task: facts.figures.tasks_oldest.map(|at| When::new(at, now)),
            revokes: Histogram::of(&facts.revokes),
            lag: lag.map(|(p50, p99)| (words::span(p50), words::span(p99))),
            measured: true,
            sources: facts.sources.iter().take(200).map(|source| SourceLine::of(source, now)).collect(),
            throttled: throttled.collect(),
            canary,
            canary_at: facts.canary.map(|at| When::new(at, now)),
            unready: facts.unready.iter().map(|(what, why)| (text::cut(what, 60), text::line(why))).collect(),
        }
    }
}

fn figures(figures: &Figures, now: Timestamp) -> Vec<Figure> {
    let alarm = |count: u64, tone| if count > 0 { tone } else { Tone::Plain };
    let oldest = |at: Option<Timestamp>| match at {
        Some(at) => format!("oldest {}", words::span(now.duration_since(at))),
        None => "none waits".to_owned(),
    };
    let tasks: u64 = figures.tasks_open.iter().map(|(_, count)| count).sum();
    let figure =
        |name, count: u64, says: String, tone, href| Figure { name, value: count.to_string(), says, tone, href };
    vec![
        figure("Open cases", figures.cases_open, "people at risk".to_owned(), Tone::Plain, Some(paths::HOME)),
        figure("Tasks waiting", tasks, oldest(figures.tasks_oldest), alarm(tasks, Tone::Info), Some(paths::TASKS)),
        figure(
            "Outcome unknown",
            figures.effects_unknown,
            "effects to verify".to_owned(),
            alarm(figures.effects_unknown, Tone::Bad),
            None,
        ),
        figure("Parked", figures.parked, "held by a guard".to_owned(), alarm(figures.parked, Tone::Warn), None),
        figure("On the queue", figures.queue_depth, oldest(figures.queue_oldest), Tone::Plain, None),
        figure("To be named", figures.waiting, "signals without a person yet".to_owned(), Tone::Plain, None),
        figure(
            "Buried",
            figures.buried,
            "deliveries set aside".to_owned(),
            alarm(figures.buried, Tone::Warn),
            Some(paths::BURIED),
        ),
    ]
}

super::page!(
    /// Overview.
    OverviewPage, OverviewView, "overview.html"
);
