//! What changed: one feed for the whole process, however many browsers listen. While somebody does, it looks once a second
//! at cheap numbers, and says which topics they touch; pages fetch only the regions that name one.
//!
//! Every stream gives a sign of life that scripts see, and says with it whether the store answers: a page that hears nothing
//! for longer than that, or hears that the store is away, says that it may be old.
//!
//! A stream lives no longer than its session: that is looked up again at every sign of life, and as soon as the audit trail
//! says that some session ended, whichever process ended it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::state::Console;
use crate::http::Problem;
use crate::http::crowd::InUse;
use crate::http::pause::PAUSE;
use crate::http::sign_in::{SignIn, SignedIn};
use crate::store::reviewers::Reviewers;
use crate::store::{Error, Figures, Filter, Page};

/// How often the feed looks.
const EVERY: Duration = Duration::from_secs(1);
/// A store that takes longer than this to be looked at counts as away.
const ANSWERS: Duration = Duration::from_secs(5);
/// The period of the signs of life. They carry it: `live.js` derives from it when a silent stream is lost.
const ALIVE: Duration = Duration::from_secs(15);
/// Records read at once; more than that at a look: everything may have changed.
const MANY: u32 = 100;
/// Cases whose tasks are named one by one.
const CASES: usize = 10;
/// Streams of one session; one more ends the oldest. A browser needs one for all its tabs.
const OF_A_SESSION: usize = 10;
/// Streams take at most this part of the connections: the others are for deliveries and pages.
const SHARE: usize = 4;

/// The change feed.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    said: broadcast::Sender<Said>,
    /// Whether the store answered the last look.
    answers: watch::Sender<bool>,
    places: Places,
}

/// What a look has to say.
#[derive(Debug, Clone)]
struct Said {
    topics: BTreeSet<String>,
    /// Some session may have ended.
    sessions: bool,
}

impl Said {
    /// Something was missed.
    fn anything() -> Self {
        Self { topics: ["*".to_owned()].into(), sessions: true }
    }
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
        connections: usize,
    ) -> Self {
        let (said, answers) = (broadcast::channel(64).0, watch::channel(true).0);
        let feed = Self { said, answers, places: Places::of(connections) };
        let (said, answers) = (feed.said.clone(), feed.answers.clone());
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
                let looked = look(&*store, clock(), seen.take());
                let found = within(looked, || tell(&answers, false)).await;
                tell(&answers, found.is_ok());
                match found {
                    Ok((now, news)) => {
                        seen = Some(now);
                        if !news.topics.is_empty() {
                            let _ = said.send(news);
                        }
                    }
                    // Whoever reads pages is told; the next look says that everything may have changed.
                    Err(error) => tracing::debug!(error = %error, "the change feed could not look"),
                }
            }
        });
        feed
    }
}

/// Tells the streams, where it is news.
fn tell(answers: &watch::Sender<bool>, now: bool) {
    answers.send_if_modified(|before| std::mem::replace(before, now) != now);
}

/// What it comes to, however long it takes; `slow` is done where that is too long for people to wait.
async fn within<T>(work: impl Future<Output = T>, slow: impl FnOnce()) -> T {
    let mut work = std::pin::pin!(work);
    if let Ok(done) = tokio::time::timeout(ANSWERS, &mut work).await {
        return done;
    }
    slow();
    work.await
}

/// Looks, and says what changed since `before`; without one, everything may have.
async fn look(store: &dyn Reviewers, now: Timestamp, before: Option<Seen>) -> Result<(Seen, Said), Error> {
    let stamp = store.stamp().await?;
    let newest = store.audit(&Page { after: None, limit: MANY }).await?;
    let seen = Seen {
        stamp: Some(stamp),
        records: newest.items.iter().map(|(seq, _)| *seq).collect(),
        figures: Some(store.figures(now).await?),
        pause: store.setting(PAUSE).await?,
    };
    let Some(before) = before else { return Ok((seen, Said::anything())) };
    let (mut topics, mut sessions) = (BTreeSet::new(), false);
    let fresh: Vec<_> = newest.items.iter().filter(|(seq, _)| !before.records.contains(seq)).collect();
    if fresh.len() >= MANY as usize {
        return Ok((seen, Said::anything()));
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
        sessions |= ["session.", "reviewer.", "passkey."].iter().any(|kind| line.verb.starts_with(kind));
    }
    for (n, case) in cases.into_iter().enumerate() {
        topics.extend(["cases".to_owned(), format!("case:{case}")]);
        if n >= CASES {
            return Ok((seen, Said::anything()));
        }
        let filter = Filter { open: false, object_id: None, case: Some(case) };
        let tasks = store.tasks(&filter, &Page { after: None, limit: 20 }).await?;
        topics.extend(tasks.items.iter().map(|task| format!("task:{}", task.id)));
    }
    // Something was written that left no record, such as a repeated read: the lists are looked at again.
    if topics.is_empty() && before.stamp != seen.stamp {
        topics.extend(["cases", "tasks"].map(str::to_owned));
    }
    Ok((seen, Said { topics, sessions }))
}

/// Who listens, by session, oldest first.
type Held = HashMap<String, VecDeque<(u64, CancellationToken)>>;

/// Places for streams.
#[derive(Debug, Clone)]
struct Places {
    most: usize,
    held: Arc<Mutex<(u64, Held)>>,
}

impl Places {
    fn of(connections: usize) -> Self {
        Self { most: (connections / SHARE).max(1), held: Arc::default() }
    }

    fn held(&self) -> MutexGuard<'_, (u64, Held)> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more stream of a session, at the cost of its oldest if it has many; none when all are taken.
    fn take(&self, session: &str) -> Option<Place> {
        let mut guard = self.held();
        let (last, held) = &mut *guard;
        let taken: usize = held.values().map(VecDeque::len).sum();
        let of_session = held.get_mut(session).filter(|it| it.len() >= OF_A_SESSION);
        match of_session.and_then(VecDeque::pop_front) {
            Some((_, oldest)) => oldest.cancel(),
            None if taken >= self.most => return None,
            None => {}
        }
        *last += 1;
        let place = Place {
            places: self.clone(),
            session: session.to_owned(),
            number: *last,
            crowded: CancellationToken::new(),
        };
        held.entry(session.to_owned()).or_default().push_back((place.number, place.crowded.clone()));
        Some(place)
    }
}

/// Taken until it is dropped.
#[derive(Debug)]
struct Place {
    places: Places,
    session: String,
    number: u64,
    /// A newer stream of the same session took it.
    crowded: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guard = self.places.held();
        let held = &mut guard.1;
        if let Some(of_session) = held.get_mut(&self.session) {
            of_session.retain(|(number, _)| *number != self.number);
            if of_session.is_empty() {
                held.remove(&self.session);
            }
        }
    }
}

/// One browser's stream.
struct Listener {
    said: broadcast::Receiver<Said>,
    answers: watch::Receiver<bool>,
    stop: CancellationToken,
    beat: tokio::time::Interval,
    begun: bool,
    over: bool,
    who: SignedIn,
    sign_in: SignIn,
    place: Place,
    _held: Option<InUse>,
}

/// `GET /console/events`.
pub(super) async fn events(
    Shared(console): Shared<Console>,
    who: SignedIn,
    held: Option<axum::Extension<InUse>>,
) -> Result<Response, Problem> {
    let full = || Problem::busy("too many pages are open; this one is not live").retry_after(30);
    let place = console.feed().places.take(who.key()).ok_or_else(full)?;
    let mut beat = tokio::time::interval(ALIVE);
    beat.reset();
    let listener = Listener {
        said: console.feed().said.subscribe(),
        answers: console.feed().answers.subscribe(),
        stop: console.stop().clone(),
        beat,
        begun: false,
        over: false,
        who,
        sign_in: console.sign_in().clone(),
        place,
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
            return Some(format!("retry: 2000\n{}", self.alive()));
        }
        if self.over {
            return None;
        }
        let news = tokio::select! {
            () = self.stop.cancelled() => return None,
            () = self.place.crowded.cancelled() => return Some(self.end("crowded")),
            _ = self.beat.tick() => None,
            // It may be told twice; what counts is the last.
            Ok(()) = self.answers.changed() => return Some(self.alive()),
            said = self.said.recv() => match said {
                Ok(news) => Some(news),
                Err(RecvError::Lagged(_)) => Some(Said::anything()),
                Err(RecvError::Closed) => return None,
            },
        };
        if news.as_ref().is_none_or(|news| news.sessions) && self.is_over().await {
            return Some(self.end("session"));
        }
        Some(match news {
            Some(Said { topics, .. }) => format!("event: changed\ndata: {}\n\n", json!({ "topics": topics })),
            None => self.alive(),
        })
    }

    /// With the store away nobody can tell: it is asked again at the next sign of life, which does not wait for it.
    async fn is_over(&self) -> bool {
        let answers = *self.answers.borrow();
        let asked = self.who.is_live(&self.sign_in);
        answers && matches!(tokio::time::timeout(ANSWERS, asked).await, Ok(Ok(false)))
    }

    fn alive(&mut self) -> String {
        let answers = *self.answers.borrow_and_update();
        format!("event: alive\ndata: {}\n\n", json!({ "store": answers, "every": ALIVE.as_secs() }))
    }

    fn end(&mut self, why: &str) -> String {
        self.over = true;
        format!("event: ended\ndata: {why}\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_take_a_quarter_of_the_connections_and_give_it_back() {
        let places = Places::of(40);
        let held: Vec<Place> = (0..10).filter_map(|n| places.take(&format!("session {n}"))).collect();
        assert_eq!(held.len(), 10);
        assert!(places.take("one more").is_none());
        drop(held);
        assert!(places.held().1.is_empty(), "nothing is kept of who left");
        assert!(places.take("one more").is_some());
    }

    #[test]
    fn a_session_with_many_streams_loses_its_oldest_also_when_all_places_are_taken() {
        let places = Places::of(48);
        let other = places.take("other").expect("a place");
        let mine: Vec<Place> = (0..11).filter_map(|_| places.take("mine")).collect();
        let _another = places.take("another").expect("the last place");
        assert!(places.take("a stranger").is_none(), "all are taken");
        let newest = places.take("mine").expect("at the cost of an own one");
        let crowded: Vec<bool> = mine.iter().map(|place| place.crowded.is_cancelled()).collect();
        assert_eq!(crowded, [vec![true; 2], vec![false; 9]].concat());
        assert!(!other.crowded.is_cancelled() && !newest.crowded.is_cancelled());
    }
}
