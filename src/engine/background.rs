//! What runs beside the lanes: claims from the queue, due people and waiting signals, settings written by other
//! processes, playbook files, figures, and the duties. Every loop ends with the stop token.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use super::decide::Storm;
use super::duties::{self, AUDIT, CLOCKS, WATCH, leads};
use super::intake::{Asking, Held};
use super::lane::Message;
use super::{Inner, audit, handover, lock, poll, watch};
use crate::domain::person::CASE_WORDS;
use crate::domain::task::Kind;
use crate::store::{self, Claimed, Hint};

/// Work that is due is looked for at least this often, whatever was hinted (contract §10).
const LOOK_EVERY: Duration = Duration::from_millis(1_000);
/// Another process' change (pause, resume) is noticed within 250 ms (contract §13.3).
const STAMP_EVERY: Duration = Duration::from_millis(200);
const MANY: u32 = 256;
/// The chain is at most a second behind the deeds (contract §13.7).
const CHAIN_EVERY: Duration = Duration::from_millis(500);
const SIGN_EVERY: Duration = Duration::from_secs(60);
/// When there was more than one look takes.
const SOON: Duration = Duration::from_millis(50);

pub(super) fn spawn(inner: &Arc<Inner>) {
    if inner.works || inner.polls {
        inner
            .tasks
            .spawn(every(Arc::clone(inner), LOOK_EVERY, |inner| async move { duties::duties(&inner).await }.boxed()));
        for tenant in inner.tenants.values() {
            let (graph, stop) = (tenant.graph.clone(), inner.stop.clone());
            inner.tasks.spawn(async move {
                tokio::select! {
                    _ = graph.warm() => {}
                    () = stop.cancelled() => {}
                }
            });
        }
    }
    if inner.polls {
        poll::spawn(inner);
    }
    if inner.works {
        spawn_work(inner);
    }
}

fn spawn_work(inner: &Arc<Inner>) {
    let parked = Arc::clone(inner);
    inner.tasks.spawn(async move {
        // A pause or a storm may have ended while nobody was there to wake what it held.
        if let Err(error) = parked.wake_parked(None).await {
            parked.telemetry.store_error("parked.wake", &error);
        }
    });
    inner.tasks.spawn(queue(Arc::clone(inner)));
    inner.tasks.spawn(hints(Arc::clone(inner)));
    if inner.store.is_shared() {
        inner.tasks.spawn(every(Arc::clone(inner), LOOK_EVERY, |inner| async move { swept(&inner).await }.boxed()));
    }
    inner.tasks.spawn(every(Arc::clone(inner), STAMP_EVERY, |inner| async move { notice(&inner).await }.boxed()));
    inner.tasks.spawn(due(Arc::clone(inner)));
    inner
        .tasks
        .spawn(every(Arc::clone(inner), Duration::from_secs(2), |inner| async move { playbooks(&inner) }.boxed()));
    inner
        .tasks
        .spawn(every(Arc::clone(inner), Duration::from_secs(5), |inner| async move { figures(&inner).await }.boxed()));
    inner.tasks.spawn(every(Arc::clone(inner), Duration::from_secs(3), |inner| {
        async move {
            if leads(&inner, WATCH) {
                watch::once(&inner).await;
            }
        }
        .boxed()
    }));
    inner.tasks.spawn(every(Arc::clone(inner), Duration::from_secs(3), |inner| {
        async move {
            if leads(&inner, WATCH) {
                handover::once(&inner).await;
            }
        }
        .boxed()
    }));
    inner.tasks.spawn(every(Arc::clone(inner), Duration::from_secs(30), |inner| {
        async move { duties::clocks(&inner).await }.boxed()
    }));
    inner.tasks.spawn(every(Arc::clone(inner), Duration::from_secs(60), |inner| {
        async move { duties::members(&inner).await }.boxed()
    }));
    inner.tasks.spawn(every(Arc::clone(inner), CHAIN_EVERY, |inner| {
        async move {
            if leads(&inner, AUDIT) {
                audit::follow(&inner).await;
            }
        }
        .boxed()
    }));
    inner.tasks.spawn(every(Arc::clone(inner), SIGN_EVERY, |inner| {
        async move {
            if leads(&inner, AUDIT) {
                audit::sign(&inner).await;
            }
        }
        .boxed()
    }));
}

/// Does something again and again until the engine stops.
pub(super) async fn every(
    inner: Arc<Inner>,
    period: Duration,
    work: impl Fn(Arc<Inner>) -> futures_util::future::BoxFuture<'static, ()> + Send + 'static,
) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = inner.stop.cancelled() => return,
        }
        if inner.is_dead() {
            return;
        }
        // Nothing here changes anything outside: it may end in the middle, and a stop does not wait for it.
        tokio::select! {
            () = work(Arc::clone(&inner)) => {}
            () = inner.stop.cancelled() => return,
        }
    }
}

/// Claims signals while there is room for lanes; what there is no room for stays on the queue.
async fn queue(inner: Arc<Inner>) {
    let mut failures = 0;
    loop {
        let room = tokio::select! {
            room = Arc::clone(&inner.lane_room).acquire_owned() => room,
            () = inner.stop.cancelled() => return,
        };
        let Ok(room) = room else { return };
        drop(room);
        let era = inner.era();
        if era.ended.is_cancelled() {
            // Nothing may be taken in before there is a lease again.
            tokio::select! {
                () = inner.begun.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = inner.stop.cancelled() => return,
            }
            continue;
        }
        let free = inner.lane_room.available_permits().clamp(1, MANY as usize);
        let claims = tokio::select! {
            claims = inner.queue.claim(free) => claims,
            // The queue rests without a lease, until it is asked again.
            () = era.ended.cancelled() => continue,
            () = inner.stop.cancelled() => return,
        };
        if inner.is_dead() {
            return;
        }
        match claims {
            Ok(claims) => {
                failures = 0;
                for claim in claims {
                    let Ok(room) = Arc::clone(&inner.lane_room).acquire_owned().await else { return };
                    let work = Arc::clone(&inner).take_in(Held::queued(claim), Some(room));
                    inner.tasks.spawn(work);
                }
            }
            Err(error) => {
                inner.telemetry.store_error("queue.claim", &error);
                if inner.pause_after_failure(&mut failures).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn due(inner: Arc<Inner>) {
    let mut failures = 0;
    loop {
        if inner.is_dead() {
            return;
        }
        let mut pause = LOOK_EVERY;
        match look(&inner).await {
            Ok(found) => {
                failures = 0;
                if found >= MANY as usize {
                    pause = SOON;
                }
            }
            Err(error) => {
                inner.telemetry.store_error("work.look", &error);
                if inner.pause_after_failure(&mut failures).await.is_err() {
                    return;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = inner.due.notified() => {}
            () = inner.stop.cancelled() => return,
        }
    }
}

/// Claims due people and waiting signals, urgent ones first; gives how many people.
pub(super) async fn look(inner: &Arc<Inner>) -> Result<usize, store::Error> {
    let now = inner.now();
    let era = inner.era();
    if era.ended.is_cancelled() {
        return Ok(0);
    }
    let people = inner.store.claim_people(now, era.epoch, MANY).await?;
    let found = people.len();
    for Claimed { identity, ended } in people {
        // Where they were claimed just now, the lane must know; elsewhere it knows what is due.
        if !inner.store.is_shared() && lock(&inner.lanes).contains_key(&identity) {
            continue;
        }
        let room = Arc::clone(&inner.lane_room).try_acquire_owned().ok();
        let message = ended.map_or(Message::Wake, Message::TakenOver);
        inner.tell(&identity, message, room);
    }
    for waiting in inner.store.due_waiting(now, era.epoch, MANY).await? {
        let Some(asking) = Asking::begin(inner, waiting.signal.id) else { continue };
        let work = Arc::clone(inner);
        inner.tasks.spawn(async move {
            Box::pin(work.take_in(Held::waiting(waiting, asking), None)).await;
        });
    }
    Ok(found)
}

/// A person whose lane ended badly is still marked as ours: nobody else looks after them. One that another process
/// changed is behind.
async fn sweep(inner: &Arc<Inner>) -> Result<(), store::Error> {
    for (identity, revision) in inner.store.held(inner.epoch()).await? {
        if lock(&inner.lanes).get(&identity).is_none_or(|lane| lane.is_behind(revision)) {
            inner.tell(&identity, Message::Wake, None);
        }
    }
    Ok(())
}

pub(super) async fn swept(inner: &Arc<Inner>) {
    if let Err(error) = sweep(inner).await {
        inner.telemetry.store_error("people.sweep", &error);
    }
}

/// What other processes say they wrote.
async fn hints(inner: Arc<Inner>) {
    let mut hints = inner.store.hints();
    loop {
        let hint = tokio::select! {
            hint = hints.recv() => hint,
            () = inner.queue.woken() => Ok(Hint::Anything),
            () = inner.stop.cancelled() => return,
        };
        match hint {
            Ok(Hint::Person(identity)) if lock(&inner.lanes).contains_key(&identity) => {
                inner.tell(&identity, Message::Wake, None);
            }
            Ok(Hint::Person(_)) => inner.due.notify_one(),
            Ok(Hint::Queue) => inner.queue.nudge(),
            Ok(Hint::Settings) => {
                if let Err(error) = read_settings(&inner).await {
                    inner.telemetry.store_error("settings.read", &error);
                }
            }
            Ok(Hint::Anything) | Err(RecvError::Lagged(_)) => {
                inner.queue.nudge();
                inner.due.notify_one();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Another process wrote the store: read what it may have changed.
async fn notice(inner: &Arc<Inner>) {
    let Ok(stamp) = inner.store.stamp().await else { return };
    if inner.stamp.swap(stamp, std::sync::atomic::Ordering::Relaxed) == stamp {
        return;
    }
    if let Err(error) = read_settings(inner).await {
        inner.telemetry.store_error("settings.read", &error);
    }
    inner.queue.nudge();
    inner.due.notify_one();
}

/// Reads pause and what people said to releases; wakes what was parked when a pause ended.
pub(super) async fn read_settings(inner: &Arc<Inner>) -> Result<(), store::Error> {
    let pause = inner.store.setting("pause").await?;
    let why = pause.as_ref().map(|pause| {
        let text = |key: &str| pause.get(key).and_then(Value::as_str).unwrap_or("no reason given").to_owned();
        let by = text("by");
        format!(
            "{} (by {})",
            text("reason").trim_end_matches('.'),
            by.split_once(':').map_or(by.as_str(), |(_, id)| id)
        )
    });
    let before = {
        let mut paused = inner.paused.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *paused, why.clone())
    };
    if before.is_some() != why.is_some() {
        inner.telemetry.paused(
            why.is_some(),
            pause.as_ref().and_then(|p| p.get("by")).and_then(Value::as_str).unwrap_or("operator"),
        );
    }
    let mut answered = Vec::new();
    for (tenant, answer) in inner.tenants.keys().flat_map(|tenant| Storm::ALL.map(|answer| (tenant, answer))) {
        let at = inner.store.setting(&answer.key(tenant)).await?.and_then(|at| serde_json::from_value(at).ok());
        if let Some(at) = at
            && inner.storm_answered(answer, tenant, at) != Some(at)
            && inner.store.is_shared()
        {
            answered.push(tenant.clone());
        }
    }
    // One worker wakes them all; whoever holds one of them looks anyway.
    if leads(inner, CLOCKS) {
        if before.is_some() && why.is_none() {
            inner.wake_parked(None).await?;
        }
        for tenant in answered {
            inner.wake_parked(Some(&tenant)).await?;
        }
    }
    Ok(())
}

fn playbooks(inner: &Inner) {
    let mut playbooks = lock(&inner.playbooks);
    if !playbooks.changed() {
        return;
    }
    if playbooks.reload(&inner.actions) {
        tracing::info!(set = playbooks.catalog().set_hash(), "playbooks reloaded");
    }
    for problem in playbooks.problems() {
        tracing::error!(problem = %problem, "the playbooks on disk are not valid; the last valid set stays in use");
    }
}

async fn figures(inner: &Arc<Inner>) {
    audit::measure(inner).await;
    let now = inner.now();
    let figures = match inner.store.figures(now).await {
        Ok(figures) => figures,
        Err(error) => return inner.telemetry.store_error("figures", &error),
    };
    let age = |at: Option<jiff::Timestamp>| {
        at.and_then(|at| Duration::try_from(now.duration_since(at)).ok()).unwrap_or(Duration::ZERO)
    };
    inner.telemetry.queue(figures.queue_depth, age(figures.queue_oldest));
    for word in CASE_WORDS {
        inner.telemetry.cases(word, figures.cases_in(word));
    }
    inner.telemetry.runs("open", figures.runs_open);
    inner.telemetry.effects_unknown(figures.effects_unknown);
    inner.telemetry.buried_open(figures.buried);
    inner.telemetry.tasks_oldest(age(figures.tasks_oldest));
    for kind in Kind::ALL {
        let open = figures.tasks_open.iter().find(|(word, _)| word == kind.word()).map_or(0, |(_, count)| *count);
        inner.telemetry.tasks_open(*kind, open);
    }
}
