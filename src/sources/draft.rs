//! A detection as a shape read it, before it is settled into findings: one per person, with the outcome.
//!
//! The rules of contract §6.4 that hold for every shape live here, once: another tenant, closed or our own deed,
//! too many people, nobody named, named by object id, named otherwise.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::Context;
use super::normalise::person::{People, Person, foreign_tenant};
use super::normalise::{content, cut, limits, names};
use crate::domain::signal::{Evidence, Lookup};
use crate::domain::{Finding, Kind, Outcome, Risk, Subject};

/// Why a detection that an administrator's confirmation made starts nothing (facts: sentinel §5.6).
pub(super) const OWN_DEED: &str = "our own deed: an administrator confirmed the compromise";

/// A detection, read but not settled.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub shape: &'static str,
    pub kind: Option<Kind>,
    pub raw_kind: String,
    pub risk: Risk,
    pub title: Option<String>,
    /// The Entra tenant the detection says it is of.
    pub tenant: Option<Uuid>,
    pub activity_at: Option<Timestamp>,
    pub detected_at: Option<Timestamp>,
    pub refs: BTreeMap<String, String>,
    pub evidence: Evidence,
    /// What makes two deliveries of it the same (hashed).
    pub about: Value,
    /// Why it starts nothing.
    pub closed: Option<String>,
    pub people: People,
    /// What to do when nobody is named.
    pub nobody: Outcome,
}

impl Draft {
    /// An empty draft of a shape.
    pub fn new(shape: &'static str) -> Self {
        Self {
            shape,
            kind: None,
            raw_kind: String::new(),
            risk: Risk::Unknown,
            title: None,
            tenant: None,
            activity_at: None,
            detected_at: None,
            refs: BTreeMap::new(),
            evidence: Evidence::default(),
            about: Value::Null,
            closed: None,
            people: People::default(),
            nobody: Outcome::Held { reason: "names nobody".to_owned() },
        }
    }

    /// Takes the kind and its spelling from the first known of several names.
    pub fn named<'a>(mut self, candidates: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let (kind, raw) = names::pick(candidates);
        self.kind = kind;
        self.raw_kind = cut(raw, limits::TITLE);
        if kind == Some(Kind::AdminConfirmed) {
            self.closed = Some(OWN_DEED.to_owned());
        }
        self
    }

    /// Notes a reference of the provider's.
    pub fn refer(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.refs.insert(name.to_owned(), value);
        }
    }

    /// Sets what to hold it for when nobody is named; accounts left out are said.
    pub fn hold_if_nobody(&mut self, reason: &str) {
        self.nobody = Outcome::Held { reason: reason.to_owned() };
    }

    fn finding(&self, subject: Subject, activity_at: Option<Timestamp>, outcome: Outcome, base: &str) -> Finding {
        let kind = self.kind.unwrap_or(Kind::Other);
        let title = self.title.as_deref().map(|title| cut(title, limits::TITLE)).filter(|title| !title.is_empty());
        Finding {
            kind,
            raw_kind: self.raw_kind.clone(),
            risk: self.risk,
            title: title.unwrap_or_else(|| match self.kind {
                Some(kind) => names::title(kind).to_owned(),
                None if self.raw_kind.is_empty() => names::title(Kind::Other).to_owned(),
                None => self.raw_kind.clone(),
            }),
            shape: self.shape.to_owned(),
            activity_at: activity_at.or(self.activity_at),
            detected_at: self.detected_at,
            refs: self.refs.clone(),
            evidence: self.evidence.clone(),
            content: content::of_person(base, &subject),
            subject,
            outcome,
        }
    }

    fn outcome_of(&self, person: &Person, ctx: &Context) -> Outcome {
        let foreign = foreign_tenant(self.tenant, ctx.entra_tenant_id)
            .or_else(|| foreign_tenant(person.tenant, ctx.entra_tenant_id));
        match (foreign, &self.closed) {
            (Some(reason), _) => Outcome::Held { reason },
            (None, Some(reason)) => Outcome::Ignored { reason: reason.clone() },
            (None, None) if person.subject.known_object_id().is_some() => Outcome::Act,
            (None, None) => Outcome::Lookup { what: Lookup::Person },
        }
    }

    fn settle_nobody(&self, ctx: &Context) -> Outcome {
        if let Some(reason) = foreign_tenant(self.tenant, ctx.entra_tenant_id) {
            return Outcome::Held { reason };
        }
        if let Some(reason) = &self.closed {
            return Outcome::Ignored { reason: reason.clone() };
        }
        match &self.nobody {
            Outcome::Held { reason } if !self.people.dropped().is_empty() => {
                Outcome::Held { reason: cut(&format!("{reason} (left out: {})", self.people.dropped()), limits::TEXT) }
            }
            other => other.clone(),
        }
    }

    /// Settles one detection. `seen` counts the distinct people of the delivery.
    fn settle(mut self, ctx: &Context, seen: &mut People) -> Vec<Finding> {
        if self.people.list().len() > limits::EVIDENCE {
            // What a crowd shares says little about each of them, and every one would carry a copy.
            let Evidence { places, ips, .. } = std::mem::take(&mut self.evidence);
            self.evidence = Evidence { places, ips, ..Evidence::default() };
        }
        let base = content::base(&self.about);
        let alone = |outcome| vec![self.finding(Subject::default(), None, outcome, &base)];
        if self.people.is_empty() {
            return alone(self.settle_nobody(ctx));
        }
        let outcomes: Vec<Outcome> = self.people.list().iter().map(|person| self.outcome_of(person, ctx)).collect();
        let starts = outcomes.iter().any(|outcome| !matches!(outcome, Outcome::Ignored { .. }));
        if self.people.is_overflowing() || (starts && !seen.has_room_for(&self.people)) {
            let reason = format!("names more than {} people in one delivery", limits::PEOPLE);
            return alone(if starts { Outcome::Held { reason } } else { self.settle_nobody(ctx) });
        }
        if starts {
            seen.join_all(&self.people);
        }
        let people = self.people.list().iter().zip(outcomes);
        people
            .map(|(person, outcome)| self.finding(person.subject.clone(), person.activity_at, outcome, &base))
            .collect()
    }
}

/// Settles the detections of one delivery into findings.
pub(super) fn settle(drafts: Vec<Draft>, ctx: &Context) -> Vec<Finding> {
    let mut seen = People::default();
    drafts.into_iter().flat_map(|draft| draft.settle(ctx, &mut seen)).collect()
}

/// A tenant claim that is a GUID; anything else is no claim.
pub(super) fn tenant(text: Option<&str>) -> Option<Uuid> {
    text.and_then(|text| Uuid::try_parse(text).ok()).filter(|id| !id.is_nil())
}
