//! The stage: a folder, a configuration, and `oust serve` of this very binary as a child, so that its memory, its
//! processor time and its sudden death are its own.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::sender::Target;
use super::stub::Stub;
use crate::app::open_store;
use crate::config::{self, Environment, executable};
use crate::store::{Access, Store};

/// How long a child may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// Linux counts processor time in hundredths.
const TICK: Duration = Duration::from_millis(10);

const CONTAIN: &str = "name: bench-contain\nversion: 1\ndescription: The revoke alone.\n\
    on:\n  signals: [anonymized_ip]\ncontain:\n  - do: revoke_sessions\n";
const WHOLE: &str = "name: bench-whole\nversion: 1\ndescription: Revoke, four reads, a task.\n\
    on:\n  signals: [anomalous_token]\ncontain:\n  - do: revoke_sessions\n\
    collect:\n  - do: read_user\n  - do: read_user\n    id: read_user_again\n  - do: read_inbox_rules\n  - do: read_auth_methods\n\
    recover:\n  - do: reset_password\n    approval: on_call\n";

/// Where state and signals lie; embedded, unless URLs say otherwise.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    pub store: Option<String>,
    pub queue: Option<String>,
}

/// Where everything of one run lies.
#[derive(Debug)]
pub(super) struct Stage {
    folder: tempfile::TempDir,
    pub target: Target,
    pub stub: Stub,
    binary: PathBuf,
    shape: Shape,
}

impl Stage {
    pub async fn build(below: Option<&Path>, shape: Shape) -> anyhow::Result<Self> {
        let mut name = tempfile::Builder::new();
        name.prefix("oust-bench-");
        let folder = match below {
            Some(below) => name.tempdir_in(below).with_context(|| format!("no folder below {}", below.display()))?,
            None => name.tempdir()?,
        };
        let stub = Stub::start().await?;
        let key: [u8; 32] = rand::random();
        let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key);
        let secret = format!("whsec_{key}");
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let target = Target { address, secret: secret.clone().into() };
        let stage = Self { folder, target, stub, binary: executable()?, shape };
        stage.write("source", &secret)?;
        stage.write("graph", "bench")?;
        std::fs::create_dir(stage.path("playbooks"))?;
        stage.write("playbooks/bench-contain.yaml", CONTAIN)?;
        stage.write("playbooks/bench-whole.yaml", WHOLE)?;
        stage.write("oust.yaml", &stage.configuration())?;
        if stage.shape.store.is_some() {
            let config = stage.path("oust.yaml");
            let made = Command::new(&stage.binary).arg("migrate").arg("--config").arg(config).output()?;
            anyhow::ensure!(made.status.success(), "oust migrate: {}", String::from_utf8_lossy(&made.stderr));
        }
        Ok(stage)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Bytes of the binary that is measured.
    pub fn binary_size(&self) -> anyhow::Result<u64> {
        Ok(std::fs::metadata(&self.binary)?.len())
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.path(name))?;
        Ok(file.write_all(text.as_bytes())?)
    }

    /// Forgets what a former row left: the next child starts on an empty store.
    pub fn clear(&self) -> anyhow::Result<()> {
        for name in ["oust.db", "oust.db-wal", "oust.db-shm"] {
            match std::fs::remove_file(self.path(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        self.stub.forget();
        self.stub.hang(false);
        self.stub.slow_reads(Duration::ZERO);
        Ok(())
    }

    /// Opens the store of a child beside it, for looking, or of none, for writing.
    pub async fn store(&self, access: Access) -> anyhow::Result<Arc<dyn Store>> {
        let options = config::Options { environment: Environment::of_process(), inline_secrets: true };
        let at = config::store_of(&self.path("oust.yaml"), &options)?;
        Ok(open_store(&at, access).await?)
    }

    /// Starts `oust serve`.
    pub fn spawn(&self, roles: &str) -> anyhow::Result<Server> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log"))?;
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--roles").arg(roles).arg("--config").arg(self.path("oust.yaml"));
        let begun = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Server { child, begun })
    }

    /// Starts a receiver (with or without a worker) and waits until it is ready.
    pub async fn ready(&self, roles: &str) -> anyhow::Result<Server> {
        let mut server = self.spawn(roles)?;
        loop {
            if ready(self.target.address).await.unwrap_or(false) {
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                bail!("oust serve ended ({status}): {}", self.log());
            }
            if server.begun.elapsed() > PATIENCE {
                bail!("oust serve was not ready within {PATIENCE:?}: {}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The last lines of the child's log.
    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let mut last: Vec<&str> = text.lines().rev().take(5).collect();
        last.reverse();
        last.join(" | ")
    }
}

impl Stage {
    fn configuration(&self) -> String {
        let (listen, graph) = (self.target.address, &self.stub.url);
        let store = self.shape.store.as_deref().unwrap_or("sqlite:oust.db");
        let queue = match &self.shape.queue {
            None => "embedded".to_owned(),
            Some(url) => format!("{{ url: \"{url}\", prefix: bench-{} }}", uuid::Uuid::new_v4().simple()),
        };
        format!(
            "listen: {listen}\nmode: enforce\nstore: \"{store}\"\nqueue: {queue}\nplaybooks: playbooks\n\
         tenants:\n  - name: contoso\n    tenant_id: 11111111-2222-3333-4444-555555555555\n\
         \x20   graph_url: {graph}\n    login_url: {graph}\n    arm_url: {graph}\n\
         \x20   credential: {{ client_id: 22222222-2222-3333-4444-555555555555, client_secret: {{ file: graph }} }}\n\
         sources:\n  - name: bench\n    kind: microsoft\n    tenant: contoso\n\
         \x20   auth:\n      - standard_webhooks: {{ secrets: [{{ file: source }}] }}\n\
         approvals:\n  on_call: {{ reviewers: [group:on-call], approve: 1, decide_within: 4h, execute_within: 30m }}\n\
         telemetry: {{ level: warn }}\n"
        )
    }
}

async fn ready(address: SocketAddr) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    Ok(answer.ends_with(b" 200"))
}

/// A child; killed (as by `kill -9`) when dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// When it was started.
    pub begun: Instant,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Processor time so far, all threads; `None` where there is no `/proc`.
    pub fn cpu(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
        Some(TICK * ticks)
    }

    /// Resident memory in bytes; `None` where there is no `/proc`.
    pub fn memory(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
    }
}
