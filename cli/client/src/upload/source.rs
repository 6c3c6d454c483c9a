//! The file to upload: read part by part in small chunks, and checked for changes.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::part_layout::PartRange;
use crate::{error::ClientError, reason::ClientReason};

/// Bytes of a part that are in memory at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// A file and its fingerprint at the start of the upload.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    fingerprint: FileFingerprint,
}

/// Identifies a file and its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileFingerprint {
    /// Absolute path, symbolic links resolved.
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// Size, bytes.
    pub size: u64,
    /// Modification time, seconds since the Unix epoch.
    pub modified_seconds: i64,
    /// Nanoseconds of the modification time.
    pub modified_nanos: i64,
    /// Inode number.
    pub inode: u64,
}

/// A path as text: any path, also one that is not UTF-8.
mod path_text {
    use std::{
        ffi::OsString,
        os::unix::ffi::{OsStrExt as _, OsStringExt as _},
        path::{Path, PathBuf},
    };

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    /// Precedes the bytes of a path that is not UTF-8, in hexadecimal. Paths begin with a slash.
    const BYTES: &str = "bytes:";

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.serialize_str(&format!("{BYTES}{}", hex::encode(path.as_os_str().as_bytes()))),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.strip_prefix(BYTES) {
            Some(bytes) => {
                hex::decode(bytes).map(|bytes| OsString::from_vec(bytes).into()).map_err(D::Error::custom)
            }
            None => Ok(text.into()),
        }
    }
}

impl FileFingerprint {
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
    /// Checks that a path is a readable regular file and not empty.
    pub fn open(given: &Path) -> Result<Self, ClientError> {
        let unreadable = |error: io::Error| ClientError::unreadable_file(given, &error);
        let path = fs::canonicalize(given).map_err(unreadable)?;
        // Checked before opening, since opening a pipe blocks.
        let metadata = fs::metadata(&path).map_err(unreadable)?;
        if !metadata.is_file() {
            let message = format!("{}: not a regular file", given.display());
            return Err(ClientError::local(ClientReason::FileUnreadable, message));
        }
        File::open(&path).map_err(unreadable)?;
        if metadata.len() == 0 {
            let message =
                format!("{}: the file is empty: export or copy it again, or leave it out", given.display());
            return Err(ClientError::local(ClientReason::FileEmpty, message));
        }
        Ok(Self { fingerprint: FileFingerprint::of(&path, &metadata), path })
    }

    /// The fingerprint at the start of the upload.
    pub fn fingerprint(&self) -> &FileFingerprint {
        &self.fingerprint
    }

    /// Size, bytes.
    pub fn size(&self) -> u64 {
        self.fingerprint.size
    }

    /// File name without folder. Bytes that are not UTF-8 are read as Latin-1, in which such names usually are.
    pub fn file_name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().as_bytes();
        let mut text = String::with_capacity(name.len());
        for chunk in name.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|&byte| match byte {
                0x80..=0x9F => char::REPLACEMENT_CHARACTER,
                byte => char::from(byte),
            }));
        }
        text
    }

    /// Fails with FILE_CHANGED if the fingerprint has changed.
    pub fn check_unchanged(&self) -> Result<(), ClientError> {
        let metadata =
            fs::metadata(&self.path).map_err(|error| ClientError::unreadable_file(&self.path, &error))?;
        if FileFingerprint::of(&self.path, &metadata) == self.fingerprint {
            Ok(())
        } else {
            Err(self.changed_error())
        }
    }

    /// CRC-32C of a part.
    pub async fn crc32c(&self, range: PartRange) -> Result<u32, ClientError> {
        self.fold_chunks(range, 0, crc32c::crc32c_append).await
    }

    /// MD5 of a part, in hex.
    pub async fn md5(&self, range: PartRange) -> Result<String, ClientError> {
        let digest = self.fold_chunks(range, Md5::new(), |digest, chunk| digest.chain_update(chunk)).await?;
        Ok(hex::encode(digest.finalize()))
    }

    /// The bytes of a part, in chunks.
    pub fn stream(
        &self,
        range: PartRange,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static, ClientError> {
        let mut file = self.reopen()?;
        file.seek(SeekFrom::Start(range.offset))
            .map_err(|error| ClientError::unreadable_file(&self.path, &error))?;
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(CHUNK_BYTES);
        Ok(ReaderStream::with_capacity(file.take(range.length), CHUNK_BYTES).into_stream())
    }

    async fn fold_chunks<T: Send + 'static>(
        &self,
        range: PartRange,
        initial: T,
        update: impl Fn(T, &[u8]) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        let mut file = self.reopen()?;
        let reading = tokio::task::spawn_blocking(move || {
            file.seek(SeekFrom::Start(range.offset))?;
            let mut chunk = vec![0; CHUNK_BYTES];
            let mut remaining = range.length;
            let mut state = initial;
            while remaining > 0 {
                let length = usize::try_from(remaining).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
                file.read_exact(&mut chunk[..length])?;
                state = update(state, &chunk[..length]);
                remaining -= length as u64;
            }
            io::Result::Ok(state)
        });
        match reading.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.changed_error()),
            read => read.map_err(|error| ClientError::unreadable_file(&self.path, &error)),
        }
    }

    fn reopen(&self) -> Result<File, ClientError> {
        self.check_unchanged()?;
        File::open(&self.path).map_err(|error| ClientError::unreadable_file(&self.path, &error))
    }

    fn changed_error(&self) -> ClientError {
        let message = format!("{}: the file changed during the upload; upload it again", self.path.display());
        ClientError::local(ClientReason::FileChanged, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: PartRange = PartRange { offset: 3, length: 300_000 };

    fn create_file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mp4");
        fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[tokio::test]
    async fn stream_and_checksums_cover_exactly_the_range() {
        let bytes: Vec<u8> = (0..400_000u32).map(|n| (n % 251) as u8).collect();
        let (_dir, path) = create_file(&bytes);
        let source = Source::open(&path).unwrap();
        let part = &bytes[3..300_003];
        let chunks: Vec<Bytes> = source.stream(RANGE).unwrap().try_collect().await.unwrap();
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES));
        assert_eq!(chunks.concat(), part);
        assert_eq!(source.crc32c(RANGE).await.unwrap(), crc32c::crc32c(part));
        assert_eq!(source.md5(RANGE).await.unwrap(), hex::encode(Md5::digest(part)));
    }

    #[test]
    fn file_name_and_fingerprint_of_a_name_that_is_not_utf8() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9 \xc3\xa9 \x80.mp4"));
        fs::write(&path, [1; 10]).unwrap();
        let source = Source::open(&path).unwrap();
        assert_eq!(source.file_name(), "caf\u{e9} \u{e9} \u{fffd}.mp4");
        let saved = serde_json::to_string(source.fingerprint()).unwrap();
        let read: FileFingerprint = serde_json::from_str(&saved).unwrap();
        assert_eq!(read, *source.fingerprint());
    }

    #[tokio::test]
    async fn check_unchanged_changed_file_returns_file_changed() {
        let (_dir, path) = create_file(&[0; 400_000]);
        let source = Source::open(&path).unwrap();
        fs::write(&path, [1; 10]).unwrap();
        for error in [source.check_unchanged().unwrap_err(), source.crc32c(RANGE).await.unwrap_err()] {
            assert!(error.to_string().ends_with("(FILE_CHANGED)"), "{error}");
            assert_eq!(error.exit_code(), 1);
        }
        assert!(source.stream(RANGE).is_err());
    }

    #[test]
    fn open_anything_but_a_readable_file_is_usage_error() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("missing"), dir.path().to_owned(), PathBuf::from("/dev/null")] {
            assert_eq!(Source::open(&path).unwrap_err().exit_code(), 2, "{}", path.display());
        }
    }
}
