//! Decisions, each bound to what was shown before a challenge leaves: task, revision, verdict, digest, reason and the
//! browser's key stand in the challenge's row and in the audit trail, and nothing of them is taken from the answer. The
//! challenge is consumed, and the proof kept, in the transaction of the decision.

use axum::Json;
use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::keys::{ask, own, proven, read_json};
use super::oidc;
use super::session::{Id, SignedIn};
use super::state::{SignIn, actor, audit, failed};
use crate::domain::reviewer::{How, MOST_DECISIONS, Proof, Shown, Wanted, nonce_digest};
use crate::domain::task::{Changed, Event, Refusal, Refused, Reviewer, Verdict};
use crate::engine::{DecideError, Evidence, Recorded};
use crate::http::{Problem, RequestId, chain};
use crate::store::Op;
use crate::store::reviewers::{Challenge, Change, Purpose};

/// One decision, or several under one proof, each recorded on its own.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Asked {
    Several {
        decisions: Vec<Wanted>,
    },
    /// As a form of the queue has it: `id/revision/digest` each, one verdict for all.
    Chosen {
        tasks: Vec<String>,
        verdict: Verdict,
        #[serde(default)]
        reason: Option<String>,
    },
    One(Wanted),
}

impl Asked {
    fn wanted(self) -> Result<Vec<Wanted>, Problem> {
        let mut wanted = match self {
            Self::Several { decisions } => decisions,
            Self::One(one) => vec![one],
            Self::Chosen { tasks, verdict, reason } => {
                let parsed = tasks.iter().map(|text| chosen(text, verdict, reason.clone()));
                parsed.collect::<Option<_>>().ok_or_else(|| Problem::unfit("a task is chosen as id/revision/digest"))?
            }
        };
        // An empty field of a form says nothing.
        for one in &mut wanted {
            one.reason = one.reason.take().filter(|reason| !reason.trim().is_empty());
            one.recipient_key = one.recipient_key.take().filter(|key| !key.is_empty());
        }
        Ok(wanted)
    }
}

fn chosen(text: &str, verdict: Verdict, reason: Option<String>) -> Option<Wanted> {
    let mut parts = text.splitn(3, '/');
    let (task, revision, digest) = (parts.next()?, parts.next()?, parts.next()?);
    let (task, revision, digest) = (task.parse().ok()?, revision.parse().ok()?, digest.parse().ok()?);
    Some(Wanted { task, revision, verdict, digest, reason, recipient_key: None })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    ceremony: String,
    credential: Value,
}

/// Binds what is wanted and asks for a fresh proof of it.
pub(super) async fn begin(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
    request: Request,
) -> Result<Response, Problem> {
    sign_in.decider()?;
    let wanted = read_json::<Asked>(&sign_in, request).await?.wanted()?;
    if wanted.is_empty() || wanted.len() > MOST_DECISIONS {
        return Err(Problem::unfit(format!("1 to {MOST_DECISIONS} decisions at once")));
    }
    let mut tasks: Vec<_> = wanted.iter().map(|one| one.task).collect();
    tasks.sort_unstable();
    tasks.dedup();
    if tasks.len() != wanted.len() {
        return Err(Problem::unfit("every task at most once"));
    }
    sign_in.admit_account(&signed_in.account.id)?;
    // The proof that is about to be asked for will be fresh and multi-factor: everything else is judged now.
    let by = sign_in.reviewer(&signed_in.account, &signed_in.session, (sign_in.now(), true), &id).await?;
    let (wanted, left_out) = standing(&sign_in, wanted, &by, &id).await?;
    let passkeys = sign_in.has_passkeys()
        && sign_in
            .store()
            .credentials_of(&signed_in.account.id)
            .await
            .map_err(|error| failed(&error, &id))?
            .iter()
            .any(|one| one.disabled_at.is_none());
    if !passkeys && matches!(signed_in.session.how, How::Oidc { .. }) {
        let purpose = Purpose::Decide { wanted: wanted.clone() };
        let next = match wanted.as_slice() {
            [one] => format!("/console/tasks/{}", one.task),
            _ => "/console/tasks".to_owned(),
        };
        let to = oidc::begin_for(&sign_in, &signed_in, purpose, &next, Vec::new(), &id).await?;
        return Ok(Json(json!({ "redirect": to, "left_out": left_out })).into_response());
    }
    let purpose = Purpose::Decide { wanted: wanted.clone() };
    let (handle, mut options, challenge) = ask(&sign_in, &signed_in, purpose, &id).await?;
    let mut ops: Vec<Op> = begun_audit(&challenge).into_iter().collect();
    ops.push(Change::PutChallenge(Box::new(challenge)).into());
    sign_in.commit(ops, &id).await?;
    options["ceremony"] = json!(handle);
    options["left_out"] = json!(left_out);
    Ok(Json(options).into_response())
}

/// What would be recorded now, and what became of the others: of several, one that was decided meanwhile takes nothing
/// from the rest. Only what would be recorded is bound to the proof.
async fn standing(
    sign_in: &SignIn,
    wanted: Vec<Wanted>,
    by: &Reviewer,
    id: &RequestId,
) -> Result<(Vec<Wanted>, Vec<Value>), Problem> {
    let mut stands = Vec::with_capacity(wanted.len());
    let mut refused = Vec::new();
    for one in wanted {
        match would_stand(sign_in, &one, by, id).await {
            Ok(()) => stands.push(one),
            Err(why) if why.is_ours() => return Err(why),
            Err(why) => refused.push((one.task, why)),
        }
    }
    if stands.is_empty() {
        let several = refused.len() > 1;
        let first = refused.into_iter().next();
        let (task, why) = first.ok_or_else(|| Problem::unfit("nothing is chosen"))?;
        return Err(if several { why.with("task", task.to_string()) } else { why });
    }
    let left_out = refused.into_iter().map(|(task, why)| json!({ "task": task, "problem": why.json() }));
    Ok((stands, left_out.collect()))
}

/// Checks the proof and records the decisions.
pub(super) async fn finish(
    Shared(sign_in): Shared<SignIn>,
    Id(id): Id,
    signed_in: SignedIn,
    request: Request,
) -> Result<Response, Problem> {
    let finish: Finish = read_json(&sign_in, request).await?;
    let expected = Purpose::Decide { wanted: Vec::new() };
    let challenge = own(&sign_in, &signed_in, &finish.ceremony, &expected, &id).await?;
    let (_, asserted, consume) = proven(&sign_in, &signed_in, &challenge, finish.credential, &id).await?;
    let outcomes = record(&sign_in, &signed_in, &challenge, (&asserted.shown, true), consume, &id).await?;
    Ok(answer(&outcomes))
}

/// What became of one decision.
#[derive(Debug)]
pub(super) struct Outcome {
    pub wanted: Wanted,
    pub result: Result<Recorded, DecideError>,
}

/// Records the decisions of a proven challenge, in order, each in a transaction of its own. The first one consumes the
/// challenge; if that fails, nothing happens.
pub(super) async fn record(
    sign_in: &SignIn,
    signed_in: &SignedIn,
    challenge: &Challenge,
    (shown, aal2): (&Shown, bool),
    consume: Vec<Op>,
    id: &RequestId,
) -> Result<Vec<Outcome>, Problem> {
    let Purpose::Decide { wanted } = &challenge.purpose else {
        return Err(Problem::spent("this attempt was begun for something else; begin again"));
    };
    let now = sign_in.now();
    let by = sign_in.reviewer(&signed_in.account, &signed_in.session, (now, aal2), id).await?;
    let mut consume = Some(consume);
    let mut outcomes = Vec::with_capacity(wanted.len());
    for one in wanted {
        let proof = Proof {
            challenge: challenge.id.clone(),
            reviewer: signed_in.account.id.clone(),
            at: now,
            wanted: one.clone(),
            shown_by: shown.clone(),
        };
        let live = Change::IsLive(signed_in.account.id.clone());
        let mut first = vec![Op::from(live)];
        first.extend(consume.take().unwrap_or_default());
        let evidence = Evidence { consume: first, keep: vec![Change::PutProof(Box::new(proof)).into()] };
        let event = Event::Vote(Box::new(one.ballot(by.clone())));
        let result = sign_in.decider()?.decide(one.task, &actor(&signed_in.account.id), event, evidence).await;
        match result {
            Err(DecideError::Spent(what)) if outcomes.is_empty() => {
                sign_in.refused("replayed_challenge");
                return Err(Problem::spent(format!("{what} was used before, has expired or is gone; begin again")));
            }
            // The challenge may not be consumed: nothing else is tried under it.
            Err(error @ (DecideError::Store(_) | DecideError::Busy | DecideError::NoSuchTask))
                if outcomes.is_empty() =>
            {
                return Err(problem_of(&error, id));
            }
            result => outcomes.push(Outcome { wanted: one.clone(), result }),
        }
    }
    Ok(outcomes)
}

/// One decision is answered as itself; several as a list, with what became of each.
fn answer(outcomes: &[Outcome]) -> Response {
    if let [Outcome { result: Err(error), .. }] = outcomes {
        return problem_of(error, &RequestId(String::new())).into_response();
    }
    let rows: Vec<Value> = outcomes.iter().map(row).collect();
    let refused = outcomes.iter().filter(|one| one.result.is_err()).count();
    let status = if refused == 0 { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    (status, Json(json!({ "results": rows, "refused": refused, "location": location(outcomes) }))).into_response()
}

/// What a page says when not all was recorded; `None` when all was.
pub(super) fn refused(outcomes: &[Outcome], id: &RequestId) -> Option<Problem> {
    if let [Outcome { result: Err(error), .. }] = outcomes {
        return Some(problem_of(error, id));
    }
    let why = |one: &Outcome| {
        let error = one.result.as_ref().err()?;
        Some(Changed::new(one.wanted.task.to_string(), "open", error.to_string()))
    };
    let difference: Vec<Changed> = outcomes.iter().filter_map(why).collect();
    let text = format!("{} of {} decisions were not recorded; the others were", difference.len(), outcomes.len());
    (!difference.is_empty()).then(|| Problem::conflict(text).with("difference", json!(difference)))
}

/// Where to go on: the task, or the queue after several.
fn location(outcomes: &[Outcome]) -> String {
    match outcomes {
        [one] => format!("/console/tasks/{}", one.wanted.task),
        _ => "/console/tasks".to_owned(),
    }
}

fn row(outcome: &Outcome) -> Value {
    let task = outcome.wanted.task;
    match &outcome.result {
        Ok(recorded) => json!({
            "task": task, "state": recorded.task.state.word(), "revision": recorded.task.revision,
            "consequences": recorded.consequences,
        }),
        Err(error) => json!({ "task": task, "problem": problem_of(error, &RequestId(String::new())).json() }),
    }
}

/// Asks the machine, without recording anything but the refusal.
async fn would_stand(sign_in: &SignIn, wanted: &Wanted, by: &Reviewer, id: &RequestId) -> Result<(), Problem> {
    let found = sign_in.store().task(wanted.task).await.map_err(|error| failed(&error, id))?;
    let Some(mut task) = found else { return Err(problem_of(&DecideError::NoSuchTask, id)) };
    let now = sign_in.now();
    let (revision, digest, before) = (task.revision, task.digest(), task.state.clone());
    let event = Event::Vote(Box::new(wanted.ballot(by.clone())));
    let refused = match task.apply(event, now) {
        Ok(_) if wanted.revision == revision => return Ok(()),
        Ok(_) => None,
        Err(refused) => Some(refused),
    };
    let moved = "something happened to this task since it was shown; reload the page";
    let detail = json!({
        "task": wanted.task, "verdict": wanted.verdict, "digest": digest.to_string(),
        "what": refused.as_ref().map_or(moved.to_owned(), ToString::to_string),
        "alarming": refused.as_ref().is_some_and(Refused::is_alarming),
    });
    sign_in.commit(vec![audit(now, &format!("reviewer:{}", by.id), "task.refused", detail)], id).await?;
    let Some(refused) = refused else {
        let shown = format!("{}", wanted.revision);
        let difference = [Changed::new("revision", shown, format!("{revision}, {}", before.word()))];
        let problem = Problem::conflict(moved).with("revision", revision).with("difference", json!(difference));
        return Err(problem.recorded());
    };
    let name = match &refused {
        Refused::Conflict { who, .. } => name_of(sign_in, who, id).await?,
        _ => None,
    };
    let problem = problem_of(&DecideError::Refused(refused), id);
    Err(name.into_iter().fold(problem, |problem, name| problem.with("name", name)))
}

/// What people call a reviewer; `None` for nobody's id.
async fn name_of(sign_in: &SignIn, who: &str, id: &RequestId) -> Result<Option<String>, Problem> {
    let Ok(reviewer) = who.parse() else { return Ok(None) };
    let found = sign_in.store().reviewer(&reviewer).await.map_err(|error| failed(&error, id))?;
    Ok(found.map(|account| format!("{} ({who})", account.display_name)))
}

/// The record of what a challenge is bound to, written before it is sent: the random value that will be signed is in it
/// as its SHA-256, so that a record alone helps nobody. `None` for a challenge that is not for a decision.
pub(super) fn begun_audit(challenge: &Challenge) -> Option<Op> {
    let (Purpose::Decide { wanted }, Some(reviewer)) = (&challenge.purpose, &challenge.reviewer) else { return None };
    let detail = json!({ "challenge": challenge.id, "nonce": nonce_digest(nonce_of(challenge)), "bound": wanted });
    Some(audit(challenge.created_at, &actor(reviewer), "decision.begun", detail))
}

/// The random value that the answer must hold.
fn nonce_of(challenge: &Challenge) -> &str {
    let state = &challenge.state;
    state["ast"]["challenge"].as_str().or(state["nonce"].as_str()).unwrap_or_default()
}

/// The only mapping from a decision that was not recorded to its answer.
pub fn problem_of(error: &DecideError, id: &RequestId) -> Problem {
    match error {
        DecideError::NoSuchTask => Problem::not_found("there is no such task"),
        // The engine's door records it, and so does whoever asks beforehand.
        DecideError::Refused(refused) => {
            let text = refused.to_string();
            let problem = match refused.refusal() {
                Refusal::Conflict => Problem::conflict(text),
                Refusal::Forbidden => Problem::forbidden(text),
                Refusal::Invalid => Problem::unfit(text),
            }
            .recorded();
            match refused {
                Refused::Conflict { who, when, what } => problem
                    .with("who", who.as_str())
                    .with("when", when.to_string())
                    .with("what", what.as_str())
                    .with("difference", json!([Changed::new("state", "open", what.as_str())])),
                Refused::Stale { difference } => problem.with("difference", json!(difference)),
                Refused::TooLate { at, .. } => problem
                    .with("when", at.to_string())
                    .with("difference", json!([Changed::new("state", "open", "over")])),
                _ => problem,
            }
        }
        DecideError::Spent(what) => {
            Problem::spent(format!("{what} was used before, has expired or is gone; begin again"))
        }
        DecideError::Busy => Problem::busy("too many people decide at once; try again").retry_after(1),
        DecideError::Store(source) => {
            tracing::error!(request.id = %id.0, error = %chain(source), "a decision could not be stored");
            Problem::not_durable("nothing was decided; try again").retry_after(5)
        }
    }
}
