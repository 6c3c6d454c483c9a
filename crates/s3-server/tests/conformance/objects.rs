//! Single objects: writing, reading, deleting, copying.

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::{
    operation::get_object::builders::GetObjectFluentBuilder,
    primitives::{ByteStream, DateTime},
    types::{Delete, ObjectIdentifier},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};
use rstest::rstest;

use crate::support::{Backend, TestStore, content, error_code, rejected_status, send};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_object_after_put_returns_body_and_headers(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let body = content(1, 300_000);
    let put = store.client.put_object().bucket(&store.bucket).key("put/one.m4s");
    let put = put.content_type("video/iso.segment").cache_control("max-age=60").metadata("origin", "camera");
    let put = put.body(ByteStream::from(body.clone())).send().await?;
    let md5 = format!("\"{}\"", hex::encode(Md5::digest(&body)));
    ensure!(put.e_tag() == Some(&md5), "ETag {:?}", put.e_tag());

    let head = store.client.head_object().bucket(&store.bucket).key("put/one.m4s").send().await?;
    ensure!(head.content_length() == Some(300_000));
    ensure!(head.e_tag() == Some(md5.as_str()));
    let got = store.client.get_object().bucket(&store.bucket).key("put/one.m4s").send().await?;
    ensure!(got.content_type() == Some("video/iso.segment"), "{:?}", got.content_type());
    ensure!(got.cache_control() == Some("max-age=60"));
    ensure!(got.metadata().and_then(|m| m.get("origin")).map(String::as_str) == Some("camera"));
    ensure!(got.last_modified().is_some());
    ensure!(got.body.collect().await?.to_vec() == body);
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_missing_object_returns_no_such_key(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let missing = store.client.get_object().bucket(&store.bucket).key("put/none").send().await;
    ensure!(error_code(missing)? == "NoSuchKey");
    ensure!(!store.exists("put/none").await?);
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_object_in_missing_bucket_returns_no_such_bucket(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let missing = store.client.get_object().bucket("no-such-bucket").key("put/none").send().await;
    ensure!(error_code(missing)? == "NoSuchBucket");
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_empty_object_returns_empty_body(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let etag = store.put("empty", b"").await?;
    ensure!(etag == "\"d41d8cd98f00b204e9800998ecf8427e\"");
    ensure!(store.get("empty").await?.is_empty());
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn put_streamed_with_trailing_checksum_stores_the_body(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let body = content(2, 3_000_001);
    let file = tempfile::NamedTempFile::new()?;
    tokio::fs::write(file.path(), &body).await?;
    // The SDK streams a file as aws-chunked, with the CRC in the trailer.
    let stream = ByteStream::from_path(file.path()).await?;
    store.checksumming_client.put_object().bucket(&store.bucket).key("streamed").body(stream).send().await?;
    let got = store.checksumming_client.get_object().bucket(&store.bucket).key("streamed").send().await?;
    ensure!(got.body.collect().await?.to_vec() == body);
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn put_with_wrong_digest_is_rejected_and_keeps_old_object(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    store.put("digest", b"old").await?;
    let put = || {
        store.client.put_object().bucket(&store.bucket).key("digest").body(ByteStream::from_static(b"new"))
    };
    let wrong_md5 = STANDARD.encode(Md5::digest(b"other"));
    ensure!(error_code(put().content_md5(wrong_md5).send().await)? == "BadDigest");
    let wrong_crc = STANDARD.encode(crc32c::crc32c(b"other").to_be_bytes());
    ensure!(rejected_status(put().checksum_crc32_c(wrong_crc).send().await) == Some(400));
    ensure!(store.get("digest").await? == b"old");
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn put_with_right_checksum_replaces_object(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    store.put("checksum", b"old").await?;
    let put = store.client.put_object().bucket(&store.bucket).key("checksum");
    let right = STANDARD.encode(crc32c::crc32c(b"new").to_be_bytes());
    put.body(ByteStream::from_static(b"new")).checksum_crc32_c(right).send().await?;
    ensure!(store.get("checksum").await? == b"new");
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn put_if_none_match_any_rejects_existing_object(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let put = |body| {
        store.client.put_object().bucket(&store.bucket).key("create-only").if_none_match("*").body(body)
    };
    put(ByteStream::from_static(b"first")).send().await?;
    let second = put(ByteStream::from_static(b"second")).send().await;
    ensure!(error_code(second)? == "PreconditionFailed");
    ensure!(store.get("create-only").await? == b"first");
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_range_returns_requested_bytes(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let body = content(3, 700_000);
    store.put("ranges", &body).await?;
    let whole = body.len();
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99999", 0, 100_000),
        ("bytes=300000-300999", 300_000, 301_000),
        ("bytes=699999-", 699_999, whole),
        ("bytes=600000-9999999", 600_000, whole),
        ("bytes=-1000", whole - 1000, whole),
    ] {
        let got = store.client.get_object().bucket(&store.bucket).key("ranges").range(range).send().await?;
        let content_range = format!("bytes {from}-{}/{whole}", to - 1);
        ensure!(got.content_range() == Some(&content_range), "{range}: {:?}", got.content_range());
        ensure!(got.content_length() == Some((to - from) as i64), "{range}");
        ensure!(got.body.collect().await?.to_vec() == body[from..to], "{range}: wrong bytes");
    }
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_range_beyond_end_returns_416(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    store.put("short", &content(3, 1000)).await?;
    let beyond =
        store.client.get_object().bucket(&store.bucket).key("short").range("bytes=1000-").send().await;
    ensure!(rejected_status(beyond) == Some(416));
    Ok(())
}

/// A GET of an object, and its ETag.
async fn get_conditional(store: &TestStore, key: &str) -> Result<(GetObjectFluentBuilder, String)> {
    let etag = store.put(key, b"content").await?;
    Ok((store.client.get_object().bucket(&store.bucket).key(key), etag))
}

const OTHER_ETAG: &str = "\"0123456789abcdef0123456789abcdef\"";

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_if_none_match_returns_304_for_the_same_etag(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let (get, etag) = get_conditional(&store, "conditional/none-match").await?;
    ensure!(rejected_status(get.clone().if_none_match(&etag).send().await) == Some(304));
    get.if_none_match(OTHER_ETAG).send().await?;
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_if_match_returns_412_for_another_etag(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let (get, etag) = get_conditional(&store, "conditional/match").await?;
    get.clone().if_match(&etag).send().await?;
    ensure!(rejected_status(get.if_match(OTHER_ETAG).send().await) == Some(412));
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_if_modified_since_returns_304_for_its_own_time(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let (get, _) = get_conditional(&store, "conditional/modified").await?;
    let modified = get.clone().send().await?.last_modified().copied().context("no Last-Modified")?;
    get.clone().if_modified_since(DateTime::from_secs(1_500_000_000)).send().await?;
    ensure!(rejected_status(get.if_modified_since(modified).send().await) == Some(304));
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_if_unmodified_since_returns_412_for_an_earlier_time(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let (get, _) = get_conditional(&store, "conditional/unmodified").await?;
    get.clone().if_unmodified_since(DateTime::from_secs(4_000_000_000)).send().await?;
    let past = DateTime::from_secs(1_500_000_000);
    ensure!(rejected_status(get.if_unmodified_since(past).send().await) == Some(412));
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_during_overwrite_returns_the_old_object(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    // More than the socket buffers, so that most of it is read after the overwrite.
    let old = content(4, 48 << 20);
    store.put("overwritten", &old).await?;
    let mut reader = store.client.get_object().bucket(&store.bucket).key("overwritten").send().await?.body;
    let mut read = reader.try_next().await?.context("no first bytes")?.to_vec();
    store.put("overwritten", b"new").await?;
    ensure!(store.get("overwritten").await? == b"new");
    while let Some(data) = reader.try_next().await? {
        read.extend_from_slice(&data);
    }
    ensure!(read == old, "the reader got mixed content");
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn delete_object_twice_succeeds(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    store.put("deleted-twice", b"x").await?;
    store.delete("deleted-twice").await?;
    store.delete("deleted-twice").await?;
    ensure!(!store.exists("deleted-twice").await?);
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn delete_objects_removes_the_named_keys(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    for n in 1..5 {
        store.put(&format!("deleted/{n}"), b"x").await?;
    }
    let name = |n| ObjectIdentifier::builder().key(format!("deleted/{n}")).build();
    let names = Delete::builder().objects(name(1)?).objects(name(2)?).objects(name(9)?).build()?;
    let done = store.client.delete_objects().bucket(&store.bucket).delete(names).send().await?;
    ensure!(done.errors().is_empty(), "{:?}", done.errors());
    ensure!(done.deleted().len() == 3, "{:?}", done.deleted());
    for (n, exists) in [(1, false), (2, false), (3, true), (4, true)] {
        ensure!(store.exists(&format!("deleted/{n}")).await? == exists, "deleted/{n}");
    }
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn copy_object_survives_deletion_of_its_source(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let body = content(5, 100_000);
    store.put("copy/source", &body).await?;
    let source = format!("{}/copy/source", store.bucket);
    store.client.copy_object().bucket(&store.bucket).key("copy/target").copy_source(source).send().await?;
    store.delete("copy/source").await?;
    ensure!(store.get("copy/target").await? == body);
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn copy_object_with_missing_source_is_rejected(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let source = format!("{}/copy/none", store.bucket);
    let copy = store.client.copy_object().bucket(&store.bucket).key("copy/x").copy_source(source);
    error_code(copy.send().await)?;
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn keys_with_special_characters_are_stored_and_listed(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    for key in
        ["odd/with space & plus+", "odd/ünïcödé/видео/動画.mp4", "odd/100%2Fdone", "odd/a=b,c;d'e(f)!*"]
    {
        store.put(key, key.as_bytes()).await?;
        ensure!(store.get(key).await? == key.as_bytes(), "{key}");
        // Also by a presigned URL: the signed path must equal the requested one.
        let presigned = store.presign_get(key).await?;
        let got = send(&store.http, &presigned, Vec::new()).await?;
        ensure!(got.status() == 200, "{key}: {}", got.status());
    }
    let listed = store.client.list_objects_v2().bucket(&store.bucket).prefix("odd/").send().await?;
    ensure!(listed.contents().len() == 4);
    ensure!(listed.contents().iter().any(|o| o.key() == Some("odd/100%2Fdone")));
    Ok(())
}
