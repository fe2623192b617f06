//! What is kept of a person as one document: watermark, open case, what waits, what is watched.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::ids::{CaseId, RunId, SignalId};
use super::super::plan::StepId;
use super::super::run::Mode;
use super::super::signal::{Kind, Risk};
use super::{Arrival, Handover};

/// The instant all sessions older than it are dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    pub at: Timestamp,
    /// Read back from Graph; until then `at` is the instant the accepted call left, minus 5 s (contract §13.2).
    pub verified: bool,
}

/// An accepted revoke that is not read back yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadBack {
    pub run: RunId,
    pub step: StepId,
    pub left_at: Timestamp,
    pub attempt: u32,
    pub next_at: Timestamp,
}

/// What identifies the intruder in later sign-ins; bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    pub ips: BTreeSet<String>,
    pub devices: BTreeSet<String>,
    pub sessions: BTreeSet<String>,
}

impl Traces {
    const MOST: usize = 64;

    pub(super) fn merge(&mut self, other: &Traces) {
        for (mine, theirs) in
            [(&mut self.ips, &other.ips), (&mut self.devices, &other.devices), (&mut self.sessions, &other.sessions)]
        {
            let room = Self::MOST.saturating_sub(mine.len());
            mine.extend(theirs.iter().take(room).cloned());
        }
    }
}

/// The watch over sign-ins newer than the revoke (contract §4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    pub last_revoke: Timestamp,
    /// Until the reset is executed.
    pub continuous: bool,
    /// The second look after 15 and 60 minutes: how many were taken.
    pub looks: u8,
    pub next_at: Timestamp,
    pub traces: Traces,
    pub kind: Kind,
}

impl Watch {
    /// After a reading: when to look next; `None` when the watch is over.
    pub fn looked(mut self, now: Timestamp, case_open: bool, every: SignedDuration) -> Option<Self> {
        if self.continuous && case_open {
            self.next_at = now + every;
            return Some(self);
        }
        for (look, minutes) in [(1, 15), (2, 60)] {
            let at = self.last_revoke + SignedDuration::from_mins(minutes);
            if self.looks < look {
                if at > now {
                    self.next_at = at;
                    return Some(self);
                }
                self.looks = look;
            }
        }
        None
    }
}

/// The open case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub id: CaseId,
    pub opened_at: Timestamp,
    pub received_at: Timestamp,
    pub kinds: BTreeSet<Kind>,
    pub risk: Risk,
    pub mode: Mode,
    pub signals: u32,
    pub latest_activity: Timestamp,
    /// When the newest evidence came that the person is at risk, which no revoke covered.
    #[serde(default)]
    pub told_at: Option<Timestamp>,
    /// Names of the playbooks that ran.
    pub playbooks: BTreeSet<String>,
    pub runs: Vec<RunId>,
    /// Signal ids with their content hashes, for evidence snapshots; the newest 200.
    pub evidence: Vec<(SignalId, String)>,
    pub snapshots: u32,
    pub traces: Traces,
    /// The home tenant owns the sessions.
    #[serde(default)]
    pub guest: bool,
    /// A task expired or lapsed: contained, password unchanged, until a human closes it (law 4).
    #[serde(default)]
    pub unchanged: bool,
    /// The first one.
    #[serde(default)]
    pub revoke_accepted_at: Option<Timestamp>,
    /// The latest one.
    #[serde(default)]
    pub last_revoke_at: Option<Timestamp>,
    #[serde(default)]
    pub revoke_verified_at: Option<Timestamp>,
    #[serde(default)]
    pub reset_at: Option<Timestamp>,
    /// When the person replaced the one-time password.
    #[serde(default)]
    pub changed_by_user_at: Option<Timestamp>,
}

impl Case {
    /// A run was opened in this mode: a case that began as a rehearsal is none from the first real one on.
    pub(super) fn takes_effect(&mut self, mode: Mode) {
        if mode == Mode::Enforce {
            self.mode = mode;
        }
    }
}

/// What remains of a closed case: enough to know whether a late signal brings anything new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCase {
    pub id: CaseId,
    pub closed_at: Timestamp,
    pub playbooks: BTreeSet<String>,
}

/// The part of a person that is stored as one document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Doc {
    pub watermark: Option<Watermark>,
    /// When the last accepted revoke left.
    pub last_revoke: Option<Timestamp>,
    pub read_back: Option<ReadBack>,
    pub case: Option<Case>,
    pub last_case: Option<LastCase>,
    /// Signals that met a revoke in flight; judged when it settles.
    pub pending: Vec<Arrival>,
    pub watch: Option<Watch>,
    /// A one-time password that the person has not replaced yet, as far as was read.
    pub handover: Option<Handover>,
}

impl Doc {
    /// When sign-ins or the last password change are to be read next.
    pub fn watch_at(&self) -> Option<Timestamp> {
        let watch = self.watch.as_ref().map(|watch| watch.next_at);
        watch.into_iter().chain(self.handover.as_ref().map(|handover| handover.next_at)).min()
    }
}
