//! What the database said, as the contract's errors: decided once, here.

use rusqlite::ErrorCode;

use crate::store::Error;

/// Translates an error of the driver met while doing `what`.
pub(super) fn from_sql(what: &'static str, error: rusqlite::Error) -> Error {
    use rusqlite::Error as Sql;
    match &error {
        Sql::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                Error::Corrupt { what: "database file".to_owned(), source: Some(Box::new(error)) }
            }
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Error::Away("another process keeps the file locked".to_owned())
            }
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed => Error::Away(error.to_string()),
            _ => Error::Backend { what, source: Box::new(error) },
        },
        Sql::FromSqlConversionFailure(..)
        | Sql::InvalidColumnType(..)
        | Sql::IntegralValueOutOfRange(..)
        | Sql::Utf8Error(..) => Error::Corrupt { what: what.to_owned(), source: Some(Box::new(error)) },
        _ => Error::Backend { what, source: Box::new(error) },
    }
}

/// For `map_err`: an error met while doing `what`.
pub(super) fn failed_at(what: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |error| from_sql(what, error)
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
        Error::Away(text) => Error::Away(text.clone()),
        Error::Corrupt { what, source } => {
            Error::Corrupt { what: what.clone(), source: source.as_ref().map(|inner| inner.to_string().into()) }
        }
        Error::Unusable(text) => Error::Unusable(text.clone()),
        Error::BadCursor => Error::BadCursor,
        Error::Backend { what, source } => Error::Backend { what, source: source.to_string().into() },
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_had_is_away_for_readers_as_for_writers() {
        let met = |code| failed_at("cases")(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        let away = [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_LOCKED,
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_CANTOPEN,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_NOMEM,
        ];
        for code in away {
            assert!(matches!(met(code), Error::Away(_)), "{code}: {:?}", met(code));
        }
        assert!(matches!(met(ffi::SQLITE_CORRUPT), Error::Corrupt { .. }));
        assert!(matches!(met(ffi::SQLITE_ERROR), Error::Backend { .. }));
    }
}
