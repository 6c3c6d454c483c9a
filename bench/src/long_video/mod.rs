//! A video of 12 hours: rows, statements and bytes written, while it is encoded and afterwards. The transcode role runs on
//! Postgres and SeaweedFS; the callers lease tasks, record their outputs and complete them as workers do, but encode and
//! upload nothing, so that they request no URLs for outputs.
//!
//! It takes a few minutes instead of hours. What depends on time and not on segments is therefore rarer than with workers:
//! renewals of leases, and writes of progress and of growing playlists.

mod outputs;
mod sent_bytes;
mod statistics;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use futures::channel::mpsc;
use reelmill_media::plan::{Plan, WorkUnit};
use reelmill_proto::transcode::{
    CompleteTaskRequest, CreateJobRequest, EncodeTask, GetJobRequest, Lease, ListSegmentsRequest, Output,
    PackageTask, PlanJobRequest, Progress, ProgressiveFile, RecordOutputsRequest, ReportProgressRequest,
    StartTaskResponse, TaskClass, job::State, output::Kind, start_task_response::Work,
};
use reelmill_testkit::{Postgres, SeaweedFs};
use tokio::sync::Mutex;

use self::{
    outputs::{output, outputs, renditions, segment_range, total_segments},
    sent_bytes::count_sent_bytes,
    statistics::{JobRows, MEASURING_ROLE, Statistics},
};
use crate::{
    dispatcher::{Dispatcher, retry},
    figures::{Figures, Goal},
    sources,
};

const HOURS: f64 = 12.0;
const SECONDS: f64 = HOURS * 3600.0;
const FRAME_RATE: f64 = 30.0;
const VIDEO_SEGMENT_SECONDS: f64 = 4.0;
const DATABASE: &str = "transcode";
/// Tasks that run at a time.
const SLOTS: usize = 2;
const TASKS_PER_SAMPLE: u32 = 20;
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const REPORT_INTERVAL: Duration = Duration::from_millis(250);
const TIME_LIMIT: Duration = Duration::from_secs(210);
/// Time after the end of the job in which statements are counted.
const IDLE_TIME: Duration = Duration::from_secs(10);
const MAX_ROWS: f64 = 500.0;
const MAX_ROWS_AFTERWARDS: f64 = 10.0;

/// Records the figures.
pub async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (postgres, object_store) = tokio::try_join!(Postgres::start(), SeaweedFs::start())?;
    postgres.execute("postgres", "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'").await?;
    postgres.restart().await?;
    let url = postgres.create_database(DATABASE).await?;
    postgres.execute(DATABASE, &format!("CREATE ROLE {MEASURING_ROLE} SUPERUSER LOGIN")).await?;
    postgres.execute(DATABASE, "CREATE EXTENSION pg_stat_statements").await?;
    let (endpoint, sent_bytes) = count_sent_bytes(&object_store).await?;
    let settings = vec![
        ("REELMILL_OBJECTS__ENDPOINT", endpoint),
        ("REELMILL_OBJECTS__REGION", object_store.region().to_owned()),
        ("REELMILL_OBJECTS__BUCKET", object_store.bucket().to_owned()),
        ("REELMILL_OBJECTS__ACCESS_KEY_ID", object_store.access_key_id().to_owned()),
        ("REELMILL_OBJECTS__SECRET_ACCESS_KEY", object_store.secret_access_key().to_owned()),
    ];
    let dispatcher = Dispatcher::start_with(folder.path(), &url, settings).await?;
    let job = create_job(&dispatcher).await?;
    let statistics = Statistics::connect(&url).await?;
    let (before, sent_before) = (statistics.counters().await?, sent_bytes.load(Ordering::Relaxed));

    let worker = FakeWorker { dispatcher, statistics, job, totals: Mutex::default() };
    tokio::time::timeout(TIME_LIMIT, worker.encode_job()).await.context("the job takes too long")??;
    let FakeWorker { dispatcher, statistics, totals, .. } = worker;
    let totals = totals.into_inner();
    let used = statistics.counters().await?.since(&before);
    let sent = sent_bytes.load(Ordering::Relaxed) - sent_before;
    // The idle time is without autovacuum.
    postgres.execute(DATABASE, "VACUUM").await?;
    let before_idle = statistics.counters().await?;
    tokio::time::sleep(IDLE_TIME).await;
    let idle = statistics.counters().await?.since(&before_idle);
    let afterwards = statistics.job_rows().await?;
    let table_bytes = statistics.table_bytes().await?;
    dispatcher.stop().await?;
    // Counted when the role's connections have ended.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let transactions = statistics.transactions().await? - before.transactions;

    let minutes = HOURS * 60.0;
    let segments = totals.segments as f64;
    let mut record =
        |name: &str, value, unit, goal| figures.record(&format!("12 h video: {name}"), value, unit, goal);
    record("segments of all renditions", segments, "", None)?;
    record("tasks", f64::from(totals.tasks), "", None)?;
    record("time of this run", used.seconds, "s", None)?;
    record("rows, peak", totals.peak.rows, "", Some(Goal::AtMost(MAX_ROWS)))?;
    record("rows afterwards", afterwards.rows, "", Some(Goal::AtMost(MAX_ROWS_AFTERWARDS)))?;
    record("stored in rows, peak", totals.peak.bytes / 1e6, "MB", None)?;
    record("stored in rows afterwards", afterwards.bytes / 1e6, "MB", None)?;
    record("tables and indexes afterwards, after VACUUM", table_bytes / 1e6, "MB", None)?;
    record("transactions a minute of video", transactions / minutes, "", None)?;
    record("statements a minute of video", used.statements / minutes, "", None)?;
    record("statements a second of this run", used.statements / used.seconds, "", None)?;
    record("statements a second afterwards", idle.statements / idle.seconds, "", None)?;
    record("WAL", used.wal_bytes / 1e6, "MB", None)?;
    record("WAL an hour of video", used.wal_bytes / 1e6 / HOURS, "MB", None)?;
    record("WAL a segment of a rendition", used.wal_bytes / segments, "bytes", None)?;
    record("WAL a second afterwards", idle.wal_bytes / idle.seconds, "bytes", None)?;
    record("sent to the object store (playlists)", sent as f64 / 1e6, "MB", None)
}

async fn create_job(dispatcher: &Dispatcher) -> anyhow::Result<String> {
    let request = CreateJobRequest {
        video: "videos/long".to_owned(),
        owner: "users/bench".to_owned(),
        request_id: "long".to_owned(),
        source_key: "sources/long".to_owned(),
        source_size_bytes: 20_000_000_000,
        output_prefix: "outputs/long/".to_owned(),
        options: None,
    };
    let created = retry(async || dispatcher.jobs.clone().create_job(request.clone()).await).await?;
    Ok(created.job.context("CreateJob returned no job")?.name)
}

/// What was done so far.
#[derive(Default)]
struct Totals {
    tasks: u32,
    segments: usize,
    peak: JobRows,
}

/// Leases and completes the tasks of a job.
struct FakeWorker {
    dispatcher: Dispatcher,
    statistics: Statistics,
    job: String,
    totals: Mutex<Totals>,
}

impl FakeWorker {
    /// Plans the job and runs its tasks until it has succeeded.
    async fn encode_job(&self) -> anyhow::Result<()> {
        let started = self.dispatcher.start_task(TaskClass::Express, Duration::from_secs(8)).await?;
        let lease = started.and_then(|started| started.lease).context("the job has no task")?;
        let request = PlanJobRequest {
            lease: Some(lease.clone()),
            source: sources::with_sound(SECONDS)?,
            source_info: None,
        };
        let planned = self.dispatcher.tasks.clone().plan_job(request).await?.into_inner();
        let first = planned.encode.context("PlanJob returned no task")?;
        self.encode(&lease, &first).await?;
        // For an EXPRESS slot, which is idle: the first segments of the sound.
        let plan: Plan = serde_json::from_slice(&first.plan)?;
        for _ in plan.work_units.iter().skip(1).filter(|unit| plan.is_express(unit)) {
            let started = self.dispatcher.start_task(TaskClass::Express, Duration::from_secs(8)).await?;
            self.run(started.context("the job has no EXPRESS task")?).await?;
        }
        futures::future::try_join_all((0..SLOTS).map(|_| self.run_tasks())).await.map(drop)
    }

    async fn run_tasks(&self) -> anyhow::Result<()> {
        loop {
            let Some(started) = self.dispatcher.start_task(TaskClass::Bulk, Duration::ZERO).await? else {
                if self.has_succeeded().await? {
                    return Ok(());
                }
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            };
            self.run(started).await?;
        }
    }

    async fn run(&self, started: StartTaskResponse) -> anyhow::Result<()> {
        let lease = started.lease.context("a task without a lease")?;
        match &started.work {
            Some(Work::Encode(task)) => self.encode(&lease, task).await,
            Some(Work::Package(task)) => self.package(&lease, task).await,
            other => bail!("unexpected work: {other:?}"),
        }
    }

    async fn has_succeeded(&self) -> anyhow::Result<bool> {
        let request = GetJobRequest { name: self.job.clone() };
        let job = self.dispatcher.jobs.clone().get_job(request).await?.into_inner().job;
        match job.context("GetJob returned no job")?.state() {
            State::Succeeded => Ok(true),
            State::Queued | State::Running => Ok(false),
            state => bail!("the job is {state:?}"),
        }
    }

    /// Records the outputs of an ENCODE task and completes it.
    async fn encode(&self, lease: &Lease, task: &EncodeTask) -> anyhow::Result<()> {
        let plan: Plan = serde_json::from_slice(&task.plan)?;
        let work_unit: WorkUnit = serde_json::from_slice(&task.work_unit)?;
        let (range, renditions) = (segment_range(&plan, &work_unit), renditions(&plan, &work_unit));
        let mut reports = Reports::open(&self.dispatcher, lease).await?;
        let outputs = outputs(&plan, &work_unit, &range, &renditions);
        let count = outputs.len();
        for (done, output) in outputs.into_iter().enumerate() {
            // One a call: the bundled worker recorded 64 s of 1080p by about as many calls as there were outputs.
            self.record(lease, output).await?;
            reports.send_if_due(done, count, range.len());
        }
        let segments = renditions.iter().map(|id| (id.clone(), range.len() as i32)).collect();
        let request = CompleteTaskRequest { lease: Some(lease.clone()), segments, ..Default::default() };
        self.dispatcher.tasks.clone().complete_task(request).await?;
        self.count(range.len() * renditions.len()).await
    }

    async fn record(&self, lease: &Lease, output: Output) -> anyhow::Result<()> {
        let request = RecordOutputsRequest { lease: Some(lease.clone()), outputs: vec![output] };
        self.dispatcher.tasks.clone().record_outputs(request).await?;
        Ok(())
    }

    /// Lists the segments of a rendition as for its progressive file, and completes a PACKAGE task.
    async fn package(&self, lease: &Lease, task: &PackageTask) -> anyhow::Result<()> {
        let mut reports = Reports::open(&self.dispatcher, lease).await?;
        let total = total_segments(VIDEO_SEGMENT_SECONDS);
        for rendition_id in &task.rendition_ids {
            let mut from_sequence = 0;
            while from_sequence < total {
                let request = ListSegmentsRequest {
                    lease: Some(lease.clone()),
                    rendition_id: rendition_id.clone(),
                    from_sequence,
                };
                let page = self.dispatcher.tasks.clone().list_segments(request).await?.into_inner();
                ensure!(!page.segments.is_empty(), "{rendition_id}: segment {from_sequence} is not recorded");
                from_sequence += page.segments.len() as i32;
                reports.send_if_due(from_sequence as usize, total as usize, total as usize);
            }
            let kind = Kind::Progressive(ProgressiveFile {});
            let name = format!("{rendition_id}/video.mp4");
            self.record(lease, output(rendition_id, &name, 2_000_000_000, kind)).await?;
        }
        let request = CompleteTaskRequest { lease: Some(lease.clone()), ..Default::default() };
        self.dispatcher.tasks.clone().complete_task(request).await?;
        self.count(0).await
    }

    /// Counts a task, and sometimes the rows.
    async fn count(&self, segments: usize) -> anyhow::Result<()> {
        let mut totals = self.totals.lock().await;
        totals.tasks += 1;
        totals.segments += segments;
        if totals.tasks % TASKS_PER_SAMPLE == 0 {
            let JobRows { rows, bytes } = self.statistics.job_rows().await?;
            totals.peak = JobRows { rows: totals.peak.rows.max(rows), bytes: totals.peak.bytes.max(bytes) };
        }
        Ok(())
    }
}

/// A stream of reports of a task, which renews its lease.
struct Reports {
    lease: Lease,
    sender: mpsc::UnboundedSender<ReportProgressRequest>,
    last: Instant,
}

impl Reports {
    async fn open(dispatcher: &Dispatcher, lease: &Lease) -> anyhow::Result<Self> {
        let (sender, reports) = mpsc::unbounded();
        let mut stream = Self { lease: lease.clone(), sender, last: Instant::now() };
        stream.send(0.0, 0);
        let mut responses = dispatcher.tasks.clone().report_progress(reports).await?.into_inner();
        tokio::spawn(async move { while let Ok(Some(_)) = responses.message().await {} });
        Ok(stream)
    }

    /// Reports that `done` of `count` outputs of `segments` segments are recorded.
    fn send_if_due(&mut self, done: usize, count: usize, segments: usize) {
        if self.last.elapsed() >= REPORT_INTERVAL {
            self.send(done as f64 / count as f64, segments);
        }
    }

    fn send(&mut self, part: f64, segments: usize) {
        let frames = part * segments as f64 * VIDEO_SEGMENT_SECONDS * FRAME_RATE;
        let progress = Progress { percent: 100.0 * part, frames: frames as i64, ..Progress::default() };
        let report = ReportProgressRequest { lease: Some(self.lease.clone()), progress: Some(progress) };
        // A stream that has ended is noticed by the next call.
        let _ended = self.sender.unbounded_send(report);
        self.last = Instant::now();
    }
}
