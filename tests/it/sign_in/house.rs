//! The sign-in over a store of its own, with a clock that tests push, and browsers that keep cookies.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use oust::domain::reviewer::{Account, INVITED_FOR, Linked, ReviewerId};
use oust::domain::task::Role;
use oust::http::sign_in::{self, Parts, Rates, SignIn, Site, invitation};
use oust::http::{Limits, Peer};
use oust::store::reviewers::{Change, Invite, Reviewers};
use oust::store::sqlite::{Options, Sqlite};
use oust::store::{Batch, Lane, Op, Page};
use oust::telemetry::Telemetry;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tower::ServiceExt;
use url::Url;
use uuid::Uuid;

use super::authenticator::{Key, ORIGIN, Says};

/// A clock that stands still until it is pushed.
#[derive(Clone)]
pub struct Hands(Arc<Mutex<Timestamp>>);

impl Hands {
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    pub fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, by: SignedDuration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.checked_add(by).expect("in range");
    }
}

pub struct House {
    pub store: Arc<dyn Reviewers>,
    pub sign_in: SignIn,
    pub router: Router,
    pub clock: Hands,
    _folder: Option<TempDir>,
}

pub fn many() -> Rates {
    let many = NonZeroU32::new(100_000).expect("not zero");
    Rates { per_address: many, per_account: many }
}

impl House {
    pub fn open() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Parts)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut house = Self::over(&folder.path().join("oust.db"), Hands::at(Timestamp::now()), change);
        house._folder = Some(folder);
        house
    }

    /// Over a store that somebody else has open too.
    pub fn over(path: &Path, clock: Hands, change: impl FnOnce(&mut Parts)) -> Self {
        Self::on(Sqlite::open(path, Options::default()).expect("a store"), clock, change)
    }

    /// On any store.
    pub fn on(store: Arc<dyn Reviewers>, clock: Hands, change: impl FnOnce(&mut Parts)) -> Self {
        let now = clock.clone();
        let listen: SocketAddr = "127.0.0.1:8080".parse().expect("an address");
        let mut parts = Parts {
            store: store.clone(),
            clock: Arc::new(move || now.now()),
            telemetry: Telemetry::new(),
            limits: Limits::default(),
            site: Site::of(Some(&Url::parse(ORIGIN).expect("a URL")), listen).expect("a site"),
            passkeys: true,
            oidc: None,
            decider: None,
            tenants: HashMap::new(),
            rates: many(),
        };
        change(&mut parts);
        let sign_in = SignIn::new(parts).expect("a sign-in");
        let router = sign_in::router(&sign_in);
        Self { store, sign_in, router, clock, _folder: None }
    }

    pub async fn commit(&self, ops: Vec<Op>) {
        self.store.commit(Lane::Other, Batch { expect: None, ops }).await.expect("written");
    }

    pub async fn add(&self, name: &str, roles: &[Role], linked: &[Linked]) -> Account {
        let account = Account {
            id: name.parse().expect("a name"),
            handle: Uuid::new_v4(),
            display_name: format!("<{name}>"),
            roles: roles.to_vec(),
            groups: vec!["on-call".into()],
            linked: linked.to_vec(),
            created_at: self.clock.now(),
            disabled_at: None,
        };
        let mut ops = vec![Op::from(Change::AddReviewer(Box::new(account.clone())))];
        for one in linked {
            let (issuer, subject) = (format!("entra:{}", one.tenant), one.object_id.to_string());
            ops.push(Change::Link { issuer, subject, reviewer: account.id.clone() }.into());
        }
        self.commit(ops).await;
        account
    }

    /// The token of an invitation for a reviewer that is there.
    pub async fn invite(&self, reviewer: &ReviewerId) -> String {
        let (secret, hash) = invitation();
        let now = self.clock.now();
        let invite = Invite {
            hash,
            reviewer: reviewer.clone(),
            by: "operator:test".into(),
            created_at: now,
            expires_at: now.checked_add(INVITED_FOR).expect("in range"),
            used_at: None,
        };
        self.commit(vec![Change::PutInvite(Box::new(invite)).into()]).await;
        secret
    }

    /// Somebody with a passkey, signed in.
    pub async fn signed_in(&self, name: &str, role: Role) -> (Browser<'_>, Key) {
        self.linked_in(name, role, &[]).await
    }

    pub async fn linked_in(&self, name: &str, role: Role, linked: &[Linked]) -> (Browser<'_>, Key) {
        let account = self.add(name, &[role], linked).await;
        let token = self.invite(&account.id).await;
        let (mut browser, mut key) = (self.browser(), Key::new());
        let reply = browser.enrol(&token, &mut key, &Says::create()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        (browser, key)
    }

    pub fn browser(&self) -> Browser<'_> {
        Browser { house: self, jar: BTreeMap::new(), csrf: None }
    }

    /// Verbs and reasons of the audit trail, oldest first.
    pub async fn audited(&self) -> Vec<(String, Value)> {
        let page = Page { after: None, limit: 500 };
        let listed = self.store.audit(&page).await.expect("a read");
        let mut lines: Vec<_> = listed.items.into_iter().map(|(_, audit)| (audit.verb, audit.detail)).collect();
        lines.reverse();
        lines
    }

    pub async fn has_audited(&self, verb: &str) -> bool {
        self.audited().await.iter().any(|(one, _)| one == verb)
    }

    pub async fn live_passkeys(&self, name: &str) -> usize {
        let id = name.parse().expect("a name");
        let known = self.store.credentials_of(&id).await.expect("a read");
        known.iter().filter(|one| one.disabled_at.is_none()).count()
    }
}

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Reply {
    pub fn location(&self) -> &str {
        self.headers.get("location").and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Reply {
    /// Where a script goes to be asked by the provider.
    pub fn away(&self) -> &str {
        self.body["redirect"].as_str().unwrap_or_else(|| panic!("a way to the provider: {self:?}"))
    }
}

pub struct Browser<'a> {
    pub house: &'a House,
    pub jar: BTreeMap<String, String>,
    pub csrf: Option<String>,
}

pub const SESSION: &str = "__Host-oust";

impl Browser<'_> {
    pub fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let mut builder = Request::builder().method(method).uri(path).header("host", "oust.contoso.example");
        if !self.jar.is_empty() {
            let pairs: Vec<String> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            builder = builder.header("cookie", pairs.join("; "));
        }
        if let Some(csrf) = &self.csrf {
            builder = builder.header("x-csrf-token", csrf);
        }
        builder
    }

    pub async fn send(&mut self, mut request: Request<Body>) -> Reply {
        request.extensions_mut().insert(Peer("198.51.100.9:4711".parse().expect("an address")));
        let response = self.house.router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        for cookie in parts.headers.get_all("set-cookie") {
            let text = cookie.to_str().expect("text");
            let (name, value) = text.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            assert!(text.contains("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{text}");
            if value.is_empty() {
                self.jar.remove(name)
            } else {
                self.jar.insert(name.into(), value.into())
            };
        }
        let bytes = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(csrf) = body["csrf"].as_str() {
            self.csrf = Some(csrf.to_owned());
        }
        Reply { status: parts.status, headers: parts.headers, text, body }
    }

    pub async fn post(&mut self, path: &str, body: Value) -> Reply {
        let request = self.request(Method::POST, path).header("origin", ORIGIN).header("sec-fetch-site", "same-origin");
        let request = request.header("content-type", "application/json").body(Body::from(body.to_string()));
        self.send(request.expect("a request")).await
    }

    pub async fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = self.request(Method::POST, path);
        request = request.header("origin", ORIGIN).header("sec-fetch-site", "same-origin");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(Body::from(body));
        self.send(request.expect("a request")).await
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        let request = self.request(Method::GET, path).header("accept", "text/html").body(Body::empty());
        self.send(request.expect("a request")).await
    }

    pub async fn get_json(&mut self, path: &str) -> Reply {
        let request = self.request(Method::GET, path).header("accept", "application/json").body(Body::empty());
        self.send(request.expect("a request")).await
    }

    pub fn session(&self) -> Option<&String> {
        self.jar.get(SESSION)
    }

    pub async fn is_signed_in(&mut self) -> bool {
        let request = self.request(Method::GET, "/console/session").body(Body::empty()).expect("a request");
        self.send(request).await.status == 200
    }

    /// Waits until the store knows that this session was used now.
    pub async fn is_noted(&mut self) {
        let digest = Sha256::digest(self.session().expect("a session"));
        let key: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let now = self.house.clock.now();
        let noted = async {
            loop {
                let (session, _) = self.house.store.session(&key).await.expect("a read").expect("a session");
                if now.duration_since(session.used_at) < SignedDuration::from_secs(1) {
                    return;
                }
                assert!(self.is_signed_in().await);
            }
        };
        tokio::time::timeout(Duration::from_secs(30), noted).await.expect("it is noted");
    }

    pub async fn enrol(&mut self, token: &str, key: &mut Key, says: &Says) -> Reply {
        let path = format!("/console/enrol/{token}");
        let begun = self.post(&format!("{path}/begin"), serde_json::json!({})).await;
        if begun.status != 200 {
            return begun;
        }
        let credential = key.create(&begun.body, says);
        let finish = serde_json::json!({ "ceremony": begun.body["ceremony"], "credential": credential });
        self.post(&format!("{path}/finish"), finish).await
    }

    pub async fn begin(&mut self) -> Value {
        let begun = self.post("/console/sign-in/passkey/begin", serde_json::json!({})).await;
        assert_eq!(begun.status, 200, "{begun:?}");
        begun.body
    }

    pub async fn finish(&mut self, begun: &Value, credential: Value) -> Reply {
        let finish = serde_json::json!({ "ceremony": begun["ceremony"], "credential": credential });
        self.post("/console/sign-in/passkey/finish", finish).await
    }

    pub async fn sign_in(&mut self, key: &mut Key, says: &Says) -> Reply {
        let begun = self.begin().await;
        let credential = key.get(&begun, says);
        self.finish(&begun, credential).await
    }

    pub async fn prove(&mut self, key: &mut Key) -> Reply {
        let begun = self.post("/console/prove/begin", serde_json::json!({})).await;
        assert_eq!(begun.status, 200, "{begun:?}");
        let credential = key.get(&begun.body, &Says::get());
        let finish = serde_json::json!({ "ceremony": begun.body["ceremony"], "credential": credential });
        self.post("/console/prove/finish", finish).await
    }
}
