//! A task: what waits for a human, and the machine that decides about it (facts: approvals §8).
//!
//! `apply` takes an event and `now` and says what follows, or why it refuses; the shell writes task, audit and wake in
//! one transaction. A task is stored as JSON. A timer escalates, expires or lapses a task; it never releases an effect.
//! Deliberately not here: challenges and their consumption, ciphertexts, notifications, conditional updates.

mod digest;
mod event;
mod machine;
mod order;
mod reviewer;
mod rules;
mod state;
mod target;
mod urgency;

#[cfg(test)]
mod laws;
#[cfg(test)]
pub(in crate::domain) mod sample;
#[cfg(test)]
mod tests;

pub use digest::{Binding, Changed, Digest, Snapshot, SnapshotItem};
pub use event::{Ballot, Claim, Consequence, Event, Refusal, Refused, Verdict};
pub use order::{Order, Ordered};
pub use reviewer::{FRESH, Forbidden, Person, Reviewer, Role};
pub use state::{Progress, State};
pub use target::{Target, TargetClass};

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::identity::Identity;
use super::ids::{CaseId, RunId, TaskId};
use super::plan::{EffectClass, Step};
use super::signal::Risk;

/// What a task asks of a human.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Approve or deny the gated steps in its rows.
    Approval,
    /// Do something by hand, then say done.
    Manual,
    /// Free the parked work of a tenant (blast radius), all of it, oldest first.
    Release,
    /// In scope, but nobody can be named, or the news is old, or containment could not be decided: act or close.
    Held,
    /// A step's `when` errored: run it or skip it.
    Undecided,
    /// Asked for by hand: carry it out or not.
    Order,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: &'static [Kind] =
        &[Self::Approval, Self::Manual, Self::Release, Self::Held, Self::Undecided, Self::Order];

    /// The word used in tables, logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Manual => "manual",
            Self::Release => "release",
            Self::Held => "held",
            Self::Undecided => "undecided",
            Self::Order => "order",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Who else may decide, and when they are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// After creation.
    pub after: SignedDuration,
    /// Added to the policy's reviewers from then on; same spelling as [`Policy::reviewers`].
    pub to: Vec<String>,
}

/// How a task is decided. Fixed when the task is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `group:<name>`, `role:<name>`, `reviewer:<id>` or a bare reviewer id. Whoever it is also needs the role
    /// approver or admin.
    pub reviewers: Vec<String>,
    /// Distinct persons that must approve; 0 counts as 1.
    pub approve: u32,
    /// Distinct persons whose denial is final; 0 counts as 1.
    pub deny: u32,
    /// From creation. `None`: stays open until somebody decides (parked containment must not be forgotten).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decide_within: Option<SignedDuration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate: Option<Escalation>,
    /// From approval until the last moment of a claim. `None`: does not lapse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execute_within: Option<SignedDuration>,
    /// True: an approver who lost the entitlement meanwhile does not count at the claim. False: a vote stands.
    #[serde(default)]
    pub fresh_at_claim: bool,
}

impl Policy {
    /// `execute_within` where a policy does not say (contract §6.2).
    pub const EXECUTE_WITHIN: SignedDuration = SignedDuration::from_hours(24);
    /// The same for what reveals a secret.
    pub const EXECUTE_WITHIN_REVEALING: SignedDuration = SignedDuration::from_mins(30);

    /// Groups that may decide, at first or once it is escalated.
    pub fn groups(&self) -> impl Iterator<Item = String> {
        let later = self.escalate.iter().flat_map(|escalation| &escalation.to);
        self.reviewers.iter().chain(later).filter_map(|entry| entry.strip_prefix("group:").map(str::to_owned))
    }

    /// Who may answer where no policy is written: any approver, without a deadline.
    pub fn open() -> Self {
        Self {
            reviewers: vec!["role:approver".into(), "role:admin".into()],
            approve: 1,
            deny: 1,
            decide_within: None,
            escalate: None,
            execute_within: None,
            fresh_at_claim: false,
        }
    }
}

/// How much an effect can hurt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Read,
    Soft,
    Hard,
}

impl From<EffectClass> for Class {
    fn from(class: EffectClass) -> Self {
        match class {
            EffectClass::Read => Self::Read,
            EffectClass::Soft => Self::Soft,
            EffectClass::Hard => Self::Hard,
        }
    }
}

/// One step that waits for the decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The step's id in the run; unique within the task.
    pub step: String,
    pub action: String,
    pub params: Value,
    pub class: Class,
    /// The step yields a secret for the reviewer's browser.
    #[serde(default)]
    pub reveals: bool,
    #[serde(default)]
    pub progress: Progress,
}

impl Row {
    /// A step of a plan, not yet begun.
    pub fn of(step: &Step) -> Self {
        Self {
            step: step.id.0.clone(),
            action: step.action.clone(),
            params: step.with.clone(),
            class: step.class.into(),
            reveals: step.reveals,
            progress: Progress::default(),
        }
    }
}

/// One counted vote. Entitlement was judged when it was cast and is not judged again, unless the policy says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    pub person: Person,
    pub verdict: Verdict,
    pub reason: Option<String>,
    pub at: Timestamp,
    pub digest: Digest,
}

/// The browser a secret will be sealed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The reviewer's id.
    pub reviewer: String,
    /// P-256 public point, base64url; validated where it is used.
    pub key: String,
}

/// The decision that the approve threshold made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub at: Timestamp,
    /// Ids of those who approved.
    pub by: Vec<String>,
    /// What they approved.
    pub digest: Digest,
    pub execute_by: Option<Timestamp>,
    /// The browser of the vote that decided, where a row reveals a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
    /// Why nothing more may be claimed under it: revoked, lapsed or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<State>,
}

/// What waits for a human.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub kind: Kind,
    /// Who it is about; absent while nobody could be named, and for a release.
    pub identity: Option<Identity>,
    pub case: Option<CaseId>,
    pub run: Option<RunId>,
    pub title: String,
    /// What to do by hand, step by step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Whoever started this by hand; never decides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Person>,
    pub policy: Policy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<Playbook>,
    pub rows: Vec<Row>,
    pub snapshot: Snapshot,
    /// Evidence that came after the snapshot: shown, and invalidates nothing.
    pub newer: u32,
    /// How sure the senders are of what it is about, the surest of them; `None` outside a case. Orders, binds nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// A job in place of a step that a revoke follows: it follows the report.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revokes_after: bool,
    pub created_at: Timestamp,
    /// Made while nothing had effects: may be decided for practice, is never executed.
    pub shadow: bool,
    /// Counts changes; the conditional update compares it. Newer evidence does not count, or noise could hold off a
    /// decision.
    pub revision: u64,
    pub state: State,
    pub votes: Vec<Vote>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// What kind of account this is about, as far as it was read; part of what a decision binds. `None`: nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// What was shown before it changed, oldest first: so that whoever decides from an old page is told the difference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
    /// What whoever did it by hand said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The risk was dismissed or confirmed safe since: by what. No approval is taken any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_closed: Option<RiskClosed>,
    /// The highest fencing token seen; a lower one is a late writer.
    #[serde(default)]
    pub fence: u64,
    /// What was asked for by hand, and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered: Option<Box<Ordered>>,
}

/// The pinned playbook a task belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Playbook {
    pub name: String,
    pub version: u64,
    /// SHA-256 (hex) of its normalised text.
    pub hash: String,
}

/// What a page showed before the task changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// The last revision that showed it.
    pub revision: u64,
    pub identity: Option<Identity>,
    pub target: Option<Target>,
}

/// Why nothing is approved here any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiskClosed {
    pub at: Timestamp,
    /// What said so, and how.
    pub by: String,
}

/// What a new task is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct New {
    pub id: TaskId,
    pub kind: Kind,
    pub title: String,
    pub policy: Policy,
    pub created_at: Timestamp,
    pub snapshot: Snapshot,
    pub shadow: bool,
    pub identity: Option<Identity>,
    pub case: Option<CaseId>,
    pub run: Option<RunId>,
    pub instructions: Option<String>,
    pub requester: Option<Person>,
    pub playbook: Option<Playbook>,
    pub rows: Vec<Row>,
}

impl Task {
    /// How long a fetched secret can be shown; counted from the first fetch (contract §7).
    pub const REVEAL_WITHIN: SignedDuration = SignedDuration::from_mins(15);
    /// A secret nobody fetched is dropped after this; a new one needs a new approval.
    pub const FETCH_WITHIN: SignedDuration = SignedDuration::from_hours(24);
    /// Pages older than so many changes are only told that they are old.
    const EARLIER: usize = 16;
    /// A revealing step is claimed only when the recipient's browser was seen this recently (contract §7).
    pub const BROWSER_PRESENT: SignedDuration = SignedDuration::from_secs(60);

    /// A pending task at revision 0.
    pub fn open(new: New) -> Self {
        let New { id, kind, title, policy, created_at, snapshot, shadow, identity, case, run, .. } = new;
        Self {
            id,
            kind,
            identity,
            case,
            run,
            title,
            instructions: new.instructions,
            requester: new.requester,
            policy,
            playbook: new.playbook,
            rows: new.rows,
            snapshot,
            newer: 0,
            risk: None,
            revokes_after: false,
            created_at,
            shadow,
            revision: 0,
            state: State::Pending,
            votes: Vec::new(),
            approval: None,
            target: None,
            earlier: Vec::new(),
            note: None,
            risk_closed: None,
            fence: 0,
            ordered: None,
        }
    }

    /// What a decision binds, besides the evidence as shown.
    pub fn binding(&self) -> Binding {
        let rows = self.rows.iter().map(|row| (&*row.action, &row.params));
        Binding { target: self.target.clone(), ..Binding::new(self.identity.clone(), self.playbook.clone(), rows) }
    }

    /// What a decision on this task must carry (law 5).
    pub fn digest(&self) -> Digest {
        self.binding().digest(&self.snapshot)
    }

    /// True when a row yields a secret, so that an approval must bring a browser key.
    pub fn reveals(&self) -> bool {
        self.rows.iter().any(|row| row.reveals)
    }

    /// When a vote comes too late: at this instant it already does.
    pub fn decide_by(&self) -> Option<Timestamp> {
        after(self.created_at, self.policy.decide_within?)
    }

    /// When more people are asked.
    pub fn escalates_at(&self) -> Option<Timestamp> {
        after(self.created_at, self.policy.escalate.as_ref()?.after)
    }

    /// When a `Tick` is next due; `None`: no timer runs.
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.state.is_terminal() {
            return None;
        }
        if self.state.is_undecided() {
            let escalates = self.escalates_at().filter(|_| matches!(self.state, State::Pending));
            return escalates.into_iter().chain(self.decide_by()).min();
        }
        // A claim freezes the clock.
        let claimed = self.rows.iter().any(|row| matches!(row.progress, Progress::Claimed { .. }));
        let claimable = !claimed && self.rows.iter().any(|row| row.progress.is_claimable());
        let lapses = self.approval.as_ref().filter(|_| claimable);
        let reveals = self.rows.iter().filter_map(|row| row.progress.reveal_by());
        reveals.chain(lapses.and_then(|approval| approval.execute_by)).min()
    }

    /// The effects run as claims of their own; otherwise the decision itself is the deed.
    fn is_claimed_by_step(&self) -> bool {
        matches!(self.kind, Kind::Approval | Kind::Undecided | Kind::Order) && !self.rows.is_empty()
    }
}

/// `at + span`; a sum beyond representable time is a timer that never fires.
fn after(at: Timestamp, span: SignedDuration) -> Option<Timestamp> {
    at.checked_add(span).ok()
}
