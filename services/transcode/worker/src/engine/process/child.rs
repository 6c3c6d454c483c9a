//! Runs a program: pipes from its file descriptors, the end of its stderr, and how it exited. Killed on drop.

use std::{
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::unix::pipe,
    process::Child,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use crate::engine::process::jail::Jailed;

/// Bytes of the end of stderr that are kept.
const STDERR_TAIL_BYTES: usize = 8 * 1024;
/// Unit of the times in `/proc` (`USER_HZ`), the same on every Linux.
const TICKS_PER_SECOND: u64 = 100;
/// A failed process that used this percentage of its CPU limit has reached it: the kernel measures the limit
/// with a coarser clock than the times in `/proc`.
const OUT_OF_CPU_PERCENT: u64 = 90;

/// A running program. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    stderr_tail: AbortOnDropHandle<String>,
    cpu_seconds: u64,
}

/// How a program exited.
#[derive(Debug)]
pub(crate) struct ProcessExit {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// The end of its stderr.
    pub stderr_tail: String,
    /// Whether it reached its CPU limit. False where the system does not report CPU times.
    pub out_of_cpu: bool,
}

/// Starts `program` with pipes from `pipes` consecutive file descriptors, beginning with `first_fd`.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn start(
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
    let mut command = jailed.command(program, args)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // A process group of its own: Ctrl-C in the terminal is handled by the worker.
    command.kill_on_drop(true).process_group(0);
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    let mut child = command.spawn()?;
    // The command owns the pipes' write ends. While they are open the readers see no end of file.
    drop(command);
    let stderr = child.stderr.take();
    let stderr_tail = tokio::spawn(async move {
        match stderr {
            Some(stderr) => read_tail(stderr).await,
            None => String::new(),
        }
    });
    let stderr_tail = AbortOnDropHandle::new(stderr_tail);
    Ok((Process { child, stderr_tail, cpu_seconds: jailed.limits().cpu_seconds }, receivers))
}

impl Process {
    /// Kills it. [`Process::wait`] then returns soon.
    pub(crate) fn kill(&mut self) {
        // An error means that it has exited already.
        let _exited = self.child.start_kill();
    }

    /// Waits until it exits.
    ///
    /// # Errors
    /// When the system cannot report how it exited.
    pub(crate) async fn wait(self) -> io::Result<ProcessExit> {
        self.wait_or_kill(Duration::MAX).await
    }

    /// Waits until it exits, and kills it after `limit`.
    ///
    /// # Errors
    /// When the system cannot report how it exited.
    pub(crate) async fn wait_or_kill(mut self, limit: Duration) -> io::Result<ProcessExit> {
        // Stderr is closed when the program exits, and its CPU times can be read until it is waited for.
        let stderr_tail = match timeout(limit, &mut self.stderr_tail).await {
            Ok(tail) => tail,
            Err(_) => {
                self.kill();
                (&mut self.stderr_tail).await
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
        let limit_ticks = self.cpu_seconds * TICKS_PER_SECOND;
        let out_of_cpu = !status.success() && used >= limit_ticks * OUT_OF_CPU_PERCENT / 100;
        Ok(ProcessExit { status, stderr_tail: stderr_tail.unwrap_or_default(), out_of_cpu })
    }
}

/// CPU time of a process: fields 14 (user) and 15 (system) of its `stat`, whose field 2 is a name in brackets.
fn cpu_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut times = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (times.next()?.parse::<u64>().ok()?, times.next()?.parse::<u64>().ok()?);
    Some(user + system)
}

async fn read_tail(mut stderr: impl AsyncRead + Unpin) -> String {
    let mut tail = VecDeque::with_capacity(STDERR_TAIL_BYTES);
    let mut chunk = vec![0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        tail.extend(&chunk[..count]);
        tail.drain(..tail.len().saturating_sub(STDERR_TAIL_BYTES));
    }
    String::from_utf8_lossy(tail.make_contiguous()).into_owned()
}
