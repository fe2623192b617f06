//! What became of each step of a run, folded from its journal for the eye: state, duration, request id, what failed.
//!
//! The domain's own machine decides; this fold only narrates, and never refuses a journal.

use jiff::Timestamp;

use super::markup::{Tag, When};
use super::{text, words};
use crate::domain::ledger::{Effect, Fault};
use crate::domain::plan::{EffectClass, Phase, Plan};
use crate::domain::run::{Entry, Event, Verdict};
use crate::domain::{RunId, TaskId};
use crate::store::RunRow;

/// A run as the store gives it, with its pinned plan where that could be read.
#[derive(Debug, Clone, Copy)]
pub struct RunFacts<'a> {
    pub row: &'a RunRow,
    pub journal: &'a [Entry],
    pub plan: Option<&'a Plan>,
    pub effects: &'a [Effect],
}

/// One step's story.
#[derive(Debug, Clone)]
pub struct StepStory {
    pub run: RunId,
    pub id: String,
    /// The verb, e.g. `revoke_sessions`.
    pub action: String,
    pub phase: Option<Phase>,
    pub class: Option<EffectClass>,
    /// The machine's word, e.g. `done`.
    pub state: &'static str,
    /// When the first attempt was intended.
    pub began: Option<Timestamp>,
    /// When it came to where it is now.
    pub at: Option<Timestamp>,
    pub attempts: u32,
    /// Graph's.
    pub request_id: Option<String>,
    /// Ours: `client-request-id` of every attempt.
    pub effect_key: Option<String>,
    /// Why it is where it is.
    pub note: Option<String>,
    /// README has a paragraph on it.
    pub code: Option<String>,
    pub retry_at: Option<Timestamp>,
    pub task: Option<TaskId>,
    pub result: Option<serde_json::Value>,
    pub verified: Option<Timestamp>,
}

impl StepStory {
    fn new(run: RunId, id: &str, plan: Option<&Plan>) -> Self {
        let step = plan.and_then(|plan| plan.steps.iter().find(|step| step.id.0 == id));
        Self {
            run,
            id: text::cut(id, 80),
            action: step.map_or_else(|| guess(id), |step| step.action.clone()),
            phase: step.map(|step| step.phase),
            class: step.map(|step| step.class),
            state: "todo",
            began: None,
            at: None,
            attempts: 0,
            request_id: None,
            effect_key: None,
            note: None,
            code: None,
            retry_at: None,
            task: None,
            result: None,
            verified: None,
        }
    }

    /// The state as a coloured word.
    pub fn tag(&self) -> Tag {
        words::step_state(self.state)
    }

    /// The action as a verb; the step's own name where it has one.
    pub fn title(&self) -> String {
        let action = words::action(&self.action);
        if self.id == self.action { action } else { format!("{action} ({})", words::plain(&self.id)) }
    }

    /// From the first intent to the end of it.
    pub fn took(&self) -> Option<String> {
        let settled = matches!(self.state, "done" | "failed" | "unknown");
        Some(words::span(self.at.filter(|_| settled)?.duration_since(self.began?)))
    }

    /// Something is under way or will be, without anybody's doing.
    pub fn is_running(&self) -> bool {
        matches!(self.state, "running" | "retrying" | "ready")
    }

    /// Somebody should look.
    pub fn is_in_trouble(&self) -> bool {
        matches!(self.state, "failed" | "unknown" | "refused" | "retrying" | "parked")
    }

    /// When, for templates.
    pub fn when(&self, now: Timestamp) -> Option<When> {
        self.at.map(|at| When::new(at, now))
    }

    fn fault(&mut self, fault: &Fault) {
        let status = fault.status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
        self.note = Some(text::line(&format!("{}{status}", fault.message)));
        self.code = Some(text::cut(&fault.code, 40));
        if fault.request_id.is_some() {
            self.request_id = fault.request_id.as_deref().map(|id| text::cut(id, 80));
        }
    }
}

/// Without a plan the id is most likely the action's name; the engine's second revokes are named after what they follow.
fn guess(id: &str) -> String {
    let is_revoke = id.starts_with(crate::domain::plan::REVOKE);
    if is_revoke { crate::domain::plan::REVOKE.to_owned() } else { text::cut(id, 80) }
}

/// Every step of a run, in plan order; steps of no known plan in order of appearance.
pub fn steps(facts: &RunFacts<'_>) -> Vec<StepStory> {
    let mut stories: Vec<StepStory> = facts
        .plan
        .map(|plan| plan.steps.iter().map(|step| StepStory::new(facts.row.id, &step.id.0, facts.plan)).collect())
        .unwrap_or_default();
    for entry in facts.journal {
        if let Some(id) = step_of(&entry.event) {
            let index = stories.iter().position(|story| story.id == id).unwrap_or_else(|| {
                stories.push(StepStory::new(facts.row.id, id, facts.plan));
                stories.len() - 1
            });
            narrate(&mut stories[index], entry);
        }
    }
    stories
}

fn step_of(event: &Event) -> Option<&str> {
    match event {
        Event::Skipped { step, .. }
        | Event::Joined { step, .. }
        | Event::Parked { step, .. }
        | Event::Released { step }
        | Event::Refused { step, .. }
        | Event::Asked { step, .. }
        | Event::Answered { step, .. }
        | Event::Intended { step, .. }
        | Event::Done { step, .. }
        | Event::Failed { step, .. }
        | Event::Unknown { step, .. }
        | Event::Again { step }
        | Event::Verified { step, .. } => Some(&step.0),
        Event::Opened { .. }
        | Event::Attached { .. }
        | Event::CollectStarted
        | Event::CollectEnded
        | Event::Closed { .. } => None,
    }
}

fn narrate(story: &mut StepStory, entry: &Entry) {
    let mut state = |word| {
        story.state = word;
        story.at = Some(entry.at);
    };
    match &entry.event {
        Event::Skipped { reason, .. } => {
            state("skipped");
            story.note = text::some(Some(reason));
        }
        Event::Joined { run, .. } => {
            state("joined");
            story.note = Some(format!("{run} does the same"));
        }
        Event::Parked { reason, .. } => {
            state("parked");
            story.note = text::some(Some(reason));
        }
        Event::Released { .. } => state("ready"),
        Event::Refused { reason, .. } => {
            state("refused");
            story.note = text::some(Some(reason));
        }
        Event::Asked { task, .. } => {
            state("waiting");
            story.task = Some(*task);
        }
        Event::Answered { verdict, task, .. } => {
            state(answered(*verdict));
            story.task = Some(*task);
        }
        Event::Intended { key, attempt, .. } => {
            state("running");
            story.began = story.began.or(Some(entry.at));
            story.attempts = *attempt;
            story.effect_key = Some(key.to_string());
        }
        Event::Done { result, request_id, left_at, .. } => {
            state("done");
            // Of a read no intent is written; it left when it began.
            story.began = story.began.or(Some(*left_at).filter(|left| *left <= entry.at));
            (story.note, story.code, story.retry_at) = (None, None, None);
            story.result = Some(result.clone());
            story.request_id = request_id.as_deref().map(|id| text::cut(id, 80));
        }
        Event::Failed { fault, retry_at, .. } => {
            state(if retry_at.is_some() { "retrying" } else { "failed" });
            story.retry_at = *retry_at;
            story.fault(fault);
        }
        Event::Unknown { fault, verify_at, .. } => {
            state("unknown");
            story.retry_at = *verify_at;
            story.fault(fault);
        }
        Event::Again { .. } => {
            state("ready");
            story.began = None;
        }
        Event::Verified { valid_from, .. } => story.verified = Some(*valid_from),
        Event::Opened { .. }
        | Event::Attached { .. }
        | Event::CollectStarted
        | Event::CollectEnded
        | Event::Closed { .. } => {}
    }
}

fn answered(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Go => "ready",
        Verdict::Done => "done_by_hand",
        Verdict::Skip => "skipped",
        Verdict::Denied | Verdict::Expired | Verdict::Revoked | Verdict::Lapsed | Verdict::Cancelled => "declined",
    }
}
