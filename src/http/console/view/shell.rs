//! The frame around every page: where one is, who one is, and what everybody must know (paused, shadow).

use jiff::Timestamp;

use super::markup::When;
use super::{paths, text, words};
use crate::domain::task::Role;
use crate::http::console::assets;

/// A place in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Home,
    Tasks,
    Overview,
    Buried,
    Playbooks,
    Audit,
    Settings,
    /// Signed out, or lost.
    None,
}

/// The signed-in reviewer, as the header shows them.
#[derive(Debug, Clone)]
pub struct Who {
    pub name: String,
    pub role: Role,
}

/// Everything stands still.
#[derive(Debug, Clone)]
pub struct Paused {
    pub by: String,
    pub reason: Option<String>,
    pub since: When,
}

/// One entry of the navigation.
#[derive(Debug, Clone)]
pub struct Entry {
    pub href: &'static str,
    pub text: &'static str,
    pub here: bool,
    /// Shown beside it where it is not 0.
    pub count: u64,
    /// What is counted, for screen readers.
    pub counted: &'static str,
}

/// The frame.
#[derive(Debug, Clone)]
pub struct Shell {
    pub section: Section,
    /// `None`: nobody is signed in, and there is no navigation.
    pub who: Option<Who>,
    /// Empty where nobody is signed in.
    pub csrf: String,
    pub paused: Option<Paused>,
    /// Configured `mode: shadow`.
    pub shadow: bool,
    /// The simulated tenant of `oust demo`.
    pub demo: bool,
    pub tasks: u64,
    pub buried: u64,
    pub now: Timestamp,
    /// The server's version, in the foot.
    pub version: &'static str,
}

impl Shell {
    /// The frame of a page that needs no sign-in.
    pub fn outside(now: Timestamp) -> Self {
        Self {
            section: Section::None,
            who: None,
            csrf: String::new(),
            paused: None,
            shadow: false,
            demo: false,
            tasks: 0,
            buried: 0,
            now,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// The frame of a signed-in reviewer's page.
    pub fn of(section: Section, name: &str, role: Role, csrf: &str, now: Timestamp) -> Self {
        let who = Some(Who { name: text::cut(name, 40), role });
        Self { section, who, csrf: csrf.to_owned(), ..Self::outside(now) }
    }

    /// Everything stands still: said on every page.
    pub fn paused(mut self, by: &str, reason: Option<&str>, since: Timestamp) -> Self {
        let since = When::new(since, self.now);
        self.paused = Some(Paused { by: text::line(by), reason: text::some(reason.map(words::unstopped)), since });
        self
    }

    /// The navigation, in order of need.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |section, href, text| Entry { href, text, here: self.section == section, count: 0, counted: "" };
        let mut entries = vec![
            entry(Section::Home, paths::HOME, "At risk"),
            entry(Section::Tasks, paths::TASKS, "Tasks"),
            entry(Section::Overview, paths::OVERVIEW, "Overview"),
            entry(Section::Buried, paths::BURIED, "Buried"),
            entry(Section::Playbooks, paths::PLAYBOOKS, "Playbooks"),
            entry(Section::Audit, paths::AUDIT, "Audit"),
            entry(Section::Settings, paths::SETTINGS, "Settings"),
        ];
        (entries[1].count, entries[1].counted) = (self.tasks, "open");
        (entries[3].count, entries[3].counted) = (self.buried, "waiting");
        entries
    }

    /// Where an asset is.
    pub fn asset(&self, name: &str) -> String {
        assets::url(name)
    }

    /// May decide and act.
    pub fn may_act(&self) -> bool {
        self.who.as_ref().is_some_and(|who| who.role >= Role::Approver)
    }

    /// When the page was made.
    pub fn rendered(&self) -> When {
        When::new(self.now, self.now)
    }

    /// The event stream.
    pub fn events(&self) -> &'static str {
        paths::EVENTS
    }
}
