//! One case: containment, what runs now, what failed and what a person can do about it, and the timeline.

use super::evidence::Known;
use super::exposure::Exposure;
use super::home::{OpenTask, urgency};
use super::markup::{Tag, Tone, When};
use super::person::PersonCard;
use super::story::{RunFacts, StepStory, steps};
use super::timeline::{Happening, happenings};
use super::{Eye, paths, text, words};
use crate::domain::plan::Phase;
use crate::domain::task::{Role, Task};
use crate::store::{Audit, CaseRow};

/// A step with the forms that go with it.
#[derive(Debug, Clone)]
pub struct StepLine {
    pub title: String,
    pub tag: Tag,
    pub took: Option<String>,
    pub at: Option<When>,
    pub note: Option<String>,
    pub code: Option<String>,
    pub next: Option<When>,
    pub request_id: Option<String>,
    pub run: String,
    pub step: String,
    pub task: Option<String>,
    /// (verb, its words, a reason is needed); empty for who may not.
    pub remedies: Vec<(&'static str, &'static str, bool)>,
}

impl StepLine {
    fn of(step: &StepStory, may_act: bool, eye: Eye<'_>) -> Self {
        Self {
            title: step.title(),
            tag: step.tag(),
            took: step.took(),
            at: step.when(eye.now),
            note: step.note.clone(),
            code: step.code.clone(),
            next: step.retry_at.map(|at| When::new(at, eye.now)),
            request_id: step.request_id.clone(),
            run: step.run.to_string(),
            step: step.id.clone(),
            task: step.task.map(paths::task),
            remedies: if may_act { step.remedies() } else { Vec::new() },
        }
    }
}

/// A phase of a run with its steps.
#[derive(Debug, Clone)]
pub struct PhaseLine {
    pub name: &'static str,
    pub steps: Vec<StepLine>,
}

/// One run.
#[derive(Debug, Clone)]
pub struct RunLine {
    pub id: String,
    pub playbook: String,
    pub href: String,
    pub state: Tag,
    pub opened: When,
    pub shadow: bool,
    pub phases: Vec<PhaseLine>,
}

/// Something an entitled person can start.
#[derive(Debug, Clone)]
pub struct ActionLine {
    pub action: &'static str,
    pub button: &'static str,
    pub says: String,
    pub danger: bool,
}

/// The page.
#[derive(Debug, Clone)]
pub struct CaseView {
    pub id: String,
    pub person: PersonCard,
    pub risk: Tag,
    pub kinds: String,
    pub exposure: Exposure,
    pub opened: When,
    pub closed: Option<When>,
    pub shadow: bool,
    pub known: Known,
    pub tasks: Vec<OpenTask>,
    pub runs: Vec<RunLine>,
    /// Under way or due by itself.
    pub running: Vec<StepLine>,
    /// Needs eyes.
    pub trouble: Vec<StepLine>,
    pub timeline: Vec<Happening>,
    pub left_out: usize,
    pub actions: Vec<ActionLine>,
    pub action_url: String,
    pub step_url: String,
    /// When the person set a password of their own after a reset.
    pub changed_by_user: Option<When>,
    pub reset_at: Option<When>,
}

impl CaseView {
    /// A case with everything in it, as this reviewer sees it. `audit`: the case's lines.
    pub fn of(
        case: &CaseRow,
        signals: &[serde_json::Value],
        runs: &[RunFacts<'_>],
        tasks: &[Task],
        audit: &[(u64, Audit)],
        eye: Eye<'_>,
    ) -> Self {
        let known = Known::of(signals, runs, eye.now);
        let person = PersonCard::of(Some(&case.identity), &known);
        let may_act =
            eye.me.is_some_and(|me| me.roles.iter().any(|role| *role >= Role::Approver)) && case.closed_at.is_none();
        let stories: Vec<StepStory> = runs.iter().flat_map(steps).collect();
        let lines = |wanted: fn(&StepStory) -> bool| {
            stories.iter().filter(|step| wanted(step)).map(|step| StepLine::of(step, may_act, eye)).collect::<Vec<_>>()
        };
        let (timeline, left_out) = happenings(&known, runs, tasks, audit, eye);
        let instant =
            |key: &str| case.detail.get(key).and_then(serde_json::Value::as_str).and_then(|at| at.parse().ok());
        let reset_at: Option<jiff::Timestamp> = instant("reset_at");
        let mut open: Vec<&Task> = tasks.iter().filter(|task| !task.state.is_terminal()).collect();
        open.sort_by_key(|task| urgency(task));
        Self {
            id: case.id.to_string(),
            risk: words::risk(&case.risk),
            kinds: words::sentence(&case.kinds.iter().take(6).map(|kind| words::kind(kind)).collect::<Vec<_>>()),
            exposure: Exposure::of(case, Some(&known), eye.now),
            opened: When::new(case.opened_at, eye.now),
            closed: case.closed_at.map(|at| When::new(at, eye.now)),
            shadow: case.mode == crate::domain::run::Mode::Shadow,
            tasks: open.iter().filter_map(|task| OpenTask::of(std::slice::from_ref(*task), eye.now)).collect(),
            runs: runs.iter().map(|run| run_line(run, may_act, eye)).collect(),
            running: lines(StepStory::is_running),
            trouble: lines(StepStory::is_in_trouble),
            timeline,
            left_out,
            actions: if may_act { actions(case, &person.name) } else { Vec::new() },
            action_url: paths::case_action(case.id),
            step_url: paths::step_action(case.id),
            changed_by_user: instant("changed_by_user_at").map(|at| When::new(at, eye.now)),
            reset_at: reset_at.map(|at| When::new(at, eye.now)),
            person,
            known,
        }
    }

    /// The topics whose events concern this page.
    pub fn topics(&self) -> String {
        format!("case:{}", self.id)
    }
}

fn run_line(run: &RunFacts<'_>, may_act: bool, eye: Eye<'_>) -> RunLine {
    let stories = steps(run);
    let phase = |name: &'static str, wanted: Option<Phase>| PhaseLine {
        name,
        steps: stories
            .iter()
            .filter(|step| step.phase == wanted)
            .map(|step| StepLine::of(step, may_act, eye))
            .collect(),
    };
    let phases = [
        phase("Contain", Some(Phase::Contain)),
        phase("Collect", Some(Phase::Collect)),
        phase("Eradicate", Some(Phase::Eradicate)),
        phase("Recover", Some(Phase::Recover)),
        phase("Steps", None),
    ];
    RunLine {
        id: run.row.id.to_string(),
        playbook: text::line(&run.row.playbook),
        href: paths::playbook(&run.row.playbook),
        state: match run.row.state.as_str() {
            "open" => Tag::new("Running", Tone::Info),
            "finished" => Tag::new("Finished", Tone::Good),
            "stopped" => Tag::new("Stopped", Tone::Warn),
            other => Tag::new(words::capital(&words::plain(other)), Tone::Plain),
        },
        opened: When::new(run.row.opened_at, eye.now),
        shadow: run.row.mode == crate::domain::run::Mode::Shadow,
        phases: phases.into_iter().filter(|phase| !phase.steps.is_empty()).collect(),
    }
}

/// What can be asked for by hand. Each is a decision of its own, recorded with its reason.
fn actions(case: &CaseRow, who: &str) -> Vec<ActionLine> {
    let line = |action, button, says: String, danger| ActionLine { action, button, says, danger };
    let mut all = vec![
        line("revoke_sessions", "Revoke sessions", words::effect("revoke_sessions", who), false),
        line(
            "reset_password",
            "Request a reset",
            "Raises a task that somebody else approves; the password is shown to them.".to_owned(),
            false,
        ),
        line("confirm_compromised", "Confirm compromised", words::effect("confirm_compromised", who), true),
        line("dismiss_risk", "Dismiss risk", words::effect("dismiss_risk", who), true),
    ];
    if case.state == "password_unchanged" || case.state == "unknown" {
        let says = "Closes the case as it is. The password stays unchanged; say why that is right.".to_owned();
        all.push(line("close", "Close case", says, true));
    }
    all
}

super::page!(
    /// Case.
    CasePage, CaseView, "case.html"
);
