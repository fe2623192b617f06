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
#[derive(Debug, Clone, Default)]
pub struct SourceFacts {
    pub name: String,
    pub kind: String,
    pub tenant: String,
    pub last: Option<Timestamp>,
    pub accepted: u64,
    /// By reason.
    pub refused: Vec<(String, u64)>,
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
    /// `bad signature: 3`.
    pub reasons: Vec<String>,
    pub problem: Option<String>,
}

impl SourceLine {
    /// As a row.
    pub fn of(facts: &SourceFacts, now: Timestamp) -> Self {
        let state = match facts {
            SourceFacts { problem: Some(_), .. } => Tag::new("Failing", Tone::Bad),
            SourceFacts { last: None, .. } => Tag::new("Not heard from", Tone::Plain),
            _ => Tag::new("Well", Tone::Good),
        };
        let reasons = facts.refused.iter().take(12).map(|(why, count)| format!("{}: {count}", words::plain(why)));
        Self {
            name: text::cut(&facts.name, 60),
            kind: words::plain(&facts.kind),
            tenant: text::cut(&facts.tenant, 64),
            state,
            last: facts.last.map(|at| When::new(at, now)),
            accepted: facts.accepted,
            refused: facts.refused.iter().map(|(_, count)| count).sum(),
            reasons: reasons.collect(),
            problem: text::some(facts.problem.as_deref()),
        }
    }
}

/// Calls of one kind that Microsoft refused with 429.
#[derive(Debug, Clone)]
pub struct ThrottleLine {
    pub operation: String,
    pub refused: u64,
    pub last: When,
}

/// An operation, how many of its calls were throttled, when last.
pub type ThrottleFacts = (String, u64, Timestamp);

/// What this process counted itself.
#[derive(Debug, Clone)]
pub struct CountedFacts {
    pub since: Timestamp,
    /// Deliveries come in here; absent where they come in elsewhere.
    pub sources: Option<Vec<SourceFacts>>,
    /// Calls to Microsoft, and of those the throttled: operation, how many, when last. Absent where others call.
    pub calls: Option<(u64, Vec<ThrottleFacts>)>,
}

/// Everything the page is made of.
#[derive(Debug, Clone, Default)]
pub struct OverviewFacts {
    pub figures: Figures,
    /// From receipt to accepted revoke, of the last 24 hours.
    pub revokes: Vec<SignedDuration>,
    /// From the activity to our receipt, of the same signals.
    pub lags: Vec<SignedDuration>,
    pub counted: Option<CountedFacts>,
    /// Parts that are not ready, with what is wrong.
    pub unready: Vec<(String, String)>,
}

/// Throttling as a section.
#[derive(Debug, Clone)]
pub struct Throttling {
    pub calls: u64,
    pub lines: Vec<ThrottleLine>,
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
    /// Since when this process counts; `None`: it counts nothing of what follows.
    pub since: Option<When>,
    pub sources: Option<Vec<SourceLine>>,
    pub throttling: Option<Throttling>,
    pub unready: Vec<(String, String)>,
}

impl OverviewView {
    /// From facts to words.
    pub fn of(facts: &OverviewFacts, now: Timestamp) -> Self {
        let mut lags = facts.lags.clone();
        lags.sort_unstable();
        let lag = histogram::at(&lags, 50).zip(histogram::at(&lags, 99));
        let counted = facts.counted.as_ref();
        let sources = counted.and_then(|counted| counted.sources.as_ref());
        let calls = counted.and_then(|counted| counted.calls.as_ref());
        Self {
            figures: figures(&facts.figures, now),
            tasks: facts.figures.tasks_open.iter().map(|(kind, n)| (words::task_kind(kind).to_owned(), *n)).collect(),
            oldest_task: facts.figures.tasks_oldest.map(|at| When::new(at, now)),
            revokes: Histogram::of(&facts.revokes),
            lag: lag.map(|(p50, p99)| (words::span(p50), words::span(p99))),
            since: counted.map(|counted| When::new(counted.since, now)),
            sources: sources
                .map(|sources| sources.iter().take(200).map(|source| SourceLine::of(source, now)).collect()),
            throttling: calls.map(|(calls, lines)| Throttling {
                calls: *calls,
                lines: lines.iter().take(50).map(|line| throttled(line, now)).collect(),
            }),
            unready: facts.unready.iter().map(|(what, why)| (text::cut(what, 60), text::line(why))).collect(),
        }
    }
}

fn throttled((operation, refused, last): &ThrottleFacts, now: Timestamp) -> ThrottleLine {
    ThrottleLine { operation: words::capital(&words::plain(operation)), refused: *refused, last: When::new(*last, now) }
}

fn figures(figures: &Figures, now: Timestamp) -> Vec<Figure> {
    let alarm = |count: u64, tone| if count > 0 { tone } else { Tone::Plain };
    let oldest = |at: Option<Timestamp>| match at {
        Some(at) => format!("oldest {}", words::span(now.duration_since(at))),
        None => "none waits".to_owned(),
    };
    let tasks: u64 = figures.tasks_open.iter().map(|(_, count)| count).sum();
    let unchanged = figures.cases_in("password_unchanged");
    let figure =
        |name, count: u64, says: String, tone, href| Figure { name, value: count.to_string(), says, tone, href };
    vec![
        figure("Open cases", figures.cases_open, "people at risk".to_owned(), Tone::Plain, Some(paths::HOME)),
        figure(
            "Password unchanged",
            unchanged,
            "contained, and the old password still works".to_owned(),
            alarm(unchanged, Tone::Warn),
            Some(paths::PASSWORD_UNCHANGED),
        ),
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
