//! Hints between processes: one connection that listens and tells, beside all others.
//!
//! What is to be told is gathered and sent after the commits, outside of them: a NOTIFY inside would make all commits of
//! the database wait for each other. Equal hints are told once. A line that broke is made anew, and whoever listens is
//! then told to look at everything.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio_postgres::{AsyncMessage, Client};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;

use super::sql;
use crate::domain::Identity;
use crate::store::{Batch, Hint, Op};

/// Hints gathered at most; beyond it everybody looks at everything.
const GATHERED: usize = 1_000;
/// How many hints one statement carries.
const AT_ONCE: usize = 100;
/// How long a human's deed waits for its hint to be told, at most.
const TOLD_WITHIN: Duration = Duration::from_millis(500);
/// Pause before a broken line is made anew.
const REPAIR: Duration = Duration::from_millis(500);

/// The line of one store.
pub(super) struct Line {
    driver: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    hints: broadcast::Sender<Hint>,
    waiting: Mutex<Waiting>,
    /// Something is to be told.
    more: Notify,
    /// Something was told (or given up).
    told: Notify,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Waiting {
    words: BTreeSet<String>,
    is_open: bool,
    /// Counts what was told.
    rounds: u64,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Line {
    pub(super) fn new(driver: tokio_postgres::Config, tls: MakeRustlsConnect) -> Arc<Self> {
        Arc::new(Self {
            driver,
            tls,
            hints: broadcast::Sender::new(GATHERED),
            waiting: Mutex::default(),
            more: Notify::new(),
            told: Notify::new(),
            closed: CancellationToken::new(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What other processes tell from now on. The first listener opens the line.
    pub(super) fn listen(self: &Arc<Self>) -> broadcast::Receiver<Hint> {
        let receiver = self.hints.subscribe();
        self.open();
        receiver
    }

    fn open(self: &Arc<Self>) {
        if std::mem::replace(&mut self.lock().is_open, true) {
            return;
        }
        let (line, closed) = (Arc::downgrade(self), self.closed.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = keep(line) => {}
                () = closed.cancelled() => {}
            }
        });
    }

    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Tells the others, soon.
    pub(super) fn tell(self: &Arc<Self>, hints: impl IntoIterator<Item = Hint>) {
        let mut waiting = self.lock();
        let before = waiting.words.len();
        waiting.words.extend(hints.into_iter().map(|hint| word(&hint)));
        if waiting.words.len() > GATHERED {
            waiting.words = BTreeSet::from([word(&Hint::Anything)]);
        }
        let some = waiting.words.len() != before;
        drop(waiting);
        if some {
            self.open();
            self.more.notify_one();
        }
    }

    /// Waits a moment until what a human did is told: the process may end right after.
    pub(super) async fn flush(&self) {
        let until_told = async {
            let round = self.lock().rounds;
            loop {
                let told = self.told.notified();
                if self.lock().rounds > round || self.lock().words.is_empty() {
                    return;
                }
                told.await;
            }
        };
        let _ = tokio::time::timeout(TOLD_WITHIN, until_told).await;
    }

    /// One connection's life.
    async fn live(self: &Arc<Self>, is_first: bool) -> Result<(), tokio_postgres::Error> {
        let (client, mut connection) = self.driver.connect(self.tls.clone()).await?;
        let own = AtomicI32::new(0);
        let hear = async {
            loop {
                let message = std::future::poll_fn(|cx| connection.poll_message(cx)).await;
                match message {
                    Some(Ok(AsyncMessage::Notification(note))) => {
                        if note.process_id() != own.load(Ordering::Relaxed) {
                            let _ = self.hints.send(hint(note.payload()));
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                }
            }
        };
        let speak = async {
            let (channel, pid) = begin(&client).await?;
            own.store(pid, Ordering::Relaxed);
            if !is_first {
                let _ = self.hints.send(Hint::Anything);
            }
            let notify = client.prepare(sql::NOTIFY).await?;
            loop {
                let words: Vec<String> = self.lock().words.iter().take(AT_ONCE).cloned().collect();
                if words.is_empty() {
                    self.more.notified().await;
                    continue;
                }
                client.execute(&notify, &[&channel, &words]).await?;
                let mut waiting = self.lock();
                waiting.words.retain(|word| !words.contains(word));
                waiting.rounds += 1;
                drop(waiting);
                self.told.notify_waiters();
            }
        };
        tokio::select! {
            ended = hear => ended,
            failed = speak => failed,
        }
    }
}

/// Makes the line, again and again, for as long as there is a store.
async fn keep(line: Weak<Line>) {
    let mut is_first = true;
    while let Some(here) = line.upgrade() {
        // The store holds the line; while it lives, so does this.
        if let Err(error) = here.live(is_first).await {
            tracing::debug!(error = %super::failure::told(&error), "the line for hints broke");
        }
        is_first = false;
        drop(here);
        tokio::time::sleep(REPAIR).await;
    }
}

/// Listens; gives the channel (stores in other schemas of the database have their own) and this connection's number.
async fn begin(client: &Client) -> Result<(String, i32), tokio_postgres::Error> {
    let row = client.query_one(sql::CHANNEL, &[]).await?;
    client.batch_execute(&format!("LISTEN {}", row.try_get::<_, &str>(2)?)).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

fn word(hint: &Hint) -> String {
    match hint {
        Hint::Person(identity) => format!("person {} {}", identity.tenant, identity.object_id),
        Hint::Queue => "queue".to_owned(),
        Hint::Settings => "settings".to_owned(),
        Hint::Anything => "anything".to_owned(),
    }
}

/// What was said; what is not understood may be of a newer oust.
fn hint(word: &str) -> Hint {
    let mut parts = word.split(' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("person"), Some(tenant), Some(object_id), None) => match (tenant.parse(), object_id.parse()) {
            (Ok(tenant), Ok(object_id)) => Hint::Person(Identity { tenant, object_id }),
            _ => Hint::Anything,
        },
        (Some("queue"), None, ..) => Hint::Queue,
        (Some("settings"), None, ..) => Hint::Settings,
        _ => Hint::Anything,
    }
}

/// True for settings that workers obey at once.
fn is_order(key: &str) -> bool {
    key == "pause" || key.starts_with("release:")
}

/// What a batch means to other processes.
pub(super) fn hints_of(batch: &Batch) -> Vec<Hint> {
    let by_nobody = batch.expect.as_ref().filter(|expect| expect.epoch.is_none()).map(|expect| &expect.identity);
    let hint = |op: &Op| match op {
        Op::Forward { identity, .. } => Some(Hint::Person(identity.clone())),
        Op::PutPerson(row) if by_nobody == Some(&row.identity) => Some(Hint::Person(row.identity.clone())),
        Op::PutSetting { key, .. } | Op::SwapSetting { key, .. } | Op::DropSetting { key } if is_order(key) => {
            Some(Hint::Settings)
        }
        _ => None,
    };
    batch.ops.iter().filter_map(hint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_reads_back_and_anything_else_means_anything() {
        let identity = Identity {
            tenant: "contoso".parse().expect("a name"),
            object_id: "11111111-2222-3333-4444-555555555555".parse().expect("an id"),
        };
        for one in [Hint::Person(identity), Hint::Queue, Hint::Settings, Hint::Anything] {
            assert_eq!(hint(&word(&one)), one);
        }
        for strange in ["", "person", "person contoso", "person contoso x", "queue full", "person a b c", "news"] {
            assert_eq!(hint(strange), Hint::Anything, "{strange}");
        }
    }
}
