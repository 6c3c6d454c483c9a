//! Multipart uploads.

use bytes::Bytes;
use futures::{StreamExt, stream};
use reelmill_platform::objects::{ObjectsError, PartToPresign};
use reqwest::{StatusCode, header::ETAG};
use rstest::rstest;

use super::{Backend, Fixture, MORE_THAN_A_PAGE, PART, TTL, body, bytes, send};

/// Uploads a part to its presigned URL and returns its ETag.
async fn send_part(fixture: &Fixture, key: &str, upload: &str, number: i32, bytes: Bytes) -> String {
    let part =
        PartToPresign { upload_id: upload, number, size_bytes: bytes.len() as i64, crc32c_base64: None };
    let put = fixture.objects.presign_part(key, &part, TTL, None).await.expect("signed");
    let response = send(&fixture.http, &put, bytes).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.headers()[ETAG].to_str().expect("text").to_owned()
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn complete_multipart_joins_presigned_parts(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("source");
    let upload = objects.create_multipart(&key, Some("video/quicktime")).await.expect("opened");
    assert_eq!(objects.list_parts(&key, &upload).await.expect("listed"), []);
    let contents = [bytes(PART, 1), bytes(PART, 2), bytes(1_000, 3)];
    let mut parts = Vec::new();
    for number in [3, 1, 2] {
        let content = contents[number as usize - 1].clone();
        parts.push((number, send_part(&fixture, &key, &upload, number, content).await));
    }
    let listed = objects.list_parts(&key, &upload).await.expect("listed");
    let expected = [(1, PART as i64), (2, PART as i64), (3, 1_000)];
    assert_eq!(listed.iter().map(|part| (part.number, part.size)).collect::<Vec<_>>(), expected);
    let mut sorted = parts.clone();
    sorted.sort_unstable();
    assert_eq!(listed.into_iter().map(|part| (part.number, part.etag)).collect::<Vec<_>>(), sorted);

    let etag = objects.complete_multipart(&key, &upload, &parts).await.expect("completed");
    let head = objects.head(&key).await.expect("a response").expect("the object");
    assert_eq!((head.size, &head.etag), (2 * PART as i64 + 1_000, &etag));
    assert_eq!(head.content_type.as_deref(), Some("video/quicktime"));
    assert!(body(objects, &key, None).await == contents.concat(), "the parts in their order");
    let again = objects.complete_multipart(&key, &upload, &parts).await.expect("completed again");
    assert_eq!(again.trim_matches('"'), etag.trim_matches('"'));
    let listed = objects.list_parts(&key, &upload).await;
    assert!(matches!(listed, Err(ObjectsError::UploadNotFound)), "{listed:?}");
    objects.abort_multipart(&key, &upload).await.expect("nothing to abort is no error");
    assert!(objects.head(&key).await.expect("a response").is_some(), "the object stays");
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn complete_multipart_with_other_parts_is_an_error(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("source");
    let upload = objects.create_multipart(&key, None).await.expect("opened");
    let etag = send_part(&fixture, &key, &upload, 1, bytes(1_000, 1)).await;
    let wrong = "\"d41d8cd98f00b204e9800998ecf8427e\"".to_owned();
    for parts in [vec![(1, wrong)], vec![(1, etag.clone()), (2, etag.clone())]] {
        let response = objects.complete_multipart(&key, &upload, &parts).await;
        assert!(matches!(response, Err(ObjectsError::InvalidParts { .. })), "{response:?}");
    }
    assert_eq!(objects.head(&key).await.expect("a response"), None);
    objects.complete_multipart(&key, &upload, &[(1, etag)]).await.expect("the upload is still open");
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presign_part_with_checksum_rejects_other_bytes(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("source");
    let upload = objects.create_multipart(&key, None).await.expect("opened");
    // CRC-32C of "123456789" is 0xE3069283 (RFC 3720, appendix B.4).
    let part =
        PartToPresign { upload_id: &upload, number: 1, size_bytes: 9, crc32c_base64: Some("4waSgw==") };
    let put = objects.presign_part(&key, &part, TTL, None).await.expect("signed");
    let wrong = send(&fixture.http, &put, Bytes::from_static(b"123456780")).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    assert_eq!(objects.list_parts(&key, &upload).await.expect("listed"), []);
    let right = send(&fixture.http, &put, Bytes::from_static(b"123456789")).await;
    assert_eq!(right.status(), StatusCode::OK);
    let parts: Vec<_> = objects.list_parts(&key, &upload).await.expect("listed");
    let parts: Vec<_> = parts.into_iter().map(|part| (part.number, part.etag)).collect();
    objects.complete_multipart(&key, &upload, &parts).await.expect("completed");
    assert_eq!(body(objects, &key, None).await, "123456789");
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presign_part_rejects_another_length(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("source");
    let upload = objects.create_multipart(&key, None).await.expect("opened");
    let part = PartToPresign { upload_id: &upload, number: 1, size_bytes: 1_000, crc32c_base64: None };
    let put = objects.presign_part(&key, &part, TTL, None).await.expect("signed");
    for length in [0, 999, 1_001] {
        let response = send(&fixture.http, &put, bytes(length, 1)).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{length}");
    }
    assert_eq!(objects.list_parts(&key, &upload).await.expect("listed"), []);
    assert_eq!(send(&fixture.http, &put, bytes(1_000, 1)).await.status(), StatusCode::OK);
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_parts_covers_all_pages(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let key = fixture.key("source");
    let upload = fixture.objects.create_multipart(&key, None).await.expect("opened");
    stream::iter(1..=MORE_THAN_A_PAGE as i32)
        .map(|number| send_part(&fixture, &key, &upload, number, Bytes::from_static(b"x")))
        .buffer_unordered(16)
        .collect::<Vec<String>>()
        .await;
    let numbers = fixture.objects.list_parts(&key, &upload).await.expect("listed");
    let numbers: Vec<i32> = numbers.into_iter().map(|part| part.number).collect();
    assert_eq!(numbers, (1..=MORE_THAN_A_PAGE as i32).collect::<Vec<_>>());
    fixture.objects.abort_multipart(&key, &upload).await.expect("aborted");
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abort_multipart_deletes_the_upload(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("source");
    let upload = objects.create_multipart(&key, None).await.expect("opened");
    let etag = send_part(&fixture, &key, &upload, 1, bytes(1_000, 1)).await;
    objects.abort_multipart(&key, &upload).await.expect("aborted");
    objects.abort_multipart(&key, &upload).await.expect("aborted again");
    let listed = objects.list_parts(&key, &upload).await;
    assert!(matches!(listed, Err(ObjectsError::UploadNotFound)), "{listed:?}");
    let completed = objects.complete_multipart(&key, &upload, &[(1, etag)]).await;
    assert!(matches!(completed, Err(ObjectsError::UploadNotFound)), "{completed:?}");
    assert_eq!(objects.head(&key).await.expect("a response"), None);
}
