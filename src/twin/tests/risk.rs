//! Identity protection and its limits.

use super::{
    super::{Knobs, NewDetection, Origin, Special},
    STRONG, body, plain, tenant,
};
use reqwest::Method;
use serde_json::json;

const COMPROMISED: &str = "/v1.0/identityProtection/riskyUsers/confirmCompromised";

fn detection(user: uuid::Uuid, at: &str) -> NewDetection {
    NewDetection {
        user,
        kind: Some("unlikelyTravel".to_owned()),
        origin: Origin::thief(),
        detected_at: Some(at.parse().expect("a time")),
        ..NewDetection::default()
    }
}

#[tokio::test]
async fn detections_are_filtered_by_time_and_person_and_paged() {
    let t = plain().await;
    for (at, user) in [
        ("2026-11-20T08:00:00Z", t.ada()),
        ("2026-11-20T09:00:00.4Z", t.ada()),
        ("2026-11-20T10:00:00Z", t.twin.person(1)),
    ] {
        t.twin.add_detection(&detection(user, at)).expect("they exist");
    }
    let list = async |query: &str| body(t.get(&format!("/v1.0/identityProtection/riskDetections?{query}")).await).await;
    let late =
        list("$filter=detectedDateTime%20ge%202026-11-20T09:00:00Z&$top=1&$orderby=detectedDateTime%20asc").await;
    assert_eq!(late["value"][0]["userId"], json!(t.ada()));
    let next = late["@odata.nextLink"].as_str().expect("one more").replace(&t.base, "");
    assert_eq!(body(t.get(&next).await).await["value"][0]["userId"], json!(t.twin.person(1)));
    let hers =
        list(&format!("$filter=userId%20eq%20'{}'%20and%20detectedDateTime%20ge%202026-11-20T08:30:00Z", t.ada()))
            .await;
    assert_eq!(hers["value"].as_array().map(Vec::len), Some(1));
    let id = hers["value"][0]["id"].as_str().expect("an id");
    assert_eq!(t.get(&format!("/v1.0/identityProtection/riskDetections/{id}")).await.status(), 200);
    assert_eq!(
        t.get("/v1.0/identityProtection/riskDetections?$filter=lastUpdatedDateTime%20ge%202026-11-20T08:30:00Z")
            .await
            .status(),
        400
    );
}

#[tokio::test]
async fn confirming_raises_a_detection_of_our_own_and_a_reset_settles_the_risk() {
    let t = plain().await;
    t.twin.add_detection(&detection(t.ada(), "2026-11-20T08:00:00Z")).expect("ada exists");
    assert_eq!(t.send(Method::POST, COMPROMISED, &json!({"userIds": [t.ada()]})).await.status(), 204);
    let own = body(t.get("/v1.0/identityProtection/riskDetections").await).await["value"].clone();
    assert_eq!(own[0]["riskEventType"], "adminConfirmedUserCompromised");
    let risky = format!("/v1.0/identityProtection/riskyUsers/{}", t.ada());
    assert_eq!(body(t.get(&risky).await).await["riskState"], "confirmedCompromised");
    assert_eq!(t.reset(t.ada(), STRONG).await.status(), 204);
    let settled = body(t.get(&risky).await).await;
    assert_eq!(settled["riskDetail"], "adminGeneratedTemporaryPassword");
    assert_eq!(settled["riskState"], "remediated");
    assert_eq!(t.twin.count("confirmCompromised", t.ada()).applied, 1);
}

#[tokio::test]
async fn dismissed_and_safe_people_are_no_longer_at_risk() {
    let t = plain().await;
    for (path, state) in [("dismiss", "dismissed"), ("confirmSafe", "confirmedSafe")] {
        t.twin.add_detection(&detection(t.ada(), "2026-11-20T08:00:00Z")).expect("ada exists");
        let path = format!("/v1.0/identityProtection/riskyUsers/{path}");
        assert_eq!(t.send(Method::POST, &path, &json!({"userIds": [t.ada()]})).await.status(), 204);
        assert_eq!(t.twin.user(t.ada()).expect("ada exists").risk_state, state);
        let open = body(t.get("/v1.0/identityProtection/riskyUsers?$filter=riskState%20eq%20'atRisk'").await).await;
        assert_eq!(open["value"], json!([]));
    }
}

#[tokio::test]
async fn a_list_of_people_with_a_stranger_in_it_changes_nobody() {
    let t = plain().await;
    let gone = t.twin.special(Special::Deleted);
    assert_eq!(t.send(Method::POST, COMPROMISED, &json!({"userIds": [t.ada(), gone]})).await.status(), 404);
    assert_eq!(t.twin.user(t.ada()).expect("ada exists").risk_state, "none");
    for bad in [json!({}), json!({"userIds": []}), json!({"userIds": ["x"]}), json!({"userIds": vec![t.ada(); 61]})] {
        assert_eq!(t.send(Method::POST, COMPROMISED, &bad).await.status(), 400);
    }
}

#[tokio::test]
async fn identity_protection_takes_one_request_a_second_and_never_says_when_to_come_back() {
    let t = tenant(super::Config { knobs: Knobs::default(), ..super::config() }).await;
    let mut throttled = None;
    for _ in 0..50 {
        let answer = t.get("/v1.0/identityProtection/riskDetections").await;
        if answer.status() == 429 {
            throttled = Some(answer);
            break;
        }
    }
    let throttled = throttled.expect("fifty calls take less than fifty seconds");
    assert_eq!(throttled.headers().get("retry-after"), None);
    assert_eq!(body(throttled).await["error"]["code"], "TooManyRequests");
    assert_eq!(t.revoke(t.ada()).await.status(), 200, "other calls have other limits");
}

#[tokio::test]
async fn audit_logs_take_five_requests_in_ten_seconds_and_say_when_to_come_back() {
    let t = tenant(super::Config { knobs: Knobs::default(), ..super::config() }).await;
    let mut throttled = None;
    for _ in 0..30 {
        let answer = t.get("/v1.0/auditLogs/signIns").await;
        if answer.status() == 429 {
            throttled = Some(answer);
            break;
        }
    }
    let wait =
        throttled.expect("thirty calls take less than a minute").headers()["retry-after"].to_str().map(str::to_owned);
    assert!((1..=10).contains(&wait.expect("text").parse::<u64>().expect("seconds")));
}
