//! What the reads of a run found: sign-ins, methods, rules, risk; and which of them failed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::super::markup::{Tag, Tone, When};
use super::super::story::StepStory;
use super::super::{text, words};
use super::MOST;
use crate::domain::plan::REVOKE;
use crate::sources::normalise::names;

/// One sign-in.
#[derive(Debug, Clone)]
pub struct SignIn {
    pub at: Option<When>,
    pub place: String,
    pub ip: Option<String>,
    pub app: Option<String>,
    pub device: Option<String>,
    pub result: Tag,
    /// `MFA`, `one factor`, or nothing where the log does not say.
    pub mfa: Option<&'static str>,
    pub risk: Option<Tag>,
    /// Its address is one of the signals'.
    pub suspect: bool,
    /// Of those, it got in with risk or without a second factor.
    pub alarming: bool,
}

/// A conclusion that saves a search.
#[derive(Debug, Clone)]
pub struct Finding {
    pub text: String,
    pub tone: Tone,
}

/// A way to sign in.
#[derive(Debug, Clone)]
pub struct Method {
    pub kind: String,
    pub display: Option<String>,
    pub created: Option<When>,
    /// Added since shortly before the activity: look at it.
    pub recent: bool,
}

/// A suspicious inbox rule.
#[derive(Debug, Clone)]
pub struct Rule {
    pub name: String,
    pub reasons: Vec<String>,
}

/// Another alert about the person.
#[derive(Debug, Clone)]
pub struct Detection {
    pub kind: String,
    pub level: Tag,
    pub state: Option<String>,
    pub at: Option<When>,
    pub ip: Option<String>,
}

/// A read that did not succeed: its evidence is missing, not clean.
#[derive(Debug, Clone)]
pub struct Unread {
    pub what: String,
    pub why: String,
}

/// Addresses in the signals, and when each is first told of.
pub(super) type Suspects = BTreeMap<String, Option<Timestamp>>;

/// A method added from this long before the activity on counts as recent.
const RECENT: SignedDuration = SignedDuration::from_hours(24);

/// Results of reads, newest run first.
pub(super) struct Reads<'a> {
    stories: &'a [StepStory],
}

impl<'a> Reads<'a> {
    pub(super) fn of(stories: &'a [StepStory]) -> Self {
        Self { stories }
    }

    fn result(&self, action: &str) -> Option<&'a Value> {
        self.stories.iter().rev().filter(|story| story.action == action).find_map(|story| story.result.as_ref())
    }

    fn rows(&self, action: &str, key: &str) -> &'a [Value] {
        let rows = self.result(action).and_then(|result| result.get(key)).and_then(Value::as_array);
        rows.map_or(&[], Vec::as_slice)
    }

    pub(super) fn user(&self) -> Option<&'a Value> {
        self.result("read_user")
    }

    pub(super) fn password_changed(&self) -> Option<Timestamp> {
        instant(self.user()?, "last_password_change")
    }

    pub(super) fn sign_ins(&self, suspects: &Suspects, now: Timestamp) -> Vec<SignIn> {
        let rows = self.rows("read_sign_ins", "sign_ins");
        let suspect = |row: &Value| suspects.contains_key(&string(row, "ip").unwrap_or_default());
        // The suspicious ones first in the choice, all by time in the list.
        let mut chosen: Vec<&Value> = rows.iter().filter(|row| suspect(row)).take(MOST).collect();
        let room = MOST.saturating_sub(chosen.len());
        chosen.extend(rows.iter().filter(|row| !suspect(row)).take(room));
        chosen.sort_by_key(|row| std::cmp::Reverse(instant(row, "at")));
        chosen.into_iter().map(|row| sign_in(row, suspect(row), now)).collect()
    }

    /// What the log says about the addresses in the signals: used before, with MFA, by a known device.
    pub(super) fn findings(&self, suspects: &Suspects, activity: Option<Timestamp>) -> Vec<Finding> {
        let Some(result) = self.result("read_sign_ins") else { return Vec::new() };
        let rows = result.get("sign_ins").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut findings = Vec::new();
        for (ip, first) in suspects.iter().take(5) {
            let since = first.or(activity);
            let of_ip = || rows.iter().filter(|row| string(row, "ip").as_ref() == Some(ip));
            let succeeded = |row: &&Value| row.get("success").and_then(Value::as_bool) == Some(true);
            let before = |row: &&Value| instant(row, "at").zip(since).is_some_and(|(at, since)| at < since - BEFORE);
            let earlier = of_ip().filter(before).filter(succeeded).count();
            let (text, tone) = match earlier {
                0 => (
                    format!(
                        "{ip}: not used successfully before, in {} that were read.",
                        words::count(rows.len() as u64, "sign-in", "sign-ins")
                    ),
                    Tone::Warn,
                ),
                1 => (format!("{ip}: used once before this activity."), Tone::Info),
                n => (format!("{ip}: used {n} times before this activity; it may be theirs."), Tone::Info),
            };
            findings.push(Finding { text, tone });
            let unproved =
                of_ip().filter(succeeded).filter(|row| row.get("mfa").and_then(Value::as_bool) == Some(false));
            match unproved.count() {
                0 => {}
                n => findings.push(Finding {
                    text: format!("{ip}: {} with one factor only.", words::count(n as u64, "sign-in", "sign-ins")),
                    tone: Tone::Warn,
                }),
            }
        }
        findings
    }

    pub(super) fn methods(&self, activity: Option<Timestamp>, now: Timestamp) -> Vec<Method> {
        let rows = self.rows("read_auth_methods", "methods").iter().take(MOST);
        let mut methods: Vec<Method> = rows
            .map(|row| {
                let created = instant(row, "created");
                let recent = created.zip(activity).is_some_and(|(created, activity)| created > activity - RECENT);
                // Microsoft gives a password the instant it was last changed.
                let is_password = row.get("type").and_then(Value::as_str) == Some("password");
                Method {
                    kind: string(row, "type").map_or_else(|| "Unknown method".to_owned(), |kind| method(&kind)),
                    display: string(row, "display"),
                    created: created.map(|at| When::new(at, now)),
                    recent: recent && !is_password,
                }
            })
            .collect();
        methods.sort_by_key(|method| (!method.recent, std::cmp::Reverse(method.created.map(|at| at.at))));
        methods
    }

    pub(super) fn rules(&self) -> (Vec<Rule>, Option<usize>) {
        let Some(result) = self.result("read_inbox_rules") else { return (Vec::new(), None) };
        let rows = self.rows("read_inbox_rules", "suspicious").iter().take(MOST);
        let reasons = |row: &Value| {
            let reasons = row.get("reasons").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            reasons.iter().take(5).filter_map(|reason| text::some(reason.as_str())).collect()
        };
        let rules = rows
            .map(|row| Rule {
                name: string(row, "name").unwrap_or_else(|| "a rule without a name".to_owned()),
                reasons: reasons(row),
            })
            .collect();
        (rules, Some(result.get("rules").and_then(Value::as_array).map_or(0, Vec::len)))
    }

    pub(super) fn risk(&self, now: Timestamp) -> (Option<String>, Vec<Detection>) {
        let Some(result) = self.result("read_risk") else { return (None, Vec::new()) };
        let level = string(result, "risk_level").map(|level| words::plain(&level));
        let state = string(result, "risk_state").map(|state| plain_camel(&state));
        let now_text = match (level, state) {
            (Some(level), Some(state)) => Some(format!("{level}, {state}")),
            (level, state) => level.or(state),
        };
        let detections = self.rows("read_risk", "detections").iter().take(MOST).map(|row| Detection {
            kind: string(row, "kind").map_or_else(|| "Detection".to_owned(), |kind| detection(&kind)),
            level: words::risk(row.get("level").and_then(Value::as_str).unwrap_or_default()),
            state: string(row, "state").map(|state| plain_camel(&state)),
            at: instant(row, "activity_at").or_else(|| instant(row, "detected_at")).map(|at| When::new(at, now)),
            ip: string(row, "ip"),
        });
        (now_text, detections.collect())
    }

    pub(super) fn unread(&self) -> Vec<Unread> {
        let missing = |story: &&StepStory| {
            story.action.starts_with("read_")
                && story.result.is_none()
                && matches!(story.state, "failed" | "retrying" | "unknown")
        };
        let has_other = |story: &&StepStory| self.result(&story.action).is_none();
        let unread = |story: &StepStory| Unread {
            what: words::action(&story.action),
            why: story.note.clone().unwrap_or_else(|| "no answer in time".to_owned()),
        };
        self.stories.iter().filter(missing).filter(has_other).take(MOST).map(unread).collect()
    }
}

/// Closer together it is the same activity.
const BEFORE: SignedDuration = SignedDuration::from_mins(10);

/// When revokes were accepted, oldest first.
pub(super) fn revokes(stories: &[StepStory]) -> Vec<Timestamp> {
    let mut at: Vec<Timestamp> = stories
        .iter()
        .filter(|story| story.action == REVOKE && story.state == "done")
        .filter_map(|story| story.at)
        .collect();
    at.sort_unstable();
    at
}

fn sign_in(row: &Value, suspect: bool, now: Timestamp) -> SignIn {
    let place: Vec<String> = ["city", "country"].iter().filter_map(|key| string(row, key)).collect();
    let risk = row.get("risk").and_then(Value::as_str).filter(|risk| matches!(*risk, "low" | "medium" | "high"));
    let success = row.get("success").and_then(Value::as_bool);
    let mfa = row.get("mfa").and_then(Value::as_bool);
    SignIn {
        alarming: suspect && success == Some(true) && (mfa != Some(true) || risk.is_some_and(|risk| risk != "low")),
        at: instant(row, "at").map(|at| When::new(at, now)),
        place: if place.is_empty() { "Place not told".to_owned() } else { place.join(", ") },
        ip: string(row, "ip"),
        app: string(row, "app"),
        device: string(row, "device"),
        result: match success {
            Some(true) => Tag::new("Signed in", if suspect { Tone::Bad } else { Tone::Plain }),
            Some(false) => Tag::new("Failed", Tone::Plain),
            None => Tag::new("Result not told", Tone::Plain),
        },
        mfa: mfa.map(|mfa| if mfa { "MFA" } else { "one factor" }),
        risk: risk.map(words::risk),
        suspect,
    }
}

fn method(kind: &str) -> String {
    let known = match kind {
        "password" => "Password",
        "phone" => "Phone",
        "email" => "E-mail",
        "fido2" => "Security key or passkey",
        "microsoftAuthenticator" => "Microsoft Authenticator",
        "passwordlessMicrosoftAuthenticator" => "Microsoft Authenticator, passwordless",
        "softwareOath" => "Authenticator code",
        "windowsHelloForBusiness" => "Windows Hello",
        "temporaryAccessPass" => "Temporary access pass",
        "platformCredential" => "Platform credential",
        other => return words::capital(&plain_camel(other)),
    };
    known.to_owned()
}

/// Microsoft's word for a detection in ours, where it is one of them.
fn detection(word: &str) -> String {
    names::kind(word).map_or_else(|| words::capital(&plain_camel(word)), |kind| words::kind(kind.word()))
}

/// `atRisk` as `at risk`.
fn plain_camel(word: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in word.chars().take(80) {
        if c.is_uppercase() && before.is_lowercase() {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
        before = c;
    }
    words::plain(&out)
}

fn string(row: &Value, key: &str) -> Option<String> {
    text::some(row.get(key).and_then(Value::as_str))
}

fn instant(row: &Value, key: &str) -> Option<Timestamp> {
    row.get(key)?.as_str()?.parse().ok()
}
