//! Settings: what is connected, who may decide, one's own passkeys, and the switch that stops everything.

use jiff::Timestamp;

use super::markup::{Tag, Tone, When};
use super::overview::{SourceFacts, SourceLine};
use super::{paths, text, words};
use crate::domain::task::Role;

/// A tenant, as configured.
#[derive(Debug, Clone)]
pub struct TenantLine {
    pub name: String,
    pub tenant_id: String,
    pub cloud: String,
    /// What it may do, and what is missing, as `oust check --online` found.
    pub state: Tag,
    pub problem: Option<String>,
}

impl TenantLine {
    /// A configured tenant and what is wrong with it.
    pub fn of(name: &str, tenant_id: &str, cloud: &str, problem: Option<&str>) -> Self {
        Self {
            name: text::cut(name, 64),
            tenant_id: text::cut(tenant_id, 40),
            cloud: words::plain(cloud),
            state: match problem {
                None => Tag::new("Connected", Tone::Good),
                Some(_) => Tag::new("Needs a look", Tone::Warn),
            },
            problem: text::some(problem),
        }
    }
}

/// A reviewer.
#[derive(Debug, Clone)]
pub struct ReviewerLine {
    pub name: String,
    pub id: String,
    pub roles: String,
    pub groups: String,
    pub linked: String,
    pub passkeys: u32,
    pub last_seen: Option<When>,
    pub state: Tag,
}

/// What is known of a reviewer.
#[derive(Debug, Clone)]
pub struct ReviewerFacts {
    pub id: String,
    pub name: String,
    pub roles: Vec<Role>,
    pub groups: Vec<String>,
    /// Object ids of their own directory accounts.
    pub linked: Vec<String>,
    pub passkeys: u32,
    pub last_seen: Option<Timestamp>,
    pub disabled: bool,
}

impl ReviewerLine {
    /// As a row.
    pub fn of(facts: &ReviewerFacts, now: Timestamp) -> Self {
        let roles: Vec<String> = facts.roles.iter().map(|role| role.word().to_owned()).collect();
        let groups: Vec<String> = facts.groups.iter().take(10).map(|group| text::cut(group, 60)).collect();
        let linked: Vec<String> = facts.linked.iter().take(5).map(|id| text::cut(id, 40)).collect();
        let decides = facts.roles.iter().any(|role| *role >= Role::Approver);
        Self {
            name: text::cut(&facts.name, 80),
            id: text::cut(&facts.id, 80),
            roles: words::and(&roles),
            groups: words::and(&groups),
            state: match (facts.disabled, decides && linked.is_empty()) {
                (true, _) => Tag::new("Disabled", Tone::Plain),
                // Without a linked account nobody can tell that an approver is the subject.
                (false, true) => Tag::new("No linked account", Tone::Warn),
                (false, false) => Tag::new("Active", Tone::Good),
            },
            linked: words::and(&linked),
            passkeys: facts.passkeys,
            last_seen: facts.last_seen.map(|at| When::new(at, now)),
        }
    }
}

/// One of one's own passkeys.
#[derive(Debug, Clone)]
pub struct PasskeyLine {
    pub credential: String,
    pub name: String,
    pub added: When,
    pub used: Option<When>,
    /// Kept by a provider's cloud, or bound to one device.
    pub synced: bool,
    /// The counter went backwards: it may have been copied.
    pub suspect: bool,
    /// The last one cannot be removed.
    pub removable: bool,
}

impl PasskeyLine {
    /// As a row; `others`: how many more there are.
    pub fn of(
        credential: &str,
        name: &str,
        added: Timestamp,
        used: Option<Timestamp>,
        others: usize,
        now: Timestamp,
    ) -> Self {
        Self {
            credential: credential.to_owned(),
            name: text::cut(name, 80),
            added: When::new(added, now),
            used: used.map(|at| When::new(at, now)),
            synced: false,
            suspect: false,
            removable: others > 0,
        }
    }
}

/// The page.
#[derive(Debug, Clone, Default)]
pub struct SettingsView {
    pub mode: String,
    pub public_url: Option<String>,
    pub tenants: Vec<TenantLine>,
    pub sources: Vec<SourceLine>,
    pub reviewers: Vec<ReviewerLine>,
    /// The signed-in reviewer's.
    pub passkeys: Vec<PasskeyLine>,
    /// Passkeys are how this installation signs in.
    pub passkeys_on: bool,
    pub oidc: Option<String>,
    pub break_glass: usize,
    pub break_glass_group: Option<String>,
    pub blast_radius: Option<String>,
    pub may_pause: bool,
}

impl SettingsView {
    /// Sources as rows.
    pub fn sources(mut self, sources: &[SourceFacts], now: Timestamp) -> Self {
        self.sources = sources.iter().map(|source| SourceLine::of(source, now)).collect();
        self
    }

    /// Where the pause switch goes.
    pub fn pause_url(&self) -> &'static str {
        paths::PAUSE
    }

    /// Where the resume switch goes.
    pub fn resume_url(&self) -> &'static str {
        paths::RESUME
    }
}

super::page!(
    /// Settings.
    SettingsPage, SettingsView, "settings.html"
);
