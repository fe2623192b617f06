//! What an incident says, whichever way it came, and who is meant by it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::super::arm::ArmIncident;
use super::super::{Context, Draft};
use crate::domain::signal::{Evidence, Lookup};
use crate::domain::{Kind, Outcome, Risk};
use crate::sources::draft::OWN_DEED;
use crate::sources::normalise::person::{People, Person};
use crate::sources::normalise::{clock, cut, evidence, limits, names, risk};

/// One alert of an incident.
#[derive(Debug, Clone)]
pub(in super::super) struct Part {
    pub kind: Option<Kind>,
    pub raw: String,
    pub risk: Risk,
    pub id: Option<String>,
    /// The alert's end; never the incident's.
    pub end: Option<Timestamp>,
    /// The alert's own people, where the source tells them apart.
    pub people: People,
    pub evidence: Evidence,
    /// Why this alert starts nothing.
    pub closed: Option<String>,
}

impl Part {
    pub fn new(kind: Option<Kind>, raw: String) -> Self {
        let own_deed = (kind == Some(Kind::AdminConfirmed)).then(|| OWN_DEED.to_owned());
        Self {
            kind,
            raw,
            risk: Risk::Unknown,
            id: None,
            end: None,
            people: People::default(),
            evidence: Evidence::default(),
            closed: own_deed,
        }
    }

    fn is_in_scope(&self) -> bool {
        self.kind.is_some()
    }
}

/// An incident.
#[derive(Debug, Clone)]
pub(in super::super) struct Story {
    pub shape: &'static str,
    pub id: Option<String>,
    pub title: String,
    pub risk: Risk,
    pub closed: Option<String>,
    pub created_at: Option<Timestamp>,
    pub last_activity_at: Option<Timestamp>,
    /// The accounts of the incident as a whole.
    pub accounts: People,
    pub evidence: Evidence,
    pub parts: Vec<Part>,
    pub refs: BTreeMap<String, String>,
    /// How missing entities can be asked for, or why they cannot.
    pub ask: Result<Lookup, String>,
}

/// How an incident's entities can be asked for: at Defender, or at ARM when the workspace is this source's.
pub(in super::super) fn ask(xdr: Option<String>, arm: Option<ArmIncident>, ctx: &Context) -> Result<Lookup, String> {
    match (xdr, arm) {
        (Some(incident), _) => Ok(Lookup::XdrIncident { incident }),
        (None, Some(arm)) if arm.is_allowed(&ctx.arm_allow) => Ok(Lookup::ArmIncident {
            arm_id: arm.path,
            subscription: arm.subscription.to_string(),
            workspace: arm.workspace,
        }),
        (None, Some(arm)) => Err(format!(
            "workspace {} of subscription {} is not in this source's list",
            arm.workspace, arm.subscription
        )),
        (None, None) => Err("its id is no incident id oust could ask about".to_owned()),
    }
}

impl Story {
    pub fn new(shape: &'static str) -> Self {
        Self {
            shape,
            id: None,
            title: String::new(),
            risk: Risk::Unknown,
            closed: None,
            created_at: None,
            last_activity_at: None,
            accounts: People::default(),
            evidence: Evidence::default(),
            parts: Vec::new(),
            refs: BTreeMap::new(),
            ask: Err("nobody was asked".to_owned()),
        }
    }

    /// Notes a reference of the provider's.
    pub fn refer(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.refs.insert(name.to_owned(), value);
        }
    }

    /// The detections of the incident: one per kind and, where alerts name their own people, per person.
    pub fn drafts(&self, ctx: &Context) -> Vec<Draft> {
        if self.closed.is_some() {
            let parts: Vec<&Part> = self.parts.iter().collect();
            return vec![Draft { people: self.accounts.clone(), ..self.draft(&parts, ctx) }];
        }
        let open: Vec<&Part> = self.parts.iter().filter(|part| part.closed.is_none()).collect();
        if open.is_empty() && !self.parts.is_empty() {
            return self.closed_parts(ctx);
        }
        let (scoped, strangers): (Vec<&Part>, Vec<&Part>) = open.iter().partition(|part| part.is_in_scope());
        let is_mixed = !scoped.is_empty() && !strangers.is_empty();
        let chosen = if scoped.is_empty() { strangers } else { scoped };
        if chosen.iter().any(|part| !part.people.is_empty()) {
            return self.by_part(&chosen, is_mixed, ctx);
        }
        if is_mixed && self.accounts.list().len() > 1 {
            return self.mixed(&chosen, ctx);
        }
        let whole = |parts: &[&Part]| Draft { people: self.accounts.clone(), ..self.draft(parts, ctx) };
        let drafts: Vec<Draft> = by_kind(&chosen).iter().map(|parts| whole(parts)).collect();
        if !self.accounts.is_empty() {
            return drafts;
        }
        self.asking(drafts, is_mixed)
    }

    /// Nobody is named: one question at Defender answers for the whole incident, one at ARM only names accounts, so
    /// it is asked for each kind.
    fn asking(&self, mut drafts: Vec<Draft>, is_mixed: bool) -> Vec<Draft> {
        if matches!(self.ask, Ok(Lookup::XdrIncident { .. })) {
            drafts.truncate(1);
        }
        for draft in &mut drafts {
            draft.people = People::default();
            draft.nobody = match &self.ask {
                Ok(what) => Outcome::Lookup { what: what.clone() },
                Err(why) => {
                    Outcome::Held { reason: cut(&format!("the incident names nobody, and {why}"), limits::TEXT) }
                }
            };
            if is_mixed {
                draft.refs.insert(MIXED.to_owned(), "mixed".to_owned());
            }
        }
        drafts
    }

    /// Kinds are mixed and several accounts named: only Defender knows whose alert is whose.
    fn mixed(&self, chosen: &[&Part], ctx: &Context) -> Vec<Draft> {
        let drafts = by_kind(chosen).iter().map(|parts| self.draft(parts, ctx)).collect();
        if matches!(self.ask, Ok(Lookup::XdrIncident { .. })) {
            return self.asking(drafts, true);
        }
        let held = |mut draft: Draft| {
            draft.hold_if_nobody(MIXED_REASON);
            draft
        };
        drafts.into_iter().map(held).collect()
    }

    /// Alerts that name their own people: one draft per kind and person.
    fn by_part(&self, chosen: &[&Part], is_mixed: bool, ctx: &Context) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for parts in by_kind(chosen) {
            let mut everybody = People::default();
            parts.iter().for_each(|part| everybody.join_all(&part.people));
            let nameless = parts.iter().any(|part| part.people.is_empty());
            if nameless && !is_mixed {
                everybody.join_all(&self.accounts);
            }
            for person in everybody.list() {
                let theirs: Vec<&Part> = parts.iter().copied().filter(|part| concerns(part, person)).collect();
                let mut draft = self.draft(if theirs.is_empty() { &parts } else { &theirs }, ctx);
                draft.people.join(person.clone());
                drafts.push(draft);
            }
            if everybody.is_empty() || everybody.is_overflowing() {
                let mut draft = self.draft(&parts, ctx);
                draft.people = everybody;
                draft.hold_if_nobody("the alerts of this kind name nobody");
                drafts.push(draft);
            }
        }
        drafts
    }

    fn closed_parts(&self, ctx: &Context) -> Vec<Draft> {
        let parts: Vec<&Part> = self.parts.iter().collect();
        let mut draft = self.draft(&parts, ctx);
        draft.closed = self.parts.iter().find_map(|part| part.closed.clone());
        draft.people = self.accounts.clone();
        parts.iter().for_each(|part| draft.people.join_all(&part.people));
        vec![draft]
    }

    /// A draft about some of the alerts (of one kind), naming nobody yet.
    fn draft(&self, parts: &[&Part], ctx: &Context) -> Draft {
        let mut draft = Draft::new(self.shape);
        let lead = parts.iter().copied().max_by_key(|part| (part.is_in_scope(), part.end));
        match lead {
            Some(part) => {
                draft.kind = part.kind;
                draft.raw_kind.clone_from(&part.raw);
            }
            // Titles of incidents are unstable: they name the kind only where there is no alert.
            None => draft = draft.named([Some(self.title.as_str())]),
        }
        if self.title.is_empty() {
            draft.title = draft.kind.map(|kind| names::title(kind).to_owned());
        } else {
            draft.title = Some(self.title.clone());
        }
        draft.closed = self.closed.clone().or(draft.closed);
        draft.risk = parts.iter().fold(Risk::Unknown, |level, part| risk::higher(level, part.risk));
        if draft.risk == Risk::Unknown {
            draft.risk = self.risk;
        }
        draft.detected_at = self.created_at;
        draft.activity_at = clock::latest(parts.iter().map(|part| part.end), ctx.now);
        if self.parts.iter().all(|part| part.end.is_none()) {
            draft.activity_at = self.last_activity_at;
        }
        draft.refs.clone_from(&self.refs);
        let ids: Vec<&str> = parts.iter().filter_map(|part| part.id.as_deref()).take(limits::EVIDENCE).collect();
        draft.refer("alerts", Some(cut(&ids.join(" "), limits::TEXT)));
        draft.evidence = self.evidence.clone();
        parts.iter().for_each(|part| evidence::merge(&mut draft.evidence, &part.evidence));
        let mut alerts: Vec<_> = parts.iter().map(|part| (part.id.clone(), part.end)).collect();
        alerts.sort();
        let kind = draft.kind.unwrap_or(Kind::Other);
        draft.about = json!({"incident": self.id, "kind": kind, "alerts": alerts});
        if alerts.is_empty() || self.id.is_none() {
            draft.about = json!({"incident": self.id, "kind": kind, "title": self.title, "alerts": alerts,
                "activity": self.last_activity_at, "created": self.created_at});
        }
        draft
    }
}

/// The reference that marks an incident of mixed kinds, for the answer that comes late.
pub(in super::super) const MIXED: &str = "scope";
/// What such an incident is held for.
pub(in super::super) const MIXED_REASON: &str =
    "the incident mixes kinds and names several accounts: which of them the in-scope alerts are about is not said";

fn concerns(part: &Part, person: &Person) -> bool {
    part.people.is_empty() || part.people.list().iter().any(|known| known.is_same(person))
}

/// Alerts grouped by kind, in order of appearance; no alert at all is one empty group.
fn by_kind<'a>(parts: &[&'a Part]) -> Vec<Vec<&'a Part>> {
    let mut groups: Vec<(Option<Kind>, Vec<&Part>)> = Vec::new();
    for part in parts {
        match groups.iter_mut().find(|(kind, _)| *kind == part.kind) {
            Some((_, group)) => group.push(part),
            None => groups.push((part.kind, vec![part])),
        }
    }
    if groups.is_empty() {
        groups.push((None, Vec::new()));
    }
    groups.into_iter().map(|(_, group)| group).collect()
}
