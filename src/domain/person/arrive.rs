//! A signal arrives: covered, to be acted on, or to wait for the revoke in flight (contract §4, §13.1–2).

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::ids::{CaseId, RunId, SignalId};
use super::super::plan::{Plan, REVOKE};
use super::super::run::{Entry, Event, Illegal, Mode, Run, StepState};
use super::super::signal::{Kind, Risk};
use super::super::task;
use super::denied::is_denied;
use super::{Around, Case, Note, Output, Person, Traces};

/// A pinned plan by its hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRef {
    pub hash: String,
    #[serde(with = "shared")]
    pub plan: Arc<Plan>,
}

/// A shared plan is stored as the plan itself.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::domain::plan::Plan;

    pub(super) fn serialize<S: Serializer>(plan: &Arc<Plan>, to: S) -> Result<S::Ok, S::Error> {
        plan.as_ref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Plan>, D::Error> {
        Plan::deserialize(from).map(Arc::new)
    }
}

/// A signal about this person, with the playbook it chose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    pub signal: SignalId,
    pub kind: Kind,
    pub risk: Risk,
    pub activity: Timestamp,
    pub received_at: Timestamp,
    /// Content hash, for evidence snapshots.
    pub content: String,
    /// What conditions see as `signal`.
    pub context: Value,
    /// W3C `traceparent` of the receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    pub traces: Traces,
    pub plan: PlanRef,
}

/// What became of an arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Opened this run (alone or as one of a group).
    Opened { case: CaseId, run: RunId },
    /// Already revoked after its activity; `run` when it brought a playbook that had not run.
    Covered { case: Option<CaseId>, run: Option<RunId> },
    /// Met a revoke in flight.
    Pending { case: Option<CaseId> },
    /// Met a revoke in flight that as many newer ones of its playbook wait for: what is done then is done for it too.
    Evidence { case: CaseId },
    /// Too old to act on: a task.
    Old { case: CaseId },
}

/// So many signals of one playbook wait for a revoke in flight; the newest are what it is judged by.
const MOST_PENDING: usize = 20;

impl Person {
    /// Takes one signal.
    ///
    /// # Errors
    /// `Illegal` only when the state in hand is corrupt.
    pub fn arrive(&mut self, arrival: Arrival, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        if around.now.duration_since(arrival.activity) > around.rules.max_age {
            return self.old_news(&arrival, around, out);
        }
        self.keep_denied(around, out)?;
        if around.rules.mode == Mode::Enforce && self.has_revoke_in_flight() {
            let case = self.doc.case.as_ref().map(|case| case.id);
            out.outcomes.push((arrival.signal, Taken::Pending { case }));
            let hash = arrival.plan.hash.clone();
            self.doc.pending.push(arrival);
            self.bound_pending(&hash, around, out);
            return Ok(());
        }
        self.judge(vec![arrival], around, out)
    }

    /// A revoke in flight for hours (a pause, a Graph that does not answer) must not make the person too large to write.
    /// The earliest activity is let go: whatever the newest of the same playbook starts is later than it, or covers it.
    fn bound_pending(&mut self, hash: &str, around: &Around<'_>, out: &mut Output) {
        let same = || self.doc.pending.iter().enumerate().filter(|(_, waiting)| waiting.plan.hash == hash);
        if same().count() <= MOST_PENDING {
            return;
        }
        let Some((earliest, _)) = same().min_by_key(|(_, waiting)| waiting.activity) else { return };
        let arrival = self.doc.pending.remove(earliest);
        let case = self.join_case(&arrival, around);
        self.newer_evidence(true, around, out);
        out.outcomes.push((arrival.signal, Taken::Evidence { case }));
    }

    /// Signals that met a revoke in flight are judged once it has settled.
    pub(super) fn judge_pending(&mut self, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        if self.doc.pending.is_empty() || self.has_revoke_in_flight() || self.has_denied_revoke() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.doc.pending);
        self.judge(pending, around, out)
    }

    /// A first revoke of the case that is not settled: what comes meanwhile waits for it.
    pub(super) fn has_revoke_in_flight(&self) -> bool {
        self.runs.iter().filter(|run| run.is_open() && run.mode == Mode::Enforce).any(|run| {
            run.steps().any(|(step, state)| {
                step.action == REVOKE
                    && match state {
                        StepState::Intended { .. } | StepState::Unknown { .. } | StepState::Backoff { .. } => true,
                        state if is_denied(state) => false,
                        // One that follows a step which nobody began is not on its way.
                        StepState::Todo | StepState::Parked { .. } => {
                            step.phase == super::super::plan::Phase::Contain && !run.satisfied && run.is_owed(step)
                        }
                        _ => false,
                    }
            })
        })
    }

    fn judge(&mut self, arrivals: Vec<Arrival>, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let (covered, uncovered): (Vec<_>, Vec<_>) = arrivals.into_iter().partition(|a| self.covers(a.activity));
        let mut groups: Vec<Vec<Arrival>> = Vec::new();
        for arrival in uncovered {
            match groups.iter_mut().find(|group| group[0].plan.hash == arrival.plan.hash) {
                Some(group) => group.push(arrival),
                None => groups.push(vec![arrival]),
            }
        }
        for group in groups {
            self.act_on(group, around, out)?;
        }
        for arrival in covered {
            self.covered(arrival, around, out)?;
        }
        Ok(())
    }

    fn act_on(&mut self, group: Vec<Arrival>, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        // Nothing moves the watermark in shadow: one open rehearsal per playbook is enough.
        let hash = &group[0].plan.hash;
        let rehearsal =
            self.runs.iter().find(|r| r.is_open() && r.mode == Mode::Shadow && &r.plan_hash == hash).map(|r| r.id);
        if let (Mode::Shadow, Some(run)) = (around.rules.mode, rehearsal) {
            for arrival in group {
                let case = self.join_case(&arrival, around);
                self.newer_evidence(true, around, out);
                self.record(out, around.now, run, Event::Attached { signal: arrival.signal })?;
                out.outcomes.push((arrival.signal, Taken::Covered { case: Some(case), run: Some(run) }));
            }
            return Ok(());
        }
        let run = self.open_run(&group, false, around, out)?;
        for arrival in group {
            if let Some(case) = self.doc.case.as_ref().map(|case| case.id) {
                out.outcomes.push((arrival.signal, Taken::Opened { case, run }));
            }
        }
        Ok(())
    }

    /// Covered means no new revoke, nothing more: a playbook that this case has not run still starts.
    fn covered(&mut self, arrival: Arrival, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let name = &arrival.plan.plan.name;
        let ran = match (&self.doc.case, &self.doc.last_case) {
            (Some(_), _) => self.has_run(name, around.rules.mode),
            (None, Some(last)) if around.now.duration_since(last.closed_at) <= around.rules.aftermath => {
                last.playbooks.contains(name)
            }
            _ => false,
        };
        let signal = arrival.signal;
        if ran {
            let case = match &self.doc.case {
                Some(_) => Some(self.join_case(&arrival, around)),
                None => self.doc.last_case.as_ref().map(|last| last.id),
            };
            if self.doc.case.is_some() {
                self.newer_evidence(false, around, out);
            }
            out.outcomes.push((signal, Taken::Covered { case, run: None }));
            return Ok(());
        }
        let run = self.open_run(&[arrival], true, around, out)?;
        let case = self.doc.case.as_ref().map(|case| case.id);
        out.outcomes.push((signal, Taken::Covered { case, run: Some(run) }));
        Ok(())
    }

    /// The open case ran this playbook. A rehearsal of it is none where effects are sent.
    pub(super) fn has_run(&self, playbook: &str, mode: Mode) -> bool {
        let counts = |run: &Run| run.mode == Mode::Enforce || mode == Mode::Shadow;
        self.runs.iter().any(|run| run.plan.name == playbook && counts(run))
    }

    fn open_run(
        &mut self,
        group: &[Arrival],
        satisfied: bool,
        around: &Around<'_>,
        out: &mut Output,
    ) -> Result<RunId, Illegal> {
        let mut case = CaseId::new(uuid::Uuid::nil());
        for arrival in group {
            case = self.join_case(arrival, around);
        }
        let newest = group.iter().max_by_key(|a| a.activity).unwrap_or(&group[0]);
        let received_at = group.iter().map(|a| a.received_at).min().unwrap_or(newest.received_at);
        let id = RunId::new((around.mint)());
        let plan = Arc::clone(&newest.plan.plan);
        let entry = Entry {
            at: around.now,
            event: Event::Opened {
                plan: newest.plan.hash.clone(),
                playbook: plan.name.clone(),
                version: plan.version,
                mode: around.rules.mode,
                triggers: group.iter().map(|a| a.signal).collect(),
                activity: newest.activity,
                received_at,
                satisfied,
                signal: newest.context.clone(),
                traceparent: newest.traceparent.clone(),
            },
        };
        let run = Run::open(id, case, Arc::clone(&plan), &entry)?;
        out.journal.push((id, 1, entry));
        out.runs_touched.insert(id);
        self.runs.push(run);
        if let Some(case) = &mut self.doc.case {
            case.runs.push(id);
            case.playbooks.insert(plan.name.clone());
            case.takes_effect(around.rules.mode);
        }
        self.newer_evidence(!satisfied, around, out);
        Ok(id)
    }

    /// Joins the open case, opening one if there is none.
    fn join_case(&mut self, arrival: &Arrival, around: &Around<'_>) -> CaseId {
        let case = self.doc.case.get_or_insert_with(|| Case {
            id: CaseId::new((around.mint)()),
            opened_at: around.now,
            received_at: arrival.received_at,
            kinds: Default::default(),
            risk: arrival.risk,
            mode: around.rules.mode,
            signals: 0,
            latest_activity: arrival.activity.min(around.now),
            told_at: None,
            playbooks: Default::default(),
            runs: Vec::new(),
            evidence: Vec::new(),
            snapshots: 0,
            traces: Traces::default(),
            guest: false,
            unchanged: false,
            revoke_accepted_at: None,
            last_revoke_at: None,
            revoke_verified_at: None,
            reset_at: None,
            changed_by_user_at: None,
        });
        case.signals += 1;
        case.kinds.insert(arrival.kind);
        // A sender's clock may be ahead of ours: nothing has happened after now (law 3 compares with our revoke).
        case.latest_activity = case.latest_activity.max(arrival.activity.min(around.now));
        case.traces.merge(&arrival.traces);
        if arrival.risk != Risk::Unknown && (case.risk == Risk::Unknown || arrival.risk > case.risk) {
            case.risk = arrival.risk;
        }
        if case.evidence.len() == 200 {
            case.evidence.remove(0);
        }
        case.evidence.push((arrival.signal, arrival.content.clone()));
        if let Some(watch) = &mut self.doc.watch {
            watch.traces.merge(&arrival.traces);
        }
        case.id
    }

    /// `acute`: of something that no revoke covers; the person is at risk anew. What is covered says nothing of now.
    fn newer_evidence(&mut self, acute: bool, around: &Around<'_>, out: &mut Output) {
        let Some(case) = &mut self.doc.case else { return };
        if acute {
            case.told_at = Some(around.now);
        }
        let risk = case.risk;
        for task in self.tasks.values_mut().filter(|task| task.state.is_undecided()) {
            if task.apply(task::Event::NewerEvidence { risk, acute }, around.now).is_ok() {
                out.tasks.insert(task.id);
            }
        }
    }

    fn old_news(&mut self, arrival: &Arrival, around: &Around<'_>, out: &mut Output) -> Result<(), Illegal> {
        let case = self.join_case(arrival, around);
        out.notes.push(Note {
            verb: "signal.too_old",
            detail: serde_json::json!({"signal": arrival.signal, "activity_at": arrival.activity}),
        });
        let title = format!("Old news: {} of {}", arrival.kind, arrival.activity);
        let rehearses = around.rules.mode == Mode::Shadow;
        let held = |t: &task::Task| t.kind == task::Kind::Held && (rehearses || !t.shadow);
        let already = self.tasks.values().any(|t| held(t) && !t.state.is_terminal());
        if !already {
            self.ask_held(
                title,
                "The activity is older than guards.max_age, so nothing was sent. Check whether it is still true; if so, revoke the sessions by hand (Entra admin centre, Users, Revoke sessions), then close this.".into(),
                around,
                out,
            );
        }
        out.outcomes.push((arrival.signal, Taken::Old { case }));
        Ok(())
    }
}
