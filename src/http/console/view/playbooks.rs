//! Playbooks: which there are, what each would do drawn as phases, its source, its last runs.

use super::markup::{Tag, Tone, When};
use super::{Eye, paths, text, words};
use crate::domain::plan::{EffectClass, OnFailure, Phase, Plan, Step};
use crate::store::RunRow;

/// One line of a playbook.
#[derive(Debug, Clone)]
pub struct StepCard {
    pub title: String,
    pub verb: String,
    pub class: Tag,
    /// Who must say yes, or that nobody must.
    pub gate: Option<String>,
    pub when: Option<String>,
    pub parameters: Vec<(String, String)>,
    pub on_failure: Option<&'static str>,
    /// The engine put it there, not the file (law 3).
    pub appended: Option<String>,
    pub reveals: bool,
}

impl StepCard {
    fn of(step: &Step) -> Self {
        let title = words::action(&step.action);
        let named = step.id.0 != step.action && step.follows.is_none();
        Self {
            title: if named { format!("{title} ({})", words::plain(&step.id.0)) } else { title },
            verb: text::cut(&step.action, 80),
            class: match step.class {
                EffectClass::Read => Tag::new("Reads", Tone::Plain),
                EffectClass::Soft => Tag::new("Soft", Tone::Info),
                EffectClass::Hard => Tag::new("Hard", Tone::Warn),
            },
            gate: match (&step.approval, step.unattended) {
                (Some(policy), _) => Some(format!("Approval: {}", text::cut(policy, 60))),
                (None, true) => Some("Unattended".to_owned()),
                (None, false) => None,
            },
            when: text::some(step.when.as_deref()),
            parameters: words::parameters(&step.with),
            on_failure: step.on_failure_written.then_some(match step.on_failure {
                OnFailure::Stop => "stops the run if it fails",
                OnFailure::Continue => "goes on if it fails",
                OnFailure::Escalate => "pages if it fails, and keeps trying",
            }),
            appended: step.follows.as_ref().map(|step| format!("Added by oust after {}", words::plain(&step.0))),
            reveals: step.reveals,
        }
    }
}

/// A phase, as a column.
#[derive(Debug, Clone)]
pub struct PhaseCard {
    pub name: &'static str,
    pub says: &'static str,
    pub steps: Vec<StepCard>,
}

/// One run, for the list of the last ones.
#[derive(Debug, Clone)]
pub struct RunCard {
    pub case_href: String,
    pub opened: When,
    pub state: String,
    pub shadow: bool,
    pub took: Option<String>,
    /// It ran another version than the one shown: its hash, cut, and where that is.
    pub other: Option<(String, String)>,
}

/// The text of a playbook, and where it is from.
#[derive(Debug, Clone, Copy)]
pub enum Written<'a> {
    /// As it stands in the folder.
    Folder { file: &'a str, text: &'a str },
    /// Came with the build; no folder is configured.
    Shipped(&'a str),
    /// What runs are pinned to: comments and layout are not kept.
    Pinned(&'a str),
}

/// Open runs of a version that this process would not start.
#[derive(Debug, Clone)]
pub struct Differing {
    pub text: String,
    pub href: String,
}

impl Differing {
    /// `known`: the folder has a playbook of this name, but another version of it.
    pub fn of(name: &str, hash: &str, count: u64, known: bool) -> Self {
        let runs = words::count(count, "open run", "open runs");
        let what = if known { "another version than the one here" } else { "not among the playbooks here" };
        Self {
            text: text::line(&format!("{name}, {}: {runs}, {what}", short(hash))),
            href: paths::playbook_version(name, hash),
        }
    }
}

fn short(hash: &str) -> String {
    text::cut(hash, 12).trim_end_matches('…').to_owned()
}

/// One playbook.
#[derive(Debug, Clone)]
pub struct PlaybookCard {
    pub name: String,
    pub href: String,
    pub version: u32,
    /// The first 12 digits of its hash.
    pub hash: String,
    pub description: String,
    pub attack: Vec<String>,
    pub kinds: String,
    pub when: Option<String>,
    pub phases: Vec<PhaseCard>,
    pub notify: Vec<(String, String)>,
    pub runs: Vec<RunCard>,
    pub source: Option<String>,
    /// Where the source is from, in a sentence.
    pub source_says: String,
    /// Shown as runs are pinned to it: not what this process would start now.
    pub pinned: bool,
}

impl PlaybookCard {
    /// A plan with its hash, its text where that is at hand, and its last runs.
    pub fn of(plan: &Plan, hash: &str, source: Option<Written<'_>>, runs: &[RunRow], eye: Eye<'_>) -> Self {
        let (source, source_says) = match source {
            None => (None, String::new()),
            Some(Written::Folder { file, text }) => {
                let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
                (Some(text), format!("As it stands in the folder, {}.", text::line(name)))
            }
            Some(Written::Shipped(text)) => {
                (Some(text), "It came with this build: no folder is configured for this process.".to_owned())
            }
            Some(Written::Pinned(text)) => {
                let says = "The normalised text that runs are pinned to; comments and layout are not kept.";
                (Some(text), says.to_owned())
            }
        };
        let pinned = source_says.starts_with("The normalised");
        let kinds: Vec<String> = plan.signals.iter().map(|kind| words::kind(kind.word())).collect();
        Self {
            name: text::line(&plan.name),
            href: paths::playbook(&plan.name),
            version: plan.version,
            hash: short(hash),
            description: text::line(&plan.description),
            attack: plan.attack.iter().take(20).map(|id| text::cut(id, 20)).collect(),
            kinds: words::sentence(&kinds),
            when: text::some(plan.when.as_deref()),
            phases: phases(plan),
            notify: plan
                .notify
                .iter()
                .take(10)
                .map(|(event, to)| (words::plain(event), text::line(&to.join(", "))))
                .collect(),
            runs: runs.iter().take(20).map(|run| run_card(run, hash, eye)).collect(),
            source: source.map(text::code),
            source_says,
            pinned,
        }
    }
}

fn phases(plan: &Plan) -> Vec<PhaseCard> {
    let phase =
        |phase: Phase, name, says| PhaseCard { name, says, steps: plan.phase(phase).map(StepCard::of).collect() };
    let all = [
        phase(Phase::Contain, "Contain", "at once, waits for nothing"),
        phase(Phase::Collect, "Collect", "in parallel, 20 s at most"),
        phase(Phase::Eradicate, "Eradicate", "after collecting"),
        phase(Phase::Recover, "Recover", "after people decided"),
    ];
    all.into_iter().filter(|phase| !phase.steps.is_empty()).collect()
}

fn run_card(run: &RunRow, hash: &str, eye: Eye<'_>) -> RunCard {
    RunCard {
        case_href: paths::case(run.case),
        opened: When::new(run.opened_at, eye.now),
        state: words::capital(&words::plain(&run.state)),
        shadow: run.mode == crate::domain::run::Mode::Shadow,
        other: (run.plan != hash).then(|| (short(&run.plan), paths::playbook_version(&run.playbook, &run.plan))),
        took: run.closed_at.map(|closed| words::span(closed.duration_since(run.opened_at))),
    }
}

/// The list, or one of it.
#[derive(Debug, Clone, Default)]
pub struct PlaybooksView {
    pub rows: Vec<PlaybookCard>,
    /// Set on the page of one playbook.
    pub one: Option<PlaybookCard>,
    /// The folder does not load as it is: the last valid set works on; the diagnostics.
    pub broken: Option<String>,
    /// What runs now and differs from what this process would start.
    pub differing: Vec<Differing>,
}

impl PlaybooksView {
    /// Folder diagnostics as text, cut.
    pub fn broken(mut self, diagnostics: &str) -> Self {
        self.broken = Some(text::block(diagnostics));
        self
    }
}

super::page!(
    /// Playbooks.
    PlaybooksPage, PlaybooksView, "playbooks.html"
);
