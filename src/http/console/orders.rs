//! `POST /console/cases/{id}/orders`: what somebody asks for by hand in a case becomes a task. Nothing is decided here: the
//! asker decides it with the next proof, or somebody else does.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer::{Deed, Sent};
use super::state::{Console, may_act};
use super::view::orders::needs;
use super::view::paths;
use crate::domain::CaseId;
use crate::domain::plan::StepId;
use crate::domain::task::Order;
use crate::engine::{self, OrderError};
use crate::http::problem::chain;
use crate::http::{Problem, RequestId};

/// Longest reason, in characters.
const REASON: usize = 2_000;
/// Longest name of a step, in characters.
const STEP: usize = 200;

impl Console {
    /// What can be ordered in a case now.
    pub(super) async fn offers(&self, case: CaseId, closed: bool, id: &RequestId) -> Result<Vec<Order>, Problem> {
        if closed {
            return Ok(Vec::new());
        }
        match self.engine().offers(case).await {
            Ok(offers) => Ok(offers),
            Err(OrderError::NoSuchCase) => Ok(Vec::new()),
            Err(error) => Err(refused(&error, id)),
        }
    }
}

/// Writes an order down.
pub(super) async fn order(deed: Deed) -> Result<Response, Problem> {
    let actor = deed.actor();
    let Deed { console, id, who, about: case, sent } = deed;
    let case: CaseId = case.parse().map_err(|_| refused(&OrderError::NoSuchCase, &id))?;
    let order = order_of(&sent)?;
    who.require(needs(&order))?;
    console.sign_in().admit_account(&who.account.id)?;
    // One form may hold several buttons: only a reset is decided under a policy of its choice.
    let policy = if order == Order::Reset { sent.text("policy", 100)? } else { None };
    let asked =
        engine::Asked { order, reason: sent.text("reason", REASON)?, policy, by: console.proved(&who, &id).await? };
    let task = console.engine().order(case, asked, &actor).await;
    let task = task.map_err(|error| refused(&error, &id))?;
    let location = paths::task(task.id);
    if sent.is_page() {
        return Ok(sent.done(&location));
    }
    let decide = task.requester.is_none() && may_act(&who);
    Ok(Json(json!({
        "location": location, "task": task.id, "revision": task.revision, "digest": task.digest(), "decide": decide,
        "reveals": task.reveals(),
    }))
    .into_response())
}

fn order_of(sent: &Sent) -> Result<Order, Problem> {
    let run = || sent.get("run").parse().map_err(|_| Problem::unfit("run is no id of a run"));
    let step = || match sent.text("step", STEP)? {
        Some(step) => Ok(StepId(step)),
        None => Err(Problem::unfit("step is missing")),
    };
    let settled = |applied| Ok::<_, Problem>(Order::Settle { run: run()?, step: step()?, applied });
    Ok(match sent.get("order") {
        "revoke" => Order::Revoke,
        "reset" => Order::Reset,
        "confirm_compromised" => Order::ConfirmCompromised,
        "dismiss_risk" => Order::DismissRisk,
        "again" => Order::Again { run: run()?, step: step()? },
        "skip" => Order::Skip { run: run()?, step: step()? },
        "took_effect" => settled(true)?,
        "took_no_effect" => settled(false)?,
        "cancel" => Order::Cancel { run: run()? },
        "close" => Order::Close,
        _ => return Err(Problem::unfit("there is no such order")),
    })
}

fn refused(error: &OrderError, id: &RequestId) -> Problem {
    let text = error.to_string();
    let problem = match error {
        OrderError::NoSuchCase => Problem::not_found(text),
        OrderError::AlreadyAsked { task, .. } => {
            Problem::conflict(text).with("task", task.to_string()).with("location", paths::task(*task))
        }
        OrderError::Closed | OrderError::Shadow | OrderError::Unfit(_) => Problem::conflict(text),
        OrderError::Role | OrderError::Forbidden(_) => Problem::forbidden(text),
        OrderError::NoReason(_) | OrderError::LongReason { .. } | OrderError::NoSuchPolicy(_) => Problem::unfit(text),
        OrderError::Busy => Problem::busy(text).retry_after(1),
        OrderError::Store(_) => {
            tracing::error!(request.id = %id.0, error = %chain(error), "an order could not be stored");
            Problem::not_durable("nothing was asked for; try again").retry_after(5)
        }
    };
    match error {
        OrderError::NoSuchCase => problem,
        // The engine recorded it.
        _ => problem.recorded(),
    }
}
