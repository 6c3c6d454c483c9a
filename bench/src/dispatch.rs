//! Leasing and completing tasks with a small and a large database: claim + complete pairs a second, over gRPC.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use reelmill_proto::transcode::{
    CompleteTaskRequest, StartTaskResponse, TaskClass, start_task_response::Work,
};
use reelmill_testkit::Postgres;
use tokio::sync::Mutex;

use crate::{
    database_rows::Rows,
    dispatcher::Dispatcher,
    figures::{Figures, Goal},
};

const CALLERS: usize = 8;
/// Pairs that are measured, and pairs before them.
const PAIRS: usize = 3000;
const WARM_UP_PAIRS: usize = 500;
/// Least rate with the large database, relative to that with the small one.
const RATE_GOAL: f64 = 0.8;
/// How long the first task may take to be leased: owners are queued by the sweep over the backlog.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A kind of database.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Postgres,
    Sqlite,
}

/// Rows of a database, and what was measured with it.
struct Measured {
    pairs_per_second: f64,
    lease_p99_millis: f64,
    pair_p99_millis: f64,
}

/// The dispatcher on Postgres and on SQLite. The rows are copies of those of one job that was planned by its calls.
pub async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    measure_database(figures, Kind::Postgres, [(1000, 10_000), (1_000_000, 100_000)]).await?;
    measure_database(figures, Kind::Sqlite, [(1000, 10_000), (100_000, 100_000)]).await
}

async fn measure_database(figures: &mut Figures, kind: Kind, sizes: [(u32, u32); 2]) -> anyhow::Result<()> {
    let mut rates = Vec::new();
    for (finished, waiting) in sizes {
        let measured = measure_with(kind, finished, waiting).await?;
        let name = format!("{kind:?}, {finished} finished and {waiting} waiting jobs");
        figures.record(&format!("claim + complete, {name}"), measured.pairs_per_second, "pairs/s", None)?;
        figures.record(&format!("p99 of a claim, {name}"), measured.lease_p99_millis, "ms", None)?;
        figures.record(&format!("p99 of a pair, {name}"), measured.pair_p99_millis, "ms", None)?;
        rates.push(measured.pairs_per_second);
    }
    let ratio = rates[1] / rates[0];
    let name = format!("claim + complete, {kind:?}: large over small database");
    figures.record(&name, ratio, "x", Some(Goal::AtLeast(RATE_GOAL)))
}

async fn measure_with(kind: Kind, finished: u32, waiting: u32) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let postgres = match kind {
        Kind::Postgres => Some(Postgres::start().await?),
        Kind::Sqlite => None,
    };
    let database = match &postgres {
        Some(postgres) => postgres.create_database("transcode").await?,
        None => format!("sqlite://{}?mode=rwc", folder.path().join("transcode.db").display()),
    };
    let template = {
        let dispatcher = Dispatcher::start(folder.path(), &database).await?;
        let template = dispatcher.plan_template().await?;
        dispatcher.stop().await?;
        template
    };
    let rows = Rows { template: &template, finished, waiting, waiting_state: "RUNNING", required_build: "" };
    match &postgres {
        Some(postgres) => postgres.execute("transcode", &rows.postgres()).await?,
        None => rows.insert_into_sqlite(&database).await?,
    }
    let dispatcher = Dispatcher::start(folder.path(), &database).await?;
    let first = first_task(&dispatcher).await?;
    complete(&dispatcher, &first).await?;
    run_pairs(&dispatcher, WARM_UP_PAIRS).await?;
    let (seconds, mut latencies) = run_pairs(&dispatcher, PAIRS).await?;
    latencies.sort_by(|a, b| a.0.total_cmp(&b.0));
    let lease_p99_millis = percentile_99(latencies.iter().map(|(lease, _)| *lease).collect())?;
    let pair_p99_millis = percentile_99(latencies.iter().map(|(_, pair)| *pair).collect())?;
    Ok(Measured { pairs_per_second: PAIRS as f64 / seconds, lease_p99_millis, pair_p99_millis })
}

fn percentile_99(mut millis: Vec<f64>) -> anyhow::Result<f64> {
    millis.sort_by(f64::total_cmp);
    millis.get(millis.len() * 99 / 100).copied().context("nothing was measured")
}

/// The first task that can be leased.
async fn first_task(dispatcher: &Dispatcher) -> anyhow::Result<StartTaskResponse> {
    let started = Instant::now();
    while started.elapsed() < START_LIMIT {
        if let Ok(Some(task)) = dispatcher.start_task(TaskClass::Bulk, Duration::ZERO).await {
            return Ok(task);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("no task was queued")
}

async fn complete(dispatcher: &Dispatcher, task: &StartTaskResponse) -> anyhow::Result<()> {
    anyhow::ensure!(matches!(task.work, Some(Work::Encode(_))), "not an ENCODE task");
    let request = CompleteTaskRequest { lease: task.lease.clone(), ..CompleteTaskRequest::default() };
    dispatcher.tasks.clone().complete_task(request).await?;
    Ok(())
}

/// Runs pairs by concurrent callers; returns the seconds, and the milliseconds of each claim and of each pair.
async fn run_pairs(dispatcher: &Dispatcher, pairs: usize) -> anyhow::Result<(f64, Vec<(f64, f64)>)> {
    let left = Arc::new(Mutex::new(pairs));
    let began = Instant::now();
    let callers = (0..CALLERS).map(async |_| {
        let mut latencies = Vec::new();
        loop {
            {
                let mut left = left.lock().await;
                if *left == 0 {
                    return anyhow::Ok(latencies);
                }
                *left -= 1;
            }
            let start = Instant::now();
            let task = loop {
                match dispatcher.start_task(TaskClass::Bulk, Duration::ZERO).await? {
                    Some(task) => break task,
                    // The scheduler is behind: this counts.
                    None => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            };
            let leased = start.elapsed();
            complete(dispatcher, &task).await?;
            latencies.push((leased.as_secs_f64() * 1000.0, start.elapsed().as_secs_f64() * 1000.0));
        }
    });
    let mut latencies = Vec::new();
    for caller in futures::future::join_all(callers).await {
        latencies.extend(caller?);
    }
    Ok((began.elapsed().as_secs_f64(), latencies))
}
