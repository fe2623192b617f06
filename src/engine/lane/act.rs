//! The second half of a turn: decide on the state in hand, commit, and do what was decided.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::Instrument;

use super::{Gone, Lane};
use crate::domain::TaskId;
use crate::domain::person::{Around, Deed, Output, Person, READ_BACK};
use crate::domain::plan::StepId;
use crate::engine::hook::{Fate, Place};
use crate::engine::record::Turn;
use crate::engine::{Inner, lock, perform, presence};
use crate::store::{self, Lane as Priority};

impl Lane {
    /// Decides on the state in hand and commits; decides anew when the state changed or a guard in the store said no.
    pub(super) async fn commit(&mut self, turn: &mut Turn) -> Result<Output, Gone> {
        let mut over_cap = false;
        let mut failures = 0;
        loop {
            if self.is_over() {
                return Err(Gone);
            }
            let Some(mut person) = self.person.clone() else { return Err(Gone) };
            let mut output = self.decide(&mut person, turn, over_cap);
            self.ask_hook(&output, turn);
            if self.inner.is_dead() {
                return Err(Gone);
            }
            let inner = Arc::clone(&self.inner);
            let mut storm = (None, Vec::new());
            if output.parked_by_cap {
                storm.0 = Some(inner.storms.lock().await);
                storm.1 = inner.storm_ops(&person.identity.tenant, inner.now()).await;
            }
            let Some((mut batch, row)) = self.batch(&person, &output, turn, storm.1) else {
                self.person = Some(person);
                return Ok(output);
            };
            let awaited = inner.awaited(&person, &output);
            batch.ops.extend(presence::conditions(&awaited));
            let lane = if person.is_urgent() { Priority::Containment } else { Priority::Other };
            let committed = self.inner.store.commit(lane, batch).await;
            drop(storm.0);
            match committed {
                Ok(()) => {
                    self.person = Some(person);
                    self.revision.fetch_add(1, Ordering::Relaxed);
                    self.row = Some(row);
                    return Ok(output);
                }
                Err(store::Error::Conflict(_)) => {
                    self.reload().await?;
                    if self.foreign.is_some() {
                        self.forward(std::mem::take(turn)).await?;
                        return Err(Gone);
                    }
                    self.take_forwarded(turn).await?;
                }
                Err(store::Error::Changed(_)) => {}
                // Whoever was to open the secret signed out, or was disabled.
                Err(store::Error::Spent(_)) => inner.forget_ended(&awaited),
                // A broker delivers again what was committed and not yet acknowledged.
                Err(store::Error::Repeated(signal)) => turn.forget(signal),
                Err(store::Error::Fenced) => {
                    self.inner.fence(&self.era);
                    return Err(Gone);
                }
                Err(store::Error::OverBlastRadius(_)) => over_cap = true,
                Err(error) => {
                    self.inner.telemetry.store_error("person.commit", &error);
                    // Perhaps it was written and only the answer was lost: then it was not sent.
                    self.unsent.extend(output.deeds.iter().filter_map(|deed| match deed {
                        Deed::Effect { key, .. } => Some(*key),
                        _ => None,
                    }));
                    output.deeds.clear();
                    self.inner.pause_after_failure(&mut failures).await.map_err(|()| Gone)?;
                }
            }
        }
    }

    pub(super) fn decide(&self, person: &mut Person, turn: &Turn, over_cap: bool) -> Output {
        let facts = self.inner.facts(&self.identity, over_cap);
        let presence = |task: TaskId| self.inner.seen_at(task);
        let around = Around {
            now: self.inner.now(),
            rules: &self.inner.rules,
            guard: &facts,
            conditions: &self.inner.conditions,
            running: &self.running,
            prepared: &self.prepared,
            presence: &presence,
            orphans: self.orphans,
            unsent: &self.unsent,
            mint: &Inner::mint,
        };
        let mut output = Output::default();
        for settled in &turn.settled {
            if let Err(illegal) = person.settle(settled.clone(), &around, &mut output) {
                tracing::warn!(run.id = %settled.run, step.id = %settled.step, error = %illegal, "a late answer was not recorded");
            }
        }
        for (run, step, _, _) in &turn.seals {
            person.sealed(*run, step, &around, &mut output);
        }
        for arrival in &turn.arrivals {
            if let Err(illegal) = person.arrive(arrival.clone(), &around, &mut output) {
                tracing::error!(identity.id = %self.identity.object_id, error = %illegal, "a signal could not be folded");
            }
        }
        if let Err(illegal) = person.advance(&around, &mut output) {
            tracing::error!(identity.id = %self.identity.object_id, error = %illegal, "a run could not go on");
        }
        output
    }

    pub(super) fn ask_hook(&self, output: &Output, turn: &mut Turn) {
        turn.fates.clear();
        for deed in &output.deeds {
            if let Deed::Effect { step, .. } = deed
                && self.inner.hook.at(Place::BeforeIntent, &step.0) == Fate::Die
            {
                self.inner.die();
                turn.fates.push(Fate::Die);
            }
        }
    }

    /// After a commit, and after it was told: a closed case needs no memory any more.
    pub(super) fn forget_closed(&mut self, output: &Output) {
        let Some(person) = &mut self.person else { return };
        for (run, _, _) in output.journal.iter().filter(|(_, seq, _)| *seq == 1) {
            if let Some(opened) = person.run(*run) {
                self.inner.was_pinned(&opened.plan_hash);
            }
        }
        if output.case_closed.is_some() {
            person.runs.clear();
            person.tasks.clear();
        }
        if let Some(mark) = person.doc.watermark {
            lock(&self.inner.watermarks).insert(self.identity.clone(), mark.at);
        }
    }

    pub(super) fn perform(&mut self, deeds: Vec<Deed>) {
        let Some(person) = &self.person else { return };
        let mut begun = HashSet::new();
        let stopping = self.inner.stop.is_cancelled();
        for deed in deeds {
            let is_effect = matches!(deed, Deed::Effect { .. });
            // What only looks is begun again at the next start; an intent that is written is always sent.
            if stopping && !is_effect {
                continue;
            }
            let (run, step) = match &deed {
                Deed::Effect { run, step, .. }
                | Deed::Read { run, step }
                | Deed::Prepare { run, step }
                | Deed::Verify { run, step, .. } => (*run, step.clone()),
                Deed::ReadBack => match &person.doc.read_back {
                    Some(reading) => (reading.run, StepId(READ_BACK.into())),
                    None => continue,
                },
            };
            // A decision loop may name the same deed twice; it is one deed.
            if !begun.insert((run, step.clone())) || !self.running.insert((run, step.clone())) {
                continue;
            }
            if let Deed::Effect { key, .. } = &deed {
                self.unsent.remove(key);
            }
            if let Some(call) = perform::start(&self.inner, &self.era, person, deed) {
                if is_effect {
                    self.effects.insert((run, step.clone()));
                }
                self.calls.push(Box::pin(call.instrument(tracing::Span::current())));
            } else {
                self.running.remove(&(run, step));
            }
        }
    }
}
