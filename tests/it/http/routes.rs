//! Every route of this surface that changes something, as the router lists them: with a body that would be taken, by
//! nobody, by API token, with what opens another door. Nothing is kept but who was refused what, where a token says who.
//! Then by whom it is meant for.

use std::collections::BTreeSet;

use super::*;
use crate::support::router;

/// What is sent along.
type Headers = Vec<(&'static str, String)>;

struct Deed {
    route: (&'static str, &'static str),
    path: &'static str,
    body: Vec<u8>,
    /// Who must not: what they send, and how they are answered.
    refused: Vec<(&'static str, Headers, u16)>,
    /// Who may.
    may: Headers,
    status: u16,
    /// A body of somebody else, where the body says who sent it: answered as if it were right.
    forged: Option<Vec<u8>>,
}

fn bearer(secret: &str) -> Headers {
    vec![("authorization", format!("Bearer {secret}"))]
}

/// What nobody is let in by.
fn strangers(token: &str) -> Vec<(&'static str, Headers, u16)> {
    let session = vec![("cookie", "__Host-oust=0123456789012345678901234567890123456789012".to_owned())];
    let mut right = signed("msg_2", Timestamp::now(), b"another body");
    right.extend(bearer(BEARER));
    let stale = signed("msg_3", Timestamp::now() - SignedDuration::from_mins(6), &detection("a"));
    vec![
        ("nobody", Vec::new(), 401),
        ("a session of the console", session, 401),
        ("an API token with every scope", bearer(token), 401),
        ("another source's secret and another body's signature", right, 401),
        ("an old signature", stale, 401),
    ]
}

fn notification(client_state: &str, what: &str) -> Vec<u8> {
    json!({ "value": [{
        "subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07", "clientState": client_state, what: "missed",
        "resource": "security/alerts_v2/da637551227677560813", "tenantId": "11111111-2222-3333-4444-555555555555",
    }] })
    .to_string()
    .into_bytes()
}

fn deeds(every: &str, reader: &str) -> Vec<Deed> {
    let body = detection("a");
    let may = signed("msg_1", Timestamp::now(), &body);
    let pause = |method, refused, may, status| Deed {
        route: (method, "/api/v1/pause"),
        path: "/api/v1/pause",
        body: b"{}".to_vec(),
        refused,
        may,
        status,
        forged: None,
    };
    let mut no_pause = strangers("oust_unknown");
    no_pause.push(("a token that only reads", bearer(reader), 403));
    let mut no_resume = no_pause.clone();
    no_resume.push(("a token with every scope: a human starts effects again", bearer(every), 403));
    vec![
        Deed {
            route: ("POST", "/webhooks/{source}"),
            path: "/webhooks/signed",
            body,
            refused: strangers(every),
            may,
            status: 200,
            forged: None,
        },
        Deed {
            route: ("POST", "/webhooks/{source}/lifecycle"),
            path: "/webhooks/graph/lifecycle",
            body: notification("client-state-of-a-test", "lifecycleEvent"),
            refused: Vec::new(),
            may: Vec::new(),
            status: 202,
            forged: Some(notification("guessed", "lifecycleEvent")),
        },
        pause("POST", no_pause, bearer(every), 200),
        // Nobody may: what is left is that it is refused.
        pause("DELETE", no_resume, bearer(every), 403),
    ]
}

impl House {
    /// The store without the trail.
    async fn kept(&self) -> String {
        let picture = self.store.picture().await.expect("a picture");
        let mut table = "";
        let mut lines = Vec::new();
        for line in picture.lines() {
            if !line.starts_with(' ') {
                table = line.split(':').next().unwrap_or_default();
            }
            lines.extend((table != "audit").then_some(line));
        }
        lines.join("\n")
    }

    /// The trail, oldest first.
    async fn trail(&self) -> Vec<Audit> {
        let listed = self.store.audit(&Page { after: None, limit: 100 }).await.expect("a read");
        listed.items.into_iter().rev().map(|(_, line)| line).collect()
    }

    async fn send(&self, deed: &Deed, headers: &Headers, body: &[u8]) -> Answer {
        let mut text =
            format!("{} {} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n", deed.route.0, deed.path);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        self.ask(&[text.as_bytes(), body].concat()).await
    }
}

#[tokio::test]
async fn every_route_of_machines_that_changes_something_wants_its_own_proof() {
    let house = House::open().await;
    let (every, reader) = (house.token(&["read", "pause"]).await, house.token(&["read"]).await);
    let deeds = deeds(&every, &reader);
    let tried: BTreeSet<(String, String)> =
        deeds.iter().map(|deed| (deed.route.0.to_owned(), deed.route.1.to_owned())).collect();
    assert_eq!(router::changing(&http::router(house.state.clone())), tried, "every route has its line in the table");
    for deed in &deeds {
        let name = format!("{} {}", deed.route.0, deed.path);
        let (before, mut trail) = (house.kept().await, house.trail().await);
        for (who, headers, status) in &deed.refused {
            let answer = house.send(deed, headers, &deed.body).await;
            assert_eq!(answer.status, *status, "{name} by {who}: {answer:?}");
            let told = house.trail().await;
            match status {
                403 => {
                    let [line] = &told[trail.len()..] else { panic!("{name} by {who}: {told:?}") };
                    let deed = format!("{} {}", deed.route.0, deed.route.1);
                    assert_eq!((line.actor.as_str(), line.verb.as_str()), ("token:test", "request.refused"));
                    assert_eq!((&line.detail["deed"], &line.detail["status"]), (&json!(deed), &json!(403)), "{line:?}");
                    assert!(line.detail["why"].as_str().is_some_and(|why| why.len() > 20), "{line:?}");
                }
                _ => assert_eq!(told.len(), trail.len(), "{name} by {who}: {told:?}"),
            }
            trail = told;
        }
        if let Some(forged) = &deed.forged {
            let answer = house.send(deed, &deed.may, forged).await;
            assert_eq!(answer.status, deed.status, "{name}: a forger learns nothing: {answer:?}");
        }
        assert_eq!(house.kept().await, before, "{name} by somebody who must not");
        let answer = house.send(deed, &deed.may, &deed.body).await;
        assert_eq!(answer.status, deed.status, "{name}: {answer:?}");
        let moved = house.kept().await != before;
        assert_eq!(moved, deed.status != 403, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_again_and_again_leaves_few_records_and_the_rest_is_counted() {
    let house = House::open().await;
    let reader = house.token(&["read"]).await;
    let asks = 40;
    for _ in 0..asks {
        let text = format!("DELETE /api/v1/pause HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {reader}\r\n\r\n");
        assert_eq!(house.ask(text.as_bytes()).await.status, 403);
    }
    let told = house.trail().await.len() as u64;
    let counted = house.state.take_refusals()[&("api".to_owned(), "not_recorded")];
    assert!((30..asks).contains(&told), "{told} records");
    assert_eq!(told + counted, asks, "nothing is lost between the two");
    assert_eq!(house.get("/api/v1/cases/none", &reader).await.status, 404, "what is not there was not refused");
    assert_eq!(house.trail().await.len() as u64, told);
}

#[tokio::test]
async fn what_a_token_was_refused_to_read_is_named() {
    let house = House::open().await;
    let other = house.token(&["pause"]).await;
    assert_eq!(house.get("/api/v1/cases/case_1", &other).await.status, 403);
    let told = house.trail().await;
    let line = told.last().expect("a record");
    let wanted = (json!("GET /api/v1/cases/{id}"), json!("case_1"));
    assert_eq!((&line.detail["deed"], &line.detail["about"]), (&wanted.0, &wanted.1), "{line:?}");
}
