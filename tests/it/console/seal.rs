//! The browser's half of the seal, run by Node: what Rust sealed, the script opens, and nothing else does.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use oust::domain::TaskId;
use oust::seal::{RecipientKey, TemporaryPassword, seal};
use serde_json::{Value, json};
use uuid::Uuid;

fn task(number: u128) -> TaskId {
    TaskId::new(Uuid::from_u128(number))
}

#[test]
fn what_the_worker_sealed_opens_in_the_script_and_only_there() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console/hpke.mjs");
    let mut node = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs (apt-get install nodejs)");
    let mut answers = BufReader::new(node.stdout.take().expect("piped")).lines();
    let key: RecipientKey = answers.next().expect("a key").expect("readable").parse().expect("the script's key is one");

    let words = ["hk7-Nq.44", "ü+%=#!-", &"x".repeat(64), "a"];
    let mut cases = Vec::new();
    for word in words {
        let sealed = seal(&TemporaryPassword::issued(word.to_owned()), &key, task(1)).expect("sealed");
        cases.push(json!({ "sealed": sealed, "task": task(1) }));
    }
    let good = seal(&TemporaryPassword::issued("hk7-Nq.44".into()), &key, task(1)).expect("sealed");
    cases.push(json!({ "sealed": good, "task": task(2) }));
    let mut broken = json!(good);
    let text = broken["ciphertext"].as_str().expect("text").to_owned();
    let first = if text.starts_with('A') { "B" } else { "A" };
    broken["ciphertext"] = json!(format!("{first}{}", &text[1..]));
    cases.push(json!({ "sealed": broken, "task": task(1) }));

    let mut stdin = node.stdin.take().expect("piped");
    writeln!(stdin, "{}", json!(cases)).expect("written");
    drop(stdin);
    let line = answers.next().expect("an answer").expect("readable");
    let opened: Vec<Option<String>> = serde_json::from_str(&line).expect("JSON");
    assert!(node.wait().expect("it ends").success());

    let expected: Vec<Value> = words.iter().map(|word| json!(word)).chain([Value::Null, Value::Null]).collect();
    assert_eq!(json!(opened), json!(expected), "two last: another task, a changed ciphertext");
}
