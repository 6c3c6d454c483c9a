//! The system under test with one process per role, so that workers can be started, measured and limited separately.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use reelmill_testkit::{Redis, SeaweedFs, Sqs};
use tokio::process::Child;

use crate::{quota::Quota, reelmill, system::System};

/// Gateway, auth, upload and transcode, on Redis and SeaweedFS. Databases and the queue are SQLite files, which use the
/// least CPU beside what is measured.
pub struct DistributedSystem {
    pub system: System,
    variables: Vec<(String, String)>,
    _roles: Vec<Child>,
    _redis: Redis,
    _object_store: SeaweedFs,
}

/// A worker process with its CPU quota, if any.
pub struct Worker {
    process: Child,
    quota: Option<Quota>,
}

impl DistributedSystem {
    /// Starts everything except workers.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(Vec::new()).await
    }

    /// The same with a queue of an SQS server.
    pub async fn start_with_sqs(sqs: &Sqs) -> anyhow::Result<Self> {
        let settings = [
            ("URL", sqs.queue_url("tasks")),
            ("ACCESS_KEY_ID", sqs.access_key_id().to_owned()),
            ("SECRET_ACCESS_KEY", sqs.secret_access_key().to_owned()),
            ("REGION", sqs.region().to_owned()),
        ];
        Self::start_with(settings.map(|(key, value)| (format!("REELMILL_QUEUE__{key}"), value)).into()).await
    }

    async fn start_with(settings: Vec<(String, String)>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (redis, object_store) = tokio::try_join!(Redis::start(), SeaweedFs::start())?;
        let mut variables = variables(folder.path(), &redis, &object_store);
        variables.extend(settings);
        let mut roles = Vec::new();
        for name in ["auth", "transcode", "upload-service"] {
            let log = folder.path().join(format!("{name}.log"));
            roles.push(reelmill::spawn(folder.path(), &[name], &variables, &log)?);
            wait_until_up(&log).await?;
        }
        let log = folder.path().join("gateway.log");
        let mut gateway = reelmill::spawn(folder.path(), &["gateway"], &variables, &log)?;
        let server = reelmill::server_url(&mut gateway).await?;
        let system = System::sign_up(folder, server, gateway).await?;
        Ok(Self { system, variables, _roles: roles, _redis: redis, _object_store: object_store })
    }

    /// Starts a worker; `settings` are configuration keys, such as `WORKER__SLOTS`, and their values.
    pub async fn start_worker(
        &self,
        name: &str,
        quota: Option<Quota>,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Worker> {
        let mut variables = self.variables.clone();
        variables
            .extend(settings.iter().map(|(key, value)| (format!("REELMILL_{key}"), (*value).to_owned())));
        variables.push(("REELMILL_WORKER__NAME".to_owned(), name.to_owned()));
        let log = self.system.path(&format!("{name}.log"));
        let process = reelmill::spawn(self.system.folder(), &["worker"], &variables, &log)?;
        let worker = Worker { process, quota };
        if let Some(quota) = &worker.quota {
            quota.add(worker.pid()?)?;
        }
        wait_until_up(&log).await?;
        Ok(worker)
    }
}

impl Worker {
    /// Its process id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().context("the worker ended")
    }

    /// Whether its quota has ever throttled it.
    pub fn was_throttled(&self) -> anyhow::Result<bool> {
        self.quota.as_ref().map_or(Ok(false), Quota::was_throttled)
    }

    /// Kills it and removes its quota.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.process.kill().await?;
        match self.quota {
            Some(quota) => quota.remove().await,
            None => Ok(()),
        }
    }
}

fn variables(folder: &Path, redis: &Redis, object_store: &SeaweedFs) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut set = |key: &str, value: String| variables.push((format!("REELMILL_{key}"), value));
    for role in ["auth", "upload", "transcode"] {
        let socket = format!("unix://{}", folder.join(format!("{role}.sock")).display());
        set(&format!("{}__LISTEN", role.to_uppercase()), socket);
    }
    set("DATA__DIR", folder.join("data").display().to_string());
    set("SECRETS__MESH_KEY", "a-mesh-key-for-benches-of-32-characters".to_owned());
    set("SECRETS__PLAYBACK_KEY", "a-playback-key-for-benches-of-32-characters".to_owned());
    set("GATEWAY__LISTEN", "127.0.0.1:0".to_owned());
    set("SHARED_STATE__URL", redis.url());
    set("OBJECTS__ENDPOINT", object_store.endpoint());
    set("OBJECTS__REGION", object_store.region().to_owned());
    set("OBJECTS__BUCKET", object_store.bucket().to_owned());
    set("OBJECTS__ACCESS_KEY_ID", object_store.access_key_id().to_owned());
    set("OBJECTS__SECRET_ACCESS_KEY", object_store.secret_access_key().to_owned());
    variables
}

/// Waits until a role has logged that it is up.
async fn wait_until_up(log: &Path) -> anyhow::Result<()> {
    for _ in 0..600 {
        let text = std::fs::read_to_string(log)?;
        if text.lines().any(|line| line.contains(" up ") && line.contains("role=")) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("a role did not start within a minute:\n{}", std::fs::read_to_string(log)?)
}
