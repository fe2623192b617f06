//! Buried: deliveries and runs set aside with a reason. Nothing is lost; each can be replayed or dropped.

use serde_json::Value;

use super::markup::{Tag, Tone, When};
use super::{Eye, paths, text, words};
use crate::store::{Buried, BuriedState, Settled};

/// One row.
#[derive(Debug, Clone)]
pub struct BuriedLine {
    pub id: String,
    pub href: String,
    pub at: When,
    pub source: String,
    pub tenant: Option<String>,
    pub reason: String,
    pub state: Tag,
    pub settled: Option<SettledLine>,
    pub open: bool,
    pub settle: String,
}

/// Who replayed or dropped it, when and why.
#[derive(Debug, Clone)]
pub struct SettledLine {
    pub by: String,
    pub at: When,
    pub reason: Option<String>,
}

impl SettledLine {
    fn of(settled: &Settled, eye: Eye<'_>) -> Self {
        Self {
            by: eye.names.actor(&settled.by),
            at: When::new(settled.at, eye.now),
            reason: text::some(Some(&settled.reason)),
        }
    }
}

impl BuriedLine {
    /// A row of the list.
    pub fn of(row: &Buried, eye: Eye<'_>) -> Self {
        Self {
            id: row.id.to_string(),
            href: paths::buried(row.id),
            at: When::new(row.at, eye.now),
            source: text::cut(&row.source, 60),
            tenant: row.tenant.as_ref().map(ToString::to_string),
            reason: text::line(&row.reason),
            state: match row.state {
                BuriedState::Buried => Tag::new("Buried", Tone::Warn),
                BuriedState::Replayed => Tag::new("Replayed", Tone::Good),
                BuriedState::Dropped => Tag::new("Dropped", Tone::Plain),
            },
            settled: row.settled.as_ref().map(|settled| SettledLine::of(settled, eye)),
            open: row.state == BuriedState::Buried,
            settle: paths::settle_buried(row.id),
        }
    }
}

/// One row with what was set aside.
#[derive(Debug, Clone)]
pub struct BuriedDetail {
    pub line: BuriedLine,
    pub delivery: Option<String>,
    /// The first part of it.
    pub content: String,
    /// How much more there is, in characters.
    pub more: usize,
}

/// Characters of content on the page; the API has all of it.
const SHOWN: usize = 12_000;

impl BuriedDetail {
    /// A row with its content.
    pub fn of(row: &Buried, eye: Eye<'_>) -> Self {
        let whole = match &row.content {
            Value::String(body) => body.clone(),
            Value::Null => String::new(),
            other => serde_json::to_string_pretty(other).unwrap_or_default(),
        };
        let clean = |c: &char| *c == '\n' || !c.is_control();
        let content: String = whole.chars().take(SHOWN).filter(clean).collect();
        let more = whole.chars().count().saturating_sub(SHOWN);
        Self { line: BuriedLine::of(row, eye), delivery: row.delivery.map(|id| id.to_string()), content, more }
    }
}

/// The list, or one row of it.
#[derive(Debug, Clone)]
pub struct BuriedView {
    pub rows: Vec<BuriedLine>,
    /// Set on the page of one row.
    pub one: Option<BuriedDetail>,
    pub open_only: bool,
    pub next: Option<String>,
    pub first: Option<String>,
    pub may_act: bool,
}

impl BuriedView {
    /// A page of the list.
    pub fn of(rows: Vec<BuriedLine>, open_only: bool, next: Option<&str>, after: &str, may_act: bool) -> Self {
        let show = if open_only { "" } else { "show=all&" };
        Self {
            rows,
            one: None,
            open_only,
            next: next.map(|after| format!("{}?{show}after={}", paths::BURIED, paths::segment(after))),
            first: (!after.is_empty()).then(|| format!("{}?{show}", paths::BURIED)),
            may_act,
        }
    }

    /// One row.
    pub fn one(detail: BuriedDetail, may_act: bool) -> Self {
        Self { one: Some(detail), ..Self::of(Vec::new(), true, None, "", may_act) }
    }

    /// How many, in words.
    pub fn count(&self) -> String {
        words::count(self.rows.len() as u64, "row", "rows")
    }
}

super::page!(
    /// Buried.
    BuriedPage, BuriedView, "buried.html"
);
