//! Who sent it: every way, with its bad twins.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use oust::sources::auth::{
    Authenticator, ClientState, Config, ConfigError, Error, Resolve, SecretRef, Unverified, Verified, client_state,
    hmac, standard_webhooks,
};
use secrecy::SecretString;
use serde_json::{Value, json};

/// The example of the standard's own libraries.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const BODY: &[u8] = br#"{"test": 2432232314}"#;

/// Takes inline secrets only.
struct Inline;

impl Resolve for Inline {
    fn secret(&self, reference: &SecretRef) -> Result<SecretString, String> {
        match reference {
            SecretRef::Inline(secret) => Ok(secret.clone()),
            other => Err(format!("{other:?} cannot be read here")),
        }
    }
}

fn ways(auth: Value, networks: &[&str]) -> Result<Authenticator, Vec<ConfigError>> {
    let ways: Vec<Config> = serde_json::from_value(auth).expect("a list of ways");
    let networks: Vec<_> = networks.iter().map(|network| network.parse().expect("a network")).collect();
    Authenticator::build(&ways, &networks, &Inline)
}

fn sent() -> Timestamp {
    Timestamp::from_second(1_614_265_330).expect("an instant")
}

fn request(headers: &[(&str, &str)], query: Option<&str>, body: &[u8]) -> Unverified {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).expect("a name");
        map.append(name, HeaderValue::try_from(*value).expect("a value"));
    }
    let peer: Option<IpAddr> = "203.0.113.9".parse().ok();
    Unverified { headers: map, query: query.map(str::to_owned), body: Bytes::copy_from_slice(body), peer }
}

fn signed(signature: &str) -> Unverified {
    request(&[("webhook-id", ID), ("webhook-timestamp", "1614265330"), ("webhook-signature", signature)], None, BODY)
}

fn verify(request: Unverified, auth: Value, after: SignedDuration) -> Result<Verified, Error> {
    request.verify(&ways(auth, &[]).expect("ways"), sent() + after)
}

fn standard(secrets: &[&str]) -> Value {
    json!([{"standard_webhooks": {"secrets": secrets}}])
}

#[test]
fn the_published_vector_verifies_and_yields_its_id() {
    let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let verified = verify(signed(signature), standard(&[SECRET]), SignedDuration::ZERO).expect("verified");
    assert_eq!(verified.webhook_id(), Some(ID));
    assert_eq!(verified.by(), "standard_webhooks");
    assert_eq!(verified.body(), BODY);
    let made = standard_webhooks::signature(&SecretString::from(SECRET), ID, sent(), BODY).expect("a signature");
    assert_eq!(made, signature);
}

#[test]
fn rotation_several_signatures_and_missing_padding_verify() {
    let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE";
    let several = format!("v1,AAAA v1a,whatever {right}");
    for secrets in [[OTHER, SECRET], [SECRET, OTHER]] {
        assert!(verify(signed(&several), standard(&secrets), SignedDuration::ZERO).is_ok());
    }
}

#[test]
fn a_wrong_secret_a_changed_body_and_a_changed_id_do_not_verify() {
    let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let bad = |request, secrets: &[&str]| verify(request, standard(secrets), SignedDuration::ZERO).err();
    assert_eq!(bad(signed(right), &[OTHER]), Some(Error::BadSignature));
    let mut changed = signed(right);
    changed.body = Bytes::from_static(b"{}");
    assert_eq!(bad(changed, &[SECRET]), Some(Error::BadSignature));
    let mut changed = signed(right);
    changed.headers.insert("webhook-id", HeaderValue::from_static("msg_2"));
    assert_eq!(bad(changed, &[SECRET]), Some(Error::BadSignature));
}

#[test]
fn signatures_outside_five_minutes_are_stale_or_from_the_future() {
    let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    for (seconds, refused) in [(300, None), (301, Some(Error::Stale)), (-300, None), (-301, Some(Error::Future))] {
        let verified = verify(signed(right), standard(&[SECRET]), SignedDuration::from_secs(seconds));
        assert_eq!(verified.err(), refused, "{seconds} s after");
    }
    // A clock is only discussed with somebody who signed.
    let late = SignedDuration::from_hours(1);
    assert_eq!(verify(signed("v1,AAAA"), standard(&[SECRET]), late).err(), Some(Error::BadSignature));
}

#[test]
fn missing_doubled_and_malformed_headers_say_so() {
    let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let refused =
        |request: Unverified| verify(request, standard(&[SECRET]), SignedDuration::ZERO).err().map(Error::reason);
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut without = signed(right);
        without.headers.remove(name);
        assert_eq!(refused(without), Some("missing"), "{name}");
        let mut doubled = signed(right);
        doubled.headers.append(name, HeaderValue::from_static("1"));
        assert_eq!(refused(doubled), Some("malformed"), "{name}");
    }
    for (name, value) in [
        ("webhook-timestamp", "1614265330.5"),
        ("webhook-timestamp", "-1"),
        ("webhook-timestamp", "99999999999999999999"),
        ("webhook-signature", "v2,AAAA"),
        ("webhook-signature", "v1,***"),
        ("webhook-id", "msg.1"),
    ] {
        let mut changed = signed(right);
        changed.headers.insert(name, HeaderValue::from_static(value));
        assert_eq!(refused(changed), Some("malformed"), "{name}: {value}");
    }
}

#[test]
fn an_hmac_verifies_in_either_encoding_and_algorithm() {
    let secret = "0123456789abcdef";
    for (encoding, algorithm) in [("hex", "sha256"), ("hex", "sha512"), ("base64", "sha256"), ("base64", "sha512")] {
        let entry = json!({"header": "X-Signature", "prefix": "sig=", "encoding": encoding, "algorithm": algorithm,
            "secrets": ["another-secret-of-us", secret]});
        let config: hmac::Config = serde_json::from_value(entry.clone()).expect("a way");
        let signature = hmac::signature(&config, &SecretString::from(secret), BODY);
        let auth = json!([{ "hmac": entry }]);
        let try_with = |value: &str, body: &[u8]| {
            verify(request(&[("x-signature", value)], None, body), auth.clone(), SignedDuration::ZERO).map(|v| v.by())
        };
        assert_eq!(try_with(&signature, BODY), Ok("hmac"));
        let (prefix, digits) = signature.split_at(4);
        if encoding == "hex" {
            assert_eq!(try_with(&format!("{prefix}{}", digits.to_uppercase()), BODY), Ok("hmac"));
        } else {
            assert_eq!(try_with(signature.trim_end_matches('='), BODY), Ok("hmac"));
        }
        assert_eq!(try_with(&signature, b"tampered"), Err(Error::BadSignature));
        assert_eq!(try_with(&signature[..signature.len() - 8], BODY).map_err(Error::reason), Err("bad_signature"));
        assert_eq!(try_with(digits, BODY).map_err(Error::reason), Err("malformed"));
        assert_eq!(try_with("sig=***", BODY).map_err(Error::reason), Err("malformed"));
    }
}

#[test]
fn a_known_signature_of_rfc_4231_is_ours() {
    let entry = json!({"header": "x", "encoding": "hex", "secrets": ["unused-but-needed"]});
    let config: hmac::Config = serde_json::from_value(entry).expect("a way");
    let signature = hmac::signature(&config, &SecretString::from("Jefe"), b"what do ya want for nothing?");
    assert_eq!(signature, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

#[test]
fn bearer_and_query_token_verify_and_their_twins_do_not() {
    let auth = json!([{"bearer": {"secrets": ["old-token-0123456", "new-token-0123456"]}},
        {"query_token": {"parameter": "token", "secrets": ["query token&0123456"]}}]);
    let with = |headers: &[(&str, &str)], query| {
        verify(request(headers, query, BODY), auth.clone(), SignedDuration::ZERO).map(|v| v.by()).map_err(Error::reason)
    };
    assert_eq!(with(&[("authorization", "bearer new-token-0123456")], None), Ok("bearer"));
    assert_eq!(with(&[], Some("a=1&token=query+token%260123456")), Ok("query_token"));
    // A wrong token beside a right one: any one way suffices.
    assert_eq!(with(&[("authorization", "Bearer x")], Some("token=query+token%260123456")), Ok("query_token"));
    for (headers, query, reason) in [
        (vec![], None, "missing"),
        (vec![("authorization", "Bearer new-token-012345")], None, "bad_token"),
        (vec![("authorization", "Basic new-token-0123456")], None, "malformed"),
        (vec![("authorization", "new-token-0123456")], None, "malformed"),
        (vec![], Some("token="), "bad_token"),
        (vec![], Some("TOKEN=query+token%260123456"), "missing"),
        (vec![], Some("token=query+token%260123456&token=x"), "malformed"),
    ] {
        assert_eq!(with(&headers, query), Err(reason), "{headers:?} {query:?}");
    }
}

#[test]
fn the_network_list_stands_beside_the_credential() {
    let auth = json!([{"bearer": {"secrets": ["token-0123456789"]}}]);
    let headers = [("authorization", "Bearer token-0123456789")];
    let inside = ways(auth.clone(), &["203.0.113.0/24"]).expect("ways");
    let outside = ways(auth, &["198.51.100.0/24"]).expect("ways");
    assert!(request(&headers, None, BODY).verify(&inside, sent()).is_ok());
    assert_eq!(request(&headers, None, BODY).verify(&outside, sent()).err(), Some(Error::Network));
    assert_eq!(request(&[], None, BODY).verify(&inside, sent()).err(), Some(Error::Missing));
}

#[test]
fn every_mistake_of_a_list_is_reported_and_no_secret_is_said() {
    let mistakes = ways(
        json!([{"standard_webhooks": {"secrets": ["whsec_not base64 at all"]}}, {"bearer": {"secrets": []}},
            {"hmac": {"header": "no good", "encoding": "hex", "secrets": ["x"]}},
            {"query_token": {"parameter": "t", "secrets": ["planted"]}},
            {"bearer": {"secrets": [{"env": "OUST_TOKEN"}]}}]),
        &[],
    )
    .expect_err("mistakes");
    assert_eq!(mistakes.len(), 5);
    let text = mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("OUST_TOKEN") && !text.contains("planted"), "{text}");
    assert_eq!(ways(json!([]), &[]).expect_err("no way"), [ConfigError::NoWay]);
}

#[test]
fn client_states_are_compared_as_a_whole() {
    let config: client_state::Config = serde_json::from_value(json!({"secrets": ["s3cret", "next"]})).expect("states");
    let states = ClientState::build(&config, &Inline).expect("states");
    assert!(states.contains("s3cret") && states.contains("next"));
    for wrong in ["", "s3cre", "s3cret ", "S3CRET"] {
        assert!(!states.contains(wrong), "{wrong:?}");
    }
    let long: client_state::Config = serde_json::from_value(json!({"secrets": ["x".repeat(129)]})).expect("states");
    assert!(ClientState::build(&long, &Inline).is_err());
}

#[test]
fn the_ways_are_read_from_yaml_as_documented() {
    let yaml = r#"
- standard_webhooks: { secrets: [{ file: /run/secrets/webhook }, { env: OUST_WEBHOOK }] }
- hmac: { header: X-Signature, prefix: "sha256=", encoding: hex, secrets: [inline-in-demo-only] }
- bearer: { secrets: [{ env: OUST_TOKEN }] }
- query_token: { parameter: token, secrets: [{ file: token }] }
"#;
    let ways: Vec<Config> = serde_saphyr::from_str(yaml).expect("the documented form");
    assert!(matches!(
        &ways[..],
        [Config::StandardWebhooks(_), Config::Hmac(_), Config::Bearer(_), Config::QueryToken(_)]
    ));
    let Config::StandardWebhooks(standard) = &ways[0] else { panic!("{ways:?}") };
    assert!(matches!(&standard.secrets[..], [SecretRef::File(_), SecretRef::Env(_)]));
}
