//! A small file system, which a fault can fill.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Mount option: its size.
const SIZE: &str = "size=96m";

/// A mounted tmpfs. It is unmounted on drop.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one in a new folder; none if this process may not.
    pub fn mount(folder: PathBuf) -> Option<Self> {
        std::fs::create_dir(&folder).ok()?;
        if !run("mount", &["-t", "tmpfs", "-o", SIZE, "tmpfs"], &folder) {
            return None;
        }
        Some(Self { folder })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: killed encoders may not have ended yet.
        if !run("umount", &["-l"], &self.folder) {
            eprintln!("chaos: {} could not be unmounted", self.folder.display());
        }
    }
}

/// Whether a command succeeds.
fn run(program: &str, args: &[&str], folder: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(args).arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
