//! `oust demo`: the main job, seen. A thief reads mail with a stolen session; an alert arrives over HTTP, signed; the
//! sessions are revoked; the thief is refused; a password reset waits for a human. Everything is real but Microsoft,
//! which is the twin on a port of its own.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, redirect};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use super::serve::told_to_stop;
use super::{Code, Failure, Out};
use crate::app::{self, Running};
use crate::config::{self, Config, Options, Role};
use crate::domain::TaskId;
use crate::domain::reviewer::{Account, ReviewerId};
use crate::domain::task::{self, Kind, Task};
use crate::http::sign_in::{Site, invitation, invitation_url};
use crate::store::reviewers::{Change, Invite};
use crate::store::{Batch, CaseRow, Filter, Lane, Page, Store};
use crate::telemetry;
use crate::twin::{self, Loot, NewIncident, Origin, Special, Thief, ThiefReport, Twin};

/// `oust demo`
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Tell the story once and end; 0 when the thief is out and the reset waits.
    #[arg(long)]
    once: bool,
}

/// How long any chapter may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The thief reads mail this often.
const PACE: Duration = Duration::from_millis(250);

/// The stage: a simulated tenant and oust in this process, in a folder that goes with it.
struct Stage {
    twin: Twin,
    config: Config,
    running: Running,
    folder: tempfile::TempDir,
    /// Where alerts arrive.
    url: Url,
    /// Where the simulated tenant is.
    base: Url,
}

impl Demo {
    pub async fn run(self, out: Out) -> Result<(), Failure> {
        let quiet = telemetry::Config { level: "off".into(), ..telemetry::Config::default() };
        let failed = |error: &anyhow::Error| {
            Failure::of(
                Code::Problems,
                error.as_ref(),
                "this should work anywhere: please report it with the text above",
            )
        };
        let _guard = telemetry::install(&quiet).map_err(|error| Failure::of(Code::Problems, &error, ""))?;
        let stage = Stage::build().await.map_err(|error| failed(&error))?;
        let mut teller = Teller { out, begun: Instant::now(), line: std::io::stderr().is_terminal() };
        let told = async {
            let reset = stage.tell(&mut teller).await?;
            if !self.once {
                let link = stage.invite().await?;
                stage.stay(out, &link);
                tokio::select! {
                    () = told_to_stop() => {}
                    told = stage.accompany(&mut teller, reset) => return told,
                }
            }
            Ok(())
        };
        let told = told.await;
        stage.running.stop().await;
        told.map_err(|error| failed(&error))
    }
}

impl Stage {
    async fn build() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("oust-demo-").tempdir()?;
        let twin = Twin::new(twin::Config { people: 20, ..twin::Config::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = Url::parse(&format!("http://{}/", listener.local_addr()?))?;
        tokio::spawn(twin.clone().serve(listener, std::future::pending()));
        let listen = free_address().await?;
        let file = write_config(folder.path(), listen, &base)?;
        let config = config::load(&file, &Options::default())?.config;
        let running = app::start(config.clone(), &[Role::Receiver, Role::Worker, Role::Console]).await?;
        let url = Url::parse(&format!("http://{listen}/webhooks/sentinel"))?;
        Ok(Self { twin, config, running, folder, url, base })
    }

    /// The story, with measured times.
    async fn tell(&self, teller: &mut Teller) -> anyhow::Result<TaskId> {
        let ada = self.twin.special(Special::Ada);
        teller.say("ada@contoso.example signs in as every morning; somebody copies her session token");
        let session = self.twin.owner_session(ada).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
        let thief = self.twin.thief(Loot::RefreshToken(session.refresh_token), Origin::thief(), PACE);
        teller.wait(&thief, "the thief to get in", |report| report.successes >= 3).await?;
        teller.say("the thief is reading her mail, every 250 ms, without ever meeting a password or MFA prompt");

        let body = self.alert(ada)?;
        let sent = Instant::now();
        let sent_at = Timestamp::now();
        let answer = self.post(&body).await?;
        teller.say(&format!("Sentinel's alert arrives, signed: accepted and durable after {}", ms(sent.elapsed())));

        let case = self.revoked(teller, &thief, sent).await?;
        let accepted = case.revoke_accepted_at.unwrap_or(sent_at);
        let took = accepted.duration_since(case.received_at).as_millis();
        teller.say(&format!("sessions revoked {took} ms after the alert was received (accepted by Graph)"));

        let report = teller.wait(&thief, "the thief to be refused", |report| report.first_refusal.is_some()).await?;
        let refused = report.first_refusal.map_or(0, |at| at.duration_since(accepted).as_millis());
        let words = report.refusal.clone().unwrap_or_default();
        teller.say(&format!("the thief is refused {refused} ms later: {}", words.chars().take(90).collect::<String>()));

        let task = self.reset_waiting(teller, &thief).await?;
        anyhow::ensure!(!thief.report().inside, "the thief is still reading");
        let actions: Vec<&str> = task.rows.iter().map(|row| row.action.as_str()).collect();
        teller.say(&format!("a task waits for a human: {} ({})", actions.join(", "), task.id));
        teller.say("nothing resets a password without that decision");
        let summary = json!({
            "revoked_after_ms": took, "refused_after_ms": refused, "task": task.id, "case": case.id,
            "signals": answer.get("ids"), "mails_read": report.successes,
        });
        if teller.out.json {
            teller.out.say(&summary, String::new);
        }
        Ok(task.id)
    }

    /// Says what becomes of the reset, and when the person whose password it was signed in with the new one. Ends only
    /// with what cannot be read.
    async fn accompany(&self, teller: &mut Teller, reset: TaskId) -> anyhow::Result<()> {
        let ada = self.twin.special(Special::Ada);
        let revokes = || self.twin.count("revokeSignInSessions", ada).applied;
        let (mut word, before) = ("pending", revokes());
        let (mut temporary, mut again) = (false, false);
        loop {
            let task = store(&self.running).task(reset).await?;
            let now = task.map_or(word, |task| task.state.word());
            if now != word {
                word = now;
                self.chapter(teller, word);
            }
            let must_change = self.twin.user(ada).is_some_and(|ada| ada.must_change);
            if (must_change || temporary) && !again && revokes() > before {
                again = true;
                teller.say("her sessions are revoked again, so that nothing signed in with the old password stays");
            }
            if temporary && !must_change {
                teller.say("ada@contoso.example signed in with the temporary password and was made to choose her own");
            }
            temporary = must_change;
            tokio::time::sleep(PACE).await;
        }
    }

    /// What a new state of the reset means to whoever watches.
    fn chapter(&self, teller: &mut Teller, word: &str) {
        match word {
            "sealed" => teller.say("her password is reset; the new one is sealed to the browser that approved it"),
            "revealed" => {
                teller.say(&format!("the password was passed on. Now be her, and sign in with it: {}", self.door()))
            }
            "reveal_expired" => {
                teller.say("nobody passed the password on in time; it is gone, ask for another in the case")
            }
            "denied" => teller.say("the reset was denied: nothing was sent, her password is as it was"),
            _ => {}
        }
    }

    /// Where she signs in, as anybody in front of a browser can.
    fn door(&self) -> String {
        format!("{}sign-in?user=ada@contoso.example", self.base)
    }

    fn alert(&self, user: uuid::Uuid) -> anyhow::Result<Vec<u8>> {
        let raised = self.twin.add_incident(&NewIncident {
            users: vec![user],
            title: Some("Anomalous Token involving one user".into()),
            alert_titles: vec!["Anomalous Token".into()],
            origin: Origin::thief(),
            ..NewIncident::default()
        });
        Ok(serde_json::to_vec(&raised.trigger)?)
    }

    async fn post(&self, body: &[u8]) -> anyhow::Result<Value> {
        let client = Client::builder().redirect(redirect::Policy::none()).timeout(PATIENCE).build()?;
        let source = self.config.sources.first().ok_or_else(|| anyhow::anyhow!("no source"))?;
        let request = client.post(self.url.clone()).header("content-type", "application/json");
        let request =
            super::send::signed(request, source, body).map_err(|_| anyhow::anyhow!("the body cannot be signed"))?;
        let answer = request.body(body.to_vec()).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "the alert was answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    async fn revoked(&self, teller: &mut Teller, thief: &Thief, sent: Instant) -> anyhow::Result<CaseRow> {
        loop {
            let cases = store(&self.running).cases(&Filter::default(), &Page { after: None, limit: 10 }).await?;
            if let Some(case) = cases.items.into_iter().find(|case| case.revoke_accepted_at.is_some()) {
                return Ok(case);
            }
            anyhow::ensure!(sent.elapsed() < PATIENCE, "the sessions were not revoked within 10 s");
            teller.progress(thief, "revoking");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn reset_waiting(&self, teller: &mut Teller, thief: &Thief) -> anyhow::Result<Task> {
        let begun = Instant::now();
        loop {
            let filter = Filter { open: true, ..Filter::default() };
            let tasks = store(&self.running).tasks(&filter, &Page { after: None, limit: 10 }).await?;
            let resets = |task: &Task| task.rows.iter().any(|row| row.action == "reset_password");
            if let Some(task) = tasks.items.into_iter().find(|task| task.kind == Kind::Approval && resets(task)) {
                return Ok(task);
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "no reset task was raised within 10 s");
            teller.progress(thief, "collecting evidence");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A reviewer who may decide, and the one-time link to the console: it makes a passkey and signs in. Only this machine
    /// can use it: the console listens on loopback.
    async fn invite(&self) -> anyhow::Result<String> {
        let now = Timestamp::now();
        let reviewer: ReviewerId = "demo".parse()?;
        let account = Account {
            id: reviewer.clone(),
            handle: uuid::Uuid::new_v4(),
            display_name: "Demo reviewer".to_owned(),
            roles: vec![task::Role::Approver],
            groups: vec!["on-call".to_owned()],
            linked: Vec::new(),
            created_at: now,
            disabled_at: None,
        };
        let (secret, hash) = invitation();
        let by = "operator:demo".to_owned();
        // A newcomer reads the story first.
        let expires_at = now.checked_add(SignedDuration::from_hours(8))?;
        let invite = Invite { hash, reviewer, by, created_at: now, expires_at, used_at: None };
        let ops = vec![Change::AddReviewer(Box::new(account)).into(), Change::PutInvite(Box::new(invite)).into()];
        store(&self.running).commit(Lane::Other, Batch { expect: None, ops }).await?;
        let site = Site::of(self.config.public_url.as_ref(), self.running.address)?;
        Ok(invitation_url(&site, &secret))
    }

    /// What a newcomer can do next.
    fn stay(&self, out: Out, link: &str) {
        let config = self.folder.path().join("oust.yaml");
        let (config, door) = (config.display(), self.door());
        out.note(&format!(
            "\nthe console, signed in by a passkey that your browser makes (the link works once, on this machine):\n  {link}\n\
             there: open the waiting reset, approve it, copy the temporary password, and say that you passed it on\n\
             then be ada@contoso.example: sign in with it, and be made to change it\n  {door}\n\
             \nor, from another terminal:\n  oust case list --config {config}\n  oust task list --config {config}\n  \
             oust pause --reason drill --config {config}\nCtrl-C ends it and removes everything"
        ));
    }
}

fn store(running: &Running) -> &Arc<dyn Store> {
    running.store.as_ref().expect("the demonstration has a store")
}

/// Tells what happens, with the time since the beginning.
struct Teller {
    out: Out,
    begun: Instant,
    /// stderr is a terminal: one line is rewritten while waiting.
    line: bool,
}

impl Teller {
    fn say(&mut self, text: &str) {
        if self.line {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        let line = format!("{:>8}  {text}", ms(self.begun.elapsed()));
        if self.out.json {
            self.out.note(&line);
        } else {
            self.out.say(&Value::Null, || line);
        }
    }

    fn progress(&self, thief: &Thief, what: &str) {
        if self.line {
            let mails = thief.report().successes;
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[K{:>8}  … {what}; mails read so far: {mails}",
                ms(self.begun.elapsed())
            );
            let _ = std::io::stderr().flush();
        }
    }

    async fn wait(
        &mut self,
        thief: &Thief,
        what: &str,
        says: impl Fn(&ThiefReport) -> bool,
    ) -> anyhow::Result<ThiefReport> {
        let begun = Instant::now();
        let mut reports = thief.watch();
        loop {
            let report = thief.report();
            if says(&report) {
                return Ok(report);
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "waited 10 s in vain for {what}");
            self.progress(thief, what);
            let _ = tokio::time::timeout(PACE, reports.changed()).await;
        }
    }
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// A port that is free now; `config` needs a number before the receiver can bind.
async fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

/// A plain configuration, as a newcomer would write it, with its secrets in files beside it.
fn write_config(folder: &Path, listen: SocketAddr, base: &Url) -> anyhow::Result<std::path::PathBuf> {
    let tenant = twin::Config::default();
    secret(folder, "graph", &tenant.client_secret)?;
    let key: [u8; 32] = rand::random();
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key);
    secret(folder, "sentinel", &format!("whsec_{key}"))?;
    let text = format!(
        "listen: {listen}\nmode: enforce\nstore: sqlite:oust.db\nqueue: embedded\n\
         tenants:\n  - name: contoso\n    tenant_id: {tenant_id}\n    graph_url: {base}\n    login_url: {base}\n    arm_url: {base}\n\
         \x20   credential: {{ client_id: {client_id}, client_secret: {{ file: graph }} }}\n\
         sources:\n  - name: sentinel\n    kind: microsoft\n    tenant: contoso\n\
         \x20   auth:\n      - standard_webhooks: {{ secrets: [{{ file: sentinel }}] }}\n\
         guards:\n  blast_radius: {{ revocations: 500, per: 10m }}\n\
         approvals:\n  on_call: {{ reviewers: [group:on-call], approve: 1, decide_within: 4h, execute_within: 30m }}\n\
         telemetry: {{ level: \"off\" }}\n",
        tenant_id = tenant.tenant_id,
        client_id = tenant.client_id,
    );
    let file = folder.join("oust.yaml");
    std::fs::write(&file, text)?;
    Ok(file)
}

fn secret(folder: &Path, name: &str, value: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(name))?;
    Ok(file.write_all(value.as_bytes())?)
}
