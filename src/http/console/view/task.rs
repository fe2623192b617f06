//! One task: what exactly will be done to whom, the evidence, who said what, and what happens next.

mod by_hand;
mod held;
mod next;
mod parked;
mod parts;
mod reveal;

use jiff::Timestamp;

use super::evidence::Known;
use super::markup::{Left, Tag, Tone, When};
use super::person::PersonCard;
use super::{Eye, orders, paths, text, words};
use crate::domain::task::{Kind, Progress, State, Task};

pub use by_hand::ByHand;
pub use held::{Held, follows_revoke, is_due};
pub use next::Choices;
pub use parked::{Parked, ParkedLine};
pub use parts::{Clocks, Deed, Tally, VoteLine};
pub use reveal::{Reveal, RevealStage};

/// A task's title in words: approvals are named after what they would do.
pub fn title(task: &Task) -> String {
    let actions: Vec<String> = task.rows.iter().map(|row| words::action(&row.action)).collect();
    match task.kind {
        Kind::Approval if !actions.is_empty() => text::line(&words::sentence(&actions)),
        Kind::Order => ordered(task, |id| id.to_owned()),
        _ => text::line(&task.title),
    }
}

/// What was asked for by hand, and by whom.
fn ordered(task: &Task, name: impl Fn(&str) -> String) -> String {
    match &task.ordered {
        Some(ordered) => text::line(&format!("{}: asked by {}", orders::title(&ordered.order), name(&ordered.by))),
        None => text::line(&task.title),
    }
}

/// The page.
#[derive(Debug, Clone)]
pub struct TaskView {
    pub id: String,
    pub kind: &'static str,
    pub word: &'static str,
    pub title: String,
    pub person: PersonCard,
    pub case: Option<String>,
    pub state: Tag,
    /// How it stands, in a sentence: who, when, what.
    pub status: String,
    pub status_at: Option<When>,
    pub deeds: Vec<Deed>,
    /// By hand, or what could not be decided: lines.
    pub instructions: Vec<String>,
    pub known: Known,
    /// A release: whom it frees.
    pub parked: Option<Parked>,
    pub snapshot: u32,
    pub snapshot_at: When,
    pub newer: Option<String>,
    pub tally: Tally,
    pub clocks: Clocks,
    pub choices: Choices,
    /// What saying yes means, step by step.
    pub after: Vec<String>,
    pub reveal: Option<Reveal>,
    /// Approved, and held back by a guard.
    pub held: Option<Held>,
    /// Approved, and not executed yet: a guard may hold it back.
    due: bool,
    pub shadow: bool,
    pub playbook: Option<String>,
    pub playbook_href: Option<String>,
    pub requester: Option<String>,
    pub created: When,
    /// What kind of account it is, as far as it was read: part of what is decided.
    pub target: Option<String>,
    pub revision: u64,
    pub digest: String,
    /// `None`: nobody was told; the escalation clock runs all the same.
    pub notified: Option<String>,
}

impl TaskView {
    /// A task as this reviewer sees it. `notified`: who was told, as the notifications' audit lines say.
    pub fn of(task: &Task, known: Known, notified: Option<&str>, eye: Eye<'_>) -> Self {
        let known = known.as_of(&task.snapshot);
        let person = PersonCard::of(task.identity.as_ref(), &known);
        let newer = u64::from(task.newer).max(known.newer() as u64);
        let (status, status_at) = status(task, eye);
        let choices = Choices::of(task, eye);
        Self {
            id: task.id.to_string(),
            kind: words::task_kind(task.kind.word()),
            word: task.kind.word(),
            title: if task.kind == Kind::Order { ordered(task, |id| eye.names.of(id)) } else { title(task) },
            case: task.case.map(paths::case),
            state: state_tag(task),
            status,
            status_at,
            deeds: task.rows.iter().map(|row| Deed::of(row, &person.name, eye.now)).collect(),
            instructions: instructions(task, eye),
            snapshot: task.snapshot.number,
            snapshot_at: When::new(task.snapshot.taken_at, eye.now),
            newer: (newer > 0).then(|| words::count(newer, "newer item", "newer items")),
            tally: Tally::of(task, eye),
            clocks: Clocks::of(task, eye.now),
            after: next::what_follows(task, &person.name, choices.approve),
            choices,
            parked: None,
            reveal: Reveal::of(task, eye),
            held: None,
            due: is_due(task),
            shadow: task.shadow,
            playbook: task.playbook.as_ref().map(|p| text::line(&format!("{} version {}", p.name, p.version))),
            playbook_href: task.playbook.as_ref().map(|p| paths::playbook(&p.name)),
            requester: task.requester.as_ref().map(|person| eye.names.of(&person.id)),
            created: When::new(task.created_at, eye.now),
            target: task.target.as_ref().map(ToString::to_string),
            revision: task.revision,
            digest: task.digest().to_string(),
            notified: text::some(notified),
            person,
            known,
        }
    }

    /// Instructions to follow, rather than an effect to allow.
    pub fn is_manual(&self) -> bool {
        self.word == "manual"
    }

    /// A row's progress says something: a decision was made.
    pub fn shows_progress(&self) -> bool {
        !self.tally.votes.is_empty() && !matches!(self.state.text.as_ref(), "Waits for a decision" | "Escalated")
    }

    /// The topics whose events concern this page.
    pub fn topics(&self) -> String {
        // Whom a release frees changes with the cases, not with the task.
        let more = if self.word == "release" { " cases" } else { "" };
        let pause = if self.due { " status" } else { "" };
        format!("task:{}{more}{pause}", self.id)
    }
}

/// What to do or why it waits, with people called by their names.
fn instructions(task: &Task, eye: Eye<'_>) -> Vec<String> {
    let told = task.instructions.as_deref().unwrap_or_default();
    let named = task.ordered.as_ref().map(|ordered| {
        let by = |who: &str| format!("Asked for by {who}");
        told.replacen(&by(&ordered.by), &by(&eye.names.of(&ordered.by)), 1)
    });
    text::block(named.as_deref().unwrap_or(told)).lines().map(str::to_owned).collect()
}

/// Something of what was approved was left out.
fn is_partial(task: &Task) -> bool {
    matches!(task.state, State::Executed { .. })
        && task.rows.iter().any(|row| matches!(row.progress, Progress::Skipped { .. }))
}

/// A shadow task that was decided is never executed; the word must not promise it.
pub(super) fn state_tag(task: &Task) -> Tag {
    match (&task.state, task.shadow) {
        (State::Pending | State::Escalated { .. }, _) if task.kind == Kind::Manual => {
            Tag::new("To be done", Tone::Info)
        }
        (State::Approved { .. }, true) => Tag::new("Approved for practice", Tone::Plain),
        _ if is_partial(task) => Tag::new("Partly done", Tone::Warn),
        (state, _) => words::task_state(state.word()),
    }
}

/// What happened last, told to whoever opens it.
fn status(task: &Task, eye: Eye<'_>) -> (String, Option<When>) {
    let when = |at: &Timestamp| Some(When::new(*at, eye.now));
    let by = |ids: &[String]| eye.names.list(ids);
    let because = |reason: &str| text::line(reason);
    match &task.state {
        State::Pending if task.kind == Kind::Manual => ("Nobody has reported it done yet.".to_owned(), None),
        State::Pending => (parts::so_far(task).unwrap_or("Nobody has decided yet.".to_owned()), None),
        State::Escalated { at } => {
            let to = task.policy.escalate.as_ref().map(|escalation| escalation.to.join(", ")).unwrap_or_default();
            let so_far = parts::so_far(task).map(|so_far| format!("{so_far} ")).unwrap_or_default();
            let who = if so_far.is_empty() { "Nobody" } else { "Not enough of them" };
            (format!("{so_far}{who} decided in time, so {} were asked too.", text::line(&to)), when(at))
        }
        State::Approved { at, by: ids, .. } if task.shadow => {
            (format!("{} approved it in shadow mode: nothing of it is ever executed.", by(ids)), when(at))
        }
        State::Approved { at, by: ids, .. } => (format!("{} approved it. It is not executed yet.", by(ids)), when(at)),
        State::Denied { at, by: ids, reason } => {
            let why = reason.as_deref().map(|reason| format!(": {}", because(reason))).unwrap_or_default();
            (format!("{} denied it{why}", by(ids)), when(at))
        }
        State::Expired { at } => {
            ("Nobody decided in time. Nothing was done; the case stays open.".to_owned(), when(at))
        }
        State::Cancelled { at, by, reason } => {
            (format!("Cancelled by {}: {}", eye.names.actor(by), because(reason)), when(at))
        }
        State::Revoked { at, by: ids, reason } => {
            (format!("{} took the approval back before it was executed: {}", by(ids), because(reason)), when(at))
        }
        State::Lapsed { at } => ("It was approved, but not executed in time. Nothing was done.".to_owned(), when(at)),
        State::Claimed { at, step, .. } => {
            (format!("{} is being executed now.", words::action(action_of(task, step))), when(at))
        }
        State::Executed { at, by: ids } if task.kind == Kind::Manual => {
            let said = task.note.as_deref().map(|note| format!(": {}", text::line(note))).unwrap_or_default();
            (format!("{} reported it done{said}", by(ids)), when(at))
        }
        State::Executed { at, by: ids } if is_partial(task) => {
            (format!("{} approved it. Not all of it was executed.", by(ids)), when(at))
        }
        State::Executed { at, by: ids } => (format!("Executed. Approved by {}.", by(ids)), when(at)),
        State::Failed { at, reason, may_retry } => {
            let next = if *may_retry {
                "It will be tried again under the same approval."
            } else {
                "It will not be tried again."
            };
            (format!("It failed: {}. {next}", because(reason).trim_end_matches('.')), when(at))
        }
        State::Unknown { at, step } => (
            format!(
                "{} was sent and no answer came. Whether it took effect is being verified.",
                words::action(action_of(task, step))
            ),
            when(at),
        ),
        State::Sealed { at, .. } => {
            ("The password is set and waits for the browser that approved.".to_owned(), when(at))
        }
        State::Revealed { at } => ("The password was passed on.".to_owned(), when(at)),
        State::RevealExpired { at } => (
            "The password is set, but nobody passed it on in time; it is gone. The person needs another reset."
                .to_owned(),
            when(at),
        ),
    }
}

fn action_of<'a>(task: &'a Task, step: &'a str) -> &'a str {
    task.rows.iter().find(|row| row.step == step).map_or(step, |row| row.action.as_str())
}

/// A row's word and colour.
fn progress(progress: &Progress) -> Tag {
    match progress {
        Progress::Waiting => Tag::new("Not executed", Tone::Plain),
        Progress::Claimed { .. } => Tag::new("Executing", Tone::Info),
        Progress::Executed { .. } => Tag::new("Executed", Tone::Good),
        Progress::Failed { may_retry: true, .. } => Tag::new("Failed, will be tried again", Tone::Warn),
        Progress::Failed { .. } => Tag::new("Failed", Tone::Bad),
        Progress::Unknown { .. } => Tag::new("Outcome unknown", Tone::Bad),
        Progress::Sealed { .. } => Tag::new("Executed, password waits", Tone::Warn),
        Progress::Revealed { .. } => Tag::new("Executed, password passed on", Tone::Good),
        Progress::RevealExpired { .. } => Tag::new("Executed, password lost", Tone::Bad),
        Progress::Skipped { .. } => Tag::new("Not executed", Tone::Plain),
    }
}

/// A deadline with what is left of it.
fn left(until: Option<Timestamp>, now: Timestamp) -> Option<(When, Left)> {
    until.map(|until| (When::new(until, now), Left::new(until, now)))
}

super::page!(
    /// Task.
    TaskPage, TaskView, "task.html"
);
