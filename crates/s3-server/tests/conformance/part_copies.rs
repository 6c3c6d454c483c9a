//! UploadPartCopy: parts from objects of the same object store.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::{
    error::ProvideErrorMetadata as _,
    operation::upload_part_copy::builders::UploadPartCopyFluentBuilder,
    primitives::DateTime,
    types::{ChecksumAlgorithm, CopyPartResult},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};
use rstest::rstest;
use tokio::time::{Instant, sleep};

use crate::support::{Backend, MIN_PART_BYTES, TestStore, content, error_code, rejected_status};

/// A request to copy a part from an object, whose key is percent-encoded.
fn copy_part(
    store: &TestStore,
    (key, upload, number): (&str, &str, i32),
    source: &str,
) -> UploadPartCopyFluentBuilder {
    let part = store.client.upload_part_copy().bucket(&store.bucket).key(key).upload_id(upload);
    part.part_number(number).copy_source(format!("{}/{source}", store.bucket))
}

async fn send(copy: UploadPartCopyFluentBuilder) -> Result<CopyPartResult> {
    copy.send().await?.copy_part_result.context("no result")
}

fn etag_of(body: &[u8]) -> String {
    format!("\"{}\"", hex::encode(Md5::digest(body)))
}

/// The embedded object store's files and the bytes they take. Hard links take no bytes of their own.
fn disk_usage(store: &TestStore) -> Result<(usize, u64)> {
    let mut files = BTreeMap::new();
    let mut count = 0;
    for shard in fs::read_dir(store.dir()?.path().join("objects/blobs"))? {
        for blob in fs::read_dir(shard?.path())? {
            let metadata = blob?.metadata()?;
            files.insert(metadata.ino(), metadata.size());
            count += 1;
        }
    }
    Ok((count, files.values().sum()))
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn copy_part_with_or_without_range_copies_content(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let (source, key) = ("copies/source", "copies/target");
    let body = content(1, MIN_PART_BYTES + 1000);
    store.put(source, &body).await?;
    let upload = store.create_upload(key).await?;
    let whole = send(copy_part(&store, (key, &upload, 1), source)).await?;
    let range = send(copy_part(&store, (key, &upload, 2), source).copy_source_range("bytes=5-14")).await?;
    if matches!(backend, Backend::Embedded) {
        // SeaweedFS's ETag of a copy depends on how it stores the source.
        ensure!(whole.e_tag() == Some(&etag_of(&body)) && whole.last_modified().is_some(), "{whole:?}");
        ensure!(range.e_tag() == Some(&etag_of(&body[5..15])), "{range:?}");
    }
    store.delete(source).await?;
    let parts = [(1, whole.e_tag().unwrap_or_default()), (2, range.e_tag().unwrap_or_default())];
    let done = store.complete(key, &upload, &parts).send().await?;
    ensure!(done.e_tag().is_some_and(|etag| etag.ends_with("-2\"")), "{done:?}");
    ensure!(store.get(key).await? == [&body, &body[5..15]].concat());
    Ok(())
}

/// The range may cover any number of the source's parts, whole or not.
#[tokio::test(flavor = "multi_thread")]
async fn copy_part_of_object_in_parts_copies_content() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let sizes = [MIN_PART_BYTES, MIN_PART_BYTES + 33, MIN_PART_BYTES + 1, 777];
    let upload = store.create_upload("copies/in-parts").await?;
    let (mut body, mut etags) = (Vec::new(), Vec::new());
    for (number, size) in (1..).zip(sizes) {
        let part = content(number as u8, size);
        body.extend_from_slice(&part);
        etags.push((number, store.put_part("copies/in-parts", &upload, number, part).await?));
    }
    let named: Vec<_> = etags.iter().map(|(number, etag)| (*number, etag.as_str())).collect();
    store.complete("copies/in-parts", &upload, &named).send().await?;

    let second = MIN_PART_BYTES..2 * MIN_PART_BYTES + 33;
    let ranges = [
        0..body.len(),
        second.clone(),
        second.start + 1..second.end,
        second.start..second.end - 1,
        second.start - 1..second.end + 1,
        body.len() - 1..body.len(),
    ];
    let upload = store.create_upload("copies/target").await?;
    let (mut expected, mut etags) = (Vec::new(), Vec::new());
    for (number, range) in (1..).zip(ranges) {
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let copy = copy_part(&store, ("copies/target", &upload, number), "copies/in-parts");
        let part = send(copy.copy_source_range(header)).await?;
        ensure!(part.e_tag() == Some(&etag_of(&body[range.clone()])), "{range:?}: {part:?}");
        expected.extend_from_slice(&body[range]);
        etags.push((number, part.e_tag.unwrap_or_default()));
    }
    let named: Vec<_> = etags.iter().map(|(number, etag)| (*number, etag.as_str())).collect();
    store.complete("copies/target", &upload, &named).send().await?;
    ensure!(store.get("copies/target").await? == expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_part_of_whole_object_or_part_takes_no_space() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    store.put("copies/source", &content(1, MIN_PART_BYTES)).await?;
    let upload = store.create_upload("copies/in-parts").await?;
    let one = store.put_part("copies/in-parts", &upload, 1, content(2, MIN_PART_BYTES)).await?;
    let two = store.put_part("copies/in-parts", &upload, 2, content(3, 500)).await?;
    store.complete("copies/in-parts", &upload, &[(1, &one), (2, &two)]).send().await?;
    let before = disk_usage(&store)?;

    let upload = store.create_upload("copies/target").await?;
    let whole = send(copy_part(&store, ("copies/target", &upload, 1), "copies/source")).await?;
    let part = copy_part(&store, ("copies/target", &upload, 2), "copies/in-parts");
    let part = send(part.copy_source_range(format!("bytes=0-{}", MIN_PART_BYTES - 1))).await?;
    ensure!(part.e_tag() == Some(&one), "{part:?}");
    ensure!(disk_usage(&store)? == (before.0 + 2, before.1), "{before:?} {:?}", disk_usage(&store)?);

    store.delete("copies/source").await?;
    store.delete("copies/in-parts").await?;
    let parts = [(1, whole.e_tag().unwrap_or_default()), (2, part.e_tag().unwrap_or_default())];
    store.complete("copies/target", &upload, &parts).send().await?;
    let expected = [content(1, MIN_PART_BYTES), content(2, MIN_PART_BYTES)].concat();
    ensure!(store.get("copies/target").await? == expected);
    Ok(())
}

/// Of the upload's algorithm, whether the source has such a checksum or not, and whether it is linked or
/// copied.
#[tokio::test(flavor = "multi_thread")]
async fn copy_part_to_upload_with_checksums_returns_checksum() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let body = content(1, 10_000);
    store.put("copies/without", &body).await?;
    let put = store.client.put_object().bucket(&store.bucket).key("copies/with").body(body.clone().into());
    put.checksum_algorithm(ChecksumAlgorithm::Crc32C).send().await?;
    let key = "copies/checksums";
    let created = store.client.create_multipart_upload().bucket(&store.bucket).key(key);
    let created = created.checksum_algorithm(ChecksumAlgorithm::Crc32C).send().await?;
    let upload = created.upload_id().context("no upload id")?;
    for source in ["copies/without", "copies/with"] {
        for (range, expected) in [(None, &body[..]), (Some("bytes=7-99"), &body[7..100])] {
            let copy =
                copy_part(&store, (key, upload, 1), source).set_copy_source_range(range.map(str::to_owned));
            let part = send(copy).await?;
            let checksum = STANDARD.encode(crc32c::crc32c(expected).to_be_bytes());
            ensure!(part.checksum_crc32_c() == Some(&checksum), "{source} {range:?}: {part:?}");
            ensure!(part.e_tag() == Some(&etag_of(expected)), "{source} {range:?}: {part:?}");
        }
    }
    let listed = store.client.list_parts().bucket(&store.bucket).key(key).upload_id(upload).send().await?;
    let checksum = STANDARD.encode(crc32c::crc32c(&body[7..100]).to_be_bytes());
    ensure!(listed.parts().first().and_then(|part| part.checksum_crc32_c()) == Some(&checksum), "{listed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_part_with_malformed_range_returns_invalid_argument() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    store.put("copies/five", b"12345").await?;
    let upload = store.create_upload("copies/target").await?;
    for range in
        ["0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5", "bytes=2-1"]
    {
        let copy =
            || copy_part(&store, ("copies/target", &upload, 1), "copies/five").copy_source_range(range);
        ensure!(error_code(copy().send().await)? == "InvalidArgument", "{range}");
        ensure!(rejected_status(copy().send().await) == Some(400), "{range}");
    }
    let copy =
        copy_part(&store, ("copies/target", &upload, 1), "copies/five").copy_source_range("bytes=0-21");
    ensure!(error_code(copy.send().await)? == "InvalidRange");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_part_from_special_keys_copies_content() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    for (key, encoded) in [
        ("a b", "a%20b"),
        ("_", "_"),
        ("__", "__"),
        ("?versionId", "%3FversionId"),
        ("a/../b", "a/../b"),
        ("\u{e9}+%", "%C3%A9%2B%25"),
    ] {
        let body = key.repeat(10).into_bytes();
        store.put(key, &body).await?;
        let upload = store.create_upload("copies/special").await?;
        let part = send(copy_part(&store, ("copies/special", &upload, 1), encoded)).await?;
        let etag = part.e_tag().context("no ETag")?;
        store.complete("copies/special", &upload, &[(1, etag)]).send().await?;
        ensure!(store.get("copies/special").await? == body, "{key:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_part_from_missing_source_or_to_missing_upload_is_rejected() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    store.put("copies/source", b"x").await?;
    let upload = store.create_upload("copies/target").await?;
    let target = ("copies/target", upload.as_str(), 1);
    ensure!(error_code(copy_part(&store, target, "copies/missing").send().await)? == "NoSuchKey");
    let bucket = copy_part(&store, target, "").copy_source("missing-bucket/copies/source");
    ensure!(error_code(bucket.send().await)? == "NoSuchBucket");
    let upload = copy_part(&store, ("copies/other", &upload, 1), "copies/source");
    ensure!(error_code(upload.send().await)? == "NoSuchUpload");
    let number = copy_part(&store, (target.0, target.1, 10_001), "copies/source");
    ensure!(error_code(number.send().await)? == "InvalidArgument");
    let version = copy_part(&store, target, "copies/source?versionId=1");
    ensure!(error_code(version.send().await)? == "NoSuchVersion");
    let listed = store.client.list_parts().bucket(&store.bucket).key(target.0).upload_id(target.1);
    ensure!(listed.send().await?.parts().is_empty(), "a rejected copy left a part");
    ensure!(disk_usage(&store)?.0 == 1, "a rejected copy left a file");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_part_with_conditions_depends_on_the_source() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let etag = store.put("copies/source", b"x").await?;
    let upload = store.create_upload("copies/target").await?;
    let copy = || copy_part(&store, ("copies/target", &upload, 1), "copies/source");
    let (past, future) = (DateTime::from_secs(1_000_000_000), DateTime::from_secs(4_000_000_000));
    for accepted in [
        copy().copy_source_if_match(&etag),
        copy().copy_source_if_none_match("\"other\""),
        copy().copy_source_if_modified_since(past),
        copy().copy_source_if_unmodified_since(future),
        copy().copy_source_if_match(&etag).copy_source_if_unmodified_since(past),
    ] {
        accepted.send().await?;
    }
    for rejected in [
        copy().copy_source_if_match("\"other\""),
        copy().copy_source_if_none_match(&etag),
        copy().copy_source_if_modified_since(future),
        copy().copy_source_if_unmodified_since(past),
    ] {
        let error = rejected.send().await.err().context("accepted")?;
        ensure!(error.code() == Some("PreconditionFailed"), "{error:?}");
    }
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_with_small_copied_part_is_rejected(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let key = "copies/small";
    store.put("copies/small-source", b"12345").await?;
    let upload = store.create_upload(key).await?;
    let mut etags = Vec::new();
    for number in [1, 2] {
        let part = send(copy_part(&store, (key, &upload, number), "copies/small-source")).await?;
        etags.push((number, part.e_tag.context("no ETag")?));
    }
    let parts: Vec<_> = etags.iter().map(|(number, etag)| (*number, etag.as_str())).collect();
    ensure!(error_code(store.complete(key, &upload, &parts).send().await)? == "EntityTooSmall");
    Ok(())
}

/// A replaced, unused or aborted copy leaves no file, and the source stays.
#[tokio::test(flavor = "multi_thread")]
async fn copied_parts_that_are_not_used_are_removed() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let body = content(1, 1000);
    store.put("copies/source", &body).await?;
    let upload = store.create_upload("copies/target").await?;
    for number in [1, 1, 2] {
        send(copy_part(&store, ("copies/target", &upload, number), "copies/source")).await?;
    }
    store.complete("copies/target", &upload, &[(1, &etag_of(&body))]).send().await?;
    let upload = store.create_upload("copies/aborted").await?;
    send(copy_part(&store, ("copies/aborted", &upload, 1), "copies/source")).await?;
    let abort = store.client.abort_multipart_upload().bucket(&store.bucket).key("copies/aborted");
    abort.upload_id(upload).send().await?;
    store.delete("copies/target").await?;
    ensure!(store.get("copies/source").await? == body);
    let deadline = Instant::now() + Duration::from_secs(10);
    while disk_usage(&store)?.0 > 1 {
        ensure!(Instant::now() < deadline, "{} files are left", disk_usage(&store)?.0);
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
