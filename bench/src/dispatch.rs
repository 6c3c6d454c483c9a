//! Leasing and completing tasks with a small and a large database: claim + complete pairs a second, over gRPC.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use reelmill_mesh::{Channel, MeshKey};
use reelmill_proto::transcode::{
    CompleteTaskRequest, CreateJobRequest, PlanJobRequest, StartTaskRequest, StartTaskResponse, TaskClass,
    start_task_response::Work, transcode_service_client::TranscodeServiceClient,
    worker_service_client::WorkerServiceClient,
};
use reelmill_testkit::Postgres;
use serde_json::json;
use tokio::{process::Child, sync::Mutex};

use crate::{
    figures::{Figures, Goal},
    reelmill,
};

const MESH_KEY: &str = "a-mesh-key-for-benches";
const ENCODER_BUILD: &str = "bench";
const CALLERS: usize = 8;
/// Pairs that are measured, and pairs before them.
const PAIRS: usize = 3000;
const WARM_UP_PAIRS: usize = 500;
const OWNERS: u32 = 1000;
/// Least rate with the large database, relative to that with the small one.
const RATE_GOAL: f64 = 0.8;
/// How long the first task may take to be leased: owners are queued by the sweep over the backlog.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Rows of a database, and what was measured with it.
struct Measured {
    pairs_per_second: f64,
    lease_p99_millis: f64,
    pair_p99_millis: f64,
}

/// The dispatcher on Postgres. The rows are copies of those of one job that was planned by its calls.
pub async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let mut measured_with = async |finished: u32, waiting: u32| {
        let measured = measure_with(finished, waiting).await?;
        let name = format!("{finished} finished and {waiting} waiting jobs");
        figures.record(&format!("claim + complete, {name}"), measured.pairs_per_second, "pairs/s", None)?;
        figures.record(&format!("p99 of a claim, {name}"), measured.lease_p99_millis, "ms", None)?;
        figures.record(&format!("p99 of a pair, {name}"), measured.pair_p99_millis, "ms", None)?;
        anyhow::Ok(measured)
    };
    let small = measured_with(1000, 10_000).await?;
    let large = measured_with(1_000_000, 100_000).await?;
    let ratio = large.pairs_per_second / small.pairs_per_second;
    figures.record("claim + complete: large over small database", ratio, "x", Some(Goal::AtLeast(RATE_GOAL)))
}

async fn measure_with(finished: u32, waiting: u32) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let postgres = Postgres::start().await?;
    let database = postgres.create_database("transcode").await?;
    let template = {
        let dispatcher = Dispatcher::start(folder.path(), &database).await?;
        dispatcher.plan_template().await?
    };
    postgres.execute("transcode", &fill(&template, finished, waiting)).await?;
    let dispatcher = Dispatcher::start(folder.path(), &database).await?;
    let first = dispatcher.first_task().await?;
    dispatcher.complete(&first).await?;
    dispatcher.run_pairs(WARM_UP_PAIRS).await?;
    let (seconds, mut latencies) = dispatcher.run_pairs(PAIRS).await?;
    latencies.sort_by(|a, b| a.0.total_cmp(&b.0));
    let lease_p99_millis = percentile_99(latencies.iter().map(|(lease, _)| *lease).collect())?;
    let pair_p99_millis = percentile_99(latencies.iter().map(|(_, pair)| *pair).collect())?;
    Ok(Measured { pairs_per_second: PAIRS as f64 / seconds, lease_p99_millis, pair_p99_millis })
}

fn percentile_99(mut millis: Vec<f64>) -> anyhow::Result<f64> {
    millis.sort_by(f64::total_cmp);
    millis.get(millis.len() * 99 / 100).copied().context("nothing was measured")
}

/// A transcode role as a process of its own.
struct Dispatcher {
    _process: Child,
    jobs: TranscodeServiceClient<Channel>,
    tasks: WorkerServiceClient<Channel>,
}

impl Dispatcher {
    async fn start(folder: &Path, database: &str) -> anyhow::Result<Self> {
        let address = format!("unix://{}", folder.join("transcode.sock").display());
        let variables = [
            ("REELMILL_TRANSCODE__DATABASE_URL", database.to_owned()),
            ("REELMILL_TRANSCODE__LISTEN", address.clone()),
            ("REELMILL_SECRETS__MESH_KEY", MESH_KEY.to_owned()),
            ("REELMILL_SHARED_STATE__URL", "memory:bench".to_owned()),
            ("REELMILL_DATA__DIR", folder.join("data").display().to_string()),
            // Presigned, never called: nothing is encoded.
            ("REELMILL_OBJECTS__ENDPOINT", "http://127.0.0.1:9".to_owned()),
            ("REELMILL_OBJECTS__ACCESS_KEY_ID", "key".to_owned()),
            ("REELMILL_OBJECTS__SECRET_ACCESS_KEY", "secret".to_owned()),
        ];
        let variables: Vec<_> = variables.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let process = reelmill::spawn(folder, &["transcode"], &variables, &folder.join("transcode.log"))?;
        let key = MeshKey::new(MESH_KEY)?;
        let channel = Channel::lazy(&address, &key, "bench")?;
        let jobs = TranscodeServiceClient::new(channel.clone());
        let tasks = WorkerServiceClient::new(channel);
        Ok(Self { _process: process, jobs, tasks })
    }

    /// Creates and plans a job of two work units; returns its id. The first task is left leased.
    async fn plan_template(&self) -> anyhow::Result<String> {
        let request = CreateJobRequest {
            video: "videos/template".to_owned(),
            owner: "users/template".to_owned(),
            request_id: "template".to_owned(),
            source_key: "sources/template".to_owned(),
            source_size_bytes: 1_000_000,
            output_prefix: "outputs/template/".to_owned(),
            options: None,
        };
        let created = retry(async || self.jobs.clone().create_job(request.clone()).await).await?;
        let job = created.job.context("CreateJob returned no job")?.name;
        let started = self.start_task(TaskClass::Express, Duration::from_secs(8)).await?;
        let lease = started.context("the job has no task")?.lease;
        let planned = PlanJobRequest { lease, source: source()?, source_info: None };
        self.tasks.clone().plan_job(planned).await?;
        Ok(job.trim_start_matches("jobs/").to_owned())
    }

    async fn start_task(
        &self,
        class: TaskClass,
        wait: Duration,
    ) -> Result<Option<StartTaskResponse>, tonic::Status> {
        let request = StartTaskRequest {
            worker: "bench".to_owned(),
            encoder_build: ENCODER_BUILD.to_owned(),
            nonce: nonce(),
            slot_class: class.into(),
            wait: Some(reelmill_proto::duration(wait)),
        };
        let started = self.tasks.clone().start_task(request).await?.into_inner();
        Ok(started.lease.is_some().then_some(started))
    }

    /// The first task that can be leased.
    async fn first_task(&self) -> anyhow::Result<StartTaskResponse> {
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            if let Ok(Some(task)) = self.start_task(TaskClass::Bulk, Duration::ZERO).await {
                return Ok(task);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!("no task was queued")
    }

    async fn complete(&self, task: &StartTaskResponse) -> anyhow::Result<()> {
        anyhow::ensure!(matches!(task.work, Some(Work::Encode(_))), "not an ENCODE task");
        let request = CompleteTaskRequest { lease: task.lease.clone(), ..CompleteTaskRequest::default() };
        self.tasks.clone().complete_task(request).await?;
        Ok(())
    }

    /// Runs pairs by concurrent callers; returns the seconds, and the milliseconds of each claim and of each pair.
    async fn run_pairs(&self, pairs: usize) -> anyhow::Result<(f64, Vec<(f64, f64)>)> {
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
                    match self.start_task(TaskClass::Bulk, Duration::ZERO).await? {
                        Some(task) => break task,
                        // The scheduler is behind: this counts.
                        None => tokio::time::sleep(Duration::from_millis(1)).await,
                    }
                };
                let leased = start.elapsed();
                self.complete(&task).await?;
                latencies.push((leased.as_secs_f64() * 1000.0, start.elapsed().as_secs_f64() * 1000.0));
            }
        });
        let mut latencies = Vec::new();
        for caller in futures::future::join_all(callers).await {
            latencies.extend(caller?);
        }
        Ok((began.elapsed().as_secs_f64(), latencies))
    }
}

/// Repeats a call until the role listens.
async fn retry<T>(call: impl AsyncFn() -> Result<tonic::Response<T>, tonic::Status>) -> anyhow::Result<T> {
    for _ in 0..300 {
        match call().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) if status.code() == tonic::Code::Unavailable => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(status) => return Err(status.into()),
        }
    }
    bail!("the transcode role does not listen")
}

fn nonce() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let random = || RandomState::new().hash_one(0);
    format!("{:016x}{:016x}", random(), random())
}

/// A probed source of a video that is planned as a few work units.
fn source() -> anyhow::Result<Vec<u8>> {
    let video = json!({
        "index": 0, "codec_type": "video", "codec_name": "h264", "width": 640, "height": 360,
        "r_frame_rate": "25/1", "avg_frame_rate": "25/1", "pix_fmt": "yuv420p", "duration": "60",
    });
    let probed = json!({ "streams": [video], "format": { "format_name": "mov", "duration": "60" } });
    let source = reelmill_media::probe::parse(probed.to_string().as_bytes());
    Ok(serde_json::to_vec(&source.map_err(|failure| anyhow::anyhow!(failure.message))?)?)
}

/// SQL that copies the template's rows: finished jobs without anything else, and running jobs of which one task waits.
/// Another one counts as unfinished, so that completing the task does not finish the job.
fn fill(template: &str, finished: u32, waiting: u32) -> String {
    // A column is copied unless it is changed.
    let copy = |table: &str, changes: &[(&str, &str)], count: u32, condition: &str| {
        let changes: serde_json::Map<_, _> =
            changes.iter().map(|(column, sql)| ((*column).to_owned(), json!(sql))).collect();
        format!(
            "DO $copy$ BEGIN EXECUTE (SELECT 'INSERT INTO {table} SELECT ' || string_agg(COALESCE(
                 $json${changes}$json$::jsonb ->> column_name, 't.' || quote_ident(column_name)), ', ' ORDER BY ordinal_position)
                 || $sql$ FROM {table} t, generate_series(1, {count}) n WHERE {condition}$sql$
             FROM information_schema.columns WHERE table_name = '{table}'); END $copy$;",
            changes = serde_json::Value::Object(changes)
        )
    };
    let owner = format!("'owner' || n % {OWNERS}");
    let job = |name: &'static str, state: &'static str, end_time: &'static str| {
        [
            ("id", name),
            ("request_id", name),
            ("video", "'videos/' || n"),
            ("owner", owner.as_str()),
            ("state", state),
            ("shard", "n % 64"),
            ("revision", "n"),
            ("unpublished_since", "NULL"),
            ("cleanup_time", "NULL"),
            ("end_time", end_time),
        ]
    };
    let task = [
        ("id", "'w' || n || 'g0t1'"),
        ("job_id", "'w' || n"),
        ("owner", owner.as_str()),
        ("state", "'WAITING'"),
        ("start_nonce", "NULL"),
        ("fencing_token", "0"),
        ("lease_expire_time", "0"),
        ("virtual_start", "0"),
        ("class", "'BULK'"),
        ("required_build", "''"),
    ];
    let unfinished = [
        ("id", "'w' || n || 'g0t0'"),
        ("job_id", "'w' || n"),
        ("state", "'CANCELLED'"),
        ("start_nonce", "NULL"),
    ];
    let is_template = format!("t.id = '{template}'");
    let of_template = format!("t.job_id = '{template}'");
    // Indexes are built at the end, which is faster.
    let saved = "CREATE TEMP TABLE saved AS SELECT indexname, indexdef FROM pg_indexes
         WHERE tablename IN ('jobs', 'tasks') AND indexname LIKE ANY ('{jobs_by_%,tasks_by_%}');
         SET maintenance_work_mem = '256MB';
         DO $$ DECLARE i record; BEGIN FOR i IN SELECT * FROM saved LOOP EXECUTE 'DROP INDEX ' || i.indexname; END LOOP;
         END $$;";
    let restored = "DO $$ DECLARE i record; BEGIN FOR i IN SELECT * FROM saved LOOP EXECUTE i.indexdef; END LOOP; END $$;";
    let statements = [
        saved.to_owned(),
        copy("jobs", &job("'f' || n", "'SUCCEEDED'", "n"), finished, &is_template),
        copy("jobs", &job("'w' || n", "'RUNNING'", "NULL"), waiting, &is_template),
        copy("plans", &[("job_id", "'w' || n")], waiting, &of_template),
        copy("tasks", &task, waiting, &format!("{of_template} AND t.task_index = 1")),
        copy("tasks", &unfinished, waiting, &format!("{of_template} AND t.task_index = 0")),
        format!("UPDATE revision_counters SET revision = {};", finished.max(waiting) + 10),
        format!("DELETE FROM tasks WHERE job_id = '{template}';"),
        format!("DELETE FROM jobs WHERE id = '{template}';"),
        restored.to_owned(),
        "ANALYZE;".to_owned(),
    ];
    statements.join("\n")
}
