//! Evidence: what signals said and reads found, gathered for the human who decides (facts: sentinel §5.5).
//!
//! It is shown as it came, cut and cleaned; what could not be read is said, not left out.

mod cut;
mod places;
mod reads;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::markup::{Tag, When};
use super::story::{self, RunFacts};
use super::{text, words};
use crate::domain::signal::{Place, Signal};
use crate::domain::task::Snapshot;
use crate::store::CaseRow;

pub use cut::Cut;
pub use places::{PlaceLine, Travel};
pub use reads::{Detection, Finding, Method, Rule, SignIn, Unread};

/// At most this many of anything on a page.
const MOST: usize = 25;
/// A snapshot holds at most so many signals, the newest.
const SNAPSHOT: usize = 200;

/// One detection, as its source told it.
#[derive(Debug, Clone)]
pub struct SignalLine {
    pub id: String,
    pub kind: String,
    pub title: String,
    pub risk: Tag,
    pub source: String,
    pub received: When,
    /// When it happened.
    pub activity: When,
    /// From the activity to our receipt: Microsoft's and the sender's time, not ours.
    pub lag: String,
    /// What became of it, e.g. `act`, `covered`.
    pub outcome: String,
    pub reason: Option<String>,
    /// The provider's ids.
    pub refs: Vec<(String, String)>,
    /// Came after the snapshot that a decision is bound to.
    pub newer: bool,
}

/// Everything known about a person's case. Rows of the store in, lines for pages out.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// As a payload named the person, where the directory was not read.
    pub upn: Option<String>,
    /// What `read_user` found.
    pub user: Option<Value>,
    /// All of them, newest first; a page shows the first.
    pub signals: Vec<SignalLine>,
    /// Places and times of activity, oldest first; the oldest are left out.
    pub places: Cut<PlaceLine>,
    /// From one place to the other: of one signal, else of the sign-ins that were read.
    pub travel: Option<Travel>,
    pub ips: Cut<String>,
    pub devices: Cut<String>,
    pub user_agents: Cut<String>,
    /// Anything else a source told, by its own name.
    pub other: Cut<(String, String)>,
    pub sign_ins: Cut<SignIn>,
    /// What the sign-ins say about the addresses in the signals.
    pub findings: Vec<Finding>,
    pub methods: Cut<Method>,
    pub rules: Cut<Rule>,
    /// How many inbox rules there are in all; `None` when they were not read.
    pub rules_read: Option<usize>,
    pub detections: Cut<Detection>,
    pub risk_now: Option<String>,
    pub unread: Vec<Unread>,
    /// Instants at which a revoke was accepted, oldest first.
    pub revokes: Vec<Timestamp>,
    /// When the first signal was received.
    pub first_received: Option<Timestamp>,
    pub latest_activity: Option<Timestamp>,
    /// What the signal of the latest activity tells of it.
    pub latest: Option<Latest>,
    pub password_changed: Option<When>,
}

/// The latest activity, of one signal.
#[derive(Debug, Clone)]
pub struct Latest {
    pub at: Timestamp,
    /// `Lagos, NG`, where a source told one.
    pub place: Option<String>,
    pub ip: Option<String>,
}

impl Known {
    /// Gathers what a case's signals (as `Store::signals_of` gives them) and runs tell.
    pub fn of(signals: &[Value], runs: &[RunFacts<'_>], now: Timestamp) -> Self {
        let read: Vec<(Signal, &Value)> = signals.iter().filter_map(signal).collect();
        let mut known = Self::default();
        let ips = known.take_signals(&read, now);
        let stories: Vec<_> = runs.iter().flat_map(story::steps).collect();
        let reads = reads::Reads::of(&stories);
        let suspects = suspects(ips, &read);
        let since = known.latest_activity;
        known.travel = known.travel.or_else(|| reads.travel(&suspects, since));
        known.sign_ins = reads.sign_ins(&suspects, now);
        known.findings = reads.findings(&suspects, since);
        known.methods = reads.methods(since, now);
        (known.rules, known.rules_read) = reads.rules();
        (known.risk_now, known.detections) = reads.risk(now);
        known.unread = reads.unread();
        known.user = reads.user().cloned();
        known.password_changed = reads.password_changed().map(|at| When::new(at, now));
        known.revokes = reads::revokes(&stories);
        known
    }

    /// With the names that the case's row keeps, for lists that read no runs.
    pub fn named_by(mut self, case: &CaseRow) -> Self {
        let user = case.detail.get("user").filter(|user| user.is_object());
        self.user = self.user.or_else(|| user.cloned());
        self
    }

    /// Marks what came after the evidence that a decision is bound to.
    pub fn as_of(mut self, snapshot: &Snapshot) -> Self {
        let held: BTreeSet<&str> = snapshot.items.iter().map(|item| item.id.as_str()).collect();
        let oldest = self.signals.iter().filter(|line| held.contains(line.id.as_str()));
        let oldest: Vec<Timestamp> = oldest.map(|line| line.received.at).collect();
        // What a full snapshot leaves out is older, not newer.
        let since = oldest.iter().min().filter(|_| oldest.len() >= SNAPSHOT);
        for line in &mut self.signals {
            line.newer = !held.contains(line.id.as_str()) && since.is_none_or(|since| line.received.at >= *since);
        }
        self
    }

    /// The signals that a page shows.
    pub fn shown(&self) -> &[SignalLine] {
        &self.signals[..self.signals.len().min(MOST)]
    }

    /// How many it leaves out.
    pub fn unshown(&self) -> usize {
        self.signals.len().saturating_sub(MOST)
    }

    /// Takes in what the signals tell; every address in them comes back.
    fn take_signals(&mut self, read: &[(Signal, &Value)], now: Timestamp) -> BTreeSet<String> {
        let (mut ips, mut devices, mut agents) = (Set::default(), Set::default(), Set::default());
        let mut other: BTreeMap<String, String> = BTreeMap::new();
        let mut places: Vec<&Place> = Vec::new();
        for (signal, row) in read {
            let evidence = &signal.finding.evidence;
            places.extend(&evidence.places);
            ips.extend(evidence.places.iter().filter_map(|place| place.ip.as_deref()));
            ips.extend(evidence.ips.iter().map(String::as_str));
            devices.extend(evidence.devices.iter().map(String::as_str));
            agents.extend(evidence.user_agents.iter().map(String::as_str));
            for (key, value) in &evidence.other {
                other.entry(words::plain(key)).or_insert_with(|| text::line(value));
            }
            let upn = || signal.finding.subject.upn.as_ref().map(|upn| text::line(upn.as_str()));
            self.upn = self.upn.take().or_else(upn);
            self.first_received = self.first_received.into_iter().chain([signal.received_at]).min();
            self.latest_activity = self.latest_activity.into_iter().chain([signal.activity()]).max();
            let newer =
                |known: &Latest| (known.at, known.place.is_some()) < (signal.activity(), !evidence.places.is_empty());
            if self.latest.as_ref().is_none_or(newer) {
                self.latest = Some(latest(signal));
            }
            self.signals.push(line_of(signal, row, now));
        }
        self.signals.sort_by_key(|line| std::cmp::Reverse(line.received.at));
        self.travel = read.iter().find_map(|(signal, _)| Travel::of(&signal.finding.evidence.places));
        self.places = places::lines(&places, now);
        let Set(told, all) = ips;
        self.ips = Cut::of(told, MOST);
        (self.devices, self.user_agents) = (Cut::of(devices.0, MOST), Cut::of(agents.0, MOST));
        self.other = Cut::of(other.into_iter().collect(), MOST);
        all
    }

    /// Nothing was told beyond the detections themselves.
    pub fn is_bare(&self) -> bool {
        self.places.is_empty() && self.sign_ins.is_empty() && self.ips.is_empty() && self.methods.is_empty()
    }

    /// How many signals came after the snapshot.
    pub fn newer(&self) -> usize {
        self.signals.iter().filter(|line| line.newer).count()
    }

    /// The whole of what was told beside places: address, device, browser.
    pub fn has_traces(&self) -> bool {
        !(self.ips.is_empty() && self.devices.is_empty() && self.user_agents.is_empty() && self.other.is_empty())
    }
}

/// The addresses in the signals, each with the first time it is told with.
fn suspects(ips: BTreeSet<String>, read: &[(Signal, &Value)]) -> reads::Suspects {
    let mut suspects: reads::Suspects = ips.into_iter().map(|ip| (ip, None)).collect();
    for place in read.iter().flat_map(|(signal, _)| &signal.finding.evidence.places) {
        if let Some(first) = place.ip.as_deref().and_then(|ip| suspects.get_mut(&text::line(ip))) {
            *first = first.iter().copied().chain(place.at).min();
        }
    }
    suspects
}

/// Lines in order of appearance, each once.
#[derive(Default)]
struct Set(Vec<String>, BTreeSet<String>);

impl Set {
    fn extend<'a>(&mut self, items: impl Iterator<Item = &'a str>) {
        for item in items.map(text::line) {
            if !item.is_empty() && self.1.insert(item.clone()) {
                self.0.push(item);
            }
        }
    }
}

fn latest(signal: &Signal) -> Latest {
    let evidence = &signal.finding.evidence;
    let place = evidence.places.iter().max_by_key(|place| place.at);
    let ip = place.and_then(|place| place.ip.as_deref()).or_else(|| evidence.ips.first().map(String::as_str));
    Latest { at: signal.activity(), place: place.and_then(places::named), ip: text::some(ip) }
}

/// The place in a row or a sign-in: `Lagos, NG`; nothing where neither is told.
pub(super) fn place_in(row: &Value) -> Option<String> {
    let parts = ["city", "country"].into_iter().filter_map(|key| text::some(row.get(key).and_then(Value::as_str)));
    Some(parts.collect::<Vec<_>>().join(", ")).filter(|place| !place.is_empty())
}

/// The signal in a stored row, which holds it beside its outcome.
fn signal(row: &Value) -> Option<(Signal, &Value)> {
    let signal = row.get("signal").unwrap_or(row);
    Some((serde_json::from_value(signal.clone()).ok()?, row))
}

fn line_of(signal: &Signal, row: &Value, now: Timestamp) -> SignalLine {
    let outcome = |key: &str| row.pointer(key).and_then(Value::as_str);
    let finding = &signal.finding;
    let mut refs: Vec<_> =
        finding.refs.iter().take(6).map(|(key, value)| (words::plain(key), text::line(value))).collect();
    if words::kind(finding.kind.word()).to_lowercase() != words::plain(&finding.raw_kind).to_lowercase() {
        refs.insert(0, ("named by the source".to_owned(), text::line(&finding.raw_kind)));
    }
    SignalLine {
        id: signal.id.to_string(),
        kind: words::kind(finding.kind.word()),
        title: text::line(&finding.title),
        risk: words::risk(finding.risk.word()),
        source: text::cut(&signal.source, 60),
        received: When::new(signal.received_at, now),
        activity: When::new(signal.activity(), now),
        lag: words::span(signal.received_at.duration_since(signal.activity())),
        outcome: words::outcome(outcome("/outcome/word").unwrap_or("received")),
        reason: text::some(outcome("/outcome/reason").map(words::unstopped)),
        refs,
        newer: false,
    }
}
