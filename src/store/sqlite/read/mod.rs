//! Reads: rows become the contract's values. A row that does not read back is `Corrupt` and named, never a panic.

pub(super) mod desk;
pub(super) mod figures;
pub(super) mod people;
pub(super) mod picture;
pub(super) mod queue;

use jiff::Timestamp;
use rusqlite::{Connection, Params, Row};
use serde::de::DeserializeOwned;

use super::encode::micros;
use super::failure::reading;
use crate::store::{Error, Listed, Page};

/// Every row of a statement.
pub(super) fn all<T>(
    conn: &Connection,
    what: &'static str,
    sql: &'static str,
    params: impl Params,
    mut map: impl FnMut(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut statement = conn.prepare_cached(sql).map_err(reading(what))?;
    let mut rows = statement.query(params).map_err(reading(what))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(reading(what))? {
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
    let mut statement = conn.prepare_cached(sql).map_err(reading(what))?;
    let mut rows = statement.query(params).map_err(reading(what))?;
    rows.next().map_err(reading(what))?.map(map).transpose()
}

/// Several reads of one moment.
fn snapshot<T>(conn: &Connection, read: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
    let moment = conn.unchecked_transaction().map_err(reading("a snapshot"))?;
    read(&moment)
}

pub(super) fn column<T: rusqlite::types::FromSql>(row: &Row<'_>, at: usize, what: &'static str) -> Result<T, Error> {
    row.get(at).map_err(reading(what))
}

/// A text column, borrowed.
fn text<'row>(row: &'row Row<'_>, at: usize, what: &'static str) -> Result<&'row str, Error> {
    let value = row.get_ref(at).map_err(reading(what))?;
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

/// Where a page of a list (newest first) begins, and how many rows it has.
#[derive(Debug)]
struct Window {
    before: i64,
    before_id: String,
    limit: usize,
}

const MOST: u32 = 500;
const USUAL: u32 = 100;

fn limit(page: &Page) -> usize {
    let limit = if page.limit == 0 { USUAL } else { page.limit.min(MOST) };
    limit as usize
}

/// `n + 1` as `SQLite` counts: one row more tells whether there is a next page.
fn and_one(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

impl Window {
    /// A cursor is an instant in hexadecimal microseconds and an id; opaque to callers, and checked.
    fn of(page: &Page) -> Result<Self, Error> {
        let limit = limit(page);
        let Some(cursor) = page.after.as_deref() else {
            return Ok(Self { before: i64::MAX, before_id: String::new(), limit });
        };
        let plain = |id: &str| id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let (at, id) = cursor.split_once('.').filter(|(_, id)| plain(id)).ok_or(Error::BadCursor)?;
        let before = i64::from_str_radix(at, 16).map_err(|_| Error::BadCursor)?;
        Ok(Self { before, before_id: id.to_owned(), limit })
    }
}

/// Cuts the surplus row off and says where the next page begins.
fn paged<T>(mut rows: Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> String) -> Listed<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(cursor) } else { None };
    Listed { items: rows, next }
}

fn cursor(at: Timestamp, id: &impl std::fmt::Display) -> String {
    format!("{:x}.{id}", micros(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_a_forged_one_is_refused() {
        let at: Timestamp = "2026-11-22T10:00:00Z".parse().expect("an instant");
        let page = |after: &str| Page { after: Some(after.to_owned()), limit: 0 };
        let window = Window::of(&page(&cursor(at, &"case_7"))).expect("ours");
        assert_eq!((window.before, window.before_id.as_str(), window.limit), (micros(at), "case_7", 100));
        for forged in
            ["", "7", "x.case_7", "7.case 7", "7.';--", &format!("7.{}", "a".repeat(65)), "ffffffffffffffffff.a"]
        {
            assert!(matches!(Window::of(&page(forged)), Err(Error::BadCursor)), "{forged}");
        }
    }

    #[test]
    fn a_page_is_never_larger_than_500_rows() {
        let limits = [0, 1, 500, 501, u32::MAX].map(|limit| super::limit(&Page { after: None, limit }));
        assert_eq!(limits, [100, 1, 500, 500, 500]);
    }
}
