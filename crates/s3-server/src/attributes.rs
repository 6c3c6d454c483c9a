//! GetObjectAttributes.

use std::result;

use s3s::{
    S3Error, S3Request,
    dto::{
        Checksum, ChecksumType, ETag, GetObjectAttributesInput, GetObjectAttributesOutput,
        GetObjectAttributesParts, ObjectAttributes, ObjectPart, StorageClass,
    },
    s3_error,
};

use crate::{
    checksum::with_checksums,
    error::{Result, no_such_key},
    list::page_size,
    model::{Extent, Object},
    object_store::ObjectStore,
    timestamps::timestamp,
    unsupported::reject_version,
};

/// The attributes that a request can name.
const ATTRIBUTES: [&str; 5] = [
    ObjectAttributes::CHECKSUM,
    ObjectAttributes::ETAG,
    ObjectAttributes::OBJECT_PARTS,
    ObjectAttributes::OBJECT_SIZE,
    ObjectAttributes::STORAGE_CLASS,
];

pub(crate) async fn get(
    store: &ObjectStore,
    request: S3Request<GetObjectAttributesInput>,
) -> Result<GetObjectAttributesOutput> {
    let input = request.input;
    reject_version(input.version_id.as_deref())?;
    let names = attribute_names(&input.object_attributes)?;
    let wants = |attribute| names.contains(&attribute);
    let max = page_size(input.max_parts)?;
    let after = input.part_number_marker.unwrap_or(0).max(0);
    let limit = if wants(ObjectAttributes::OBJECT_PARTS) { max as u64 + 1 } else { 0 };
    let found = store.index().object_with_parts(&input.bucket, &input.key, after, limit).await?;
    let (object, parts) = found.ok_or_else(no_such_key)?;
    let part_count = object.part_count.filter(|_| wants(ObjectAttributes::OBJECT_PARTS));
    let checksum = checksum(&object).filter(|_| wants(ObjectAttributes::CHECKSUM));
    Ok(GetObjectAttributesOutput {
        checksum,
        e_tag: wants(ObjectAttributes::ETAG).then_some(ETag::Strong(object.etag)),
        last_modified: Some(timestamp(object.modify_time)),
        object_parts: part_count.map(|count| parts_page(parts, count, after, max)),
        object_size: wants(ObjectAttributes::OBJECT_SIZE).then_some(object.size as i64),
        storage_class: wants(ObjectAttributes::STORAGE_CLASS)
            .then(|| StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    })
}

/// The names in `x-amz-object-attributes`. s3s passes a list as one value.
fn attribute_names(headers: &[ObjectAttributes]) -> result::Result<Vec<&str>, S3Error> {
    let names: Vec<_> = headers.iter().flat_map(|header| header.as_str().split(',')).map(str::trim).collect();
    if names.iter().any(|name| !ATTRIBUTES.contains(name)) {
        return Err(s3_error!(InvalidArgument, "An attribute is not known."));
    }
    Ok(names)
}

/// The object's checksum, if it has one.
fn checksum(object: &Object) -> Option<Checksum> {
    let checksums = object.checksums.clone();
    if checksums.is_empty() {
        return None;
    }
    let kind = object.checksum_kind;
    Some(with_checksums!(Checksum { checksum_type: kind.map(ChecksumType::from) }, checksums))
}

/// A page of the parts after the number `after`, from up to one more than `max` of them.
fn parts_page(mut parts: Vec<Extent>, count: i32, after: i32, max: usize) -> GetObjectAttributesParts {
    let truncated = parts.len() > max;
    parts.truncate(max);
    GetObjectAttributesParts {
        is_truncated: Some(truncated),
        max_parts: Some(max as i32),
        next_part_number_marker: Some(after + parts.len() as i32),
        part_number_marker: Some(after),
        total_parts_count: Some(count),
        parts: Some(parts.into_iter().zip(after + 1..).map(listed_part).collect()),
    }
}

fn listed_part((part, number): (Extent, i32)) -> ObjectPart {
    with_checksums!(ObjectPart { part_number: Some(number), size: Some(part.size as i64) }, part.checksums)
}
