//! S3 behaviour of the embedded object store that SeaweedFS does not share, so that nothing else may rely
//! on it. Each test says what SeaweedFS does differently.

use std::{fs, io, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{
        ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart, EncodingType,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::stream;
use reqwest::Body;
use tokio::time::{Instant, sleep};

use crate::support::{MIN_PART_BYTES, TestStore, content, error_code, for_a_minute};

/// SeaweedFS stores keys as paths: it normalizes `..`, `//` and a trailing `/`, and limits names to 255
/// bytes.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_look_like_paths_are_plain_keys() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let long = "k".repeat(1024);
    let keys = [
        "../x",
        "../../../../etc/passwd",
        "..",
        ".",
        "a//b",
        "/leading",
        "trailing/",
        "a/../b",
        "nul%00",
        "index.db",
        "%2e%2e%2f",
        "\u{10ffff}last",
        "tab\tand\u{7f}",
        &long,
    ];
    for key in keys {
        store.put(key, key.as_bytes()).await.with_context(|| format!("PUT {key:?}"))?;
    }
    for key in keys {
        ensure!(store.get(key).await.with_context(|| format!("GET {key:?}"))? == key.as_bytes(), "{key:?}");
    }
    let mut listed = Vec::new();
    let mut pages = store.client.list_objects_v2().bucket(&store.bucket).max_keys(3).into_paginator().send();
    while let Some(page) = pages.next().await {
        listed.extend(page?.contents().iter().filter_map(|o| o.key().map(str::to_owned)));
    }
    let mut sorted: Vec<_> = keys.iter().map(|k| (*k).to_owned()).collect();
    sorted.sort();
    ensure!(listed == sorted, "{listed:?}");
    for key in keys {
        store.delete(key).await?;
        ensure!(!store.exists(key).await?, "{key:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn put_key_of_more_than_1024_bytes_is_rejected() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    ensure!(store.put(&"k".repeat(1025), b"x").await.is_err());
    Ok(())
}

/// A retry after a lost response must not report a completed upload as failed.
#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_twice_returns_the_same_etag() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let key = "s3-only/twice";
    let upload = store.create_upload(key).await?;
    let one = store.put_part(key, &upload, 1, content(1, MIN_PART_BYTES)).await?;
    let two = store.put_part(key, &upload, 2, content(2, 9)).await?;
    let parts = [(1, one.as_str()), (2, two.as_str())];
    let first = store.complete(key, &upload, &parts).send().await?;
    let second = store.complete(key, &upload, &parts).send().await?;
    ensure!(first.e_tag().is_some() && first.e_tag() == second.e_tag());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_again_after_overwrite_returns_no_such_upload() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let key = "s3-only/overwritten";
    let upload = store.create_upload(key).await?;
    let part = store.put_part(key, &upload, 1, content(1, 9)).await?;
    store.complete(key, &upload, &[(1, &part)]).send().await?;
    store.put(key, b"replaced").await?;
    let again = store.complete(key, &upload, &[(1, &part)]).send().await;
    ensure!(error_code(again)? == "NoSuchUpload");
    ensure!(store.get(key).await? == b"replaced");
    Ok(())
}

/// SeaweedFS lists a replaced part twice, and accepts either of its ETags.
#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_with_replaced_part_is_rejected() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let upload = store.create_upload("s3-only/replaced").await?;
    let first = store.put_part("s3-only/replaced", &upload, 1, content(1, 5000)).await?;
    store.put_part("s3-only/replaced", &upload, 1, content(2, 6000)).await?;
    let listed = store
        .client
        .list_parts()
        .bucket(&store.bucket)
        .key("s3-only/replaced")
        .upload_id(&upload)
        .send()
        .await?;
    ensure!(listed.parts().len() == 1 && listed.parts()[0].size() == Some(6000), "{:?}", listed.parts());
    let completed = store.complete("s3-only/replaced", &upload, &[(1, &first)]).send().await;
    ensure!(error_code(completed)? == "InvalidPart");
    Ok(())
}

/// Every part is a file, opened when the reader gets to it: all must be kept until the reader is done.
#[tokio::test(flavor = "multi_thread")]
async fn get_of_many_parts_survives_delete() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let key = "s3-only/many-parts";
    let upload = store.create_upload(key).await?;
    let mut parts = Vec::new();
    for number in 1..=8 {
        let body = content(number as u8, MIN_PART_BYTES);
        parts.push((number, store.put_part(key, &upload, number, body).await?));
    }
    let named: Vec<_> = parts.iter().map(|(number, etag)| (*number, etag.as_str())).collect();
    store.complete(key, &upload, &named).send().await?;
    let mut reader = store.client.get_object().bucket(&store.bucket).key(key).send().await?.body;
    let mut read = reader.try_next().await?.context("no first bytes")?.to_vec();
    store.put(key, b"new").await?;
    store.delete(key).await?;
    while let Some(data) = reader.try_next().await? {
        read.extend_from_slice(&data);
    }
    let whole: Vec<u8> = (1..=8).flat_map(|number| content(number, MIN_PART_BYTES)).collect();
    ensure!(read == whole, "the reader got {} bytes, or wrong ones", read.len());
    Ok(())
}

/// SeaweedFS lists uploads by id.
#[tokio::test(flavor = "multi_thread")]
async fn list_multipart_uploads_returns_pages_by_key_and_age() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let mut started = Vec::new();
    for key in ["s3-only/up/b", "s3-only/up/a", "s3-only/up/b", "s3-only/up/a/1"] {
        started.push((key.to_owned(), store.create_upload(key).await?));
    }
    // A stable sort by key keeps uploads of the same key in the order of creation.
    started.sort_by(|a, b| a.0.cmp(&b.0));
    let (mut listed, mut key, mut upload) = (Vec::new(), None, None);
    for _ in 0..started.len() {
        let page =
            store.client.list_multipart_uploads().bucket(&store.bucket).prefix("s3-only/up/").max_uploads(1);
        let page = page.set_key_marker(key).set_upload_id_marker(upload).send().await?;
        let found = page.uploads().first().context("an empty page")?;
        listed.push((
            found.key().unwrap_or_default().to_owned(),
            found.upload_id().unwrap_or_default().to_owned(),
        ));
        key = page.next_key_marker().map(str::to_owned);
        upload = page.next_upload_id_marker().map(str::to_owned);
    }
    ensure!(key.is_none(), "more pages than uploads");
    ensure!(listed == started, "{listed:?}");
    Ok(())
}

/// For old clients, and with keys that XML cannot represent. Reelmill does not use it, so SeaweedFS is
/// not tested.
#[tokio::test(flavor = "multi_thread")]
async fn list_objects_v1_with_delimiter_and_url_encoding_returns_pages() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    for key in ["v1/a/1", "v1/a/2", "v1/b", "v1/c/1", "v1/d\u{1}"] {
        store.put(key, b"x").await?;
    }
    let (mut names, mut marker) = (Vec::new(), None);
    for _ in 0..10 {
        let page = store.client.list_objects().bucket(&store.bucket).prefix("v1/").delimiter("/").max_keys(1);
        let page = page.encoding_type(EncodingType::Url).set_marker(marker).send().await?;
        names.extend(page.contents().iter().filter_map(|o| o.key().map(str::to_owned)));
        names.extend(page.common_prefixes().iter().filter_map(|p| p.prefix().map(str::to_owned)));
        marker = page.next_marker().map(str::to_owned);
        if marker.is_none() {
            break;
        }
    }
    ensure!(names == ["v1/a/", "v1/b", "v1/c/", "v1/d%01"], "{names:?}");
    Ok(())
}

/// SeaweedFS does not combine the checksums of parts.
#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_returns_composite_or_full_object_checksum() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let (one, two) = (content(1, MIN_PART_BYTES), content(2, 4321));
    let whole = [one.clone(), two.clone()].concat();
    let crc = |data: &[u8]| crc32c::crc32c(data).to_be_bytes();
    let of_parts = [crc(&one), crc(&two)].concat();
    let composite = format!("{}-2", STANDARD.encode(crc(&of_parts)));
    for (kind, expected) in
        [(ChecksumType::Composite, composite), (ChecksumType::FullObject, STANDARD.encode(crc(&whole)))]
    {
        let key = format!("s3-only/checksum/{}", kind.as_str());
        let created = store.client.create_multipart_upload().bucket(&store.bucket).key(&key);
        let created =
            created.checksum_algorithm(ChecksumAlgorithm::Crc32C).checksum_type(kind).send().await?;
        let upload = created.upload_id().context("no upload id")?;
        let mut parts = Vec::new();
        for (number, body) in [(1, &one), (2, &two)] {
            // Parts are sent without checksums; the object store computes those of the upload.
            let etag = store.put_part(&key, upload, number, body.clone()).await?;
            let checksum = STANDARD.encode(crc(body));
            parts.push(
                CompletedPart::builder().part_number(number).e_tag(etag).checksum_crc32_c(checksum).build(),
            );
        }
        let listed =
            store.client.list_parts().bucket(&store.bucket).key(&key).upload_id(upload).send().await?;
        let first = listed.parts().first().context("no parts")?.checksum_crc32_c().map(str::to_owned);
        ensure!(first == Some(STANDARD.encode(crc(&one))), "{first:?}");

        let complete = |checksum: &str| {
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build();
            let done =
                store.client.complete_multipart_upload().bucket(&store.bucket).key(&key).upload_id(upload);
            done.multipart_upload(parts).checksum_crc32_c(checksum).send()
        };
        ensure!(error_code(complete("AAAAAA==").await)? == "BadDigest");
        let done = complete(&expected).await?;
        ensure!(done.checksum_crc32_c() == Some(&expected), "{:?}", done.checksum_crc32_c());
        let got =
            store.client.get_object().bucket(&store.bucket).key(&key).checksum_mode(ChecksumMode::Enabled);
        let got = got.send().await?;
        ensure!(got.checksum_crc32_c() == Some(expected.as_str()));
        ensure!(got.body.collect().await?.to_vec() == whole);
    }
    Ok(())
}

/// SeaweedFS answers several ranges with a multipart body, and a malformed one with 416.
#[tokio::test(flavor = "multi_thread")]
async fn get_unusual_range_is_ignored_clamped_or_rejected() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let body = content(1, 1000);
    let etag = store.put("s3-only/ranges", &body).await?;
    let url = store.presign_get("s3-only/ranges").await?.uri().to_owned();
    for (range, if_range, expected, length) in [
        ("bytes=0-1,4-5", None, 200, 1000),
        ("bytes=9-1", None, 200, 1000),
        ("lines=1-2", None, 200, 1000),
        ("bytes=-5000", None, 206, 1000),
        ("bytes=-0", None, 416, 0),
        ("bytes=5-9", Some(etag.as_str()), 206, 5),
        ("bytes=5-9", Some("\"of-another\""), 200, 1000),
        ("bytes=5-9", Some("Fri, 01 Jan 2010 00:00:00 GMT"), 200, 1000),
    ] {
        let mut get = store.http.get(&url).header("range", range);
        if let Some(value) = if_range {
            get = get.header("if-range", value);
        }
        let got = get.send().await?;
        ensure!(got.status() == expected, "{range} {if_range:?}: {}", got.status());
        if expected == 416 {
            ensure!(got.headers().get("content-range").is_some_and(|v| v == "bytes */1000"));
        } else {
            ensure!(got.bytes().await?.len() == length, "{range}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn get_range_of_empty_object_returns_invalid_range() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    store.put("s3-only/empty", b"").await?;
    let get = store.client.get_object().bucket(&store.bucket).key("s3-only/empty").range("bytes=0-");
    ensure!(error_code(get.send().await)? == "InvalidRange");
    Ok(())
}

/// SeaweedFS stores `aws-chunked` with the object.
#[tokio::test(flavor = "multi_thread")]
async fn head_after_streamed_put_returns_content_encoding_without_aws_chunked() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let file = tempfile::NamedTempFile::new()?;
    tokio::fs::write(file.path(), content(1, 200_000)).await?;
    for (key, encoding) in [("s3-only/plain", None), ("s3-only/gzip", Some("gzip"))] {
        let put = store.checksumming_client.put_object().bucket(&store.bucket).key(key);
        let put = put.set_content_encoding(encoding.map(str::to_owned));
        put.body(ByteStream::from_path(file.path()).await?).send().await?;
        let head = store.client.head_object().bucket(&store.bucket).key(key).send().await?;
        ensure!(head.content_encoding() == encoding, "{key}: {:?}", head.content_encoding());
    }
    Ok(())
}

/// A form upload would be buffered in memory.
#[tokio::test(flavor = "multi_thread")]
async fn post_form_upload_is_rejected() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let form = store.http.post(format!("{}/{}", store.endpoint, store.bucket));
    let form = form.header("content-type", "multipart/form-data; boundary=x").body("--x--").send().await?;
    ensure!(form.status() == 501, "{}", form.status());
    Ok(())
}

/// In its header form, version 2 of the signature never expires.
#[tokio::test(flavor = "multi_thread")]
async fn get_with_signature_version_2_is_rejected() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let get = store.http.get(format!("{}/{}/x", store.endpoint, store.bucket));
    let got = get.header("authorization", "AWS test-key:AAAA").header("date", "now").send().await?;
    ensure!(got.status() == 403, "{}", got.status());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_part_with_number_out_of_range_is_rejected() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let upload = store.create_upload("s3-only/number").await?;
    for number in [0, 10_001] {
        let part = store.client.upload_part().bucket(&store.bucket).key("s3-only/number").upload_id(&upload);
        let part = part.part_number(number).body(ByteStream::from_static(b"x")).send().await;
        ensure!(error_code(part)? == "InvalidArgument", "part {number}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_part_for_another_key_is_rejected() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let upload = store.create_upload("s3-only/key").await?;
    let part = store.client.upload_part().bucket(&store.bucket).key("s3-only/other").upload_id(&upload);
    let part = part.part_number(1).body(ByteStream::from_static(b"x")).send().await;
    ensure!(error_code(part)? == "NoSuchUpload");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn list_objects_with_negative_page_size_is_rejected() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    let list = store.client.list_objects_v2().bucket(&store.bucket).max_keys(-1).send().await;
    ensure!(error_code(list)? == "InvalidArgument");
    Ok(())
}

/// A body that breaks off: fewer bytes than announced, then the connection ends.
async fn put_interrupted(store: &TestStore, key: &str) -> Result<()> {
    let put = store.client.put_object().bucket(&store.bucket).key(key);
    let presigned = put.presigned(for_a_minute()?).await?;
    let body = stream::iter([Ok(vec![1u8; 3 << 20]), Err(io::Error::other("interrupted"))]);
    let put = store.http.put(presigned.uri()).header("content-length", 9 << 20);
    ensure!(put.body(Body::wrap_stream(body)).send().await.is_err(), "an interrupted body was accepted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_contains_only_files_with_generated_names() -> Result<()> {
    let store = TestStore::start_embedded().await?;
    for key in ["../x", "../../../../etc/passwd", "..", "/leading", "a/../b", "index.db"] {
        store.put(key, b"x").await?;
    }
    let upload = store.create_upload("s3-only/parts").await?;
    let part = store.put_part("s3-only/parts", &upload, 1, content(1, 9)).await?;
    store.complete("s3-only/parts", &upload, &[(1, &part)]).send().await?;
    put_interrupted(&store, "s3-only/interrupted").await?;
    ensure!(!store.exists("s3-only/interrupted").await?);

    let dir = store.dir()?.path();
    let objects = dir.join("objects");
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_dir(objects.join("tmp"))?.next().is_some() {
        ensure!(Instant::now() < deadline, "tmp/ is not emptied");
        sleep(Duration::from_millis(10)).await;
    }
    let mut outside: Vec<_> =
        fs::read_dir(dir)?.map(|e| e.map(|e| e.file_name())).collect::<Result<_, _>>()?;
    outside.retain(|name| name != "objects");
    ensure!(outside.is_empty(), "{outside:?}");
    let mut blobs = 0;
    for shard in fs::read_dir(objects.join("blobs"))? {
        for blob in fs::read_dir(shard?.path())? {
            let name = blob?.file_name().into_string().ok().context("a name that is not UTF-8")?;
            ensure!(name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
            blobs += 1;
        }
    }
    ensure!(blobs == 7, "{blobs} blobs");
    Ok(())
}
