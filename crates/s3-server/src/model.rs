//! What the index stores: objects, their extents, multipart uploads and their parts.

use std::ops::Range;

use crate::{
    blobs::BlobId,
    checksum::{Algorithm, ChecksumKind, Checksums},
    headers::ObjectHeaders,
};

/// An object, without its content.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) size: u64,
    /// Without quotes.
    pub(crate) etag: String,
    /// Unix milliseconds.
    pub(crate) modify_time: i64,
    pub(crate) headers: ObjectHeaders,
    pub(crate) checksums: Checksums,
    pub(crate) checksum_kind: Option<ChecksumKind>,
    /// The number of its parts. `None` if it was not uploaded in parts.
    pub(crate) part_count: Option<i32>,
}

/// A range of an object's content that is stored in one blob.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub(crate) blob: BlobId,
    /// Offset of its first byte in the object.
    pub(crate) first: u64,
    pub(crate) size: u64,
    /// The MD5 of the blob in hex.
    pub(crate) etag: String,
    /// Of the blob.
    pub(crate) checksums: Checksums,
}

impl Extent {
    pub(crate) fn range(&self) -> Range<u64> {
        self.first..self.first + self.size
    }
}

/// What to read of an object.
pub(crate) enum Selection {
    /// Everything, including empty parts.
    Whole,
    /// A range of its content, without empty parts.
    Bytes(Range<u64>),
    /// One of its parts, numbered from 1 without gaps, whatever the numbers in the upload were. An object
    /// that was not uploaded in parts is its own part 1.
    Part(i32),
}

/// An object with the extents of the requested range.
pub(crate) struct ObjectContent {
    pub(crate) object: Object,
    pub(crate) range: Range<u64>,
    pub(crate) extents: Vec<Extent>,
}

/// An object to be inserted.
pub(crate) struct NewObject {
    pub(crate) etag: String,
    pub(crate) headers: ObjectHeaders,
    pub(crate) checksums: Checksums,
    pub(crate) checksum_kind: Option<ChecksumKind>,
    /// The id of the multipart upload it is completed from.
    pub(crate) upload: Option<String>,
    /// True if each blob is a part.
    pub(crate) in_parts: bool,
    /// The blobs of its content, in order.
    pub(crate) content: Vec<NewExtent>,
}

/// A blob of an object to be inserted.
pub(crate) struct NewExtent {
    pub(crate) blob: BlobId,
    pub(crate) size: u64,
    /// The MD5 of the blob in hex.
    pub(crate) etag: String,
    /// Of the blob.
    pub(crate) checksums: Checksums,
}

/// An object that was removed from the index, and the blobs that only it referenced.
pub(crate) struct RemovedObject {
    pub(crate) object: i64,
    pub(crate) blobs: Vec<BlobId>,
}

/// A multipart upload in progress.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) bucket: String,
    pub(crate) key: String,
    /// Unix milliseconds.
    pub(crate) create_time: i64,
    pub(crate) headers: ObjectHeaders,
    /// The algorithm of the object's checksum.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) checksum_kind: Option<ChecksumKind>,
}

/// A received part.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) number: i32,
    pub(crate) size: u64,
    /// Without quotes: the MD5 in hex.
    pub(crate) etag: String,
    /// Unix milliseconds.
    pub(crate) modify_time: i64,
    pub(crate) checksums: Checksums,
    pub(crate) blob: BlobId,
}

/// A part to be inserted.
pub(crate) struct NewPart {
    pub(crate) number: i32,
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) checksums: Checksums,
    pub(crate) blob: BlobId,
}

/// The outcome of CompleteMultipartUpload.
pub(crate) enum Completion {
    /// The upload became an object.
    Completed {
        etag: String,
        checksums: Checksums,
        checksum_kind: Option<ChecksumKind>,
        /// The object that it replaced.
        replaced: Option<RemovedObject>,
        /// Blobs of parts that are not in the object.
        unused: Vec<BlobId>,
    },
    /// A repeated request: the upload had already become this object.
    AlreadyCompleted(Object),
}
