//! Copies the write-ahead log back into the file, on a thread of its own, so that no commit pays for it.
//!
//! The log can only start over when all of it was copied and nobody reads it. Under a steady load the thread is always
//! a little behind; when the log has grown long, the writer itself copies the short rest between two commits.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::{schema, sql};

/// Pages in the log from which the thread begins to copy (4 MiB).
const BEGIN: i64 = 1_000;
/// Pages from which the writer is asked to finish what the thread just left (32 MiB).
const FINISH: i64 = 8_000;
/// Pages from which the writer copies whatever the thread did (128 MiB).
const TOO_LONG: i64 = 32_000;

#[derive(Debug, Default)]
struct Shared {
    ask: Mutex<Ask>,
    asked: Condvar,
    finish: AtomicBool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Ask {
    wanted: bool,
    closed: bool,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Ask)) {
        change(&mut self.ask.lock().unwrap_or_else(PoisonError::into_inner));
        self.asked.notify_one();
    }

    /// True when a copy is wanted, false when it is over.
    fn wait(&self) -> bool {
        let mut ask = self.ask.lock().unwrap_or_else(PoisonError::into_inner);
        while !ask.wanted && !ask.closed {
            ask = self.asked.wait(ask).unwrap_or_else(PoisonError::into_inner);
        }
        ask.wanted = false;
        !ask.closed
    }
}

/// The writer's handle on the thread; ends it when dropped.
#[derive(Debug)]
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(super) fn start(path: PathBuf) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        // Without the thread the writer copies the log itself, from `TOO_LONG` on.
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || {
                let mut conn = None;
                while theirs.wait() {
                    let opened = conn.take().or_else(|| schema::writable(&path, None).ok());
                    // A failure (a full disk, say) is met again, and told, by the writer.
                    let Some(Ok(pages)) = opened.as_ref().map(|conn| pages(conn, sql::CHECKPOINT)) else { continue };
                    conn = opened;
                    theirs.finish.store(pages >= FINISH, Ordering::Relaxed);
                }
            })
            .ok();
        Self { shared, thread }
    }

    /// Called by the writer between two transactions.
    pub(super) fn after_commit(&self, conn: &Connection) {
        let Ok(pages) = pages(conn, sql::WAL_SIZE) else { return };
        if self.shared.finish.swap(false, Ordering::Relaxed) || pages >= TOO_LONG {
            let _ = self::pages(conn, sql::CHECKPOINT);
        } else if pages >= BEGIN {
            self.shared.change(|ask| ask.wanted = true);
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.shared.change(|ask| ask.closed = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs a checkpoint pragma; how many pages the log holds.
fn pages(conn: &Connection, pragma: &'static str) -> rusqlite::Result<i64> {
    conn.prepare_cached(pragma)?.query_row([], |row| row.get(1))
}
