//! A small real HTTP server for tests: answers from a closure, cuts connections, keeps what it was sent.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;
use uuid::Uuid;

use crate::domain::ObjectId;
use crate::domain::ledger::EffectKey;

use super::{Config, Credential, Graph, Hooks, SendBy, Terms};

/// What a test server was sent.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// The client's port: one per connection.
    pub peer: u16,
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// What it does about it.
pub(crate) enum Answer {
    Reply {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Closes the connection without a word.
    Cut,
    /// Never answers.
    Hang,
    /// Answers when the future is done.
    Later(Pin<Box<dyn Future<Output = Answer> + Send>>),
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Reply { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Reply { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

type Script = Arc<dyn Fn(&Heard) -> Answer + Send + Sync>;

/// A server on loopback. Token requests are answered `token-N` unless the script takes them.
#[derive(Clone)]
pub(crate) struct Server {
    pub url: Url,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Heard) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let url = format!("http://{}", listener.local_addr().expect("bound")).parse().expect("a URL");
        let server = Self { url, heard: Arc::default() };
        let (heard, script): (_, Script) = (server.heard.clone(), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, heard.clone(), script.clone()));
            }
        });
        server
    }

    /// Everything but token requests.
    pub(crate) fn calls(&self) -> Vec<Heard> {
        self.heard.lock().expect("no panic").iter().filter(|heard| !is_token(heard)).cloned().collect()
    }

    pub(crate) fn token_calls(&self) -> Vec<Heard> {
        self.heard.lock().expect("no panic").iter().filter(|heard| is_token(heard)).cloned().collect()
    }

    pub(crate) fn config(&self) -> Config {
        let secret = SecretString::from("the-client-secret");
        Config::new(Uuid::from_u128(7), Credential::ClientSecret { client_id: "app".into(), secret }).at(&self.url)
    }

    pub(crate) fn graph(&self) -> Graph {
        self.config().build().expect("a client")
    }

    pub(crate) fn graph_with(&self, hooks: Hooks) -> Graph {
        self.config().build_with(hooks).expect("a client")
    }
}

pub(crate) fn is_token(heard: &Heard) -> bool {
    heard.target.ends_with("/oauth2/v2.0/token")
}

pub(crate) fn token(value: &str) -> Answer {
    Answer::json(200, &json!({ "token_type": "Bearer", "expires_in": 3599, "access_token": value }))
}

pub(crate) fn ada() -> ObjectId {
    "3f2504e0-4f89-41d3-9a0c-0305e82c3301".parse().expect("a GUID")
}

pub(crate) fn key() -> EffectKey {
    "0c6f1c1e-7d5b-4f0e-9a5f-2b8f6a1d3300".parse().expect("a GUID")
}

pub(crate) fn read() -> Terms {
    Terms::read(Duration::from_secs(5))
}

pub(crate) fn effect() -> Terms {
    Terms::effect(key(), SendBy::within(Duration::from_secs(60)), Duration::from_secs(5))
}

async fn converse(mut stream: TcpStream, heard: Arc<Mutex<Vec<Heard>>>, script: Script) {
    let mut buffer = Vec::new();
    while let Some(request) = next_request(&mut stream, &mut buffer).await {
        heard.lock().expect("no panic").push(request.clone());
        let mut answer = script(&request);
        while let Answer::Later(later) = answer {
            answer = later.await;
        }
        match answer {
            Answer::Reply { status, headers, body } => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str("\r\n");
                if stream.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
                    return;
                }
            }
            Answer::Cut => return,
            Answer::Hang | Answer::Later(_) => std::future::pending().await,
        }
    }
}

async fn next_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Heard> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(Some(0), |(_, n)| n.parse().ok())?;
    while buffer.len() < end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[end..end + length].to_vec();
    buffer.drain(..end + length);
    Some(Heard { peer: stream.peer_addr().ok()?.port(), method, target, headers, body })
}
