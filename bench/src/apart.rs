//! A system of roles that run by themselves, so that workers can be counted, watched and held back one by one.

use std::{path::Path, time::Duration};

use anyhow::bail;
use reelmill_testkit::{Redis, SeaweedFs};
use tokio::process::Child;

use crate::{
    quota::Quota,
    system::{self, System},
};

/// What the public door stands on: servers, and the roles behind it. Databases and the queue are SQLite files, which
/// cost least beside what is measured.
pub struct Ground {
    variables: Vec<(String, String)>,
    _roles: Vec<Child>,
    _redis: Redis,
    _store: SeaweedFs,
}

/// A worker, and what it is held to.
pub struct Worker {
    process: Child,
    quota: Option<Quota>,
}

impl System {
    /// Starts gateway, auth, upload and transcode, without a worker; signs somebody up.
    pub async fn apart() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (redis, store) = tokio::try_join!(Redis::start(), SeaweedFs::start())?;
        let variables = variables(folder.path(), &redis, &store);
        let mut roles = Vec::new();
        for name in ["auth", "transcode", "upload-service"] {
            let log = folder.path().join(format!("{name}.log"));
            roles.push(system::role(folder.path(), &[name], &variables, &log)?);
            until_up(&log).await?;
        }
        let log = folder.path().join("gateway.log");
        let mut gateway = system::role(folder.path(), &["gateway"], &variables, &log)?;
        let server = system::address(&mut gateway).await?;
        let ground = Ground { variables, _roles: roles, _redis: redis, _store: store };
        Self::with(folder, server, gateway, Some(ground)).await
    }

    /// Starts a worker, held to a share of a core where a quota is given.
    pub async fn worker(
        &self,
        name: &str,
        quota: Option<Quota>,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Worker> {
        let Some(ground) = &self.ground else { bail!("a worker of its own needs roles that run apart") };
        let mut variables = ground.variables.clone();
        variables
            .extend(settings.iter().map(|(key, value)| (format!("REELMILL_{key}"), (*value).to_owned())));
        variables.push(("REELMILL_WORKER__NAME".to_owned(), name.to_owned()));
        let log = self.path(&format!("{name}.log"));
        let process = system::role(self.folder.path(), &["worker"], &variables, &log)?;
        let worker = Worker { process, quota };
        if let Some(quota) = &worker.quota {
            quota.hold(worker.pid()?)?;
        }
        until_up(&log).await?;
        Ok(worker)
    }
}

impl Worker {
    /// Its process id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().ok_or_else(|| anyhow::anyhow!("the worker ended"))
    }

    /// Whether it was ever held back.
    pub fn was_held(&self) -> anyhow::Result<bool> {
        self.quota.as_ref().map_or(Ok(false), Quota::was_felt)
    }

    /// Ends it, and gives its quota back.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.process.kill().await?;
        match self.quota {
            Some(quota) => quota.remove().await,
            None => Ok(()),
        }
    }
}

fn variables(folder: &Path, redis: &Redis, store: &SeaweedFs) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut set = |key: &str, value: String| variables.push((format!("REELMILL_{key}"), value));
    for role in ["auth", "upload", "transcode"] {
        let socket = format!("unix://{}", folder.join(format!("{role}.sock")).display());
        set(&format!("{}__LISTEN", role.to_uppercase()), socket);
    }
    set("DATA__DIR", folder.join("data").display().to_string());
    set("SECRETS__MESH_KEY", "a-mesh-key-for-benches".to_owned());
    set("SECRETS__PLAYBACK_KEY", "a-playback-key-for-benches".to_owned());
    set("GATEWAY__LISTEN", "127.0.0.1:0".to_owned());
    set("SHARED_STATE__URL", redis.url());
    set("OBJECTS__ENDPOINT", store.endpoint());
    set("OBJECTS__REGION", store.region().to_owned());
    set("OBJECTS__BUCKET", store.bucket().to_owned());
    set("OBJECTS__ACCESS_KEY_ID", store.access_key_id().to_owned());
    set("OBJECTS__SECRET_ACCESS_KEY", store.secret_access_key().to_owned());
    variables
}

/// Returns when a role has logged that it is up.
async fn until_up(log: &Path) -> anyhow::Result<()> {
    for _ in 0..600 {
        let text = std::fs::read_to_string(log)?;
        if text.lines().any(|line| line.contains(" up ") && line.contains("role=")) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("a role did not come up:\n{}", std::fs::read_to_string(log)?)
}
