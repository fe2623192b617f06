//! The whole store as text, for tests that compare stores.

use std::fmt::Write as _;

use deadpool_postgres::Pool;
use tokio_postgres::SimpleQueryMessage;

use super::super::failure::Failed;
use super::super::flight::{judged, tried};
use super::super::sql;
use super::column;
use crate::store::Error;

const WHAT: &str = "picture";

/// Tables by name, rows sorted by their text.
pub(in super::super) async fn picture(pool: &Pool) -> Result<String, Error> {
    tried(pool, WHAT, |lent| async move {
        let judged = judged(WHAT);
        lent.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(&judged)?;
        let tables = lent.query(sql::TABLES, &[]).await.map_err(&judged)?;
        let mut text = String::new();
        for table in tables {
            let table: String = column(&table, 0, WHAT).map_err(Failed::For)?;
            // The name comes from the catalogue, not from outside.
            let select = format!("SELECT * FROM \"{}\"", table.replace('"', "\"\""));
            let answer = lent.simple_query(&select).await.map_err(&judged)?;
            let mut lines: Vec<String> = answer.iter().filter_map(line).collect();
            lines.sort_unstable();
            let _ = writeln!(text, "{table}: {}", lines.len());
            for line in lines {
                let _ = writeln!(text, "  {line}");
            }
        }
        lent.batch_execute("COMMIT").await.map_err(&judged)?;
        Ok(text)
    })
    .await
}

fn line(message: &SimpleQueryMessage) -> Option<String> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    let mut line = String::new();
    for (at, name) in row.columns().iter().enumerate() {
        if let Some(shown) = row.get(at) {
            let _ = write!(line, "{}{}={shown}", if line.is_empty() { "" } else { " " }, name.name());
        }
    }
    Some(line)
}
