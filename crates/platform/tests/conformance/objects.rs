//! Conformance of object stores, on the embedded one and on SeaweedFS.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use reelmill_platform::objects::{Objects, ObjectsConfig, ObjectsError, Present, SignedPut};
use reelmill_s3_server::ObjectServerConfig;
use reelmill_testkit::shared;
use reqwest::{
    Client, Response, StatusCode,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, ORIGIN, RANGE},
};
use rstest::rstest;
use tempfile::TempDir;
use tokio::net::TcpListener;
use uuid::Uuid;

const TTL: Duration = Duration::from_secs(600);
const MIB: usize = 1 << 20;
/// Minimum size of a part other than the last.
const PART: usize = 5 * MIB;
/// More than one page of an S3 listing, which has 1,000.
const MORE_THAN_A_PAGE: usize = 1_003;

#[derive(Clone, Copy)]
enum Backend {
    Embedded,
    SeaweedFs,
}

struct Fixture {
    objects: Objects,
    config: ObjectsConfig,
    /// Key prefix of this test.
    prefix: String,
    http: Client,
    _folder: TempDir,
}

impl Fixture {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Backend {
    async fn open(self) -> Fixture {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = match self {
            Self::Embedded => serve_embedded(&folder).await,
            Self::SeaweedFs => {
                let server = shared::seaweedfs().await;
                config(server.endpoint(), server.bucket(), server.access_key_id(), server.secret_access_key())
            }
        };
        let objects = Objects::connect(&config).await.expect("a client");
        objects.ensure_bucket().await.expect("the bucket is there");
        let prefix = format!("{}/", Uuid::new_v4());
        Fixture { objects, config, prefix, http: Client::new(), _folder: folder }
    }
}

fn config(endpoint: String, bucket: &str, id: &str, secret: &str) -> ObjectsConfig {
    ObjectsConfig {
        endpoint: Some(endpoint),
        public_endpoint: None,
        region: "us-east-1".to_owned(),
        bucket: bucket.to_owned(),
        access_key_id: Some(id.to_owned()),
        secret_access_key: Some(secret.to_owned()),
        path_style: true,
    }
}

/// Serves the embedded object store behind the same router as the gateway.
async fn serve_embedded(folder: &TempDir) -> ObjectsConfig {
    let store = reelmill_s3_server::open(ObjectServerConfig {
        dir: folder.path().join("objects"),
        bucket: "reelmill".to_owned(),
        access_key_id: "id".to_owned(),
        secret_access_key: "secret".to_owned(),
    });
    let service = store.await.expect("opened").service();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let router = axum::Router::new().fallback_service(service);
    tokio::spawn(async move { axum::serve(listener, router).await });
    config(format!("http://{address}"), "reelmill", "id", "secret")
}

async fn body(objects: &Objects, key: &str, range: Option<&str>) -> Bytes {
    let object = objects.get(key, range, None).await.expect("the object");
    object.body.collect().await.expect("the body")
}

async fn send(http: &Client, put: &SignedPut, bytes: Bytes) -> Response {
    let mut request = http.put(&put.uri).body(bytes);
    for (name, value) in &put.headers {
        request = request.header(name, value);
    }
    request.send().await.expect("a response")
}

/// Bytes that differ between seeds.
fn bytes(length: usize, seed: u8) -> Bytes {
    (0..length).map(|index| (index % 251) as u8 ^ seed).collect::<Vec<u8>>().into()
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn put_get_and_delete_an_object(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("a b/ü+&=?#%20.mp4");
    assert_eq!(objects.head(&key).await.expect("a response"), None);
    objects.put(&key, Bytes::from_static(b"hello"), "video/mp4").await.expect("written");
    let head = objects.head(&key).await.expect("a response").expect("the object");
    assert_eq!((head.size, head.content_type.as_deref()), (5, Some("video/mp4")));
    assert_eq!(body(objects, &key, None).await, "hello");
    objects.put(&key, Bytes::from_static(b"again"), "video/mp4").await.expect("overwritten");
    assert_eq!(body(objects, &key, None).await, "again");
    objects.delete(&key).await.expect("deleted");
    objects.delete(&key).await.expect("deleted again");
    assert_eq!(objects.head(&key).await.expect("a response"), None);
    assert!(matches!(objects.get(&key, None, None).await, Err(ObjectsError::NotFound)));
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn put_if_replaces_the_expected_object_only(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("object");
    let put = async |text: &'static str, present: &Present| {
        objects.put_if(&key, Bytes::from_static(text.as_bytes()), "text/plain", None, present).await
    };
    let missing = Present::ETag("\"00000000000000000000000000000000\"".to_owned());
    assert_eq!(put("one", &missing).await.expect("a response"), None);
    let one = put("one", &Present::Nothing).await.expect("a response").expect("written");
    assert_eq!(objects.head(&key).await.expect("a response").expect("the object").etag, one);
    assert_eq!(put("two", &Present::Nothing).await.expect("a response"), None);
    let two = put("two", &Present::ETag(one.clone())).await.expect("a response").expect("written");
    assert_ne!(one, two);
    assert_eq!(put("three", &Present::ETag(one)).await.expect("a response"), None);
    assert_eq!(body(objects, &key, None).await, "two");
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get_supports_ranges_and_conditions(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("object");
    objects.put(&key, Bytes::from_static(b"0123456789"), "text/plain").await.expect("written");
    assert_eq!(body(objects, &key, Some("bytes=2-4")).await, "234");
    assert_eq!(body(objects, &key, Some("bytes=-3")).await, "789");
    assert_eq!(body(objects, &key, Some("bytes=7-")).await, "789");
    let beyond = objects.get(&key, Some("bytes=10-"), None).await;
    assert!(matches!(beyond, Err(ObjectsError::RangeNotSatisfiable)), "{beyond:?}");
    let etag = objects.head(&key).await.expect("a response").expect("the object").etag;
    let same = objects.get(&key, None, Some(&etag)).await;
    assert!(matches!(same, Err(ObjectsError::NotModified)), "{same:?}");
    let part = objects.get(&key, Some("bytes=0-1"), Some("\"other\"")).await.expect("changed");
    assert_eq!(part.content_range.as_deref(), Some("bytes 0-1/10"));
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_and_delete_prefix_cover_all_pages(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let keys: Vec<String> = (0..MORE_THAN_A_PAGE).map(|n| fixture.key(&format!("many/{n:05}"))).collect();
    stream::iter(&keys)
        .map(|key| objects.put(key, Bytes::from_static(b"x"), "text/plain"))
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await
        .expect("written");
    let spared = fixture.key("many-others");
    objects.put(&spared, Bytes::from_static(b"xyz"), "text/plain").await.expect("written");
    let listed = objects.list(&fixture.key("many/")).await.expect("listed");
    assert_eq!(listed, keys.iter().map(|key| (key.clone(), 1)).collect::<Vec<_>>());
    let deleted = objects.delete_prefix(&fixture.key("many/")).await.expect("deleted");
    assert_eq!(deleted, MORE_THAN_A_PAGE as u64);
    assert_eq!(objects.list(&fixture.prefix).await.expect("listed"), [(spared, 3)]);
    assert_eq!(objects.delete_prefix(&fixture.key("many/")).await.expect("nothing left"), 0);
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_are_the_names_after_a_name(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    for name in ["a1/1", "a1/2/3", "b1/1", "b2/1", "c1/1", "file"] {
        objects
            .put(&fixture.key(&format!("all/{name}")), Bytes::from_static(b"x"), "text/plain")
            .await
            .expect("written");
    }
    let prefix = fixture.key("all/");
    let folders =
        async |after: &str, limit: usize| objects.folders(&prefix, after, limit).await.expect("listed");
    assert_eq!(folders("", 10).await, ["a1", "b1", "b2", "c1"]);
    assert_eq!(folders("a1", 2).await, ["b1", "b2"]);
    assert_eq!(folders("b1", 10).await, ["b2", "c1"]);
    assert!(folders("c1", 10).await.is_empty());
    assert!(objects.find_under(&fixture.key("all/b1/")).await.expect("listed").is_some());
    assert_eq!(objects.find_under(&fixture.key("all/d1/")).await.expect("listed"), None);
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_prefix_of_an_empty_prefix_is_an_error(#[case] backend: Backend) {
    let fixture = backend.open().await;
    assert!(matches!(fixture.objects.delete_prefix("").await, Err(ObjectsError::Config(_))));
}

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

/// Uploads a part to its presigned URL and returns its ETag.
async fn send_part(fixture: &Fixture, key: &str, upload: &str, number: i32, bytes: Bytes) -> String {
    let put = fixture.objects.presign_part(key, upload, number, TTL, None, None).await.expect("signed");
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
    let put = objects.presign_part(&key, &upload, 1, TTL, None, Some("4waSgw==")).await.expect("signed");
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

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ensure_bucket_allows_all_origins(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let key = fixture.key("source");
    let upload = fixture.objects.create_multipart(&key, None).await.expect("opened");
    let put = fixture.objects.presign_part(&key, &upload, 1, TTL, None, None).await.expect("signed");
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

fn text<'a>(response: &'a Response, header: &str) -> &'a str {
    response.headers().get(header).and_then(|value| value.to_str().ok()).unwrap_or_default()
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
