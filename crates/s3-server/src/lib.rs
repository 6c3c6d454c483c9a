//! The embedded object store: the S3 protocol over a crash-safe folder.
//!
//! The protocol (SigV4, presigned addresses, XML, aws-chunked bodies) is the `s3s` crate's; what
//! is here is the store behind it. A folder holds three things:
//!
//! - `index.db`: SQLite. Which objects, uploads and parts exist, and of which blobs they are made.
//! - `blobs/`: content, in files named by generated ids. A key never becomes a path.
//! - `tmp/`: content still being received. Whatever is here at start is garbage.
//!
//! A body is written to `tmp/`, hashed on the way, verified, synced, renamed into `blobs/`, and only
//! then named by the index in one transaction. So a crash at any moment leaves each object whole,
//! old or absent, and at most files that nothing names, which [`open`] removes.
//!
//! An object is a list of blobs, hence completing a multipart upload moves no bytes.

mod blobs;
mod checksum;
mod conditions;
mod error;
mod headers;
mod index;
mod ingest;
mod list;
mod multipart;
mod object;
mod read;
mod readers;
mod s3;
mod service;
mod store;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderValue;
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};

pub use error::OpenError;
pub use s3s::Body;
pub use service::{Front, ObjectService};

use blobs::BlobStore;
use index::Index;
use store::Store;

/// An XML request body is read whole: 10,000 parts with checksums need about 2 MB.
const MAX_XML_BODY: usize = 8 << 20;

/// Where the store lives and who may use it.
#[derive(Clone)]
pub struct ObjectServerConfig {
    /// The folder of the store. Created if it is missing.
    pub dir: PathBuf,
    /// A bucket that exists from the start.
    pub bucket: String,
    /// The one access key id that signatures may name.
    pub access_key_id: String,
    /// The secret of that key.
    pub secret_access_key: String,
}

/// An open store. Clones share it; the folder is free again when the last one, and every service
/// made from it, is dropped.
#[derive(Clone)]
pub struct ObjectServer {
    s3: S3Service,
    origins: Option<Vec<HeaderValue>>,
}

impl ObjectServer {
    /// Limits the web origins that CORS lets in. Without this call any origin is let in: access is
    /// decided by signatures alone, never by cookies.
    #[must_use]
    pub fn allow_origins(mut self, origins: impl IntoIterator<Item = HeaderValue>) -> Self {
        self.origins = Some(origins.into_iter().collect());
        self
    }

    /// The store as a `tower` service that never fails: path-style S3 with CORS around it.
    ///
    /// Mount it with the path unstripped, since signatures cover the path.
    pub fn service(&self) -> ObjectService {
        service::with_cors(self.s3.clone(), self.origins.as_deref())
    }
}

/// Opens the store in `config.dir`, creating it if needed, and removes what a crash left behind.
///
/// # Errors
/// [`OpenError`] when the folder can't be used, is used by another process, or was written by a
/// newer version.
pub async fn open(config: ObjectServerConfig) -> Result<ObjectServer, OpenError> {
    let dir = config.dir.clone();
    let (lock, blobs) = tokio::task::spawn_blocking(move || prepare_folder(&dir))
        .await
        .map_err(|e| OpenError::Io(config.dir.clone(), std::io::Error::other(e)))??;
    let index = Index::open(&config.dir.join("index.db")).await?;
    if !s3s::path::check_bucket_name(&config.bucket) {
        return Err(OpenError::BucketName(config.bucket));
    }
    index.ensure_bucket(&config.bucket).await?;

    let blobs = Arc::new(blobs);
    let named = index.blobs().await?;
    let sweeper = Arc::clone(&blobs);
    let swept = tokio::task::spawn_blocking(move || sweeper.sweep(named))
        .await
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(|e| OpenError::Io(config.dir.clone(), e))?;
    if swept.orphans > 0 {
        tracing::info!(files = swept.orphans, "removed object data that no object names");
    }
    if swept.missing > 0 {
        tracing::error!(files = swept.missing, "object data named by the index is missing");
    }

    let mut builder = S3ServiceBuilder::new(Store::new(index, blobs, lock));
    builder.set_auth(SimpleAuth::from_single(config.access_key_id, config.secret_access_key));
    builder.set_access(service::SignedV4Only);
    let mut limits = S3Config::default();
    limits.xml_max_body_size = MAX_XML_BODY;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(limits))));
    Ok(ObjectServer { s3: builder.build(), origins: None })
}

/// Creates the folders and takes the lock that keeps a second process out.
fn prepare_folder(dir: &Path) -> Result<(File, BlobStore), OpenError> {
    let io = |e| OpenError::Io(dir.to_owned(), e);
    std::fs::create_dir_all(dir).map_err(io)?;
    let lock = File::create(dir.join("lock")).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(e)) => return Err(io(e)),
    }
    let blobs = BlobStore::open(dir).map_err(io)?;
    Ok((lock, blobs))
}
