//! The test program itself, started again as a server.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation};
use reelmill_s3_server::{ObjectServerConfig, open};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

pub const BUCKET: &str = "reelmill";
const FOLDER: &str = "REELMILL_CRASH_TEST_FOLDER";
const READY: &str = "serving at ";

pub struct Child {
    process: tokio::process::Child,
    endpoint: String,
}

/// The server's side: what [`Child::start`] runs.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "is the server that the other tests start and kill"]
async fn server_process() -> Result<()> {
    let dir = std::env::var_os(FOLDER).context("only the other tests start this")?;
    let server = open(config(Path::new(&dir))).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    // On a line of its own: the test harness has begun one.
    let line = format!("\n{READY}{}\n", listener.local_addr()?);
    let mut stdout = tokio::io::stdout();
    stdout.write_all(line.as_bytes()).await?;
    stdout.flush().await?;
    Ok(axum::serve(listener, axum::Router::new().fallback_service(server.service())).await?)
}

pub fn config(dir: &Path) -> ObjectServerConfig {
    ObjectServerConfig {
        dir: dir.to_owned(),
        bucket: BUCKET.to_owned(),
        access_key_id: "test-key".to_owned(),
        secret_access_key: "test-secret".to_owned(),
    }
}

impl Child {
    pub async fn start(dir: &Path) -> Result<Self> {
        let mut process = tokio::process::Command::new(std::env::current_exe()?)
            .args(["--ignored", "--exact", "child::server_process", "--nocapture"])
            .env(FOLDER, dir)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("no stdout")?).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(address) = line.strip_prefix(READY) {
                    return Ok(format!("http://{address}"));
                }
            }
            anyhow::bail!("the server ended before it was ready")
        };
        let endpoint = tokio::time::timeout(Duration::from_secs(30), ready).await??;
        Ok(Self { process, endpoint })
    }

    /// A client that does not retry: each attempt counts.
    pub fn client(&self) -> Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test-key", "test-secret", None, None, "test"))
            .endpoint_url(&self.endpoint)
            .retry_config(RetryConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .force_path_style(true);
        Client::from_conf(config.build())
    }

    /// SIGKILL, and the end of the process.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    /// The most memory that was resident at once, in bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        let id = self.process.id().context("the server has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }
}
