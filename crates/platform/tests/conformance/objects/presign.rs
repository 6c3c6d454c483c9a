//! Presigned URLs of whole objects.

use std::time::Duration;

use bytes::Bytes;
use reelmill_platform::objects::{Objects, ObjectsConfig, ObjectsError, SignedPut};
use reqwest::{
    StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RANGE},
};
use rstest::rstest;

use super::{Backend, Fixture, TTL, send};

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presign_get_works_without_credentials(#[case] backend: Backend) {
    let Fixture { objects, config, prefix, http, _folder } = backend.open().await;
    let key = format!("{prefix}object");
    objects.put(&key, Bytes::from_static(b"0123456789"), "text/plain").await.expect("written");
    let endpoint = config.endpoint.clone().expect("an endpoint");
    let origin = endpoint.replace("127.0.0.1", "localhost");
    for (origin, start) in [(None, &endpoint), (Some(origin.as_str()), &origin)] {
        let uri = objects.presign_get(&key, TTL, origin).await.expect("signed");
        assert!(uri.starts_with(start), "{uri}");
        let response = http.get(&uri).header(RANGE, "bytes=3-5").send().await.expect("a response");
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(response.bytes().await.expect("a body"), "345");
        let other = uri.replace("object", "another");
        assert_eq!(http.get(&other).send().await.expect("a response").status(), StatusCode::FORBIDDEN);
    }
    let public = ObjectsConfig { public_endpoint: Some("https://media.example.com".to_owned()), ..config };
    let objects = Objects::connect(&public).await.expect("a client");
    let uri = objects.presign_get(&key, TTL, Some("http://elsewhere")).await.expect("signed");
    assert!(uri.starts_with("https://media.example.com/reelmill/"), "{uri}");
    let nonsense = objects.presign_get(&key, Duration::from_secs(30 * 86_400), None).await;
    assert!(matches!(nonsense, Err(ObjectsError::Config(_))), "S3 signs for a week at most");
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presign_put_requires_its_headers(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let key = fixture.key("poster.jpg");
    let put = fixture
        .objects
        .presign_put(&key, TTL, None, Some("image/jpeg"), Some("public, max-age=60"))
        .await
        .expect("signed");
    let changed = SignedPut {
        headers: put
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.replace("jpeg", "png")))
            .collect(),
        ..put.clone()
    };
    assert_ne!(changed, put, "the content type is one of the headers");
    let refused = send(&fixture.http, &changed, Bytes::from_static(b"jpeg")).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(send(&fixture.http, &put, Bytes::from_static(b"jpeg")).await.status(), StatusCode::OK);
    let uri = fixture.objects.presign_get(&key, TTL, None).await.expect("signed");
    let response = fixture.http.get(uri).send().await.expect("a response");
    assert_eq!(response.headers()[CONTENT_TYPE], "image/jpeg");
    assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=60");
}
