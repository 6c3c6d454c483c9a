//! Single objects: writing, reading, deleting, copying.

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::store::{Store, content, refusal, status};

pub async fn a_put_is_read_back_as_written(s: &Store) -> Result<()> {
    let body = content(1, 300_000);
    let put = s.client.put_object().bucket(&s.bucket).key("put/one.m4s");
    let put = put.content_type("video/iso.segment").cache_control("max-age=60").metadata("origin", "camera");
    let put = put.body(ByteStream::from(body.clone())).send().await?;
    let md5 = format!("\"{}\"", hex::encode(Md5::digest(&body)));
    ensure!(put.e_tag() == Some(&md5), "ETag {:?}", put.e_tag());

    let head = s.client.head_object().bucket(&s.bucket).key("put/one.m4s").send().await?;
    ensure!(head.content_length() == Some(300_000));
    ensure!(head.e_tag() == Some(md5.as_str()));
    let got = s.client.get_object().bucket(&s.bucket).key("put/one.m4s").send().await?;
    ensure!(got.content_type() == Some("video/iso.segment"), "{:?}", got.content_type());
    ensure!(got.cache_control() == Some("max-age=60"));
    ensure!(got.metadata().and_then(|m| m.get("origin")).map(String::as_str) == Some("camera"));
    ensure!(got.last_modified().is_some());
    ensure!(got.body.collect().await?.to_vec() == body);

    let missing = s.client.get_object().bucket(&s.bucket).key("put/none").send().await;
    ensure!(refusal(missing)? == "NoSuchKey");
    ensure!(!s.exists("put/none").await?);
    let elsewhere = s.client.get_object().bucket("no-such-bucket").key("put/none").send().await;
    ensure!(refusal(elsewhere)? == "NoSuchBucket");
    Ok(())
}

pub async fn an_empty_object_is_an_object(s: &Store) -> Result<()> {
    let etag = s.put("empty", b"").await?;
    ensure!(etag == "\"d41d8cd98f00b204e9800998ecf8427e\"");
    ensure!(s.get("empty").await?.is_empty());
    Ok(())
}

pub async fn streamed_bodies_with_trailing_checksums_arrive_whole(s: &Store) -> Result<()> {
    let body = content(2, 3_000_001);
    let file = tempfile::NamedTempFile::new()?;
    tokio::fs::write(file.path(), &body).await?;
    // The SDK streams a file as aws-chunked, with the CRC behind it.
    let stream = ByteStream::from_path(file.path()).await?;
    s.checksumming.put_object().bucket(&s.bucket).key("streamed").body(stream).send().await?;
    let got = s.checksumming.get_object().bucket(&s.bucket).key("streamed").send().await?;
    ensure!(got.body.collect().await?.to_vec() == body);
    Ok(())
}

pub async fn wrong_digests_are_refused_and_the_old_object_stays(s: &Store) -> Result<()> {
    s.put("digest", b"old").await?;
    let put = || s.client.put_object().bucket(&s.bucket).key("digest").body(ByteStream::from_static(b"new"));
    let of_other = STANDARD.encode(Md5::digest(b"other"));
    ensure!(refusal(put().content_md5(of_other).send().await)? == "BadDigest");
    let of_other = STANDARD.encode(crc32c::crc32c(b"other").to_be_bytes());
    ensure!(status(&put().checksum_crc32_c(of_other).send().await.err().context("accepted")?) == Some(400));
    ensure!(s.get("digest").await? == b"old");
    let right = STANDARD.encode(crc32c::crc32c(b"new").to_be_bytes());
    put().checksum_crc32_c(right).send().await?;
    ensure!(s.get("digest").await? == b"new");
    Ok(())
}

pub async fn a_create_only_put_refuses_to_replace(s: &Store) -> Result<()> {
    let put = |body| s.client.put_object().bucket(&s.bucket).key("create-only").if_none_match("*").body(body);
    put(ByteStream::from_static(b"first")).send().await?;
    let second = put(ByteStream::from_static(b"second")).send().await;
    ensure!(refusal(second)? == "PreconditionFailed");
    ensure!(s.get("create-only").await? == b"first");
    Ok(())
}

pub async fn ranges(s: &Store) -> Result<()> {
    let body = content(3, 700_000);
    s.put("ranges", &body).await?;
    let whole = body.len();
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99999", 0, 100_000),
        ("bytes=300000-300999", 300_000, 301_000),
        ("bytes=699999-", 699_999, whole),
        ("bytes=600000-9999999", 600_000, whole),
        ("bytes=-1000", whole - 1000, whole),
    ] {
        let got = s.client.get_object().bucket(&s.bucket).key("ranges").range(range).send().await?;
        let said = format!("bytes {from}-{}/{whole}", to - 1);
        ensure!(got.content_range() == Some(&said), "{range}: {:?}", got.content_range());
        ensure!(got.content_length() == Some((to - from) as i64), "{range}");
        ensure!(got.body.collect().await?.to_vec() == body[from..to], "{range}: wrong bytes");
    }
    let beyond = s.client.get_object().bucket(&s.bucket).key("ranges").range("bytes=700000-").send().await;
    ensure!(status(&beyond.err().context("a range beyond the end")?) == Some(416));
    Ok(())
}

pub async fn conditional_reads(s: &Store) -> Result<()> {
    let etag = s.put("conditional", b"content").await?;
    let get = || s.client.get_object().bucket(&s.bucket).key("conditional");
    let refused = |outcome: Option<u16>, wanted: u16| outcome == Some(wanted);

    let known = get().if_none_match(&etag).send().await;
    ensure!(refused(known.err().and_then(|e| status(&e)), 304), "If-None-Match of this ETag");
    get().if_none_match("\"0123456789abcdef0123456789abcdef\"").send().await?;
    get().if_match(&etag).send().await?;
    let other = get().if_match("\"0123456789abcdef0123456789abcdef\"").send().await;
    ensure!(refused(other.err().and_then(|e| status(&e)), 412), "If-Match of another ETag");

    let (past, future) = (DateTime::from_secs(1_500_000_000), DateTime::from_secs(4_000_000_000));
    let modified = get().send().await?.last_modified().copied().context("no Last-Modified")?;
    get().if_modified_since(past).send().await?;
    let unmodified = get().if_modified_since(modified).send().await;
    ensure!(refused(unmodified.err().and_then(|e| status(&e)), 304), "If-Modified-Since its own time");
    get().if_unmodified_since(future).send().await?;
    let changed = get().if_unmodified_since(past).send().await;
    ensure!(refused(changed.err().and_then(|e| status(&e)), 412), "If-Unmodified-Since the past");
    Ok(())
}

pub async fn a_reader_keeps_the_object_it_began_with(s: &Store) -> Result<()> {
    // More than the sockets' buffers hold, so that most of it is read after the overwriting.
    let old = content(4, 48 << 20);
    s.put("overwritten", &old).await?;
    let mut reader = s.client.get_object().bucket(&s.bucket).key("overwritten").send().await?.body;
    let mut read = reader.try_next().await?.context("no first bytes")?.to_vec();
    s.put("overwritten", b"new").await?;
    ensure!(s.get("overwritten").await? == b"new");
    while let Some(data) = reader.try_next().await? {
        read.extend_from_slice(&data);
    }
    ensure!(read == old, "the reader got a mix");
    Ok(())
}

pub async fn deleting_is_idempotent_and_takes_many(s: &Store) -> Result<()> {
    for n in 0..5 {
        s.put(&format!("deleted/{n}"), b"x").await?;
    }
    s.client.delete_object().bucket(&s.bucket).key("deleted/0").send().await?;
    s.client.delete_object().bucket(&s.bucket).key("deleted/0").send().await?;
    let name = |n| ObjectIdentifier::builder().key(format!("deleted/{n}")).build();
    let names = Delete::builder().objects(name(1)?).objects(name(2)?).objects(name(9)?).build()?;
    let done = s.client.delete_objects().bucket(&s.bucket).delete(names).send().await?;
    ensure!(done.errors().is_empty(), "{:?}", done.errors());
    ensure!(done.deleted().len() == 3, "{:?}", done.deleted());
    for (n, there) in [(0, false), (1, false), (2, false), (3, true), (4, true)] {
        ensure!(s.exists(&format!("deleted/{n}")).await? == there, "deleted/{n}");
    }
    Ok(())
}

pub async fn a_copy_is_an_object_of_its_own(s: &Store) -> Result<()> {
    let body = content(5, 100_000);
    s.put("copy/source", &body).await?;
    let source = format!("{}/copy/source", s.bucket);
    s.client.copy_object().bucket(&s.bucket).key("copy/target").copy_source(source).send().await?;
    s.client.delete_object().bucket(&s.bucket).key("copy/source").send().await?;
    ensure!(s.get("copy/target").await? == body);
    let gone = format!("{}/copy/none", s.bucket);
    let missing = s.client.copy_object().bucket(&s.bucket).key("copy/x").copy_source(gone).send().await;
    let code = missing.err().and_then(|e| e.code().map(str::to_owned));
    ensure!(code.is_some(), "copying what is not there was accepted");
    Ok(())
}

pub async fn keys_of_other_letters(s: &Store) -> Result<()> {
    for key in
        ["odd/with space & plus+", "odd/ünïcödé/видео/動画.mp4", "odd/100%2Fdone", "odd/a=b,c;d'e(f)!*"]
    {
        s.put(key, key.as_bytes()).await?;
        ensure!(s.get(key).await? == key.as_bytes(), "{key}");
        // By a presigned address as well: what is signed must be what is asked for.
        let address = s.presign_get(key, std::time::Duration::from_secs(60)).await?;
        let got = crate::store::send(&s.http, &address, Vec::new()).await?;
        ensure!(got.status() == 200, "{key}: {}", got.status());
    }
    let listed = s.client.list_objects_v2().bucket(&s.bucket).prefix("odd/").send().await?;
    ensure!(listed.contents().len() == 4);
    ensure!(listed.contents().iter().any(|o| o.key() == Some("odd/100%2Fdone")));
    Ok(())
}
