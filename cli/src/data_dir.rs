//! The data folder: created, checked, and locked.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Seek as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// Version of the folder layout that this build reads and writes.
const FORMAT_VERSION: u32 = 1;

/// How long the lock of another process is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A data folder, locked until this value is dropped or the process ends.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens the folder, creating it if necessary, with an exclusive lock: for all roles in one process.
    pub fn open_exclusive(dir: &Path) -> anyhow::Result<Self> {
        Self::open(dir, LockMode::Exclusive)
    }

    /// Opens the folder, creating it if necessary, with a shared lock: for roles that run as separate processes on one
    /// host.
    pub fn open_shared(dir: &Path) -> anyhow::Result<Self> {
        Self::open(dir, LockMode::Shared)
    }

    fn open(dir: &Path, mode: LockMode) -> anyhow::Result<Self> {
        let shown = dir.display();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("data folder {shown} cannot be created"))?;
        let path = dir.canonicalize().with_context(|| format!("data folder {shown}"))?;
        let lock = lock_folder(&path, mode)?;
        check_format(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// URL of an SQLite file in the folder.
    pub fn sqlite(&self, name: &str) -> String {
        reelmill_platform::database::sqlite_url(&self.path.join(name))
    }
}

enum LockMode {
    Exclusive,
    Shared,
}

fn lock_folder(dir: &Path, mode: LockMode) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let mut lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("data folder {} is not writable", dir.display()))?;
    let try_lock = || match mode {
        LockMode::Exclusive => lock.try_lock(),
        LockMode::Shared => lock.try_lock_shared(),
    };
    // A process that it was starting when it was killed can hold the lock for a moment longer.
    let give_up = Instant::now() + LOCK_WAIT;
    let mut locked = try_lock();
    while locked.is_err() && Instant::now() < give_up {
        std::thread::sleep(LOCK_POLL_INTERVAL);
        locked = try_lock();
    }
    if locked.is_err() {
        let mut holder = String::new();
        let _ = lock.read_to_string(&mut holder);
        bail!("data folder {} is in use by another reelmill (pid {})", dir.display(), holder.trim());
    }
    if matches!(mode, LockMode::Shared) {
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
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return write_atomically(&path, &format!("{FORMAT_VERSION}\n"))
                .with_context(|| format!("data folder {} is not writable", dir.display()));
        }
        read => read.with_context(|| format!("{} is not readable", path.display()))?,
    };
    match text.trim().parse::<u32>() {
        Ok(format) if format <= FORMAT_VERSION => Ok(()),
        Ok(format) => bail!(
            "data folder {} was written by a newer Reelmill (format {format}, this build supports {FORMAT_VERSION})",
            dir.display()
        ),
        Err(_) => bail!("{}: not a format number", path.display()),
    }
}

/// Writes a file in the data folder, so that other processes, and this one after a crash, find all of it or the file that
/// was there before.
pub(crate) fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_of_a_locked_or_newer_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("data");
        let locked = DataDir::open_exclusive(&dir).unwrap();
        let error = DataDir::open_exclusive(&dir).err().unwrap().to_string();
        assert!(error.contains("in use") && error.contains(&std::process::id().to_string()), "{error}");
        drop(locked);
        assert_eq!(fs::read_to_string(dir.join("format")).unwrap(), "1\n");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "the lock and the format");
        fs::write(dir.join("format"), "2\n").unwrap();
        let error = DataDir::open_exclusive(&dir).err().unwrap().to_string();
        assert!(error.contains("newer"), "{error}");
    }
}
