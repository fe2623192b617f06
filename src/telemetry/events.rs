//! The words about signals, runs and calls: each operational event once, as log line and metric under the same names.
//!
//! `error!`: somebody must look. `warn!`: retried, parked, fenced. `info!`: what happened. `debug!`: every call.

use std::error::Error;
use std::time::Duration;

use jiff::Timestamp;

use tracing::{Span, debug, error, info, info_span, warn};

use super::Telemetry;
use super::metrics::{
    ByAction, ByActionOnly, ByDuty, ByHop, ByOperation, ByOperationOnly, ByPoll, ByReason, BySource, ByState,
};
use crate::domain::{CaseId, DeliveryId, Identity, RunId, Signal, TenantName};

/// An accepted revoke, with the two clocks apart (law 12).
#[derive(Debug)]
pub struct Revoked<'a> {
    pub identity: &'a Identity,
    pub case: CaseId,
    pub run: Option<RunId>,
    /// Receipt to acceptance: ours.
    pub time_to_revoke: Duration,
    /// Activity to receipt: Microsoft's; absent when the signal carried no time.
    pub detection_lag: Option<Duration>,
}

/// The end of a step.
#[derive(Debug)]
pub struct Step<'a> {
    pub run: RunId,
    pub step: &'a str,
    /// From the catalogue.
    pub action: &'a str,
    /// `executed`, `failed`, `unknown`, `skipped`, …
    pub result: &'static str,
    pub attempt: u32,
    pub took: Duration,
}

/// One request to Microsoft Graph and its answer.
#[derive(Debug)]
pub struct GraphCall<'a> {
    /// From the client's closed list, e.g. `revoke_sign_in_sessions`.
    pub operation: &'static str,
    /// `None`: no answer came.
    pub status: Option<u16>,
    /// The effect key, sent as `client-request-id`.
    pub client_request_id: &'a str,
    /// Microsoft's `request-id`.
    pub request_id: Option<&'a str>,
    pub took: Duration,
}

impl GraphCall<'_> {
    /// `2xx` … `5xx`, `throttled`, or `none`.
    fn class(&self) -> &'static str {
        match self.status {
            Some(429) => "throttled",
            Some(100..=299) => "2xx",
            Some(300..=399) => "3xx",
            Some(400..=499) => "4xx",
            Some(_) => "5xx",
            None => "none",
        }
    }
}

// ── spans ──

impl Telemetry {
    /// The root of a trace: one delivery.
    pub fn delivery_span(&self, delivery: DeliveryId, source: &str) -> Span {
        info_span!("delivery", delivery.id = %delivery, source.name = source)
    }

    /// Work on a run; give it its parent by [`super::set_parent`] before entering it.
    pub fn run_span(&self, run: RunId, identity: &Identity) -> Span {
        info_span!("run", run.id = %run, tenant.name = %identity.tenant, identity.id = %identity.object_id)
    }

    /// One attempt at one step.
    pub fn step_span(&self, step: &str, action: &str, attempt: u32) -> Span {
        info_span!("step", step.id = step, action.name = action, attempt)
    }

    /// One call to Microsoft Graph.
    pub fn graph_span(&self, operation: &'static str, client_request_id: &str) -> Span {
        info_span!("graph", operation, client_request_id)
    }
}

// ── ways in ──

impl Telemetry {
    /// A delivery is durable.
    pub fn delivery_accepted(&self, delivery: DeliveryId, source: &str, signals: usize) {
        self.0.deliveries.get_or_create(&BySource::of(source, "accepted")).inc();
        self.0.tally.accepted(source);
        info!(delivery.id = %delivery, source.name = source, signals, "delivery accepted");
    }

    /// A delivery was not taken. `source` is a configured name, `unknown` for any other.
    pub fn delivery_refused(&self, source: &str, reason: &'static str) {
        self.0.deliveries.get_or_create(&BySource::of(source, reason)).inc();
        self.0.tally.refused(source, reason);
        info!(source.name = source, reason, "delivery refused");
    }

    /// A signal was taken in.
    pub fn signal_accepted(&self, signal: &Signal) {
        self.0.signals.get_or_create(&BySource::of(&signal.source, "accepted")).inc();
        let finding = &signal.finding;
        info!(
            signal.id = %signal.id,
            delivery.id = %signal.delivery,
            source.name = signal.source,
            tenant.name = %signal.tenant,
            kind = %finding.kind,
            risk = %finding.risk,
            "signal accepted"
        );
    }

    /// What became of a signal: `act`, `lookup`, `covered`, `ignored`, `held`, `redelivered`, `late`.
    pub fn signal_outcome(&self, signal: &Signal, outcome: &'static str) {
        self.0.signals.get_or_create(&BySource::of(&signal.source, outcome)).inc();
        info!(signal.id = %signal.id, source.name = signal.source, outcome, "signal settled");
    }

    /// What waits for intake, and since when.
    pub fn queue(&self, depth: u64, oldest: Duration) {
        self.0.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.0.queue_oldest.set(oldest.as_secs_f64());
    }

    /// Something was set aside with a reason, a word of a closed list: nothing of it was taken in.
    pub fn buried(&self, source: &str, reason: &'static str) {
        self.0.buried.get_or_create(&ByReason::of(reason)).inc();
        self.0.tally.refused(source, reason);
        warn!(source.name = source, reason, "buried");
    }

    /// What lies buried now.
    pub fn buried_open(&self, count: u64) {
        self.0.buried_open.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A canary came through.
    pub fn canary_returned(&self, took: Duration) {
        self.0.canary_age.set(0.0);
        debug!(duration_ms = millis(took), "canary came through");
    }

    /// Since the last canary came through.
    pub fn canary_age(&self, age: Duration) {
        self.0.canary_age.set(age.as_secs_f64());
    }

    /// A canary was lost at a hop.
    pub fn canary_lost(&self, hop: &'static str) {
        self.0.canaries_lost.get_or_create(&ByHop::of(hop)).inc();
        error!(hop, "canary lost: signals may be stuck here");
    }
}

// ── runs and effects ──

impl Telemetry {
    /// Graph accepted a revoke.
    pub fn revoke_accepted(&self, revoked: &Revoked<'_>) {
        self.0.time_to_revoke.observe(revoked.time_to_revoke.as_secs_f64());
        if let Some(lag) = revoked.detection_lag {
            self.0.detection_lag.observe(lag.as_secs_f64());
        }
        info!(
            tenant.name = %revoked.identity.tenant,
            identity.id = %revoked.identity.object_id,
            case.id = %revoked.case,
            run.id = revoked.run.map(|run| run.to_string()),
            time_to_revoke_ms = millis(revoked.time_to_revoke),
            detection_lag_s = revoked.detection_lag.map(|lag| lag.as_secs()),
            "sessions revoked"
        );
    }

    /// A step came to an end.
    pub fn step_finished(&self, step: &Step<'_>) {
        self.0.steps.get_or_create(&ByAction::of(step.action, step.result)).inc();
        self.0.step_time.get_or_create(&ByActionOnly::of(step.action)).observe(step.took.as_secs_f64());
        info!(
            run.id = %step.run,
            step.id = step.step,
            action.name = step.action,
            result = step.result,
            attempt = step.attempt,
            duration_ms = millis(step.took),
            "step finished"
        );
    }

    /// A call left and nobody knows whether it took effect.
    pub fn effect_unknown(&self, run: Option<RunId>, action: &str, effect_key: &str) {
        error!(
            run.id = run.map(|run| run.to_string()),
            action.name = action,
            effect.key = effect_key,
            "outcome unknown, to be verified"
        );
    }

    /// How many effects are unknown now.
    pub fn effects_unknown(&self, count: u64) {
        self.0.effects_unknown.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A request to Graph was answered, or was not.
    pub fn graph_call(&self, call: &GraphCall<'_>) {
        let class = call.class();
        self.0.graph_calls.get_or_create(&ByOperation::of(call.operation, class)).inc();
        self.0.graph_time.get_or_create(&ByOperationOnly::of(call.operation)).observe(call.took.as_secs_f64());
        self.0.tally.called(call.operation, class == "throttled");
        if class == "throttled" {
            self.0.graph_throttled.inc();
        }
        debug!(
            operation = call.operation,
            status = call.status,
            client_request_id = call.client_request_id,
            request_id = call.request_id,
            duration_ms = millis(call.took),
            "graph call"
        );
    }

    /// How many open cases stand there.
    pub fn cases(&self, state: &'static str, count: u64) {
        self.0.cases.get_or_create(&ByState::of(state)).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many runs are in a state.
    pub fn runs(&self, state: &'static str, count: u64) {
        self.0.runs.get_or_create(&ByState::of(state)).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A sign-in that looks like the thief's came after the revoke.
    pub fn watch_hit(&self, identity: &Identity, case: CaseId) {
        self.0.watch_hits.inc();
        error!(
            tenant.name = %identity.tenant,
            identity.id = %identity.object_id,
            case.id = %case,
            "signed in again after the revoke"
        );
    }

    /// A store operation failed; logged here, where it is handled. While it fails in the same way, that is said once in
    /// half a minute.
    pub fn store_error(&self, operation: &'static str, problem: &(dyn Error + 'static)) {
        self.0.store_errors.get_or_create(&ByOperationOnly::of(operation)).inc();
        match self.0.said.anew(operation, &problem.to_string()) {
            Some(unsaid) => error!(operation, error = problem, unsaid, "store operation failed"),
            None => debug!(operation, error = problem, "store operation failed"),
        }
    }

    /// Whether this process does a duty that one process at a time does.
    pub fn leads(&self, duty: &'static str, leads: bool) {
        let was = self.0.leads.get_or_create(&ByDuty::of(duty)).set(i64::from(leads));
        if was != i64::from(leads) {
            tracing::info!(duty, leads, "a duty changed hands");
        }
    }

    /// A collection was polled, or could not be.
    pub fn polled(&self, tenant: &TenantName, collection: &'static str, at: Timestamp, problem: Option<&str>) {
        let labels = ByPoll::of(tenant.to_string(), collection);
        self.0.tally.polled(tenant.as_str(), collection, problem.is_none());
        match problem {
            None => drop(self.0.polled_at.get_or_create(&labels).set(at.as_duration().as_secs_f64())),
            Some(problem) => {
                self.0.polls_failed.get_or_create(&labels).inc();
                warn!(tenant.name = %tenant, collection, problem, "a poll failed; it is tried again");
            }
        }
    }

    /// This worker's lease ended before it was renewed: its work goes on under another.
    pub fn lease_lost(&self, epoch: i64) {
        self.0.leases_lost.inc();
        tracing::warn!(epoch, "the lease of this worker has ended; what it held goes on elsewhere, and it starts over");
    }

    /// How far the audit chain is behind.
    pub fn audit_lag(&self, lag: Duration) {
        self.0.audit_lag.set(lag.as_secs_f64());
    }
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::ObjectId;
    use crate::domain::task::Kind as TaskKind;

    fn identity() -> Identity {
        Identity { tenant: "contoso".parse().expect("a tenant name"), object_id: ObjectId::new(Uuid::from_u128(1)) }
    }

    #[test]
    fn the_metrics_of_the_contract_are_in_the_text_after_their_events() {
        let telemetry = Telemetry::new();
        let (run, second) = (RunId::new(Uuid::from_u128(1)), Duration::from_secs(1));
        telemetry.delivery_accepted(DeliveryId::new(Uuid::from_u128(2)), "sentinel", 1);
        telemetry.delivery_refused("unknown", "no_such_source");
        telemetry.queue(3, second);
        telemetry.revoke_accepted(&Revoked {
            identity: &identity(),
            case: CaseId::new(Uuid::from_u128(3)),
            run: Some(run),
            time_to_revoke: Duration::from_millis(40),
            detection_lag: Some(second),
        });
        let step = Step { run, step: "first", action: "revoke_sessions", result: "executed", attempt: 1, took: second };
        telemetry.step_finished(&step);
        for status in [Some(204), Some(429), Some(503), None] {
            let operation = "revoke_sign_in_sessions";
            let call = GraphCall { operation, status, client_request_id: "key", request_id: None, took: second };
            telemetry.graph_call(&call);
        }
        telemetry.cases("password_unchanged", 3);
        telemetry.runs("waiting", 2);
        telemetry.tasks_open(TaskKind::Approval, 4);
        telemetry.tasks_oldest(second);
        telemetry.effects_unknown(5);
        telemetry.break_glass_group_age(&identity().tenant, second);
        telemetry.paused(true, "ada");
        let text = telemetry.render();
        for line in [
            r#"oust_deliveries_total{source="sentinel",outcome="accepted"} 1"#,
            r#"oust_deliveries_total{source="unknown",outcome="no_such_source"} 1"#,
            "oust_queue_depth 3",
            "oust_queue_oldest_seconds 1.0",
            r#"oust_time_to_revoke_seconds_bucket{le="0.05"} 1"#,
            r#"oust_detection_lag_seconds_bucket{le="1.0"} 1"#,
            r#"oust_steps_total{action="revoke_sessions",result="executed"} 1"#,
            r#"oust_graph_calls_total{operation="revoke_sign_in_sessions",status="2xx"} 1"#,
            r#"oust_graph_calls_total{operation="revoke_sign_in_sessions",status="throttled"} 1"#,
            r#"oust_graph_calls_total{operation="revoke_sign_in_sessions",status="none"} 1"#,
            "oust_graph_throttled_total 1",
            r#"oust_cases{state="password_unchanged"} 3"#,
            r#"oust_runs{state="waiting"} 2"#,
            r#"oust_tasks_open{kind="approval"} 4"#,
            "oust_tasks_oldest_seconds 1.0",
            "oust_effects_unknown 5",
            r#"oust_break_glass_group_age_seconds{tenant="contoso"} 1.0"#,
            "oust_paused 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn two_processes_in_one_do_not_share_metrics() {
        let (one, two) = (Telemetry::new(), Telemetry::new());
        one.queue(7, Duration::ZERO);
        assert!(one.clone().render().contains("oust_queue_depth 7"));
        assert!(two.render().contains("oust_queue_depth 0"));
    }

    #[test]
    fn a_hostile_label_value_cannot_break_the_text() {
        let telemetry = Telemetry::new();
        telemetry.buried("x", "reason\"}\n# EOF");
        assert!(
            telemetry.render().contains(r#"oust_buried_total{reason="reason\"}\n# EOF"} 1"#),
            "{}",
            telemetry.render()
        );
    }
}
