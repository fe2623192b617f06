//! Reads: rows become the contract's values. A row that does not read back is `Corrupt` and named, never a panic.

pub(super) mod desk;
pub(super) mod figures;
mod lists;
pub(super) mod people;
pub(super) mod picture;
pub(super) mod queue;

use jiff::Timestamp;
use rusqlite::{Connection, Params, Row};
use serde::de::DeserializeOwned;

use super::failure::failed_at;
use crate::store::Error;
use crate::store::page::{Window, and_one, cursor, limit, paged};

/// Every row of a statement.
pub(super) fn all<T>(
    conn: &Connection,
    what: &'static str,
    sql: &'static str,
    params: impl Params,
    mut map: impl FnMut(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut statement = conn.prepare_cached(sql).map_err(failed_at(what))?;
    let mut rows = statement.query(params).map_err(failed_at(what))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed_at(what))? {
        found.push(map(row)?);
    }
    Ok(found)
}

/// The first row of a statement, if there is one.
pub(super) fn one<T>(
    conn: &Connection,
    what: &'static str,
    sql: &'static str,
    params: impl Params,
    map: impl FnOnce(&Row<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let mut statement = conn.prepare_cached(sql).map_err(failed_at(what))?;
    let mut rows = statement.query(params).map_err(failed_at(what))?;
    rows.next().map_err(failed_at(what))?.map(map).transpose()
}

/// Several reads of one moment.
fn snapshot<T>(conn: &Connection, read: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
    let moment = conn.unchecked_transaction().map_err(failed_at("a snapshot"))?;
    read(&moment)
}

pub(super) fn column<T: rusqlite::types::FromSql>(row: &Row<'_>, at: usize, what: &'static str) -> Result<T, Error> {
    row.get(at).map_err(failed_at(what))
}

/// A text column, borrowed.
fn text<'row>(row: &'row Row<'_>, at: usize, what: &'static str) -> Result<&'row str, Error> {
    let value = row.get_ref(at).map_err(failed_at(what))?;
    value.as_str().map_err(|error| corrupt(what.to_owned(), error))
}

/// The JSON in column `at`; `name` says whose it is, if it is unreadable.
pub(super) fn doc<T: DeserializeOwned>(row: &Row<'_>, at: usize, what: &'static str, name: usize) -> Result<T, Error> {
    serde_json::from_str(text(row, at, what)?).map_err(|error| {
        let name = row.get_ref(name).ok().map(|value| match value {
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            other => other.as_str().unwrap_or("?").to_owned(),
        });
        corrupt(format!("{what} {}", name.unwrap_or_default()), error)
    })
}

/// A word (an id, a name) in column `at`, parsed.
pub(super) fn parsed<T: std::str::FromStr>(row: &Row<'_>, at: usize, what: &'static str) -> Result<T, Error>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text(row, at, what)?.parse().map_err(|error| corrupt(what.to_owned(), error))
}

pub(super) fn instant(row: &Row<'_>, at: usize, what: &'static str) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(column(row, at, what)?).map_err(|error| corrupt(what.to_owned(), error))
}

pub(super) fn instant_if_any(row: &Row<'_>, at: usize, what: &'static str) -> Result<Option<Timestamp>, Error> {
    match column::<Option<i64>>(row, at, what)? {
        Some(_) => instant(row, at, what).map(Some),
        None => Ok(None),
    }
}

fn corrupt(what: String, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Corrupt { what, source: Some(Box::new(error)) }
}
