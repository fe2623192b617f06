//! The rows: each starts a child of its own, does one thing to it, and gives figures beside their budgets.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use uuid::Uuid;

use super::sender::{Line, Load, Wanted, load};
use super::stage::{Server, Stage};
use super::{Row, Sizes, copies};
use crate::domain::{Identity, ObjectId};
use crate::store::{Access, Store};

/// Connections of a sender in a hurry.
const CONNECTIONS: usize = 64;
/// Nothing may stand still for longer.
const PATIENCE: Duration = Duration::from_secs(60);
const EVER: Duration = Duration::from_secs(600);
const BOTH: &str = "receiver,worker";

/// The value below which this share of all lie.
fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let at = (times.len().saturating_sub(1)) as f64 * share;
    times.get(at.round() as usize).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// What one sync costs here: nothing durable is faster.
pub(super) fn floor(stage: &Stage) -> anyhow::Result<Vec<Row>> {
    let path = stage.path("floor");
    let mut file = std::fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..50 {
        file.write_all(&[7; 4096])?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(vec![Row::fact("one fdatasync of this folder, p50", ms(quantile(&mut times, 0.5)), "ms")])
}

/// Signals one by one: receipt to revoke, and from step to step.
pub(super) async fn idle(stage: &Stage, sizes: Sizes) -> anyhow::Result<Vec<Row>> {
    stage.clear()?;
    let server = stage.ready(BOTH).await?;
    let memory = settled_memory(&server).await;
    let mut line = Line::open(&stage.target).await?;
    let (mut to_revoke, mut to_next) = (Vec::new(), Vec::new());
    for number in 1..=sizes.singles + 5 {
        let person = Uuid::new_v4();
        let sent = line.send(person, Wanted::Whole).await?;
        stage.stub.revoked(number, PATIENCE).await?;
        // The reads and the task belong to this signal: the next one comes when all is quiet again.
        tokio::time::sleep(Duration::from_millis(60)).await;
        let seen = stage.stub.seen(person).context("the revoke was of somebody else")?;
        // The first five bring connections, the token and caches up.
        if number > 5 {
            to_revoke.push(seen.arrived.duration_since(sent));
            to_next.extend(seen.answered.zip(seen.next).map(|(answered, next)| next.duration_since(answered)));
        }
    }
    let mut rows = vec![
        Row::at_most("receipt to revoke leaving, idle, p50", 10.0, ms(quantile(&mut to_revoke, 0.5)), "ms"),
        Row::at_most("receipt to revoke leaving, idle, p99", 50.0, ms(quantile(&mut to_revoke, 0.99)), "ms"),
        Row::at_most("durable step overhead, p50", 5.0, ms(quantile(&mut to_next, 0.5)), "ms"),
    ];
    rows.extend(memory.map(|bytes| Row::at_most("memory, idle", 40.0, mib(bytes), "MiB")));
    Ok(rows)
}

/// Memory once nothing moves any more.
async fn settled_memory(server: &Server) -> Option<u64> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.memory()
}

/// Single signals while so many people are in collect and recover.
pub(super) async fn behind_backlog(stage: &Stage, sizes: Sizes) -> anyhow::Result<Vec<Row>> {
    stage.clear()?;
    let _server = stage.ready(BOTH).await?;
    stage.stub.slow_reads(Duration::from_millis(200));
    let backlog =
        Load { wanted: Wanted::Whole, connections: CONNECTIONS, signals: sizes.backlog, time: EVER, rate: None };
    load(&stage.target, backlog).await?;
    stage.stub.revoked(sizes.backlog, PATIENCE).await?;
    let mut line = Line::open(&stage.target).await?;
    let mut times = Vec::new();
    for number in 1..=sizes.singles {
        let person = Uuid::new_v4();
        let sent = line.send(person, Wanted::Contain).await?;
        stage.stub.revoked(sizes.backlog + number, PATIENCE).await?;
        let seen = stage.stub.seen(person).context("the revoke was of somebody else")?;
        times.push(seen.arrived.duration_since(sent));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let what = format!("the same behind {} people in collect, p99", sizes.backlog);
    let rest = Row::fact("  its p50", ms(quantile(&mut times, 0.5)), "ms");
    Ok(vec![Row::at_most(what, 100.0, ms(quantile(&mut times, 0.99)), "ms"), rest])
}

/// A receiver alone, as fast as it goes and at half of that; then a worker in front of what waits.
pub(super) async fn accepts(stage: &Stage, sizes: Sizes) -> anyhow::Result<Vec<Row>> {
    stage.clear()?;
    let receiver = stage.ready("receiver").await?;
    let before = receiver.cpu();
    let fast = Load {
        wanted: Wanted::Contain,
        connections: 4 * CONNECTIONS,
        signals: usize::MAX,
        time: sizes.accept_for,
        rate: None,
    };
    let mut most = load(&stage.target, fast).await?;
    let cpu = receiver.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
    let half = Load { rate: Some((most.per_second() / 2.0).min(2_500.0)), ..fast };
    let mut calm = load(&stage.target, half).await?;
    let waiting = most.took.len() + calm.took.len();
    let slowest = quantile(&mut most.took, 1.0).max(quantile(&mut calm.took, 1.0));
    let mut rows = vec![
        Row::at_least("durable accepts of 4 KiB, receiver alone", 5_000.0, most.per_second(), "/s"),
        Row::at_most("an accept at half the budget, p99", 50.0, ms(quantile(&mut calm.took, 0.99)), "ms"),
        Row::at_most("the slowest accept of both", 2_900.0, ms(slowest), "ms"),
    ];
    rows.extend(cpu.map(|cpu| Row::fact("  processor time of an accept", ms(cpu) / most.took.len() as f64, "ms")));
    if waiting < sizes.queued {
        load(&stage.target, Load { signals: sizes.queued - waiting, time: EVER, ..fast }).await?;
    }
    drop(receiver);
    rows.extend(queued(stage, sizes.queued.max(waiting)).await?);
    Ok(rows)
}

/// The worst queue: Graph takes revokes and never answers, so as many people as may be are in memory.
async fn queued(stage: &Stage, signals: usize) -> anyhow::Result<Vec<Row>> {
    stage.stub.hang(true);
    let server = stage.spawn("worker")?;
    let mut most = None;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(server.memory());
    }
    let what = format!("memory, {signals} signals queued, Graph not answering");
    Ok(most.map(|bytes| Row::at_most(what, 150.0, mib(bytes), "MiB")).into_iter().collect())
}

/// Many people at once, revoke only: how fast, and at what cost.
pub(super) async fn storm(stage: &Stage, sizes: Sizes) -> anyhow::Result<Vec<Row>> {
    stage.clear()?;
    let server = stage.ready(BOTH).await?;
    warm(stage).await?;
    let before = server.cpu();
    let begun = Instant::now();
    let all = Load { wanted: Wanted::Contain, connections: CONNECTIONS, signals: sizes.storm, time: EVER, rate: None };
    load(&stage.target, all).await?;
    stage.stub.revoked(sizes.storm + 1, PATIENCE).await?;
    let took = stage.stub.last().context("no revoke came")?.duration_since(begun);
    let cpu = server.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
    let each = sizes.storm as f64;
    let what = format!("contained people in a storm of {}", sizes.storm);
    let mut rows = vec![Row::at_least(what, 2_000.0, each / took.as_secs_f64(), "/s")];
    rows.extend(cpu.map(|cpu| {
        Row::at_most("processor time a delivery, receipt to accepted revoke and read-back", 0.5, ms(cpu) / each, "ms")
    }));
    Ok(rows)
}

async fn warm(stage: &Stage) -> anyhow::Result<()> {
    Line::open(&stage.target).await?.send(Uuid::new_v4(), Wanted::Contain).await?;
    stage.stub.revoked(1, PATIENCE).await
}

/// Many people at once, until the reset of each waits for a human.
pub(super) async fn whole(stage: &Stage, sizes: Sizes) -> anyhow::Result<Vec<Row>> {
    stage.clear()?;
    let server = stage.ready(BOTH).await?;
    warm(stage).await?;
    let store = stage.store(Access::Look).await?;
    let open = approvals(&*store).await?;
    let before = server.cpu();
    let begun = Instant::now();
    let all = Load { wanted: Wanted::Whole, connections: CONNECTIONS, signals: sizes.whole, time: EVER, rate: None };
    load(&stage.target, all).await?;
    tasks(&*store, open + sizes.whole as u64).await?;
    let took = begun.elapsed();
    let cpu = server.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
    let each = sizes.whole as f64;
    let mut rows =
        vec![Row::at_least("whole playbooks (revoke, 4 reads, task)", 1_000.0, each / took.as_secs_f64(), "/s")];
    rows.extend(cpu.map(|cpu| Row::fact("  processor time of a whole playbook", ms(cpu) / each, "ms")));
    Ok(rows)
}

async fn approvals(store: &dyn Store) -> anyhow::Result<u64> {
    let figures = store.figures(jiff::Timestamp::now()).await?;
    Ok(figures.tasks_open.iter().filter(|(kind, _)| kind == "approval").map(|(_, count)| *count).sum())
}

/// Waits until so many approvals are open.
async fn tasks(store: &dyn Store, wanted: u64) -> anyhow::Result<()> {
    let mut last = (0, Instant::now());
    loop {
        let open = approvals(store).await?;
        if open >= wanted {
            return Ok(());
        }
        if open > last.0 {
            last = (open, Instant::now());
        }
        anyhow::ensure!(last.1.elapsed() < PATIENCE, "{open} of {wanted} tasks were raised, then none");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `kill -9` while a revoke is on its way, in front of many open cases: when does it leave again?
pub(super) async fn restart(stage: &Stage, sizes: Sizes) -> anyhow::Result<Vec<Row>> {
    stage.clear()?;
    let server = stage.ready(BOTH).await?;
    let mut line = Line::open(&stage.target).await?;
    let settled = Uuid::new_v4();
    line.send(settled, Wanted::Whole).await?;
    tasks(&*stage.store(Access::Look).await?, 1).await?;
    stage.stub.hang(true);
    line.send(Uuid::new_v4(), Wanted::Contain).await?;
    stage.stub.revoked(2, PATIENCE).await?;
    drop(server);
    stage.stub.forget();
    let store = stage.store(Access::Write).await?;
    let identity = Identity { tenant: "contoso".parse()?, object_id: ObjectId::new(settled) };
    copies::copy(&*store, &identity, sizes.cases).await?;
    drop(store);
    stage.stub.hang(false);
    let server = stage.spawn("worker")?;
    stage.stub.revoked(1, PATIENCE).await?;
    let took = stage.stub.last().context("no revoke came")?.duration_since(server.begun);
    let what = format!("kill -9 to the first resumed step, {} open cases", sizes.cases);
    Ok(vec![Row::at_most(what, 2.0, took.as_secs_f64(), "s")])
}

/// An empty store: how long until it is ready, and how big it is.
pub(super) async fn start(stage: &Stage) -> anyhow::Result<Vec<Row>> {
    let mut times = Vec::new();
    for _ in 0..5 {
        stage.clear()?;
        let server = stage.ready(BOTH).await?;
        times.push(server.begun.elapsed());
    }
    Ok(vec![
        Row::at_most("cold start to ready, p50", 300.0, ms(quantile(&mut times, 0.5)), "ms"),
        Row::at_most("binary", 40.0, stage.binary_size()? as f64 / 1e6, "MB"),
    ])
}
