//! A user of the command-line client.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::support::deployment::Deployment;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(240);

/// A user of the command-line client, with a profile folder.
pub struct CliUser {
    server: String,
    profile: tempfile::TempDir,
    pub email: String,
}

/// Result of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub const PASSWORD: &str = "correct horse battery staple";

impl CommandOutput {
    /// The one JSON value on stdout.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless the exit code is `code`.
    pub fn expect_exit(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl CliUser {
    /// Signs up a new user, who is then signed in.
    pub async fn sign_up(deployment: &Deployment, name: &str) -> Self {
        let user = Self::new(&deployment.server, name);
        let output = user
            .run(&[
                "sign-up",
                "--json",
                "--email",
                &user.email.clone(),
                "--password-file",
                &user.password_file(),
            ])
            .await;
        assert_eq!(output.code, 0, "{output:?}\n{}", deployment.logs());
        user
    }

    /// A user without an account.
    pub fn new(server: &str, name: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        std::fs::write(profile.path().join("password"), PASSWORD).unwrap();
        Self { server: server.to_owned(), profile, email: format!("{name}@example.org") }
    }

    /// Changes the server address, after a restart.
    pub fn set_server(&mut self, server: &str) {
        server.clone_into(&mut self.server);
    }

    pub fn password_file(&self) -> String {
        self.profile.path().join("password").display().to_string()
    }

    /// Runs one client command.
    pub async fn run(&self, args: &[&str]) -> CommandOutput {
        let ran = timeout(COMMAND_TIMEOUT, self.command(args).output()).await;
        let output = ran.unwrap_or_else(|_| panic!("{args:?} timed out")).unwrap();
        CommandOutput {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A client command, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reelmill"));
        command.args(["--server", &self.server, "--profile-dir"]).arg(self.profile.path()).args(args);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Uploads a file, waits until the video is playable, and returns it. It is still PROCESSING then.
    pub async fn upload_until_playable(&self, file: &Path) -> Value {
        let file = file.display().to_string();
        let video = self.run(&["upload", "--until", "playable", "--json", &file]).await.expect_exit(0).json();
        assert_eq!(video["state"], "PROCESSING", "{video}");
        assert_eq!(video["playable"], true, "{video}");
        assert!(video["timeToPlayableSeconds"].as_f64().unwrap() > 0.0, "{video}");
        video
    }

    /// Uploads a file, waits until the video is READY or FAILED, and returns it.
    pub async fn upload(&self, file: &Path) -> Value {
        self.run(&["upload", "--wait", "--json", &file.display().to_string()]).await.expect_exit(0).json()
    }
}
