//! The embedded store: one `SQLite` file in WAL mode, synced at every commit.
//!
//! One thread writes, flushing whatever waits as one transaction (`writer`); four read, one of them only for reads on
//! the way to a containment (`readers`); one copies the log back (`checkpoint`). Decides nothing about people and knows
//! no clock: instants come in as arguments. Other processes may open the same file for short transactions; only the one
//! that holds the lock beside it (`lock`) runs the engine.

mod apply;
mod checkpoint;
mod failure;
mod lanes;
mod lock;
mod read;
mod readers;
mod reviewers;
mod schema;
mod spool;
mod sql;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::broadcast;

use self::apply::{Done, Work};
use self::lanes::Lanes;
use self::read::{desk, figures, people, picture, queue};
use self::readers::{For, Readers};
pub use self::spool::Spool;
use self::writer::Writer;
use crate::domain::ledger::Effect;
use crate::domain::run::Entry;
use crate::domain::task::Task;
use crate::domain::{BuriedId, CaseId, DeliveryId, Identity, RunId, SignalId, TaskId, TenantName};
use crate::store::rows::{self, plain};
use crate::store::statement::Statement;
use crate::store::{
    Acceptance, Audit, Batch, Buried, CaseRow, Claimed, Epoch, Error, Figures, Filter, Hint, Lane, Listed, Page,
    PersonRecord, Queued, Receipt, Recorded, RunRow, SignalRowBrief, Store, Token, Waiting,
};

/// How to open the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Look, and change nothing: the file must exist with the newest schema.
    pub read_only: bool,
    /// The most pages (of 4 KiB) the file may have; absent = as many as the disk holds.
    pub max_pages: Option<u32>,
}

/// The embedded store. Dropping it finishes what waits and closes the file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    readers: Readers,
    lanes: Arc<Lanes>,
    writer: Option<JoinHandle<()>>,
    lock: Mutex<Option<File>>,
    /// The epoch this process began; -1 before.
    epoch: AtomicI64,
    /// Kept open; other processes are noticed by the file's stamp instead.
    hints: broadcast::Sender<Hint>,
}

impl Sqlite {
    /// Opens (and, if need be, creates and migrates) the file; blocks for as long as that takes.
    ///
    /// # Errors
    /// `Unusable` with what to do: no such folder, no permission, not ours, or a schema newer than this binary.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Arc<Self>, Error> {
        let path = path.as_ref().to_owned();
        let lanes = Arc::new(Lanes::new());
        let writer = if options.read_only {
            let conn = schema::readable(&path)?;
            if !schema::is_current(&path, &conn)? {
                let text = format!("{} has an older schema; run `oust migrate` once", path.display());
                return Err(Error::Unusable(text));
            }
            lanes.close();
            None
        } else {
            schema::create(&path)?;
            let mut conn = schema::writable(&path, options.max_pages)?;
            schema::migrate(&path, &mut conn)?;
            Some(Writer::new(path.clone(), options.max_pages, conn, Arc::clone(&lanes)))
        };
        let readers = Readers::start(&path)?;
        let writer =
            writer.map(|writer| std::thread::Builder::new().name("store-write".to_owned()).spawn(|| writer.work()));
        let writer =
            writer.transpose().map_err(|error| Error::Backend { what: "the writer", source: Box::new(error) })?;
        Ok(Arc::new(Self {
            path,
            readers,
            lanes,
            writer,
            lock: Mutex::new(None),
            epoch: AtomicI64::new(-1),
            hints: broadcast::Sender::new(1),
        }))
    }

    async fn write(&self, lane: Lane, weight: usize, work: Work) -> Result<Done, Error> {
        if self.writer.is_none() {
            return Err(Error::Unusable(format!("{} was opened for reading only", self.path.display())));
        }
        self.lanes.submit(lane, weight, work).await
    }

    async fn number(&self, work: Work) -> Result<i64, Error> {
        match self.write(Lane::Other, 0, work).await? {
            Done::Number(number) => Ok(number),
            other => Err(plain("the writer", &format!("it answered {other:?} to a question for a number"))),
        }
    }

    /// Buries rows that do not read back; a failure leaves them where they are, to be met again.
    async fn bury(&self, bad: Vec<Vec<Statement>>) {
        for statements in bad {
            if self.writer.is_some() {
                let _ = self.write(Lane::Other, 0, Work::Batch(statements)).await;
            }
        }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // The writer closes last: only a connection that may write can copy the log back and remove it.
        self.readers.stop();
        self.lanes.close();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn commit(&self, lane: Lane, batch: Batch) -> Result<(), Error> {
        let statements = rows::batch(batch)?;
        let weight = rows::weight(&statements);
        self.write(lane, weight, Work::Batch(statements)).await.map(|_| ())
    }

    async fn accept(&self, acceptance: Acceptance) -> Result<Receipt, Error> {
        let rows = Box::new(rows::delivery(acceptance)?);
        match self.write(Lane::Accept, rows.weight(), Work::Accept(rows)).await? {
            Done::Replay(answer) => serde_json::from_str(&answer)
                .map(|answer| Receipt::Replay { answer })
                .map_err(|error| Error::Corrupt { what: "answer".to_owned(), source: Some(Box::new(error)) }),
            _ => Ok(Receipt::Accepted),
        }
    }

    async fn queued(&self, after: i64, now: Timestamp, limit: u32) -> Result<Vec<Queued>, Error> {
        let read = move |conn: &_| queue::queued(conn, after, now, limit);
        let found = self.readers.read(For::Containment, read).await?;
        self.bury(found.bad).await;
        Ok(found.good)
    }

    async fn person(&self, identity: &Identity) -> Result<Option<PersonRecord>, Error> {
        let (identity, me) = (identity.clone(), Epoch(self.epoch.load(Ordering::Relaxed)));
        self.readers.read(For::Containment, move |conn| people::person(conn, &identity, me)).await
    }

    async fn held(&self, me: Epoch) -> Result<Vec<(Identity, u64)>, Error> {
        self.readers.read(For::General, move |conn| people::held(conn, me)).await
    }

    async fn claim_people(&self, now: Timestamp, me: Epoch, limit: u32) -> Result<Vec<Claimed>, Error> {
        let due = self.readers.read(For::Containment, move |conn| people::due(conn, now, me, limit)).await?;
        // The row still says who held them; a dead process needs no waiting for.
        Ok(due.into_iter().map(|identity| Claimed { identity, ended: None }).collect())
    }

    async fn due_waiting(&self, now: Timestamp, _: Epoch, limit: u32) -> Result<Vec<Waiting>, Error> {
        let found = self.readers.read(For::General, move |conn| queue::waiting(conn, now, limit)).await?;
        self.bury(found.bad).await;
        Ok(found.good)
    }

    async fn watched(&self, tenant: &TenantName, _: Timestamp, limit: u32) -> Result<Vec<(Identity, Value)>, Error> {
        let tenant = tenant.clone();
        self.readers.read(For::General, move |conn| people::watched(conn, &tenant, limit)).await
    }

    async fn first_of_content(
        &self,
        source: &str,
        identity: &Identity,
        content: &str,
        untimed_since: Option<Timestamp>,
    ) -> Result<Option<SignalRowBrief>, Error> {
        let (source, identity, content) = (source.to_owned(), identity.clone(), content.to_owned());
        let read = move |conn: &_| people::first_of_content(conn, &source, &identity, &content, untimed_since);
        self.readers.read(For::Containment, read).await
    }

    async fn plan(&self, hash: &str) -> Result<Option<String>, Error> {
        let hash = hash.to_owned();
        self.readers.read(For::Containment, move |conn| people::plan(conn, &hash)).await
    }

    async fn signal(&self, id: SignalId) -> Result<Option<Value>, Error> {
        self.readers.read(For::General, move |conn| desk::signal(conn, id)).await
    }

    async fn signals_of(&self, case: CaseId) -> Result<Vec<Value>, Error> {
        self.readers.read(For::General, move |conn| desk::signals_of(conn, case)).await
    }

    async fn cases(&self, filter: &Filter, page: &Page) -> Result<Listed<CaseRow>, Error> {
        let (filter, page) = (filter.clone(), page.clone());
        self.readers.read(For::General, move |conn| desk::cases(conn, &filter, &page)).await
    }

    async fn case(&self, id: CaseId) -> Result<Option<CaseRow>, Error> {
        self.readers.read(For::General, move |conn| desk::case(conn, id)).await
    }

    async fn runs_of(&self, case: CaseId) -> Result<Vec<(RunRow, Vec<Entry>)>, Error> {
        self.readers.read(For::General, move |conn| desk::runs(conn, case)).await
    }

    async fn run(&self, id: RunId) -> Result<Option<(RunRow, Vec<Entry>)>, Error> {
        self.readers.read(For::General, move |conn| desk::run(conn, id)).await
    }

    async fn effects_of(&self, run: RunId) -> Result<Vec<Effect>, Error> {
        self.readers.read(For::General, move |conn| desk::effects_of(conn, run)).await
    }

    async fn tasks(&self, filter: &Filter, page: &Page) -> Result<Listed<Task>, Error> {
        let (filter, page) = (filter.clone(), page.clone());
        self.readers.read(For::General, move |conn| desk::tasks(conn, &filter, &page)).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, Error> {
        self.readers.read(For::General, move |conn| desk::task(conn, id)).await
    }

    async fn sealed(&self, task: TaskId) -> Result<Option<Value>, Error> {
        self.readers.read(For::General, move |conn| desk::sealed(conn, task)).await
    }

    async fn buried_list(&self, filter: &Filter, page: &Page) -> Result<Listed<Buried>, Error> {
        let (filter, page) = (filter.clone(), page.clone());
        self.readers.read(For::General, move |conn| desk::buried_list(conn, &filter, &page)).await
    }

    async fn buried(&self, id: BuriedId) -> Result<Option<Buried>, Error> {
        self.readers.read(For::General, move |conn| desk::buried(conn, id)).await
    }

    async fn delivery_body(&self, id: DeliveryId) -> Result<Option<bytes::Bytes>, Error> {
        self.readers.read(For::General, move |conn| desk::delivery_body(conn, id)).await
    }

    async fn audit(&self, page: &Page) -> Result<Listed<(u64, Audit)>, Error> {
        let page = page.clone();
        self.readers.read(For::General, move |conn| desk::audit(conn, &page)).await
    }

    async fn audit_in_order(&self, after: Option<&str>, limit: u32) -> Result<Vec<Recorded>, Error> {
        let after = after.map_or(Ok(0), str::parse).map_err(|_| Error::BadCursor)?;
        self.readers.read(For::General, move |conn| desk::audit_in_order(conn, after, limit)).await
    }

    async fn setting(&self, key: &str) -> Result<Option<Value>, Error> {
        let key = key.to_owned();
        self.readers.read(For::General, move |conn| desk::setting(conn, &key)).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.readers.read(For::General, desk::tokens).await
    }

    async fn token_by_hash(&self, hash: &str, now: Timestamp) -> Result<Option<Token>, Error> {
        let hash = hash.to_owned();
        self.readers.read(For::General, move |conn| desk::token_by_hash(conn, &hash, now)).await
    }

    async fn figures(&self, now: Timestamp) -> Result<Figures, Error> {
        self.readers.read(For::General, move |conn| figures::figures(conn, now)).await
    }

    async fn stamp(&self) -> Result<i64, Error> {
        self.number(Work::Stamp).await
    }

    async fn begin_epoch(&self) -> Result<Epoch, Error> {
        let file = lock::take(&self.path)?;
        let epoch = self.number(Work::Epoch).await?;
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        self.epoch.store(epoch, Ordering::Relaxed);
        Ok(Epoch(epoch))
    }

    fn is_shared(&self) -> bool {
        false
    }

    /// The lock ends with the process, and nobody else can have it before.
    async fn renew(&self, me: Epoch) -> Result<bool, Error> {
        Ok(self.epoch.load(Ordering::Relaxed) == me.0)
    }

    async fn end_epoch(&self, _: Epoch) -> Result<(), Error> {
        Ok(())
    }

    async fn lead(&self, _: &str, me: Epoch) -> Result<bool, Error> {
        self.renew(me).await
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    async fn picture(&self) -> Result<String, Error> {
        self.readers.read(For::General, picture::picture).await
    }
}
