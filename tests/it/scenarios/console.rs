//! The console over HTTP, on a store with a real case: who sees which page, what a hostile name does, what nobody may do,
//! and the way of a temporary password from the approval to its end.

use std::sync::Arc;

use axum::Router;
use oust::domain::run::Mode;
use oust::domain::task::{Kind, Role, Task, Verdict};
use oust::http::console::{self, Configured, Console, Parts, TenantFacts};
use oust::http::sign_in;
use oust::http::{Limits, PAUSE, Source, SourceKind};
use oust::sources::auth::networks::Networks;
use oust::store::reviewers::Reviewers;
use oust::store::sqlite::{Options, Sqlite};
use oust::telemetry::Telemetry;
use oust::twin::{self, Special};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{RESET, app_with, eventually, playbook, the};
use crate::sign_in::authenticator::{Key, Says};
use crate::sign_in::forged::every_route;
use crate::sign_in::house::{Browser, Hands, House, Reply};
use crate::support::{App, Setup};

const HOSTILE: &str = "<script>alert(1)</script>\u{202E}\n😀";

pub(super) struct Scene {
    pub app: App,
    pub house: House,
    pub console: Console,
    pub stop: CancellationToken,
    pub ada: Uuid,
    pub task: Task,
}

/// The one source that is configured.
fn source(name: &str) -> Result<Source, String> {
    if name != "sentinel" {
        return Err(format!("no source is called {name} any more"));
    }
    Ok(Source {
        name: name.to_owned(),
        tenant: "contoso".parse().expect("a name"),
        entra_tenant_id: oust::twin::Config::default().tenant_id,
        kind: SourceKind::Microsoft { arm: Vec::new() },
        auth: None,
        networks: Networks::new(&[]),
        rate: None,
        on_unknown: None,
    })
}

/// A reset that waits, and the console in front of the engine.
pub(super) async fn scene() -> Scene {
    scene_on(Setup::default(), |_| {}).await
}

/// The same, on any store and with any sign-in.
pub(super) async fn scene_on(setup: Setup, change: impl FnOnce(&mut sign_in::Parts)) -> Scene {
    scene_of(setup, change, |_| {}).await
}

/// The same, with any console.
pub(super) async fn scene_of(
    setup: Setup,
    change: impl FnOnce(&mut sign_in::Parts),
    configure: impl FnOnce(&mut Parts),
) -> Scene {
    let on = "  signals: [anomalous_token]\n";
    let mut setup = setup;
    if setup.playbooks.is_empty() {
        setup.playbooks = vec![playbook("plain", on, RESET)];
    }
    let app = app_with(setup).await;
    let ada = app.twin.special(Special::Ada);
    let mut detection = app.detection(ada, "anomalousToken", jiff::SignedDuration::from_mins(10));
    detection["userPrincipalName"] = json!("ada@contoso.example");
    detection["userDisplayName"] = json!(HOSTILE);
    detection["activity"] = json!(HOSTILE);
    app.deliver(&detection).await;
    app.idle().await;
    let task = the(&app, Kind::Approval).await;
    let store: Arc<dyn Reviewers> = match &app.setup.place {
        Some(place) => place.open().await,
        None => Sqlite::open(app.dir.path().join("oust.db"), Options::default()).expect("the store's file"),
    };
    let mut house = House::on(store, Hands::at(app.clock.now()), |parts| {
        let clock = app.clock.clone();
        parts.clock = Arc::new(move || clock.now());
        parts.decider = Some(Arc::new(app.engine.clone()));
        parts.tenants = [(twin::Config::default().tenant_id, "contoso".parse().expect("a name"))].into();
        change(parts);
    });
    let (clock, stop) = (app.clock.clone(), CancellationToken::new());
    let mut parts = Parts {
        store: house.store.clone(),
        sign_in: house.sign_in.clone(),
        engine: app.engine.clone(),
        clock: Arc::new(move || clock.now()),
        telemetry: Telemetry::new(),
        limits: Limits::default(),
        configured: Configured {
            mode: Mode::Enforce,
            public_url: None,
            tenants: vec![TenantFacts {
                name: "contoso".parse().expect("a name"),
                tenant_id: Uuid::nil().to_string(),
                cloud: "global".into(),
            }],
            sources: Vec::new(),
            oidc: None,
            break_glass: 0,
            break_glass_group: None,
            blast_radius: None,
            policies: vec!["on_call".into()],
            demo: false,
            receives: false,
            works: true,
        },
        sources: Arc::new(source),
        stop: stop.clone(),
    };
    configure(&mut parts);
    let console = Console::start(parts);
    house.router = Router::new().merge(console::router(&console));
    Scene { app, house, console, stop, ada, task }
}

impl Scene {
    /// Streams of events end.
    pub fn end_streams(&self) {
        self.stop.cancel();
    }

    pub fn task_page(&self) -> String {
        format!("/console/tasks/{}", self.task.id)
    }

    pub async fn decide(&self, browser: &mut Browser<'_>, key: &mut Key, verdict: Verdict) -> Reply {
        let wanted = json!({
            "task": self.task.id, "revision": self.task.revision, "verdict": verdict, "digest": self.task.digest(),
            "reason": "asked her on the phone", "recipient_key": self.app.recipient,
        });
        let begun = browser.post("/console/decide/begin", wanted).await;
        assert_eq!(begun.status, 200, "{begun:?}");
        let credential = key.get(&begun.body, &Says::get());
        let finish = json!({ "ceremony": begun.body["ceremony"], "credential": credential });
        browser.post("/console/decide/finish", finish).await
    }

    pub async fn state(&self) -> String {
        super::task(&self.app, &self.task).await.state.word().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_there_for_whoever_signed_in_and_for_nobody_else() {
    let scene = scene().await;
    let case = scene.app.cases().await.remove(0).id;
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let pages = [
        ("/console".to_owned(), "Identities at risk"),
        ("/console?q=ada&state=all&risk=high".to_owned(), "Identities at risk"),
        ("/console/tasks".to_owned(), "Tasks"),
        ("/console/tasks?show=all".to_owned(), "Tasks"),
        (scene.task_page(), "Task"),
        (format!("/console/cases/{case}"), "Case"),
        ("/console/buried".to_owned(), "Buried"),
        ("/console/playbooks".to_owned(), "Playbooks"),
        ("/console/playbooks/plain".to_owned(), "Playbooks"),
        ("/console/audit".to_owned(), "Audit"),
        ("/console/overview".to_owned(), "Overview"),
        ("/console/settings".to_owned(), "Settings"),
    ];
    for (path, heading) in &pages {
        let reply = vera.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let found = reply.text.contains(&format!("<h1>{heading}</h1>"))
            || reply.text.contains(&format!("<h1><span class=\"kind\">{heading}</span></h1>"));
        assert!(found, "{path} has the heading {heading}: {}", reply.text);
        assert!(
            !reply.text.contains("<script>") && !reply.text.contains('\u{202E}'),
            "{path} lets a hostile name through"
        );
        assert!(reply.text.len() < 100 * 1024, "{path} weighs {}", reply.text.len());
        let policy = reply.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.contains("default-src 'none'") && reply.headers["cache-control"] == "no-store", "{path}");
        let separator = if path.contains('?') { '&' } else { '?' };
        for region in ["live", "status"] {
            let part = vera.get(&format!("{path}{separator}fragment={region}")).await;
            assert!(part.status == 200 && !part.text.contains("<!doctype"), "{path} {region}");
            assert!(part.text.contains(&format!("id=\"{region}\"")), "{path} {region}: {}", part.text);
        }
        let turned_away = scene.house.browser().get(path).await;
        assert_eq!(turned_away.status, 303, "{path}");
        assert!(turned_away.location().starts_with("/console/sign-in?next="), "{path}: {}", turned_away.location());
    }
    for lost in
        ["/console/tasks/x", "/console/cases/case_1", "/console/nowhere", "/console/playbooks/no", "/console/buried/x"]
    {
        let reply = vera.get(lost).await;
        assert_eq!(reply.status, 404, "{lost}");
        assert!(reply.text.contains("There is nothing here"), "{lost}: {}", reply.text);
    }
    assert_eq!(vera.get("/console/tasks?after=;--").await.status, 400);
    let front = scene.house.browser().get("/").await;
    assert_eq!((front.status.as_u16(), front.location()), (307, "/console"));
    let home = vera.get("/console").await.text;
    assert!(home.contains("ada@contoso.example") && home.contains(&scene.task_page()), "{home}");
    assert!(!vera.get(&scene.task_page()).await.text.contains(">Approve<"), "a viewer is offered no decision");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_of_the_console_does_anything_for_nobody_a_viewer_or_another_site() {
    let scene = scene().await;
    // The engine writes by itself while it works; a stopped one leaves the store alone.
    scene.app.engine.stop(std::time::Duration::from_secs(5)).await;
    // Streams of events end.
    scene.stop.cancel();
    let list = console::routes(&scene.console).list().to_vec();
    assert!(list.len() > 35, "{}", list.len());
    every_route(&scene.house, &list).await;
    assert_eq!(scene.state().await, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_goes_to_the_browser_that_approved_and_is_gone_once_passed_on() {
    let scene = scene().await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    let (mut carl, _) = scene.house.signed_in("carl", Role::Approver).await;
    let at = |deed: &str| format!("{}/{deed}", scene.task_page());
    let mine = json!({ "key": scene.app.recipient });
    assert_eq!(rita.post(&at("reveal"), mine.clone()).await.status, 404, "nothing is approved yet");
    assert!(rita.get(&scene.task_page()).await.text.contains(">Approve<"));
    let approved = scene.decide(&mut rita, &mut key, Verdict::Approve).await;
    assert_eq!(
        (approved.status.as_u16(), &approved.body["location"]),
        (200, &json!(scene.task_page())),
        "{approved:?}"
    );
    scene.app.idle().await;
    assert_eq!(scene.state().await, "approved", "it waits for the browser");
    assert_eq!(scene.app.count("resetPassword", scene.ada).received, 0);

    for (body, who) in [(json!({ "key": "B".repeat(87) }), &mut rita), (mine.clone(), &mut carl)] {
        for deed in ["presence", "reveal", "acknowledge"] {
            let reply = who.post(&at(deed), body.clone()).await;
            assert!(matches!(reply.status.as_u16(), 403 | 409), "{deed}: {reply:?}");
        }
    }
    assert_eq!(rita.post(&at("presence"), mine.clone()).await.status, 204);
    eventually(&scene.app, "the reset", async || scene.state().await == "sealed").await;
    assert_eq!(scene.app.count("resetPassword", scene.ada).applied, 1);
    assert_eq!(carl.post(&at("reveal"), mine.clone()).await.status, 403, "another approver");
    assert_eq!(rita.post(&at("acknowledge"), mine.clone()).await.status, 409, "not fetched yet");

    let first = rita.post(&at("reveal"), mine.clone()).await;
    assert_eq!(first.status, 200, "{first:?}");
    let again = rita.post(&at("reveal"), mine.clone()).await;
    assert_eq!(first.body, again.body, "the same until the same instant");
    assert!(first.body["until"].is_string() && first.body["enc"].is_string() && first.body["ciphertext"].is_string());
    assert_eq!(rita.post(&at("acknowledge"), mine.clone()).await.status, 204);
    assert_eq!(scene.state().await, "revealed");
    assert!(scene.house.store.sealed(scene.task.id).await.expect("a read").is_none(), "the ciphertext is gone");
    assert_eq!(rita.post(&at("reveal"), mine.clone()).await.status, 410);
    let revokes = scene.app.count("revokeSignInSessions", scene.ada);
    assert!(revokes.applied >= 2, "revoked again after the reset: {revokes:?}");
    assert!(rita.get(&scene.task_page()).await.text.contains("It cannot be shown again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_wants_a_reason_and_a_fresh_proof_and_is_shown_on_every_page() {
    let scene = scene().await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    assert_eq!(rita.post("/console/pause", json!({ "reason": " " })).await.status, 422);
    scene.app.clock.advance(jiff::SignedDuration::from_mins(6));
    let stale = rita.post("/console/pause", json!({ "reason": "drill" })).await;
    assert_eq!((stale.status.as_u16(), &stale.body["step_up"]), (403, &Value::Bool(true)), "{stale:?}");
    assert!(scene.house.store.setting(PAUSE).await.expect("a read").is_none());
    assert_eq!(rita.prove(&mut key).await.status, 200);
    let paused = rita.post("/console/pause", json!({ "reason": HOSTILE })).await;
    assert_eq!((paused.status.as_u16(), &paused.body["location"]), (200, &json!("/console/settings")), "{paused:?}");
    let held = scene.house.store.setting(PAUSE).await.expect("a read").expect("paused");
    assert_eq!(held["by"], "reviewer:rita");
    let page = rita.get("/console/audit").await.text;
    assert!(page.contains("<strong>Paused</strong>") && !page.contains("<script>"), "{page}");
    assert_eq!(rita.post("/console/resume", json!({})).await.status, 200);
    assert!(scene.house.store.setting(PAUSE).await.expect("a read").is_none());
    assert!(scene.house.has_audited("resume").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_of_an_open_task_that_was_approved_meanwhile_is_told_so_and_can_be_made_again() {
    let scene = scene().await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    let (mut carl, mut other) = scene.house.signed_in("carl", Role::Approver).await;
    let denial = |revision: u64| {
        json!({
            "task": scene.task.id, "revision": revision, "verdict": Verdict::Deny, "digest": scene.task.digest(),
            "reason": "she is on holiday there",
        })
    };
    let begun = carl.post("/console/decide/begin", denial(scene.task.revision)).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    assert_eq!(scene.decide(&mut rita, &mut key, Verdict::Approve).await.status, 200);

    let finish = json!({ "ceremony": begun.body["ceremony"], "credential": other.get(&begun.body, &Says::get()) });
    let late = carl.post("/console/decide/finish", finish.clone()).await;
    assert_eq!((late.status.as_u16(), &late.body["what"]), (409, &json!("approved")), "{late:?}");
    assert_eq!(late.body["who"], "rita");
    assert_eq!(scene.state().await, "approved");
    let again = carl.post("/console/decide/finish", finish).await;
    assert_eq!(again.body["type"], "urn:oust:problem:spent", "the proof was good for one attempt: {again:?}");

    let (told, old) = (scene.house.audited().await.len(), scene.task.revision);
    let out_of_date = carl.post("/console/decide/begin", denial(old)).await;
    assert_eq!((out_of_date.status.as_u16(), &out_of_date.body["difference"][0]["what"]), (409, &json!("revision")));
    let trail = scene.house.audited().await;
    let [(verb, detail)] = &trail[told..] else { panic!("{trail:#?}") };
    assert_eq!((verb.as_str(), &detail["task"]), ("task.refused", &json!(scene.task.id)), "{detail}");
    assert!(detail["what"].as_str().is_some_and(|what| what.contains("since it was shown")), "{detail}");

    let revision = super::task(&scene.app, &scene.task).await.revision;
    let begun = carl.post("/console/decide/begin", denial(revision)).await;
    let finish = json!({ "ceremony": begun.body["ceremony"], "credential": other.get(&begun.body, &Says::get()) });
    assert_eq!(carl.post("/console/decide/finish", finish).await.status, 200);
    assert_eq!(scene.state().await, "revoked");
    assert_eq!(scene.app.count("resetPassword", scene.ada).received, 0);
}
