//! Child processes in a jail: no files but their own folder, no network but the source's port, limits, low priority,
//! nothing inherited, and killed with whoever waits for them.

use command_fds::{CommandFdExt, FdMapping};
pub use reelmill_jail::Mode;
use reelmill_jail::{Confinement, Limits as JailLimits};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// What one process may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Seconds of CPU.
    pub cpu_seconds: u64,
    /// Bytes of address space. Not enforced where the system has no such limit.
    pub memory_bytes: u64,
    /// Bytes of any file it writes. Pipes are not counted.
    pub file_bytes: u64,
}

/// Files a program may have open.
const OPEN_FILES: u64 = 256;
/// How far it stands back behind other programs.
const NICE: i32 = 10;

/// How programs are confined.
#[derive(Clone, Debug)]
pub struct Jail {
    /// How strictly.
    pub mode: Mode,
    /// The program that confines itself and then becomes the other, with its first arguments: this program's own
    /// `jail` command.
    pub helper: Vec<OsString>,
}

/// One program's confinement.
pub struct Jailed<'a> {
    jail: &'a Jail,
    folder: PathBuf,
    port: Option<u16>,
    limits: Limits,
    nice: i32,
}

impl Jail {
    /// For a program that reads the source at `port` of the loopback, in `folder`.
    pub fn for_source(&self, folder: &Path, port: u16, limits: Limits) -> Jailed<'_> {
        Jailed { jail: self, folder: folder.to_owned(), port: Some(port), limits, nice: NICE }
    }

    /// For a program that has all it needs in `folder`.
    pub fn for_files(&self, folder: &Path, limits: Limits) -> Jailed<'_> {
        Jailed { jail: self, folder: folder.to_owned(), port: None, limits, nice: NICE }
    }
}

/// How much of what it says at the end is kept.
const TAIL_BYTES: usize = 8 * 1024;
/// The unit of times in `/proc`, on every Linux there is.
const TICKS_PER_SECOND: u64 = 100;

/// A running program. Dropping it kills it.
pub struct Process {
    child: Child,
    tail: AbortOnDropHandle<String>,
    cpu_seconds: u64,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code or signal.
    pub status: ExitStatus,
    /// The end of what it wrote to stderr.
    pub tail: String,
    /// It used the CPU time that it may use. False where the system does not tell.
    pub out_of_cpu: bool,
}

impl Jailed<'_> {
    /// Somebody waits for this: it stands back behind nothing.
    pub fn urgent(mut self, urgent: bool) -> Self {
        self.nice = if urgent { 0 } else { NICE };
        self
    }
}

/// Starts `program` with a pipe from each of the `pipes` descriptors from `first_fd` on.
///
/// # Errors
/// When it cannot be started.
pub fn start(
    jailed: &Jailed<'_>,
    program: &str,
    args: &[String],
    first_fd: i32,
    pipes: usize,
) -> io::Result<(Process, Vec<pipe::Receiver>)> {
    let mut receivers = Vec::with_capacity(pipes);
    let mut mappings = Vec::with_capacity(pipes);
    for child_fd in (first_fd..).take(pipes) {
        let (reader, writer) = io::pipe()?;
        receivers.push(pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?);
        mappings.push(FdMapping { parent_fd: writer.into(), child_fd });
    }
    let mut command = command(jailed, program, args)?;
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    let mut child = command.spawn()?;
    // The command holds the pipes' writing ends: with them open the readers would never end.
    drop(command);
    let stderr = child.stderr.take();
    let tail = tokio::spawn(async move {
        match stderr {
            Some(stderr) => read_tail(stderr).await,
            None => String::new(),
        }
    });
    let tail = AbortOnDropHandle::new(tail);
    Ok((Process { child, tail, cpu_seconds: jailed.limits.cpu_seconds }, receivers))
}

fn command(jailed: &Jailed<'_>, program: &str, args: &[String]) -> io::Result<Command> {
    let (helper, first) = jailed
        .jail
        .helper
        .split_first()
        .ok_or_else(|| io::Error::other("no program that confines is given"))?;
    let confinement = Confinement {
        mode: jailed.jail.mode,
        read: Vec::new(),
        write: Some(jailed.folder.clone()),
        connect: jailed.port,
        limits: JailLimits {
            cpu_seconds: jailed.limits.cpu_seconds,
            memory_bytes: jailed.limits.memory_bytes,
            file_bytes: jailed.limits.file_bytes,
            open_files: OPEN_FILES,
        },
        nice: jailed.nice,
    };
    let mut command = Command::new(helper);
    command.args(first).args(reelmill_jail::arguments(&confinement, program, args));
    command.current_dir(&jailed.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.env_clear().env("LC_ALL", "C");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    // A group of its own: a Ctrl-C in the terminal is the worker's to handle.
    command.kill_on_drop(true).process_group(0);
    Ok(command)
}

impl Process {
    /// Kills it; [`Process::ended`] then returns soon.
    pub fn kill(&mut self) {
        // An error means that it has ended.
        let _ended = self.child.start_kill();
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub async fn ended(self) -> io::Result<Ended> {
        self.ended_within(Duration::MAX).await
    }

    /// Waits for its end, and brings it about when that takes longer.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub async fn ended_within(mut self, limit: Duration) -> io::Result<Ended> {
        // Stderr ends with the program, whose times can be read until it is waited for.
        let tail = match timeout(limit, &mut self.tail).await {
            Ok(tail) => tail,
            Err(_) => {
                self.kill();
                (&mut self.tail).await
            }
        };
        let used = self.child.id().and_then(cpu_ticks).unwrap_or(0);
        let status = match timeout(limit, self.child.wait()).await {
            Ok(status) => status?,
            Err(_) => {
                self.kill();
                self.child.wait().await?
            }
        };
        // The limit is counted in a coarser way than the times.
        let out_of_cpu = !status.success() && used >= self.cpu_seconds * TICKS_PER_SECOND / 10 * 9;
        Ok(Ended { status, tail: tail.unwrap_or_default(), out_of_cpu })
    }
}

/// CPU time of a process: the 14th and 15th field of its `stat`, the second of which is a name in
/// brackets.
fn cpu_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut times = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (times.next()?.parse::<u64>().ok()?, times.next()?.parse::<u64>().ok()?);
    Some(user + system)
}

async fn read_tail(mut stderr: impl AsyncRead + Unpin) -> String {
    let mut tail = VecDeque::with_capacity(TAIL_BYTES);
    let mut chunk = vec![0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        tail.extend(&chunk[..count]);
        tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
    }
    String::from_utf8_lossy(tail.make_contiguous()).into_owned()
}
