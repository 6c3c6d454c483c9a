//! The bucket, and stores that cannot be reached.

use std::time::Duration;

use bytes::Bytes;
use reelmill_platform::objects::{Objects, ObjectsConfig, ObjectsError, PartToPresign};
use reqwest::{
    Response, StatusCode,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN},
};
use rstest::rstest;
use uuid::Uuid;

use super::{Backend, TTL, config};

fn text<'a>(response: &'a Response, header: &str) -> &'a str {
    response.headers().get(header).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ensure_bucket_allows_all_origins(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let key = fixture.key("source");
    let upload = fixture.objects.create_multipart(&key, None).await.expect("opened");
    let part = PartToPresign { upload_id: &upload, number: 1, size_bytes: 1, crc32c_base64: None };
    let put = fixture.objects.presign_part(&key, &part, TTL, None).await.expect("signed");
    let origin = "https://app.example.com";
    let preflight = fixture
        .http
        .request(reqwest::Method::OPTIONS, &put.uri)
        .header(ORIGIN, origin)
        .header("access-control-request-method", "PUT")
        .send()
        .await
        .expect("a response");
    assert!(preflight.status().is_success(), "{preflight:?}");
    assert!(["*", origin].contains(&text(&preflight, ACCESS_CONTROL_ALLOW_ORIGIN.as_str())));
    let response =
        fixture.http.put(&put.uri).header(ORIGIN, origin).body("x").send().await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    assert!(["*", origin].contains(&text(&response, ACCESS_CONTROL_ALLOW_ORIGIN.as_str())));
    let exposed = text(&response, "access-control-expose-headers").to_ascii_lowercase();
    assert!(exposed.contains("etag") || exposed == "*", "a script must see the ETag: {exposed:?}");
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ensure_bucket_is_idempotent(#[case] backend: Backend) {
    let fixture = backend.open().await;
    fixture.objects.ensure_bucket().await.expect("it is there already");
    let bucket = format!("b{}", Uuid::new_v4().simple());
    let config = ObjectsConfig { bucket, ..fixture.config };
    let another = Objects::connect(&config).await.expect("a client");
    let (one, other) = tokio::join!(another.ensure_bucket(), another.ensure_bucket());
    one.and(other).expect("made once, whoever was first");
    another.put("key", Bytes::from_static(b"x"), "text/plain").await.expect("written");
}

#[tokio::test]
async fn get_from_an_unreachable_object_store_fails_in_bounded_time() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = config("http://127.0.0.1:1".to_owned(), "reelmill", "id", "secret");
    let objects = Objects::connect(&config).await.expect("a client asks nothing yet");
    let response = tokio::time::timeout(Duration::from_secs(30), objects.head("key")).await.expect("bounded");
    assert!(matches!(response, Err(ObjectsError::Unavailable { .. })), "{response:?}");
    let text = response.expect_err("an error").to_string();
    assert!(!text.contains("secret"));
}

#[tokio::test]
async fn connect_with_an_invalid_endpoint_is_an_error() {
    for endpoint in ["127.0.0.1:9000", "http://127.0.0.1:9000/path", "file:///tmp"] {
        let config = config(endpoint.to_owned(), "reelmill", "id", "secret");
        assert!(matches!(Objects::connect(&config).await, Err(ObjectsError::Config(_))), "{endpoint}");
    }
}
