//! The edge cases of deciding, each as people meet it: races, expiry, persons, duplicates, scanners.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use oust::domain::reviewer::{How, Linked, Session};
use oust::domain::task::{
    Ballot, Class, Event, Kind, New, Policy, Progress, Refused, Role, Row, Snapshot, State, Task, Verdict,
};
use oust::domain::{Identity, ObjectId, TaskId};
use oust::engine::DecideError;
use oust::store::reviewers::Change;
use oust::store::{Batch, Lane, Op, Page};
use oust::twin::{self, Fault, Plan, Special};
use serde_json::json;
use uuid::Uuid;

use super::console::{Scene, scene_on};
use super::{RESET, app_with, eventually, playbook, push, the, vote};
use crate::sign_in::authenticator::{Key, Says};
use crate::sign_in::house::{Browser, Reply};
use crate::support::postgres::Place;
use crate::support::{App, Setup, policy, reviewer};

async fn scene() -> Scene {
    scene_on(Setup::default(), |_| {}).await
}

fn question(app: &App, number: u128, identity: Option<Identity>) -> Task {
    Task::open(New {
        id: TaskId::new(Uuid::from_u128(number)),
        kind: if identity.is_some() { Kind::Approval } else { Kind::Release },
        title: "A question".into(),
        policy: Policy { reviewers: vec!["group:on-call".into()], decide_within: None, ..policy() },
        created_at: app.clock.now(),
        snapshot: Snapshot { number: 1, taken_at: app.clock.now(), items: Vec::new() },
        shadow: false,
        identity,
        case: None,
        run: None,
        instructions: None,
        requester: None,
        playbook: None,
        rows: vec![Row {
            step: "confirm_compromised".into(),
            action: "confirm_compromised".into(),
            params: json!({}),
            class: Class::Soft,
            reveals: false,
            progress: Progress::Waiting,
        }],
    })
}

fn ballot(app: &App, task: &Task, who: &str, verdict: Verdict) -> Event {
    Event::Vote(Box::new(Ballot {
        by: reviewer(who, app.clock.now()),
        verdict,
        reason: Some("both at once".into()),
        digest: task.digest(),
        recipient_key: None,
    }))
}

/// Approve and deny at once, many times over: one transition each, and the loser is told who, when and what.
async fn pairs(app: &App, many: u128) {
    let of = |number: u128| (!number.is_multiple_of(10)).then(|| app.identity(Uuid::from_u128(number)));
    let tasks: Vec<Task> = (1..=many).map(|number| question(app, number, of(number))).collect();
    for some in tasks.chunks(100) {
        let ops = some.iter().map(|task| Op::PutTask(Box::new(task.clone()))).collect();
        app.store.commit(Lane::Other, Batch { expect: None, ops }).await.expect("written");
    }
    let both = tasks.iter().map(|task| {
        let (engine, id) = (app.engine.clone(), task.id);
        let (yes, no) = (ballot(app, task, "rita", Verdict::Approve), ballot(app, task, "carl", Verdict::Approve));
        let no = if let Event::Vote(vote) = no {
            Event::Vote(Box::new(Ballot { verdict: Verdict::Deny, reason: None, ..*vote }))
        } else {
            no
        };
        tokio::spawn(async move {
            tokio::join!(engine.decide(id, "reviewer:rita", yes), engine.decide(id, "reviewer:carl", no))
        })
    });
    for (task, pair) in tasks.iter().zip(both.collect::<Vec<_>>()) {
        let (approved, denied) = pair.await.expect("no panic");
        let after = app.store.task(task.id).await.expect("a read").expect("there");
        assert_eq!((after.votes.len(), after.revision), (1, 1), "one transition: {after:#?}");
        let lost = match (approved, denied) {
            (Ok(_), Err(lost)) => {
                assert!(matches!(after.state.word(), "approved" | "executed"), "{after:#?}");
                lost
            }
            (Err(lost), Ok(_)) => {
                assert_eq!(after.state.word(), "denied");
                lost
            }
            other => panic!("one wins: {other:?}"),
        };
        match lost {
            DecideError::Refused(Refused::Conflict { who, what, .. }) => {
                assert_eq!(who, after.votes[0].person.id);
                assert!(matches!(what.as_str(), "approved" | "denied" | "executed"), "{what}");
            }
            // A denial right after the approval would take it back, but brought no reason.
            DecideError::Refused(Refused::Invalid { why }) => assert!(why.contains("needs a reason"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    let (mut decided, mut refused, mut after) = (0, 0, None);
    loop {
        let page = app.store.audit(&Page { after, limit: 500 }).await.expect("a read");
        decided += page.items.iter().filter(|(_, line)| line.verb == "task.decided").count();
        refused += page.items.iter().filter(|(_, line)| line.verb == "task.refused").count();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let many = usize::try_from(many).expect("small");
    assert_eq!((decided, refused), (many, many), "the trail has both of each pair");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_pairs_of_approval_and_denial_exactly_one_of_each_wins() {
    pairs(&app_with(Setup::default()).await, 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_pairs_on_the_shared_store_exactly_one_of_each_wins_too() {
    pairs(&app_with(Setup { place: Some(Place::new().await), ..Setup::default() }).await, 200).await;
}

async fn begin(browser: &mut Browser<'_>, task: &Task, recipient: &str) -> Reply {
    let wanted = json!({
        "task": task.id, "revision": task.revision, "verdict": "approve", "digest": task.digest(),
        "recipient_key": recipient,
    });
    browser.post("/console/decide/begin", wanted).await
}

async fn finish(browser: &mut Browser<'_>, key: &mut Key, begun: &Reply) -> Reply {
    assert_eq!(begun.status, 200, "{begun:?}");
    let credential = key.get(&begun.body, &Says::get());
    let finish = json!({ "ceremony": begun.body["ceremony"], "credential": credential });
    browser.post("/console/decide/finish", finish).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approver_at_risk_or_signed_in_before_their_own_revoke_decides_nothing() {
    let scene = scene().await;
    let (app, recipient) = (&scene.app, scene.app.recipient.clone());
    let rita = app.twin.person(7);
    let own = Linked { tenant: twin::Config::default().tenant_id, object_id: ObjectId::new(rita) };
    let (mut browser, mut key) = scene.house.linked_in("rita", Role::Approver, &[own]).await;
    let begun = begin(&mut browser, &scene.task, &recipient).await;
    app.alert(rita, "anomalousToken").await;
    app.idle().await;
    let late = finish(&mut browser, &mut key, &begun).await;
    assert_eq!(late.status, 403, "{late:?}");
    assert!(late.text.contains("at risk right now"), "{late:?}");
    let refused = begin(&mut browser, &scene.task, &recipient).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let alarms = scene.house.audited().await.into_iter().filter(|(verb, _)| verb == "task.refused");
    assert!(alarms.clone().any(|(_, detail)| detail["alarming"] == true), "{:?}", alarms.collect::<Vec<_>>());

    // Their own case is closed: nobody is at risk any more, but the session is older than the revoke.
    for task in app.open_tasks().await.into_iter().filter(|task| task.id != scene.task.id) {
        vote(app, &task, Verdict::Deny, false).await.expect("a vote");
    }
    app.idle().await;
    let about_rita = app.cases().await.into_iter().find(|case| case.identity == app.identity(rita));
    assert!(about_rita.is_some_and(|case| case.closed_at.is_some()), "{}", app.picture().await);
    let refused = begin(&mut browser, &scene.task, &recipient).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.text.contains("before your own sessions were revoked"), "{refused:?}");
    push(app, SignedDuration::from_secs(5));
    let mut anew = scene.house.browser();
    assert_eq!(anew.sign_in(&mut key, &Says::get()).await.status, 200);
    assert_eq!(begin(&mut anew, &scene.task, &recipient).await.status, 200, "a new session may");
    assert_eq!(scene.state().await, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_approver_twice_counts_once_and_with_four_eyes_the_last_one_receives() {
    let four = Policy { approve: 2, ..policy() };
    let scene = scene_on(Setup { policy: four, ..Setup::default() }, |_| {}).await;
    let (mut rita, mut of_rita) = scene.house.signed_in("rita", Role::Approver).await;
    let (mut carl, mut of_carl) = scene.house.signed_in("carl", Role::Approver).await;
    let recipient = scene.app.recipient.clone();
    let begun = begin(&mut rita, &scene.task, &"B".repeat(87)).await;
    assert_eq!(finish(&mut rita, &mut of_rita, &begun).await.status, 200);
    assert_eq!(scene.state().await, "pending");
    let task = super::task(&scene.app, &scene.task).await;
    let again = begin(&mut rita, &task, &recipient).await;
    assert_eq!((again.status.as_u16(), &again.body["who"]), (409, &json!("rita")), "{again:?}");
    assert_eq!(super::task(&scene.app, &scene.task).await.votes.len(), 1, "the first stands");
    let begun = begin(&mut carl, &task, &recipient).await;
    assert_eq!(finish(&mut carl, &mut of_carl, &begun).await.status, 200);
    let approval = super::task(&scene.app, &scene.task).await.approval.expect("approved");
    assert_eq!(approval.recipient.map(|one| (one.reviewer, one.key)), Some(("carl".into(), recipient)));
    assert_eq!(approval.by, ["rita", "carl"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_stands_when_its_voter_loses_the_role_before_the_claim() {
    let scene = scene().await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    assert_eq!(scene.decide(&mut rita, &mut key, Verdict::Approve).await.status, 200);
    let id = "rita".parse().expect("a name");
    let mut account = scene.house.store.reviewer(&id).await.expect("a read").expect("there");
    account.roles = vec![Role::Viewer];
    account.groups.clear();
    scene.house.commit(vec![oust::store::reviewers::Change::EditReviewer(Box::new(account)).into()]).await;
    scene.app.seen(scene.task.id).await;
    eventually(&scene.app, "the reset", async || scene.app.count("resetPassword", scene.ada).applied == 1).await;
    let me = rita.post(&format!("{}/presence", scene.task_page()), json!({ "key": scene.app.recipient })).await;
    assert_eq!(me.status, 403, "but nothing more is done: {me:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_policy_wants_it_fresh_an_approval_falls_with_the_role_of_its_approver() {
    let fresh = Policy { fresh_at_claim: true, ..policy() };
    for (change, executed) in [(false, true), (true, false)] {
        let scene = scene_on(Setup { policy: fresh.clone(), ..Setup::default() }, |_| {}).await;
        let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
        assert_eq!(scene.decide(&mut rita, &mut key, Verdict::Approve).await.status, 200);
        let id = "rita".parse().expect("a name");
        let mut account = scene.house.store.reviewer(&id).await.expect("a read").expect("there");
        if change {
            account.groups.clear();
        }
        scene.house.commit(vec![oust::store::reviewers::Change::EditReviewer(Box::new(account)).into()]).await;
        scene.app.seen(scene.task.id).await;
        let state = if executed { "sealed" } else { "cancelled" };
        let task = || super::task(&scene.app, &scene.task);
        eventually(&scene.app, state, async || task().await.state.word() == state).await;
        assert_eq!(scene.app.count("resetPassword", scene.ada).applied, u64::from(executed));
        if change {
            let State::Cancelled { reason, .. } = task().await.state else { panic!("cancelled") };
            assert!(reason.contains("rita"), "{reason}");
            assert_eq!(the(&scene.app, Kind::Manual).await.title, "reset_password is no longer what was approved");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_groups_the_provider_knows_is_as_entitled_as_it_said_last_in_any_session() {
    let fresh = Policy { fresh_at_claim: true, ..policy() };
    // Told on call; signed in by passkey since, or told otherwise in the older session.
    for (later, executed) in [(None, true), (Some(Vec::new()), false)] {
        let scene = scene_on(Setup { policy: fresh.clone(), ..Setup::default() }, |_| {}).await;
        let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
        assert_eq!(scene.decide(&mut rita, &mut key, Verdict::Approve).await.status, 200);
        let id = "rita".parse().expect("a name");
        let mut account = scene.house.store.reviewer(&id).await.expect("a read").expect("there");
        account.groups.clear();
        let now = scene.app.clock.now();
        let of = |seconds: i64, groups: Vec<String>, told: bool| {
            let created_at = now + SignedDuration::from_secs(seconds);
            Session {
                reviewer: account.id.clone(),
                created_at,
                used_at: created_at,
                proved_at: created_at,
                how: How::Passkey { credential: "c".into() },
                aal2: true,
                roles: Vec::new(),
                groups,
                told_at: told.then_some(created_at),
            }
        };
        let (mut told, newer) = (of(60, vec!["on-call".into()], true), of(120, Vec::new(), false));
        if let Some(groups) = later {
            told = Session { groups, told_at: Some(now + SignedDuration::from_secs(180)), ..told };
        }
        let put = |hash: &str, session: &Session| Change::PutSession {
            hash: hash.into(),
            session: Box::new(session.clone()),
        };
        let edit = Change::EditReviewer(Box::new(account.clone()));
        scene.house.commit(vec![edit.into(), put("told", &told).into(), put("newer", &newer).into()]).await;
        scene.app.seen(scene.task.id).await;
        let state = if executed { "sealed" } else { "cancelled" };
        eventually(&scene.app, state, async || super::task(&scene.app, &scene.task).await.state.word() == state).await;
        assert_eq!(scene.app.count("resetPassword", scene.ada).applied, u64::from(executed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_is_back_with_another_session_is_heard_at_once_by_a_worker_elsewhere() {
    let setup = Setup { place: Some(Place::new().await), ..Setup::default() };
    let scene = scene_on(setup, |_| {}).await;
    let console = scene.app.console_engine().await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    assert_eq!(scene.decide(&mut rita, &mut key, Verdict::Approve).await.status, 200);
    // It was there with a session that ended since: nobody could open what is sealed to it.
    console.seen(scene.task.id, "ended");
    scene.app.idle().await;
    assert_eq!((scene.state().await.as_str(), scene.app.count("resetPassword", scene.ada).received), ("approved", 0));
    crate::support::browsers::present(&*scene.app.store, &console, scene.task.id).await;
    eventually(&scene.app, "the reset", async || scene.app.count("resetPassword", scene.ada).applied == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_alerts_while_a_task_waits_are_one_task_with_fifty_newer_items() {
    let scene = scene().await;
    let (app, ada) = (&scene.app, scene.ada);
    for number in 0..50 {
        app.deliver(&app.detection(ada, "anomalousToken", SignedDuration::from_mins(20 + number))).await;
    }
    app.idle().await;
    let task = the(app, Kind::Approval).await;
    assert_eq!((task.id, task.newer, task.revision), (scene.task.id, 50, scene.task.revision));
    assert_eq!(task.digest(), scene.task.digest(), "what was shown is what is decided");
    assert!(app.picture().await.contains("task.evidence"), "that there was newer evidence is in the trail");
    let case = app.cases().await.remove(0);
    assert_eq!(app.store.signals_of(case.id).await.expect("a read").len(), 51);
    assert_eq!(app.count("revokeSignInSessions", ada).applied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_would_lapse_during_its_execution_is_executed_once() {
    let short = Policy { execute_within: Some(SignedDuration::from_secs(5)), ..policy() };
    let on = "  signals: [anomalous_token]\n";
    let playbooks = vec![playbook("plain", on, RESET)];
    let app = app_with(Setup { policy: short, playbooks, ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let asked = the(&app, Kind::Approval).await;
    let slow = Plan::on("/users/", Fault::Delay { ms: 2_000 }).method("PATCH");
    app.twin.fault(slow);
    vote(&app, &asked, Verdict::Approve, true).await.expect("a vote");
    eventually(&app, "the call", async || super::task(&app, &asked).await.state.word() == "claimed").await;
    push(&app, SignedDuration::from_secs(6));
    let denied = vote(&app, &asked, Verdict::Deny, false).await;
    assert!(
        matches!(&denied, Err(DecideError::Refused(Refused::Conflict { what, .. })) if what == "executing"),
        "{denied:?}"
    );
    eventually(&app, "the reset", async || super::task(&app, &asked).await.state.word() == "sealed").await;
    let count = app.count("resetPassword", ada);
    assert_eq!((count.received, count.applied), (1, 1));
    assert!(app.picture().await.contains("task.refused"), "the attempt is in the trail");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_browsers_at_once_show_a_password_to_the_one_that_approved_only() {
    let scene = scene().await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    let (mut carl, _) = scene.house.signed_in("carl", Role::Approver).await;
    let at = |deed: &str| format!("{}/{deed}", scene.task_page());
    let mine = json!({ "key": scene.app.recipient });
    assert_eq!(scene.decide(&mut rita, &mut key, Verdict::Approve).await.status, 200);
    assert_eq!(rita.post(&at("presence"), mine.clone()).await.status, 204);
    eventually(&scene.app, "the reset", async || scene.state().await == "sealed").await;
    let mut copy = scene.house.browser();
    copy.jar.clone_from(&rita.jar);
    copy.csrf.clone_from(&rita.csrf);
    let (reveal, other) = (at("reveal"), json!({ "key": "B".repeat(87) }));
    let (first, second, third) = tokio::join!(
        rita.post(&reveal, mine.clone()),
        carl.post(&reveal, mine.clone()),
        copy.post(&reveal, other.clone()),
    );
    assert_eq!(
        (first.status.as_u16(), second.status.as_u16(), third.status.as_u16()),
        (200, 403, 403),
        "{first:?} {second:?} {third:?}"
    );
    let done = at("acknowledge");
    let (one, two) = tokio::join!(rita.post(&done, mine.clone()), copy.post(&done, mine.clone()));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409], "passed on once: {one:?} {two:?}");
    assert!(scene.house.store.sealed(scene.task.id).await.expect("a read").is_none());
}

/// Addresses in a page that a scanner or a preview would open.
fn links(html: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for attribute in ["href=\"", "src=\"", "action=\"", "data-presence=\"", "data-fetch=\"", "data-acknowledge=\""] {
        for part in html.split(attribute).skip(1) {
            let link = part.split('"').next().unwrap_or_default().replace("&amp;", "&").replace("&#38;", "&");
            if link.starts_with('/') {
                found.insert(link);
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_that_opens_every_link_of_every_page_changes_nothing() {
    let scene = scene().await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Admin).await;
    assert_eq!(scene.decide(&mut rita, &mut key, Verdict::Approve).await.status, 200);
    let account = scene.house.add("newcomer", &[Role::Viewer], &[]).await;
    let token = scene.house.invite(&account.id).await;
    scene.app.idle().await;
    // The engine writes by itself while it works; a stopped one leaves the store alone.
    scene.app.engine.stop(std::time::Duration::from_secs(5)).await;
    scene.end_streams();
    let before = scene.app.picture().await;
    let mut open: Vec<String> = vec![
        "/console".into(),
        scene.task_page(),
        format!("/console/enrol/{token}"),
        format!("/console/decide/begin?task={}&verdict=deny", scene.task.id),
        "/console/sign-in".into(),
        "/console/events".into(),
    ];
    let mut seen: BTreeSet<String> = open.iter().cloned().collect();
    let mut pages = 0;
    while let Some(link) = open.pop() {
        let reply = rita.get(&link).await;
        assert!(reply.status.as_u16() < 500, "{link}: {reply:?}");
        pages += usize::from(reply.status == 200);
        for link in links(&reply.text) {
            if seen.insert(link.clone()) {
                open.push(link);
            }
        }
        assert!(seen.len() < 500, "the console has no end: {seen:?}");
    }
    assert!(pages > 12 && seen.iter().any(|link| link.contains("/console/cases/")), "{pages} pages: {seen:?}");
    assert_eq!(scene.app.picture().await, before, "nothing happened");
    let text = rita.get("/console/session").await;
    assert_eq!(text.status, 200, "not even signed out");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_a_password_is_the_same_on_the_shared_store() {
    let scene = scene_on(Setup { place: Some(Place::new().await), ..Setup::default() }, |_| {}).await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    let mut again = scene.house.browser();
    assert_eq!(again.sign_in(&mut key, &Says::get()).await.status, 200, "the counter moved");
    assert_eq!(again.prove(&mut key).await.status, 200);
    for page in ["/console", "/console/tasks", "/console/settings", "/console/audit", &scene.task_page()] {
        assert_eq!(rita.get(page).await.status, 200, "{page}");
    }
    let mine = json!({ "key": scene.app.recipient });
    let approved = scene.decide(&mut rita, &mut key, Verdict::Approve).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    let now = super::task(&scene.app, &scene.task).await;
    let back = json!({
        "task": now.id, "revision": now.revision, "verdict": "deny", "digest": now.digest(), "reason": "she called",
    });
    let begun = rita.post("/console/decide/begin", back).await;
    let denied = finish(&mut rita, &mut key, &begun).await;
    assert_eq!(denied.status, 200, "taken back before it was executed: {denied:?}");
    assert_eq!(scene.state().await, "revoked");
    assert_eq!(scene.house.store.proofs_of(scene.task.id).await.expect("a read").len(), 2);

    let other = scene.app.twin.person(3);
    scene.app.alert(other, "anomalousToken").await;
    scene.app.idle().await;
    let task = the(&scene.app, Kind::Approval).await;
    let begun = begin(&mut rita, &task, &scene.app.recipient).await;
    assert_eq!(finish(&mut rita, &mut key, &begun).await.status, 200);
    let page = format!("/console/tasks/{}", task.id);
    assert_eq!(rita.post(&format!("{page}/presence"), mine.clone()).await.status, 204);
    eventually(&scene.app, "the reset", async || super::task(&scene.app, &task).await.state.word() == "sealed").await;
    assert_eq!(rita.post(&format!("{page}/reveal"), mine.clone()).await.status, 200);
    assert_eq!(rita.post(&format!("{page}/acknowledge"), mine.clone()).await.status, 204);
    assert_eq!(rita.post(&format!("{page}/reveal"), mine).await.status, 410);
    assert!(scene.house.store.sealed(task.id).await.expect("a read").is_none());
    assert_eq!(scene.app.count("resetPassword", other).applied, 1);
    let leave = rita.post("/console/sign-out", json!({})).await;
    assert!(leave.status.is_success() || leave.status.is_redirection(), "{leave:?}");
    assert!(!rita.is_signed_in().await);
}
