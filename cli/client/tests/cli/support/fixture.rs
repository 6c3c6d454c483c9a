//! A client with its own profile folder, working folder and fake server.

use std::{ffi::OsStr, path::PathBuf, process::Stdio};

use tokio::process::{Child, Command};

use super::{
    fake_server::FakeServer,
    helpers::read_json,
    output::{CommandOutput, wait_for_output},
};

/// A client with its own profile folder, working folder and fake server.
pub struct ClientFixture {
    pub server: FakeServer,
    dir: tempfile::TempDir,
}

impl ClientFixture {
    /// A client that is not signed in. The file `password` has a password.
    pub async fn new() -> Self {
        let client = Self { server: FakeServer::start().await, dir: tempfile::tempdir().unwrap() };
        client.write_file("password", b"correct horse\n");
        client
    }

    /// A client with an account that is signed in.
    pub async fn signed_in() -> Self {
        let client = Self::new().await;
        client.run("sign-up --email a@b.c --password-file password").await.assert_exit_code(0);
        client
    }

    /// A path in the working folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write_file(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Runs a command until it ends.
    pub async fn run(&self, line: &str) -> CommandOutput {
        wait_for_output(self.start(line)).await
    }

    /// Runs a command with arguments that contain spaces, or are not UTF-8.
    pub async fn run_with(&self, line: &str, args: &[&OsStr]) -> CommandOutput {
        let mut command = self.with_profile_dir(&self.server.url(), line);
        wait_for_output(command.args(args).spawn().unwrap()).await
    }

    /// Runs a command with another server until it ends.
    pub async fn run_at(&self, server: &str, line: &str) -> CommandOutput {
        wait_for_output(self.with_profile_dir(server, line).spawn().unwrap()).await
    }

    /// Starts a command.
    pub fn start(&self, line: &str) -> Child {
        self.with_profile_dir(&self.server.url(), line).spawn().unwrap()
    }

    /// A command without a profile folder.
    pub fn command(&self, server: &str, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reelmill-client"));
        command
            .args(line.split_whitespace())
            .args(["--server", server])
            .current_dir(self.dir.path())
            .env_remove("REELMILL_SERVER")
            .env_remove("REELMILL_PROFILE_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// The content of the credentials file.
    pub fn saved_credentials(&self) -> serde_json::Value {
        read_json(&self.path("profile/credentials.json"))
    }

    fn with_profile_dir(&self, server: &str, line: &str) -> Command {
        let mut command = self.command(server, line);
        command.arg("--profile-dir").arg(self.path("profile"));
        command
    }
}
