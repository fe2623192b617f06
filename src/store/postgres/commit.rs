//! A batch as one transaction in two round trips: everything in flight together, then the verdict, then the end.
//!
//! The person's row is locked first, the lease is looked at second: so nobody can have taken the person over before,
//! nor can before the transaction ends. Where a batch is refused, a lease that ended is the reason that counts.

use deadpool_postgres::Pool;
use tokio_postgres::Statement as Prepared;

use super::connect::Lent;
use super::failure::{Failed, from_sql, is_lost};
use super::flight::{self, Flight, Param, judged, together, tried};
use super::sql;
use crate::store::rows::Rows;
use crate::store::statement::{Name, Refusal, Statement, Value, Wants};
use crate::store::{Batch, Epoch, Error, rows};

const WHAT: &str = "a batch";
/// Nothing else of a batch waits for others as a person's row does: the level is said, whatever the server's default is.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// One statement of a transaction.
#[derive(Debug)]
struct Step {
    sql: &'static str,
    values: Vec<Value>,
    wants: Wants,
}

/// A transaction, ready to run as often as chance demands.
#[derive(Debug)]
pub(super) struct Transaction {
    steps: Vec<Step>,
    /// Where the lease is looked at.
    fence: Option<usize>,
}

impl Transaction {
    pub(super) fn of(batch: Batch) -> Result<Self, Error> {
        let expect = batch.expect.as_ref().map(|expect| (expect.identity.clone(), expect.revision, expect.epoch));
        let mut steps = of(rows::batch(batch)?);
        let mut fence = None;
        if let Some((identity, revision, epoch)) = expect {
            let key = [Value::from(identity.tenant.to_string()), Value::from(identity.object_id.to_string())];
            let first = steps.iter_mut().find(|step| {
                Some(step.sql) == sql::of(Name::PutPerson) && step.values.get(..2) == Some(key.as_slice())
            });
            if let (0, Some(first)) = (revision, first) {
                first.sql = sql::NEW_PERSON;
                first.wants = Wants::OneRow(Refusal::Conflict(identity));
            }
            if let Some(Epoch(epoch)) = epoch {
                fence = Some(1);
                steps.insert(1, Step { sql: sql::FENCE, values: vec![epoch.into()], wants: Wants::Nothing });
            }
        }
        Ok(Self { steps, fence })
    }

    /// Applies it; it is durable when this returns `Ok`. An answer lost at the commit is an error, though it may have
    /// been applied: the caller finds that out by the revision.
    pub(super) async fn apply(&self, pool: &Pool) -> Result<(), Error> {
        tried(pool, WHAT, |lent| async move {
            let lent = &*lent;
            let judged = judged(WHAT);
            let mut prepared = Vec::with_capacity(self.steps.len());
            for step in &self.steps {
                prepared.push(lent.prepare_cached(step.sql).await.map_err(&judged)?);
            }
            let verdict = self.run(lent, &prepared).await;
            let end = if verdict.is_ok() { "COMMIT" } else { "ROLLBACK" };
            match (lent.batch_execute(end).await, verdict) {
                (Ok(()), verdict) => verdict,
                // What was not committed is as good as rolled back, if only on another connection.
                (Err(_), Err(Failed::For(error) | Failed::Again(error) | Failed::Lost(error))) => {
                    Err(Failed::Again(error))
                }
                (Err(error), Ok(())) if is_lost(&error) => Err(Failed::Lost(from_sql(WHAT, error))),
                (Err(error), Ok(())) => Err(judged(error)),
            }
        })
        .await
    }

    async fn run(&self, lent: &Lent, prepared: &[Prepared]) -> Result<(), Failed> {
        let params: Vec<Vec<Param<'_>>> =
            self.steps.iter().map(|step| step.values.iter().map(|value| value as Param<'_>).collect()).collect();
        let mut flights: Vec<Flight<'_, u64>> = Vec::with_capacity(prepared.len() + 1);
        flights.push(Box::pin(async { lent.batch_execute(BEGIN).await.map(|()| 0) }));
        for (statement, params) in prepared.iter().zip(&params) {
            flights.push(Box::pin(lent.execute(statement, params)));
        }
        let mut answers = together(flights).await.into_iter();
        answers.next().unwrap_or(Ok(0)).map_err(judged(WHAT))?;
        let answers: Vec<_> = answers.collect();
        if let Some(Ok(0)) = self.fence.and_then(|at| answers.get(at)) {
            return Err(Failed::For(Error::Fenced));
        }
        for (step, answer) in self.steps.iter().zip(answers) {
            judge(&step.wants, answer)?;
        }
        Ok(())
    }
}

/// The statements as this backend writes them. Counting against a cap comes last: one transaction of a tenant at a time
/// is past that point.
fn of(statements: Vec<Statement>) -> Vec<Step> {
    let is_count = |name: Name| matches!(name, Name::CountRevocation | Name::PruneRevocations | Name::WithinCap);
    let (counts, others): (Vec<_>, Vec<_>) = statements.into_iter().partition(|statement| is_count(statement.name));
    let capped = counts.iter().find(|statement| statement.name == Name::WithinCap);
    let lock = capped.and_then(|statement| statement.values.first().cloned()).map(|tenant| Step {
        sql: sql::LOCK_CAP,
        values: vec![tenant],
        wants: Wants::Nothing,
    });
    let step = |Statement { name, values, wants }: Statement| Some(Step { sql: sql::of(name)?, values, wants });
    others.into_iter().filter_map(step).chain(lock).chain(counts.into_iter().filter_map(step)).collect()
}

fn judge(wants: &Wants, answer: Result<u64, tokio_postgres::Error>) -> Result<(), Failed> {
    match (wants, answer) {
        (Wants::OneRow(refusal), Err(error)) if error.code().is_some_and(|code| code.code().starts_with("23")) => {
            Err(Failed::For(refusal.error()))
        }
        (_, Err(error)) => Err(judged(WHAT)(error)),
        (Wants::OneRow(refusal), Ok(count)) if count != 1 => Err(Failed::For(refusal.error())),
        (Wants::Found(refusal), Ok(0)) => Err(Failed::For(refusal.error())),
        (Wants::Absent(refusal), Ok(count)) if count > 0 => Err(Failed::For(refusal.error())),
        _ => Ok(()),
    }
}

/// Stores a delivery with its signals; the answer kept of the same one, if it came before.
pub(super) async fn accept(pool: &Pool, delivery: Rows) -> Result<Option<String>, Error> {
    const WHAT: &str = "a delivery";
    let text = |text: &str| Value::from(text.to_owned());
    let (source, hash) = (text(&delivery.source), text(&delivery.body_hash));
    let webhook_id = Value::from(delivery.webhook_id);
    let (signals, docs): (Vec<String>, Vec<String>) = delivery.signals.into_iter().unzip();
    let buried = delivery.buried.map(|statement| statement.values).unwrap_or_else(|| vec![Value::Null; 5]);
    let (id, tenant, answer) = (text(&delivery.delivery), text(&delivery.tenant), text(&delivery.answer));
    let body: &[u8] = &delivery.body;
    let mut params: Vec<Param<'_>> =
        vec![&id, &source, &tenant, &delivery.received_at, &webhook_id, &hash, &answer, &body, &signals, &docs];
    params.extend(buried.iter().map(|value| value as Param<'_>));
    let params = params.as_slice();
    let put = tried(pool, WHAT, |lent| async move {
        let statement = lent.prepare_cached(sql::ACCEPT).await.map_err(judged(WHAT))?;
        match lent.query_one(&statement, params).await {
            Ok(row) => row.try_get::<_, i64>(0).map_err(judged(WHAT)),
            // Whether it was stored is unknown: the sender comes again, and its id tells.
            Err(error) if is_lost(&error) => Err(Failed::Lost(from_sql(WHAT, error))),
            Err(error) => Err(judged(WHAT)(error)),
        }
    })
    .await?;
    if put > 0 {
        return Ok(None);
    }
    let known = flight::rows(pool, WHAT, sql::KNOWN_DELIVERY, &[&source, &webhook_id, &hash]).await?;
    match known.first() {
        Some(row) => row.try_get(0).map(Some).map_err(super::failure::reading("answer")),
        None => Err(rows::plain(WHAT, "the same delivery is gone again")),
    }
}

/// Buries rows that do not read back; a failure leaves them where they are, to be met again.
pub(super) async fn set_aside(pool: &Pool, bad: Vec<Vec<Statement>>) {
    for statements in bad {
        let transaction = Transaction { steps: of(statements), fence: None };
        let _ = transaction.apply(pool).await;
    }
}

/// Audit records numbered at once, at most.
const NUMBERED: i64 = 5_000;

/// Gives the audit records that are visible now their numbers. One process at a time does it; where this one must not
/// write, another will.
pub(super) async fn number_audit(pool: &Pool) -> Result<(), Error> {
    while !flight::rows(pool, "the audit trail", sql::AUDIT_LEFT, &[]).await?.is_empty() {
        let steps = vec![
            Step { sql: sql::LOCK_AUDIT, values: Vec::new(), wants: Wants::Nothing },
            Step { sql: sql::NUMBER_AUDIT, values: vec![NUMBERED.into()], wants: Wants::Nothing },
        ];
        match (Transaction { steps, fence: None }).apply(pool).await {
            Err(Error::Away(_)) => break,
            other => other?,
        }
    }
    Ok(())
}
