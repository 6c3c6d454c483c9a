//! Reading objects while they are replaced or deleted.
//!
//! A reader pins the object whose content it streams; blobs of a pinned object are unlinked when its
//! last reader is done. So a reader gets the whole of the object it began with, however many blobs
//! it is made of and however slowly it reads.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream;
use s3s::dto::StreamingBlob;

use crate::blobs::{BlobId, BlobStore};
use crate::error::Result;
use crate::index::{Extent, Found, Index, Object, Retired};

/// Bytes read and sent at a time.
const CHUNK: u64 = 512 << 10;

/// Who is reading what.
pub(crate) struct Readers {
    blobs: Arc<BlobStore>,
    /// Held shared from looking an object up until it is pinned; taken exclusively between an
    /// object's removal from the index and the decision about its blobs. So whoever saw the object
    /// has pinned it by the time of that decision.
    gate: tokio::sync::RwLock<()>,
    pinned: Mutex<HashMap<i64, Pinned>>,
}

#[derive(Default)]
struct Pinned {
    readers: usize,
    doomed: Vec<BlobId>,
}

/// Keeps an object's blobs in place until it is dropped.
pub(crate) struct Pin {
    readers: Arc<Readers>,
    object: i64,
}

impl Readers {
    pub(crate) fn new(blobs: Arc<BlobStore>) -> Self {
        Self { blobs, gate: tokio::sync::RwLock::new(()), pinned: Mutex::default() }
    }

    /// Looks an object up and pins it. `choose` picks the range, or refuses.
    pub(crate) async fn open(
        self: &Arc<Self>,
        index: &Index,
        bucket: &str,
        key: &str,
        choose: impl FnOnce(&Object) -> Result<Range<u64>> + Send,
    ) -> Result<Option<(Found, Pin)>> {
        let _gate = self.gate.read().await;
        let Some(found) = index.content(bucket, key, choose).await? else { return Ok(None) };
        let object = found.object.id;
        self.pinned().entry(object).or_default().readers += 1;
        Ok(Some((found, Pin { readers: Arc::clone(self), object })))
    }

    /// Unlinks the blobs of objects that the index no longer names, now or after their last reader.
    pub(crate) async fn retire(&self, retired: Vec<Retired>) {
        if retired.is_empty() {
            return;
        }
        let mut free = Vec::new();
        {
            let _gate = self.gate.write().await;
            let mut pinned = self.pinned();
            for Retired { object, blobs } in retired {
                match pinned.get_mut(&object) {
                    Some(pin) => pin.doomed.extend(blobs),
                    None => free.extend(blobs),
                }
            }
        }
        self.remove(free);
    }

    /// Unlinks blobs off the async threads. Nobody waits: what a crash leaves is swept at start.
    pub(crate) fn remove(&self, ids: Vec<BlobId>) {
        if ids.is_empty() {
            return;
        }
        let blobs = Arc::clone(&self.blobs);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || blobs.remove(&ids))),
            Err(_) => blobs.remove(&ids),
        }
    }

    fn pinned(&self) -> MutexGuard<'_, HashMap<i64, Pinned>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.readers.pinned();
        let Some(pin) = pinned.get_mut(&self.object) else { return };
        pin.readers -= 1;
        if pin.readers == 0 {
            let doomed = pinned.remove(&self.object).map(|p| p.doomed).unwrap_or_default();
            drop(pinned);
            self.readers.remove(doomed);
        }
    }
}

/// Where a stream is in an object's content.
struct Cursor {
    blobs: Arc<BlobStore>,
    extents: VecDeque<Extent>,
    /// The range still to be sent, as offsets in the object.
    range: Range<u64>,
    file: Option<File>,
    _pin: Pin,
}

/// Streams the range that was found.
pub(crate) fn stream(found: Found, pin: Pin) -> StreamingBlob {
    let blobs = Arc::clone(&pin.readers.blobs);
    let cursor = Cursor { blobs, extents: found.extents.into(), range: found.range, file: None, _pin: pin };
    StreamingBlob::wrap(stream::try_unfold(cursor, |mut cursor| async move {
        if cursor.range.is_empty() {
            return Ok(None);
        }
        let step = tokio::task::spawn_blocking(move || cursor.read().map(|bytes| Some((bytes, cursor))));
        step.await.map_err(io::Error::other)?.inspect_err(|e| {
            tracing::error!(error = %e, "object data can't be read");
        })
    }))
}

impl Cursor {
    /// Reads the next bytes; never across two blobs.
    fn read(&mut self) -> io::Result<Bytes> {
        let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the object's data ends early");
        let extent = self.extents.front().ok_or_else(short)?;
        let file = match self.file.take() {
            Some(file) => file,
            None => self.blobs.read(&extent.blob)?,
        };
        let end = self.range.end.min(extent.first + extent.size);
        let mut buffer = vec![0; (end - self.range.start).min(CHUNK) as usize];
        file.read_exact_at(&mut buffer, self.range.start - extent.first)?;
        self.range.start += buffer.len() as u64;
        if self.range.start == extent.first + extent.size {
            self.extents.pop_front();
        } else {
            self.file = Some(file);
        }
        Ok(buffer.into())
    }
}
