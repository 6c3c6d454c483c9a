//! Starts roles: the same way alone and together.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use reelmill_auth::{Auth, AuthConfig};
use reelmill_gateway::{Gateway, GatewayConfig};
use reelmill_mesh::{
    Channel, MeshKey,
    server::{self, Listener},
};
use reelmill_platform::{
    clock::Clock,
    objects::{Objects, ObjectsConfig},
    queue::{self, Queue, QueueConfig},
    shared_state::{self, RateLimit, SharedState},
};
use reelmill_proto::transcode::worker_service_client::WorkerServiceClient;
use reelmill_s3_server::ObjectServer;
use reelmill_transcode::{Transcode, TranscodeConfig};
use reelmill_upload::{Upload, UploadConfig};
use reelmill_worker::{WorkerConfig, default_slots, engine::Jail};
use tokio::net::TcpListener;

use crate::{
    config::{Config, Secrets, given, without_password},
    data_dir::DataDir,
    stages::Stage,
};

/// What every role of this process stands on.
pub struct Ground {
    pub config: Config,
    pub secrets: Secrets,
    pub data: DataDir,
    pub key: MeshKey,
    pub state: SharedState,
    pub clock: Clock,
}

/// Where the other roles are reached.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub auth: String,
    pub upload: String,
    pub transcode: String,
}

impl Addresses {
    /// As configured: a role's address, or what it listens at.
    pub fn configured(config: &Config) -> Self {
        let of = |address: &str, listen: &str| {
            given(address).unwrap_or_else(|| {
                if listen.starts_with("unix://") { listen.to_owned() } else { format!("http://{listen}") }
            })
        };
        Self {
            auth: of(&config.auth.address, &config.auth.listen),
            upload: of(&config.upload.address, &config.upload.listen),
            transcode: of(&config.transcode.address, &config.transcode.listen),
        }
    }
}

impl Ground {
    /// Lays the ground for roles of `config`; `default_state` is used when `shared_state.url` is empty.
    pub async fn lay(
        config: Config,
        secrets: Secrets,
        data: DataDir,
        default_state: &str,
    ) -> anyhow::Result<Self> {
        let key = MeshKey::new(&secrets.mesh_key()?).context("secrets.mesh_key")?;
        let url = given(&config.shared_state.url).unwrap_or_else(|| default_state.to_owned());
        let state = shared_state::connect(&url).await.with_context(|| named("shared_state.url", &url))?;
        Ok(Self { config, secrets, data, key, state, clock: Clock::system() })
    }

    fn database(&self, configured: &str, file: &str) -> String {
        given(configured).unwrap_or_else(|| self.data.sqlite(file))
    }

    /// The objects behind the configured endpoint.
    pub async fn configured_objects(&self) -> anyhow::Result<Objects> {
        let objects = &self.config.objects;
        if objects.endpoint.is_empty() {
            bail!("objects.endpoint must be given to a role that runs by itself");
        }
        let config = ObjectsConfig {
            endpoint: given(&objects.endpoint),
            // Clients reach a store of its own at its own address, whatever host they came by.
            public_endpoint: given(&objects.public_endpoint).or_else(|| given(&objects.endpoint)),
            region: objects.region.clone(),
            bucket: objects.bucket.clone(),
            access_key_id: given(&objects.access_key_id),
            secret_access_key: given(&objects.secret_access_key),
            path_style: objects.path_style,
        };
        Ok(Objects::connect(&config).await?)
    }

    /// The queue.
    pub async fn queue(&self) -> anyhow::Result<Arc<dyn Queue>> {
        let queue = &self.config.queue;
        let config = QueueConfig {
            url: given(&queue.url).unwrap_or_else(|| self.data.sqlite("queue.db")),
            dead_letter_url: given(&queue.dead_letter_url),
            max_receives: queue.max_receives,
            region: given(&queue.region),
            access_key_id: given(&queue.access_key_id),
            secret_access_key: given(&queue.secret_access_key),
        };
        queue::connect(&config).await.with_context(|| named("queue.url", &config.url))
    }

    /// Starts auth.
    pub async fn auth(&self, listener: Listener, stage: &mut Stage) -> anyhow::Result<()> {
        let database = self.database(&self.config.auth.database_url, "auth.db");
        let place = named("auth.database_url", &database);
        let config = AuthConfig::new(database, self.secrets.signing_key()?);
        let auth = Auth::open(config, Arc::clone(&self.state.session_cache), self.clock.clone())
            .await
            .context(place)?;
        let serving =
            server::serve(listener, auth.routes(), reelmill_auth::SERVICES, self.key.clone(), stage.stop());
        stage.spawn("auth", async move { Ok(serving.await?) });
        Ok(())
    }

    /// Starts upload.
    pub async fn upload(
        &self,
        listener: Listener,
        objects: Objects,
        addresses: &Addresses,
        stage: &mut Stage,
    ) -> anyhow::Result<()> {
        let settings = &self.config.upload;
        let database = self.database(&settings.database_url, "upload.db");
        let place = named("upload.database_url", &database);
        let mut config = UploadConfig::new(database, self.secrets.playback_key()?);
        config.public_url = given(&self.config.gateway.public_url);
        config.part_size_bytes = settings.part_size_bytes;
        let transcode = Channel::lazy(&addresses.transcode, &self.key, "upload")?;
        let upload =
            Upload::open(config, objects, transcode, Arc::clone(&self.state.pub_sub), self.clock.clone())
                .await
                .context(place)?;
        let serving = server::serve(
            listener,
            upload.routes(),
            reelmill_upload::SERVICES,
            self.key.clone(),
            stage.stop(),
        );
        stage.spawn("upload", async move { Ok(serving.await?) });
        let stop = stage.stop();
        stage.spawn("upload's background work", async move {
            upload.run(stop).await;
            Ok(())
        });
        Ok(())
    }

    /// Starts transcode.
    pub async fn transcode(
        &self,
        listener: Listener,
        objects: Objects,
        stage: &mut Stage,
    ) -> anyhow::Result<()> {
        let database = self.database(&self.config.transcode.database_url, "transcode.db");
        let queue = self.queue().await?;
        let place = named("transcode.database_url", &database);
        let settings = &self.config.transcode;
        let mut config = TranscodeConfig::new(database);
        config.encoder_threads = settings.encoder_threads;
        config.default_profile = settings.profile;
        config.default_preset = settings.preset;
        let transcode =
            Transcode::open(config, objects, queue, Arc::clone(&self.state.pub_sub), self.clock.clone())
                .await
                .context(place)?;
        let serving = server::serve(
            listener,
            transcode.routes(),
            reelmill_transcode::SERVICES,
            self.key.clone(),
            stage.stop(),
        );
        stage.spawn("transcode", async move { Ok(serving.await?) });
        let stop = stage.stop();
        stage.spawn("transcode's background work", async move {
            transcode.run(stop).await;
            Ok(())
        });
        Ok(())
    }

    /// Starts a worker.
    pub async fn worker(&self, addresses: &Addresses, stage: &mut Stage) -> anyhow::Result<()> {
        let settings = &self.config.worker;
        let scratch =
            given(&settings.scratch_dir).map_or_else(|| self.data.path().join("scratch"), PathBuf::from);
        let jail = Jail { mode: settings.jail.parse()?, helper: helper()? };
        let mut config = WorkerConfig::new(scratch, jail);
        if let Some(name) = given(&settings.name) {
            config.name = name;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        config.slots = if settings.slots == 0 { default_slots(cores) } else { settings.slots };
        config.ffmpeg.clone_from(&settings.ffmpeg);
        config.ffprobe.clone_from(&settings.ffprobe);
        config.drain = Duration::from_secs(settings.drain_seconds);
        stage.patience += config.drain;
        let dispatch = WorkerServiceClient::new(Channel::lazy(&addresses.transcode, &self.key, "worker")?);
        let queue = self.queue().await?;
        let stop = stage.stop();
        stage.spawn("worker", async move { Ok(reelmill_worker::run(config, queue, dispatch, stop).await?) });
        Ok(())
    }

    /// Starts the gateway; `store` is the embedded object server, where there is one.
    pub async fn gateway(
        &self,
        listener: TcpListener,
        objects: Objects,
        store: Option<ObjectServer>,
        addresses: &Addresses,
        stage: &mut Stage,
    ) -> anyhow::Result<()> {
        let settings = &self.config.gateway;
        let upstreams =
            [("auth", &addresses.auth), ("upload", &addresses.upload), ("transcode", &addresses.transcode)];
        let config = GatewayConfig {
            public_url: given(&settings.public_url),
            store_url: given(&self.config.objects.public_endpoint)
                .or_else(|| given(&self.config.objects.endpoint)),
            playback_secret: self.secrets.playback_key()?,
            upstreams: upstreams
                .map(|(name, at)| (name.to_owned(), at.clone()))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            allowed_origins: settings.allowed_origins.clone(),
            rate: RateLimit { units_per_second: settings.user_units_per_second, burst: settings.user_burst },
            anonymous_rate: RateLimit {
                units_per_second: settings.anonymous_units_per_second,
                burst: settings.anonymous_burst,
            },
            trusted_proxies: settings.trusted_proxies,
        };
        let store = store.map(|store| axum::Router::new().fallback_service(store.service()));
        let gateway =
            Gateway::open(config, self.key.clone(), self.state.clone(), objects, store, self.clock.clone())?;
        let stop = stage.stop();
        stage.spawn("gateway", async move { Ok(gateway.serve(listener, stop).await?) });
        Ok(())
    }
}

/// The command by which this program confines itself and becomes ffmpeg.
pub const JAIL: &str = "jail";

fn helper() -> anyhow::Result<Vec<OsString>> {
    Ok(vec![std::env::current_exe()?.into(), JAIL.into()])
}

/// A key and its value, for a message.
fn named(key: &str, url: &str) -> String {
    format!("{key} ({})", without_password(url))
}
