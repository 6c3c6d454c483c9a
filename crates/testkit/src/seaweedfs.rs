//! S3, by SeaweedFS.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::sync::Mutex;

use crate::process::{Recipe, Server, free_ports, write};
use crate::tools::python_tool;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const ACCESS_KEY_ID: &str = "reelmill-test";
const SECRET_ACCESS_KEY: &str = "reelmill-test-secret";

/// A SeaweedFS server with its S3 gateway.
#[derive(Debug)]
pub struct SeaweedFs {
    port: u16,
    _server: Mutex<Server>,
}

impl SeaweedFs {
    /// Starts a server, and returns when it takes writes.
    pub async fn start() -> Result<Self> {
        let folder = Server::folder("seaweedfs", None)?;
        let identity = json!({"identities": [{
            "name": "reelmill",
            "credentials": [{"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }]});
        let config = write(&folder, "s3.json", &identity.to_string())?;
        let [s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc, debug] = free_ports()?;
        let mut arguments = vec![
            "server".to_owned(),
            format!("-dir={}", folder.display()),
            format!("-s3.config={}", config.display()),
            format!("-debug.port={debug}"),
        ];
        // The ports that are not named follow from these, or are off with 0.
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
        let recipe = Recipe {
            program: python_tool("weed")?,
            arguments,
            environment: vec![("HOME", folder.display().to_string())],
            signal: "KILL",
            user: None,
        };
        let mut server = Server::start(folder, recipe)?;
        server.until_ready(START_TIMEOUT, || takes_writes(master, s3)).await?;
        Ok(Self { port: s3, _server: Mutex::new(server) })
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The one key there is.
    pub fn access_key_id(&self) -> &'static str {
        ACCESS_KEY_ID
    }

    /// Its secret.
    pub fn secret_access_key(&self) -> &'static str {
        SECRET_ACCESS_KEY
    }

    /// The bucket to use; it is not made.
    pub fn bucket(&self) -> &'static str {
        "reelmill"
    }

    /// Any region will do.
    pub fn region(&self) -> &'static str {
        "us-east-1"
    }
}

/// The master hands out a place for a file once a volume server has joined it; before that all writes fail.
async fn takes_writes(master: u16, s3: u16) -> bool {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let assigned = match reqwest::get(format!("http://127.0.0.1:{master}/dir/assign")).await {
        Ok(answer) => answer.text().await.is_ok_and(|text| text.contains("\"fid\"")),
        Err(_) => false,
    };
    assigned
        && reqwest::get(format!("http://127.0.0.1:{s3}/healthz")).await.is_ok_and(|a| a.status().is_success())
}
