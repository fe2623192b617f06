//! The smallest Graph that lets a playbook run: grants tokens, takes revokes, answers reads, and notes when each revoke
//! arrived. Plain hyper on loopback and not the twin: it shares the two cores with what is measured, so it must cost
//! little. It simulates no directory.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::Url;
use uuid::Uuid;

/// What the stub saw of one person's first revoke.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// The request's head was there.
    pub arrived: Instant,
    /// The answer was given.
    pub answered: Option<Instant>,
    /// The first call about this person after the answer arrived.
    pub next: Option<Instant>,
    at: Timestamp,
}

/// The stub; it serves until it is dropped.
#[derive(Debug)]
pub(super) struct Stub {
    inner: Arc<Inner>,
    pub url: Url,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    people: Mutex<HashMap<Uuid, Seen>>,
    /// How many people were revoked.
    count: watch::Sender<usize>,
    /// Revokes are noted and never answered.
    hang: AtomicBool,
    /// Milliseconds that a read takes.
    slow: AtomicU64,
}

impl Inner {
    fn people(&self) -> MutexGuard<'_, HashMap<Uuid, Seen>> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Stub {
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = Url::parse(&format!("http://{}/", listener.local_addr()?))?;
        let inner = Arc::new(Inner {
            people: Mutex::default(),
            count: watch::Sender::new(0),
            hang: AtomicBool::new(false),
            slow: AtomicU64::new(0),
        });
        let serving = tokio::spawn(serve(listener, Arc::clone(&inner)));
        Ok(Self { inner, url, serving })
    }

    /// Forgets whom it saw.
    pub fn forget(&self) {
        self.inner.people().clear();
        self.inner.count.send_replace(0);
    }

    pub fn hang(&self, hang: bool) {
        self.inner.hang.store(hang, Ordering::Relaxed);
    }

    /// Every read takes this long from now on.
    pub fn slow_reads(&self, time: Duration) {
        self.inner.slow.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn seen(&self, person: Uuid) -> Option<Seen> {
        self.inner.people().get(&person).copied()
    }

    /// Waits until so many people were revoked; fails when none is revoked for `patience`.
    pub async fn revoked(&self, count: usize, patience: Duration) -> anyhow::Result<()> {
        let mut counter = self.inner.count.subscribe();
        loop {
            let now = *counter.borrow_and_update();
            if now >= count {
                return Ok(());
            }
            tokio::time::timeout(patience, counter.changed())
                .await
                .map_err(|_| anyhow::anyhow!("{now} of {count} revokes came, then none for {patience:?}"))??;
        }
    }

    /// When the last revoke arrived.
    pub fn last(&self) -> Option<Instant> {
        self.inner.people().values().map(|seen| seen.arrived).max()
    }
}

async fn serve(listener: TcpListener, inner: Arc<Inner>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&inner)));
    }
}

async fn connection(stream: TcpStream, inner: Arc<Inner>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = hyper::service::service_fn(move |request| answer(Arc::clone(&inner), request));
    // A peer that was killed ends its connections in every way there is.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let came = Instant::now();
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path.ends_with("/token") {
        let _ = body.collect().await;
        return Ok(json(r#"{"token_type":"Bearer","expires_in":3599,"access_token":"bench"}"#.to_owned()));
    }
    let Some(person) = person(path) else { return Ok(json(r#"{"value":[]}"#.to_owned())) };
    if parts.method == Method::POST && path.ends_with("/revokeSignInSessions") {
        note(&inner, person, came);
        let _ = body.collect().await;
        if inner.hang.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        if let Some(seen) = inner.people().get_mut(&person) {
            seen.answered.get_or_insert_with(Instant::now);
        }
        return Ok(json(r#"{"value":true}"#.to_owned()));
    }
    let revoked = inner.people().get_mut(&person).map(|seen| {
        if seen.answered.is_some() {
            seen.next.get_or_insert(came);
        }
        seen.at
    });
    let slow = inner.slow.load(Ordering::Relaxed);
    if slow > 0 {
        tokio::time::sleep(Duration::from_millis(slow)).await;
    }
    if path.ends_with("/messageRules") || path.ends_with("/methods") {
        return Ok(json(r#"{"value":[]}"#.to_owned()));
    }
    let since = revoked.unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(json(format!(
        r#"{{"id":"{person}","userPrincipalName":"somebody@contoso.example","displayName":"Somebody","accountEnabled":true,"userType":"Member","onPremisesSyncEnabled":null,"signInSessionsValidFromDateTime":"{since}","lastPasswordChangeDateTime":"2024-01-01T00:00:00Z","createdDateTime":"2020-01-01T00:00:00Z"}}"#
    )))
}

fn note(inner: &Inner, person: Uuid, came: Instant) {
    let seen = Seen { arrived: came, answered: None, next: None, at: Timestamp::now() };
    let mut people = inner.people();
    people.entry(person).or_insert(seen);
    let count = people.len();
    drop(people);
    inner.count.send_replace(count);
}

fn person(path: &str) -> Option<Uuid> {
    let mut segments = path.split('/').skip_while(|segment| *segment != "users");
    segments.nth(1)?.parse().ok()
}

fn json(text: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    let kind = http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_read_from_the_path_of_a_call_and_from_nothing_else() {
        let id = Uuid::from_u128(7);
        assert_eq!(person(&format!("/v1.0/users/{id}/revokeSignInSessions")), Some(id));
        assert_eq!(person(&format!("/v1.0/users/{id}")), Some(id));
        assert_eq!(person("/v1.0/auditLogs/signIns"), None);
        assert_eq!(person("/v1.0/users"), None);
    }
}
