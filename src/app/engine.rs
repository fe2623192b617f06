//! The engine of a process: playbooks, tenants with their Graph clients, and the rules people configured.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use jiff::SignedDuration;

use crate::actions;
use crate::config::{self, Config, Role};
use crate::domain::person::Rules;
use crate::engine::{self, Clock, Engine, NoHook, Tenant};
use crate::graph::{self, Graph};
use crate::playbook::catalog::{Catalog, Reloader};
use crate::queue::Queue;
use crate::store::reviewers::Reviewers;
use crate::telemetry::{GraphCall, Telemetry};

/// Calls in flight that are containment, and all others.
const CONTAINMENT_SLOTS: usize = 256;
const OTHER_SLOTS: usize = 64;
/// People being contained at once; above it signals wait on the queue.
const LANES: usize = 4_000;

/// Starts it.
pub(super) async fn engine(
    config: &Config,
    roles: &[Role],
    store: &Arc<dyn Reviewers>,
    queue: &Arc<dyn Queue>,
    telemetry: &Telemetry,
    clock: &Clock,
) -> anyhow::Result<Engine> {
    let actions = actions::registry();
    let playbooks = match &config.playbooks {
        Some(dir) => Reloader::open(dir, &actions),
        None => Catalog::shipped(&actions).map(Reloader::fixed),
    };
    let playbooks = playbooks.map_err(|wrong| {
        anyhow!("{}", wrong.iter().map(|file| file.render(false)).collect::<Vec<_>>().join("\n"))
            .context("the playbooks are not valid (`oust playbook lint` shows every mistake)")
    })?;
    let tenants = config.tenants.iter().map(|tenant| open_tenant(config, tenant, telemetry, clock));
    let parts = engine::Parts {
        store: Arc::clone(store),
        queue: Arc::clone(queue),
        actions,
        playbooks,
        telemetry: telemetry.clone(),
        clock: Arc::clone(clock),
        hook: Arc::new(NoHook),
    };
    let config = engine::Config {
        rules: Rules {
            mode: config.mode,
            policies: config.approvals.clone(),
            max_age: SignedDuration::try_from(config.guards.max_age)?,
            ..Rules::default()
        },
        blast_radius: config.guards.blast_radius.map(|cap| (cap.revocations, cap.per)),
        privileged_by_hand: config.guards.privileged == config::Privileged::Task,
        tenants: tenants.collect::<anyhow::Result<_>>()?,
        containment_slots: CONTAINMENT_SLOTS,
        other_slots: OTHER_SLOTS,
        lanes: LANES,
        works: roles.contains(&Role::Worker),
        polls: roles.contains(&Role::Poller),
        audit_key: config.audit_key.clone(),
    };
    let engine = Engine::start(config, parts).await.context("the worker cannot start")?;
    engine.run();
    Ok(engine)
}

fn open_tenant(
    config: &Config,
    tenant: &config::Tenant,
    telemetry: &Telemetry,
    clock: &Clock,
) -> anyhow::Result<Tenant> {
    let graph = open_graph(tenant, telemetry, clock).with_context(|| format!("tenant {}", tenant.name))?;
    let mut open = Tenant::new(tenant.name.clone(), tenant.tenant_id, graph);
    open.break_glass = config.guards.break_glass.iter().copied().collect();
    open.break_glass_group = config.guards.break_glass_group;
    open.polling = tenant.polling;
    for source in config.sources.iter().filter(|source| source.tenant == tenant.name) {
        if let config::Kind::Microsoft { arm } = &source.kind {
            open.arm.insert(source.name.clone(), arm.clone());
        }
    }
    Ok(open)
}

fn open_graph(tenant: &config::Tenant, telemetry: &Telemetry, clock: &Clock) -> anyhow::Result<Graph> {
    let credential = |credential: &config::Credential| graph::Credential::ClientSecret {
        client_id: credential.client_id.to_string(),
        secret: credential.client_secret.clone(),
    };
    let mut graph = graph::Config::new(tenant.tenant_id, credential(&tenant.credential));
    graph.cloud = match tenant.cloud {
        config::Cloud::Global => graph::Cloud::Global,
        config::Cloud::UsGov => graph::Cloud::UsGov,
        config::Cloud::UsDod => graph::Cloud::UsDod,
        config::Cloud::China => graph::Cloud::China,
    };
    graph.graph_url.clone_from(&tenant.graph_url);
    graph.login_url.clone_from(&tenant.login_url);
    graph.arm_url.clone_from(&tenant.arm_url);
    graph.recover_credential = tenant.recover_credential.as_ref().map(credential);
    let telemetry = telemetry.clone();
    let hooks = graph::Hooks {
        now: Arc::clone(clock),
        observer: Arc::new(move |call: graph::GraphCall| {
            telemetry.graph_call(&GraphCall {
                operation: call.operation,
                status: call.status,
                client_request_id: "",
                request_id: None,
                took: call.took,
            });
        }),
    };
    Ok(graph.build_with(hooks)?)
}
