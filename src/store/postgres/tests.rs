//! What only a real server can tell: that every statement is understood, and by which index it is answered.

use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use super::{schema, sql};
use crate::config::Environment;
use crate::store::statement::Name;

/// Every statement, by its name.
fn statements() -> Vec<(String, &'static str)> {
    let named = Name::ALL.iter().filter_map(|name| Some((format!("{name:?}"), sql::of(*name)?)));
    let others = sql::ALL.iter().map(|(name, text)| ((*name).to_owned(), *text));
    let all: Vec<_> = named.chain(others).collect();
    assert!(all.len() > 90, "the tables of statements lost some");
    all
}

/// A connection in a schema of its own with all tables, which goes with it.
async fn migrated() -> Client {
    let environment = Environment::of_process();
    let server = environment.get("OUST_TEST_POSTGRES").expect("a server: eval \"$(tests/servers postgres)\" first");
    let (mut client, connection) = tokio_postgres::connect(server, NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    let name = format!("test_{}", Uuid::new_v4().simple());
    client.batch_execute(&format!("CREATE SCHEMA {name}; SET search_path = {name}")).await.expect("a schema");
    schema::migrate("the database", &mut client).await.expect("migrates");
    client
}

async fn drop_schema(client: &Client) {
    let row = client.query_one("SELECT current_schema()", &[]).await.expect("a name");
    let name: String = row.get(0);
    client.batch_execute(&format!("DROP SCHEMA {name} CASCADE")).await.expect("it goes");
}

#[tokio::test]
async fn every_statement_is_understood_by_the_server() {
    let client = migrated().await;
    let mut wrong = Vec::new();
    for (name, text) in statements() {
        if let Err(error) = client.prepare(text).await {
            wrong.push(format!("{name}: {:?}", error.as_db_error()));
        }
    }
    drop_schema(&client).await;
    assert_eq!(wrong, Vec::<String>::new());
}

/// Enough rows that the planner has to choose.
const FILL: &str = "
    INSERT INTO workers (lease_until) SELECT clock_timestamp() + interval '1 hour' FROM generate_series(1, 3);
    INSERT INTO people SELECT 'contoso', md5(n::text), 1, CASE WHEN n % 3 = 0 THEN n % 5 END, CASE WHEN n % 2 = 0 THEN n END,
        n % 50 = 0, CASE WHEN n % 9 = 0 THEN n END, '{}' FROM generate_series(1, 20000) n;
    INSERT INTO queue (signal, received_at, due_at, owner, doc) SELECT md5(n::text), n, CASE WHEN n % 4 = 0 THEN n END,
        CASE WHEN n % 5 = 0 THEN n % 4 END, '{}' FROM generate_series(1, 20000) n;
    INSERT INTO waiting SELECT md5(n::text), n, 1, '', CASE WHEN n % 5 = 0 THEN n % 4 END, '{}' FROM generate_series(1, 20000) n;
    INSERT INTO deliveries SELECT md5(n::text), 's', 't', n, n::text, md5(n::text), '{}', '' FROM generate_series(1, 20000) n;
    INSERT INTO signals SELECT md5(n::text), 's', 'contoso', md5((n % 5000)::text), md5(n::text), n, n % 2 = 0,
        md5((n % 5000)::text), '{}', '{}' FROM generate_series(1, 20000) n;
    INSERT INTO forwarded SELECT md5(n::text), 'contoso', md5((n % 5000)::text), n, '{}' FROM generate_series(1, 20000) n;
    INSERT INTO cases SELECT md5(n::text), 'contoso', md5(n::text), n, CASE WHEN n % 20 > 0 THEN n END,
        CASE WHEN n % 200 = 0 THEN 'parked' ELSE 'open' END, '{}' FROM generate_series(1, 20000) n;
    INSERT INTO runs SELECT md5(n::text), md5(n::text), n, CASE WHEN n % 20 > 0 THEN n END, '{}' FROM generate_series(1, 20000) n;
    INSERT INTO journal SELECT md5((n / 4)::text), n, '{}' FROM generate_series(1, 40000) n;
    INSERT INTO effects SELECT md5(n::text), md5((n / 2)::text), CASE WHEN n % 99 = 0 THEN 'unknown' ELSE 'applied' END, n, '{}'
        FROM generate_series(1, 20000) n;
    INSERT INTO tasks SELECT md5(n::text), 1, 'manual', n % 20 = 0, 'contoso', md5(n::text), md5((n / 2)::text), n, '{}'
        FROM generate_series(1, 20000) n;
    INSERT INTO seen SELECT md5(n::text), n FROM generate_series(1, 20000) n;
    INSERT INTO sealed SELECT md5(n::text), '{}' FROM generate_series(1, 20000) n;
    INSERT INTO plans SELECT md5(n::text), '{}' FROM generate_series(1, 20000) n;
    INSERT INTO buried SELECT md5(n::text), n, CASE WHEN n % 50 = 0 THEN 'buried' ELSE 'dropped' END, '{}', ''
        FROM generate_series(1, 20000) n;
    INSERT INTO audit (seq, doc) SELECT CASE WHEN n < 19900 THEN n END, '{}' FROM generate_series(1, 20000) n;
    INSERT INTO revocations SELECT 'contoso', md5(n::text), n FROM generate_series(1, 20000) n;
    INSERT INTO tokens SELECT md5(n::text), 'n', md5(n::text), '[]', n FROM generate_series(1, 20000) n;
    INSERT INTO reviewers SELECT md5(n::text), md5(n::text), n, NULL, '{}' FROM generate_series(1, 20000) n;
    INSERT INTO reviewer_accounts SELECT 'i', md5(n::text), 'r' FROM generate_series(1, 20000) n;
    INSERT INTO invites SELECT md5(n::text), md5(n::text), 'o', n, n, n FROM generate_series(1, 20000) n;
    INSERT INTO credentials SELECT md5(n::text), md5(n::text), 'n', 0, n, n, NULL, NULL, '{}'
        FROM generate_series(1, 20000) n;
    INSERT INTO sessions SELECT md5(n::text), md5(n::text), n, n, n, '{}' FROM generate_series(1, 20000) n;
    INSERT INTO challenges SELECT md5(n::text), n, n, '{}' FROM generate_series(1, 20000) n;
    INSERT INTO proofs SELECT md5(n::text), md5(n::text), n, '{}' FROM generate_series(1, 20000) n;
    ANALYZE reviewers, reviewer_accounts, invites, credentials, sessions, challenges, proofs;
    ANALYZE people, queue, waiting, deliveries, signals, forwarded, cases, runs, journal, effects, tasks, seen, sealed,
        plans, buried, audit, revocations, tokens, workers";

#[tokio::test]
async fn no_statement_that_runs_often_reads_a_whole_table() {
    let client = migrated().await;
    client.batch_execute(FILL).await.expect("rows");
    client.batch_execute("SET plan_cache_mode = force_generic_plan").await.expect("a setting");
    // They want all of it, or so few that the plan depends on how few.
    let whole = [
        "TOKENS",
        "REVIEWERS",
        "TABLES",
        "CHANNEL",
        "COUNT_QUEUE",
        "COUNT_WAITING",
        "COUNT_DUE",
        "PRUNE_WORKERS",
        "WithinCap",
    ];
    let small = ["workers", "settings", "duties"];
    let mut scans = Vec::new();
    for (name, text) in statements().iter().filter(|(name, _)| !whole.contains(&name.as_str())) {
        let values = (1..).take_while(|at| text.contains(&format!("${at}"))).map(|_| "NULL").collect::<Vec<_>>();
        let arguments = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
        client.batch_execute(&format!("PREPARE it AS {text}")).await.expect(name);
        let plan = client.query(&format!("EXPLAIN EXECUTE it{arguments}"), &[]).await.expect(name);
        client.batch_execute("DEALLOCATE it").await.expect("was prepared");
        for line in plan.iter().map(|row| row.get::<_, String>(0)) {
            let Some((_, table)) = line.split_once("Seq Scan on ") else { continue };
            let table = table.split([' ', '_']).next().unwrap_or_default();
            if !small.contains(&table) {
                scans.push(format!("{name}: {}", line.trim()));
            }
        }
    }
    drop_schema(&client).await;
    assert_eq!(scans, Vec::<String>::new());
}

#[tokio::test]
async fn a_newer_schema_is_used_as_long_as_it_allows_this_binary() {
    let mut client = migrated().await;
    let put = async |version: i64, oldest: i64| {
        let update = "UPDATE schema_version SET version = $1, oldest_binary = $2";
        client.execute(update, &[&version, &oldest]).await.expect("the row");
    };
    put(99, 1).await;
    assert_eq!(schema::standing("it", &client).await.expect("allowed"), schema::Standing::Current);
    put(99, 50).await;
    let refused = schema::standing("it", &client).await.expect_err("too new").to_string();
    assert!(refused.starts_with("it has schema 99, which needs an oust that knows schema 50 or newer"), "{refused}");
    let refused = schema::migrate("it", &mut client).await.expect_err("too new").to_string();
    assert!(refused.ends_with("run a newer oust"), "{refused}");
    drop_schema(&client).await;
}

#[tokio::test]
async fn tables_of_another_program_are_left_alone() {
    let mut client = migrated().await;
    client.batch_execute("DROP TABLE schema_version").await.expect("it was there");
    let refused = schema::migrate("it", &mut client).await.expect_err("foreign").to_string();
    assert!(refused.contains("tables of another program; give oust a database of its own"), "{refused}");
    let left = client.query_one("SELECT to_regclass('schema_version') IS NULL", &[]).await.expect("asks");
    assert!(left.get::<_, bool>(0), "nothing of the refused step is left");
    drop_schema(&client).await;
}
