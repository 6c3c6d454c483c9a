//! The scratch folder: one folder a worker, locked while it lives, one in it a task.

use crate::error::WorkerError;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use tempfile::TempDir;

/// Name of the file in a worker's folder that it holds locked.
const LOCK: &str = "lock";

/// This worker's folder. Removed with it; what a crash leaves is removed by the next worker.
pub(crate) struct Scratch {
    folder: TempDir,
    /// The system gives it up when the process dies, however it dies.
    _lock: File,
}

impl Scratch {
    /// Makes a folder below `parent`, and removes those of workers that are dead.
    pub(crate) fn open(parent: &Path) -> Result<Self, WorkerError> {
        let failed = |cause| WorkerError::Scratch { path: parent.to_owned(), cause };
        fs::create_dir_all(parent).map_err(failed)?;
        remove_leftovers(parent).map_err(failed)?;
        let folder = tempfile::Builder::new().prefix("worker-").tempdir_in(parent).map_err(failed)?;
        // Locked before it has its name: a folder without a lock is nobody's to remove.
        let unnamed = folder.path().join("locking");
        let lock = File::create(&unnamed).map_err(failed)?;
        lock.lock().map_err(failed)?;
        fs::rename(unnamed, folder.path().join(LOCK)).map_err(failed)?;
        Ok(Self { folder, _lock: lock })
    }

    /// A new folder for a task, removed with what is returned.
    pub(crate) fn task(&self) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix("task-").tempdir_in(self.folder.path())
    }
}

fn remove_leftovers(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let folder = entry?.path();
        if let Some(lock) = abandoned(&folder) {
            tracing::info!(folder = %folder.display(), "removing what a dead worker left");
            // Another worker may be removing it too.
            if let Err(error) = fs::remove_dir_all(&folder) {
                tracing::debug!(%error, "a leftover was not removed");
            }
            drop(lock);
        }
    }
    Ok(())
}

/// The lock of a worker's folder whose worker is dead.
fn abandoned(folder: &Path) -> Option<File> {
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
    fn only_dead_workers_folders_are_removed() {
        let parent = tempfile::tempdir().expect("folder");
        let alive = Scratch::open(parent.path()).expect("scratch");
        let task = alive.task().expect("task");
        let dead = parent.path().join("dead");
        fs::create_dir_all(dead.join("task-1")).expect("folder");
        fs::write(dead.join("lock"), "").expect("lock");
        let other = parent.path().join("somebody's");
        fs::create_dir(&other).expect("folder");

        let successor = Scratch::open(parent.path()).expect("scratch");
        assert!(!dead.exists(), "its lock was free");
        assert!(task.path().exists() && other.exists());
        drop(successor);
        drop((task, alive));
        assert_eq!(fs::read_dir(parent.path()).expect("folder").count(), 1, "only somebody's is left");
    }
}
