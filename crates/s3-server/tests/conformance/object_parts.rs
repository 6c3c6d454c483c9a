//! Objects that were uploaded in parts: reading a part by its number, and GetObjectAttributes.

use std::slice;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::{
    operation::get_object_attributes::GetObjectAttributesOutput,
    types::{
        ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
        ObjectAttributes, StorageClass,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rstest::rstest;

use crate::support::{
    Backend, MIN_PART_BYTES, TestStore, content, error_code, for_a_minute, rejected_status,
};

const ALL_ATTRIBUTES: [ObjectAttributes; 5] = [
    ObjectAttributes::Etag,
    ObjectAttributes::Checksum,
    ObjectAttributes::ObjectParts,
    ObjectAttributes::StorageClass,
    ObjectAttributes::ObjectSize,
];

/// Uploads an object of these parts and returns its ETag. The part numbers have gaps.
async fn put_in_parts(store: &TestStore, key: &str, parts: &[Vec<u8>]) -> Result<String> {
    let upload = store.create_upload(key).await?;
    let mut etags = Vec::new();
    for (number, body) in (2..).step_by(3).zip(parts) {
        etags.push((number, store.put_part(key, &upload, number, body.clone()).await?));
    }
    let named: Vec<_> = etags.iter().map(|(number, etag)| (*number, etag.as_str())).collect();
    store.complete(key, &upload, &named).send().await?.e_tag.context("no ETag")
}

fn three_parts() -> [Vec<u8>; 3] {
    [content(1, MIN_PART_BYTES), content(2, MIN_PART_BYTES + 77), content(3, 1234)]
}

#[tokio::test(flavor = "multi_thread")]
async fn get_and_head_part_number_return_the_part_and_the_count() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let (key, parts) = ("parts/three", three_parts());
    let etag = put_in_parts(&store, key, &parts).await?;
    let size: usize = parts.iter().map(Vec::len).sum();
    let mut first = 0;
    for (number, part) in (1..).zip(parts) {
        let range = format!("bytes {first}-{}/{size}", first + part.len() - 1);
        first += part.len();
        let get = store.client.get_object().bucket(&store.bucket).key(key).part_number(number);
        let got = get.clone().send().await?;
        ensure!(got.parts_count() == Some(3), "{:?}", got.parts_count());
        ensure!(got.e_tag() == Some(&etag), "{:?}", got.e_tag());
        ensure!(got.content_range() == Some(&range), "{:?}, not {range}", got.content_range());
        ensure!(got.content_length() == Some(part.len() as i64), "{:?}", got.content_length());
        ensure!(got.body.collect().await?.to_vec() == part, "part {number}");
        let response = store.http.get(get.presigned(for_a_minute()?).await?.uri()).send().await?;
        ensure!(response.status() == 206, "{}", response.status());

        let head = store.client.head_object().bucket(&store.bucket).key(key).part_number(number);
        let headed = head.clone().send().await?;
        ensure!(headed.parts_count() == Some(3) && headed.e_tag() == Some(&etag), "{headed:?}");
        ensure!(headed.content_range() == Some(&range), "{headed:?}");
        ensure!(headed.content_length() == Some(part.len() as i64), "{headed:?}");
        let response = store.http.head(head.presigned(for_a_minute()?).await?.uri()).send().await?;
        ensure!(response.status() == 206, "{}", response.status());
    }
    let whole = store.client.head_object().bucket(&store.bucket).key(key).send().await?;
    ensure!(whole.parts_count().is_none(), "{whole:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn get_part_number_that_does_not_exist_returns_invalid_part() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    put_in_parts(&store, "parts/two", &[content(1, MIN_PART_BYTES), content(2, 10)]).await?;
    put_in_parts(&store, "parts/one", &[content(1, 10)]).await?;
    store.put("parts/put", b"not in parts").await?;
    for (key, number) in [("parts/two", 3), ("parts/two", 5), ("parts/one", 2), ("parts/put", 2)] {
        let get = || store.client.get_object().bucket(&store.bucket).key(key).part_number(number);
        ensure!(error_code(get().send().await)? == "InvalidPart", "{key} {number}");
        ensure!(rejected_status(get().send().await) == Some(400), "{key} {number}");
        let head = store.client.head_object().bucket(&store.bucket).key(key).part_number(number);
        ensure!(rejected_status(head.send().await) == Some(400), "{key} {number}");
    }
    for number in [-1, 0, 10_001] {
        let get = store.client.get_object().bucket(&store.bucket).key("parts/two").part_number(number);
        ensure!(error_code(get.send().await)? == "InvalidArgument", "{number}");
    }
    let get = store.client.get_object().bucket(&store.bucket).key("parts/missing").part_number(1);
    ensure!(error_code(get.send().await)? == "NoSuchKey");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn get_part_number_with_range_returns_invalid_request() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    put_in_parts(&store, "parts/ranged", &[content(1, 1000)]).await?;
    let get = store.client.get_object().bucket(&store.bucket).key("parts/ranged").part_number(1);
    ensure!(error_code(get.range("bytes=0-9").send().await)? == "InvalidRequest");
    let head = store.client.head_object().bucket(&store.bucket).key("parts/ranged").part_number(1);
    ensure!(rejected_status(head.range("bytes=0-9").send().await) == Some(400));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn get_part_number_with_failed_condition_returns_precondition_failed() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let etag = put_in_parts(&store, "parts/condition", &[content(1, 1000)]).await?;
    let get = || store.client.get_object().bucket(&store.bucket).key("parts/condition").part_number(1);
    ensure!(error_code(get().if_match("\"other\"").send().await)? == "PreconditionFailed");
    ensure!(rejected_status(get().if_none_match(&etag).send().await) == Some(304));
    get().if_match(etag).send().await?;
    Ok(())
}

/// Part 1 of an object that was not uploaded in parts is the whole object, without a count of parts. That
/// of an upload with one part has a count.
#[tokio::test(flavor = "multi_thread")]
async fn get_part_number_one_of_object_in_one_piece_returns_everything() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let body = content(1, 1000);
    store.put("parts/put", &body).await?;
    put_in_parts(&store, "parts/one", slice::from_ref(&body)).await?;
    for (key, count) in [("parts/put", None), ("parts/one", Some(1))] {
        let got = store.client.get_object().bucket(&store.bucket).key(key).part_number(1).send().await?;
        ensure!(got.parts_count() == count, "{key}: {:?}", got.parts_count());
        ensure!(got.content_range() == Some("bytes 0-999/1000"), "{key}: {:?}", got.content_range());
        ensure!(got.body.collect().await?.to_vec() == body, "{key}");
    }
    Ok(())
}

/// An empty range cannot be expressed in Content-Range.
#[tokio::test(flavor = "multi_thread")]
async fn get_part_number_of_empty_part_returns_empty_body() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    store.put("parts/empty", b"").await?;
    put_in_parts(&store, "parts/empty-last", &[content(1, MIN_PART_BYTES), Vec::new()]).await?;
    for (key, number, count) in [("parts/empty", 1, None), ("parts/empty-last", 2, Some(2))] {
        let got = store.client.get_object().bucket(&store.bucket).key(key).part_number(number).send().await?;
        ensure!(got.parts_count() == count && got.content_range().is_none(), "{key}: {got:?}");
        ensure!(got.body.collect().await?.to_vec().is_empty(), "{key}");
        let head = store.client.head_object().bucket(&store.bucket).key(key).part_number(number);
        ensure!(head.send().await?.content_length() == Some(0), "{key}");

        let copy = store.client.copy_object().bucket(&store.bucket).key("parts/copy");
        copy.copy_source(format!("{}/{key}", store.bucket)).send().await?;
        let head = store.client.head_object().bucket(&store.bucket).key("parts/copy").part_number(number);
        let head = head.send().await?;
        ensure!(head.content_length() == Some(0) && head.parts_count() == count, "copy of {key}: {head:?}");
    }
    Ok(())
}

/// A copy keeps the ETag, so it keeps the parts.
#[tokio::test(flavor = "multi_thread")]
async fn get_part_number_of_copied_object_returns_the_part() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let parts = three_parts();
    put_in_parts(&store, "parts/source", &parts).await?;
    let source = format!("{}/parts/source", store.bucket);
    store.client.copy_object().bucket(&store.bucket).key("parts/copy").copy_source(source).send().await?;
    store.delete("parts/source").await?;
    let got = store.client.get_object().bucket(&store.bucket).key("parts/copy").part_number(2).send().await?;
    ensure!(got.parts_count() == Some(3), "{:?}", got.parts_count());
    ensure!(got.body.collect().await?.to_vec() == parts[1]);
    Ok(())
}

fn crc32c(data: &[u8]) -> String {
    STANDARD.encode(crc32c::crc32c(data).to_be_bytes())
}

/// Uploads an object in two parts, with checksums of this kind.
async fn put_with_checksums(
    store: &TestStore,
    key: &str,
    kind: ChecksumType,
    parts: &[Vec<u8>; 2],
) -> Result<()> {
    let created = store.client.create_multipart_upload().bucket(&store.bucket).key(key);
    let created = created.checksum_algorithm(ChecksumAlgorithm::Crc32C).checksum_type(kind).send().await?;
    let upload = created.upload_id().context("no upload id")?;
    let mut named = Vec::new();
    for (number, body) in (1..).zip(parts) {
        let etag = store.put_part(key, upload, number, body.clone()).await?;
        named.push(
            CompletedPart::builder().part_number(number).e_tag(etag).checksum_crc32_c(crc32c(body)).build(),
        );
    }
    let parts = CompletedMultipartUpload::builder().set_parts(Some(named)).build();
    let complete = store.client.complete_multipart_upload().bucket(&store.bucket).key(key);
    complete.upload_id(upload).multipart_upload(parts).send().await?;
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_part_number_with_checksum_mode_returns_checksum_of_the_part(
    #[values(ChecksumType::Composite, ChecksumType::FullObject)] kind: ChecksumType,
) -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let parts = [content(1, MIN_PART_BYTES), content(2, 4321)];
    put_with_checksums(&store, "parts/checksums", kind.clone(), &parts).await?;
    for (number, part) in (1..).zip(&parts) {
        let get = store.client.get_object().bucket(&store.bucket).key("parts/checksums").part_number(number);
        let got = get.checksum_mode(ChecksumMode::Enabled).send().await?;
        ensure!(got.checksum_crc32_c() == Some(&crc32c(part)), "{:?}", got.checksum_crc32_c());
        ensure!(got.checksum_type() == Some(&kind), "{:?}", got.checksum_type());
        ensure!(got.body.collect().await?.to_vec() == *part);
        let head = store.client.head_object().bucket(&store.bucket).key("parts/checksums");
        let head = head.part_number(number).checksum_mode(ChecksumMode::Enabled).send().await?;
        ensure!(head.checksum_crc32_c() == Some(&crc32c(part)), "{head:?}");
    }
    Ok(())
}

async fn attributes(store: &TestStore, key: &str) -> Result<GetObjectAttributesOutput> {
    let get = store.client.get_object_attributes().bucket(&store.bucket).key(key);
    Ok(get.set_object_attributes(Some(ALL_ATTRIBUTES.to_vec())).send().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn get_attributes_of_object_in_parts_returns_all_attributes() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let (key, parts) = ("attributes/parts", [content(1, MIN_PART_BYTES), content(2, 4321)]);
    put_with_checksums(&store, key, ChecksumType::Composite, &parts).await?;
    let head = store.client.head_object().bucket(&store.bucket).key(key);
    let head = head.checksum_mode(ChecksumMode::Enabled).send().await?;

    let got = attributes(&store, key).await?;
    // Without quotes here, as in S3.
    ensure!(got.e_tag() == head.e_tag().map(|etag| etag.trim_matches('"')), "{:?}", got.e_tag());
    ensure!(got.last_modified() == head.last_modified(), "{:?}", got.last_modified());
    ensure!(got.object_size() == head.content_length(), "{:?}", got.object_size());
    ensure!(got.storage_class() == Some(&StorageClass::Standard), "{:?}", got.storage_class());
    let checksum = got.checksum().context("no checksum")?;
    ensure!(checksum.checksum_crc32_c() == head.checksum_crc32_c(), "{checksum:?}");
    ensure!(checksum.checksum_type() == Some(&ChecksumType::Composite), "{checksum:?}");
    let listed = got.object_parts().context("no parts")?;
    ensure!(listed.total_parts_count() == Some(2) && listed.is_truncated() == Some(false), "{listed:?}");
    ensure!(listed.parts().len() == 2, "{listed:?}");
    for (number, (listed, part)) in (1..).zip(listed.parts().iter().zip(&parts)) {
        ensure!(listed.part_number() == Some(number), "{listed:?}");
        ensure!(listed.size() == Some(part.len() as i64), "{listed:?}");
        ensure!(listed.checksum_crc32_c() == Some(&crc32c(part)), "{listed:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn get_attributes_with_max_parts_returns_pages() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let (key, parts) = ("attributes/pages", three_parts());
    put_in_parts(&store, key, &parts).await?;
    let (mut sizes, mut marker) = (Vec::new(), None);
    for page in 0..2 {
        let get = store.client.get_object_attributes().bucket(&store.bucket).key(key);
        let get = get.object_attributes(ObjectAttributes::ObjectParts).max_parts(2);
        let got = get.set_part_number_marker(marker.clone()).send().await?;
        ensure!(got.e_tag().is_none() && got.object_size().is_none(), "an attribute that was not requested");
        let listed = got.object_parts().context("no parts")?;
        ensure!(listed.max_parts() == Some(2) && listed.total_parts_count() == Some(3), "{listed:?}");
        ensure!(listed.part_number_marker().unwrap_or("0") == marker.as_deref().unwrap_or("0"), "{listed:?}");
        ensure!(listed.is_truncated() == Some(page == 0), "{listed:?}");
        sizes.extend(listed.parts().iter().map(|part| (part.part_number(), part.size())));
        marker = listed.next_part_number_marker().map(str::to_owned);
    }
    let expected: Vec<_> =
        (1..).zip(&parts).map(|(number, part)| (Some(number), Some(part.len() as i64))).collect();
    ensure!(sizes == expected, "{sizes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn get_attributes_of_object_in_one_piece_returns_no_parts() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let etag = store.put("attributes/put", b"x").await?;
    let got = attributes(&store, "attributes/put").await?;
    ensure!(got.e_tag() == Some(etag.trim_matches('"')) && got.object_size() == Some(1), "{got:?}");
    ensure!(got.object_parts().is_none() && got.checksum().is_none(), "{got:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn get_attributes_of_missing_object_or_unknown_attribute_is_rejected() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let get = |key: &str, attribute: &str| {
        let get = store.client.get_object_attributes().bucket(&store.bucket).key(key);
        get.object_attributes(ObjectAttributes::from(attribute)).send()
    };
    ensure!(error_code(get("attributes/missing", "ETag").await)? == "NoSuchKey");
    store.put("attributes/put", b"x").await?;
    ensure!(error_code(get("attributes/put", "Owner").await)? == "InvalidArgument");
    Ok(())
}

/// Until the upload is completed, readers get the old object.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_during_upload_returns_the_old_object(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let key = "parts/atomic";
    store.put(key, b"old").await?;
    let upload = store.create_upload(key).await?;
    ensure!(store.get(key).await? == b"old");
    let etag = store.put_part(key, &upload, 1, b"new".to_vec()).await?;
    ensure!(store.get(key).await? == b"old");
    store.complete(key, &upload, &[(1, &etag)]).send().await?;
    ensure!(store.get(key).await? == b"new");
    Ok(())
}
