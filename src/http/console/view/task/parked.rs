//! Whom a release would free: how many, why, and the first of them. Whoever decides it tells an attack from a bad rule by it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::super::evidence::{Cut, Known};
use super::super::markup::When;
use super::super::person::PersonCard;
use super::super::{paths, words};
use crate::domain::CaseId;
use crate::store::CaseRow;

/// People on a page.
const PEOPLE: usize = 25;
/// Detections and kinds on a page.
const GROUPS: usize = 8;

/// One of the people.
#[derive(Debug, Clone)]
pub struct ParkedLine {
    pub href: String,
    pub person: PersonCard,
    pub kinds: String,
    pub received: When,
}

/// Everybody who waits for a release.
#[derive(Debug, Clone)]
pub struct Parked {
    /// `412 people`, `more than 4000 people`.
    pub count: String,
    /// What was detected, and for how many of them.
    pub kinds: Cut<(String, String)>,
    /// What the newest signal of each is called by its source, and for how many of them.
    pub alerts: Cut<(String, String)>,
    /// Who waits longest first.
    pub people: Cut<ParkedLine>,
}

impl Parked {
    /// `cases`: oldest first, all of them unless `more` are there. `signals`: the newest of each.
    pub fn of(cases: &[CaseRow], more: bool, signals: &BTreeMap<CaseId, Vec<Value>>, now: Timestamp) -> Self {
        let count = words::count(cases.len() as u64, "person", "people");
        let people = |number: usize| words::count(number as u64, "person", "people");
        let ranked = |groups: BTreeMap<String, usize>| {
            let mut ranked: Vec<(String, usize)> = groups.into_iter().collect();
            ranked.sort_by(|(name, one), (other, two)| two.cmp(one).then_with(|| name.cmp(other)));
            Cut::of(ranked, GROUPS).map(|(name, number)| (name, people(number)))
        };
        let (mut kinds, mut alerts) = (BTreeMap::new(), BTreeMap::new());
        let mut lines = Vec::new();
        for case in cases {
            let of_case = signals.get(&case.id).map(Vec::as_slice).unwrap_or_default();
            let known = Known::of(of_case, &[], now).named_by(case);
            for kind in &case.kinds {
                *kinds.entry(words::kind(kind)).or_default() += 1;
            }
            if let Some(signal) = known.signals.first() {
                *alerts.entry(format!("{} ({})", signal.title, signal.source)).or_default() += 1;
            }
            lines.push(ParkedLine {
                href: paths::case(case.id),
                person: PersonCard::of(Some(&case.identity), &known),
                kinds: words::kinds(&case.kinds, 3),
                received: When::new(case.received_at, now),
            });
        }
        Self {
            count: if more { format!("more than {count}") } else { count },
            kinds: ranked(kinds),
            alerts: ranked(alerts),
            people: Cut::of(lines, PEOPLE),
        }
    }
}
