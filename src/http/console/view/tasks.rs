//! The queue: what waits for a human, most urgent first.

use super::evidence::Known;
use super::markup::{Left, Tag, Tone, When};
use super::person::PersonCard;
use super::task::{Choices, RevealStage, TaskView};
use super::{Eye, paths, words};
use crate::domain::task::{Kind, State, Task};

/// One task in the queue.
#[derive(Debug, Clone)]
pub struct TaskLine {
    pub id: String,
    pub href: String,
    pub kind: &'static str,
    pub title: String,
    pub person: PersonCard,
    /// Nobody is meant: a release.
    pub about_nobody: bool,
    pub state: Tag,
    pub left: Option<Left>,
    pub left_word: &'static str,
    pub created: When,
    pub tally: String,
    /// `id/revision/digest` where it may be decided here; reveals are decided on their own page.
    pub pick: Option<String>,
    /// Why it cannot be picked.
    pub why_not: Option<String>,
    pub shadow: bool,
    /// The reviewer's own password waits here.
    pub mine_waits: bool,
    /// Mine first, then as the store orders them.
    urgency: (bool, i64),
}

impl TaskLine {
    /// A row as this reviewer sees it.
    pub fn of(task: &Task, known: &Known, eye: Eye<'_>) -> Self {
        let view = TaskView::of(task, known.clone(), None, eye);
        let deadline = next_deadline(&view);
        let mine = view.reveal.as_ref().filter(|reveal| reveal.mine).map(|reveal| reveal.stage);
        let mine_waits = mine == Some(RevealStage::Sealed)
            || (mine == Some(RevealStage::Waiting) && matches!(task.state, State::Approved { .. }));
        let bulk = matches!(task.kind, Kind::Approval | Kind::Undecided) && task.state.is_undecided();
        let (pick, why_not) = pick(task, &view, bulk);
        Self {
            id: view.id,
            href: paths::task(task.id),
            kind: view.kind,
            title: view.title,
            about_nobody: task.identity.is_none() && task.kind == Kind::Release,
            person: view.person,
            state: match mine {
                Some(RevealStage::Sealed) => Tag::new("Your password waits", Tone::Bad),
                Some(RevealStage::Waiting) if mine_waits => Tag::new("Open this page to continue", Tone::Bad),
                _ => view.state,
            },
            left: deadline.map(|(left, _)| left),
            left_word: deadline.map_or("", |(_, word)| word),
            created: view.created,
            tally: if task.kind == Kind::Manual { String::new() } else { view.tally.approvals },
            pick,
            why_not,
            shadow: task.shadow,
            mine_waits,
            urgency: (!mine_waits, task.urgency()),
        }
    }
}

/// The next clock that ends something.
fn next_deadline(view: &TaskView) -> Option<(Left, &'static str)> {
    let clocks = &view.clocks;
    let clock = |clock: &Option<(When, Left)>, word| clock.map(|(_, left)| (left, word));
    clock(&clocks.reveal, "to pass it on")
        .or_else(|| clock(&clocks.execute, "to execute"))
        .or_else(|| clock(&clocks.decide, "to decide"))
}

fn pick(task: &Task, view: &TaskView, bulk: bool) -> (Option<String>, Option<String>) {
    let Choices { approve, .. } = view.choices;
    if !bulk {
        return (None, None);
    }
    if task.reveals() {
        return (None, Some("Decided on its own page: it reveals a password.".to_owned()));
    }
    match approve {
        true => (Some(format!("{}/{}/{}", task.id, task.revision, task.digest())), None),
        false => (None, view.choices.why_not.clone()),
    }
}

/// Which tasks are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shown {
    #[default]
    Open,
    All,
}

/// The page.
#[derive(Debug, Clone)]
pub struct TasksView {
    pub rows: Vec<TaskLine>,
    pub shown: Shown,
    pub next: Option<String>,
    pub first: Option<String>,
    pub bulk: &'static str,
    /// Something can be picked.
    pub pickable: bool,
}

impl TasksView {
    /// Open ones come by urgency from the store, and one's own lead on their page; all come newest first. `next` and
    /// `after` are cursors.
    pub fn of(mut rows: Vec<TaskLine>, shown: Shown, next: Option<&str>, after: &str) -> Self {
        if shown == Shown::Open {
            rows.sort_by_key(|row| row.urgency);
        }
        let all = if shown == Shown::All { "show=all&" } else { "" };
        Self {
            pickable: rows.iter().any(|row| row.pick.is_some()),
            rows,
            shown,
            next: next.map(|after| format!("{}?{all}after={}", paths::TASKS, paths::segment(after))),
            first: (!after.is_empty()).then(|| format!("{}?{all}", paths::TASKS)),
            bulk: paths::BULK,
        }
    }

    /// How many, in words.
    pub fn count(&self) -> String {
        words::count(self.rows.len() as u64, "task", "tasks")
    }

    /// How they are ordered, for screen readers.
    pub fn order(&self) -> &'static str {
        if self.shows_all() { "newest first" } else { "most urgent first" }
    }

    /// Closed ones are listed too.
    pub fn shows_all(&self) -> bool {
        self.shown == Shown::All
    }
}

super::page!(
    /// Tasks.
    TasksPage, TasksView, "tasks.html"
);
