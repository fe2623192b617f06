//! Every route that changes something, as the router lists them, fired at with a body that would be carried out and at
//! something that is there: by nobody, by each role, by API token, from another site, with a stale proof, by the person it
//! is about, by reviewers who may no longer. Each is told so, nothing moves, and who is known stands in the trail with what
//! they tried. Then somebody who may does the same.

mod cast;
mod deeds;
mod stage;
mod table;

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Method;
use oust::domain::task::{Ballot, Event, Verdict};
use oust::http::console;
use oust::http::sign_in::Access;
use oust::store::{Audit, Page};
use serde_json::Value;

use self::cast::{Cast, TOKEN};
use self::deeds::{Content, Deed};
use self::stage::Stage;
use self::table::{Rule, WHO, Who};
use super::revoked;
use crate::sign_in::authenticator::ORIGIN;
use crate::sign_in::house::{Browser, Reply};
use crate::support::{reviewer, router};

type Headers = &'static [(&'static str, &'static str)];

/// How a request of somebody who may is forged.
const FORGED: [(&str, Headers, Csrf); 6] = [
    ("from another site", &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")], Csrf::Own),
    (
        "from a neighbour",
        &[("origin", "https://evil.oust.contoso.example"), ("sec-fetch-site", "same-site")],
        Csrf::Own,
    ),
    ("without an origin", &[], Csrf::Own),
    ("without the token", OURS, Csrf::None),
    ("with an empty token", OURS, Csrf::Empty),
    ("with the token of another session", OURS, Csrf::Another),
];
const OURS: Headers = &[("origin", ORIGIN), ("sec-fetch-site", "same-origin")];

/// Which session's token goes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Csrf {
    Own,
    None,
    Empty,
    Another,
}

/// A copy: what an attempt does to cookies must not matter to the next.
fn copy<'a>(of: &Browser<'a>) -> Browser<'a> {
    Browser { house: of.house, jar: of.jar.clone(), csrf: of.csrf.clone() }
}

async fn fire(browser: &mut Browser<'_>, deed: &Deed, content: &Content, headers: &[(&str, &str)]) -> Reply {
    let (kind, body) = match content {
        Content::Json(body) => ("application/json", body.to_string()),
        Content::Form(fields) => {
            let fields = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            ("application/x-www-form-urlencoded", fields)
        }
    };
    let mut request = browser.request(Method::POST, &deed.path).header("content-type", kind);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    browser.send(request.body(Body::from(body)).expect("a request")).await
}

impl Stage {
    /// The store without the trail, and every changing call at Microsoft. `exact`: with ceremonies and counters of use too,
    /// which an attempt may use up.
    async fn picture(&self, exact: bool) -> String {
        let text = self.scene.app.picture().await;
        let mut lines = vec![format!("{:?}", self.scene.app.twin.counters().keys)];
        let mut table = "";
        for line in text.lines() {
            if !line.starts_with(' ') {
                table = line.split(':').next().unwrap_or_default();
                continue;
            }
            match table {
                "audit" => {}
                // How far the trail is chained.
                "settings" if line.trim_start().starts_with("key=audit:") => {}
                "challenges" if !exact => {}
                "sessions" | "credentials" if !exact => lines.push(without(line, &["used_at=", "counter=", "doc="])),
                "people" => lines.push(unwatched(line)),
                _ => lines.push(line.to_owned()),
            }
        }
        lines.join("\n")
    }

    async fn last_record(&self) -> u64 {
        let newest = Page { after: None, limit: 1 };
        self.scene.house.store.audit(&newest).await.expect("a read").items.first().map_or(0, |(seq, _)| *seq)
    }

    /// What the trail says since about people who were refused.
    async fn refusals_after(&self, seq: u64) -> Vec<Audit> {
        let newest = Page { after: None, limit: 50 };
        let listed = self.scene.house.store.audit(&newest).await.expect("a read");
        let since = listed.items.into_iter().filter(|(one, _)| *one > seq).map(|(_, line)| line);
        since.filter(|line| line.actor.starts_with("reviewer:") && line.verb.ends_with("refused")).collect()
    }

    /// What moved since; nothing is what should have.
    async fn moved(&self, before: &str) -> Vec<String> {
        let now = self.picture(false).await;
        let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (before.lines().collect(), now.lines().collect());
        new.symmetric_difference(&old).map(|line| (*line).to_owned()).collect()
    }

    /// Whoever must not, tries; what was not as the table has it.
    async fn refused(&self, cast: &Cast<'_>, deed: &Deed) -> Vec<String> {
        let mut wrong = Vec::new();
        let before = self.picture(false).await;
        for who in WHO {
            let Some(status) = deed.rule.refuses(who) else { continue };
            let content = deed.own.get(&who).unwrap_or(&deed.content);
            let mut headers = OURS.to_vec();
            let bearer = format!("Bearer {TOKEN}");
            if who == Who::Token {
                headers.push(("authorization", &bearer));
            }
            let told_before = self.last_record().await;
            let reply = fire(&mut copy(cast.browser(who.name())), deed, content, &headers).await;
            let says = deed.says.iter().find(|(about, _)| *about == who).map_or("", |(_, says)| says);
            let told = reply.body["detail"].as_str().is_some_and(|text| text.contains(says));
            let moved = self.moved(&before).await;
            if reply.status != status || !told || !moved.is_empty() {
                wrong.push(format!("{} by {who:?}, not {status} {says}: {} {moved:#?}", deed.name, told_of(&reply)));
            }
            let told = self.refusals_after(told_before).await;
            if !names(&told, who, deed) {
                wrong.push(format!("{} by {who:?} is told in the trail as {told:#?}", deed.name));
            }
        }
        for (how, headers, csrf) in FORGED.into_iter().filter(|(.., csrf)| *csrf == Csrf::Own || !deed.is_public) {
            let mut browser = copy(cast.browser(deed.by));
            browser.csrf = match csrf {
                Csrf::Own => browser.csrf,
                Csrf::None => None,
                Csrf::Empty => Some(String::new()),
                Csrf::Another => cast.browser(Who::Other.name()).csrf.clone(),
            };
            let reply = fire(&mut browser, deed, &deed.content, headers).await;
            let moved = self.moved(&before).await;
            if reply.status != 403 || !moved.is_empty() {
                wrong.push(format!("{} {how}, not 403: {} {moved:#?}", deed.name, told_of(&reply)));
            }
        }
        self.scene.app.idle().await;
        let late = self.moved(&before).await;
        if !late.is_empty() {
            wrong.push(format!("{} by somebody who must not: {late:#?}", deed.name));
        }
        wrong
    }

    /// Somebody who may does it, with the same body.
    async fn done(&self, cast: &mut Cast<'_>, deed: &Deed) -> Option<String> {
        let before = self.picture(true).await;
        let reply = fire(cast.browser_mut(deed.by), deed, &deed.content, OURS).await;
        if let Some((user, times)) = deed.revokes.filter(|_| reply.status == deed.status) {
            revoked(&self.scene.app, user, times).await;
        }
        self.scene.app.idle().await;
        let moved = self.picture(true).await != before;
        if reply.status != deed.status || moved != deed.moves {
            let moved = if moved { "something moved" } else { "nothing moved" };
            return Some(format!("{} by {}, not {}: {}, {moved}", deed.name, deed.by, deed.status, told_of(&reply)));
        }
        if deed.path.ends_with("/orders") {
            self.withdraw(&reply.body).await;
        }
        None
    }

    /// Takes back an order, so that the next makes sense.
    async fn withdraw(&self, asked: &Value) {
        let app = &self.scene.app;
        let id = asked["task"].as_str().expect("a task").parse().expect("an id");
        let task = app.store.task(id).await.expect("a read").expect("the task");
        let ballot = Ballot {
            by: reviewer("carl", app.clock.now()),
            verdict: Verdict::Deny,
            reason: Some("not now".into()),
            digest: task.digest(),
            recipient_key: None,
        };
        app.engine.decide(id, "reviewer:carl", Event::Vote(Box::new(ballot))).await.expect("a denial");
        app.idle().await;
    }
}

/// One record of whoever has a session, and none of others: who, at what, why not, and nothing that they sent.
fn names(told: &[Audit], who: Who, deed: &Deed) -> bool {
    if deed.is_public || matches!(who, Who::Nobody | Who::Token | Who::Disabled) {
        return told.is_empty();
    }
    let [line] = told else { return false };
    let detail = &line.detail;
    let is_told = match line.verb.as_str() {
        "request.refused" => {
            let about = detail["about"].as_str().is_none_or(|about| deed.path.contains(about));
            let why = detail["why"].as_str().is_some_and(|why| !why.is_empty());
            // Somebody must look where an account in other hands wants what only its owner may.
            let alarms = who == Who::AtRisk && deed.rule == Rule::Acts;
            let alarming = detail["alarming"] == true || !alarms;
            detail["deed"] == format!("POST {}", deed.route) && about && why && alarming
        }
        "task.refused" | "order.refused" | "step_up.refused" => true,
        _ => false,
    };
    line.actor == format!("reviewer:{}", who.name()) && is_told && detail.to_string().len() < 700
}

fn told_of(reply: &Reply) -> String {
    format!("{} {}", reply.status, reply.text)
}

/// A row without these columns.
fn without(line: &str, columns: &[&str]) -> String {
    let kept = |word: &&str| !columns.iter().any(|column| word.starts_with(column));
    line.split(' ').filter(kept).collect::<Vec<_>>().join(" ")
}

/// A person without their watch, which goes on by itself.
fn unwatched(line: &str) -> String {
    let Some((row, doc)) = line.split_once(" doc=") else { return line.to_owned() };
    let mut doc: Value = serde_json::from_str(doc).expect("a person");
    doc.as_object_mut().expect("a person").remove("watch");
    format!("{} {doc}", without(row, &["revision=", "watch_at="]))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_changes_something_does_it_for_whoever_may_and_for_nobody_else() {
    let stage = Stage::set().await;
    let mut cast = Cast::of(&stage).await;
    let deeds = deeds::of(&stage, &mut cast).await;

    let list = console::routes(&stage.scene.console);
    let changing = list.list().iter().filter(|route| !route.method.is_safe());
    let known: BTreeSet<(String, String)> =
        changing.clone().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    assert_eq!(router::changing(&stage.scene.house.router), known, "no route goes around the list that guards them");
    let tried: BTreeSet<(String, String)> =
        deeds.iter().map(|deed| ("POST".to_owned(), deed.route.to_owned())).collect();
    assert_eq!(tried, known, "every route has its line in the table");
    for route in changing {
        for deed in deeds.iter().filter(|deed| deed.route == route.path) {
            assert_eq!(deed.is_public, route.access == Access::Public, "{}", deed.name);
        }
    }
    let mut wrong = Vec::new();
    for deed in &deeds {
        wrong.extend(stage.refused(&cast, deed).await);
        wrong.extend(stage.done(&mut cast, deed).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let refusals = stage.scene.house.sign_in.take_refusals();
    for reason in ["foreign_origin", "no_origin", "no_session", "ended_session", "no_token", "foreign_challenge"] {
        assert!(refusals.contains_key(&("console".to_owned(), reason)), "{reason} in {refusals:?}");
    }
    stage.scene.end_streams();
}
