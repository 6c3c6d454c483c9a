//! Streaming an object's content from its blobs.

use std::{collections::VecDeque, fs::File, io, ops::Range, os::unix::fs::FileExt as _, sync::Arc};

use bytes::Bytes;
use futures::stream;
use s3s::dto::StreamingBlob;

use crate::{
    blobs::BlobDir,
    model::{Extent, ObjectContent},
    readers::Pin,
};

/// Bytes read and sent at a time.
const CHUNK_BYTES: u64 = 512 << 10;

/// The read position of a stream. Pins the object until the stream is dropped.
struct ContentReader {
    blobs: Arc<BlobDir>,
    extents: VecDeque<Extent>,
    /// The range still to be sent, as offsets in the object.
    range: Range<u64>,
    file: Option<File>,
    _pin: Pin,
}

/// Streams the range of `content`, whose object `pin` pins.
pub(crate) fn stream_content(blobs: Arc<BlobDir>, content: ObjectContent, pin: Pin) -> StreamingBlob {
    let reader =
        ContentReader { blobs, extents: content.extents.into(), range: content.range, file: None, _pin: pin };
    StreamingBlob::wrap(stream::try_unfold(reader, |mut reader| async move {
        if reader.range.is_empty() {
            return Ok(None);
        }
        let step = tokio::task::spawn_blocking(move || reader.read().map(|bytes| Some((bytes, reader))));
        step.await.map_err(io::Error::other)?.inspect_err(|e| {
            tracing::error!(error = %e, "could not read object data");
        })
    }))
}

impl ContentReader {
    /// Reads the next bytes, at most to the end of the current blob.
    fn read(&mut self) -> io::Result<Bytes> {
        let too_short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the object's data is too short");
        let extent = self.extents.front().ok_or_else(too_short)?;
        let file = match self.file.take() {
            Some(file) => file,
            None => self.blobs.read(&extent.blob)?,
        };
        let end = self.range.end.min(extent.first + extent.size);
        let mut buffer = vec![0; (end - self.range.start).min(CHUNK_BYTES) as usize];
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
