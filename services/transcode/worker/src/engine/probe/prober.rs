//! Runs ffprobe on a session's source.

use std::path::Path;

use reelmill_media::Failure;
use tokio::io::AsyncReadExt;

use crate::engine::{
    failure::crashed,
    process::{
        child::{self, ProcessExit},
        jail::{ProcessLimits, Tools},
    },
    source::session::Session,
};

/// File descriptor that ffprobe writes its output to.
const STDOUT_FD: i32 = 1;
/// Memory limit of ffprobe.
const MEMORY_BYTES: u64 = 4 << 30;

/// ffprobe, reading one session's source.
#[derive(Clone, Copy)]
pub(crate) struct Prober<'a> {
    pub tools: &'a Tools,
    pub session: &'a Session,
    pub scratch: &'a Path,
}

impl Prober<'_> {
    /// Runs ffprobe and returns at most `max_bytes` of its output.
    pub(crate) async fn run(
        &self,
        args: &[String],
        cpu_seconds: u64,
        max_bytes: u64,
    ) -> Result<(ProcessExit, Vec<u8>), Failure> {
        let limits = ProcessLimits { cpu_seconds, memory_bytes: MEMORY_BYTES, file_bytes: 0 };
        let jailed = self.tools.jail.for_source(self.scratch, self.session.port(), limits);
        let started = child::start(&jailed, &self.tools.ffprobe, args, STDOUT_FD, 1);
        let (process, pipes) = started.map_err(|error| crashed(&error))?;
        let mut output = Vec::new();
        for pipe in pipes {
            pipe.take(max_bytes).read_to_end(&mut output).await.map_err(|error| crashed(&error))?;
        }
        let exit = process.wait().await.map_err(|error| crashed(&error))?;
        Ok((exit, output))
    }
}
