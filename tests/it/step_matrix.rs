//! The step matrix: every step of every shipped playbook meets every fault and every crash, and in the end the twin
//! counts the right effects, the ledger has one outcome per key, and the case is closed.
//!
//! Nothing here waits for a clock: time is pushed, on our side and on the tenant's together, as it passes in life.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use oust::domain::ledger::{Effect, EffectState};
use oust::domain::plan::{EffectClass, MANUAL, Phase, Plan as Playbook, RESET, REVOKE, Step};
use oust::domain::task::{Event, Kind, State, Verdict};
use oust::engine::{Fate, NoHook, Place};
use oust::playbook::catalog::Catalog;
use oust::twin::{Fault, Knobs, Plan as Planned, Plant, Special};
use serde_json::json;
use uuid::Uuid;

use crate::support::{App, Plan, Setup, reviewer, start_twin};

/// Apps at work at once per playbook.
const AT_ONCE: usize = 4;
/// Rounds of "drain, answer, push the clock" until a case must be closed.
const ROUNDS: usize = 40;
/// More than a lease and the longest deadline of a call together.
const A_WHILE: SignedDuration = SignedDuration::from_secs(20);

/// A playbook and a detection that it takes.
const PLAYBOOKS: [(&str, &str); 5] = [
    ("anonymized-ip", "anonymizedIPAddress"),
    ("impossible-travel", "unlikelyTravel"),
    ("leaked-credentials", "leakedCredentials"),
    ("suspicious-inbox-rule", "suspiciousInboxForwarding"),
    ("token-theft", "anomalousToken"),
];

/// What goes wrong at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// 503 once, without effect.
    Error,
    /// 403 once: a refusal for good.
    Refusal,
    /// The effect takes place and the answer is lost, once.
    LostReply,
    Crash(Place),
    Twice,
}

const ALL: [Trouble; 8] = [
    Trouble::Error,
    Trouble::Refusal,
    Trouble::LostReply,
    Trouble::Crash(Place::BeforeIntent),
    Trouble::Crash(Place::BeforeCall),
    Trouble::Crash(Place::BeforeResult),
    Trouble::Crash(Place::AfterResult),
    Trouble::Twice,
];

impl Trouble {
    /// A read has no intent; what a person does by hand has no call.
    fn can_meet(self, step: &Step) -> bool {
        match self {
            _ if step.action == MANUAL => {
                matches!(self, Self::Crash(Place::BeforeCall | Place::AfterResult) | Self::Twice)
            }
            Self::Crash(Place::BeforeIntent) => step.class != EffectClass::Read,
            _ => true,
        }
    }

    fn hook(self, step: &Step) -> Option<Arc<Plan>> {
        match self {
            _ if step.action == MANUAL => None,
            Self::Crash(place) => Some(Plan::once(place, &step.id.0, Fate::Die)),
            Self::Twice => Some(Plan::once(Place::BeforeCall, &step.id.0, Fate::Twice)),
            Self::Error | Self::Refusal | Self::LostReply => None,
        }
    }

    /// The fault at the tenant's side.
    fn fault(self, step: &Step, user: Uuid) -> Option<Planned> {
        let fault = match self {
            Self::Error => Fault::status(503),
            Self::Refusal => Fault::status(403),
            Self::LostReply => Fault::LostReply,
            Self::Crash(_) | Self::Twice => return None,
        };
        let (method, path) = route(&step.action, user);
        // The first revoke is the contain step's.
        let skip = u64::from(step.follows.is_some());
        // The read-back of the revoke reads the user as well: both meet it.
        let times = if step.action == "read_user" { 2 } else { 1 };
        Some(Planned::on(&path, fault).method(method).times(times).skip(skip))
    }
}

/// The call an action makes. A `?` ends the path of the user itself.
fn route(action: &str, user: Uuid) -> (&'static str, String) {
    match action {
        REVOKE => ("POST", "/revokeSignInSessions".into()),
        "confirm_compromised" => ("POST", "/confirmCompromised".into()),
        "disable_inbox_rules" => ("PATCH", "/messageRules".into()),
        RESET => ("PATCH", format!("/users/{user}?")),
        "read_user" => ("GET", format!("/users/{user}?")),
        "read_sign_ins" => ("GET", "/auditLogs/signIns".into()),
        "read_risk" => ("GET", "/identityProtection/riskyUsers".into()),
        "read_inbox_rules" => ("GET", "/messageRules".into()),
        "read_auth_methods" => ("GET", "/authentication/".into()),
        other => panic!("say here which call {other} makes"),
    }
}

/// The twin's name of an action's effect.
fn verb(action: &str) -> Option<&'static str> {
    match action {
        REVOKE => Some("revokeSignInSessions"),
        "confirm_compromised" => Some("confirmCompromised"),
        "disable_inbox_rules" => Some("updateInboxRule"),
        RESET => Some("resetPassword"),
        _ => None,
    }
}

/// One cell of the matrix.
#[derive(Debug, Clone)]
struct Cell {
    playbook: Arc<Playbook>,
    detection: &'static str,
    step: Step,
    trouble: Trouble,
}

/// An app on a tenant of its own with one person who has a thief's inbox rule.
struct Scene {
    app: App,
    user: Uuid,
    /// When what the alert tells of took place.
    activity: Timestamp,
    hook: Option<Arc<Plan>>,
}

impl Scene {
    async fn of(cell: &Cell) -> Self {
        let (twin, base) = start_twin(2).await;
        let user = twin.special(Special::Ada);
        let rule = json!({ "displayName": ".", "conditions": {}, "actions": { "delete": true } });
        twin.plant(user, Plant::Rule { rule }).expect("planted");
        if let Some(fault) = cell.trouble.fault(&cell.step, user) {
            twin.fault(fault);
        }
        let mut setup = Setup::default();
        let hook = cell.trouble.hook(&cell.step);
        if let Some(hook) = &hook {
            setup.hook = Arc::clone(hook) as Arc<dyn oust::engine::Hook>;
        }
        let app = App::on(setup, twin, base).await;
        let activity = app.clock.now() - SignedDuration::from_mins(10);
        app.alert(user, cell.detection).await;
        Self { app, user, activity, hook }
    }

    /// Drains; starts again on the same folder as often as it died.
    async fn drain(mut self) -> Self {
        loop {
            self.app.idle().await;
            if !self.app.engine.is_dead() {
                return self;
            }
            self = self.killed().await;
        }
    }

    /// As `kill -9` and a start on the same folder.
    async fn killed(self) -> Self {
        Self { app: self.app.restart(Arc::new(NoHook)).await, ..self }
    }

    /// Time passes, for us and for the tenant.
    fn push(&self, by: SignedDuration) {
        let knobs = self.app.twin.knobs();
        let ms = i64::try_from(by.as_millis()).expect("a test's span");
        self.app.twin.set_knobs(Knobs { skew_ms: knobs.skew_ms + ms, ..knobs });
        self.app.clock.advance(by);
    }

    async fn is_closed(&self) -> bool {
        self.app.cases().await.iter().all(|case| case.state == "closed")
    }

    /// A person does one thing that is theirs to do: approve, read the password out, report done. False: nothing is.
    async fn answer(&self) -> bool {
        let tasks = self.app.open_tasks().await;
        for task in &tasks {
            // The page of the approval stays open in the reviewer's browser.
            self.app.seen(task.id).await;
        }
        for task in tasks {
            let key = || self.app.recipient.clone();
            let event = match (&task.state, task.kind) {
                (State::Pending, Kind::Approval | Kind::Undecided) => {
                    self.app.vote(task.id, Verdict::Approve).await.expect("an entitled vote");
                    return true;
                }
                (State::Pending, Kind::Manual) => {
                    Event::Done { by: Box::new(reviewer("rita", self.app.clock.now())), note: None }
                }
                (State::Sealed { until: None, .. }, _) => Event::Fetched { by: "rita".into(), key: key() },
                (State::Sealed { .. }, _) => Event::Acknowledged { by: "rita".into(), key: key() },
                _ => continue,
            };
            self.app.engine.decide(task.id, "reviewer:rita", event).await.expect("it is theirs to do");
            return true;
        }
        false
    }

    /// Until the case is closed: drain, answer, let time pass when nothing else is left.
    async fn until_the_end(mut self) -> Self {
        for _ in 0..ROUNDS {
            self = self.drain().await;
            if self.answer().await {
                continue;
            }
            self = self.drain().await;
            if self.is_closed().await {
                return self;
            }
            self.push(A_WHILE);
        }
        panic!("the case does not close\n{}", self.app.picture().await);
    }

    /// A person's work has no call; it is killed around it, and told twice.
    async fn by_hand(mut self, cell: &Cell) -> Self {
        self = self.drain().await;
        let wanted = cell.step.with["title"].as_str().expect("a title").to_owned();
        let task = self.app.open_tasks().await.into_iter().find(|task| task.title == wanted).expect("the task");
        if cell.trouble == Trouble::Crash(Place::BeforeCall) {
            self = self.killed().await.drain().await;
        }
        let done = |scene: &Self| {
            let by = Box::new(reviewer("rita", scene.app.clock.now()));
            Event::Done { by, note: None }
        };
        self.app.engine.decide(task.id, "reviewer:rita", done(&self)).await.expect("it can be done");
        if cell.trouble == Trouble::Twice {
            let again = self.app.engine.decide(task.id, "reviewer:rita", done(&self)).await;
            assert!(again.is_err(), "a task is done once");
        }
        if cell.trouble == Trouble::Crash(Place::AfterResult) {
            self = self.killed().await;
        }
        self
    }

    async fn effects(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for case in self.app.cases().await {
            for (run, _) in self.app.store.runs_of(case.id).await.expect("a read") {
                effects.extend(self.app.store.effects_of(run.id).await.expect("a read"));
            }
        }
        effects
    }

    fn was_met(&self) -> bool {
        let hit = self.app.twin.faults().iter().all(|fault| fault.hit > 0);
        hit && self.hook.as_ref().is_none_or(|hook| hook.was_met())
    }
}

/// Everything approved: contained, reset once, revoked again, closed.
async fn check_approved(cell: Cell) {
    let mut scene = Scene::of(&cell).await;
    if cell.step.action == MANUAL {
        scene = scene.by_hand(&cell).await;
    }
    let scene = scene.until_the_end().await;
    assert!(scene.was_met(), "the trouble never came\n{}", scene.app.picture().await);
    let wrong = wrongs(&cell, &scene).await;
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), scene.app.picture().await);
}

async fn wrongs(cell: &Cell, scene: &Scene) -> Vec<String> {
    let mut wrong = Vec::new();
    let effects = scene.effects().await;
    ledger_wrongs(cell, &effects, &mut wrong);
    count_wrongs(cell, scene, &effects, &mut wrong);
    order_wrongs(cell, scene, &mut wrong);
    for task in scene.app.open_tasks().await {
        wrong.push(format!("task {} is still {}", task.title, task.state.word()));
    }
    if scene.app.cases().await.len() != 1 {
        wrong.push("there is not exactly one case".into());
    }
    wrong
}

/// Whether a step ends without effect because it was refused: containment goes on until it succeeds.
fn is_given_up(cell: &Cell, step: &Step) -> bool {
    let contains = step.phase == Phase::Contain || step.follows.is_some();
    // What was never read cannot be switched off.
    let depends = cell.step.action == "read_inbox_rules" && step.action == "disable_inbox_rules";
    cell.trouble == Trouble::Refusal && (depends || cell.step.id == step.id && !contains)
}

/// Steps that a run without trouble would send.
fn sent(playbook: &Playbook) -> impl Iterator<Item = &Step> {
    playbook.steps.iter().filter(|step| step.class != EffectClass::Read && step.action != MANUAL)
}

fn is_settled(effect: &Effect) -> bool {
    matches!(effect.state, EffectState::Applied | EffectState::Failed)
}

fn ledger_wrongs(cell: &Cell, effects: &[Effect], wrong: &mut Vec<String>) {
    for effect in effects {
        if !is_settled(effect) {
            wrong.push(format!("{} is {:?} in the ledger", effect.step, effect.state));
        }
    }
    for step in sent(&cell.playbook) {
        let rows: Vec<_> = effects.iter().filter(|effect| effect.step == step.id).collect();
        let applied = rows.iter().filter(|effect| effect.state == EffectState::Applied).count();
        // Every reset that may have left is followed by a revoke of its own, and so is one that a person did instead.
        let expected = match &step.follows {
            Some(followed) => {
                let by_hand = cell.playbook.step(followed).is_some_and(|step| is_given_up(cell, step));
                effects.iter().filter(|effect| effect.step == *followed).count() + usize::from(by_hand)
            }
            None => usize::from(!is_given_up(cell, step)),
        };
        if applied != expected {
            wrong.push(format!("{} has {applied} applied outcomes, not {expected}", step.id));
        }
        // A new password is another effect: one that provably failed may stand before the one that holds.
        let most = if step.idempotent { expected.max(1) } else { 2 };
        if rows.len() > most {
            wrong.push(format!("{} has {} rows in the ledger", step.id, rows.len()));
        }
    }
}

fn count_wrongs(cell: &Cell, scene: &Scene, effects: &[Effect], wrong: &mut Vec<String>) {
    let actions: BTreeSet<&str> = sent(&cell.playbook).map(|step| step.action.as_str()).collect();
    for action in actions {
        let verb = verb(action).expect("the twin counts every effect");
        let count = scene.app.count(verb, scene.user);
        let of_action = || effects.iter().filter(|effect| effect.action == action);
        let wanted = of_action().filter(|effect| effect.state == EffectState::Applied).count() as u64;
        // What may be repeated is repeated once for the one disturbance; a reset only after an answer without effect.
        // A crash takes with it every answer that was folded and not yet durable, whosever step it was planned for.
        let is_hit = cell.step.action == action || matches!(cell.trouble, Trouble::Crash(_));
        let most = match action {
            RESET => 1 + u64::from(cell.step.action == RESET && cell.trouble == Trouble::Error),
            _ => of_action().count() as u64 + u64::from(is_hit),
        };
        if count.received > most {
            wrong.push(format!("{verb}: {} calls, at most {most}", count.received));
        }
        if count.applied < wanted || (action == RESET && count.applied != wanted) {
            wrong.push(format!("{verb}: {} applied, wanted {wanted}", count.applied));
        }
    }
    let counters = scene.app.twin.counters();
    for key in counters.keys.keys() {
        if !effects.iter().any(|effect| effect.key.to_string() == *key) {
            wrong.push(format!("a call with the key {key}, of which the ledger knows nothing"));
        }
    }
}

/// Sessions are dead after the alert, and again after the reset; nothing is reset before a revoke.
fn order_wrongs(cell: &Cell, scene: &Scene, wrong: &mut Vec<String>) {
    let view = scene.app.twin.user(scene.user).expect("the user");
    if view.sessions_valid_from <= scene.activity {
        wrong.push("the sessions were not revoked after the alert".into());
    }
    let calls = scene.app.twin.calls(0, 100_000);
    let applied = |verb: &str| -> Vec<u64> {
        calls
            .iter()
            .filter(|call| call.verb == verb && call.oid == Some(scene.user) && call.effect_applied)
            .map(|call| call.seq)
            .collect()
    };
    let (revokes, resets) = (applied("revokeSignInSessions"), applied("resetPassword"));
    let tried = calls.iter().filter(|call| call.verb == "resetPassword").map(|call| call.seq).max();
    if !resets.iter().all(|reset| revokes.first().is_some_and(|revoke| revoke < reset)) {
        wrong.push("a reset before any revoke".into());
    }
    if tried.is_none() || revokes.last().copied() < tried {
        wrong.push(format!("no revoke after the reset of {}", cell.playbook.name));
    }
}

/// Nobody decides: contained all the same, and no timer, fault or crash ever sends a gated effect.
async fn check_undecided(cell: Cell) {
    let mut scene = Scene::of(&cell).await.drain().await;
    // A retry later, past the time to decide, and a day more.
    for by in [A_WHILE, SignedDuration::from_hours(5), SignedDuration::from_hours(25)] {
        scene.push(by);
        scene = scene.drain().await;
    }
    scene = scene.killed().await.drain().await;
    let picture = scene.app.picture().await;
    for gated in ["resetPassword", "confirmCompromised", "updateInboxRule"] {
        assert_eq!(scene.app.count(gated, scene.user).received, 0, "{gated}\n{picture}");
    }
    assert!(scene.app.count("revokeSignInSessions", scene.user).applied >= 1, "{picture}");
    let cases = scene.app.cases().await;
    assert_eq!(cases.len(), 1);
    assert_eq!(cases[0].state, "password_unchanged", "no clock closes it\n{picture}");
    for effect in scene.effects().await {
        assert!(is_settled(&effect), "{} is {:?}\n{picture}", effect.step, effect.state);
    }
    assert_eq!(scene.was_met(), cell.step.phase < Phase::Eradicate, "{picture}");
}

fn cells(name: &str) -> Vec<Cell> {
    let catalog = Catalog::shipped(&oust::actions::registry()).expect("the shipped playbooks are valid");
    let playbook = Arc::new(catalog.get(name).expect("a shipped playbook").plan.clone());
    let (_, detection) = PLAYBOOKS.iter().find(|(known, _)| *known == name).expect("a detection for it");
    let mut cells = Vec::new();
    for step in &playbook.steps {
        for trouble in ALL.into_iter().filter(|trouble| trouble.can_meet(step)) {
            cells.push(Cell { playbook: Arc::clone(&playbook), detection, step: step.clone(), trouble });
        }
    }
    cells
}

/// Without a decision a gated step meets nothing: it is enough to lie in wait for its intent.
fn is_telling(cell: &Cell) -> bool {
    let gated = cell.step.phase >= Phase::Eradicate;
    cell.step.action != MANUAL && (!gated || cell.trouble == Trouble::Crash(Place::BeforeIntent))
}

/// Every cell in a task of its own; all that failed are told, each with its first lines.
async fn check<F, Fut>(cells: Vec<Cell>, one: F)
where
    F: Fn(Cell) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let total = cells.len();
    let failed: Vec<String> = stream::iter(cells)
        .map(|cell| {
            let name = format!("{} {:?}", cell.step.id, cell.trouble);
            let work = tokio::spawn(one(cell));
            async move { work.await.err().map(|error| format!("── {name}: {error}")) }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(failed.is_empty(), "{} of {total} cells failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_shipped_playbook_is_in_the_matrix() {
    let catalog = Catalog::shipped(&oust::actions::registry()).expect("the shipped playbooks are valid");
    let mut shipped: Vec<&str> = catalog.entries().iter().map(|entry| entry.plan.name.as_str()).collect();
    shipped.sort_unstable();
    assert_eq!(shipped, PLAYBOOKS.map(|(name, _)| name));
    for entry in catalog.entries() {
        assert!(entry.plan.steps.iter().any(|step| step.follows.is_some()), "{} revokes again", entry.plan.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_anonymized_ip_survives_every_fault() {
    check(cells("anonymized-ip"), check_approved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_impossible_travel_survives_every_fault() {
    check(cells("impossible-travel"), check_approved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_leaked_credentials_survives_every_fault() {
    check(cells("leaked-credentials"), check_approved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_suspicious_inbox_rule_survives_every_fault() {
    check(cells("suspicious-inbox-rule"), check_approved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_token_theft_survives_every_fault() {
    check(cells("token-theft"), check_approved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_decision_no_fault_ever_leads_to_a_reset() {
    for (name, _) in PLAYBOOKS {
        check(cells(name).into_iter().filter(is_telling).collect(), check_undecided).await;
    }
}
