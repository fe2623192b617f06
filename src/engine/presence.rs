//! Whose browser is there: what reveals a secret is begun only while its recipient can receive it.
//!
//! A browser counts with the session it was there with, and no longer than that: whoever signed out or was disabled cannot
//! open what would be sealed to them. The intent's own transaction asks the store, so that no other process can be too late
//! to say so.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::lane::Message;
use super::{Engine, Inner, lock};
use crate::domain::person::{Deed, Output, Person};
use crate::domain::task::Task;
use crate::domain::{Identity, TaskId};
use crate::store::reviewers::Change;
use crate::store::{self, Batch, Browser, Lane as Priority, Op};

/// The tasks whose secrets are about to be made, with the sessions of the browsers that will open them.
pub(super) type Awaited = BTreeMap<TaskId, String>;

impl Engine {
    /// The browser of a task's recipient is there (heartbeat), with this session: a step that reveals a secret may be
    /// claimed while the session lives.
    pub fn seen(&self, task: TaskId, session: &str) {
        let now = self.inner.now();
        let browser = Browser { at: now, session: session.to_owned() };
        let before = lock(&self.inner.presence).insert(task, browser.clone());
        // Whoever waits for it may have found that its session had ended.
        let is_back =
            before.is_none_or(|seen| seen.session != session || now.duration_since(seen.at) > Task::BROWSER_PRESENT);
        if is_back || self.inner.tells_of_browsers() {
            let inner = Arc::clone(&self.inner);
            self.inner.tasks.spawn(async move { inner.saw(task, browser, is_back).await });
        }
    }
}

impl Inner {
    /// A browser is there. Where it was away, what waits for it goes on: nobody is due for that, so the person is
    /// touched. Other workers know only what the store knows.
    async fn saw(self: Arc<Self>, task: TaskId, browser: Browser, is_back: bool) {
        for _ in 0..20 {
            match self.keep_seen(task, &browser, is_back).await {
                Ok(Some(identity)) => return self.tell(&identity, Message::Wake, None),
                Ok(None) => return,
                // Somebody writes this person right now.
                Err(store::Error::Conflict(_)) => {}
                Err(error) => {
                    self.telemetry.store_error("task.seen", &error);
                    break;
                }
            }
        }
        // The next heartbeat begins anew.
        lock(&self.presence).remove(&task);
    }

    /// Whoever waits for this browser, if it was away.
    async fn keep_seen(
        &self,
        task: TaskId,
        browser: &Browser,
        is_back: bool,
    ) -> Result<Option<Identity>, store::Error> {
        let mut touched = None;
        if is_back
            && let Some(Task { approval: Some(_), identity: Some(identity), state, .. }) = self.store.task(task).await?
            && !state.is_terminal()
        {
            touched = Some(identity);
        }
        if self.tells_of_browsers() {
            let mut batch = Batch { expect: None, ops: vec![Op::Seen { task, browser: browser.clone() }] };
            if let Some(identity) = &touched {
                self.touch(identity, browser.at, &mut batch).await?;
            }
            self.store.commit(Priority::Other, batch).await?;
        }
        Ok(touched)
    }

    /// The work may be done by another process, which knows of browsers only what the store says.
    fn tells_of_browsers(&self) -> bool {
        self.store.is_shared() || !self.works
    }

    /// When the browser of a task's recipient was last there.
    pub(super) fn seen_at(&self, task: TaskId) -> Option<Timestamp> {
        lock(&self.presence).get(&task).map(|browser| browser.at)
    }

    /// Browsers seen by other processes.
    pub(super) fn saw_elsewhere(&self, seen: Vec<(TaskId, Browser)>) {
        let mut presence = lock(&self.presence);
        for (task, browser) in seen {
            if presence.get(&task).is_none_or(|known| known.at < browser.at) {
                presence.insert(task, browser);
            }
        }
    }

    /// The browsers for which this output makes a secret.
    pub(super) fn awaited(&self, person: &Person, output: &Output) -> Awaited {
        let reveals = |deed: &Deed| {
            let Deed::Effect { run, step, .. } = deed else { return None };
            person.run(*run)?.plan.step(step).filter(|spec| spec.reveals)?;
            person.task_of(*run, step)
        };
        let presence = lock(&self.presence);
        // One that is gone by now has no session, and so none that lives.
        let session = |task: &TaskId| presence.get(task).map(|browser| browser.session.clone()).unwrap_or_default();
        output.deeds.iter().filter_map(reveals).map(|task| (task, session(&task))).collect()
    }

    /// A session ended: browsers that were there with it are not there any more.
    pub(super) fn forget_ended(&self, awaited: &Awaited) {
        let ended = |task: &TaskId, seen: &Browser| awaited.get(task).is_some_and(|session| *session == seen.session);
        lock(&self.presence).retain(|task, seen| !ended(task, seen));
    }

    /// Forgets browsers not seen for long.
    pub(super) fn forget_presence(&self, now: Timestamp) {
        lock(&self.presence).retain(|_, seen| now.duration_since(seen.at) < SignedDuration::from_mins(10));
    }
}

/// What must be true in the transaction that begins to make their secrets.
pub(super) fn conditions(awaited: &Awaited) -> impl Iterator<Item = Op> + '_ {
    awaited.values().map(|session| Change::SessionLives(session.clone()).into())
}
