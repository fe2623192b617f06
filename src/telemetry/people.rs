//! The words about guards and tasks: where a human is needed, or was refused.

use std::time::Duration;

use tracing::{error, info, warn};

use super::Telemetry;
use super::metrics::{ByKind, ByReason, ByTenant, ByVerdict};
use crate::domain::task::{Kind, Refused, Task, Verdict};
use crate::domain::{Identity, ObjectId, TenantName};

// ── guards ──

impl Telemetry {
    /// Every effect stands still, or no longer does.
    pub fn paused(&self, paused: bool, by: &str) {
        self.0.paused.set(i64::from(paused));
        if paused {
            error!(reviewer.id = by, "paused: no effect leaves, containment included");
        } else {
            warn!(reviewer.id = by, "resumed");
        }
    }

    /// An effect on a break-glass identity was refused.
    pub fn break_glass_refused(&self, tenant: &TenantName, object_id: ObjectId, action: &str) {
        self.0.break_glass_refused.inc();
        error!(
            tenant.name = %tenant,
            identity.id = %object_id,
            action.name = action,
            "refused: break-glass identity; a signal about it needs a human now"
        );
    }

    /// How old the known members of a tenant's break-glass group are.
    pub fn break_glass_group_age(&self, tenant: &TenantName, age: Duration) {
        self.0.break_glass_group_age.get_or_create(&ByTenant::of(tenant.as_str())).set(age.as_secs_f64());
    }

    /// A guard parked an effect: `blast_radius`, `pause`, `privileged`, …
    pub fn parked(&self, identity: &Identity, action: &str, reason: &'static str) {
        self.0.parked.get_or_create(&ByReason::of(reason)).inc();
        warn!(
            tenant.name = %identity.tenant,
            identity.id = %identity.object_id,
            action.name = action,
            reason,
            "parked"
        );
    }
}

// ── tasks ──

impl Telemetry {
    /// A human is needed.
    pub fn task_opened(&self, task: &Task) {
        info!(
            task.id = %task.id,
            task.kind = %task.kind,
            case.id = task.case.map(|case| case.to_string()),
            run.id = task.run.map(|run| run.to_string()),
            shadow = task.shadow,
            "task opened"
        );
    }

    /// A human voted.
    pub fn task_voted(&self, task: &Task, reviewer: &str, verdict: Verdict) {
        self.0.decisions.get_or_create(&ByVerdict::of(task.kind.word(), verdict.past())).inc();
        info!(
            task.id = %task.id,
            task.kind = %task.kind,
            task.state = task.state.word(),
            reviewer.id = reviewer,
            verdict = verdict.past(),
            "task voted"
        );
    }

    /// An attempt to decide was refused; an alarming one (subject, at risk, stale session) is an error.
    pub fn task_refused(&self, task: &Task, reviewer: &str, refused: &Refused) {
        let reason = match refused {
            Refused::Conflict { .. } => "conflict",
            Refused::Forbidden { .. } => "forbidden",
            Refused::Stale { .. } => "stale",
            Refused::TooLate { .. } => "too_late",
            Refused::NotYet { .. } => "not_yet",
            Refused::Fenced { .. } => "fenced",
            Refused::Invalid { .. } => "invalid",
        };
        self.0.decisions_refused.get_or_create(&ByReason::of(reason)).inc();
        let alarm = refused.is_alarming();
        if alarm {
            error!(task.id = %task.id, reviewer.id = reviewer, reason, "alarming attempt to decide refused");
        } else {
            info!(task.id = %task.id, reviewer.id = reviewer, reason, "attempt to decide refused");
        }
    }

    /// How many tasks of a kind are open.
    pub fn tasks_open(&self, kind: Kind, count: u64) {
        self.0.tasks_open.get_or_create(&ByKind::of(kind.word())).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Age of the oldest open task.
    pub fn tasks_oldest(&self, age: Duration) {
        self.0.tasks_oldest.set(age.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use jiff::Timestamp;
    use tracing_subscriber::fmt::MakeWriter;
    use uuid::Uuid;

    use super::*;
    use crate::domain::task::{Changed, Forbidden, New, Policy, Snapshot};
    use crate::domain::{DeliveryId, Finding, Kind as SignalKind, Outcome, Risk, Signal, SignalId, Subject, TaskId};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    const NAME: &str = "ada@contoso.example";

    /// A task and a signal with the name wherever a name could stand.
    fn named() -> (Task, Signal) {
        let task = Task::open(New {
            id: TaskId::new(Uuid::from_u128(1)),
            kind: Kind::Manual,
            title: NAME.into(),
            policy: Policy { reviewers: vec![NAME.into()], ..Policy::open() },
            created_at: Timestamp::UNIX_EPOCH,
            snapshot: Snapshot { number: 1, taken_at: Timestamp::UNIX_EPOCH, items: Vec::new() },
            shadow: false,
            identity: None,
            case: None,
            run: None,
            instructions: Some(NAME.into()),
            requester: None,
            playbook: None,
            rows: Vec::new(),
        });
        let finding = Finding {
            kind: SignalKind::ImpossibleTravel,
            raw_kind: NAME.into(),
            risk: Risk::High,
            title: NAME.into(),
            shape: "incident".into(),
            subject: Subject { upn: NAME.parse().ok(), ..Subject::default() },
            activity_at: None,
            detected_at: None,
            refs: Default::default(),
            evidence: Default::default(),
            content: NAME.into(),
            outcome: Outcome::Held { reason: NAME.into() },
        };
        let signal = Signal {
            id: SignalId::new(Uuid::from_u128(2)),
            delivery: DeliveryId::new(Uuid::from_u128(3)),
            source: "sentinel".into(),
            tenant: "contoso".parse().expect("a tenant name"),
            received_at: Timestamp::UNIX_EPOCH,
            traceparent: None,
            finding,
        };
        (task, signal)
    }

    #[test]
    fn no_line_and_no_metric_names_a_person() {
        let (task, signal) = named();
        let (telemetry, lines) = (Telemetry::new(), Lines::default());
        let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            telemetry.signal_accepted(&signal);
            telemetry.signal_outcome(&signal, "held");
            telemetry.task_opened(&task);
            telemetry.task_voted(&task, "r7", Verdict::Deny);
            telemetry.task_refused(
                &task,
                "r7",
                &Refused::Stale { difference: vec![Changed::new("subject", NAME, NAME)] },
            );
            telemetry.task_refused(&task, "r7", &Refused::Forbidden { why: Forbidden::Subject });
        });
        let lines = String::from_utf8(lines.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert_eq!(lines.lines().count(), 6, "{lines}");
        assert!(lines.contains("ERROR") && lines.contains("task_00000000000000000000000000000001"), "{lines}");
        assert!(!lines.contains(NAME) && !telemetry.render().contains(NAME), "{lines}");
        assert!(telemetry.render().contains(r#"oust_decisions_refused_total{reason="stale"} 1"#));
    }
}
