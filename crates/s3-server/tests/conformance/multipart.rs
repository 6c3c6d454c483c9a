//! Multipart uploads, as the web page and the command line make them.

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::{
    error::ProvideErrorMetadata as _,
    presigning::PresignedRequest,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};
use rstest::rstest;

use crate::support::{Backend, MIN_PART_BYTES, TestStore, content, error_code, for_a_minute, send};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_with_parts_out_of_order_and_gaps_creates_object(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let key = "multipart/whole.mp4";
    let upload = store.create_upload(key).await?;
    let bodies =
        [(2, content(1, MIN_PART_BYTES)), (5, content(2, MIN_PART_BYTES + 77)), (9, content(3, 1234))];
    let mut etags = Vec::new();
    for n in [2, 0, 1] {
        let (number, body) = &bodies[n];
        let etag = store.put_part(key, &upload, *number, body.clone()).await?;
        ensure!(etag.trim_matches('"') == hex::encode(Md5::digest(body)), "part {number}: ETag {etag}");
        etags.push((*number, etag));
    }
    etags.sort();
    let parts: Vec<_> = etags.iter().map(|(number, etag)| (*number, etag.as_str())).collect();
    ensure!(!store.exists(key).await?, "the object exists before completion");
    let done = store.complete(key, &upload, &parts).send().await?;

    let mut digests = Md5::new();
    bodies.iter().for_each(|(_, body)| digests.update(Md5::digest(body)));
    let etag = format!("\"{}-3\"", hex::encode(digests.finalize()));
    ensure!(done.e_tag() == Some(&etag), "ETag {:?}, not {etag}", done.e_tag());
    let whole: Vec<u8> = bodies.iter().flat_map(|(_, body)| body.clone()).collect();
    ensure!(store.get(key).await? == whole);
    // A range across the boundary of two parts.
    let range = format!("bytes={}-{}", MIN_PART_BYTES - 10, MIN_PART_BYTES + 9);
    let got = store.client.get_object().bucket(&store.bucket).key(key).range(range).send().await?;
    ensure!(got.body.collect().await?.to_vec() == whole[MIN_PART_BYTES - 10..MIN_PART_BYTES + 10]);
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_with_wrong_etag_or_number_is_rejected(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let key = "multipart/invalid-part";
    let upload = store.create_upload(key).await?;
    let one = store.put_part(key, &upload, 1, content(1, MIN_PART_BYTES)).await?;
    let two = store.put_part(key, &upload, 2, content(2, 100)).await?;
    for parts in [[(1, &*two), (2, &*two)], [(1, &*one), (3, &*two)]] {
        ensure!(error_code(store.complete(key, &upload, &parts).send().await)? == "InvalidPart", "{parts:?}");
    }
    ensure!(!store.exists(key).await?);
    store.complete(key, &upload, &[(1, &one), (2, &two)]).send().await?;
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_with_parts_in_wrong_order_is_rejected(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let key = "multipart/wrong-order";
    let upload = store.create_upload(key).await?;
    let one = store.put_part(key, &upload, 1, content(1, MIN_PART_BYTES)).await?;
    let two = store.put_part(key, &upload, 2, content(2, 100)).await?;
    let swapped = store.complete(key, &upload, &[(2, &two), (1, &one)]).send().await;
    ensure!(error_code(swapped)? == "InvalidPartOrder");
    ensure!(!store.exists(key).await?);
    store.complete(key, &upload, &[(1, &one), (2, &two)]).send().await?;
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_with_small_first_part_is_rejected(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let key = "multipart/small";
    let upload = store.create_upload(key).await?;
    let one = store.put_part(key, &upload, 1, content(1, 1000)).await?;
    let two = store.put_part(key, &upload, 2, content(2, 1000)).await?;
    let completed = store.complete(key, &upload, &[(1, &one), (2, &two)]).send().await;
    ensure!(error_code(completed)? == "EntityTooSmall");
    Ok(())
}

/// A part of 200,000 bytes, presigned with its CRC-32C.
struct ChecksummedPart {
    upload: String,
    body: Vec<u8>,
    checksum: String,
    presigned: PresignedRequest,
}

impl ChecksummedPart {
    async fn presign(store: &TestStore, key: &str) -> Result<Self> {
        let created = store.client.create_multipart_upload().bucket(&store.bucket).key(key);
        let created = created.checksum_algorithm(ChecksumAlgorithm::Crc32C).send().await?;
        let upload = created.upload_id().context("no upload id")?.to_owned();
        let body = content(7, 200_000);
        let checksum = STANDARD.encode(crc32c::crc32c(&body).to_be_bytes());
        let part =
            store.client.upload_part().bucket(&store.bucket).key(key).upload_id(&upload).part_number(1);
        let presigned = part.checksum_crc32_c(&checksum).presigned(for_a_minute()?).await?;
        Ok(Self { upload, body, checksum, presigned })
    }

    /// The body with one bit changed.
    fn other_body(&self) -> Vec<u8> {
        let mut other = self.body.clone();
        other[100_000] ^= 1;
        other
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn upload_part_with_body_of_other_checksum_is_rejected(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let part = ChecksummedPart::presign(&store, "multipart/other-body").await?;
    let rejected = send(&store.http, &part.presigned, part.other_body()).await?;
    ensure!(rejected.status() == 400, "{}", rejected.status());
    Ok(())
}

/// The checksum is signed: it cannot be replaced by that of another body.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn upload_part_with_replaced_checksum_is_rejected(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let part = ChecksummedPart::presign(&store, "multipart/replaced-checksum").await?;
    let other = part.other_body();
    let other_checksum = STANDARD.encode(crc32c::crc32c(&other).to_be_bytes());
    let url = part.presigned.uri().replace(&url_encoded(&part.checksum), &url_encoded(&other_checksum));
    let mut request = store.http.put(url).body(other);
    for (name, value) in part.presigned.headers() {
        let value = if value == part.checksum { &other_checksum } else { value };
        request = request.header(name, value);
    }
    let rejected = request.send().await?;
    ensure!(rejected.status() == 403, "{}", rejected.status());
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_with_checksummed_part_creates_object(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let key = "multipart/checksummed";
    let part = ChecksummedPart::presign(&store, key).await?;
    let rejected = send(&store.http, &part.presigned, part.other_body()).await?;
    ensure!(rejected.status() == 400, "{}", rejected.status());
    let accepted = send(&store.http, &part.presigned, part.body.clone()).await?;
    ensure!(accepted.status() == 200, "{}", accepted.status());
    let etag = accepted.headers().get("etag").context("no ETag")?.to_str()?.to_owned();
    let list = store.client.list_parts().bucket(&store.bucket).key(key).upload_id(&part.upload);
    ensure!(list.send().await?.parts().len() == 1);
    let named = CompletedPart::builder().part_number(1).e_tag(etag).checksum_crc32_c(part.checksum).build();
    let parts = CompletedMultipartUpload::builder().parts(named).build();
    let complete = store.client.complete_multipart_upload().bucket(&store.bucket).key(key);
    complete.upload_id(&part.upload).multipart_upload(parts).send().await?;
    ensure!(store.get(key).await? == part.body);
    Ok(())
}

/// Base64 in a URL.
fn url_encoded(base64: &str) -> String {
    base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn list_parts_returns_pages_in_order(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let key = "multipart/listed";
    let upload = store.create_upload(key).await?;
    let mut sent = Vec::new();
    for number in [11, 3, 7, 2, 10] {
        let size = 1000 + number as usize;
        let etag = store.put_part(key, &upload, number, content(number as u8, size)).await?;
        sent.push((number, size as i64, etag.trim_matches('"').to_owned()));
    }
    sent.sort();
    let (mut listed, mut pages, mut marker) = (Vec::new(), 0, None);
    loop {
        let page = store.client.list_parts().bucket(&store.bucket).key(key).upload_id(&upload).max_parts(2);
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

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn upload_part_again_replaces_the_part(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let key = "multipart/again";
    let upload = store.create_upload(key).await?;
    store.put_part(key, &upload, 1, content(1, 5000)).await?;
    let again = store.put_part(key, &upload, 1, content(2, 6000)).await?;
    store.complete(key, &upload, &[(1, &again)]).send().await?;
    ensure!(store.get(key).await? == content(2, 6000));
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn list_multipart_uploads_returns_only_uploads_in_progress(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let mut started = Vec::new();
    for key in ["uploads/b", "uploads/a", "uploads/c", "uploads/b2"] {
        started.push((key.to_owned(), store.create_upload(key).await?));
    }
    let part = store.put_part("uploads/c", &started[2].1, 1, b"whole".to_vec()).await?;
    store.complete("uploads/c", &started[2].1, &[(1, &part)]).send().await?;
    started.remove(2);
    started.sort();

    let (mut listed, mut key, mut upload) = (Vec::new(), None, None);
    for _ in 0..10 {
        let page =
            store.client.list_multipart_uploads().bucket(&store.bucket).prefix("uploads/").max_uploads(2);
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
    // The order is not compared: SeaweedFS sorts by upload id.
    listed.sort();
    ensure!(listed == started, "{listed:?}, not {started:?}");
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn abort_upload_removes_the_upload(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let key = "multipart/aborted";
    let upload = store.create_upload(key).await?;
    let etag = store.put_part(key, &upload, 1, content(1, 1000)).await?;
    store.client.abort_multipart_upload().bucket(&store.bucket).key(key).upload_id(&upload).send().await?;

    let parts = store.client.list_parts().bucket(&store.bucket).key(key).upload_id(&upload).send().await;
    ensure!(error_code(parts)? == "NoSuchUpload");
    ensure!(error_code(store.complete(key, &upload, &[(1, &etag)]).send().await)? == "NoSuchUpload");
    let again =
        store.client.abort_multipart_upload().bucket(&store.bucket).key(key).upload_id(&upload).send().await;
    ensure!(again.err().is_none_or(|e| e.code() == Some("NoSuchUpload")), "aborting twice");
    ensure!(!store.exists(key).await?);
    Ok(())
}
