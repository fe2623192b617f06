//! What the reads of a run found: sign-ins, methods, rules, risk; and which of them failed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::super::markup::{Tag, Tone, When};
use super::super::story::StepStory;
use super::super::{text, words};
use super::places::Travel;
use super::{Cut, MOST, place_in};
use crate::domain::plan::REVOKE;
use crate::domain::signal::Place;
use crate::sources::normalise::names;

/// One sign-in.
#[derive(Debug, Clone)]
pub struct SignIn {
    pub at: Option<When>,
    pub place: String,
    pub ip: Option<String>,
    pub app: Option<String>,
    pub device: Option<String>,
    /// Of a device that Entra knows.
    pub device_id: Option<String>,
    /// The network the address belongs to.
    pub asn: Option<u64>,
    pub result: Tag,
    /// `MFA`, `one factor`, or nothing where the log does not say.
    pub mfa: Option<&'static str>,
    /// How it was proved, in Microsoft's words.
    pub mfa_detail: Option<String>,
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
    pub place: Option<String>,
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

    /// What the sign-ins tell of travel; those that got in count before those that did not.
    pub(super) fn travel(&self, suspects: &Suspects, activity: Option<Timestamp>) -> Option<Travel> {
        let rows = self.rows("read_sign_ins", "sign_ins");
        let among = |wanted: fn(&Value) -> bool| {
            let places: Vec<Place> = rows.iter().filter(|row| wanted(row)).map(place).collect();
            let suspect = |row: &Place| row.ip.as_ref().is_some_and(|ip| suspects.contains_key(ip));
            Travel::of_sign_ins(&places, suspect, activity)
        };
        among(succeeded).or_else(|| among(|_| true))
    }

    pub(super) fn sign_ins(&self, suspects: &Suspects, now: Timestamp) -> Cut<SignIn> {
        let rows = self.rows("read_sign_ins", "sign_ins");
        let suspect = |row: &Value| suspects.contains_key(&string(row, "ip").unwrap_or_default());
        // The suspicious ones first in the choice, all by time in the list.
        let mut chosen: Vec<&Value> = rows.iter().filter(|row| suspect(row)).take(MOST).collect();
        let room = MOST.saturating_sub(chosen.len());
        chosen.extend(rows.iter().filter(|row| !suspect(row)).take(room));
        chosen.sort_by_key(|row| std::cmp::Reverse(instant(row, "at")));
        Cut::left(chosen, rows.len()).map(|row| sign_in(row, suspect(row), now))
    }

    /// What the log says about the addresses in the signals: used before, with MFA, by a known device.
    pub(super) fn findings(&self, suspects: &Suspects, activity: Option<Timestamp>) -> Vec<Finding> {
        let Some(result) = self.result("read_sign_ins") else { return Vec::new() };
        let rows = result.get("sign_ins").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if rows.is_empty() {
            let text = "No sign-ins are on record for the time that was read.".to_owned();
            return vec![Finding { text, tone: Tone::Info }];
        }
        let mut findings = Vec::new();
        let mut newest: Vec<_> = suspects.iter().collect();
        newest.sort_by_key(|(_, first)| std::cmp::Reverse(**first));
        for (ip, first) in newest.into_iter().take(COMPARED) {
            findings.extend(of_address(ip, first.or(activity), rows));
        }
        if let Some(more) = suspects.len().checked_sub(COMPARED).filter(|more| *more > 0) {
            let addresses = words::count(more as u64, "more address", "more addresses");
            let text = format!("{addresses} in the signals: not compared here.");
            findings.push(Finding { text, tone: Tone::Info });
        }
        findings
    }

    pub(super) fn methods(&self, activity: Option<Timestamp>, now: Timestamp) -> Cut<Method> {
        let rows = self.rows("read_auth_methods", "methods").iter();
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
        Cut::of(methods, MOST)
    }

    pub(super) fn rules(&self) -> (Cut<Rule>, Option<usize>) {
        let Some(result) = self.result("read_inbox_rules") else { return (Cut::default(), None) };
        let rows = self.rows("read_inbox_rules", "suspicious").iter();
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
        (Cut::of(rules, MOST), Some(result.get("rules").and_then(Value::as_array).map_or(0, Vec::len)))
    }

    pub(super) fn risk(&self, now: Timestamp) -> (Option<String>, Cut<Detection>) {
        let Some(result) = self.result("read_risk") else { return (None, Cut::default()) };
        let level = string(result, "risk_level").map(|level| words::plain(&level));
        let state = string(result, "risk_state").map(|state| plain_camel(&state));
        let now_text = match (level, state) {
            (Some(level), Some(state)) => Some(format!("{level}, {state}")),
            (level, state) => level.or(state),
        };
        let detections = self.rows("read_risk", "detections").iter().map(|row| Detection {
            kind: string(row, "kind").map_or_else(|| "Detection".to_owned(), |kind| detection(&kind)),
            level: words::risk(row.get("level").and_then(Value::as_str).unwrap_or_default()),
            state: string(row, "state").map(|state| plain_camel(&state)),
            at: instant(row, "activity_at").or_else(|| instant(row, "detected_at")).map(|at| When::new(at, now)),
            place: row.get("location").and_then(place_in),
            ip: string(row, "ip"),
        });
        (now_text, Cut::of(detections.collect(), MOST))
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

/// So many addresses are compared with the sign-ins, one line or two each.
const COMPARED: usize = 5;

fn succeeded(row: &Value) -> bool {
    row.get("success").and_then(Value::as_bool) == Some(true)
}

/// What the sign-ins from one address say: used before `since`, and how they were proved.
fn of_address(ip: &str, since: Option<Timestamp>, rows: &[Value]) -> Vec<Finding> {
    let of_ip: Vec<&Value> =
        rows.iter().filter(|row| string(row, "ip").as_deref() == Some(ip) && succeeded(row)).collect();
    let before = |row: &Value| instant(row, "at").zip(since).is_some_and(|(at, since)| at < since - BEFORE);
    let sign_ins = |number: usize| words::count(number as u64, "sign-in", "sign-ins");
    let (text, tone) = match of_ip.iter().filter(|row| before(row)).count() {
        0 => {
            let read = sign_ins(rows.len());
            (format!("{ip}: not used successfully before, in {read} that were read."), Tone::Warn)
        }
        1 => (format!("{ip}: used once before this activity."), Tone::Info),
        n => (format!("{ip}: used {n} times before this activity; it may be theirs."), Tone::Info),
    };
    let mut findings = vec![Finding { text, tone }];
    let one_factor = |row: &Value| row.get("mfa").and_then(Value::as_bool) == Some(false);
    let mut warn = |number: usize, how: &str| {
        if number > 0 {
            findings.push(Finding { text: format!("{ip}: {} {how}.", sign_ins(number)), tone: Tone::Warn });
        }
    };
    warn(of_ip.iter().filter(|row| one_factor(row)).count(), "with one factor only");
    let by_claim = of_ip.iter().filter(|row| is_by_claim(row)).count();
    warn(by_claim, "whose MFA came from a claim in the token, as a stolen session has it");
    findings
}

/// The second factor was not shown then: the token said that it once was (facts: sentinel §5.4).
fn is_by_claim(row: &Value) -> bool {
    row.get("mfa_detail").and_then(Value::as_str).is_some_and(|detail| detail.contains("claim in the token"))
}

fn place(row: &Value) -> Place {
    let number = |key: &str| row.get(key).and_then(Value::as_f64);
    Place {
        ip: string(row, "ip"),
        city: string(row, "city"),
        country: string(row, "country"),
        latitude: number("latitude"),
        longitude: number("longitude"),
        at: instant(row, "at"),
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
    let risk = row.get("risk").and_then(Value::as_str).filter(|risk| matches!(*risk, "low" | "medium" | "high"));
    let success = row.get("success").and_then(Value::as_bool);
    let mfa = row.get("mfa").and_then(Value::as_bool);
    SignIn {
        alarming: suspect
            && success == Some(true)
            && (mfa != Some(true) || is_by_claim(row) || risk.is_some_and(|risk| risk != "low")),
        at: instant(row, "at").map(|at| When::new(at, now)),
        place: place_in(row).unwrap_or_else(|| "Place not told".to_owned()),
        ip: string(row, "ip"),
        app: string(row, "app"),
        device: string(row, "device"),
        device_id: string(row, "device_id"),
        asn: row.get("asn").and_then(Value::as_u64),
        result: match success {
            Some(true) => Tag::new("Signed in", if suspect { Tone::Bad } else { Tone::Plain }),
            Some(false) => Tag::new("Failed", Tone::Plain),
            None => Tag::new("Result not told", Tone::Plain),
        },
        mfa: mfa.map(|mfa| if mfa { "MFA" } else { "one factor" }),
        mfa_detail: string(row, "mfa_detail"),
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
