//! `oust serve` as a process against `oust twin` as another: every shape that senders have, to its effect; and what an
//! operator does to it while it runs.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use oust::store::{Filter, Page, Store};
use oust::twin::{self, cloud_sid, person_id, person_upn};
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::process::{CLIENT_STATE, Reader, Site, TwinProcess, client, detection, signed};
use crate::support::{start_twin, until_async};

const REVOKE: &str = "revokeSignInSessions";
const ADA: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
const BOB: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
const ADA_AS_SID: &str = "S-1-12-1-1059390688-1104367497-84085914-20131048";

/// The `n`-th person of the twin.
fn person(n: usize) -> Uuid {
    person_id(twin::Config::default().seed, n)
}

/// A fixture about two people of the twin instead of Ada and Bob.
fn sample(file: &str, ada: usize, bob: usize) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    let mut text = std::fs::read_to_string(path).expect("a fixture");
    for (name, number, id) in [("ada", ada, ADA), ("bob", bob, BOB)] {
        let (upn, new) = (person_upn(number), person(number).to_string());
        let local = upn.split('@').next().expect("a name").to_owned();
        let capital = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        for (old, new) in [
            (id.to_owned(), &new),
            (id.to_uppercase(), &new),
            (format!("{name}@contoso.example"), &upn),
            (format!("{capital}@contoso.example"), &upn),
            (format!("\"{name}\""), &format!("\"{local}\"")),
            (format!("\"{capital}\""), &format!("\"{local}\"")),
        ] {
            text = text.replace(&old, new);
        }
    }
    text.replace(ADA_AS_SID, &cloud_sid(person(ada))).into_bytes()
}

/// What one body must come to: the answer, the outcomes in any order, and who is revoked.
struct Expected {
    file: &'static str,
    ignored: usize,
    outcomes: &'static [&'static str],
    revoked: [bool; 2],
}

const fn expect(file: &'static str, outcomes: &'static [&'static str], ada: bool, bob: bool) -> Expected {
    Expected { file, ignored: 0, outcomes, revoked: [ada, bob] }
}

/// The composed samples of Graph's resources, and every shape that Sentinel, Defender and Monitor send.
const SAMPLES: &[Expected] = &[
    expect("risk_detection/atypical_travel.json", &["act"], true, false),
    expect("risk_detection/log_analytics_rows.json", &["act"], true, false),
    Expected { ignored: 5, ..expect("risk_detection/dismissed_in_a_list.json", &["act"], true, false) },
    expect("risk_detection/nobody.json", &["held"], false, false),
    expect("risky_user/at_risk.json", &["ignored"], false, false),
    Expected { ignored: 2, ..expect("risky_user/our_own_deed.json", &[], false, false) },
    expect("alert_v2/anonymous_ip.json", &["act"], true, false),
    expect("alert_v2/roles_say_who_is_meant.json", &["act"], true, false),
    expect("alert_v2/no_roles_at_all.json", &["act", "held"], true, false),
    expect("alert_v2/only_bystanders.json", &["held"], false, false),
    Expected { ignored: 2, ..expect("alert_v2/closed_and_foreign.json", &["held"], false, false) },
    expect("legacy_alert/impossible_travel.json", &["act"], true, false),
    Expected { ignored: 1, ..expect("legacy_alert/dismissed.json", &[], false, false) },
    expect("incident/one_account.json", &["act"], true, false),
    expect("incident/two_people_one_by_entra_sid.json", &["act", "act"], true, true),
    expect("incident/not_an_arm_id.json", &["held"], false, false),
    expect("incident/mixed_kinds_two_accounts.json", &["held"], false, false),
    expect("incident/phantom_of_defender.json", &["waiting"], false, false),
    Expected { ignored: 1, ..expect("incident/closed.json", &[], false, false) },
    expect("bare_incident/with_entities_beside.json", &["act"], true, false),
    expect("security_alert/impossible_travel_with_refs.json", &["act"], true, false),
    expect("security_alert/log_analytics_row_of_strings.json", &["act"], true, false),
    expect("security_alert/on_premises_account.json", &["held"], false, false),
    expect("entity/address.json", &["held"], false, false),
    expect("sign_in/log_analytics_row.json", &["act"], true, false),
    Expected { ignored: 1, ..expect("sign_in/without_risk.json", &[], false, false) },
    Expected { ignored: 1, ..expect("diagnostic/blob_lines.ndjson", &["act"], true, false) },
    Expected { ignored: 2, ..expect("diagnostic/sign_ins.json", &["act", "covered"], true, false) },
    expect("hunting/behavior_joined_with_its_entities.json", &["act"], true, false),
    expect("hunting/alert_rows_joined.json", &["act"], true, false),
    expect("hunting/user_row_on_its_own.json", &["act"], true, false),
    expect("common_alert/split_by_user.json", &["act"], true, false),
    expect("common_alert/kind_by_dimension.json", &["act"], true, false),
    expect("common_alert/nobody.json", &["held"], false, false),
    Expected { ignored: 1, ..expect("common_alert/resolved.json", &[], false, false) },
    expect("unknown/known_beside_unknown.json", &["act", "held"], true, false),
];

impl Expected {
    async fn check(&self, answer: &Value, people: [usize; 2], reader: &Reader<'_>, twin: &TwinProcess, again: bool) {
        assert_eq!(answer["accepted"], self.outcomes.len(), "{}: {answer}", self.file);
        assert_eq!(answer["ignored"].as_array().map(Vec::len), Some(self.ignored), "{}: {answer}", self.file);
        let mut outcomes = Vec::new();
        for id in answer["ids"].as_array().expect("ids") {
            let seen = reader.outcome(id.as_str().expect("an id")).await;
            outcomes.push(seen["outcome"]["word"].as_str().unwrap_or_default().to_owned());
        }
        outcomes.sort_unstable();
        // Nobody is named in what is held: another person's copy of it tells the same story.
        let told = |word: &&str| !(again && *word == "held");
        let said: Vec<_> =
            outcomes.iter().map(String::as_str).filter(|word| told(word) && *word != "redelivery").collect();
        let wanted: Vec<_> = self.outcomes.iter().copied().filter(told).collect();
        assert_eq!(said, wanted, "{}: {outcomes:?}", self.file);
        for (number, revoked) in people.into_iter().zip(self.revoked) {
            let wanted = if revoked { (1, 1) } else { (0, 0) };
            until_async(self.file, async || twin.revokes(person(number)).await == wanted).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_gets_its_outcome_whether_posted_or_sent() {
    let twin = TwinProcess::start(400).await;
    let site = Site::new(&twin.url);
    let _serving = site.serve().await;
    let reader = site.token();
    for (n, expected) in SAMPLES.iter().enumerate() {
        let people = [4 * n + 1, 4 * n + 2];
        let (status, answer) = site.post("sentinel", &sample(expected.file, people[0], people[1])).await;
        assert_eq!(status, 200, "{}: {answer}", expected.file);
        expected.check(&answer, people, &reader, &twin, false).await;
    }
    for (n, expected) in SAMPLES.iter().enumerate() {
        let people = [4 * n + 3, 4 * n + 4];
        std::fs::write(site.path("body"), sample(expected.file, people[0], people[1])).expect("written");
        let sent = site.said(&["send", "body", "--source", "sentinel"], 0);
        assert_eq!(sent["status"], 200);
        expected.check(&sent["answer"], people, &reader, &twin, true).await;
    }
    for (n, expected) in SAMPLES.iter().enumerate() {
        let sent = twin.revokes(person(4 * n + 1)).await;
        assert_eq!(sent, twin.revokes(person(4 * n + 3)).await, "{}: exactly once, twice over", expected.file);
    }
    let metrics = site.metrics().await;
    let revoked = SAMPLES.iter().flat_map(|sample| sample.revoked).filter(|revoked| *revoked).count() * 2;
    let line = format!("oust_time_to_revoke_seconds_count {revoked}");
    assert!(metrics.contains(&line), "no {line} in\n{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_nobody_is_looked_up_at_microsoft_and_then_acted_on() {
    let twin = TwinProcess::start(20).await;
    let site = Site::new(&twin.url);
    let _serving = site.serve().await;
    let reader = site.token();

    // A Graph notification names an alert; the alert names the person.
    let alert = twin.post("alerts", &json!({"users": [person(1)]})).await;
    let id = alert["id"].as_str().expect("an id");
    for (resource, of) in [("security/alerts_v2", 1), ("security/alerts", 2)] {
        let id = match of {
            1 => id.to_owned(),
            _ => {
                let other = twin.post("alerts", &json!({"users": [person(2)]})).await;
                other["id"].as_str().expect("an id").to_owned()
            }
        };
        let notification = json!({"value": [
            {"id": "lsg1", "subscriptionId": Uuid::new_v4(), "subscriptionExpirationDateTime": "2099-01-01T00:00:00Z",
             "tenantId": twin::Config::default().tenant_id, "clientState": CLIENT_STATE, "changeType": "updated",
             "resource": format!("{resource}/{id}"), "resourceData": {"@odata.type": "#microsoft.graph.alert", "id": id}},
            {"subscriptionId": Uuid::new_v4(), "subscriptionExpirationDateTime": "2099-01-01T00:00:00Z",
             "tenantId": twin::Config::default().tenant_id, "clientState": CLIENT_STATE, "lifecycleEvent": "reauthorizationRequired"},
        ]});
        let mut forged = notification.clone();
        forged["value"][0]["clientState"] = json!("somebody else's");
        assert_eq!(site.notify(&forged).await, 202);
        assert_eq!(twin.revokes(person(of)).await, (0, 0));
        assert_eq!(site.notify(&notification).await, 202);
        until_async("the revoke", async || twin.revokes(person(of)).await == (1, 1)).await;
    }

    // An incident arrives before its entities.
    let raised = twin.post("incidents", &json!({"users": [person(3)]})).await;
    let mut trigger = raised["trigger"].clone();
    trigger["object"]["properties"]["relatedEntities"] = json!([]);
    let (status, answer) = site.post("sentinel", trigger.to_string().as_bytes()).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
    let seen = reader.outcome(answer["ids"][0].as_str().expect("an id")).await;
    assert_eq!(seen["outcome"]["word"], "lookup", "{seen}");
    let became = seen["outcome"]["reason"].as_str().and_then(|reason| reason.rsplit(' ').next()).expect("an id");
    assert_eq!(reader.outcome(became).await["outcome"]["word"], "act");
    until_async("the revoke", async || twin.revokes(person(3)).await == (1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_ends_what_left_and_the_next_start_does_the_rest() {
    let twin = TwinProcess::start(60).await;
    let site = Site::new(&twin.url);
    let serving = site.serve().await;
    twin.post("faults", &json!({"path": REVOKE, "fault": {"kind": "late_reply", "ms": 300}})).await;
    let at = Timestamp::now() - SignedDuration::from_mins(9);
    let bodies: Vec<String> = (1..=40).map(|n| detection(person(n), "anomalousToken", at).to_string()).collect();
    let answers = bodies.iter().map(|body| site.post("sentinel", body.as_bytes()));
    for (status, answer) in futures_util::future::join_all(answers).await {
        assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
    }
    let status = serving.terminate().await;
    assert!(status.success(), "{status}\n{}", site.log());
    let store = site.store();
    let cases = store.cases(&Filter::default(), &Page { after: None, limit: 500 }).await.expect("a read").items;
    for case in &cases {
        for (run, _) in store.runs_of(case.id).await.expect("a read") {
            for effect in store.effects_of(run.id).await.expect("a read") {
                assert_eq!(effect.state.word(), "applied", "a call left and its answer was not waited for: {effect:?}");
            }
        }
    }
    drop(store);
    let serving = site.serve().await;
    for n in 1..=40 {
        until_async("the revoke", async || twin.revokes(person(n)).await == (1, 1)).await;
    }
    // Forty people's risk may be read once a second: those reads are under way, and a stop does not wait for them.
    let begun = Instant::now();
    assert!(serving.terminate().await.success());
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}, the patience of a stop is 10 s", begun.elapsed());
    for n in 1..=40 {
        assert_eq!(twin.revokes(person(n)).await, (1, 1), "exactly once over a restart");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_a_resume_by_another_process_are_noticed() {
    let twin = TwinProcess::start(20).await;
    let site = Site::new(&twin.url);
    let _serving = site.serve().await;
    let reader = site.token();
    site.said(&["pause", "--reason", "a drill"], 0);
    until_async("the pause", async || site.metrics().await.contains("\noust_paused 1\n")).await;
    let body = detection(person(1), "anomalousToken", Timestamp::now()).to_string();
    let (status, answer) = site.post("sentinel", body.as_bytes()).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "signals are still taken: {answer}");
    let seen = reader.outcome(answer["ids"][0].as_str().expect("an id")).await;
    let case = seen["outcome"]["case"].as_str().expect("a case").to_owned();
    let state = async || {
        let case = reader.get(&format!("cases/{case}")).await.expect("a case");
        case["case"]["state"].as_str().expect("a word").to_owned()
    };
    until_async("the work to be parked", async || state().await == "parked").await;
    reader.drained().await;
    assert_eq!(twin.revokes(person(1)).await, (0, 0), "nothing leaves");
    site.said(&["resume"], 0);
    until_async("the revoke", async || twin.revokes(person(1)).await == (1, 1)).await;
    until_async("the case to say so", async || matches!(state().await.as_str(), "contained" | "revoke_accepted")).await;
    assert!(site.metrics().await.contains("\noust_paused 0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_playbook_keeps_the_last_valid_set_at_work_and_readyz_says_so() {
    let twin = TwinProcess::start(20).await;
    let site = Site::new(&twin.url);
    let _serving = site.serve().await;
    let reader = site.token();
    let playbooks = async || {
        let (status, ready) = site.readiness().await;
        let checks = ready["checks"].as_array().cloned().unwrap_or_default();
        let check = checks.into_iter().find(|check| check["name"] == "playbooks").expect("a check");
        (status, check["detail"].as_str().unwrap_or_default().to_owned())
    };
    let send = async |user: Uuid, kind: &str| {
        let body = detection(user, kind, Timestamp::now()).to_string();
        let (_, answer) = site.post("sentinel", body.as_bytes()).await;
        let seen = reader.outcome(answer["ids"][0].as_str().expect("an id")).await;
        seen["outcome"]["word"].as_str().expect("a word").to_owned()
    };
    assert!(playbooks().await.1.starts_with("5 playbooks"));
    assert_eq!(send(person(1), "generic").await, "ignored", "no playbook of the five answers it");

    let added = site.path("playbooks/anything.yaml");
    std::fs::write(
        &added,
        "name: anything\nversion: 1\non: { signals: [generic] }\ncontain:\n  - do: revoke_sesions\n",
    )
    .expect("written");
    until_async("the mistake to be seen", async || playbooks().await.1.contains("anything.yaml")).await;
    let (status, said) = playbooks().await;
    assert!(said.contains("last valid set"), "{said}");
    assert_eq!(status, 200, "a typing mistake must not close the way in: the last valid set is at work");
    assert_eq!(send(person(2), "anomalousToken").await, "act");
    until_async("the revoke", async || twin.revokes(person(2)).await == (1, 1)).await;

    let good = "name: anything\nversion: 1\ndescription: Anything.\non: { signals: [generic] }\ncontain:\n  - do: revoke_sessions\n";
    std::fs::write(&added, good).expect("written");
    until_async("the sixth playbook", async || playbooks().await.1.starts_with("6 playbooks")).await;
    assert_eq!(send(person(3), "generic").await, "act");
    until_async("the revoke", async || twin.revokes(person(3)).await == (1, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_buried_is_listed_shown_replayed_and_dropped_while_serve_runs() {
    let twin = TwinProcess::start(20).await;
    let site = Site::new(&twin.url);
    let _serving = site.serve().await;
    let reader = site.token();
    let body = json!({"hits": [{"user": person_upn(5), "id": "h1"}]}).to_string();
    let (status, refused) = site.post("splunk", body.as_bytes()).await;
    assert_eq!(status, 422, "{refused}");
    let id = refused["buried"].as_str().expect("an id").to_owned();
    let (_, other) = site.post("sentinel", br#"{"weather": "rain"}"#).await;
    let rain = other["buried"].as_str().expect("an id").to_owned();

    let listed = site.said(&["buried", "list"], 0);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2), "{listed}");
    let shown = site.said(&["buried", "show", &id], 0);
    assert!(shown.to_string().contains(&person_upn(5)), "{shown}");
    site.said(&["buried", "replay", &id], 1);
    assert_eq!(twin.revokes(person(5)).await, (0, 0));

    // The mapping is mended, the body is read again; the sender is not needed.
    let file = site.path("oust.yaml");
    let text = std::fs::read_to_string(&file).expect("a text").replace("each: body.results", "each: body.hits");
    std::fs::write(&file, text).expect("written");
    let replayed = site.said(&["buried", "replay", &id], 0);
    let signal = replayed["items"][0]["signals"][0].as_str().expect("a signal").to_owned();
    until_async("its intake", async || reader.outcome(&signal).await["outcome"]["word"] == "act").await;
    until_async("the revoke", async || twin.revokes(person(5)).await == (1, 1)).await;
    site.said(&["buried", "replay", &id], 1);
    site.said(&["buried", "drop", &rain, "--reason", "the weather is nobody's session"], 0);
    assert_eq!(site.said(&["buried", "list"], 0)["items"], json!([]));
    let all = reader.get("buried").await.expect("a list");
    let mut states: Vec<_> =
        all["items"].as_array().into_iter().flatten().filter_map(|row| row["state"].as_str()).collect();
    states.sort_unstable();
    assert_eq!(states, ["dropped", "replayed"], "{all}");
    assert_eq!(twin.revokes(person(5)).await, (1, 1), "replayed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_in_the_trail_once_counted_by_reason_when_it_stops() {
    let (_twin, base) = start_twin(20).await;
    let site = Site::new(&base);
    let process = site.serve().await;
    let (http, guessed) = (client(), SecretString::from("whsec_Z3Vlc3NlZC1ndWVzc2VkLWd1ZXNzZWQtZ3Vlc3NlZCE="));
    let body = detection(person(3), "anomalousToken", Timestamp::now()).to_string();
    for id in ["msg_1", "msg_2", "msg_3"] {
        let request = http.post(site.url("webhooks/sentinel"));
        assert_eq!(signed(request, &guessed, id, body.as_bytes()).await.expect("an answer").0, 401);
    }
    let nobody = http.get(site.url("api/v1/cases")).send().await.expect("an answer");
    assert_eq!(nobody.status(), 401);
    assert!(process.terminate().await.success(), "{}", site.log());

    let trail = site.store().audit(&Page { after: None, limit: 100 }).await.expect("a read").items;
    let told: Vec<_> = trail.iter().filter(|(_, line)| line.verb == "deliveries.refused").collect();
    let [(_, summary)] = told.as_slice() else { panic!("one summary: {trail:#?}") };
    let missing = json!({ "source": "api", "reason": "missing", "count": 1 });
    let refused = json!({ "source": "sentinel", "reason": "bad_signature", "count": 3 });
    assert_eq!(summary.detail, json!([missing, refused]));
    // The last records are chained and signed too.
    let whole = site.said(&["audit", "verify"], 0);
    assert_eq!(whole["records"], json!(trail.len()), "{whole}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_trail_verifies_offline_and_every_tampering_shows() {
    let (twin, base) = start_twin(20).await;
    let site = Site::new(&base);
    let key = site.said(&["audit", "key", "--new"], 0);
    let (secret, public) = (key["key"].as_str().expect("a key"), key["public"].as_str().expect("a key"));
    std::fs::write(site.path("audit.key"), secret).expect("written");
    let mut yaml = std::fs::read_to_string(site.path("oust.yaml")).expect("a text");
    yaml.push_str("audit: { key: { file: audit.key } }\n");
    std::fs::write(site.path("oust.yaml"), yaml).expect("written");
    let process = site.serve().await;
    let body = detection(twin.person(3), "anomalousToken", Timestamp::now()).to_string();
    assert_eq!(site.post("sentinel", body.as_bytes()).await.0, 200);
    site.token().drained().await;
    assert!(process.terminate().await.success(), "{}", site.log());

    let whole = site.said(&["audit", "verify", "--key", public], 0);
    assert!(whole["records"].as_u64() > Some(3) && whole["checkpoints"].as_u64() >= Some(1), "{whole}");
    assert_eq!(whole["keys"][0], public);
    let exported = site.oust(&["audit", "export", "--out", "trail.jsonl"]);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    assert_eq!(site.said(&["audit", "verify", "trail.jsonl", "--key", public], 0)["hash"], whole["hash"]);
    assert_ne!(
        site.oust(&["audit", "export", "--out", "trail.jsonl"]).status.code(),
        Some(0),
        "nothing is overwritten"
    );

    let text = std::fs::read_to_string(site.path("trail.jsonl")).expect("a text");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.remove(2);
    std::fs::write(site.path("cut.jsonl"), lines.join("\n")).expect("written");
    assert_eq!(site.said(&["audit", "verify", "cut.jsonl"], 1)["whole"], false);
    let file = rusqlite::Connection::open(site.path("oust.db")).expect("the file");
    let changed = "UPDATE audit SET doc = replace(doc, 'worker', 'nobody') WHERE seq = (SELECT min(seq) FROM audit WHERE doc LIKE '%worker%')";
    assert_eq!(file.execute(changed, []).expect("changed"), 1);
    drop(file);
    let broken = site.said(&["audit", "verify"], 1);
    assert!(broken["problems"][0].as_str().is_some_and(|text| text.contains("not those that were signed")), "{broken}");
}
