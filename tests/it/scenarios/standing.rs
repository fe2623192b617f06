//! Who somebody is now counts, not who they were when they signed in: their own revokes, and what their provider says.

use jiff::SignedDuration;
use oust::domain::ObjectId;
use oust::domain::reviewer::Linked;
use oust::domain::task::{Kind, Role, Task};
use oust::twin;
use serde_json::{Value, json};
use uuid::Uuid;

use super::console::{Scene, scene_on};
use super::{RESET, open, playbook, revoked};
use crate::sign_in::authenticator::Says;
use crate::sign_in::house::Browser;
use crate::sign_in::real_provider::{Away, config, land};
use crate::support::Setup;

/// Time passes, for invitations too.
fn push(scene: &Scene, span: SignedDuration) {
    super::push(&scene.app, span);
    scene.house.clock.push(span);
}

fn denial(task: &Task) -> Value {
    json!({
        "task": task.id, "revision": task.revision, "verdict": "deny", "digest": task.digest(), "reason": "a drill",
    })
}

/// A case of its own that stays open until somebody reports its manual step done.
const KEPT_OPEN: &str = "recover:\n  - do: manual\n    with: { title: Call them, instructions: Call them. }\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_session_older_than_the_latest_revoke_of_its_reviewer_decides_nothing() {
    let playbooks = vec![
        playbook("plain", "  signals: [anomalous_token]\n", RESET),
        playbook("kept", "  signals: [atypical_travel]\n", KEPT_OPEN),
    ];
    let scene = scene_on(Setup { playbooks, ..Setup::default() }, |_| {}).await;
    let (app, person) = (&scene.app, scene.app.twin.person(7));
    app.alert(person, "unlikelyTravel").await;
    revoked(app, person, 1).await;
    app.idle().await;
    let linked = Linked { tenant: twin::Config::default().tenant_id, object_id: ObjectId::new(person) };
    push(&scene, SignedDuration::from_mins(1));
    let (mut pia, mut key) = scene.house.linked_in("pia", Role::Approver, &[linked]).await;
    push(&scene, SignedDuration::from_mins(15));
    app.alert(person, "unlikelyTravel").await;
    revoked(app, person, 2).await;
    app.idle().await;
    let (mut rita, _) = scene.house.signed_in("rita", Role::Approver).await;
    // The second run asks once the first has ended.
    for _ in 0..2 {
        for manual in open(app, Kind::Manual).await {
            let done = json!({ "revision": manual.revision, "note": "called her" });
            assert_eq!(rita.post(&format!("/console/tasks/{}/done", manual.id), done).await.status, 200);
        }
        app.idle().await;
    }
    let of_pia: Vec<_> =
        app.cases().await.into_iter().filter(|case| case.identity.object_id == linked.object_id).collect();
    let [case] = of_pia.as_slice() else { panic!("one case: {of_pia:#?}") };
    assert!(case.closed_at.is_some() && case.revoke_accepted_at < case.last_revoke_at, "{case:#?}");

    let task = super::task(app, &scene.task).await;
    let refused = pia.post("/console/decide/begin", denial(&task)).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.text.contains("before your own sessions were revoked"), "{refused:?}");
    push(&scene, SignedDuration::from_mins(1));
    assert_eq!(pia.sign_in(&mut key, &Says::get()).await.status, 200);
    let begun = pia.post("/console/decide/begin", denial(&task)).await;
    assert_eq!(begun.status, 200, "signed in since: {begun:?}");
}

fn login(account: &str, groups: &[&str]) -> Value {
    json!({
        "account": account, "acr": "urn:high", "amr": ["pwd", "mfa"],
        "claims": { "groups": groups, "name": "Grace Hopper" },
    })
}

async fn token(browser: &mut Browser<'_>) -> Value {
    let me = browser.get("/console/session").await.body;
    browser.csrf = me["csrf"].as_str().map(str::to_owned);
    me
}

async fn scene() -> Scene {
    let mut config = config();
    config.roles.insert(Role::Viewer, vec!["staff".into()]);
    scene_on(Setup::default(), |parts| parts.oidc = Some(config)).await
}

/// An approver of the provider who begins a decision, and comes back from there with these groups.
async fn decided<'a>(scene: &'a Scene, groups: &[&str]) -> (Browser<'a>, crate::sign_in::house::Reply) {
    let account = Uuid::new_v4().to_string();
    let (mut browser, mut away) = (scene.house.browser(), Away::default());
    let to = browser.post("/console/sign-in/oidc", json!({})).await;
    let at = away.follow(to.away(), &login(&account, &["on-call"])).await;
    assert_eq!(land(&mut browser, &at).await.status, 303);
    assert_eq!(token(&mut browser).await["roles"], json!(["approver"]));
    let begun = browser.post("/console/decide/begin", denial(&scene.task)).await;
    let at = away.follow(begun.away(), &login(&account, groups)).await;
    let reply = land(&mut browser, &at).await;
    (browser, reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approver_whom_the_provider_made_a_viewer_meanwhile_decides_nothing() {
    let scene = scene().await;
    let (mut browser, reply) = decided(&scene, &["staff"]).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert_eq!(scene.state().await, "pending");
    let me = token(&mut browser).await;
    assert_eq!((&me["roles"], &me["groups"]), (&json!(["viewer"]), &json!(["staff"])), "from now on");
    assert_eq!(browser.post("/console/decide/begin", denial(&scene.task)).await.status, 403);
    assert!(scene.house.has_audited("session.changed").await && scene.house.has_audited("task.refused").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_whose_last_role_the_provider_took_is_told_so_and_signed_out() {
    let scene = scene().await;
    let (mut browser, reply) = decided(&scene, &["elsewhere"]).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(reply.text.contains("no role here"), "{reply:?}");
    assert_eq!(scene.state().await, "pending");
    assert!(!browser.is_signed_in().await);
    assert!(scene.house.has_audited("session.ended").await && scene.house.has_audited("step_up.refused").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_kept_their_groups_decides() {
    let scene = scene().await;
    let (_, reply) = decided(&scene, &["on-call", "staff"]).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    assert_eq!(scene.state().await, "denied");
}
