//! RabbitMQ in tests: the shared node (`tests/servers rabbitmq` says where), a node of one's own, and a look behind
//! the queue's back.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use oust::config::Environment;
use oust::queue::amqp::{Config, Endpoint};
use uuid::Uuid;

/// A variable of the test run.
fn variable(name: &str) -> String {
    let value = Environment::of_process().get(name).map(str::to_owned);
    value.unwrap_or_else(|| panic!("{name} is not set: run `eval \"$(tests/servers rabbitmq)\"` first"))
}

/// The shared node's address with its password.
pub fn url() -> String {
    variable("OUST_TEST_AMQP")
}

/// The shared node over TLS.
pub fn tls_url() -> String {
    variable("OUST_TEST_AMQPS")
}

/// A file of the shared node's certificates: `ca.pem`, `other.pem`, `client.pem`, `client.key`.
pub fn tls_file(name: &str) -> PathBuf {
    PathBuf::from(variable("OUST_TEST_AMQP_TLS")).join(name)
}

/// Runs `rabbitmqctl` on the shared node.
pub fn ctl(arguments: &[&str]) {
    run(&variable("OUST_TEST_RABBITMQCTL"), arguments);
}

fn run(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Names of this test alone, on the node at `url`.
pub fn config_at(url: &str) -> Config {
    let endpoint = Endpoint::parse(url).expect("a broker's URL");
    let prefix = format!("t{}", &Uuid::new_v4().simple().to_string()[..12]);
    Config { prefix, ..Config::new(endpoint) }
}

/// Names of this test alone on the shared node.
pub fn config() -> Config {
    config_at(&url())
}

/// The same names at another address: through a proxy.
pub fn through(config: &Config, address: SocketAddr) -> Config {
    let endpoint = Endpoint { host: address.ip().to_string(), port: address.port(), ..config.endpoint.clone() };
    Config { endpoint, ..config.clone() }
}

/// Where the broker listens.
pub fn address(config: &Config) -> SocketAddr {
    format!("{}:{}", config.endpoint.host, config.endpoint.port).parse().expect("an address")
}

/// A look at the broker past the queue under test.
#[derive(Debug)]
pub struct Behind {
    config: Config,
    _connection: Connection,
    pub channel: Channel,
}

impl Behind {
    pub async fn open(config: &Config, url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        Self { config: config.clone(), _connection: connection, channel }
    }

    pub fn queue(&self, name: &str) -> String {
        format!("{}.{name}", self.config.prefix)
    }

    /// Messages ready on a queue.
    pub async fn count(&self, name: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(self.queue(name).as_str().into(), passive, FieldTable::default()).await;
        queue.expect("it is there").message_count()
    }

    /// Takes the oldest message off a queue: its properties and bytes.
    pub async fn take(&self, name: &str) -> Option<(BasicProperties, Vec<u8>)> {
        let options = BasicGetOptions { no_ack: true };
        let got = self.channel.basic_get(self.queue(name).as_str().into(), options).await.expect("a get")?;
        Some((got.delivery.properties, got.delivery.data))
    }

    /// Puts bytes on a queue.
    pub async fn put(&self, name: &str, data: &[u8]) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        let exchange = self.config.prefix.as_str().into();
        let confirm = self.channel.basic_publish(exchange, name.into(), options, data, properties).await.expect("sent");
        assert_eq!(confirm.await.expect("confirmed"), lapin::Confirmation::Ack(None));
    }

    /// Leaves nothing behind.
    pub async fn tidy(&self) {
        for name in ["signals", "wake", "buried"] {
            let queue = self.queue(name);
            let _ = self.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await;
        }
        let exchange = self.config.prefix.as_str().into();
        let _ = self.channel.exchange_delete(exchange, lapin::options::ExchangeDeleteOptions::default()).await;
    }
}

/// A node of one's own, to be stopped and killed.
#[derive(Debug)]
pub struct Node {
    folder: tempfile::TempDir,
    pub url: String,
}

impl Node {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().join("node");
        let said = run(&Self::script(), &["start", at.to_str().expect("UTF-8")]);
        let url = said.lines().find_map(|line| line.strip_prefix("export OUST_TEST_AMQP="));
        Self { url: url.expect("an address").to_owned(), folder }
    }

    fn script() -> String {
        format!("{}/tests/servers.d/rabbitmq", env!("CARGO_MANIFEST_DIR"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("node").join(name)
    }

    /// `rabbitmqctl`, or `boot` for the node itself.
    pub fn ctl(&self, arguments: &[&str]) {
        run(self.file("ctl").to_str().expect("UTF-8"), arguments);
    }

    /// SIGKILL.
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(self.file("pid")).expect("a pid");
        let pid = nix::unistd::Pid::from_raw(pid.trim().parse().expect("a number"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it lives");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let at = self.folder.path().join("node");
        let _ = Command::new(Self::script()).arg("stop").arg(at).output();
    }
}
