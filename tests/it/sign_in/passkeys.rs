//! The matrix: every way in which a ceremony can be wrong is refused, and leaves nothing behind.

use jiff::SignedDuration;
use oust::domain::task::Role;
use oust::store::Op;
use oust::store::reviewers::Change;
use serde_json::json;

use super::authenticator::{Key, Says};
use super::house::House;

fn wrong<T: Clone>(good: &T, change: impl FnOnce(&mut T)) -> T {
    let mut bad = good.clone();
    change(&mut bad);
    bad
}

#[tokio::test]
async fn an_invited_person_makes_a_passkey_is_signed_in_and_signs_in_again() {
    let house = House::open();
    let (mut browser, mut key) = house.signed_in("ada", Role::Approver).await;
    assert!(browser.is_signed_in().await);
    let me = browser.get("/console/session").await.body;
    assert_eq!(
        (&me["reviewer"], &me["with"], &me["aal2"], &me["fresh"]),
        (&json!("ada"), &json!("passkey"), &json!(true), &json!(true))
    );
    let mut another = house.browser();
    let reply = another.sign_in(&mut key, &Says::get()).await;
    assert_eq!((reply.status.as_u16(), &reply.body["location"]), (200, &json!("/console")), "{reply:?}");
    assert!(another.is_signed_in().await && browser.is_signed_in().await);
    let verbs: Vec<String> = house.audited().await.into_iter().map(|(verb, _)| verb).collect();
    assert_eq!(verbs, ["passkey.enrolled", "signed_in", "signed_in"]);
}

#[tokio::test]
async fn the_browser_is_asked_for_a_resident_key_and_for_verification() {
    let house = House::open();
    let account = house.add("ada", &[Role::Viewer], &[]).await;
    let token = house.invite(&account.id).await;
    let begun = house.browser().post(&format!("/console/enrol/{token}/begin"), json!({})).await.body;
    let selection = &begun["publicKey"]["authenticatorSelection"];
    assert_eq!((&selection["residentKey"], &selection["requireResidentKey"]), (&json!("required"), &json!(true)));
    assert_eq!(selection["userVerification"], "required");
    let begun = house.browser().begin().await;
    assert_eq!(begun["publicKey"]["userVerification"], "required");
    assert_eq!((&begun["publicKey"]["allowCredentials"], &begun["mediation"]), (&json!([]), &json!(null)));
    assert_eq!(begun["publicKey"]["rpId"], "oust.contoso.example");
}

#[tokio::test]
async fn every_wrong_registration_is_refused_and_leaves_no_passkey() {
    let house = House::open();
    let account = house.add("ada", &[Role::Viewer], &[]).await;
    let good = Says::create();
    let cases: Vec<(&str, Says)> = vec![
        ("origin", wrong(&good, |says| says.origin = "https://evil.example".into())),
        ("origin of a subdomain", wrong(&good, |says| says.origin = "https://x.oust.contoso.example".into())),
        ("origin on another port", wrong(&good, |says| says.origin = "https://oust.contoso.example:8443".into())),
        ("type", wrong(&good, |says| says.kind = "webauthn.get")),
        ("rp id", wrong(&good, |says| says.rp_id = "contoso.example".into())),
        ("challenge", wrong(&good, |says| says.challenge = Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into()))),
        ("nobody present", wrong(&good, |says| says.present = false)),
        ("not verified", wrong(&good, |says| says.verified = false)),
        ("backed up, not eligible", wrong(&good, |says| says.backed_up = true)),
        ("cross origin", wrong(&good, |says| says.cross_origin = Some(true))),
        ("top origin", wrong(&good, |says| says.top_origin = Some("https://evil.example"))),
        ("not resident", wrong(&good, |says| says.resident = Some(false))),
    ];
    for (name, says) in cases {
        let token = house.invite(&account.id).await;
        let mut browser = house.browser();
        let reply = browser.enrol(&token, &mut Key::new(), &says).await;
        assert_eq!(reply.status, 401, "{name}: {reply:?}");
        assert!(browser.session().is_none(), "{name}");
        assert_eq!(house.live_passkeys("ada").await, 0, "{name}");
        // The link is not used up by a slip, and the right answer still fits.
        assert_eq!(browser.enrol(&token, &mut Key::new(), &good).await.status, 200, "{name}");
        let made = house.store.credentials_of(&account.id).await.expect("a read");
        let reason = "the next case starts anew".to_owned();
        for one in made.into_iter().filter(|one| one.disabled_at.is_none()) {
            let at = house.clock.now();
            let gone =
                Change::DisableCredential { id: one.id, reviewer: account.id.clone(), at, reason: reason.clone() };
            house.commit(vec![Op::from(gone)]).await;
        }
    }
    assert!(house.has_audited("passkey.refused").await);
}

#[tokio::test]
async fn every_wrong_assertion_is_refused_and_signs_nobody_in() {
    let house = House::open();
    let (_, mut key) = house.signed_in("ada", Role::Approver).await;
    let good = Says::get();
    let cases: Vec<(&str, Says)> = vec![
        ("origin", wrong(&good, |says| says.origin = "https://evil.example".into())),
        ("origin without TLS", wrong(&good, |says| says.origin = "http://oust.contoso.example".into())),
        ("type", wrong(&good, |says| says.kind = "webauthn.create")),
        ("rp id", wrong(&good, |says| says.rp_id = "contoso.example".into())),
        ("challenge", wrong(&good, |says| says.challenge = Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into()))),
        ("nobody present", wrong(&good, |says| says.present = false)),
        ("not verified", wrong(&good, |says| says.verified = false)),
        ("backed up, not eligible", wrong(&good, |says| says.backed_up = true)),
        ("eligible all at once", wrong(&good, |says| says.backup_eligible = true)),
        (
            "eligible and backed up all at once",
            wrong(&good, |says| (says.backup_eligible, says.backed_up) = (true, true)),
        ),
        ("cross origin", wrong(&good, |says| says.cross_origin = Some(true))),
        ("top origin", wrong(&good, |says| says.top_origin = Some("https://evil.example"))),
        ("signature", wrong(&good, |says| says.spoil_signature = true)),
        ("handle of another", wrong(&good, |says| says.handle = Some(vec![7; 16]))),
        ("no handle", wrong(&good, |says| says.without_handle = true)),
    ];
    for (name, says) in cases {
        let mut browser = house.browser();
        let reply = browser.sign_in(&mut key, &says).await;
        assert_eq!(reply.status, 401, "{name}: {reply:?}");
        assert!(browser.session().is_none(), "{name}");
    }
    // An honest one still fits: nothing was disabled on the way.
    assert_eq!(house.browser().sign_in(&mut key, &good).await.status, 200);
    assert!(house.has_audited("sign_in.refused").await);
}

#[tokio::test]
async fn a_passkey_nobody_knows_signs_nobody_in() {
    let house = House::open();
    let (_, key) = house.signed_in("ada", Role::Approver).await;
    let mut stranger = Key::new();
    stranger.handle.clone_from(&key.handle);
    let mut browser = house.browser();
    let reply = browser.sign_in(&mut stranger, &Says::get()).await;
    assert_eq!(reply.status, 401);
    // The right credential's id over another key's signature.
    stranger.id.clone_from(&key.id);
    stranger.counter = 100;
    assert_eq!(browser.sign_in(&mut stranger, &Says::get()).await.status, 401);
    assert!(browser.session().is_none());
    let counted = house.sign_in.take_refusals();
    assert_eq!(counted.get(&("console".to_owned(), "unknown_passkey")), Some(&1), "{counted:?}");
}

#[tokio::test]
async fn rubbish_is_answered_and_hurts_nobody() {
    let house = House::open();
    house.signed_in("ada", Role::Approver).await;
    let mut browser = house.browser();
    let begun = browser.begin().await;
    for rubbish in [
        json!(null),
        json!({}),
        json!({ "id": 7 }),
        json!("x"),
        json!({ "id": "x", "rawId": "%%%", "type": "public-key", "response": {} }),
    ] {
        let reply = browser.finish(&begun, rubbish.clone()).await;
        assert_eq!(reply.status, 400, "{rubbish}: {reply:?}");
    }
    for challenge in ["", "short", &"a".repeat(43)] {
        let reply =
            browser.post("/console/sign-in/passkey/finish", json!({ "ceremony": challenge, "credential": {} })).await;
        assert!(matches!(reply.status.as_u16(), 400 | 409), "{challenge}: {reply:?}");
    }
    let huge = browser.post("/console/sign-in/passkey/finish", json!({ "ceremony": "a".repeat(80_000) })).await;
    assert_eq!(huge.status, 413);
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let request = browser.request(axum::http::Method::POST, "/console/sign-in/passkey/finish");
    let request = request.header("origin", super::authenticator::ORIGIN).header("content-type", "application/json");
    let reply = browser.send(request.body(deep.into()).expect("a request")).await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn a_counter_that_goes_back_or_stands_still_disables_the_passkey_and_ends_every_session() {
    for stale in [3, 2] {
        let house = House::open();
        let (mut elsewhere, mut key) = house.signed_in("ada", Role::Approver).await;
        for _ in 0..3 {
            assert_eq!(house.browser().sign_in(&mut key, &Says::get()).await.status, 200);
        }
        let reply = house.browser().sign_in(&mut key, &Says { counter: Some(stale), ..Says::get() }).await;
        assert_eq!(reply.status, 401, "{reply:?}");
        assert_eq!(house.live_passkeys("ada").await, 0);
        assert!(!elsewhere.is_signed_in().await, "whoever holds the copy is out");
        assert!(house.has_audited("passkey.cloned").await);
        assert_eq!(house.browser().sign_in(&mut key, &Says::get()).await.status, 401, "and stays out");
    }
}

#[tokio::test]
async fn an_authenticator_that_does_not_count_may_say_zero_for_ever() {
    let house = House::open();
    let (_, mut key) = house.signed_in("ada", Role::Approver).await;
    key.counts = false;
    for _ in 0..3 {
        assert_eq!(house.browser().sign_in(&mut key, &Says::get()).await.status, 200);
    }
}

#[tokio::test]
async fn a_synchronised_passkey_is_welcome_and_stays_what_it_was() {
    let house = House::open();
    let account = house.add("ada", &[Role::Viewer], &[]).await;
    let token = house.invite(&account.id).await;
    let mut key = Key::new();
    let synced = Says { backup_eligible: true, backed_up: true, ..Says::create() };
    assert_eq!(house.browser().enrol(&token, &mut key, &synced).await.status, 200);
    let same = Says { backup_eligible: true, backed_up: true, ..Says::get() };
    assert_eq!(house.browser().sign_in(&mut key, &same).await.status, 200);
    assert_eq!(house.browser().sign_in(&mut key, &Says::get()).await.status, 401, "it was eligible, now it is not");
}

#[tokio::test]
async fn a_challenge_is_good_once_for_one_browser_for_five_minutes_and_for_what_it_was_made() {
    let house = House::open();
    let (mut signed_in, mut key) = house.signed_in("ada", Role::Approver).await;

    let mut browser = house.browser();
    let begun = browser.begin().await;
    let answer = key.get(&begun, &Says::get());
    assert_eq!(browser.finish(&begun, answer.clone()).await.status, 200);
    let replayed = browser.finish(&begun, answer).await;
    assert_eq!((replayed.status.as_u16(), &replayed.body["type"]), (409, &json!("urn:oust:problem:spent")));

    let mut browser = house.browser();
    let begun = browser.begin().await;
    let answer = key.get(&begun, &Says::get());
    let mut thief = house.browser();
    thief.begin().await;
    assert_eq!(thief.finish(&begun, answer.clone()).await.status, 409, "another browser");
    assert_eq!(house.browser().finish(&begun, answer).await.status, 409, "a browser without a cookie");

    let begun = browser.begin().await;
    let answer = key.get(&begun, &Says::get());
    house.clock.push(SignedDuration::from_mins(5));
    assert_eq!(browser.finish(&begun, answer).await.status, 409, "at the very instant of its end");

    let begun = signed_in.post("/console/prove/begin", json!({})).await.body;
    let answer = key.get(&begun, &Says::get());
    assert_eq!(signed_in.finish(&begun, answer).await.status, 409, "a proof is not a sign-in");

    // A wrong answer uses it up: nobody tries until it fits.
    let begun = browser.begin().await;
    let bad = key.get(&begun, &Says { spoil_signature: true, ..Says::get() });
    assert_eq!(browser.finish(&begun, bad).await.status, 401);
    let answer = key.get(&begun, &Says::get());
    assert_eq!(browser.finish(&begun, answer).await.status, 409);
    assert!(browser.session().is_none());
}

#[tokio::test]
async fn an_invitation_is_good_once_and_for_fifteen_minutes() {
    let house = House::open();
    let account = house.add("ada", &[Role::Approver], &[]).await;
    let token = house.invite(&account.id).await;
    let page = house.browser().get(&format!("/console/enrol/{token}")).await;
    assert_eq!(page.status, 200);
    assert!(
        page.text.contains("&#60;ada&#62;") && page.text.contains("approver") && !page.text.contains("<ada>"),
        "{}",
        page.text
    );
    assert_eq!(house.browser().get(&format!("/console/enrol/{token}")).await.status, 200, "looking uses nothing up");
    assert_eq!(house.browser().enrol(&token, &mut Key::new(), &Says::create()).await.status, 200);
    let again = house.browser().enrol(&token, &mut Key::new(), &Says::create()).await;
    assert_eq!(again.status, 404, "{again:?}");
    assert_eq!(house.browser().get(&format!("/console/enrol/{token}")).await.status, 404);

    let late = house.invite(&account.id).await;
    house.clock.push(SignedDuration::from_mins(15));
    assert_eq!(house.browser().enrol(&late, &mut Key::new(), &Says::create()).await.status, 404);
    for nothing in ["x", &"a".repeat(43), "..%2f..", "%00"] {
        assert_eq!(house.browser().get(&format!("/console/enrol/{nothing}")).await.status, 404, "{nothing}");
    }
    assert_eq!(house.live_passkeys("ada").await, 1);
}

#[tokio::test]
async fn two_browsers_that_use_one_invitation_make_one_passkey() {
    let house = House::open();
    let account = house.add("ada", &[Role::Approver], &[]).await;
    let token = house.invite(&account.id).await;
    let (mut one, mut two) = (house.browser(), house.browser());
    let (mut key_one, mut key_two) = (Key::new(), Key::new());
    let path = format!("/console/enrol/{token}");
    let begun_one = one.post(&format!("{path}/begin"), json!({})).await.body;
    let begun_two = two.post(&format!("{path}/begin"), json!({})).await.body;
    let credential_one = key_one.create(&begun_one, &Says::create());
    let credential_two = key_two.create(&begun_two, &Says::create());
    let finish = format!("{path}/finish");
    let (first, second) = tokio::join!(
        one.post(&finish, json!({ "ceremony": begun_one["ceremony"], "credential": credential_one })),
        two.post(&finish, json!({ "ceremony": begun_two["ceremony"], "credential": credential_two })),
    );
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert!(statuses == [200, 404] || statuses == [200, 409], "{statuses:?}");
    assert_eq!(house.live_passkeys("ada").await, 1);
}

#[tokio::test]
async fn a_disabled_reviewer_is_out_at_once_and_their_link_and_passkey_are_of_no_use() {
    let house = House::open();
    let (mut browser, mut key) = house.signed_in("ada", Role::Approver).await;
    let reviewer = "ada".parse().expect("a name");
    let token = house.invite(&reviewer).await;
    let begun = house.browser();
    drop(begun);
    let mut waiting = house.browser();
    let open = waiting.begin().await;
    house.commit(vec![Change::Disable { reviewer, at: house.clock.now() }.into()]).await;
    assert!(!browser.is_signed_in().await);
    assert_eq!(house.browser().get(&format!("/console/enrol/{token}")).await.status, 404);
    let answer = key.get(&open, &Says::get());
    assert_eq!(waiting.finish(&open, answer).await.status, 401);
    assert_eq!(house.browser().sign_in(&mut key, &Says::get()).await.status, 401);
}
