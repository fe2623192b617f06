//! From rows to what pages say: evidence, exposure, order, filters, who may do what.

use jiff::SignedDuration;
use oust::domain::run::{Entry, Mode};
use oust::domain::task::{Kind, Order, Ordered, Progress, Role, State, Task, Verdict};
use oust::http::console::view::evidence::Known;
use oust::http::console::view::exposure::Exposure;
use oust::http::console::view::home::HomeFilter;
use oust::http::console::view::story::steps;
use oust::http::console::view::task::TaskView;
use oust::http::console::view::tasks::{Shown, TaskLine, TasksView};
use oust::http::console::view::timeline::{Happening, happenings};
use oust::http::console::view::{Shell, paths};
use serde_json::{Value, json};

use super::gallery::gallery;
use super::sample::{
    approved, at, audit, case, eye, facts, journal, names, now, plan, reset, reviewer, row, run_row, signals,
    taken_over, task, user, vote,
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
fn an_approved_step_that_became_work_by_hand_says_so_and_leads_there() {
    let names = names();
    let (partial, by_hand) = taken_over();
    let mut view = TaskView::of(&partial, Known::default(), None, eye(None, &names));
    assert_eq!(view.state.text, "Partly done", "not done, also before anybody looked where it went on");
    view.goes_on_by_hand(&[("reset_password".into(), by_hand.clone())]);
    assert_eq!(view.state.text, "Goes on by hand");
    let deed = view.deeds.iter().find(|deed| deed.step == "reset_password").expect("the row");
    let to = deed.by_hand.as_ref().expect("where it goes on");
    assert_eq!((to.href.as_str(), to.title.as_str()), (paths::task(by_hand.id).as_str(), "Reset the password by hand"));
    assert!(to.why.contains("directory role"), "{}", to.why);
    let done = Task { state: State::Executed { at: now(), by: vec!["grace".into()] }, ..by_hand };
    view.goes_on_by_hand(&[("reset_password".into(), done)]);
    assert_eq!(view.state.text, "Done by hand");
    let whole = approved(Progress::Executed { at: now() }, partial.state);
    assert_eq!(TaskView::of(&whole, Known::default(), None, eye(None, &names)).state.text, "Done");
}

#[test]
fn the_timeline_tells_the_hand_over_and_how_long_every_read_took() {
    let (row, journal, plan, names) = (run_row(0), journal(&json!({})), plan(), names());
    let mut lost = reset(1);
    lost.rows[1].progress = Progress::RevealExpired { at: at("2026-11-22T14:09:00Z") };
    let by_hand = task(2, Kind::Manual, Vec::new());
    let runs = [facts(&row, &journal, Some(&plan))];
    let (all, _) = happenings(&ada(), &runs, &[lost, by_hand], &audit(), eye(None, &names));
    let find = |text: &str| {
        all.iter().find(|one| one.text.contains(text)).unwrap_or_else(|| panic!("{text}: {:#?}", texts(&all)))
    };
    assert_eq!(
        find("opened the password").text,
        "Grace Hopper (grace) opened the password in the browser that it was sealed to"
    );
    assert_eq!(find("passed the password on").href, Some(paths::task(reset(1).id)));
    find("Nobody passed the password on in time");
    find("The user replaced the temporary password");
    assert!(!all.iter().any(|one| one.text.starts_with("Password changed")), "the worker only read it");
    find("To be done by hand: ");
    find("Reset the password: waits for a person");
    let read = find("Read the account: done");
    let detail = |name| read.details.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
    assert_eq!(detail("took"), Some("1.1 s"), "from when it left");
    assert!(detail("Graph request").is_some(), "{:?}", read.details);
}

fn texts(all: &[Happening]) -> Vec<&str> {
    all.iter().map(|one| one.text.as_str()).collect()
}

#[test]
fn what_is_done_by_hand_is_not_voted_on_and_asks_for_nothing_once_it_is_done() {
    let shots = gallery();
    let html = |name: &str| &shots.iter().find(|shot| shot.name == name).expect("the page").html;
    assert!(html("task").contains("<h3>Votes</h3>"));
    for name in ["task-manual", "task-manual-done"] {
        assert!(!html(name).contains("approval, "), "{name} counts votes");
    }
    assert!(html("task-manual").contains("then report it done"));
    assert!(!html("task-manual-done").contains("then report it done"), "it is");
}

#[test]
fn a_dropped_row_says_who_dropped_it_when_and_why() {
    let shots = gallery();
    for name in ["buried", "buried-dropped"] {
        let html = &shots.iter().find(|shot| shot.name == name).expect("the page").html;
        let said = html.split("Dropped</span>").nth(1).expect("a dropped row");
        for part in ["14:05:00 UTC", "Grace Hopper (grace)", "a test of the forwarder"] {
            assert!(said.contains(part), "{name} lacks {part}");
        }
    }
}

#[test]
fn words_of_others_end_with_one_full_stop_and_codes_become_words() {
    let shell = Shell::outside(now()).paused("Grace Hopper", Some("drill at 3 a.m."), now());
    assert_eq!(shell.paused.and_then(|paused| paused.reason).as_deref(), Some("drill at 3 a.m"));
    let known = ada();
    assert_eq!(known.signals.last().map(|line| line.outcome.as_str()), Some("acted on"));
    let names = names();
    let mut asked = task(3, Kind::Order, Vec::new());
    asked.instructions = Some("Asked for by grace: she called".into());
    asked.ordered = Some(Box::new(Ordered {
        order: Order::Close,
        by: "grace".into(),
        reason: Some("she called".into()),
        plan: None,
    }));
    let view = TaskView::of(&asked, Known::default(), None, eye(None, &names));
    assert_eq!(view.instructions, ["Asked for by Grace Hopper (grace): she called"]);
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
