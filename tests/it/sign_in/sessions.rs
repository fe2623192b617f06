//! Sessions: how they end, what they may, what their pages say to the browser.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use jiff::{SignedDuration, Timestamp};
use oust::domain::task::Role;
use oust::http::sign_in::Rates;
use serde_json::{Value, json};

use super::authenticator::{Key, Says};
use super::house::{Hands, House, SESSION};

#[tokio::test]
async fn a_session_ends_after_half_an_hour_without_use_and_after_twelve_hours_with_it() {
    let house = House::open();
    let (mut browser, mut key) = house.signed_in("ada", Role::Viewer).await;
    house.clock.push(SignedDuration::from_mins(29));
    assert!(browser.is_signed_in().await);
    browser.is_noted().await;
    house.clock.push(SignedDuration::from_mins(29));
    assert!(browser.is_signed_in().await, "use keeps it alive");
    browser.is_noted().await;
    house.clock.push(SignedDuration::from_mins(30));
    let reply = browser.get("/console/session").await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/console/sign-in?next=%2Fconsole%2Fsession"));

    assert_eq!(browser.sign_in(&mut key, &Says::get()).await.status, 200);
    for _ in 0..35 {
        house.clock.push(SignedDuration::from_mins(20));
        assert!(browser.is_signed_in().await);
        browser.is_noted().await;
    }
    house.clock.push(SignedDuration::from_mins(20));
    assert!(!browser.is_signed_in().await, "12 hours are over, used or not");
}

#[tokio::test]
async fn a_clock_that_is_wrong_signs_nobody_out_elsewhere() {
    let house = House::open();
    let (mut browser, _) = house.signed_in("ada", Role::Viewer).await;
    for wrong in [SignedDuration::from_mins(40), SignedDuration::from_hours(13)] {
        let clock = Hands::at(house.clock.now());
        clock.push(wrong);
        let other = House::on(house.store.clone(), clock, |_| {});
        let mut there = other.browser();
        there.jar = browser.jar.clone();
        assert!(!there.is_signed_in().await, "{wrong:?}: over, as far as that clock can tell");
        assert!(browser.is_signed_in().await, "{wrong:?}");
    }
    assert!(!house.has_audited("session.ended").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_in_reads_on_where_nothing_can_be_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("oust.db");
    let house = House::over(&path, Hands::at(Timestamp::now()), |_| {});
    let (mut browser, _) = house.signed_in("ada", Role::Viewer).await;
    let lock = rusqlite::Connection::open(&path).expect("opens");
    lock.execute_batch("BEGIN IMMEDIATE").expect("locks");
    house.clock.push(SignedDuration::from_mins(5));
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(browser.is_signed_in().await);
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "it waited for the lock: {:?}", begun.elapsed());
    house.clock.push(SignedDuration::from_mins(25));
    let mut copy = house.browser();
    copy.jar = browser.jar.clone();
    assert!(!copy.is_signed_in().await, "uses that were not noted keep nobody alive");
    house.clock.push(SignedDuration::from_mins(-10));
    lock.execute_batch("ROLLBACK").expect("lets go");
    assert!(browser.is_signed_in().await);
    browser.is_noted().await;
    house.clock.push(SignedDuration::from_mins(25));
    assert!(browser.is_signed_in().await, "noted as soon as it can be");
}

#[tokio::test]
async fn signing_out_ends_this_session_and_everywhere_ends_all() {
    let house = House::open();
    let (mut one, mut key) = house.signed_in("ada", Role::Viewer).await;
    let (mut two, mut three) = (house.browser(), house.browser());
    two.sign_in(&mut key, &Says::get()).await;
    three.sign_in(&mut key, &Says::get()).await;
    let old = one.jar.clone();
    let csrf = one.csrf.clone().expect("a token");
    one.csrf = None;
    let reply = one.form("/console/sign-out", &[("csrf", &csrf)]).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/console/sign-in?error=out"));
    assert!(one.session().is_none());
    one.jar = old;
    assert!(!one.is_signed_in().await, "a copy of the cookie is of no use");
    assert!(two.is_signed_in().await && three.is_signed_in().await);
    assert_eq!(two.post("/console/sign-out-everywhere", json!({})).await.status, 303);
    assert!(!three.is_signed_in().await);
}

#[tokio::test]
async fn a_fresh_proof_renews_the_session_under_a_new_id() {
    let house = House::open();
    let (mut browser, mut key) = house.signed_in("ada", Role::Viewer).await;
    house.clock.push(SignedDuration::from_mins(6));
    let refused = browser.post("/console/passkeys/begin", json!({})).await;
    assert_eq!((refused.status.as_u16(), &refused.body["step_up"]), (403, &json!(true)));
    let before = browser.jar.clone();
    let reply = browser.prove(&mut key).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_ne!(before.get(SESSION), browser.session());
    let mut copy = house.browser();
    copy.jar = before;
    assert!(!copy.is_signed_in().await, "the old id is dead");
    assert_eq!(browser.get("/console/session").await.body["fresh"], true);
    assert_eq!(browser.post("/console/passkeys/begin", json!({})).await.status, 200);
    assert!(house.has_audited("step_up").await);
}

#[tokio::test]
async fn what_set_out_before_a_renewal_and_comes_after_it_takes_no_cookie_away() {
    let house = House::open();
    let (mut browser, mut key) = house.signed_in("ada", Role::Viewer).await;
    let mut slow = house.browser();
    (slow.jar, slow.csrf) = (browser.jar.clone(), browser.csrf.clone());
    assert_eq!(browser.prove(&mut key).await.status, 200);
    // Both tabs share one jar: whatever this answer sets, the other has.
    let script = slow.get_json("/console/session?fragment=").await;
    let page = slow.get("/console/session").await;
    let sent = slow.post("/console/sign-out", json!({})).await;
    assert_eq!((script.status.as_u16(), page.status.as_u16(), sent.status.as_u16()), (401, 303, 401));
    for reply in [script, page, sent] {
        assert!(!reply.headers.contains_key("set-cookie"), "{reply:?}");
    }
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn signing_in_again_ends_the_session_that_this_browser_had() {
    let house = House::open();
    let (mut browser, mut key) = house.signed_in("ada", Role::Viewer).await;
    let mut copy = house.browser();
    copy.jar = browser.jar.clone();
    assert!(copy.is_signed_in().await);
    assert_eq!(browser.sign_in(&mut key, &Says::get()).await.status, 200);
    assert!(browser.is_signed_in().await && !copy.is_signed_in().await);
}

#[tokio::test]
async fn a_proof_is_given_with_ones_own_passkey_only() {
    let house = House::open();
    let (mut ada, _) = house.signed_in("ada", Role::Viewer).await;
    let (_, mut of_bob) = house.signed_in("bob", Role::Admin).await;
    let begun = ada.post("/console/prove/begin", json!({})).await.body;
    let allowed = begun["publicKey"]["allowCredentials"].as_array().map_or(0, Vec::len);
    assert_eq!(allowed, 1, "only one's own are asked for");
    let credential = of_bob.get(&begun, &Says::get());
    let reply =
        ada.post("/console/prove/finish", json!({ "ceremony": begun["ceremony"], "credential": credential })).await;
    assert_eq!(reply.status, 401);
    assert!(house.has_audited("step_up.refused").await);
}

#[tokio::test]
async fn a_challenge_of_another_session_of_the_same_person_is_refused() {
    let house = House::open();
    let (mut one, mut key) = house.signed_in("ada", Role::Viewer).await;
    let mut two = house.browser();
    two.sign_in(&mut key, &Says::get()).await;
    let begun = one.post("/console/prove/begin", json!({})).await.body;
    let credential = key.get(&begun, &Says::get());
    let finish = json!({ "ceremony": begun["ceremony"], "credential": credential });
    assert_eq!(two.post("/console/prove/finish", finish.clone()).await.status, 409);
    assert_eq!(one.post("/console/prove/finish", finish).await.status, 200);
}

#[tokio::test]
async fn passkeys_are_added_listed_and_removed_but_never_the_last_one() {
    let house = House::open();
    let (mut browser, key) = house.signed_in("ada", Role::Viewer).await;
    let first = super::authenticator::encode(&key.id);
    let refused = browser.post(&format!("/console/passkeys/{first}/remove"), json!({})).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    house.clock.push(SignedDuration::from_secs(1));
    let begun = browser.post("/console/passkeys/begin", json!({})).await.body;
    let mut second = Key::new();
    let credential = second.create(&begun, &Says::create());
    let finish = json!({ "ceremony": begun["ceremony"], "credential": credential, "name": "Phone" });
    assert_eq!(browser.post("/console/passkeys/finish", finish).await.status, 200);
    let listed = browser.get("/console/passkeys").await.body;
    assert_eq!(listed["items"].as_array().map_or(0, Vec::len), 2);
    assert_eq!((&listed["items"][0]["this_session"], &listed["items"][1]["name"]), (&json!(true), &json!("Phone")));
    assert!(!listed.to_string().contains("passkey\""), "no key material in the list: {listed}");
    assert_eq!(browser.post(&format!("/console/passkeys/{first}/remove"), json!({})).await.status, 200);
    assert_eq!(house.live_passkeys("ada").await, 1);
    let (mut bob, of_bob) = house.signed_in("bob", Role::Admin).await;
    let other = super::authenticator::encode(&of_bob.id);
    assert_eq!(browser.post(&format!("/console/passkeys/{other}/remove"), json!({})).await.status, 404, "not theirs");
    assert!(bob.is_signed_in().await);
    assert_eq!(house.browser().sign_in(&mut second, &Says::get()).await.status, 200);
}

#[tokio::test]
async fn every_page_binds_the_browsers_hands() {
    let house = House::open();
    let mut browser = house.browser();
    let page = browser.get("/console/sign-in?next=/console/tasks").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("Sign in with a passkey") && page.text.contains("data-next=\"/console/tasks\""));
    assert!(!page.text.contains("<script>") && !page.text.contains("style="), "nothing inline");
    let script = browser.get("/console/sign-in/passkey.js").await;
    assert!(script.headers["content-type"].to_str().expect("text").starts_with("text/javascript"));
    for reply in
        [page, script, browser.get("/console/session").await, browser.post("/console/sign-out", json!({})).await]
    {
        let policy = reply.headers["content-security-policy"].to_str().expect("text");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{part} in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(reply.headers[name], value, "{name}");
        }
        assert!(reply.headers.contains_key("permissions-policy") && reply.headers.contains_key("cache-control"));
        assert!(reply.headers.contains_key("x-request-id"));
    }
}

#[tokio::test]
async fn too_many_attempts_are_answered_429_and_told_when_to_come_again() {
    let few = |per_address, per_account| Rates {
        per_address: NonZeroU32::new(per_address).expect("not zero"),
        per_account: NonZeroU32::new(per_account).expect("not zero"),
    };
    let house = House::with(|parts| parts.rates = few(5, 1_000));
    let mut browser = house.browser();
    for _ in 0..5 {
        assert_eq!(browser.get("/console/sign-in").await.status, 200);
    }
    let reply = browser.get("/console/sign-in").await;
    assert_eq!(reply.status, 429);
    let wait = reply.headers["retry-after"].to_str().expect("text").to_owned();
    assert!(wait.parse::<u64>().expect("seconds") >= 1);
    assert_eq!(reply.body["title"], "Too many attempts");
    assert_eq!(reply.body["type"], "urn:oust:problem:too-many-attempts");
    let detail = reply.body["detail"].as_str().expect("a detail");
    assert!(detail.contains(&format!("wait {wait} s")), "{detail}");

    let house = House::with(|parts| parts.rates = few(100_000, 4));
    let (_, mut key) = house.signed_in("ada", Role::Viewer).await;
    let mut last = 0;
    for _ in 0..5 {
        last = house.browser().sign_in(&mut key, &Says { spoil_signature: true, ..Says::get() }).await.status.as_u16();
    }
    assert_eq!(last, 429, "an account is limited from wherever the attempts come");
    let (_, mut other) = house.signed_in("bob", Role::Viewer).await;
    assert_eq!(house.browser().sign_in(&mut other, &Says::get()).await.status, 200, "others are not");
}

#[tokio::test]
async fn pages_of_an_ended_session_do_not_use_up_what_signing_in_needs() {
    let few = NonZeroU32::new(6).expect("not zero");
    let house = House::with(|parts| parts.rates = Rates { per_address: few, ..parts.rates });
    let (mut browser, mut key) = house.signed_in("ada", Role::Viewer).await;
    let ended = browser.jar.clone();
    assert_eq!(browser.post("/console/sign-out", json!({})).await.status, 303);
    let mut answers = Vec::new();
    for cookies in [ended, browser.jar.clone()].iter().cycle().take(20) {
        browser.jar.clone_from(cookies);
        answers.push(browser.get("/console/session").await.status.as_u16());
    }
    assert!(answers.contains(&303) && answers.contains(&429), "they are limited by themselves: {answers:?}");
    let mut fresh = house.browser();
    assert_eq!(fresh.sign_in(&mut key, &Says::get()).await.status, 200, "signing in is not");
}

#[tokio::test]
async fn proofs_that_fail_leave_few_and_short_records() {
    let house = House::with(|parts| {
        parts.rates = Rates { per_account: NonZeroU32::new(12).expect("not zero"), ..parts.rates };
    });
    let (mut vera, mut key) = house.signed_in("vera", Role::Viewer).await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let begun = vera.post("/console/prove/begin", json!({})).await;
        if begun.status != 200 {
            statuses.push(begun.status.as_u16());
            continue;
        }
        let mut credential = key.get(&begun.body, &Says::get());
        let strange = "A".repeat(24_000);
        (credential["id"], credential["rawId"]) = (json!(strange), json!(strange));
        let finish = json!({ "ceremony": begun.body["ceremony"], "credential": credential });
        statuses.push(vera.post("/console/prove/finish", finish).await.status.as_u16());
    }
    let told: Vec<Value> = house
        .audited()
        .await
        .into_iter()
        .filter(|(verb, _)| verb == "step_up.refused")
        .map(|(_, detail)| detail)
        .collect();
    assert!(!told.is_empty() && told.len() <= 6, "{} records; answers {statuses:?}", told.len());
    assert_eq!(statuses.last(), Some(&429));
    assert!(told.iter().all(|detail| detail.to_string().len() < 200), "{told:?}");
    assert_eq!(told[0]["passkey_sha256"].as_str().map(str::len), Some(64));
}

#[tokio::test]
async fn a_planted_second_cookie_and_a_foreign_token_are_refused() {
    let house = House::open();
    let (mut browser, _) = house.signed_in("ada", Role::Viewer).await;
    let (other, _) = house.signed_in("bob", Role::Viewer).await;
    let session = browser.session().expect("a session").clone();
    let twice = browser.request(Method::GET, "/console/session").header("cookie", format!("{SESSION}={session}"));
    let reply = browser.send(twice.body(Body::empty()).expect("a request")).await;
    assert_eq!(reply.status, 401);
    let mine = browser.csrf.clone();
    for bad in [None, Some(String::new()), other.csrf.clone(), mine.as_ref().map(|mine| mine[1..].to_owned())] {
        browser.csrf = bad.clone();
        let reply = browser.post("/console/sign-out", json!({})).await;
        assert_eq!(reply.status, 403, "{bad:?}");
        let form = browser.form("/console/sign-out", &[("csrf", bad.as_deref().unwrap_or("x"))]).await;
        assert_eq!(form.status, 403, "{bad:?}");
    }
    browser.csrf = None;
    let form = browser.form("/console/sign-out", &[("csrf", "of an older page")]).await;
    let detail = form.body["detail"].as_str().expect("a detail");
    assert!(detail.contains("go back") && !detail.contains("reload"), "to reload this would send it again: {detail}");
    browser.csrf = mine;
    assert!(browser.is_signed_in().await, "still there");
}
