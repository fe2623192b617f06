//! A batch as rows and named statements, made in the caller's task; each backend has its own SQL for the names. Knows no
//! database.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::domain::Identity;
use crate::domain::task::Task;
use crate::store::statement::{Name, Refusal, Statement, Value, Wants};
use crate::store::{
    Acceptance, Batch, Buried, BuriedState, Cap, Delivery, Error, Expect, Op, PersonRow, SignalOutcome, SignalRow,
};

/// A delivery as rows.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) delivery: String,
    pub(super) source: String,
    pub(super) tenant: String,
    pub(super) received_at: i64,
    pub(super) webhook_id: Option<String>,
    pub(super) body: bytes::Bytes,
    pub(super) body_hash: String,
    pub(super) answer: String,
    /// Id and document of each signal.
    pub(super) signals: Vec<(String, String)>,
    pub(super) buried: Option<Statement>,
}

/// A failure without a source of its own.
pub(super) fn plain(what: &'static str, text: &str) -> Error {
    Error::Backend { what, source: text.into() }
}

/// Microseconds since 1970: what columns hold.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// A cap's window may grow by configuration: rows are kept this long at least.
const KEEP_REVOCATIONS: SignedDuration = SignedDuration::from_hours(24);

pub(super) fn json(what: &'static str, value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Backend { what, source: Box::new(error) })
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

macro_rules! statement {
    ($name:expr, [$($value:expr),* $(,)?]) => {
        statement!($name, [$($value),*], Wants::Nothing)
    };
    ($name:expr, [$($value:expr),* $(,)?], $wants:expr) => {
        Statement { name: $name, values: vec![$(Value::from($value)),*], wants: $wants }
    };
}

/// The statements of a batch, in order, after the check of its revision.
pub(super) fn batch(batch: Batch) -> Result<Vec<Statement>, Error> {
    let person = batch.expect.as_ref().map(|expect| expect.identity.clone()).or_else(|| about(&batch.ops));
    let mut statements = Vec::with_capacity(batch.ops.len() + 1);
    statements.extend(batch.expect.map(expectation));
    for op in batch.ops {
        encode(op, person.as_ref(), &mut statements)?;
    }
    Ok(statements)
}

/// How much a job weighs in the writer's lane: bytes, about.
pub(super) fn weight(statements: &[Statement]) -> usize {
    let bytes = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Blob(blob) => blob.len(),
        _ => 8,
    };
    statements.iter().flat_map(|statement| &statement.values).map(bytes).sum()
}

/// Whom a batch without an expectation is about, for the name of a conflict.
fn about(ops: &[Op]) -> Option<Identity> {
    ops.iter().find_map(|op| match op {
        Op::PutPerson(row) => Some(row.identity.clone()),
        Op::PutCase(row) => Some(row.identity.clone()),
        Op::PutRun(row) => Some(row.identity.clone()),
        Op::PutEffect(effect) => Some(effect.identity.clone()),
        Op::PutTask(task) => task.identity.clone(),
        _ => None,
    })
}

fn refusal(person: Option<&Identity>, otherwise: &'static str) -> Refusal {
    person.map_or(Refusal::Settled(otherwise), |identity| Refusal::Conflict(identity.clone()))
}

fn expectation(expect: Expect) -> Statement {
    // The lock file keeps a second worker out: here the revision alone is the fence.
    let Expect { identity, revision, epoch: _ } = expect;
    let (tenant, object_id) = (identity.tenant.to_string(), identity.object_id.to_string());
    if revision == 0 {
        statement!(Name::PersonAny, [tenant, object_id], Wants::Absent(Refusal::Conflict(identity)))
    } else {
        let wants = Wants::Found(Refusal::Conflict(identity));
        statement!(Name::PersonAt, [tenant, object_id, integer(revision)], wants)
    }
}

fn encode(op: Op, person: Option<&Identity>, out: &mut Vec<Statement>) -> Result<(), Error> {
    let statement = match op {
        Op::Dequeue(seq) => statement!(Name::Dequeue, [seq]),
        Op::Requeue { seq, due_at } => statement!(Name::Requeue, [seq, micros(due_at)]),
        Op::TakeSignal(row) => signal(Name::TakeSignal, &row, Wants::OneRow(Refusal::Repeated(row.signal.id)))?,
        Op::PutSignal(row) => signal(Name::PutSignal, &row, Wants::Nothing)?,
        Op::PutDelivery(delivery) => put_delivery(&delivery)?,
        Op::Forward { identity, signal } => statement!(
            Name::Forward,
            [
                signal.id.to_string(),
                identity.tenant.to_string(),
                identity.object_id.to_string(),
                micros(signal.received_at),
                json("a forwarded signal", &signal)?,
            ]
        ),
        Op::DropForwarded(signal) => statement!(Name::DropForwarded, [signal.to_string()]),
        Op::Seen { task, browser } => {
            statement!(Name::Seen, [task.to_string(), micros(browser.at), browser.session])
        }
        Op::Outcome { signal, outcome } => outcome_of(signal.to_string(), &outcome)?,
        Op::PutPlan { hash, json } => statement!(Name::PutPlan, [hash, json]),
        Op::PutPerson(row) => put_person(&row)?,
        Op::PutCase(row) => statement!(
            Name::PutCase,
            [
                row.id.to_string(),
                row.identity.tenant.to_string(),
                row.identity.object_id.to_string(),
                micros(row.opened_at),
                row.closed_at.map(micros),
                row.state.clone(),
                json("a case", &row)?,
            ],
            Wants::OneRow(Refusal::Conflict(row.identity.clone()))
        ),
        Op::PutRun(row) => statement!(
            Name::PutRun,
            [
                row.id.to_string(),
                row.case.to_string(),
                micros(row.opened_at),
                row.closed_at.map(micros),
                json("a run", &row)?,
                row.playbook.clone(),
            ]
        ),
        Op::Journal { run, seq, entry } => statement!(
            Name::Append,
            [run.to_string(), integer(seq), json("a journal entry", &entry)?],
            Wants::OneRow(refusal(person, "the journal already has other entries"))
        ),
        Op::PutEffect(effect) => statement!(
            Name::PutEffect,
            [
                effect.key.to_string(),
                effect.run.to_string(),
                effect.state.word().to_owned(),
                micros(effect.intended_at),
                json("an effect", &effect)?,
            ]
        ),
        Op::PutTask(task) => put_task(&task, person)?,
        Op::PutSealed { task, sealed } => {
            statement!(Name::PutSealed, [task.to_string(), json("a sealed secret", &sealed)?])
        }
        Op::DropSealed { task } => {
            out.push(statement!(Name::BlankSealed, [task.to_string()]));
            statement!(Name::DropSealed, [task.to_string()])
        }
        Op::Bury(buried) => bury(&buried)?,
        Op::SettleBuried { id, state, by, reason, at } => statement!(
            Name::SettleBuried,
            [id.to_string(), word(state).to_owned(), by, reason, micros(at)],
            Wants::OneRow(Refusal::Settled("the buried row is not there, or somebody settled it already"))
        ),
        Op::Audit(audit) => {
            statement!(Name::Audit, [json("an audit record", &audit)?, audit.case.map(|case| case.to_string())])
        }
        Op::CountRevocation { identity, at, cap } => {
            count_revocation(identity, at, cap, out);
            return Ok(());
        }
        Op::PutWaiting(waiting) => statement!(
            Name::PutWaiting,
            [
                waiting.signal.id.to_string(),
                micros(waiting.due_at),
                waiting.attempt,
                waiting.reason.clone(),
                json("a waiting signal", &waiting.signal)?,
            ]
        ),
        Op::DropWaiting(signal) => statement!(Name::DropWaiting, [signal.to_string()]),
        Op::PutSetting { key, value } => statement!(Name::PutSetting, [key, json("a setting", &value)?]),
        Op::SwapSetting { key, was, value } => {
            let wants = Wants::OneRow(Refusal::Changed(key.clone()));
            let value = json("a setting", &value)?;
            match was {
                Some(was) => statement!(Name::SwapSetting, [key, value, json("a setting", &was)?], wants),
                None => statement!(Name::NoSetting, [key, value], wants),
            }
        }
        Op::DropSetting { key } => statement!(Name::DropSetting, [key]),
        Op::PutToken(token) => statement!(
            Name::PutToken,
            [
                token.id.to_string(),
                token.name.clone(),
                token.hash.clone(),
                json("a token", &token.scopes)?,
                micros(token.created_at),
                token.expires_at.map(micros),
                token.revoked_at.map(micros),
            ]
        ),
        Op::Reviewer(change) => return super::reviewers::rows::encode(*change, out),
        Op::RevokeToken { id, at } => statement!(Name::RevokeToken, [id.to_string(), micros(at)]),
    };
    out.push(statement);
    Ok(())
}

fn put_delivery(delivery: &Delivery) -> Result<Statement, Error> {
    Ok(statement!(
        Name::PutDelivery,
        [
            delivery.id.to_string(),
            delivery.source.clone(),
            delivery.tenant.to_string(),
            micros(delivery.received_at),
            delivery.webhook_id.clone(),
            delivery.body_hash.clone(),
            json("an answer", &delivery.answer)?,
            delivery.body.to_vec(),
        ]
    ))
}

fn signal(name: Name, row: &SignalRow, wants: Wants) -> Result<Statement, Error> {
    let identity = row.identity.as_ref();
    Ok(statement!(
        name,
        [
            row.signal.id.to_string(),
            row.signal.source.clone(),
            identity.map(|identity| identity.tenant.to_string()),
            identity.map(|identity| identity.object_id.to_string()),
            row.signal.finding.content.clone(),
            micros(row.signal.received_at),
            row.first_of_content,
            row.outcome.case.map(|case| case.to_string()),
            json("a signal", &row.outcome)?,
            json("a signal", &row.signal)?,
        ],
        wants
    ))
}

fn outcome_of(signal: String, outcome: &SignalOutcome) -> Result<Statement, Error> {
    let case = outcome.case.map(|case| case.to_string());
    Ok(statement!(Name::Outcome, [signal, json("a signal", outcome)?, case]))
}

fn put_person(row: &PersonRow) -> Result<Statement, Error> {
    Ok(statement!(
        Name::PutPerson,
        [
            row.identity.tenant.to_string(),
            row.identity.object_id.to_string(),
            row.owner.map(|epoch| epoch.0),
            row.due_at.map(micros),
            row.urgent,
            row.watch_at.map(micros),
            json("a person", &row.doc)?,
        ]
    ))
}

fn put_task(task: &Task, person: Option<&Identity>) -> Result<Statement, Error> {
    let identity = task.identity.as_ref();
    Ok(statement!(
        Name::PutTask,
        [
            task.id.to_string(),
            integer(standing(task)),
            task.kind.word().to_owned(),
            !task.state.is_terminal(),
            identity.map(|identity| identity.tenant.to_string()),
            identity.map(|identity| identity.object_id.to_string()),
            task.case.map(|case| case.to_string()),
            micros(task.created_at),
            json("a task", task)?,
            task.urgency(),
        ],
        // Of whom a task is about, if anybody; otherwise the task itself was written by somebody else.
        Wants::OneRow(match identity.or(person) {
            Some(person) => Refusal::Conflict(person.clone()),
            None => Refusal::Changed(task.id.to_string()),
        })
    ))
}

/// The word of a buried row's state in tables.
pub(super) fn word(state: BuriedState) -> &'static str {
    match state {
        BuriedState::Buried => "buried",
        BuriedState::Replayed => "replayed",
        BuriedState::Dropped => "dropped",
    }
}

/// The content has a column of its own, so that lists need not read it.
fn bury(buried: &Buried) -> Result<Statement, Error> {
    let head = Buried { content: serde_json::Value::Null, ..buried.clone() };
    Ok(statement!(
        Name::Bury,
        [
            buried.id.to_string(),
            micros(buried.at),
            word(buried.state).to_owned(),
            json("a buried row", &head)?,
            json("a buried row", &buried.content)?,
        ]
    ))
}

fn count_revocation(identity: Identity, at: Timestamp, cap: Option<Cap>, out: &mut Vec<Statement>) {
    let tenant = identity.tenant.to_string();
    out.push(statement!(Name::CountRevocation, [tenant.clone(), identity.object_id.to_string(), micros(at)]));
    let window = cap.map_or(SignedDuration::ZERO, |cap| at.duration_since(cap.since));
    let keep = window.saturating_mul(2).max(KEEP_REVOCATIONS);
    let horizon = at.checked_sub(keep).unwrap_or(Timestamp::MIN);
    out.push(statement!(Name::PruneRevocations, [tenant.clone(), micros(horizon)]));
    if let Some(cap) = cap {
        let wants = Wants::Found(Refusal::OverBlastRadius(identity.tenant));
        out.push(statement!(Name::WithinCap, [tenant, micros(cap.since), cap.revocations], wants));
    }
}

/// The rows of a delivery.
pub(super) fn delivery(acceptance: Acceptance) -> Result<Rows, Error> {
    let mut signals = Vec::with_capacity(acceptance.signals.len());
    for signal in &acceptance.signals {
        signals.push((signal.id.to_string(), json("a signal", signal)?));
    }
    Ok(Rows {
        delivery: acceptance.delivery.to_string(),
        source: acceptance.source,
        tenant: acceptance.tenant.to_string(),
        received_at: micros(acceptance.received_at),
        webhook_id: acceptance.webhook_id,
        body: acceptance.body,
        body_hash: acceptance.body_hash,
        answer: json("an answer", &acceptance.answer)?,
        signals,
        buried: acceptance.buried.as_ref().map(bury).transpose()?,
    })
}

impl Rows {
    /// How much it weighs in the writer's lane: bytes, about.
    pub(super) fn weight(&self) -> usize {
        self.body.len() + self.answer.len() + self.signals.iter().map(|(_, doc)| doc.len()).sum::<usize>()
    }
}

/// Decisions count as revisions; newer evidence counts below them, so that noise never holds off a decision.
fn standing(task: &Task) -> u64 {
    const EVIDENCE: u32 = 20;
    (task.revision << EVIDENCE) | u64::from(task.newer).min((1 << EVIDENCE) - 1)
}
