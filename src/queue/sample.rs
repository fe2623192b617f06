//! Deliveries for the tests of both queues.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::domain::signal::Evidence;
use crate::domain::{DeliveryId, Finding, Kind, ObjectId, Outcome, Risk, Signal, SignalId, Subject, TenantName};
use crate::store::Acceptance;

/// A delivery of so many signals; the number stands in the upper bits of their ids.
pub(super) fn acceptance(number: u128, signals: u128) -> Acceptance {
    let tenant: TenantName = "contoso".parse().expect("a name");
    let delivery = DeliveryId::new(Uuid::from_u128(number));
    let finding = Finding {
        kind: Kind::AnomalousToken,
        raw_kind: "anomalousToken".to_owned(),
        risk: Risk::High,
        title: String::new(),
        shape: "risk_detection".to_owned(),
        subject: Subject::of(ObjectId::new(Uuid::from_u128(1))),
        activity_at: None,
        detected_at: None,
        refs: BTreeMap::new(),
        evidence: Evidence::default(),
        content: number.to_string(),
        outcome: Outcome::Act,
    };
    let signal = |index| Signal {
        id: SignalId::new(Uuid::from_u128(number << 32 | index)),
        delivery,
        source: "sentinel".to_owned(),
        tenant: tenant.clone(),
        received_at: Timestamp::UNIX_EPOCH,
        traceparent: None,
        finding: finding.clone(),
    };
    Acceptance {
        delivery,
        source: "sentinel".to_owned(),
        tenant: tenant.clone(),
        received_at: Timestamp::UNIX_EPOCH,
        webhook_id: None,
        body: "{\"what\": \"came\"}".into(),
        body_hash: "00".to_owned(),
        signals: (0..signals).map(signal).collect(),
        buried: None,
        answer: json!({ "accepted": 1 }),
    }
}
