//! The HTTP surface over real sockets: every bad delivery has its exact answer, and what was answered 2xx is there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use oust::config::{self, Environment};
use oust::domain::TokenId;
use oust::http::{self, Check, Limits, Parts, Readiness, State};
use oust::queue::{self, Claim, Embedded, Queue};
use oust::store::sqlite::{Options, Sqlite};
use oust::store::{Acceptance, Batch, Filter, Lane, Op, Page, Receipt, Store, Token};
use oust::telemetry::Telemetry;
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
const BEARER: &str = "bearer-secret-of-a-test";
const OID: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";

const CONFIG: &str = r#"
mode: enforce
tenants:
  - name: contoso
    tenant_id: 11111111-2222-3333-4444-555555555555
    credential: { client_id: 22222222-3333-4444-5555-666666666666, client_secret: not-used-in-this-test }
sources:
  - name: signed
    kind: microsoft
    auth: [{ standard_webhooks: { secrets: ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="] } }]
  - name: bearer
    kind: microsoft
    auth: [{ bearer: { secrets: [bearer-secret-of-a-test] } }]
  - name: lenient
    kind: microsoft
    on_unknown: accept
    auth: [{ bearer: { secrets: [bearer-secret-of-a-test] } }]
  - name: query
    kind: microsoft
    auth: [{ query_token: { parameter: token, secrets: [query-secret-of-a-test] } }]
  - name: slow
    kind: microsoft
    rate: 1/m
    auth: [{ bearer: { secrets: [bearer-secret-of-a-test] } }]
  - name: elsewhere
    kind: microsoft
    networks: [203.0.113.0/24]
    auth: [{ bearer: { secrets: [bearer-secret-of-a-test] } }]
  - name: graph
    kind: graph
    client_state: { secrets: [client-state-of-a-test] }
  - name: mapped
    kind: mapped
    map: { kind: '"impossible_travel"', object_id: body.who, risk: '"high"', activity_at: body.at }
    auth: [{ bearer: { secrets: [bearer-secret-of-a-test] } }]
"#;

/// A queue that can be stopped: it waits, or cannot persist.
#[derive(Debug)]
struct Gate {
    inner: Arc<Embedded>,
    full: AtomicBool,
    shut: AtomicBool,
    waiting: Notify,
    opened: Notify,
}

#[async_trait]
impl Queue for Gate {
    async fn accept(&self, acceptance: Acceptance) -> Result<Receipt, queue::Error> {
        if self.shut.load(Ordering::SeqCst) {
            self.waiting.notify_one();
            self.opened.notified().await;
        }
        if self.full.load(Ordering::SeqCst) {
            let full = oust::store::Error::CannotPersist("disk full".into());
            return Err(queue::Error::NotDurable(full));
        }
        self.inner.accept(acceptance).await
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claim>, queue::Error> {
        self.inner.claim(limit).await
    }

    fn nudge(&self) {
        self.inner.nudge();
    }
}

/// A served surface on a store of its own.
struct House {
    address: SocketAddr,
    store: Arc<Sqlite>,
    gate: Arc<Gate>,
    state: State,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<usize>,
    _folder: TempDir,
}

fn limits() -> Limits {
    Limits { shutdown_timeout: Duration::from_secs(5), ..Limits::default() }
}

impl House {
    async fn open() -> Self {
        Self::with(limits(), Options::default()).await
    }

    async fn with(limits: Limits, options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Sqlite::open(folder.path().join("oust.db"), options).expect("a store");
        let inner = Embedded::new(store.clone());
        let gate = Arc::new(Gate {
            inner,
            full: AtomicBool::new(false),
            shut: AtomicBool::new(false),
            waiting: Notify::new(),
            opened: Notify::new(),
        });
        let asked = config::Options { environment: Environment::default(), inline_secrets: true };
        let loaded = config::parse(CONFIG, Path::new("oust.yaml"), &asked).expect("a valid configuration");
        let sources = loaded.config.sources.iter().map(|source| source.open().expect("a source")).collect();
        let state = State::new(Parts {
            sources,
            queue: gate.clone(),
            store: store.clone(),
            telemetry: Telemetry::new(),
            limits: limits.clone(),
            clock: Arc::new(Timestamp::now),
            ready: Arc::new(|| Readiness {
                checks: vec![Check { name: "playbooks".into(), ok: false, detail: Some("one is wrong".into()) }],
            }),
            covered: Arc::new(|_| false),
            paused: Arc::new(|| ()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let router = http::router(state.clone());
        let served = tokio::spawn(http::serve(listener, router, limits, async {
            let _ = stopped.await;
        }));
        Self { address, store, gate, state, stop: Some(stop), served, _folder: folder }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    async fn ask(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request).await.expect("sent");
        answer(&mut stream).await
    }

    /// Posts with a bearer secret and JSON's content type.
    async fn post(&self, source: &str, body: &[u8]) -> Answer {
        self.ask(&request(source, &[("authorization", &format!("Bearer {BEARER}"))], body)).await
    }

    async fn queued(&self) -> u64 {
        self.store.figures(Timestamp::now()).await.expect("figures").queue_depth
    }

    async fn buried(&self) -> Vec<oust::store::Buried> {
        let page = Page { after: None, limit: 100 };
        self.store.buried_list(&Filter::default(), &page).await.expect("a list").items
    }

    async fn token(&self, scopes: &[&str]) -> String {
        let text = format!("oust_{}", Uuid::new_v4().simple());
        let token = Token {
            id: TokenId::new(Uuid::now_v7()),
            name: "test".into(),
            hash: http::hash_of(&text),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            created_at: Timestamp::now(),
            expires_at: None,
            revoked_at: None,
        };
        let batch = Batch { expect: None, ops: vec![Op::PutToken(Box::new(token))] };
        self.store.commit(Lane::Other, batch).await.expect("a token");
        text
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        let text = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        self.ask(text.as_bytes()).await
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A refusal of RFC 9457 with this status and word, and with a request id.
    #[track_caller]
    fn is_problem(&self, status: u16, word: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!(body["type"], format!("urn:oust:problem:{word}"), "{body}");
        assert_eq!(body["status"], status);
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
        assert_eq!(body["instance"], self.headers["x-request-id"].as_str());
        assert!(!self.body.contains(BEARER) && !self.body.contains("query-secret"), "{body}");
    }
}

/// Reads one answer; panics when the connection ends before it is whole.
async fn answer(stream: &mut TcpStream) -> Answer {
    read(stream).await.expect("an answer")
}

/// Reads one answer, or nothing when the connection was closed.
async fn read(stream: &mut TcpStream) -> Option<Answer> {
    let patience = Duration::from_secs(20);
    let read = async {
        let (mut buffer, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => buffer.extend_from_slice(&chunk[..read]),
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
        let mut lines = text.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers: BTreeMap<_, _> = lines.filter_map(pair).collect();
        let length = headers.get("content-length").and_then(|value| value.parse().ok()).unwrap_or(0_usize);
        let mut body = buffer.split_off(head + 4);
        while body.len() < length {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => body.extend_from_slice(&chunk[..read]),
            }
        }
        Some(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    };
    tokio::time::timeout(patience, read).await.expect("an answer in time")
}

fn request(source: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("POST /webhooks/{source} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        text.push_str("content-type: application/json\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

/// A detection about one person, as Graph spells it.
fn detection(id: &str) -> Vec<u8> {
    let now = Timestamp::now().to_string();
    json!({
        "@odata.type": "#microsoft.graph.riskDetection",
        "id": id, "riskEventType": "impossibleTravel", "riskLevel": "high", "riskState": "atRisk",
        "userId": OID, "userPrincipalName": "ada@contoso.example", "activityDateTime": now, "detectedDateTime": now,
        "detectionTimingType": "offline", "source": "IdentityProtection",
    })
    .to_string()
    .into_bytes()
}

/// The headers of standardwebhooks.com.
fn signed(id: &str, at: Timestamp, body: &[u8]) -> Vec<(&'static str, String)> {
    let seconds = at.as_second().to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("any length");
    for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
        mac.update(part);
    }
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds),
        ("webhook-signature", format!("v1,{signature}")),
    ]
}

async fn send_signed(house: &House, id: &str, at: Timestamp, body: &[u8]) -> Answer {
    let headers = signed(id, at, body);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    house.ask(&request("signed", &headers, body)).await
}

// ── what is taken ──

#[tokio::test]
async fn a_delivery_that_is_answered_200_is_durable_and_names_its_signals() {
    let house = House::open().await;
    let answer = house.post("bearer", &detection("a")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["accepted"], &body["covered"]), (&json!(1), &json!(0)));
    assert_eq!(body["ignored"], json!([]));
    assert!(body["ids"][0].as_str().is_some_and(|id| id.starts_with("sig_")), "{body}");
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body_is_sent() {
    let house = House::open().await;
    let body = detection("a");
    let auth = format!("Bearer {BEARER}");
    let whole = request("bearer", &[("authorization", &auth), ("expect", "100-continue")], &body);
    let (head, rest) = whole.split_at(whole.len() - body.len());
    let mut stream = house.connect().await;
    stream.write_all(head).await.expect("sent");
    assert_eq!(answer(&mut stream).await.status, 100);
    stream.write_all(rest).await.expect("sent");
    assert_eq!(answer(&mut stream).await.status, 200);
}

#[tokio::test]
async fn a_declared_body_over_the_limit_is_refused_before_it_is_sent() {
    let house = House::open().await;
    let mut stream = house.connect().await;
    let head = "POST /webhooks/bearer HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    answer(&mut stream).await.is_problem(413, "too-large");
}

#[tokio::test]
async fn http2_without_tls_is_served_to_clients_that_know() {
    let house = House::open().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let url = format!("http://{}/webhooks/bearer", house.address);
    let sent = client.post(url).bearer_auth(BEARER).header("content-type", "application/json").body(detection("a"));
    let answer = sent.send().await.expect("answered");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn a_mapped_body_is_read_by_its_expressions() {
    let house = House::open().await;
    let body = json!({ "who": OID, "at": "2026-11-22T10:00:00Z" }).to_string();
    let answer = house.post("mapped", body.as_bytes()).await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(1)), "{answer:?}");
}

#[tokio::test]
async fn news_that_starts_nothing_is_answered_with_its_reason() {
    let house = House::open().await;
    let body = String::from_utf8(detection("a")).expect("text").replace("atRisk", "dismissed");
    let answer = house.post("bearer", body.as_bytes()).await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(0)), "{answer:?}");
    assert!(answer.json()["ignored"][0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{answer:?}");
    assert_eq!(house.queued().await, 0);
}

// ── bodies that are wrong ──

#[tokio::test]
async fn malformed_json_is_400_and_nothing_is_kept() {
    let house = House::open().await;
    for body in [&b"{\"a\":"[..], b"nonsense", b"\xff\xfe", b"{]", b"{\"a\":1}}"] {
        house.post("bearer", body).await.is_problem(400, "not-json");
    }
    assert_eq!((house.queued().await, house.buried().await.len()), (0, 0));
}

#[tokio::test]
async fn an_empty_body_is_400_and_the_answer_says_where_it_comes_from() {
    let house = House::open().await;
    for body in [&b""[..], b" \r\n"] {
        let answer = house.post("bearer", body).await;
        answer.is_problem(400, "empty-body");
        assert!(answer.body.contains("Run trigger"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_declared_as_json_is_415() {
    let house = House::open().await;
    let auth = format!("Bearer {BEARER}");
    for kind in ["text/plain", "application/xml", "application/json; charset=utf-16"] {
        let headers = [("authorization", auth.as_str()), ("content-type", kind)];
        house.ask(&request("bearer", &headers, &detection("a"))).await.is_problem(415, "unsupported-media-type");
    }
    let packed = [("authorization", auth.as_str()), ("content-encoding", "gzip")];
    house.ask(&request("bearer", &packed, b"x")).await.is_problem(415, "unsupported-media-type");
    assert_eq!(house.queued().await, 0);
}

#[tokio::test]
async fn wrong_types_inside_known_shapes_are_held_or_buried_but_never_acted_on() {
    let house = House::open().await;
    let body = String::from_utf8(detection("a")).expect("text");
    let body = body.replace(&format!("\"{OID}\""), "{\"id\": 7}").replace("ada@contoso.example", "../me");
    let answer = house.post("bearer", body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let claims = house.gate.claim(10).await.expect("claims");
    let outcome = &claims[0].signal.finding.outcome;
    assert!(matches!(outcome, oust::domain::Outcome::Held { .. }), "{outcome:?}");
}

#[tokio::test]
async fn ten_mebibytes_are_413_and_the_sender_can_read_the_answer() {
    let house = House::open().await;
    let body = vec![b' '; 10 * 1024 * 1024];
    house.post("bearer", &body).await.is_problem(413, "too-large");
    assert_eq!(house.queued().await, 0);
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_413_as_well() {
    let house = House::open().await;
    let mut stream = house.connect().await;
    let head = "POST /webhooks/bearer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    for _ in 0..20 {
        stream.write_all(&chunk).await.expect("sent");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("sent");
    answer(&mut stream).await.is_problem(413, "too-large");
}

#[tokio::test]
async fn deep_nesting_is_buried_and_422_and_quick() {
    let house = House::open().await;
    let body = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let began = Instant::now();
    let answer = house.post("bearer", body.as_bytes()).await;
    answer.is_problem(422, "not-understood");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(house.buried().await.len(), 1);
}

#[tokio::test]
async fn an_unknown_shape_is_buried_and_422_with_its_id() {
    let house = House::open().await;
    let answer = house.post("bearer", br#"{"weather": "rain"}"#).await;
    answer.is_problem(422, "not-understood");
    let buried = house.buried().await;
    assert_eq!(answer.json()["buried"], buried[0].id.to_string());
    let kept = house.store.buried(buried[0].id).await.expect("a read").expect("a row");
    assert_eq!(kept.content, json!(r#"{"weather": "rain"}"#));
    assert!(answer.body.contains("weather"), "it says what it saw: {answer:?}");
    assert_eq!(house.queued().await, 0);
}

#[tokio::test]
async fn senders_that_would_be_muted_get_200_for_an_unknown_shape() {
    let house = House::open().await;
    let unknown = br#"{"weather": "rain"}"#;
    let common = br#"{"schemaId": "AzureMonitorMetricAlert", "data": 7}"#;
    let query = house.ask(&request("query?token=query-secret-of-a-test", &[], unknown)).await;
    let lenient = house.post("lenient", unknown).await;
    let alert = house.post("bearer", common).await;
    for answer in [query, lenient, alert] {
        assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(0)), "{answer:?}");
        assert!(answer.json()["ids"][0].as_str().is_some_and(|id| id.starts_with("bur_")), "{answer:?}");
    }
    assert_eq!(house.buried().await.len(), 3);
}

// ── senders that are wrong ──

#[tokio::test]
async fn a_wrong_signature_is_401_and_nothing_is_kept() {
    let house = House::open().await;
    let body = detection("a");
    let mut headers = signed("msg_1", Timestamp::now(), &body);
    headers[2].1 = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    house.ask(&request("signed", &headers, &body)).await.is_problem(401, "not-authenticated");
    house.ask(&request("signed", &[], &body)).await.is_problem(401, "not-authenticated");
    house
        .ask(&request("bearer", &[("authorization", "Bearer nope")], &body))
        .await
        .is_problem(401, "not-authenticated");
    house.ask(&request("query?token=nope", &[], &body)).await.is_problem(401, "not-authenticated");
    assert_eq!((house.queued().await, house.buried().await.len()), (0, 0));
    let refusals = house.state.take_refusals();
    assert_eq!(refusals[&("signed".to_owned(), "bad_signature")], 1, "{refusals:?}");
    assert_eq!(refusals[&("signed".to_owned(), "missing")], 1, "{refusals:?}");
    assert!(house.state.take_refusals().is_empty());
}

#[tokio::test]
async fn a_stale_or_future_timestamp_is_401_and_says_so() {
    let house = House::open().await;
    let body = detection("a");
    for (at, word) in [
        (Timestamp::now() - SignedDuration::from_mins(6), "older"),
        (Timestamp::now() + SignedDuration::from_mins(6), "future"),
    ] {
        let answer = send_signed(&house, "msg_1", at, &body).await;
        answer.is_problem(401, "not-authenticated");
        assert!(answer.body.contains(word), "{answer:?}");
    }
    assert_eq!(house.queued().await, 0);
}

#[tokio::test]
async fn a_peer_outside_the_networks_is_401_even_with_the_secret() {
    let house = House::open().await;
    house.post("elsewhere", &detection("a")).await.is_problem(401, "not-authenticated");
    assert_eq!(house.queued().await, 0);
}

#[tokio::test]
async fn a_repeated_webhook_id_with_the_same_body_gets_the_same_ids_and_starts_nothing() {
    let house = House::open().await;
    let body = detection("a");
    let first = send_signed(&house, "msg_1", Timestamp::now(), &body).await;
    let again = send_signed(&house, "msg_1", Timestamp::now(), &body).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.json(), again.json());
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn a_repeated_webhook_id_with_another_body_is_a_new_delivery() {
    let house = House::open().await;
    let first = send_signed(&house, "msg_1", Timestamp::now(), &detection("a")).await;
    let other = send_signed(&house, "msg_1", Timestamp::now(), &detection("b")).await;
    assert_eq!((first.status, other.status), (200, 200));
    assert_ne!(first.json()["ids"], other.json()["ids"]);
    assert_eq!(house.queued().await, 2);
}

#[tokio::test]
async fn a_repeated_unknown_shape_is_buried_once_and_answered_alike() {
    let house = House::open().await;
    let body = br#"{"weather": "rain"}"#;
    let first = send_signed(&house, "msg_1", Timestamp::now(), body).await;
    let again = send_signed(&house, "msg_1", Timestamp::now(), body).await;
    again.is_problem(422, "not-understood");
    assert_eq!(first.json()["buried"], again.json()["buried"]);
    assert_eq!(house.buried().await.len(), 1);
}

#[tokio::test]
async fn an_unknown_source_and_an_unknown_path_are_404_problems() {
    let house = House::open().await;
    house.post("nobody", &detection("a")).await.is_problem(404, "not-found");
    house.post("bearer/lifecycle", &detection("a")).await.is_problem(404, "not-found");
    house.post("%2e%2e/x/y", b"{}").await.is_problem(404, "not-found");
    house.get("/nothing", "").await.is_problem(404, "not-found");
    assert!(house.state.take_refusals().keys().all(|(source, _)| ["unknown", "bearer"].contains(&source.as_str())));
}

#[tokio::test]
async fn get_changes_nothing_and_is_405_on_webhooks() {
    let house = House::open().await;
    let answer = house.get("/webhooks/bearer", BEARER).await;
    answer.is_problem(405, "method-not-allowed");
    assert_eq!(answer.headers["allow"], "POST");
}

#[tokio::test]
async fn over_the_rate_is_429_with_a_time_and_only_authenticated_senders_use_it_up() {
    let house = House::open().await;
    for _ in 0..3 {
        house.ask(&request("slow", &[], &detection("a"))).await.is_problem(401, "not-authenticated");
    }
    assert_eq!(house.post("slow", &detection("a")).await.status, 200);
    let refused = house.post("slow", &detection("b")).await;
    refused.is_problem(429, "too-fast");
    let wait: u64 = refused.headers["retry-after"].parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(house.queued().await, 1);
}

// ── slowness, fullness, the end ──

#[tokio::test]
async fn headers_that_do_not_come_end_the_connection() {
    let house =
        House::with(Limits { header_timeout: Duration::from_millis(300), ..limits() }, Options::default()).await;
    for start in [&b""[..], b"POST /webhooks/be", b"PRI * HT"] {
        let mut stream = house.connect().await;
        stream.write_all(start).await.expect("sent");
        let began = Instant::now();
        assert!(read(&mut stream).await.is_none_or(|answer| answer.status == 408), "{start:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{start:?}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let house = House::with(Limits { body_timeout: Duration::from_millis(300), ..limits() }, Options::default()).await;
    let mut stream = house.connect().await;
    let head = "POST /webhooks/bearer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"a\":";
    stream.write_all(head.as_bytes()).await.expect("sent");
    answer(&mut stream).await.is_problem(408, "too-slow");
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing_behind() {
    let house = House::open().await;
    let body = detection("a");
    let whole = request("bearer", &[("authorization", &format!("Bearer {BEARER}"))], &body);
    let mut stream = house.connect().await;
    stream.write_all(&whole[..whole.len() - 10]).await.expect("sent");
    drop(stream);
    assert_eq!(house.post("bearer", &detection("b")).await.status, 200);
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn with_all_hands_busy_a_delivery_is_503_with_a_time_and_health_still_answers() {
    let house = House::with(Limits { concurrency: 1, ..limits() }, Options::default()).await;
    house.gate.shut.store(true, Ordering::SeqCst);
    let mut first = house.connect().await;
    let auth = format!("Bearer {BEARER}");
    first.write_all(&request("bearer", &[("authorization", &auth)], &detection("a"))).await.expect("sent");
    house.gate.waiting.notified().await;
    let refused = house.post("bearer", &detection("b")).await;
    refused.is_problem(503, "busy");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(house.get("/healthz", "").await.status, 200);
    house.gate.shut.store(false, Ordering::SeqCst);
    house.gate.opened.notify_one();
    assert_eq!(answer(&mut first).await.status, 200);
    assert_eq!(house.post("bearer", &detection("b")).await.status, 200);
}

#[tokio::test]
async fn a_store_that_does_not_answer_in_time_is_503_and_promises_nothing() {
    let limits = Limits { accept_timeout: Duration::from_millis(200), ..limits() };
    let house = House::with(limits, Options::default()).await;
    house.gate.shut.store(true, Ordering::SeqCst);
    let refused = house.post("bearer", &detection("a")).await;
    refused.is_problem(503, "not-durable");
    assert_eq!(refused.headers["retry-after"], "5");
}

#[tokio::test]
async fn what_is_not_durable_is_503_and_the_same_delivery_is_taken_later() {
    let house = House::open().await;
    house.gate.full.store(true, Ordering::SeqCst);
    let body = detection("a");
    let refused = send_signed(&house, "msg_1", Timestamp::now(), &body).await;
    refused.is_problem(503, "not-durable");
    assert_eq!(refused.headers["retry-after"], "5");
    assert!(!refused.body.contains("disk full"), "5xx say nothing but the request's id");
    assert_eq!(house.queued().await, 0);
    house.gate.full.store(false, Ordering::SeqCst);
    assert_eq!(send_signed(&house, "msg_1", Timestamp::now(), &body).await.status, 200);
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn a_full_disk_is_503_and_exactly_what_was_answered_200_is_there() {
    let house = House::with(limits(), Options { max_pages: Some(160), ..Options::default() }).await;
    let (mut taken, mut refused) = (0, 0);
    for number in 0..400 {
        let mut body: Value = serde_json::from_slice(&detection(&number.to_string())).expect("JSON");
        body["additionalInfo"] = Value::from("x".repeat(16 * 1024));
        let answer = house.post("bearer", body.to_string().as_bytes()).await;
        if answer.status == 200 {
            taken += 1;
        } else {
            answer.is_problem(503, "not-durable");
            assert_eq!(answer.headers["retry-after"], "5");
            refused += 1;
        }
        if refused == 3 {
            break;
        }
    }
    assert!(taken > 0 && refused == 3, "taken {taken}, refused {refused}");
    assert_eq!(house.queued().await, taken);
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_accepted() {
    let mut house = House::open().await;
    house.gate.shut.store(true, Ordering::SeqCst);
    let mut stream = house.connect().await;
    let auth = format!("Bearer {BEARER}");
    stream.write_all(&request("bearer", &[("authorization", &auth)], &detection("a"))).await.expect("sent");
    house.gate.waiting.notified().await;
    house.stop.take().expect("not stopped yet").send(()).expect("it listens");
    house.gate.shut.store(false, Ordering::SeqCst);
    house.gate.opened.notify_one();
    assert_eq!(answer(&mut stream).await.status, 200);
    assert_eq!(house.served.await.expect("it ended"), 0);
    assert_eq!(house.store.figures(Timestamp::now()).await.expect("figures").queue_depth, 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let limits = Limits { idle_timeout: Duration::from_millis(300), ..limits() };
    let house = House::with(limits, Options::default()).await;
    let mut stream = house.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    assert_eq!(answer(&mut stream).await.status, 200);
    assert!(read(&mut stream).await.is_none(), "closed without a word");
}

// ── Graph ──

#[tokio::test]
async fn the_handshake_of_graph_is_answered_in_plain_text() {
    let house = House::open().await;
    let answer =
        house.ask(&request("graph?validationToken=Validation%3A+a%26b", &[("content-type", "text/plain")], b"")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "Validation: a&b"));
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let lifecycle = house.ask(&request("graph/lifecycle?validationToken=x", &[], b"")).await;
    assert_eq!((lifecycle.status, lifecycle.body.as_str()), (200, "x"));
    let hostile = format!("graph?validationToken={}", "x".repeat(5_000));
    house.ask(&request(&hostile, &[], b"")).await.is_problem(400, "bad-request");
    house.ask(&request("bearer?validationToken=x", &[], b"{}")).await.is_problem(401, "not-authenticated");
}

fn notification(client_state: &str) -> Vec<u8> {
    json!({ "value": [{
        "subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07", "clientState": client_state,
        "changeType": "updated", "resource": "security/alerts_v2/da637551227677560813",
        "tenantId": "11111111-2222-3333-4444-555555555555",
    }] })
    .to_string()
    .into_bytes()
}

#[tokio::test]
async fn a_notification_with_the_client_state_is_202_and_queued() {
    let house = House::open().await;
    let answer = house.ask(&request("graph", &[], &notification("client-state-of-a-test"))).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    assert_eq!(house.queued().await, 1);
}

#[tokio::test]
async fn a_notification_with_a_wrong_client_state_is_202_dropped_and_counted() {
    let house = House::open().await;
    let answer = house.ask(&request("graph", &[], &notification("guessed"))).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    assert_eq!(house.queued().await, 0);
    assert_eq!(house.state.take_refusals()[&("graph".to_owned(), "client_state")], 1);
    house.ask(&request("graph", &[], b"nonsense")).await.is_problem(400, "not-json");
    house.ask(&request("graph", &[], b"{\"a\": 1}")).await.is_problem(400, "bad-request");
    house.gate.full.store(true, Ordering::SeqCst);
    let refused = house.ask(&request("graph", &[], &notification("client-state-of-a-test"))).await;
    refused.is_problem(503, "not-durable");
}

// ── reads, pause, health ──

#[tokio::test]
async fn the_read_api_wants_a_live_token_with_the_scope() {
    let house = House::open().await;
    for token in ["", "oust_unknown", "nonsense", BEARER] {
        let answer = house.get("/api/v1/cases", token).await;
        answer.is_problem(401, "not-authenticated");
        assert!(answer.headers.contains_key("www-authenticate"));
    }
    house.get("/api/v1/nothing", "oust_unknown").await.is_problem(401, "not-authenticated");
    let pauser = house.token(&["pause"]).await;
    house.get("/api/v1/cases", &pauser).await.is_problem(403, "forbidden");
    let reader = house.token(&["read"]).await;
    for path in ["cases", "tasks", "buried", "audit", "cases?open=true&limit=10", "tasks?limit=500"] {
        let answer = house.get(&format!("/api/v1/{path}"), &reader).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.json()["items"].is_array(), "{path}: {answer:?}");
    }
    assert_eq!(house.get("/api/v1/overview", &reader).await.json()["figures"]["queue_depth"], 0);
}

#[tokio::test]
async fn wrong_ids_questions_and_methods_of_the_api_are_problems() {
    let house = House::open().await;
    let reader = house.token(&["read"]).await;
    let unknown = "00000000000000000000000000000001";
    for path in ["cases/x", "cases/sig_1", "tasks/../cases", "nothing", &format!("signals/sig_{unknown}")] {
        house.get(&format!("/api/v1/{path}"), &reader).await.is_problem(404, "not-found");
    }
    for question in ["limit=0", "limit=501", "limit=x", "color=red", "object_id=me", "after="] {
        house.get(&format!("/api/v1/cases?{question}"), &reader).await.is_problem(400, "bad-request");
    }
    let post = format!("POST /api/v1/cases HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {reader}\r\n\r\n");
    house.ask(post.as_bytes()).await.is_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn what_was_buried_can_be_read_with_its_content() {
    let house = House::open().await;
    house.post("bearer", br#"{"weather": "rain"}"#).await.is_problem(422, "not-understood");
    let reader = house.token(&["read"]).await;
    let list = house.get("/api/v1/buried", &reader).await.json();
    assert_eq!((list["items"].as_array().map(Vec::len), &list["items"][0]["content"]), (Some(1), &Value::Null));
    let id = list["items"][0]["id"].as_str().expect("an id");
    let one = house.get(&format!("/api/v1/buried/{id}"), &reader).await.json();
    assert_eq!(one["content"], r#"{"weather": "rain"}"#);
}

#[tokio::test]
async fn a_token_may_pause_but_never_resume() {
    let house = House::open().await;
    let (reader, pauser) = (house.token(&["read"]).await, house.token(&["pause"]).await);
    let ask = |method: &str, token: &str, body: &str| {
        format!(
            "{method} /api/v1/pause HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    house.ask(ask("POST", &reader, "").as_bytes()).await.is_problem(403, "forbidden");
    house.ask(ask("POST", &pauser, "{\"why\": 1}").as_bytes()).await.is_problem(400, "not-json");
    assert_eq!(house.get("/api/v1/pause", &reader).await.json(), json!({ "paused": false }));
    let paused = house.ask(ask("POST", &pauser, "{\"reason\": \"a drill\"}").as_bytes()).await;
    assert_eq!((paused.status, &paused.json()["reason"]), (200, &json!("a drill")), "{paused:?}");
    let again = house.ask(ask("POST", &pauser, "{\"reason\": \"another\"}").as_bytes()).await;
    assert_eq!(again.json()["reason"], "a drill", "the first reason stays");
    let resume = house.ask(ask("DELETE", &pauser, "").as_bytes()).await;
    resume.is_problem(403, "forbidden");
    assert!(resume.body.contains("oust resume"), "{resume:?}");
    assert_eq!(house.get("/api/v1/pause", &reader).await.json()["by"], "token:test");
    assert!(house.get("/api/v1/audit", &reader).await.body.contains("\"verb\":\"pause\""));
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_token_and_name_nobody() {
    let house = House::open().await;
    house.post("bearer", &detection("a")).await;
    assert_eq!(house.get("/healthz", "").await.status, 200);
    let ready = house.get("/readyz", "").await;
    assert_eq!((ready.status, &ready.json()["checks"][0]["detail"]), (503, &json!("one is wrong")));
    let metrics = house.get("/metrics", "").await;
    assert_eq!(metrics.status, 200);
    let line = r#"oust_deliveries_total{source="bearer",outcome="accepted"} 1"#;
    assert!(metrics.body.contains(line), "{}", metrics.body);
    assert!(!metrics.body.contains(OID) && !metrics.body.contains("ada@"), "{}", metrics.body);
}
