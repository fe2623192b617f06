//! One person, a store that keeps what `Output` says, and calls in flight. Every turn checks what must hold then.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::*;
use super::laws;
use crate::domain::ids::SignalId;
use crate::domain::ledger::{Disposition, Fault};
use crate::domain::plan::{MANUAL, RESET, REVOKE, Step};
use crate::domain::signal::{Kind, Risk};
use crate::domain::task::{Order, Ordered, sample};

/// `error` cannot be decided, `false` is false, everything else holds.
#[derive(Debug)]
pub struct Words;

impl Conditions for Words {
    fn holds(&self, source: &str, _: &Value) -> Result<bool, String> {
        match source {
            "error" => Err("no such key".into()),
            "false" => Ok(false),
            _ => Ok(true),
        }
    }
}

/// A step with the defaults of the playbook grammar.
pub fn step(id: &str, action: &str, phase: &str, more: Value) -> Step {
    let hard = matches!(action, RESET | "disable_account");
    let soft = matches!(action, REVOKE | "confirm_compromised" | "notify");
    let class = if hard {
        "hard"
    } else if soft {
        "soft"
    } else {
        "read"
    };
    let on_failure = match phase {
        "contain" => "escalate",
        "recover" => "stop",
        _ => "continue",
    };
    let mut value = json!({
        "id": id, "action": action, "phase": phase, "class": class, "on_failure": on_failure, "with": {},
        "timeout_ms": 10_000, "attempts": 3, "idempotent": action != RESET && action != MANUAL,
        "reveals": action == RESET,
    });
    for (key, given) in more.as_object().expect("an object") {
        value[key] = given.clone();
    }
    serde_json::from_value(value).expect("a step")
}

fn plan(name: &str, steps: Vec<Step>) -> PlanRef {
    let plan = Plan {
        name: name.into(),
        version: 1,
        description: String::new(),
        attack: Vec::new(),
        signals: vec![Kind::AnomalousToken],
        when: None,
        steps,
        notify: BTreeMap::new(),
    };
    PlanRef { hash: format!("hash of {name}"), plan: Arc::new(plan) }
}

pub const PLANS: usize = 4;

/// 0: revoke, read, confirm, reset. 1: disables at once if approved. 2: nothing can be decided. 3: revoke and reset only.
pub fn plan_of(number: usize) -> PlanRef {
    let none = || json!({});
    let approved = || json!({"approval": "on_call"});
    let revoke = || step("revoke", REVOKE, "contain", none());
    let follow = |of: &str, phase: &str| step(&format!("revoke_after_{of}"), REVOKE, phase, json!({"follows": of}));
    match number {
        0 => plan(
            "token-theft",
            vec![
                revoke(),
                step("read_user", "read_user", "collect", none()),
                step("read_risk", "read_risk", "collect", none()),
                step("skipped", "notify", "eradicate", json!({"when": "false"})),
                step(
                    "confirm",
                    "confirm_compromised",
                    "recover",
                    json!({"approval": "on_call", "on_failure": "continue"}),
                ),
                step("reset", RESET, "recover", approved()),
                follow("reset", "recover"),
            ],
        ),
        1 => plan(
            "travel",
            vec![
                revoke(),
                step("disable", "disable_account", "contain", approved()),
                follow("disable", "contain"),
                step("read_user", "read_user", "collect", none()),
                step("by_hand", MANUAL, "eradicate", none()),
                step("tell", "notify", "eradicate", none()),
                step("reset", RESET, "recover", approved()),
                follow("reset", "recover"),
            ],
        ),
        2 => plan(
            "undecided",
            vec![
                revoke(),
                step("read_user", "read_user", "collect", json!({"when": "error"})),
                step("tell", "notify", "eradicate", json!({"when": "error"})),
                step("by_hand", MANUAL, "eradicate", json!({"when": "error"})),
                step("reset", RESET, "recover", json!({"when": "error", "approval": "on_call"})),
                follow("reset", "recover"),
            ],
        ),
        _ => plan("short", vec![revoke(), step("reset", RESET, "recover", approved()), follow("reset", "recover")]),
    }
}

/// What the store makes of a value.
fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_value(serde_json::to_value(value).expect("it can be written")).expect("it can be read")
}

/// What the store holds of a run.
#[derive(Debug, Clone)]
pub struct Stored {
    pub case: CaseId,
    pub plan: Arc<Plan>,
    pub journal: Vec<Entry>,
}

/// How the outside answers a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Done,
    Retry,
    Refuse,
    Nobody,
    Unknown,
    NotApplied,
    Undetermined,
    Changed,
}

#[derive(Debug)]
pub struct World {
    pub now: Timestamp,
    pub person: Person,
    pub journals: BTreeMap<RunId, Stored>,
    pub facts: guard::Facts,
    pub rules: Rules,
    pub running: BTreeSet<(RunId, StepId)>,
    pub prepared: BTreeMap<(RunId, StepId), Value>,
    pub calls: Vec<Deed>,
    pub browser_here: bool,
    pub orphans: Orphans,
    pub minted: Cell<u128>,
    pub signals: u128,
    /// Every intent, in order: action, followed step's name, when.
    pub intended: Vec<(RunId, StepId)>,
    /// When accepted revokes left.
    pub accepted: Vec<Timestamp>,
    /// Latest activity of the open case that was to be acted on.
    pub latest: Option<Timestamp>,
    /// Activities that an accepted revoke must follow.
    pub owed: Vec<Timestamp>,
    /// A guard or the directory said for good that there is nothing to revoke.
    pub excused: bool,
    pub settled: BTreeMap<(RunId, StepId), String>,
    pub closed_cases: u32,
    pub outcomes: Vec<Taken>,
}

impl World {
    pub fn new(mode: Mode) -> Self {
        let rules = Rules {
            mode,
            policies: BTreeMap::from([("on_call".to_owned(), sample::policy(1, 1))]),
            ..Rules::default()
        };
        Self {
            now: sample::at(1_000_000),
            person: Person::new(sample::person_of(1)),
            journals: BTreeMap::new(),
            facts: guard::Facts::default(),
            rules,
            running: BTreeSet::new(),
            prepared: BTreeMap::new(),
            calls: Vec::new(),
            browser_here: true,
            orphans: Orphans::Dead,
            minted: Cell::new(1),
            signals: 0,
            intended: Vec::new(),
            accepted: Vec::new(),
            latest: None,
            owed: Vec::new(),
            excused: false,
            settled: BTreeMap::new(),
            closed_cases: 0,
            outcomes: Vec::new(),
        }
    }

    /// Decides with the state in hand; gives the error of `first`, if any. `advance` must succeed.
    fn decide(
        &self,
        first: impl FnOnce(&mut Person, &Around<'_>, &mut Output) -> Result<(), Illegal>,
    ) -> (Person, Output, Result<(), Illegal>) {
        let minted = &self.minted;
        let mint = || {
            minted.set(minted.get() + 1);
            Uuid::from_u128(minted.get())
        };
        let here = self.browser_here.then_some(self.now);
        let around = Around {
            now: self.now,
            rules: &self.rules,
            guard: &self.facts,
            conditions: &Words,
            running: &self.running,
            prepared: &self.prepared,
            presence: &|_| here,
            orphans: self.orphans,
            unsent: &HashSet::new(),
            mint: &mint,
        };
        let mut person = self.person.clone();
        let mut out = Output::default();
        let first = first(&mut person, &around, &mut out);
        person.advance(&around, &mut out).expect("the state in hand is sound");
        (person, out, first)
    }

    /// One turn, as a lane takes it: fold, decide, keep, do. Then checks what must hold.
    pub fn turn(
        &mut self,
        first: impl FnOnce(&mut Person, &Around<'_>, &mut Output) -> Result<(), Illegal>,
    ) -> Result<(), Illegal> {
        let before = self.person.clone();
        let (person, out, first) = self.decide(first);
        self.person = person;
        laws::after_turn(self, &before, &out);
        self.keep(&out);
        for deed in &out.deeds {
            if self.running.insert(self.place(deed)) {
                self.calls.push(deed.clone());
            }
        }
        if let Some(case) = &out.case_closed {
            laws::after_case(self, case);
            for run in &self.person.runs {
                self.journals.remove(&run.id);
            }
            self.person.runs.clear();
            self.person.tasks.clear();
            self.latest = None;
            self.closed_cases += 1;
        }
        laws::replay_equals_live(self);
        let (again, out, _) = self.decide(|_, _, _| Ok(()));
        assert!(out.is_empty() && out.deeds.iter().all(|deed| self.running.contains(&self.place(deed))), "{out:?}");
        assert_eq!(again.doc, self.person.doc, "a second look with nothing new changes nothing");
        first
    }

    fn place(&self, deed: &Deed) -> (RunId, StepId) {
        match deed {
            Deed::Effect { run, step, .. }
            | Deed::Read { run, step }
            | Deed::Prepare { run, step }
            | Deed::Verify { run, step, .. } => (*run, step.clone()),
            Deed::ReadBack => {
                let reading = self.person.doc.read_back.as_ref().expect("something is read back");
                (reading.run, StepId(READ_BACK.into()))
            }
        }
    }

    fn keep(&mut self, out: &Output) {
        for (run, seq, entry) in &out.journal {
            let stored = match self.journals.get_mut(run) {
                Some(stored) => stored,
                None => {
                    let of_run = self.person.run(*run).expect("a journal belongs to a run in hand");
                    let (case, plan) = (of_run.case, Arc::clone(&of_run.plan));
                    self.journals.entry(*run).or_insert(Stored { case, plan, journal: Vec::new() })
                }
            };
            stored.journal.push(entry.clone());
            assert_eq!(*seq, stored.journal.len() as u64, "a journal has no gaps");
        }
        self.outcomes.extend(out.outcomes.iter().map(|(_, taken)| taken.clone()));
    }

    pub fn advance(&mut self) {
        self.turn(|_, _, _| Ok(())).expect("nothing was folded");
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        self.advance();
    }

    /// A signal received now about something `age` seconds ago (negative: the sender's clock runs ahead).
    pub fn arrive(&mut self, plan: usize, age: i64) {
        self.signals += 1;
        let activity = self.now - SignedDuration::from_secs(age);
        let arrival = Arrival {
            signal: SignalId::new(Uuid::from_u128(self.signals)),
            kind: Kind::AnomalousToken,
            risk: Risk::High,
            activity,
            received_at: self.now,
            content: format!("content {}", self.signals),
            context: json!({"risk": "high"}),
            traceparent: None,
            traces: Traces::default(),
            plan: plan_of(plan),
        };
        let happened = activity.min(self.now);
        self.latest = self.latest.max(Some(happened));
        let is_old = self.now.duration_since(activity) > self.rules.max_age;
        if !is_old && !self.person.covers(activity) && self.rules.mode == Mode::Enforce {
            self.owed.push(happened);
        }
        self.turn(|person, around, out| person.arrive(arrival, around, out)).expect("an arrival is always taken");
    }

    /// The call at `which` (modulo how many there are) comes back.
    pub fn answer(&mut self, which: usize, how: How) {
        if self.calls.is_empty() {
            return;
        }
        let deed = self.calls.remove(which % self.calls.len());
        self.seal_for(&deed);
        let place = self.place_of_call(&deed);
        self.running.remove(&place);
        let (run, step) = place.clone();
        let fault =
            |disposition, status| Fault { disposition, status, ..Fault::refuse("OUST-TEST", "The outside said so.") };
        let later = self.now + SignedDuration::from_secs(5);
        let failed = |fault| Answer::Fault { fault, retry_at: later };
        if let (Deed::Prepare { .. }, How::Done | How::Changed) = (&deed, how) {
            let read = if how == How::Changed { json!({"target": ["disabled"]}) } else { json!({}) };
            self.prepared.insert(place, read);
            self.advance();
            return;
        }
        self.prepared.remove(&place);
        let is_look = matches!(deed, Deed::Verify { .. });
        let answer = match (&deed, how) {
            (Deed::ReadBack, How::Done) => {
                Answer::ReadBack { valid_from: self.accepted.last().copied(), password_changed: None }
            }
            (Deed::ReadBack, _) => Answer::ReadBack { valid_from: None, password_changed: None },
            (Deed::Verify { .. }, How::Done) => Answer::Applied(json!({})),
            (Deed::Verify { .. }, How::NotApplied) => Answer::NotApplied,
            (Deed::Verify { .. }, How::Undetermined) => Answer::Undetermined("nobody can tell".into()),
            (Deed::Verify { .. }, _) => {
                Answer::StillUnknown { fault: fault(Disposition::Unknown, None), verify_at: later }
            }
            (Deed::Effect { intended_at, .. }, How::Done) => {
                Answer::Done { result: json!({}), request_id: None, left_at: *intended_at }
            }
            (_, How::Done) => Answer::Done { result: json!({}), request_id: None, left_at: self.now },
            (_, How::Refuse) => failed(fault(Disposition::Refuse, Some(403))),
            (_, How::Nobody) => failed(fault(Disposition::Refuse, Some(404))),
            (_, How::Unknown) => failed(fault(Disposition::Unknown, None)),
            (_, _) => failed(fault(Disposition::Retry { after_ms: None }, Some(503))),
        };
        self.excused |= how == How::Nobody;
        let is_revoke = self.person.run(run).and_then(|r| r.plan.step(&step)).is_some_and(|s| s.action == REVOKE);
        if let (true, Answer::Done { left_at, .. }) = (is_revoke, &answer) {
            self.accepted.push(*left_at);
        }
        let settled = Settled { run, step, answer };
        let folded = self.turn(|person, around, out| person.settle(settled, around, out));
        // What was read for a step that a human withdrew meanwhile comes too late; every other answer fits.
        assert!(folded.is_ok() || matches!(deed, Deed::Prepare { .. }), "{folded:?} for {deed:?}, {is_look}");
    }

    fn place_of_call(&self, deed: &Deed) -> (RunId, StepId) {
        match deed {
            Deed::ReadBack => {
                let back = |(_, step): &&(RunId, StepId)| step.0 == READ_BACK;
                self.running.iter().find(back).cloned().expect("a read-back is running")
            }
            deed => self.place(deed),
        }
    }

    /// The password is sealed and kept before its call leaves.
    fn seal_for(&mut self, deed: &Deed) {
        let Deed::Effect { run, step, .. } = deed else { return };
        let reveals = self.person.run(*run).and_then(|r| r.plan.step(step)).is_some_and(|step| step.reveals);
        if reveals {
            let (run, step) = (*run, step.clone());
            self.turn(|person, around, out| {
                person.sealed(run, &step, around, out);
                Ok(())
            })
            .expect("sealing folds nothing into a run");
        }
    }

    /// The process dies: calls and everything read are gone; what was kept is read again.
    pub fn crash(&mut self) {
        self.calls.clear();
        self.running.clear();
        self.prepared.clear();
        for stored in self.journals.values_mut() {
            stored.journal = through_json(&stored.journal);
        }
        self.person.doc = through_json(&self.person.doc);
        for task in self.person.tasks.values_mut() {
            *task = through_json(task);
        }
        self.person = self.restored();
        self.advance();
    }

    /// The person as the store would give it back.
    pub fn restored(&self) -> Person {
        let journals = self
            .person
            .runs
            .iter()
            .map(|run| {
                let stored = &self.journals[&run.id];
                (run.id, stored.case, Arc::clone(&stored.plan), stored.journal.clone())
            })
            .collect();
        let tasks = self.person.tasks.values().cloned().collect();
        let doc = self.person.doc.clone();
        Person::restore(self.person.identity.clone(), doc, journals, tasks).expect("what was kept can be read")
    }

    /// Tasks a human can still move, in order.
    pub fn open_tasks(&self) -> Vec<TaskId> {
        self.person.tasks.values().filter(|task| !task.state.is_terminal()).map(|task| task.id).collect()
    }

    /// A human does something to a task; false when the task refuses it.
    pub fn human(&mut self, task: TaskId, event: impl FnOnce(&Task, Timestamp) -> task::Event) -> bool {
        let now = self.now;
        let task = self.person.tasks.get_mut(&task).expect("a task in hand");
        let event = event(task, now);
        let taken = task.apply(event, now).is_ok();
        self.advance();
        taken
    }

    pub fn approve(&mut self, task: TaskId) -> bool {
        self.human(task, |task, now| sample::approve(task, "ada", 2, now))
    }

    pub fn deny(&mut self, task: TaskId) -> bool {
        self.human(task, |task, now| sample::deny(task, "ben", 3, now))
    }

    pub fn do_by_hand(&mut self, task: TaskId) -> bool {
        let done = |now| task::Event::Done { by: Box::new(sample::reviewer("ada", 2, now)), note: None };
        self.human(task, |_, now| done(now))
    }

    pub fn pass_on(&mut self, task: TaskId) -> bool {
        let acknowledged = task::Event::Acknowledged { by: "ada".into(), key: sample::KEY.into() };
        self.human(task, |_, _| sample::fetched("ada")) && self.human(task, |_, _| acknowledged)
    }

    /// Somebody asks for one of the things that make sense now.
    pub fn order(&mut self, which: usize) -> Option<TaskId> {
        let mut offered = self.person.offers(self.rules.mode);
        if offered.is_empty() {
            return None;
        }
        let order = offered.swap_remove(which % offered.len());
        Some(self.ask(order))
    }

    /// Writes an order down as the engine does.
    pub fn ask(&mut self, order: Order) -> TaskId {
        self.person.may_be_ordered(&order, self.rules.mode).expect("it makes sense");
        // Whoever ends something by hand answers for what is left undone.
        self.excused |= matches!(
            order,
            Order::Skip { .. } | Order::Cancel { .. } | Order::Close | Order::Settle { applied: true, .. }
        );
        let mint = || {
            self.minted.set(self.minted.get() + 1);
            Uuid::from_u128(self.minted.get())
        };
        let request = Request {
            task: TaskId::new(mint()),
            run: RunId::new(mint()),
            ordered: Ordered { plan: self.plan_by_hand(&order), order, by: "ada".into(), reason: Some("seen".into()) },
            policy: sample::policy(1, 1),
            requester: None,
            now: self.now,
        };
        let id = request.task;
        self.turn(|person, _, out| {
            person.ask_order(request);
            out.tasks.insert(id);
            Ok(())
        })
        .expect("an order folds nothing into a run");
        id
    }

    fn plan_by_hand(&self, order: &Order) -> Option<Plan> {
        let gated = || json!({"approval": "by_hand"});
        let revoke = || step("revoke", REVOKE, "contain", gated());
        let reset = || {
            vec![
                revoke(),
                step("read_user", "read_user", "collect", json!({})),
                step("reset", RESET, "recover", gated()),
                step("revoke_after_reset", REVOKE, "recover", json!({"follows": "reset"})),
            ]
        };
        let steps = match order {
            Order::Revoke => vec![revoke()],
            Order::Reset => reset(),
            Order::ConfirmCompromised => vec![step("confirm", "confirm_compromised", "recover", gated())],
            Order::DismissRisk => {
                vec![step("dismiss", "dismiss_risk", "recover", json!({"approval": "by_hand", "class": "soft"}))]
            }
            Order::Again { run, step } => {
                let of = &self.person.run(*run).expect("a run in hand").plan;
                let asked = of.step(step).expect("a step of it");
                match asked.action.as_str() {
                    REVOKE => vec![revoke()],
                    RESET => reset(),
                    _ => {
                        let follows = of.steps.iter().filter(|other| other.follows.as_ref() == Some(step));
                        let again = Step { approval: Some("by_hand".into()), when: None, ..asked.clone() };
                        [again].into_iter().chain(follows.cloned()).collect()
                    }
                }
            }
            Order::Skip { .. } | Order::Settle { .. } | Order::Cancel { .. } | Order::Close => return None,
        };
        Some(Plan::clone(&plan("by-hand", steps).plan))
    }

    /// From now on everything works and everybody answers: until nothing is left to do.
    pub fn calm(&mut self) {
        self.facts = guard::Facts { released_at: Some(self.now), ..guard::Facts::default() };
        self.browser_here = true;
        for _ in 0..400 {
            self.advance();
            if !self.calls.is_empty() {
                self.answer(0, How::Done);
                continue;
            }
            let moved = self.open_tasks().into_iter().any(|task| {
                self.person.tasks.contains_key(&task)
                    && (self.do_by_hand(task) || self.approve(task) || self.pass_on(task))
            });
            if moved || !self.calls.is_empty() {
                continue;
            }
            match self.person.wake_at(self.rules.collect_limit) {
                Some(at) => self.now = at.max(self.now + SignedDuration::from_secs(1)),
                None => return,
            }
        }
        panic!("it never ends: {:#?}", laws::picture(self));
    }

    pub fn state(&self, run: usize, step: &str) -> &'static str {
        self.person.runs[run].state(&StepId(step.into())).word()
    }

    /// How often a step of this name was sent.
    pub fn sent(&self, step: &str) -> usize {
        self.intended.iter().filter(|(_, id)| id.0 == step).count()
    }
}
