//! One person and everything that is going on about them: watermark, open case, its runs and tasks.
//!
//! `arrive` takes a signal, `settle` the result of a call, `advance` decides what is next. All are pure: they change
//! the value in hand and say in an `Output` what must be written and, once that is durable, done. Live execution and
//! recovery use the same functions; a person in memory is only ever a cache of what the store holds.

mod advance;
mod arrive;
mod ask;
mod attempt;
mod by_hand;
mod claim;
mod denied;
mod doc;
mod fits;
mod handover;
mod learn;
mod order;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::guard;
use super::identity::Identity;
use super::ids::{CaseId, RunId, SignalId, TaskId};
use super::ledger::EffectKey;
use super::plan::{Phase, Plan, Step, StepId};
use super::run::{Entry, Event, Illegal, Mode, Run};
use super::task::{self, Policy, Task};

pub use advance::READ_BACK;
pub use arrive::{Arrival, PlanRef, Taken};
pub use ask::PRIVILEGED_RESET;
pub use doc::{Case, Doc, LastCase, ReadBack, Traces, Watch, Watermark};
pub use fits::NotNow;
pub use handover::{Change, Handover};
pub use order::Request;
pub use settle::{Answer, Settled};

/// Evaluates conditions; the expression language lives above the ground.
pub trait Conditions {
    /// # Errors
    /// Why it cannot be decided (missing data is an error, not false).
    fn holds(&self, source: &str, context: &Value) -> Result<bool, String>;
}

/// Where an open case may stand, in a word.
pub const CASE_WORDS: [&str; 8] = [
    "open",
    "not_contained",
    "not_contained_guest",
    "parked",
    "revoke_accepted",
    "contained",
    "password_unchanged",
    "password_lost",
];

/// A person in hand.
#[derive(Debug, Clone)]
pub struct Person {
    pub identity: Identity,
    pub doc: Doc,
    /// Runs of the open case, oldest first.
    pub runs: Vec<Run>,
    pub tasks: BTreeMap<TaskId, Task>,
}

/// Numbers and policies the decisions need.
#[derive(Debug, Clone)]
pub struct Rules {
    pub mode: Mode,
    pub policies: BTreeMap<String, Policy>,
    /// Older activity opens a task instead of acting.
    pub max_age: SignedDuration,
    pub collect_limit: SignedDuration,
    /// How long after a case a covered signal still counts as belonging to it.
    pub aftermath: SignedDuration,
    /// Longest life of a lease; an orphaned intent is judged only after it and the call's deadline.
    pub lease: SignedDuration,
    /// Pause between two readings of the watch.
    pub watch_every: SignedDuration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            mode: Mode::Shadow,
            policies: BTreeMap::new(),
            max_age: SignedDuration::from_hours(72),
            collect_limit: SignedDuration::from_secs(20),
            aftermath: SignedDuration::from_hours(7 * 24),
            lease: SignedDuration::from_secs(3),
            watch_every: SignedDuration::from_secs(10),
        }
    }
}

/// When a call that nobody reported about cannot be under way any more (contract §13.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    /// Whoever made it is dead for certain, and with it the call (embedded store: the lock file says so).
    Dead,
    /// Whoever made it lost its lease then: the call may last for its own deadline from there on.
    LeaseEnded(Timestamp),
    /// It was made under the lease that still lives: the intent's own bound counts.
    Ours,
}

impl Orphans {
    /// From when on no call of such an intent can be under way.
    fn quiet_at(self, step: &Step, settle_by: Timestamp) -> Timestamp {
        let deadline = SignedDuration::from_millis(i64::try_from(step.timeout_ms).unwrap_or(i64::MAX / 4));
        match self {
            Self::LeaseEnded(at) => settle_by.max(at + deadline),
            Self::Dead | Self::Ours => settle_by,
        }
    }

    /// True when an intent of `step` that must be settled by `settle_by` may be judged. Containment is repeated as soon
    /// as its worker is gone: a second revoke does no harm.
    fn may_be_judged(self, step: &Step, settle_by: Timestamp, now: Timestamp) -> bool {
        let contains = step.phase == Phase::Contain || step.follows.is_some();
        match self {
            Self::Dead => true,
            // Of what must not be repeated the doubt is recorded at once; it is looked at when all is quiet.
            Self::LeaseEnded(_) if contains || !step.idempotent => true,
            Self::LeaseEnded(_) => now >= self.quiet_at(step, settle_by),
            Self::Ours => now >= settle_by,
        }
    }
}

/// Everything outside the person that a decision looks at.
pub struct Around<'a> {
    pub now: Timestamp,
    pub rules: &'a Rules,
    pub guard: &'a guard::Facts,
    pub conditions: &'a dyn Conditions,
    /// Steps this process is performing right now.
    pub running: &'a BTreeSet<(RunId, StepId)>,
    /// Hard steps whose subject was read fresh, with what was read.
    pub prepared: &'a BTreeMap<(RunId, StepId), Value>,
    /// When the browser of a task's recipient was last seen.
    pub presence: &'a dyn Fn(TaskId) -> Option<Timestamp>,
    /// What an intent without a result, that this lane is not performing, means.
    pub orphans: Orphans,
    /// Keys of intents whose commit was answered by an error: if they are in the journal, they were never sent.
    pub unsent: &'a HashSet<EffectKey>,
    /// Draws ids; the ground draws none itself.
    pub mint: &'a dyn Fn() -> Uuid,
}

impl std::fmt::Debug for Around<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").field("now", &self.now).finish_non_exhaustive()
    }
}

/// What is to be done outside once the output is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// Send the effect whose intent this output holds.
    Effect { run: RunId, step: StepId, key: EffectKey, attempt: u32, before: Value, intended_at: Timestamp },
    /// A read: no intent, may be repeated.
    Read { run: RunId, step: StepId },
    /// Read the subject fresh before a hard effect.
    Prepare { run: RunId, step: StepId },
    /// Find out what became of an unknown effect.
    Verify { run: RunId, step: StepId, key: EffectKey, before: Value, intended_at: Timestamp },
    /// Read the revoke back.
    ReadBack,
}

impl Deed {
    /// True when it is about this step.
    fn is_of(&self, of_run: RunId, of_step: &StepId) -> bool {
        match self {
            Self::Effect { run, step, .. }
            | Self::Read { run, step }
            | Self::Prepare { run, step }
            | Self::Verify { run, step, .. } => *run == of_run && step == of_step,
            Self::ReadBack => false,
        }
    }
}

/// Something worth an audit line.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    pub verb: &'static str,
    pub detail: Value,
}

/// What must be written in one transaction, and done after it.
#[derive(Debug, Default)]
pub struct Output {
    pub journal: Vec<(RunId, u64, Entry)>,
    /// Tasks created or changed.
    pub tasks: BTreeSet<TaskId>,
    pub runs_touched: BTreeSet<RunId>,
    pub outcomes: Vec<(SignalId, Taken)>,
    pub deeds: Vec<Deed>,
    pub notes: Vec<Note>,
    /// A first revoke is intended: count the person against the tenant's cap in the same transaction.
    pub counts_revocation: bool,
    /// Parked by the blast radius: the tenant's release task must exist.
    pub parked_by_cap: bool,
    pub case_closed: Option<Case>,
    /// Ciphertexts to delete.
    pub drop_secrets: Vec<TaskId>,
}

impl Output {
    /// What became of a task may end its ciphertext.
    fn drops_secret_of(&mut self, task: TaskId, consequences: &[task::Consequence]) {
        if consequences.iter().any(|one| matches!(one, task::Consequence::DropSecret { .. })) {
            self.drop_secrets.push(task);
        }
    }

    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.journal.is_empty()
            && self.tasks.is_empty()
            && self.outcomes.is_empty()
            && self.notes.is_empty()
            && self.case_closed.is_none()
    }
}

impl Person {
    /// A person never seen.
    pub fn new(identity: Identity) -> Self {
        Self { identity, doc: Doc::default(), runs: Vec::new(), tasks: BTreeMap::new() }
    }

    /// A person as stored: the document, and each run's journal folded.
    ///
    /// # Errors
    /// `Illegal` when a journal is corrupt.
    pub fn restore(
        identity: Identity,
        doc: Doc,
        journals: Vec<(RunId, CaseId, Arc<Plan>, Vec<Entry>)>,
        tasks: Vec<Task>,
    ) -> Result<Self, Illegal> {
        let runs = journals
            .into_iter()
            .map(|(id, case, plan, journal)| Run::replay(id, case, plan, &journal))
            .collect::<Result<_, _>>()?;
        let tasks = tasks.into_iter().map(|task| (task.id, task)).collect();
        Ok(Self { identity, doc, runs, tasks })
    }

    /// The run of this id, if it belongs to the open case.
    pub fn run(&self, id: RunId) -> Option<&Run> {
        self.runs.iter().find(|run| run.id == id)
    }

    /// The task whose decision gates a step.
    pub fn task_of(&self, run: RunId, step: &StepId) -> Option<TaskId> {
        let gates = |task: &&Task| task.run == Some(run) && task.rows.iter().any(|row| row.step == step.0);
        self.tasks.values().find(gates).map(|task| task.id)
    }

    /// The secret of a step is being stored, sealed to the recipient.
    pub fn sealed(&mut self, run: RunId, step: &StepId, around: &Around<'_>, out: &mut Output) {
        self.task_event(run, step, around, out, |step, fence| task::Event::Sealed { step, fence });
    }

    /// Appends an event to a run's journal.
    fn record(&mut self, out: &mut Output, now: Timestamp, run: RunId, event: Event) -> Result<(), Illegal> {
        let Some(run) = self.runs.iter_mut().find(|r| r.id == run) else { return Ok(()) };
        let entry = Entry { at: now, event };
        run.apply(&entry)?;
        out.journal.push((run.id, run.len, entry));
        out.runs_touched.insert(run.id);
        Ok(())
    }

    /// Everything up to this instant is already revoked.
    pub fn covers(&self, activity: Timestamp) -> bool {
        self.doc.watermark.is_some_and(|mark| activity <= mark.at)
    }

    /// One word for lists: where the containment stands; of an open case one of [`CASE_WORDS`].
    pub fn case_word(&self) -> &'static str {
        use super::run::StepState as S;
        let Some(case) = &self.doc.case else { return "closed" };
        let any = |wanted: fn(&S) -> bool| {
            self.runs
                .iter()
                .flat_map(|run| run.steps())
                .any(|(step, state)| step.action == super::plan::REVOKE && wanted(state))
        };
        if any(|s| matches!(s, S::Refused { .. } | S::Failed { .. })) && case.revoke_accepted_at.is_none() {
            "not_contained"
        } else if any(|s| matches!(s, S::Parked { .. })) {
            "parked"
        } else if case.guest {
            "not_contained_guest"
        } else if self.is_password_lost() {
            "password_lost"
        } else if case.unchanged {
            "password_unchanged"
        } else if case.revoke_verified_at.is_some() {
            "contained"
        } else if case.revoke_accepted_at.is_some() {
            "revoke_accepted"
        } else {
            "open"
        }
    }
}
