//! Statements in flight together: all are sent before the first answer is waited for, so that a transaction costs round
//! trips by its decisions, not by its statements.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use deadpool_postgres::Pool;
use futures_util::future::{MaybeDone, maybe_done};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::connect::Lent;
use super::failure::{Failed, from_sql, may_succeed, no_connection, too_late};
use crate::store::Error;

/// Longer than the server lets any statement run: beyond it the network is at fault.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// How often what failed by chance is tried.
const TRIES: u32 = 4;

pub(super) type Param<'a> = &'a (dyn ToSql + Sync);
pub(super) type Flight<'a, T> = Pin<Box<dyn Future<Output = Result<T, tokio_postgres::Error>> + Send + 'a>>;

/// Runs all of them; each is sent, in order, before any answer is waited for.
pub(super) async fn together<T>(flights: Vec<Flight<'_, T>>) -> Vec<Result<T, tokio_postgres::Error>> {
    let mut flights: Vec<_> = flights.into_iter().map(|flight| Box::pin(maybe_done(flight))).collect();
    std::future::poll_fn(|cx| {
        let mut done = true;
        for flight in &mut flights {
            // The first poll of each sends it.
            if !matches!(**flight, MaybeDone::Done(_)) {
                done &= flight.as_mut().poll(cx).is_ready();
            }
        }
        if done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    flights.into_iter().filter_map(|mut flight| flight.as_mut().take_output()).collect()
}

/// Does something on a connection, a few times if it fails by chance. A connection that failed is not used again.
pub(super) async fn tried<T, F>(
    pool: &Pool,
    what: &'static str,
    mut deed: impl FnMut(Arc<Lent>) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Failed>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        let lent = match Lent::of(pool).await {
            Ok(lent) => Arc::new(lent),
            Err(error) => return Err(no_connection(what, error)),
        };
        match tokio::time::timeout(ANSWERED_WITHIN, deed(Arc::clone(&lent))).await {
            Err(_) => return Err(too_late()),
            Ok(Ok(value)) => {
                lent.keep();
                return Ok(value);
            }
            Ok(Err(Failed::For(error))) => {
                lent.keep();
                return Err(error);
            }
            Ok(Err(Failed::Lost(error))) => return Err(error),
            Ok(Err(Failed::Again(error))) if tries >= TRIES => return Err(error),
            Ok(Err(Failed::Again(_))) => {}
        }
        // Two that met in a deadlock must not meet again at once.
        let pause = rand::random_range(1..=5 * u64::from(tries));
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// For `map_err`: whether to try again, by what the driver said.
pub(super) fn judged(what: &'static str) -> impl Fn(tokio_postgres::Error) -> Failed {
    move |error| {
        let again = may_succeed(&error);
        let error = from_sql(what, error);
        if again { Failed::Again(error) } else { Failed::For(error) }
    }
}

/// The rows of one statement, outside of any transaction.
pub(super) async fn rows(
    pool: &Pool,
    what: &'static str,
    sql: &'static str,
    params: &[Param<'_>],
) -> Result<Vec<Row>, Error> {
    tried(pool, what, |lent| async move {
        let statement = lent.prepare_cached(sql).await.map_err(judged(what))?;
        lent.query(&statement, params).await.map_err(judged(what))
    })
    .await
}

/// The rows of several statements, of one moment and in one round trip.
pub(super) async fn moment<const N: usize>(
    pool: &Pool,
    what: &'static str,
    statements: [(&'static str, &[Param<'_>]); N],
) -> Result<[Vec<Row>; N], Error> {
    const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let statements = &statements;
    tried(pool, what, |lent| async move {
        let lent = &*lent;
        let mut prepared = Vec::with_capacity(N);
        for (sql, _) in statements {
            prepared.push(lent.prepare_cached(sql).await.map_err(judged(what))?);
        }
        let mut flights: Vec<Flight<'_, Vec<Row>>> = Vec::with_capacity(N + 2);
        flights.push(Box::pin(async { lent.batch_execute(BEGIN).await.map(|()| Vec::new()) }));
        for (statement, (_, params)) in prepared.iter().zip(statements) {
            flights.push(Box::pin(lent.query(statement, params)));
        }
        flights.push(Box::pin(async { lent.batch_execute("COMMIT").await.map(|()| Vec::new()) }));
        let mut answers = together(flights).await.into_iter().collect::<Result<Vec<_>, _>>().map_err(|error| {
            // The transaction is over either way; the connection is only as good as before.
            judged(what)(error)
        })?;
        answers.pop();
        let mut answers = answers.into_iter().skip(1);
        Ok(std::array::from_fn(|_| answers.next().unwrap_or_default()))
    })
    .await
}

/// How many rows one statement changed, in a transaction of its own. Repeating it must do no harm.
pub(super) async fn execute(
    pool: &Pool,
    what: &'static str,
    sql: &'static str,
    params: &[Param<'_>],
) -> Result<u64, Error> {
    tried(pool, what, |lent| async move {
        let statement = lent.prepare_cached(sql).await.map_err(judged(what))?;
        lent.execute(&statement, params).await.map_err(judged(what))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_are_begun_in_order_before_any_is_waited_for() {
        let begun = std::sync::Mutex::new(Vec::new());
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let (begun, mut sender, mut receiver) = (&begun, Some(sender), Some(receiver));
        let flights: Vec<Flight<'_, usize>> = (0..40)
            .map(|number| -> Flight<'_, usize> {
                let (send, wait) = if number == 39 { (sender.take(), None) } else { (None, receiver.take()) };
                Box::pin(async move {
                    begun.lock().expect("nobody panics").push(number);
                    drop(send);
                    if let Some(wait) = wait {
                        let _ = wait.await;
                    }
                    Ok(number)
                })
            })
            .collect();
        let answers: Vec<_> = together(flights).await.into_iter().map(|answer| answer.expect("made so")).collect();
        assert_eq!(answers, (0..40).collect::<Vec<_>>());
        assert_eq!(*begun.lock().expect("nobody panics"), answers);
    }
}
