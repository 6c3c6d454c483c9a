//! How a program is confined: no files but its own folder, no network but the source's port, resource limits,
//! low priority.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use reelmill_jail::{Confinement, Mode};
use tokio::process::Command;

/// File descriptors that a program may have open.
const MAX_OPEN_FILES: u64 = 256;
/// Niceness of programs whose result no viewer waits for.
const BACKGROUND_NICE: i32 = 10;

/// The programs of the engine.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The encoder: a path, or a name that is searched in `PATH`.
    pub ffmpeg: String,
    /// The prober, likewise.
    pub ffprobe: String,
    /// Confines both.
    pub jail: Jail,
}

/// How programs are confined.
#[derive(Clone, Debug)]
pub struct Jail {
    /// How strictly.
    pub mode: Mode,
    /// The command that confines itself and then executes the program: Reelmill's own `jail` command, with its
    /// first arguments.
    pub helper: Vec<OsString>,
}

/// Resource limits of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessLimits {
    /// CPU time, seconds.
    pub cpu_seconds: u64,
    /// Address space, bytes. Not enforced where the system has no such limit.
    pub memory_bytes: u64,
    /// Size of any file it writes, bytes. Pipes are not counted.
    pub file_bytes: u64,
}

/// The confinement of one process.
pub(crate) struct Jailed<'a> {
    jail: &'a Jail,
    folder: PathBuf,
    source_port: Option<u16>,
    limits: ProcessLimits,
    nice: i32,
}

impl Jail {
    /// For a program that works in `folder` and reads the source at `port` of the loopback interface.
    pub(crate) fn for_source(&self, folder: &Path, port: u16, limits: ProcessLimits) -> Jailed<'_> {
        let folder = folder.to_owned();
        Jailed { jail: self, folder, source_port: Some(port), limits, nice: BACKGROUND_NICE }
    }

    /// For a program that works in `folder` and needs nothing else.
    pub(crate) fn for_files(&self, folder: &Path, limits: ProcessLimits) -> Jailed<'_> {
        let folder = folder.to_owned();
        Jailed { jail: self, folder, source_port: None, limits, nice: BACKGROUND_NICE }
    }
}

impl Jailed<'_> {
    /// Runs the program with normal priority if `urgent`.
    pub(crate) fn urgent(mut self, urgent: bool) -> Self {
        self.nice = if urgent { 0 } else { BACKGROUND_NICE };
        self
    }

    pub(crate) fn limits(&self) -> ProcessLimits {
        self.limits
    }

    /// The command that runs `program` confined.
    pub(crate) fn command(&self, program: &str, args: &[String]) -> io::Result<Command> {
        let helper = self.jail.helper.split_first();
        let (helper, first) = helper.ok_or_else(|| io::Error::other("the jail's helper command is empty"))?;
        let confinement = Confinement {
            mode: self.jail.mode,
            read: Vec::new(),
            write: Some(self.folder.clone()),
            connect: self.source_port,
            limits: reelmill_jail::Limits {
                cpu_seconds: self.limits.cpu_seconds,
                memory_bytes: self.limits.memory_bytes,
                file_bytes: self.limits.file_bytes,
                open_files: MAX_OPEN_FILES,
            },
            nice: self.nice,
        };
        let mut command = Command::new(helper);
        command.args(first).args(reelmill_jail::arguments(&confinement, program, args));
        command.current_dir(&self.folder).env_clear().env("LC_ALL", "C");
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        Ok(command)
    }
}
