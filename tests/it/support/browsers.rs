//! Browsers of recipients that stay open, each with a session of its own.

use jiff::Timestamp;
use oust::domain::TaskId;
use oust::domain::reviewer::{How, Session};
use oust::engine::Engine;
use oust::store::reviewers::Change;
use oust::store::{Batch, Lane, Store};

use super::App;

/// The recipient's page is open. The store may be away: then the browser is nobody's, and waited for.
pub async fn present(store: &dyn Store, engine: &Engine, task: TaskId) {
    let (hash, now) = (task.to_string(), Timestamp::now());
    let session = Session {
        reviewer: "rita".parse().expect("a name"),
        created_at: now,
        used_at: now,
        proved_at: now,
        how: How::Passkey { credential: "c".into() },
        aal2: true,
        roles: Vec::new(),
        groups: Vec::new(),
        told_at: None,
    };
    let put = Change::PutSession { hash: hash.clone(), session: Box::new(session) };
    // The second time it is there already.
    let _ = store.commit(Lane::Other, Batch { expect: None, ops: vec![put.into()] }).await;
    engine.seen(task, &hash);
}

impl App {
    /// The recipient's page is open.
    pub async fn seen(&self, task: TaskId) {
        present(&*self.store, &self.engine, task).await;
    }
}
