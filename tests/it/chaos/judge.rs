//! What must be true after the chaos, read from the store and from the twin's counters; and the tally for people.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use oust::domain::RunId;
use oust::domain::ledger::{Effect, EffectState};
use oust::domain::run::{Entry, Event};
use oust::domain::task::Task;
use oust::store::{Filter, Page, RunRow, Store};
use oust::twin::Twin;

use super::Promised;

pub const REVOKE: &str = "revokeSignInSessions";
pub const RESET: &str = "resetPassword";

/// Everything there is to know afterwards.
pub struct Aftermath {
    pub promised: Vec<Promised>,
    pub effects: Vec<Effect>,
    pub runs: Vec<(RunRow, Vec<Entry>)>,
    pub tasks: Vec<Task>,
    /// Of every signal that was answered with 2xx.
    pub outcomes: HashMap<String, String>,
    /// Times something was done to a process or a connection that may double an idempotent call.
    pub disturbances: u64,
}

/// Every row of a list.
async fn every<T, F>(mut read: impl FnMut(Page) -> F) -> Vec<T>
where
    F: Future<Output = oust::store::Listed<T>>,
{
    let (mut all, mut page) = (Vec::new(), Page { after: None, limit: 500 });
    loop {
        let listed = read(page.clone()).await;
        all.extend(listed.items);
        match listed.next {
            Some(next) => page.after = Some(next),
            None => return all,
        }
    }
}

/// The outcomes of these signals as far as the store knows them.
pub async fn outcomes(store: &Arc<dyn Store>, ids: impl Iterator<Item = String>) -> HashMap<String, String> {
    let rows = stream::iter(ids).map(|id| {
        let store = Arc::clone(store);
        async move {
            let row = store.signal(id.parse().expect("an id")).await.expect("a read").unwrap_or_default();
            (id, row["outcome"]["word"].as_str().unwrap_or("lost").to_owned())
        }
    });
    rows.buffer_unordered(8).collect().await
}

/// True for an outcome that nothing changes any more.
pub fn is_final(word: &str) -> bool {
    matches!(word, "act" | "covered" | "redelivery" | "late_evidence")
}

impl Aftermath {
    pub async fn read(
        store: &Arc<dyn Store>,
        promised: Vec<Promised>,
        outcomes: HashMap<String, String>,
        disturbances: u64,
    ) -> Self {
        let filter = Filter::default();
        let cases = every(async |page| store.cases(&filter, &page).await.expect("a read")).await;
        let tasks = every(async |page| store.tasks(&filter, &page).await.expect("a read")).await;
        let (mut effects, mut runs) = (Vec::new(), Vec::new());
        for case in cases {
            for run in store.runs_of(case.id).await.expect("a read") {
                effects.extend(store.effects_of(run.0.id).await.expect("a read"));
                runs.push(run);
            }
        }
        Self { promised, effects, runs, tasks, outcomes, disturbances }
    }

    fn signals(&self) -> impl Iterator<Item = &(String, usize, Timestamp)> {
        self.promised.iter().flat_map(|promised| &promised.signals)
    }

    /// Repetitions that the journals own up to: intents beyond the first of their key.
    fn repeats(&self) -> u64 {
        self.effects.iter().map(|effect| u64::from(effect.attempt.saturating_sub(1))).sum()
    }

    /// Failures that the journals record, by their code.
    fn failures(&self) -> BTreeMap<&str, usize> {
        let mut failures = BTreeMap::new();
        for entry in self.runs.iter().flat_map(|(_, journal)| journal) {
            if let Event::Failed { fault, .. } | Event::Unknown { fault, .. } = &entry.event {
                *failures.entry(fault.code.as_str()).or_default() += 1;
            }
        }
        failures
    }

    pub fn tally(&self, twin: &Twin) -> String {
        fn counted<K: Ord>(words: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
            words.fold(BTreeMap::new(), |mut counts, word| {
                *counts.entry(word).or_default() += 1;
                counts
            })
        }
        let (revokes, resets) = (twin.counters().verb(REVOKE), twin.counters().verb(RESET));
        format!(
            "signals answered with 2xx {}, attempts repeated {}, told twice {}\n\
             outcomes {:?}\n\
             runs {}, effect keys {} by state {:?}\n\
             revoke calls {} (applied {}), reset calls {} (applied {}), repeated intents {}\n\
             failures on the way {:?}\n\
             tasks {:?}",
            self.outcomes.len(),
            self.promised.iter().map(|promised| promised.retries).sum::<usize>(),
            self.promised.iter().map(|promised| promised.redelivered).sum::<usize>(),
            counted(self.outcomes.values()),
            self.runs.len(),
            self.effects.len(),
            counted(self.effects.iter().map(|effect| effect.state.word())),
            revokes.received,
            revokes.applied,
            resets.received,
            resets.applied,
            self.repeats(),
            self.failures(),
            counted(self.tasks.iter().map(|task| format!("{} {}", task.kind.word(), task.state.word()))),
        )
    }

    /// Everything of the contract's last budget row, and law 5.
    pub fn holds(&self, twin: &Twin, log: &dyn Fn() -> String) {
        self.nothing_is_lost(log);
        self.everybody_is_out(twin, log);
        self.every_key_has_one_outcome(log);
        self.every_call_has_an_intent(twin, log);
        self.no_reset_without_a_decision(twin);
    }

    fn nothing_is_lost(&self, log: &dyn Fn() -> String) {
        let lost: Vec<_> = self.outcomes.iter().filter(|(_, word)| !is_final(word)).take(20).collect();
        assert!(lost.is_empty(), "{lost:?}\n{}", log());
    }

    fn everybody_is_out(&self, twin: &Twin, log: &dyn Fn() -> String) {
        let mut latest: BTreeMap<usize, Timestamp> = BTreeMap::new();
        for (_, person, activity) in self.signals() {
            let last = latest.entry(*person).or_insert(*activity);
            *last = (*last).max(*activity);
        }
        for (person, activity) in latest {
            let user = twin.user(twin.person(person + 1)).expect("a user");
            assert!(
                user.sessions_valid_from >= activity,
                "{}: sessions from before {activity} live on, revoked until {}\n{}",
                user.id,
                user.sessions_valid_from,
                log()
            );
        }
    }

    fn every_key_has_one_outcome(&self, log: &dyn Fn() -> String) {
        let keys: BTreeSet<String> = self.effects.iter().map(|effect| effect.key.to_string()).collect();
        assert_eq!(keys.len(), self.effects.len(), "one row per key");
        for effect in &self.effects {
            match effect.state {
                EffectState::Applied | EffectState::Failed => {}
                // Honestly unknown, and somebody is told.
                EffectState::Unknown if effect.action == "reset_password" => {
                    let told = self.tasks.iter().any(|task| task.run == Some(effect.run));
                    assert!(told, "an unknown effect that nobody sees: {effect:?}");
                }
                _ => panic!("{effect:?}\n{}", log()),
            }
        }
        for (run, journal) in &self.runs {
            let mut done: BTreeMap<String, u32> = BTreeMap::new();
            let mut open: BTreeSet<String> = BTreeSet::new();
            for entry in journal {
                match &entry.event {
                    Event::Intended { step, .. } => {
                        assert!(!done.contains_key(&step.0), "{step} of {} was begun again after its end", run.id);
                        open.insert(step.0.clone());
                    }
                    Event::Done { step, .. } if open.contains(&step.0) => *done.entry(step.0.clone()).or_default() += 1,
                    _ => {}
                }
            }
            assert!(done.values().all(|times| *times == 1), "{}: {done:?}", run.id);
        }
    }

    fn every_call_has_an_intent(&self, twin: &Twin, log: &dyn Fn() -> String) {
        let effects: BTreeMap<String, &Effect> =
            self.effects.iter().map(|effect| (effect.key.to_string(), effect)).collect();
        let mut extra = 0;
        for (key, count) in twin.counters().keys {
            let effect = effects.get(&key).unwrap_or_else(|| panic!("a call without an intent: {key}\n{}", log()));
            assert!(count.received <= u64::from(effect.attempt), "{count:?} of {effect:?}");
            if effect.state == EffectState::Applied {
                assert!(count.applied >= 1, "recorded as applied and was not: {effect:?}, {count:?}");
            }
            if effect.action == "reset_password" {
                assert!(count.received <= 1, "what must not be repeated was: {effect:?}, {count:?}");
            }
            extra += count.received - 1;
        }
        assert!(extra <= self.repeats(), "{extra} calls beyond the first of their key, {} intents", self.repeats());
        let revokes = twin.counters().verb(REVOKE);
        let keys = self.effects.iter().filter(|effect| effect.action == "revoke_sessions").count() as u64;
        let failures = self.failures().values().sum::<usize>() as u64;
        let most = keys + failures + self.disturbances * 300;
        assert!(revokes.received <= most, "{} revoke calls, at most {most} are explained", revokes.received);
    }

    fn no_reset_without_a_decision(&self, twin: &Twin) {
        let approved: BTreeSet<RunId> = self
            .tasks
            .iter()
            .filter(|task| task.approval.as_ref().is_some_and(|approval| !approval.by.is_empty()))
            .filter_map(|task| task.run)
            .collect();
        let resets: Vec<&Effect> = self.effects.iter().filter(|effect| effect.action == "reset_password").collect();
        for effect in &resets {
            assert!(approved.contains(&effect.run), "a reset that nobody approved: {effect:?}");
        }
        assert!(twin.counters().verb(RESET).received <= resets.len() as u64, "a reset call without an effect row");
        assert_eq!(twin.counters().verb("disableAccount").received, 0, "it waits for a human");
    }
}
