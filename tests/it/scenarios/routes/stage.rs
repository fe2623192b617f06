//! Something real for every deed: people at risk, tasks of every kind, what is in doubt, what lies buried.

use jiff::SignedDuration;
use oust::domain::task::{Kind, Order, Task, Verdict};
use oust::domain::{BuriedId, CaseId, Identity, RunId};
use oust::twin::{self, Fault};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::console::{Scene, scene_on};
use super::super::{RESET, by_upn, eventually, playbook, push, revoked};
use crate::sign_in::fake_provider::FakeProvider;
use crate::support::{App, Setup};

/// Longer than a proof is fresh and a ceremony open.
pub const STALE: SignedDuration = SignedDuration::from_mins(6);

/// A confirmation that may fail, and work for a person, which keeps the case open.
const BY_HAND: &str = "recover:\n  - do: confirm_compromised\n    approval: on_call\n    on_failure: continue\n  - do: manual\n    with: { instructions: Call them. }\n";

/// An open case with what can be ordered in it.
pub struct Case {
    pub id: CaseId,
    pub run: RunId,
}

pub struct Stage {
    pub scene: Scene,
    pub provider: FakeProvider,
    /// Whose account a reviewer has, who is not at risk yet.
    pub bob: Uuid,
    /// A confirmation failed, the rest waits.
    pub failed: Case,
    /// It is not known whether the password was reset.
    pub in_doubt: Case,
    /// A confirmation waits, and manual work.
    pub confirm: Task,
    pub manual: Task,
    /// An alert about nobody known, and who it was about.
    pub held: Task,
    pub meant: Uuid,
    /// Set aside: to replay, which is about somebody, and to drop.
    pub found: Uuid,
    pub buried: [BuriedId; 2],
}

impl Stage {
    pub async fn set() -> Self {
        let provider = FakeProvider::start().await;
        let playbooks = vec![
            playbook("plain", "  signals: [anomalous_token]\n", RESET),
            playbook("by-hand", "  signals: [impossible_travel]\n", BY_HAND),
        ];
        let config = provider.config();
        let scene = scene_on(Setup { playbooks, ..Setup::default() }, |parts| parts.oidc = Some(config)).await;
        let app = &scene.app;
        let [bob, cid, dan, eve, meant, found] = [1, 2, 3, 4, 5, 6].map(|number| app.twin.person(number));
        let failed = failed(app, cid).await;
        let in_doubt = in_doubt(app, dan).await;
        app.alert(eve, "impossibleTravel").await;
        app.deliver(&by_upn(app, "nobody@contoso.example")).await;
        app.idle().await;
        let of = |user| Some(app.identity(user));
        let confirm = open(app, of(eve).as_ref(), Kind::Approval).await;
        let manual = open(app, of(eve).as_ref(), Kind::Manual).await;
        let held = open(app, None, Kind::Held).await;
        let detection = app.detection(found, "anomalousToken", SignedDuration::from_mins(10)).to_string();
        let buried = [
            scene.bury(1, "sentinel", Value::String(detection)).await,
            scene.bury(2, "sentinel", json!("not json")).await,
        ];
        Self { provider, bob, failed, in_doubt, confirm, manual, held, meant, found, buried, scene }
    }

    /// Time passes for everybody.
    pub async fn pass(&self, span: SignedDuration) {
        push(&self.scene.app, span);
        self.scene.house.clock.push(span);
        self.scene.app.idle().await;
    }

    /// What the orders of the table need is what the engine offers.
    pub async fn offers(&self, case: &Case) -> Vec<Order> {
        self.scene.app.engine.offers(case.id).await.expect("a read")
    }
}

async fn open(app: &App, about: Option<&Identity>, kind: Kind) -> Task {
    let mut tasks = app.open_tasks().await;
    tasks.retain(|task| task.kind == kind && task.identity.as_ref() == about);
    assert_eq!(tasks.len(), 1, "one open {kind} task about {about:?}: {tasks:#?}");
    tasks.remove(0)
}

async fn case(app: &App, user: Uuid) -> Case {
    let found = app.cases().await.into_iter().find(|case| case.identity == app.identity(user));
    let id = found.expect("a case").id;
    let run = app.store.runs_of(id).await.expect("a read").remove(0).0.id;
    Case { id, run }
}

/// Graph refuses the confirmation that was approved.
async fn failed(app: &App, user: Uuid) -> Case {
    app.alert(user, "impossibleTravel").await;
    app.idle().await;
    app.twin.fault(twin::Plan::on("confirmCompromised", Fault::status(403)));
    let task = open(app, Some(&app.identity(user)), Kind::Approval).await;
    app.vote(task.id, Verdict::Approve).await.expect("a vote");
    app.idle().await;
    app.twin.clear_faults();
    case(app, user).await
}

/// The reply to a reset is lost, and its owner changes the password later: nobody can tell.
async fn in_doubt(app: &App, user: Uuid) -> Case {
    app.alert(user, "anomalousToken").await;
    app.idle().await;
    let task = open(app, Some(&app.identity(user)), Kind::Approval).await;
    app.twin.fault(twin::Plan::on("/users/", Fault::Drop).method("PATCH").times(1));
    app.vote(task.id, Verdict::Approve).await.expect("a vote");
    eventually(app, "doubt", async || super::super::task(app, &task).await.state.word() == "unknown").await;
    revoked(app, user, 2).await;
    let mut knobs = app.twin.knobs();
    knobs.skew_ms += 40_000;
    app.twin.set_knobs(knobs);
    let old = app.twin.initial_password(user);
    app.twin.change_password(user, &old, "Another-Long-1-Passphrase").expect("their own change");
    app.clock.advance(SignedDuration::from_secs(40));
    eventually(app, "doubt for good", async || app.picture().await.contains("effect.unknown")).await;
    app.idle().await;
    case(app, user).await
}
