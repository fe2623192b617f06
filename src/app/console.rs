//! The console of a process: who signs in, what is configured as pages show it, and the engine that records decisions.

use std::sync::Arc;

use anyhow::Context as _;

use super::Running;
use crate::config::{self, Config, Role};
use crate::engine::{Clock, Engine};
use crate::http::chain;
use crate::http::console::{self, Configured, Console, SourceFacts, TenantFacts};
use crate::http::sign_in::{self, SignIn, Site};
use crate::store::reviewers::Reviewers;
use crate::telemetry::Telemetry;

/// Says which policies wait for somebody who is not there.
pub(super) async fn tell_of_policies(console: &Console) {
    let unheld = console.unheld().await.unwrap_or_else(|error| {
        tracing::warn!(error = %chain(&error), "whether somebody can decide is not known: reviewers cannot be read");
        Vec::new()
    });
    for (policy, group) in unheld {
        let next = format!("oust reviewer invite NAME --role approver --group {group}");
        tracing::warn!(policy, group, next, "nobody who may approve is in a group that a policy names");
    }
}

/// The console, where people can sign in; `store` is absent where this process has not the role.
pub(super) fn console(
    running: &Running,
    config: &Config,
    roles: &[Role],
    store: Option<Arc<dyn Reviewers>>,
    telemetry: &Telemetry,
    clock: &Clock,
) -> anyhow::Result<Option<Console>> {
    let wanted = &config.reviewers;
    let (Some(store), Some(engine)) = (store, running.engine.clone()) else { return Ok(None) };
    if !wanted.passkeys && wanted.oidc.is_none() {
        tracing::warn!("{}", console::ABSENT);
        return Ok(None);
    }
    let sign_in = sign_in(running, config, &store, &engine, telemetry, clock)?;
    Ok(Some(Console::start(console::Parts {
        store,
        sign_in,
        engine,
        clock: Arc::clone(clock),
        telemetry: telemetry.clone(),
        limits: config.limits.clone(),
        configured: configured(config, roles),
        sources: config::opener(&config.sources),
        stop: running.stop.clone(),
    })))
}

fn sign_in(
    running: &Running,
    config: &Config,
    store: &Arc<dyn Reviewers>,
    engine: &Engine,
    telemetry: &Telemetry,
    clock: &Clock,
) -> anyhow::Result<SignIn> {
    let parts = sign_in::Parts {
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        telemetry: telemetry.clone(),
        limits: config.limits.clone(),
        site: Site::of(config.public_url.as_ref(), running.address).context("people cannot sign in")?,
        passkeys: config.reviewers.passkeys,
        oidc: config.reviewers.oidc.clone(),
        decider: Some(Arc::new(engine.clone())),
        tenants: config.tenants.iter().map(|tenant| (tenant.tenant_id, tenant.name.clone())).collect(),
        rates: sign_in::Rates::default(),
    };
    SignIn::new(parts).context("people cannot sign in")
}

fn configured(config: &Config, roles: &[Role]) -> Configured {
    let tenants = config.tenants.iter().map(|tenant| TenantFacts {
        name: tenant.name.clone(),
        tenant_id: tenant.tenant_id.to_string(),
        cloud: match tenant.cloud {
            config::Cloud::Global => "global",
            config::Cloud::UsGov => "us_gov",
            config::Cloud::UsDod => "us_dod",
            config::Cloud::China => "china",
        }
        .to_owned(),
    });
    let sources = config.sources.iter().map(|source| SourceFacts {
        name: source.name.clone(),
        kind: match source.kind {
            config::Kind::Microsoft { .. } => "microsoft",
            config::Kind::Graph { .. } => "graph",
            config::Kind::Mapped(_) => "mapped",
        }
        .to_owned(),
        tenant: source.tenant.to_string(),
    });
    let radius = config.guards.blast_radius;
    let groups = config.guards.break_glass_group;
    Configured {
        mode: config.mode,
        public_url: config.public_url.as_ref().map(ToString::to_string),
        tenants: tenants.collect(),
        sources: sources.collect(),
        oidc: config.reviewers.oidc.as_ref().map(|_| "your organisation".to_owned()),
        break_glass: config.guards.break_glass.len(),
        break_glass_group: groups.map(|group| group.to_string()),
        blast_radius: radius.map(|cap| format!("{} people in {} min", cap.revocations, cap.per.as_secs() / 60)),
        policies: config.approvals.keys().cloned().collect(),
        demo: false,
        receives: roles.contains(&Role::Receiver),
        works: roles.contains(&Role::Worker) || roles.contains(&Role::Poller),
    }
}
