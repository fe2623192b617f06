//! Signing in by a provider: what fits signs in, and every answer that does not is refused and leaves nothing behind.

use std::collections::HashMap;

use jiff::SignedDuration;
use oust::domain::ObjectId;
use oust::domain::reviewer::Linked;
use oust::domain::task::Role;
use oust::store::reviewers::Change;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::fake_provider::{CLIENT, FakeProvider, Signing, TENANT};
use super::house::{Browser, House, Reply};

const CALLBACK: &str = "/console/sign-in/oidc/callback";

pub async fn opened() -> (FakeProvider, House) {
    let provider = FakeProvider::start().await;
    let house = House::with(|parts| parts.oidc = Some(provider.config()));
    (provider, house)
}

/// The parameters of the way to the provider.
pub fn asked(to: &str) -> HashMap<String, String> {
    Url::parse(to).expect("an address").query_pairs().into_owned().collect()
}

/// Claims that fit, for the nonce that was asked for.
pub fn fitting(house: &House, provider: &FakeProvider, asked: &HashMap<String, String>) -> Value {
    let now = house.clock.now().as_second();
    json!({
        "iss": provider.inside().issuer, "aud": CLIENT, "sub": "subject-1", "nonce": asked["nonce"], "iat": now,
        "exp": now + 300, "auth_time": now, "name": "Ada Lovelace", "amr": ["pwd", "mfa"], "groups": ["on-call"],
    })
}

pub fn changed(mut claims: Value, change: &Value) -> Value {
    for (name, value) in change.as_object().into_iter().flatten() {
        if value.is_null() {
            claims.as_object_mut().expect("claims").remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// Sends the browser off; what the provider was asked.
pub async fn leave(browser: &mut Browser<'_>, provider: &FakeProvider) -> HashMap<String, String> {
    let asked = asked(browser.post("/console/sign-in/oidc", json!({ "next": "/console/tasks" })).await.away());
    provider.inside().challenge.clone_from(&asked["code_challenge"]);
    asked
}

pub async fn come_back(browser: &mut Browser<'_>, asked: &HashMap<String, String>) -> Reply {
    browser.form(CALLBACK, &[("state", &asked["state"]), ("code", "code-1")]).await
}

/// The whole way, with these changes to fitting claims.
async fn sign_in(house: &House, provider: &FakeProvider, browser: &mut Browser<'_>, change: Value) -> Reply {
    let asked = leave(browser, provider).await;
    provider.inside().claims = changed(fitting(house, provider, &asked), &change);
    come_back(browser, &asked).await
}

#[tokio::test]
async fn a_group_makes_somebody_a_reviewer_and_the_way_is_guarded() {
    let (provider, house) = opened().await;
    let mut browser = house.browser();
    let page = browser.get("/console/sign-in").await;
    assert!(page.text.contains("Sign in with your organisation"));
    let asked = leave(&mut browser, &provider).await;
    assert_eq!((asked["response_type"].as_str(), asked["code_challenge_method"].as_str()), ("code", "S256"));
    assert_eq!(asked["scope"], "openid profile email");
    assert!(asked["nonce"].len() > 20 && asked["state"].len() == 43 && !asked.contains_key("max_age"));
    provider.inside().claims = fitting(&house, &provider, &asked);

    let before = house.store.picture().await.expect("a picture");
    let landed = browser.get(&format!("{CALLBACK}?state={}&code=code-1%22%3E%3Cb%3E", asked["state"])).await;
    assert!(
        landed.text.contains("data-submit") && landed.text.contains("code-1&quot;&gt;&lt;b&gt;"),
        "{}",
        landed.text
    );
    assert_eq!(house.store.picture().await.expect("a picture"), before, "coming back changes nothing");

    let reply = come_back(&mut browser, &asked).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/console/tasks"), "{reply:?}");
    let me = browser.get("/console/session").await.body;
    assert_eq!((&me["roles"], &me["groups"]), (&json!(["viewer", "approver"]), &json!(["on-call"])));
    assert_eq!((&me["display_name"], &me["aal2"], &me["with"]), (&json!("Ada Lovelace"), &json!(true), &json!("oidc")));
    let known =
        house.store.reviewer_by_account(&provider.config().issuer, "subject-1").await.expect("a read").expect("kept");
    assert!(
        known.roles.is_empty() && known.groups.is_empty(),
        "what the provider said ends with the session: {known:?}"
    );

    let again = sign_in(&house, &provider, &mut house.browser(), json!({ "groups": [] })).await;
    assert_eq!(again.status, 303);
    assert_eq!(house.store.reviewers().await.expect("a read").len(), 1, "the same person");
}

/// A form may lead to our own pages only, and so may what it is redirected to; the provider sends browsers on to others.
#[tokio::test]
async fn a_browser_leaves_for_the_provider_by_its_script_or_by_a_link_and_never_by_a_form() {
    let (provider, house) = opened().await;
    let mut browser = house.browser();
    let page = browser.get("/console/sign-in").await;
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("form-action 'self';"), "{policy}");
    assert!(page.text.contains("passkey.js") && page.text.contains("data-leave"), "{}", page.text);
    let left = browser.form("/console/sign-in/oidc", &[("next", "/console/tasks")]).await;
    assert_eq!((left.status.as_u16(), left.location()), (200, ""), "{left:?}");
    let link = left.text.split("<a href=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a link");
    let way = asked(&link.replace("&amp;", "&"));
    provider.inside().challenge.clone_from(&way["code_challenge"]);
    provider.inside().claims = fitting(&house, &provider, &way);
    let reply = come_back(&mut browser, &way).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/console/tasks"), "{reply:?}");
    browser.csrf = browser.get("/console/session").await.body["csrf"].as_str().map(str::to_owned);
    let again = browser.form("/console/prove/oidc", &[]).await;
    assert!(again.status == 200 && again.text.contains("max_age=0"), "{again:?}");
}

#[tokio::test]
async fn every_wrong_token_is_refused_and_leaves_nobody() {
    let (provider, house) = opened().await;
    let now = house.clock.now().as_second();
    let claims = [
        ("issuer", json!({ "iss": "https://evil.example" })),
        ("audience", json!({ "aud": "somebody-else" })),
        ("two audiences", json!({ "aud": [CLIENT, "somebody-else"] })),
        ("authorised party", json!({ "azp": "somebody-else" })),
        ("nonce", json!({ "nonce": "another" })),
        ("no nonce", json!({ "nonce": null })),
        ("expired", json!({ "exp": now - 90 })),
        ("no expiry", json!({ "exp": null })),
        ("from the future", json!({ "iat": now + 90 })),
        ("old", json!({ "iat": now - 700 })),
        ("not yet", json!({ "nbf": now + 90 })),
        ("no subject", json!({ "sub": null })),
        ("odd claims", json!({ "amr": { "x": 1 } })),
    ];
    for (name, change) in claims {
        let mut browser = house.browser();
        let reply = sign_in(&house, &provider, &mut browser, change).await;
        assert!(matches!(reply.status.as_u16(), 401 | 502), "{name}: {reply:?}");
        assert!(browser.session().is_none(), "{name}");
    }
    for signing in [Signing::Spoiled, Signing::Nothing, Signing::Secret, Signing::Stranger] {
        provider.inside().signing = signing;
        let mut browser = house.browser();
        let reply = sign_in(&house, &provider, &mut browser, json!({})).await;
        assert!(matches!(reply.status.as_u16(), 401 | 502), "{signing:?}: {reply:?}");
        assert!(browser.session().is_none(), "{signing:?}");
    }
    assert_eq!(house.store.reviewers().await.expect("a read"), []);
    assert!(house.has_audited("sign_in.refused").await);
    provider.inside().signing = Signing::Right;
    assert_eq!(sign_in(&house, &provider, &mut house.browser(), json!({})).await.status, 303);
}

#[tokio::test]
async fn clocks_may_differ_by_a_minute() {
    let (provider, house) = opened().await;
    let now = house.clock.now().as_second();
    for change in [json!({ "exp": now - 30 }), json!({ "iat": now + 45 }), json!({ "nbf": now + 45 })] {
        let reply = sign_in(&house, &provider, &mut house.browser(), change.clone()).await;
        assert_eq!(reply.status, 303, "{change}: {reply:?}");
    }
}

#[tokio::test]
async fn a_state_is_good_once_for_one_browser_for_five_minutes() {
    let (provider, house) = opened().await;
    let mut browser = house.browser();
    let asked = leave(&mut browser, &provider).await;
    provider.inside().claims = fitting(&house, &provider, &asked);
    let mut thief = house.browser();
    leave(&mut thief, &provider).await;
    provider.inside().challenge.clone_from(&asked["code_challenge"]);
    assert_eq!(come_back(&mut thief, &asked).await.status, 409, "another browser");
    assert_eq!(come_back(&mut house.browser(), &asked).await.status, 409, "no browser of ours");
    assert_eq!(provider.inside().exchanges, 0, "the code is not even tried");
    assert_eq!(come_back(&mut browser, &asked).await.status, 303);
    assert_eq!(come_back(&mut browser, &asked).await.status, 409, "replayed");
    let late = leave(&mut browser, &provider).await;
    provider.inside().claims = fitting(&house, &provider, &late);
    house.clock.push(SignedDuration::from_mins(5));
    assert_eq!(come_back(&mut browser, &late).await.status, 409, "too late");
    for (state, code) in
        [("", "x"), ("short", "x"), (&"a".repeat(43), "x"), (&late["state"], ""), (&late["state"], &"x".repeat(5_000))]
    {
        let reply = browser.form(CALLBACK, &[("state", state), ("code", code)]).await;
        assert!(matches!(reply.status.as_u16(), 400 | 409), "{reply:?}");
    }
}

#[tokio::test]
async fn a_refused_code_uses_the_attempt_up_and_an_error_of_the_provider_leads_back() {
    let (provider, house) = opened().await;
    let mut browser = house.browser();
    provider.inside().refuse = Some("invalid_grant");
    let reply = sign_in(&house, &provider, &mut browser, json!({})).await;
    assert_eq!(reply.status, 401, "{reply:?}");
    assert!(reply.text.contains("invalid_grant"), "{reply:?}");
    provider.inside().refuse = None;
    let back = browser.get(&format!("{CALLBACK}?error=access_denied&state=x")).await;
    assert_eq!((back.status.as_u16(), back.location()), (303, "/console/sign-in?error=provider"));
    assert!(browser.get(back.location()).await.text.contains("did not sign you in"));
}

#[tokio::test]
async fn an_answer_of_another_provider_is_a_mix_up() {
    let (provider, house) = opened().await;
    provider.inside().iss_parameter = true;
    let mut browser = house.browser();
    for iss in [None, Some("https://evil.example".to_owned())] {
        let asked = leave(&mut browser, &provider).await;
        provider.inside().claims = fitting(&house, &provider, &asked);
        let mut fields = vec![("state", asked["state"].as_str()), ("code", "code-1")];
        fields.extend(iss.as_deref().map(|iss| ("iss", iss)));
        assert_eq!(browser.form(CALLBACK, &fields).await.status, 401, "{iss:?}");
    }
    assert_eq!(provider.inside().exchanges, 0, "the code stays with us");
    let asked = leave(&mut browser, &provider).await;
    provider.inside().claims = fitting(&house, &provider, &asked);
    let iss = provider.config().issuer;
    let reply = browser.form(CALLBACK, &[("state", &asked["state"]), ("code", "code-1"), ("iss", &iss)]).await;
    assert_eq!(reply.status, 303);
}

#[tokio::test]
async fn a_provider_that_is_away_is_said_and_comes_back() {
    let (provider, house) = opened().await;
    provider.inside().down = true;
    let mut browser = house.browser();
    let reply = browser.form("/console/sign-in/oidc", &[]).await;
    assert_eq!((reply.status.as_u16(), reply.headers.contains_key("retry-after")), (502, true), "{reply:?}");
    provider.inside().down = false;
    let asked = leave(&mut browser, &provider).await;
    provider.inside().claims = fitting(&house, &provider, &asked);
    provider.inside().down = true;
    assert_eq!(come_back(&mut browser, &asked).await.status, 502);
    provider.inside().down = false;
    assert_eq!(come_back(&mut browser, &asked).await.status, 303, "the attempt was not used up");
}

#[tokio::test]
async fn new_keys_are_read_when_a_token_names_one_and_not_at_every_strangers_whim() {
    let (provider, house) = opened().await;
    assert_eq!(sign_in(&house, &provider, &mut house.browser(), json!({})).await.status, 303);
    assert_eq!(provider.inside().keys_read, 1);
    provider.rotate("two");
    assert_eq!(sign_in(&house, &provider, &mut house.browser(), json!({})).await.status, 303);
    assert_eq!(provider.inside().keys_read, 2);
    provider.inside().signing = Signing::Stranger;
    for _ in 0..5 {
        assert_eq!(sign_in(&house, &provider, &mut house.browser(), json!({})).await.status, 401);
    }
    assert_eq!(provider.inside().keys_read, 2, "read a moment ago");
}

#[tokio::test]
async fn too_many_groups_no_role_and_other_directories_are_turned_away_with_what_to_do() {
    let provider = FakeProvider::start().await;
    let house = House::with(|parts| {
        let mut config = provider.config();
        config.roles.remove(&Role::Viewer);
        parts.oidc = Some(config);
    });
    for (change, words) in [
        (json!({ "groups": null, "_claim_names": { "groups": "src1" } }), "Groups assigned to the application"),
        (json!({ "groups": null, "hasgroups": true }), "Groups assigned to the application"),
        (json!({ "groups": ["elsewhere"] }), "no role here"),
        (json!({ "groups": null }), "no role here"),
        (json!({ "tid": Uuid::from_u128(7), "oid": Uuid::from_u128(8) }), "another directory"),
    ] {
        let mut browser = house.browser();
        let reply = sign_in(&house, &provider, &mut browser, change.clone()).await;
        assert_eq!(reply.status, 403, "{change}: {reply:?}");
        assert!(reply.text.contains(words), "{change}: {reply:?}");
        assert!(browser.session().is_none());
    }
    assert_eq!(house.store.reviewers().await.expect("a read"), []);
}

#[tokio::test]
async fn an_invited_person_is_known_by_directory_and_object_whatever_they_call_themselves() {
    let (provider, house) = opened().await;
    let object_id = ObjectId::new(Uuid::from_u128(42));
    let linked = Linked { tenant: TENANT.parse().expect("a GUID"), object_id };
    house.add("ada", &[Role::Admin], &[linked]).await;
    let entra = json!({ "tid": TENANT, "oid": object_id, "preferred_username": "root", "groups": [] });
    let mut browser = house.browser();
    assert_eq!(sign_in(&house, &provider, &mut browser, entra.clone()).await.status, 303);
    let me = browser.get("/console/session").await.body;
    assert_eq!((&me["reviewer"], &me["roles"]), (&json!("ada"), &json!(["viewer", "admin"])));
    let impostor =
        json!({ "tid": TENANT, "oid": Uuid::from_u128(43), "preferred_username": "ada", "name": "ada", "sub": "s2" });
    let mut other = house.browser();
    assert_eq!(sign_in(&house, &provider, &mut other, impostor).await.status, 303);
    let them = other.get("/console/session").await.body;
    assert!(them["reviewer"].as_str().is_some_and(|id| id.starts_with("oidc-")), "{them}");
    house
        .commit(vec![Change::Disable { reviewer: "ada".parse().expect("a name"), at: house.clock.now() }.into()])
        .await;
    assert!(!browser.is_signed_in().await);
    assert_eq!(sign_in(&house, &provider, &mut browser, entra).await.status, 403, "disabled here is disabled");
}

/// Somebody signed in, sent to prove again.
async fn proving<'a>(house: &'a House, provider: &FakeProvider) -> (Browser<'a>, HashMap<String, String>) {
    let mut browser = house.browser();
    assert_eq!(sign_in(house, provider, &mut browser, json!({})).await.status, 303);
    browser.csrf = browser.get("/console/session").await.body["csrf"].as_str().map(str::to_owned);
    house.clock.push(SignedDuration::from_mins(6));
    let asked = asked(browser.post("/console/prove/oidc", json!({ "next": "/console/settings" })).await.away());
    provider.inside().challenge.clone_from(&asked["code_challenge"]);
    (browser, asked)
}

#[tokio::test]
async fn a_step_up_asks_again_for_more_than_a_password_and_renews_the_session() {
    let (provider, house) = opened().await;
    let (mut browser, asked) = proving(&house, &provider).await;
    assert_eq!((asked["max_age"].as_str(), asked["acr_values"].as_str()), ("0", "urn:high"));
    let claims: Value = serde_json::from_str(&asked["claims"]).expect("JSON");
    assert_eq!(claims["id_token"]["acrs"], json!({ "essential": true, "value": "c1" }));
    let before = browser.jar.clone();
    provider.inside().claims = fitting(&house, &provider, &asked);
    let reply = come_back(&mut browser, &asked).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/console/settings"), "{reply:?}");
    assert_ne!(before.get(super::house::SESSION), browser.session());
    assert_eq!(browser.get("/console/session").await.body["fresh"], true);
    let mut copy = house.browser();
    copy.jar = before;
    assert!(!copy.is_signed_in().await);
}

#[tokio::test]
async fn a_step_up_that_proves_nothing_is_refused() {
    for (change, words) in [
        (json!({ "auth_time": null }), "auth_time"),
        (json!({ "auth_time": 1_000_000 }), "did not ask you again"),
        (json!({ "amr": ["pwd"] }), "second factor"),
        (json!({ "sub": "somebody-else" }), "somebody else"),
        (json!({ "groups": null, "hasgroups": true }), "Groups assigned"),
    ] {
        let (provider, house) = opened().await;
        let (mut browser, asked) = proving(&house, &provider).await;
        provider.inside().claims = changed(fitting(&house, &provider, &asked), &change);
        let reply = come_back(&mut browser, &asked).await;
        assert_eq!(reply.status, 403, "{change}: {reply:?}");
        assert!(reply.text.contains(words), "{change}: {reply:?}");
        assert_eq!(browser.get("/console/session").await.body["fresh"], false, "{change}");
        assert!(house.has_audited("step_up.refused").await);
        assert_eq!(come_back(&mut browser, &asked).await.status, 409, "and used up");
    }
}

#[tokio::test]
async fn without_the_time_of_the_sign_in_nothing_is_fresh() {
    let (provider, house) = opened().await;
    let mut browser = house.browser();
    assert_eq!(sign_in(&house, &provider, &mut browser, json!({ "auth_time": null })).await.status, 303);
    assert_eq!(browser.get("/console/session").await.body["fresh"], false);
    let mut another = house.browser();
    let ahead = house.clock.now().as_second() + 3_000;
    assert_eq!(sign_in(&house, &provider, &mut another, json!({ "auth_time": ahead })).await.status, 303);
    house.clock.push(SignedDuration::from_mins(6));
    assert_eq!(another.get("/console/session").await.body["fresh"], false, "nobody signed in tomorrow");
}

/// A password alone is no proof: whoever stole it cannot make themselves a passkey.
#[tokio::test]
async fn without_a_second_factor_nobody_adds_a_passkey() {
    let (provider, house) = opened().await;
    let mut browser = house.browser();
    let change = json!({ "amr": ["pwd"], "acr": null, "acrs": null });
    assert_eq!(sign_in(&house, &provider, &mut browser, change).await.status, 303);
    let me = browser.get("/console/session").await.body;
    assert_eq!((&me["aal2"], &me["with"]), (&json!(false), &json!("oidc")), "signed in, and fresh");
    let refused = browser.post("/console/passkeys/begin", json!({})).await;
    assert_eq!((refused.status.as_u16(), &refused.body["step_up"]), (403, &json!(true)), "{refused:?}");
    assert!(refused.body["detail"].as_str().is_some_and(|text| text.contains("second factor")), "{refused:?}");
    assert!(!house.has_audited("passkey.enrolled").await);
}
