//! The scratch folder: a folder for each worker, locked while the worker runs, with a folder for each task.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use tempfile::TempDir;

use crate::error::WorkerError;

/// Name of the lock file in a worker's folder.
const LOCK: &str = "lock";

/// This worker's folder, removed on drop. After a crash the next worker removes it.
pub(crate) struct Scratch {
    folder: TempDir,
    /// The kernel releases the lock when the process ends, even after a crash.
    _lock: File,
}

impl Scratch {
    /// Creates a folder in `parent`, and removes those of workers that crashed.
    pub(crate) fn open(parent: &Path) -> Result<Self, WorkerError> {
        let failed = |cause| WorkerError::Scratch { path: parent.to_owned(), cause };
        fs::create_dir_all(parent).map_err(failed)?;
        remove_abandoned(parent).map_err(failed)?;
        let folder = tempfile::Builder::new().prefix("worker-").tempdir_in(parent).map_err(failed)?;
        // Locked before it gets its name, so that a starting worker never sees an unlocked lock file. A folder
        // without a lock file is not removed.
        let unnamed = folder.path().join("locking");
        let lock = File::create(&unnamed).map_err(failed)?;
        lock.lock().map_err(failed)?;
        fs::rename(unnamed, folder.path().join(LOCK)).map_err(failed)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Creates a folder for a task, removed when the returned value is dropped.
    pub(crate) fn task(&self) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix("task-").tempdir_in(self.folder.path())
    }
}

fn remove_abandoned(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let folder = entry?.path();
        if let Some(lock) = lock_if_abandoned(&folder) {
            tracing::info!(folder = %folder.display(), "removing the scratch folder of a worker that crashed");
            // Another worker may be removing it at the same time.
            if let Err(error) = fs::remove_dir_all(&folder) {
                tracing::debug!(%error, "an abandoned scratch folder was not removed");
            }
            drop(lock);
        }
    }
    Ok(())
}

/// Locks a worker's folder if its worker no longer runs.
fn lock_if_abandoned(folder: &Path) -> Option<File> {
    let lock = File::open(folder.join(LOCK)).ok()?;
    match lock.try_lock() {
        Ok(()) => Some(lock),
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;
    use std::fs;

    #[test]
    fn open_removes_folders_of_crashed_workers_only() {
        let parent = tempfile::tempdir().expect("folder");
        let running = Scratch::open(parent.path()).expect("scratch");
        let task = running.task().expect("task");
        let crashed = parent.path().join("crashed");
        fs::create_dir_all(crashed.join("task-1")).expect("folder");
        fs::write(crashed.join("lock"), "").expect("lock");
        let other = parent.path().join("unrelated");
        fs::create_dir(&other).expect("folder");

        let successor = Scratch::open(parent.path()).expect("scratch");
        assert!(!crashed.exists(), "its lock was not held");
        assert!(task.path().exists() && other.exists());
        drop(successor);
        drop((task, running));
        assert_eq!(
            fs::read_dir(parent.path()).expect("folder").count(),
            1,
            "only the unrelated folder remains"
        );
    }
}
