//! The pieces of a task's page: what would be done, who voted, which clocks run.

use jiff::Timestamp;

use super::super::markup::{Left, Tag, Tone, When};
use super::super::{Eye, text, words};
use crate::domain::task::{Class, Progress, Row, Task, Verdict};

/// One step that waits for the decision.
#[derive(Debug, Clone)]
pub struct Deed {
    pub step: String,
    pub action: String,
    /// Graph's own word, for those who know it.
    pub verb: String,
    /// What it does to this person.
    pub effect: String,
    pub class: Tag,
    pub parameters: Vec<(String, String)>,
    pub reveals: bool,
    pub progress: Tag,
    pub note: Option<String>,
    pub at: Option<When>,
    /// It was approved, and a person does it.
    pub by_hand: Option<super::ByHand>,
}

impl Deed {
    pub(super) fn of(row: &Row, who: &str, now: Timestamp) -> Self {
        let (note, at) = match &row.progress {
            Progress::Failed { at, reason, .. } => (text::some(Some(reason)), Some(*at)),
            Progress::Waiting => (None, None),
            Progress::Claimed { at, .. }
            | Progress::Executed { at }
            | Progress::Unknown { at, .. }
            | Progress::Sealed { at, .. }
            | Progress::Revealed { at }
            | Progress::RevealExpired { at }
            | Progress::Skipped { at } => (None, Some(*at)),
        };
        Self {
            step: text::cut(&row.step, 80),
            action: words::action(&row.action),
            verb: text::cut(&row.action, 80),
            effect: words::effect(&row.action, who),
            class: match row.class {
                Class::Read => Tag::new("Reads only", Tone::Plain),
                Class::Soft => Tag::new("Little harm if wrong", Tone::Info),
                Class::Hard => Tag::new("Hurts if wrong", Tone::Warn),
            },
            parameters: words::parameters(&row.params),
            reveals: row.reveals,
            progress: super::progress(&row.progress),
            note,
            at: at.map(|at| When::new(at, now)),
            by_hand: None,
        }
    }
}

/// One vote.
#[derive(Debug, Clone)]
pub struct VoteLine {
    pub who: String,
    pub verdict: &'static str,
    pub at: When,
    pub reason: Option<String>,
    pub mine: bool,
}

/// Who said what, and what is needed.
#[derive(Debug, Clone)]
pub struct Tally {
    /// `1 of 2 approvals`.
    pub approvals: String,
    /// `0 of 1 denials`.
    pub denials: String,
    pub votes: Vec<VoteLine>,
    /// Who may decide, as the policy names them.
    pub reviewers: String,
    pub escalation: Option<String>,
}

impl Tally {
    pub(super) fn of(task: &Task, eye: Eye<'_>) -> Self {
        let count = |verdict: Verdict, need: u32| {
            let have = task.votes.iter().filter(|vote| vote.verdict == verdict).count();
            (have, need.max(1))
        };
        let (approved, approve) = count(Verdict::Approve, task.policy.approve);
        let (denied, deny) = count(Verdict::Deny, task.policy.deny);
        let mine = eye.me.map(|me| me.person());
        let votes = task.votes.iter().map(|vote| VoteLine {
            who: eye.names.of(&vote.person.id),
            verdict: vote.verdict.past(),
            at: When::new(vote.at, eye.now),
            reason: text::some(vote.reason.as_deref()),
            mine: mine.as_ref().is_some_and(|me| me.is(&vote.person)),
        });
        let escalation = task.policy.escalate.as_ref().map(|escalation| names(&escalation.to));
        Self {
            approvals: format!("{approved} of {}", words::count(u64::from(approve), "approval", "approvals")),
            denials: format!("{denied} of {}", words::count(u64::from(deny), "denial", "denials")),
            votes: votes.collect(),
            reviewers: names(&task.policy.reviewers),
            escalation,
        }
    }
}

/// `1 of 2 have approved.`, where some voted and more are needed.
pub(super) fn so_far(task: &Task) -> Option<String> {
    let said = |verdict: Verdict, need: u32| {
        let have = task.votes.iter().filter(|vote| vote.verdict == verdict).count();
        (have > 0).then(|| format!("{have} of {} have {}.", need.max(1), verdict.past()))
    };
    let votes = [said(Verdict::Approve, task.policy.approve), said(Verdict::Deny, task.policy.deny)];
    let said: Vec<String> = votes.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(" "))
}

/// `group:on-call` as `the group on-call`.
fn names(entries: &[String]) -> String {
    let name = |entry: &String| match entry.split_once(':') {
        Some(("group", group)) => format!("the group {}", text::cut(group, 60)),
        Some(("role", role)) => format!("the role {}", text::cut(role, 60)),
        Some(("reviewer", id)) => text::cut(id, 60),
        _ => text::cut(entry, 60),
    };
    words::and(&entries.iter().take(10).map(name).collect::<Vec<_>>())
}

/// The clocks that run. None of them ever releases an effect.
#[derive(Debug, Clone)]
pub struct Clocks {
    pub decide: Option<(When, Left)>,
    pub escalate: Option<(When, Left)>,
    pub execute: Option<(When, Left)>,
    pub reveal: Option<(When, Left)>,
}

impl Clocks {
    pub(super) fn of(task: &Task, now: Timestamp) -> Self {
        let open = task.state.is_undecided();
        let execute = task.approval.as_ref().filter(|approval| approval.withdrawn.is_none());
        let waits = task
            .rows
            .iter()
            .any(|row| matches!(row.progress, Progress::Waiting | Progress::Failed { may_retry: true, .. }));
        let reveal = task.rows.iter().find_map(|row| match &row.progress {
            Progress::Sealed { until: Some(until), .. } => Some(*until),
            Progress::Sealed { at, until: None } => at.checked_add(Task::FETCH_WITHIN).ok(),
            _ => None,
        });
        let live = !task.state.is_terminal();
        Self {
            decide: super::left(task.decide_by().filter(|_| open), now),
            escalate: super::left(task.escalates_at().filter(|at| open && *at > now), now),
            execute: super::left(execute.and_then(|approval| approval.execute_by).filter(|_| live && waits), now),
            reveal: super::left(reveal.filter(|_| live), now),
        }
    }

    /// One at least runs.
    pub fn any(&self) -> bool {
        self.decide.is_some() || self.escalate.is_some() || self.execute.is_some() || self.reveal.is_some()
    }
}
