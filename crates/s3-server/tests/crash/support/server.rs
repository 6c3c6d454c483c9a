//! The object store in a separate process: the test program, started again as a server.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Region, RequestChecksumCalculation, retry::RetryConfig},
};
use reelmill_s3_server::{ObjectServerConfig, open};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};

pub const BUCKET: &str = "reelmill";
/// Environment variable with the folder of the server process.
const FOLDER_VARIABLE: &str = "REELMILL_CRASH_TEST_FOLDER";
/// Precedes the address in the line that the server process prints.
const READY_PREFIX: &str = "serving at ";

/// A running server process. Killed on drop.
pub struct ServerProcess {
    process: Child,
    endpoint: String,
}

/// The server process itself, which [`ServerProcess::start`] runs.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test: the server process that the tests start and kill"]
async fn server_process() -> Result<()> {
    let dir = std::env::var_os(FOLDER_VARIABLE).context("this is started by the tests only")?;
    let server = open(config(Path::new(&dir))).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    // On a new line: the test harness has printed the beginning of one.
    let line = format!("\n{READY_PREFIX}{}\n", listener.local_addr()?);
    let mut stdout = tokio::io::stdout();
    stdout.write_all(line.as_bytes()).await?;
    stdout.flush().await?;
    Ok(axum::serve(listener, axum::Router::new().fallback_service(server.service())).await?)
}

/// The configuration of the object store in `dir`.
pub fn config(dir: &Path) -> ObjectServerConfig {
    ObjectServerConfig {
        dir: dir.to_owned(),
        bucket: BUCKET.to_owned(),
        access_key_id: "test-key".to_owned(),
        secret_access_key: "test-secret".to_owned(),
    }
}

impl ServerProcess {
    /// Starts the server, and waits until it accepts requests.
    pub async fn start(dir: &Path) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--ignored", "--exact", "support::server::server_process", "--nocapture"])
            .env(FOLDER_VARIABLE, dir)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("no stdout")?).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(address) = line.strip_prefix(READY_PREFIX) {
                    return Ok(format!("http://{address}"));
                }
            }
            bail!("the server exited before it was ready")
        };
        let endpoint = timeout(Duration::from_secs(30), ready).await??;
        Ok(Self { process, endpoint })
    }

    /// A client that does not retry.
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

    /// Sends SIGKILL and waits for the exit.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    /// The peak resident memory in bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        let id = self.process.id().context("the server has exited")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }
}
