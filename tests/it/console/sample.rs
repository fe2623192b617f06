//! Rows as the store would give them, for pages.

use jiff::{SignedDuration, Timestamp};
use oust::actions::registry;
use oust::domain::plan::Plan;
use oust::domain::run::{Entry, Mode};
use oust::domain::task::{
    Approval, Class, Escalation, Kind, New, Person, Playbook, Policy, Progress, Recipient, Reviewer, Role, Row,
    Snapshot, SnapshotItem, State, Task, Verdict, Vote,
};
use oust::domain::{CaseId, Identity, ObjectId, RunId, TaskId};
use oust::http::console::view::story::RunFacts;
use oust::http::console::view::{Eye, Names};
use oust::playbook::Catalog;
use oust::store::{Audit, CaseRow, RunRow};
use serde_json::{Value, json};
use uuid::Uuid;

pub const ADA: u128 = 0x3f25_04e0_4f89_41d3_9a0c_0305_e82c_3301;
pub const KEY: &str = "BAl2kZ0fM0Xc9wJ1b2m8Qe5r7t9yUoPsDfGhJkLzXcVbNm1234567890qWeRtYuIoPaSdFgHjKlZxCvBnM12345";

pub fn now() -> Timestamp {
    at("2026-11-22T14:10:00Z")
}

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

pub fn person(number: u128) -> Identity {
    Identity { tenant: "contoso".parse().expect("a name"), object_id: ObjectId::new(Uuid::from_u128(number)) }
}

pub fn case_id(number: u128) -> CaseId {
    CaseId::new(Uuid::from_u128(0x0193_5000_0000_7000_8000_0000_0000_0000 + number))
}

pub fn names() -> Names {
    Names(
        [("grace", "Grace Hopper"), ("alan", "Alan Turing"), ("edith", "Edith Clarke")]
            .map(|(id, name)| (id.into(), name.into()))
            .into(),
    )
}

pub fn reviewer(id: &str, number: u128, role: Role) -> Reviewer {
    Reviewer {
        id: id.into(),
        identity: Some(person(number)),
        linked: Vec::new(),
        roles: vec![role],
        groups: vec!["on-call".into()],
        session_started: at("2026-11-22T13:00:00Z"),
        at_risk: false,
        revoked_at: None,
        aal2: true,
        proved_at: at("2026-11-22T13:00:00Z"),
    }
}

pub fn eye<'a>(me: Option<&'a Reviewer>, names: &'a Names) -> Eye<'a> {
    Eye { now: now(), me, names }
}

pub fn plan() -> Plan {
    let catalog = Catalog::shipped(&registry()).expect("the shipped playbooks load");
    catalog.get("impossible-travel").expect("it is shipped").plan.clone()
}

pub fn case(number: u128, state: &str) -> CaseRow {
    let accepted = match state {
        "open" | "not_contained" | "parked" => None,
        _ => Some(at("2026-11-22T14:02:07Z")),
    };
    CaseRow {
        id: case_id(number),
        identity: person(ADA + number),
        opened_at: at("2026-11-22T14:02:06.600Z"),
        closed_at: (state == "closed").then(|| at("2026-11-22T14:09:00Z")),
        state: state.into(),
        kinds: vec!["impossible_travel".into(), "anonymized_ip".into()],
        risk: ["high", "medium", "low", "unknown"][usize::try_from(number % 4).unwrap_or(0)].into(),
        mode: Mode::Enforce,
        signals: 2,
        received_at: at("2026-11-22T14:02:06.600Z"),
        revoke_accepted_at: accepted,
        last_revoke_at: accepted,
        revoke_verified_at: accepted.filter(|_| state != "revoke_accepted").map(|_| at("2026-11-22T14:03:10Z")),
        detail: json!({ "guest": state == "not_contained_guest", "playbooks": ["impossible-travel"], "steps": [] }),
    }
}

/// So many signals a minute apart, oldest first, each from a place of its own.
pub fn many(number: u8) -> Vec<Value> {
    let one = |n: u8| {
        let mut row = signals("ada@contoso.example", &format!("Signal {n}")).remove(0);
        let minute = at("2026-11-22T08:00:00Z") + SignedDuration::from_mins(i64::from(n));
        row["signal"]["id"] = json!(format!("sig_{:032x}", n + 1));
        (row["signal"]["received_at"], row["signal"]["activity_at"]) = (json!(minute), json!(minute));
        let ip = format!("198.51.100.{n}");
        row["signal"]["evidence"] = json!({
            "places": [{ "ip": ip, "city": format!("City {n}"), "country": "DE", "at": minute }], "ips": [ip],
        });
        row
    };
    (0..number).map(one).collect()
}

/// As `Store::signals_of` gives them.
pub fn signals(upn: &str, title: &str) -> Vec<Value> {
    let one = |id: u8, kind: &str, source: &str, received: &str, places: Value| {
        json!({
            "signal": {
                "id": format!("sig_{id:032x}"), "delivery": format!("dlv_{id:032x}"), "source": source, "tenant": "contoso",
                "received_at": received, "kind": kind, "raw_kind": "impossibleTravel", "risk": "high", "title": title,
                "shape": "incident", "subject": { "upn": upn }, "activity_at": "2026-11-22T14:00:30Z",
                "refs": { "incident": "1742", "alert": "da637…" }, "content": "aa", "outcome": { "outcome": "act" },
                "evidence": {
                    "places": places, "ips": ["185.220.101.4"], "user_agents": ["python-requests/2.32"],
                    "devices": ["unknown device"], "sessions": ["007c0f7a"], "other": { "Anonymizer": "Tor exit node" },
                },
            },
            "identity": { "tenant": "contoso", "object_id": person(ADA).object_id },
            "outcome": { "word": if id == 1 { "act" } else { "covered" }, "reason": (id > 1).then_some("the sessions were already revoked after this activity") },
            "first_of_content": true,
        })
    };
    let both = json!([
        { "ip": "203.0.113.20", "city": "Berlin", "country": "DE", "latitude": 52.52, "longitude": 13.405, "at": "2026-11-22T13:20:11Z" },
        { "ip": "185.220.101.4", "city": "Lagos", "country": "NG", "latitude": 6.455, "longitude": 3.384, "at": "2026-11-22T14:00:30Z" },
    ]);
    vec![
        one(1, "impossible_travel", "sentinel", "2026-11-22T14:02:06.600Z", both),
        one(2, "anonymized_ip", "defender", "2026-11-22T14:04:41Z", json!([])),
    ]
}

/// A run with everything read, the reset waiting, one read failed.
pub fn journal(user: &Value) -> Vec<Entry> {
    let entry = |at: &str, event: Value| {
        let mut whole = event;
        whole["at"] = json!(at);
        serde_json::from_value(whole).expect("an entry of a journal")
    };
    let done = |at: &str, step: &str, result: Value| {
        entry(
            at,
            json!({ "event": "done", "step": step, "result": result, "request_id": "5f1c9d6e-8c55-4b3a-9b53-0f0a3c1a7c11", "left_at": "2026-11-22T14:02:06.900Z" }),
        )
    };
    let fault = json!({ "disposition": "refuse", "code": "OUST-G403", "message": "the app may not read inbox rules: grant MailboxSettings.Read", "status": 403 });
    vec![
        entry(
            "2026-11-22T14:02:06.610Z",
            json!({
                "event": "opened", "plan": "cc", "playbook": "impossible-travel", "version": 1, "mode": "enforce",
                "triggers": [format!("sig_{:032x}", 1)], "activity": "2026-11-22T14:00:30Z",
                "received_at": "2026-11-22T14:02:06.600Z", "satisfied": false, "signal": {},
            }),
        ),
        entry(
            "2026-11-22T14:02:06.612Z",
            json!({
                "event": "intended", "step": "revoke_sessions", "key": "6e0f7d2c-3b4c-5d6e-8f90-a1b2c3d4e5f6", "attempt": 1,
                "settle_by": "2026-11-22T14:02:12Z", "before": null,
            }),
        ),
        done("2026-11-22T14:02:07Z", "revoke_sessions", json!({ "accepted": true })),
        entry(
            "2026-11-22T14:03:10Z",
            json!({ "event": "verified", "step": "revoke_sessions", "valid_from": "2026-11-22T14:02:07Z" }),
        ),
        done("2026-11-22T14:02:08Z", "read_user", user.clone()),
        done(
            "2026-11-22T14:02:08.500Z",
            "read_sign_ins",
            json!({ "count": 3, "sign_ins": [
            { "id": "s3", "at": "2026-11-22T14:00:30Z", "ip": "185.220.101.4", "city": "Lagos", "country": "NG", "latitude": 6.455, "longitude": 3.384, "asn": 64500, "app": "Office 365 Exchange Online", "device": "Windows 10", "device_id": null, "success": true, "mfa": false, "risk": "high" },
            { "id": "s2", "at": "2026-11-22T13:20:11Z", "ip": "203.0.113.20", "city": "Berlin", "country": "DE", "latitude": 52.52, "longitude": 13.405, "app": "Microsoft Teams", "device": "ADA-LAPTOP", "device_id": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "mfa_detail": "MFA completed in Azure AD", "success": true, "mfa": true, "risk": "none" },
            { "id": "s1", "at": "2026-11-22T08:02:51Z", "ip": "203.0.113.20", "city": "Berlin", "country": "DE", "app": "Office 365 Exchange Online", "device": "ADA-LAPTOP", "success": true, "mfa": true, "risk": "none" },
        ] }),
        ),
        done(
            "2026-11-22T14:02:09Z",
            "read_risk",
            json!({ "risk_level": "high", "risk_state": "atRisk", "detections": [
            { "id": "r1", "kind": "anonymizedIPAddress", "level": "high", "state": "atRisk", "activity_at": "2026-11-22T14:00:30Z", "ip": "185.220.101.4", "location": { "city": "Lagos", "country": "NG" } },
        ] }),
        ),
        done(
            "2026-11-22T14:02:09.100Z",
            "read_auth_methods",
            json!({ "methods": [
            { "id": "m1", "type": "phone", "display": "…42", "created": "2024-02-01T10:00:00Z" },
            { "id": "m2", "type": "microsoftAuthenticator", "display": "Pixel 9", "created": "2026-11-22T14:01:02Z" },
            { "id": "m3", "type": "password", "created": "2026-03-01T10:00:00Z" },
        ] }),
        ),
        entry(
            "2026-11-22T14:02:09.200Z",
            json!({ "event": "failed", "step": "read_inbox_rules", "fault": fault, "retry_at": null }),
        ),
        entry("2026-11-22T14:02:10Z", json!({ "event": "asked", "step": "reset_password", "task": task_id(1) })),
    ]
}

pub fn user(name: &str, upn: &str) -> Value {
    json!({ "account_enabled": true, "user_type": "Member", "synced": false, "guest": false, "upn": upn, "display_name": name, "last_password_change": "2026-03-01T10:00:00Z" })
}

pub fn run_row(number: u128) -> RunRow {
    RunRow {
        id: RunId::new(Uuid::from_u128(0x0193_5000_0000_7000_9000_0000_0000_0000 + number)),
        case: case_id(number),
        identity: person(ADA + number),
        plan: "cc".into(),
        playbook: "impossible-travel".into(),
        mode: Mode::Enforce,
        opened_at: at("2026-11-22T14:02:06.610Z"),
        closed_at: None,
        state: "open".into(),
    }
}

pub fn facts<'a>(row: &'a RunRow, journal: &'a [Entry], plan: Option<&'a Plan>) -> RunFacts<'a> {
    RunFacts { row, journal, plan, effects: &[] }
}

pub fn task_id(number: u128) -> TaskId {
    TaskId::new(Uuid::from_u128(0x0193_5000_0000_7000_a000_0000_0000_0000 + number))
}

pub fn row(action: &str, reveals: bool, progress: Progress) -> Row {
    let class = if reveals { Class::Hard } else { Class::Soft };
    Row {
        step: action.into(),
        action: action.into(),
        params: json!({ "force_change": true }),
        class,
        reveals,
        progress,
    }
}

pub fn task(number: u128, kind: Kind, rows: Vec<Row>) -> Task {
    Task::open(New {
        id: task_id(number),
        kind,
        title: "Approve: reset_password".into(),
        policy: Policy {
            reviewers: vec!["group:on-call".into()],
            approve: 1,
            deny: 1,
            decide_within: Some(SignedDuration::from_hours(4)),
            escalate: Some(Escalation { after: SignedDuration::from_mins(30), to: vec!["group:soc-leads".into()] }),
            execute_within: Some(SignedDuration::from_mins(30)),
            fresh_at_claim: false,
        },
        created_at: at("2026-11-22T14:02:10Z"),
        snapshot: Snapshot {
            number: 1,
            taken_at: at("2026-11-22T14:02:10Z"),
            items: vec![SnapshotItem { id: format!("sig_{:032x}", 1), hash: "aa".into() }],
        },
        shadow: false,
        identity: Some(person(ADA)),
        case: Some(case_id(0)),
        run: Some(run_row(0).id),
        instructions: None,
        requester: None,
        playbook: Some(Playbook { name: "impossible-travel".into(), version: 1, hash: "0123456789abcdef".into() }),
        rows,
    })
}

pub fn reset(number: u128) -> Task {
    task(
        number,
        Kind::Approval,
        vec![row("confirm_compromised", false, Progress::Waiting), row("reset_password", true, Progress::Waiting)],
    )
}

/// A reset after Grace's approval, its revealing row at `progress`, in `state`.
pub fn approved(progress: Progress, state: State) -> Task {
    let mut task = reset(1);
    vote(&mut task, "grace", Verdict::Approve);
    task.approval = Some(Approval {
        at: at("2026-11-22T14:06:00Z"),
        by: vec!["grace".into()],
        digest: task.digest(),
        execute_by: Some(at("2026-11-22T14:36:00Z")),
        recipient: Some(Recipient { reviewer: "grace".into(), key: KEY.into() }),
        withdrawn: None,
    });
    task.rows[1].progress = progress;
    if !matches!(task.rows[1].progress, Progress::Waiting | Progress::Skipped { .. }) {
        task.rows[0].progress = Progress::Executed { at: at("2026-11-22T14:06:01Z") };
    }
    task.state = state;
    task
}

/// An approved reset of somebody whose password oust may not set, and the task that a person has instead.
pub fn taken_over() -> (Task, Task) {
    let when = at("2026-11-22T14:06:30Z");
    let state = State::Executed { at: when, by: vec!["grace".into()] };
    let mut partial = approved(Progress::Skipped { at: when }, state);
    partial.rows[0].progress = Progress::Executed { at: when };
    let mut by_hand = task(7, Kind::Manual, Vec::new());
    by_hand.title = "Reset the password by hand".into();
    by_hand.instructions = Some("This person holds a directory role; report this done.".into());
    (partial, by_hand)
}

pub fn vote(task: &mut Task, who: &str, verdict: Verdict) {
    let digest = task.digest();
    task.votes.push(Vote {
        person: Person { id: who.into(), accounts: Vec::new() },
        verdict,
        reason: Some("called her back on the number in HR: she is in Berlin".into()),
        at: at("2026-11-22T14:06:00Z"),
        digest,
    });
}

pub fn audit() -> Vec<(u64, Audit)> {
    let line = |seq: u64, at_: &str, actor: &str, verb: &str, detail: Value| {
        let audit = Audit {
            at: at(at_),
            actor: actor.into(),
            verb: verb.into(),
            tenant: "contoso".parse().ok(),
            object_id: Some(person(ADA).object_id),
            case: Some(case_id(0)),
            detail,
        };
        (seq, audit)
    };
    vec![
        line(
            1047,
            "2026-11-22T14:07:40Z",
            "worker",
            "password.changed_by_user",
            json!({ "at": "2026-11-22T14:07:31Z" }),
        ),
        line(
            1046,
            "2026-11-22T14:07:00Z",
            "reviewer:grace",
            "task.decided",
            json!({ "task": task_id(1), "kind": "approval", "event": "acknowledged", "what": "revealed" }),
        ),
        line(
            1045,
            "2026-11-22T14:06:05Z",
            "reviewer:grace",
            "task.decided",
            json!({ "task": task_id(1), "kind": "approval", "event": "fetched", "what": "sealed" }),
        ),
        line(
            1044,
            "2026-11-22T14:06:00Z",
            "reviewer:alan",
            "task.refused",
            json!({ "task": task_id(1), "why": "this task is about you: nobody decides about their own account" }),
        ),
        line(
            1043,
            "2026-11-22T14:02:11Z",
            "worker",
            "notify.sent",
            json!({ "to": "soc-teams", "event": "approval_needed" }),
        ),
        line(1042, "2026-11-22T14:02:07Z", "worker", "effect.applied", json!({ "step": "revoke_sessions" })),
        line(
            1041,
            "2026-11-22T14:02:06Z",
            "source:sentinel",
            "signal.received",
            json!({ "kind": "impossible_travel" }),
        ),
    ]
}
