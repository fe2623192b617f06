//! The spool in front of the broker: while it is away (or says no) deliveries go to disk; as long as one is there, all
//! newcomers go behind it, and one task brings them over in order. A message is deleted when the broker has it: killed
//! in between, it is sent twice, never not.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::QueueError;
use super::link::Link;
use super::publish::{Outlet, Refusal};
use super::wire::{self, Letter};
use crate::store::sqlite::Spool;
use crate::telemetry::Telemetry;

/// Deliveries brought over at once, and their bytes.
const BATCH: u32 = 256;
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// The spool and the task that empties it.
#[derive(Debug)]
pub(super) struct Spooling {
    spool: Arc<Spool>,
}

impl Spooling {
    pub(super) fn start(
        spool: Arc<Spool>,
        outlet: Arc<Link<Outlet>>,
        telemetry: Telemetry,
        stop: CancellationToken,
    ) -> Self {
        let drain = Drain { spool: Arc::clone(&spool), outlet, telemetry };
        tokio::spawn(async move {
            tokio::select! {
                () = drain.work() => {}
                () = stop.cancelled() => {}
            }
        });
        Self { spool }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spool.figures().0 == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.spool.is_full()
    }

    /// Deliveries and bytes.
    pub(super) fn figures(&self) -> (u64, u64) {
        self.spool.figures()
    }

    pub(super) async fn put(&self, letters: &[Arc<Letter>]) -> Result<(), QueueError> {
        let bytes = wire::pack(letters).map_err(|error| QueueError::Away(error.to_string()))?;
        self.spool.put(bytes).await.map_err(QueueError::NotDurable)
    }
}

struct Drain {
    spool: Arc<Spool>,
    outlet: Arc<Link<Outlet>>,
    telemetry: Telemetry,
}

impl Drain {
    async fn work(&self) {
        let mut pause = SHORTEST;
        loop {
            self.spool.filled().await;
            let Some(outlet) = self.outlet.wait_up().await else { return };
            match self.bring(&outlet).await {
                Ok(()) => pause = SHORTEST,
                Err(why) => {
                    tracing::debug!(why, "the spool could not be emptied yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
    }

    /// The oldest deliveries, in order; deletes what is confirmed up to the first that is not.
    async fn bring(&self, outlet: &Outlet) -> Result<(), String> {
        if outlet.is_blocked() {
            return Err("the broker takes no messages".to_owned());
        }
        let rows = self.spool.first(BATCH, BATCH_BYTES).await.map_err(|error| error.to_string())?;
        let mut waiting = Vec::new();
        let mut refused = None;
        'rows: for (seq, bytes) in rows {
            let letters = match wire::unpack(&bytes) {
                Ok(letters) => letters,
                Err(error) => {
                    self.set_aside(seq, bytes, &error.to_string()).await?;
                    continue;
                }
            };
            let mut confirms = Vec::with_capacity(letters.len());
            for letter in &letters {
                match outlet.begin(letter).await {
                    Ok(confirm) => confirms.push(confirm),
                    Err(Refusal::Gone(why) | Refusal::No(why)) => {
                        refused = Some(why);
                        break 'rows;
                    }
                }
            }
            waiting.push((seq, confirms));
        }
        let mut last = None;
        'waiting: for (seq, confirms) in waiting {
            for confirm in confirms {
                if let Err(Refusal::Gone(why) | Refusal::No(why)) = outlet.end(confirm).await {
                    refused.get_or_insert(why);
                    break 'waiting;
                }
            }
            last = Some(seq);
        }
        if let Some(last) = last {
            self.spool.remove_to(last).await.map_err(|error| error.to_string())?;
        }
        refused.map_or(Ok(()), Err)
    }

    /// A row that does not read back: kept beside the spool for a human, so that it holds up nothing.
    async fn set_aside(&self, seq: i64, bytes: Vec<u8>, why: &str) -> Result<(), String> {
        let kept = self.spool.set_aside(seq, bytes, Timestamp::now()).await.map_err(|error| error.to_string())?;
        self.telemetry.spool_unreadable(&kept, why);
        Ok(())
    }
}
