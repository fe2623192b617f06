//! Sessions, tokens, passwords and thieves: why the order is revoke, reset, revoke.

use super::{
    super::{Knobs, Login, Loot, NewSignIn, Origin, Special, ThiefReport},
    STRONG, Tenant, body, config, plain, soon, tenant,
};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

const OFTEN: Duration = Duration::from_millis(2);

fn login(user: Uuid, password: &str) -> Login {
    Login { user: user.to_string(), password: password.to_owned(), new_password: None, origin: Origin::default() }
}

fn inside(report: &ThiefReport) -> bool {
    report.inside
}

fn outside(report: &ThiefReport) -> bool {
    !report.inside && report.attempts > 0
}

#[tokio::test]
async fn a_revoke_kills_refresh_tokens_issued_before_it_and_none_issued_after() {
    let t = plain().await;
    let before = t.twin.owner_session(t.ada()).expect("the owner signs in");
    let answer = t.revoke(t.ada()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(body(answer).await["value"], true);
    let after = t.twin.owner_session(t.ada()).expect("the owner signs in again");
    let refusal = t.twin.redeem(&before.refresh_token, &Origin::default()).expect_err("the old token is dead");
    assert_eq!(refusal.code, 50_173);
    assert!(t.twin.redeem(&after.refresh_token, &Origin::default()).is_ok());
    assert!(!t.twin.reads_mail(&before.access_token));
    assert!(t.twin.reads_mail(&after.access_token));
}

#[tokio::test]
async fn a_reset_alone_does_not_remove_the_token_thief_and_a_revoke_does() {
    let t = plain().await;
    let stolen = t.twin.owner_session(t.ada()).expect("the owner signs in").refresh_token;
    let thief = t.twin.thief(Loot::RefreshToken(stolen), Origin::thief(), OFTEN);
    soon(thief.until(inside)).await.expect("he reads mail");
    assert_eq!(t.reset(t.ada(), STRONG).await.status(), 204);
    let read = thief.report().successes;
    let still = soon(thief.until(|it| it.successes > read + 3)).await.expect("he still reads mail");
    assert_eq!(still.refusal, None);
    assert_eq!(t.revoke(t.ada()).await.status(), 200);
    let out = soon(thief.until(outside)).await.expect("he is thrown out");
    assert_eq!(out.refusal_code, Some(50_173));
    assert!(out.first_success <= out.last_success && out.last_success <= out.first_refusal);
}

#[tokio::test]
async fn a_revoke_alone_does_not_stop_the_password_thief_and_a_reset_with_a_second_revoke_does() {
    let t = plain().await;
    let loot = Loot::Password { user: t.ada().to_string(), password: t.twin.initial_password(t.ada()) };
    let thief = t.twin.thief(loot, Origin::thief(), OFTEN);
    let first = soon(thief.until(inside)).await.expect("he reads mail");
    assert_eq!(t.revoke(t.ada()).await.status(), 200);
    let again = soon(thief.until(|it| it.inside && it.successes > first.successes + 3)).await;
    assert!(again.is_some(), "he signed straight back in");
    assert_eq!(t.reset(t.ada(), STRONG).await.status(), 204);
    assert_eq!(t.revoke(t.ada()).await.status(), 200);
    let out = soon(thief.until(outside)).await.expect("he is thrown out");
    assert_eq!(out.refusal_code, Some(50_126));
}

#[tokio::test]
async fn an_access_token_outlives_a_revoke_where_access_is_not_evaluated_continuously() {
    let mut config = config();
    config.knobs.access_tokens_outlive_revoke = true;
    let t = tenant(config).await;
    let session = t.twin.owner_session(t.ada()).expect("the owner signs in");
    t.revoke(t.ada()).await;
    assert!(t.twin.reads_mail(&session.access_token));
    t.twin.set_knobs(Knobs { skew_ms: 4_501_000, ..t.twin.knobs() });
    assert!(!t.twin.reads_mail(&session.access_token), "it expired in the end");
}

#[tokio::test]
async fn a_guests_sessions_live_on_although_the_revoke_is_accepted() {
    let t = plain().await;
    let guest = t.twin.special(Special::Guest);
    let session = t.twin.owner_session(guest).expect("the guest signs in");
    assert_eq!(t.revoke(guest).await.status(), 200);
    assert!(t.twin.redeem(&session.refresh_token, &Origin::default()).is_ok());
    assert!(t.twin.reads_mail(&session.access_token));
}

#[tokio::test]
async fn a_reset_password_works_once_and_must_be_changed_at_sign_in() {
    let t = plain().await;
    let old = t.twin.initial_password(t.ada());
    assert_eq!(t.reset(t.ada(), STRONG).await.status(), 204);
    assert_eq!(t.twin.login(&login(t.ada(), &old)).map_err(|no| no.code).err(), Some(50_126));
    assert_eq!(t.twin.login(&login(t.ada(), STRONG)).map_err(|no| no.code).err(), Some(50_055));
    let new = Login { new_password: Some("zK9.wQ3-pL6_xV1!".to_owned()), ..login(t.ada(), STRONG) };
    assert!(t.twin.login(&new).is_ok());
    assert!(t.twin.login(&login(t.ada(), "zK9.wQ3-pL6_xV1!")).is_ok());
    assert!(!t.twin.user(t.ada()).expect("ada exists").must_change);
}

#[tokio::test]
async fn a_disabled_account_neither_signs_in_nor_redeems() {
    let t = plain().await;
    let session = t.twin.owner_session(t.ada()).expect("the owner signs in");
    let path = format!("/v1.0/users/{}", t.ada());
    assert_eq!(t.send(Method::PATCH, &path, &json!({"accountEnabled": false})).await.status(), 204);
    assert_eq!(t.twin.owner_session(t.ada()).map_err(|no| no.code).err(), Some(50_057));
    assert_eq!(t.twin.redeem(&session.refresh_token, &Origin::default()).map_err(|no| no.code).err(), Some(50_057));
    assert!(!t.twin.reads_mail(&session.access_token));
    assert_eq!(t.send(Method::PATCH, &path, &json!({"accountEnabled": true})).await.status(), 204);
    assert!(t.twin.owner_session(t.ada()).is_ok());
}

#[tokio::test]
async fn the_field_and_the_effect_of_a_revoke_can_lag_and_the_field_can_stay() {
    let mut config = config();
    config.knobs.revoke_field_lag_ms = 60_000;
    config.knobs.revoke_effect_lag_ms = 120_000;
    let t = tenant(config).await;
    let session = t.twin.owner_session(t.ada()).expect("the owner signs in");
    let shown = |t: &Tenant| t.twin.user(t.ada()).expect("ada exists").sessions_valid_from;
    let before = shown(&t);
    t.revoke(t.ada()).await;
    assert_eq!(shown(&t), before);
    t.twin.set_knobs(Knobs { skew_ms: 61_000, ..t.twin.knobs() });
    assert!(shown(&t) > before);
    assert!(t.twin.redeem(&session.refresh_token, &Origin::default()).is_ok(), "dead only after its own lag");
    t.twin.set_knobs(Knobs { skew_ms: 121_000, revoke_field_frozen: true, ..t.twin.knobs() });
    assert!(t.twin.redeem(&session.refresh_token, &Origin::default()).is_err());
    let frozen = shown(&t);
    t.revoke(t.ada()).await;
    t.twin.set_knobs(Knobs { skew_ms: 300_000, revoke_answers_204: true, ..t.twin.knobs() });
    assert_eq!(shown(&t), frozen);
    assert_eq!(t.revoke(t.ada()).await.status(), 204);
}

#[tokio::test]
async fn the_thief_is_told_over_http_in_the_login_hosts_words() {
    let t = plain().await;
    let credentials = json!({"user": "ada@contoso.example", "password": t.twin.initial_password(t.ada())});
    let session = body(t.control(Method::POST, "/login", &credentials).await).await;
    let mail = |token: String| t.client.get(format!("{}/twin/mail", t.base)).bearer_auth(token).send();
    let access = session["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(mail(access.clone()).await.expect("an answer").status(), 200);
    t.revoke(t.ada()).await;
    assert_eq!(mail(access).await.expect("an answer").status(), 401);
    let answer = t.control(Method::POST, "/token", &json!({"refresh_token": session["refresh_token"]})).await;
    assert_eq!(answer.status(), 400);
    let refusal = body(answer).await;
    assert_eq!(refusal["error"], "invalid_grant");
    assert_eq!(refusal["error_codes"], json!([50_173]));
    assert!(refusal["error_description"].as_str().is_some_and(|it| it.starts_with("AADSTS50173")));
}

#[tokio::test]
async fn a_person_changes_the_password_only_with_the_current_one_and_within_the_policy() {
    let t = plain().await;
    let current = t.twin.initial_password(t.ada());
    let change = |current: &str, new: &str| json!({"user": t.ada(), "current": current, "new": new});
    assert_eq!(t.control(Method::POST, "/password", &change("wrong", STRONG)).await.status(), 400);
    assert_eq!(t.control(Method::POST, "/password", &change(&current, "short")).await.status(), 400);
    assert_eq!(t.control(Method::POST, "/password", &change(&current, STRONG)).await.status(), 204);
    assert!(t.twin.login(&login(t.ada(), STRONG)).is_ok());
}

#[tokio::test]
async fn a_forged_or_foreign_token_is_refused() {
    let t = plain().await;
    let session = t.twin.owner_session(t.ada()).expect("the owner signs in");
    for token in ["", "rt", "rt.a.b.c.d", &session.access_token, &session.refresh_token.replace("rt.", "at.")] {
        assert_eq!(t.twin.redeem(token, &Origin::default()).map_err(|no| no.code).err(), Some(9_002_313), "{token}");
        assert!(!t.twin.reads_mail(&token.replace("at.", "rt.")));
    }
}

#[tokio::test]
async fn sign_ins_show_the_thiefs_own_address_newest_first_and_page() {
    let t = plain().await;
    let stolen = t.twin.owner_session(t.ada()).expect("the owner signs in");
    for _ in 0..3 {
        t.twin.redeem(&stolen.refresh_token, &Origin::thief()).expect("he redeems it");
    }
    t.twin
        .add_sign_in(&NewSignIn {
            user: t.twin.person(1),
            origin: Origin::default(),
            error_code: 0,
            risk: None,
            at: None,
            session: None,
        })
        .expect("user 1 exists");
    let filter = format!("userId eq '{}' and createdDateTime ge 2020-01-01T00:00:00Z", t.ada());
    let path = format!("/v1.0/auditLogs/signIns?$filter={}", filter.replace(' ', "%20"));
    let rows = body(t.get(&path).await).await["value"].clone();
    assert_eq!(rows.as_array().map(Vec::len), Some(2), "one sign-in, and one redemption from a new address: {rows}");
    assert_eq!(rows[0]["ipAddress"], "203.0.113.77");
    assert_eq!(rows[0]["sessionId"], rows[1]["sessionId"]);
    assert_eq!(rows[1]["status"]["errorCode"], 0);
    let first =
        body(t.get("/v1.0/auditLogs/signIns?$top=2&$filter=createdDateTime%20ge%202020-01-01T00:00:00Z").await).await;
    let next = first["@odata.nextLink"].as_str().expect("there is a second page").replace(&t.base, "");
    let second = body(t.get(&next).await).await;
    assert_eq!(second["value"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["@odata.nextLink"], json!(null));
}

#[tokio::test]
async fn high_risk_blocks_sign_in_only_where_a_policy_says_so() {
    let t = plain().await;
    let ids = json!({"userIds": [t.ada()]});
    let path = "/v1.0/identityProtection/riskyUsers/confirmCompromised";
    assert_eq!(t.send(Method::POST, path, &ids).await.status(), 204);
    assert!(t.twin.owner_session(t.ada()).is_ok());
    t.twin.set_knobs(Knobs { high_risk_blocked: true, ..t.twin.knobs() });
    assert_eq!(t.twin.owner_session(t.ada()).map_err(|no| no.code).err(), Some(53_003));
}

#[tokio::test]
async fn the_worst_tenant_accepts_a_revoke_and_does_nothing() {
    let mut config = config();
    config.knobs.revoke_without_effect = true;
    config.knobs.whole_seconds = true;
    let t = tenant(config).await;
    let session = t.twin.owner_session(t.ada()).expect("the owner signs in");
    assert_eq!(t.revoke(t.ada()).await.status(), 200);
    assert!(t.twin.redeem(&session.refresh_token, &Origin::default()).is_ok());
    let path = format!("/v1.0/users/{}?$select=signInSessionsValidFromDateTime", t.ada());
    let field = body(t.get(&path).await).await["signInSessionsValidFromDateTime"].clone();
    assert!(field.as_str().is_some_and(|it| !it.contains('.')), "whole seconds: {field}");
}

#[tokio::test]
async fn sign_ins_reach_the_log_only_after_the_lag() {
    let mut config = config();
    config.knobs.sign_in_lag_ms = 60_000;
    let t = tenant(config).await;
    t.twin.owner_session(t.ada()).expect("the owner signs in");
    let count = async || body(t.get("/v1.0/auditLogs/signIns").await).await["value"].as_array().map(Vec::len);
    assert_eq!(count().await, Some(0));
    t.twin.set_knobs(Knobs { skew_ms: 61_000, ..t.twin.knobs() });
    assert_eq!(count().await, Some(1));
}

#[tokio::test]
async fn in_a_browser_a_person_signs_in_with_the_temporary_password_and_is_made_to_change_it() {
    let t = plain().await;
    assert_eq!(t.reset(t.ada(), STRONG).await.status(), 204);
    let door = format!("{}/sign-in", t.base);
    let shown = t.client.get(format!("{door}?user=ada@contoso.example")).send().await.expect("a page");
    assert_eq!(shown.headers()["content-type"], "text/html; charset=utf-8");
    assert!(shown.text().await.expect("text").contains("value=\"ada@contoso.example\""));
    let try_with = async |password: &str, new: &str| {
        let form = [("user", "ada@contoso.example"), ("password", password), ("new_password", new)];
        let answer = t.client.post(&door).form(&form).send().await.expect("a page");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let (status, page) = try_with("another-Word-99.x", "").await;
    assert!(status == 401 && page.contains("AADSTS50126"), "{page}");
    let (status, page) = try_with(STRONG, "").await;
    assert!(status == 200 && page.contains("Update your password") && !page.contains(STRONG), "{page}");
    assert!(t.twin.user(t.ada()).expect("she is there").must_change, "nothing changed yet");
    let (status, page) = try_with(STRONG, "ada").await;
    assert!(status == 401 && page.contains("AADSTS50142"), "{page}");
    let (status, page) = try_with(STRONG, "Her-own-4-words-9x").await;
    assert!(status == 200 && page.contains("is signed in") && page.contains("that was chosen"), "{page}");
    assert!(!t.twin.user(t.ada()).expect("she is there").must_change);
    assert_eq!(try_with(STRONG, "").await.0, 401, "the temporary one is no good any more");
    assert_eq!(try_with("Her-own-4-words-9x", "").await.0, 200);
}

#[tokio::test]
async fn the_sign_in_page_shows_what_was_typed_as_text() {
    let t = plain().await;
    let hostile = "\"><script>alert(1)</script>";
    let form = [("user", hostile), ("password", hostile)];
    let answer = t.client.post(format!("{}/sign-in", t.base)).form(&form).send().await.expect("a page");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert!(answer.headers()["content-security-policy"].to_str().expect("text").starts_with("default-src 'none'"));
    let page = answer.text().await.expect("text");
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    let odd = t.client.delete(format!("{}/sign-in", t.base)).send().await.expect("a page");
    assert_eq!(odd.status(), 405);
}
