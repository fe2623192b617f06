//! The command line as people and scripts meet it: what is printed, and the exit code.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use oust::config::{self, Environment};
use oust::domain::{BuriedId, DeliveryId};
use oust::store::sqlite::{Options, Sqlite};
use oust::store::{Acceptance, Buried, BuriedState, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

const CONFIG: &str = r#"
mode: enforce
store: sqlite:oust.db
tenants:
  - name: contoso
    tenant_id: 11111111-2222-3333-4444-555555555555
    credential: { client_id: 22222222-3333-4444-5555-666666666666, client_secret: { env: A_SECRET } }
sources:
  - name: sentinel
    kind: microsoft
    auth: [{ hmac: { header: X-Signature, prefix: "sha256=", secrets: [{ env: A_SECRET }] } }]
guards:
  break_glass: [55555555-6666-7777-8888-999999999999]
  blast_radius: { revocations: 500, per: 10m }
approvals:
  on_call: { reviewers: [group:on-call] }
"#;

const DETECTION: &str = r#"{"id": "a", "riskEventType": "impossibleTravel", "riskLevel": "high", "riskState": "atRisk",
    "userId": "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "userPrincipalName": "ada@contoso.example",
    "activityDateTime": "2026-11-20T08:12:41Z", "detectedDateTime": "2026-11-20T08:47:03Z", "source": "IdentityProtection",
    "detectionTimingType": "offline"}"#;

fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("oust.yaml"), config).expect("written");
    folder
}

fn oust(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oust"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("A_SECRET", "a-secret-of-these-tests")
        .env("USER", "ada")
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

#[track_caller]
fn said(folder: &Path, arguments: &[&str], code: i32) -> Value {
    let output = oust(folder, arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    assert!(!out.contains("a-secret-of") && !err.contains("a-secret-of"), "{out}\n{err}");
    serde_json::from_str(&out).unwrap_or(Value::Null)
}

fn store(folder: &Path) -> Arc<Sqlite> {
    Sqlite::open(folder.join("oust.db"), Options::default()).expect("a store")
}

/// A delivery that an earlier version did not understand.
async fn bury(store: &dyn Store, body: &'static str) -> BuriedId {
    let (id, delivery) = (BuriedId::new(Uuid::now_v7()), DeliveryId::new(Uuid::now_v7()));
    let tenant: oust::domain::TenantName = "contoso".parse().expect("a name");
    let buried = Buried {
        id,
        at: Timestamp::now(),
        source: "sentinel".into(),
        tenant: Some(tenant.clone()),
        delivery: Some(delivery),
        reason: "not a shape oust knows".into(),
        state: BuriedState::Buried,
        settled: None,
        content: Value::from(body),
    };
    let acceptance = Acceptance {
        delivery,
        source: "sentinel".into(),
        tenant,
        received_at: buried.at,
        webhook_id: None,
        body: Bytes::from_static(body.as_bytes()),
        body_hash: "00".into(),
        signals: Vec::new(),
        buried: Some(buried),
        answer: json!({}),
    };
    store.accept(acceptance).await.expect("durable");
    id
}

#[test]
fn check_finds_nothing_in_a_good_configuration_and_everything_in_a_bad_one() {
    let good = folder(CONFIG);
    let value = said(good.path(), &["check", "--json"], 0);
    assert_eq!((&value["ok"], &value["errors"]), (&json!(true), &json!(0)), "{value}");
    let bad = folder(&CONFIG.replace("mode: enforce", "mode: enfroce").replace("kind: microsoft", "kind: microsfot"));
    let value = said(bad.path(), &["check", "--json"], 1);
    assert_eq!(value["errors"], 2, "{value}");
    assert!(value["found"][0]["line"].as_u64().is_some_and(|line| line > 0), "{value}");
    let shown = String::from_utf8(oust(bad.path(), &["check"]).stderr).expect("text");
    assert!(shown.contains("oust.yaml:2:7") && shown.contains("did you mean enforce?"), "{shown}");
}

#[test]
fn exit_codes_tell_problems_usage_and_reach_apart() {
    let good = folder(CONFIG);
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["nonsense"], 2),
        (&["reviewer", "list"], 3),
        (&["reviewer", "invite", "Ada Lovelace"], 2),
        (&["reviewer", "invite", "ada", "--link", "not/guids"], 2),
        (&["check", "--online"], 2),
        (&["serve", "--roles", "nobody"], 2),
        (&["check", "--config", "nowhere.yaml"], 3),
        (&["case", "list"], 3),
        (&["token", "create", "x", "--expires", "soon"], 2),
        (&["playbook", "lint"], 0),
        (&["playbook", "lint", "nowhere.yaml"], 1),
        (&["send", "nowhere.json", "--source", "sentinel"], 3),
        (&["send", "oust.yaml", "--source", "nobody"], 2),
        (&["send", "oust.yaml", "--source", "sentinel", "--url", "http://127.0.0.1:9"], 3),
    ] {
        said(good.path(), arguments, code);
    }
}

#[test]
fn a_failure_says_why_and_what_to_do_next() {
    let good = folder(CONFIG);
    let output = oust(good.path(), &["case", "list"]);
    let shown = String::from_utf8(output.stderr).expect("text");
    assert!(shown.contains("error: there is no store at") && shown.contains("next: "), "{shown}");
    let output = oust(good.path(), &["case", "list", "--json"]);
    let value: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert!(value["next"].as_str().is_some_and(|next| next.contains("oust migrate")), "{value}");
}

#[test]
fn a_token_is_printed_once_and_stored_as_a_hash_only() {
    let good = folder(CONFIG);
    said(good.path(), &["migrate", "--json"], 0);
    let made = said(good.path(), &["token", "create", "grafana", "--scope", "read,pause", "--json"], 0);
    let text = made["token"].as_str().expect("a token");
    assert!(text.starts_with("oust_") && text.len() >= 48, "{made}");
    let listed = said(good.path(), &["token", "list", "--json"], 0);
    assert_eq!((&listed["items"][0]["state"], &listed["items"][0]["name"]), (&json!("live"), &json!("grafana")));
    assert!(!listed.to_string().contains(text));
    let file = std::fs::read(good.path().join("oust.db")).expect("the file");
    let wal = std::fs::read(good.path().join("oust.db-wal")).unwrap_or_default();
    let held = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!held(&file) && !held(&wal));
    said(good.path(), &["token", "revoke", made["id"].as_str().expect("an id")], 0);
    assert_eq!(said(good.path(), &["token", "list", "--json"], 0)["items"][0]["state"], "revoked");
    said(good.path(), &["token", "revoke", "tok_00000000000000000000000000000001"], 1);
}

#[test]
fn pause_and_resume_are_recorded_with_the_name_of_who_asked() {
    let good = folder(CONFIG);
    said(good.path(), &["migrate"], 0);
    let paused = said(good.path(), &["pause", "--reason", "a drill", "--json"], 0);
    assert_eq!(paused["pause"]["by"], "operator:ada", "{paused}");
    said(good.path(), &["pause"], 0);
    assert_eq!(said(good.path(), &["resume", "--json"], 0)["paused"], false);
    said(good.path(), &["resume"], 0);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let audit = runtime.block_on(async {
        let page = oust::store::Page { after: None, limit: 10 };
        store(good.path()).audit(&page).await.expect("a list").items
    });
    let verbs: Vec<_> = audit.iter().map(|(_, audit)| audit.verb.as_str()).collect();
    assert_eq!(verbs, ["resume", "pause"]);
}

#[test]
fn what_is_buried_is_replayed_once_and_dropped_only_with_a_reason() {
    let good = folder(CONFIG);
    said(good.path(), &["migrate"], 0);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (known, unknown) = runtime.block_on(async {
        let store = store(good.path());
        (bury(&*store, DETECTION).await.to_string(), bury(&*store, r#"{"weather": "rain"}"#).await.to_string())
    });
    assert_eq!(said(good.path(), &["buried", "list", "--json"], 0)["items"].as_array().map(Vec::len), Some(2));
    let done = said(good.path(), &["buried", "replay", "--all", "--json"], 1);
    let of = |id: &str| done["items"].as_array().into_iter().flatten().find(|item| item["id"] == id).cloned();
    assert_eq!(of(&known).expect("listed")["signals"].as_array().map(Vec::len), Some(1), "{done}");
    assert!(of(&unknown).expect("listed")["problem"].as_str().is_some_and(|p| p.contains("still not understood")));
    said(good.path(), &["buried", "replay", &known], 1);
    let waiting = runtime.block_on(async {
        store(good.path()).due_waiting(Timestamp::now(), oust::store::Epoch(1), 10).await.expect("a read")
    });
    assert_eq!(waiting.len(), 1, "for any worker to take in");
    said(good.path(), &["buried", "drop", &unknown], 2);
    said(good.path(), &["buried", "drop", &unknown, "--reason", "a test"], 0);
    assert_eq!(said(good.path(), &["buried", "list", "--json"], 0)["items"], json!([]));
    assert_eq!(said(good.path(), &["buried", "list", "--all", "--json"], 0)["items"].as_array().map(Vec::len), Some(2));
    said(good.path(), &["buried", "show", &known, "--json"], 0);
    said(good.path(), &["buried", "show", "bur_00000000000000000000000000000001"], 1);
}

#[test]
fn the_catalogue_and_the_schema_are_printed() {
    let good = folder(CONFIG);
    let actions = said(good.path(), &["playbook", "actions", "--json"], 0);
    let revoke = actions.as_array().into_iter().flatten().find(|action| action["name"] == "revoke_sessions");
    let permissions = &revoke.expect("it is there")["permissions"];
    assert!(permissions.as_array().is_some_and(|list| !list.is_empty()), "{permissions}");
    assert!(said(good.path(), &["playbook", "schema", "--json"], 0)["$schema"].is_string());
}

#[test]
fn the_example_that_is_shipped_names_every_key_and_opens_every_source() {
    let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let names = [
        "OUST_CLIENT_SECRET",
        "OUST_SENTINEL_SECRET",
        "OUST_HMAC_SECRET",
        "OUST_BEARER_SECRET",
        "OUST_QUERY_SECRET",
        "OUST_CLIENT_STATE",
        "OUST_SPLUNK_SECRET",
    ];
    let options =
        config::Options { environment: Environment::of(names.map(|name| (name, secret))), inline_secrets: false };
    let loaded = config::parse(config::EXAMPLE, Path::new("oust.yaml"), &options).expect("valid");
    for source in &loaded.config.sources {
        source.open().unwrap_or_else(|error| panic!("{}: {error}", source.name));
    }
}

#[test]
fn a_reviewer_is_invited_listed_and_disabled() {
    let folder = folder(CONFIG);
    said(folder.path(), &["migrate"], 0);
    let link = "11111111-2222-3333-4444-555555555555/3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    let invite = ["reviewer", "invite", "ada", "--role", "approver", "--group", "on-call", "--link", link, "--json"];
    said(folder.path(), &["reviewer", "invite", "ada", "--json"], 2);
    let value = said(folder.path(), &invite, 0);
    let url = value["url"].as_str().expect("a link");
    let token = url.strip_prefix("http://localhost:8080/console/enrol/").expect("the console of this machine");
    assert_eq!((token.len(), &value["new"]), (43, &json!(true)), "{value}");
    let again =
        said(folder.path(), &["reviewer", "invite", "ada", "--url", "https://oust.contoso.example", "--json"], 0);
    assert!(again["url"].as_str().is_some_and(|url| url.starts_with("https://oust.contoso.example/console/enrol/")));
    assert_eq!(again["new"], false);
    said(folder.path(), &["reviewer", "invite", "bob", "--role", "viewer", "--link", link, "--json"], 1);
    let listed = said(folder.path(), &["reviewer", "list", "--json"], 0);
    let items = listed["items"].as_array().expect("a list");
    assert_eq!(items.len(), 1, "what somebody else has is refused whole: {listed}");
    assert_eq!((&items[0]["roles"], &items[0]["groups"]), (&json!(["approver"]), &json!(["on-call"])));
    assert!(!listed.to_string().contains(token), "a link is shown once");
    said(folder.path(), &["reviewer", "disable", "ada", "--json"], 0);
    said(folder.path(), &["reviewer", "disable", "nobody", "--json"], 1);
    said(folder.path(), &["reviewer", "invite", "ada", "--json"], 1);
    let passed = said(folder.path(), &["reviewer", "invite", "ada2", "--role", "viewer", "--link", link, "--json"], 0);
    assert_eq!(passed["reviewer"], "ada2", "the directory account of somebody disabled may be another's");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_work_on_a_shared_store() {
    let place = crate::support::postgres::Place::new().await;
    let folder = folder(&CONFIG.replace("store: sqlite:oust.db", &format!("store: '{}'", place.url)));
    let looked = oust(folder.path(), &["case", "list", "--json"]);
    assert_eq!(looked.status.code(), Some(3), "there are no tables yet: {looked:?}");
    assert!(String::from_utf8_lossy(&looked.stderr).contains("oust migrate"), "{looked:?}");
    assert_eq!(said(folder.path(), &["migrate", "--json"], 0)["current"], true);
    for list in [["case", "list", "--json"], ["task", "list", "--json"], ["buried", "list", "--json"]] {
        assert_eq!(said(folder.path(), &list, 0)["items"], json!([]), "{list:?}");
    }
    let store = place.open().await;
    let id = bury(&*store, "not of any shape").await.to_string();
    let mut hints = store.hints();
    assert_eq!(said(folder.path(), &["buried", "drop", "--reason", "a test", &id, "--json"], 0)["items"][0]["id"], id);
    assert_eq!(said(folder.path(), &["pause", "--reason", "freeze", "--json"], 0)["paused"], true);
    assert!(store.setting(oust::http::PAUSE).await.expect("reads").is_some());
    assert_eq!(said(folder.path(), &["resume", "--json"], 0)["paused"], false);
    assert!(store.setting(oust::http::PAUSE).await.expect("reads").is_none());
    let token = said(folder.path(), &["token", "create", "grafana", "--json"], 0);
    assert!(token["token"].is_string() || token["id"].is_string(), "{token}");
    assert_eq!(store.tokens().await.expect("reads").len(), 1);
    let hint = tokio::time::timeout(std::time::Duration::from_secs(30), hints.recv()).await.expect("a hint");
    assert_eq!(hint.expect("the store lives"), oust::store::Hint::Settings, "told before the command ended");
    for arguments in [["case", "list"], ["pause", "--json"], ["check", "--json"]] {
        let shown = oust(folder.path(), &arguments);
        let all = String::from_utf8_lossy(&[shown.stdout, shown.stderr].concat()).into_owned();
        assert!(!all.contains("oust-test"), "no password is shown by {arguments:?}: {all}");
    }
}
