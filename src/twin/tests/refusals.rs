//! What the tenant refuses: bad credentials, missing permissions, targets out of reach, bodies that are none.

use super::{
    super::{App, Config, Knobs, Special},
    STRONG, body, config, plain, tenant,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn the_login_host_refuses_a_wrong_secret_an_unknown_app_and_a_missing_field() {
    let t = plain().await;
    let wrong = t.app_token(&t.twin.0.config.client_id, "wrong").await;
    assert_eq!(wrong.status(), 401);
    let wrong = body(wrong).await;
    assert_eq!(wrong["error"], "invalid_client");
    assert!(wrong["error_description"].as_str().is_some_and(|it| it.starts_with("AADSTS7000215")));
    assert_eq!(t.app_token("nobody", "twin-secret").await.status(), 400);
    let url = format!("{}/{}/oauth2/v2.0/token", t.base, t.twin.0.config.tenant_id);
    let empty = t.client.post(&url).form(&[("grant_type", "client_credentials")]).send().await.expect("an answer");
    assert_eq!(body(empty).await["error_codes"], json!([900_144]));
    let elsewhere = t.client.post(format!("{}/{}/oauth2/v2.0/token", t.base, t.ada())).send().await;
    assert_eq!(body(elsewhere.expect("an answer")).await["error_codes"], json!([90_002]));
}

#[tokio::test]
async fn a_call_without_a_live_token_is_told_so_in_graphs_words() {
    let t = plain().await;
    let path = format!("{}/v1.0/users/{}", t.base, t.ada());
    let answer = t.client.get(&path).header("client-request-id", "key-1").send().await.expect("an answer");
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["client-request-id"], "key-1");
    let request_id = answer.headers()["request-id"].to_str().expect("text").to_owned();
    let error = body(answer).await["error"].clone();
    assert_eq!(error["code"], "InvalidAuthenticationToken");
    assert_eq!(error["innerError"]["request-id"], json!(request_id));
    assert_eq!(error["innerError"]["client-request-id"], "key-1");
    t.twin.expire_app_tokens();
    assert_eq!(t.get(&format!("/v1.0/users/{}", t.ada())).await.status(), 401);
}

#[tokio::test]
async fn an_application_token_expires_on_the_tenants_clock() {
    let t = plain().await;
    t.twin.set_knobs(Knobs { skew_ms: 3_600_000, ..t.twin.knobs() });
    let answer = t.get(&format!("/v1.0/users/{}", t.ada())).await;
    assert_eq!(answer.status(), 401);
    let date = answer.headers()["date"].to_str().expect("text").to_owned();
    let ahead = jiff::fmt::rfc2822::parse(&date).expect("an HTTP date").timestamp();
    assert!(ahead.duration_since(t.twin.now()).as_secs().abs() < 60, "the Date header follows the skew");
}

#[tokio::test]
async fn a_permission_that_is_not_granted_is_missed_exactly_where_it_is_needed() {
    let permissions = Some(vec!["User.RevokeSessions.All".to_owned(), "User.Read.All".to_owned()]);
    let t = tenant(Config { permissions, ..config() }).await;
    assert_eq!(t.revoke(t.ada()).await.status(), 200);
    let denied = t.reset(t.ada(), STRONG).await;
    assert_eq!(denied.status(), 403);
    assert_eq!(body(denied).await["error"]["code"], "Authorization_RequestDenied");
    assert_eq!(t.get("/v1.0/identityProtection/riskDetections").await.status(), 403);
    let path = format!("/v1.0/servicePrincipals(appId='{}')/appRoleAssignments", t.twin.0.config.client_id);
    let granted = body(t.get(&path).await).await["value"].clone();
    assert_eq!(granted[0]["appRoleId"], "77f3a031-c388-4f99-b373-dc68676a979e");
    assert_eq!(granted.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn synced_federated_and_guest_users_take_no_password_but_their_revoke_is_accepted() {
    let t = plain().await;
    for special in [Special::Synced, Special::Federated, Special::Guest] {
        let id = t.twin.special(special);
        let refused = t.reset(id, STRONG).await;
        assert_eq!(refused.status(), 400, "{special:?}");
        assert_eq!(body(refused).await["error"]["code"], "Request_BadRequest");
        assert_eq!(t.revoke(id).await.status(), 200);
        assert_eq!(t.twin.count("resetPassword", id).applied, 0);
        assert_eq!(t.twin.count("resetPassword", id).received, 1);
    }
}

#[tokio::test]
async fn administrators_need_the_higher_role_and_limited_roles_do_not() {
    let app = App {
        client_id: "00000000-0000-4000-8000-00000000a002".to_owned(),
        client_secret: "other".to_owned(),
        permissions: None,
        privileged: true,
    };
    let mut t = tenant(Config { apps: vec![app], ..config() }).await;
    let admin = t.twin.special(Special::Admin);
    assert_eq!(t.reset(admin, STRONG).await.status(), 403);
    assert_eq!(t.reset(t.twin.special(Special::Helpdesk), STRONG).await.status(), 204);
    assert_eq!(t.revoke(admin).await.status(), 200, "a revoke needs no role");
    let token = body(t.app_token("00000000-0000-4000-8000-00000000a002", "other").await).await;
    t.token = token["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(t.reset(admin, STRONG).await.status(), 204);
}

#[tokio::test]
async fn a_deleted_or_unknown_user_is_not_found_whatever_is_asked() {
    let t = plain().await;
    for id in [t.twin.special(Special::Deleted), uuid::Uuid::from_u128(7)] {
        assert_eq!(t.revoke(id).await.status(), 404);
        assert_eq!(t.reset(id, STRONG).await.status(), 404);
        let missing = t.get(&format!("/v1.0/users/{id}")).await;
        assert_eq!(missing.status(), 404);
        assert_eq!(body(missing).await["error"]["code"], "Request_ResourceNotFound");
    }
}

#[tokio::test]
async fn a_weak_password_is_refused_and_changes_nothing() {
    let t = plain().await;
    let before = t.twin.user(t.ada()).expect("ada exists").password_changed;
    for weak in ["short1!", "alllowercaseletters", "Contoso-2026-x", "example-Ada-77", "Password1"] {
        assert_eq!(t.reset(t.ada(), weak).await.status(), 400, "{weak}");
    }
    assert_eq!(t.twin.user(t.ada()).expect("ada exists").password_changed, before);
    assert!(t.twin.owner_session(t.ada()).is_ok(), "the old password holds");
}

#[tokio::test]
async fn bodies_and_queries_that_are_none_are_refused_without_a_fall() {
    let t = plain().await;
    let path = format!("/v1.0/users/{}", t.ada());
    let send = async |body: &str| {
        let request = t.request(Method::PATCH, &path).header("content-type", "application/json").body(body.to_owned());
        request.send().await.expect("an answer").status().as_u16()
    };
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    for bad in ["", "{", "[]", "7", &deep, r#"{"passwordProfile":7}"#, r#"{"accountEnabled":"no"}"#] {
        assert_eq!(send(bad).await, 400, "{}", &bad[..bad.len().min(40)]);
    }
    for query in ["$filter=x%20eq%20'1'", "$filter='", "$top=0", "$top=-1", "$skiptoken=x", "$filter=(((("] {
        assert_eq!(t.get(&format!("/v1.0/users?{query}")).await.status(), 400, "{query}");
    }
    assert_eq!(t.get("/v1.0/nothing/of/the/kind").await.status(), 400);
    assert_eq!(t.get(&format!("/{}", "a/".repeat(500))).await.status(), 400);
    let huge = Value::String("x".repeat(5 << 20));
    assert_eq!(t.send(Method::PATCH, &path, &huge).await.status(), 413);
    assert_eq!(t.control(Method::POST, "/login", &json!({"user": 1})).await.status(), 400);
    assert_eq!(t.control(Method::POST, "/nothing", &json!({})).await.status(), 404);
}

#[tokio::test]
async fn an_assertion_and_a_managed_identity_get_tokens_too() {
    let t = plain().await;
    let url = format!("{}/{}/oauth2/v2.0/token", t.base, t.twin.0.config.tenant_id);
    let ask = async |expires: i64| {
        let claims = URL_SAFE_NO_PAD.encode(json!({"exp": expires}).to_string());
        let form = [
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", t.twin.0.config.client_id.clone()),
            ("client_assertion", format!("e30.{claims}.c2ln")),
            ("scope", "https://graph.microsoft.com/.default".to_owned()),
        ];
        t.client.post(&url).form(&form).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(ask(t.twin.now().as_second() + 300).await, 200);
    assert_eq!(ask(t.twin.now().as_second() - 1).await, 400);
    let url = format!("{}/metadata/identity/oauth2/token?resource=https://graph.microsoft.com", t.base);
    let token = body(t.client.get(url).send().await.expect("an answer")).await;
    assert!(token["expires_in"].is_string(), "a managed identity's numbers are strings");
}
