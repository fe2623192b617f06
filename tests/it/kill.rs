//! `kill -9` at random moments while signals pour in: nothing accepted is lost, nobody stays unrevoked, and every call
//! at Graph has an intent behind it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use oust::domain::ledger::{Effect, EffectState};
use oust::domain::run::{Entry, Event};
use oust::store::{Filter, Page, RunRow, Store};
use oust::twin::{Fault, Plan, Twin};
use uuid::Uuid;

use crate::process::{Dice, Process, Site, detection};
use crate::support::{start_twin, until_async};

const REVOKE: &str = "revokeSignInSessions";
const KINDS: [&str; 5] = ["anomalousToken", "unlikelyTravel", "anonymizedIPAddress", "leakedCredentials", "newCountry"];

/// What is sent, to whom it is about, and how often oust dies of it.
struct Storm {
    seed: u64,
    signals: usize,
    people: usize,
    senders: usize,
    kills: usize,
}

/// What one sender was promised.
#[derive(Default)]
struct Promised {
    /// Ids of signals answered with 200, with the person and the activity they are about.
    signals: Vec<(String, usize, Timestamp)>,
    /// Attempts that ended without a 2xx.
    retries: usize,
    redelivered: usize,
}

impl Storm {
    /// The sender `lane` of all: its share of the signals, 10 % of them twice.
    async fn send(&self, site: &Site, twin: &Twin, lane: usize, acks: &AtomicUsize) -> Promised {
        let mut dice = Dice::new(self.seed ^ (lane as u64 + 1).wrapping_mul(0x5851_F42D));
        let mut promised = Promised::default();
        for _ in (lane..self.signals).step_by(self.senders) {
            let person = usize::try_from(dice.roll(self.people as u64)).expect("small");
            let kind = KINDS[usize::try_from(dice.roll(KINDS.len() as u64)).expect("small")];
            let now = Timestamp::now();
            let activity = match dice.roll(6) {
                0 => now,
                _ => now - SignedDuration::from_secs(i64::try_from(60 + dice.roll(29 * 60)).expect("small")),
            };
            let body = detection(twin.person(person + 1), kind, activity).to_string();
            let id = format!("msg_{}", Uuid::new_v4().simple());
            let ids = self.deliver(site, &id, body.as_bytes(), &mut promised).await;
            acks.fetch_add(1, Ordering::SeqCst);
            assert_eq!(ids.len(), 1);
            let mut all = ids.clone();
            let again = dice.roll(20);
            match again {
                // The sender did not believe the answer.
                0 => assert_eq!(self.deliver(site, &id, body.as_bytes(), &mut promised).await, ids, "the same ids"),
                // Another road brings the same story under another id.
                1 => {
                    let id = format!("msg_{}", Uuid::new_v4().simple());
                    all.extend(self.deliver(site, &id, body.as_bytes(), &mut promised).await);
                }
                _ => {}
            }
            promised.redelivered += usize::from(again < 2);
            promised.signals.extend(all.into_iter().map(|id| (id, person, activity)));
        }
        promised
    }

    /// Sends until it is answered with a 2xx, as real senders do; the ids in the answer.
    async fn deliver(&self, site: &Site, id: &str, body: &[u8], promised: &mut Promised) -> Vec<String> {
        let begun = Instant::now();
        loop {
            match site.attempt("sentinel", id, body).await {
                Ok((200, answer)) => {
                    let ids = answer["ids"].as_array().into_iter().flatten();
                    return ids.filter_map(|id| id.as_str().map(str::to_owned)).collect();
                }
                Ok((503 | 429, _)) | Err(_) => promised.retries += 1,
                Ok((status, answer)) => panic!("{status}: {answer}\n{}", site.log()),
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "no answer for a minute\n{}", site.log());
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// Kills and restarts while the senders send: mostly in the pour, some in the work after it, one at a start.
    async fn rage(&self, site: &Site, twin: &Twin, first: Process, acks: &AtomicUsize, poured: &AtomicBool) -> Rage {
        let mut dice = Dice::new(self.seed);
        let late = self.kills / 4;
        let mut marks: Vec<usize> = (late..self.kills)
            .map(|_| 1 + usize::try_from(dice.roll(self.signals as u64 - 1)).expect("small"))
            .collect();
        marks.sort_unstable();
        let (mut process, mut rage) = (first, Rage::default());
        for kill in 0..self.kills {
            match marks.get(kill) {
                Some(mark) => until_async("the pour", async || acks.load(Ordering::SeqCst) >= *mark).await,
                None => until_async("the end of the pour", async || poured.load(Ordering::SeqCst)).await,
            }
            // The moment itself is chance, that is what is tested.
            tokio::time::sleep(Duration::from_micros(dice.roll(120_000))).await;
            process.kill();
            let (begun, seen) = (Instant::now(), twin.calls(0, usize::MAX).last().map_or(0, |call| call.seq));
            process = site.spawn();
            if kill % 5 == 3 {
                continue;
            }
            until_async("oust serve to be ready again", async || {
                if rage.calls.len() == rage.ready.len() && twin.calls(seen, 100).iter().any(|call| call.oid.is_some()) {
                    rage.calls.push(begun.elapsed());
                }
                site.is_ready().await
            })
            .await;
            rage.ready.push(begun.elapsed());
            if rage.calls.len() < rage.ready.len() {
                until_async("work to be resumed", async || {
                    let idle = poured.load(Ordering::SeqCst) && begun.elapsed() > Duration::from_secs(3);
                    idle || twin.calls(seen, 100).iter().any(|call| call.oid.is_some())
                })
                .await;
                rage.calls.push(begun.elapsed());
            }
        }
        until_async("oust serve to be ready at last", async || site.is_ready().await).await;
        rage.last = Some(process);
        rage
    }

    /// The whole storm; ends when everything is done.
    async fn blow(&self, plans: Vec<Plan>) -> Aftermath {
        let begun = Instant::now();
        let (twin, base) = start_twin(self.people).await;
        let faulty = !plans.is_empty();
        for plan in plans {
            twin.fault(plan);
        }
        let site = Site::new(&base);
        // Microsoft allows one read of risk a second: with it every storm would take its full 20 s of collecting.
        for entry in std::fs::read_dir(site.path("playbooks")).expect("a folder") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a text");
            let slow = |line: &&str| !["read_sign_ins", "window: ", "read_risk"].iter().any(|word| line.contains(word));
            std::fs::write(&path, text.lines().filter(slow).collect::<Vec<_>>().join("\n")).expect("written");
        }
        let first = site.serve().await;
        let reader = site.token();
        let (acks, poured) = (AtomicUsize::new(0), AtomicBool::new(false));
        let senders = async {
            let sent = futures_util::future::join_all((0..self.senders).map(|n| self.send(&site, &twin, n, &acks)));
            let sent = sent.await;
            poured.store(true, Ordering::SeqCst);
            sent
        };
        let (promised, mut rage) =
            futures_util::future::join(senders, self.rage(&site, &twin, first, &acks, &poured)).await;
        let poured_after = begun.elapsed();
        let store = rusqlite::Connection::open(site.path("oust.db")).expect("the file");
        let open = "SELECT (SELECT count(*) FROM people WHERE urgent) + (SELECT count(*) FROM effects WHERE state <> 'applied')";
        until_async("every effect to have its outcome", async || {
            reader.drained().await;
            store.query_row(open, [], |row| row.get::<_, i64>(0)).expect("a count") == 0
        })
        .await;
        drop(store);
        // A reset, had one been prepared, would be in the hands of this process: it ends in order.
        let status = rage.last.take().expect("it runs").terminate().await;
        assert!(status.success(), "{status}\n{}", site.log());
        let took = begun.elapsed();
        let mut aftermath = Aftermath::read(site, twin, promised, rage, faulty).await;
        let (poured, drained) = (poured_after.as_secs_f64(), took.as_secs_f64());
        let tally = aftermath.tally(self);
        aftermath.told = format!("poured after {poured:.1} s, drained after {drained:.1} s\n{tally}");
        aftermath
    }
}

/// What the killer saw.
#[derive(Default)]
struct Rage {
    /// From restart to ready, and to the first call about a person at Graph.
    ready: Vec<Duration>,
    calls: Vec<Duration>,
    last: Option<Process>,
}

/// Everything there is to know afterwards.
struct Aftermath {
    site: Site,
    twin: Twin,
    promised: Vec<Promised>,
    rage: Rage,
    faulty: bool,
    effects: Vec<Effect>,
    runs: Vec<(RunRow, Vec<Entry>)>,
    outcomes: HashMap<String, String>,
    /// The numbers, for people.
    told: String,
}

impl Aftermath {
    async fn read(site: Site, twin: Twin, promised: Vec<Promised>, rage: Rage, faulty: bool) -> Self {
        let store = site.store();
        let (mut effects, mut runs, mut outcomes) = (Vec::new(), Vec::new(), HashMap::new());
        let mut page = Page { after: None, limit: 500 };
        loop {
            let listed = store.cases(&Filter::default(), &page).await.expect("a read");
            for case in &listed.items {
                for run in store.runs_of(case.id).await.expect("a read") {
                    effects.extend(store.effects_of(run.0.id).await.expect("a read"));
                    runs.push(run);
                }
            }
            match listed.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        for (id, ..) in promised.iter().flat_map(|promised| &promised.signals) {
            let row = store.signal(id.parse().expect("an id")).await.expect("a read").unwrap_or_default();
            outcomes.insert(id.clone(), row["outcome"]["word"].as_str().unwrap_or("lost").to_owned());
        }
        Self { site, twin, promised, rage, faulty, effects, runs, outcomes, told: String::new() }
    }

    fn keys(&self) -> BTreeMap<String, oust::twin::Count> {
        self.twin.counters().keys
    }

    /// Repetitions that the journals own up to: intents beyond the first of their key.
    fn repeats(&self) -> u64 {
        self.effects.iter().map(|effect| u64::from(effect.attempt) - 1).sum()
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

    fn tally(&self, storm: &Storm) -> String {
        let revokes = self.twin.counters().verb(REVOKE);
        let mut words: BTreeMap<&str, usize> = BTreeMap::new();
        for word in self.outcomes.values() {
            *words.entry(word).or_default() += 1;
        }
        let ms = |times: &[Duration]| {
            let mut ms: Vec<u128> = times.iter().map(Duration::as_millis).collect();
            ms.sort_unstable();
            format!("median {} ms, worst {} ms", ms.get(ms.len() / 2).unwrap_or(&0), ms.last().unwrap_or(&0))
        };
        let retries: usize = self.promised.iter().map(|promised| promised.retries).sum();
        let again: usize = self.promised.iter().map(|promised| promised.redelivered).sum();
        format!(
            "{} signals for {} people, {again} told twice, {retries} attempts repeated, {} kills -9 (seed {})\n\
             signals answered {}, outcomes {words:?}\n\
             runs {}, effect keys {}, revoke calls {} (applied {}), repeated intents {}, failures {:?}\n\
             restart to ready: {}; to the first call about a person: {}",
            storm.signals,
            storm.people,
            storm.kills,
            storm.seed,
            self.outcomes.len(),
            self.runs.len(),
            self.effects.len(),
            revokes.received,
            revokes.applied,
            self.repeats(),
            self.failures(),
            ms(&self.rage.ready),
            ms(&self.rage.calls),
        )
    }

    fn nothing_is_lost(&self) {
        let lost: Vec<_> = self
            .outcomes
            .iter()
            .filter(|(_, word)| !matches!(word.as_str(), "act" | "covered" | "redelivery"))
            .collect();
        assert!(lost.is_empty(), "{lost:?}\n{}", self.site.log());
        let rows = rusqlite::Connection::open(self.site.path("oust.db")).expect("the file");
        let count = |table: &str| -> usize {
            let sql = format!("SELECT count(*) FROM {table}");
            rows.query_row(&sql, [], |row| row.get::<_, i64>(0)).expect("a count").try_into().expect("a count")
        };
        assert_eq!(count("signals"), self.outcomes.len(), "what was taken is what was answered, and nothing else");
        assert_eq!(count("queue"), 0);
    }

    fn everybody_is_out(&self) {
        let mut latest: BTreeMap<usize, Timestamp> = BTreeMap::new();
        for (_, person, activity) in self.promised.iter().flat_map(|promised| &promised.signals) {
            let last = latest.entry(*person).or_insert(*activity);
            *last = (*last).max(*activity);
        }
        for (person, activity) in latest {
            let user = self.twin.user(self.twin.person(person + 1)).expect("a user");
            assert!(
                user.sessions_valid_from >= activity,
                "{}: sessions from before {activity} live on, revoked until {}",
                user.id,
                user.sessions_valid_from
            );
        }
    }

    fn every_key_has_one_outcome(&self) {
        let keys: BTreeSet<String> = self.effects.iter().map(|effect| effect.key.to_string()).collect();
        assert_eq!(keys.len(), self.effects.len(), "one row per key");
        for effect in &self.effects {
            assert_eq!(effect.state, EffectState::Applied, "{effect:?}\n{}", self.site.log());
        }
        let mut done = 0;
        for (run, journal) in &self.runs {
            let mut intended = BTreeSet::new();
            let mut ended: BTreeMap<_, u32> = BTreeMap::new();
            for entry in journal {
                match &entry.event {
                    Event::Intended { step, .. } => {
                        assert!(!ended.contains_key(step), "{step} of {} was begun again after its end", run.id);
                        intended.insert(step.clone());
                    }
                    Event::Done { step, .. } if intended.contains(step) => *ended.entry(step.clone()).or_default() += 1,
                    _ => {}
                }
            }
            assert!(ended.values().all(|times| *times == 1), "{}: {ended:?}", run.id);
            assert_eq!(ended.len(), intended.len(), "{}: {intended:?} ended as {ended:?}", run.id);
            done += ended.len();
        }
        assert_eq!(done, self.effects.len(), "the journals and the ledger tell the same");
    }

    fn every_call_has_an_intent(&self, storm: &Storm) {
        let attempts: BTreeMap<String, u32> =
            self.effects.iter().map(|effect| (effect.key.to_string(), effect.attempt)).collect();
        let mut faults: BTreeMap<String, u64> = BTreeMap::new();
        for call in self.twin.calls(0, usize::MAX) {
            if let (Some(key), 0 | 429 | 503) = (call.client_request_id, call.status) {
                *faults.entry(key).or_default() += 1;
            }
        }
        let mut extra = 0;
        for (key, count) in self.keys() {
            let attempts = attempts.get(&key).copied().unwrap_or_else(|| panic!("a call without an intent: {key}"));
            let faults = faults.get(&key).copied().unwrap_or(0);
            assert!(self.faulty || faults == 0);
            let most = 1 + storm.kills as u64 + faults;
            assert!(count.received <= u64::from(attempts).min(most), "{key}: {count:?}, {attempts} intents");
            assert!(count.applied >= 1, "{key} is recorded as applied and was not: {count:?}");
            extra += count.received - 1;
        }
        assert_eq!(self.keys().len(), self.effects.len());
        assert!(extra <= self.repeats());
        for verb in ["resetPassword", "confirmCompromised", "disableAccount"] {
            assert_eq!(self.twin.counters().verb(verb).received, 0, "{verb} waits for a human");
        }
    }

    fn holds(&self, storm: &Storm) {
        self.nothing_is_lost();
        self.everybody_is_out();
        self.every_key_has_one_outcome();
        self.every_call_has_an_intent(storm);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_signals_survive_kill_9_at_random_moments() {
    let storm = Storm { seed: 7, signals: 1_000, people: 200, senders: 16, kills: 12 };
    let aftermath = storm.blow(Vec::new()).await;
    eprintln!("{}", aftermath.told);
    aftermath.holds(&storm);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_and_a_failing_graph_together_lose_nothing_either() {
    let storm = Storm { seed: 11, signals: 200, people: 50, senders: 8, kills: 4 };
    let plan = |every: u64, fault: Fault| Plan { every: Some(every), ..Plan::on(REVOKE, fault) };
    let plans = vec![plan(7, Fault::LostReply), plan(11, Fault::status(503)), plan(13, Fault::status(429))];
    let aftermath = storm.blow(plans).await;
    eprintln!("{}", aftermath.told);
    assert!(aftermath.twin.faults().iter().all(|plan| plan.hit > 0), "every fault was met");
    aftermath.holds(&storm);
}
