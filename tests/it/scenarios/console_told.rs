//! What the console tells of cases as the engine leaves them: names, travel, the last revoke, and whom a release frees.

use std::time::Duration;

use jiff::SignedDuration;
use oust::domain::task::{Kind, Role, Verdict};
use oust::twin::{NewSignIn, Origin, Special};
use serde_json::json;

use super::console::scene_on;
use super::{RESET, open, playbook, push, revoked, the, vote};
use crate::support::{App, Setup};

/// A playbook that reads before it asks.
fn reading() -> Vec<(String, String)> {
    let reads = "collect:\n  - do: read_user\n  - do: read_sign_ins\n  - do: read_risk\n";
    vec![playbook("reading", "  signals: [anomalous_token, atypical_travel]\n", &format!("{reads}{RESET}"))]
}

fn sign_in(app: &App, user: uuid::Uuid, origin: Origin, ago: SignedDuration) {
    let at = Some(app.clock.now() - ago);
    let new = NewSignIn { user, origin, error_code: 0, risk: None, at, session: None };
    app.twin.add_sign_in(&new).expect("a sign-in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_without_places_is_shown_with_the_travel_and_the_name_that_were_read() {
    let scene = scene_on(Setup { playbooks: reading(), ..Setup::default() }, |_| {}).await;
    let app = &scene.app;
    let bob = app.twin.special(Special::AlexOne);
    sign_in(app, bob, Origin::default(), SignedDuration::from_mins(45));
    sign_in(app, bob, Origin::thief(), SignedDuration::from_mins(10));
    app.alert(bob, "unlikelyTravel").await;
    app.idle().await;
    let bobs = app.identity(bob);
    let case = app.cases().await.into_iter().find(|case| case.identity == bobs).expect("a case");
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let page = vera.get(&format!("/console/cases/{}", case.id)).await.text;
    for text in
        ["class=\"travel\"", "<bdi>Berlin, DE</bdi>", "<bdi>Lagos, NG</bdi>", "in 35 min", "faster than an airliner"]
    {
        assert!(page.contains(text), "{text} is not in {page}");
    }
    let name = case.detail["user"]["display_name"].as_str().expect("a name that was read").to_owned();
    let query = url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>();
    let found = vera.get(&format!("/console?q={query}")).await.text;
    assert!(found.contains(&format!("/console/cases/{}", case.id)) && found.contains(&name), "{found}");
    assert!(found.contains("<bdi>Lagos, NG</bdi> <code>203.0.113.77</code>"), "the row has the place: {found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_second_revoke_what_remains_counts_from_it() {
    let scene = scene_on(Setup { playbooks: reading(), ..Setup::default() }, |_| {}).await;
    let app = &scene.app;
    push(app, SignedDuration::from_mins(20));
    scene.house.clock.push(SignedDuration::from_mins(20));
    app.deliver(&app.detection(scene.ada, "anomalousToken", SignedDuration::ZERO)).await;
    revoked(app, scene.ada, 2).await;
    app.idle().await;
    let case = app.cases().await.remove(0);
    let first = case.revoke_accepted_at.expect("accepted");
    let last = case.last_revoke_at.expect("accepted again");
    assert!(last >= first + SignedDuration::from_mins(20), "{first} {last}");
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let page = vera.get(&format!("/console/cases/{}", case.id)).await.text;
    let end = (last + SignedDuration::from_mins(15)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    assert!(page.contains("Last revoke accepted") && page.contains(&end), "{end} is not in {page}");
    let home = vera.get("/console").await.text;
    assert!(home.contains("last accepted") && home.contains(&end), "{end} is not in {home}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_lists_whom_it_frees_and_they_lead_to_it() {
    let setup = Setup { playbooks: reading(), blast_radius: Some((1, Duration::from_secs(600))), ..Setup::default() };
    let scene = scene_on(setup, |_| {}).await;
    let app = &scene.app;
    for index in 1..=3 {
        app.alert(app.twin.person(index), "anomalousToken").await;
    }
    app.idle().await;
    let parked: Vec<_> = app.cases().await.into_iter().filter(|case| case.state == "parked").collect();
    assert_eq!(parked.len(), 3);
    assert!(parked.iter().all(|case| case.detail["parked"] == "blast_radius"), "{parked:#?}");
    let release = the(app, Kind::Release).await;
    let path = format!("/console/tasks/{}", release.id);
    let (mut rita, _) = scene.house.signed_in("rita", Role::Approver).await;
    let page = rita.get(&path).await.text;
    assert!(page.contains("<p class=\"big\">3 people</p>") && page.contains("Anomalous token: 3 people"), "{page}");
    for case in &parked {
        let of_case = format!("/console/cases/{}", case.id);
        assert!(page.contains(&of_case), "{of_case} is not in {page}");
        let linked = rita.get(&of_case).await.text;
        assert!(linked.contains(&format!("href=\"{path}\">Decide its release</a>")), "{linked}");
    }
    let home = rita.get("/console").await.text;
    assert_eq!(home.matches(&format!("class=\"task\" href=\"{path}\"")).count(), 3, "{home}");

    vote(app, &release, Verdict::Approve, false).await.expect("a vote");
    revoked(app, app.twin.person(3), 1).await;
    app.idle().await;
    assert!(app.cases().await.iter().all(|case| case.detail["parked"].is_null()));
    assert!(!rita.get("/console").await.text.contains(&path), "nobody waits for it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_gone_from_the_directory_is_nobody_to_contain() {
    let scene = scene_on(Setup { playbooks: reading(), ..Setup::default() }, |_| {}).await;
    let app = &scene.app;
    let gone = app.twin.special(Special::Deleted);
    app.alert(gone, "anomalousToken").await;
    app.idle().await;
    let identity = app.identity(gone);
    let case = app.cases().await.into_iter().find(|case| case.identity == identity).expect("a case");
    assert_eq!((case.state.as_str(), &case.detail["nobody"]), ("not_contained", &serde_json::Value::Bool(true)));
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let page = vera.get(&format!("/console/cases/{}", case.id)).await.text;
    assert!(page.contains("Nobody to contain: Graph knows no such user."), "{page}");
    assert!(!page.contains("Every session still works"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_was_approved_and_is_held_says_until_what_and_where_it_is_let_go() {
    let setup = Setup { blast_radius: Some((1, Duration::from_secs(600))), ..Setup::default() };
    let scene = scene_on(setup, |_| {}).await;
    let app = &scene.app;
    app.alert(app.twin.person(1), "anomalousToken").await;
    app.idle().await;
    let release = the(app, Kind::Release).await;
    let tasks = open(app, Kind::Approval).await;
    let reset = tasks.iter().find(|task| task.id != scene.task.id).expect("a reset of whoever is parked");
    let (mut rita, _) = scene.house.signed_in("rita", Role::Approver).await;
    let path = format!("/console/tasks/{}", reset.id);
    assert!(!rita.get(&path).await.text.contains("It waits until"), "nothing is approved yet");

    vote(app, reset, Verdict::Approve, false).await.expect("a vote");
    let parked = rita.get(&path).await.text;
    let way = format!("<a href=\"/console/tasks/{}\">Decide its release</a>", release.id);
    for text in ["It waits until the revoke of this person", "nothing of it is done", &way, "data-until=\"the revoke"] {
        assert!(parked.contains(text), "{text} is not in {parked}");
    }
    assert!(!parked.contains("usually within seconds"), "{parked}");

    assert_eq!(rita.post("/console/pause", json!({ "reason": "a drill" })).await.status, 200);
    let paused = rita.get(&path).await.text;
    for text in ["It waits until effects are resumed.", "Resume in settings</a>", "is set once effects are resumed."] {
        assert!(paused.contains(text), "{text} is not in {paused}");
    }
    assert_eq!(rita.post("/console/resume", json!({})).await.status, 200);
    vote(app, &release, Verdict::Deny, false).await.expect("a vote");
    assert!(rita.get(&path).await.text.contains("No release waits for a decision"));
}
