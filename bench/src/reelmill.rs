//! Starts the `reelmill` binary.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Disables the gateway's rate limits, which the benchmarks do not measure.
const NO_RATE_LIMIT: [(&str, &str); 4] = [
    ("REELMILL_GATEWAY__USER_UNITS_PER_SECOND", "1000000000.0"),
    ("REELMILL_GATEWAY__USER_BURST", "1000000000"),
    ("REELMILL_GATEWAY__ANONYMOUS_UNITS_PER_SECOND", "1000000000.0"),
    ("REELMILL_GATEWAY__ANONYMOUS_BURST", "1000000000"),
];
/// Includes the line with the roles' addresses, which is logged at debug level.
const LOG_FILTER: &str = "info,reelmill::up=debug";
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Path of the binary, in the folder of this one.
pub fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("reelmill");
    ensure!(program.is_file(), "{} is missing: run this with make bench, which builds it", program.display());
    Ok(program)
}

/// Starts `reelmill ARGS…` in `folder`, with its log in a file.
pub fn spawn(
    folder: &Path,
    args: &[&str],
    variables: &[(String, String)],
    log: &Path,
) -> anyhow::Result<Child> {
    Ok(Command::new(program()?)
        .args(args)
        .current_dir(folder)
        .env("REELMILL_LOG__FILTER", LOG_FILTER)
        .envs(NO_RATE_LIMIT)
        .envs(variables.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(log)?)
        .kill_on_drop(true)
        .spawn()?)
}

/// Waits for the URL that a process prints once it listens.
pub async fn server_url(process: &mut Child) -> anyhow::Result<String> {
    let mut lines = BufReader::new(process.stdout.take().context("no stdout")?).lines();
    let server = timeout(START_TIMEOUT, async {
        while let Some(line) = lines.next_line().await? {
            if let Some(start) = line.find("http://") {
                return Ok(line[start..].split_whitespace().next().unwrap_or_default().to_owned());
            }
        }
        bail!("reelmill ended before it printed its address");
    })
    .await??;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(server)
}
