//! Watchers of jobs on one dispatcher: its memory for each, the delay of updates, and its CPU time.
//!
//! The transcode role is a process of its own, on SQLite. This process is all workers and all watchers, and they share the
//! machine's cores (two) with the role: delays include the time until this process has decoded the updates before. A
//! figure shows its CPU time.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use reelmill_mesh::UserSession;
use reelmill_proto::transcode::{
    CreateJobRequest, Lease, PlanJobRequest, Progress, ReportProgressRequest, SourceInfo, TaskClass,
    WatchJobRequest, WatchJobResponse, start_task_response::Work,
    transcode_service_client::TranscodeServiceClient,
};
use tokio::time::{MissedTickBehavior, interval_at, sleep};
use tonic::Streaming;

use crate::{
    dispatcher::{Dispatcher, connect, retry},
    figures::{Figures, Goal},
    process, sources,
};

const JOBS: usize = 100;
/// Jobs that report while the others do not.
const FEW_JOBS: usize = 10;
const WATCHERS: usize = 10_000;
const CONNECTIONS: usize = 20;
/// Watches that are opened at a time.
const CONCURRENT_OPENS: usize = 200;
/// A little more than the interval below which the dispatcher publishes no progress of a job, 250 ms.
const REPORT_INTERVAL: Duration = Duration::from_millis(300);
/// Percent of its task by which each report exceeds the one before: a task of five minutes.
const PERCENT_PER_REPORT: f64 = 0.1;
const FRAMES_PER_REPORT: i64 = 9;
const SAMPLE_DURATION: Duration = Duration::from_secs(8);
/// Pause before a sample, so that it has no effects of what was done before. With the sample it is shorter than a lease
/// that was just renewed: jobs that do not report keep theirs.
const SETTLE_DURATION: Duration = Duration::from_secs(2);
const SOURCE_SECONDS: f64 = 60.0;
const MAX_KB_PER_WATCHER: f64 = 20.0;
const MAX_P99_SECONDS: f64 = 1.0;

/// Records the figures.
pub async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let database = format!("sqlite://{}?mode=rwc", folder.path().join("transcode.db").display());
    let dispatcher = Dispatcher::start(folder.path(), &database).await?;
    let pid = dispatcher.pid()?;
    let traffic = Arc::new(Traffic::new(plan_jobs(&dispatcher).await?));
    traffic.start_reports(&dispatcher).await?;
    let unwatched = traffic.sample(pid).await?;
    let before_mib = process::resident_mib(pid)?;
    let began = Instant::now();
    traffic.open_watchers(folder.path()).await?;
    let open_seconds = began.elapsed().as_secs_f64();
    let all_jobs = traffic.sample(pid).await?;
    let bytes = (process::resident_mib(pid)? - before_mib) * f64::from(1 << 20);
    traffic.reporting_jobs.store(FEW_JOBS, Ordering::Relaxed);
    let few_jobs = traffic.sample(pid).await?;
    ensure!(
        traffic.ended_streams.load(Ordering::Relaxed) == 0,
        "streams have ended while they were measured"
    );
    dispatcher.stop().await?;

    let mut record = |name: &str, value, unit, goal| {
        figures.record(&format!("{WATCHERS} watchers of {JOBS} jobs: {name}"), value, unit, goal)
    };
    let max_kb = Some(Goal::AtMost(MAX_KB_PER_WATCHER));
    record("memory a watcher", bytes / 1000.0 / WATCHERS as f64, "kB", max_kb)?;
    record(
        "p99 delay of an update",
        all_jobs.delays.percentile(99.0)?,
        "s",
        Some(Goal::AtMost(MAX_P99_SECONDS)),
    )?;
    record("median delay of an update", all_jobs.delays.percentile(50.0)? * 1000.0, "ms", None)?;
    record("updates", all_jobs.updates_per_second(), "/s", None)?;
    record("updates received of those sent", all_jobs.received_ratio() * 100.0, "%", None)?;
    record("time to open all watches", open_seconds, "s", None)?;
    record("CPU without watchers", unwatched.cpu, "cores", None)?;
    record("CPU", all_jobs.cpu, "cores", None)?;
    record("CPU of the watchers and workers themselves", all_jobs.own_cpu, "cores", None)?;
    record(&format!("CPU while {FEW_JOBS} jobs report"), few_jobs.cpu, "cores", None)?;
    record(&format!("CPU while {FEW_JOBS} jobs report over all"), few_jobs.cpu / all_jobs.cpu, "x", None)?;
    record(&format!("updates while {FEW_JOBS} jobs report"), few_jobs.updates_per_second(), "/s", None)?;
    let p99_seconds = few_jobs.delays.percentile(99.0)?;
    record(&format!("p99 delay of an update while {FEW_JOBS} jobs report"), p99_seconds, "s", None)
}

/// Creates and plans jobs, each of another owner, because an owner has few jobs that are started at a time. Their first
/// tasks are leased; the others wait.
async fn plan_jobs(dispatcher: &Dispatcher) -> anyhow::Result<Vec<Job>> {
    let mut owners = HashMap::new();
    for number in 0..JOBS {
        let request = CreateJobRequest {
            video: format!("videos/{number}"),
            owner: format!("users/{number}"),
            request_id: number.to_string(),
            source_key: format!("sources/{number}"),
            source_size_bytes: 30_000_000,
            output_prefix: format!("outputs/{number}/"),
            options: None,
        };
        let created = retry(async || dispatcher.jobs.clone().create_job(request.clone()).await).await?;
        owners.insert(created.job.context("no job")?.name, number.to_string());
    }
    let mut jobs = Vec::new();
    for _ in 0..JOBS {
        let started = dispatcher.start_task(TaskClass::Express, Duration::from_secs(8)).await?;
        let started = started.context("a job has no task")?;
        ensure!(matches!(started.work, Some(Work::Prepare(_))), "not a PREPARE task");
        let lease = started.lease.context("a task without a lease")?;
        let name = lease.task.split_once("/tasks/").context("not the name of a task")?.0.to_owned();
        let owner = owners.remove(&name).context("an unknown job")?;
        jobs.push(Job { name, owner, lease, sent: Mutex::default() });
    }
    let (source, source_info) = (sources::with_sound(SOURCE_SECONDS)?, Some(source_info()));
    for job in &jobs {
        let request = PlanJobRequest {
            lease: Some(job.lease.clone()),
            source: source.clone(),
            source_info: source_info.clone(),
        };
        dispatcher.tasks.clone().plan_job(request).await?;
    }
    Ok(jobs)
}

/// The source for display.
fn source_info() -> SourceInfo {
    SourceInfo {
        container: "mov,mp4,m4a,3gp,3g2,mj2".to_owned(),
        video_codec: "h264".to_owned(),
        audio_codec: "aac".to_owned(),
        width: 1920,
        height: 1080,
        frame_rate: 30.0,
        duration: Some(reelmill_proto::duration(Duration::from_secs_f64(SOURCE_SECONDS))),
        pixel_format: "yuv420p".to_owned(),
        video_range: "SDR".to_owned(),
        audio_tracks: 1,
        ..SourceInfo::default()
    }
}

/// A job whose first task is leased.
struct Job {
    name: String,
    owner: String,
    lease: Lease,
    /// When each report was sent.
    sent: Mutex<Vec<Instant>>,
}

impl Job {
    fn sent(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next report. Its frame rate is its number: the dispatcher publishes the sum of the frame rates of a job's
    /// running tasks, which is this one. The percent becomes one of the whole job.
    fn next_report(&self) -> ReportProgressRequest {
        let mut sent = self.sent();
        sent.push(Instant::now());
        let number = sent.len();
        let progress = Progress {
            percent: (number as f64 * PERCENT_PER_REPORT).min(99.0),
            frames: number as i64 * FRAMES_PER_REPORT,
            fps: number as f64,
            speed: 1.0,
            ..Progress::default()
        };
        ReportProgressRequest { lease: Some(self.lease.clone()), progress: Some(progress) }
    }

    /// Time since the report was sent that an update is of; none before the first report.
    fn delay(&self, update: &WatchJobResponse) -> Option<Duration> {
        let number = update.job.as_ref()?.progress?.fps as usize;
        Some(self.sent().get(number.checked_sub(1)?)?.elapsed())
    }
}

/// Reports and updates of all jobs.
struct Traffic {
    jobs: Vec<Job>,
    /// The first so many jobs report.
    reporting_jobs: AtomicUsize,
    delays: DelayHistogram,
    /// Streams of reports or updates that have ended or failed.
    ended_streams: AtomicUsize,
}

/// What was measured for some seconds.
struct Sample {
    seconds: f64,
    /// CPU seconds of the dispatcher a second.
    cpu: f64,
    /// The same of this process.
    own_cpu: f64,
    reports: usize,
    delays: Delays,
}

impl Traffic {
    fn new(jobs: Vec<Job>) -> Self {
        let (reporting_jobs, delays) = (AtomicUsize::new(jobs.len()), DelayHistogram::new());
        Self { jobs, reporting_jobs, delays, ended_streams: AtomicUsize::new(0) }
    }

    async fn start_reports(self: &Arc<Self>, dispatcher: &Dispatcher) -> anyhow::Result<()> {
        for index in 0..self.jobs.len() {
            let reports = Arc::clone(self).reports(index);
            let mut responses = dispatcher.tasks.clone().report_progress(reports).await?.into_inner();
            let traffic = Arc::clone(self);
            tokio::spawn(async move {
                while let Ok(Some(response)) = responses.message().await
                    && !response.cancel
                {}
                traffic.ended_streams.fetch_add(1, Ordering::Relaxed);
            });
        }
        Ok(())
    }

    fn reports(self: Arc<Self>, index: usize) -> impl Stream<Item = ReportProgressRequest> {
        // Spread over the interval, like those of independent workers.
        let offset = REPORT_INTERVAL.mul_f64(index as f64 / self.jobs.len() as f64);
        let mut ticks = interval_at(tokio::time::Instant::now() + offset, REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        stream::unfold((self, ticks), move |(traffic, mut ticks)| async move {
            loop {
                ticks.tick().await;
                if index < traffic.reporting_jobs.load(Ordering::Relaxed) {
                    return Some((traffic.jobs[index].next_report(), (traffic, ticks)));
                }
            }
        })
    }

    /// Opens all watches; each job has as many on every connection.
    async fn open_watchers(self: &Arc<Self>, folder: &Path) -> anyhow::Result<()> {
        let connections = (0..CONNECTIONS).map(|_| connect(folder, "gateway"));
        let connections = connections.collect::<anyhow::Result<Vec<_>>>()?;
        let opening = (0..WATCHERS).map(|number| {
            let (traffic, index) = (Arc::clone(self), number % self.jobs.len());
            let owner = self.jobs[index].owner.clone();
            let user = UserSession { user: owner, session: "bench".to_owned() };
            let connection = connections[number / (WATCHERS / CONNECTIONS)].on_behalf_of(user);
            let mut client = TranscodeServiceClient::new(connection);
            async move {
                let request = WatchJobRequest { name: traffic.jobs[index].name.clone(), revision: 0 };
                let mut updates = client.watch_job(request).await?.into_inner();
                // The state before: its report is older than the watch.
                updates.message().await?.context("a watch without a job")?;
                tokio::spawn(async move { traffic.receive(index, updates).await });
                anyhow::Ok(())
            }
        });
        stream::iter(opening).buffer_unordered(CONCURRENT_OPENS).try_collect().await
    }

    async fn receive(&self, index: usize, mut updates: Streaming<WatchJobResponse>) {
        while let Ok(Some(update)) = updates.message().await {
            if let Some(delay) = self.jobs[index].delay(&update) {
                self.delays.add(delay);
            }
        }
        self.ended_streams.fetch_add(1, Ordering::Relaxed);
    }

    async fn sample(&self, pid: u32) -> anyhow::Result<Sample> {
        sleep(SETTLE_DURATION).await;
        let reports = || self.jobs.iter().map(|job| job.sent().len()).sum::<usize>();
        let cpu = || anyhow::Ok((process::cpu_seconds(pid)?, process::cpu_seconds(std::process::id())?));
        let (reports_before, (cpu_before, own_cpu_before), began) = (reports(), cpu()?, Instant::now());
        self.delays.take();
        sleep(SAMPLE_DURATION).await;
        let ((cpu_after, own_cpu_after), seconds) = (cpu()?, began.elapsed().as_secs_f64());
        Ok(Sample {
            seconds,
            cpu: (cpu_after - cpu_before) / seconds,
            own_cpu: (own_cpu_after - own_cpu_before) / seconds,
            reports: reports() - reports_before,
            delays: self.delays.take(),
        })
    }
}

impl Sample {
    fn updates_per_second(&self) -> f64 {
        self.delays.count() as f64 / self.seconds
    }

    /// A slow watcher receives only the last update, so that the delays of others are not measured.
    fn received_ratio(&self) -> f64 {
        self.delays.count() as f64 / (self.reports * WATCHERS / JOBS) as f64
    }
}

/// Delays of updates, counted by milliseconds.
struct DelayHistogram(Vec<AtomicU64>);

impl DelayHistogram {
    /// Longer delays count as this one.
    const MAX_MILLIS: usize = 60_000;

    fn new() -> Self {
        Self((0..=Self::MAX_MILLIS).map(|_| AtomicU64::new(0)).collect())
    }

    fn add(&self, delay: Duration) {
        let millis = usize::try_from(delay.as_millis()).unwrap_or(usize::MAX);
        self.0[millis.min(Self::MAX_MILLIS)].fetch_add(1, Ordering::Relaxed);
    }

    /// Empties the histogram.
    fn take(&self) -> Delays {
        Delays(self.0.iter().map(|count| count.swap(0, Ordering::Relaxed)).collect())
    }
}

/// Numbers of delays by milliseconds.
struct Delays(Vec<u64>);

impl Delays {
    fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Seconds that so many percent of the delays do not exceed.
    fn percentile(&self, percent: f64) -> anyhow::Result<f64> {
        let rank = self.count() as f64 * percent / 100.0;
        let mut counted = 0;
        let millis = self.0.iter().position(|count| {
            counted += count;
            counted > 0 && counted as f64 >= rank
        });
        Ok((millis.context("no update was received")? + 1) as f64 / 1000.0)
    }
}
