//! One case: containment, what runs now, what failed and what a person can do about it, and the timeline.

use super::evidence::Known;
use super::exposure::{Exposure, needs_release};
use super::home::{OpenTask, urgency};
use super::markup::{Tag, Tone, When};
use super::orders::{self, OrderLine};
use super::person::PersonCard;
use super::story::{RunFacts, StepStory, steps};
use super::timeline::{Happening, happenings};
use super::{Eye, paths, text, words};
use crate::domain::plan::Phase;
use crate::domain::task::{Kind, Order, Role, Task};
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
    /// (order, its words, a reason is needed); empty for who may not.
    pub remedies: Vec<(&'static str, &'static str, bool)>,
}

impl StepLine {
    fn of(step: &StepStory, offers: &[Order], eye: Eye<'_>) -> Self {
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
            remedies: orders::of_step(offers, step.run, &step.id),
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
    /// The playbook of the run before it, whose end it waits for: one after the other, once each has contained.
    pub behind: Option<String>,
    pub opened: When,
    pub shadow: bool,
    pub phases: Vec<PhaseLine>,
    /// It can be ended where it stands.
    pub cancels: bool,
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
    pub actions: Vec<OrderLine>,
    /// Where every order goes.
    pub order_url: String,
    /// Approval policies that a reset may name.
    pub policies: Vec<String>,
    /// All audit records of the case.
    pub audit_url: String,
    /// When the person set a password of their own after a reset.
    pub changed_by_user: Option<When>,
    pub reset_at: Option<When>,
}

impl CaseView {
    /// A case with everything in it, as this reviewer sees it. `audit`: the case's lines. `offers`: what can be ordered.
    pub fn of(
        case: &CaseRow,
        signals: &[serde_json::Value],
        runs: &[RunFacts<'_>],
        tasks: &[Task],
        (audit, offers): (&[(u64, Audit)], &[Order]),
        eye: Eye<'_>,
    ) -> Self {
        let known = Known::of(signals, runs, eye.now);
        let person = PersonCard::of(Some(&case.identity), &known);
        let roles = eye.me.map(|me| me.roles.as_slice()).unwrap_or_default();
        let may_act = roles.iter().any(|role| *role >= Role::Approver);
        let of_steps = if may_act { offers } else { &[] };
        let stories: Vec<StepStory> = runs.iter().flat_map(steps).collect();
        let lines = |wanted: fn(&StepStory) -> bool| {
            stories.iter().filter(|step| wanted(step)).map(|step| StepLine::of(step, of_steps, eye)).collect::<Vec<_>>()
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
            kinds: words::kinds(&case.kinds, 6),
            exposure: Exposure::of(case, Some(&known), eye.now),
            opened: When::new(case.opened_at, eye.now),
            closed: case.closed_at.map(|at| When::new(at, eye.now)),
            shadow: case.mode == crate::domain::run::Mode::Shadow,
            tasks: open.iter().filter_map(|task| OpenTask::of(std::slice::from_ref(*task), eye.now)).collect(),
            runs: runs.iter().map(|run| run_line(run, ahead(run, runs, tasks), of_steps, eye)).collect(),
            running: lines(StepStory::is_running),
            trouble: lines(StepStory::is_in_trouble),
            timeline,
            left_out,
            actions: orders::of_case(offers, roles, &person.name, orders::is_lost(tasks)),
            order_url: paths::orders(case.id),
            policies: Vec::new(),
            audit_url: paths::audit_of(case.id),
            changed_by_user: instant("changed_by_user_at").map(|at| When::new(at, eye.now)),
            reset_at: reset_at.map(|at| When::new(at, eye.now)),
            person,
            known,
        }
    }

    /// With the task that frees the revoke, where it waits for one.
    pub fn released_by(mut self, case: &CaseRow, release: Option<&Task>, now: jiff::Timestamp) -> Self {
        if needs_release(case) {
            self.exposure = self.exposure.released_by(release);
            let first = release.and_then(|task| OpenTask::of(std::slice::from_ref(task), now));
            self.tasks.splice(..0, first);
        }
        self
    }

    /// Nothing is under way and nobody is waited for.
    pub fn is_still(&self) -> bool {
        self.running.is_empty() && self.tasks.is_empty() && self.runs.iter().all(|run| run.behind.is_none())
    }

    /// The topics whose events concern this page.
    pub fn topics(&self) -> String {
        format!("case:{}", self.id)
    }
}

/// The run that this one waits for: playbooks go on one after the other; what people ordered waits for none of them.
fn ahead<'a>(run: &RunFacts<'_>, runs: &[RunFacts<'a>], tasks: &[Task]) -> Option<RunFacts<'a>> {
    let ordered =
        |run: &RunFacts<'_>| tasks.iter().any(|task| task.kind == Kind::Order && task.run == Some(run.row.id));
    let first = *runs.iter().find(|run| run.row.state == "open" && !ordered(run))?;
    (run.row.state == "open" && !ordered(run) && first.row.id != run.row.id).then_some(first)
}

fn run_line(run: &RunFacts<'_>, ahead: Option<RunFacts<'_>>, offers: &[Order], eye: Eye<'_>) -> RunLine {
    let stories = steps(run);
    let phase = |name: &'static str, wanted: Option<Phase>| PhaseLine {
        name,
        steps: stories.iter().filter(|step| step.phase == wanted).map(|step| StepLine::of(step, offers, eye)).collect(),
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
            "open" if ahead.is_some() => Tag::new("Waits its turn", Tone::Plain),
            "open" => Tag::new("Running", Tone::Info),
            "finished" => Tag::new("Finished", Tone::Good),
            "stopped" => Tag::new("Stopped", Tone::Warn),
            other => Tag::new(words::capital(&words::plain(other)), Tone::Plain),
        },
        behind: ahead.map(|ahead| text::line(&ahead.row.playbook)),
        opened: When::new(run.row.opened_at, eye.now),
        shadow: run.row.mode == crate::domain::run::Mode::Shadow,
        cancels: orders::cancels(offers, run.row.id),
        phases: phases.into_iter().filter(|phase| !phase.steps.is_empty()).collect(),
    }
}

super::page!(
    /// Case.
    CasePage, CaseView, "case.html"
);
