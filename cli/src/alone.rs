//! One role as a process of its own.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use reelmill_mesh::server::Listener;

use crate::{
    config::{Config, Secrets},
    data_dir::DataDir,
    roles::{Addresses, Ground},
    stages::{self, Stage},
    tools, up,
};

/// The roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The public door.
    Gateway,
    /// Users and sessions.
    Auth,
    /// Upload sessions and videos.
    Upload,
    /// Jobs.
    Transcode,
    /// ffmpeg.
    Worker,
}

/// Runs one role until it is told to stop.
pub async fn run(role: Role, config: Config) -> anyhow::Result<()> {
    stages::run(start(role, config)).await
}

async fn start(role: Role, config: Config) -> anyhow::Result<(Vec<Stage>, Ground)> {
    if config.shared_state.url.is_empty() && role != Role::Worker {
        bail!(
            "shared_state.url must be given to a role that runs by itself: memory is not shared between processes"
        );
    }
    let data = DataDir::share(&config.data.dir)?;
    let secrets = Secrets::of(&config, data.path());
    let addresses = Addresses::configured(&config);
    let ground = Ground::lay(config, secrets, data, "memory:alone").await?;
    let mut stage = Stage::default();
    match role {
        Role::Gateway => {
            let listener = up::listen(&ground.config.gateway.listen).await?;
            writeln!(std::io::stdout(), "gateway at http://{}", listener.local_addr()?)?;
            let objects = ground.configured_objects().await?;
            ground.gateway(listener, objects, None, &addresses, &mut stage).await?;
        }
        Role::Auth => {
            let listener = Listener::bind(&ground.config.auth.listen).await?;
            ground.auth(listener, &mut stage).await?;
        }
        Role::Upload => {
            let listener = Listener::bind(&ground.config.upload.listen).await?;
            let objects = ground.configured_objects().await?;
            objects.ensure_bucket().await.context("objects.endpoint")?;
            ground.upload(listener, objects, &addresses, &mut stage).await?;
        }
        Role::Transcode => {
            let listener = Listener::bind(&ground.config.transcode.listen).await?;
            let objects = ground.configured_objects().await?;
            ground.transcode(listener, objects, &mut stage).await?;
        }
        Role::Worker => {
            tools::check(&ground.config.worker.ffmpeg, &ground.config.worker.ffprobe).await?;
            ground.worker(&addresses, &mut stage).await?;
        }
    }
    tracing::info!(?role, "up");
    Ok((vec![stage], ground))
}
