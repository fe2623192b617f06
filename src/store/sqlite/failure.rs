//! What the database said, as the contract's errors: decided once, here.

use rusqlite::ErrorCode;

use crate::store::Error;

/// Which side failed: a write that could not be made durable heals by itself, a read is only reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Read,
    Write,
}

/// Translates an error of the driver met while doing `what`.
pub(super) fn from_sql(side: Side, what: &'static str, error: rusqlite::Error) -> Error {
    use rusqlite::Error as Sql;
    match &error {
        Sql::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                Error::Corrupt { what: "database file".to_owned(), source: Some(Box::new(error)) }
            }
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked if side == Side::Write => {
                Error::CannotPersist("another process keeps the file locked".to_owned())
            }
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed
                if side == Side::Write =>
            {
                Error::CannotPersist(error.to_string())
            }
            _ => Error::Backend { what, source: Box::new(error) },
        },
        Sql::FromSqlConversionFailure(..)
        | Sql::InvalidColumnType(..)
        | Sql::IntegralValueOutOfRange(..)
        | Sql::Utf8Error(..) => Error::Corrupt { what: what.to_owned(), source: Some(Box::new(error)) },
        _ => Error::Backend { what, source: Box::new(error) },
    }
}

/// For `map_err`: an error met while reading `what`.
pub(super) fn reading(what: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |error| from_sql(Side::Read, what, error)
}

/// For `map_err`: an error met while writing `what`.
pub(super) fn writing(what: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |error| from_sql(Side::Write, what, error)
}

/// The same failure for one more caller: a failed commit fails every batch of its group.
pub(super) fn again(error: &Error) -> Error {
    match error {
        Error::Conflict(identity) => Error::Conflict(identity.clone()),
        Error::Fenced => Error::Fenced,
        Error::Repeated(signal) => Error::Repeated(*signal),
        Error::Spent(what) => Error::Spent(what),
        Error::Taken(what) => Error::Taken(what),
        Error::Changed(key) => Error::Changed(key.clone()),
        Error::OverBlastRadius(tenant) => Error::OverBlastRadius(tenant.clone()),
        Error::CannotPersist(text) => Error::CannotPersist(text.clone()),
        Error::Corrupt { what, source } => {
            Error::Corrupt { what: what.clone(), source: source.as_ref().map(|inner| inner.to_string().into()) }
        }
        Error::Unusable(text) => Error::Unusable(text.clone()),
        Error::BadCursor => Error::BadCursor,
        Error::Backend { what, source } => Error::Backend { what, source: source.to_string().into() },
    }
}
