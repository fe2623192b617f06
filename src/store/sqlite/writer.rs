//! The one thread that writes. It flushes whatever waits as one transaction, with no waiting timer: the next group
//! gathers while the disk syncs this one. A failed commit fails its group, and the thread goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::apply::{Done, job, run};
use super::checkpoint::Checkpointer;
use super::failure::{again, failed_at};
use super::lanes::{Job, Lanes};
use super::{schema, sql};
use crate::store::Error;
use crate::store::rows::plain;

/// At most this many batches a transaction.
const GROUP: usize = 512;
/// A transaction that carries a containment takes at most this many others, so that its sync is not held up.
const BESIDE_CONTAINMENT: usize = 128;
/// And no more than about this many bytes.
const BYTES: usize = 4 * 1024 * 1024;

type Reply = oneshot::Sender<Result<Done, Error>>;

/// The thread's state.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    max_pages: Option<u32>,
    lanes: Arc<Lanes>,
    checkpointer: Checkpointer,
    /// Absent after a failure that leaves it doubtful; opened again for the next group.
    conn: Option<Connection>,
}

impl Writer {
    pub(super) fn new(path: PathBuf, max_pages: Option<u32>, conn: Connection, lanes: Arc<Lanes>) -> Self {
        let checkpointer = Checkpointer::start(path.clone());
        Self { path, max_pages, lanes, checkpointer, conn: Some(conn) }
    }

    /// Works until the lanes are closed and empty.
    pub(super) fn work(mut self) {
        let _last = Abandon(Arc::clone(&self.lanes));
        while let Some(first) = self.lanes.wait() {
            let mut group = Vec::new();
            let outcome = catch_unwind(AssertUnwindSafe(|| self.flush(first, &mut group)));
            let verdict = outcome.unwrap_or_else(|_| {
                self.conn = None;
                Err(plain("the writer", "it failed at a neighbouring batch; nothing was written"))
            });
            for (reply, answer) in group {
                // A caller that has gone away needs no answer.
                let _ = reply.send(match &verdict {
                    Ok(()) => answer,
                    Err(error) => Err(again(error)),
                });
            }
        }
    }

    /// One transaction. `Ok`: each of the group has its own answer. `Err`: nothing was written, for all of them.
    fn flush(&mut self, first: Job, group: &mut Vec<(Reply, Result<Done, Error>)>) -> Result<(), Error> {
        let conn = match self.conn.take().map_or_else(|| schema::writable(&self.path, self.max_pages), Ok) {
            Ok(conn) => conn,
            Err(error) => {
                group.push((first.reply, Ok(Done::Applied)));
                return Err(Error::Away(error.to_string()));
            }
        };
        let verdict = transaction(&conn, &self.lanes, first, group);
        let tidy = verdict.is_ok() || conn.is_autocommit() || run(&conn, sql::ROLLBACK).is_ok();
        if tidy {
            self.checkpointer.after_commit(&conn);
            self.conn = Some(conn);
        }
        verdict
    }
}

fn transaction(
    conn: &Connection,
    lanes: &Lanes,
    first: Job,
    group: &mut Vec<(Reply, Result<Done, Error>)>,
) -> Result<(), Error> {
    if let Err(error) = run(conn, sql::BEGIN) {
        group.push((first.reply, Ok(Done::Applied)));
        return Err(failed_at("the start of a transaction")(error));
    }
    let (mut bytes, mut beside) = (0, 0);
    let mut carries_containment = false;
    let mut next = Some(first);
    while let Some(Job { work, contains, weight, reply, .. }) = next {
        let (answer, intact) = job(conn, &work);
        let cause = answer.as_ref().err().map(again);
        group.push((reply, answer));
        if !intact {
            return Err(cause.unwrap_or_else(|| Error::Away("the transaction was lost".to_owned())));
        }
        bytes += weight;
        carries_containment |= contains;
        beside += usize::from(!contains);
        let full = beside >= if carries_containment { BESIDE_CONTAINMENT } else { GROUP } || bytes >= BYTES;
        next = if group.len() >= GROUP { None } else { lanes.next(full) };
    }
    run(conn, sql::COMMIT).map_err(failed_at("a commit"))
}

/// Tells everybody who still waits when the thread ends, however it ends.
struct Abandon(Arc<Lanes>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::super::apply::Work;
    use super::*;
    use crate::store::Lane;
    use crate::store::statement::{Name, Statement, Wants};

    fn put(key: &str) -> Work {
        let values = vec![key.to_owned().into(), "1".to_owned().into()];
        Work::Batch(vec![Statement { name: Name::PutSetting, values, wants: Wants::Nothing }])
    }

    fn started() -> (tempfile::TempDir, Arc<Lanes>, std::thread::JoinHandle<()>) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("oust.db");
        schema::create(&path).expect("creates");
        let mut conn = schema::writable(&path, None).expect("opens");
        schema::migrate(&path, &mut conn).expect("migrates");
        let lanes = Arc::new(Lanes::new());
        let writer = Writer::new(path, None, conn, Arc::clone(&lanes));
        (dir, lanes, std::thread::spawn(move || writer.work()))
    }

    fn settings(dir: &tempfile::TempDir) -> Vec<String> {
        let conn = schema::readable(&dir.path().join("oust.db")).expect("opens");
        let mut read = conn.prepare("SELECT key FROM settings ORDER BY key").expect("prepares");
        let rows = read.query_map([], |row| row.get(0)).expect("queries");
        rows.collect::<Result<_, _>>().expect("rows")
    }

    #[tokio::test]
    async fn a_panic_on_the_writer_thread_fails_its_group_and_nothing_after_it() {
        let (dir, lanes, thread) = started();
        let (before, broken, after) = tokio::join!(
            lanes.submit(Lane::Other, 1, put("before")),
            lanes.submit(Lane::Other, 1, Work::Panic),
            lanes.submit(Lane::Other, 1, put("after")),
        );
        let later = lanes.submit(Lane::Other, 1, put("later")).await;
        lanes.close();
        thread.join().expect("the thread lives to its end");

        assert!(matches!(broken, Err(Error::Backend { .. })), "{broken:?}");
        assert_eq!(later.expect("goes on"), Done::Applied);
        let acknowledged = [("before", before.is_ok()), ("after", after.is_ok()), ("later", true)];
        let mut expected: Vec<&str> = acknowledged.iter().filter(|(_, ok)| *ok).map(|(key, _)| *key).collect();
        expected.sort_unstable();
        assert_eq!(settings(&dir), expected, "exactly what was acknowledged is there");
    }

    #[tokio::test]
    async fn work_after_the_end_is_refused_and_does_not_hang() {
        let (_dir, lanes, thread) = started();
        lanes.close();
        thread.join().expect("ends");
        let answer = lanes.submit(Lane::Containment, 1, put("late")).await;
        assert!(matches!(answer, Err(Error::Backend { what: "the writer", .. })), "{answer:?}");
    }

    #[test]
    fn containment_goes_first_and_the_other_lanes_take_turns() {
        let lanes = Arc::new(Lanes::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut order = Vec::new();
        runtime.block_on(async {
            let submit = |lane, weight| {
                let lanes = Arc::clone(&lanes);
                async move { lanes.submit(lane, weight, Work::Epoch).await }
            };
            let drain = async {
                while let Some(job) = lanes.next(false) {
                    order.push(job.weight);
                    let _ = job.reply.send(Ok(Done::Applied));
                }
            };
            let (a, b, c, d, e, ()) = tokio::join!(
                submit(Lane::Other, 1),
                submit(Lane::Other, 2),
                submit(Lane::Accept, 3),
                submit(Lane::Accept, 4),
                submit(Lane::Containment, 5),
                drain,
            );
            for answer in [a, b, c, d, e] {
                assert_eq!(answer.expect("answered"), Done::Applied);
            }
        });
        assert_eq!(order, [5, 3, 1, 4, 2]);
    }
}
