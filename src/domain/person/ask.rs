//! Raising tasks, and reading their answers back into runs. A task is a row of its own; a run only knows its id.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::ids::{RunId, TaskId};
use super::super::plan::{EffectClass, MANUAL, READ_USER, RESET, Step, StepId};
use super::super::run::{Event, Illegal, Mode, StepState, Verdict};
use super::super::task::{self, Kind, New, Playbook, Policy, Row, Snapshot, SnapshotItem, State, Target, Task};
use super::{Around, Output, Person};

impl Person {
    /// One task for consecutive steps under one policy, a row each.
    pub(super) fn ask_approval(
        &mut self,
        run: RunId,
        policy: &str,
        steps: &[StepId],
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        if let Some(task) = self.order_of(run) {
            // The order is the approval.
            for step in steps {
                self.record(out, around.now, run, Event::Asked { step: step.clone(), task })?;
            }
            return Ok(());
        }
        let rows = self.rows(run, steps);
        let names: Vec<&str> = rows.iter().map(|row| row.action.as_str()).collect();
        let title = format!("Approve: {}", names.join(", "));
        let mut policy = around.rules.policies.get(policy).cloned().unwrap_or_else(Policy::open);
        let revealing = rows.iter().any(|row| row.reveals);
        policy.execute_within.get_or_insert(if revealing {
            Policy::EXECUTE_WITHIN_REVEALING
        } else {
            Policy::EXECUTE_WITHIN
        });
        self.ask(run, Kind::Approval, title, None, policy, rows, steps, around, out)
    }

    /// A `when` that could not be decided: run it or skip it.
    pub(super) fn ask_undecided(
        &mut self,
        run: RunId,
        step: &Step,
        error: &str,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        let steps = [step.id.clone()];
        let rows = self.rows(run, &steps);
        let policy = step.approval.as_ref().and_then(|name| around.rules.policies.get(name)).cloned();
        let title = format!("Could not decide {}: run or skip", step.id);
        let text = format!("Could not decide: {error}; run or skip. Approve runs the step, deny skips it.");
        self.ask(
            run,
            Kind::Undecided,
            title,
            Some(text),
            policy.unwrap_or_else(Policy::open),
            rows,
            &steps,
            around,
            out,
        )
    }

    /// Something to be done by hand instead of (or as) a step.
    pub(super) fn ask_manual(
        &mut self,
        run: RunId,
        step: &StepId,
        title: String,
        instructions: String,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        let steps = [step.clone()];
        self.ask(run, Kind::Manual, title, Some(instructions), Policy::open(), Vec::new(), &steps, around, out)?;
        let StepState::Waiting { task } = self.state(run, step) else { return Ok(()) };
        let followed = self.run(run).is_some_and(|run| run.plan.steps.iter().any(|s| s.follows.as_ref() == Some(step)));
        if let Some(task) = self.tasks.get_mut(&task) {
            task.revokes_after = followed;
        }
        Ok(())
    }

    /// Something to be done by hand beside the steps: no step waits for it.
    pub(super) fn ask_beside(&mut self, title: &str, instructions: String, around: &Around<'_>, out: &mut Output) {
        if self.is_asked(Kind::Manual, title, around) {
            return;
        }
        self.raise(Kind::Manual, title.to_owned(), Some(instructions), Policy::open(), None, Vec::new(), around, out);
    }

    /// Nobody could decide by rule: a human has to look.
    pub(super) fn ask_held(&mut self, title: String, instructions: String, around: &Around<'_>, out: &mut Output) {
        if self.is_asked(Kind::Held, &title, around) {
            return;
        }
        self.raise(Kind::Held, title, Some(instructions), Policy::open(), None, Vec::new(), around, out);
    }

    /// The same is asked already; what a rehearsal asks counts only there.
    fn is_asked(&self, kind: Kind, title: &str, around: &Around<'_>) -> bool {
        let rehearses = around.rules.mode == Mode::Shadow;
        let same = |t: &Task| t.kind == kind && t.title == title && (rehearses || !t.shadow);
        self.tasks.values().any(|task| same(task) && !task.state.is_terminal())
    }

    #[expect(clippy::too_many_arguments, reason = "one private funnel for every kind of task")]
    fn ask(
        &mut self,
        run: RunId,
        kind: Kind,
        title: String,
        instructions: Option<String>,
        policy: Policy,
        rows: Vec<Row>,
        steps: &[StepId],
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        let task = self.raise(kind, title, instructions, policy, Some(run), rows, around, out);
        for step in steps {
            self.record(out, around.now, run, Event::Asked { step: step.clone(), task })?;
        }
        let asks_for_reset = |id| self.spec(run, id).is_some_and(|(_, step)| is_reset(step));
        if steps.iter().any(asks_for_reset) && !self.is_shadow(run) {
            self.supersede_orders(task, around, out);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one private funnel for every kind of task")]
    fn raise(
        &mut self,
        kind: Kind,
        title: String,
        instructions: Option<String>,
        policy: Policy,
        run: Option<RunId>,
        rows: Vec<Row>,
        around: &Around<'_>,
        out: &mut Output,
    ) -> TaskId {
        let snapshot = self.snapshot_of(around.now, run.as_slice());
        let of_run = run.and_then(|id| self.run(id));
        let mut task = Task::open(New {
            id: TaskId::new((around.mint)()),
            kind,
            title,
            policy,
            created_at: around.now,
            snapshot,
            shadow: of_run.map_or(around.rules.mode, |run| run.mode) == Mode::Shadow,
            identity: Some(self.identity.clone()),
            case: self.doc.case.as_ref().map(|case| case.id),
            run,
            instructions,
            requester: None,
            playbook: of_run.map(|run| Playbook {
                name: run.plan.name.clone(),
                version: u64::from(run.plan.version),
                hash: run.plan_hash.clone(),
            }),
            rows,
        });
        // What effects meet is part of what is decided; a job for a human is not about it.
        if !task.rows.is_empty() {
            task.target = run.and_then(|id| self.run(id)?.found(READ_USER).and_then(Target::read));
        }
        task.risk = self.doc.case.as_ref().map(|case| case.risk);
        let id = task.id;
        self.tasks.insert(id, task);
        out.tasks.insert(id);
        id
    }

    fn rows(&self, run: RunId, steps: &[StepId]) -> Vec<Row> {
        let Some(run) = self.run(run) else { return Vec::new() };
        steps.iter().filter_map(|id| run.plan.step(id)).map(Row::of).collect()
    }

    /// The evidence as it is now: the case's signals and what these runs collected, by id and hash.
    pub(super) fn snapshot_of(&mut self, now: Timestamp, runs: &[RunId]) -> Snapshot {
        let mut items: Vec<SnapshotItem> = Vec::new();
        let mut number = 0;
        if let Some(case) = &mut self.doc.case {
            case.snapshots += 1;
            number = case.snapshots;
            items
                .extend(case.evidence.iter().map(|(id, hash)| SnapshotItem { id: id.to_string(), hash: hash.clone() }));
        }
        for run in runs.iter().filter_map(|id| self.run(*id)) {
            items.extend(run.results.iter().map(|(step, result)| SnapshotItem {
                id: format!("{}/{step}", run.id),
                hash: hex(&Sha256::digest(result.to_string().as_bytes())),
            }));
        }
        Snapshot { number, taken_at: now, items }
    }

    /// Lets clocks act on tasks (escalate, expire, lapse; never release), and carries answers into the runs.
    pub(super) fn read_answers(&mut self, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        for task in self.tasks.values_mut() {
            if task.next_due().is_some_and(|due| due <= around.now)
                && let Ok(consequences) = task.apply(task::Event::Tick, around.now)
            {
                out.tasks.insert(task.id);
                out.drops_secret_of(task.id, &consequences);
                let begun = task.run.is_some_and(|run| self.runs.iter().any(|other| other.id == run));
                if let (true, false, Some(case)) = (is_unanswered_reset(task), begun, &mut self.doc.case) {
                    case.unchanged = true;
                }
            }
        }
        let mut answers: Vec<(RunId, Event)> = Vec::new();
        for run in self.runs.iter().filter(|run| run.is_open()) {
            for (step, state) in run.steps() {
                let waiting = matches!(state, StepState::Waiting { .. });
                let task = match state {
                    StepState::Waiting { task } => Some(*task),
                    StepState::Ready { .. } | StepState::Parked { .. } | StepState::Backoff { .. } => {
                        run.gate(&step.id)
                    }
                    _ => None,
                };
                let Some(task) = task else { continue };
                if let Some(verdict) = self.tasks.get(&task).and_then(|task| answer(task, step))
                    && (waiting || verdict != Verdict::Go)
                {
                    answers.push((run.id, Event::Answered { step: step.id.clone(), task, verdict }));
                }
            }
        }
        for (run, event) in answers {
            self.note_unchanged(run, &event);
            self.note_manual_reset(run, &event, around);
            self.record(out, around.now, run, event)?;
        }
        Ok(())
    }

    /// Law 4: an expiry closes the task; the case stays open as "contained, password unchanged".
    fn note_unchanged(&mut self, run: RunId, event: &Event) {
        let Event::Answered { step, verdict: Verdict::Expired | Verdict::Lapsed, .. } = event else { return };
        let of_run = self.runs.iter().find(|r| r.id == run);
        let ordered = self.order_of(run).is_some();
        // Of what was ordered by hand only a reset leaves a password unchanged that was to be changed.
        let leaves_open = |s: &Step| s.class == EffectClass::Hard && (!ordered || is_reset(s));
        let resets = of_run.and_then(|r| r.plan.step(step)).is_some_and(leaves_open);
        let shadow = of_run.is_some_and(|r| r.mode == Mode::Shadow);
        if let (true, false, Some(case)) = (resets, shadow, &mut self.doc.case) {
            case.unchanged = true;
        }
    }

    /// A password that a person changed by hand ends the watch like one we changed.
    fn note_manual_reset(&mut self, run: RunId, event: &Event, around: &Around<'_>) {
        let Event::Answered { step, verdict: Verdict::Done, .. } = event else { return };
        if self.run(run).and_then(|run| run.plan.step(step)).is_some_and(is_reset) {
            self.password_changed(around.now);
        }
    }

    /// Guests, synced and federated people cannot be reset by a call, role holders are not to be: the exact instructions instead.
    pub(super) fn manual_reset_text(&self, run: RunId) -> Option<&'static str> {
        let read = self.run(run)?.found(READ_USER)?;
        let is = |what: &str| read.get(what).and_then(Value::as_bool) == Some(true);
        let by_hand = [
            ("guest", GUEST_RESET),
            ("synced", SYNCED_RESET),
            ("federated", FEDERATED_RESET),
            ("privileged", PRIVILEGED_RESET),
        ];
        by_hand.into_iter().find(|(what, _)| is(what)).map(|(_, text)| text)
    }
}

/// Exact instructions for a person mastered in Active Directory (facts: graph §4.2, sentinel §5.1).
pub const SYNCED_RESET: &str = "This person is mastered in Active Directory; Entra refuses a password from here. In Active Directory: 1. disable the account or keep it in sight; 2. reset the password twice, with \"user must change password at next logon\"; 3. wait for (or start) a sync; 4. report this done: oust revokes the sessions again.";
/// Exact instructions for a guest.
pub const GUEST_RESET: &str = "This person is a guest; the home tenant owns password and sessions. 1. Tell the home tenant's security team; 2. remove the guest's access here or block sign-in until they confirm; 3. report this done.";
/// Exact instructions for a person of a federated domain (facts: graph §4.2).
pub const FEDERATED_RESET: &str = "This person signs in at a federated identity provider; Entra refuses a password from here. At that provider: 1. reset the password; 2. end the sessions; 3. report this done: oust revokes the sessions here again.";
/// Exact instructions for a role holder where `guards.privileged` is `task`.
pub const PRIVILEGED_RESET: &str = "This person holds a directory role; guards.privileged says that their password is reset by hand. In the Entra admin centre, as Privileged Authentication Administrator: reset the password, revoke sessions, then report this done.";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new password was ordered, and time went by before its run began: no step can say so.
fn is_unanswered_reset(task: &Task) -> bool {
    task.kind == Kind::Order
        && matches!(task.state, State::Expired { .. } | State::Lapsed { .. })
        && task.rows.iter().any(|row| row.action == RESET)
}

/// What a task's state means for one of its steps; `None` while it waits.
fn answer(task: &Task, step: &Step) -> Option<Verdict> {
    if task.kind == Kind::Undecided && matches!(task.state, State::Denied { .. }) {
        return Some(Verdict::Skip);
    }
    if let Some(withdrawn) = task.approval.as_ref().and_then(|approval| approval.withdrawn.as_ref()) {
        let row = task.rows.iter().find(|row| row.step == step.id.0);
        let unbegun = |row: &task::Row| {
            use task::Progress as P;
            matches!(row.progress, P::Waiting | P::Skipped { .. } | P::Failed { .. })
        };
        if row.is_none_or(unbegun) {
            return Some(verdict_of(withdrawn));
        }
    }
    match &task.state {
        State::Pending | State::Escalated { .. } => None,
        State::Executed { .. } if matches!(task.kind, Kind::Manual) || step.action == MANUAL => Some(Verdict::Done),
        state @ (State::Denied { .. }
        | State::Expired { .. }
        | State::Cancelled { .. }
        | State::Revoked { .. }
        | State::Lapsed { .. }) => Some(verdict_of(state)),
        _ => Some(Verdict::Go),
    }
}

fn verdict_of(state: &State) -> Verdict {
    match state {
        State::Denied { .. } => Verdict::Denied,
        State::Expired { .. } => Verdict::Expired,
        State::Revoked { .. } => Verdict::Revoked,
        State::Lapsed { .. } => Verdict::Lapsed,
        State::Cancelled { .. } => Verdict::Cancelled,
        _ => Verdict::Go,
    }
}

/// Parameters of a manual step.
pub(super) fn manual_text(step: &Step) -> (String, String) {
    let text = |key: &str| step.with.get(key).and_then(Value::as_str).map(str::to_owned);
    let instructions = text("instructions").unwrap_or_else(|| "See the playbook.".into());
    (text("title").unwrap_or_else(|| format!("By hand: {}", step.id)), instructions)
}

/// True for the action that gives a person a new password.
pub(super) fn is_reset(step: &Step) -> bool {
    step.action == RESET
}

/// Audit detail of a step.
pub(super) fn about(run: RunId, step: &StepId) -> Value {
    json!({"run": run, "step": step})
}
