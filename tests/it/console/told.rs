//! What pages tell of containment, of places and of long lists: nothing more than is known, and nothing cut in silence.

use std::collections::BTreeMap;

use oust::domain::run::Entry;
use oust::domain::task::{Kind, Progress, Role, State, Task, Verdict};
use oust::http::console::view::case::CaseView;
use oust::http::console::view::evidence::Known;
use oust::http::console::view::exposure::Exposure;
use oust::http::console::view::home::{CaseLine, HomeFilter};
use oust::http::console::view::paths;
use oust::http::console::view::task::{Parked, TaskView};
use serde_json::{Value, json};

use super::sample::{
    at, case, case_id, eye, facts, journal, many, names, now, person, plan, reset, reviewer, row, run_row, signals,
    task, user, vote,
};

/// What is known where this step read that.
fn read(step: &str, result: &Value, of: &[Value]) -> Known {
    let mut entries: Vec<Entry> = journal(&user("Ada Lovelace", "ada@contoso.example"));
    for entry in &mut entries {
        let mut json = serde_json::to_value(&*entry).expect("JSON");
        if json["event"] == "done" && json["step"] == step {
            json["result"] = result.clone();
            *entry = serde_json::from_value(json).expect("an entry");
        }
    }
    let (row, plan) = (run_row(0), plan());
    Known::of(of, &[facts(&row, &entries, Some(&plan))], now())
}

/// The same signals from a source that tells no places.
fn without_places() -> Vec<Value> {
    let mut all = signals("ada@contoso.example", "Impossible travel");
    for row in &mut all {
        row["signal"]["evidence"]["places"] = json!([]);
    }
    all
}

#[test]
fn residual_exposure_counts_from_the_last_accepted_revoke() {
    let mut row = case(0, "contained");
    row.last_revoke_at = Some(at("2026-11-22T14:08:00Z"));
    let told = Exposure::of(&row, None, now());
    assert_eq!(told.headline.text(), "Revoked 0.4 s after receipt, then again");
    assert_eq!((told.accepted.map(|at| at.at), told.again), (Some(at("2026-11-22T14:08:00Z")), true));
    assert_eq!(told.remains[0].by.at, at("2026-11-22T14:23:00Z"));
    assert!(told.verified.is_none(), "what was read back was the first");
    row.revoke_verified_at = Some(at("2026-11-22T14:08:04Z"));
    assert_eq!(Exposure::of(&row, None, now()).verified.map(|at| at.at), row.revoke_verified_at);
}

#[test]
fn how_long_it_has_waited_goes_on_while_the_page_is_read() {
    for state in ["open", "parked"] {
        let told = Exposure::of(&case(0, state), None, now());
        assert!(told.headline.text().contains("7 min 53 s"), "{told:?}");
        let html = told.headline.to_string();
        assert!(html.contains("<time datetime=\"2026-11-22T14:02:06.600Z\" data-since>7 min 53 s</time>"), "{html}");
    }
}

#[test]
fn a_parked_revoke_says_who_frees_it_and_leads_there() {
    let mut row = case(0, "parked");
    row.detail["parked"] = json!("paused");
    let paused = Exposure::of(&row, None, now());
    assert_eq!(paused.way, Some(("/console/settings#pause".to_owned(), "Resume in settings")));
    assert!(paused.headline.text().starts_with("Held by the pause") && !paused.note.contains("release"), "{paused:?}");
    row.detail["parked"] = json!("blast_radius");
    let release = task(4, Kind::Release, Vec::new());
    let line = CaseLine::of(&row, &Known::default(), &[], now());
    let freed = line.clone().released_by(&row, Some(&release), now());
    assert_eq!(freed.exposure.way.as_ref().map(|(href, _)| href.clone()), Some(paths::task(release.id)));
    assert_eq!(freed.task.map(|task| task.href), Some(paths::task(release.id)), "home does not say: Nobody");
    assert!(line.released_by(&row, None, now()).exposure.note.contains("no release waits"));
}

#[test]
fn whoever_graph_does_not_know_has_no_sessions_that_work() {
    let mut row = case(0, "not_contained");
    row.detail["nobody"] = json!(true);
    let told = Exposure::of(&row, None, now());
    assert_eq!(told.headline.text(), "Nobody to contain: Graph knows no such user.");
    assert!(!told.note.contains("session"), "{told:?}");
    row.state = "closed".into();
    assert_eq!(Exposure::of(&row, None, now()).headline.text(), "Closed without a revoke.");
}

#[test]
fn a_guest_is_found_among_those_not_contained() {
    let filter = HomeFilter { state: "not_contained".into(), ..HomeFilter::default() };
    for (state, fits) in [("not_contained", true), ("not_contained_guest", true), ("contained", false)] {
        assert_eq!(filter.admits(&case(0, state), &Known::default()), fits, "{state}");
    }
}

#[test]
fn a_list_names_the_person_and_a_search_finds_the_name() {
    let mut row = case(0, "contained");
    row.detail["user"] = json!({ "display_name": "Grace Hopper", "upn": "grace@contoso.example" });
    let line = CaseLine::of(&row, &Known::default(), &[], now());
    assert_eq!(
        (line.person.name.as_str(), line.person.upn.as_deref()),
        ("Grace Hopper", Some("grace@contoso.example"))
    );
    for q in ["hopper", "GRACE@contoso", "3f2504e0"] {
        let filter = HomeFilter { q: q.into(), ..HomeFilter::default() };
        assert!(filter.admits(&row, &Known::default()), "{q}");
    }
}

#[test]
fn a_row_tells_the_latest_activity_and_an_address_only_of_that_one() {
    let known = Known::of(&signals("ada@contoso.example", "x"), &[], now());
    let mut row = case(0, "contained");
    let line = CaseLine::of(&row, &known, &[], now());
    assert_eq!(
        (line.place.as_deref(), line.ip.as_deref(), line.activity.map(|at| at.at)),
        (Some("Lagos, NG"), Some("185.220.101.4"), Some(at("2026-11-22T14:00:30Z"))),
        "of two signals of that time the one that tells a place"
    );
    row.detail["latest_activity"] = json!("2026-11-22T14:05:00Z");
    let line = CaseLine::of(&row, &known, &[], now());
    assert_eq!(line.activity.map(|at| at.at), Some(at("2026-11-22T14:05:00Z")));
    assert_eq!((line.place, line.ip), (None, None), "an older signal's address is not the latest activity's");
    row.detail["place"] =
        json!({ "at": "2026-11-22T14:05:00Z", "ip": "203.0.113.77", "city": "Lagos", "country": "NG" });
    let line = CaseLine::of(&row, &known, &[], now());
    assert_eq!((line.place.as_deref(), line.ip.as_deref()), (Some("Lagos, NG"), Some("203.0.113.77")));
}

#[test]
fn travel_is_told_by_the_sign_ins_where_the_signals_tell_no_places() {
    let rows = json!({ "sign_ins": [
        { "id": "s3", "at": "2026-11-22T14:00:30Z", "ip": "185.220.101.4", "city": "Lagos", "country": "NG", "latitude": 6.455, "longitude": 3.384, "success": true, "mfa": true, "mfa_detail": "MFA requirement satisfied by claim in the token", "device_id": null, "asn": 64500 },
        { "id": "s2", "at": "2026-11-22T13:20:11Z", "ip": "203.0.113.20", "city": "Berlin", "country": "DE", "latitude": 52.52, "longitude": 13.405, "success": true, "mfa": true, "device": "ADA-LAPTOP", "device_id": "d1" },
    ] });
    let known = read("read_sign_ins", &rows, &without_places());
    let travel = known.travel.as_ref().expect("two places");
    assert_eq!((travel.from.as_str(), travel.to.as_str()), ("Berlin, DE", "Lagos, NG"));
    assert_eq!((travel.gap.as_deref(), travel.verdict()), (Some("40 min"), Some("faster than an airliner")));
    assert!(travel.of_sign_ins, "it is said whose places they are");
    let thief = &known.sign_ins[0];
    assert!(thief.alarming, "a claim in a token is no second factor");
    assert_eq!((thief.asn, thief.device_id.as_deref()), (Some(64_500), None));
    assert_eq!(known.sign_ins[1].device_id.as_deref(), Some("d1"));
    assert!(known.findings.iter().any(|finding| finding.text.contains("claim in the token")), "{:?}", known.findings);
}

#[test]
fn other_alerts_tell_their_place() {
    let risk = json!({ "risk_level": "high", "detections": [
        { "id": "r1", "kind": "anonymizedIPAddress", "level": "high", "ip": "185.220.101.4", "location": { "city": "Lagos", "country": "NG" } },
        { "id": "r2", "kind": "anonymizedIPAddress", "level": "high", "location": null },
    ] });
    let places: Vec<Option<String>> =
        read("read_risk", &risk, &[]).detections.iter().map(|detection| detection.place.clone()).collect();
    assert_eq!(places, [Some("Lagos, NG".to_owned()), None]);
}

#[test]
fn an_address_is_compared_with_sign_ins_only_where_some_were_read() {
    let known = read("read_sign_ins", &json!({ "count": 0, "sign_ins": [] }), &without_places());
    let told: Vec<&str> = known.findings.iter().map(|finding| finding.text.as_str()).collect();
    assert_eq!(told, ["No sign-ins are on record for the time that was read."]);
}

#[test]
fn what_a_page_leaves_out_is_counted() {
    let known = Known::of(&many(50), &[], now());
    assert_eq!((known.signals.len(), known.shown().len(), known.unshown()), (50, 25, 25));
    assert_eq!((known.ips.len(), known.ips.more, known.places.more), (25, 25, 25));
    let (row, names) = (run_row(0), names());
    let journal = journal(&user("Ada Lovelace", "ada@contoso.example"));
    let view = CaseView::of(
        &case(0, "contained"),
        &many(50),
        &[facts(&row, &journal, None)],
        &[],
        (&[], &[]),
        eye(None, &names),
    );
    assert_eq!(view.left_out, 25, "the timeline counts them too, and steps are not pushed out of it");
    let view = TaskView::of(&reset(1), known, None, eye(None, &names));
    assert_eq!(view.newer.as_deref(), Some("49 newer items"), "all but the one that the decision is bound to");
}

#[test]
fn what_a_full_snapshot_leaves_out_is_not_newer() {
    let all = many(210);
    let mut task = reset(1);
    let newest = all[9..209].iter();
    task.snapshot.items = newest
        .map(|row| serde_json::from_value(json!({ "id": row["signal"]["id"], "hash": "aa" })).expect("an item"))
        .collect();
    let known = Known::of(&all, &[], now()).as_of(&task.snapshot);
    assert_eq!(known.newer(), 1, "one came after it; nine are older than what it holds");
}

#[test]
fn a_run_behind_another_waits_its_turn_and_says_for_which() {
    let (mut first, second, plan) = (run_row(0), run_row(1), plan());
    first.playbook = "token-theft".into();
    let journal = journal(&user("Ada Lovelace", "ada@contoso.example"));
    let both = [facts(&first, &journal, Some(&plan)), facts(&second, &journal[..3], Some(&plan))];
    let names = names();
    let view = |tasks: &[_]| {
        let me = reviewer("grace", 2, Role::Approver);
        let view = CaseView::of(&case(0, "contained"), &[], &both, tasks, (&[], &[]), eye(Some(&me), &names));
        view.runs.iter().map(|run| (run.state.text.to_string(), run.behind.clone())).collect::<Vec<_>>()
    };
    let (running, waits) = (("Running".to_owned(), None), "Waits its turn".to_owned());
    assert_eq!(view(&[]), [running.clone(), (waits, Some("token-theft".to_owned()))]);
    let mut order = task(7, Kind::Order, Vec::new());
    order.run = Some(second.id);
    assert_eq!(view(&[order]), [running.clone(), running], "what people ordered waits for no playbook");
}

#[test]
fn who_may_not_decide_is_not_told_to_keep_the_page_open() {
    let names = names();
    let after = |role| {
        let me = reviewer("grace", 2, role);
        TaskView::of(&reset(1), Known::default(), None, eye(Some(&me), &names)).after.join("\n")
    };
    assert!(
        after(Role::Approver).contains("sealed to this browser") && after(Role::Approver).contains("Keep this page")
    );
    let viewer = after(Role::Viewer);
    assert!(viewer.contains("sealed to the approver's browser"), "{viewer}");
    assert!(!viewer.contains("Keep this page") && !viewer.contains("You see it"), "{viewer}");
}

#[test]
fn after_the_first_of_two_approvals_nobody_says_that_nobody_decided() {
    let names = names();
    let status = |task: &Task| TaskView::of(task, Known::default(), None, eye(None, &names)).status;
    let mut two = reset(1);
    two.policy.approve = 2;
    assert_eq!(status(&two), "Nobody has decided yet.");
    vote(&mut two, "grace", Verdict::Approve);
    assert_eq!(status(&two), "1 of 2 have approved.");
    two.state = State::Escalated { at: now() };
    let told = status(&two);
    assert!(told.starts_with("1 of 2 have approved. Not enough of them decided in time, so "), "{told}");
}

#[test]
fn a_release_tells_whom_it_frees_and_by_which_alerts() {
    let parked: Vec<_> = (0..30).map(|number| case(number, "parked")).collect();
    let told: BTreeMap<_, _> = (0..30).map(|number| (case_id(number), many(1))).collect();
    let view = Parked::of(&parked, false, &told, now());
    assert_eq!((view.count.as_str(), view.people.len(), view.people.more), ("30 people", 25, 5));
    assert_eq!(view.people[0].href, paths::case(case_id(0)));
    assert_eq!(view.people[0].person.object_id, Some(person(super::sample::ADA).object_id.to_string()));
    let pairs = |pairs: &[(String, String)]| pairs.iter().map(|(a, b)| format!("{a}: {b}")).collect::<Vec<_>>();
    assert_eq!(pairs(&view.kinds), ["Anonymised IP address: 30 people", "Impossible travel: 30 people"]);
    assert_eq!(pairs(&view.alerts), ["Signal 0 (sentinel): 30 people"]);
    assert_eq!(Parked::of(&parked, true, &told, now()).count, "more than 30 people");
    let soft = task(5, Kind::Approval, vec![row("dismiss_risk", false, Progress::Waiting)]);
    let names = names();
    assert!(TaskView::of(&soft, Known::default(), None, eye(None, &names)).parked.is_none());
}
