//! Turns a decision into one batch: everything it changes, in one transaction, before anything is done.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::glance;
use super::hook::Fate;
use super::intake::Asking;
use super::lane::Lane;
use crate::domain::ledger::{Effect, EffectState, Fault};
use crate::domain::person::{Arrival, Case, Output, Person, Settled, Taken};
use crate::domain::plan::{EffectClass, StepId};
use crate::domain::run::{End, Entry, Event, Intent, StepState};
use crate::domain::task::State;
use crate::domain::{CaseId, Identity, RunId, SignalId};
use crate::queue::Claim;
use crate::store::{
    Audit, Batch, Cap, CaseRow, Epoch, Expect, Op, PersonRecord, PersonRow, RunRow, SignalOutcome, SignalRow,
};

/// A sealed secret on its way into the store, and who waits for that.
pub(super) type Seal = (RunId, StepId, Value, oneshot::Sender<Result<(), Fault>>);

/// What one turn of a lane takes in.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub settled: Vec<Settled>,
    pub arrivals: Vec<Arrival>,
    pub signals: Vec<SignalRow>,
    /// Those of them that come off the queue: they must not be known yet.
    pub fresh: HashSet<SignalId>,
    pub claims: Vec<Claim>,
    /// Waiting signals that this turn settles.
    pub asking: Vec<Asking>,
    pub seals: Vec<Seal>,
    /// Operations that belong to the intake whatever is decided.
    pub ops: Vec<Op>,
    pub fates: Vec<Fate>,
}

/// The scheduling columns of a person's row as last written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RowState {
    owned: bool,
    due_at: Option<Timestamp>,
    urgent: bool,
    watch_at: Option<Timestamp>,
}

impl Turn {
    fn put(&self, row: SignalRow) -> Op {
        if self.fresh.contains(&row.signal.id) { Op::TakeSignal(Box::new(row)) } else { Op::PutSignal(Box::new(row)) }
    }

    /// This signal was taken in before: nothing of it is left in the turn but its place on the queue.
    pub(super) fn forget(&mut self, signal: SignalId) {
        self.signals.retain(|row| row.signal.id != signal);
        self.arrivals.retain(|arrival| arrival.signal != signal);
        self.fresh.remove(&signal);
    }

    /// Lays the turn's signals before the worker that holds the person; `None` when there are none.
    pub(super) fn forward(
        &self,
        record: PersonRecord,
        identity: &Identity,
        me: Epoch,
        now: Timestamp,
    ) -> Option<Batch> {
        if self.signals.is_empty() {
            return None;
        }
        let mut ops = self.ops.clone();
        for row in &self.signals {
            let mut row = row.clone();
            row.first_of_content = false;
            row.outcome.word = "pending".into();
            row.outcome.reason = Some("another worker works on this person; it takes this in".into());
            ops.push(Op::Forward { identity: identity.clone(), signal: Box::new(row.signal.clone()) });
            ops.push(self.put(row));
        }
        let expect = Some(Expect { identity: identity.clone(), revision: record.revision, epoch: Some(me) });
        let row = PersonRow { due_at: Some(now), urgent: true, ..record.into_row(identity.clone()) };
        ops.push(Op::PutPerson(Box::new(row)));
        Some(Batch { expect, ops })
    }
}

impl Lane {
    /// The batch of a decision, and the row as it will be; `None` when there is nothing to write.
    pub(super) fn batch(
        &self,
        person: &Person,
        output: &Output,
        turn: &Turn,
        storm: Vec<Op>,
    ) -> Option<(Batch, RowState)> {
        let inner = self.inner();
        let now = inner.now();
        let busy = !output.deeds.is_empty() || self.is_calling();
        let row = RowState {
            owned: busy,
            due_at: if busy { Some(now) } else { person.wake_at(inner.rules.collect_limit) },
            urgent: person.is_urgent(),
            watch_at: person.doc.watch_at(),
        };
        let known = self.person_doc();
        let same_doc = known.is_some_and(|doc| *doc == person.doc);
        let same_row = self.row().is_some_and(|last| last.owned == row.owned && (busy || *last == row));
        let brings = !turn.signals.is_empty() || !turn.ops.is_empty() || !turn.seals.is_empty();
        if output.is_empty() && !brings && same_doc && same_row {
            return None;
        }
        let mut ops = turn.ops.clone();
        ops.push(Op::PutPerson(Box::new(PersonRow {
            identity: self.identity().clone(),
            doc: serde_json::to_value(&person.doc).unwrap_or_default(),
            owner: busy.then_some(self.epoch()),
            due_at: row.due_at,
            urgent: row.urgent,
            watch_at: row.watch_at,
        })));
        self.put_case(person, output, &mut ops);
        self.put_runs(person, output, &mut ops);
        self.put_effects(person, output, now, &mut ops);
        for id in &output.tasks {
            ops.extend(person.tasks.get(id).map(|task| Op::PutTask(Box::new(task.clone()))));
        }
        self.put_signals(output, turn, &mut ops);
        self.put_audit(person, output, now, &mut ops);
        for (run, step, sealed, _) in &turn.seals {
            if let Some(task) = person.task_of(*run, step) {
                ops.push(Op::PutSealed { task, sealed: sealed.clone() });
            }
        }
        ops.extend(output.drop_secrets.iter().map(|task| Op::DropSealed { task: *task }));
        if output.counts_revocation {
            let cap = inner.blast_radius.map(|(revocations, per)| Cap {
                revocations,
                since: now - SignedDuration::try_from(per).unwrap_or(SignedDuration::from_mins(10)),
            });
            ops.push(Op::CountRevocation { identity: self.identity().clone(), at: now, cap });
        }
        ops.extend(storm);
        let expect =
            Some(Expect { identity: self.identity().clone(), revision: self.revision(), epoch: Some(self.epoch()) });
        Some((Batch { expect, ops }, row))
    }

    fn put_case(&self, person: &Person, output: &Output, ops: &mut Vec<Op>) {
        let (case, closed) = match (&output.case_closed, &person.doc.case) {
            (Some(case), _) => (case, Some(self.inner().now())),
            (None, Some(case)) => (case, None),
            (None, None) => return,
        };
        let word = if closed.is_some() { "closed" } else { person.case_word() };
        ops.push(Op::PutCase(Box::new(case_row(person, case, closed, word))));
    }

    fn put_runs(&self, person: &Person, output: &Output, ops: &mut Vec<Op>) {
        for (run, seq, entry) in &output.journal {
            if let (1, Some(opened)) = (*seq, person.run(*run)) {
                if !self.inner().is_pinned(&opened.plan_hash) {
                    let json = crate::playbook::normalise::pin(&opened.plan).json;
                    ops.push(Op::PutPlan { hash: opened.plan_hash.clone(), json });
                }
                self.inner().keep_plan(&opened.plan_hash, &opened.plan);
            }
            ops.push(Op::Journal { run: *run, seq: *seq, entry: Box::new(entry.clone()) });
        }
        for id in &output.runs_touched {
            let Some(run) = person.run(*id) else { continue };
            let closed_at =
                run.end.and_then(|_| output.journal.iter().rev().find(|(r, ..)| r == id)).map(|(_, _, e)| e.at);
            ops.push(Op::PutRun(Box::new(RunRow {
                id: run.id,
                case: run.case,
                identity: person.identity.clone(),
                plan: run.plan_hash.clone(),
                playbook: run.plan.name.clone(),
                mode: run.mode,
                opened_at: run.opened_at,
                closed_at,
                state: match run.end {
                    None => "open",
                    Some(End::Finished) => "finished",
                    Some(End::Stopped) => "stopped",
                    Some(End::Cancelled) => "cancelled",
                }
                .into(),
            })));
        }
    }

    fn put_effects(&self, person: &Person, output: &Output, now: Timestamp, ops: &mut Vec<Op>) {
        let mut written: HashMap<(RunId, &StepId), Intent> = HashMap::new();
        for (run, _, entry) in &output.journal {
            let Some(run) = person.run(*run) else { continue };
            let Some((step, state, request_id)) = effect_state(entry) else { continue };
            let Some(spec) = run.plan.step(step).filter(|spec| spec.class != EffectClass::Read) else { continue };
            // An outcome belongs to the intent before it, which a newer one of this very turn may have replaced.
            let before = || self.person_now()?.run(run.id)?.intent(step).cloned();
            let intent = match &entry.event {
                Event::Intended { key, attempt, before, .. } => {
                    Some(Intent { key: *key, attempt: *attempt, at: entry.at, before: before.clone() })
                }
                _ => written.get(&(run.id, step)).cloned().or_else(before),
            };
            let Some(intent) = intent else { continue };
            written.insert((run.id, step), intent.clone());
            ops.push(Op::PutEffect(Box::new(Effect {
                key: intent.key,
                identity: person.identity.clone(),
                run: run.id,
                step: step.clone(),
                action: spec.action.clone(),
                attempt: intent.attempt,
                state,
                intended_at: intent.at,
                settled_at: (state != EffectState::Intended).then_some(now),
                before: intent.before.clone(),
                request_id,
            })));
        }
    }

    fn put_signals(&self, output: &Output, turn: &Turn, ops: &mut Vec<Op>) {
        let mut outcomes: Vec<(SignalId, SignalOutcome)> =
            output.outcomes.iter().map(|(id, taken)| (*id, outcome_of(taken))).collect();
        for row in &turn.signals {
            let mut row = row.clone();
            // The last word counts: a signal may be pending and judged in one turn.
            if let Some(at) = outcomes.iter().rposition(|(id, _)| *id == row.signal.id) {
                let reason = row.outcome.reason.take();
                row.outcome = outcomes[at].1.clone();
                row.outcome.reason = row.outcome.reason.or(reason);
                outcomes.retain(|(id, _)| *id != row.signal.id);
            }
            ops.push(turn.put(row));
        }
        ops.extend(outcomes.into_iter().map(|(signal, outcome)| Op::Outcome { signal, outcome }));
    }

    fn put_audit(&self, person: &Person, output: &Output, now: Timestamp, ops: &mut Vec<Op>) {
        let case = output.case_closed.as_ref().or(person.doc.case.as_ref()).map(|case| case.id);
        for note in &output.notes {
            ops.push(Op::Audit(Box::new(Audit {
                at: now,
                actor: "worker".into(),
                verb: note.verb.into(),
                tenant: Some(person.identity.tenant.clone()),
                object_id: Some(person.identity.object_id),
                case,
                detail: note.detail.clone(),
            })));
        }
        self.put_ends(person, output, case, now, ops);
    }

    /// What clocks, preconditions and later evidence did to tasks: nobody decided it, so no decision's record tells it.
    fn put_ends(&self, person: &Person, output: &Output, case: Option<CaseId>, now: Timestamp, ops: &mut Vec<Op>) {
        let before = self.person_now();
        for task in output.tasks.iter().filter_map(|id| person.tasks.get(id)) {
            let was = before.and_then(|before| before.tasks.get(&task.id));
            let (word, previous) = (task.state.word(), was.map(|was| was.state.word()));
            let told = matches!(
                task.state,
                State::Escalated { .. }
                    | State::Expired { .. }
                    | State::Lapsed { .. }
                    | State::Cancelled { .. }
                    | State::RevealExpired { .. }
            );
            let verb = match was {
                _ if told && previous != Some(word) => format!("task.{word}"),
                Some(was) if was.newer != task.newer => "task.evidence".to_owned(),
                _ => continue,
            };
            ops.push(Op::Audit(Box::new(Audit {
                at: now,
                actor: "worker".into(),
                verb,
                tenant: Some(person.identity.tenant.clone()),
                object_id: Some(person.identity.object_id),
                case,
                detail: json!({ "task": task.id, "kind": task.kind.word(), "was": previous, "newer": task.newer }),
            })));
        }
    }
}

fn effect_state(entry: &Entry) -> Option<(&StepId, EffectState, Option<String>)> {
    match &entry.event {
        Event::Intended { step, .. } => Some((step, EffectState::Intended, None)),
        Event::Done { step, request_id, .. } => Some((step, EffectState::Applied, request_id.clone())),
        Event::Failed { step, fault, .. } => Some((step, EffectState::Failed, fault.request_id.clone())),
        Event::Unknown { step, fault, .. } => Some((step, EffectState::Unknown, fault.request_id.clone())),
        _ => None,
    }
}

pub(super) fn word_of(taken: &Taken) -> &'static str {
    match taken {
        Taken::Opened { .. } => "act",
        Taken::Covered { .. } => "covered",
        Taken::Pending { .. } => "pending",
        Taken::Evidence { .. } => "late_evidence",
        Taken::Old { .. } => "held",
    }
}

fn outcome_of(taken: &Taken) -> SignalOutcome {
    let (case, run, reason) = match taken {
        Taken::Opened { case, run } => (Some(*case), Some(*run), None),
        Taken::Covered { case, run } => {
            (*case, *run, Some("the sessions were already revoked after this activity".to_owned()))
        }
        Taken::Pending { case } => (*case, None, Some("a revoke is in flight; judged when it settles".to_owned())),
        Taken::Evidence { case } => {
            let reason = "a revoke is in flight, and newer signals of the same playbook wait for it".to_owned();
            (Some(*case), None, Some(reason))
        }
        Taken::Old { case } => (Some(*case), None, Some("older than guards.max_age: a task, no action".to_owned())),
    };
    SignalOutcome { word: word_of(taken).into(), reason, case, run, first: None }
}

fn case_row(person: &Person, case: &Case, closed_at: Option<Timestamp>, state: &str) -> CaseRow {
    let steps: Vec<Value> = person
        .runs
        .iter()
        .flat_map(|run| run.steps().map(move |(step, state)| (run, step, state)))
        .filter(|(_, _, state)| {
            !matches!(state, StepState::Todo | StepState::Skipped { .. } | StepState::Joined { .. })
        })
        .map(|(run, step, state)| json!({"run": run.id, "step": step.id, "state": state.word()}))
        .collect();
    CaseRow {
        id: case.id,
        identity: person.identity.clone(),
        opened_at: case.opened_at,
        closed_at,
        state: state.to_owned(),
        kinds: case.kinds.iter().map(|kind| kind.word().to_owned()).collect(),
        risk: case.risk.word().to_owned(),
        mode: case.mode,
        signals: case.signals,
        received_at: case.received_at,
        revoke_accepted_at: case.revoke_accepted_at,
        last_revoke_at: case.last_revoke_at,
        revoke_verified_at: case.revoke_verified_at,
        detail: json!({
            "latest_activity": case.latest_activity, "guest": case.guest, "reset_at": case.reset_at,
            "changed_by_user_at": case.changed_by_user_at,
            "user": glance::user(person, case), "place": glance::place(person, case),
            "parked": glance::parked(person, case), "nobody": glance::is_nobody(person, case),
            "playbooks": case.playbooks, "steps": steps,
        }),
    }
}
