//! The guard in front of every route, whatever is behind it: nobody, too low a role and other sites are turned away before
//! a body is looked at, and looking changes nothing. What each may do to something that is there is tried by
//! `scenarios::routes`.

use axum::body::Body;
use axum::http::Method;
use oust::domain::task::Role;
use oust::http::sign_in::{Access, Route, routes};

use super::authenticator::ORIGIN;
use super::house::{Browser, House};

/// A path with something in its placeholders.
fn filled(path: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { "task_00000000000000000000000000000007" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

/// What must not change: everything but counters of use and the trail of refusals.
async fn picture(house: &House) -> String {
    let text = house.store.picture().await.expect("a picture");
    let mut kept = true;
    let keep = |line: &&str| {
        if !line.starts_with(' ') {
            kept = !line.starts_with("audit");
        }
        kept
    };
    text.lines().filter(keep).collect::<Vec<_>>().join("\n")
}

async fn attempt(browser: &mut Browser<'_>, route: &Route, headers: &[(&str, &str)]) -> u16 {
    let mut request =
        browser.request(route.method.clone(), &filled(route.path)).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    browser.send(request.body(Body::from("{}")).expect("a request")).await.status.as_u16()
}

/// Tries every changing route as nobody, as a viewer, and from another site.
pub async fn every_route(house: &House, list: &[Route]) {
    let (mut viewer, _) = house.signed_in("viewer", Role::Viewer).await;
    let (mut admin, _) = house.signed_in("admin", Role::Admin).await;
    let ours = [("origin", ORIGIN), ("sec-fetch-site", "same-origin")];
    let before = picture(house).await;
    for route in list.iter().filter(|route| !route.method.is_safe()) {
        let name = format!("{} {}", route.method, route.path);
        for forged in [
            &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")][..],
            &[("origin", "null")],
            &[("origin", "https://evil.oust.contoso.example"), ("sec-fetch-site", "same-site")],
            &[("origin", ORIGIN), ("sec-fetch-site", "cross-site")],
            &[],
        ] {
            assert_eq!(attempt(&mut admin, route, forged).await, 403, "{name} from {forged:?}");
        }
        if let Access::Role(role) = route.access {
            assert_eq!(attempt(&mut house.browser(), route, &ours).await, 401, "{name} by nobody");
            let token = admin.csrf.take();
            assert_eq!(attempt(&mut admin, route, &ours).await, 403, "{name} without the session's token");
            admin.csrf = token;
            if role > Role::Viewer {
                assert_eq!(attempt(&mut viewer, route, &ours).await, 403, "{name} by a viewer");
            }
        }
    }
    assert_eq!(picture(house).await, before, "nothing happened");
    for route in list.iter().filter(|route| route.method == Method::GET) {
        if let Access::Role(_) = route.access {
            assert_eq!(attempt(&mut house.browser(), route, &[]).await, 401, "GET {} by nobody", route.path);
        }
        attempt(&mut admin, route, &[]).await;
    }
    assert_eq!(picture(house).await, before, "looking changes nothing");
}

#[tokio::test]
async fn no_route_does_anything_for_nobody_for_a_viewer_or_for_another_site() {
    let house = House::open();
    let list = routes(&house.sign_in).list().to_vec();
    assert!(list.iter().filter(|route| !route.method.is_safe()).count() > 10, "{list:?}");
    every_route(&house, &list).await;
    let counted = house.sign_in.take_refusals();
    for reason in ["foreign_origin", "cross_site", "no_origin", "no_session", "no_token"] {
        assert!(counted.contains_key(&("console".to_owned(), reason)), "{reason} in {counted:?}");
    }
}

#[tokio::test]
async fn what_anybody_may_use_is_what_signing_in_needs_and_no_more() {
    let house = House::open();
    let public: Vec<String> = routes(&house.sign_in)
        .list()
        .iter()
        .filter(|route| route.access == Access::Public)
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert_eq!(
        public,
        [
            "GET /console/sign-in",
            "GET /console/sign-in/passkey.js",
            "POST /console/sign-in/passkey/begin",
            "POST /console/sign-in/passkey/finish",
            "POST /console/sign-in/oidc",
            "GET /console/sign-in/oidc/callback",
            "POST /console/sign-in/oidc/callback",
            "GET /console/enrol/{token}",
            "POST /console/enrol/{token}/begin",
            "POST /console/enrol/{token}/finish",
        ]
    );
}
