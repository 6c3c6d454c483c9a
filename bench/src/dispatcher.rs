//! A transcode role that the benchmarks call as the upload service, users and workers do.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use reelmill_mesh::{Channel, MeshKey};
use reelmill_proto::transcode::{
    CreateJobRequest, PlanJobRequest, RegisterWorkerRequest, StartTaskRequest, StartTaskResponse, TaskClass,
    transcode_service_client::TranscodeServiceClient, worker_service_client::WorkerServiceClient,
};
use tokio::process::Child;

use crate::{reelmill, sources};

const MESH_KEY: &str = "a-mesh-key-for-benches-of-32-characters";
const ENCODER_BUILD: &str = "bench";

/// A transcode role as a process of its own.
pub struct Dispatcher {
    process: Child,
    /// Its calls for the upload service and users.
    pub jobs: TranscodeServiceClient<Channel>,
    /// Its calls for workers.
    pub tasks: WorkerServiceClient<Channel>,
}

impl Dispatcher {
    /// Starts it with a database.
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
        let jobs = TranscodeServiceClient::new(connect(folder, "upload")?);
        let tasks = WorkerServiceClient::new(connect(folder, "worker")?);
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
        let planned = PlanJobRequest { lease, source: sources::small()?, source_info: None };
        self.tasks.clone().plan_job(planned).await?;
        Ok(job.trim_start_matches("jobs/").to_owned())
    }

    /// Leases a task, if there is one within `wait`.
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
}

fn address(folder: &Path) -> String {
    format!("unix://{}", folder.join("transcode.sock").display())
}

/// A connection of `role` to the role that was started in this folder.
pub fn connect(folder: &Path, role: &str) -> anyhow::Result<Channel> {
    Ok(Channel::lazy(&address(folder), &MeshKey::new(MESH_KEY)?, role)?)
}

/// Repeats a call until the role listens.
pub async fn retry<T>(
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
