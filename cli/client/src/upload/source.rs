//! The file that is uploaded: read by part in small pieces, and watched for changes.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;
use tonic::Code;

use super::plan::PartRange;
use crate::ClientError;

/// How much of a part is in memory at a time.
const PIECE: usize = 256 << 10;

/// A file and what it was like when the upload began.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    stamp: Stamp,
}

/// What tells a file from a changed one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    /// Absolute path, links resolved.
    pub path: PathBuf,
    /// Size, bytes.
    pub size: u64,
    /// Time of the last change, seconds since the Unix epoch.
    pub modified_seconds: i64,
    /// The rest of it, nanoseconds.
    pub modified_nanos: i64,
    /// Number of the file within its file system.
    pub inode: u64,
}

impl Stamp {
    fn of(path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            size: metadata.size(),
            modified_seconds: metadata.mtime(),
            modified_nanos: metadata.mtime_nsec(),
            inode: metadata.ino(),
        }
    }
}

impl Source {
    /// Looks at a file and checks that it can be read and is not empty.
    pub fn open(given: &Path) -> Result<Self, ClientError> {
        let unreadable = |error: io::Error| ClientError::local_file(given, &error);
        let path = fs::canonicalize(given).map_err(unreadable)?;
        // A pipe would block when it is opened.
        let metadata = fs::metadata(&path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(ClientError::usage(
                "FILE_UNREADABLE",
                format!("{}: not a regular file", given.display()),
            ));
        }
        File::open(&path).map_err(unreadable)?;
        if metadata.len() == 0 {
            let message =
                format!("{}: the file is empty: export or copy it again, or leave it out", given.display());
            return Err(ClientError::refused(Code::InvalidArgument, "FILE_EMPTY", message));
        }
        Ok(Self { stamp: Stamp::of(&path, &metadata), path })
    }

    /// What the file was like when the upload began.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Its size, bytes.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Its name, without a path.
    pub fn file_name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Fails with FILE_CHANGED when the file is no longer what it was.
    pub fn unchanged(&self) -> Result<(), ClientError> {
        let metadata =
            fs::metadata(&self.path).map_err(|error| ClientError::local_file(&self.path, &error))?;
        if Stamp::of(&self.path, &metadata) == self.stamp { Ok(()) } else { Err(self.changed()) }
    }

    /// CRC-32C of a part.
    pub async fn crc32c(&self, range: PartRange) -> Result<u32, ClientError> {
        self.read_through(range, 0, crc32c::crc32c_append).await
    }

    /// MD5 of a part, in hex.
    pub async fn md5(&self, range: PartRange) -> Result<String, ClientError> {
        let digest = self.read_through(range, Md5::new(), |digest, piece| digest.chain_update(piece)).await?;
        Ok(hex::encode(digest.finalize()))
    }

    /// The bytes of a part, in pieces.
    pub fn stream(
        &self,
        range: PartRange,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static, ClientError> {
        let mut file = self.reopen()?;
        file.seek(SeekFrom::Start(range.offset))
            .map_err(|error| ClientError::local_file(&self.path, &error))?;
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(PIECE);
        Ok(ReaderStream::with_capacity(file.take(range.length), PIECE).into_stream())
    }

    async fn read_through<T: Send + 'static>(
        &self,
        range: PartRange,
        start: T,
        step: impl Fn(T, &[u8]) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        let mut file = self.reopen()?;
        let reading = tokio::task::spawn_blocking(move || {
            file.seek(SeekFrom::Start(range.offset))?;
            let mut piece = vec![0; PIECE];
            let mut left = range.length;
            let mut state = start;
            while left > 0 {
                let want = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                file.read_exact(&mut piece[..want])?;
                state = step(state, &piece[..want]);
                left -= want as u64;
            }
            io::Result::Ok(state)
        });
        match reading.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.changed()),
            read => read.map_err(|error| ClientError::local_file(&self.path, &error)),
        }
    }

    fn reopen(&self) -> Result<File, ClientError> {
        self.unchanged()?;
        File::open(&self.path).map_err(|error| ClientError::local_file(&self.path, &error))
    }

    fn changed(&self) -> ClientError {
        let message =
            format!("{}: the file changed while it was uploaded; upload it again", self.path.display());
        ClientError::failed("FILE_CHANGED", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: PartRange = PartRange { offset: 3, length: 300_000 };

    fn file_of(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mp4");
        fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[tokio::test]
    async fn a_part_is_read_whole_and_nothing_more() {
        let bytes: Vec<u8> = (0..400_000u32).map(|n| (n % 251) as u8).collect();
        let (_dir, path) = file_of(&bytes);
        let source = Source::open(&path).unwrap();
        let part = &bytes[3..300_003];
        let pieces: Vec<Bytes> = source.stream(RANGE).unwrap().try_collect().await.unwrap();
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
        assert_eq!(pieces.concat(), part);
        assert_eq!(source.crc32c(RANGE).await.unwrap(), crc32c::crc32c(part));
        assert_eq!(source.md5(RANGE).await.unwrap(), hex::encode(Md5::digest(part)));
    }

    #[tokio::test]
    async fn a_changed_file_is_noticed() {
        let (_dir, path) = file_of(&[0; 400_000]);
        let source = Source::open(&path).unwrap();
        fs::write(&path, [1; 10]).unwrap();
        for error in [source.unchanged().unwrap_err(), source.crc32c(RANGE).await.unwrap_err()] {
            assert!(error.to_string().ends_with("(FILE_CHANGED)"), "{error}");
            assert_eq!(error.exit_code(), 1);
        }
        assert!(source.stream(RANGE).is_err());
    }

    #[test]
    fn what_is_no_readable_file_is_usage() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("missing"), dir.path().to_owned(), PathBuf::from("/dev/null")] {
            assert_eq!(Source::open(&path).unwrap_err().exit_code(), 2, "{}", path.display());
        }
    }
}
