//! Decisions from a browser, through the sign-in into the engine: bound before the proof, consumed with the decision.

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use oust::domain::ObjectId;
use oust::domain::reviewer::{Linked, Shown, Wanted};
use oust::domain::task::{Kind, Role, Task, Verdict};
use oust::store::reviewers::Change;
use oust::twin::{self, Special};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{RESET, app_with, eventually, playbook, the};
use crate::sign_in::authenticator::{Key, Says, decode};
use crate::sign_in::fake_provider::FakeProvider;
use crate::sign_in::house::{Browser, Hands, House, Reply};
use crate::sign_in::oidc::{asked, changed, come_back, fitting};
use crate::support::{App, Setup};

/// A reset that waits, and the sign-in of the same store in front of the engine.
async fn waiting() -> (App, Uuid, Task, House) {
    let on = "  signals: [anomalous_token]\n";
    let app = app_with(Setup { playbooks: vec![playbook("plain", on, RESET)], ..Setup::default() }).await;
    let ada = app.twin.special(Special::Ada);
    app.alert(ada, "anomalousToken").await;
    app.idle().await;
    let task = the(&app, Kind::Approval).await;
    let house = House::over(&app.dir.path().join("oust.db"), Hands::at(app.clock.now()), |parts| {
        let clock = app.clock.clone();
        parts.clock = Arc::new(move || clock.now());
        parts.decider = Some(Arc::new(app.engine.clone()));
        parts.tenants = [(twin::Config::default().tenant_id, "contoso".parse().expect("a name"))].into();
    });
    (app, ada, task, house)
}

fn wanted(app: &App, task: &Task, verdict: Verdict) -> Wanted {
    Wanted {
        task: task.id,
        revision: task.revision,
        verdict,
        digest: task.digest(),
        reason: Some("asked them on the phone".into()),
        recipient_key: task.reveals().then(|| app.recipient.clone()),
    }
}

async fn decide(browser: &mut Browser<'_>, key: &mut Key, body: Value) -> Reply {
    let begun = browser.post("/console/decide/begin", body).await;
    if begun.status != 200 {
        return begun;
    }
    let credential = key.get(&begun.body, &Says::get());
    browser
        .post("/console/decide/finish", json!({ "ceremony": begun.body["ceremony"], "credential": credential }))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_in_the_browser_resets_and_leaves_a_proof_that_verifies_by_itself() {
    let (app, ada, task, house) = waiting().await;
    let (mut rita, mut key) = house.signed_in("rita", Role::Approver).await;
    app.seen(task.id).await;
    let wanted = wanted(&app, &task, Verdict::Approve);
    let reply = decide(&mut rita, &mut key, json!(wanted)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.body["results"][0]["task"], json!(task.id));
    eventually(&app, "the reset", async || app.count("resetPassword", ada).applied == 1).await;

    let proofs = house.store.proofs_of(task.id).await.expect("a read");
    let [proof] = proofs.as_slice() else { panic!("one proof: {proofs:?}") };
    assert_eq!((&proof.wanted, proof.reviewer.as_str()), (&wanted, "rita"));
    let Shown::Passkey { authenticator_data, client_data, signature, nonce, .. } = &proof.shown_by else {
        panic!("by a passkey")
    };
    let mut signed = decode(authenticator_data);
    signed.extend(Sha256::digest(decode(client_data)));
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.point()).verify(&signed, &decode(signature)).expect("it holds");
    let said: Value = serde_json::from_slice(&decode(client_data)).expect("JSON");
    assert_eq!(said["challenge"], json!(nonce), "the signed challenge is the one of the row");
    let bound = house.audited().await.into_iter().find(|(verb, _)| verb == "decision.begun").expect("audited").1;
    assert_eq!(bound["bound"][0], json!(wanted), "bound before it was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_good_for_one_attempt_and_for_nothing_but_what_it_was_asked_for() {
    let (app, ada, task, house) = waiting().await;
    let (mut rita, mut key) = house.signed_in("rita", Role::Approver).await;
    let (mut carl, _) = house.signed_in("carl", Role::Approver).await;
    let begun = rita.post("/console/decide/begin", json!(wanted(&app, &task, Verdict::Deny))).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let credential = key.get(&begun.body, &Says::get());
    let finish = json!({ "ceremony": begun.body["ceremony"], "credential": credential });
    assert_eq!(carl.post("/console/decide/finish", finish.clone()).await.status, 409, "another's session");
    assert_eq!(rita.post("/console/prove/finish", finish.clone()).await.status, 409, "not a proof for the session");
    let mut smuggled = finish.clone();
    smuggled["verdict"] = json!("approve");
    assert_eq!(rita.post("/console/decide/finish", smuggled).await.status, 400, "the answer has no say in it");
    let reply = rita.post("/console/decide/finish", finish.clone()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(super::task(&app, &task).await.state.word(), "denied");
    let replayed = rita.post("/console/decide/finish", finish).await;
    assert_eq!(replayed.status, 409, "{replayed:?}");
    app.idle().await;
    assert_eq!(app.count("resetPassword", ada).received, 0);
    assert_eq!(house.store.proofs_of(task.id).await.expect("a read").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_decide_is_told_before_any_challenge_is_made() {
    let (app, ada, task, house) = waiting().await;
    let tenant = twin::Config::default().tenant_id;
    let her = Linked { tenant, object_id: ObjectId::new(ada) };
    let (mut herself, _) = house.linked_in("ada", Role::Approver, &[her]).await;
    let refused = herself.post("/console/decide/begin", json!(wanted(&app, &task, Verdict::Approve))).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.text.contains("about you"), "{refused:?}");
    let (mut rita, mut key) = house.signed_in("rita", Role::Approver).await;
    let stale = Wanted { digest: "ab".repeat(32).parse().expect("a digest"), ..wanted(&app, &task, Verdict::Approve) };
    let refused = rita.post("/console/decide/begin", json!(stale)).await;
    assert_eq!((refused.status.as_u16(), &refused.body["difference"][0]["what"]), (409, &json!("page")), "{refused:?}");
    let late = Wanted { revision: task.revision + 1, ..wanted(&app, &task, Verdict::Approve) };
    assert_eq!(rita.post("/console/decide/begin", json!(late)).await.status, 409);
    let nothing = Wanted { task: oust::domain::TaskId::new(Uuid::nil()), ..wanted(&app, &task, Verdict::Deny) };
    assert_eq!(rita.post("/console/decide/begin", json!(nothing)).await.status, 404);
    for bad in [json!({}), json!({ "decisions": [] }), json!({ "task": "x" }), json!([])] {
        assert!(matches!(rita.post("/console/decide/begin", bad.clone()).await.status.as_u16(), 400 | 422), "{bad}");
    }
    let twice = wanted(&app, &task, Verdict::Deny);
    let reply = rita.post("/console/decide/begin", json!({ "decisions": [twice, twice] })).await;
    assert_eq!(reply.status, 422, "{reply:?}");
    assert_eq!(super::task(&app, &task).await.revision, task.revision, "nothing happened");
    assert!(house.has_audited("task.refused").await);
    assert_eq!(decide(&mut rita, &mut key, json!(wanted(&app, &task, Verdict::Deny))).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewer_disabled_between_question_and_answer_decides_nothing() {
    let (app, ada, task, house) = waiting().await;
    let (mut rita, mut key) = house.signed_in("rita", Role::Approver).await;
    let begun = rita.post("/console/decide/begin", json!(wanted(&app, &task, Verdict::Approve))).await.body;
    let credential = key.get(&begun, &Says::get());
    let reviewer = "rita".parse().expect("a name");
    house.commit(vec![Change::Disable { reviewer, at: app.clock.now() }.into()]).await;
    let reply =
        rita.post("/console/decide/finish", json!({ "ceremony": begun["ceremony"], "credential": credential })).await;
    assert_eq!(reply.status, 401, "{reply:?}");
    app.idle().await;
    assert_eq!(super::task(&app, &task).await.revision, task.revision);
    assert_eq!(app.count("resetPassword", ada).received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_decide_at_once_have_one_winner_and_the_other_is_told() {
    let (app, _, task, house) = waiting().await;
    let (mut rita, mut of_rita) = house.signed_in("rita", Role::Approver).await;
    let (mut carl, mut of_carl) = house.signed_in("carl", Role::Approver).await;
    let body = json!(wanted(&app, &task, Verdict::Deny));
    let one = rita.post("/console/decide/begin", body.clone()).await.body;
    let two = carl.post("/console/decide/begin", body).await.body;
    let one = json!({ "ceremony": one["ceremony"], "credential": of_rita.get(&one, &Says::get()) });
    let two = json!({ "ceremony": two["ceremony"], "credential": of_carl.get(&two, &Says::get()) });
    let (first, second) =
        tokio::join!(rita.post("/console/decide/finish", one), carl.post("/console/decide/finish", two));
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{first:?} {second:?}");
    let loser = if first.status == 409 { first } else { second };
    assert!(loser.body["who"].is_string() && loser.body["what"].is_string(), "{loser:?}");
    assert_eq!(house.store.proofs_of(task.id).await.expect("a read").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_decisions_under_one_proof_are_recorded_one_by_one() {
    let on = "  signals: [anomalous_token]\n";
    let app = app_with(Setup { playbooks: vec![playbook("plain", on, RESET)], ..Setup::default() }).await;
    for index in 1..4 {
        app.alert(app.twin.person(index), "anomalousToken").await;
    }
    app.idle().await;
    let tasks: Vec<Task> = app.open_tasks().await.into_iter().filter(|task| task.kind == Kind::Approval).collect();
    assert!(tasks.len() >= 3, "{tasks:?}");
    let house = House::over(&app.dir.path().join("oust.db"), Hands::at(app.clock.now()), |parts| {
        let clock = app.clock.clone();
        parts.clock = Arc::new(move || clock.now());
        parts.decider = Some(Arc::new(app.engine.clone()));
    });
    let (mut rita, mut key) = house.signed_in("rita", Role::Approver).await;
    let all: Vec<Wanted> = tasks.iter().map(|task| wanted(&app, task, Verdict::Deny)).collect();
    // Somebody else was faster with the first one: it takes nothing from the others.
    super::vote(&app, &tasks[0], Verdict::Deny, false).await.expect("a vote");
    let begun = rita.post("/console/decide/begin", json!({ "decisions": all })).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let left_out = begun.body["left_out"].as_array().expect("those that were not");
    assert_eq!((left_out.len(), &left_out[0]["task"]), (1, &json!(tasks[0].id)), "{left_out:?}");
    assert_eq!(left_out[0]["problem"]["status"], 409, "{left_out:?}");
    let tasks = &tasks[1..];
    // Somebody else is faster with the last one.
    super::vote(&app, tasks.last().expect("a task"), Verdict::Deny, false).await.expect("a vote");
    let credential = key.get(&begun.body, &Says::get());
    let finish = json!({ "ceremony": begun.body["ceremony"], "credential": credential });
    let reply = rita.post("/console/decide/finish", finish.clone()).await;
    assert_eq!((reply.status.as_u16(), &reply.body["refused"]), (207, &json!(1)), "{reply:?}");
    let rows = reply.body["results"].as_array().expect("rows");
    assert_eq!(rows.len(), tasks.len());
    assert_eq!(rows.last().map(|row| &row["problem"]["status"]), Some(&json!(409)));
    assert!(rows[..rows.len() - 1].iter().all(|row| row["state"] == "denied"), "{rows:?}");
    assert_eq!(rita.post("/console/decide/finish", finish).await.status, 409);
    let reply = rita.post("/console/decide/begin", json!({ "decisions": all })).await;
    assert_eq!((reply.status.as_u16(), &reply.body["task"]), (409, &json!(all[0].task)), "none is left: {reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_of_the_provider_decides_by_proving_there_again() {
    let (app, ada, task, _) = waiting().await;
    let provider = FakeProvider::start().await;
    let house = House::over(&app.dir.path().join("oust.db"), Hands::at(app.clock.now()), |parts| {
        let clock = app.clock.clone();
        parts.clock = Arc::new(move || clock.now());
        parts.decider = Some(Arc::new(app.engine.clone()));
        parts.oidc = Some(provider.config());
    });
    let mut rita = house.browser();
    let way = asked(rita.post("/console/sign-in/oidc", json!({})).await.away());
    provider.inside().challenge.clone_from(&way["code_challenge"]);
    provider.inside().claims = changed(fitting(&house, &provider, &way), &json!({ "amr": ["pwd"] }));
    assert_eq!(come_back(&mut rita, &way).await.status, 303, "signed in, with a password only");
    rita.csrf = rita.get("/console/session").await.body["csrf"].as_str().map(str::to_owned);
    app.seen(task.id).await;
    let decision = wanted(&app, &task, Verdict::Approve);

    for (change, status) in [(json!({ "amr": ["pwd"] }), 403), (json!({}), 303)] {
        let begun = rita.post("/console/decide/begin", json!(decision)).await;
        assert_eq!(begun.status, 200, "{begun:?}");
        let way = asked(begun.body["redirect"].as_str().expect("an address"));
        assert_eq!(way["max_age"], "0");
        provider.inside().challenge.clone_from(&way["code_challenge"]);
        provider.inside().claims = changed(fitting(&house, &provider, &way), &change);
        let reply = come_back(&mut rita, &way).await;
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(come_back(&mut rita, &way).await.status, 409, "used up");
    }
    eventually(&app, "the reset", async || app.count("resetPassword", ada).applied == 1).await;
    let proofs = house.store.proofs_of(task.id).await.expect("a read");
    let [proof] = proofs.as_slice() else { panic!("one proof: {proofs:?}") };
    let Shown::Oidc { nonce, id_token, claims, .. } = &proof.shown_by else { panic!("by the provider") };
    assert_eq!((&proof.wanted, claims["nonce"].as_str()), (&decision, Some(nonce.as_str())));
    assert_eq!(id_token.split('.').count(), 3, "the token as it was signed");
}
