//! Pages of lists: where one begins, how many rows it has, and the cursor of the next. Knows no database.

use jiff::Timestamp;

use super::rows::micros;
use super::{Error, Listed, Page};

/// Where a page of a list (newest first) begins, and how many rows it has.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) before: i64,
    pub(super) before_id: String,
    pub(super) limit: usize,
}

const MOST: u32 = 500;
const USUAL: u32 = 100;

pub(super) fn limit(page: &Page) -> usize {
    let limit = if page.limit == 0 { USUAL } else { page.limit.min(MOST) };
    limit as usize
}

/// `n + 1` as databases count: one row more tells whether there is a next page.
pub(super) fn and_one(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

impl Window {
    /// A cursor is an instant in hexadecimal microseconds and an id; opaque to callers, and checked.
    pub(super) fn of(page: &Page) -> Result<Self, Error> {
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

impl Window {
    /// Of a list that goes upwards.
    pub(super) fn upwards(page: &Page) -> Result<Self, Error> {
        let window = Self::of(page)?;
        Ok(if page.after.is_none() { Self { before: i64::MIN, ..window } } else { window })
    }
}

/// Cuts the surplus row off and says where the next page begins.
pub(super) fn paged<T>(mut rows: Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> String) -> Listed<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(cursor) } else { None };
    Listed { items: rows, next }
}

pub(super) fn cursor(at: Timestamp, id: &impl std::fmt::Display) -> String {
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
