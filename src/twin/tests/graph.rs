//! Reading and changing the directory as a responder does.

use super::{
    super::{Config, NewAlert, NewIncident, Origin, Plant, Special, cloud_sid},
    body, config, plain, tenant,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Response};
use serde_json::{Value, json};

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn ids(rows: &Value) -> Vec<String> {
    rows["value"].as_array().into_iter().flatten().filter_map(|it| it["id"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_user_is_read_by_id_and_by_upn_with_selected_fields_only() {
    let t = plain().await;
    let guest = t.twin.special(Special::Guest);
    let upn = encoded(Special::Guest.upn());
    let by_upn = body(t.get(&format!("/v1.0/users/{upn}?$select=id,userType,accountEnabled")).await).await;
    assert_eq!(by_upn["id"], json!(guest));
    assert_eq!(by_upn["userType"], "Guest");
    assert_eq!(by_upn.get("displayName"), None);
    let plain = body(t.get(&format!("/v1.0/users/{guest}")).await).await;
    assert_eq!(plain.get("accountEnabled"), None, "not among the default fields");
    assert_eq!(plain["displayName"], "Gus Guest");
}

#[tokio::test]
async fn lookups_find_one_several_or_nobody() {
    let t = plain().await;
    let find = async |filter: &str| body(t.get(&format!("/v1.0/users?$filter={}", encoded(filter))).await).await;
    assert_eq!(ids(&find("userPrincipalName eq 'ADA@contoso.example'").await), [t.ada().to_string()]);
    assert_eq!(ids(&find("mail eq 'alex@contoso.example'").await).len(), 2);
    assert_eq!(ids(&find("onPremisesSamAccountName eq 'alex'").await).len(), 2);
    let one = find("onPremisesSamAccountName eq 'alex' and onPremisesDomainName eq 'corp.fabrikam.example'").await;
    assert_eq!(ids(&one), [t.twin.special(Special::AlexTwo).to_string()]);
    assert_eq!(ids(&find("userPrincipalName eq 'o''neil@contoso.example'").await), Vec::<String>::new());
    assert_eq!(ids(&find(&format!("securityIdentifier eq '{}'", cloud_sid(t.ada()))).await), [t.ada().to_string()]);
    let both = format!("id in ('{}','{}')", t.ada(), t.twin.person(1));
    assert_eq!(ids(&find(&both).await).len(), 2);
    let synced = body(
        t.get(&format!(
            "/v1.0/users/{}?$select=onPremisesSecurityIdentifier,onPremisesSyncEnabled",
            t.twin.special(Special::Synced)
        ))
        .await,
    )
    .await;
    assert_eq!(synced["onPremisesSyncEnabled"], true);
    let sid = synced["onPremisesSecurityIdentifier"].as_str().expect("a SID");
    assert!(sid.starts_with("S-1-5-21-"));
    let by_sid = find(&format!("onPremisesSecurityIdentifier eq '{sid}'")).await;
    assert_eq!(ids(&by_sid), [t.twin.special(Special::Synced).to_string()]);
}

#[tokio::test]
async fn users_page_with_next_links_that_lose_nobody() {
    let t = plain().await;
    let mut path = "/v1.0/users?$top=4&$select=id&$count=true".to_owned();
    let mut seen = Vec::new();
    loop {
        let rows = body(t.get(&path).await).await;
        seen.extend(ids(&rows));
        match rows["@odata.nextLink"].as_str() {
            Some(next) => path = next.replace(&t.base, ""),
            None => break,
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), t.twin.people() - 1, "everybody but the deleted one");
}

#[tokio::test]
async fn two_tenants_with_one_seed_have_the_same_people() {
    let (one, other) = (plain().await, plain().await);
    assert_eq!(one.twin.person(3), other.twin.person(3));
    assert_eq!(one.twin.initial_password(one.ada()), other.twin.initial_password(other.ada()));
    let third = tenant(Config { seed: 2, ..config() }).await;
    assert_ne!(one.twin.person(3), third.twin.person(3));
}

#[tokio::test]
async fn roles_groups_and_domains_tell_who_is_special() {
    let t = plain().await;
    let roles = |id| {
        format!(
            "/v1.0/users/{id}/transitiveMemberOf/microsoft.graph.directoryRole?$select=id,displayName,roleTemplateId"
        )
    };
    let admin = body(t.get(&roles(t.twin.special(Special::Admin))).await).await;
    assert_eq!(admin["value"][0]["roleTemplateId"], "62e90394-69f5-4237-9190-012177145e10");
    assert_eq!(body(t.get(&roles(t.ada())).await).await["value"], json!([]));
    let outer = t.twin.add_group("outer", &[t.twin.break_glass_group(), t.ada()]);
    let members = body(t.get(&format!("/v1.0/groups/{outer}/transitiveMembers?$select=id")).await).await;
    let mut found = ids(&members);
    found.sort();
    let mut wanted = vec![t.ada().to_string(), t.twin.special(Special::BreakGlass).to_string()];
    wanted.sort();
    assert_eq!(found, wanted);
    assert_eq!(ids(&body(t.get(&format!("/v1.0/groups/{outer}/members")).await).await), [t.ada().to_string()]);
    let domain = body(t.get("/v1.0/domains/federated.example").await).await;
    assert_eq!(domain["authenticationType"], "Federated");
    let filter = encoded(&format!("principalId eq '{}'", t.twin.special(Special::Eligible)));
    let eligible =
        body(t.get(&format!("/v1.0/roleManagement/directory/roleEligibilityScheduleInstances?$filter={filter}")).await)
            .await;
    assert_eq!(eligible["value"][0]["roleDefinition"]["displayName"], "Global Administrator");
}

#[tokio::test]
async fn inbox_rules_are_read_disabled_and_deleted_and_read_only_ones_stay() {
    let t = plain().await;
    let rule = json!({"displayName": ".", "actions": {"forwardTo": [{"emailAddress": {"address": "x@evil.example"}}]}});
    let id = t.twin.plant(t.ada(), Plant::Rule { rule }).expect("planted");
    let fixed = t.twin.plant(t.ada(), Plant::Rule { rule: json!({"isReadOnly": true}) }).expect("planted");
    let path = format!("/v1.0/users/{}/mailFolders/inbox/messageRules", t.ada());
    assert_eq!(ids(&body(t.get(&path).await).await).len(), 3);
    let off = t.send(Method::PATCH, &format!("{path}/{id}"), &json!({"isEnabled": false})).await;
    assert_eq!(off.status(), 200);
    assert_eq!(body(off).await["isEnabled"], false);
    assert_eq!(t.send(Method::PATCH, &format!("{path}/{fixed}"), &json!({"isEnabled": false})).await.status(), 403);
    assert_eq!(t.send(Method::DELETE, &format!("{path}/{id}"), &json!({})).await.status(), 204);
    assert_eq!(t.send(Method::DELETE, &format!("{path}/{id}"), &json!({})).await.status(), 404);
}

#[tokio::test]
async fn methods_go_by_their_own_path_and_an_access_pass_is_shown_once() {
    let t = plain().await;
    let fields = json!({"phoneNumber": "+44 5550199"});
    let id = t.twin.plant(t.ada(), Plant::Method { kind: "phoneMethods".to_owned(), fields }).expect("planted");
    let base = format!("/v1.0/users/{}/authentication", t.ada());
    let delete = async |path: String| -> Response { t.send(Method::DELETE, &path, &json!({})).await };
    assert_eq!(delete(format!("{base}/fido2Methods/{id}")).await.status(), 404, "of another kind");
    assert_eq!(delete(format!("{base}/passwordMethods/{id}")).await.status(), 400);
    assert_eq!(delete(format!("{base}/phoneMethods/{id}")).await.status(), 204);
    let pass =
        t.send(Method::POST, &format!("{base}/temporaryAccessPassMethods"), &json!({"lifetimeInMinutes": 60})).await;
    assert_eq!(pass.status(), 201);
    assert!(body(pass).await["temporaryAccessPass"].as_str().is_some_and(|it| it.len() >= 8));
    let listed = body(t.get(&format!("{base}/methods")).await).await;
    let kept = listed["value"].as_array().and_then(|all| all.last().cloned()).expect("the pass is listed");
    assert_eq!(kept["temporaryAccessPass"], json!(null));
    let short =
        t.send(Method::POST, &format!("{base}/temporaryAccessPassMethods"), &json!({"lifetimeInMinutes": 1})).await;
    assert_eq!(short.status(), 400);
}

#[tokio::test]
async fn consents_and_devices_are_listed_and_taken_away() {
    let t = plain().await;
    let grant =
        Plant::Grant { client_id: "11111111-0000-4000-8000-000000000009".to_owned(), scope: "Mail.Read".to_owned() };
    let grant = t.twin.plant(t.ada(), grant).expect("planted");
    let device = t.twin.plant(t.ada(), Plant::Device { name: "DESKTOP-X".to_owned() }).expect("planted");
    let grants = format!("/v1.0/users/{}/oauth2PermissionGrants", t.ada());
    assert_eq!(ids(&body(t.get(&grants).await).await), std::slice::from_ref(&grant));
    assert_eq!(
        t.send(Method::DELETE, &format!("/v1.0/oauth2PermissionGrants/{grant}"), &json!({})).await.status(),
        204
    );
    assert_eq!(body(t.get(&grants).await).await["value"], json!([]));
    let off = t.send(Method::PATCH, &format!("/v1.0/devices/{device}"), &json!({"accountEnabled": false})).await;
    assert_eq!(off.status(), 204);
    let devices = body(t.get(&format!("/v1.0/users/{}/registeredDevices", t.ada())).await).await;
    assert_eq!(devices["value"][0]["accountEnabled"], false);
}

#[tokio::test]
async fn an_incidents_entities_and_evidence_come_late() {
    let t = plain().await;
    let new = NewIncident { users: vec![t.ada()], entities_after_ms: 60_000, ..NewIncident::default() };
    let raised = t.twin.add_incident(&new);
    assert_eq!(raised.trigger["object"]["properties"]["relatedEntities"], json!([]));
    let arm = format!(
        "/subscriptions/s/resourceGroups/soc/providers/Microsoft.OperationalInsights/workspaces/w/providers/Microsoft.SecurityInsights/incidents/{}/entities",
        raised.name
    );
    let entities = async || body(t.arm(Method::POST, &format!("{arm}?api-version=2024-03-01"), &json!({})).await).await;
    let graph = format!("/v1.0/security/incidents/{}?$expand=alerts", raised.incident_id);
    assert_eq!(entities().await["entities"], json!([]));
    assert_eq!(body(t.get(&graph).await).await["alerts"][0]["evidence"], json!([]));
    let skewed = super::super::Knobs { skew_ms: 61_000, ..t.twin.knobs() };
    t.twin.set_knobs(skewed);
    let seen = entities().await;
    assert_eq!(seen["entities"][0]["properties"]["aadUserId"], json!(t.ada()));
    assert_eq!(seen["metaData"][0], json!({"entityKind": "Account", "count": 1}));
    let alert = body(t.get(&graph).await).await["alerts"][0].clone();
    assert_eq!(alert["evidence"][0]["userAccount"]["azureAdUserId"], json!(t.ada()));
    assert_eq!(t.arm(Method::POST, &arm, &json!({})).await.status(), 400, "without api-version");
    assert_eq!(t.send(Method::POST, &arm, &json!({})).await.status(), 401, "a token for Graph is none for ARM");
}

#[tokio::test]
async fn alerts_are_listed_by_time_and_source_and_exist_in_the_legacy_collection_until_it_retires() {
    let t = plain().await;
    let id = t.twin.add_alert(&NewAlert { users: vec![t.ada()], origin: Origin::thief(), ..NewAlert::default() });
    let filter = encoded("lastUpdateDateTime ge 2020-01-01T00:00:00Z and serviceSource eq 'azureAdIdentityProtection'");
    assert_eq!(
        ids(&body(t.get(&format!("/v1.0/security/alerts_v2?$filter={filter}")).await).await),
        std::slice::from_ref(&id)
    );
    let legacy = body(t.get(&format!("/v1.0/security/alerts/{id}")).await).await;
    assert_eq!(legacy["userStates"][0]["aadUserId"], json!(t.ada()));
    let resolved = json!({"status": "resolved", "classification": "truePositive"});
    assert_eq!(t.send(Method::PATCH, &format!("/v1.0/security/alerts_v2/{id}"), &resolved).await.status(), 200);
    assert_eq!(body(t.get(&format!("/v1.0/security/alerts_v2/{id}")).await).await["status"], "resolved");
    t.twin.set_knobs(super::super::Knobs { legacy_alerts_retired: true, ..t.twin.knobs() });
    assert_eq!(body(t.get("/v1.0/security/alerts").await).await["value"], json!([]));
}

#[tokio::test]
async fn comments_reach_an_incident_on_both_sides() {
    let t = plain().await;
    let raised = t.twin.add_incident(&NewIncident { users: vec![t.ada()], ..NewIncident::default() });
    let comment = json!({"comment": "sessions revoked"});
    let path = format!("/v1.0/security/incidents/{}/comments", raised.incident_id);
    assert_eq!(t.send(Method::POST, &path, &comment).await.status(), 200);
    let arm = format!(
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w/providers/Microsoft.SecurityInsights/incidents/{}/comments/c1?api-version=2024-03-01",
        raised.name
    );
    let message = json!({"properties": {"message": "sessions revoked"}});
    assert_eq!(t.arm(Method::PUT, &arm, &message).await.status(), 201);
    assert_eq!(t.arm(Method::PUT, &arm, &message).await.status(), 200, "the same comment again");
}
