//! A server process that is stopped when the test process exits, however it exits.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{net::TcpStream, time::sleep};

const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const LOG_FILE: &str = "server.log";

/// The watchdog: a shell script that runs the server and reads standard input, a pipe from the test process only.
/// A line stops the server; end of file (the test process dropped the server, or has exited) stops it and removes
/// the folder.
/// $1: the folder, $2: the signal that stops the server, then the command.
const WATCHDOG: &str = r#"
folder=$1 signal=$2; shift 2
exec 3<&0 </dev/null
rm -f "$folder/exited"
"$@" 3<&- & server=$!
(
  if read -r _ <&3; then done=; else done=1; fi
  if [ ! -e "$folder/exited" ]; then
    kill -s "$signal" $server
    tries=0
    while [ ! -e "$folder/exited" ] && [ $tries -lt 100 ]; do sleep 0.05; tries=$((tries + 1)); done
    [ -e "$folder/exited" ] || kill -s KILL $server
  fi
  if [ -n "$done" ]; then
    rm -rf "$folder" || { sleep 0.5; rm -rf "$folder"; }
  fi
) &
exec 3<&-
wait $server; status=$?
: > "$folder/exited"
exit $status
"#;

/// The user and group that a server runs as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The command that starts a server.
#[derive(Debug)]
pub(crate) struct ServerCommand {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// The signal that stops it immediately and cleanly.
    pub(crate) signal: &'static str,
    /// Another user than the test process's.
    pub(crate) user: Option<User>,
}

/// A server with its own temporary folder.
#[derive(Debug)]
pub(crate) struct Server {
    folder: PathBuf,
    command: ServerCommand,
    /// The watchdog. `None` while the server is stopped.
    watchdog: Option<Child>,
}

impl Server {
    /// Creates a temporary folder that `user` owns.
    pub(crate) fn create_folder(name: &str, user: Option<User>) -> Result<PathBuf> {
        let folder = tempfile::Builder::new().prefix(&format!("reelmill-{name}-")).tempdir()?.keep();
        if let Some(user) = user {
            chown(&folder, Some(user.uid), Some(user.gid))?;
        }
        Ok(folder)
    }

    /// Starts the server. It removes the folder at its end.
    pub(crate) fn start(folder: PathBuf, command: ServerCommand) -> Result<Self> {
        let mut server = Self { folder, command, watchdog: None };
        server.spawn()?;
        Ok(server)
    }

    /// Starts the server process. Also after `stop`.
    pub(crate) fn spawn(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join(LOG_FILE))?;
        let mut watchdog = Command::new("/bin/sh");
        watchdog
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&self.folder)
            .arg(self.command.signal)
            .arg(&self.command.program)
            .args(&self.command.arguments)
            .envs(self.command.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal signals the test process only; the watchdog notices its exit.
            .process_group(0);
        if let Some(user) = self.command.user {
            watchdog.uid(user.uid).gid(user.gid);
        }
        self.watchdog = Some(watchdog.spawn().context("could not start /bin/sh")?);
        Ok(())
    }

    /// Stops the server and keeps its folder.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut watchdog) = self.watchdog.take() else { return Ok(()) };
        if let Some(mut input) = watchdog.stdin.take() {
            // An error means that the server, and with it the watchdog, has exited by itself.
            let _ = input.write_all(b"stop\n");
        }
        match wait_for_exit(&mut watchdog)? {
            Some(_) => Ok(()),
            None => bail!("{} did not stop", self.command.program.display()),
        }
    }

    /// Waits until `ready` returns true. Fails if the server exits or `timeout` expires.
    pub(crate) async fn wait_until_ready<F>(
        &mut self,
        timeout: Duration,
        mut ready: impl FnMut() -> F,
    ) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let name = self.command.program.display().to_string();
        let deadline = Instant::now() + timeout;
        loop {
            if ready().await {
                return Ok(());
            }
            let exited = self.watchdog.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = exited {
                bail!("{name} exited with {status} instead of starting:\n{}", self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("{name} was not ready after {timeout:?}:\n{}", self.log_tail());
            }
            sleep(Duration::from_millis(25)).await;
        }
    }

    /// The last 20 lines of the server's output.
    fn log_tail(&self) -> String {
        let log = fs::read(self.folder.join(LOG_FILE)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.watchdog.take() {
            Some(mut watchdog) => {
                drop(watchdog.stdin.take());
                let _ = wait_for_exit(&mut watchdog);
            }
            None => {
                let _ = fs::remove_dir_all(&self.folder);
            }
        }
    }
}

/// Waits for at most [`STOP_TIMEOUT`]. `None` if it is still running.
fn wait_for_exit(watchdog: &mut Child) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + STOP_TIMEOUT;
    while Instant::now() < deadline {
        if let Some(status) = watchdog.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(None)
}

/// Distinct ports that were free at the time of the call.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::with_capacity(N);
    for _ in 0..N {
        listeners.push(TcpListener::bind(("127.0.0.1", 0))?);
    }
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Writes a file into a server's folder before it starts. Returns its path.
pub(crate) fn write_file(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    File::create(&path)?.write_all(text.as_bytes())?;
    Ok(path)
}

/// True if a server accepts connections on this loopback port.
pub(crate) async fn accepts_connections(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}
