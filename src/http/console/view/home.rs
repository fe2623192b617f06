//! Identities at risk: the cases, newest first as the store pages them, with why and how far.

use jiff::Timestamp;

use super::evidence::{Known, place_in};
use super::exposure::{Exposure, instant, needs_release};
use super::markup::{Left, Tag, When};
use super::person::PersonCard;
use super::{paths, text, words};
use crate::domain::signal::{Kind, Risk};
use crate::domain::task::Task;
use crate::store::CaseRow;

/// What was asked for, as the form shows it again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HomeFilter {
    /// Name, UPN, object id or address.
    pub q: String,
    /// `open`, `closed`, `all`, or a case's state.
    pub state: String,
    pub tenant: String,
    pub kind: String,
    pub risk: String,
    pub after: String,
}

impl HomeFilter {
    /// Something narrows the list.
    pub fn is_set(&self) -> bool {
        !(self.q.is_empty() && self.tenant.is_empty() && self.kind.is_empty() && self.risk.is_empty())
            || !(self.state.is_empty() || self.state == "open")
    }

    /// The same question, from another row on.
    fn url(&self, after: &str) -> String {
        let pairs = [
            ("q", self.q.as_str()),
            ("state", &self.state),
            ("tenant", &self.tenant),
            ("kind", &self.kind),
            ("risk", &self.risk),
            ("after", after),
        ];
        let query: Vec<String> = pairs
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| format!("{key}={}", paths::segment(value)))
            .collect();
        if query.is_empty() { paths::HOME.to_owned() } else { format!("{}?{}", paths::HOME, query.join("&")) }
    }

    /// True when a row fits; what the store's own filter cannot ask. `state` empty or `open` means: not closed.
    pub fn admits(&self, case: &CaseRow, known: &Known) -> bool {
        let state = match self.state.as_str() {
            "" | "open" => case.closed_at.is_none(),
            "all" => true,
            "closed" => case.closed_at.is_some(),
            // A guest is not contained either; the word only says why.
            "not_contained" => case.state.starts_with("not_contained"),
            word => case.state == word,
        };
        let or_any = |wanted: &str, is: bool| wanted.is_empty() || is;
        state
            && or_any(&self.tenant, case.identity.tenant.as_str() == self.tenant)
            && or_any(&self.kind, case.kinds.contains(&self.kind))
            && or_any(&self.risk, case.risk == self.risk)
            && or_any(&self.q, found(&self.q, case, known))
    }
}

fn found(q: &str, case: &CaseRow, known: &Known) -> bool {
    let q = q.trim().to_lowercase();
    let known = &known.clone().named_by(case);
    let card = PersonCard::of(Some(&case.identity), known);
    let texts = [Some(card.name), card.upn, card.object_id, Some(case.id.to_string())];
    texts.into_iter().flatten().chain(known.ips.iter().cloned()).any(|text| text.to_lowercase().contains(&q))
}

/// One option of a select.
#[derive(Debug, Clone)]
pub struct Choice {
    pub value: String,
    pub text: String,
    pub chosen: bool,
}

fn choices<'a>(options: impl IntoIterator<Item = (&'a str, String)>, chosen: &str) -> Vec<Choice> {
    let choice = |(value, text): (&str, String)| Choice { value: value.to_owned(), text, chosen: value == chosen };
    options.into_iter().map(choice).collect()
}

/// The task to open from a case.
#[derive(Debug, Clone)]
pub struct OpenTask {
    pub href: String,
    pub title: String,
    pub state: Tag,
    pub left: Option<Left>,
}

impl OpenTask {
    /// The most urgent open one; `None` where nothing waits.
    pub fn of(tasks: &[Task], now: Timestamp) -> Option<Self> {
        let open = tasks.iter().filter(|task| !task.state.is_terminal());
        let task = open.min_by_key(|task| urgency(task))?;
        let left = task.decide_by().filter(|_| task.state.is_undecided());
        Some(Self {
            href: paths::task(task.id),
            title: text::cut(&super::task::title(task), 120),
            state: super::task::state_tag(task),
            left: left.map(|until| Left::new(until, now)),
        })
    }
}

/// What must be decided first is the least; what no clock ends comes after what one does.
pub(super) fn urgency(task: &Task) -> (bool, Timestamp) {
    (!task.state.is_undecided(), task.decide_by().unwrap_or(Timestamp::MAX))
}

/// One case in the list.
#[derive(Debug, Clone)]
pub struct CaseLine {
    pub id: String,
    pub href: String,
    pub person: PersonCard,
    pub kinds: String,
    /// The latest activity, with the place and address of it where a signal of it or a sign-in told them.
    pub place: Option<String>,
    pub ip: Option<String>,
    pub activity: Option<When>,
    pub signals: String,
    pub risk: Tag,
    pub exposure: Exposure,
    pub task: Option<OpenTask>,
    /// Nothing waits, though the case is open: why it is.
    pub idle: bool,
    pub received: When,
    pub shadow: bool,
    pub closed: Option<When>,
}

impl CaseLine {
    /// A row with what is known of its person and its tasks.
    pub fn of(case: &CaseRow, known: &Known, tasks: &[Task], now: Timestamp) -> Self {
        let known = &known.clone().named_by(case);
        let activity = instant(case, "latest_activity").into_iter().chain(known.latest_activity).max();
        // A list reads the newest signals of a case only: the latest activity need not be among them.
        let told = known.latest.as_ref().filter(|latest| Some(latest.at) >= activity);
        let sign_in = case.detail.get("place").filter(|place| place.is_object());
        let address = |place: &serde_json::Value| text::some(place.get("ip").and_then(serde_json::Value::as_str));
        let task = OpenTask::of(tasks, now);
        Self {
            id: case.id.to_string(),
            href: paths::case(case.id),
            person: PersonCard::of(Some(&case.identity), known),
            kinds: words::kinds(&case.kinds, 3),
            place: told.and_then(|told| told.place.clone()).or_else(|| sign_in.and_then(place_in)),
            ip: told.and_then(|told| told.ip.clone()).or_else(|| sign_in.and_then(address)),
            activity: activity.map(|at| When::new(at, now)),
            signals: words::count(u64::from(case.signals), "signal", "signals"),
            risk: words::risk(&case.risk),
            exposure: Exposure::of(case, Some(known), now),
            idle: task.is_none() && case.closed_at.is_none(),
            task,
            received: When::new(case.received_at, now),
            shadow: case.mode == crate::domain::run::Mode::Shadow,
            closed: case.closed_at.map(|at| When::new(at, now)),
        }
    }

    /// With the task that frees it, where it waits for one.
    pub fn released_by(mut self, case: &CaseRow, release: Option<&Task>, now: Timestamp) -> Self {
        if needs_release(case) {
            self.exposure = self.exposure.released_by(release);
            // Nothing else that waits is worth as much as the revoke.
            self.task = release.and_then(|task| OpenTask::of(std::slice::from_ref(task), now)).or(self.task);
            self.idle &= self.task.is_none();
        }
        self
    }
}

/// The page.
#[derive(Debug, Clone)]
pub struct HomeView {
    pub filter: HomeFilter,
    pub states: Vec<Choice>,
    pub tenants: Vec<Choice>,
    pub kinds: Vec<Choice>,
    pub risks: Vec<Choice>,
    pub rows: Vec<CaseLine>,
    pub next: Option<String>,
    /// Back to the first page.
    pub first: Option<String>,
    /// The page is not full though more cases follow: so many were looked at.
    pub looked_at: Option<usize>,
    /// No case was ever opened: the page explains how one would be.
    pub untouched: bool,
}

impl HomeView {
    /// `next`: the cursor after the last row. `tenants`: the configured names.
    pub fn of(
        filter: HomeFilter,
        rows: Vec<CaseLine>,
        next: Option<&str>,
        tenants: &[String],
        untouched: bool,
    ) -> Self {
        let states = [
            ("open", "Open"),
            ("not_contained", "Not contained"),
            ("parked", "Parked"),
            ("password_unchanged", "Password unchanged"),
            ("closed", "Closed"),
            ("all", "All"),
        ];
        let state = if filter.state.is_empty() { "open" } else { filter.state.as_str() };
        let any = |text: &str| [("", text.to_owned())];
        let tenants = tenants.iter().map(|name| (name.as_str(), text::line(name)));
        let kinds = Kind::ALL.iter().map(|kind| (kind.word(), words::kind(kind.word())));
        let risks = Risk::ALL.iter().map(|risk| (risk.word(), words::capital(risk.word())));
        Self {
            states: choices(states.map(|(value, text)| (value, text.to_owned())), state),
            tenants: choices(any("All tenants").into_iter().chain(tenants), &filter.tenant),
            kinds: choices(any("All kinds").into_iter().chain(kinds), &filter.kind),
            risks: choices(any("Any risk").into_iter().chain(risks), &filter.risk),
            next: next.map(|after| filter.url(after)),
            first: (!filter.after.is_empty()).then(|| filter.url("")),
            filter,
            rows,
            looked_at: None,
            untouched,
        }
    }
}

super::page!(
    /// Identities at risk.
    HomePage, HomeView, "home.html"
);
