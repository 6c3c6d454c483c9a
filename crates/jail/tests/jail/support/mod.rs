//! A task's folder next to files that it must not access, and the helper that runs programs in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use reelmill_jail::{Confinement, Limits, Mode, arguments};
use tempfile::TempDir;

/// Content of the canary file, which no confined program may read.
pub const SECRET: &str = "the canary's secret";

/// The scratch folder of one task, and its confinement. The parent folder is off limits.
pub struct Task {
    pub outside: TempDir,
    pub scratch: PathBuf,
    pub confinement: Confinement,
}

impl Task {
    pub fn new() -> Task {
        let outside = tempfile::tempdir().expect("folder");
        let scratch = outside.path().join("scratch");
        fs::create_dir(&scratch).expect("folder");
        fs::write(outside.path().join("canary"), SECRET).expect("written");
        let limits = Limits { cpu_seconds: 60, memory_bytes: 4 << 30, file_bytes: 64 << 20, open_files: 256 };
        let confinement = Confinement {
            mode: Mode::Required,
            read: vec![],
            write: Some(scratch.clone()),
            connect: None,
            limits,
            nice: 10,
        };
        Task { outside, scratch, confinement }
    }

    /// A file next to the scratch folder.
    pub fn canary(&self) -> PathBuf {
        self.outside.path().join("canary")
    }

    /// The command that runs `program` confined in the scratch folder.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_reelmill-jail"));
        command.args(arguments(&self.confinement, program, &args));
        command.current_dir(&self.scratch).env_clear().env("LC_ALL", "C");
        command.env("PATH", std::env::var_os("PATH").expect("PATH"));
        command
    }

    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        self.command(program, args).output().expect("started")
    }

    /// The command that runs Python confined; it may also read its own library.
    pub fn python_command(&self, script: &str, args: &[&str]) -> Command {
        let (python, library) = python();
        let mut task = Task::new();
        task.confinement = self.confinement.clone();
        task.scratch.clone_from(&self.scratch);
        task.confinement.read.push(library.clone());
        let args: Vec<&str> = ["-I", "-S", "-c", script].into_iter().chain(args.iter().copied()).collect();
        task.command(python.to_str().expect("UTF-8"), &args)
    }

    /// Runs a Python script, which must succeed, and returns what it prints.
    pub fn python(&self, script: &str, args: &[&str]) -> String {
        let output = self.python_command(script, args).output().expect("started");
        assert!(output.status.success(), "{}: {}", output.status, stderr(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Evaluates a Python expression and returns `done`, or the name of its error (`EACCES`, `EPERM`, ...).
    pub fn attempt(&self, expression: &str, args: &[&str]) -> String {
        let script = format!(
            "import os, sys, socket, ctypes, errno, signal, fcntl, resource\n\
             libc = ctypes.CDLL(None, use_errno=True)\n\
             def check(result):\n\
             \x20   if result == -1:\n\
             \x20       raise OSError(ctypes.get_errno(), 'refused')\n\
             try:\n\
             \x20   {expression}\n\
             \x20   print('done')\n\
             except OSError as error:\n\
             \x20   print(errno.errorcode[error.errno])\n"
        );
        self.python(&script, args)
    }
}

/// The file of `python3` (not a version manager's wrapper script) and the folder of its library.
fn python() -> &'static (PathBuf, PathBuf) {
    static FOUND: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    FOUND.get_or_init(|| {
        let query =
            "import os, sys; print(os.path.realpath(sys.executable)); print(sys.base_prefix + '/lib')";
        let output = Command::new("python3").args(["-c", query]).output().expect("python3 is installed");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let (program, library) = text.trim().split_once('\n').expect("two lines");
        (program.into(), library.into())
    })
}

/// ffmpeg arguments that generate `frames` video frames and encode them into `output`.
pub fn encode<'a>(codec: &'a [&'a str], frames: &'a str, output: &'a str) -> Vec<&'a str> {
    let mut args =
        vec!["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25"];
    args.extend(codec);
    args.extend(["-pix_fmt", "yuv420p", "-threads", "4", "-frames:v", frames, output]);
    args
}

/// The number of video frames in a file, counted by decoding it unconfined.
pub fn frame_count(file: &Path) -> String {
    let args = ["-v", "error", "-count_frames", "-select_streams", "v", "-of", "csv=p=0"];
    let mut probe = Command::new("ffprobe");
    probe.args(args).args(["-show_entries", "stream=nb_read_frames"]).arg(file);
    let output = probe.output().expect("ffprobe is installed");
    String::from_utf8_lossy(&output.stdout).trim().trim_end_matches(',').to_owned()
}

/// A process's stderr as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
