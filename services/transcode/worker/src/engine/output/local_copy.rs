//! Copies of encoded streams in the scratch folder, from which progressive MP4s are joined.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tokio::{
    fs::{self, File},
    io::AsyncWriteExt,
};

/// Write buffer of a file, bytes.
const FILE_BUFFER_BYTES: usize = 128 * 1024;

/// Creates a file with a small write buffer.
pub(crate) async fn create_file(path: &Path) -> io::Result<File> {
    let mut file = File::create(path).await?;
    file.set_max_buf_size(FILE_BUFFER_BYTES);
    Ok(file)
}

/// Copy of one track's stream. Deleted when it gets too large, so that a long stream does not fill the disk.
pub(crate) struct LocalCopy {
    file: File,
    path: PathBuf,
}

impl LocalCopy {
    pub(crate) async fn create(path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: create_file(&path).await?, path })
    }

    pub(crate) async fn append(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.file.write_all(bytes).await
    }

    /// Completes the file and returns its path.
    pub(crate) async fn finish(mut self) -> io::Result<PathBuf> {
        self.file.flush().await?;
        Ok(self.path)
    }

    pub(crate) async fn delete(self) -> io::Result<()> {
        drop(self.file);
        fs::remove_file(self.path).await
    }
}
