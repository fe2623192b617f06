//! `/api/v1/…`: reads for programs, behind tokens. JSON, cursor pages (`?limit=&after=`), nothing is changed by a GET.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::pause;
use super::problem::{Problem, RequestId};
use super::state::State;
use super::token;
use crate::domain::{BuriedId, CaseId, ObjectId, RunId, SignalId, TaskId};
use crate::store::{self, Buried, Filter, Listed, Page, Store, Token};

/// Everything below `/api/v1`.
pub(super) fn routes(state: &State) -> Router<State> {
    Router::new()
        .route("/overview", get(overview))
        .route("/cases", get(cases))
        .route("/cases/{id}", get(case))
        .route("/signals/{id}", get(signal))
        .route("/runs/{id}", get(run))
        .route("/tasks", get(tasks))
        .route("/tasks/{id}", get(task))
        .route("/buried", get(buried_list))
        .route("/buried/{id}", get(buried))
        .route("/audit", get(audit))
        .route("/pause", get(pause::show).post(pause::begin).delete(pause::end))
        .fallback(super::nothing)
        .method_not_allowed_fallback(super::wrong_method)
        .layer(from_fn_with_state(state.clone(), token::required))
}

/// A reader: the token may read, and knows where failures are logged.
#[derive(Debug)]
struct Reader {
    state: State,
    store: Arc<dyn Store>,
    id: RequestId,
}

impl Reader {
    fn failed(&self, error: &store::Error) -> Problem {
        Problem::of_store(error, &self.id)
    }

    /// A row, or 404.
    fn found<T>(&self, row: Result<Option<T>, store::Error>, what: &str) -> Result<T, Problem> {
        row.map_err(|error| self.failed(&error))?
            .ok_or_else(|| Problem::not_found(format!("there is no {what} with this id")))
    }
}

impl axum::extract::FromRequestParts<State> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &State) -> Result<Self, Problem> {
        let bearer = parts.extensions.get::<Token>();
        let bearer = bearer.ok_or_else(|| Problem::not_authenticated("send a token").ask_for_token())?;
        token::entitled(bearer, "read")?;
        let id = parts.extensions.get::<RequestId>().cloned().unwrap_or_else(|| RequestId(String::new()));
        Ok(Self { state: state.clone(), store: Arc::clone(state.need_store()?), id })
    }
}

/// Filters and cursor of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    limit: Option<u32>,
    #[serde(default)]
    after: Option<String>,
    /// `true`: only what is not closed, decided or settled.
    #[serde(default)]
    open: bool,
    #[serde(default)]
    object_id: Option<ObjectId>,
    #[serde(default)]
    case: Option<CaseId>,
}

type Question = Result<Query<Asked>, QueryRejection>;
type Named<T> = Result<Path<T>, PathRejection>;

/// Rows per page where nobody asks for a number, and the most there are.
const PAGE: u32 = 50;
const MOST: u32 = 500;

fn asked(question: Question) -> Result<(Filter, Page), Problem> {
    let Query(asked) = question.map_err(|rejection| {
        let detail = format!("{}; known are limit, after, open, object_id and case", rejection.body_text());
        Problem::bad_request(detail)
    })?;
    let limit = asked.limit.unwrap_or(PAGE);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::bad_request(format!("limit must be from 1 to {MOST}")));
    }
    if asked.after.as_deref().is_some_and(|after| after.is_empty() || after.len() > 256) {
        return Err(Problem::bad_request("after must be the `next` of the page before"));
    }
    let filter = Filter { open: asked.open, object_id: asked.object_id, case: asked.case };
    Ok((filter, Page { after: asked.after, limit }))
}

fn named<T>(name: Named<T>) -> Result<T, Problem> {
    match name {
        Ok(Path(id)) => Ok(id),
        Err(_) => Err(Problem::not_found("this is not an id of such a row; ids look like case_ and 32 hex digits")),
    }
}

async fn overview(reader: Reader) -> Result<Json<Value>, Problem> {
    let store = &reader.store;
    let figures = store.figures(reader.state.now()).await.map_err(|error| reader.failed(&error))?;
    let paused = store.setting(pause::PAUSE).await.map_err(|error| reader.failed(&error))?;
    Ok(Json(json!({ "figures": figures, "pause": paused, "ready": reader.state.readiness().is_ready() })))
}

async fn cases(reader: Reader, question: Question) -> Result<Json<Value>, Problem> {
    let (filter, page) = asked(question)?;
    listed(&reader, reader.store.cases(&filter, &page).await)
}

async fn tasks(reader: Reader, question: Question) -> Result<Json<Value>, Problem> {
    let (filter, page) = asked(question)?;
    listed(&reader, reader.store.tasks(&filter, &page).await)
}

async fn buried_list(reader: Reader, question: Question) -> Result<Json<Value>, Problem> {
    let (filter, page) = asked(question)?;
    let rows = reader.store.buried_list(&filter, &page).await.map_err(|error| reader.failed(&error))?;
    // The content may be a megabyte each; `/buried/{id}` has it.
    let items = rows.items.into_iter().map(|row| Buried { content: Value::Null, ..row }).collect();
    listed(&reader, Ok(Listed { items, next: rows.next }))
}

async fn audit(reader: Reader, question: Question) -> Result<Json<Value>, Problem> {
    #[derive(Serialize)]
    struct Line {
        seq: u64,
        #[serde(flatten)]
        audit: store::Audit,
    }
    let (_, page) = asked(question)?;
    let rows = reader.store.audit(&page).await.map_err(|error| reader.failed(&error))?;
    let items = rows.items.into_iter().map(|(seq, audit)| Line { seq, audit }).collect();
    listed(&reader, Ok(Listed { items, next: rows.next }))
}

fn listed<T: Serialize>(reader: &Reader, rows: Result<Listed<T>, store::Error>) -> Result<Json<Value>, Problem> {
    let rows = rows.map_err(|error| reader.failed(&error))?;
    Ok(Json(json!({ "items": rows.items, "next": rows.next })))
}

/// A case with everything in it.
async fn case(reader: Reader, name: Named<CaseId>) -> Result<Json<Value>, Problem> {
    let (id, store) = (named(name)?, &reader.store);
    let case = reader.found(store.case(id).await, "case")?;
    let signals = store.signals_of(id).await.map_err(|error| reader.failed(&error))?;
    let mut runs = Vec::new();
    for (row, journal) in store.runs_of(id).await.map_err(|error| reader.failed(&error))? {
        let effects = store.effects_of(row.id).await.map_err(|error| reader.failed(&error))?;
        runs.push(json!({ "run": row, "journal": journal, "effects": effects }));
    }
    let filter = Filter { case: Some(id), ..Filter::default() };
    let page = Page { after: None, limit: MOST };
    let tasks = store.tasks(&filter, &page).await.map_err(|error| reader.failed(&error))?;
    Ok(Json(json!({ "case": case, "signals": signals, "runs": runs, "tasks": tasks.items })))
}

async fn run(reader: Reader, name: Named<RunId>) -> Result<Json<Value>, Problem> {
    let (id, store) = (named(name)?, &reader.store);
    let (row, journal) = reader.found(store.run(id).await, "run")?;
    let effects = store.effects_of(id).await.map_err(|error| reader.failed(&error))?;
    Ok(Json(json!({ "run": row, "journal": journal, "effects": effects })))
}

async fn signal(reader: Reader, name: Named<SignalId>) -> Result<Json<Value>, Problem> {
    let id = named(name)?;
    Ok(Json(reader.found(reader.store.signal(id).await, "signal")?))
}

async fn task(reader: Reader, name: Named<TaskId>) -> Result<Json<Value>, Problem> {
    let id = named(name)?;
    let task = reader.found(reader.store.task(id).await, "task")?;
    Ok(Json(json!(task)))
}

async fn buried(reader: Reader, name: Named<BuriedId>) -> Result<Json<Value>, Problem> {
    let id = named(name)?;
    let row = reader.found(reader.store.buried(id).await, "buried row")?;
    Ok(Json(json!(row)))
}
