//! The whole store as text, for tests that compare stores.

use std::fmt::Write as _;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::super::failure::failed_at;
use super::super::sql;
use super::{all, column, snapshot};
use crate::store::Error;

const WHAT: &str = "picture";

/// Tables by name, rows sorted by their text.
pub(in super::super) fn picture(conn: &Connection) -> Result<String, Error> {
    snapshot(conn, |conn| {
        let tables: Vec<String> = all(conn, WHAT, sql::TABLES, [], |row| column(row, 0, WHAT))?;
        let mut text = String::new();
        for table in tables {
            let mut lines = rows(conn, &table)?;
            lines.sort_unstable();
            let _ = writeln!(text, "{table}: {}", lines.len());
            for line in lines {
                let _ = writeln!(text, "  {line}");
            }
        }
        Ok(text)
    })
}

fn rows(conn: &Connection, table: &str) -> Result<Vec<String>, Error> {
    // The name comes from the schema, not from outside.
    let mut statement = conn.prepare(&format!("SELECT * FROM \"{table}\"")).map_err(failed_at(WHAT))?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([]).map_err(failed_at(WHAT))?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next().map_err(failed_at(WHAT))? {
        let mut line = String::new();
        for (at, name) in names.iter().enumerate() {
            let shown = match row.get_ref(at).map_err(failed_at(WHAT))? {
                ValueRef::Null => continue,
                ValueRef::Integer(number) => number.to_string(),
                ValueRef::Real(number) => number.to_string(),
                ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                ValueRef::Blob(bytes) => match std::str::from_utf8(bytes) {
                    Ok(text) => text.to_owned(),
                    Err(_) => hex::encode(bytes),
                },
            };
            let _ = write!(line, "{}{name}={shown}", if line.is_empty() { "" } else { " " });
        }
        lines.push(line);
    }
    Ok(lines)
}
