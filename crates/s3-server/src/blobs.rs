//! Content files (blobs): written in `tmp/`, stored in `blobs/`, named by generated ids.
//!
//! All functions block; callers run them on blocking threads.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    slice,
    sync::Arc,
};

use uuid::Uuid;

/// Size of the buffer that collects small network chunks before they are written.
const WRITE_BUFFER_BYTES: usize = 256 << 10;

/// Space that content leaves to the databases on the same disk, bytes; of a small disk, a part of it.
const RESERVED_BYTES: u64 = 256 << 20;
const RESERVED_PART: u64 = 50;
/// Bytes written between two checks of the free space.
const CHECK_BYTES: usize = 4 << 20;

/// The id of one blob: 32 hex digits. The last two are its shard, which keeps folders small.
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

/// The folders `blobs/` and `tmp/`.
pub(crate) struct BlobDir {
    blobs: PathBuf,
    tmp: PathBuf,
}

/// The result of a sweep.
pub(crate) struct SweepReport {
    /// Files that the index does not reference, now removed.
    pub(crate) orphans: usize,
    /// Blobs that the index references but that have no file.
    pub(crate) missing: usize,
}

impl BlobDir {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let blobs = Self { blobs: dir.join("blobs"), tmp: dir.join("tmp") };
        fs::create_dir_all(&blobs.tmp)?;
        for shard in 0..=u8::MAX {
            fs::create_dir_all(blobs.shard(&format!("{shard:02x}")))?;
        }
        sync_dir(&blobs.blobs)?;
        sync_dir(dir)?;
        Ok(blobs)
    }

    /// Creates an empty content file in `tmp/`, for content of this length if it is known.
    pub(crate) fn create(&self, length: Option<u64>) -> io::Result<StagedBlob> {
        check_space(&self.tmp, length.unwrap_or(0))?;
        let id = BlobId::generate();
        let path = self.tmp.join(id.as_str());
        let file = BufWriter::with_capacity(WRITE_BUFFER_BYTES, File::create_new(&path)?);
        Ok(StagedBlob { id, file, temp: TempFile { path, armed: true }, unchecked: 0 })
    }

    /// Makes a completely written file durable: syncs it and renames it into `blobs/`.
    pub(crate) fn persist(self: &Arc<Self>, staged: StagedBlob) -> io::Result<NewBlob> {
        let StagedBlob { id, file, mut temp, .. } = staged;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
        let path = self.path(&id);
        fs::rename(&temp.path, &path)?;
        temp.armed = false;
        let blob = NewBlob { id, dir: Arc::clone(self), armed: true };
        sync_dir(path.parent().unwrap_or(&self.blobs))?;
        Ok(blob)
    }

    /// Creates a new blob with the same content.
    pub(crate) fn duplicate(self: &Arc<Self>, id: &BlobId) -> io::Result<NewBlob> {
        let copy = BlobId::generate();
        let path = self.path(&copy);
        let blob = NewBlob { id: copy, dir: Arc::clone(self), armed: true };
        // Blobs are immutable, so a hard link is enough. A few file systems do not have them.
        if fs::hard_link(self.path(id), &path).is_err() {
            fs::copy(self.path(id), &path)?;
            File::open(&path)?.sync_all()?;
        }
        sync_dir(path.parent().unwrap_or(&self.blobs))?;
        Ok(blob)
    }

    pub(crate) fn read(&self, id: &BlobId) -> io::Result<File> {
        File::open(self.path(id))
    }

    /// Unlinks blobs. A file that cannot be removed is left to the sweep at the next start.
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

    /// Removes everything in `tmp/`, and everything in `blobs/` that is not `referenced`.
    pub(crate) fn sweep(&self, mut referenced: HashSet<String>) -> io::Result<SweepReport> {
        let mut orphans = 0;
        for entry in fs::read_dir(&self.tmp)? {
            fs::remove_file(entry?.path())?;
            orphans += 1;
        }
        for shard in 0..=u8::MAX {
            for entry in fs::read_dir(self.shard(&format!("{shard:02x}")))? {
                let entry = entry?;
                if !entry.file_name().to_str().is_some_and(|name| referenced.remove(name)) {
                    fs::remove_file(entry.path())?;
                    orphans += 1;
                }
            }
        }
        Ok(SweepReport { orphans, missing: referenced.len() })
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        let shard = &id.0[id.0.len().saturating_sub(2)..];
        self.shard(shard).join(&id.0)
    }

    fn shard(&self, name: &str) -> PathBuf {
        self.blobs.join(name)
    }
}

/// A content file being written. Removed on drop, unless persisted.
pub(crate) struct StagedBlob {
    id: BlobId,
    file: BufWriter<File>,
    temp: TempFile,
    /// Bytes written since the free space was checked.
    unchecked: usize,
}

/// An error if the file system would have too little space left after `more` bytes.
fn check_space(path: &Path, more: u64) -> io::Result<()> {
    let disk = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    if bytes(disk.f_bavail) < more.saturating_add(reserve(bytes(disk.f_blocks))) {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full but for the reserve"));
    }
    Ok(())
}

/// Space that is left to the databases on a disk of this size.
fn reserve(disk_bytes: u64) -> u64 {
    RESERVED_BYTES.min(disk_bytes / RESERVED_PART)
}

impl Write for StagedBlob {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.unchecked >= CHECK_BYTES {
            check_space(&self.temp.path, 0)?;
            self.unchecked = 0;
        }
        let written = self.file.write(data)?;
        self.unchecked += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that is unlinked on drop while armed.
struct TempFile {
    path: PathBuf,
    armed: bool,
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if self.armed
            && let Err(e) = fs::remove_file(&self.path)
        {
            tracing::warn!(error = %e, "could not remove a temporary file");
        }
    }
}

/// A durable blob that the index does not reference yet. Removed on drop.
pub(crate) struct NewBlob {
    id: BlobId,
    dir: Arc<BlobDir>,
    armed: bool,
}

impl NewBlob {
    /// The id, for an index transaction. From now on its outcome decides whether the blob is removed.
    pub(crate) fn into_id(mut self) -> BlobId {
        self.armed = false;
        self.id.clone()
    }
}

impl Drop for NewBlob {
    fn drop(&mut self) {
        if self.armed {
            self.dir.remove(slice::from_ref(&self.id));
        }
    }
}

/// Makes new and renamed files in `dir` durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::mem;

    use super::*;

    /// A source and its copy, as after a kill that came before the index referenced both.
    fn blob_and_copy() -> (tempfile::TempDir, Arc<BlobDir>, BlobId, BlobId) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Arc::new(BlobDir::open(dir.path()).unwrap());
        let mut staged = blobs.create(None).unwrap();
        staged.write_all(b"content").unwrap();
        let source = blobs.persist(staged).unwrap().into_id();
        let copy = blobs.duplicate(&source).unwrap();
        let copy_id = copy.id.clone();
        mem::forget(copy);
        (dir, blobs, source, copy_id)
    }

    #[test]
    fn sweep_removes_the_unreferenced_one_of_a_blob_and_its_copy() {
        for source_is_referenced in [true, false] {
            let (_dir, blobs, source, copy) = blob_and_copy();
            let (kept, removed) = if source_is_referenced { (source, copy) } else { (copy, source) };
            let swept = blobs.sweep(HashSet::from([kept.as_str().to_owned()])).unwrap();
            assert_eq!((swept.orphans, swept.missing), (1, 0));
            assert_eq!(fs::read(blobs.path(&kept)).unwrap(), b"content");
            assert!(!blobs.path(&removed).exists());
        }
    }

    #[test]
    fn drop_of_uncommitted_copy_removes_it_and_keeps_the_source() {
        let (_dir, blobs, source, _) = blob_and_copy();
        let copy = blobs.duplicate(&source).unwrap();
        let path = blobs.path(&copy.id);
        assert!(path.exists());
        drop(copy);
        assert!(!path.exists());
        assert_eq!(fs::read(blobs.path(&source)).unwrap(), b"content");
    }

    #[test]
    fn create_for_more_than_the_disk_holds_is_refused_as_full() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobDir::open(dir.path()).unwrap();
        let error = blobs.create(Some(1 << 60)).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
        assert!(blobs.create(Some(1 << 20)).is_ok());
    }

    #[test]
    fn reserve_is_a_small_part_of_a_small_disk() {
        assert_eq!((reserve(64 << 20), reserve(1 << 40)), ((64 << 20) / 50, RESERVED_BYTES));
    }
}
