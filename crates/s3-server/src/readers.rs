//! Reading objects while they are replaced or deleted.
//!
//! A reader pins the object whose content it streams. Blobs of a pinned object are unlinked when its
//! last reader is done, so every reader gets the whole of the object it opened, however many blobs the
//! object has and however slowly it is read.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{runtime::Handle, sync::RwLock};

use crate::{
    blobs::{BlobDir, BlobId},
    error::Result,
    index::Index,
    model::{Object, ObjectContent, RemovedObject, Selection},
};

/// The objects that are being read.
pub(crate) struct Readers {
    blobs: Arc<BlobDir>,
    /// Orders lookups and removals. A reader holds it shared from looking up an object until it is
    /// pinned. A removal takes it exclusively after the object has left the index and before deciding
    /// about its blobs: every reader that found the object has pinned it by then.
    lookup_lock: RwLock<()>,
    pinned: Mutex<HashMap<i64, PinnedObject>>,
}

#[derive(Default)]
struct PinnedObject {
    readers: usize,
    /// Blobs to unlink after the last reader.
    removed_blobs: Vec<BlobId>,
}

/// Keeps an object's blobs until it is dropped.
pub(crate) struct Pin {
    readers: Arc<Readers>,
    object: i64,
}

impl Readers {
    pub(crate) fn new(blobs: Arc<BlobDir>) -> Self {
        Self { blobs, lookup_lock: RwLock::new(()), pinned: Mutex::default() }
    }

    /// Looks up an object and pins it. `choose` returns what to read, or rejects the request.
    pub(crate) async fn open(
        self: &Arc<Self>,
        index: &Index,
        bucket: &str,
        key: &str,
        choose: impl FnOnce(&Object) -> Result<Selection> + Send,
    ) -> Result<Option<(ObjectContent, Pin)>> {
        let _lookup = self.lookup_lock.read().await;
        let Some(content) = index.content(bucket, key, choose).await? else { return Ok(None) };
        let object = content.object.id;
        self.pinned().entry(object).or_default().readers += 1;
        Ok(Some((content, Pin { readers: Arc::clone(self), object })))
    }

    /// Unlinks the blobs of objects that were removed from the index, after their last reader.
    pub(crate) async fn remove_objects(&self, objects: impl IntoIterator<Item = RemovedObject>) {
        let mut objects = objects.into_iter().peekable();
        if objects.peek().is_none() {
            return;
        }
        let mut unpinned = Vec::new();
        {
            let _lookup = self.lookup_lock.write().await;
            let mut pinned = self.pinned();
            for RemovedObject { object, blobs } in objects {
                match pinned.get_mut(&object) {
                    Some(pin) => pin.removed_blobs.extend(blobs),
                    None => unpinned.extend(blobs),
                }
            }
        }
        self.remove_blobs(unpinned);
    }

    /// Unlinks blobs on a blocking thread, without waiting: what a crash leaves is swept at start.
    pub(crate) fn remove_blobs(&self, ids: Vec<BlobId>) {
        if ids.is_empty() {
            return;
        }
        let blobs = Arc::clone(&self.blobs);
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || blobs.remove(&ids))),
            Err(_) => blobs.remove(&ids),
        }
    }

    fn pinned(&self) -> MutexGuard<'_, HashMap<i64, PinnedObject>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.readers.pinned();
        let Some(pin) = pinned.get_mut(&self.object) else { return };
        pin.readers -= 1;
        if pin.readers == 0 {
            let blobs = pinned.remove(&self.object).map(|pin| pin.removed_blobs).unwrap_or_default();
            drop(pinned);
            self.readers.remove_blobs(blobs);
        }
    }
}
