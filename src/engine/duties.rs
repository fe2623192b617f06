//! What one worker at a time does for all, by a lease in the store: clocks of tasks without a case, members of
//! break-glass groups, the watch, the audit chain, polling.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;

use super::background::swept;
use super::{Inner, lock};
use crate::domain::task::Event;
use crate::graph::Terms;
use crate::store::{self, Batch, Filter, Lane as Priority, Op, Page};

/// What one worker at a time does for all: whoever leads it, and only while its lease lives.
pub(super) const WATCH: &str = "watch";
pub(super) const CLOCKS: &str = "clocks";
const MEMBERS: &str = "members";
pub(super) const AUDIT: &str = "audit";
pub(super) const POLL: &str = "poll";

/// Takes or keeps the duties. What the last leader may have left undone is looked at at once.
pub(super) async fn duties(inner: &Arc<Inner>) {
    let era = inner.era();
    let mine = [
        (CLOCKS, inner.works),
        (WATCH, inner.works),
        (MEMBERS, inner.works),
        (AUDIT, inner.works),
        (POLL, inner.polls),
    ];
    for duty in mine.into_iter().filter(|(_, mine)| *mine).map(|(duty, _)| duty) {
        let leads = match inner.store.lead(duty, era.epoch).await {
            Ok(leads) => leads && !era.ended.is_cancelled(),
            Err(error) => {
                inner.telemetry.store_error("duty.lead", &error);
                false
            }
        };
        inner.telemetry.leads(duty, leads);
        let is_new = if leads {
            lock(&inner.leading).insert(duty)
        } else {
            lock(&inner.leading).remove(duty);
            false
        };
        if is_new && duty == CLOCKS {
            if let Err(error) = inner.wake_parked(None).await {
                inner.telemetry.store_error("parked.wake", &error);
            }
            clocks(inner).await;
        }
    }
}

/// One worker for itself leads everything.
pub(super) fn leads(inner: &Inner, duty: &str) -> bool {
    !inner.store.is_shared() || lock(&inner.leading).contains(duty)
}

/// Clocks of tasks that belong to no case (held, release); the lanes drive all others.
pub(super) async fn clocks(inner: &Arc<Inner>) {
    let now = inner.now();
    inner.forget_presence(now);
    inner.bound_watermarks();
    if !inner.store.is_shared() {
        swept(inner).await;
    }
    if !leads(inner, CLOCKS) {
        return;
    }
    let filter = Filter { open: true, ..Filter::default() };
    let mut page = Page { after: None, limit: 500 };
    loop {
        let listed = match inner.store.tasks(&filter, &page).await {
            Ok(listed) => listed,
            Err(error) => return inner.telemetry.store_error("tasks.clocks", &error),
        };
        for mut task in listed.items.into_iter().filter(|task| task.case.is_none()) {
            let due = task.next_due().is_some_and(|due| due <= now + SignedDuration::ZERO);
            if due && task.apply(Event::Tick, now).is_ok() {
                let ops = vec![Op::PutTask(Box::new(task))];
                if let Err(error) = inner.store.commit(Priority::Other, Batch { expect: None, ops }).await {
                    inner.telemetry.store_error("task.tick", &error);
                }
            }
        }
        match listed.next {
            Some(next) => page.after = Some(next),
            None => return,
        }
    }
}

/// The last known members of every break-glass group, as the store has them.
pub(super) async fn read_members(inner: &Inner) -> Result<(), store::Error> {
    for tenant in inner.tenants.values().filter(|tenant| tenant.break_glass_group.is_some()) {
        let known = inner.store.setting(&members_key(tenant)).await?;
        if let Some(known) = known.and_then(|known| serde_json::from_value(known).ok()) {
            *tenant.members.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
        }
    }
    Ok(())
}

fn members_key(tenant: &super::Tenant) -> String {
    let group = tenant.break_glass_group.map(|group| group.to_string()).unwrap_or_default();
    format!("break_glass_group:{}:{group}", tenant.name)
}

/// Refreshes the members of break-glass groups in the background; the last known set counts however old.
pub(super) async fn members(inner: &Arc<Inner>) {
    if !leads(inner, MEMBERS) {
        if let Err(error) = read_members(inner).await {
            inner.telemetry.store_error("break_glass_group.read", &error);
        }
        return;
    }
    for tenant in inner.tenants.values() {
        let Some(group) = tenant.break_glass_group else { continue };
        let read = tenant.graph.group_users(group, 10_000, &Terms::read(Duration::from_secs(20))).await;
        let now = inner.now();
        match read {
            Ok(members) => {
                let known = (members.into_iter().collect::<std::collections::BTreeSet<_>>(), now);
                let first = tenant.members.read().unwrap_or_else(PoisonError::into_inner).is_none();
                let value = serde_json::to_value(&known).unwrap_or_default();
                *tenant.members.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
                let ops = vec![Op::PutSetting { key: members_key(tenant), value }];
                if let Err(error) = inner.store.commit(Priority::Other, Batch { expect: None, ops }).await {
                    inner.telemetry.store_error("break_glass_group.keep", &error);
                }
                if first && let Err(error) = inner.wake_parked(Some(&tenant.name)).await {
                    inner.telemetry.store_error("parked.wake", &error);
                }
            }
            Err(error) => {
                tracing::warn!(tenant.name = %tenant.name, error = %error, "break_glass_group could not be read; the last known members count");
            }
        }
        let age = tenant
            .members
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(|(_, at)| now.duration_since(*at));
        if let Some(age) = age.and_then(|age| Duration::try_from(age).ok()) {
            inner.telemetry.break_glass_group_age(&tenant.name, age);
        }
    }
}
