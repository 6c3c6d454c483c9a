//! The data folder: made, checked, and held by one process.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

/// The layout of the folder that this build reads and writes.
const FORMAT: u32 = 1;

/// A data folder that this process holds until it drops it, or dies.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder if need be, and takes it for this process alone: for all roles together.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        Self::take(dir, Hold::Alone)
    }

    /// Makes the folder if need be, and shares it: for roles that run apart on one machine.
    pub fn share(dir: &Path) -> anyhow::Result<Self> {
        Self::take(dir, Hold::Shared)
    }

    fn take(dir: &Path, hold: Hold) -> anyhow::Result<Self> {
        let shown = dir.display();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("data folder {shown} cannot be made"))?;
        let path = dir.canonicalize().with_context(|| format!("data folder {shown}"))?;
        let lock = take_lock(&path, hold)?;
        check_format(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Address of an SQLite file in the folder.
    pub fn sqlite(&self, name: &str) -> String {
        reelmill_platform::database::sqlite_url(&self.path.join(name))
    }
}

enum Hold {
    Alone,
    Shared,
}

fn take_lock(dir: &Path, hold: Hold) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let mut lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("data folder {} is not writable", dir.display()))?;
    let locked = match hold {
        Hold::Alone => lock.try_lock(),
        Hold::Shared => lock.try_lock_shared(),
    };
    if locked.is_err() {
        let mut holder = String::new();
        let _ = lock.read_to_string(&mut holder);
        bail!("data folder {} is in use by another reelmill (pid {})", dir.display(), holder.trim());
    }
    if matches!(hold, Hold::Shared) {
        return Ok(lock);
    }
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
        .with_context(|| format!("data folder {} is not writable", dir.display()))?;
    Ok(lock)
}

fn check_format(dir: &Path) -> anyhow::Result<()> {
    let path = dir.join("format");
    let Ok(text) = fs::read_to_string(&path) else {
        return fs::write(&path, format!("{FORMAT}\n"))
            .with_context(|| format!("data folder {} is not writable", dir.display()));
    };
    match text.trim().parse::<u32>() {
        Ok(format) if format <= FORMAT => Ok(()),
        Ok(format) => bail!(
            "data folder {} was written by a newer Reelmill (format {format}, this one knows {FORMAT})",
            dir.display()
        ),
        Err(_) => bail!("{}: not a format number", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_no_newer_format() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("data");
        let held = DataDir::open(&dir).unwrap();
        let error = DataDir::open(&dir).err().unwrap().to_string();
        assert!(error.contains("in use") && error.contains(&std::process::id().to_string()), "{error}");
        drop(held);
        fs::write(dir.join("format"), "2\n").unwrap();
        let error = DataDir::open(&dir).err().unwrap().to_string();
        assert!(error.contains("newer"), "{error}");
    }
}
