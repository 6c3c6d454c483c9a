//! Starts each role, in the same way whether it runs as a process of its own or together with the others.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use reelmill_auth::{Auth, AuthConfig};
use reelmill_gateway::{Gateway, GatewayConfig, Limits};
use reelmill_mesh::{
    Channel,
    server::{self, Listener},
};
use reelmill_platform::{objects::Objects, shared_state::RateLimit};
use reelmill_proto::transcode::worker_service_client::WorkerServiceClient;
use reelmill_s3_server::ObjectServer;
use reelmill_transcode::{Transcode, TranscodeConfig};
use reelmill_upload::{Upload, UploadConfig};
use reelmill_worker::{DEFAULT_EXPRESS_SLOTS, WorkerConfig, default_slots, engine::Jail};
use tokio::net::TcpListener;

use crate::{
    addresses::Addresses,
    config::non_empty,
    role_context::{RoleContext, setting},
    shutdown::ShutdownGroup,
};

/// The subcommand that confines this process and then executes ffmpeg.
pub const JAIL_COMMAND: &str = "jail";

/// Starts the auth role.
pub async fn auth(
    context: &RoleContext,
    listener: Listener,
    group: &mut ShutdownGroup,
) -> anyhow::Result<()> {
    let database = context.database_url(&context.config.auth.database_url, "auth.db");
    let database_setting = setting("auth.database_url", &database);
    let config = AuthConfig::new(database, context.secrets.signing_key()?);
    let auth = Auth::open(config, Arc::clone(&context.state.session_cache), context.clock.clone())
        .await
        .context(database_setting)?;
    let serving =
        server::serve(listener, auth.routes(), reelmill_auth::SERVICES, context.key.clone(), group.token());
    group.spawn("auth", async move { Ok(serving.await?) });
    Ok(())
}

/// Starts the upload role.
pub async fn upload(
    context: &RoleContext,
    listener: Listener,
    objects: Objects,
    addresses: &Addresses,
    group: &mut ShutdownGroup,
) -> anyhow::Result<()> {
    let settings = &context.config.upload;
    let database = context.database_url(&settings.database_url, "upload.db");
    let database_setting = setting("upload.database_url", &database);
    let mut config = UploadConfig::new(database, context.secrets.playback_key()?);
    config.public_url = non_empty(&context.config.gateway.public_url);
    config.part_size_bytes = settings.part_size_bytes;
    config.failed_source_retention = match settings.failed_source_retention_days {
        0 => None,
        days => Some(Duration::from_secs(u64::from(days) * 24 * 3600)),
    };
    let transcode = Channel::lazy(&addresses.transcode, &context.key, "upload")?;
    let upload =
        Upload::open(config, objects, transcode, Arc::clone(&context.state.pub_sub), context.clock.clone())
            .await
            .context(database_setting)?;
    let serving = server::serve(
        listener,
        upload.routes(),
        reelmill_upload::SERVICES,
        context.key.clone(),
        group.token(),
    );
    group.spawn("upload", async move { Ok(serving.await?) });
    let stop = group.token();
    group.spawn("upload: background tasks", async move {
        upload.run(stop).await;
        Ok(())
    });
    Ok(())
}

/// Starts the transcode role.
pub async fn transcode(
    context: &RoleContext,
    listener: Listener,
    objects: Objects,
    group: &mut ShutdownGroup,
) -> anyhow::Result<()> {
    let database = context.database_url(&context.config.transcode.database_url, "transcode.db");
    let queue = context.queue().await?;
    let database_setting = setting("transcode.database_url", &database);
    let settings = &context.config.transcode;
    let mut config = TranscodeConfig::new(database);
    config.encoder_threads = settings.encoder_threads;
    config.default_profile = settings.profile;
    config.default_preset = settings.preset;
    config.max_started_jobs_per_owner = settings.max_started_jobs_per_owner.max(1);
    config.max_running_tasks_per_owner =
        Some(settings.max_running_tasks_per_owner).filter(|limit| *limit > 0);
    config.replan_after = Duration::from_secs(settings.replan_after_seconds);
    let transcode =
        Transcode::open(config, objects, queue, Arc::clone(&context.state.pub_sub), context.clock.clone())
            .await
            .context(database_setting)?;
    let serving = server::serve(
        listener,
        transcode.routes(),
        reelmill_transcode::SERVICES,
        context.key.clone(),
        group.token(),
    );
    group.spawn("transcode", async move { Ok(serving.await?) });
    let stop = group.token();
    group.spawn("transcode: background tasks", async move {
        transcode.run(stop).await;
        Ok(())
    });
    Ok(())
}

/// Starts a worker.
pub async fn worker(
    context: &RoleContext,
    addresses: &Addresses,
    group: &mut ShutdownGroup,
) -> anyhow::Result<()> {
    let settings = &context.config.worker;
    let scratch =
        non_empty(&settings.scratch_dir).map_or_else(|| context.data.path().join("scratch"), PathBuf::from);
    let jail = Jail { mode: settings.jail.parse()?, helper: jail_helper()? };
    let mut config = WorkerConfig::new(scratch, jail);
    config.host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    config.version = env!("CARGO_PKG_VERSION").to_owned();
    let name = non_empty(&settings.name).unwrap_or_else(|| config.host.clone());
    // Unique per process, also where every process has the same id.
    config.name = format!("{name}-{:08x}", rand::random::<u32>());
    config.express_slots =
        if settings.express_slots == 0 { DEFAULT_EXPRESS_SLOTS } else { settings.express_slots };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    config.slots = if settings.slots == 0 { default_slots(cores) } else { settings.slots };
    config.ffmpeg.clone_from(&settings.ffmpeg);
    config.ffprobe.clone_from(&settings.ffprobe);
    config.drain = Duration::from_secs(settings.drain_seconds);
    group.timeout += config.drain;
    let dispatcher = WorkerServiceClient::new(Channel::lazy(&addresses.transcode, &context.key, "worker")?);
    let queue = context.queue().await?;
    let stop = group.token();
    group.spawn("worker", async move { Ok(reelmill_worker::run(config, queue, dispatcher, stop).await?) });
    Ok(())
}

/// Serves the embedded object store to the roles of this process.
pub fn internal_store(listener: TcpListener, server: &ObjectServer, group: &mut ShutdownGroup) {
    let router = axum::Router::new().fallback_service(server.service());
    let stop = group.token();
    group.spawn("object store", async move {
        Ok(axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?)
    });
}

/// Starts the gateway. `object_server`: the embedded object store, if it is used.
pub async fn gateway(
    context: &RoleContext,
    listener: TcpListener,
    objects: Objects,
    object_server: Option<ObjectServer>,
    addresses: &Addresses,
    group: &mut ShutdownGroup,
) -> anyhow::Result<()> {
    let settings = &context.config.gateway;
    let upstreams =
        [("auth", &addresses.auth), ("upload", &addresses.upload), ("transcode", &addresses.transcode)];
    let config = GatewayConfig {
        descriptors: reelmill_proto::DESCRIPTORS.into(),
        public_url: non_empty(&settings.public_url),
        object_store_url: non_empty(&context.config.objects.public_endpoint)
            .or_else(|| non_empty(&context.config.objects.endpoint)),
        playback_secret: context.secrets.playback_key()?,
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
        limits: Limits {
            calls_per_user: settings.calls_per_user,
            calls_per_address: settings.calls_per_address,
            body_bytes: settings.request_body_bytes,
            connections: settings.connections,
            connections_per_address: settings.connections_per_address,
        },
        trusted_proxies: settings.trusted_proxies.clone(),
        proxy_header: settings
            .proxy_header
            .parse()
            .map_err(|cause: String| anyhow::anyhow!("gateway.proxy_header: {cause}"))?,
    };
    let object_routes = object_server.map(|server| axum::Router::new().fallback_service(server.service()));
    let gateway = Gateway::open(
        config,
        context.key.clone(),
        context.state.clone(),
        objects,
        object_routes,
        context.clock.clone(),
    )?;
    let stop = group.token();
    group.spawn("gateway", async move { Ok(gateway.serve(listener, stop).await?) });
    Ok(())
}

fn jail_helper() -> anyhow::Result<Vec<OsString>> {
    Ok(vec![std::env::current_exe()?.into(), JAIL_COMMAND.into()])
}
