//! What a thief may still hold, honestly (law 12): ours is the time to the accepted revoke; what follows is Microsoft's.
//!
//! The spans are theirs (facts: graph §8): up to 15 minutes where access is evaluated continuously, 90 minutes for
//! other access tokens, two hours for Microsoft 365 clients in tenants without Conditional Access. They count from the
//! last accepted revoke: what was signed in between the first and the last ended with the last.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::evidence::Known;
use super::markup::{Sentence, Since, Tag, Tone, When};
use super::{paths, words};
use crate::domain::task::Task;
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
    pub headline: Sentence,
    pub tone: Tone,
    /// When the last revoke was accepted.
    pub accepted: Option<When>,
    /// There was one before it.
    pub again: bool,
    /// When that one was read back.
    pub verified: Option<When>,
    /// Empty where nothing was revoked.
    pub remains: Vec<Remains>,
    /// What a revoke never reaches, or what to do instead.
    pub note: &'static str,
    /// Where somebody can end the wait, and the words of the link.
    pub way: Option<(String, &'static str)>,
}

impl Exposure {
    /// From a case's row; with `known` also how long the first revoke took.
    pub fn of(case: &CaseRow, known: Option<&Known>, now: Timestamp) -> Self {
        if case.mode == crate::domain::run::Mode::Shadow {
            let headline = Sentence::of("Shadow mode: nothing was revoked.");
            return Self::without(case, headline, Tone::Warn, "Every session still works.");
        }
        let Some(accepted) = case.revoke_accepted_at else { return Self::unrevoked(case, now) };
        let revokes = known.map(|known| known.revokes.as_slice()).unwrap_or_default();
        let first = revokes.iter().copied().chain([accepted]).min().unwrap_or(accepted);
        let last = revokes.iter().copied().chain([accepted]).chain(case.last_revoke_at).max().unwrap_or(accepted);
        let took = words::span(first.duration_since(case.received_at));
        let verified = case.revoke_verified_at.filter(|at| *at >= last).map(|at| When::new(at, now));
        let revoked = Self {
            accepted: Some(When::new(last, now)),
            again: last > first,
            verified,
            ..Self::without(case, Sentence::of(String::new()), Tone::Bad, "")
        };
        if case.detail.get("guest").and_then(Value::as_bool) == Some(true) {
            let headline =
                format!("Not contained here: revoke sent after {took}, but the home tenant owns the sessions.");
            return Self {
                headline: Sentence::of(headline),
                note: "Tell the home tenant's security team, or block the guest's sign-in here.",
                ..revoked
            };
        }
        let again = match revokes.len().saturating_sub(1) {
            0 if last > first => ", then again".to_owned(),
            0 => String::new(),
            more => format!(", then {more} more"),
        };
        Self {
            headline: Sentence::of(format!("Revoked {took} after receipt{again}")),
            tone: if verified.is_some() { Tone::Good } else { Tone::Info },
            remains: remains(last, now),
            note: "Third-party applications with cookies of their own are out of reach.",
            ..revoked
        }
    }

    /// No revoke was accepted: why, for how long, and what to do.
    fn unrevoked(case: &CaseRow, now: Timestamp) -> Self {
        let since = Since::new(case.received_at, now);
        let parked = |by, note| {
            let headline = Sentence::growing(by, since, ": nothing is revoked yet.");
            Self::without(case, headline, Tone::Bad, note)
        };
        let held = case.detail.get("parked").and_then(Value::as_str);
        match (case.state.as_str(), held) {
            ("closed", _) => Self::without(
                case,
                Sentence::of("Closed without a revoke."),
                Tone::Warn,
                "Nothing was revoked from here.",
            ),
            ("parked", Some("paused")) => Self {
                way: Some((format!("{}#pause", paths::SETTINGS), "Resume in settings")),
                ..parked(
                    "Held by the pause for ",
                    "Every session still works. The revoke goes out as soon as somebody resumes.",
                )
            },
            ("parked", Some("blast_radius") | None) => {
                parked("Parked for ", "Every session still works. Somebody has to release it.")
            }
            ("parked", Some(_)) => parked("Parked for ", "Every session still works until the guard lets it go."),
            ("not_contained", _) if case.detail.get("nobody").and_then(Value::as_bool) == Some(true) => Self::without(
                case,
                Sentence::of("Nobody to contain: Graph knows no such user."),
                Tone::Warn,
                "A deleted account, an application, or somebody of another tenant. Find out who is meant and contain them.",
            ),
            ("not_contained", _) => Self::without(
                case,
                Sentence::of("The revoke was refused."),
                Tone::Bad,
                "Every session still works. Act by hand in the Entra admin centre now.",
            ),
            _ => Self::without(
                case,
                Sentence::growing("Not revoked yet, ", since, " after receipt."),
                Tone::Bad,
                "Every session still works.",
            ),
        }
    }

    fn without(case: &CaseRow, headline: Sentence, tone: Tone, note: &'static str) -> Self {
        Self {
            state: words::case_state(&case.state),
            headline,
            tone,
            accepted: None,
            again: false,
            verified: None,
            remains: Vec::new(),
            note,
            way: None,
        }
    }

    /// With the way to the task that frees it: `None` where none waits.
    pub fn released_by(self, task: Option<&Task>) -> Self {
        match task {
            Some(task) => Self { way: Some((paths::task(task.id), "Decide its release")), ..self },
            None => Self {
                note: "Every session still works, and no release waits for a decision. Revoke them by hand, in the case or in the Entra admin centre.",
                ..self
            },
        }
    }

    /// What still works, in half a sentence, for lists.
    pub fn brief(&self) -> Option<&Remains> {
        self.remains.iter().find(|remains| !remains.over)
    }
}

/// More people than the guard lets through: somebody has to release this one.
pub fn needs_release(case: &CaseRow) -> bool {
    case.state == "parked" && case.detail.get("parked").and_then(Value::as_str) == Some("blast_radius")
}

/// A time in a case's row, beside those that every row has.
pub(super) fn instant(case: &CaseRow, key: &str) -> Option<Timestamp> {
    case.detail.get(key)?.as_str()?.parse().ok()
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
