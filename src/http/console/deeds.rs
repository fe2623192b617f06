//! What people do to a task besides voting: report a manual one done, name the person of a held one, keep the page open for
//! a secret, take it, pass it on. Each is one call of the engine's door; nothing here decides.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer::Deed;
use super::gather::failed;
use super::view::paths;
use crate::domain::task::{Event, Progress, Reviewer, Task};
use crate::domain::{Identity, ObjectId, TaskId};
use crate::engine::{DecideError, Evidence, Recorded};
use crate::http::Problem;
use crate::http::sign_in::problem_of;
use crate::store::Op;

/// Longest note of a manual task, in characters.
const NOTE: usize = 2_000;

impl Deed {
    /// The task as it was shown, for somebody who proved just now who they are.
    async fn shown(&self) -> Result<(Task, Box<Reviewer>), Problem> {
        let revision = self.sent.revision()?;
        self.who.require_fresh(self.console.sign_in())?;
        let task = self.console.task(&self.about, &self.id).await?;
        if !task.state.is_terminal() && task.revision != revision {
            let text = "something happened to this task since it was shown; reload the page";
            return Err(Problem::conflict(text).with("revision", task.revision));
        }
        Ok((task, Box::new(self.console.proved(&self.who, &self.id).await?)))
    }

    /// Records it, refusals too; the account must still be live in the transaction.
    async fn decide(&self, task: TaskId, event: Event, keep: Vec<Op>) -> Result<Recorded, Problem> {
        self.console.sign_in().admit_account(&self.who.account.id)?;
        let evidence = Evidence { consume: vec![self.live()], keep };
        let decided = self.console.engine().decide_proven(task, &self.actor(), event, evidence).await;
        decided.map_err(|error| match error {
            DecideError::Spent(_) => Problem::not_signed_in("your account was disabled"),
            error => problem_of(&error, &self.id),
        })
    }

    /// The task whose secret is this reviewer's, in the browser with the key that was sent.
    async fn recipient(&self) -> Result<(Task, String), Problem> {
        let task = self.console.task(&self.about, &self.id).await?;
        let (me, key) = (self.who.account.id.as_str(), self.sent.get("key"));
        match task.approval.as_ref().and_then(|approval| approval.recipient.as_ref()) {
            Some(recipient) if recipient.reviewer == me && recipient.key == key => Ok((task, key.to_owned())),
            Some(_) => {
                let event = Event::Fetched { by: me.to_owned(), key: key.chars().take(128).collect() };
                // The machine refuses and records it: the attempt is a sign of trouble.
                self.decide(task.id, event, Vec::new()).await?;
                Err(Problem::forbidden("this secret is sealed to another browser"))
            }
            None => Err(Problem::not_found("nothing is sealed to a browser here yet").not_yet()),
        }
    }
}

/// A manual task was done.
pub(super) async fn done(deed: Deed) -> Result<Response, Problem> {
    let note = deed.sent.text("note", NOTE)?;
    let (task, by) = deed.shown().await?;
    deed.decide(task.id, Event::Done { by, note }, Vec::new()).await?;
    Ok(deed.sent.done(&paths::task(task.id)))
}

/// The person of a held task was named: its signal starts over with them.
pub(super) async fn named(deed: Deed) -> Result<Response, Problem> {
    let object_id: ObjectId = deed.sent.get("object_id").trim().parse().map_err(|_| {
        Problem::unfit("an object ID looks like 3f2504e0-4f89-41d3-9a0c-0305e82c3301; the user's page in Entra has it")
    })?;
    let (task, by) = deed.shown().await?;
    let identity = Identity { tenant: deed.console.tenant_of(&task, &deed.id).await?, object_id };
    deed.decide(task.id, Event::Named { by, identity }, Vec::new()).await?;
    Ok(deed.sent.done(&paths::task(task.id)))
}

/// Votes need a proof, and that a script.
pub(super) async fn scriptless() -> Problem {
    Problem::unfit(
        "deciding needs script in this browser: your passkey proves the decision itself. Nothing was decided",
    )
}

/// The recipient's browser is here.
pub(super) async fn presence(deed: Deed) -> Result<Response, Problem> {
    let (task, _) = deed.recipient().await?;
    if task.state.is_terminal() {
        return Err(Problem::conflict("this task is closed").not_yet());
    }
    deed.console.engine().seen(task.id, deed.who.key());
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The ciphertext, for the browser that decided; the first time starts the 15 minutes.
pub(super) async fn reveal(deed: Deed) -> Result<Response, Problem> {
    let (task, key) = deed.recipient().await?;
    let over =
        task.rows.iter().any(|row| matches!(row.progress, Progress::Revealed { .. } | Progress::RevealExpired { .. }));
    if over {
        return Err(Problem::gone("it was passed on, or its time is over: it cannot be shown again"));
    }
    if !task.rows.iter().any(|row| matches!(row.progress, Progress::Sealed { .. })) {
        return Err(Problem::not_found("the password is not set yet; keep the page open").not_yet());
    }
    let event = Event::Fetched { by: deed.who.account.id.to_string(), key };
    let fetched = deed.decide(task.id, event, Vec::new()).await?;
    let until = fetched.task.rows.iter().find_map(|row| match &row.progress {
        Progress::Sealed { until, .. } => *until,
        _ => None,
    });
    let sealed = deed.console.store().sealed(task.id).await.map_err(failed(&deed.id))?;
    let sealed = sealed.ok_or_else(|| Problem::gone("its time is over: it cannot be shown again"))?;
    Ok(Json(json!({ "enc": sealed["enc"], "ciphertext": sealed["ciphertext"], "until": until })).into_response())
}

/// "I have passed it on": the ciphertext goes in the same transaction.
pub(super) async fn acknowledge(deed: Deed) -> Result<Response, Problem> {
    let (task, key) = deed.recipient().await?;
    let event = Event::Acknowledged { by: deed.who.account.id.to_string(), key };
    deed.decide(task.id, event, vec![Op::DropSealed { task: task.id }]).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
