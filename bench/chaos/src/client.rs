//! Users of the command line client.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use crate::roles::program;

const PASSWORD: &str = "a password for the chaos suite";
/// Longest run of one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(180);
/// Pause before a command is repeated.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A user with a profile folder.
#[derive(Debug, Clone)]
pub struct User {
    server: String,
    profile: PathBuf,
}

impl User {
    /// Signs a new user up.
    pub async fn sign_up(server: &str, folder: &Path, number: usize) -> Result<Self> {
        let profile = folder.join(format!("user-{number}"));
        std::fs::create_dir(&profile)?;
        let password = profile.join("password");
        std::fs::write(&password, PASSWORD)?;
        let user = Self { server: server.to_owned(), profile };
        let email = format!("user-{number}@example.org");
        user.run(&[
            "sign-up",
            "--json",
            "--email",
            &email,
            "--password-file",
            &password.display().to_string(),
        ])
        .await?;
        Ok(user)
    }

    /// Runs a command and returns its JSON output.
    pub async fn run(&self, args: &[&str]) -> Result<Value> {
        let mut command = Command::new(program()?);
        command.args(["--server", &self.server, "--profile-dir"]).arg(&self.profile).args(args);
        let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let Ok(output) = timeout(COMMAND_TIMEOUT, running).await else { bail!("{args:?} took too long") };
        let output = output?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{args:?} ended with {}: {}", output.status, errors.trim());
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The same, repeated until it succeeds or `deadline` passes.
    pub async fn run_until(&self, deadline: Instant, args: &[&str]) -> Result<Value> {
        loop {
            match self.run(args).await {
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(RETRY_PAUSE).await,
                Ok(output) => return Ok(output),
            }
        }
    }

    /// All videos.
    pub async fn videos(&self, deadline: Instant) -> Result<Vec<Value>> {
        let mut listed = self.run_until(deadline, &["videos", "--json"]).await?;
        Ok(listed["videos"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }
}
