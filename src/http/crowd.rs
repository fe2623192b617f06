//! Who is connected: a place each, what each does, and who goes when all places are taken and somebody waits. Then the one
//! that has done nothing for longest is let go, so that idle connections never keep a delivery out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::Limits;

/// Whoever waits for a place looks this often whether somebody has become idle.
const LOOK: Duration = Duration::from_millis(50);

/// The connections there are.
#[derive(Debug)]
pub(super) struct Crowd {
    places: Arc<Semaphore>,
    seats: Mutex<(u64, HashMap<u64, Arc<Activity>>)>,
}

impl Crowd {
    pub fn of(connections: usize) -> Self {
        let places = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Self { places, seats: Mutex::default() }
    }

    fn seats(&self) -> MutexGuard<'_, (u64, HashMap<u64, Arc<Activity>>)> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat, at once or when somebody went.
    pub async fn seat(self: &Arc<Self>) -> Seat {
        let place = loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                break place;
            }
            self.let_one_go();
            if let Ok(place) = tokio::time::timeout(LOOK, Arc::clone(&self.places).acquire_owned()).await {
                break place.expect("the places are never closed");
            }
        };
        let activity = Arc::new(Activity::new());
        let mut seats = self.seats();
        seats.0 += 1;
        let number = seats.0;
        seats.1.insert(number, Arc::clone(&activity));
        drop(seats);
        Seat { crowd: Arc::clone(self), number, activity, _place: place }
    }

    /// The one that is idle for longest, unless another is about to go.
    fn let_one_go(&self) {
        let seats = self.seats();
        let idle: Vec<_> = seats.1.values().filter(|one| one.is_idle()).collect();
        if idle.iter().any(|one| one.let_go.is_cancelled()) {
            return;
        }
        if let Some(longest) = idle.into_iter().max_by_key(|one| one.since_last()) {
            longest.let_go.cancel();
        }
    }
}

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    number: u64,
    pub activity: Arc<Activity>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.seats().1.remove(&self.number);
    }
}

/// What a connection did last.
#[derive(Debug)]
pub(super) struct Activity {
    /// Its place is needed.
    pub let_go: CancellationToken,
    since: Instant,
    under_way: AtomicUsize,
    requests: AtomicUsize,
    /// Microseconds after `since`.
    last: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            let_go: CancellationToken::new(),
            since: Instant::now(),
            under_way: 0.into(),
            requests: 0.into(),
            last: 0.into(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Since the end of the last request, or since the beginning.
    pub fn since_last(&self) -> Duration {
        Duration::from_micros(self.now().saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    /// No request is under way.
    pub fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }

    /// No request came yet.
    pub fn is_new(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// It has done nothing for longer than it may.
    pub fn is_overdue(&self, limits: &Limits) -> bool {
        // Before the first request the header clock counts; hyper's own starts only once it knows the version.
        let allowed = if self.is_new() { limits.header_timeout } else { limits.idle_timeout };
        self.is_idle() && self.since_last() >= allowed
    }
}

/// Held by an answer that goes on and on, so that its connection does not count as idle.
#[derive(Debug, Clone)]
pub(super) struct InUse(#[allow(dead_code, reason = "it counts by being held")] Arc<UnderWay>);

impl InUse {
    pub fn begin(activity: &Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(UnderWay(Arc::clone(activity))))
    }
}

/// Counts a request as under way until it is dropped, whether it was answered or its sender left.
#[derive(Debug)]
struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.last.store(self.0.now(), Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
