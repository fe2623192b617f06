//! The binary as an operator runs it: a folder with a plain `oust.yaml`, processes, and senders that sign.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use oust::sources::auth::standard_webhooks;
use oust::store::sqlite::{Options, Sqlite};
use oust::twin;
use reqwest::{Client, Response};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

use crate::support::until_async;

pub const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
pub const CLIENT_STATE: &str = "a-client-state-of-these-tests-0123456789";

/// Numbers that look random and follow from a seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to `below` - 1.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }
}

/// A port below those the system hands to clients: a client that keeps trying a dead port must not become its owner.
pub fn free_address() -> SocketAddr {
    for _ in 0..1_000 {
        let port = 12_000 + u16::try_from(Uuid::new_v4().as_u128() % 18_000).expect("small");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().expect("an address");
        }
    }
    panic!("no port is free");
}

pub fn client() -> Client {
    Client::builder().timeout(Duration::from_secs(20)).no_proxy().build().expect("a client")
}

/// A process that dies with its owner.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command whose errors go to the end of this file.
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log");
        let child = command.stdout(Stdio::null()).stderr(log).spawn();
        Self { child: child.expect("the binary runs") }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and the body is buried.
    pub fn kill(mut self) {
        self.child.kill().expect("a process of ours");
        self.child.wait().expect("a process of ours");
    }

    /// SIGTERM; the exit code once it has ended by itself.
    pub async fn terminate(mut self) -> ExitStatus {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).expect("alive");
        let mut ended = None;
        until_async("the process to end after SIGTERM", async || {
            ended = self.child.try_wait().expect("a process of ours");
            ended.is_some()
        })
        .await;
        ended.expect("it ended")
    }

    /// The exit code if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a process of ours")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn binary(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oust"));
    command.args(arguments).current_dir(folder).env_clear().env("USER", "ada").stdin(Stdio::null());
    command
}

/// `oust twin` as a process of its own.
#[derive(Debug)]
pub struct TwinProcess {
    _process: Process,
    pub url: Url,
    http: Client,
}

impl TwinProcess {
    pub async fn start(people: usize) -> Self {
        let people = people.to_string();
        let mut child =
            binary(&["twin", "--listen", "127.0.0.1:0", "--people", &people, "--json"], &std::env::temp_dir())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("the binary runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        let process = Process { child };
        BufReader::new(out).read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let url = said["url"].as_str().and_then(|url| url.parse().ok()).expect("a URL");
        let twin = Self { _process: process, url, http: client() };
        let knobs = serde_json::to_value(twin::Knobs::unthrottled()).expect("JSON");
        twin.post("knobs", &knobs).await;
        twin
    }

    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let url = self.url.join(&format!("twin/{path}")).expect("a URL");
        let answer = self.http.post(url).json(body).send().await.expect("the twin answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let text = answer.text().await.expect("an answer");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub async fn get(&self, path: &str) -> Value {
        let url = self.url.join(&format!("twin/{path}")).expect("a URL");
        self.http.get(url).send().await.expect("the twin answers").json().await.expect("JSON")
    }

    /// Calls received and effects applied for a verb and a person.
    pub async fn count(&self, verb: &str, user: Uuid) -> (u64, u64) {
        let counted = self.get(&format!("counters/{user}")).await;
        let number = |key: &str| counted[verb][key].as_u64().unwrap_or_default();
        (number("received"), number("applied"))
    }

    pub async fn revokes(&self, user: Uuid) -> (u64, u64) {
        self.count("revokeSignInSessions", user).await
    }
}

/// A folder with a configuration, and where it listens.
#[derive(Debug)]
pub struct Site {
    pub dir: TempDir,
    listen: SocketAddr,
    http: Client,
    secret: SecretString,
}

impl Site {
    /// A plain configuration against this tenant, with the shipped playbooks in a folder of its own.
    pub fn new(graph: &Url) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let listen = free_address();
        let tenant = twin::Config::default();
        let put = |name: &str, text: &str| {
            let mut file = OpenOptions::new();
            let mut file = file.write(true).create_new(true).mode(0o600).open(dir.path().join(name)).expect("a file");
            file.write_all(text.as_bytes()).expect("written");
        };
        put("graph.secret", &tenant.client_secret);
        put("sentinel.secret", SECRET);
        put("graph.state", CLIENT_STATE);
        put(
            "oust.yaml",
            &format!(
                "listen: {listen}\nmode: enforce\nstore: sqlite:oust.db\nqueue: embedded\nplaybooks: playbooks\n\
                 tenants:\n  - name: contoso\n    tenant_id: {tenant_id}\n    graph_url: {graph}\n    login_url: {graph}\n\
                 \x20   arm_url: {graph}\n    credential: {{ client_id: {client_id}, client_secret: {{ file: graph.secret }} }}\n\
                 sources:\n  - name: sentinel\n    kind: microsoft\n    tenant: contoso\n\
                 \x20   auth: [{{ standard_webhooks: {{ secrets: [{{ file: sentinel.secret }}] }} }}]\n\
                 \x20   arm:\n      - {{ subscription: 00000000-0000-4000-8000-000000000001, workspace: soc }}\n\
                 \x20 - name: graph\n    kind: graph\n    tenant: contoso\n    client_state: {{ secrets: [{{ file: graph.state }}] }}\n\
                 \x20 - name: splunk\n    kind: mapped\n    tenant: contoso\n    each: body.results\n\
                 \x20   map: {{ kind: '\"impossible_travel\"', upn: item.user, risk: '\"high\"', id: item.id }}\n\
                 \x20   auth: [{{ standard_webhooks: {{ secrets: [{{ file: sentinel.secret }}] }} }}]\n\
                 guards: {{ max_age: 87600h }}\n\
                 approvals:\n  on_call: {{ reviewers: [group:on-call], approve: 1, decide_within: 4h, execute_within: 30m }}\n\
                 telemetry: {{ level: warn }}\n",
                tenant_id = tenant.tenant_id,
                client_id = tenant.client_id,
            ),
        );
        let playbooks = dir.path().join("playbooks");
        std::fs::create_dir(&playbooks).expect("a folder");
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks")).expect("a folder") {
            let from = entry.expect("an entry").path();
            if from.is_file() {
                std::fs::copy(&from, playbooks.join(from.file_name().expect("a name"))).expect("copied");
            }
        }
        Self { dir, listen, http: client(), secret: SecretString::from(SECRET.to_owned()) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What every `oust serve` in this folder wrote to stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("serve.log")).unwrap_or_default()
    }

    /// Starts `oust serve` without waiting for it.
    pub fn spawn(&self) -> Process {
        Process::spawn(binary(&["serve"], self.dir.path()), &self.path("serve.log"))
    }

    /// Starts `oust serve` with these roles only.
    pub fn spawn_as(&self, roles: &str) -> Process {
        Process::spawn(binary(&["serve", "--roles", roles], self.dir.path()), &self.path("serve.log"))
    }

    /// Writes other lines into the configuration.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let path = self.path("oust.yaml");
        let text = std::fs::read_to_string(&path).expect("a configuration");
        assert!(text.contains(from), "{from} is not in\n{text}");
        std::fs::write(&path, text.replace(from, to)).expect("written");
    }

    /// Starts `oust serve`; it is ready.
    pub async fn serve(&self) -> Process {
        let mut process = self.spawn();
        until_async("oust serve to be ready", async || {
            assert_eq!(process.ended(), None, "it ended at once\n{}", self.log());
            self.is_ready().await
        })
        .await;
        process
    }

    /// Whether `/readyz` says yes.
    pub async fn is_ready(&self) -> bool {
        matches!(self.http.get(self.url("readyz")).send().await, Ok(answer) if answer.status() == 200)
    }

    pub fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}/{path}", self.listen)).expect("a URL")
    }

    /// Another command in the same folder.
    pub fn oust(&self, arguments: &[&str]) -> Output {
        tokio::task::block_in_place(|| binary(arguments, self.dir.path()).output().expect("the binary runs"))
    }

    /// Another command that must end with this code; what it said in JSON.
    #[track_caller]
    pub fn said(&self, arguments: &[&str], code: i32) -> Value {
        let output = self.oust(&[arguments, &["--json"]].concat());
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}\n{}", self.log());
        serde_json::from_str(&out).unwrap_or(Value::Null)
    }

    /// A token that may read.
    pub fn token(&self) -> Reader<'_> {
        let made = self.said(&["token", "create", "tests"], 0);
        Reader { site: self, token: made["token"].as_str().expect("a token").to_owned() }
    }

    /// One signed attempt, as a sender makes it.
    pub async fn attempt(&self, source: &str, id: &str, body: &[u8]) -> Result<(u16, Value), reqwest::Error> {
        signed(self.http.post(self.url(&format!("webhooks/{source}"))), &self.secret, id, body).await
    }

    /// A signed delivery that must be answered.
    pub async fn post(&self, source: &str, body: &[u8]) -> (u16, Value) {
        let id = format!("msg_{}", Uuid::new_v4().simple());
        self.attempt(source, &id, body).await.unwrap_or_else(|error| panic!("{error:?}\n{}", self.log()))
    }

    /// A delivery without headers of its own, as Graph sends notifications.
    pub async fn notify(&self, body: &Value) -> u16 {
        self.http.post(self.url("webhooks/graph")).json(body).send().await.expect("an answer").status().as_u16()
    }

    pub async fn metrics(&self) -> String {
        let answer = self.http.get(self.url("metrics")).send().await.expect("an answer");
        answer.text().await.expect("a text")
    }

    pub async fn readiness(&self) -> (u16, Value) {
        let answer = self.http.get(self.url("readyz")).send().await.expect("an answer");
        read(answer).await.expect("JSON")
    }

    /// The store, for looking.
    pub fn store(&self) -> Arc<Sqlite> {
        Sqlite::open(self.path("oust.db"), Options { read_only: true, max_pages: None }).expect("the store")
    }
}

/// Signs a delivery as Standard Webhooks says, and sends it.
pub async fn signed(
    request: reqwest::RequestBuilder,
    secret: &SecretString,
    id: &str,
    body: &[u8],
) -> Result<(u16, Value), reqwest::Error> {
    let now = Timestamp::now();
    let signature = standard_webhooks::signature(secret, id, now, body).expect("a good secret");
    let request = request
        .header("content-type", "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", now.as_second().to_string())
        .header("webhook-signature", signature);
    read(request.body(body.to_vec()).send().await?).await
}

async fn read(answer: Response) -> Result<(u16, Value), reqwest::Error> {
    let status = answer.status().as_u16();
    let text = answer.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

/// Reads the API of a running site.
#[derive(Debug)]
pub struct Reader<'a> {
    site: &'a Site,
    token: String,
}

impl Reader<'_> {
    pub async fn get(&self, path: &str) -> Option<Value> {
        let request = self.site.http.get(self.site.url(&format!("api/v1/{path}"))).bearer_auth(&self.token);
        let (status, value) = read(request.send().await.ok()?).await.ok()?;
        (status == 200).then_some(value)
    }

    /// A signal once its outcome is final.
    pub async fn outcome(&self, id: &str) -> Value {
        let mut seen = Value::Null;
        until_async("a final outcome", async || {
            seen = self.get(&format!("signals/{id}")).await.unwrap_or_default();
            !matches!(seen["outcome"]["word"].as_str(), None | Some("pending"))
        })
        .await;
        seen
    }

    /// Waits until nothing is queued and nobody is due.
    pub async fn drained(&self) {
        until_async("everything to be done", async || {
            let Some(seen) = self.get("overview").await else { return false };
            let figures = &seen["figures"];
            ["queue_depth", "people_due"].iter().all(|key| figures[key] == json!(0))
        })
        .await;
    }
}

/// A risk detection about a user.
pub fn detection(user: Uuid, kind: &str, activity: Timestamp) -> Value {
    json!({
        "id": Uuid::new_v4().simple().to_string(), "riskEventType": kind, "riskState": "atRisk", "riskLevel": "high",
        "riskDetail": "none", "source": "IdentityProtection", "activity": "signin", "ipAddress": "203.0.113.77",
        "activityDateTime": activity, "detectedDateTime": activity, "lastUpdatedDateTime": activity,
        "userId": user, "userPrincipalName": "somebody@contoso.example", "additionalInfo": "[]",
    })
}
