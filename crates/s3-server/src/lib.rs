//! The embedded object store: the S3 protocol over a crash-safe folder.
//!
//! The `s3s` crate implements the protocol (SigV4, presigned URLs, XML, aws-chunked bodies); this crate
//! implements the storage behind it. A folder contains:
//!
//! - `index.db`: SQLite. The objects, uploads and parts, and the blobs that they reference.
//! - `blobs/`: content, in files named by generated ids. A key never becomes a path.
//! - `tmp/`: content being received. Removed at start.
//! - `lock`: locked while a process has the folder open.
//!
//! A body is written to `tmp/`, hashed in the same pass, verified, synced, renamed into `blobs/`, and only
//! then referenced by the index, in one transaction. So after a crash at any time every object is either
//! in its old or in its new state, and at most unreferenced files are left, which [`open`] removes.
//!
//! An object is a list of blobs, so completing a multipart upload copies no data. Each part of an object
//! stays a blob of its own, with its MD5 and checksums, so that it can be read by number, and copied
//! without moving bytes: a copy is a hard link with an id of its own. No blob is referenced twice.

mod access;
mod attributes;
mod blobs;
mod bucket;
mod checksum;
mod conditions;
mod content_stream;
mod error;
mod hashing;
mod headers;
mod index;
mod ingest;
mod list;
mod model;
mod multipart;
mod object_store;
mod read;
mod readers;
mod s3;
mod service;
mod timestamps;
mod unsupported;
mod write;

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use access::SigV4Only;
use blobs::BlobDir;
pub use error::OpenError;
use http::HeaderValue;
use index::Index;
use object_store::ObjectStore;
pub use s3s::Body;
use s3s::{
    auth::SimpleAuth,
    config::{S3Config, StaticConfigProvider},
    service::{S3Service, S3ServiceBuilder},
};
pub use service::{ObjectService, S3HttpService};

/// The largest XML request body, which is read into memory: 10,000 parts with checksums take about 2 MB.
const MAX_XML_BODY_BYTES: usize = 8 << 20;

/// The configuration of an object store.
#[derive(Clone)]
pub struct ObjectServerConfig {
    /// Its folder. Created if it is missing.
    pub dir: PathBuf,
    /// A bucket that is created at start.
    pub bucket: String,
    /// The only access key id that is accepted.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
}

/// An open object store. Clones share it. The folder stays locked until every clone and every service
/// created from them is dropped.
#[derive(Clone)]
pub struct ObjectServer {
    s3: S3Service,
    origins: Option<Vec<HeaderValue>>,
}

impl ObjectServer {
    /// Restricts the web origins that CORS allows. By default all are allowed: access depends on
    /// signatures only, never on cookies.
    #[must_use]
    pub fn allow_origins(mut self, origins: impl IntoIterator<Item = HeaderValue>) -> Self {
        self.origins = Some(origins.into_iter().collect());
        self
    }

    /// The object store as an infallible `tower` service: path-style S3 with CORS.
    ///
    /// Mount it without stripping the path: signatures cover the path.
    pub fn service(&self) -> ObjectService {
        service::with_cors(self.s3.clone(), self.origins.as_deref())
    }
}

/// Opens the object store in `config.dir`, creating it if needed, and removes unreferenced data that a
/// crash left.
///
/// # Errors
/// [`OpenError`] if the folder can't be used, is in use by another process, or was written by a version
/// with another format.
pub async fn open(config: ObjectServerConfig) -> Result<ObjectServer, OpenError> {
    let dir = config.dir.clone();
    let (lock, blobs) = tokio::task::spawn_blocking(move || prepare_folder(&dir))
        .await
        .map_err(|e| OpenError::Io(config.dir.clone(), io::Error::other(e)))??;
    let index = Index::open(&config.dir.join("index.db")).await?;
    if !s3s::path::check_bucket_name(&config.bucket) {
        return Err(OpenError::BucketName(config.bucket));
    }
    index.ensure_bucket(&config.bucket).await?;

    let blobs = Arc::new(blobs);
    let referenced = index.referenced_blobs().await?;
    let sweeper = Arc::clone(&blobs);
    let swept = tokio::task::spawn_blocking(move || sweeper.sweep(referenced))
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|e| OpenError::Io(config.dir.clone(), e))?;
    if swept.orphans > 0 {
        tracing::info!(files = swept.orphans, "removed object data that the index does not reference");
    }
    if swept.missing > 0 {
        tracing::error!(files = swept.missing, "object data that the index references is missing");
    }

    let mut builder = S3ServiceBuilder::new(ObjectStore::new(index, blobs, lock));
    builder.set_auth(SimpleAuth::from_single(config.access_key_id, config.secret_access_key));
    builder.set_access(SigV4Only);
    let mut limits = S3Config::default();
    limits.xml_max_body_size = MAX_XML_BODY_BYTES;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(limits))));
    Ok(ObjectServer { s3: builder.build(), origins: None })
}

/// Creates the folders and takes the lock that excludes a second process.
fn prepare_folder(dir: &Path) -> Result<(File, BlobDir), OpenError> {
    let io = |e| OpenError::Io(dir.to_owned(), e);
    fs::create_dir_all(dir).map_err(io)?;
    let lock = File::create(dir.join("lock")).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(e)) => return Err(io(e)),
    }
    let blobs = BlobDir::open(dir).map_err(io)?;
    Ok((lock, blobs))
}
