//! From rows to what pages say: evidence, exposure, order, filters, who may do what.

use jiff::SignedDuration;
use oust::domain::run::{Entry, Mode};
use oust::domain::task::{Kind, Progress, Role, State, Verdict};
use oust::http::console::view::evidence::Known;
use oust::http::console::view::exposure::Exposure;
use oust::http::console::view::home::HomeFilter;
use oust::http::console::view::story::steps;
use oust::http::console::view::task::TaskView;
use oust::http::console::view::tasks::{Shown, TaskLine, TasksView};
use serde_json::{Value, json};

use super::sample::{
    approved, at, case, eye, facts, journal, names, now, plan, reset, reviewer, row, run_row, signals, task, user, vote,
};

fn known(journal: &[Entry]) -> Known {
    let (row, plan) = (run_row(0), plan());
    Known::of(&signals("ada@contoso.example", "Impossible travel"), &[facts(&row, journal, Some(&plan))], now())
}

fn ada() -> Known {
    known(&journal(&user("Ada Lovelace", "ada@contoso.example")))
}

#[test]
fn evidence_holds_what_an_on_call_person_needs() {
    let known = ada();
    let travel = known.travel.as_ref().expect("two places");
    assert_eq!(
        (travel.from.as_str(), travel.to.as_str(), travel.gap.as_deref()),
        ("Berlin, DE", "Lagos, NG", Some("40 min"))
    );
    assert_eq!(travel.verdict(), Some("faster than an airliner"));
    let findings: Vec<&str> = known.findings.iter().map(|finding| finding.text.as_str()).collect();
    assert_eq!(
        findings,
        [
            "185.220.101.4: not used successfully before, in 3 sign-ins that were read.",
            "185.220.101.4: 1 sign-in with one factor only.",
            "203.0.113.20: used once before this activity.",
        ]
    );
    let alarming: Vec<bool> = known.sign_ins.iter().map(|sign_in| sign_in.alarming).collect();
    assert_eq!(alarming, [true, false, false], "only the intruder's");
    let recent: Vec<&str> =
        known.methods.iter().filter(|method| method.recent).map(|method| method.kind.as_str()).collect();
    assert_eq!(recent, ["Microsoft Authenticator"], "added a minute after the sign-in");
    assert_eq!(known.detections[0].kind, "Anonymised IP address");
    assert_eq!(known.unread[0].what, "Read inbox rules");
    assert!(known.rules_read.is_none(), "what was not read is not clean");
}

#[test]
fn rows_that_are_rubbish_are_left_out_and_break_nothing() {
    let rubbish =
        [json!(null), json!({ "signal": 7 }), json!({ "signal": { "id": "sig_1" } }), json!([[[]]]), json!("x")];
    assert!(Known::of(&rubbish, &[], now()).is_bare());
    let odd = |result: Value| {
        let mut entries = journal(&json!({}));
        let text = serde_json::to_value(&entries[2]).expect("JSON");
        for step in ["read_user", "read_sign_ins", "read_risk", "read_auth_methods", "read_inbox_rules"] {
            let mut entry = text.clone();
            (entry["step"], entry["result"]) = (json!(step), result.clone());
            entries.push(serde_json::from_value(entry).expect("an entry"));
        }
        known(&entries)
    };
    for result in
        [json!(7), json!([]), json!({ "sign_ins": 1, "methods": {}, "suspicious": "x", "detections": [[], 1, null] })]
    {
        assert!(odd(result.clone()).sign_ins.is_empty(), "{result}");
    }
    let many: Vec<Value> =
        (0..10_000).map(|n| json!({ "id": n.to_string(), "ip": format!("10.0.{}.{}", n / 256, n % 256) })).collect();
    assert_eq!(odd(json!({ "sign_ins": many })).sign_ins.len(), 25);
}

#[test]
fn a_step_tells_its_duration_its_attempts_and_why_it_failed() {
    let (row, journal, plan) = (run_row(0), journal(&json!({})), plan());
    let stories = steps(&facts(&row, &journal, Some(&plan)));
    let of = |id: &str| stories.iter().find(|story| story.id == id).expect("a step of the plan");
    assert_eq!(of("revoke_sessions").took().as_deref(), Some("0.3 s"));
    assert_eq!(of("revoke_sessions").request_id.as_deref(), Some("5f1c9d6e-8c55-4b3a-9b53-0f0a3c1a7c11"));
    assert_eq!((of("read_inbox_rules").state, of("read_inbox_rules").code.as_deref()), ("failed", Some("OUST-G403")));
    assert_eq!(of("reset_password").state, "waiting");
    assert_eq!(of("confirm_compromised").state, "todo");
    let without = steps(&facts(&row, &journal, None));
    assert_eq!(without.iter().filter(|story| story.action == "revoke_sessions").count(), 1, "no plan, same story");
}

#[test]
fn exposure_claims_nothing_that_was_not_measured() {
    let says = |state: &str| Exposure::of(&case(0, state), None, now());
    assert_eq!(says("contained").headline.text(), "Revoked 0.4 s after receipt");
    assert_eq!(says("open").headline.text(), "Not revoked yet, 7 min 53 s after receipt.");
    assert!(says("open").remains.is_empty() && says("not_contained").remains.is_empty());
    let mut shadow = case(0, "contained");
    shadow.mode = Mode::Shadow;
    assert_eq!(Exposure::of(&shadow, None, now()).headline.text(), "Shadow mode: nothing was revoked.");
    let mut guest = case(0, "contained");
    guest.detail = json!({ "guest": true });
    assert!(Exposure::of(&guest, None, now()).headline.text().starts_with("Not contained here"));
    let mut known = ada();
    known.revokes.push(at("2026-11-22T14:09:00Z"));
    let again = Exposure::of(&case(0, "contained"), Some(&known), now());
    assert_eq!(again.headline.text(), "Revoked 0.4 s after receipt, then 1 more");
    assert_eq!(again.remains[0].by.at, at("2026-11-22T14:24:00Z"), "counted from the last revoke");
    let later = Exposure::of(&case(0, "contained"), None, at("2026-11-22T15:00:00Z"));
    assert_eq!(later.remains.iter().map(|remains| remains.over).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn the_queue_is_ordered_by_urgency() {
    let (me, names) = (reviewer("grace", 2, Role::Approver), names());
    let since = at("2026-11-22T14:06:02Z");
    let mut soon = task(1, Kind::Approval, vec![row("dismiss_risk", false, Progress::Waiting)]);
    soon.policy.decide_within = Some(SignedDuration::from_mins(20));
    let mine = approved(
        Progress::Sealed { at: since, until: None },
        State::Sealed { at: since, step: "reset_password".into(), until: None },
    );
    let release = task(3, Kind::Release, Vec::new());
    let manual = task(4, Kind::Manual, Vec::new());
    let unknown = approved(
        Progress::Unknown { at: since, fence: 1, sealed: true },
        State::Unknown { at: since, step: "reset_password".into() },
    );
    let late = task(6, Kind::Approval, vec![row("dismiss_risk", false, Progress::Waiting)]);
    let lines = [&manual, &late, &soon, &release, &unknown, &mine]
        .map(|task| TaskLine::of(task, &Known::default(), eye(Some(&me), &names)));
    let view = TasksView::of(lines.into(), Shown::Open, None, "");
    let order: Vec<String> = view.rows.iter().map(|row| format!("{} {}", row.kind, row.state.text)).collect();
    assert_eq!(
        order,
        [
            "Approval Your password waits",
            "Approval Outcome unknown",
            "Release Waits for a decision",
            "Approval Waits for a decision",
            "Approval Waits for a decision",
            "By hand To be done",
        ]
    );
    assert_eq!(view.rows[3].id, soon.id.to_string(), "the one with less time left first");
}

#[test]
fn what_reveals_a_password_is_never_decided_in_bulk() {
    let (me, names) = (reviewer("grace", 2, Role::Approver), names());
    let line = |task: &_| TaskLine::of(task, &Known::default(), eye(Some(&me), &names));
    assert!(line(&reset(1)).pick.is_none());
    let soft = task(2, Kind::Approval, vec![row("dismiss_risk", false, Progress::Waiting)]);
    assert_eq!(line(&soft).pick, Some(format!("{}/{}/{}", soft.id, soft.revision, soft.digest())));
    let viewer = reviewer("vera", 9, Role::Viewer);
    assert!(TaskLine::of(&soft, &Known::default(), eye(Some(&viewer), &names)).pick.is_none());
}

#[test]
fn buttons_follow_the_machine() {
    let names = names();
    let view = |task: &_, id: &str, number| {
        let me = reviewer(id, number, Role::Approver);
        TaskView::of(task, Known::default(), None, eye(Some(&me), &names)).choices
    };
    let open = view(&reset(1), "grace", 2);
    assert!(open.approve && open.deny && open.reveals && !open.withdraws);
    let approved =
        approved(Progress::Waiting, State::Approved { at: now(), by: vec!["grace".into()], execute_by: None });
    let withdraw = view(&approved, "alan", 3);
    assert!(!withdraw.approve && withdraw.deny && withdraw.withdraws);
    let mut first = reset(1);
    first.policy.approve = 2;
    vote(&mut first, "grace", Verdict::Approve);
    assert!(!view(&first, "grace", 2).any(), "one vote a person");
    let subject = view(&reset(1), "ada", super::sample::ADA);
    assert_eq!(
        subject.why_not.as_deref(),
        Some("You cannot decide this: this task is about you: nobody decides about their own account.")
    );
    let manual = view(&task(2, Kind::Manual, Vec::new()), "grace", 2);
    assert!(manual.done && !manual.approve && !manual.deny);
}

#[test]
fn a_filter_asks_what_the_store_cannot() {
    let (row, known) = (case(0, "contained"), ada());
    let filter = |q: &str, risk: &str, kind: &str, state: &str| HomeFilter {
        q: q.into(),
        risk: risk.into(),
        kind: kind.into(),
        state: state.into(),
        ..HomeFilter::default()
    };
    for (q, risk, kind, state) in [
        ("LOVELACE", "", "", ""),
        ("185.220", "high", "", "open"),
        ("3f2504e0", "", "anonymized_ip", "contained"),
        ("", "", "", "all"),
    ] {
        assert!(filter(q, risk, kind, state).admits(&row, &known), "{q} {risk} {kind} {state}");
    }
    for (q, risk, kind, state) in
        [("grace", "", "", ""), ("", "low", "", ""), ("", "", "inbox_rule", ""), ("", "", "", "closed")]
    {
        assert!(!filter(q, risk, kind, state).admits(&row, &known), "{q} {risk} {kind} {state}");
    }
    assert!(filter("", "", "", "").admits(&row, &known) && !filter("", "", "", "").is_set());
}
