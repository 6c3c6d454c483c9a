//! The system under test, with a signed-in user.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::reelmill;

/// E-mail of the user.
pub const EMAIL: &str = "bench@example.org";
/// Password of the user.
pub const PASSWORD: &str = "a password for benches";

/// Folder of that user's profile.
const PROFILE: &str = "profile";

/// A running system in a temporary folder.
pub struct System {
    /// URL of the gateway.
    pub server: String,
    folder: TempDir,
    program: PathBuf,
    /// The process that listens on `server`: all roles together, or the gateway only.
    process: Child,
}

impl System {
    /// Starts `reelmill up`: all roles in one process.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?).await
    }

    /// The same in a folder that may have data.
    pub async fn start_in(folder: TempDir) -> anyhow::Result<Self> {
        let log = folder.path().join("log");
        let mut process = reelmill::spawn(folder.path(), &["up", "--listen", "127.0.0.1:0"], &[], &log)?;
        let server = reelmill::server_url(&mut process).await?;
        Self::sign_up(folder, server, process).await
    }

    /// Signs a user up to the system that `process` serves.
    pub async fn sign_up(folder: TempDir, server: String, process: Child) -> anyhow::Result<Self> {
        let system = Self { server, folder, program: reelmill::program()?, process };
        std::fs::write(system.path("password"), PASSWORD)?;
        system.add_user(PROFILE, EMAIL).await?;
        Ok(system)
    }

    /// Signs another user up, whose commands name `profile`.
    pub async fn add_user(&self, profile: &str, email: &str) -> anyhow::Result<()> {
        let password = self.path("password").display().to_string();
        let args = ["sign-up", "--json", "--email", email, "--password-file", &password];
        self.client_of(profile, &args).await.map(drop)
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Id of the process that serves.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().context("the process ended")
    }

    /// Address on which a role of `reelmill up` listens, from the log line `internal addresses`.
    pub fn role_address(&self, role: &str) -> anyhow::Result<String> {
        let log = std::fs::read_to_string(self.path("log"))?;
        let line = log.lines().find(|line| line.contains("internal addresses"));
        let line = line.context("the log has no line with the roles' addresses")?;
        let start = line.find(&format!("{role}=")).context("no such role")? + role.len() + 1;
        Ok(line[start..].split_whitespace().next().unwrap_or_default().trim_matches('"').to_owned())
    }

    /// A client command, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_of(PROFILE, args)
    }

    fn command_of(&self, profile: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--server", &self.server, "--profile-dir"]).arg(self.path(profile)).args(args);
        command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a client command and returns its JSON output.
    pub async fn client(&self, args: &[&str]) -> anyhow::Result<Value> {
        self.client_of(PROFILE, args).await
    }

    /// The same of the user of a profile.
    pub async fn client_of(&self, profile: &str, args: &[&str]) -> anyhow::Result<Value> {
        let output = self.command_of(profile, args).output().await?;
        ensure!(output.status.success(), "{args:?} ended with {}", output.status);
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
