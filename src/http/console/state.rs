//! What the console's handlers share: the parts below, what is configured as pages show it, and the small deeds they have
//! in common.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::view::{Names, Section, Shell};
use crate::domain::task::{Policy, Reviewer, Role};
use crate::domain::{TenantName, run::Mode};
use crate::engine::Engine;
use crate::http::buried::OpenSource;
use crate::http::pause::{PAUSE, Pause};
use crate::http::sign_in::{SignIn, SignedIn};
use crate::http::{Limits, Problem, RequestId};
use crate::store::reviewers::Reviewers;
use crate::store::{self, Figures};
use crate::telemetry::Telemetry;

/// A tenant, as configured.
#[derive(Debug, Clone)]
pub struct TenantFacts {
    pub name: TenantName,
    pub tenant_id: String,
    pub cloud: String,
}

/// A source, as configured.
#[derive(Debug, Clone)]
pub struct SourceFacts {
    pub name: String,
    pub kind: String,
    pub tenant: String,
}

/// What is configured, as pages show it.
#[derive(Debug, Clone)]
pub struct Configured {
    pub mode: Mode,
    pub public_url: Option<String>,
    pub tenants: Vec<TenantFacts>,
    pub sources: Vec<SourceFacts>,
    /// The provider's name, where one signs in through it.
    pub oidc: Option<String>,
    /// Identities listed one by one.
    pub break_glass: usize,
    pub break_glass_group: Option<String>,
    /// In words.
    pub blast_radius: Option<String>,
    /// Names of the approval policies.
    pub policies: Vec<String>,
    /// The simulated tenant.
    pub demo: bool,
    /// Deliveries come in through this process too: its counts of them say something.
    pub receives: bool,
    /// This process calls Microsoft itself.
    pub works: bool,
}

/// What the app hands over.
pub struct Parts {
    pub store: Arc<dyn Reviewers>,
    pub sign_in: SignIn,
    /// Records decisions; need not be a worker.
    pub engine: Engine,
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub telemetry: Telemetry,
    pub limits: Limits,
    pub configured: Configured,
    /// Opens a source by its name, to read again what lies buried.
    pub sources: OpenSource,
    /// Streams of events end with it.
    pub stop: CancellationToken,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("configured", &self.configured).finish_non_exhaustive()
    }
}

struct Inner {
    parts: Parts,
    feed: Feed,
    figures: Mutex<Option<(Instant, Figures)>>,
    lookings: Semaphore,
}

/// The console: cheap to clone.
#[derive(Clone)]
pub struct Console(Arc<Inner>);

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Console").field(&self.0.parts).finish()
    }
}

/// Numbers in the navigation are at most this old.
const FIGURES: Duration = Duration::from_secs(1);
/// Lists that are searched or filtered at once: each reads thousands of rows, and containment needs the same hands.
const LOOKINGS: usize = 2;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(2);
/// The largest body of a form.
const MAX_BODY: usize = 32 * 1024;

impl Console {
    /// The console and its one change feed, which ends with `stop`.
    pub fn start(mut parts: Parts) -> Self {
        parts.limits.max_body = MAX_BODY;
        let (store, clock) = (Arc::clone(&parts.store), Arc::clone(&parts.clock));
        let feed = Feed::start(store, clock, parts.stop.clone(), parts.limits.connections);
        Self(Arc::new(Inner { parts, feed, figures: Mutex::default(), lookings: Semaphore::new(LOOKINGS) }))
    }

    pub(super) fn store(&self) -> &dyn Reviewers {
        &*self.0.parts.store
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.0.parts.engine
    }

    /// Who signs in here.
    pub fn sign_in(&self) -> &SignIn {
        &self.0.parts.sign_in
    }

    pub(super) fn configured(&self) -> &Configured {
        &self.0.parts.configured
    }

    pub(super) fn sources(&self) -> &OpenSource {
        &self.0.parts.sources
    }

    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.0.parts.telemetry
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.parts.limits
    }

    pub(super) fn feed(&self) -> &Feed {
        &self.0.feed
    }

    pub(super) fn stop(&self) -> &CancellationToken {
        &self.0.parts.stop
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.0.parts.clock)()
    }

    /// The turn of somebody who searches or filters; over when it is dropped.
    ///
    /// # Errors
    /// 503 where others are at it for too long.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let turn = tokio::time::timeout(TURN, self.0.lookings.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| Problem::busy("others are searching right now").retry_after(2))
    }

    /// Groups that policies name and nobody who may approve is in: each policy with its group. Memberships that a
    /// provider tells are not known before somebody signs in.
    ///
    /// # Errors
    /// The store is away.
    pub async fn unheld(&self) -> Result<Vec<(String, String)>, store::Error> {
        if self.sign_in().has_provider() {
            return Ok(Vec::new());
        }
        let reviewers = self.store().reviewers().await?;
        let approvers =
            reviewers.iter().filter(|one| one.is_live() && one.roles.iter().any(|role| *role >= Role::Approver));
        let held: BTreeSet<&String> = approvers.flat_map(|one| &one.groups).collect();
        let lacking = |(name, policy): (&String, &Policy)| {
            let groups = policy.groups().filter(|group| !held.contains(group)).collect::<BTreeSet<_>>();
            groups.into_iter().map(|group| (name.clone(), group)).collect::<Vec<_>>()
        };
        Ok(self.engine().policies().iter().flat_map(lacking).collect())
    }

    /// The numbers of the whole; read at most once a second for everybody.
    pub(super) async fn figures(&self, id: &RequestId) -> Result<Figures, Problem> {
        let mut kept = self.0.figures.lock().await;
        if let Some((at, figures)) = kept.as_ref().filter(|(at, _)| at.elapsed() < FIGURES) {
            let _ = at;
            return Ok(figures.clone());
        }
        let figures = self.store().figures(self.now()).await.map_err(|error| Problem::of_store(&error, id))?;
        *kept = Some((Instant::now(), figures.clone()));
        Ok(figures)
    }

    /// Whether everything stands still.
    pub(super) async fn pause(&self, id: &RequestId) -> Result<Option<Pause>, Problem> {
        let held = self.store().setting(PAUSE).await.map_err(|error| Problem::of_store(&error, id))?;
        Ok(held.map(|held| {
            let unreadable = |_| Pause { by: "somebody".to_owned(), reason: None, at: self.now() };
            serde_json::from_value(held).unwrap_or_else(unreadable)
        }))
    }

    /// The frame of a page.
    pub(super) async fn shell(&self, section: Section, who: &SignedIn, id: &RequestId) -> Result<Shell, Problem> {
        let role = who.roles().last().copied().unwrap_or(Role::Viewer);
        let mut shell = Shell::of(section, &who.account.display_name, role, who.csrf(), self.now());
        if let Some(pause) = self.pause(id).await? {
            let names = self.names(id).await?;
            shell = shell.paused(&names.actor(&pause.by), pause.reason.as_deref(), pause.at);
        }
        let figures = self.figures(id).await?;
        shell.tasks = figures.tasks_open.iter().map(|(_, count)| count).sum();
        shell.buried = figures.buried;
        shell.shadow = self.configured().mode == Mode::Shadow;
        shell.demo = self.configured().demo;
        Ok(shell)
    }

    /// What reviewers are called.
    pub(super) async fn names(&self, id: &RequestId) -> Result<Names, Problem> {
        let all = self.store().reviewers().await.map_err(|error| Problem::of_store(&error, id))?;
        Ok(Names(all.into_iter().map(|account| (account.id.to_string(), account.display_name)).collect()))
    }

    /// The signed-in reviewer as they would decide: with the proof that a decision asks for.
    pub(super) async fn me(&self, who: &SignedIn, id: &RequestId) -> Result<Reviewer, Problem> {
        self.sign_in().reviewer(&who.account, &who.session, (self.now(), true), id).await
    }

    /// The signed-in reviewer with the proof they gave last.
    pub(super) async fn proved(&self, who: &SignedIn, id: &RequestId) -> Result<Reviewer, Problem> {
        self.sign_in().reviewer(&who.account, &who.session, (who.session.proved_at, who.session.aal2), id).await
    }
}

/// Roles that may act.
pub(super) fn may_act(who: &SignedIn) -> bool {
    who.roles().into_iter().any(|role| role >= Role::Approver)
}
