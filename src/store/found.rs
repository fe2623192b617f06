//! What a read of waiting rows found, whichever the backend: good rows, and what buries the unreadable ones, so that
//! none holds up those behind it.

use jiff::Timestamp;
use uuid::Uuid;

use super::rows::{json, micros};
use super::statement::{Name, Statement, Value};
use super::{Buried, BuriedState, Error, Queued, Waiting};
use crate::domain::{BuriedId, Signal};

/// Good rows, and the batches that bury the others.
pub(super) struct Found<T> {
    pub good: Vec<T>,
    pub bad: Vec<Vec<Statement>>,
}

/// A row of the queue: its number, and its signal if that reads back.
pub(super) type QueueRow = (i64, Result<Signal, Error>);

impl<T> Found<T> {
    fn with_room(rows: usize) -> Self {
        Self { good: Vec::with_capacity(rows), bad: Vec::new() }
    }
}

impl Found<Queued> {
    /// Rows never put back, alternating with those put back whose time has come.
    pub fn queued(fresh: Vec<QueueRow>, again: Vec<QueueRow>, now: Timestamp) -> Result<Self, Error> {
        let mut found = Self::with_room(fresh.len() + again.len());
        let (mut fresh, mut again) = (fresh.into_iter(), again.into_iter());
        loop {
            let pair = [(true, again.next()), (false, fresh.next())];
            if pair.iter().all(|(_, row)| row.is_none()) {
                return Ok(found);
            }
            for (put_back, row) in pair {
                let Some((seq, signal)) = row else { continue };
                match signal {
                    Ok(signal) => found.good.push(Queued { seq, put_back, signal }),
                    Err(error) => {
                        let (name, how) = (format!("queue {seq}"), (Name::BuryQueued, Name::Dequeue));
                        found.bad.push(set_aside(&name, Value::Integer(seq), how, now, &error)?);
                    }
                }
            }
        }
    }
}

impl Found<Waiting> {
    /// Signals to be named, with the key of each.
    pub fn waiting(rows: Vec<(String, Result<Waiting, Error>)>, now: Timestamp) -> Result<Self, Error> {
        let mut found = Self::with_room(rows.len());
        for (key, row) in rows {
            match row {
                Ok(waiting) => found.good.push(waiting),
                Err(error) => {
                    let (name, how) = (format!("waiting {key}"), (Name::BuryWaiting, Name::DropWaiting));
                    found.bad.push(set_aside(&name, Value::Text(key), how, now, &error)?);
                }
            }
        }
        Ok(found)
    }
}

/// Moves an unreadable row to the buried ones, as it is; nothing happens if it is gone. The id comes from the row's name
/// and the moment: no randomness here, and a second finder finds the row gone.
fn set_aside(
    name: &str,
    key: Value,
    (bury, drop): (Name, Name),
    now: Timestamp,
    error: &Error,
) -> Result<Vec<Statement>, Error> {
    let buried = Buried {
        id: BuriedId::new(Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{name} {}", micros(now)).as_bytes())),
        at: now,
        source: "store".to_owned(),
        tenant: None,
        delivery: None,
        reason: error.to_string(),
        state: BuriedState::Buried,
        settled: None,
        content: serde_json::Value::Null,
    };
    let head = json("a buried row", &buried)?;
    let values = vec![key.clone(), buried.id.to_string().into(), head.into(), micros(now).into()];
    Ok(vec![Statement::plain(bury, values), Statement::plain(drop, vec![key])])
}
