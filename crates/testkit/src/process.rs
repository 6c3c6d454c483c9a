//! A server process that never outlives the test process.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const LOG: &str = "server.log";

/// Runs the server and watches standard input, which nothing but the test process holds the other end of. A line
/// on it stops the server; its end (the test process is gone, or is done) stops it and removes the folder too.
/// $1: the folder, $2: the signal that the server stops on, then the command.
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

/// Whom a server runs as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// How to start a server.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// What it stops on at once, cleanly.
    pub(crate) signal: &'static str,
    /// Somebody else than the test process's user.
    pub(crate) user: Option<User>,
}

/// A running server with a temporary folder of its own.
#[derive(Debug)]
pub(crate) struct Server {
    folder: PathBuf,
    recipe: Recipe,
    /// The watchdog, while the server is meant to run.
    watchdog: Option<Child>,
}

impl Server {
    /// Makes a folder for `user`.
    pub(crate) fn folder(name: &str, user: Option<User>) -> Result<PathBuf> {
        let folder = tempfile::Builder::new().prefix(&format!("reelmill-{name}-")).tempdir()?.keep();
        if let Some(user) = user {
            chown(&folder, Some(user.uid), Some(user.gid))?;
        }
        Ok(folder)
    }

    /// Starts the server; the folder is its own from now on.
    pub(crate) fn start(folder: PathBuf, recipe: Recipe) -> Result<Self> {
        let mut server = Self { folder, recipe, watchdog: None };
        server.spawn()?;
        Ok(server)
    }

    /// Starts it again after `stop`, as it was.
    pub(crate) fn spawn(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join(LOG))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&self.folder)
            .arg(self.recipe.signal)
            .arg(&self.recipe.program)
            .args(&self.recipe.arguments)
            .envs(self.recipe.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal reaches the test process alone, whose end then reaches the watchdog.
            .process_group(0);
        if let Some(user) = self.recipe.user {
            command.uid(user.uid).gid(user.gid);
        }
        self.watchdog = Some(command.spawn().context("could not start /bin/sh")?);
        Ok(())
    }

    /// Stops the server and keeps its folder.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut watchdog) = self.watchdog.take() else { return Ok(()) };
        if let Some(mut input) = watchdog.stdin.take() {
            // It may have exited by itself, and the watchdog with it.
            let _ = input.write_all(b"stop\n");
        }
        match wait(&mut watchdog)? {
            Some(_) => Ok(()),
            None => bail!("{} did not stop", self.recipe.program.display()),
        }
    }

    /// Waits until `ready` says so, and gives up when the server exits or `limit` is over.
    pub(crate) async fn until_ready<F>(&mut self, limit: Duration, mut ready: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let name = self.recipe.program.display().to_string();
        let deadline = Instant::now() + limit;
        loop {
            if ready().await {
                return Ok(());
            }
            let exited = self.watchdog.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = exited {
                bail!("{name} ended with {status} instead of starting:\n{}", self.log_end());
            }
            if Instant::now() > deadline {
                bail!("{name} was not ready after {limit:?}:\n{}", self.log_end());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    fn log_end(&self) -> String {
        let log = std::fs::read(self.folder.join(LOG)).unwrap_or_default();
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
                let _ = wait(&mut watchdog);
            }
            None => {
                let _ = std::fs::remove_dir_all(&self.folder);
            }
        }
    }
}

fn wait(watchdog: &mut Child) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + STOP_TIMEOUT;
    while Instant::now() < deadline {
        if let Some(status) = watchdog.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(None)
}

/// Ports that were free just now, all different.
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

/// Writes a file into a server's folder before it starts.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    File::create(&path)?.write_all(text.as_bytes())?;
    Ok(path)
}

/// Whether something accepts connections on a loopback port.
pub(crate) async fn accepts(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}
