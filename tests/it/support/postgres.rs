//! A schema of its own on a real PostgreSQL, for each test.

use std::sync::Arc;

use oust::config::Environment;
use oust::store::Access;
use oust::store::postgres::{Config, Postgres};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// Names the server; `tests/servers` starts one and says where it is.
const SERVER: &str = "OUST_TEST_POSTGRES";

/// The server's URL: its superuser, a database that may be filled.
pub fn server() -> String {
    let environment = Environment::of_process();
    environment.get(SERVER).map(str::to_owned).unwrap_or_else(|| {
        panic!("{SERVER} names no server: run `eval \"$(tests/servers postgres)\"` first, or everything by tests/run")
    })
}

/// A schema that goes when this does.
#[derive(Debug)]
pub struct Place {
    pub schema: String,
    /// The URL of a store in it.
    pub url: String,
}

impl Place {
    pub async fn new() -> Self {
        let schema = format!("test_{}", Uuid::new_v4().simple());
        let server = server();
        let by = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{by}options=-c%20search_path%3D{schema}&application_name={schema}");
        admin().await.batch_execute(&format!("CREATE SCHEMA {schema}")).await.expect("a schema");
        Self { schema, url }
    }

    pub fn config(&self) -> Config {
        let mut config = Config::parse(&self.url).expect("the server's URL");
        config.pool = 8;
        config
    }

    pub async fn open(&self) -> Arc<Postgres> {
        Postgres::open(&self.config(), Access::Write).await.expect("opens")
    }

    /// Ends every connection that stores in it have; how many.
    pub async fn cut_connections(&self) -> usize {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
        admin().await.query(cut, &[&self.schema]).await.expect("as superuser").len()
    }

    /// A connection that sees the tables, for edits by hand.
    pub async fn sql(&self) -> Client {
        let client = admin().await;
        client.batch_execute(&format!("SET search_path = {}", self.schema)).await.expect("the schema");
        client
    }
}

impl Drop for Place {
    /// On a thread of its own: whatever runtime the test had may be gone.
    fn drop(&mut self) {
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        let done = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { admin().await.batch_execute(&drop).await.is_ok() })
        });
        let _ = done.join();
    }
}

/// A connection as the server's superuser.
pub async fn admin() -> Client {
    let (client, connection) = tokio_postgres::connect(&server(), NoTls).await.expect("the server of tests answers");
    tokio::spawn(connection);
    client
}
