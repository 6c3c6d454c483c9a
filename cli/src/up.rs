//! `reelmill up`: all roles in one process, on embedded backends unless configured otherwise.

use std::io::Write as _;

use reelmill_mesh::server::Listener;
use reelmill_platform::objects::{Objects, ObjectsConfig};
use reelmill_s3_server::{ObjectServer, ObjectServerConfig};
use tokio::net::TcpListener;

use crate::{
    addresses::{Addresses, bind_public, local_url, store_addresses},
    config::{Config, Secrets},
    data_dir::DataDir,
    ffmpeg_check,
    role_context::{RoleContext, ensure_bucket},
    roles,
    shutdown::{self, ShutdownGroup},
};

/// Where the internal roles listen: any free loopback port.
const ANY_LOOPBACK_PORT: &str = "127.0.0.1:0";

/// Runs all roles until SIGINT or SIGTERM.
pub async fn run(config: Config) -> anyhow::Result<()> {
    shutdown::run(start(config)).await
}

async fn start(config: Config) -> anyhow::Result<(Vec<ShutdownGroup>, RoleContext)> {
    let data = DataDir::open_exclusive(&config.data.dir)?;
    ffmpeg_check::check(&config.worker.ffmpeg, &config.worker.ffprobe).await?;
    let public = bind_public(&config.gateway.listen).await?;
    let public_url = local_url(public.local_addr()?);
    let data_dir = config.data.dir.clone();
    let secrets = Secrets::of(&config, data.path());
    let context = RoleContext::open(config, secrets, data, "memory:up").await?;

    let internal_store = TcpListener::bind(ANY_LOOPBACK_PORT).await?;
    let (objects, object_server) = objects(&context, &local_url(internal_store.local_addr()?)).await?;
    let auth = Listener::bind(ANY_LOOPBACK_PORT).await?;
    let upload = Listener::bind(ANY_LOOPBACK_PORT).await?;
    let transcode = Listener::bind(ANY_LOOPBACK_PORT).await?;
    let addresses =
        Addresses { auth: auth.address()?, upload: upload.address()?, transcode: transcode.address()? };
    store_addresses(context.data.path(), &addresses)?;
    tracing::debug!(
        auth = addresses.auth,
        upload = addresses.upload,
        transcode = addresses.transcode,
        "internal addresses"
    );
    // Stopped in this order: the worker releases its tasks through all the others, and the services use the object store.
    let mut worker = ShutdownGroup::default();
    let mut gateway = ShutdownGroup::default();
    let mut services = ShutdownGroup::default();
    let mut store = ShutdownGroup::default();
    if let Some(server) = &object_server {
        roles::internal_store(internal_store, server, &mut store);
    }
    roles::auth(&context, auth, &mut services).await?;
    roles::transcode(&context, transcode, objects.clone(), &mut services).await?;
    roles::upload(&context, upload, objects.clone(), &addresses, &mut services).await?;
    roles::gateway(&context, public, objects, object_server, &addresses, &mut gateway).await?;
    roles::worker(&context, &addresses, &mut worker).await?;
    print_addresses(&public_url, &data_dir.display().to_string())?;
    Ok((vec![worker, gateway, services, store], context))
}

/// The configured object store, or the embedded one, which clients reach through the public port and roles at
/// `internal_url`, so that the limits of clients are not those of roles.
async fn objects(
    context: &RoleContext,
    internal_url: &str,
) -> anyhow::Result<(Objects, Option<ObjectServer>)> {
    let settings = &context.config.objects;
    if !settings.endpoint.is_empty() {
        let objects = context.configured_objects().await?;
        ensure_bucket(&objects).await?;
        return Ok((objects, None));
    }
    let access_key_id = "reelmill".to_owned();
    let secret_access_key = context.secrets.object_server_key()?;
    let object_server = reelmill_s3_server::open(ObjectServerConfig {
        dir: context.data.path().join("objects"),
        bucket: settings.bucket.clone(),
        access_key_id: access_key_id.clone(),
        secret_access_key: secret_access_key.clone(),
    })
    .await?;
    let objects = Objects::connect(&ObjectsConfig {
        endpoint: Some(internal_url.to_owned()),
        public_endpoint: None,
        region: settings.region.clone(),
        bucket: settings.bucket.clone(),
        access_key_id: Some(access_key_id),
        secret_access_key: Some(secret_access_key),
        path_style: true,
    })
    .await?;
    Ok((objects, Some(object_server)))
}

/// Prints the addresses and the next commands to try.
fn print_addresses(url: &str, data: &str) -> anyhow::Result<()> {
    let program = std::env::args().next().unwrap_or_else(|| "reelmill".to_owned());
    let default = url == "http://127.0.0.1:8080";
    let server = if default { String::new() } else { format!(" --server {url}") };
    writeln!(
        std::io::stdout(),
        "Reelmill is up.\n\n  \
           page, gRPC-web and gRPC  {url}\n  \
           data                     {data}\n\n\
         Next, in another terminal:\n\n  \
           {program}{server} sign-up\n  \
           {program}{server} upload VIDEO\n  \
           {program}{server} videos\n\n\
         or open {url} in a browser. Ctrl-C stops it."
    )?;
    Ok(())
}
