//! What was asked of the tenant and what it did: counts per verb and object, counts per effect key, the call log.
//!
//! Counts are the proof of "exactly once"; they are sharded and never dropped. The log is a bounded ring (and a file,
//! if one is named); it holds no body, no token and no password.

use super::{clock::lock, verb::Verb};
use jiff::Timestamp;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::Mutex,
};
use uuid::Uuid;

const SHARDS: usize = 16;

/// Calls that arrived, and effects that were applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Calls that reached the tenant, answered or not.
    pub received: u64,
    /// Effects that took place, told to the caller or not.
    pub applied: u64,
}

impl Count {
    fn add(&mut self, applied: bool) {
        self.received += 1;
        self.applied += u64::from(applied);
    }
}

/// All counts at one moment. Verbs are named as in [`CallRecord::verb`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counters {
    /// Per verb, over everybody.
    pub verbs: BTreeMap<&'static str, Count>,
    /// Per verb and object id.
    pub objects: BTreeMap<&'static str, BTreeMap<Uuid, Count>>,
    /// Per `client-request-id`, changing calls only.
    pub keys: BTreeMap<String, Count>,
}

impl Counters {
    /// The count of one verb on one object; zero if it was never asked.
    #[must_use]
    pub fn of(&self, verb: &str, object: Uuid) -> Count {
        self.objects.get(verb).and_then(|objects| objects.get(&object)).copied().unwrap_or_default()
    }

    /// The count of one verb over everybody.
    #[must_use]
    pub fn verb(&self, verb: &str) -> Count {
        self.verbs.get(verb).copied().unwrap_or_default()
    }
}

/// One line of the call log.
#[derive(Clone, Debug, Serialize)]
pub struct CallRecord {
    /// Position in the log, from 1, without gaps.
    pub seq: u64,
    /// When the call was answered, on the tenant's clock.
    pub at: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// What the call meant, such as `revokeSignInSessions`.
    pub verb: &'static str,
    /// The object it was about, if it named one.
    pub oid: Option<Uuid>,
    /// The caller's `client-request-id`.
    pub client_request_id: Option<String>,
    /// The status sent; 0 when the connection was cut without an answer.
    pub status: u16,
    /// Whether the effect took place.
    pub effect_applied: bool,
    /// Whether it travelled in a `$batch`.
    pub batched: bool,
}

#[derive(Debug, Default)]
struct Shard {
    objects: HashMap<(Verb, Uuid), Count>,
    keys: HashMap<String, Count>,
}

#[derive(Debug, Default)]
struct Log {
    next: u64,
    ring: VecDeque<CallRecord>,
    file: Option<BufWriter<File>>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    shards: [Mutex<Shard>; SHARDS],
    verbs: Mutex<HashMap<Verb, Count>>,
    log: Mutex<Log>,
    capacity: usize,
}

/// What the front tells the ledger about one call.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) verb: Verb,
    pub(super) targets: &'a [Uuid],
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) status: u16,
    pub(super) applied: bool,
    pub(super) batched: bool,
    pub(super) at: Timestamp,
}

impl Ledger {
    pub(super) fn new(capacity: usize) -> Self {
        Ledger { shards: Default::default(), verbs: Mutex::default(), log: Mutex::default(), capacity }
    }

    /// Writes every later call to this file too.
    pub(super) fn write_to(&self, file: &Path) -> std::io::Result<()> {
        lock(&self.log).file = Some(BufWriter::new(File::create(file)?));
        Ok(())
    }

    pub(super) fn record(&self, entry: &Entry<'_>) {
        lock(&self.verbs).entry(entry.verb).or_default().add(entry.applied);
        for target in entry.targets {
            lock(self.object_shard(*target)).objects.entry((entry.verb, *target)).or_default().add(entry.applied);
        }
        if let Some(key) = entry.key.filter(|_| entry.verb.changes()) {
            let mut shard = lock(self.key_shard(key));
            if let Some(count) = shard.keys.get_mut(key) {
                count.add(entry.applied);
            } else {
                shard.keys.entry(key.to_owned()).or_default().add(entry.applied);
            }
        }
        self.log(entry);
    }

    fn log(&self, entry: &Entry<'_>) {
        let mut log = lock(&self.log);
        log.next += 1;
        if self.capacity == 0 && log.file.is_none() {
            return;
        }
        let record = CallRecord {
            seq: log.next,
            at: entry.at,
            method: entry.method.to_owned(),
            path: entry.path.to_owned(),
            verb: entry.verb.name(),
            oid: entry.targets.first().copied(),
            client_request_id: entry.key.map(str::to_owned),
            status: entry.status,
            effect_applied: entry.applied,
            batched: entry.batched,
        };
        if let Some(file) = &mut log.file {
            // A full disk costs the log a line; the counts above are what tests rely on.
            let _ = serde_json::to_writer(&mut *file, &record).map(|()| file.write_all(b"\n"));
        }
        if self.capacity > 0 {
            if log.ring.len() >= self.capacity {
                log.ring.pop_front();
            }
            log.ring.push_back(record);
        }
    }

    /// Calls after position `since`, oldest first, `limit` at most.
    pub(super) fn calls(&self, since: u64, limit: usize) -> Vec<CallRecord> {
        let mut log = lock(&self.log);
        if let Some(file) = &mut log.file {
            let _ = file.flush();
        }
        let start = log.ring.partition_point(|record| record.seq <= since);
        log.ring.iter().skip(start).take(limit).cloned().collect()
    }

    pub(super) fn counters(&self) -> Counters {
        let mut all = Counters {
            verbs: lock(&self.verbs).iter().map(|(verb, count)| (verb.name(), *count)).collect(),
            ..Counters::default()
        };
        for shard in &self.shards {
            let shard = lock(shard);
            for ((verb, object), count) in &shard.objects {
                all.objects.entry(verb.name()).or_default().insert(*object, *count);
            }
            all.keys.extend(shard.keys.iter().map(|(key, count)| (key.clone(), *count)));
        }
        all
    }

    pub(super) fn object(&self, object: Uuid) -> BTreeMap<&'static str, Count> {
        let shard = lock(self.object_shard(object));
        Verb::ALL.iter().filter_map(|verb| Some((verb.name(), *shard.objects.get(&(*verb, object))?))).collect()
    }

    pub(super) fn verb_totals(&self) -> BTreeMap<&'static str, Count> {
        lock(&self.verbs).iter().map(|(verb, count)| (verb.name(), *count)).collect()
    }

    pub(super) fn flush(&self) {
        if let Some(file) = &mut lock(&self.log).file {
            let _ = file.flush();
        }
    }

    fn object_shard(&self, object: Uuid) -> &Mutex<Shard> {
        &self.shards[usize::from(object.as_bytes()[15]) % SHARDS]
    }

    fn key_shard(&self, key: &str) -> &Mutex<Shard> {
        let sum = key.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        &self.shards[sum % SHARDS]
    }
}
