//! Content files: written in `tmp/`, kept in `blobs/`, named by generated ids.
//!
//! Everything here blocks; callers run it off the async threads.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

/// Small network chunks are gathered to this size before they are written.
const WRITE_BUFFER: usize = 256 << 10;

/// The id of one blob: 32 hex digits. The last two pick the folder, so that no folder grows huge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BlobId(String);

impl BlobId {
    fn generate() -> Self {
        Self(Uuid::now_v7().simple().to_string())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for BlobId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

/// The `blobs/` and `tmp/` folders.
pub(crate) struct BlobStore {
    blobs: PathBuf,
    tmp: PathBuf,
}

/// What a sweep found.
pub(crate) struct Swept {
    /// Files that nothing named, now removed.
    pub(crate) orphans: usize,
    /// Blobs named by the index that have no file.
    pub(crate) missing: usize,
}

impl BlobStore {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let store = Self { blobs: dir.join("blobs"), tmp: dir.join("tmp") };
        fs::create_dir_all(&store.tmp)?;
        for shard in 0..=u8::MAX {
            fs::create_dir_all(store.shard(&format!("{shard:02x}")))?;
        }
        sync_dir(&store.blobs)?;
        sync_dir(dir)?;
        Ok(store)
    }

    /// Starts a new content file in `tmp/`.
    pub(crate) fn create(&self) -> io::Result<Staged> {
        let id = BlobId::generate();
        let path = self.tmp.join(id.as_str());
        let file = BufWriter::with_capacity(WRITE_BUFFER, File::create_new(&path)?);
        Ok(Staged { id, file, leftover: Leftover { path, armed: true } })
    }

    /// Makes a finished file durable under its id.
    pub(crate) fn persist(self: &Arc<Self>, staged: Staged) -> io::Result<FreshBlob> {
        let Staged { id, file, mut leftover } = staged;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
        let path = self.path(&id);
        fs::rename(&leftover.path, &path)?;
        leftover.armed = false;
        let fresh = FreshBlob { id, store: Arc::clone(self), armed: true };
        sync_dir(path.parent().unwrap_or(&self.blobs))?;
        Ok(fresh)
    }

    /// A second name for a blob's content, with a life of its own.
    pub(crate) fn duplicate(self: &Arc<Self>, id: &BlobId) -> io::Result<FreshBlob> {
        let copy = BlobId::generate();
        let path = self.path(&copy);
        let fresh = FreshBlob { id: copy, store: Arc::clone(self), armed: true };
        // Blobs never change, so two names may share the bytes; a few filesystems have no links.
        if fs::hard_link(self.path(id), &path).is_err() {
            fs::copy(self.path(id), &path)?;
            File::open(&path)?.sync_all()?;
        }
        sync_dir(path.parent().unwrap_or(&self.blobs))?;
        Ok(fresh)
    }

    pub(crate) fn read(&self, id: &BlobId) -> io::Result<File> {
        File::open(self.path(id))
    }

    /// Unlinks blobs. A file that stays behind is removed by the next sweep.
    pub(crate) fn remove(&self, ids: &[BlobId]) {
        for id in ids {
            match fs::remove_file(self.path(id)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(blob = id.as_str(), error = %e, "could not remove object data");
                }
                _ => {}
            }
        }
    }

    /// Removes everything in `tmp/`, and everything in `blobs/` that is not `named`.
    pub(crate) fn sweep(&self, mut named: HashSet<String>) -> io::Result<Swept> {
        let mut orphans = 0;
        for entry in fs::read_dir(&self.tmp)? {
            fs::remove_file(entry?.path())?;
            orphans += 1;
        }
        for shard in 0..=u8::MAX {
            for entry in fs::read_dir(self.shard(&format!("{shard:02x}")))? {
                let entry = entry?;
                if !entry.file_name().to_str().is_some_and(|name| named.remove(name)) {
                    fs::remove_file(entry.path())?;
                    orphans += 1;
                }
            }
        }
        Ok(Swept { orphans, missing: named.len() })
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        let shard = &id.0[id.0.len().saturating_sub(2)..];
        self.shard(shard).join(&id.0)
    }

    fn shard(&self, name: &str) -> PathBuf {
        self.blobs.join(name)
    }
}

/// A content file being written. Dropped unfinished, it is gone.
pub(crate) struct Staged {
    id: BlobId,
    file: BufWriter<File>,
    leftover: Leftover,
}

impl Staged {
    pub(crate) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)
    }
}

/// A path to unlink on drop, while armed.
struct Leftover {
    path: PathBuf,
    armed: bool,
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if self.armed
            && let Err(e) = fs::remove_file(&self.path)
        {
            tracing::warn!(error = %e, "could not remove a temporary file");
        }
    }
}

/// A durable blob that the index does not name yet. Dropped, it is removed.
pub(crate) struct FreshBlob {
    id: BlobId,
    store: Arc<BlobStore>,
    armed: bool,
}

impl FreshBlob {
    /// Hands the blob over to an index transaction, whose outcome now decides about it.
    pub(crate) fn keep(mut self) -> BlobId {
        self.armed = false;
        self.id.clone()
    }
}

impl Drop for FreshBlob {
    fn drop(&mut self) {
        if self.armed {
            self.store.remove(std::slice::from_ref(&self.id));
        }
    }
}

/// Makes a rename or a new name in `dir` survive a power cut.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
