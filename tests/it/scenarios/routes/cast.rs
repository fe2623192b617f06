//! Everybody of the table, signed in; most of them lose what made them entitled after they began a decision.

use std::collections::BTreeMap;

use oust::domain::ObjectId;
use oust::domain::TokenId;
use oust::domain::reviewer::{Account, Linked};
use oust::domain::task::Role;
use oust::http::hash_of;
use oust::store::Op;
use oust::store::Token;
use oust::store::reviewers::Change;
use oust::twin;
use serde_json::{Value, json};
use uuid::Uuid;

use super::deeds::Content;
use super::stage::{STALE, Stage};
use super::table::Who;
use crate::sign_in::authenticator::{Key, Says};
use crate::sign_in::house::Browser;
use crate::sign_in::oidc::{come_back, fitting, leave};

/// An API token with every scope.
pub const TOKEN: &str = "oust_a_token_with_every_scope";

/// Entitled when they begin.
const APPROVERS: [Who; 7] =
    [Who::Viewer, Who::Analyst, Who::Subject, Who::AtRisk, Who::Disabled, Who::Unnamed, Who::Other];

struct Actor<'a> {
    browser: Browser<'a>,
    key: Key,
}

pub struct Cast<'a> {
    actors: BTreeMap<&'static str, Actor<'a>>,
    /// What everybody sends to finish the decision that they began.
    pub begun: BTreeMap<Who, Content>,
}

impl<'a> Cast<'a> {
    pub async fn of(stage: &'a Stage) -> Self {
        let mut cast = Self { actors: BTreeMap::new(), begun: BTreeMap::new() };
        let wanted = stage.approval();
        cast.enter(stage, "stella", Role::Approver).await;
        let finish = cast.begin(Who::Stale.name(), "/console/decide/begin", wanted.clone()).await;
        cast.begun.insert(Who::Stale, finish);
        stage.pass(STALE).await;
        for who in APPROVERS {
            cast.enter(stage, who.name(), Role::Approver).await;
            let finish = cast.begin(who.name(), "/console/decide/begin", wanted.clone()).await;
            cast.begun.insert(who, finish);
        }
        // What another began is not theirs to finish.
        cast.begun.remove(&Who::Other);
        cast.enter(stage, "rita", Role::Approver).await;
        for viewer in ["pia", "wanda", "mia"] {
            cast.enter(stage, viewer, Role::Viewer).await;
        }
        for outside in ["nobody", "token", "mia's phone", "nils", "otto"] {
            cast.outside(stage, outside);
        }
        cast.enter_by_provider(stage, "olga").await;
        stage.demote().await;
        cast
    }

    pub fn browser(&self, name: &str) -> &Browser<'a> {
        &self.actors[name].browser
    }

    pub fn browser_mut(&mut self, name: &str) -> &mut Browser<'a> {
        &mut self.actors.get_mut(name).expect("in the cast").browser
    }

    pub fn key_mut(&mut self, name: &str) -> &mut Key {
        &mut self.actors.get_mut(name).expect("in the cast").key
    }

    async fn enter(&mut self, stage: &'a Stage, name: &'static str, role: Role) {
        let (browser, mut key) = stage.scene.house.signed_in(name, role).await;
        // Answers are kept until it is their turn.
        key.counts = false;
        self.actors.insert(name, Actor { browser, key });
    }

    fn outside(&mut self, stage: &'a Stage, name: &'static str) {
        self.actors.insert(name, Actor { browser: stage.scene.house.browser(), key: Key::new() });
    }

    async fn enter_by_provider(&mut self, stage: &'a Stage, name: &'static str) {
        let (house, provider) = (&stage.scene.house, &stage.provider);
        self.outside(stage, name);
        let browser = self.browser_mut(name);
        let asked = leave(browser, provider).await;
        provider.inside().claims = fitting(house, provider, &asked);
        assert_eq!(come_back(browser, &asked).await.status, 303);
        assert!(browser.get("/console/session").await.body["csrf"].is_string());
    }

    /// Begins a ceremony and answers it: what `finish` takes.
    pub async fn begin(&mut self, name: &str, path: &str, body: Value) -> Content {
        let actor = self.actors.get_mut(name).expect("in the cast");
        let begun = actor.browser.post(path, body).await;
        assert_eq!(begun.status, 200, "{name} begins at {path}: {begun:?}");
        let credential = actor.key.get(&begun.body, &Says::get());
        Content::Json(json!({ "ceremony": begun.body["ceremony"], "credential": credential }))
    }
}

impl Stage {
    /// The decision that everybody begins.
    pub fn approval(&self) -> Value {
        let task = &self.scene.task;
        json!({
            "task": task.id, "revision": task.revision, "verdict": "approve", "digest": task.digest(),
            "reason": "asked her on the phone", "recipient_key": self.scene.app.recipient,
        })
    }

    async fn edit(&self, who: Who, change: impl FnOnce(&mut Account)) {
        let house = &self.scene.house;
        let id = who.name().parse().expect("a name");
        let mut account = house.store.reviewer(&id).await.expect("a read").expect("the account");
        change(&mut account);
        house.commit(vec![Change::EditReviewer(Box::new(account)).into()]).await;
    }

    /// They began as approvers on call: what they lose, they lose in between.
    async fn demote(&self) {
        let linked = |user| Linked { tenant: twin::Config::default().tenant_id, object_id: ObjectId::new(user) };
        self.edit(Who::Viewer, |account| account.roles = vec![Role::Viewer]).await;
        self.edit(Who::Analyst, |account| account.roles = vec![Role::Analyst]).await;
        self.edit(Who::Unnamed, |account| account.groups.clear()).await;
        self.edit(Who::Subject, |account| account.linked = vec![linked(self.scene.ada)]).await;
        self.edit(Who::AtRisk, |account| account.linked = vec![linked(self.bob)]).await;
        let (app, house) = (&self.scene.app, &self.scene.house);
        app.alert(self.bob, "impossibleTravel").await;
        app.idle().await;
        let reviewer = Who::Disabled.name().parse().expect("a name");
        let token = Token {
            id: TokenId::new(Uuid::now_v7()),
            name: "all".into(),
            hash: hash_of(TOKEN),
            scopes: vec!["read".into(), "pause".into()],
            created_at: app.clock.now(),
            expires_at: None,
            revoked_at: None,
        };
        let disable = Change::Disable { reviewer, at: app.clock.now() };
        house.commit(vec![disable.into(), Op::PutToken(Box::new(token))]).await;
    }
}
