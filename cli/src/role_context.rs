//! What roles are built from: configuration, secrets, and connections to the configured backends.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use reelmill_mesh::MeshKey;
use reelmill_platform::{
    clock::Clock,
    objects::{Objects, ObjectsConfig, ObjectsError},
    queue::{self, Queue, QueueConfig},
    shared_state::{self, SharedState},
};

use crate::{
    config::{Config, Secrets, non_empty, without_password},
    data_dir::DataDir,
};

/// Interval at which an object store that was unavailable at the start is tried again.
const BUCKET_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// What every role of this process is built from.
pub struct RoleContext {
    pub config: Config,
    pub secrets: Secrets,
    pub data: DataDir,
    pub key: MeshKey,
    pub state: SharedState,
    pub clock: Clock,
}

impl RoleContext {
    /// Reads the mesh key and connects to the shared state, at `default_state` if `shared_state.url` is empty.
    pub async fn open(
        config: Config,
        secrets: Secrets,
        data: DataDir,
        default_state: &str,
    ) -> anyhow::Result<Self> {
        let key = MeshKey::new(&secrets.mesh_key()?).context("secrets.mesh_key")?;
        let url = non_empty(&config.shared_state.url).unwrap_or_else(|| default_state.to_owned());
        let state = shared_state::connect(&url).await.with_context(|| setting("shared_state.url", &url))?;
        Ok(Self { config, secrets, data, key, state, clock: Clock::system() })
    }

    /// The configured database URL, or that of an SQLite file in the data folder.
    pub fn database_url(&self, configured: &str, file: &str) -> String {
        non_empty(configured).unwrap_or_else(|| self.data.sqlite(file))
    }

    /// Connects to the configured object store.
    pub async fn configured_objects(&self) -> anyhow::Result<Objects> {
        let objects = &self.config.objects;
        if objects.endpoint.is_empty() {
            bail!("objects.endpoint is required when a role runs as a process of its own");
        }
        let config = ObjectsConfig {
            endpoint: non_empty(&objects.endpoint),
            // Clients reach an external object store at its own address, whatever host they used for the gateway.
            public_endpoint: non_empty(&objects.public_endpoint).or_else(|| non_empty(&objects.endpoint)),
            region: objects.region.clone(),
            bucket: objects.bucket.clone(),
            access_key_id: non_empty(&objects.access_key_id),
            secret_access_key: non_empty(&objects.secret_access_key),
            path_style: objects.path_style,
        };
        Ok(Objects::connect(&config).await?)
    }

    /// Connects to the configured queue, or the one in the data folder.
    pub async fn queue(&self) -> anyhow::Result<Arc<dyn Queue>> {
        let queue = &self.config.queue;
        let config = QueueConfig {
            url: non_empty(&queue.url).unwrap_or_else(|| self.data.sqlite("queue.db")),
            dead_letter_url: non_empty(&queue.dead_letter_url),
            max_receives: queue.max_receives,
            region: non_empty(&queue.region),
            access_key_id: non_empty(&queue.access_key_id),
            secret_access_key: non_empty(&queue.secret_access_key),
        };
        queue::connect(&config).await.with_context(|| setting("queue.url", &config.url))
    }
}

/// Creates the bucket if it does not exist: later, if the object store is unavailable.
pub async fn ensure_bucket(objects: &Objects) -> anyhow::Result<()> {
    match objects.ensure_bucket().await {
        Err(error @ ObjectsError::Unavailable { .. }) => {
            tracing::warn!(%error, "objects.endpoint: the object store is unavailable: retrying");
            let objects = objects.clone();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(BUCKET_RETRY_INTERVAL).await;
                    match objects.ensure_bucket().await {
                        Ok(()) => return,
                        Err(error) => {
                            tracing::warn!(%error, "objects.endpoint: the bucket is not there: retrying")
                        }
                    }
                }
            });
            Ok(())
        }
        result => result.context("objects.endpoint"),
    }
}

/// A setting and its value without a password, for an error message.
pub fn setting(key: &str, url: &str) -> String {
    format!("{key} ({})", without_password(url))
}
