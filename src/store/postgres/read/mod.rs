//! Reads: rows become the contract's values. A row that does not read back is `Corrupt` and named, never a panic.

pub(super) mod desk;
pub(super) mod figures;
mod lists;
pub(super) mod people;
pub(super) mod picture;
pub(super) mod queue;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::failure::reading;
use crate::store::Error;

pub(super) fn column<'row, T: FromSql<'row>>(row: &'row Row, at: usize, what: &'static str) -> Result<T, Error> {
    row.try_get(at).map_err(reading(what))
}

/// The JSON in column `at`; `name` says whose it is, if it is unreadable.
pub(super) fn doc<T: DeserializeOwned>(row: &Row, at: usize, what: &'static str, name: usize) -> Result<T, Error> {
    serde_json::from_str(column(row, at, what)?).map_err(|error| {
        let number = row.try_get::<_, i64>(name).map(|number| number.to_string());
        let name = number.or_else(|_| row.try_get::<_, String>(name)).unwrap_or_default();
        corrupt(format!("{what} {name}"), error)
    })
}

/// A word (an id, a name) in column `at`, parsed.
pub(super) fn parsed<T: std::str::FromStr>(row: &Row, at: usize, what: &'static str) -> Result<T, Error>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    column::<&str>(row, at, what)?.parse().map_err(|error| corrupt(what.to_owned(), error))
}

pub(super) fn instant(row: &Row, at: usize, what: &'static str) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(column(row, at, what)?).map_err(|error| corrupt(what.to_owned(), error))
}

pub(super) fn instant_if_any(row: &Row, at: usize, what: &'static str) -> Result<Option<Timestamp>, Error> {
    match column::<Option<i64>>(row, at, what)? {
        Some(_) => instant(row, at, what).map(Some),
        None => Ok(None),
    }
}

fn corrupt(what: String, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Corrupt { what, source: Some(Box::new(error)) }
}

pub(super) fn collect<T>(rows: &[Row], map: impl Fn(&Row) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    rows.iter().map(map).collect()
}
