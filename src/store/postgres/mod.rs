//! The shared store: PostgreSQL, where several workers, receivers and commands meet.
//!
//! The same tables and behaviour as the embedded file. A batch is one transaction in two round trips (`commit`); leases
//! are judged by the server's clock alone (`lease`); claims lock rows one by one and pass over what others are at
//! (`read`); hints go over a line of their own (`line`). Containment, deliveries, pages and leases have connections that
//! nothing else uses. Needs sessions of its own: a pooler in between must not share them between transactions.

mod commit;
mod config;
mod connect;
mod failure;
mod flight;
mod lease;
mod line;
mod read;
mod reviewers;
mod schema;
mod sql;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::Pool;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::broadcast;

use self::commit::Transaction;
pub use self::config::{BadUrl, Config, POOL, Tls};
use self::connect::Pools;
use self::line::Line;
use self::read::{desk, figures, people, picture, queue};
use self::schema::Standing;
use crate::domain::ledger::Effect;
use crate::domain::run::Entry;
use crate::domain::task::Task;
use crate::domain::{BuriedId, CaseId, DeliveryId, Identity, RunId, SignalId, TaskId, TenantName};
use crate::store::rows;
use crate::store::{
    Acceptance, Access, Audit, Batch, Buried, CaseRow, Claimed, Epoch, Error, Figures, Filter, Hint, Lane, Listed,
    Page, PersonRecord, Queued, Receipt, Recorded, RunRow, SignalRowBrief, Store, Token, Waiting,
};

/// The first connection may take this long.
const OPENED_WITHIN: Duration = Duration::from_secs(90);

/// The shared store.
#[derive(Debug)]
pub struct Postgres {
    place: String,
    access: Access,
    pools: Pools,
    /// What is read for nobody in particular goes over these.
    reads: Pool,
    line: Arc<Line>,
    /// The epoch this process began last; -1 before.
    epoch: AtomicI64,
    /// The store that this is a view of, which closes everything when it goes.
    of: Option<Arc<Self>>,
}

impl Postgres {
    /// Connects, and brings the tables to the newest schema.
    ///
    /// # Errors
    /// `Unusable` with what to do: no such server or database, a wrong password, no certificate, a schema this binary
    /// must not touch.
    pub async fn open(config: &Config, access: Access) -> Result<Arc<Self>, Error> {
        let opened = tokio::time::timeout(OPENED_WITHIN, Self::open_now(config, access)).await;
        opened.unwrap_or_else(|_| {
            Err(Error::Unusable(format!("the database {} does not answer; try again later", config.place())))
        })
    }

    async fn open_now(config: &Config, access: Access) -> Result<Arc<Self>, Error> {
        let (place, tls) = (config.place(), connect::tls(config)?);
        let unusable = |error: tokio_postgres::Error| connect::unusable(config, &error);
        let (mut client, connection) = config.driver("").connect(tls.clone()).await.map_err(unusable)?;
        let connection = tokio::spawn(connection);
        match access {
            Access::Write => schema::migrate(&place, &mut client).await?,
            Access::Look => {
                if let Standing::Behind(_) = schema::standing(&place, &client).await? {
                    let text = format!("{place} has no tables of this oust yet; run `oust migrate` once");
                    return Err(Error::Unusable(text));
                }
            }
        }
        // What is acknowledged must be on the disk, even if the server is told to hurry.
        let row = client.query_one("SELECT current_setting('synchronous_commit')", &[]).await.map_err(unusable)?;
        let more = if row.get::<_, &str>(0) == "off" { "-c synchronous_commit=on" } else { "" };
        drop(client);
        let _ = connection.await;
        let driver = config.driver(more);
        let pools = Pools::new(config, &driver, &tls)?;
        let (reads, line) = (pools.general.clone(), Line::new(driver, tls));
        Ok(Arc::new(Self { place, access, pools, reads, line, epoch: AtomicI64::new(-1), of: None }))
    }

    /// The same store, whose reads go over the connections for pages.
    fn paged(self: Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            place: self.place.clone(),
            access: self.access,
            pools: self.pools.clone(),
            reads: self.pools.pages.clone(),
            line: Arc::clone(&self.line),
            epoch: AtomicI64::new(-1),
            of: Some(self),
        })
    }

    /// Closes what waits; a process that ends need not.
    pub fn close(&self) {
        self.line.close();
        self.pools.close();
    }

    fn me(&self) -> Option<Epoch> {
        Some(self.epoch.load(Ordering::Relaxed)).filter(|epoch| *epoch >= 0).map(Epoch)
    }

    fn may_write(&self) -> Result<(), Error> {
        match self.access {
            Access::Write => Ok(()),
            Access::Look => Err(Error::Unusable(format!("{} was opened for reading only", self.place))),
        }
    }

    fn pool(&self, lane: Lane) -> &Pool {
        match lane {
            Lane::Containment => &self.pools.urgent,
            Lane::Accept => &self.pools.accept,
            Lane::Other => &self.pools.general,
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.of.is_none() {
            self.close();
        }
    }
}

#[async_trait]
impl Store for Postgres {
    async fn commit(&self, lane: Lane, batch: Batch) -> Result<(), Error> {
        self.may_write()?;
        let hints = line::hints_of(&batch);
        Transaction::of(batch)?.apply(self.pool(lane)).await?;
        let by_hand = hints.contains(&Hint::Settings);
        self.line.tell(hints);
        if by_hand {
            self.line.flush().await;
        }
        Ok(())
    }

    async fn accept(&self, acceptance: Acceptance) -> Result<Receipt, Error> {
        self.may_write()?;
        let known = commit::accept(&self.pools.accept, rows::delivery(acceptance)?).await?;
        let Some(answer) = known else {
            self.line.tell([Hint::Queue]);
            return Ok(Receipt::Accepted);
        };
        serde_json::from_str(&answer)
            .map(|answer| Receipt::Replay { answer })
            .map_err(|error| Error::Corrupt { what: "answer".to_owned(), source: Some(Box::new(error)) })
    }

    async fn queued(&self, after: i64, now: Timestamp, limit: u32) -> Result<Vec<Queued>, Error> {
        let found = queue::queued(&self.pools.urgent, after, now, self.me(), limit).await?;
        commit::set_aside(&self.pools.general, found.bad).await;
        Ok(found.good)
    }

    async fn person(&self, identity: &Identity) -> Result<Option<PersonRecord>, Error> {
        people::person(&self.pools.urgent, identity).await
    }

    async fn held(&self, me: Epoch) -> Result<Vec<(Identity, u64)>, Error> {
        people::held(&self.reads, me).await
    }

    async fn claim_people(&self, now: Timestamp, me: Epoch, limit: u32) -> Result<Vec<Claimed>, Error> {
        people::claim(&self.pools.urgent, now, me, limit).await
    }

    async fn due_waiting(&self, now: Timestamp, me: Epoch, limit: u32) -> Result<Vec<Waiting>, Error> {
        let found = queue::waiting(&self.reads, now, me, limit).await?;
        commit::set_aside(&self.pools.general, found.bad).await;
        Ok(found.good)
    }

    async fn watched(&self, tenant: &TenantName, _: Timestamp, limit: u32) -> Result<Vec<(Identity, Value)>, Error> {
        people::watched(&self.reads, tenant, limit).await
    }

    async fn first_of_content(
        &self,
        source: &str,
        identity: &Identity,
        content: &str,
        untimed_since: Option<Timestamp>,
    ) -> Result<Option<SignalRowBrief>, Error> {
        people::first_of_content(&self.pools.urgent, source, identity, content, untimed_since).await
    }

    async fn plan(&self, hash: &str) -> Result<Option<String>, Error> {
        people::plan(&self.pools.urgent, hash).await
    }

    async fn signal(&self, id: SignalId) -> Result<Option<Value>, Error> {
        desk::signal(&self.reads, id).await
    }

    async fn signals_of(&self, case: CaseId) -> Result<Vec<Value>, Error> {
        desk::signals_of(&self.reads, case).await
    }

    async fn cases(&self, filter: &Filter, page: &Page) -> Result<Listed<CaseRow>, Error> {
        desk::cases(&self.reads, filter, page).await
    }

    async fn case(&self, id: CaseId) -> Result<Option<CaseRow>, Error> {
        desk::case(&self.reads, id).await
    }

    async fn runs_of(&self, case: CaseId) -> Result<Vec<(RunRow, Vec<Entry>)>, Error> {
        desk::runs(&self.reads, case).await
    }

    async fn run(&self, id: RunId) -> Result<Option<(RunRow, Vec<Entry>)>, Error> {
        desk::run(&self.reads, id).await
    }

    async fn effects_of(&self, run: RunId) -> Result<Vec<Effect>, Error> {
        desk::effects_of(&self.reads, run).await
    }

    async fn tasks(&self, filter: &Filter, page: &Page) -> Result<Listed<Task>, Error> {
        desk::tasks(&self.reads, filter, page).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, Error> {
        desk::task(&self.reads, id).await
    }

    async fn sealed(&self, task: TaskId) -> Result<Option<Value>, Error> {
        desk::sealed(&self.reads, task).await
    }

    async fn buried_list(&self, filter: &Filter, page: &Page) -> Result<Listed<Buried>, Error> {
        desk::buried_list(&self.reads, filter, page).await
    }

    async fn buried(&self, id: BuriedId) -> Result<Option<Buried>, Error> {
        desk::buried(&self.reads, id).await
    }

    async fn delivery_body(&self, id: DeliveryId) -> Result<Option<bytes::Bytes>, Error> {
        desk::delivery_body(&self.reads, id).await
    }

    async fn audit(&self, page: &Page) -> Result<Listed<(u64, Audit)>, Error> {
        desk::audit(&self.reads, page).await
    }

    async fn audit_in_order(&self, after: Option<&str>, limit: u32) -> Result<Vec<Recorded>, Error> {
        desk::audit_in_order(&self.reads, after, limit).await
    }

    async fn setting(&self, key: &str) -> Result<Option<Value>, Error> {
        desk::setting(&self.reads, key).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        desk::tokens(&self.reads).await
    }

    async fn token_by_hash(&self, hash: &str, now: Timestamp) -> Result<Option<Token>, Error> {
        desk::token_by_hash(&self.reads, hash, now).await
    }

    async fn figures(&self, now: Timestamp) -> Result<Figures, Error> {
        figures::figures(&self.reads, now).await
    }

    async fn stamp(&self) -> Result<i64, Error> {
        lease::stamp(&self.reads).await
    }

    async fn begin_epoch(&self) -> Result<Epoch, Error> {
        self.may_write()?;
        let epoch = lease::begin(&self.pools.leases).await?;
        self.epoch.store(epoch.0, Ordering::Relaxed);
        Ok(epoch)
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn renew(&self, me: Epoch) -> Result<bool, Error> {
        lease::renew(&self.pools.leases, me).await
    }

    async fn end_epoch(&self, me: Epoch) -> Result<(), Error> {
        lease::end(&self.pools.leases, me).await
    }

    async fn lead(&self, duty: &str, me: Epoch) -> Result<bool, Error> {
        lease::lead(&self.pools.leases, duty, me).await
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.line.listen()
    }

    async fn picture(&self) -> Result<String, Error> {
        picture::picture(&self.reads).await
    }
}
