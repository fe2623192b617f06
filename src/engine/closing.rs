//! Somebody dismissed a person's risk, or confirmed them safe: whoever is about to decide about that person is told, and
//! an approval is not taken any more (contract §13.6). It starts nothing and ends nothing by itself.

use std::sync::Arc;

use serde_json::json;

use super::Inner;
use super::lane::Message;
use crate::domain::task::{Event, Task};
use crate::domain::{Identity, Signal};
use crate::store::{self, Audit, Batch, Filter, Lane as Priority, Op, Page};

/// Somebody else writes this person at the same time: so often.
const TRIES: u32 = 20;

impl Inner {
    /// Tells the waiting tasks of the person, if the signal closes their risk. A risk that was closed before a page was
    /// made is no news to it.
    pub(super) async fn close_risk(self: &Arc<Self>, signal: &Signal) -> Result<(), store::Error> {
        let finding = &signal.finding;
        let (Some(said), Some(object_id)) = (finding.closes_risk(), finding.subject.known_object_id()) else {
            return Ok(());
        };
        let identity = Identity { tenant: signal.tenant.clone(), object_id };
        let by = format!("{said}, told by {}", signal.source);
        for attempt in 1..=TRIES {
            match self.close_once(&identity, signal, &by).await {
                Err(store::Error::Conflict(_)) if attempt < TRIES => {}
                other => return other,
            }
        }
        Ok(())
    }

    async fn close_once(self: &Arc<Self>, identity: &Identity, signal: &Signal, by: &str) -> Result<(), store::Error> {
        let now = self.now();
        let filter = Filter { open: true, object_id: Some(identity.object_id), ..Filter::default() };
        let listed = self.store.tasks(&filter, &Page { after: None, limit: 500 }).await?;
        let waits = |task: &Task| {
            task.identity.as_ref() == Some(identity)
                && task.state.is_undecided()
                && !task.rows.is_empty()
                && task.risk_closed.is_none()
                && task.snapshot.taken_at <= signal.activity()
        };
        let mut batch = Batch { expect: None, ops: Vec::new() };
        for mut task in listed.items.into_iter().filter(waits) {
            let event = Event::Learned { target: None, risk_closed: Some(by.to_owned()) };
            if task.apply(event, now).is_err() {
                continue;
            }
            batch.ops.push(Op::Audit(Box::new(Audit {
                at: now,
                actor: format!("source:{}", signal.source),
                verb: "risk.closed".into(),
                tenant: Some(identity.tenant.clone()),
                object_id: Some(identity.object_id),
                case: task.case,
                detail: json!({ "task": task.id, "signal": signal.id, "by": by }),
            })));
            batch.ops.push(Op::PutTask(Box::new(task)));
        }
        if batch.ops.is_empty() {
            return Ok(());
        }
        self.touch(identity, now, &mut batch).await?;
        self.store.commit(Priority::Other, batch).await?;
        self.tell(identity, Message::Wake, None);
        Ok(())
    }
}
