//! What a delivery costs before it is stored: authentication and normalisation of common bodies.

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use oust::sources::auth::{Authenticator, Config, Resolve, SecretRef, Unverified, standard_webhooks};
use oust::sources::{Context, microsoft};
use secrecy::SecretString;
use serde_json::{Value, json};

fn main() {
    divan::main();
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn context() -> Context {
    Context {
        entra_tenant_id: "11111111-2222-3333-4444-555555555555".parse().expect("a tenant id"),
        arm_allow: Vec::new(),
        now: now(),
    }
}

fn now() -> Timestamp {
    "2026-11-20T10:00:00Z".parse().expect("an instant")
}

fn fixture(path: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    let body: Value = serde_json::from_slice(&std::fs::read(path).expect("a fixture")).expect("JSON");
    body.to_string().into_bytes()
}

/// The incident fixture, filled up to 4 KiB the way real ones are: with a long query.
fn incident() -> Vec<u8> {
    let mut body: Value = serde_json::from_slice(&fixture("incident/one_account.json")).expect("JSON");
    let missing = 4_096usize.saturating_sub(body.to_string().len() + 16);
    body["object"]["properties"]["description"] = json!("x".repeat(missing));
    body.to_string().into_bytes()
}

fn parse(bencher: Bencher<'_, '_>, body: &[u8]) {
    let context = context();
    bencher
        .counter(BytesCount::new(body.len()))
        .bench(|| microsoft::parse(black_box(body), &context).expect("a known shape"));
}

#[divan::bench]
fn incident_of_4_kib(bencher: Bencher<'_, '_>) {
    parse(bencher, &incident());
}

#[divan::bench]
fn risk_detection(bencher: Bencher<'_, '_>) {
    parse(bencher, &fixture("risk_detection/atypical_travel.json"));
}

#[divan::bench]
fn alert_v2(bencher: Bencher<'_, '_>) {
    parse(bencher, &fixture("alert_v2/anonymous_ip.json"));
}

#[divan::bench]
fn security_alert(bencher: Bencher<'_, '_>) {
    parse(bencher, &fixture("security_alert/impossible_travel_with_refs.json"));
}

struct Inline;

impl Resolve for Inline {
    fn secret(&self, reference: &SecretRef) -> Result<SecretString, String> {
        match reference {
            SecretRef::Inline(secret) => Ok(secret.clone()),
            other => Err(format!("{other:?} is not inline")),
        }
    }
}

#[divan::bench]
fn standard_webhooks_over_4_kib(bencher: Bencher<'_, '_>) {
    let ways: Vec<Config> =
        serde_json::from_value(json!([{"standard_webhooks": {"secrets": [SECRET]}}])).expect("a way");
    let authenticator = Authenticator::build(&ways, &[], &Inline).expect("an authenticator");
    let body = Bytes::from(incident());
    let signature =
        standard_webhooks::signature(&SecretString::from(SECRET), "msg_1", now(), &body).expect("a signature");
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", HeaderValue::from_static("msg_1"));
    headers.insert("webhook-timestamp", HeaderValue::from(now().as_second()));
    headers.insert("webhook-signature", HeaderValue::try_from(signature).expect("a value"));
    bencher
        .counter(BytesCount::new(body.len()))
        .with_inputs(|| Unverified { headers: headers.clone(), query: None, body: body.clone(), peer: None })
        .bench_values(|request| request.verify(&authenticator, now()).expect("verified"));
}
