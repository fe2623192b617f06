//! Shape `risky_user`: a riskyUser of Entra ID Protection (Graph object, or a row of `AADRiskyUsers`). It says that
//! a person is at risk, not why: the kind is `generic`.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Context, Draft, Shape, risk_detection};
use crate::domain::Kind;
use crate::sources::normalise::json::{get, reference, text};
use crate::sources::normalise::person::Account;
use crate::sources::normalise::{clock, risk};

#[derive(Debug)]
pub(super) struct RiskyUser;

impl Shape for RiskyUser {
    fn word(&self) -> &'static str {
        "risky_user"
    }

    fn tells(&self, item: &Value) -> bool {
        get(item, "riskLastUpdatedDateTime").is_some() && get(item, "riskState").is_some()
    }

    fn read(&self, items: &[&Value], _ctx: &Context) -> Vec<Draft> {
        items.iter().map(|item| draft(item, self.word(), None, None)).collect()
    }
}

/// Reads one risky user. `tenant` and `seen_at` come from the envelope of a diagnostic record.
pub(super) fn draft(item: &Value, shape: &'static str, tenant: Option<Uuid>, seen_at: Option<Timestamp>) -> Draft {
    let mut draft = Draft::new(shape);
    draft.kind = Some(Kind::Generic);
    draft.raw_kind = "riskyUser".to_owned();
    draft.title = Some("User at risk".to_owned());
    draft.risk = risk::of(get(item, "riskLevel"));
    draft.tenant = tenant;
    draft.detected_at = clock::of(item, &["riskLastUpdatedDateTime"]).or(seen_at);
    draft.closed = risk_detection::closed(item).or_else(|| {
        let is_deleted = get(item, "isDeleted").and_then(Value::as_bool) == Some(true);
        let is_calm = text(item, "riskState").is_some_and(|state| state.eq_ignore_ascii_case("none"));
        match (is_deleted, is_calm) {
            (true, _) => Some("closed: the user is deleted".to_owned()),
            (false, true) => Some("closed: the user is not at risk".to_owned()),
            (false, false) => None,
        }
    });
    draft.people.add(&Account {
        object_id: text(item, "id"),
        upn: text(item, "userPrincipalName"),
        ..Account::default()
    });
    draft.hold_if_nobody("the risky user has neither an object id nor a user principal name");
    draft.refer("risky_user", reference(item, &["id"]));
    draft.about = json!({
        "risky_user": reference(item, &["id"]),
        "risk": draft.risk,
        "state": text(item, "riskState"),
        "detail": text(item, "riskDetail"),
        "detected": draft.detected_at,
    });
    draft
}
