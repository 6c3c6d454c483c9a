//! The store: index, blobs and readers, and the one order in which they are changed.

use std::fs::File;
use std::sync::Arc;

use crate::blobs::{BlobId, BlobStore, FreshBlob};
use crate::error::{Result, StoreError};
use crate::index::Index;
use crate::readers::Readers;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    index: Index,
    blobs: Arc<BlobStore>,
    readers: Arc<Readers>,
    /// Keeps other processes out for as long as the store is open.
    _lock: File,
}

impl Store {
    pub(crate) fn new(index: Index, blobs: Arc<BlobStore>, lock: File) -> Self {
        let readers = Arc::new(Readers::new(Arc::clone(&blobs)));
        Self(Arc::new(Inner { index, blobs, readers, _lock: lock }))
    }

    pub(crate) fn index(&self) -> &Index {
        &self.0.index
    }

    pub(crate) fn blobs(&self) -> &Arc<BlobStore> {
        &self.0.blobs
    }

    pub(crate) fn readers(&self) -> &Arc<Readers> {
        &self.0.readers
    }

    /// Runs a change of the index to its end even if the request is dropped in the middle: whether
    /// it was committed must never be in doubt while blobs hang on it.
    pub(crate) async fn change<T, F>(&self, change: impl FnOnce(Store) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        tokio::spawn(change(self.clone())).await?
    }

    /// Like [`Store::change`], for a change that names new blobs. If it fails, they are removed.
    pub(crate) async fn publish<T, F>(
        &self,
        fresh: Vec<FreshBlob>,
        change: impl FnOnce(Store, Vec<BlobId>) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.change(|store| async move {
            // From here on a dropped runtime leaves the files; the sweep at start decides.
            let ids: Vec<_> = fresh.into_iter().map(FreshBlob::keep).collect();
            let outcome = change(store.clone(), ids.clone()).await;
            match &outcome {
                Ok(_) => {}
                Err(StoreError::Refused(_)) => store.readers().remove(ids),
                Err(StoreError::Index(_) | StoreError::Io(_)) => store.remove_unnamed(ids).await,
            }
            outcome
        })
        .await
    }

    /// After a failure that leaves open whether the index has the blobs: asks it.
    async fn remove_unnamed(&self, ids: Vec<BlobId>) {
        let mut unnamed = Vec::new();
        for id in ids {
            if matches!(self.index().names(&id).await, Ok(false)) {
                unnamed.push(id);
            }
        }
        self.readers().remove(unnamed);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use s3s::dto::{PutObjectInput, StreamingBlob};
    use s3s::{Body, S3Request};

    use super::*;

    fn put(key: &str) -> S3Request<PutObjectInput> {
        let input = PutObjectInput {
            bucket: "bucket".to_owned(),
            key: key.to_owned(),
            body: Some(StreamingBlob::from(Body::from(vec![7; 1000]))),
            ..Default::default()
        };
        S3Request {
            input,
            method: http::Method::PUT,
            uri: http::Uri::default(),
            headers: http::HeaderMap::default(),
            extensions: http::Extensions::default(),
            credentials: None,
            region: None,
            service: None,
            trailing_headers: None,
        }
    }

    fn files(dir: &Path) -> usize {
        let below = |entry: std::fs::DirEntry| match entry.path() {
            path if path.is_dir() => files(&path),
            _ => 1,
        };
        std::fs::read_dir(dir).unwrap().map(|entry| below(entry.unwrap())).sum()
    }

    /// SQLite is held to a few pages, which fails as a full disk does.
    #[tokio::test]
    async fn a_full_disk_is_said_so_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Arc::new(BlobStore::open(dir.path()).unwrap());
        let lock = File::create(dir.path().join("lock")).unwrap();
        let index = Index::open(&dir.path().join("index.db")).await.unwrap();
        index.ensure_bucket("bucket").await.unwrap();
        index.limit_pages(30).await.unwrap();
        let store = Store::new(index, blobs, lock);

        let mut stored = 0;
        let refusal = loop {
            match crate::object::put(&store, put(&format!("{stored:0900}"))).await {
                Ok(_) => stored += 1,
                Err(e) => break s3s::S3Error::from(e),
            }
        };
        assert_eq!(refusal.code().as_str(), "InsufficientStorage");
        assert_eq!(refusal.status_code(), Some(http::StatusCode::INSUFFICIENT_STORAGE));
        assert!(stored > 0);
        let wait = async {
            while files(&dir.path().join("blobs")) != stored || files(&dir.path().join("tmp")) != 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .expect("something of the refused body stays");
    }
}
