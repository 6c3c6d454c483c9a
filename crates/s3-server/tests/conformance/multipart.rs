//! Multipart uploads, as the browser and the command line make them.

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::store::{MIN_PART, Store, content, in_a_minute, refusal, send};

pub fn complete(
    s: &Store,
    key: &str,
    upload: &str,
    parts: &[(i32, String)],
) -> CompleteMultipartUploadFluentBuilder {
    let parts = parts.iter().map(|(n, etag)| CompletedPart::builder().part_number(*n).e_tag(etag).build());
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
    s.client.complete_multipart_upload().bucket(&s.bucket).key(key).upload_id(upload).multipart_upload(parts)
}

pub async fn presigned_parts_in_any_order_with_gaps(s: &Store) -> Result<()> {
    let key = "multipart/whole.mp4";
    let upload = s.create_upload(key).await?;
    let bodies = [(2, content(1, MIN_PART)), (5, content(2, MIN_PART + 77)), (9, content(3, 1234))];
    let mut etags = Vec::new();
    for n in [2, 0, 1] {
        let (number, body) = &bodies[n];
        let etag = s.put_part(key, &upload, *number, body.clone()).await?;
        ensure!(etag.trim_matches('"') == hex::encode(Md5::digest(body)), "part {number}: ETag {etag}");
        etags.push((*number, etag));
    }
    etags.sort();
    ensure!(!s.exists(key).await?, "there before it was completed");
    let done = complete(s, key, &upload, &etags).send().await?;

    let mut digests = Md5::new();
    bodies.iter().for_each(|(_, body)| digests.update(Md5::digest(body)));
    let etag = format!("\"{}-3\"", hex::encode(digests.finalize()));
    ensure!(done.e_tag() == Some(&etag), "ETag {:?}, not {etag}", done.e_tag());
    let whole: Vec<u8> = bodies.iter().flat_map(|(_, body)| body.clone()).collect();
    ensure!(s.get(key).await? == whole);
    // A range across the seam of two parts.
    let range = format!("bytes={}-{}", MIN_PART - 10, MIN_PART + 9);
    let got = s.client.get_object().bucket(&s.bucket).key(key).range(range).send().await?;
    ensure!(got.body.collect().await?.to_vec() == whole[MIN_PART - 10..MIN_PART + 10]);
    Ok(())
}

pub async fn a_wrong_list_of_parts_is_refused(s: &Store) -> Result<()> {
    let key = "multipart/refused";
    let upload = s.create_upload(key).await?;
    let one = s.put_part(key, &upload, 1, content(1, MIN_PART)).await?;
    let two = s.put_part(key, &upload, 2, content(2, 100)).await?;
    let claim = |parts: Vec<(i32, &str)>| {
        let parts: Vec<_> = parts.into_iter().map(|(n, etag)| (n, etag.to_owned())).collect();
        complete(s, key, &upload, &parts).send()
    };
    ensure!(refusal(claim(vec![(1, &two), (2, &two)]).await)? == "InvalidPart");
    ensure!(refusal(claim(vec![(1, &one), (3, &two)]).await)? == "InvalidPart");
    ensure!(refusal(claim(vec![(2, &two), (1, &one)]).await)? == "InvalidPartOrder");
    ensure!(!s.exists(key).await?);
    claim(vec![(1, &one), (2, &two)]).await?;

    let small = "multipart/small";
    let upload = s.create_upload(small).await?;
    let one = s.put_part(small, &upload, 1, content(1, 1000)).await?;
    let two = s.put_part(small, &upload, 2, content(2, 1000)).await?;
    let tiny = complete(s, small, &upload, &[(1, one), (2, two)]).send().await;
    ensure!(refusal(tiny)? == "EntityTooSmall");
    Ok(())
}

pub async fn a_part_is_bound_to_its_checksum(s: &Store) -> Result<()> {
    let key = "multipart/bound";
    let created = s.client.create_multipart_upload().bucket(&s.bucket).key(key);
    let created = created.checksum_algorithm(ChecksumAlgorithm::Crc32C).send().await?;
    let upload = created.upload_id().context("no upload id")?;
    let body = content(7, 200_000);
    let checksum = STANDARD.encode(crc32c::crc32c(&body).to_be_bytes());
    let part = s.client.upload_part().bucket(&s.bucket).key(key).upload_id(upload).part_number(1);
    let address = part.checksum_crc32_c(&checksum).presigned(in_a_minute()?).await?;

    let mut other = body.clone();
    other[100_000] ^= 1;
    let refused = send(&s.http, &address, other.clone()).await?;
    ensure!(refused.status() == 400, "other bytes: {}", refused.status());
    // The checksum is part of what was signed: it can't be swapped for that of other bytes.
    let of_other = STANDARD.encode(crc32c::crc32c(&other).to_be_bytes());
    let forged = address.uri().replace(&encoded(&checksum), &encoded(&of_other));
    let mut request = s.http.put(forged).body(other);
    for (name, value) in address.headers() {
        let value = if value == checksum { &of_other } else { value };
        request = request.header(name, value);
    }
    let refused = request.send().await?;
    ensure!(refused.status() == 403, "another checksum: {}", refused.status());

    let taken = send(&s.http, &address, body.clone()).await?;
    ensure!(taken.status() == 200, "the right bytes: {}", taken.status());
    let etag = taken.headers().get("etag").context("no ETag")?.to_str()?.to_owned();
    let listed = s.client.list_parts().bucket(&s.bucket).key(key).upload_id(upload).send().await?;
    ensure!(listed.parts().len() == 1);
    let part = CompletedPart::builder().part_number(1).e_tag(etag).checksum_crc32_c(checksum).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let done = s.client.complete_multipart_upload().bucket(&s.bucket).key(key).upload_id(upload);
    done.multipart_upload(parts).send().await?;
    ensure!(s.get(key).await? == body);
    Ok(())
}

fn encoded(base64: &str) -> String {
    base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

pub async fn parts_are_listed_in_pages(s: &Store) -> Result<()> {
    let key = "multipart/listed";
    let upload = s.create_upload(key).await?;
    let mut sent = Vec::new();
    for number in [11, 3, 7, 2, 10] {
        let size = 1000 + number as usize;
        let etag = s.put_part(key, &upload, number, content(number as u8, size)).await?;
        sent.push((number, size as i64, etag.trim_matches('"').to_owned()));
    }
    sent.sort();
    let (mut listed, mut pages, mut marker) = (Vec::new(), 0, None);
    loop {
        let page = s.client.list_parts().bucket(&s.bucket).key(key).upload_id(&upload).max_parts(2);
        let page = page.set_part_number_marker(marker).send().await?;
        pages += 1;
        for part in page.parts() {
            let etag = part.e_tag().context("no ETag")?.trim_matches('"').to_owned();
            listed.push((part.part_number().context("no number")?, part.size().context("no size")?, etag));
        }
        if !page.is_truncated().unwrap_or(false) {
            break;
        }
        marker = page.next_part_number_marker().map(str::to_owned);
    }
    ensure!(listed == sent, "{listed:?}");
    ensure!(pages == 3, "{pages} pages");
    Ok(())
}

pub async fn a_part_can_be_sent_again(s: &Store) -> Result<()> {
    let key = "multipart/again";
    let upload = s.create_upload(key).await?;
    s.put_part(key, &upload, 1, content(1, 5000)).await?;
    let again = s.put_part(key, &upload, 1, content(2, 6000)).await?;
    complete(s, key, &upload, &[(1, again)]).send().await?;
    ensure!(s.get(key).await? == content(2, 6000));
    Ok(())
}

pub async fn uploads_are_listed_until_they_end(s: &Store) -> Result<()> {
    let mut started = Vec::new();
    for key in ["uploads/b", "uploads/a", "uploads/c", "uploads/b2"] {
        started.push((key.to_owned(), s.create_upload(key).await?));
    }
    let done = s.put_part("uploads/c", &started[2].1, 1, b"whole".to_vec()).await?;
    complete(s, "uploads/c", &started[2].1, &[(1, done)]).send().await?;
    started.remove(2);
    started.sort();

    let (mut listed, mut key, mut upload) = (Vec::new(), None, None);
    for _ in 0..10 {
        let page = s.client.list_multipart_uploads().bucket(&s.bucket).prefix("uploads/").max_uploads(2);
        let page = page.set_key_marker(key).set_upload_id_marker(upload).send().await?;
        for found in page.uploads() {
            listed.push((
                found.key().context("no key")?.to_owned(),
                found.upload_id().context("no upload id")?.to_owned(),
            ));
        }
        if !page.is_truncated().unwrap_or(false) {
            break;
        }
        key = page.next_key_marker().map(str::to_owned);
        upload = page.next_upload_id_marker().map(str::to_owned);
    }
    // In any order: SeaweedFS sorts by upload id.
    listed.sort();
    ensure!(listed == started, "{listed:?}, not {started:?}");
    Ok(())
}

pub async fn an_aborted_upload_is_gone(s: &Store) -> Result<()> {
    let key = "multipart/aborted";
    let upload = s.create_upload(key).await?;
    let etag = s.put_part(key, &upload, 1, content(1, 1000)).await?;
    s.client.abort_multipart_upload().bucket(&s.bucket).key(key).upload_id(&upload).send().await?;

    let parts = s.client.list_parts().bucket(&s.bucket).key(key).upload_id(&upload).send().await;
    ensure!(refusal(parts)? == "NoSuchUpload");
    ensure!(refusal(complete(s, key, &upload, &[(1, etag)]).send().await)? == "NoSuchUpload");
    let again = s.client.abort_multipart_upload().bucket(&s.bucket).key(key).upload_id(&upload).send().await;
    ensure!(again.err().is_none_or(|e| e.code() == Some("NoSuchUpload")), "aborting twice");
    ensure!(!s.exists(key).await?);
    Ok(())
}
