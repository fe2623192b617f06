//! What a thief may still hold, honestly (law 12): ours is the time to the accepted revoke; what follows is Microsoft's.
//!
//! The spans are theirs (facts: graph §8): up to 15 minutes where access is evaluated continuously, 90 minutes for
//! other access tokens, two hours for Microsoft 365 clients in tenants without Conditional Access.

use jiff::{SignedDuration, Timestamp};

use super::evidence::Known;
use super::markup::{Tag, Tone, When};
use super::words;
use crate::store::CaseRow;

const CONTINUOUS: SignedDuration = SignedDuration::from_mins(15);
const TOKENS: SignedDuration = SignedDuration::from_mins(90);
const WITHOUT_POLICY: SignedDuration = SignedDuration::from_hours(2);

/// One class of access and when it ends.
#[derive(Debug, Clone)]
pub struct Remains {
    pub what: &'static str,
    pub by: When,
    /// The time has passed.
    pub over: bool,
}

/// Containment and what remains.
#[derive(Debug, Clone)]
pub struct Exposure {
    pub state: Tag,
    /// `Revoked 0.4 s after receipt`, or why not.
    pub headline: String,
    pub tone: Tone,
    pub accepted: Option<When>,
    pub verified: Option<When>,
    /// Empty where nothing was revoked.
    pub remains: Vec<Remains>,
    /// What a revoke never reaches, or what to do instead.
    pub note: &'static str,
}

impl Exposure {
    /// From a case's row; with `known` also how long the first revoke took.
    pub fn of(case: &CaseRow, known: Option<&Known>, now: Timestamp) -> Self {
        let state = words::case_state(&case.state);
        let shadow = case.mode == crate::domain::run::Mode::Shadow;
        let guest = case.detail.get("guest").and_then(serde_json::Value::as_bool) == Some(true);
        let waited = words::span(now.duration_since(case.received_at));
        let none = |headline: String, tone, note| Self {
            state: state.clone(),
            headline,
            tone,
            accepted: None,
            verified: None,
            remains: Vec::new(),
            note,
        };
        if shadow {
            return none("Shadow mode: nothing was revoked.".to_owned(), Tone::Warn, "Every session still works.");
        }
        let Some(accepted) = case.revoke_accepted_at else {
            return match case.state.as_str() {
                "parked" => none(
                    format!("Parked for {waited}: nothing is revoked yet."),
                    Tone::Bad,
                    "Every session still works. Somebody has to release it.",
                ),
                "not_contained" => none(
                    "The revoke was refused.".to_owned(),
                    Tone::Bad,
                    "Every session still works. Act by hand in the Entra admin centre now.",
                ),
                _ => none(format!("Not revoked yet, {waited} after receipt."), Tone::Bad, "Every session still works."),
            };
        };
        let first = known.and_then(|known| known.revokes.first().copied()).unwrap_or(accepted);
        let took = words::span(first.min(accepted).duration_since(case.received_at));
        let verified = case.revoke_verified_at.map(|at| When::new(at, now));
        if guest {
            return Self {
                accepted: Some(When::new(accepted, now)),
                verified,
                ..none(
                    format!("Not contained here: revoke sent after {took}, but the home tenant owns the sessions."),
                    Tone::Bad,
                    "Tell the home tenant's security team, or block the guest's sign-in here.",
                )
            };
        }
        let again = known.map_or(0, |known| known.revokes.len()).saturating_sub(1);
        let again = if again > 0 { format!(", then {again} more") } else { String::new() };
        Self {
            state,
            headline: format!("Revoked {took} after receipt{again}"),
            tone: if verified.is_some() { Tone::Good } else { Tone::Info },
            accepted: Some(When::new(accepted, now)),
            verified,
            remains: remains(accepted, now),
            note: "Third-party applications with cookies of their own are out of reach.",
        }
    }

    /// What still works, in half a sentence, for lists.
    pub fn brief(&self) -> Option<&Remains> {
        self.remains.iter().find(|remains| !remains.over)
    }
}

fn remains(accepted: Timestamp, now: Timestamp) -> Vec<Remains> {
    let entry = |what, after: SignedDuration| {
        let at = accepted.checked_add(after).unwrap_or(Timestamp::MAX);
        Remains { what, by: When::coarse(at, now), over: at <= now }
    };
    vec![
        entry("Exchange, SharePoint and Teams with continuous access evaluation, usually", CONTINUOUS),
        entry("Other applications, until their access token ends", TOKENS),
        entry("Microsoft 365 clients without Conditional Access", WITHOUT_POLICY),
    ]
}
