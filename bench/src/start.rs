//! Time from the end of an upload to the first ffmpeg: embedded, embedded with many waiting jobs, and with SQS.

use std::time::{Duration, Instant};

use anyhow::ensure;
use reelmill_testkit::Sqs;
use tokio::task::spawn_blocking;

use crate::{
    clips::generate,
    database_rows::Rows,
    dispatcher::Dispatcher,
    distributed::DistributedSystem,
    figures::{Figures, Goal, median},
    options::Options,
    process,
    system::System,
};

const VIDEO: &str = "testsrc2=size=1280x720:rate=30";
const CLIP: &str = "clip.mp4";
const DEFAULT_SECONDS: u32 = 8;
const RUNS: usize = 11;
const WAITING_JOBS: u32 = 100_000;
/// Encoder build that no worker has: the waiting jobs stay where they are.
const OTHER_BUILD: &str = "bench";
/// Time for the scheduler to queue the first tasks of each owner.
const SETTLING_TIME: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(1);
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// Medians.
pub async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    let system = System::start().await?;
    record(figures, options, &system, system.pid()?, "embedded", 150.0).await?;
    drop(system);
    let system = with_waiting_jobs().await?;
    let name = format!("embedded, {WAITING_JOBS} jobs waiting");
    record(figures, options, &system, system.pid()?, &name, 150.0).await?;
    drop(system);
    let sqs = Sqs::start().await?;
    let cluster = DistributedSystem::start_with_sqs(&sqs).await?;
    let worker = cluster.start_worker("worker", None, &[]).await?;
    record(figures, options, &cluster.system, worker.pid()?, "roles apart, SQS", 300.0).await?;
    worker.stop().await
}

/// A system whose database has the jobs of a thousand other owners.
async fn with_waiting_jobs() -> anyhow::Result<System> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data)?;
    let database = format!("sqlite://{}?mode=rwc", data.join("transcode.db").display());
    let dispatcher = Dispatcher::start(folder.path(), &database).await?;
    let template = dispatcher.plan_template().await?;
    // Its build counts as present for some minutes.
    dispatcher.register_worker().await?;
    dispatcher.stop().await?;
    let rows = Rows {
        template: &template,
        finished: 0,
        waiting: WAITING_JOBS,
        waiting_state: "QUEUED",
        required_build: OTHER_BUILD,
    };
    rows.insert_into_sqlite(&database).await?;
    let system = System::start_in(folder).await?;
    tokio::time::sleep(SETTLING_TIME).await;
    Ok(system)
}

async fn record(
    figures: &mut Figures,
    options: &Options,
    system: &System,
    worker: u32,
    name: &str,
    goal: f64,
) -> anyhow::Result<()> {
    let encoder = ["-preset", "veryfast"];
    generate(VIDEO, options.seconds.unwrap_or(DEFAULT_SECONDS), &encoder, &system.path(CLIP)).await?;
    let (mut probes, mut encoders) = (Vec::new(), Vec::new());
    for _ in 0..options.runs(RUNS) {
        let (probe, encoder) = start_times(system, worker).await?;
        probes.push(probe);
        encoders.push(encoder);
    }
    let name = format!("end of upload to the first ffmpeg, {name}, median");
    figures.record(&name, median(encoders), "ms", Some(Goal::AtMost(goal)))?;
    figures.record(&format!("{name}: of this until ffprobe"), median(probes), "ms", None)
}

/// Milliseconds from the exit of the upload command, which ends with the response to CompleteUploadSession, to the first
/// ffprobe and to the first ffmpeg.
async fn start_times(system: &System, worker: u32) -> anyhow::Result<(f64, f64)> {
    let watching = spawn_blocking(move || -> anyhow::Result<(Instant, Instant)> {
        Ok((first_child(worker, "ffprobe")?, first_child(worker, "ffmpeg")?))
    });
    let clip = system.path(CLIP).display().to_string();
    let video = system.client(&["upload", "--json", "--no-resume", &clip]).await?;
    let uploaded = Instant::now();
    let (probe, encoder) = watching.await??;
    let name = video["name"].as_str().unwrap_or_default().to_owned();
    system.client(&["delete", "--yes", "--json", &name]).await?;
    process::wait_until_childless(worker, "ffmpeg").await?;
    let millis = |start: Instant| start.saturating_duration_since(uploaded).as_secs_f64() * 1000.0;
    Ok((millis(probe), millis(encoder)))
}

fn first_child(pid: u32, name: &str) -> anyhow::Result<Instant> {
    let began = Instant::now();
    while process::children(pid, name)?.is_empty() {
        ensure!(began.elapsed() < WAIT_LIMIT, "no {name} was started");
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(Instant::now())
}
