//! What people do to a task besides voting: report a manual one done, keep the page open for a secret, take it, pass it on.
//! Each is one call of the engine's door; nothing here decides.

use axum::extract::{Path, Request, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::json;

use super::answer::Sent;
use super::gather::failed;
use super::state::Console;
use super::view::paths;
use crate::domain::task::{Event, Progress, Task};
use crate::engine::{DecideError, Evidence};
use crate::http::sign_in::{SignedIn, problem_of};
use crate::http::{Problem, RequestId};
use crate::store::Op;
use crate::store::reviewers::Change;

/// Longest note of a manual task, in characters.
const NOTE: usize = 2_000;

fn actor(who: &SignedIn) -> String {
    format!("reviewer:{}", who.account.id)
}

/// The account must still be live in the transaction of the deed.
fn live(who: &SignedIn) -> Evidence {
    Evidence { consume: vec![Change::IsLive(who.account.id.clone()).into()], ..Evidence::default() }
}

fn refused(error: &DecideError, id: &RequestId) -> Problem {
    match error {
        DecideError::Spent(_) => Problem::not_signed_in("your account was disabled"),
        error => problem_of(error, id),
    }
}

/// A manual task was done.
pub(super) async fn done(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    Path(task): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let sent = Sent::read(&console, request).await?;
    let (revision, note) = (sent.revision()?, sent.text("note", NOTE)?);
    who.require_fresh(console.sign_in())?;
    let task = console.task(&task, &id).await?;
    if !task.state.is_terminal() && task.revision != revision {
        let text = "something happened to this task since it was shown; reload the page";
        return Err(Problem::conflict(text).with("revision", task.revision));
    }
    let by = Box::new(console.proved(&who, &id).await?);
    let event = Event::Done { by, note };
    let result = console.engine().decide_proven(task.id, &actor(&who), event, live(&who)).await;
    result.map_err(|error| refused(&error, &id))?;
    Ok(sent.done(&paths::task(task.id)))
}

/// Votes need a proof, and that a script.
pub(super) async fn scriptless() -> Problem {
    Problem::unfit(
        "deciding needs script in this browser: your passkey proves the decision itself. Nothing was decided",
    )
}

/// The task whose secret is this reviewer's, in the browser with this key.
async fn recipient(console: &Console, who: &SignedIn, task: &str, key: &str, id: &RequestId) -> Result<Task, Problem> {
    let task = console.task(task, id).await?;
    let recipient = task.approval.as_ref().and_then(|approval| approval.recipient.as_ref());
    match recipient {
        Some(recipient) if recipient.reviewer == who.account.id.as_str() && recipient.key == key => Ok(task),
        Some(_) => {
            let event = Event::Fetched { by: who.account.id.to_string(), key: key.chars().take(128).collect() };
            // The machine refuses and records it: the attempt is a sign of trouble.
            match console.engine().decide_proven(task.id, &actor(who), event, live(who)).await {
                Err(error) => Err(refused(&error, id)),
                Ok(_) => Err(Problem::forbidden("this secret is sealed to another browser")),
            }
        }
        None => Err(Problem::not_found("nothing is sealed to a browser here yet")),
    }
}

/// The recipient's browser is here.
pub(super) async fn presence(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    Path(task): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let sent = Sent::read(&console, request).await?;
    let task = recipient(&console, &who, &task, sent.get("key"), &id).await?;
    if task.state.is_terminal() {
        return Err(Problem::conflict("this task is closed"));
    }
    console.engine().seen(task.id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The ciphertext, for the browser that decided; the first time starts the 15 minutes.
pub(super) async fn reveal(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    Path(task): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let sent = Sent::read(&console, request).await?;
    let key = sent.get("key");
    let task = recipient(&console, &who, &task, key, &id).await?;
    let over =
        task.rows.iter().any(|row| matches!(row.progress, Progress::Revealed { .. } | Progress::RevealExpired { .. }));
    if over {
        return Err(Problem::gone("it was passed on, or its time is over: it cannot be shown again"));
    }
    if !task.rows.iter().any(|row| matches!(row.progress, Progress::Sealed { .. })) {
        return Err(Problem::not_found("the password is not set yet; keep the page open"));
    }
    let event = Event::Fetched { by: who.account.id.to_string(), key: key.to_owned() };
    let fetched = console.engine().decide_proven(task.id, &actor(&who), event, live(&who)).await;
    let fetched = fetched.map_err(|error| refused(&error, &id))?;
    let until = fetched.task.rows.iter().find_map(|row| match &row.progress {
        Progress::Sealed { until, .. } => *until,
        _ => None,
    });
    let sealed = console.store().sealed(task.id).await.map_err(failed(&id))?;
    let sealed = sealed.ok_or_else(|| Problem::gone("its time is over: it cannot be shown again"))?;
    Ok(Json(json!({ "enc": sealed["enc"], "ciphertext": sealed["ciphertext"], "until": until })).into_response())
}

/// "I have passed it on": the ciphertext goes in the same transaction.
pub(super) async fn acknowledge(
    Shared(console): Shared<Console>,
    Extension(id): Extension<RequestId>,
    who: SignedIn,
    Path(task): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let sent = Sent::read(&console, request).await?;
    let key = sent.get("key");
    let task = recipient(&console, &who, &task, key, &id).await?;
    let event = Event::Acknowledged { by: who.account.id.to_string(), key: key.to_owned() };
    let mut evidence = live(&who);
    evidence.keep.push(Op::DropSealed { task: task.id });
    let result = console.engine().decide_proven(task.id, &actor(&who), event, evidence).await;
    result.map_err(|error| refused(&error, &id))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
