//! The HTTP surface over real sockets: every bad delivery has its exact answer, and what was answered 2xx is there.

mod api;
mod bodies;
mod graph;
mod routes;
mod senders;
mod slow;
mod taken;

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
use oust::queue::{self, Claim, Condition, Embedded, Queue};
use oust::store::sqlite::{Options, Sqlite};
use oust::store::{Acceptance, Audit, Batch, Filter, Lane, Op, Page, Receipt, Store, Token};
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
            let full = oust::store::Error::Away("disk full".into());
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

    async fn report(&self, audit: Audit) -> Result<(), queue::Error> {
        self.inner.report(audit).await
    }

    fn condition(&self) -> Condition {
        self.inner.condition()
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
            store: Some(store.clone()),
            telemetry: Telemetry::new(),
            limits: limits.clone(),
            clock: Arc::new(Timestamp::now),
            ready: Arc::new(|| Readiness {
                checks: vec![Check { name: "playbooks".into(), ok: false, detail: Some("one is wrong".into()) }],
            }),
            // What panics below a handler must not reach the connection.
            covered: Arc::new(|signal| {
                assert!(signal.finding.refs.values().all(|id| id != "panic"), "a planted panic");
                false
            }),
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
