//! What the database said, as the contract's errors: decided once, here. No message holds a password or a row.

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::store::Error;

/// What can be done about a failure.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing was written; another try may well succeed.
    Again(Error),
    /// That is the answer.
    For(Error),
    /// That is the answer, and the connection is of no use any more.
    Lost(Error),
}

/// An error in words: the server's code and message without the details, which may quote a row.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// True when the connection is of no use any more.
pub(super) fn is_lost(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        // 57P01 to 57P05: the server ends the session. 08xxx: it broke.
        Some(code) => code.code().starts_with("57P") || code.code().starts_with("08"),
        None => error.is_closed() || has_io(error),
    }
}

fn has_io(error: &tokio_postgres::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.is::<std::io::Error>() {
            return true;
        }
        source = inner.source();
    }
    false
}

/// True when the same again on another connection may succeed: a deadlock, a lost connection before the commit, a
/// statement prepared for a schema that changed meanwhile.
pub(super) fn may_succeed(error: &tokio_postgres::Error) -> bool {
    is_lost(error)
        || error.code().is_some_and(|code| {
            [
                SqlState::T_R_DEADLOCK_DETECTED,
                SqlState::T_R_SERIALIZATION_FAILURE,
                SqlState::FEATURE_NOT_SUPPORTED,
                SqlState::INVALID_SQL_STATEMENT_NAME,
            ]
            .contains(code)
        })
}

/// Translates an error of the driver met while doing `what`.
pub(super) fn from_sql(what: &'static str, error: tokio_postgres::Error) -> Error {
    let code = error.code().map(|code| code.code().to_owned());
    match code.as_deref() {
        Some(code) if code.starts_with("XX001") || code.starts_with("XX002") => {
            Error::Corrupt { what: "database".to_owned(), source: Some(told(&error).into()) }
        }
        // 08 connection, 25006 a standby, 28 and 42501 rights, 53 resources, 55P03 a lock, 57 stopped, 58 its disk.
        Some(code)
            if ["08", "25006", "28", "42501", "53", "55P03", "57", "58"].iter().any(|like| code.starts_with(like)) =>
        {
            Error::Away(told(&error))
        }
        None if is_lost(&error) => Error::Away(told(&error)),
        Some(_) => Error::Backend { what, source: told(&error).into() },
        None => Error::Backend { what, source: Box::new(error) },
    }
}

/// No connection was to be had.
pub(super) fn no_connection(what: &'static str, error: PoolError) -> Error {
    Error::Away(match error {
        PoolError::Timeout(_) => "no connection to the database became free in time".to_owned(),
        PoolError::Backend(error) => return from_sql(what, error),
        PoolError::Closed => "the store is closed".to_owned(),
        other => other.to_string(),
    })
}

/// A statement was answered too late, or not at all.
pub(super) fn too_late() -> Error {
    Error::Away("the database did not answer in time".to_owned())
}

/// For `map_err`: a value that does not read back.
pub(super) fn reading(what: &'static str) -> impl Fn(tokio_postgres::Error) -> Error {
    move |error| Error::Corrupt { what: what.to_owned(), source: Some(Box::new(error)) }
}
