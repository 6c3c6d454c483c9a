//! A system to measure: `reelmill up` in a temporary folder, and somebody signed in to it. [`crate::apart`] makes one of
//! roles that run by themselves.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::apart::Ground;

/// Who is signed up.
pub const EMAIL: &str = "bench@example.org";
/// Their password.
pub const PASSWORD: &str = "a password for benches";

/// A running system.
pub struct System {
    pub folder: TempDir,
    pub server: String,
    program: PathBuf,
    /// The process that serves: all roles together, or the gateway.
    main: Child,
    /// What that one stands on.
    pub(crate) ground: Option<Ground>,
}

impl System {
    /// Starts it, and signs somebody up.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        let mut up = role(folder.path(), &["up", "--listen", "127.0.0.1:0"], &[], &log)?;
        let server = address(&mut up).await?;
        Self::with(folder, server, up, None).await
    }

    /// A system whose public door is open; signs somebody up.
    pub(crate) async fn with(
        folder: TempDir,
        server: String,
        main: Child,
        ground: Option<Ground>,
    ) -> anyhow::Result<Self> {
        let system = Self { folder, server, program: program()?, main, ground };
        std::fs::write(system.path("password"), PASSWORD)?;
        let password = system.path("password").display().to_string();
        system.client(&["sign-up", "--json", "--email", EMAIL, "--password-file", &password]).await?;
        Ok(system)
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its process id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.main.id().context("it ended")
    }

    /// Where a role listens, as it logged.
    pub fn role(&self, role: &str) -> anyhow::Result<String> {
        let log = std::fs::read_to_string(self.path("log"))?;
        let line = log.lines().find(|line| line.contains("roles listen"));
        let line = line.context("the log names no roles")?;
        let at = line.find(&format!("{role}=")).context("no such role")? + role.len() + 1;
        Ok(line[at..].split_whitespace().next().unwrap_or_default().trim_matches('"').to_owned())
    }

    /// A client command, to be run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--server", &self.server, "--profile-dir"]).arg(self.path("profile")).args(args);
        command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a client command; answers its JSON.
    pub async fn client(&self, args: &[&str]) -> anyhow::Result<Value> {
        let output = self.command(args).output().await?;
        ensure!(output.status.success(), "{args:?} ended with {}", output.status);
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// The program beside this one.
fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("reelmill");
    ensure!(program.is_file(), "{}: build it first (make bench does)", program.display());
    Ok(program)
}

/// Starts `reelmill ARGS…` in a folder; its log goes to a file.
pub(crate) fn role(
    folder: &Path,
    args: &[&str],
    variables: &[(String, String)],
    log: &Path,
) -> anyhow::Result<Child> {
    // The limit of one caller is not what is measured.
    const UNLIMITED: [(&str, &str); 4] = [
        ("REELMILL_GATEWAY__USER_UNITS_PER_SECOND", "1000000000.0"),
        ("REELMILL_GATEWAY__USER_BURST", "1000000000"),
        ("REELMILL_GATEWAY__ANONYMOUS_UNITS_PER_SECOND", "1000000000.0"),
        ("REELMILL_GATEWAY__ANONYMOUS_BURST", "1000000000"),
    ];
    Ok(Command::new(program()?)
        .args(args)
        .current_dir(folder)
        .env("REELMILL_LOG__FILTER", "info")
        .envs(UNLIMITED)
        .envs(variables.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(log)?)
        .kill_on_drop(true)
        .spawn()?)
}

/// The address that a process prints once it listens.
pub(crate) async fn address(process: &mut Child) -> anyhow::Result<String> {
    let mut lines = BufReader::new(process.stdout.take().context("no stdout")?).lines();
    let server = timeout(Duration::from_secs(30), async {
        while let Some(line) = lines.next_line().await? {
            if let Some(at) = line.find("http://") {
                return Ok(line[at..].split_whitespace().next().unwrap_or_default().to_owned());
            }
        }
        bail!("it did not start");
    })
    .await??;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(server)
}

/// Runs a program to its end.
pub async fn run(program: &str, args: &[&str], folder: &Path) -> anyhow::Result<()> {
    let status = Command::new(program).args(args).current_dir(folder).stdin(Stdio::null()).status().await?;
    ensure!(status.success(), "{program} {args:?} ended with {status}");
    Ok(())
}
