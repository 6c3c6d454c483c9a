//! Child processes with limits: CPU seconds, address space, file size, lowest priority, nothing
//! inherited, and killed with whoever waits for them.

use command_fds::{CommandFdExt, FdMapping};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
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

/// Sets the limits, then becomes the program. The soft CPU limit lets ffmpeg end by itself.
const LIMITED: &str = "ulimit -c 0; ulimit -Ht $(($1 + 10)); ulimit -St \"$1\"; ulimit -f \"$2\"; \
                       ulimit -v \"$3\" 2>/dev/null; shift 3; exec nice -n 10 \"$@\"";
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

/// Starts `program` in `folder` with a pipe from each of the `pipes` descriptors from `first_fd` on.
///
/// # Errors
/// When it cannot be started.
pub fn start(
    program: &str,
    args: &[String],
    limits: &Limits,
    folder: &Path,
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
    let mut command = limited(program, args, limits, folder);
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
    Ok((Process { child, tail, cpu_seconds: limits.cpu_seconds }, receivers))
}

fn limited(program: &str, args: &[String], limits: &Limits, folder: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", LIMITED, "limited"]);
    command.arg(limits.cpu_seconds.to_string());
    command.arg(limits.file_bytes.div_ceil(512).to_string());
    command.arg(limits.memory_bytes.div_ceil(1024).to_string());
    command.arg(program).args(args);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.env_clear().env("LC_ALL", "C");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    // A group of its own: a Ctrl-C in the terminal is the worker's to handle.
    command.kill_on_drop(true).process_group(0);
    command
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
    pub async fn ended(mut self) -> io::Result<Ended> {
        // Stderr ends with the program, whose times can be read until it is waited for.
        let tail = self.tail.await.unwrap_or_default();
        let used = self.child.id().and_then(cpu_ticks).unwrap_or(0);
        let status = self.child.wait().await?;
        // The limit is counted in a coarser way than the times.
        let out_of_cpu = !status.success() && used >= self.cpu_seconds * TICKS_PER_SECOND / 10 * 9;
        Ok(Ended { status, tail, out_of_cpu })
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

#[cfg(test)]
mod tests {
    use super::{Ended, Limits, start};
    use std::path::Path;

    async fn ended(script: &str) -> Ended {
        let limits = Limits { cpu_seconds: 1, memory_bytes: 1 << 30, file_bytes: 0 };
        let args = ["-c".to_owned(), script.to_owned()];
        let (process, _) = start("sh", &args, &limits, Path::new("/"), 3, 0).expect("started");
        process.ended().await.expect("ended")
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_cpu_limit_is_told_from_other_endings() {
        // As ffmpeg does, which ends by itself whichever signal it gets.
        let trap = "trap 'exit 255' TERM XCPU";
        let limited = ended(&format!("{trap}; while :; do :; done")).await;
        assert_eq!((limited.status.code(), limited.out_of_cpu), (Some(255), true));
        let stopped = ended(&format!("{trap}; kill -TERM $$; sleep 10")).await;
        assert_eq!((stopped.status.code(), stopped.out_of_cpu), (Some(255), false));
    }
}
