//! The console's other pages over HTTP: what lies buried is settled there, playbooks show what ran, the overview says what
//! was measured, lists hold together across pages.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Method;
use jiff::SignedDuration;
use oust::domain::reviewer::Linked;
use oust::domain::run::Event;
use oust::domain::task::{Kind, Role, Verdict};
use oust::domain::{BuriedId, CaseId, DeliveryId, ObjectId, RunId, TaskId};
use oust::http::console::SourceFacts;
use oust::playbook::normalise;
use oust::store::reviewers::Change;
use oust::store::{Audit, Batch, Buried, BuriedState, Lane, Op, RunRow};
use oust::telemetry::Telemetry;
use oust::twin::Special;
use serde_json::{Value, json};
use uuid::Uuid;

use super::console::{Scene, scene, scene_of, scene_on};
use super::{RESET, playbook};
use crate::sign_in::authenticator::ORIGIN;
use crate::sign_in::house::{Browser, Reply};
use crate::support::Setup;

impl Scene {
    pub(super) async fn commit(&self, ops: Vec<Op>) {
        self.app.store.commit(Lane::Other, Batch { expect: None, ops }).await.expect("written");
    }

    pub(super) async fn bury(&self, number: u128, source: &str, content: Value) -> BuriedId {
        let id = BuriedId::new(Uuid::from_u128(number));
        let row = Buried {
            id,
            at: self.app.clock.now(),
            source: source.into(),
            tenant: None,
            delivery: None,
            reason: "no known shape".into(),
            state: BuriedState::Buried,
            settled: None,
            content,
        };
        self.commit(vec![Op::Bury(Box::new(row))]).await;
        id
    }

    async fn state_of(&self, id: BuriedId) -> BuriedState {
        self.app.store.buried(id).await.expect("a read").expect("a row").state
    }
}

/// A form as a browser without script posts it.
async fn page_form(browser: &mut Browser<'_>, path: &str, fields: &[(&str, &str)]) -> Reply {
    let csrf = browser.csrf.take().expect("signed in");
    let fields = fields.iter().copied().chain([("csrf", csrf.as_str())]);
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = browser.request(Method::POST, path).header("origin", ORIGIN).header("sec-fetch-site", "same-origin");
    let request = request.header("content-type", "application/x-www-form-urlencoded").header("accept", "text/html");
    let reply = browser.send(request.body(Body::from(body)).expect("a request")).await;
    browser.csrf = Some(csrf);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_buried_is_replayed_by_an_approver_once() {
    let scene = scene().await;
    let bob = scene.app.twin.special(Special::AlexOne);
    let detection = scene.app.detection(bob, "anomalousToken", SignedDuration::from_mins(10));
    let row = scene.bury(1, "sentinel", Value::String(detection.to_string())).await;
    let (page, settle) = (format!("/console/buried/{row}"), format!("/console/buried/{row}/settle"));
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let (mut rita, _) = scene.house.signed_in("rita", Role::Approver).await;
    assert!(!vera.get(&page).await.text.contains("<button class=\"primary\">Replay"), "a viewer is offered nothing");
    assert_eq!(vera.post(&settle, json!({ "verb": "replay" })).await.status, 403);
    let offered = rita.get(&page).await.text;
    assert!(offered.contains(">Replay</button>") && offered.contains(">Drop</button>"), "{offered}");

    let done = page_form(&mut rita, &settle, &[("verb", "replay"), ("reason", "")]).await;
    assert_eq!((done.status.as_u16(), done.location()), (303, page.as_str()), "a form needs no script: {done:?}");
    assert_eq!(scene.state_of(row).await, BuriedState::Replayed);
    // What was in it is acted on.
    super::revoked(&scene.app, bob, 1).await;
    let trail = scene.house.audited().await;
    let line = trail.iter().find(|(verb, _)| verb == "buried.replayed").expect("it is recorded");
    assert_eq!(line.1["signals"].as_array().map(Vec::len), Some(1), "{line:?}");
    let again = rita.post(&settle, json!({ "verb": "replay" })).await;
    assert_eq!(again.status, 409, "{again:?}");
    assert!(again.body["detail"].as_str().is_some_and(|text| text.contains("already replayed")), "{again:?}");
    assert!(!rita.get(&page).await.text.contains(">Replay</button>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_wants_a_reason_and_what_cannot_be_read_stays_buried() {
    let scene = scene().await;
    let (mut rita, _) = scene.house.signed_in("rita", Role::Approver).await;
    let foreign = scene.bury(1, "gone", json!("{}")).await;
    let unread = scene.bury(2, "sentinel", json!("not json")).await;
    let no_body = scene.bury(3, "sentinel", Value::Null).await;
    for (row, why) in [
        (foreign, "no source is called gone any more"),
        (unread, "still not understood"),
        (no_body, "there is no body to read again"),
    ] {
        let refused = rita.post(&format!("/console/buried/{row}/settle"), json!({ "verb": "replay" })).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(refused.body["detail"].as_str().is_some_and(|text| text.contains(why)), "{refused:?}");
        assert_eq!(scene.state_of(row).await, BuriedState::Buried);
    }
    let settle = format!("/console/buried/{unread}/settle");
    for body in [json!({ "verb": "drop" }), json!({ "verb": "drop", "reason": " \n" }), json!({ "verb": "burn" })] {
        assert_eq!(rita.post(&settle, body.clone()).await.status, 422, "{body}");
    }
    let long = json!({ "verb": "drop", "reason": "x".repeat(2_001) });
    assert_eq!(rita.post(&settle, long).await.status, 422);
    assert_eq!(rita.post(&settle, json!({ "verb": "drop", "reason": "a test of the forwarder" })).await.status, 200);
    assert_eq!(scene.state_of(unread).await, BuriedState::Dropped);
    let trail = scene.house.audited().await;
    let dropped = trail.iter().find(|(verb, _)| verb == "buried.dropped").expect("it is recorded");
    assert_eq!(dropped.1["reason"], "a test of the forwarder");
    let said = rita.get(&format!("/console/buried/{unread}")).await.text;
    let said = said.split("Dropped</span>").nth(1).expect("it says that it was dropped");
    assert!(said.contains("rita") && said.contains("a test of the forwarder"), "{said:.400}");
    assert_eq!(rita.post(&settle, json!({ "verb": "replay" })).await.status, 409);
    let none = format!("/console/buried/{}/settle", BuriedId::new(Uuid::from_u128(99)));
    assert_eq!(rita.post(&none, json!({ "verb": "replay" })).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_reset_that_a_person_has_to_do_says_why_and_leads_there() {
    let scene = scene().await;
    let root = scene.app.twin.special(Special::Admin);
    // Their role could not be read when they were read.
    scene.app.twin.fault(oust::twin::Plan::on("/transitiveMemberOf/", oust::twin::Fault::status(403)));
    scene.app.alert(root, "anomalousToken").await;
    scene.app.idle().await;
    let about_root = |task: &&oust::domain::task::Task| {
        task.identity.as_ref().is_some_and(|identity| identity.object_id == ObjectId::new(root))
    };
    let approval = scene.app.open_tasks().await.iter().find(about_root).expect("a reset waits").id;
    scene.app.twin.clear_faults();
    scene.app.vote(approval, Verdict::Approve).await.expect("a vote");
    scene.app.idle().await;
    let by_hand = scene.app.open_tasks().await.iter().find(about_root).expect("work by hand").id;
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let page = vera.get(&format!("/console/tasks/{approval}")).await.text;
    for text in
        ["Goes on by hand", "directory role", &format!("/console/tasks/{by_hand}"), "Reset the password by hand"]
    {
        assert!(page.contains(text), "the page lacks {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_keeps_when_it_left_and_what_graph_called_it() {
    let rest = format!("collect:\n  - do: read_user\n{RESET}");
    let playbooks = vec![playbook("plain", "  signals: [anomalous_token]\n", &rest)];
    let scene = scene_on(Setup { playbooks, ..Setup::default() }, |_| {}).await;
    let case = scene.app.cases().await.remove(0).id;
    let runs = scene.app.store.runs_of(case).await.expect("a read");
    let read = runs.iter().flat_map(|(_, journal)| journal).find_map(|entry| match &entry.event {
        Event::Done { step, request_id, left_at, .. } if step.0 == "read_user" => Some((entry.at, request_id, left_at)),
        _ => None,
    });
    let (at, request_id, left_at) = read.expect("the account was read");
    assert!(request_id.as_deref().is_some_and(|id| Uuid::parse_str(id).is_ok()), "{request_id:?}");
    assert!(*left_at <= at);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_replay_one_row_at_once_start_it_once() {
    let scene = Arc::new(scene().await);
    let bob = scene.app.twin.special(Special::AlexOne);
    let detection = scene.app.detection(bob, "anomalousToken", SignedDuration::from_mins(10));
    let row = scene.bury(1, "sentinel", Value::String(detection.to_string())).await;
    let settle = format!("/console/buried/{row}/settle");
    let (mut rita, _) = scene.house.signed_in("rita", Role::Approver).await;
    let (mut carl, _) = scene.house.signed_in("carl", Role::Approver).await;
    let (one, two) =
        tokio::join!(rita.post(&settle, json!({ "verb": "replay" })), carl.post(&settle, json!({ "verb": "replay" })));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{one:?} {two:?}");
    super::revoked(&scene.app, bob, 1).await;
    scene.app.idle().await;
    assert_eq!(scene.app.count("revokeSignInSessions", bob).applied, 1);
    let times = scene.house.audited().await.iter().filter(|(verb, _)| verb == "buried.replayed").count();
    assert_eq!(times, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_shows_its_text_and_its_runs_and_what_runs_of_another_version() {
    let scene = scene().await;
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let case = scene.app.cases().await.remove(0).id;
    let page = vera.get("/console/playbooks/plain").await.text;
    for text in
        ["As it stands in the folder", "do: reset_password", "Revoke sessions", &format!("/console/cases/{case}")]
    {
        assert!(page.contains(text), "{text} is not in {page}");
    }
    assert!(!vera.get("/console/playbooks").await.text.contains("different from here"));

    // A worker with another folder: the same name at another version, and a name that is not here.
    let (row, _) = scene.app.store.runs_of(case).await.expect("reads").remove(0);
    let json = scene.app.store.plan(&row.plan).await.expect("reads").expect("pinned");
    let mut plans = Vec::new();
    for (number, name) in [(1, "plain"), (2, "elsewhere")] {
        let mut plan = normalise::unpin(&json).expect("a plan");
        (plan.name, plan.version) = (name.to_owned(), 7);
        let pinned = normalise::pin(&plan);
        let id = RunId::new(Uuid::from_u128(number));
        let run = RunRow { id, plan: pinned.hash.clone(), playbook: name.to_owned(), ..row.clone() };
        scene
            .commit(vec![Op::PutPlan { hash: pinned.hash.clone(), json: pinned.json }, Op::PutRun(Box::new(run))])
            .await;
        plans.push(pinned.hash);
    }
    let list = vera.get("/console/playbooks").await.text;
    assert!(list.contains("plain, ") && list.contains("1 open run, another version than the one here"), "{list}");
    assert!(list.contains("1 open run, not among the playbooks here"), "{list}");
    let other = vera.get(&format!("/console/playbooks/plain?version={}", plans[0])).await;
    assert_eq!(other.status, 200);
    assert!(other.text.contains("version 7") && other.text.contains("Not what would start now"), "{}", other.text);
    assert!(other.text.contains("comments and layout are not kept"), "{}", other.text);
    let gone = vera.get("/console/playbooks/elsewhere").await;
    assert!(gone.status == 200 && gone.text.contains("version 7"), "{}", gone.text);
    for lost in [
        format!("/console/playbooks/plain?version={}", plans[1]),
        format!("/console/playbooks/plain?version={}", "0".repeat(64)),
        "/console/playbooks/plain?version=../../etc".to_owned(),
        "/console/playbooks/nowhere".to_owned(),
    ] {
        assert_eq!(vera.get(&lost).await.status, 404, "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_tells_what_this_process_counted_and_no_zeros_of_others() {
    let scene = scene().await;
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let page = vera.get("/console/overview").await.text;
    assert!(page.contains("No delivery comes in through this process"), "{page}");
    assert!(page.contains("<title id=\"fast-title\">Time to revoke. 1 revoke"), "{page}");
    assert!(page.contains("None of 0 calls was throttled"), "this console's telemetry is its own: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_tells_which_sources_and_polls_are_well_and_which_fail() {
    let telemetry = Telemetry::new();
    let (told, source) = (telemetry.clone(), |name: &str, kind: &str| SourceFacts {
        name: name.into(),
        kind: kind.into(),
        tenant: "contoso".into(),
    });
    let sources = ["sentinel", "splunk", "graph"].map(|name| source(name, "microsoft"));
    let scene = scene_of(
        Setup::default(),
        |_| {},
        move |parts| {
            parts.telemetry = told;
            (parts.configured.receives, parts.configured.sources) = (true, sources.to_vec());
        },
    )
    .await;
    let delivery = DeliveryId::new(Uuid::from_u128(1));
    telemetry.delivery_accepted(delivery, "sentinel", 1);
    telemetry.delivery_refused("sentinel", "replay");
    telemetry.delivery_accepted(delivery, "splunk", 1);
    telemetry.delivery_refused("splunk", "bad_signature");
    telemetry.delivery_refused("unknown", "no_such_source");
    telemetry.delivery_refused("console", "no_session");
    let (tenant, at) = ("contoso".parse().expect("a name"), scene.app.clock.now());
    telemetry.polled(&tenant, "risk_detections", at, None);
    telemetry.polled(&tenant, "risky_users", at, Some("Graph is away"));

    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let page = vera.get("/console/overview").await.text;
    let table = page.split("Sources and their health").nth(1).and_then(|rest| rest.split("</table>").next());
    let rows: Vec<String> = table.expect("a table").split("<tr>").skip(2).map(words).collect();
    let told = [
        ("sentinel", "Well", "replay: 1"),
        ("splunk", "Failing the newest delivery was refused: bad signature", "bad signature: 1"),
        ("graph", "Not heard from", "none yet 0 0"),
        ("unknown", "Not heard from", "no such source: 1"),
        ("risk_detections", "Well", "1 0"),
        ("risky_users", "Failing the last read failed; it is tried again", "failed: 1"),
    ];
    assert_eq!(rows.len(), told.len(), "refused sign-ins are no source: {rows:#?}");
    for ((name, state, counted), row) in told.iter().zip(&rows) {
        assert!(row.starts_with(name) && row.contains(state) && row.ends_with(counted), "{name}: {row}");
    }
    // Whoever sends well again is well.
    telemetry.delivery_accepted(delivery, "splunk", 1);
    let page = vera.get("/console/overview").await.text;
    assert!(!page.contains("the newest delivery was refused"), "{page}");
}

/// The text of some markup, with one space between words.
fn words(markup: &str) -> String {
    let text: String = markup
        .split('<')
        .map(|part| part.split_once('>').map_or(part, |(_, text)| text))
        .flat_map(|text| [text, " "])
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_page_tells_how_long_the_oldest_record_waits_for_the_chain() {
    let scene = scene().await;
    let record = async |verb: &str| {
        let audit = Audit {
            at: scene.app.clock.now(),
            actor: "operator:ada".into(),
            verb: verb.into(),
            tenant: None,
            object_id: None,
            case: None,
            detail: json!({}),
        };
        scene.commit(vec![Op::Audit(Box::new(audit))]).await;
    };
    // Nobody chains any more.
    scene.app.engine.stop(std::time::Duration::from_secs(10)).await;
    record("one").await;
    scene.app.clock.advance(SignedDuration::from_mins(12));
    record("another").await;
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let page = vera.get("/console/audit").await.text;
    let said = page.split("data-live=\"audit\">").nth(1).and_then(|rest| rest.split("</p>").next()).expect("a line");
    assert!(said.contains("12 min") && said.contains(" behind.") && said.contains("note warn"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_tells_of_a_policy_that_waits_for_a_group_without_approvers() {
    let scene = scene().await;
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let told = "<strong>Policy on_call is not ready:</strong> nobody who may approve is in group:on-call.";
    let page = vera.get("/console/overview").await.text;
    assert!(page.contains(told), "whoever is in the group may only look: {page}");
    let rita = scene.house.add("rita", &[Role::Approver], &[]).await;
    assert!(!vera.get("/console/overview").await.text.contains("is not ready"));
    let at = scene.house.clock.now();
    scene.commit(vec![Change::Disable { reviewer: rita.id, at }.into()]).await;
    assert!(vera.get("/console/overview").await.text.contains(told), "somebody who left holds nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_holds_across_pages_and_says_how_far_it_looked() {
    let scene = scene().await;
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let row = scene.app.cases().await.remove(0);
    let mut ops = Vec::new();
    for number in 1..=70_u128 {
        let mut case = row.clone();
        case.id = CaseId::new(Uuid::from_u128(number));
        case.identity.object_id = ObjectId::new(Uuid::from_u128(number));
        case.opened_at = row.opened_at + SignedDuration::from_secs(i64::try_from(number).expect("small"));
        case.detail = json!({});
        case.kinds = vec![if number % 2 == 0 { "impossible_travel" } else { "mfa_fraud" }.to_owned()];
        ops.push(Op::PutCase(Box::new(case)));
    }
    scene.commit(ops).await;
    let mut seen = Vec::new();
    let mut path = "/console?kind=mfa_fraud&state=all".to_owned();
    for _ in 0..5 {
        let page = vera.get(&path).await.text;
        let rows: Vec<String> = links(&page, "/console/cases/");
        assert!(rows.len() <= 25, "a page has at most 25 rows");
        seen.extend(rows);
        match links(&page, "/console?").into_iter().find(|href| href.contains("after=")) {
            Some(next) => {
                assert!(next.contains("kind=mfa_fraud") && next.contains("state=all"), "{next}");
                path = next.replace("&#38;", "&").replace("&amp;", "&");
            }
            None => break,
        }
    }
    let mut unique = seen.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!((seen.len(), unique.len()), (35, 35), "each once: {seen:?}");
    let found = vera.get("/console?q=ada%40contoso.example").await.text;
    assert_eq!(links(&found, "/console/cases/").len(), 1, "text is found in what signals tell: {found}");
    let none = vera.get("/console?q=nobody%40contoso.example").await.text;
    assert!(none.contains("No case fits"), "{none}");
    let anyhow = vera.get("/console?q=ADA%40Contoso").await.text;
    assert_eq!(links(&anyhow, "/console/cases/").len(), 1, "letters of any case: {anyhow}");
    let odd = vera.get("/console?q=%22signal%22%3A").await.text;
    assert!(odd.contains("No case fits"), "what signals are written in is no text of theirs: {odd}");
    let by_id = vera.get(&format!("/console?q={}", row.id)).await.text;
    assert_eq!(links(&by_id, "/console/cases/").len(), 1);
}

/// Where links that begin so lead, once each, in order.
fn links(page: &str, begin: &str) -> Vec<String> {
    let main = &page[page.find("<main").expect("a page")..];
    let mut found: Vec<String> = Vec::new();
    for rest in main.split("href=\"").skip(1) {
        let href = rest.split('"').next().unwrap_or_default();
        if href.starts_with(begin) && !found.iter().any(|one| one == href) {
            found.push(href.to_owned());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_in_order_across_pages_and_a_case_has_all_of_its_trail() {
    let scene = scene().await;
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let mut ops = Vec::new();
    for number in 1..=60_u128 {
        let mut task = scene.task.clone();
        task.id = TaskId::new(Uuid::from_u128(number));
        task.kind = Kind::Manual;
        task.created_at = scene.task.created_at + SignedDuration::from_secs(i64::try_from(number).expect("small"));
        ops.push(Op::PutTask(Box::new(task)));
    }
    scene.commit(ops).await;
    let first = vera.get("/console/tasks").await.text;
    let rows = links(&first, "/console/tasks/task_");
    assert_eq!(rows.len(), 50);
    assert_eq!(rows[0], scene.task_page(), "the decision leads, though sixty came later");
    assert_eq!(rows[1], format!("/console/tasks/{}", TaskId::new(Uuid::from_u128(1))), "then what ends first");
    let next = links(&first, "/console/tasks?").into_iter().find(|href| href.contains("after=")).expect("a next page");
    let second = links(&vera.get(&next).await.text, "/console/tasks/task_");
    assert_eq!(second.len(), 11);
    assert!(second.iter().all(|row| !rows.contains(row)));
    assert!(vera.get("/console/tasks?show=all").await.text.contains("Tasks, newest first"));

    let case = scene.task.case.expect("a case");
    let line = |number: usize| {
        Op::Audit(Box::new(Audit {
            at: scene.app.clock.now(),
            actor: "worker".into(),
            verb: format!("noted.{number}"),
            tenant: None,
            object_id: None,
            case: number.is_multiple_of(2).then_some(case),
            detail: json!({}),
        }))
    };
    scene.commit((0..220).map(line).collect()).await;
    let page = vera.get(&format!("/console/cases/{case}")).await.text;
    let trail = links(&page, "/console/audit?case=").remove(0);
    let mut seen = 0;
    let mut path = trail;
    loop {
        let page = vera.get(&path).await.text;
        assert!(!page.contains("noted.1<"), "another case's record");
        seen += page.matches("<code>noted.").count();
        match links(&page, "/console/audit?case=").into_iter().find(|href| href.contains("after=")) {
            Some(next) => path = next.replace("&#38;", "&").replace("&amp;", "&"),
            None => break,
        }
    }
    assert_eq!(seen, 110);
    assert_eq!(vera.get("/console/audit?case=x").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_tell_of_every_reviewer_when_they_signed_in_last() {
    let scene = scene().await;
    let linked = Linked { tenant: Uuid::from_u128(1), object_id: ObjectId::new(Uuid::from_u128(2)) };
    let (mut rita, _) = scene.house.linked_in("rita", Role::Approver, &[linked]).await;
    scene.house.add("carl", &[Role::Viewer], &[]).await;
    let page = rita.get("/console/settings").await.text;
    let row = |name: &str| {
        let at = page.find(&format!("<span class=\"dim\">{name}</span></th>")).expect("a row");
        page[at..].split("</tr>").next().expect("a row").to_owned()
    };
    assert!(row("rita").contains("approver") && row("rita").contains("on-call") && row("rita").contains("<time"));
    assert!(row("rita").contains("00000000-0000-0000-0000-000000000002"), "{}", row("rita"));
    assert!(row("carl").contains("never"), "{}", row("carl"));
}
