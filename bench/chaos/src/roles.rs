//! The processes of the five roles.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// Disables the gateway's rate limits, which are not tested here.
const NO_RATE_LIMIT: [(&str, &str); 4] = [
    ("REELMILL_GATEWAY__USER_UNITS_PER_SECOND", "1000000000.0"),
    ("REELMILL_GATEWAY__USER_BURST", "1000000000"),
    ("REELMILL_GATEWAY__ANONYMOUS_UNITS_PER_SECOND", "1000000000.0"),
    ("REELMILL_GATEWAY__ANONYMOUS_BURST", "1000000000"),
];

/// One replica of a role: how it is started, and its process.
pub struct RoleProcess {
    /// For example `worker-2`.
    pub name: String,
    command: &'static str,
    variables: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

/// Path of the `reelmill` binary, in the folder of this one.
pub fn program() -> Result<PathBuf> {
    let mut folder = std::env::current_exe()?;
    folder.pop();
    // A test binary is in a folder below.
    if folder.ends_with("deps") {
        folder.pop();
    }
    let program = folder.join("reelmill");
    ensure!(program.is_file(), "{} is missing: run this with make chaos, which builds it", program.display());
    Ok(program)
}

impl RoleProcess {
    /// A replica that is not started. Its log is a file in `folder`.
    pub fn new(name: String, command: &'static str, folder: &Path, variables: Vec<(String, String)>) -> Self {
        let log = folder.join(format!("{name}.log"));
        Self { name, command, variables, log, child: None }
    }

    /// Starts it, with these variables besides its own.
    pub fn start(&mut self, more: &[(String, String)]) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let folder = self.log.parent().context("a log in a folder")?;
        let child = Command::new(program()?)
            .args([self.command, "--config"])
            .arg(config_file(folder))
            .envs(NO_RATE_LIMIT)
            .envs(self.variables.iter().cloned())
            .envs(more.iter().cloned())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(File::create("/dev/null")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Sends SIGKILL.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Sends SIGTERM and waits until it has ended.
    pub async fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        if let Some(mut child) = self.child.take() {
            child.wait().await?;
        }
        Ok(())
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Sends a signal, for example SIGSTOP.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("the process has ended")?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Its exit status, if it ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }
}

/// Path of the configuration that all roles share.
pub fn config_file(folder: &Path) -> PathBuf {
    folder.join("chaos.toml")
}
