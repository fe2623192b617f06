//! Actions against the simulated tenant, and against a server that misbehaves on purpose.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey, HpkePublicKey};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::domain::ledger::{Disposition, Fault};
use crate::domain::plan::{EffectClass, Phase};
use crate::domain::{Identity, ObjectId, TaskId};
use crate::graph::testing::{Answer, Server, ada, is_token, key, token};
use crate::graph::{Config, Credential, Graph, Limits, SendBy};
use crate::playbook::Vocabulary;
use crate::seal::{RecipientKey, Sealed};
use crate::twin::{self, Knobs, Login, Plan, Plant, Special, Twin};

use super::{Action, Call, Done, SealedSink, Verification, read_back, registry};

/// Keeps what was sealed; may be told to fail.
#[derive(Debug, Default)]
struct Shelf {
    kept: Mutex<Vec<Sealed>>,
    broken: bool,
}

#[async_trait]
impl SealedSink for Shelf {
    async fn keep(&self, sealed: Sealed) -> Result<(), Fault> {
        if self.broken {
            return Err(Fault::retry("OUST-S001", "the store is away"));
        }
        self.kept.lock().expect("no panic").push(sealed);
        Ok(())
    }
}

/// Everything a call needs, with the person of a test.
struct Scene {
    graph: Graph,
    identity: Identity,
    with: Value,
    results: Value,
    before: Value,
    recipient: Option<RecipientKey>,
    private: HpkePrivateKey,
    shelf: Shelf,
    intended_at: Option<Timestamp>,
    timeout: Duration,
}

fn task() -> TaskId {
    TaskId::new(Uuid::from_u128(42))
}

impl Scene {
    fn of(graph: Graph, person: ObjectId) -> Self {
        let (HpkePublicKey(public), private) = SUITE.generate_key_pair().expect("a key pair");
        Self {
            intended_at: Some(graph.now()),
            graph,
            identity: Identity { tenant: "contoso".parse().expect("a name"), object_id: person },
            with: json!({}),
            results: json!({}),
            before: Value::Null,
            recipient: Some(URL_SAFE_NO_PAD.encode(public).parse().expect("a key")),
            private,
            shelf: Shelf::default(),
            timeout: Duration::from_secs(15),
        }
    }

    fn call(&self) -> Call<'_> {
        Call {
            graph: &self.graph,
            identity: &self.identity,
            with: &self.with,
            results: &self.results,
            before: &self.before,
            key: key(),
            send_by: SendBy::within(Duration::from_secs(60)),
            timeout: self.timeout,
            priority: false,
            recipient: self.recipient.as_ref(),
            task: Some(task()),
            sealed: &self.shelf,
            intended_at: self.intended_at,
        }
    }

    async fn before(&mut self, name: &str) -> Result<(), Fault> {
        let registry = registry();
        let before = registry.get(name).expect("known").before(&self.call()).await?;
        self.before = before;
        Ok(())
    }

    async fn perform(&self, name: &str) -> Result<Done, Fault> {
        registry().get(name).expect("known").perform(&self.call()).await
    }

    async fn verify(&self, name: &str) -> Result<Verification, Fault> {
        registry().get(name).expect("known").verify(&self.call()).await
    }

    fn intended(&mut self, ago: i64) {
        self.intended_at = self.graph.now().checked_sub(SignedDuration::from_secs(ago)).ok();
    }

    fn kept(&self) -> usize {
        self.shelf.kept.lock().expect("no panic").len()
    }

    fn open_last(&self) -> String {
        let kept = self.shelf.kept.lock().expect("no panic");
        let sealed = kept.last().expect("something was kept");
        let enc = EncapsulatedSecret(URL_SAFE_NO_PAD.decode(&sealed.enc).expect("base64url"));
        let ciphertext = URL_SAFE_NO_PAD.decode(&sealed.ciphertext).expect("base64url");
        let aad = task().to_string();
        let clear = SUITE
            .open(&enc, b"oust temporary password v1", aad.as_bytes(), &ciphertext, &self.private)
            .expect("opens for its browser");
        String::from_utf8(clear).expect("text")
    }
}

fn tame(config: Config) -> Graph {
    let limits = Limits { identity_protection: None, audit_logs: None };
    Config { limits, read_lag: Duration::ZERO, ..config }.build().expect("a client")
}

async fn tenant() -> (Twin, Graph) {
    let config = twin::Config { people: 3, knobs: Knobs::unthrottled(), ..twin::Config::default() };
    let (tenant_id, client_id) = (config.tenant_id, config.client_id.clone());
    let secret = config.client_secret.clone().into();
    let twin = Twin::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound")).parse().expect("a URL");
    tokio::spawn(twin.clone().serve(listener, std::future::pending()));
    let graph = tame(Config::new(tenant_id, Credential::ClientSecret { client_id, secret }).at(&url));
    (twin, graph)
}

async fn scene(special: Special) -> (Twin, Scene) {
    let (twin, graph) = tenant().await;
    let person = ObjectId::new(twin.special(special));
    (twin, Scene::of(graph, person))
}

fn patches(server: &Server) -> usize {
    server.calls().iter().filter(|call| call.method == "PATCH").count()
}

async fn misbehaving(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> (Server, Scene) {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |heard| match heard.method.as_str() {
        _ if is_token(heard) => token("t"),
        "GET" => Answer::json(200, &json!({ "id": ada(), "userPrincipalName": "ada@contoso.example" })),
        _ => answer(count.fetch_add(1, Ordering::SeqCst)),
    })
    .await;
    let scene = Scene::of(tame(server.config()), ada());
    (server, scene)
}

#[test]
fn every_action_parses_its_own_example_and_says_what_it_needs_and_how_it_is_undone() {
    let registry = registry();
    let mut names = BTreeSet::new();
    for info in registry.all() {
        let step: Value = serde_saphyr::from_str(info.example).unwrap_or_else(|error| panic!("{}: {error}", info.name));
        assert_eq!(step["do"], info.name);
        let empty = serde_json::Map::new();
        let with = step.get("with").and_then(Value::as_object).unwrap_or(&empty);
        for (name, value) in with {
            let parameter = info.parameters.iter().find(|parameter| parameter.name == name).expect("a parameter");
            assert_eq!(parameter.kind.mismatch(value), None, "{}.{name}", info.name);
        }
        for parameter in info.parameters.iter().filter(|parameter| parameter.required) {
            assert!(with.contains_key(parameter.name), "{}: {} is required", info.name, parameter.name);
        }
        assert_eq!(step.get("approval").is_some(), !info.free, "{}: gated or free, as its example shows", info.name);
        assert!(info.undo == "none" || registry.action(info.undo).is_some(), "{}: {}", info.name, info.undo);
        assert_eq!(info.permissions.is_empty(), info.name == "manual", "{}", info.name);
        assert!(info.phases.contains(&Phase::Contain) == info.containing, "{}", info.name);
        assert!(!info.summary.is_empty() && info.timeout_ms > 0 && names.insert(info.name), "{}", info.name);
        assert!(info.idempotent || info.reveals || info.name == "manual", "{}", info.name);
    }
    assert!(registry.get("no_such_action").is_none());
}

#[tokio::test]
async fn what_is_idempotent_may_run_twice_and_verifies_as_applied() {
    let (twin, mut scene) = scene(Special::Ada).await;
    let person = twin.special(Special::Ada);
    let rule = json!({ "displayName": ".", "conditions": {}, "actions": { "delete": true } });
    twin.plant(person, Plant::Rule { rule }).expect("planted");
    scene.results = json!({ "read_inbox_rules": scene.perform("read_inbox_rules").await.expect("read").result });
    for action in registry().iter().map(Action::info) {
        if !action.idempotent || action.class == EffectClass::Read {
            continue;
        }
        scene.before(action.name).await.expect("a cloud user");
        scene.intended(0);
        let first = scene.perform(action.name).await.unwrap_or_else(|fault| panic!("{}: {fault:?}", action.name));
        let second = scene.perform(action.name).await.expect("again");
        if action.name != "revoke_sessions" {
            assert_eq!(first.result, second.result, "{}", action.name);
        }
        assert!(second.left_at >= first.left_at);
        let verified = scene.verify(action.name).await.expect("readable");
        assert!(matches!(verified, Verification::Applied(_)), "{}: {verified:?}", action.name);
    }
    assert!(twin.user(person).expect("ada").enabled, "disabled, then enabled again");
}

#[tokio::test]
async fn a_revoke_is_read_back() {
    let (twin, scene) = scene(Special::Ada).await;
    let person = scene.identity.object_id;
    let before = read_back(&scene.graph, person).await.expect("read").expect("an instant");
    let session = twin.owner_session(person.uuid()).expect("a session");
    let done = scene.perform("revoke_sessions").await.expect("accepted");
    let after = read_back(&scene.graph, person).await.expect("read").expect("an instant");
    assert!(after > before);
    assert!(after >= done.left_at - SignedDuration::from_millis(5), "{after} {}", done.left_at);
    assert!(twin.redeem(&session.refresh_token, &twin::Origin::default()).is_err(), "the old session is dead");
}

#[tokio::test]
async fn a_revoke_that_a_read_does_not_show_yet_is_asked_for_again_and_then_counts_as_not_done() {
    let (twin, mut scene) = scene(Special::Ada).await;
    twin.set_knobs(Knobs { revoke_field_frozen: true, ..Knobs::unthrottled() });
    scene.perform("revoke_sessions").await.expect("accepted");
    let early = scene.verify("revoke_sessions").await.expect_err("too early");
    assert!(matches!(early.disposition, Disposition::Retry { after_ms: Some(_) }), "{early:?}");
    scene.intended(3600);
    assert_eq!(scene.verify("revoke_sessions").await, Ok(Verification::NotApplied));
}

#[tokio::test]
async fn reads_have_the_documented_shape() {
    let (twin, mut scene) = scene(Special::Ada).await;
    let person = twin.special(Special::Ada);
    twin.owner_session(person).expect("signs in");
    twin.plant(person, Plant::Method { kind: "phoneMethods".into(), fields: json!({ "phoneNumber": "+49 15100042" }) })
        .expect("planted");
    let forward = json!([{ "emailAddress": { "address": "thief@evil.example" } }]);
    let rule = json!({ "displayName": "Copies", "conditions": { "subjectContains": ["a"] }, "actions": { "forwardTo": forward } });
    twin.plant(person, Plant::Rule { rule }).expect("planted");

    let user = scene.perform("read_user").await.expect("read").result;
    assert_eq!(
        (&user["account_enabled"], &user["synced"], &user["guest"]),
        (&json!(true), &json!(false), &json!(false))
    );
    assert_eq!(user["upn"], "ada@contoso.example");
    assert!(user["last_password_change"].is_string() && user["sessions_valid_from"].is_string());

    scene.with = json!({ "window": "7d" });
    let sign_ins = scene.perform("read_sign_ins").await.expect("read").result;
    assert!(sign_ins["count"].as_u64() >= Some(1), "{sign_ins}");
    let first = &sign_ins["sign_ins"][0];
    assert!(first["success"] == true && first["ip"].is_string() && first["at"].is_string(), "{first}");

    let risk = scene.perform("read_risk").await.expect("read").result;
    assert!(risk["detections"].is_array() && risk.get("risk_level").is_some(), "{risk}");

    let rules = scene.perform("read_inbox_rules").await.expect("read").result;
    assert_eq!(rules["suspicious"][0]["reasons"], json!(["sends mail out to evil.example"]));
    assert_eq!(rules["suspicious"].as_array().map(Vec::len), Some(1), "{rules}");

    let methods = scene.perform("read_auth_methods").await.expect("read").result;
    let kinds: Vec<&str> =
        methods["methods"].as_array().expect("a list").iter().filter_map(|method| method["type"].as_str()).collect();
    assert!(kinds.contains(&"password") && kinds.contains(&"phone"), "{kinds:?}");
    assert!(!methods.to_string().contains("15100042"), "numbers are shortened");
}

#[tokio::test]
async fn only_rules_that_were_found_suspicious_are_switched_off() {
    let (server, mut scene) = misbehaving(|n| Answer::status(if n == 0 { 200 } else { 404 })).await;
    let rule = |id: &str, read_only| json!({ "id": id, "name": id, "read_only": read_only });
    scene.results = json!({
        "rules_of_ada": { "rules": [], "suspicious": [
            rule("AAA=", false), rule("AAA=", false), rule("../..", false), rule("BBB=", true), rule("CCC=", false), 7,
        ] },
        "somebody_else": { "suspicious": [rule("DDD=", false)] },
    });
    let done = scene.perform("disable_inbox_rules").await.expect("done");
    assert_eq!(done.result["disabled"], 1);
    let outcomes: Vec<_> =
        done.result["rules"].as_array().expect("a list").iter().map(|rule| &rule["outcome"]).collect();
    assert_eq!(outcomes, ["disabled", "read_only", "gone"]);
    let calls = server.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls[0].target.ends_with("/messageRules/AAA="), "{}", calls[0].target);
    assert_eq!(calls[0].json(), json!({ "isEnabled": false }));
}

#[tokio::test]
async fn the_reset_password_opens_in_the_approving_browser_only_and_signs_in_once() {
    let (twin, mut scene) = scene(Special::Ada).await;
    scene.before("reset_password").await.expect("a cloud user");
    let done = scene.perform("reset_password").await.expect("set");
    assert_eq!(scene.kept(), 1);
    let password = scene.open_last();
    assert!(password.len() >= 20);
    assert!(!format!("{done:?} {:?}", scene.call()).contains(&password));
    let login = |new: Option<&str>| Login {
        user: scene.identity.object_id.to_string(),
        password: password.clone(),
        new_password: new.map(str::to_owned),
        origin: twin::Origin::default(),
    };
    assert!(twin.login(&login(None)).is_err(), "it must be changed at the first sign-in");
    assert!(twin.login(&login(Some("hT4-kk.9x!Qz22v"))).is_ok());
}

#[tokio::test]
async fn a_reset_without_a_browser_to_seal_to_or_a_place_to_keep_it_sends_nothing() {
    let (server, mut scene) = misbehaving(|_| Answer::status(204)).await;
    scene.shelf.broken = true;
    let fault = scene.perform("reset_password").await.expect_err("not kept");
    assert_eq!(fault.code, "OUST-S001");
    scene.recipient = None;
    let fault = scene.perform("reset_password").await.expect_err("nobody to show it to");
    assert_eq!((fault.code.as_str(), fault.disposition), ("OUST-R-NORECIPIENT", Disposition::Refuse));
    assert!(fault.message.contains("approve from the console"));
    assert_eq!(patches(&server), 0);
}

#[tokio::test]
async fn a_password_the_tenant_does_not_like_is_drawn_again_three_times_at_most() {
    let policy = || {
        Answer::json(
            400,
            &json!({ "error": { "code": "Request_BadRequest", "message": "The specified password does not comply with password complexity requirements." } }),
        )
    };
    let (server, scene) = misbehaving(move |n| if n == 0 { policy() } else { Answer::status(204) }).await;
    assert_eq!(scene.perform("reset_password").await.expect("the second").result["draws"], 2);
    assert_eq!((patches(&server), scene.kept()), (2, 2));
    let sent: BTreeSet<_> = server.calls().into_iter().map(|call| call.body).filter(|body| !body.is_empty()).collect();
    assert_eq!(sent.len(), 2, "another password each time");

    let (server, scene) = misbehaving(move |_| policy()).await;
    let fault = scene.perform("reset_password").await.expect_err("never");
    assert_eq!((fault.disposition, fault.status, patches(&server)), (Disposition::Refuse, Some(400), 3));
    assert_eq!(fault.code, "OUST-R-POLICY");

    let federated = || Answer::json(400, &json!({ "error": { "code": "Request_BadRequest", "message": "Not here." } }));
    let (server, scene) = misbehaving(move |_| federated()).await;
    scene.perform("reset_password").await.expect_err("refused");
    assert_eq!(patches(&server), 1, "another 400 is not about the password");
}

#[tokio::test]
async fn a_lost_reply_to_a_reset_is_one_call_and_told_apart_afterwards() {
    for (fault, applied) in [(twin::Fault::LostReply, true), (twin::Fault::Drop, false)] {
        let (twin, mut scene) = scene(Special::Ada).await;
        let person = scene.identity.object_id.uuid();
        scene.before("reset_password").await.expect("a cloud user");
        scene.intended(0);
        twin.fault(Plan::on("/users/", fault).method("PATCH"));
        let lost = scene.perform("reset_password").await.expect_err("lost");
        assert_eq!(lost.disposition, Disposition::Unknown, "{lost:?}");
        twin.clear_faults();
        let calls = twin.calls(0, 1000).iter().filter(|call| call.method == "PATCH").count();
        assert!(calls <= 1, "{calls}");
        if applied {
            assert!(twin.user(person).expect("ada").must_change);
            let verified = scene.verify("reset_password").await.expect("readable");
            assert!(matches!(verified, Verification::Applied(_)), "{verified:?}");
        } else {
            let early = scene.verify("reset_password").await.expect_err("unchanged, but it is too early to say");
            assert!(matches!(early.disposition, Disposition::Retry { after_ms: Some(_) }), "{early:?}");
            scene.intended(3600);
            assert_eq!(scene.verify("reset_password").await, Ok(Verification::NotApplied));
        }
    }
}

#[tokio::test]
async fn a_change_at_another_time_than_the_call_is_not_taken_for_ours() {
    let (twin, mut scene) = scene(Special::Ada).await;
    let person = scene.identity.object_id.uuid();
    scene.before("reset_password").await.expect("a cloud user");
    twin.change_password(person, &twin.initial_password(person), "hT4-kk.9x!Qz22v").expect("changed");
    scene.intended(3600);
    let verified = scene.verify("reset_password").await.expect("readable");
    assert!(matches!(verified, Verification::Undetermined(_)), "{verified:?}");
    scene.before = Value::Null;
    let verified = scene.verify("reset_password").await.expect("readable");
    assert!(matches!(verified, Verification::Undetermined(_)), "nothing to compare with: {verified:?}");
}

#[tokio::test]
async fn a_person_whose_password_is_kept_elsewhere_is_refused_with_what_to_do() {
    let (twin, graph) = tenant().await;
    for (special, code, advice) in [
        (Special::Synced, "OUST-R-SYNCED", "Active Directory"),
        (Special::Guest, "OUST-R-GUEST", "home organisation"),
        (Special::Deleted, "OUST-R-GONE", "deleted"),
    ] {
        let person = ObjectId::new(twin.special(special));
        let mut scene = Scene::of(graph.clone(), person);
        for fault in [scene.before("reset_password").await.err(), scene.perform("reset_password").await.err()] {
            let fault = fault.expect("refused");
            assert_eq!((fault.code.as_str(), fault.disposition), (code, Disposition::Refuse));
            assert!(fault.message.contains(advice), "{}", fault.message);
        }
    }
    let mut federated = Scene::of(graph.clone(), ObjectId::new(twin.special(Special::Federated)));
    let fault = federated.before("reset_password").await.expect_err("elsewhere");
    assert_eq!((fault.code.as_str(), fault.disposition), ("OUST-R-FEDERATED", Disposition::Refuse));
    let mut admin = Scene::of(graph.clone(), ObjectId::new(twin.special(Special::Admin)));
    admin.before("reset_password").await.expect("a cloud user");
    let fault = admin.perform("reset_password").await.expect_err("403");
    assert_eq!((fault.code.as_str(), fault.disposition), ("OUST-G403", Disposition::Refuse));
    assert!(fault.message.contains("Privileged Authentication Administrator"), "{}", fault.message);
    let mut synced = Scene::of(graph, ObjectId::new(twin.special(Special::Synced)));
    assert_eq!(synced.before("disable_account").await.expect_err("on-premises").code, "OUST-A-SYNCED");
    assert_eq!(twin.calls(0, 1000).iter().filter(|call| call.method == "PATCH").count(), 1, "the admin's only");
}

#[tokio::test]
async fn a_manual_step_is_never_a_call() {
    let (server, scene) = misbehaving(|_| Answer::status(204)).await;
    assert_eq!(scene.perform("manual").await.expect_err("a human's").code, "OUST-A-MANUAL");
    assert!(server.calls().is_empty());
}
