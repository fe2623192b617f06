//! Tasks, reviewers and events for the tests of this folder.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::domain::identity::{Identity, ObjectId};

pub const STEP: &str = "reset_password";
pub const KEY: &str = "BKey";

/// `minutes` after the creation of every sample.
pub fn at(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
}

pub fn account(number: u128) -> ObjectId {
    ObjectId::new(Uuid::from_u128(number))
}

pub fn person_of(number: u128) -> Identity {
    Identity { tenant: "contoso".parse().expect("a tenant name"), object_id: account(number) }
}

pub fn policy(approve: u32, deny: u32) -> Policy {
    Policy {
        reviewers: vec!["group:on-call".into()],
        approve,
        deny,
        decide_within: Some(SignedDuration::from_mins(240)),
        escalate: Some(Escalation { after: SignedDuration::from_mins(30), to: vec!["group:soc-leads".into()] }),
        execute_within: Some(SignedDuration::from_mins(30)),
        fresh_at_claim: false,
    }
}

pub fn row(step: &str, reveals: bool) -> Row {
    Row {
        step: step.into(),
        action: step.into(),
        params: json!({ "force_change": true }),
        class: if reveals { Class::Hard } else { Class::Soft },
        reveals,
        progress: Progress::Waiting,
    }
}

/// A task about person 1, made at minute 0.
pub fn task_of(kind: Kind, policy: Policy, rows: Vec<Row>) -> Task {
    Task::open(New {
        id: TaskId::new(Uuid::from_u128(9)),
        kind,
        title: "Reset the password".into(),
        policy,
        created_at: at(0),
        snapshot: Snapshot {
            number: 1,
            taken_at: at(0),
            items: vec![SnapshotItem { id: "sig_1".into(), hash: "aa".into() }],
        },
        shadow: false,
        identity: Some(person_of(1)),
        case: None,
        run: None,
        instructions: None,
        requester: None,
        playbook: Some(Playbook { name: "token-theft".into(), version: 1, hash: "0123456789abcdef".into() }),
        rows,
    })
}

/// One step that reveals nothing, one approval needed.
pub fn plain() -> Task {
    task_of(Kind::Approval, policy(1, 1), vec![row("confirm_compromised", false)])
}

/// A reset: its secret goes to the browser that decides.
pub fn reset() -> Task {
    task_of(Kind::Approval, policy(1, 1), vec![row(STEP, true)])
}

/// On call, signed in freshly, entitled to everything here.
pub fn reviewer(id: &str, number: u128, now: Timestamp) -> Reviewer {
    Reviewer {
        id: id.into(),
        identity: Some(person_of(number)),
        linked: Vec::new(),
        roles: vec![Role::Approver],
        groups: vec!["on-call".into()],
        session_started: at(0),
        at_risk: false,
        revoked_at: None,
        aal2: true,
        proved_at: now,
    }
}

pub fn ballot(task: &Task, by: Reviewer, verdict: Verdict) -> Event {
    Event::Vote(Box::new(Ballot {
        by,
        verdict,
        reason: Some("seen enough".into()),
        digest: task.digest(),
        recipient_key: Some(KEY.into()),
    }))
}

pub fn approve(task: &Task, id: &str, number: u128, now: Timestamp) -> Event {
    ballot(task, reviewer(id, number, now), Verdict::Approve)
}

pub fn deny(task: &Task, id: &str, number: u128, now: Timestamp) -> Event {
    ballot(task, reviewer(id, number, now), Verdict::Deny)
}

pub fn claim_of(task: &Task, step: &str, fence: u64, now: Timestamp) -> Claim {
    Claim {
        step: step.into(),
        fence,
        now: task.binding(),
        risk_closed: None,
        lost: Vec::new(),
        browser_seen: Some(now),
    }
}

pub fn claim(task: &Task, step: &str, fence: u64, now: Timestamp) -> Event {
    Event::Claim(Box::new(claim_of(task, step, fence, now)))
}

pub fn executed(step: &str, fence: u64) -> Event {
    Event::Executed { step: step.into(), fence }
}

pub fn failed(step: &str, fence: u64, provably_no_effect: bool) -> Event {
    Event::Failed { step: step.into(), fence, reason: "the service said no".into(), provably_no_effect }
}

pub fn fetched(by: &str) -> Event {
    Event::Fetched { by: by.into(), key: KEY.into() }
}

/// Applies an event that must be taken.
pub fn take(task: &mut Task, event: Event, now: Timestamp) -> Vec<Consequence> {
    task.apply(event, now).expect("the event is legal here")
}

/// Applies an event that must be refused, and checks that it left no trace.
pub fn refuse(task: &mut Task, event: Event, now: Timestamp) -> Refused {
    let before = task.clone();
    let refused = task.apply(event, now).expect_err("the event is illegal here");
    assert_eq!(*task, before, "a refused event changed the task");
    refused
}

/// `plain` or `reset`, approved by ada (account 2) at minute 1.
pub fn approved(mut task: Task) -> Task {
    let event = approve(&task, "ada", 2, at(1));
    take(&mut task, event, at(1));
    task
}

/// A reset, executed at minute 3: the secret waits for ada's browser.
pub fn sealed() -> Task {
    let mut task = approved(reset());
    let event = claim(&task, STEP, 1, at(2));
    take(&mut task, event, at(2));
    take(&mut task, Event::Sealed { step: STEP.into(), fence: 1 }, at(2));
    take(&mut task, executed(STEP, 1), at(3));
    task
}
