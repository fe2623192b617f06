//! What happens to people, alert by alert: every scenario on a real store against the twin, with its exact outcome.

mod audited;
mod away;
mod changed;
mod choosing;
mod console;
mod console_feed;
mod console_orders;
mod console_pages;
mod console_told;
mod decisions;
mod edges;
mod failures;
mod flight;
mod guards;
mod handed_over;
mod late;
mod naming;
mod orders;
mod outside;
mod pinned;
mod poll;
mod proven;
mod resets;
mod routes;
mod shadow;
mod shared;
mod standing;
mod targets;
mod watch;

use std::time::{Duration, Instant};

use jiff::SignedDuration;
use oust::domain::task::{Ballot, Event, Kind, Task, Verdict};
use oust::domain::{DeliveryId, Finding, Signal, SignalId};
use oust::engine::{DecideError, Recorded};
use oust::queue::Queue;
use oust::store::{Acceptance, Receipt};
use oust::twin::{self, Knobs, Twin};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use crate::support::{App, Setup, reviewer};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A twin whose application tokens outlive every push of the clock.
async fn lasting_twin(people: usize) -> (Twin, Url) {
    let knobs = Knobs { app_token_seconds: 8_640_000, ..Knobs::unthrottled() };
    let twin = Twin::new(twin::Config { people, knobs, ..twin::Config::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let base = Url::parse(&format!("http://{}", listener.local_addr().expect("an address"))).expect("a URL");
    tokio::spawn(twin.clone().serve(listener, std::future::pending()));
    (twin, base)
}

async fn app() -> App {
    app_with(Setup::default()).await
}

async fn app_with(setup: Setup) -> App {
    let (twin, base) = lasting_twin(setup.people).await;
    App::on(setup, twin, base).await
}

/// Time passes, here and at Microsoft.
fn push(app: &App, span: SignedDuration) {
    let mut knobs = app.twin.knobs();
    knobs.skew_ms += i64::try_from(span.as_millis()).expect("a test's span");
    app.twin.set_knobs(knobs);
    app.clock.advance(span);
}

/// Waits until something holds, looking for due work meanwhile.
async fn eventually(app: &App, what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        app.engine.look().await.expect("a read");
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}\n{}", app.picture().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until this many revokes of the person took effect.
async fn revoked(app: &App, user: Uuid, times: u64) {
    eventually(app, "the revoke", async || app.count("revokeSignInSessions", user).applied >= times).await;
}

/// The open task of this kind; there must be exactly one.
async fn the(app: &App, kind: Kind) -> Task {
    let mut tasks = open(app, kind).await;
    assert_eq!(tasks.len(), 1, "one open {kind} task: {tasks:#?}");
    tasks.remove(0)
}

async fn open(app: &App, kind: Kind) -> Vec<Task> {
    app.open_tasks().await.into_iter().filter(|task| task.kind == kind).collect()
}

async fn task(app: &App, of: &Task) -> Task {
    app.store.task(of.id).await.expect("a read").expect("the task")
}

/// A vote of somebody on call; `present`: their browser keeps the page open.
async fn vote(app: &App, on: &Task, verdict: Verdict, present: bool) -> Result<Recorded, DecideError> {
    let shown = task(app, on).await;
    let now = app.clock.now();
    if present {
        app.seen(on.id).await;
    }
    let ballot = Ballot {
        by: reviewer("rita", now),
        verdict,
        reason: Some("asked them on the phone".into()),
        digest: shown.digest(),
        recipient_key: shown.reveals().then(|| app.recipient.clone()),
    };
    app.engine.decide(on.id, "reviewer:rita", Event::Vote(Box::new(ballot))).await
}

/// Accepts findings as another source's receiver would.
async fn accept(app: &App, source: &str, findings: Vec<Finding>) -> Vec<SignalId> {
    let received_at = app.clock.now();
    let delivery = DeliveryId::new(Uuid::now_v7());
    let tenant: oust::domain::TenantName = crate::support::TENANT.parse().expect("a tenant name");
    let signal = |finding| Signal {
        id: SignalId::new(Uuid::now_v7()),
        delivery,
        source: source.to_owned(),
        tenant: tenant.clone(),
        received_at,
        traceparent: None,
        finding,
    };
    let signals: Vec<Signal> = findings.into_iter().map(signal).collect();
    let ids = signals.iter().map(|signal| signal.id).collect();
    let acceptance = Acceptance {
        delivery,
        source: source.to_owned(),
        tenant: tenant.clone(),
        received_at,
        webhook_id: None,
        body: bytes::Bytes::from_static(b"{}"),
        body_hash: String::new(),
        signals,
        buried: None,
        answer: json!({}),
    };
    assert_eq!(app.queue.accept(acceptance).await.expect("durable"), Receipt::Accepted);
    ids
}

async fn outcome(app: &App, signal: SignalId) -> Value {
    app.signal(signal).await["outcome"].clone()
}

/// A risk detection that names its person by UPN only.
fn by_upn(app: &App, upn: &str) -> Value {
    let mut body = app.detection(Uuid::nil(), "anomalousToken", SignedDuration::from_mins(10));
    body["userId"] = Value::Null;
    body["userPrincipalName"] = json!(upn);
    body
}

/// A playbook that contains and asks for a reset.
fn playbook(name: &str, on: &str, rest: &str) -> (String, String) {
    let text =
        format!("name: {name}\nversion: 1\ndescription: A test.\non:\n{on}contain:\n  - do: revoke_sessions\n{rest}");
    (format!("{name}.yaml"), text)
}

const RESET: &str = "recover:\n  - do: reset_password\n    approval: on_call\n";
