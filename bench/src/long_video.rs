//! A video of 12 hours: rows, statements and bytes written, while it is encoded and afterwards. The transcode role runs on
//! Postgres and SeaweedFS; the callers lease tasks, record their outputs and complete them as workers do, but encode and
//! upload nothing, so that they request no URLs for outputs.
//!
//! It takes a few minutes instead of hours. What depends on time and not on segments is therefore rarer than with workers:
//! renewals of leases, and writes of progress and of growing playlists.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use futures::channel::mpsc;
use reelmill_media::{
    plan::{Plan, WorkUnit},
    probe,
};
use reelmill_proto::transcode::{
    CompleteTaskRequest, CreateJobRequest, EncodeTask, GetJobRequest, InitSegment, Lease,
    ListSegmentsRequest, MediaSegment, Output, PackageTask, PlanJobRequest, Poster, Progress,
    ProgressiveFile, RecordOutputsRequest, ReportProgressRequest, StartTaskResponse, TaskClass,
    ThumbnailSheet, job::State, output::Kind, start_task_response::Work,
};
use reelmill_testkit::{Postgres, SeaweedFs};
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, Statement, TryGetable};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

use crate::{
    dispatch::{Dispatcher, retry},
    figures::{Figures, Goal},
};

const HOURS: f64 = 12.0;
const SECONDS: f64 = HOURS * 3600.0;
const FRAME_RATE: f64 = 30.0;
const VIDEO_SEGMENT_SECONDS: f64 = 4.0;
/// Of 1024 samples at 48 kHz.
const AUDIO_SEGMENT_FRAMES: f64 = 188.0;
const AUDIO_SEGMENT_SECONDS: f64 = AUDIO_SEGMENT_FRAMES * 1024.0 / 48_000.0;
const AUDIO_SEGMENT_BYTES: i64 = 64_000;
const DATABASE: &str = "transcode";
/// Postgres role of the queries that measure: their statements are left out.
const MEASURING_ROLE: &str = "bench";
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

/// The probed source: 1080p30 with stereo sound.
fn source() -> anyhow::Result<Vec<u8>> {
    let seconds = SECONDS.to_string();
    let video = json!({
        "index": 0, "codec_type": "video", "codec_name": "h264", "width": 1920, "height": 1080,
        "r_frame_rate": "30/1", "avg_frame_rate": "30/1", "pix_fmt": "yuv420p", "duration": seconds,
    });
    let audio = json!({
        "index": 1, "codec_type": "audio", "codec_name": "aac", "channels": 2, "sample_rate": "48000",
        "tags": { "language": "eng" }, "duration": seconds,
    });
    let format = json!({ "format_name": "mov", "duration": seconds });
    let source = probe::parse(json!({ "streams": [video, audio], "format": format }).to_string().as_bytes());
    Ok(serde_json::to_vec(&source.map_err(|failure| anyhow::anyhow!(failure.message))?)?)
}

/// Rows that belong to the job.
#[derive(Clone, Copy, Default)]
struct JobRows {
    rows: f64,
    /// Size of their columns as stored, bytes.
    bytes: f64,
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
        let request = PlanJobRequest { lease: Some(lease.clone()), source: source()?, source_info: None };
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

fn total_segments(seconds: f64) -> i32 {
    (SECONDS / seconds).ceil() as i32
}

/// Sequence numbers of a work unit's segments.
fn segment_range(plan: &Plan, work_unit: &WorkUnit) -> Range<i32> {
    let Some((video, chunk)) = plan.video.as_ref().zip(work_unit.chunk) else {
        let (total, part) = (total_segments(AUDIO_SEGMENT_SECONDS), work_unit.audio_part);
        let end = part.segments.map_or(total, |segments| (part.first_segment + segments) as i32);
        return part.first_segment as i32..end;
    };
    let total = total_segments(VIDEO_SEGMENT_SECONDS);
    let first = |chunk: usize| video.chunks.get(chunk).map_or(total, |chunk| chunk.first_segment as i32);
    first(chunk)..first(chunk + 1)
}

/// Ids of the renditions that a work unit encodes.
fn renditions(plan: &Plan, work_unit: &WorkUnit) -> Vec<String> {
    let rungs =
        plan.video.iter().flat_map(|video| work_unit.rungs.iter().map(|&rung| video.rungs[rung].id.clone()));
    rungs.chain(work_unit.audio.iter().map(|&audio| plan.audio[audio].id.clone())).collect()
}

/// The outputs of a work unit in the order in which they are recorded: the rungs of a chunk are encoded together.
fn outputs(plan: &Plan, work_unit: &WorkUnit, range: &Range<i32>, renditions: &[String]) -> Vec<Output> {
    let mut outputs = Vec::new();
    for id in renditions {
        let is_audio = plan.audio.iter().any(|audio| audio.id == *id);
        let codec = if is_audio { "mp4a.40.2" } else { "avc1.640028" }.to_owned();
        outputs.push(output(id, &format!("{id}/init.mp4"), 800, Kind::Init(InitSegment { codec })));
    }
    if work_unit.poster {
        outputs.push(output("", "poster.jpg", 60_000, Kind::Poster(Poster {})));
    }
    outputs.extend(
        range.clone().flat_map(|sequence| renditions.iter().map(move |id| segment(plan, id, sequence))),
    );
    outputs.extend(work_unit.thumbnails.then(|| sheet(plan, work_unit, range)).flatten());
    outputs
}

fn segment(plan: &Plan, id: &str, sequence: i32) -> Output {
    let rungs = plan.video.iter().flat_map(|video| &video.rungs);
    let rung = rungs.into_iter().find(|rung| rung.id == id);
    // About one byte a pixel: 4 Mbit/s of 1080p.
    let size = rung.map_or(AUDIO_SEGMENT_BYTES, |rung| rung.size.pixels() as i64);
    let (seconds, frames) = match rung {
        Some(_) => (VIDEO_SEGMENT_SECONDS, FRAME_RATE * VIDEO_SEGMENT_SECONDS),
        None => (AUDIO_SEGMENT_SECONDS, AUDIO_SEGMENT_FRAMES),
    };
    let size = size * (700 + i64::from(sequence) * 7919 % 600) / 1000;
    let segment = MediaSegment {
        sequence,
        start_seconds: f64::from(sequence) * seconds,
        seconds,
        frames: frames as i32,
        keyframe_bytes: size / 20,
    };
    output(id, &format!("{id}/seg_{:05}.m4s", sequence + 1), size, Kind::Segment(segment))
}

/// The sheet of thumbnails of a chunk.
fn sheet(plan: &Plan, work_unit: &WorkUnit, range: &Range<i32>) -> Option<Output> {
    let (video, chunk) = plan.video.as_ref().zip(work_unit.chunk)?;
    let interval_seconds = f64::from(video.thumbnails.interval_frames) / FRAME_RATE;
    let sheet = ThumbnailSheet {
        sequence: chunk as i32,
        start_seconds: f64::from(range.start) * VIDEO_SEGMENT_SECONDS,
        interval_seconds,
        count: (range.len() as f64 * VIDEO_SEGMENT_SECONDS / interval_seconds).ceil() as i32,
        columns: video.thumbnails.columns as i32,
        width: video.thumbnails.size.width as i32,
        height: video.thumbnails.size.height as i32,
    };
    Some(output("", &format!("thumbnails/sheet_{chunk:05}.jpg"), 20_000, Kind::Thumbnails(sheet)))
}

fn output(rendition: &str, name: &str, size_bytes: i64, kind: Kind) -> Output {
    Output { name: name.to_owned(), size_bytes, rendition_id: rendition.to_owned(), kind: Some(kind) }
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

/// Counters of the role's use of the database.
struct Counters {
    time: Instant,
    /// Without BEGIN, COMMIT and ROLLBACK.
    statements: f64,
    transactions: f64,
    /// Position in the WAL.
    wal_bytes: f64,
}

/// Difference of two [`Counters`].
struct Used {
    seconds: f64,
    statements: f64,
    wal_bytes: f64,
}

impl Counters {
    fn since(&self, before: &Self) -> Used {
        Used {
            seconds: self.time.duration_since(before.time).as_secs_f64(),
            statements: self.statements - before.statements,
            wal_bytes: self.wal_bytes - before.wal_bytes,
        }
    }
}

/// Queries of Postgres's statistics.
struct Statistics {
    connection: DatabaseConnection,
    /// Counts the rows of all tables that belong to jobs, and their bytes.
    rows_sql: String,
}

impl Statistics {
    async fn connect(url: &str) -> anyhow::Result<Self> {
        let authority = url.split_once('@').context("a URL without a user")?.1;
        let mut options = ConnectOptions::new(format!("postgres://{MEASURING_ROLE}@{authority}"));
        options.max_connections(1);
        let connection = Database::connect(options).await?;
        let tables_sql = "SELECT string_agg(format(
                 'SELECT COUNT(*) AS rows, SUM(%s) AS bytes FROM %I', bytes, table_name), ' UNION ALL ')
             FROM (SELECT table_name, string_agg(format('COALESCE(pg_column_size(%I), 0)', column_name), ' + ') AS bytes
                   FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name
                   HAVING table_name = 'jobs' OR bool_or(column_name = 'job_id')) AS tables";
        let tables: String = value(&connection, tables_sql).await?;
        let rows_sql =
            format!("SELECT SUM(rows)::float8, COALESCE(SUM(bytes), 0)::float8 FROM ({tables}) AS tables");
        Ok(Self { connection, rows_sql })
    }

    async fn counters(&self) -> anyhow::Result<Counters> {
        let statements = format!(
            "SELECT COALESCE(SUM(calls), 0)::float8 FROM pg_stat_statements
             WHERE userid <> '{MEASURING_ROLE}'::regrole AND query !~* '^(BEGIN|COMMIT|ROLLBACK)'
               AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        );
        let position = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8";
        Ok(Counters {
            time: Instant::now(),
            statements: value(&self.connection, &statements).await?,
            transactions: self.transactions().await?,
            wal_bytes: value(&self.connection, position).await?,
        })
    }

    /// Committed transactions without those that measure. A connection reports its own with some delay.
    async fn transactions(&self) -> anyhow::Result<f64> {
        let sql = format!(
            "SELECT (xact_commit - (SELECT COALESCE(SUM(calls), 0) FROM pg_stat_statements
                 WHERE userid = '{MEASURING_ROLE}'::regrole))::float8
             FROM pg_stat_database WHERE datname = current_database()"
        );
        value(&self.connection, &sql).await
    }

    async fn job_rows(&self) -> anyhow::Result<JobRows> {
        let row = query(&self.connection, &self.rows_sql).await?;
        Ok(JobRows { rows: row.try_get_by_index(0)?, bytes: row.try_get_by_index(1)? })
    }

    /// Size of all tables with their indexes.
    async fn table_bytes(&self) -> anyhow::Result<f64> {
        let sql = "SELECT SUM(pg_total_relation_size(oid))::float8 FROM pg_class
             WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
        value(&self.connection, sql).await
    }
}

async fn query(connection: &DatabaseConnection, sql: &str) -> anyhow::Result<sea_orm::QueryResult> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    connection.query_one_raw(statement).await?.context("no row")
}

async fn value<T: TryGetable>(connection: &DatabaseConnection, sql: &str) -> anyhow::Result<T> {
    Ok(query(connection, sql).await?.try_get_by_index(0)?)
}

/// Starts a proxy to an object store that counts the bytes sent to it; returns its endpoint and the counter.
async fn count_sent_bytes(object_store: &SeaweedFs) -> anyhow::Result<(String, Arc<AtomicU64>)> {
    let server = object_store.endpoint().trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, server.clone(), Arc::clone(&counter)));
        }
    });
    Ok((endpoint, sent))
}

async fn forward(client: TcpStream, server: String, counter: Arc<AtomicU64>) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return to_server.shutdown().await;
            }
            counter.fetch_add(read as u64, Ordering::Relaxed);
            to_server.write_all(&buffer[..read]).await?;
        }
    };
    tokio::try_join!(requests, tokio::io::copy(&mut from_server, &mut to_client)).map(drop)
}
