//! One case's story as one list: signals, steps, decisions, notifications, audit; newest first.

use jiff::Timestamp;
use serde_json::Value;

use super::evidence::Known;
use super::markup::{Tone, When};
use super::story::{RunFacts, StepStory, steps};
use super::{Eye, paths, text, words};
use crate::domain::run::{End, Event};
use crate::domain::task::{Kind, Progress, Task};
use crate::store::Audit;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    Signal,
    Run,
    Step,
    Task,
    Decision,
    Notice,
    Audit,
}

impl Sort {
    /// The word beside it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Signal => "Signal",
            Self::Run => "Run",
            Self::Step => "Step",
            Self::Task => "Task",
            Self::Decision => "Decision",
            Self::Notice => "Notification",
            Self::Audit => "Audit",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Happening {
    pub at: When,
    pub sort: Sort,
    pub tone: Tone,
    pub text: String,
    /// Duration, ids, reasons.
    pub details: Vec<(&'static str, String)>,
    pub href: Option<String>,
}

impl Happening {
    fn new(at: Timestamp, now: Timestamp, sort: Sort, tone: Tone, text: String) -> Self {
        Self { at: When::new(at, now), sort, tone, text, details: Vec::new(), href: None }
    }

    fn with(mut self, name: &'static str, value: Option<String>) -> Self {
        self.details.extend(value.map(|value| (name, value)));
        self
    }
}

/// At most this many; the oldest are left out and counted.
pub const MOST: usize = 150;

/// Everything that happened, newest first, and how much was left out.
pub fn happenings(
    known: &Known,
    runs: &[RunFacts<'_>],
    tasks: &[Task],
    audit: &[(u64, Audit)],
    eye: Eye<'_>,
) -> (Vec<Happening>, usize) {
    let mut all: Vec<Happening> = signals(known, eye.now);
    for run in runs {
        all.extend(run_events(run, eye.now));
        all.extend(steps(run).iter().filter_map(|step| of_step(step, eye.now)));
    }
    all.extend(tasks.iter().flat_map(|task| of_task(task, eye)));
    all.extend(audit.iter().filter_map(|(seq, line)| of_audit(*seq, line, eye)));
    all.sort_by_key(|happening| std::cmp::Reverse((happening.at.at, happening.sort)));
    let left_out = all.len().saturating_sub(MOST) + known.unshown();
    all.truncate(MOST);
    (all, left_out)
}

fn signals(known: &Known, now: Timestamp) -> Vec<Happening> {
    let of = |line: &super::evidence::SignalLine| {
        Happening::new(
            line.received.at,
            now,
            Sort::Signal,
            Tone::Warn,
            format!("{} reported by {}", line.kind, line.source),
        )
        .with("told", (line.title != line.kind).then(|| line.title.clone()))
        .with("happened", Some(line.activity.utc()))
        .with("arrived after", Some(line.lag.clone()))
        .with(
            "outcome",
            Some(match &line.reason {
                Some(reason) => format!("{}: {reason}", line.outcome),
                None => line.outcome.clone(),
            }),
        )
    };
    known.shown().iter().map(of).collect()
}

fn run_events(run: &RunFacts<'_>, now: Timestamp) -> Vec<Happening> {
    let of = |entry: &crate::domain::run::Entry| match &entry.event {
        Event::Opened { playbook, version, .. } => {
            let text = text::line(&format!("Playbook {playbook} version {version} started"));
            let mut started =
                Happening::new(entry.at, now, Sort::Run, Tone::Plain, text).with("run", Some(run.row.id.to_string()));
            started.href = Some(paths::playbook(playbook));
            Some(started)
        }
        Event::Closed { end, reason } => {
            let (word, tone) = match end {
                End::Finished => ("finished", Tone::Plain),
                End::Stopped => ("stopped", Tone::Warn),
                End::Cancelled => ("cancelled", Tone::Plain),
            };
            let text = text::line(&format!("Playbook {} {word}", run.row.playbook));
            Some(Happening::new(entry.at, now, Sort::Run, tone, text).with("reason", text::some(Some(reason))))
        }
        _ => None,
    };
    run.journal.iter().filter_map(of).collect()
}

fn of_step(step: &StepStory, now: Timestamp) -> Option<Happening> {
    let at = step.at?;
    let tag = step.tag();
    let happening =
        Happening::new(at, now, Sort::Step, tag.tone, format!("{}: {}", step.title(), tag.text.to_lowercase()))
            .with("took", step.took())
            .with("attempts", (step.attempts > 1).then(|| step.attempts.to_string()))
            .with("why", step.note.clone())
            .with("code", step.code.clone())
            .with("verified", step.verified.map(|at| When::new(at, now).utc()))
            .with("Graph request", step.request_id.clone())
            .with("effect key", step.effect_key.clone());
    Some(Happening { href: step.task.map(paths::task), ..happening })
}

fn of_task(task: &Task, eye: Eye<'_>) -> Vec<Happening> {
    let href = Some(paths::task(task.id));
    let asked = match task.kind {
        Kind::Manual => "To be done by hand",
        Kind::Held => "Held for a person to look at",
        Kind::Approval | Kind::Release | Kind::Undecided | Kind::Order => "Asked for a decision",
    };
    let asked = format!("{asked}: {}", super::task::title(task));
    let mut all = vec![Happening::new(task.created_at, eye.now, Sort::Task, Tone::Info, text::line(&asked))];
    all.extend(task.votes.iter().map(|vote| {
        let text = format!("{} {} {}", eye.names.of(&vote.person.id), vote.verdict.past(), super::task::title(task));
        Happening::new(vote.at, eye.now, Sort::Decision, Tone::Info, text::line(&text))
            .with("reason", text::some(vote.reason.as_deref()))
            .with("digest", Some(vote.digest.to_string()))
    }));
    all.extend(task.rows.iter().filter_map(|row| match row.progress {
        Progress::RevealExpired { at } => {
            let text = "Nobody passed the password on in time; it is gone".to_owned();
            Some(Happening::new(at, eye.now, Sort::Task, Tone::Bad, text))
        }
        _ => None,
    }));
    all.into_iter().map(|happening| Happening { href: href.clone(), ..happening }).collect()
}

/// What somebody did with a task beside voting: only the trail tells it.
fn of_deed(line: &Audit, eye: Eye<'_>) -> Option<Happening> {
    let word = |key: &str| line.detail.get(key).and_then(Value::as_str).unwrap_or_default();
    let (deed, tone) = match word("event") {
        "fetched" => ("opened the password in the browser that it was sealed to", Tone::Info),
        "acknowledged" => ("passed the password on", Tone::Good),
        "done" => ("reported it done by hand", Tone::Good),
        "named" => ("said who it is about", Tone::Info),
        _ => return None,
    };
    let text = format!("{} {deed}", eye.names.actor(&line.actor));
    let happening = Happening::new(line.at, eye.now, Sort::Decision, tone, text::line(&text))
        .with("said", text::some(Some(word("note"))));
    Some(Happening { href: word("task").parse().ok().map(paths::task), ..happening })
}

/// What the rows above do not tell already.
fn of_audit(seq: u64, line: &Audit, eye: Eye<'_>) -> Option<Happening> {
    if line.verb == "task.decided" {
        return of_deed(line, eye).map(|deed| deed.with("audit", Some(format!("record {seq}"))));
    }
    let told = ["effect.", "signal.received", "revoke."];
    if told.iter().any(|prefix| line.verb.starts_with(prefix)) {
        return None;
    }
    let is_notice = line.verb.starts_with("notify") || line.verb.starts_with("notice");
    let sort = if is_notice { Sort::Notice } else { Sort::Audit };
    let tone = if line.verb.ends_with("refused") || line.verb.ends_with("failed") { Tone::Warn } else { Tone::Plain };
    // The worker only read these.
    let text = match line.verb.as_str() {
        "password.changed_by_user" => "The user replaced the temporary password".to_owned(),
        "password.not_changed_by_user" => "For two weeks nobody was seen to replace the temporary password".to_owned(),
        verb => {
            let verb = words::capital(&words::plain(&verb.replace('.', " ")));
            format!("{verb} by {}", eye.names.actor(&line.actor))
        }
    };
    let happening = Happening::new(line.at, eye.now, sort, tone, text)
        .with("detail", Some(words::brief(&line.detail)).filter(|detail| detail != "none" && detail != "{}"))
        .with("audit", Some(format!("record {seq}")));
    Some(happening)
}
