//! Threads that read, each with a connection of its own. Reads on the way to a containment have a thread to themselves,
//! so that no list holds them up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::schema;
use crate::store::Error;
use crate::store::rows::plain;

/// Threads for lists and pages.
const GENERAL: usize = 3;

/// Which thread reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Containment,
    General,
}

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The threads; they end by `stop`, or when nobody can ask any more.
#[derive(Debug)]
pub(super) struct Readers {
    containment: Option<Sender<Read>>,
    general: Option<Sender<Read>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn start(path: &Path) -> Result<Self, Error> {
        let (containment, first) = channel();
        let (general, rest) = channel();
        let mut readers = Self { containment: Some(containment), general: Some(general), threads: Vec::new() };
        readers.spawn(path, &Arc::new(Mutex::new(first)))?;
        let rest = Arc::new(Mutex::new(rest));
        for _ in 0..GENERAL {
            readers.spawn(path, &rest)?;
        }
        Ok(readers)
    }

    fn spawn(&mut self, path: &Path, inbox: &Arc<Mutex<Receiver<Read>>>) -> Result<(), Error> {
        let conn = schema::readable(path)?;
        let (path, inbox) = (path.to_owned(), Arc::clone(inbox));
        let thread = std::thread::Builder::new()
            .name("store-read".to_owned())
            .spawn(move || serve(&path, conn, &inbox))
            .map_err(|error| Error::Backend { what: "a reader", source: Box::new(error) })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Reads on one of the threads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        purpose: For,
        read: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job: Read = Box::new(move |conn| {
            // Whoever asked may have gone away meanwhile.
            if !reply.is_closed() {
                let _ = reply.send(read(conn));
            }
        });
        let inbox = match purpose {
            For::Containment => &self.containment,
            For::General => &self.general,
        };
        let sent = inbox.as_ref().is_some_and(|inbox| inbox.send(job).is_ok());
        if !sent {
            return Err(plain("a reader", "it has stopped"));
        }
        answer.await.unwrap_or_else(|_| Err(plain("a reader", "it failed at this query")))
    }
}

fn serve(path: &Path, conn: Connection, inbox: &Mutex<Receiver<Read>>) {
    let mut conn = Some(conn);
    loop {
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // After a panic the connection may hold an open snapshot: a fresh one is taken.
        let Some(usable) = conn.take().or_else(|| schema::readable(path).ok()) else { continue };
        if catch_unwind(AssertUnwindSafe(|| job(&usable))).is_ok() {
            conn = Some(usable);
        }
    }
}

impl Readers {
    /// Ends the threads; what was asked is still answered.
    pub(super) fn stop(&mut self) {
        self.containment = None;
        self.general = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
