//! Two receivers, three workers and a console as processes, on a broker and a database reached through proxies.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oust::store::Access;
use oust::store::postgres::{Config, Postgres};
use oust::store::reviewers::Reviewers;
use oust::twin;
use reqwest::Client;
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use url::Url;

use super::servers::{Broker, Database};
use crate::process::{self, Process, SECRET, client, free_address, signed};
use crate::support::proxy::Proxy;
use crate::support::until_async;

/// One process of the cluster.
pub struct Member {
    pub name: &'static str,
    roles: &'static str,
    pub listen: SocketAddr,
    process: Option<Process>,
}

/// Everything together.
pub struct Cluster {
    dir: TempDir,
    pub database: Database,
    pub broker: Broker,
    pub to_database: Proxy,
    pub to_broker: Proxy,
    pub members: Vec<Member>,
    http: Client,
    secret: SecretString,
}

const MEMBERS: [(&str, &str); 6] = [
    ("receiver-1", "receiver"),
    ("receiver-2", "receiver"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
    ("worker-3", "worker"),
    ("console-1", "console"),
];

impl Cluster {
    /// Servers, configuration, and every member ready.
    pub async fn start(graph: &Url) -> Self {
        let database = Database::start().await;
        let broker = Broker::start().await;
        let to_database = Proxy::to(database.address).await;
        let to_broker = Proxy::to(broker.address).await;
        let dir = tempfile::tempdir().expect("a folder");
        let members = MEMBERS.map(|(name, roles)| Member { name, roles, listen: free_address(), process: None });
        let mut cluster = Self {
            dir,
            database,
            broker,
            to_database,
            to_broker,
            members: members.into(),
            http: client(),
            secret: SecretString::from(SECRET.to_owned()),
        };
        cluster.configure(graph);
        let migrated = process::binary(&["migrate", "--config", "worker-1.yaml"], cluster.dir.path()).output();
        let migrated = migrated.expect("the binary runs");
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        for at in 0..cluster.members.len() {
            cluster.spawn(at);
        }
        for at in 0..cluster.members.len() {
            until_async("every member to be ready", async || cluster.is_ready(at).await).await;
        }
        cluster
    }

    fn configure(&self, graph: &Url) {
        let tenant = twin::Config::default();
        for (name, text) in [("graph.secret", tenant.client_secret.as_str()), ("sentinel.secret", SECRET)] {
            let path = self.path(name);
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("ours");
        }
        let playbooks = self.path("playbooks");
        std::fs::create_dir(&playbooks).expect("a folder");
        let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("playbooks");
        for entry in std::fs::read_dir(shipped).expect("a folder") {
            let from = entry.expect("an entry").path();
            if !from.is_file() {
                continue;
            }
            // Microsoft allows one read of risk a second: with it every storm would take its full 20 s of collecting.
            let slow = |line: &&str| !["read_sign_ins", "window: ", "read_risk"].iter().any(|word| line.contains(word));
            let text = std::fs::read_to_string(&from).expect("a text");
            let text = text.lines().filter(slow).collect::<Vec<_>>().join("\n");
            std::fs::write(playbooks.join(from.file_name().expect("a name")), text).expect("written");
        }
        let (store, queue) = (self.database.url(self.to_database.address), self.broker.url(self.to_broker.address));
        for member in &self.members {
            let spool = match member.roles {
                "receiver" => format!("spool: {}.spool\n", member.name),
                _ => String::new(),
            };
            let text = format!(
                "listen: {listen}\nmode: enforce\nstore: {store}\nqueue: {queue}\n{spool}playbooks: playbooks\n\
                 tenants:\n  - name: contoso\n    tenant_id: {tenant_id}\n    graph_url: {graph}\n    login_url: {graph}\n\
                 \x20   arm_url: {graph}\n    credential: {{ client_id: {client_id}, client_secret: {{ file: graph.secret }} }}\n\
                 sources:\n  - name: sentinel\n    kind: microsoft\n    tenant: contoso\n\
                 \x20   auth: [{{ standard_webhooks: {{ secrets: [{{ file: sentinel.secret }}] }} }}]\n\
                 guards: {{ max_age: 87600h }}\n\
                 approvals:\n  on_call: {{ reviewers: [group:on-call], approve: 1, decide_within: 4h, execute_within: 30m }}\n\
                 telemetry: {{ level: warn, log: json }}\n",
                listen = member.listen,
                tenant_id = tenant.tenant_id,
                client_id = tenant.client_id,
            );
            std::fs::write(self.path(&format!("{}.yaml", member.name)), text).expect("written");
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the members wrote to stderr, the last part of each.
    pub fn log(&self) -> String {
        let tail = |member: &Member| {
            let text = std::fs::read_to_string(self.path(&format!("{}.log", member.name))).unwrap_or_default();
            let from = text.char_indices().rev().nth(6_000).map_or(0, |(at, _)| at);
            format!("── {} ──\n{}\n", member.name, &text[from..])
        };
        self.members.iter().map(tail).collect()
    }

    pub fn spawn(&mut self, at: usize) {
        let member = &self.members[at];
        let config = format!("{}.yaml", member.name);
        let arguments = ["serve", "--config", &config, "--roles", member.roles];
        let log = self.path(&format!("{}.log", member.name));
        self.members[at].process = Some(Process::spawn(process::binary(&arguments, self.dir.path()), &log));
    }

    /// SIGKILL and a new start; nobody waits for it to be ready.
    pub fn kill(&mut self, at: usize) {
        self.members[at].process.take().expect("it runs").kill();
        self.spawn(at);
    }

    pub fn signal(&self, at: usize, signal: Signal) {
        let id = self.members[at].process.as_ref().expect("it runs").id();
        kill(Pid::from_raw(i32::try_from(id).expect("a pid")), signal).expect("alive");
    }

    /// As systemd or Kubernetes would: who could not reach what it needs at its start (exit code 3) is started again;
    /// any other end is a failure. How many there were.
    pub fn supervise(&mut self) -> u64 {
        let mut restarted = 0;
        for at in 0..self.members.len() {
            if let Some(status) = self.members[at].process.as_mut().and_then(Process::ended) {
                assert_eq!(status.code(), Some(3), "{} ended\n{}", self.members[at].name, self.log());
                self.spawn(at);
                restarted += 1;
            }
        }
        restarted
    }

    pub async fn is_ready(&self, at: usize) -> bool {
        let url = format!("http://{}/readyz", self.members[at].listen);
        matches!(self.http.get(url).send().await, Ok(answer) if answer.status() == 200)
    }

    /// One signed attempt at a receiver.
    pub async fn attempt(&self, receiver: usize, id: &str, body: &[u8]) -> Result<(u16, Value), reqwest::Error> {
        let url = format!("http://{}/webhooks/sentinel", self.members[receiver].listen);
        signed(self.http.post(url), &self.secret, id, body).await
    }

    /// The store as the reviewers and the judge see it: by a way that nobody cuts.
    pub async fn store(&self) -> Arc<dyn Reviewers> {
        let config = Config::parse(&self.database.url(self.database.address)).expect("a good URL");
        Postgres::open(&config, Access::Write).await.expect("the database is there")
    }

    /// Effects whose outcome nobody knows yet, and people whose containment is outstanding.
    pub async fn open_effects(&self) -> i64 {
        let url = self.database.url(self.database.address);
        let Ok((client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await else { return 1 };
        tokio::spawn(connection);
        let open = "SELECT (SELECT count(*) FROM effects WHERE state = 'intended') \
            + (SELECT count(*) FROM people WHERE urgent) + (SELECT count(*) FROM forwarded)";
        client.query_one(open, &[]).await.map_or(1, |row| row.get(0))
    }

    /// Where everything is, for people who look for what is missing.
    pub async fn whereabouts(&self) -> String {
        let mut told = tokio::task::block_in_place(|| self.broker.queues());
        for (at, member) in self.members.iter().enumerate() {
            let metrics = self.metrics(at).await;
            let telling = |line: &&str| {
                ["oust_spool", "oust_broker", "oust_leads", "oust_leases", "oust_runs"]
                    .iter()
                    .any(|name| line.starts_with(name))
            };
            told.push_str(&format!("── {} ──\n", member.name));
            told.extend(metrics.lines().filter(telling).map(|line| format!("{line}\n")));
        }
        told
    }

    async fn metrics(&self, at: usize) -> String {
        let url = format!("http://{}/metrics", self.members[at].listen);
        match self.http.get(url).send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }
}
