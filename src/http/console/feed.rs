//! What changed: one feed for the whole process, however many browsers listen. While somebody does, it looks once a second
//! at cheap numbers, and says which topics they touch; pages fetch only the regions that name one.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::state::Console;
use crate::http::Problem;
use crate::http::pause::PAUSE;
use crate::http::serve::InUse;
use crate::http::sign_in::SignedIn;
use crate::store::reviewers::Reviewers;
use crate::store::{Error, Figures, Filter, Page};

/// How often the feed looks.
const EVERY: Duration = Duration::from_secs(1);
/// A comment keeps the connection known to be alive.
const ALIVE: Duration = Duration::from_secs(15);
/// Records read at once; more than that at a look: everything may have changed.
const MANY: u32 = 100;
/// Cases whose tasks are named one by one.
const CASES: usize = 10;
/// Browsers that listen to one process.
const LISTENERS: usize = 1_000;

/// The change feed.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    said: broadcast::Sender<Arc<str>>,
    listeners: Arc<AtomicUsize>,
}

/// What a look saw.
#[derive(Debug, Default)]
struct Seen {
    stamp: Option<i64>,
    /// Places of the newest records.
    records: BTreeSet<u64>,
    figures: Option<Figures>,
    pause: Option<Value>,
}

impl Feed {
    /// Looks until `stop`.
    pub fn start(
        store: Arc<dyn Reviewers>,
        clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
        stop: CancellationToken,
    ) -> Self {
        let feed = Self { said: broadcast::channel(64).0, listeners: Arc::default() };
        let said = feed.said.clone();
        tokio::spawn(async move {
            let (mut ticks, mut seen) = (tokio::time::interval(EVERY), None::<Seen>);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = stop.cancelled() => return,
                }
                if said.receiver_count() == 0 {
                    seen = None;
                    continue;
                }
                match look(&*store, clock(), seen.take()).await {
                    Ok((now, topics)) => {
                        seen = Some(now);
                        if !topics.is_empty() {
                            let _ = said.send(json!({ "topics": topics }).to_string().into());
                        }
                    }
                    // Whoever reads pages is told so there; the next look says that everything may have changed.
                    Err(error) => tracing::debug!(error = %error, "the change feed could not look"),
                }
            }
        });
        feed
    }
}

/// Looks, and says what changed since `before`; without one, everything may have.
async fn look(store: &dyn Reviewers, now: Timestamp, before: Option<Seen>) -> Result<(Seen, BTreeSet<String>), Error> {
    let stamp = store.stamp().await?;
    let newest = store.audit(&Page { after: None, limit: MANY }).await?;
    let seen = Seen {
        stamp: Some(stamp),
        records: newest.items.iter().map(|(seq, _)| *seq).collect(),
        figures: Some(store.figures(now).await?),
        pause: store.setting(PAUSE).await?,
    };
    let Some(before) = before else { return Ok((seen, ["*".to_owned()].into())) };
    let mut topics = BTreeSet::new();
    let fresh: Vec<_> = newest.items.iter().filter(|(seq, _)| !before.records.contains(seq)).collect();
    if fresh.len() >= MANY as usize {
        return Ok((seen, ["*".to_owned()].into()));
    }
    if before.pause != seen.pause {
        topics.extend(["status".to_owned(), "settings".to_owned()]);
    }
    let numbers = |seen: &Seen| serde_json::to_value(&seen.figures).unwrap_or_default();
    if numbers(&before) != numbers(&seen) {
        topics.extend(["overview", "tasks", "buried", "cases"].map(str::to_owned));
    }
    if !fresh.is_empty() {
        topics.insert("audit".to_owned());
    }
    let cases: BTreeSet<_> = fresh.iter().filter_map(|(_, line)| line.case).collect();
    for (_, line) in &fresh {
        if let Some(task) = line.detail.get("task").and_then(Value::as_str) {
            topics.extend(["tasks".to_owned(), format!("task:{task}")]);
        }
        if line.verb.starts_with("passkey") || line.verb.starts_with("reviewer") {
            topics.insert("settings".to_owned());
        }
    }
    for (n, case) in cases.into_iter().enumerate() {
        topics.extend(["cases".to_owned(), format!("case:{case}")]);
        if n >= CASES {
            return Ok((seen, ["*".to_owned()].into()));
        }
        let filter = Filter { open: false, object_id: None, case: Some(case) };
        let tasks = store.tasks(&filter, &Page { after: None, limit: 20 }).await?;
        topics.extend(tasks.items.iter().map(|task| format!("task:{}", task.id)));
    }
    // Something was written that left no record, such as a repeated read: the lists are looked at again.
    if topics.is_empty() && before.stamp != seen.stamp {
        topics.extend(["cases", "tasks"].map(str::to_owned));
    }
    Ok((seen, topics))
}

/// One browser's place; counted until its stream ends.
struct Listener {
    said: broadcast::Receiver<Arc<str>>,
    stop: CancellationToken,
    alive: tokio::time::Interval,
    begun: bool,
    listeners: Arc<AtomicUsize>,
    _held: Option<InUse>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `GET /console/events`.
pub(super) async fn events(
    Shared(console): Shared<Console>,
    _who: SignedIn,
    held: Option<axum::Extension<InUse>>,
) -> Result<Response, Problem> {
    let listeners = Arc::clone(&console.feed().listeners);
    if listeners.fetch_add(1, Ordering::Relaxed) >= LISTENERS {
        listeners.fetch_sub(1, Ordering::Relaxed);
        return Err(Problem::busy("too many pages are open; this one is not live").retry_after(30));
    }
    let mut alive = tokio::time::interval(ALIVE);
    alive.reset();
    let listener = Listener {
        said: console.feed().said.subscribe(),
        stop: console.stop().clone(),
        alive,
        begun: false,
        listeners,
        _held: held.map(|held| held.0),
    };
    let body = Body::from_stream(stream::unfold(listener, |mut listener| async move {
        let text = listener.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), listener))
    }));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

impl Listener {
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some("retry: 2000\n: here\n\n".to_owned());
        }
        tokio::select! {
            () = self.stop.cancelled() => None,
            _ = self.alive.tick() => Some(": here\n\n".to_owned()),
            said = self.said.recv() => match said {
                Ok(topics) => Some(format!("event: changed\ndata: {topics}\n\n")),
                Err(RecvError::Lagged(_)) => Some("event: changed\ndata: {\"topics\":[\"*\"]}\n\n".to_owned()),
                Err(RecvError::Closed) => None,
            },
        }
    }
}
