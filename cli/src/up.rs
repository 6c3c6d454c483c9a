//! `reelmill up`: all roles in one process, on embedded backends unless configured otherwise.

use std::{io::Write as _, net::SocketAddr};

use anyhow::{Context as _, bail};
use reelmill_mesh::server::Listener;
use reelmill_platform::objects::{Objects, ObjectsConfig};
use reelmill_s3_server::{ObjectServer, ObjectServerConfig};
use tokio::net::TcpListener;

use crate::{
    config::{Config, Secrets},
    data_dir::DataDir,
    roles::{Addresses, Ground},
    stages::{self, Stage},
    tools,
};

/// Where the roles listen for one another: any free port of this machine's own.
const ANY_PORT: &str = "127.0.0.1:0";

/// Runs until it is told to stop.
pub async fn run(config: Config) -> anyhow::Result<()> {
    stages::run(start(config)).await
}

async fn start(config: Config) -> anyhow::Result<(Vec<Stage>, Ground)> {
    let data = DataDir::open(&config.data.dir)?;
    tools::check(&config.worker.ffmpeg, &config.worker.ffprobe).await?;
    let public = listen(&config.gateway.listen).await?;
    let reached = reached_at(public.local_addr()?);
    let shown_dir = config.data.dir.clone();
    let secrets = Secrets::of(&config, data.path());
    let ground = Ground::lay(config, secrets, data, "memory:up").await?;

    let (objects, store) = objects(&ground, &reached).await?;
    let auth = Listener::bind(ANY_PORT).await?;
    let upload = Listener::bind(ANY_PORT).await?;
    let transcode = Listener::bind(ANY_PORT).await?;
    let addresses =
        Addresses { auth: auth.address()?, upload: upload.address()?, transcode: transcode.address()? };
    tracing::debug!(
        auth = addresses.auth,
        upload = addresses.upload,
        transcode = addresses.transcode,
        "roles listen"
    );
    // Stopped in this order: the worker hands back what it does through all the others, and the
    // gateway serves the others' objects.
    let (mut working, mut public_door, mut services) = (Stage::default(), Stage::default(), Stage::default());
    ground.auth(auth, &mut services).await?;
    ground.transcode(transcode, objects.clone(), &mut services).await?;
    ground.upload(upload, objects.clone(), &addresses, &mut services).await?;
    ground.gateway(public, objects, store, &addresses, &mut public_door).await?;
    ground.worker(&addresses, &mut working).await?;
    greet(&reached, &shown_dir.display().to_string())?;
    Ok((vec![working, public_door, services], ground))
}

/// Takes the public port.
pub async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!("{address} is in use by another program; choose another with --listen HOST:PORT")
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen at {address}")),
    }
}

/// The address by which this process reaches its own public port.
fn reached_at(bound: SocketAddr) -> String {
    match bound {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("http://127.0.0.1:{}", v4.port()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("http://[::1]:{}", v6.port()),
        bound => format!("http://{bound}"),
    }
}

/// The configured objects, or the embedded server, reached through the public port like any other.
async fn objects(ground: &Ground, reached: &str) -> anyhow::Result<(Objects, Option<ObjectServer>)> {
    let settings = &ground.config.objects;
    if !settings.endpoint.is_empty() {
        let objects = ground.configured_objects().await?;
        objects.ensure_bucket().await.context("objects.endpoint")?;
        return Ok((objects, None));
    }
    let access_key_id = "reelmill".to_owned();
    let secret_access_key = ground.secrets.object_server_key()?;
    let store = reelmill_s3_server::open(ObjectServerConfig {
        dir: ground.data.path().join("objects"),
        bucket: settings.bucket.clone(),
        access_key_id: access_key_id.clone(),
        secret_access_key: secret_access_key.clone(),
    })
    .await?;
    let objects = Objects::connect(&ObjectsConfig {
        endpoint: Some(reached.to_owned()),
        public_endpoint: None,
        region: settings.region.clone(),
        bucket: settings.bucket.clone(),
        access_key_id: Some(access_key_id),
        secret_access_key: Some(secret_access_key),
        path_style: true,
    })
    .await?;
    Ok((objects, Some(store)))
}

/// Says where everything is and what to type next.
fn greet(reached: &str, data: &str) -> anyhow::Result<()> {
    let program = std::env::args().next().unwrap_or_else(|| "reelmill".to_owned());
    let default = reached == "http://127.0.0.1:8080";
    let server = if default { String::new() } else { format!(" --server {reached}") };
    writeln!(
        std::io::stdout(),
        "Reelmill is up.\n\n  \
           page, gRPC-web and gRPC  {reached}\n  \
           data                     {data}\n\n\
         Next, in another terminal:\n\n  \
           {program}{server} sign-up\n  \
           {program}{server} upload VIDEO\n  \
           {program}{server} videos\n\n\
         or open {reached} in a browser. Ctrl-C stops it."
    )?;
    Ok(())
}
