//! What can be done through the console, each with a body that would be carried out.

use std::collections::BTreeMap;

use oust::domain::plan::StepId;
use oust::domain::task::Order;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cast::Cast;
use super::stage::{Case, Stage};
use super::table::{Rule, Who};
use crate::sign_in::authenticator::{Key, Says, encode};
use crate::sign_in::oidc::{fitting, leave};

/// A body.
#[derive(Debug, Clone)]
pub enum Content {
    Json(Value),
    Form(Vec<(&'static str, String)>),
}

#[derive(Debug)]
pub struct Deed {
    /// As the router lists it.
    pub route: &'static str,
    pub name: String,
    pub path: String,
    pub content: Content,
    /// Who sends something else: a ceremony of their own.
    pub own: BTreeMap<Who, Content>,
    pub rule: Rule,
    pub is_public: bool,
    /// Who may, what they are answered, and whether anything moves.
    pub by: &'static str,
    pub status: u16,
    pub moves: bool,
    /// Whose sessions a worker revokes because of it, for which time.
    pub revokes: Option<(Uuid, u64)>,
    /// What those who must not are told.
    pub says: &'static [(Who, &'static str)],
}

/// Why nobody of these decides the reset.
const WHY: &[(Who, &str)] = &[
    (Who::Viewer, "needs the role approver"),
    (Who::Analyst, "needs the role approver"),
    (Who::Subject, "nobody decides about their own account"),
    (Who::AtRisk, "your own account is at risk"),
    (Who::Unnamed, "names other reviewers"),
];

fn deed(route: &'static str, rule: Rule, by: &'static str, content: Value) -> Deed {
    Deed {
        route,
        name: route.to_owned(),
        path: route.to_owned(),
        content: Content::Json(content),
        own: BTreeMap::new(),
        rule,
        is_public: matches!(rule, Rule::Open | Rule::Begun),
        by,
        status: 200,
        moves: true,
        revokes: None,
        says: &[],
    }
}

impl Deed {
    /// Of several at one route: which.
    fn called(mut self, what: &str) -> Self {
        self.name = format!("{}: {what}", self.route);
        self
    }

    /// At what, in place of the route's placeholder.
    fn at(mut self, what: impl ToString) -> Self {
        let (before, rest) = self.route.split_once('{').expect("a placeholder");
        let after = rest.split_once('}').expect("a placeholder").1;
        self.path = format!("{before}{}{after}", what.to_string());
        self
    }

    fn sending(self, content: Content) -> Self {
        Self { content, ..self }
    }

    fn answered(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn revoking(self, user: Uuid, times: u64) -> Self {
        Self { revokes: Some((user, times)), ..self }
    }

    fn saying(self, says: &'static [(Who, &'static str)]) -> Self {
        Self { says, ..self }
    }
}

/// All of them, in an order in which each can be done.
pub async fn of(stage: &Stage, cast: &mut Cast<'_>) -> Vec<Deed> {
    let mut all = signing_in(stage, cast).await;
    all.extend(orders(stage).await);
    all.extend(tasks(stage));
    all.extend(everything(stage));
    all.extend(decisions(stage, cast).await);
    all.extend(secrets(stage));
    all.extend(own(cast).await);
    all
}

async fn signing_in(stage: &Stage, cast: &mut Cast<'_>) -> Vec<Deed> {
    const PASSKEY: &str = "/console/sign-in/passkey/begin";
    let begun = cast.browser_mut("mia's phone").post(PASSKEY, json!({})).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let credential = cast.key_mut("mia").get(&begun.body, &Says::get());
    let passkey = json!({ "ceremony": begun.body["ceremony"], "credential": credential });

    let nils = stage.scene.house.add("nils", &[oust::domain::task::Role::Viewer], &[]).await;
    let invite = stage.scene.house.invite(&nils.id).await;
    let enrol = format!("/console/enrol/{invite}/begin");
    let begun = cast.browser_mut("nils").post(&enrol, json!({})).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let credential = cast.key_mut("nils").create(&begun.body, &Says::create());
    let enrolled = json!({ "ceremony": begun.body["ceremony"], "credential": credential });

    let asked = leave(cast.browser_mut("otto"), &stage.provider).await;
    let mut claims = fitting(&stage.scene.house, &stage.provider, &asked);
    claims["sub"] = json!("subject-2");
    stage.provider.inside().claims = claims;
    let returned = vec![("state", asked["state"].clone()), ("code", "code-1".to_owned())];
    let next = || Content::Form(vec![("next", "/console/tasks".to_owned())]);
    vec![
        deed(PASSKEY, Rule::Open, "nobody", json!({})),
        deed("/console/sign-in/passkey/finish", Rule::Begun, "mia's phone", passkey),
        deed("/console/sign-in/oidc", Rule::Open, "nobody", Value::Null).sending(next()),
        deed("/console/sign-in/oidc/callback", Rule::Begun, "otto", Value::Null)
            .sending(Content::Form(returned))
            .answered(303),
        deed("/console/enrol/{token}/begin", Rule::Open, "nobody", json!({})).at(&invite),
        deed("/console/enrol/{token}/finish", Rule::Begun, "nils", enrolled).at(&invite),
        deed("/console/prove/oidc", Rule::ByProvider, "olga", Value::Null).sending(next()),
    ]
}

async fn orders(stage: &Stage) -> Vec<Deed> {
    const ROUTE: &str = "/console/cases/{id}/orders";
    let step = |id: &str| StepId(id.to_owned());
    let (failed, doubt) = (&stage.failed, &stage.in_doubt);
    let wanted: [(&Case, Order); 10] = [
        (failed, Order::Revoke),
        (failed, Order::Reset),
        (failed, Order::ConfirmCompromised),
        (failed, Order::DismissRisk),
        (failed, Order::Again { run: failed.run, step: step("confirm_compromised") }),
        (failed, Order::Skip { run: failed.run, step: step("manual") }),
        (failed, Order::Cancel { run: failed.run }),
        (failed, Order::Close),
        (doubt, Order::Settle { run: doubt.run, step: step("reset_password"), applied: true }),
        (doubt, Order::Settle { run: doubt.run, step: step("reset_password"), applied: false }),
    ];
    let mut all = Vec::new();
    for (case, order) in wanted {
        assert!(stage.offers(case).await.contains(&order), "{order:?} makes sense: {:#?}", stage.offers(case).await);
        let word = match &order {
            Order::Settle { applied: true, .. } => "took_effect",
            Order::Settle { applied: false, .. } => "took_no_effect",
            order => order.word(),
        };
        let mut body = json!({ "order": word, "reason": "talked to them" });
        if let Some((run, step)) = order.step() {
            (body["run"], body["step"]) = (json!(run), json!(step.0));
        }
        if let Order::Cancel { run } = &order {
            body["run"] = json!(run);
        }
        // The lowest who may; asking needs no fresh proof, deciding what was asked for does.
        let (rule, by) = match order {
            Order::Reset => (Rule::AsksForReset, "anna"),
            Order::Revoke => (Rule::Asks, "stella"),
            _ => (Rule::Asks, "rita"),
        };
        all.push(deed(ROUTE, rule, by, body).called(word).at(case.id));
    }
    all
}

fn tasks(stage: &Stage) -> Vec<Deed> {
    let (manual, held) = (&stage.manual, &stage.held);
    let done = json!({ "revision": manual.revision, "note": "called them" });
    let person = json!({ "revision": held.revision, "object_id": stage.meant });
    let vote = || {
        let task = &stage.scene.task;
        let fields = [("revision", task.revision.to_string()), ("digest", task.digest().to_string())];
        let chosen = ("tasks", format!("{}/{}/{}", task.id, task.revision, task.digest()));
        Content::Form(fields.into_iter().chain([("verdict", "approve".to_owned()), chosen]).collect())
    };
    let scriptless = |route| Deed { moves: false, ..deed(route, Rule::Nothing, "rita", Value::Null) };
    vec![
        scriptless("/console/tasks/decisions").sending(vote()).answered(422),
        scriptless("/console/tasks/{id}/decision").at(stage.scene.task.id).sending(vote()).answered(422),
        deed("/console/tasks/{id}/done", Rule::Reports, "rita", done).at(manual.id),
        deed("/console/tasks/{id}/person", Rule::Reports, "rita", person).at(held.id).revoking(stage.meant, 1),
    ]
}

async fn decisions(stage: &Stage, cast: &mut Cast<'_>) -> Vec<Deed> {
    const BEGIN: &str = "/console/decide/begin";
    const FINISH: &str = "/console/decide/finish";
    let confirm = &stage.confirm;
    let chosen = json!({
        "tasks": [format!("{}/{}/{}", confirm.id, confirm.revision, confirm.digest())], "verdict": "deny",
        "reason": "not them",
    });
    let denied = cast.begin("rita", BEGIN, chosen.clone()).await;
    let approved = cast.begin("rita", BEGIN, stage.approval()).await;
    let of_rita = deed(FINISH, Rule::ProvesForAnother, "rita", Value::Null).sending(denied).called("of another");
    let mut own = deed(FINISH, Rule::Proves, "rita", Value::Null).sending(approved).called("an approval").saying(WHY);
    own.own.clone_from(&cast.begun);
    vec![
        deed(BEGIN, Rule::Decides, "rita", chosen).called("a denial of several"),
        deed(BEGIN, Rule::Decides, "rita", stage.approval()).called("an approval").saying(WHY),
        of_rita,
        own,
    ]
}

fn secrets(stage: &Stage) -> Vec<Deed> {
    let to = |route| deed(route, Rule::Receives, "rita", json!({ "key": stage.scene.app.recipient }));
    vec![
        // The password is set while the page is there, and the sessions are revoked again.
        to("/console/tasks/{id}/presence").at(stage.scene.task.id).answered(204).revoking(stage.scene.ada, 2),
        to("/console/tasks/{id}/reveal").at(stage.scene.task.id),
        to("/console/tasks/{id}/acknowledge").at(stage.scene.task.id).answered(204),
    ]
}

fn everything(stage: &Stage) -> Vec<Deed> {
    let settle = |body: Value| deed("/console/buried/{id}/settle", Rule::Acts, "rita", body);
    let [replayed, dropped] = stage.buried;
    vec![
        settle(json!({ "verb": "replay" })).called("replay").at(replayed).revoking(stage.found, 1),
        settle(json!({ "verb": "drop", "reason": "a test of the forwarder" })).called("drop").at(dropped),
        deed("/console/pause", Rule::Acts, "rita", json!({ "reason": "drill" })),
        deed("/console/resume", Rule::Acts, "rita", json!({})),
    ]
}

/// What a viewer may do: with their own sessions and passkeys. The last ones end the sessions.
async fn own(cast: &mut Cast<'_>) -> Vec<Deed> {
    let begun = cast.browser_mut("pia").post("/console/passkeys/begin", json!({})).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let mut second = Key::new();
    let credential = second.create(&begun.body, &Says::create());
    let added = json!({ "ceremony": begun.body["ceremony"], "credential": credential, "name": "phone" });
    let proved = cast.begin("pia", "/console/prove/begin", json!({})).await;
    vec![
        deed("/console/passkeys/begin", Rule::OwnFresh, "pia", json!({})),
        deed("/console/passkeys/finish", Rule::OwnBegunFresh, "pia", added),
        deed("/console/passkeys/{id}/remove", Rule::OwnKey, "pia", json!({})).at(encode(&second.id)),
        deed("/console/prove/begin", Rule::Own, "pia", json!({})),
        deed("/console/prove/finish", Rule::OwnBegun, "pia", Value::Null).sending(proved),
        deed("/console/sign-out", Rule::Own, "wanda", json!({})).answered(303),
        deed("/console/sign-out-everywhere", Rule::Own, "pia", json!({})).answered(303),
    ]
}
