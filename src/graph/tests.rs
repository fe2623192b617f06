//! The client against a real server on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::domain::ledger::{Disposition, Fault};

use super::testing::{Answer, Heard, Server, ada, effect, is_token, key, read, token};
use super::{Error, GraphCall, Hooks, Limit, SendBy, Terms};

const RETRY: Disposition = Disposition::Retry { after_ms: None };

/// A server that grants tokens and answers the nth other call (from 0) by `script`.
async fn server(script: impl Fn(usize, &Heard) -> Answer + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(
        move |heard| {
            if is_token(heard) { token("t") } else { script(count.fetch_add(1, Ordering::SeqCst), heard) }
        },
    )
    .await
}

fn yes() -> Answer {
    Answer::json(200, &json!({ "value": true }))
}

fn user() -> Answer {
    Answer::json(200, &json!({ "id": ada(), "userPrincipalName": "ada@contoso.example" }))
}

#[tokio::test]
async fn a_revoke_carries_its_key_its_priority_and_a_body() {
    let server = server(|_, _| yes().with("request-id", "rq-1")).await;
    let accepted = server.graph().revoke(ada(), &effect().first()).await.expect("accepted");
    assert_eq!(accepted.request_id.as_deref(), Some("rq-1"));
    let calls = server.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].method, "POST");
    assert_eq!(calls[0].target, format!("/v1.0/users/{}/revokeSignInSessions", ada()));
    assert_eq!(calls[0].header("client-request-id"), Some(key().to_string().as_str()));
    assert_eq!(calls[0].header("x-ms-throttle-priority"), Some("high"));
    assert_eq!(calls[0].header("authorization"), Some("Bearer t"));
    assert_eq!(calls[0].header("content-length"), Some("2"));
}

#[tokio::test]
async fn a_read_is_repeated_after_a_server_failure_and_an_effect_is_not() {
    let server = server(|n, _| if n % 2 == 0 { Answer::status(503).with("retry-after", "0") } else { user() }).await;
    let graph = server.graph();
    assert_eq!(graph.user(ada(), &read()).await.expect("the second attempt").upn, "ada@contoso.example");
    assert_eq!(server.calls().len(), 2);
    let error = graph.revoke(ada(), &effect()).await.expect_err("503");
    assert_eq!(error.disposition(), Disposition::Retry { after_ms: Some(0) });
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn throttling_is_told_with_and_without_the_time_to_wait() {
    let server = server(|n, _| {
        let answer = Answer::status(429);
        if n == 0 { answer.with("retry-after", "17") } else { answer }
    })
    .await;
    let graph = server.graph();
    let told = graph.revoke(ada(), &effect().first()).await.expect_err("429");
    assert_eq!(told.disposition(), Disposition::Retry { after_ms: Some(17_000) });
    let untold = graph.revoke(ada(), &effect().first()).await.expect_err("429");
    assert_eq!(untold.disposition(), RETRY);
    let waiting = graph.user(ada(), &read()).await.expect_err("the normal lane waits for longer than it has");
    assert!(matches!(waiting, Error::Busy { .. }), "{waiting:?}");
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn a_lost_reply_to_a_reset_is_unknown_after_exactly_one_call() {
    for lost in [|| Answer::Cut, || Answer::Hang, || Answer::status(502)] {
        let server = server(move |_, _| lost()).await;
        let terms = Terms { timeout: Duration::from_millis(300), ..effect() };
        let body = Bytes::from_static(br#"{"passwordProfile":{"password":"S3cret-words"}}"#);
        let error = server.graph().set_password(ada(), body, &terms).await.expect_err("lost");
        assert_eq!(error.disposition(), Disposition::Unknown, "{error:?}");
        assert_eq!(server.calls().len(), 1);
        let fault = Fault::from(error);
        assert!(!format!("{fault:?}").contains("S3cret"));
    }
}

#[tokio::test]
async fn a_reset_never_travels_on_a_used_connection() {
    let server = server(|_, _| Answer::status(204)).await;
    let graph = server.graph();
    for _ in 0..3 {
        graph.set_password(ada(), Bytes::from_static(b"{}"), &effect()).await.expect("204");
        graph.set_enabled(ada(), true, &effect()).await.expect("204");
    }
    let ports = |method: &str, body: &[u8]| {
        let calls = server.calls();
        let ports = calls.iter().filter(|call| call.method == method && call.body == body).map(|call| call.peer);
        ports.collect::<std::collections::BTreeSet<u16>>().len()
    };
    assert_eq!(ports("PATCH", b"{}"), 3, "a connection each");
    assert_eq!(ports("PATCH", br#"{"accountEnabled":true}"#), 1, "others share theirs");
}

#[tokio::test]
async fn a_lost_reply_to_a_revoke_is_unknown_and_left_to_the_engine() {
    let server = server(|_, _| Answer::Cut).await;
    let error = server.graph().revoke(ada(), &effect()).await.expect_err("lost");
    assert_eq!(error.disposition(), Disposition::Unknown);
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn nothing_is_sent_once_send_by_has_passed() {
    let server = server(|_, _| yes()).await;
    let terms = Terms { send_by: Some(SendBy::within(Duration::ZERO)), ..effect() };
    let error = server.graph().revoke(ada(), &terms).await.expect_err("late");
    assert!(matches!(error, Error::Late { .. }), "{error:?}");
    assert_eq!(error.disposition(), RETRY);
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn a_connection_refused_is_provably_without_effect() {
    let server = server(|_, _| yes()).await;
    let mut config = server.config();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    config.graph_url = Some(format!("http://{address}").parse().expect("a URL"));
    let error = config.build().expect("a client").revoke(ada(), &effect()).await.expect_err("refused");
    assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
    assert_eq!(error.disposition(), RETRY);
    let fault = Fault::from(error);
    assert_eq!(fault.code, "OUST-G001");
    assert!(!fault.message.contains(&ada().to_string()), "no address in messages: {}", fault.message);
}

#[tokio::test]
async fn a_rejected_token_is_renewed_once_and_the_call_repeated_once() {
    let tokens = AtomicUsize::new(0);
    let server = Server::start(move |heard| match heard.header("authorization") {
        _ if is_token(heard) => token(&format!("t{}", tokens.fetch_add(1, Ordering::SeqCst))),
        Some("Bearer t0") => Answer::status(401),
        _ => Answer::status(204),
    })
    .await;
    let graph = server.graph();
    graph.set_password(ada(), Bytes::from_static(b"{}"), &effect()).await.expect("the second token serves");
    assert_eq!((server.calls().len(), server.token_calls().len()), (2, 2));
    graph.set_enabled(ada(), false, &effect()).await.expect("the second token is kept");
    assert_eq!(server.token_calls().len(), 2);
}

#[tokio::test]
async fn a_token_that_is_never_accepted_is_refused_after_the_second() {
    let server = server(|_, _| Answer::status(401)).await;
    let error = server.graph().revoke(ada(), &effect()).await.expect_err("401");
    assert_eq!((error.status(), error.disposition()), (Some(401), Disposition::Refuse));
    assert_eq!((server.calls().len(), server.token_calls().len()), (2, 2));
}

#[tokio::test]
async fn many_callers_share_one_token_request() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let server = Server::start(move |heard| {
        if !is_token(heard) {
            return user();
        }
        let held = held.clone();
        Answer::Later(Box::pin(async move {
            held.acquire().await.expect("open").forget();
            token("t")
        }))
    })
    .await;
    let graph = server.graph();
    let callers = (0..20).map(|_| {
        let graph = graph.clone();
        async move { graph.user(ada(), &read()).await.expect("a user") }
    });
    let (_, users) = tokio::join!(
        async {
            while server.token_calls().is_empty() {
                tokio::task::yield_now().await;
            }
            gate.add_permits(100);
        },
        futures_util::future::join_all(callers)
    );
    assert_eq!(users.len(), 20);
    assert_eq!(server.token_calls().len(), 1);
}

#[tokio::test]
async fn a_refused_credential_names_its_code_and_never_the_secret() {
    let server = Server::start(|_| {
        Answer::json(
            401,
            &json!({ "error": "invalid_client", "error_description": "AADSTS7000222: the-client-secret expired" }),
        )
    })
    .await;
    let error = server.graph().revoke(ada(), &effect()).await.expect_err("no token");
    assert_eq!(error.disposition(), Disposition::Refuse);
    let fault = Fault::from(error);
    assert_eq!(fault.code, "OUST-G006");
    assert!(fault.message.contains("AADSTS7000222") && fault.message.contains("expired"), "{}", fault.message);
    assert!(!format!("{fault:?}").contains("the-client-secret"));
    assert!(server.calls().is_empty());
    let form = String::from_utf8(server.token_calls()[0].body.clone()).expect("a form");
    assert!(form.contains("scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"), "{form}");
}

#[tokio::test]
async fn a_reset_uses_the_second_application_and_nothing_else_does() {
    let server = Server::start(|heard| match is_token(heard) {
        true if String::from_utf8_lossy(&heard.body).contains("client_id=recover") => token("recover"),
        true => token("main"),
        false => Answer::status(204),
    })
    .await;
    let mut config = server.config();
    config.recover_credential =
        Some(super::Credential::ClientSecret { client_id: "recover".into(), secret: "another".into() });
    let graph = config.build().expect("a client");
    graph.set_password(ada(), Bytes::from_static(b"{}"), &effect()).await.expect("204");
    graph.set_enabled(ada(), false, &effect()).await.expect("204");
    let used: Vec<_> =
        server.calls().iter().map(|call| call.header("authorization").unwrap_or("").to_owned()).collect();
    assert_eq!(used, ["Bearer recover", "Bearer main"]);
}

#[tokio::test]
async fn the_next_page_is_followed_on_the_same_host_only() {
    let server = Server::start(|heard| {
        if is_token(heard) {
            return token("t");
        }
        let host = heard.header("host").unwrap_or_default();
        let next = match heard.target.as_str() {
            target if target.ends_with("page=2") => "https://evil.example/v1.0/users".to_owned(),
            _ => format!("http://{host}/v1.0/users?page=2"),
        };
        Answer::json(200, &json!({ "value": [{ "id": ada() }], "@odata.nextLink": next }))
    })
    .await;
    let error = server
        .graph()
        .find_by_upn(&"ada@contoso.example".parse().expect("a UPN"), &read())
        .await
        .expect_err("a foreign host");
    assert!(matches!(error, Error::ForeignLink { .. }), "{error:?}");
    assert_eq!((error.disposition(), server.calls().len()), (Disposition::Refuse, 2));
}

#[tokio::test]
async fn endless_pages_end_at_the_limit() {
    let server = Server::start(|heard| {
        if is_token(heard) {
            return token("t");
        }
        let next = format!("http://{}/v1.0/groups/again", heard.header("host").unwrap_or_default());
        Answer::json(200, &json!({ "value": [{ "id": ada() }], "@odata.nextLink": next }))
    })
    .await;
    let found = server.graph().group_users(ada(), 100_000, &read()).await.expect("cut");
    assert_eq!((found.len(), server.calls().len()), (super::PAGE_LIMIT, super::PAGE_LIMIT));
}

#[tokio::test]
async fn a_hostile_name_stays_inside_its_filter() {
    let server = server(|_, _| Answer::json(200, &json!({ "value": [] }))).await;
    let upn = "$o'brien' or 1 eq 1#&x=../y%27@contoso.example".replace(" ", "+").replace('/', "");
    let found = server.graph().find_by_upn(&upn.parse().expect("a UPN"), &read()).await.expect("nobody");
    assert!(found.is_empty());
    let calls = server.calls();
    assert_eq!(calls.len(), 2, "by UPN, then by mail");
    for call in calls {
        assert!(call.target.starts_with("/v1.0/users?$filter="), "{}", call.target);
        assert_eq!(call.target.matches('&').count(), 2, "{}", call.target);
        assert!(call.target.contains("%24o%27%27brien%27%27"), "{}", call.target);
        assert!(!call.target.contains('\''), "{}", call.target);
    }
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_read_to_the_end() {
    let server = server(|_, _| Answer::Reply { status: 200, headers: Vec::new(), body: vec![b' '; 9 << 20] }).await;
    let error = server.graph().user(ada(), &read()).await.expect_err("too large");
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn rubbish_in_a_good_status_is_an_error_that_shows_none_of_it() {
    let server = server(|_, _| Answer::json(200, &json!({ "id": "ada@contoso.example" }))).await;
    let terms = Terms::read(Duration::from_millis(150));
    let error = server.graph().user(ada(), &terms).await.expect_err("not a user");
    let shown = format!("{error} {error:?}");
    let shown = format!("{shown} {:?}", Fault::from(error));
    assert!(!shown.contains("contoso"), "{shown}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = server(|_, heard| {
        Answer::status(302).with("location", &format!("http://{}/elsewhere", heard.header("host").unwrap_or("x")))
    })
    .await;
    let error = server.graph().user(ada(), &read()).await.expect_err("302");
    assert_eq!((error.disposition(), server.calls().len()), (Disposition::Refuse, 1));
}

#[tokio::test]
async fn the_instant_of_leaving_is_graphs_where_the_clocks_differ() {
    let hooks = || Hooks { now: Arc::new(|| "2026-11-20T08:00:00Z".parse().expect("an instant")), ..Hooks::default() };
    for (date, left) in [
        ("Fri, 20 Nov 2026 08:01:00 GMT", "2026-11-20T08:01:00.5Z"),
        ("Fri, 20 Nov 2026 08:00:01 GMT", "2026-11-20T08:00:00Z"),
        ("rubbish", "2026-11-20T08:00:00Z"),
    ] {
        let server = server(move |_, _| yes().with("date", date)).await;
        let accepted = server.graph_with(hooks()).revoke(ada(), &effect()).await.expect("accepted");
        assert_eq!(accepted.left_at.to_string(), left, "{date}");
    }
}

#[tokio::test]
async fn every_call_is_told_to_the_observer() {
    let calls: Arc<Mutex<Vec<GraphCall>>> = Arc::default();
    let told = calls.clone();
    let hooks = Hooks { observer: Arc::new(move |call| told.lock().expect("no panic").push(call)), ..Hooks::default() };
    let server = server(|n, _| if n == 0 { Answer::status(429) } else { Answer::Cut }).await;
    let graph = server.graph_with(hooks);
    for _ in 0..2 {
        graph.revoke(ada(), &effect().first()).await.expect_err("a failure");
    }
    let calls = calls.lock().expect("no panic");
    assert_eq!(
        calls.iter().map(|call| (call.status, call.throttled)).collect::<Vec<_>>(),
        [(Some(429), true), (None, false)]
    );
    assert!(calls.iter().all(|call| call.operation == "revoke_sessions"));
}

#[tokio::test]
async fn identity_protection_is_asked_no_faster_than_it_allows() {
    let server = server(|_, _| Answer::status(204)).await;
    let mut config = server.config();
    config.limits.identity_protection = Some(Limit { calls: 1, per: Duration::from_secs(3600) });
    let graph = config.build().expect("a client");
    graph.confirm_compromised(ada(), &effect()).await.expect("204");
    let error = graph.dismiss_risk(ada(), &effect()).await.expect_err("no room");
    assert!(matches!(error.disposition(), Disposition::Retry { after_ms: Some(ms) } if ms > 3_000_000), "{error:?}");
    assert_eq!(server.calls().len(), 1);
    assert_eq!(server.calls()[0].json(), json!({ "userIds": [ada()] }));
}

#[tokio::test]
async fn a_missing_right_says_what_to_grant() {
    let server = server(|_, _| {
        Answer::json(403, &json!({ "error": { "code": "Authorization_RequestDenied", "message": "Insufficient privileges for ada@contoso.example" } }))
    })
    .await;
    let graph = server.graph();
    let revoke = Fault::from(graph.revoke(ada(), &effect()).await.expect_err("403"));
    assert_eq!((revoke.code.as_str(), revoke.disposition), ("OUST-G403", Disposition::Refuse));
    assert!(revoke.message.contains("User.RevokeSessions.All"), "{}", revoke.message);
    assert!(!revoke.message.contains("contoso"), "{}", revoke.message);
    let reset = graph.set_password(ada(), Bytes::from_static(b"{}"), &effect()).await.expect_err("403");
    let reset = Fault::from(reset);
    assert!(reset.message.contains("User Administrator"), "{}", reset.message);
}

#[tokio::test]
async fn the_token_endpoint_belongs_to_the_tenant() {
    let server = server(|_, _| user()).await;
    server.graph().user(ada(), &read()).await.expect("a user");
    let calls = server.token_calls();
    assert_eq!(calls[0].target, format!("/{}/oauth2/v2.0/token", Uuid::from_u128(7)));
}

#[tokio::test]
async fn warming_fetches_the_token_before_anybody_asks() {
    let server = server(|_, _| yes()).await;
    let graph = server.graph();
    let ready = async {
        while server.token_calls().is_empty() {
            tokio::task::yield_now().await;
        }
        graph.revoke(ada(), &effect().first()).await.expect("accepted")
    };
    tokio::select! {
        never = graph.warm() => match never {},
        _ = ready => {}
    }
    assert_eq!(server.token_calls().len(), 1);
}
