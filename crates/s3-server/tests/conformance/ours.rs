//! What S3 does and SeaweedFS does otherwise: proved of the embedded store alone.

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType, EncodingType};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;

use crate::multipart::complete;
use crate::store::{MIN_PART, Served, Store, content, refusal};

/// SeaweedFS keeps keys as paths: it folds `..`, `//` and a trailing `/`, and limits a name to 255 bytes.
pub async fn any_key_is_a_key_and_none_a_path(s: &Store) -> Result<()> {
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
        s.put(key, key.as_bytes()).await.with_context(|| format!("PUT {key:?}"))?;
    }
    for key in keys {
        ensure!(s.get(key).await.with_context(|| format!("GET {key:?}"))? == key.as_bytes(), "{key:?}");
    }
    let mut listed = Vec::new();
    let mut pages = s.client.list_objects_v2().bucket(&s.bucket).max_keys(3).into_paginator().send();
    while let Some(page) = pages.next().await {
        listed.extend(page?.contents().iter().filter_map(|o| o.key().map(str::to_owned)));
    }
    let mut sorted: Vec<_> = keys.iter().map(|k| (*k).to_owned()).collect();
    sorted.sort();
    ensure!(listed == sorted, "{listed:?}");
    let too_long = s.put(&"k".repeat(1025), b"x").await;
    ensure!(too_long.is_err(), "a key of 1025 bytes");
    for key in keys {
        s.client.delete_object().bucket(&s.bucket).key(key).send().await?;
        ensure!(!s.exists(key).await?, "{key:?}");
    }
    Ok(())
}

/// A retry after a lost answer must not fail, or an upload that is whole would be reported as lost.
pub async fn completing_twice_gives_the_same_answer(s: &Store) -> Result<()> {
    let key = "ours/twice";
    let upload = s.create_upload(key).await?;
    let parts = [
        (1, s.put_part(key, &upload, 1, content(1, MIN_PART)).await?),
        (2, s.put_part(key, &upload, 2, content(2, 9)).await?),
    ];
    let first = complete(s, key, &upload, &parts).send().await?;
    let again = complete(s, key, &upload, &parts).send().await?;
    ensure!(first.e_tag().is_some() && first.e_tag() == again.e_tag());
    s.put(key, b"replaced").await?;
    ensure!(refusal(complete(s, key, &upload, &parts).send().await)? == "NoSuchUpload");
    ensure!(s.get(key).await? == b"replaced");
    Ok(())
}

/// SeaweedFS lists a part that was sent again twice, and takes either of its ETags.
pub async fn a_replaced_part_no_longer_counts(s: &Store) -> Result<()> {
    let upload = s.create_upload("ours/replaced").await?;
    let first = s.put_part("ours/replaced", &upload, 1, content(1, 5000)).await?;
    s.put_part("ours/replaced", &upload, 1, content(2, 6000)).await?;
    let listed =
        s.client.list_parts().bucket(&s.bucket).key("ours/replaced").upload_id(&upload).send().await?;
    ensure!(listed.parts().len() == 1 && listed.parts()[0].size() == Some(6000), "{:?}", listed.parts());
    let claimed = complete(s, "ours/replaced", &upload, &[(1, first)]).send().await;
    ensure!(refusal(claimed)? == "InvalidPart");
    Ok(())
}

/// The parts are files of their own, opened one after the other: all must wait for the reader.
pub async fn a_reader_of_many_parts_outlives_the_object(s: &Store) -> Result<()> {
    let key = "ours/many-parts";
    let upload = s.create_upload(key).await?;
    let mut parts = Vec::new();
    for number in 1..=8 {
        let body = content(number as u8, MIN_PART);
        parts.push((number, s.put_part(key, &upload, number, body).await?));
    }
    complete(s, key, &upload, &parts).send().await?;
    let mut reader = s.client.get_object().bucket(&s.bucket).key(key).send().await?.body;
    let mut read = reader.try_next().await?.context("no first bytes")?.to_vec();
    s.put(key, b"new").await?;
    s.client.delete_object().bucket(&s.bucket).key(key).send().await?;
    while let Some(data) = reader.try_next().await? {
        read.extend_from_slice(&data);
    }
    let whole: Vec<u8> = (1..=8).flat_map(|number| content(number, MIN_PART)).collect();
    ensure!(read == whole, "the reader got {} bytes, or others", read.len());
    Ok(())
}

/// SeaweedFS lists uploads by their ids.
pub async fn uploads_are_listed_by_key_and_age(s: &Store) -> Result<()> {
    let mut started = Vec::new();
    for key in ["ours/up/b", "ours/up/a", "ours/up/b", "ours/up/a/1"] {
        started.push((key.to_owned(), s.create_upload(key).await?));
    }
    // By key; a stable sort leaves uploads of one key in the order in which they began.
    started.sort_by(|a, b| a.0.cmp(&b.0));
    let (mut listed, mut key, mut upload) = (Vec::new(), None, None);
    for _ in 0..started.len() {
        let page = s.client.list_multipart_uploads().bucket(&s.bucket).prefix("ours/up/").max_uploads(1);
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

/// For old clients, and with keys that XML can't carry. SeaweedFS is not asked: nothing of ours lists so.
pub async fn version_1_of_the_listing_says_the_same(s: &Store) -> Result<()> {
    for key in ["v1/a/1", "v1/a/2", "v1/b", "v1/c/1", "v1/d\u{1}"] {
        s.put(key, b"x").await?;
    }
    let (mut names, mut marker) = (Vec::new(), None);
    for _ in 0..10 {
        let page = s.client.list_objects().bucket(&s.bucket).prefix("v1/").delimiter("/").max_keys(1);
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

/// SeaweedFS does not join part checksums.
pub async fn composite_and_full_object_checksums(s: &Store) -> Result<()> {
    let (one, two) = (content(1, MIN_PART), content(2, 4321));
    let whole = [one.clone(), two.clone()].concat();
    let crc = |data: &[u8]| crc32c::crc32c(data).to_be_bytes();
    let of_parts = [crc(&one), crc(&two)].concat();
    let composite = format!("{}-2", STANDARD.encode(crc(&of_parts)));
    for (kind, wanted) in
        [(ChecksumType::Composite, composite), (ChecksumType::FullObject, STANDARD.encode(crc(&whole)))]
    {
        let key = format!("ours/checksum/{}", kind.as_str());
        let created = s.client.create_multipart_upload().bucket(&s.bucket).key(&key);
        let created =
            created.checksum_algorithm(ChecksumAlgorithm::Crc32C).checksum_type(kind).send().await?;
        let upload = created.upload_id().context("no upload id")?;
        let mut parts = Vec::new();
        for (number, body) in [(1, &one), (2, &two)] {
            // The parts are sent plainly; the store computes what the upload asks for.
            let etag = s.put_part(&key, upload, number, body.clone()).await?;
            let checksum = STANDARD.encode(crc(body));
            parts.push(
                CompletedPart::builder().part_number(number).e_tag(etag).checksum_crc32_c(checksum).build(),
            );
        }
        let listed = s.client.list_parts().bucket(&s.bucket).key(&key).upload_id(upload).send().await?;
        let first = listed.parts().first().context("no parts")?.checksum_crc32_c().map(str::to_owned);
        ensure!(first == Some(STANDARD.encode(crc(&one))), "{first:?}");

        let claim = |checksum: &str| {
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build();
            let done = s.client.complete_multipart_upload().bucket(&s.bucket).key(&key).upload_id(upload);
            done.multipart_upload(parts).checksum_crc32_c(checksum).send()
        };
        ensure!(refusal(claim("AAAAAA==").await)? == "BadDigest");
        let done = claim(&wanted).await?;
        ensure!(done.checksum_crc32_c() == Some(&wanted), "{:?}", done.checksum_crc32_c());
        let got = s.client.get_object().bucket(&s.bucket).key(&key).checksum_mode(ChecksumMode::Enabled);
        let got = got.send().await?;
        ensure!(got.checksum_crc32_c() == Some(wanted.as_str()));
        ensure!(got.body.collect().await?.to_vec() == whole);
    }
    Ok(())
}

/// SeaweedFS answers several ranges with a multipart body, and an ill-formed one with 416.
pub async fn unusual_ranges(s: &Store) -> Result<()> {
    let body = content(1, 1000);
    let etag = s.put("ours/ranges", &body).await?;
    s.put("ours/empty", b"").await?;
    let address = s.presign_get("ours/ranges", Duration::from_secs(60)).await?.uri().to_owned();
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
        let mut get = s.http.get(&address).header("range", range);
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
    let of_nothing = s.client.get_object().bucket(&s.bucket).key("ours/empty").range("bytes=0-").send().await;
    ensure!(refusal(of_nothing)? == "InvalidRange");
    Ok(())
}

/// SeaweedFS keeps `aws-chunked` on the object.
pub async fn content_encoding_says_nothing_of_the_transport(s: &Store) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    tokio::fs::write(file.path(), content(1, 200_000)).await?;
    for (key, encoding) in [("ours/plain", None), ("ours/gzip", Some("gzip"))] {
        let put = s.checksumming.put_object().bucket(&s.bucket).key(key);
        let put = put.set_content_encoding(encoding.map(str::to_owned));
        put.body(ByteStream::from_path(file.path()).await?).send().await?;
        let head = s.client.head_object().bucket(&s.bucket).key(key).send().await?;
        ensure!(head.content_encoding() == encoding, "{key}: {:?}", head.content_encoding());
    }
    Ok(())
}

/// Refusals that keep the store safe from odd clients.
pub async fn odd_requests_are_refused_clearly(s: &Store) -> Result<()> {
    let form = s.http.post(format!("{}/{}", s.endpoint, s.bucket));
    let form = form.header("content-type", "multipart/form-data; boundary=x").body("--x--").send().await?;
    ensure!(form.status() == 501, "a form upload: {}", form.status());
    // Version 2 of the signature, which never expires in its header form.
    let old = s.http.get(format!("{}/{}/x", s.endpoint, s.bucket));
    let old = old.header("authorization", "AWS test-key:AAAA").header("date", "now").send().await?;
    ensure!(old.status() == 403, "a version 2 signature: {}", old.status());

    let upload = s.create_upload("ours/odd").await?;
    for number in [0, 10_001] {
        let part = s.client.upload_part().bucket(&s.bucket).key("ours/odd").upload_id(&upload);
        let part = part.part_number(number).body(ByteStream::from_static(b"x")).send().await;
        ensure!(refusal(part)? == "InvalidArgument", "part {number}");
    }
    // An upload belongs to its key.
    let other = s.client.upload_part().bucket(&s.bucket).key("ours/other").upload_id(&upload).part_number(1);
    ensure!(refusal(other.body(ByteStream::from_static(b"x")).send().await)? == "NoSuchUpload");
    let negative = s.client.list_objects_v2().bucket(&s.bucket).max_keys(-1).send().await;
    ensure!(refusal(negative)? == "InvalidArgument");
    Ok(())
}

/// Looks at the folder itself, after all of the above and an aborted body.
pub async fn the_folder_holds_content_under_generated_names_only(served: &Served) -> Result<()> {
    let s = &served.store;
    // A body that breaks off: fewer bytes than announced, then the connection ends.
    let address = s.client.put_object().bucket(&s.bucket).key("ours/broken");
    let address = address.presigned(crate::store::in_a_minute()?).await?;
    let stream = futures::stream::iter([Ok(vec![1u8; 3 << 20]), Err(std::io::Error::other("gone"))]);
    let broken = s.http.put(address.uri()).header("content-length", 9 << 20);
    ensure!(broken.body(reqwest::Body::wrap_stream(stream)).send().await.is_err(), "a broken body was taken");
    ensure!(!s.exists("ours/broken").await?);

    let objects = served.dir.path().join("objects");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while std::fs::read_dir(objects.join("tmp"))?.next().is_some() {
        ensure!(tokio::time::Instant::now() < deadline, "tmp/ is not emptied");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut outside: Vec<_> =
        std::fs::read_dir(served.dir.path())?.map(|e| e.map(|e| e.file_name())).collect::<Result<_, _>>()?;
    outside.retain(|name| name != "objects");
    ensure!(outside.is_empty(), "{outside:?}");
    for shard in std::fs::read_dir(objects.join("blobs"))? {
        for blob in std::fs::read_dir(shard?.path())? {
            let name = blob?.file_name().into_string().ok().context("a strange name")?;
            ensure!(name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
        }
    }
    Ok(())
}
