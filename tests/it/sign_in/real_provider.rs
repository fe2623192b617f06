//! The same against a certified provider, over its own redirects, sessions and RSA keys.

use std::collections::BTreeMap;

use oust::config::Environment;
use oust::domain::task::Role;
use oust::http::sign_in::{Aal2, OidcConfig};
use reqwest::redirect::Policy;
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::authenticator::encode;
use super::fake_provider::{CLIENT, SECRET};
use super::house::{Browser, House};

const SERVER: &str = "OUST_TEST_OIDC";

fn issuer() -> String {
    let environment = Environment::of_process();
    environment.get(SERVER).map(str::to_owned).unwrap_or_else(|| {
        panic!("{SERVER} names no provider: run `eval \"$(tests/servers oidc)\"` first, or everything by tests/run")
    })
}

/// The provider as a console is configured with it.
pub fn config() -> OidcConfig {
    OidcConfig {
        issuer: issuer(),
        client_id: CLIENT.into(),
        client_secret: Some(SecretString::from(SECRET)),
        aal2: Aal2 { acr: vec!["urn:high".into()], amr: vec!["mfa".into()], acrs: Vec::new() },
        groups_claim: "groups".into(),
        roles: [(Role::Approver, vec!["on-call".into()])].into(),
        scopes: Vec::new(),
    }
}

fn house() -> House {
    House::with(|parts| parts.oidc = Some(config()))
}

/// The part of a browser that stands at the provider: follows its redirects, keeps its cookies.
#[derive(Default)]
pub struct Away {
    jar: BTreeMap<String, String>,
}

impl Away {
    /// Where the provider sends the browser back to.
    pub async fn follow(&mut self, from: &str, login: &Value) -> Url {
        let client = reqwest::Client::builder().redirect(Policy::none()).build().expect("a client");
        let mut at = Url::parse(from).expect("an address");
        for _ in 0..10 {
            if at.host_str() == Some("oust.contoso.example") {
                return at;
            }
            let cookies: Vec<String> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let request = client.get(at.clone()).header("cookie", cookies.join("; "));
            let request = request.header("x-test-login", encode(login.to_string().as_bytes()));
            let response = request.send().await.expect("an answer");
            for cookie in response.headers().get_all("set-cookie") {
                let pair = cookie.to_str().expect("text").split(';').next().expect("a pair");
                let (name, value) = pair.split_once('=').expect("a pair");
                self.jar.insert(name.into(), value.into());
            }
            let status = response.status();
            let to = response.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
            let Some(to) = to else { panic!("{at} answered {status}: {}", response.text().await.unwrap_or_default()) };
            at = at.join(&to).expect("an address");
        }
        panic!("still underway at {at}")
    }
}

/// Back at our page, and on by its form.
pub async fn land(browser: &mut Browser<'_>, at: &Url) -> super::house::Reply {
    let path = format!("{}?{}", at.path(), at.query().unwrap_or_default());
    let page = browser.get(&path).await;
    assert_eq!(page.status, 200, "{page:?}");
    let pairs: Vec<(String, String)> = at.query_pairs().into_owned().collect();
    let fields: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.form(at.path(), &fields).await
}

#[tokio::test]
async fn somebody_signs_in_and_proves_again_at_a_certified_provider() {
    let house = house();
    let account = Uuid::new_v4().to_string();
    let login = json!({
        "account": account, "acr": "urn:high", "amr": ["pwd", "mfa"],
        "claims": { "groups": ["on-call"], "name": "Grace Hopper" },
    });
    let (mut browser, mut away) = (house.browser(), Away::default());
    let to = browser.post("/console/sign-in/oidc", json!({ "next": "/console/tasks" })).await;
    let at = away.follow(to.away(), &login).await;
    assert!(at.query_pairs().any(|(name, value)| name == "iss" && value == issuer()), "it names itself: {at}");
    let reply = land(&mut browser, &at).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/console/tasks"), "{reply:?}");
    let me = browser.get("/console/session").await.body;
    assert_eq!(
        (&me["roles"], &me["display_name"], &me["aal2"]),
        (&json!(["approver"]), &json!("Grace Hopper"), &json!(true))
    );
    assert_eq!(land(&mut browser, &at).await.status, 409, "a code is good once");

    browser.csrf = me["csrf"].as_str().map(str::to_owned);
    let before = browser.session().cloned();
    let to = browser.post("/console/prove/oidc", json!({ "next": "/console/settings" })).await;
    let at = away.follow(to.away(), &login).await;
    let reply = land(&mut browser, &at).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/console/settings"), "{reply:?}");
    assert_ne!(before.as_ref(), browser.session());

    let to = browser.form("/console/prove/oidc", &[("csrf", browser.csrf.clone().unwrap_or_default().as_str())]).await;
    assert_eq!(to.status, 403, "the old token went with the old session: {to:?}");
    browser.csrf = browser.get("/console/session").await.body["csrf"].as_str().map(str::to_owned);
    let to = browser.post("/console/prove/oidc", json!({})).await;
    let other =
        json!({ "account": Uuid::new_v4(), "acr": "urn:high", "amr": ["mfa"], "claims": { "groups": ["on-call"] } });
    let at = Away::default().follow(to.away(), &other).await;
    let reply = land(&mut browser, &at).await;
    assert_eq!(reply.status, 403, "somebody else at the same desk: {reply:?}");
}

#[tokio::test]
async fn a_stranger_without_a_group_is_turned_away_by_a_certified_provider_too() {
    let house = house();
    let login = json!({ "account": Uuid::new_v4(), "amr": ["pwd"], "claims": {} });
    let (mut browser, mut away) = (house.browser(), Away::default());
    let to = browser.post("/console/sign-in/oidc", json!({})).await;
    let at = away.follow(to.away(), &login).await;
    let reply = land(&mut browser, &at).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(browser.session().is_none());
}
