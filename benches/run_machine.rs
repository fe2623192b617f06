//! What deciding costs, without any I/O: one person's whole life, a journal folded again, a storm about one person.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use jiff::{SignedDuration, Timestamp};
use oust::domain::ids::{CaseId, RunId, SignalId};
use oust::domain::person::{
    Answer, Around, Arrival, Conditions, Deed, Output, Person, PlanRef, READ_BACK, Rules, Settled, Traces,
};
use oust::domain::plan::{Plan, StepId};
use oust::domain::run::{Entry, Mode, Run};
use oust::domain::{Identity, Kind, ObjectId, Risk, guard};
use serde_json::{Value, json};
use uuid::Uuid;

fn main() {
    divan::main();
}

#[derive(Debug)]
struct Always;

impl Conditions for Always {
    fn holds(&self, _: &str, _: &Value) -> Result<bool, String> {
        Ok(true)
    }
}

/// Revoke, `reads` reads, confirm, reset, revoke.
fn plan(reads: usize) -> PlanRef {
    let step = |id: String, action: &str, phase: &str, class: &str| {
        json!({
            "id": id, "action": action, "phase": phase, "class": class, "with": {}, "timeout_ms": 10_000,
            "attempts": 3, "on_failure": "continue", "idempotent": true,
        })
    };
    let mut steps = vec![step("revoke".into(), "revoke_sessions", "contain", "soft")];
    steps.extend((0..reads).map(|n| step(format!("read_{n}"), "read_user", "collect", "read")));
    let mut gated = [
        step("confirm".into(), "confirm_compromised", "recover", "soft"),
        step("reset".into(), "reset_password", "recover", "hard"),
    ];
    gated.iter_mut().for_each(|step| step["approval"] = json!("on_call"));
    steps.extend(gated);
    let mut follow = step("revoke_after_reset".into(), "revoke_sessions", "recover", "soft");
    follow["follows"] = json!("reset");
    steps.push(follow);
    let plan = json!({"name": "bench", "version": 1, "signals": ["anomalous_token"], "steps": steps});
    PlanRef { hash: "hash".into(), plan: Arc::new(serde_json::from_value::<Plan>(plan).expect("a plan")) }
}

struct World {
    now: Timestamp,
    rules: Rules,
    facts: guard::Facts,
    person: Person,
    running: BTreeSet<(RunId, StepId)>,
    prepared: BTreeMap<(RunId, StepId), Value>,
    minted: Cell<u128>,
    calls: Vec<Deed>,
    journal: Vec<Entry>,
}

impl World {
    fn new() -> Self {
        let object_id = ObjectId::new(Uuid::from_u128(1));
        let identity = Identity { tenant: "contoso".parse().expect("a tenant name"), object_id };
        Self {
            now: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1_000),
            rules: Rules { mode: Mode::Enforce, ..Rules::default() },
            facts: guard::Facts::default(),
            person: Person::new(identity),
            running: BTreeSet::new(),
            prepared: BTreeMap::new(),
            minted: Cell::new(0),
            calls: Vec::new(),
            journal: Vec::new(),
        }
    }

    fn turn(&mut self, arrivals: Vec<Arrival>, settled: Option<Settled>) {
        let minted = &self.minted;
        let mint = || {
            minted.set(minted.get() + 1);
            Uuid::from_u128(minted.get())
        };
        let around = Around {
            now: self.now,
            rules: &self.rules,
            guard: &self.facts,
            conditions: &Always,
            running: &self.running,
            prepared: &self.prepared,
            presence: &|_| None,
            orphans: oust::domain::person::Orphans::Dead,
            unsent: &std::collections::HashSet::new(),
            mint: &mint,
        };
        let mut out = Output::default();
        if let Some(answer) = settled {
            self.person.settle(answer, &around, &mut out).expect("the answer fits");
        }
        for arrival in arrivals {
            self.person.arrive(arrival, &around, &mut out).expect("an arrival is taken");
        }
        self.person.advance(&around, &mut out).expect("the state is sound");
        self.journal.extend(out.journal.into_iter().map(|(_, _, entry)| entry));
        for deed in out.deeds {
            if self.running.insert(place(&self.person, &deed)) {
                self.calls.push(deed);
            }
        }
    }

    fn answer_all(&mut self) {
        while let Some(deed) = self.calls.pop() {
            let (run, step) = place(&self.person, &deed);
            self.running.remove(&(run, step.clone()));
            let answer = match deed {
                Deed::ReadBack => Answer::ReadBack { valid_from: Some(self.now), password_changed: None },
                _ => Answer::Done { result: json!({"id": "x"}), request_id: None, left_at: self.now },
            };
            self.turn(Vec::new(), Some(Settled { run, step, answer }));
        }
    }

    fn arrival(&self, number: u128, plan: &PlanRef) -> Arrival {
        Arrival {
            signal: SignalId::new(Uuid::from_u128(number)),
            kind: Kind::AnomalousToken,
            risk: Risk::High,
            activity: self.now - SignedDuration::from_secs(10),
            received_at: self.now,
            content: format!("{number:064x}"),
            context: json!({"risk": "high", "kind": "anomalous_token"}),
            traceparent: None,
            traces: Traces::default(),
            plan: plan.clone(),
        }
    }
}

fn place(person: &Person, deed: &Deed) -> (RunId, StepId) {
    match deed {
        Deed::Effect { run, step, .. }
        | Deed::Read { run, step }
        | Deed::Prepare { run, step }
        | Deed::Verify { run, step, .. } => (*run, step.clone()),
        Deed::ReadBack => {
            let reading = person.doc.read_back.as_ref().expect("something is read back");
            (reading.run, StepId(READ_BACK.into()))
        }
    }
}

/// Arrival, accepted revoke, read-back, collected evidence, raised task.
fn live(plan: &PlanRef) -> World {
    let mut world = World::new();
    let arrival = world.arrival(1_000, plan);
    world.turn(vec![arrival], None);
    world.answer_all();
    assert_eq!(world.person.tasks.len(), 1, "a task waits for a human");
    world
}

#[divan::bench]
fn a_person_from_arrival_to_task(bencher: Bencher<'_, '_>) {
    let plan = plan(4);
    bencher.counter(ItemsCount::new(1usize)).bench(|| live(black_box(&plan)));
}

#[divan::bench]
fn replay_of_a_journal_of_60_entries(bencher: Bencher<'_, '_>) {
    let plan = plan(52);
    let world = live(&plan);
    assert_eq!(world.journal.len(), 60);
    let (run, case) = (RunId::new(Uuid::from_u128(1)), CaseId::new(Uuid::from_u128(2)));
    bencher
        .counter(ItemsCount::new(world.journal.len()))
        .bench(|| Run::replay(run, case, Arc::clone(&plan.plan), black_box(&world.journal)).expect("a legal journal"));
}

/// All are about activity before the first revoke; they come one by one while it is out.
#[divan::bench]
fn a_storm_of_1000_signals_about_one_person(bencher: Bencher<'_, '_>) {
    let plan = plan(4);
    bencher.counter(ItemsCount::new(1_000usize)).bench(|| {
        let mut world = World::new();
        for number in 0..1_000 {
            let arrival = world.arrival(number + 1_000, &plan);
            world.turn(vec![arrival], None);
        }
        world.answer_all();
        assert_eq!(world.person.runs.len(), 1, "one revoke covers them all");
        world
    });
}
