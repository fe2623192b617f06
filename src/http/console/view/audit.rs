//! The audit trail, newest first, and how far it is chained and signed.

use jiff::{SignedDuration, Timestamp};

use super::markup::{Tone, When};
use super::{Eye, Names, paths, text, words};
use crate::domain::CaseId;
use crate::store::Audit;

/// One record.
#[derive(Debug, Clone)]
pub struct AuditLine {
    pub seq: u64,
    pub at: When,
    pub actor: String,
    pub verb: String,
    pub tone: Tone,
    pub tenant: Option<String>,
    pub object_id: Option<String>,
    pub case: Option<(String, String)>,
    pub detail: Vec<(String, String)>,
}

impl AuditLine {
    /// A record of the store.
    pub fn of(seq: u64, line: &Audit, names: &Names, now: Timestamp) -> Self {
        let alarming = ["refused", "failed", "unknown", "denied"].iter().any(|word| line.verb.contains(word));
        let mut detail = words::parameters(&line.detail);
        if detail.is_empty() && !line.detail.is_null() && !line.detail.is_object() {
            detail.push(("detail".to_owned(), words::brief(&line.detail)));
        }
        Self {
            seq,
            at: When::new(line.at, now),
            actor: names.actor(&line.actor),
            verb: text::cut(&line.verb, 80),
            tone: if alarming { Tone::Warn } else { Tone::Plain },
            tenant: line.tenant.as_ref().map(ToString::to_string),
            object_id: line.object_id.map(|id| id.to_string()),
            case: line.case.map(|case| (paths::case(case), short(&case.to_string()))),
            detail,
        }
    }
}

/// The last eight characters: ids of one day begin alike.
fn short(id: &str) -> String {
    let tail: Vec<char> = id.chars().rev().take(8).collect();
    format!("case …{}", tail.iter().rev().collect::<String>())
}

/// How far the chain reaches.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    /// The last record that is chained; `None`: nothing is chained yet.
    pub to: Option<u64>,
    /// The last record there is.
    pub last: u64,
    /// Age of the oldest record that is not chained.
    pub lag: Option<SignedDuration>,
}

impl Chain {
    /// In a sentence.
    pub fn says(&self) -> String {
        match (self.to, self.lag) {
            (None, None) => "The records are not chained yet.".to_owned(),
            (None, Some(lag)) => format!("No record is chained yet, {} behind.", words::span(lag)),
            (Some(to), _) if to >= self.last => format!("Chained up to the last record ({to})."),
            (Some(to), Some(lag)) => {
                format!("Chained up to record {to}, {} behind.", words::span(lag))
            }
            (Some(to), None) => format!("Chained up to record {to} of {}.", self.last),
        }
    }

    /// Behind by more than it should be.
    pub fn is_late(&self) -> bool {
        self.lag.is_some_and(|lag| lag > SignedDuration::from_secs(5))
    }
}

/// The page.
#[derive(Debug, Clone)]
pub struct AuditView {
    pub rows: Vec<AuditLine>,
    pub chain: Chain,
    pub next: Option<String>,
    pub first: Option<String>,
    /// Only this case's records: where it is.
    pub case: Option<String>,
}

impl AuditView {
    /// A page of the trail, or of one case's part of it; `next` and `after` are cursors.
    pub fn of(
        rows: &[(u64, Audit)],
        chain: Chain,
        (next, after): (Option<&str>, &str),
        case: Option<CaseId>,
        eye: Eye<'_>,
    ) -> Self {
        let (here, sep) = match case {
            Some(case) => (paths::audit_of(case), '&'),
            None => (paths::AUDIT.to_owned(), '?'),
        };
        Self {
            rows: rows.iter().map(|(seq, line)| AuditLine::of(*seq, line, eye.names, eye.now)).collect(),
            chain,
            next: next.map(|after| format!("{here}{sep}after={}", paths::segment(after))),
            first: (!after.is_empty()).then_some(here),
            case: case.map(paths::case),
        }
    }
}

super::page!(
    /// Audit.
    AuditPage, AuditView, "audit.html"
);
