//! The queue in the store: a signal is a row, a claim is a number held in memory.
//!
//! Only the process with the store's lock claims, so a row read and not held is free. Rows are read ahead by number; a
//! row put back is found again by its time, wherever it is. Whatever memory forgets (a claim dropped, settled without
//! its transaction, written by another process) is found by the sweep from the first row, made when nothing else waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Claim, Condition, Error, Handle, Queue};
use crate::store::{Acceptance, Audit, Batch, Lane, Op, Queued, Receipt, Store};

/// Claims given out and not yet settled, at most.
const MOST_HELD: usize = 1024;
/// Rows read ahead.
const AHEAD: usize = 256;
/// How often an idle claimer looks by itself: requeued rows, and what another process put there.
const TICK: Duration = Duration::from_millis(250);
/// Every so many idle looks start from the first row.
const SWEEP: u32 = 4;

/// The embedded queue.
#[derive(Debug)]
pub struct Embedded {
    store: Arc<dyn Store>,
    now: fn() -> Timestamp,
    /// One claimer reads at a time.
    reading: tokio::sync::Mutex<Reading>,
    held: Arc<Held>,
}

#[derive(Debug, Default)]
struct Reading {
    /// The last fresh row read.
    cursor: i64,
    idle_looks: u32,
    ahead: VecDeque<Queued>,
}

/// What was read and is not settled.
#[derive(Debug, Default)]
struct Held {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Rows in memory (read ahead or claimed), and whether each had been put back: those are found by their time.
    rows: BTreeMap<i64, bool>,
    claimed: usize,
    /// Settled since the last read began: that read may still see the rows.
    settled: BTreeSet<i64>,
    /// Dropped without being settled.
    given_back: Vec<i64>,
    claimer_waits_for_room: bool,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, seq: i64) {
        let mut state = self.lock();
        state.rows.remove(&seq);
        state.settled.insert(seq);
        state.claimed = state.claimed.saturating_sub(1);
        let wake = std::mem::take(&mut state.claimer_waits_for_room);
        drop(state);
        if wake {
            self.changed.notify_one();
        }
    }

    fn give_back(&self, seq: i64) {
        let mut state = self.lock();
        state.given_back.push(seq);
        state.claimed = state.claimed.saturating_sub(1);
        drop(state);
        self.changed.notify_one();
    }

    /// Prepares a read: where it starts, and how many rows it will meet that are held already.
    fn begin_read(&self, cursor: &mut i64) -> usize {
        let mut state = self.lock();
        state.settled.clear();
        for seq in std::mem::take(&mut state.given_back) {
            if state.rows.remove(&seq) == Some(false) {
                *cursor = (*cursor).min(seq - 1);
            }
        }
        state.rows.iter().filter(|(seq, put_back)| **put_back || **seq > *cursor).count()
    }

    /// Keeps the rows of a read that are free.
    fn end_read(&self, cursor: &mut i64, rows: Vec<Queued>, ahead: &mut VecDeque<Queued>) {
        let mut state = self.lock();
        for row in rows {
            if !row.put_back {
                *cursor = (*cursor).max(row.seq);
            }
            if !state.settled.contains(&row.seq) && !state.rows.contains_key(&row.seq) {
                state.rows.insert(row.seq, row.put_back);
                ahead.push_back(row);
            }
        }
    }

    /// How many more claims may be given out, at most `limit`.
    fn room(&self, limit: usize) -> usize {
        let mut state = self.lock();
        let room = MOST_HELD.saturating_sub(state.claimed).min(limit);
        state.claimer_waits_for_room = room == 0;
        room
    }
}

impl Embedded {
    /// The queue of this store, on the machine's clock.
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Self::with_clock(store, Timestamp::now)
    }

    /// The same on another clock.
    pub fn with_clock(store: Arc<dyn Store>, now: fn() -> Timestamp) -> Arc<Self> {
        Arc::new(Self { store, now, reading: tokio::sync::Mutex::default(), held: Arc::default() })
    }

    /// Reads ahead, from the first row after some idle looks.
    async fn read_ahead(&self, reading: &mut Reading) -> Result<(), Error> {
        let mut cursor = if reading.idle_looks >= SWEEP { 0 } else { reading.cursor };
        let known = self.held.begin_read(&mut cursor);
        let limit = u32::try_from(AHEAD + known).unwrap_or(u32::MAX);
        let rows = match self.store.queued(cursor, (self.now)(), limit).await {
            Ok(rows) => rows,
            Err(error) => {
                // What was given back must not be forgotten: the next read starts where this one would have.
                reading.cursor = reading.cursor.min(cursor);
                return Err(Error::Unreadable(error));
            }
        };
        if reading.idle_looks >= SWEEP {
            reading.idle_looks = 0;
        }
        self.held.end_read(&mut cursor, rows, &mut reading.ahead);
        reading.cursor = cursor;
        Ok(())
    }

    fn take(&self, reading: &mut Reading, room: usize) -> Vec<Claim> {
        let count = room.min(reading.ahead.len());
        self.held.lock().claimed += count;
        let claim =
            |Queued { seq, signal, .. }| Claim::new(signal, Box::new(Row { seq, held: Arc::clone(&self.held) }));
        reading.ahead.drain(..count).map(claim).collect()
    }
}

/// A claimed row.
#[derive(Debug)]
struct Row {
    seq: i64,
    held: Arc<Held>,
}

impl Handle for Row {
    fn take_off(&self) -> Vec<Op> {
        vec![Op::Dequeue(self.seq)]
    }

    fn put_back(&self, due_at: Timestamp) -> Option<Op> {
        Some(Op::Requeue { seq: self.seq, due_at })
    }

    fn settle(&self) {
        self.held.settle(self.seq);
    }

    fn give_back(&self) {
        self.held.give_back(self.seq);
    }
}

#[async_trait]
impl Queue for Embedded {
    async fn accept(&self, acceptance: Acceptance) -> Result<Receipt, Error> {
        let receipt = self.store.accept(acceptance).await.map_err(Error::NotDurable)?;
        self.held.changed.notify_one();
        Ok(receipt)
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claim>, Error> {
        let mut reading = self.reading.lock().await;
        loop {
            let room = self.held.room(limit.max(1));
            if room > 0 {
                if reading.ahead.is_empty() {
                    self.read_ahead(&mut reading).await?;
                }
                let claims = self.take(&mut reading, room);
                if !claims.is_empty() {
                    reading.idle_looks = 0;
                    return Ok(claims);
                }
            }
            if tokio::time::timeout(TICK, self.held.changed.notified()).await.is_err() {
                reading.idle_looks += 1;
            }
        }
    }

    fn nudge(&self) {
        self.held.changed.notify_one();
    }

    async fn report(&self, audit: Audit) -> Result<(), Error> {
        let batch = Batch { expect: None, ops: vec![Op::Audit(Box::new(audit))] };
        self.store.commit(Lane::Other, batch).await.map_err(Error::NotDurable)
    }

    fn condition(&self) -> Condition {
        Condition { ok: true, detail: "embedded in the store".to_owned(), ..Condition::default() }
    }
}

#[cfg(test)]
mod tests;
