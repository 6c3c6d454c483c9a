//! Leasing and completing tasks with a small and a large database: claim + complete pairs a second, over gRPC.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use reelmill_mesh::{Channel, MeshKey};
use reelmill_proto::transcode::{
    CompleteTaskRequest, CreateJobRequest, PlanJobRequest, RegisterWorkerRequest, StartTaskRequest,
    StartTaskResponse, TaskClass, start_task_response::Work,
    transcode_service_client::TranscodeServiceClient, worker_service_client::WorkerServiceClient,
};
use reelmill_testkit::Postgres;
use serde_json::json;
use tokio::{process::Child, sync::Mutex};

use crate::{
    database_rows::Rows,
    figures::{Figures, Goal},
    reelmill,
};

const MESH_KEY: &str = "a-mesh-key-for-benches";
const ENCODER_BUILD: &str = "bench";
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
pub(crate) struct Dispatcher {
    process: Child,
    pub jobs: TranscodeServiceClient<Channel>,
    pub tasks: WorkerServiceClient<Channel>,
}

impl Dispatcher {
    pub async fn start(folder: &Path, database: &str) -> anyhow::Result<Self> {
        Self::start_with(folder, database, Vec::new()).await
    }

    /// The same with more environment variables; they replace those with the same names.
    pub async fn start_with(
        folder: &Path,
        database: &str,
        more: Vec<(&str, String)>,
    ) -> anyhow::Result<Self> {
        let variables = [
            ("REELMILL_TRANSCODE__DATABASE_URL", database.to_owned()),
            ("REELMILL_TRANSCODE__LISTEN", address(folder)),
            ("REELMILL_SECRETS__MESH_KEY", MESH_KEY.to_owned()),
            ("REELMILL_SHARED_STATE__URL", "memory:bench".to_owned()),
            ("REELMILL_DATA__DIR", folder.join("data").display().to_string()),
            // Presigned, never called: nothing is encoded.
            ("REELMILL_OBJECTS__ENDPOINT", "http://127.0.0.1:9".to_owned()),
            ("REELMILL_OBJECTS__ACCESS_KEY_ID", "key".to_owned()),
            ("REELMILL_OBJECTS__SECRET_ACCESS_KEY", "secret".to_owned()),
        ];
        let variables = variables.into_iter().chain(more);
        let variables: Vec<_> = variables.map(|(key, value)| (key.to_owned(), value)).collect();
        let process = reelmill::spawn(folder, &["transcode"], &variables, &folder.join("transcode.log"))?;
        let channel = connect(folder)?;
        let jobs = TranscodeServiceClient::new(channel.clone());
        let tasks = WorkerServiceClient::new(channel);
        Ok(Self { process, jobs, tasks })
    }

    /// Id of the process.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().context("the transcode role has ended")
    }

    /// Kills the process, so that its database can be changed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.process.kill().await?;
        Ok(())
    }

    /// Registers a worker of the encoder build that the template was planned for.
    pub async fn register_worker(&self) -> anyhow::Result<()> {
        let request = RegisterWorkerRequest {
            name: "bench".to_owned(),
            encoder_build: ENCODER_BUILD.to_owned(),
            bulk_slots: 1,
            express_slots: 1,
            ..RegisterWorkerRequest::default()
        };
        self.tasks.clone().register_worker(request).await?;
        Ok(())
    }

    /// Creates and plans a job of two work units; returns its id. The first task is left leased.
    pub async fn plan_template(&self) -> anyhow::Result<String> {
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

    pub async fn start_task(
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

fn address(folder: &Path) -> String {
    format!("unix://{}", folder.join("transcode.sock").display())
}

/// One more connection to the role that was started in this folder.
pub(crate) fn connect(folder: &Path) -> anyhow::Result<Channel> {
    Ok(Channel::lazy(&address(folder), &MeshKey::new(MESH_KEY)?, "bench")?)
}

/// Repeats a call until the role listens.
pub(crate) async fn retry<T>(
    call: impl AsyncFn() -> Result<tonic::Response<T>, tonic::Status>,
) -> anyhow::Result<T> {
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
