//! What shows later that a human decided: the exported trail verifies with nothing but itself, and every tampering shows.

use std::path::Path;
use std::process::{Command, Stdio};

use oust::domain::reviewer::{json_digest, nonce_digest};
use oust::domain::task::{Kind, Role, Task, Verdict};
use oust::store::Op;
use oust::store::reviewers::Change;
use serde_json::{Value, json};

use super::console::{Scene, scene_on};
use crate::sign_in::authenticator::{Key, Says, decode, encode};
use crate::sign_in::fake_provider::FakeProvider;
use crate::sign_in::house::{Browser, House};
use crate::sign_in::oidc::{asked, come_back, fitting};
use crate::support::{App, Setup};

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
approvals:
  on_call: { reviewers: [group:on-call] }
"#;

fn oust(folder: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_oust"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("A_SECRET", "a-secret-of-these-tests")
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        json!({ "out": out, "err": err })
    });
    (output.status.code().unwrap_or(-1), told)
}

/// The exported trail, a line each.
fn exported(app: &App) -> Vec<Value> {
    let folder = app.dir.path();
    std::fs::write(folder.join("oust.yaml"), CONFIG).expect("written");
    let (code, told) = oust(folder, &["audit", "verify", "--json"]);
    assert_eq!(code, 0, "the store itself: {told}");
    let file = folder.join("trail.jsonl");
    let _ = std::fs::remove_file(&file);
    let (code, told) = oust(folder, &["audit", "export", "--out", "trail.jsonl", "--json"]);
    assert_eq!(code, 0, "{told}");
    let text = std::fs::read_to_string(file).expect("a file");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What a file of these lines is said to be; checkpoints are left out, so that nothing but the proofs speaks.
fn verified(app: &App, lines: &[Value]) -> (i32, Value) {
    let unsigned = lines.iter().filter(|line| line["verb"] != "audit.checkpoint");
    let text: String = unsigned.map(|line| format!("{line}\n")).collect();
    std::fs::write(app.dir.path().join("other.jsonl"), text).expect("written");
    oust(app.dir.path(), &["audit", "verify", "other.jsonl", "--json"])
}

fn place(lines: &[Value], verb: &str) -> usize {
    lines.iter().position(|line| line["verb"] == verb).unwrap_or_else(|| panic!("{verb} in the trail"))
}

fn vote(lines: &[Value]) -> usize {
    let is_vote = |line: &Value| line["verb"] == "task.decided" && line["detail"]["event"] == "vote";
    lines.iter().position(is_vote).expect("a vote")
}

fn proof(lines: &[Value]) -> usize {
    lines.iter().position(|line| line["proof"].is_object()).expect("a proof")
}

async fn bulk(scene: &Scene, browser: &mut Browser<'_>, key: &mut Key, tasks: &[Task]) {
    let wanted = |task: &Task| {
        json!({
            "task": task.id, "revision": task.revision, "verdict": "deny", "digest": task.digest(), "reason": "a drill",
        })
    };
    let all: Vec<Value> = tasks.iter().map(wanted).collect();
    let begun = browser.post("/console/decide/begin", json!({ "decisions": all })).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let credential = key.get(&begun.body, &Says::get());
    let finish = json!({ "ceremony": begun.body["ceremony"], "credential": credential });
    let reply = browser.post("/console/decide/finish", finish).await;
    assert_eq!((reply.status.as_u16(), &reply.body["refused"]), (200, &json!(0)), "{reply:?}");
    scene.app.idle().await;
}

/// One approval, three denials under one proof; the passkey is gone afterwards.
async fn decided() -> Scene {
    let scene = scene_on(Setup::default(), |_| {}).await;
    for index in 1..=3 {
        scene.app.alert(scene.app.twin.person(index), "anomalousToken").await;
    }
    scene.app.idle().await;
    let (mut rita, mut key) = scene.house.signed_in("rita", Role::Approver).await;
    let approved = scene.decide(&mut rita, &mut key, Verdict::Approve).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    scene.app.idle().await;
    let waits = |task: &Task| task.kind == Kind::Approval && task.id != scene.task.id;
    let others: Vec<Task> = scene.app.open_tasks().await.into_iter().filter(waits).collect();
    assert_eq!(others.len(), 3);
    bulk(&scene, &mut rita, &mut key, &others).await;
    let (reviewer, at) = ("rita".parse().expect("a name"), scene.app.clock.now());
    let gone = Change::DisableCredential { id: encode(&key.id), reviewer, at, reason: "lost".into() };
    scene.house.commit(vec![Op::from(gone)]).await;
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vote_verifies_offline_after_the_passkey_is_gone() {
    let scene = decided().await;
    let lines = exported(&scene.app);
    let (code, told) = verified(&scene.app, &lines);
    assert_eq!((code, &told["whole"]), (0, &json!(true)), "{told}");
    assert_eq!(told["decisions"], json!({ "by_passkey": 4, "by_provider": 0, "by_provider_without_key": 0 }), "{told}");
    let proofs: Vec<&Value> = lines.iter().filter(|line| line["proof"].is_object()).collect();
    assert_eq!(proofs.len(), 4);
    let signatures: std::collections::BTreeSet<&str> =
        proofs.iter().filter_map(|line| line["proof"]["shown_by"]["signature"].as_str()).collect();
    assert_eq!(signatures.len(), 2, "three denials under one assertion");
    let nonce = proofs[0]["proof"]["shown_by"]["nonce"].as_str().expect("a nonce");
    let begun = &lines[place(&lines, "decision.begun")]["detail"];
    assert_eq!(begun["nonce"], json!(nonce_digest(nonce)), "{begun}");
    assert!(!begun.to_string().contains(nonce), "the record alone helps nobody");
}

type Tampering = (&'static str, fn(&mut Vec<Value>));

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_in_a_recorded_vote_shows() {
    let scene = decided().await;
    let whole = exported(&scene.app);
    let tampering: Vec<Tampering> = vec![
        ("verdict", |lines| {
            let at = vote(lines);
            lines[at]["detail"]["verdict"] = json!("deny");
        }),
        ("outcome", |lines| {
            let at = vote(lines);
            lines[at]["detail"]["what"] = json!("denied");
        }),
        ("digest", |lines| {
            let at = vote(lines);
            lines[at]["detail"]["digest"] = json!("ab".repeat(32));
        }),
        ("task", |lines| {
            let at = vote(lines);
            lines[at]["detail"]["task"] = json!("task_00000000000000000000000000000007");
        }),
        ("revision", |lines| {
            let at = vote(lines);
            lines[at]["detail"]["revision"] = json!(77);
        }),
        ("reviewer", |lines| {
            let at = vote(lines);
            lines[at]["actor"] = json!("reviewer:carl");
        }),
        ("time", |lines| {
            let at = vote(lines);
            lines[at]["at"] = json!("2027-01-01T00:00:00Z");
        }),
        ("challenge", |lines| {
            let at = vote(lines);
            lines[at]["detail"]["challenge"] = json!("ab".repeat(32));
        }),
        ("unproven", |lines| {
            let at = vote(lines);
            for field in ["challenge", "proof", "revision"] {
                lines[at]["detail"].as_object_mut().expect("an object").remove(field);
            }
        }),
        ("called something else", |lines| {
            let at = vote(lines);
            lines[at]["detail"]["event"] = json!("done");
        }),
        ("digest of the proof", |lines| {
            let at = vote(lines);
            lines[at]["detail"]["proof"] = json!("ab".repeat(32));
        }),
        ("no proof", |lines| drop(lines.remove(proof(lines)))),
        ("two proofs", |lines| lines.push(lines[proof(lines)].clone())),
        ("no record of the vote", |lines| drop(lines.remove(vote(lines)))),
        ("the vote twice", |lines| lines.push(lines[vote(lines)].clone())),
        ("one vote more", |lines| {
            let mut more = lines[vote(lines)].clone();
            more["detail"]["task"] = json!("task_00000000000000000000000000000007");
            lines.push(more);
        }),
        ("no record of the challenge", |lines| drop(lines.remove(place(lines, "decision.begun")))),
        ("the challenge afterwards", |lines| {
            let begun = lines.remove(place(lines, "decision.begun"));
            lines.push(begun);
        }),
        ("the challenge twice", |lines| lines.push(lines[place(lines, "decision.begun")].clone())),
        ("bound to another verdict", |lines| {
            let at = place(lines, "decision.begun");
            lines[at]["detail"]["bound"][0]["verdict"] = json!("deny");
        }),
        ("bound to another browser", |lines| {
            let at = place(lines, "decision.begun");
            lines[at]["detail"]["bound"][0]["recipient_key"] = json!("B".repeat(87));
        }),
        ("another random value", |lines| {
            let at = place(lines, "decision.begun");
            lines[at]["detail"]["nonce"] = json!(nonce_digest("another"));
        }),
        ("begun by somebody else", |lines| {
            let at = place(lines, "decision.begun");
            lines[at]["actor"] = json!("reviewer:carl");
        }),
        ("never enrolled", |lines| drop(lines.remove(place(lines, "passkey.enrolled")))),
        ("enrolled by somebody else", |lines| {
            let at = place(lines, "passkey.enrolled");
            lines[at]["actor"] = json!("reviewer:carl");
        }),
        ("enrolled with another key", |lines| {
            let at = place(lines, "passkey.enrolled");
            lines[at]["detail"]["key"] = json!("ab".repeat(32));
        }),
        ("removed before", |lines| {
            let at = place(lines, "passkey.enrolled");
            let mut removed = lines[at].clone();
            removed["verb"] = json!("passkey.removed");
            lines.insert(at + 1, removed);
        }),
    ];
    for (name, tamper) in tampering {
        let mut lines = whole.clone();
        tamper(&mut lines);
        let (code, told) = verified(&scene.app, &lines);
        assert_eq!(code, 1, "{name}: {told}");
        assert!(told["problems"].as_array().is_some_and(|all| !all.is_empty()), "{name}: {told}");
    }
}

/// Changes the proof, and the record's digest of it: as somebody would who can write both.
fn reworked(whole: &[Value], change: impl FnOnce(&mut Value)) -> Vec<Value> {
    let mut lines = whole.to_vec();
    let (proof, vote) = (proof(&lines), vote(&lines));
    change(&mut lines[proof]["proof"]);
    lines[vote]["detail"]["proof"] = json!(json_digest(&lines[proof]["proof"]));
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_rewrites_record_and_proof_together_still_cannot_sign() {
    let scene = decided().await;
    let whole = exported(&scene.app);
    let (code, told) = verified(&scene.app, &reworked(&whole, |_| {}));
    assert_eq!(code, 0, "{told}");
    let mut other = Key::new();
    let begun = json!({ "publicKey": { "challenge": whole[proof(&whole)]["proof"]["shown_by"]["nonce"] } });
    let forged = other.get(&begun, &Says::get())["response"].clone();
    let point = other.point();
    let flip = |bytes: &str, place: usize, bit: u8| {
        let mut bytes = decode(bytes);
        let place = place % bytes.len();
        bytes[place] ^= 1 << bit;
        json!(encode(&bytes))
    };
    let mut attempts: Vec<(String, Vec<Value>)> = Vec::new();
    for field in ["signature", "authenticator_data", "client_data"] {
        for place in [0, 1, 7, 31, 32, 36, 60] {
            let bit = u8::try_from(place % 7).expect("small");
            attempts.push((
                format!("{field} byte {place} bit {bit}"),
                reworked(&whole, |proof| {
                    let text = proof["shown_by"][field].as_str().expect("text").to_owned();
                    proof["shown_by"][field] = flip(&text, place, bit);
                }),
            ));
        }
    }
    attempts.push((
        "another key's assertion".into(),
        reworked(&whole, |proof| {
            proof["shown_by"]["signature"] = forged["signature"].clone();
            proof["shown_by"]["authenticator_data"] = forged["authenticatorData"].clone();
            proof["shown_by"]["client_data"] = forged["clientDataJSON"].clone();
        }),
    ));
    attempts.push((
        "another key".into(),
        reworked(&whole, |proof| {
            proof["shown_by"]["public_key"]["key"]["EC_EC2"]["x"] = json!(encode(&point[1..33]));
        }),
    ));
    attempts.push(("another random value".into(), reworked(&whole, |p| p["shown_by"]["nonce"] = json!("AAAA"))));
    attempts.push(("another site".into(), reworked(&whole, |p| p["shown_by"]["rp_id"] = json!("evil.example"))));
    attempts.push(("another verdict".into(), reworked(&whole, |p| p["wanted"]["verdict"] = json!("deny"))));
    attempts.push(("another reason".into(), reworked(&whole, |p| p["wanted"]["reason"] = json!("none"))));
    attempts.push(("another reviewer".into(), reworked(&whole, |p| p["reviewer"] = json!("carl"))));
    attempts.push(("unreadable".into(), reworked(&whole, |p| p["shown_by"]["by"] = json!("pigeon"))));
    for (name, lines) in attempts {
        let (code, told) = verified(&scene.app, &lines);
        assert_eq!((code, &told["whole"]), (1, &json!(false)), "{name}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_by_the_provider_is_counted_as_its_word_and_its_token_verifies() {
    let provider = FakeProvider::start().await;
    let config = provider.config();
    let scene = scene_on(Setup::default(), |parts| parts.oidc = Some(config)).await;
    let house: &House = &scene.house;
    let mut rita = house.browser();
    let way = asked(rita.post("/console/sign-in/oidc", json!({})).await.away());
    provider.inside().challenge.clone_from(&way["code_challenge"]);
    provider.inside().claims = fitting(house, &provider, &way);
    assert_eq!(come_back(&mut rita, &way).await.status, 303);
    rita.csrf = rita.get("/console/session").await.body["csrf"].as_str().map(str::to_owned);
    let task = &scene.task;
    let wanted = json!({
        "task": task.id, "revision": task.revision, "verdict": "deny", "digest": task.digest(), "reason": "a drill",
    });
    let begun = rita.post("/console/decide/begin", wanted).await;
    let way = asked(begun.body["redirect"].as_str().unwrap_or_else(|| panic!("{begun:?}")));
    provider.inside().challenge.clone_from(&way["code_challenge"]);
    provider.inside().claims = fitting(house, &provider, &way);
    assert_eq!(come_back(&mut rita, &way).await.status, 303);
    scene.app.idle().await;

    let whole = exported(&scene.app);
    let (code, told) = verified(&scene.app, &whole);
    assert_eq!((code, &told["decisions"]["by_provider"]), (0, &json!(1)), "{told}");
    let unsigned = reworked(&whole, |proof| drop(proof["shown_by"].as_object_mut().expect("an object").remove("key")));
    let (code, told) = verified(&scene.app, &unsigned);
    assert_eq!((code, &told["decisions"]["by_provider_without_key"]), (0, &json!(1)), "said as it is: {told}");
    let forgeries: [fn(&mut Value); 4] = [
        |proof| proof["shown_by"]["claims"]["sub"] = json!("somebody-else"),
        |proof| proof["shown_by"]["subject"] = json!("somebody-else"),
        |proof| proof["shown_by"]["key"]["x"] = json!("AAAA"),
        |proof| {
            let token = proof["shown_by"]["id_token"].as_str().expect("a token").to_owned();
            let (rest, signature) = token.rsplit_once('.').expect("three parts");
            let mut bytes = decode(signature);
            bytes[5] ^= 1;
            proof["shown_by"]["id_token"] = json!(format!("{rest}.{}", encode(&bytes)));
        },
    ];
    for (number, forge) in forgeries.into_iter().enumerate() {
        let (code, told) = verified(&scene.app, &reworked(&whole, forge));
        assert_eq!(code, 1, "{number}: {told}");
    }
}
