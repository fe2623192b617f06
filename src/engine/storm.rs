//! More people than the blast radius allows: one task per tenant that releases them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Inner;
use crate::domain::TaskId;
use crate::domain::task::{Kind, New, Policy, Snapshot, Task};
use crate::store::{self, Audit, Op};

/// The setting that names a tenant's release task.
pub(super) fn storm_key(tenant: &crate::domain::TenantName) -> String {
    format!("storm:{tenant}")
}

impl Inner {
    /// The release task that the setting names, while it waits.
    pub(super) async fn open_storm(&self, setting: Option<&Value>) -> Result<Option<Task>, store::Error> {
        let Some(Ok(id)) = setting.and_then(Value::as_str).map(str::parse) else { return Ok(None) };
        Ok(self.store.task(id).await?.filter(|task| !task.state.is_terminal()))
    }

    /// One release task per tenant and storm (contract §13.5): raised with the first person that is parked.
    pub(super) async fn storm_ops(&self, tenant: &crate::domain::TenantName, now: Timestamp) -> Vec<Op> {
        let mut ops = Vec::new();
        let last = self.store.setting(&storm_key(tenant)).await.unwrap_or_default();
        if matches!(self.open_storm(last.as_ref()).await, Ok(Some(_))) {
            return ops;
        }
        let (most, per) = self.blast_radius.unwrap_or_default();
        let task = Task::open(New {
            id: TaskId::new(Self::mint()),
            kind: Kind::Release,
            title: format!("More than {most} people to revoke in {} min in {tenant}", per.as_secs() / 60),
            policy: Policy::open(),
            created_at: now,
            snapshot: Snapshot { number: 0, taken_at: now, items: Vec::new() },
            shadow: false,
            identity: None,
            case: None,
            run: None,
            instructions: Some("Alerts name more people than guards.blast_radius allows. Is it an attack, or a bad rule? Approve frees all parked revocations of this tenant, oldest first; deny leaves them parked, and a newer alert about one of them is judged anew.".into()),
            requester: None,
            playbook: None,
            rows: Vec::new(),
        });
        self.telemetry.task_opened(&task);
        ops.push(Op::SwapSetting { key: storm_key(tenant), was: last, value: json!(task.id) });
        ops.push(Op::Audit(Box::new(Audit {
            at: now,
            actor: "worker".into(),
            verb: "storm.parked".into(),
            tenant: Some(tenant.clone()),
            object_id: None,
            case: None,
            detail: json!({"task": task.id}),
        })));
        ops.push(Op::PutTask(Box::new(task)));
        ops
    }
}
