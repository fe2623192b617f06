//! What a person ordered by hand: written down as a task, and carried out once it is approved.
//!
//! An order that sends something opens a run of its own, whose gated steps the order's task lets go; the other orders
//! change the case at once. The same state gives the same result: a crash in between repeats nothing.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::digest::{Digest, canonical};
use super::super::ids::{RunId, TaskId};
use super::super::ledger::Fault;
use super::super::plan::{Plan, RESET, REVOKE, StepId};
use super::super::run::{End, Entry, Event, Illegal, Run, StepState, Verdict};
use super::super::task::{self, Binding, Kind, New, Order, Ordered, Policy, Row, State, Task};
use super::{Around, Note, Output, Person};

/// An order in hand.
#[derive(Debug, Clone)]
pub struct Request {
    pub task: TaskId,
    /// The run that is to carry it out.
    pub run: RunId,
    pub ordered: Ordered,
    pub policy: Policy,
    /// Whoever asked, where somebody else must decide.
    pub requester: Option<task::Person>,
    pub now: Timestamp,
}

/// A person's word about an effect that stays unknown.
const SETTLED: &str = "OUST-T-SETTLED";

impl Person {
    /// How long an order that is not a reset may wait for its decision.
    pub const DECIDE_ORDER_WITHIN: SignedDuration = SignedDuration::from_mins(15);

    /// Writes an order down: a task of the open case, with everything known so far as its evidence.
    pub fn ask_order(&mut self, request: Request) -> Task {
        let Request { task, run, ordered, mut policy, requester, now } = request;
        let runs: Vec<RunId> = self.runs.iter().map(|run| run.id).collect();
        let snapshot = self.snapshot_of(now, &runs);
        let reveals = ordered.rows().iter().any(|row| row.reveals);
        policy.execute_within.get_or_insert(if reveals {
            Policy::EXECUTE_WITHIN_REVEALING
        } else {
            Policy::EXECUTE_WITHIN
        });
        let instructions = match &ordered.reason {
            Some(reason) => format!("Asked for by {}: {reason}", ordered.by),
            None => format!("Asked for by {}.", ordered.by),
        };
        let target = ordered.plan.as_ref().and_then(|_| self.target_read());
        let mut task = Task::open(New {
            id: task,
            kind: Kind::Order,
            title: ordered.order.title(),
            policy,
            created_at: now,
            snapshot,
            shadow: false,
            identity: Some(self.identity.clone()),
            case: self.doc.case.as_ref().map(|case| case.id),
            run: ordered.plan.is_some().then_some(run),
            instructions: Some(instructions),
            requester,
            playbook: ordered.plan.as_ref().map(|plan| task::Playbook {
                name: plan.name.clone(),
                version: u64::from(plan.version),
                hash: hash(plan),
            }),
            rows: Vec::new(),
        })
        .ordering(ordered);
        task.target = target;
        task.risk = self.doc.case.as_ref().map(|case| case.risk);
        self.tasks.insert(task.id, task.clone());
        task
    }

    /// The order that this run carries out.
    pub(super) fn order_of(&self, run: RunId) -> Option<TaskId> {
        self.tasks.values().find(|task| task.kind == Kind::Order && task.run == Some(run)).map(|task| task.id)
    }

    /// Carries out what was approved and is not begun.
    pub(super) fn carry_out(&mut self, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let is_next = |task: &&Task| task.kind == Kind::Order && matches!(task.state, State::Approved { .. });
        let approved: Vec<TaskId> = self.tasks.values().filter(is_next).map(|task| task.id).collect();
        for id in approved {
            let Some(task) = self.tasks.get(&id).cloned() else { continue };
            let Some(ordered) = task.ordered.as_deref() else { continue };
            if task.run.is_some_and(|run| self.run(run).is_some()) {
                continue;
            }
            if let Err(why) = self.fits(&ordered.order, around.rules.mode, Some(&task)) {
                self.give_up(id, why.to_string(), around, out);
            } else if !is_intact(&task, ordered) {
                self.give_up(id, "the stored order is not what was approved".into(), around, out);
            } else if ordered.order.sends() {
                self.open_ordered(&task, ordered, around, out)?;
            } else {
                self.do_at_once(&task, ordered, around, out)?;
            }
        }
        Ok(())
    }

    fn give_up(&mut self, order: TaskId, reason: String, around: &Around<'_>, out: &mut Output) {
        let Some(task) = self.tasks.get_mut(&order) else { return };
        let detail = json!({"task": order, "why": reason});
        if task.apply(task::Event::Cancel { by: "worker".to_owned(), reason }, around.now).is_ok() {
            out.tasks.insert(order);
            out.notes.push(Note { verb: "order.cancelled", detail });
        }
    }

    fn open_ordered(
        &mut self,
        task: &Task,
        ordered: &Ordered,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        let (Some(id), Some(case), Some(plan)) = (task.run, &mut self.doc.case, &ordered.plan) else { return Ok(()) };
        let latest = case.latest_activity;
        let is_revoke = plan.steps.iter().any(|step| step.action == REVOKE && step.follows.is_none())
            && !plan.steps.iter().any(|step| step.action == RESET);
        case.runs.push(id);
        case.takes_effect(around.rules.mode);
        let case = case.id;
        let by = task.approval.as_ref().map(|approval| approval.by.clone()).unwrap_or_default();
        let plan = Arc::new(plan.clone());
        let entry = Entry {
            at: around.now,
            event: Event::Opened {
                plan: task.playbook.as_ref().map(|playbook| playbook.hash.clone()).unwrap_or_default(),
                playbook: plan.name.clone(),
                version: plan.version,
                mode: around.rules.mode,
                triggers: Vec::new(),
                activity: around.now,
                received_at: around.now,
                satisfied: !is_revoke && self.is_revoked_since(latest),
                signal: json!({"by_hand": {
                    "order": ordered.order.word(), "task": task.id, "asked_by": ordered.by, "reason": ordered.reason,
                    "approved_by": by,
                }}),
                traceparent: None,
            },
        };
        let run = Run::open(id, case, plan, &entry)?;
        out.journal.push((id, 1, entry));
        out.runs_touched.insert(id);
        self.runs.push(run);
        out.notes.push(Note { verb: "order.begun", detail: about(task, ordered) });
        self.take_over(id, around, out)
    }

    fn do_at_once(
        &mut self,
        task: &Task,
        ordered: &Ordered,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        let Some(fence) = self.claim_order(task, ordered, around, out) else { return Ok(()) };
        let why = match &ordered.reason {
            Some(reason) => format!("{}: {reason}", ordered.by),
            None => ordered.by.clone(),
        };
        match &ordered.order {
            Order::Skip { run, step } => self.leave_out(*run, step, &why, around, out)?,
            Order::Settle { run, step, .. } if matches!(self.state(*run, step), StepState::Backoff { .. }) => {
                self.did_by_hand(*run, step, task.id, around, out)?;
            }
            Order::Settle { run, step, applied } => self.settle_by_hand(*run, step, *applied, &why, around, out)?,
            Order::Cancel { run } => self.cancel_run(*run, &why, around, out)?,
            Order::Close => {
                for run in self.runs.iter().filter(|run| run.is_open()).map(|run| run.id).collect::<Vec<_>>() {
                    self.cancel_run(run, &why, around, out)?;
                }
                self.cancel_tasks(task.id, &why, around, out);
            }
            Order::Revoke | Order::Reset | Order::ConfirmCompromised | Order::DismissRisk | Order::Again { .. } => {}
        }
        let step = ordered.order.word().to_owned();
        if let Some(task) = self.tasks.get_mut(&task.id)
            && task.apply(task::Event::Executed { step, fence }, around.now).is_ok()
        {
            out.tasks.insert(task.id);
        }
        out.notes.push(Note { verb: "order.done", detail: about(task, ordered) });
        if ordered.order == Order::Close {
            // What is not read back by now is not read back in a closed case; the watermark stays where it is certain.
            self.doc.read_back = None;
            self.end_case(Some(&why), around, out);
            if let Some(case) = &mut out.case_closed {
                case.unchanged = false;
            }
        }
        Ok(())
    }

    /// Claims the one row of an order that is done at once; `None` when it is not what was approved.
    fn claim_order(&mut self, task: &Task, ordered: &Ordered, around: &Around<'_>, out: &mut Output) -> Option<u64> {
        let rows = ordered.rows();
        let fence = task.fence + 1;
        let now = Binding::new(Some(self.identity.clone()), None, rows.iter().map(|row| (&*row.action, &row.params)));
        let claim = task::Claim {
            step: rows.first()?.step.clone(),
            fence,
            // It is done to the case: whatever the account has become meanwhile, it is no objection.
            now: Binding { target: task.target.clone(), ..now },
            risk_closed: None,
            lost: Vec::new(),
            browser_seen: None,
        };
        let claimed = self.tasks.get_mut(&task.id)?;
        let refused = claimed.apply(task::Event::Claim(Box::new(claim)), around.now).err();
        out.tasks.insert(task.id);
        if let Some(refused) = refused {
            let detail = json!({"task": task.id, "why": refused.to_string()});
            out.notes.push(Note { verb: "claim.refused", detail });
        }
        matches!(self.tasks.get(&task.id)?.state, State::Claimed { .. }).then_some(fence)
    }

    fn leave_out(
        &mut self,
        run: RunId,
        step: &StepId,
        why: &str,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        if let StepState::Waiting { task } = self.state(run, step) {
            self.withdraw_manual(task, why, around, out);
        }
        let reason = format!("skipped by {why}");
        self.record(out, around.now, run, Event::Skipped { step: step.clone(), reason })
    }

    /// A job for a human has no rows: it ends with the step that waits for it.
    pub(super) fn withdraw_manual(&mut self, task: TaskId, why: &str, around: &Around<'_>, out: &mut Output) {
        let Some(task) = self.tasks.get_mut(&task).filter(|task| task.rows.is_empty()) else { return };
        let cancel = task::Event::Cancel { by: "worker".to_owned(), reason: format!("no longer needed ({why})") };
        if task.apply(cancel, around.now).is_ok() {
            out.tasks.insert(task.id);
        }
    }

    /// A person did what Graph keeps refusing; nothing was accepted by Graph, so the watermark stays where it is.
    fn did_by_hand(
        &mut self,
        run: RunId,
        step: &StepId,
        task: TaskId,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        self.record(out, around.now, run, Event::Asked { step: step.clone(), task })?;
        self.record(out, around.now, run, Event::Answered { step: step.clone(), task, verdict: Verdict::Done })
    }

    fn settle_by_hand(
        &mut self,
        run: RunId,
        step: &StepId,
        applied: bool,
        why: &str,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<(), Illegal> {
        let Some((_, spec)) = self.spec(run, step) else { return Ok(()) };
        let spec = spec.clone();
        let StepState::Unknown { at, .. } = self.state(run, step) else { return Ok(()) };
        self.task_event(run, step, around, out, |step, _| task::Event::Verified { step, applied });
        if applied {
            return self.done(run, &spec, json!({"settled_by": why}), None, at, around, out);
        }
        if let (RESET, Some(case)) = (spec.action.as_str(), &mut self.doc.case) {
            case.unchanged = true;
        }
        let fault = Fault::refuse(SETTLED, format!("It did not take effect, says {why}"));
        out.notes.push(Note {
            verb: "effect.failed",
            detail: json!({"run": run, "step": step, "code": SETTLED, "retry_at": null}),
        });
        self.record(out, around.now, run, Event::Failed { step: step.clone(), fault, retry_at: None })
    }

    fn cancel_run(&mut self, run: RunId, why: &str, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let open = self.run(run).map(|run| {
            let left = run.steps().filter(|(_, state)| !state.is_settled());
            left.map(|(step, _)| step.id.clone()).collect::<Vec<_>>()
        });
        for step in open.unwrap_or_default() {
            if let StepState::Waiting { task } = self.state(run, &step) {
                self.withdraw_manual(task, why, around, out);
            }
            let reason = format!("the run was cancelled by {why}");
            self.record(out, around.now, run, Event::Skipped { step, reason })?;
        }
        let reason = format!("cancelled by {why}");
        self.record(out, around.now, run, Event::Closed { end: End::Cancelled, reason })
    }

    /// The case ends: nobody is asked anything about it any more.
    fn cancel_tasks(&mut self, but: TaskId, why: &str, around: &Around<'_>, out: &mut Output) {
        for task in self.tasks.values_mut().filter(|task| task.id != but && !task.state.is_terminal()) {
            let cancel =
                task::Event::Cancel { by: "worker".to_owned(), reason: format!("the case was closed by {why}") };
            let answer = task.apply(cancel, around.now);
            if answer.is_ok() {
                out.tasks.insert(task.id);
            }
        }
    }

    /// A playbook asks for a reset: an order for the same that nobody decided yet has become needless (never two open).
    pub(super) fn supersede_orders(&mut self, by: TaskId, around: &Around<'_>, out: &mut Output) {
        let same = |row: &Row| row.action == RESET;
        let undecided = |task: &&Task| {
            task.kind == Kind::Order && task.state.is_undecided() && task.id != by && task.rows.iter().any(same)
        };
        let needless: Vec<TaskId> = self.tasks.values().filter(undecided).map(|task| task.id).collect();
        for order in needless {
            self.give_up(order, format!("a playbook asks for the same now ({by})"), around, out);
        }
    }
}

/// The plan is the one whose hash was shown, and the rows are what it does.
fn is_intact(task: &Task, ordered: &Ordered) -> bool {
    let bound = |row: &Row| (row.step.clone(), row.action.clone(), row.params.clone(), row.reveals);
    let same_rows = ordered.rows().iter().map(bound).eq(task.rows.iter().map(bound));
    let same_plan = match (&ordered.plan, &task.playbook) {
        (Some(plan), Some(playbook)) => hash(plan) == playbook.hash,
        (None, None) => !ordered.order.sends(),
        _ => false,
    };
    same_rows && same_plan
}

/// As a plan is pinned: SHA-256 (hex) of its canonical text.
fn hash(plan: &Plan) -> String {
    let mut text = String::new();
    canonical(&serde_json::to_value(plan).unwrap_or(Value::Null), &mut text);
    Digest::of(&[text.as_bytes()]).to_string()
}

/// Audit detail of an order.
fn about(task: &Task, ordered: &Ordered) -> Value {
    let by = task.approval.as_ref().map(|approval| approval.by.as_slice()).unwrap_or_default();
    let step = ordered.order.step().map(|(_, step)| step);
    let run = task.run.or(match &ordered.order {
        Order::Cancel { run } => Some(*run),
        order => order.step().map(|(run, _)| run),
    });
    json!({
        "task": task.id, "order": ordered.order.word(), "run": run, "step": step, "asked_by": ordered.by,
        "reason": ordered.reason, "approved_by": by,
    })
}
