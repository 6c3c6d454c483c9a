//! Assembling an object from the parts that a CompleteMultipartUpload request names.

use std::{collections::BTreeMap, result};

use s3s::{S3Error, dto::CompletedPart, s3_error};

use crate::{
    checksum::{ChecksumKind, Checksums, checksums_of},
    error::Result,
    hashing::{composite_checksum, full_object_checksum, multipart_etag},
    model::{NewExtent, NewObject, Part, Upload},
};

/// The smallest size of a part other than the last, as in S3.
const MIN_PART_BYTES: u64 = 5 << 20;

/// The object that a CompleteMultipartUpload request describes.
pub(super) struct CompletionRequest {
    pub(super) parts: Vec<CompletedPart>,
    pub(super) checksums: Checksums,
    /// The object's size, if the request declares it.
    pub(super) size: Option<i64>,
}

impl CompletionRequest {
    /// Rejects an empty, incomplete or unordered list of parts.
    pub(super) fn check_order(&self) -> result::Result<(), S3Error> {
        if self.parts.is_empty() || self.parts.iter().any(|p| p.part_number.is_none() || p.e_tag.is_none()) {
            return Err(s3_error!(MalformedXML, "Name at least one part, each by number and ETag."));
        }
        if !self.parts.is_sorted_by(|a, b| a.part_number < b.part_number) {
            return Err(s3_error!(InvalidPartOrder, "The parts are not in ascending order."));
        }
        Ok(())
    }

    /// Checks the request against the received parts, and returns the object to insert.
    pub(super) fn assemble(&self, upload: &Upload, mut received: BTreeMap<i32, Part>) -> Result<NewObject> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for named in &self.parts {
            let number = named.part_number.unwrap_or_default();
            let part = received.remove(&number).filter(|part| is_same(named, part));
            parts.push(part.ok_or_else(|| {
                s3_error!(InvalidPart, "Part {number} was not uploaded, or is not the one you named.")
            })?);
        }
        let full = parts.len().saturating_sub(1);
        if parts[..full].iter().any(|part| part.size < MIN_PART_BYTES) {
            return Err(s3_error!(EntityTooSmall, "A part other than the last is smaller than 5 MiB.").into());
        }
        let size: u64 = parts.iter().map(|part| part.size).sum();
        if self.size.is_some_and(|declared| u64::try_from(declared) != Ok(size)) {
            return Err(s3_error!(InvalidRequest, "The object is not of the size you named.").into());
        }
        let checksums = self.object_checksum(upload, &parts)?;
        Ok(NewObject {
            etag: multipart_etag(&parts.iter().filter_map(md5).collect::<Vec<_>>()),
            headers: upload.headers.clone(),
            checksum_kind: upload.checksum_kind.filter(|_| !checksums.is_empty()),
            checksums,
            upload: Some(upload.id.clone()),
            in_parts: true,
            content: parts.into_iter().map(extent).collect(),
        })
    }

    /// The object's checksum, if the upload was created with an algorithm. Rejects a request that
    /// declares another one.
    fn object_checksum(&self, upload: &Upload, parts: &[Part]) -> Result<Checksums> {
        let mut checksums = Checksums::default();
        let Some(algorithm) = upload.algorithm else { return Ok(checksums) };
        let value = if upload.checksum_kind == Some(ChecksumKind::FullObject) {
            let parts: Vec<_> = parts.iter().map(|part| (&part.checksums, part.size)).collect();
            full_object_checksum(algorithm, &parts)
        } else {
            let parts: Vec<_> = parts.iter().map(|part| &part.checksums).collect();
            composite_checksum(algorithm, &parts)
        };
        if let Some(value) = value {
            checksums.set(algorithm, value);
        }
        // A composite checksum may be declared with or without its number of parts.
        let declared = self.checksums.get(algorithm);
        let computed = checksums.get(algorithm);
        let without_count = computed.map(|c| c.split('-').next().unwrap_or(c));
        if declared.is_some() && declared != computed && declared != without_count {
            return Err(
                s3_error!(BadDigest, "The {} you specified is not the object's.", algorithm.name()).into()
            );
        }
        Ok(checksums)
    }
}

fn extent(part: Part) -> NewExtent {
    NewExtent { blob: part.blob, size: part.size, etag: part.etag, checksums: part.checksums }
}

/// True if the received part is the named one: its ETag and all of its named checksums are equal.
fn is_same(named: &CompletedPart, part: &Part) -> bool {
    let same_etag = named.e_tag.as_ref().is_some_and(|etag| etag.value() == part.etag);
    let checksums = checksums_of!(named);
    same_etag
        && checksums
            .present()
            .all(|(algorithm, value)| part.checksums.get(algorithm).is_none_or(|c| c == value))
}

/// A part's MD5, which is its ETag.
fn md5(part: &Part) -> Option<[u8; 16]> {
    hex::decode(&part.etag).ok()?.try_into().ok()
}
