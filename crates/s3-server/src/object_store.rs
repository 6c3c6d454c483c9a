//! The object store: index, blobs and readers, and the order in which they are changed.

use std::{fs::File, sync::Arc};

use crate::{
    blobs::{BlobDir, BlobId, NewBlob},
    error::{ObjectStoreError, Result},
    index::Index,
    readers::Readers,
};

/// The object store. Clones share it.
#[derive(Clone)]
pub(crate) struct ObjectStore(Arc<Inner>);

struct Inner {
    index: Index,
    blobs: Arc<BlobDir>,
    readers: Arc<Readers>,
    /// The lock file: excludes other processes while the store is open.
    _lock: File,
}

impl ObjectStore {
    pub(crate) fn new(index: Index, blobs: Arc<BlobDir>, lock: File) -> Self {
        let readers = Arc::new(Readers::new(Arc::clone(&blobs)));
        Self(Arc::new(Inner { index, blobs, readers, _lock: lock }))
    }

    pub(crate) fn index(&self) -> &Index {
        &self.0.index
    }

    pub(crate) fn blobs(&self) -> &Arc<BlobDir> {
        &self.0.blobs
    }

    pub(crate) fn readers(&self) -> &Arc<Readers> {
        &self.0.readers
    }

    /// Runs a change of the index on a task of its own, to its end even if the request is cancelled:
    /// its outcome decides which blobs are removed.
    pub(crate) async fn change<T, F>(&self, change: impl FnOnce(ObjectStore) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        tokio::spawn(change(self.clone())).await?
    }

    /// Like [`ObjectStore::change`], for a change that references new blobs. If it fails, they are
    /// removed.
    pub(crate) async fn commit_blobs<T, F>(
        &self,
        blobs: Vec<NewBlob>,
        change: impl FnOnce(ObjectStore, Vec<BlobId>) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.change(|store| async move {
            // If the runtime is dropped from here on, the files stay; the sweep at start decides.
            let ids: Vec<_> = blobs.into_iter().map(NewBlob::into_id).collect();
            let outcome = change(store.clone(), ids.clone()).await;
            match &outcome {
                Ok(_) => {}
                Err(ObjectStoreError::Rejected(_)) => store.readers().remove_blobs(ids),
                Err(ObjectStoreError::Index(_) | ObjectStoreError::Io(_)) => {
                    store.remove_unreferenced(ids).await;
                }
            }
            outcome
        })
        .await
    }

    /// Removes those blobs that the index does not reference, after a commit of unknown outcome.
    async fn remove_unreferenced(&self, ids: Vec<BlobId>) {
        let mut unreferenced = Vec::new();
        for id in ids {
            if matches!(self.index().references(&id).await, Ok(false)) {
                unreferenced.push(id);
            }
        }
        self.readers().remove_blobs(unreferenced);
    }
}
