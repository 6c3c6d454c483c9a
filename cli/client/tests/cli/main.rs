//! The client commands as a person or a script meets them: real processes against a fake server.

mod account;
mod fake;
mod follow;
mod services;
mod store;
mod transfer;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use fake::Fake;
use tokio::process::{Child, Command};

/// A server, a profile and a folder of files.
struct Desk {
    fake: Fake,
    dir: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Desk {
    async fn new() -> Self {
        let desk = Self { fake: Fake::start().await, dir: tempfile::tempdir().unwrap() };
        desk.file("password", b"correct horse\n");
        desk
    }

    /// A desk whose profile is signed in.
    async fn signed_in() -> Self {
        let desk = Self::new().await;
        desk.run("sign-up --email a@b.c --password-file password").await.expect(0);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    fn start(&self, line: &str) -> Child {
        self.start_at(&self.fake.url(), line)
    }

    fn start_at(&self, server: &str, line: &str) -> Child {
        self.command(server, line).arg("--profile-dir").arg(self.path("profile")).spawn().unwrap()
    }

    /// A command that names no profile.
    fn command(&self, server: &str, line: &str) -> Command {
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

    async fn run(&self, line: &str) -> Ended {
        ended(self.start(line)).await
    }

    fn credentials(&self) -> serde_json::Value {
        read_json(&self.path("profile/credentials.json"))
    }
}

impl Ended {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// The only thing on stdout, which must be one JSON value.
    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The refusal's one line, with nothing on stdout.
    #[track_caller]
    fn told(&self, reason: &str) {
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(
            self.stderr.starts_with("error: ") && self.stderr.contains(&format!("({reason})")),
            "{self:?}"
        );
    }
}

async fn ended(child: Child) -> Ended {
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output());
    let output = output.await.expect("the command ends").unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Bytes that no part has in common with another.
fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}
