//! The binary over a broker: receivers at the edge without a store, workers behind it.

use oust::domain::BuriedId;
use oust::store::{Buried, BuriedState};
use oust::twin::Twin;
use serde_json::Value;
use url::Url;

use super::*;
use crate::process::{Process, Site, client, detection};
use crate::support::proxy::Proxy;
use crate::support::{start_twin, until_async};

/// Receivers and a worker with folders of their own around one broker.
struct Estate {
    config: Config,
    twin: Twin,
    graph: Url,
    worker: Site,
    _working: Process,
}

impl Estate {
    async fn open() -> Self {
        let config = rabbit::config();
        let (twin, graph) = start_twin(50).await;
        let worker = site(&graph, &config, &config, "");
        let told = worker.said(&["migrate"], 0);
        assert!(told["broker"].as_str().is_some_and(|broker| !broker.contains(":guest@")), "{told}");
        let working = worker.spawn_as("worker");
        Self { config, twin, graph, worker, _working: working }
    }

    /// A receiver that reaches the broker at this address.
    fn receiver(&self, at: &Config, spool: &str) -> Site {
        site(&self.graph, &self.config, at, spool)
    }

    async fn contained(&self, person: usize) {
        let user = self.twin.person(person);
        until_async("the revoke", async || self.twin.count("revokeSignInSessions", user).applied > 0).await;
    }

    async fn end(self) {
        Behind::open(&self.config, &rabbit::url()).await.tidy().await;
    }
}

fn site(graph: &Url, names: &Config, at: &Config, spool: &str) -> Site {
    let site = Site::new(graph);
    let (host, port, prefix) = (&at.endpoint.host, at.endpoint.port, &names.prefix);
    let queue = format!("queue: {{ url: \"amqp://guest:guest@{host}:{port}\", prefix: {prefix} }}\n{spool}");
    site.reconfigure("queue: embedded\n", &queue);
    site
}

async fn ready(site: &Site) {
    until_async("the receiver to be ready", async || site.is_ready().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_without_a_store_and_a_worker_apart_contain_a_person_once() {
    let estate = Estate::open().await;
    let edge = estate.receiver(&estate.config, "");
    let _receiving = edge.spawn_as("receiver");
    ready(&edge).await;
    let body = detection(estate.twin.person(1), "anomalousToken", Timestamp::now()).to_string();
    let (status, answer) = edge.attempt("sentinel", "msg_1", body.as_bytes()).await.expect("answered");
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
    // Another receiver, and neither has a memory: the same ids all the same.
    let other = estate.receiver(&estate.config, "");
    let _also = other.spawn_as("receiver");
    ready(&other).await;
    let (status, again) = other.attempt("sentinel", "msg_1", body.as_bytes()).await.expect("answered");
    assert_eq!((status, &again["ids"]), (200, &answer["ids"]));
    let (_, different) = other.attempt("sentinel", "msg_1", format!("{body} ").as_bytes()).await.expect("answered");
    assert_ne!(different["ids"], answer["ids"], "another body is another delivery");
    estate.contained(1).await;
    let told = edge.attempt("sentinel", "msg_2", b"{\"nothing\": \"known\"}").await.expect("answered");
    assert_eq!(told.0, 422, "{told:?}");
    let id: BuriedId = told.1["buried"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let twice = other.attempt("sentinel", "msg_2", b"{\"nothing\": \"known\"}").await.expect("answered");
    assert_eq!(twice.1["buried"], told.1["buried"]);
    let store = estate.worker.store();
    until_async("it to be filed", async || store.buried(id).await.expect("a read").is_some()).await;

    assert!(!edge.path("oust.db").exists(), "a receiver needs no store");
    let refused = client().get(edge.url("api/v1/overview")).send().await.expect("an answer");
    assert_eq!(refused.status(), 404);
    assert!(refused.text().await.expect("a text").contains("no store"));
    let (status, readiness) = edge.readiness().await;
    assert_eq!(status, 200);
    let names: Vec<_> = readiness["checks"].as_array().expect("checks").iter().map(|check| &check["name"]).collect();
    assert_eq!(names, ["queue"], "{readiness}");
    assert!(edge.metrics().await.contains("oust_broker_connected{link=\"publishing\"} 1"));
    assert_eq!(estate.twin.count("revokeSignInSessions", estate.twin.person(1)).applied, 1, "covered, or the same");
    estate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_needs_the_store_only() {
    let estate = Estate::open().await;
    until_async("the store", async || estate.worker.path("oust.db").exists()).await;
    let store = Sqlite::open(estate.worker.path("oust.db"), Options::default()).expect("a store");
    let buried = Buried {
        id: BuriedId::new(Uuid::now_v7()),
        at: Timestamp::now(),
        source: "sentinel".to_owned(),
        tenant: None,
        delivery: None,
        reason: "a parser of before".to_owned(),
        state: BuriedState::Buried,
        settled: None,
        content: Value::from(detection(estate.twin.person(2), "anomalousToken", Timestamp::now()).to_string()),
    };
    let id = buried.id.to_string();
    store.commit(Lane::Other, Batch { expect: None, ops: vec![Op::Bury(Box::new(buried))] }).await.expect("buried");
    let done = estate.worker.said(&["buried", "replay", &id], 0);
    assert_eq!(done["items"][0]["signals"].as_array().map(Vec::len), Some(1), "{done}");
    estate.contained(2).await;
    estate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_without_a_spool_refuses_at_once_while_the_broker_is_away() {
    let estate = Estate::open().await;
    let proxy = Proxy::to(rabbit::address(&estate.config)).await;
    let edge = estate.receiver(&rabbit::through(&estate.config, proxy.address), "");
    let _receiving = edge.spawn_as("receiver");
    ready(&edge).await;
    proxy.shut();
    until_async("it to be noticed", async || !edge.is_ready().await).await;
    let body = detection(estate.twin.person(3), "anomalousToken", Timestamp::now()).to_string();
    let begun = std::time::Instant::now();
    let (status, answer) = edge.post("sentinel", body.as_bytes()).await;
    assert_eq!((status, answer["type"].as_str()), (503, Some("urn:oust:problem:not-durable")), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let (_, readiness) = edge.readiness().await;
    assert!(readiness["checks"][0]["detail"].as_str().expect("a detail").contains("away since"), "{readiness}");
    proxy.resume();
    ready(&edge).await;
    assert_eq!(edge.post("sentinel", body.as_bytes()).await.0, 200);
    estate.contained(3).await;
    estate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_receiver_had_spooled_is_acted_on() {
    let estate = Estate::open().await;
    let proxy = Proxy::to(rabbit::address(&estate.config)).await;
    let edge =
        estate.receiver(&rabbit::through(&estate.config, proxy.address), "spool: { path: spool.db, max: 64MiB }\n");
    let receiving = edge.spawn_as("receiver");
    ready(&edge).await;
    proxy.shut();
    for person in 1..=20 {
        let body = detection(estate.twin.person(person), "anomalousToken", Timestamp::now()).to_string();
        let (status, answer) = edge.post("sentinel", body.as_bytes()).await;
        assert_eq!(status, 200, "{answer}");
    }
    let (status, readiness) = edge.readiness().await;
    assert_eq!(status, 200, "it can still accept: {readiness}");
    until_async("the figures", async || edge.metrics().await.contains("oust_spool_deliveries 20")).await;
    // A second process may not have the same spool.
    let refused = edge.oust(&["serve", "--roles", "receiver"]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("spool"), "{refused:?}");
    receiving.kill();
    proxy.resume();
    let _receiving = edge.spawn_as("receiver");
    for person in 1..=20 {
        estate.contained(person).await;
    }
    until_async("the spool to be empty", async || edge.metrics().await.contains("oust_spool_deliveries 0")).await;
    estate.end().await;
}
