//! One role as a process of its own.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use reelmill_mesh::server::Listener;
use reelmill_platform::database;

use crate::{
    addresses::{Addresses, bind_public},
    config::{Config, Secrets},
    data_dir::DataDir,
    ffmpeg_check,
    role_context::{RoleContext, ensure_bucket, setting},
    roles,
    shutdown::{self, ShutdownGroup},
};

/// The roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The only public entry point.
    Gateway,
    /// Users and sessions.
    Auth,
    /// Upload sessions and videos.
    Upload,
    /// Jobs and tasks.
    Transcode,
    /// Runs ffmpeg.
    Worker,
}

/// Runs one role until SIGINT or SIGTERM.
pub async fn run(role: Role, config: Config) -> anyhow::Result<()> {
    shutdown::run(start(role, config)).await
}

async fn start(role: Role, config: Config) -> anyhow::Result<(Vec<ShutdownGroup>, RoleContext)> {
    if config.shared_state.url.is_empty() && role != Role::Worker {
        bail!(
            "shared_state.url is required when a role runs as a process of its own: \
             memory is not shared between processes"
        );
    }
    let data = DataDir::open_shared(&config.data.dir)?;
    let secrets = Secrets::of(&config, data.path());
    let addresses = Addresses::configured(&config);
    let context = RoleContext::open(config, secrets, data, "memory:single-role").await?;
    // Before it listens: a replica that cannot serve must not accept calls.
    let database = match role {
        Role::Auth => Some(("auth.database_url", &context.config.auth.database_url)),
        Role::Upload => Some(("upload.database_url", &context.config.upload.database_url)),
        Role::Transcode => Some(("transcode.database_url", &context.config.transcode.database_url)),
        Role::Gateway | Role::Worker => None,
    };
    if let Some((key, url)) = database.filter(|(_, url)| !url.is_empty()) {
        database::wait_until_available(url).await.with_context(|| setting(key, url))?;
    }
    let mut group = ShutdownGroup::default();
    match role {
        Role::Gateway => {
            let listener = bind_public(&context.config.gateway.listen).await?;
            writeln!(std::io::stdout(), "gateway at http://{}", listener.local_addr()?)?;
            let objects = context.configured_objects().await?;
            roles::gateway(&context, listener, objects, None, &addresses, &mut group).await?;
        }
        Role::Auth => {
            let listener = Listener::bind(&context.config.auth.listen).await?;
            roles::auth(&context, listener, &mut group).await?;
        }
        Role::Upload => {
            let listener = Listener::bind(&context.config.upload.listen).await?;
            let objects = context.configured_objects().await?;
            ensure_bucket(&objects).await?;
            roles::upload(&context, listener, objects, &addresses, &mut group).await?;
        }
        Role::Transcode => {
            let listener = Listener::bind(&context.config.transcode.listen).await?;
            let objects = context.configured_objects().await?;
            roles::transcode(&context, listener, objects, &mut group).await?;
        }
        Role::Worker => {
            ffmpeg_check::check(&context.config.worker.ffmpeg, &context.config.worker.ffprobe).await?;
            roles::worker(&context, &addresses, &mut group).await?;
        }
    }
    tracing::info!(?role, "up");
    Ok((vec![group], context))
}
