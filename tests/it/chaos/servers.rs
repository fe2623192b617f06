//! A database and a broker of one's own, which may be killed and started again.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, User, chown};
use tempfile::TempDir;

use crate::process::free_address;
use crate::support::until_async;

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid"))
}

fn log(dir: &Path) -> File {
    File::options().create(true).append(true).open(dir.join("server.log")).expect("a log")
}

async fn answers(what: &str, address: SocketAddr) {
    until_async(what, async || TcpStream::connect(address).is_ok()).await;
}

/// PostgreSQL with its data in a folder of its own.
pub struct Database {
    dir: TempDir,
    pub address: SocketAddr,
    server: Option<Child>,
}

impl Database {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        if let Some(user) = owner() {
            chown(dir.path(), Some(user.uid), Some(user.gid)).expect("root may");
        }
        let data = dir.path().join("data");
        let made = command("initdb")
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data)
            .output()
            .expect("initdb is installed (tests/run installs it)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut database = Self { dir, address: free_address(), server: None };
        database.spawn().await;
        database
    }

    async fn spawn(&mut self) {
        let socket = format!("unix_socket_directories={}", self.dir.path().display());
        let server = command("postgres")
            .arg("-D")
            .arg(self.dir.path().join("data"))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.address.port().to_string(),
                "-c",
                &socket,
                "-c",
                "max_connections=300",
            ])
            .stdin(Stdio::null())
            .stdout(log(self.dir.path()))
            .stderr(log(self.dir.path()))
            .spawn();
        self.server = Some(server.expect("postgres is installed"));
        let url = self.url(self.address);
        until_async("the database to accept connections", async || {
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_ok()
        })
        .await;
    }

    pub fn url(&self, by: SocketAddr) -> String {
        format!("postgres://postgres@{by}/postgres?sslmode=disable")
    }

    /// As a crash of the machine it runs on: nothing is flushed that was not synced.
    pub async fn restart(&mut self) {
        let mut server = self.server.take().expect("it runs");
        kill(pid(&server), Signal::SIGQUIT).expect("alive");
        server.wait().expect("a child of ours");
        self.spawn().await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = kill(pid(&server), Signal::SIGQUIT);
            let _ = server.wait();
        }
    }
}

/// The server refuses to be root.
fn owner() -> Option<User> {
    nix::unistd::Uid::effective()
        .is_root()
        .then(|| User::from_name("postgres").expect("the user table").expect("the package made a user"))
}

fn command(name: &str) -> Command {
    let packaged = PathBuf::from("/usr/lib/postgresql/15/bin").join(name);
    let mut command = Command::new(if packaged.exists() { packaged } else { PathBuf::from(name) });
    if let Some(user) = owner() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command.current_dir("/");
    command
}

/// RabbitMQ with its state in a folder of its own.
pub struct Broker {
    dir: TempDir,
    pub address: SocketAddr,
    node: String,
    distribution: u16,
    server: Option<Child>,
}

impl Broker {
    pub async fn start() -> Self {
        let address = free_address();
        let node = format!("chaos{}@localhost", address.port());
        let dir = tempfile::tempdir().expect("a folder");
        let mut broker = Self { dir, address, node, distribution: free_address().port(), server: None };
        broker.spawn().await;
        broker
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(PathBuf::from("/usr/lib/rabbitmq/bin").join(name));
        let dir = self.dir.path();
        command
            .env("HOME", dir)
            .env("RABBITMQ_NODENAME", &self.node)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.address.port().to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution.to_string())
            .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", dir.join("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("plugins"))
            .env("RABBITMQ_CONF_ENV_FILE", dir.join("none"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1")
            .stdin(Stdio::null())
            .stdout(log(dir))
            .stderr(log(dir));
        command
    }

    async fn spawn(&mut self) {
        let server = self.command("rabbitmq-server").process_group(0).spawn();
        self.server = Some(server.expect("rabbitmq-server is installed (tests/run installs it)"));
        answers("the broker to listen", self.address).await;
    }

    pub fn url(&self, by: SocketAddr) -> String {
        format!("amqp://guest:guest@{by}/%2f")
    }

    /// What lies where, as the broker tells it.
    pub fn queues(&self) -> String {
        let columns = ["name", "messages", "messages_ready", "messages_unacknowledged", "consumers", "state"];
        let told =
            self.command("rabbitmqctl").args(["-q", "list_queues"]).args(columns).stdout(Stdio::piped()).output();
        told.map_or_else(|error| error.to_string(), |told| String::from_utf8_lossy(&told.stdout).into_owned())
    }

    /// SIGKILL, then a start on the same state.
    pub async fn restart(&mut self) {
        self.end();
        self.spawn().await;
    }

    fn end(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = killpg(pid(&server), Signal::SIGKILL);
            let _ = server.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}
