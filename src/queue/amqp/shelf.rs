//! Signals fetched from the broker and not yet settled. They belong to one opening of the channel (a generation): when
//! it is over the broker has them again, and nothing here is settled over another channel.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::Channel;
use lapin::options::BasicAckOptions;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::dial::{Live, words};
use crate::domain::Signal;
use crate::queue::{Claim, Handle};
use crate::store::{Delivery, Op};

/// What was given back is offered again after this long.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Settles the messages of one channel.
#[derive(Debug, Clone)]
pub(super) struct Acks {
    outstanding: Arc<Mutex<BTreeSet<u64>>>,
    told: mpsc::UnboundedSender<Told>,
}

#[derive(Debug)]
enum Told {
    Settled(u64),
    /// Answered when everything before it was sent.
    Flush(oneshot::Sender<()>),
}

impl Acks {
    /// Acknowledges what is settled, until the channel is closed.
    pub(super) fn of(channel: Channel, live: Arc<Live>) -> Self {
        let outstanding: Arc<Mutex<BTreeSet<u64>>> = Arc::default();
        let (told, mut inbox) = mpsc::unbounded_channel();
        let held = Arc::clone(&outstanding);
        tokio::spawn(async move {
            let mut told = Vec::new();
            while inbox.recv_many(&mut told, 1024).await > 0 {
                let (mut tags, mut flushes) = (Vec::with_capacity(told.len()), Vec::new());
                for told in told.drain(..) {
                    match told {
                        Told::Settled(tag) => tags.push(tag),
                        Told::Flush(reply) => flushes.push(reply),
                    }
                }
                let acks = plan(&mut held.lock().unwrap_or_else(PoisonError::into_inner), tags);
                for (tag, multiple) in acks {
                    if let Err(error) = channel.basic_ack(tag, BasicAckOptions { multiple }).await {
                        if channel.status().connected() {
                            live.fail(words(&error));
                        }
                        return;
                    }
                }
                for flush in flushes {
                    let _ = flush.send(());
                }
            }
        });
        Self { outstanding, told }
    }

    /// A message came.
    pub(super) fn came(&self, tag: u64) {
        self.outstanding.lock().unwrap_or_else(PoisonError::into_inner).insert(tag);
    }

    /// It is done with; a channel that is gone makes the broker give it out again.
    pub(super) fn settle(&self, tag: u64) {
        let _ = self.told.send(Told::Settled(tag));
    }

    /// Resolves when what was settled before is acknowledged, or cannot be any more.
    pub(super) async fn flush(&self) {
        let (reply, flushed) = oneshot::channel();
        if self.told.send(Told::Flush(reply)).is_ok() {
            let _ = flushed.await;
        }
    }
}

/// One acknowledgement for all up to the first that is still in hand, and one for each of the others.
fn plan(outstanding: &mut BTreeSet<u64>, tags: Vec<u64>) -> Vec<(u64, bool)> {
    let mut settled: BTreeSet<u64> = tags.into_iter().filter(|tag| outstanding.contains(tag)).collect();
    for tag in &settled {
        outstanding.remove(tag);
    }
    let kept = match outstanding.first() {
        Some(first) => settled.split_off(first),
        None => BTreeSet::new(),
    };
    let together = settled.last().map(|last| (*last, settled.len() > 1));
    together.into_iter().chain(kept.into_iter().map(|tag| (tag, false))).collect()
}

/// What becomes of a dead letter whose intake failed.
pub(super) type File = Box<dyn FnOnce() + Send + Sync>;

/// A signal in this process.
pub(super) struct Fetched {
    pub signal: Box<Signal>,
    pub delivery: Option<Box<Delivery>>,
    pub tag: u64,
    pub acks: Acks,
    pub generation: u64,
    /// Set for a dead letter: it is offered once, alone, and filed when that fails.
    pub file: Mutex<Option<File>>,
    pub is_dead_letter: bool,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched").field("signal", &self.signal.id).field("tag", &self.tag).finish_non_exhaustive()
    }
}

/// What claimers want of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orders {
    pub wanted: bool,
    /// Times everything had to be given back.
    pub rests: u64,
}

/// The signals at hand.
#[derive(Debug)]
pub(super) struct Shelf {
    state: Mutex<Content>,
    changed: Notify,
    orders: watch::Sender<Orders>,
    /// The rests that were carried out.
    rested: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Content {
    generation: u64,
    ready: VecDeque<Arc<Fetched>>,
    later: VecDeque<(Instant, Arc<Fetched>)>,
    dead: VecDeque<Arc<Fetched>>,
    /// A dead letter is out: the next one waits.
    dead_out: bool,
}

impl Shelf {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Notify::new(),
            orders: watch::Sender::new(Orders { wanted: false, rests: 0 }),
            rested: watch::Sender::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    /// Void is what was fetched before; the number of what comes now.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.lock();
        let generation = state.generation + 1;
        *state = Content { generation, ..Content::default() };
        generation
    }

    pub(super) fn has_rested(&self, rests: u64) {
        self.rested.send_if_modified(|rested| std::mem::replace(rested, (*rested).max(rests)) < rests);
    }

    pub(super) fn put(&self, fetched: Fetched) {
        let mut state = self.lock();
        if state.generation != fetched.generation {
            return;
        }
        if fetched.is_dead_letter {
            state.dead.push_back(Arc::new(fetched));
        } else {
            state.ready.push_back(Arc::new(fetched));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Claims up to `limit`, waiting for at least one.
    pub(super) async fn claim(self: &Arc<Self>, limit: usize) -> Vec<Claim> {
        self.orders.send_if_modified(|orders| !std::mem::replace(&mut orders.wanted, true));
        loop {
            let (claims, more, due) = self.take(limit.max(1));
            if !claims.is_empty() {
                if more {
                    self.changed.notify_one();
                }
                return claims;
            }
            match due {
                Some(due) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
                None => self.changed.notified().await,
            }
        }
    }

    fn take(self: &Arc<Self>, limit: usize) -> (Vec<Claim>, bool, Option<Instant>) {
        let mut state = self.lock();
        let now = Instant::now();
        while state.later.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, fetched)) = state.later.pop_front() {
                state.ready.push_front(fetched);
            }
        }
        let mut taken = Vec::new();
        if !state.dead_out
            && let Some(dead) = state.dead.pop_front()
        {
            state.dead_out = true;
            taken.push(dead);
        } else {
            let count = limit.min(state.ready.len());
            taken.extend(state.ready.drain(..count));
        }
        let more = !state.ready.is_empty() || (!state.dead_out && !state.dead.is_empty());
        let due = state.later.front().map(|(due, _)| *due);
        drop(state);
        let claim = |fetched: Arc<Fetched>| {
            let signal = (*fetched.signal).clone();
            Claim::new(signal, Box::new(Hold { fetched, shelf: Arc::clone(self) }))
        };
        (taken.into_iter().map(claim).collect(), more, due)
    }

    /// Gives everything back to the broker: claims in hand are void.
    pub(super) fn rest(&self) -> u64 {
        let mut rests = 0;
        self.orders.send_modify(|orders| {
            *orders = Orders { wanted: false, rests: orders.rests + 1 };
            rests = orders.rests;
        });
        self.begin();
        rests
    }

    /// Resolves when the broker has everything, or soon.
    pub(super) async fn rested(&self, rests: u64) {
        let mut rested = self.rested.subscribe();
        let done = rested.wait_for(|done| *done >= rests);
        let _ = tokio::time::timeout(Duration::from_secs(2), done).await;
    }

    fn over(&self, fetched: &Fetched) {
        if fetched.is_dead_letter {
            let mut state = self.lock();
            if state.generation == fetched.generation {
                state.dead_out = false;
            }
            drop(state);
            self.changed.notify_one();
        }
    }

    fn give_back(&self, fetched: &Arc<Fetched>) {
        let mut state = self.lock();
        if state.generation == fetched.generation {
            state.later.push_back((Instant::now() + AGAIN_AFTER, Arc::clone(fetched)));
        }
        drop(state);
        self.changed.notify_one();
    }
}

/// A claimed signal.
#[derive(Debug)]
struct Hold {
    fetched: Arc<Fetched>,
    shelf: Arc<Shelf>,
}

impl Handle for Hold {
    fn take_off(&self) -> Vec<Op> {
        self.fetched.delivery.iter().map(|delivery| Op::PutDelivery(delivery.clone())).collect()
    }

    fn settle(&self) {
        self.fetched.acks.settle(self.fetched.tag);
        self.shelf.over(&self.fetched);
    }

    fn give_back(&self) {
        if !self.fetched.is_dead_letter {
            return self.shelf.give_back(&self.fetched);
        }
        if let Some(file) = self.fetched.file.lock().unwrap_or_else(PoisonError::into_inner).take() {
            file();
        }
        self.shelf.over(&self.fetched);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_never_cover_what_is_still_in_hand() {
        let mut outstanding: BTreeSet<u64> = (1..=6).collect();
        assert_eq!(plan(&mut outstanding, vec![2, 1, 4]), [(2, true), (4, false)]);
        assert_eq!(plan(&mut outstanding, vec![4, 9]), [], "settled before, or never seen");
        assert_eq!(plan(&mut outstanding, vec![6]), [(6, false)]);
        assert_eq!(plan(&mut outstanding, vec![3]), [(3, false)]);
        assert_eq!(plan(&mut outstanding, vec![5]), [(5, false)]);
        assert!(outstanding.is_empty());
    }
}
