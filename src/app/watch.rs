//! What a running process keeps an eye on: whether it is ready, and what was refused at its doors.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Running;
use crate::engine::Clock;
use crate::http::sign_in::SignIn;
use crate::http::{self, Check, Readiness};
use crate::queue::Queue;
use crate::store::Audit;
use crate::telemetry::Telemetry;

impl Running {
    /// Refused senders are audited as one summary a minute (law 11), and once more at the end.
    pub(super) fn audit_refusals(
        &mut self,
        surface: &http::State,
        sign_in: Option<&SignIn>,
        queue: &Arc<dyn Queue>,
        clock: &Clock,
    ) {
        let sign_in = sign_in.cloned();
        let (surface, clock, queue) = (surface.clone(), Arc::clone(clock), Arc::clone(queue));
        let closed = CancellationToken::new();
        let end = closed.clone();
        let task = tokio::spawn(async move {
            let (mut ending, mut unsaid) = (false, VecDeque::new());
            while !ending {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(60)) => {}
                    () = end.cancelled() => ending = true,
                }
                let mut refused = surface.take_refusals();
                refused.extend(sign_in.iter().flat_map(SignIn::take_refusals));
                let lines = refused.iter().map(
                    |((source, reason), count)| serde_json::json!({"source": source, "reason": reason, "count": count}),
                );
                let audit = Audit {
                    at: clock(),
                    actor: "receiver".into(),
                    verb: "deliveries.refused".into(),
                    tenant: None,
                    object_id: None,
                    case: None,
                    detail: lines.collect(),
                };
                if !refused.is_empty() {
                    unsaid.push_back(audit);
                }
                // What could not be told is told later; a day of minutes is kept.
                while unsaid.len() > 1_440 {
                    unsaid.pop_front();
                }
                while let Some(audit) = unsaid.front() {
                    if let Err(error) = queue.report(audit.clone()).await {
                        let waiting = unsaid.len();
                        tracing::warn!(error = %http::chain(&error), waiting, "refused deliveries could not be audited yet");
                        break;
                    }
                    unsaid.pop_front();
                }
            }
        });
        self.refusals = Some((closed, task));
    }

    /// Looks at store and queue once a second, so that `/readyz` answers without waiting for them.
    pub(super) fn readiness(
        &self,
        telemetry: &Telemetry,
        is_embedded: bool,
        works: bool,
    ) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
        let healthy = Arc::new(AtomicBool::new(true));
        let problem = Arc::new(Mutex::new(None::<String>));
        let (store, queue, stop) = (self.store.clone(), Arc::clone(&self.queue), self.stop.clone());
        let telemetry = telemetry.clone();
        let (seen, said) = (Arc::clone(&healthy), Arc::clone(&problem));
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = stop.cancelled() => return,
                }
                let condition = queue.condition();
                telemetry.spool(condition.spooled, condition.spool_bytes);
                telemetry.broker_messages(condition.depth.unwrap_or(0));
                let Some(store) = &store else { continue };
                let answer = store.setting("pause").await;
                seen.store(answer.is_ok(), Ordering::Relaxed);
                *said.lock().unwrap_or_else(PoisonError::into_inner) = answer.err().map(|error| error.to_string());
            }
        });
        let (engine, queue, has_store) = (self.engine.clone(), Arc::clone(&self.queue), self.store.is_some());
        Arc::new(move || {
            let detail = problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let ok = healthy.load(Ordering::Relaxed);
            let condition = queue.condition();
            let mut checks = Vec::new();
            if has_store {
                checks.push(Check { name: "store".into(), ok, detail });
            }
            // In the store it fares as the store does.
            let queue_ok = condition.ok && (ok || !is_embedded);
            checks.push(Check { name: "queue".into(), ok: queue_ok, detail: Some(condition.detail) });
            if let Some(engine) = &engine {
                if works {
                    let leased = engine.holds_lease();
                    let detail = (!leased).then(|| "lost; another is asked for".to_owned());
                    checks.push(Check { name: "lease".into(), ok: leased, detail });
                }
                let (catalog, problems) = engine.playbooks();
                let detail = match problems.first() {
                    None => format!("{} playbooks, set {}", catalog.entries().len(), catalog.set_hash()),
                    Some(problem) => format!("the folder is not valid, the last valid set is in use: {problem}"),
                };
                // A typing mistake in a file must not turn senders away: the last valid set is at work.
                checks.push(Check { name: "playbooks".into(), ok: true, detail: Some(detail) });
            }
            Readiness { checks }
        })
    }
}
