//! Orders from the console over HTTP: who may ask for what, that asking does nothing, and that one touch carries it out.

use oust::domain::task::{Kind, Role, Task};
use oust::twin::Special;
use serde_json::{Value, json};

use super::console::{Scene, scene};
use super::{eventually, the};
use crate::sign_in::authenticator::{Key, Says};
use crate::sign_in::house::{Browser, Reply};

impl Scene {
    fn orders(&self) -> String {
        format!("/console/cases/{}/orders", self.task.case.expect("a case"))
    }

    async fn found(&self, asked: &Reply) -> Task {
        let id = asked.body["task"].as_str().expect("a task").parse().expect("an id");
        self.app.store.task(id).await.expect("a read").expect("the task")
    }
}

/// What `decide.js` does with the answer to an order.
async fn decide(browser: &mut Browser<'_>, key: &mut Key, asked: &Reply) -> Reply {
    let wanted = json!({
        "task": asked.body["task"], "revision": asked.body["revision"], "digest": asked.body["digest"],
        "verdict": "approve", "reason": "",
    });
    let begun = browser.post("/console/decide/begin", wanted).await;
    if begun.status != 200 {
        return begun;
    }
    let credential = key.get(&begun.body, &Says::get());
    browser
        .post("/console/decide/finish", json!({ "ceremony": begun.body["ceremony"], "credential": credential }))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_revoked_by_one_press_and_one_touch() {
    let scene = scene().await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    let page = rita.get(&format!("/console/cases/{}", scene.task.case.expect("a case"))).await.text;
    for button in [">Revoke sessions</button>", ">Confirm compromised</button>", ">Close case</button>"] {
        assert!(page.contains(button), "{button} is not in {page}");
    }
    assert!(!page.contains(">Request reset</button>"), "one waits already: {page}");
    let before = scene.app.count("revokeSignInSessions", scene.ada).applied;
    let asked = rita.post(&scene.orders(), json!({ "order": "revoke", "reason": "still reading mail" })).await;
    assert_eq!((asked.status.as_u16(), &asked.body["decide"]), (200, &Value::Bool(true)), "{asked:?}");
    scene.app.idle().await;
    assert_eq!(scene.app.count("revokeSignInSessions", scene.ada).applied, before, "asking does nothing");
    let task = scene.found(&asked).await;
    let shown = rita.get(asked.body["location"].as_str().expect("a path")).await.text;
    assert!(shown.contains("Revoke sessions now: asked by &#60;rita&#62;"), "{shown}");
    assert!(shown.contains("still reading mail") && shown.contains(">Approve<"), "{shown}");
    assert!(rita.get("/console/tasks").await.text.contains("Revoke sessions now: asked by"));

    let twice = rita.post(&scene.orders(), json!({ "order": "revoke" })).await;
    assert_eq!((twice.status.as_u16(), &twice.body["location"]), (409, &asked.body["location"]), "{twice:?}");
    let decided = decide(&mut rita, &mut key, &asked).await;
    assert_eq!(decided.status, 200, "{decided:?}");
    eventually(&scene.app, "the revoke", async || {
        scene.app.count("revokeSignInSessions", scene.ada).applied == before + 1
    })
    .await;
    scene.app.idle().await;
    assert_eq!(super::task(&scene.app, &task).await.state.word(), "executed");
    assert!(scene.house.has_audited("order.asked").await && scene.house.has_audited("order.refused").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_asked_for_by_an_analyst_and_decided_by_somebody_else() {
    let scene = scene().await;
    // Nobody decided in time: the case stays open, contained, with its password unchanged.
    super::push(&scene.app, jiff::SignedDuration::from_hours(5));
    scene.house.clock.push(jiff::SignedDuration::from_hours(5));
    eventually(&scene.app, "the expiry", async || scene.state().await == "expired").await;
    scene.app.idle().await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    let (mut anna, _) = scene.house.signed_in("anna", Role::Analyst).await;
    let (mut vera, _) = scene.house.signed_in("vera", Role::Viewer).await;
    let case = format!("/console/cases/{}", scene.task.case.expect("a case"));
    let counted = anna.get("/console/overview").await.text;
    let figure = "<p class=\"number\">1</p><p><a href=\"/console?state=password_unchanged\">Password unchanged</a>";
    assert!(counted.contains(figure), "{counted}");
    let listed = anna.get("/console?state=password_unchanged").await.text;
    assert!(listed.contains(&case), "{listed}");
    let page = anna.get(&case).await.text;
    assert!(page.contains(">Request reset</button>"), "{page}");
    assert!(!page.contains("name=\"policy\""), "the playbook says who approves it: {page}");
    assert!(!page.contains(">Revoke sessions</button>") && !page.contains(">Cancel run</button>"), "{page}");
    assert!(!vera.get(&case).await.text.contains("Request reset"));
    assert_eq!(vera.post(&scene.orders(), json!({ "order": "reset" })).await.status, 403);
    for order in ["revoke", "confirm_compromised", "dismiss_risk", "close"] {
        let refused = anna.post(&scene.orders(), json!({ "order": order, "reason": "x" })).await;
        assert_eq!(refused.status, 403, "{order}: {refused:?}");
    }
    let policy = anna.post(&scene.orders(), json!({ "order": "reset", "policy": "nobody" })).await;
    assert_eq!(policy.status, 422, "{policy:?}");
    let asked =
        anna.post(&scene.orders(), json!({ "order": "reset", "policy": "on_call", "reason": "by phone" })).await;
    assert_eq!((asked.status.as_u16(), &asked.body["decide"]), (200, &Value::Bool(false)), "{asked:?}");
    let task = scene.found(&asked).await;
    assert_eq!((task.kind, task.requester.as_ref().map(|who| who.id.as_str())), (Kind::Order, Some("anna")));
    let path = asked.body["location"].as_str().expect("a path").to_owned();
    let hers = anna.get(&path).await.text;
    assert!(!hers.contains(">Approve<") && hers.contains("Asked by"), "{hers}");
    assert!(rita.get(&path).await.text.contains(">Approve<"));

    // An approver who asks does not decide either.
    let withdrawn = json!({
        "task": task.id, "revision": task.revision, "verdict": "deny", "digest": task.digest(), "reason": "not now",
    });
    let begun = rita.post("/console/decide/begin", withdrawn).await;
    let credential = key.get(&begun.body, &Says::get());
    let finish = json!({ "ceremony": begun.body["ceremony"], "credential": credential });
    assert_eq!(rita.post("/console/decide/finish", finish).await.status, 200);
    scene.app.idle().await;
    let own = rita.post(&scene.orders(), json!({ "order": "reset" })).await;
    assert_eq!((own.status.as_u16(), &own.body["decide"]), (200, &Value::Bool(false)), "{own:?}");
    assert_eq!(decide(&mut rita, &mut key, &own).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sends_nothing_needs_a_reason_and_what_makes_no_sense_is_refused() {
    let scene = scene().await;
    let (mut rita, _) = scene.house.signed_in("rita", Role::Approver).await;
    let case = scene.task.case.expect("a case");
    let (run, _) = scene.app.store.runs_of(case).await.expect("reads").remove(0);
    let before = scene.app.tasks().await.len();
    for (body, status) in [
        (json!({ "order": "close" }), 422),
        (json!({ "order": "cancel", "run": run.id }), 422),
        (json!({ "order": "cancel", "run": "x", "reason": "y" }), 422),
        (json!({ "order": "skip", "run": run.id, "reason": "y" }), 422),
        (json!({ "order": "skip", "run": run.id, "step": "nothing", "reason": "y" }), 409),
        (json!({ "order": "took_effect", "run": run.id, "step": "reset_password", "reason": "y" }), 409),
        (json!({ "order": "again", "run": run.id, "step": "reset_password" }), 409),
        (json!({ "order": "burn" }), 422),
        (json!({}), 422),
        (json!({ "order": "revoke", "reason": "x".repeat(2_001) }), 422),
    ] {
        let refused = rita.post(&scene.orders(), body.clone()).await;
        assert_eq!(refused.status, status, "{body}: {refused:?}");
    }
    for lost in ["/console/cases/x/orders", "/console/cases/case_00000000000000000000000000000007/orders"] {
        assert_eq!(rita.post(lost, json!({ "order": "revoke" })).await.status, 404, "{lost}");
    }
    assert_eq!(scene.app.tasks().await.len(), before, "nothing was written down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_task_is_given_its_person_who_is_contained() {
    let scene = scene().await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    let bob = scene.app.twin.special(Special::AlexOne);
    let mut detection = scene.app.detection(bob, "anomalousToken", jiff::SignedDuration::from_mins(10));
    detection.as_object_mut().expect("an object").remove("userId");
    detection["userPrincipalName"] = json!("nobody@contoso.example");
    scene.app.deliver(&detection).await;
    scene.app.idle().await;
    let held = the(&scene.app, Kind::Held).await;
    let path = format!("/console/tasks/{}", held.id);
    let page = rita.get(&path).await.text;
    assert!(page.contains("<label>Object ID <input name=\"object_id\""), "{page}");
    let name = |object_id: &str, revision: u64| json!({ "object_id": object_id, "revision": revision });
    let at = format!("{path}/person");
    assert_eq!(rita.post(&at, name("bob@contoso.example", held.revision)).await.status, 422);
    assert_eq!(rita.post(&at, name(&bob.to_string(), held.revision + 1)).await.status, 409);
    scene.app.clock.advance(jiff::SignedDuration::from_mins(6));
    assert_eq!(rita.post(&at, name(&bob.to_string(), held.revision)).await.status, 403, "a stale proof");
    assert_eq!(rita.prove(&mut key).await.status, 200);
    assert_eq!(scene.app.count("revokeSignInSessions", bob).applied, 0);
    let named = rita.post(&at, name(&bob.to_string(), held.revision)).await;
    assert_eq!((named.status.as_u16(), &named.body["location"]), (200, &json!(path)), "{named:?}");
    eventually(&scene.app, "the revoke", async || scene.app.count("revokeSignInSessions", bob).applied == 1).await;
    assert_eq!(rita.post(&at, name(&bob.to_string(), held.revision)).await.status, 422, "it is done");
    assert!(scene.house.has_audited("task.named").await);
}
