//! What waits for the writer: three lanes, containment always first, the other two in turn. Bounded by bytes: whoever
//! brings more waits in its own task.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::apply::{Done, Work};
use crate::store::rows::plain;
use crate::store::{Error, Lane};

/// One permit stands for this many bytes.
const UNIT: usize = 4096;

/// 64 MiB a lane.
const PERMITS: usize = 16 * 1024;

/// Work for the writer, and who waits for it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) contains: bool,
    pub(super) weight: usize,
    pub(super) reply: oneshot::Sender<Result<Done, Error>>,
    _room: OwnedSemaphorePermit,
}

/// The writer's inbox.
#[derive(Debug)]
pub(super) struct Lanes {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    room: [Arc<Semaphore>; 3],
}

#[derive(Debug, Default)]
struct Waiting {
    containment: VecDeque<Job>,
    accept: VecDeque<Job>,
    other: VecDeque<Job>,
    /// Whose turn it is when both wait.
    accept_went_last: bool,
    writer_sleeps: bool,
    closed: bool,
}

impl Waiting {
    fn pick(&mut self) -> Option<Job> {
        if let Some(job) = self.containment.pop_front() {
            return Some(job);
        }
        self.accept_went_last = !self.accept_went_last;
        if self.accept_went_last {
            self.accept.pop_front().or_else(|| self.other.pop_front())
        } else {
            self.other.pop_front().or_else(|| self.accept.pop_front())
        }
    }
}

impl Lanes {
    pub(super) fn new() -> Self {
        let room = || Arc::new(Semaphore::new(PERMITS));
        Self { waiting: Mutex::default(), arrived: Condvar::new(), room: [room(), room(), room()] }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands work to the writer and waits until it is durable (or refused). Work handed over is done even if the caller
    /// stops waiting.
    pub(super) async fn submit(&self, lane: Lane, weight: usize, work: Work) -> Result<Done, Error> {
        let stopped = || plain("the writer", "it has stopped");
        let permits = u32::try_from((weight / UNIT + 1).min(PERMITS)).unwrap_or(1);
        let room = Arc::clone(&self.room[lane as usize]).acquire_many_owned(permits).await.map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        let job = Job { work, contains: lane == Lane::Containment, weight, reply, _room: room };
        let wake = {
            let mut waiting = self.lock();
            if waiting.closed {
                return Err(stopped());
            }
            match lane {
                Lane::Containment => waiting.containment.push_back(job),
                Lane::Accept => waiting.accept.push_back(job),
                Lane::Other => waiting.other.push_back(job),
            }
            std::mem::take(&mut waiting.writer_sleeps)
        };
        if wake {
            self.arrived.notify_one();
        }
        answer.await.unwrap_or_else(|_| Err(plain("the writer", "it failed at this batch; nothing of it was written")))
    }

    /// The next job, waiting for one; `None` once closed and empty.
    pub(super) fn wait(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            if let Some(job) = waiting.pick() {
                return Some(job);
            }
            if waiting.closed {
                return None;
            }
            waiting.writer_sleeps = true;
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next job, if one is there (a containment, if `only_containment`).
    pub(super) fn next(&self, only_containment: bool) -> Option<Job> {
        let mut waiting = self.lock();
        if only_containment { waiting.containment.pop_front() } else { waiting.pick() }
    }

    /// Takes no more work; what waits is still done.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// The writer is gone for good: whoever waits is told.
    pub(super) fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let Waiting { containment, accept, other, .. } = &mut *waiting;
        for lane in [containment, accept, other] {
            lane.clear();
        }
    }
}
