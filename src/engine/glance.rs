//! What lists show of a case beside where it stands: who and where, as its runs read it, and what holds its revoke.
//!
//! Nothing is decided by any of it; whoever decides looks at the journals.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::domain::person::{Case, Person};
use crate::domain::plan::{Phase, READ_USER, REVOKE, Step};
use crate::domain::run::{Run, StepState};

/// A sign-in so long after the activity still counts as it: logs and alerts round differently.
const LATER: SignedDuration = SignedDuration::from_mins(10);

fn runs<'a>(person: &'a Person, case: &Case) -> impl Iterator<Item = &'a Run> {
    let id = case.id;
    person.runs.iter().filter(move |run| run.case == id)
}

fn revokes<'a>(person: &'a Person, case: &Case) -> impl Iterator<Item = (&'a Step, &'a StepState)> {
    runs(person, case).flat_map(Run::steps).filter(|(step, _)| step.action == REVOKE)
}

/// What the newest read of this kind found.
fn result<'a>(person: &'a Person, case: &Case, action: &str) -> Option<&'a Value> {
    runs(person, case).filter_map(|run| run.found(action)).last()
}

/// The person's names, where the account was read.
pub(super) fn user(person: &Person, case: &Case) -> Value {
    let read = result(person, case, READ_USER);
    read.map_or(Value::Null, |user| json!({ "display_name": user.get("display_name"), "upn": user.get("upn") }))
}

/// What holds a revoke, by the first word of its reason: `blast_radius`, `paused`.
pub(super) fn parked(person: &Person, case: &Case) -> Option<String> {
    revokes(person, case).find_map(|(_, state)| match state {
        StepState::Parked { reason, .. } => reason.split(':').next().map(str::to_owned),
        _ => None,
    })
}

/// Graph answered the revoke that there is no such user.
pub(super) fn is_nobody(person: &Person, case: &Case) -> bool {
    revokes(person, case).any(|(step, state)| {
        step.phase == Phase::Contain && matches!(state, StepState::Failed { fault } if fault.is_nobody())
    })
}

/// The sign-in behind the signals, as far as sign-ins were read: the newest from an address in them, or where they name
/// none the newest at the time of the activity.
pub(super) fn place(person: &Person, case: &Case) -> Value {
    let rows = result(person, case, "read_sign_ins").and_then(|read| read.get("sign_ins")).and_then(Value::as_array);
    let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).map(str::to_owned);
    let at = |row: &Value| text(row, "at")?.parse::<Timestamp>().ok();
    let addresses = &case.traces.ips;
    let meant = |row: &&Value| match addresses.is_empty() {
        true => at(row).is_some_and(|at| at <= case.latest_activity + LATER),
        false => text(row, "ip").is_some_and(|ip| addresses.contains(&ip)),
    };
    let newest = rows.into_iter().flatten().filter(meant).max_by_key(|row| at(row));
    newest.map_or(
        Value::Null,
        |row| json!({ "at": at(row), "ip": row.get("ip"), "city": row.get("city"), "country": row.get("country") }),
    )
}
