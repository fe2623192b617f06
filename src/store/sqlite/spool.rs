//! The spool of a receiver: a file of its own in which deliveries lie, as bytes and in order, while the broker is away.
//!
//! One thread owns the file. What waits for it is written as one synced transaction; a delivery is one row, so it is
//! there whole or not at all. Knows nothing of what the bytes mean.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, params};
use tokio::sync::{Notify, oneshot};

use super::failure::{again, failed_at};
use super::{lock, schema};
use crate::store::Error;
use crate::store::rows::plain;

/// `ousp` in ASCII: marks the file as a spool of ours.
const APPLICATION_ID: i64 = 0x6f75_7370;
const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS spool (seq INTEGER PRIMARY KEY AUTOINCREMENT, bytes BLOB NOT NULL) STRICT";
const PUT: &str = "INSERT INTO spool (bytes) VALUES (?1)";
const FIRST: &str = "SELECT seq, bytes FROM spool ORDER BY seq LIMIT ?1";
const REMOVE_TO: &str = "DELETE FROM spool WHERE seq <= ?1";
const REMOVE: &str = "DELETE FROM spool WHERE seq = ?1";
const SUM: &str = "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM spool";

/// Rows, and about as many bytes, written in one transaction at most.
const GROUP: usize = 512;
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// Work handed over and not begun at most; more wait in their own task.
const WAITING: usize = 4096;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

enum Job {
    Put(Vec<u8>, Reply<()>),
    First(u32, u64, Reply<Vec<(i64, Vec<u8>)>>),
    Remove { seq: i64, and_before: bool, reply: Reply<()> },
}

/// Deliveries on disk, oldest first out. Dropping it closes the file.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    figures: Arc<Figures>,
    jobs: Option<mpsc::SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    _lock: File,
}

#[derive(Debug, Default)]
struct Figures {
    rows: AtomicU64,
    bytes: AtomicU64,
    /// The last delivery did not fit.
    full: AtomicBool,
    filled: Notify,
}

impl Spool {
    /// Opens or creates the file; it takes deliveries until they weigh `max` bytes. Blocks for as long as that takes.
    ///
    /// # Errors
    /// `Unusable`: another process has it, the folder is missing or closed to us, or it is no spool of oust.
    pub fn open(path: impl AsRef<Path>, max: u64) -> Result<Arc<Self>, Error> {
        let path = path.as_ref().to_owned();
        schema::create(&path)?;
        let lock = lock::take(&path)?;
        let conn = connect(&path)?;
        let figures = Arc::new(Figures::default());
        let (rows, bytes): (i64, i64) =
            conn.query_row(SUM, [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed_at("the spool"))?;
        figures.rows.store(rows.unsigned_abs(), Ordering::Release);
        figures.bytes.store(bytes.unsigned_abs(), Ordering::Release);
        if rows > 0 {
            figures.filled.notify_one();
        }
        let (jobs, inbox) = mpsc::sync_channel(WAITING);
        let keeper = Keeper { path: path.clone(), conn: Some(conn), max, figures: Arc::clone(&figures) };
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || keeper.work(&inbox))
            .map_err(|error| Error::Backend { what: "the spool's thread", source: Box::new(error) })?;
        Ok(Arc::new(Self { path, figures, jobs: Some(jobs), thread: Some(thread), _lock: lock }))
    }

    /// Adds a delivery behind all others; durable when it returns `Ok`.
    ///
    /// # Errors
    /// `Away`: the spool is full, or the disk is.
    pub async fn put(&self, bytes: Vec<u8>) -> Result<(), Error> {
        self.ask(|reply| Job::Put(bytes, reply)).await
    }

    /// The oldest deliveries, at most so many and (after the first) about so many bytes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn first(&self, limit: u32, bytes: u64) -> Result<Vec<(i64, Vec<u8>)>, Error> {
        self.ask(|reply| Job::First(limit, bytes, reply)).await
    }

    /// Forgets this delivery and all before it.
    ///
    /// # Errors
    /// The file cannot be written: they come again.
    pub async fn remove_to(&self, seq: i64) -> Result<(), Error> {
        self.ask(|reply| Job::Remove { seq, and_before: true, reply }).await
    }

    /// Moves a row into a file of its own beside the spool, whose path it returns.
    ///
    /// # Errors
    /// The file cannot be written: the row stays.
    pub async fn set_aside(&self, seq: i64, bytes: Vec<u8>, at: Timestamp) -> Result<String, Error> {
        let path = format!("{}.unreadable-{}-{seq}", self.path.display(), at.as_second());
        let kept = path.clone();
        let written = tokio::task::spawn_blocking(move || {
            use std::io::Write as _;
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(kept)?;
            file.write_all(&bytes)?;
            file.sync_all()
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Error::Away(error.to_string())),
            Err(error) => return Err(Error::Away(error.to_string())),
        }
        self.ask(|reply| Job::Remove { seq, and_before: false, reply }).await?;
        Ok(path)
    }

    /// Deliveries, and the bytes they weigh.
    pub fn figures(&self) -> (u64, u64) {
        (self.figures.rows.load(Ordering::Acquire), self.figures.bytes.load(Ordering::Acquire))
    }

    /// The last delivery did not fit, and none was brought over since.
    pub fn is_full(&self) -> bool {
        self.figures.full.load(Ordering::Acquire)
    }

    /// Resolves when a delivery is there.
    pub async fn filled(&self) {
        while self.figures().0 == 0 {
            self.figures.filled.notified().await;
        }
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, Error> {
        let stopped = || plain("the spool", "its thread has stopped");
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        let mut job = job(reply);
        // The thread is a disk's sync away from taking the next.
        loop {
            match jobs.try_send(job) {
                Ok(()) => break,
                Err(mpsc::TrySendError::Full(unsent)) => job = unsent,
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(stopped()),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let foreign = || Error::Unusable(format!("{} is not a spool of oust; choose another path", path.display()));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| {
        Error::Unusable(format!("{} cannot be opened ({error}); check the path and its permissions", path.display()))
    })?;
    let number = |pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let mark = number("application_id").map_err(|_| foreign())?;
    let empty = number("schema_version").map_err(|_| foreign())? == 0;
    if mark != APPLICATION_ID && !(mark == 0 && empty) {
        return Err(foreign());
    }
    let broken = || failed_at("the settings of the spool");
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(broken())?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(broken())?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(broken())?;
    // Bodies do not linger where zeroing costs no extra write.
    conn.pragma_update_and_check(None, "secure_delete", "FAST", |_| Ok(())).map_err(broken())?;
    conn.execute_batch(CREATE).map_err(broken())?;
    conn.pragma_update(None, "application_id", APPLICATION_ID).map_err(broken())?;
    Ok(conn)
}

struct Keeper {
    path: PathBuf,
    /// Absent after a failure that leaves it doubtful.
    conn: Option<Connection>,
    max: u64,
    figures: Arc<Figures>,
}

impl Keeper {
    fn work(mut self, inbox: &mpsc::Receiver<Job>) {
        let mut next = None;
        while let Some(job) = next.take().or_else(|| inbox.recv().ok()) {
            match job {
                Job::Put(bytes, reply) => {
                    let mut group = vec![(bytes, reply)];
                    let mut weight = group[0].0.len();
                    while group.len() < GROUP && weight < GROUP_BYTES {
                        match inbox.try_recv() {
                            Ok(Job::Put(bytes, reply)) => {
                                weight += bytes.len();
                                group.push((bytes, reply));
                            }
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.put(group);
                }
                Job::First(limit, bytes, reply) => {
                    let _ = reply.send(self.with(|conn| first(conn, limit, bytes)));
                }
                Job::Remove { seq, and_before, reply } => {
                    let removed = self.with(|conn| remove(conn, seq, and_before));
                    let _ = reply.send(removed.map(|(rows, bytes)| self.set(rows, bytes)));
                }
            }
        }
        if let Some(conn) = self.conn.take() {
            // The file is whole either way; this only makes it one.
            let _ = conn.close();
        }
    }

    fn with<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => connect(&self.path).map_err(|error| Error::Away(error.to_string()))?,
        };
        let done = work(&conn);
        if done.is_ok() || conn.is_autocommit() || conn.execute_batch("ROLLBACK").is_ok() {
            self.conn = Some(conn);
        }
        done
    }

    fn set(&self, rows: u64, bytes: u64) {
        let before = self.figures.rows.swap(rows, Ordering::AcqRel);
        self.figures.bytes.store(bytes, Ordering::Release);
        if rows < before || rows == 0 {
            self.figures.full.store(false, Ordering::Release);
        }
        if rows > 0 {
            self.figures.filled.notify_one();
        }
    }

    /// One transaction; what does not fit is refused, and the others are not.
    fn put(&mut self, group: Vec<(Vec<u8>, Reply<()>)>) {
        let (mut rows, mut bytes) =
            (self.figures.rows.load(Ordering::Acquire), self.figures.bytes.load(Ordering::Acquire));
        let mut fitting = Vec::with_capacity(group.len());
        for (delivery, reply) in group {
            let weight = u64::try_from(delivery.len()).unwrap_or(u64::MAX);
            if bytes.saturating_add(weight) > self.max {
                self.figures.full.store(true, Ordering::Release);
                let _ = reply.send(Err(Error::Away(format!("the spool holds {bytes} bytes and is full"))));
                continue;
            }
            (rows, bytes) = (rows + 1, bytes + weight);
            fitting.push((delivery, reply));
        }
        if fitting.is_empty() {
            return;
        }
        let verdict = self.with(|conn| {
            let broken = || failed_at("the spool");
            conn.execute_batch("BEGIN IMMEDIATE").map_err(broken())?;
            let mut insert = conn.prepare_cached(PUT).map_err(broken())?;
            for (delivery, _) in &fitting {
                insert.execute([delivery]).map_err(broken())?;
            }
            conn.execute_batch("COMMIT").map_err(broken())
        });
        if verdict.is_ok() {
            self.set(rows, bytes);
        }
        for (_, reply) in fitting {
            let _ = reply.send(match &verdict {
                Ok(()) => Ok(()),
                Err(error) => Err(again(error)),
            });
        }
    }
}

fn first(conn: &Connection, limit: u32, most: u64) -> Result<Vec<(i64, Vec<u8>)>, Error> {
    let broken = || failed_at("the spool");
    let mut statement = conn.prepare_cached(FIRST).map_err(broken())?;
    let mut rows = statement.query([limit]).map_err(broken())?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next().map_err(broken())? {
        let delivery: Vec<u8> = row.get(1).map_err(broken())?;
        bytes += u64::try_from(delivery.len()).unwrap_or(u64::MAX);
        found.push((row.get(0).map_err(broken())?, delivery));
        if bytes >= most {
            break;
        }
    }
    Ok(found)
}

/// What is left: rows and bytes.
fn remove(conn: &Connection, seq: i64, and_before: bool) -> Result<(u64, u64), Error> {
    let broken = || failed_at("the spool");
    let text = if and_before { REMOVE_TO } else { REMOVE };
    conn.prepare_cached(text).and_then(|mut delete| delete.execute(params![seq])).map_err(broken())?;
    let left: (i64, i64) = conn
        .prepare_cached(SUM)
        .and_then(|mut sum| sum.query_row([], |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(broken())?;
    if left.0 == 0 {
        // Gives the space back; a failure costs only space.
        let _ = conn.execute_batch("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)");
    }
    Ok((left.0.unsigned_abs(), left.1.unsigned_abs()))
}

#[cfg(test)]
mod tests;
