//! S3, provided by SeaweedFS.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    process::{Server, ServerCommand, free_ports, write_file},
    tools::python_tool,
};

/// A port that was free when it was chosen may be taken when the server binds it; the server then exits.
const START_ATTEMPTS: usize = 3;
const START_TIMEOUT: Duration = Duration::from_secs(60);
const ACCESS_KEY_ID: &str = "reelmill-test";
const SECRET_ACCESS_KEY: &str = "reelmill-test-secret";

/// A SeaweedFS server with its S3 gateway.
#[derive(Debug)]
pub struct SeaweedFs {
    port: u16,
    master_port: u16,
    server: Mutex<Server>,
}

impl SeaweedFs {
    /// Starts a server, and waits until it accepts writes.
    pub async fn start() -> Result<Self> {
        for _ in 1..START_ATTEMPTS {
            if let Ok(server) = Self::start_once().await {
                return Ok(server);
            }
        }
        Self::start_once().await
    }

    async fn start_once() -> Result<Self> {
        let folder = Server::create_folder("seaweedfs", None)?;
        let identity = json!({"identities": [{
            "name": "reelmill",
            "credentials": [{"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }]});
        let config = write_file(&folder, "s3.json", &identity.to_string())?;
        let [s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc, debug] = free_ports()?;
        let mut arguments = vec![
            "server".to_owned(),
            format!("-dir={}", folder.display()),
            format!("-s3.config={}", config.display()),
            format!("-debug.port={debug}"),
        ];
        // Other ports are derived from these, or disabled by 0 below.
        for (role, port, grpc) in [
            ("s3", s3, s3_grpc),
            ("master", master, master_grpc),
            ("volume", volume, volume_grpc),
            ("filer", filer, filer_grpc),
        ] {
            arguments.extend([format!("-{role}.port={port}"), format!("-{role}.port.grpc={grpc}")]);
        }
        const FIXED: [&str; 11] = [
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.volumeSizeLimitMB=1024",
            "-master.telemetry=false",
            "-volume.max=20",
            "-filer",
            "-s3",
            "-filer.localSocket=filer.sock",
            "-s3.localSocket=s3.sock",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ];
        arguments.extend(FIXED.map(str::to_owned));
        let command = ServerCommand {
            program: python_tool("weed")?,
            arguments,
            environment: vec![("HOME", folder.display().to_string())],
            signal: "KILL",
            user: None,
        };
        let mut server = Server::start(folder, command)?;
        server.wait_until_ready(START_TIMEOUT, || accepts_writes(master, s3)).await?;
        Ok(Self { port: s3, master_port: master, server: Mutex::new(server) })
    }

    /// Kills the server.
    pub async fn stop(&self) -> Result<()> {
        self.server.lock().await.stop()
    }

    /// Kills the server if it is running, and starts it on the same ports with the same objects.
    pub async fn restart(&self) -> Result<()> {
        let mut server = self.server.lock().await;
        server.stop()?;
        server.spawn()?;
        server.wait_until_ready(START_TIMEOUT, || accepts_writes(self.master_port, self.port)).await
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The only access key id.
    pub fn access_key_id(&self) -> &'static str {
        ACCESS_KEY_ID
    }

    /// Its secret access key.
    pub fn secret_access_key(&self) -> &'static str {
        SECRET_ACCESS_KEY
    }

    /// The bucket to use. It is not created.
    pub fn bucket(&self) -> &'static str {
        "reelmill"
    }

    /// The region. SeaweedFS accepts any.
    pub fn region(&self) -> &'static str {
        "us-east-1"
    }
}

/// True once the S3 gateway runs and the master assigns file ids, which it does after a volume server has
/// joined; before that all writes fail.
async fn accepts_writes(master: u16, s3: u16) -> bool {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let assigned = match reqwest::get(format!("http://127.0.0.1:{master}/dir/assign")).await {
        Ok(response) => response.text().await.is_ok_and(|text| text.contains("\"fid\"")),
        Err(_) => false,
    };
    assigned
        && reqwest::get(format!("http://127.0.0.1:{s3}/healthz")).await.is_ok_and(|r| r.status().is_success())
}
