//! What services rely on in an object store, on the embedded one and on SeaweedFS.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use reelmill_platform::objects::{Objects, ObjectsConfig, ObjectsError, SignedPut};
use reelmill_s3_server::ObjectServerConfig;
use reelmill_testkit::shared;
use reqwest::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, ORIGIN, RANGE};
use reqwest::{Client, Response, StatusCode};
use tempfile::TempDir;
use tokio::net::TcpListener;
use uuid::Uuid;

const TTL: Duration = Duration::from_secs(600);
const MIB: usize = 1 << 20;
/// The smallest part that is not an upload's last.
const PART: usize = 5 * MIB;
/// One page of every S3 listing holds 1,000.
const MORE_THAN_A_PAGE: usize = 1_003;

#[derive(Clone, Copy)]
enum Backend {
    Embedded,
    SeaweedFs,
}

crate::on_every_backend!(
    embedded = crate::objects::Backend::Embedded,
    seaweedfs = crate::objects::Backend::SeaweedFs
    => [
        an_object_is_written_read_and_deleted,
        ranges_and_conditions_are_answered,
        all_pages_are_listed_and_deleted,
        the_whole_bucket_is_never_a_prefix,
        a_signed_get_needs_no_key,
        a_signed_put_keeps_its_headers,
        a_multipart_upload_of_signed_parts_becomes_an_object,
        parts_that_are_not_there_are_refused,
        a_part_bound_to_a_checksum_takes_no_other_bytes,
        all_pages_of_parts_are_listed,
        an_aborted_upload_is_gone,
        browsers_of_any_origin_are_let_in,
        the_bucket_is_made_once,
    ]
);

struct Fixture {
    objects: Objects,
    config: ObjectsConfig,
    /// Keys of this test alone.
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

/// Our own store, behind the same router as in the gateway.
async fn serve_embedded(folder: &TempDir) -> ObjectsConfig {
    let store = reelmill_s3_server::open(ObjectServerConfig {
        dir: folder.path().join("objects"),
        bucket: "reelmill".to_owned(),
        access_key_id: "id".to_owned(),
        secret_access_key: "secret".to_owned(),
    });
    let service = store.await.expect("the store opens").service();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let router = axum::Router::new().fallback_service(service);
    tokio::spawn(async move { axum::serve(listener, router).await });
    config(format!("http://{address}"), "reelmill", "id", "secret")
}

async fn body(objects: &Objects, key: &str, range: Option<&str>) -> Bytes {
    let object = objects.get(key, range, None).await.expect("the object");
    object.body.collect().await.expect("its bytes")
}

async fn send(http: &Client, put: &SignedPut, bytes: Bytes) -> Response {
    let mut request = http.put(&put.uri).body(bytes);
    for (name, value) in &put.headers {
        request = request.header(name, value);
    }
    request.send().await.expect("an answer")
}

/// Bytes that no two parts share.
fn bytes(length: usize, seed: u8) -> Bytes {
    (0..length).map(|place| (place % 251) as u8 ^ seed).collect::<Vec<u8>>().into()
}

async fn an_object_is_written_read_and_deleted(backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("a b/ü+&=?#%20.mp4");
    assert_eq!(objects.head(&key).await.expect("an answer"), None);
    objects.put(&key, Bytes::from_static(b"hello"), "video/mp4").await.expect("written");
    let head = objects.head(&key).await.expect("an answer").expect("the object");
    assert_eq!((head.size, head.content_type.as_deref()), (5, Some("video/mp4")));
    assert_eq!(body(objects, &key, None).await, "hello");
    objects.put(&key, Bytes::from_static(b"again"), "video/mp4").await.expect("written over");
    assert_eq!(body(objects, &key, None).await, "again");
    objects.delete(&key).await.expect("deleted");
    objects.delete(&key).await.expect("deleted again");
    assert_eq!(objects.head(&key).await.expect("an answer"), None);
    assert!(matches!(objects.get(&key, None, None).await, Err(ObjectsError::NotFound)));
}

async fn ranges_and_conditions_are_answered(backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("object");
    objects.put(&key, Bytes::from_static(b"0123456789"), "text/plain").await.expect("written");
    assert_eq!(body(objects, &key, Some("bytes=2-4")).await, "234");
    assert_eq!(body(objects, &key, Some("bytes=-3")).await, "789");
    assert_eq!(body(objects, &key, Some("bytes=7-")).await, "789");
    let beyond = objects.get(&key, Some("bytes=10-"), None).await;
    assert!(matches!(beyond, Err(ObjectsError::RangeNotSatisfiable)), "{beyond:?}");
    let etag = objects.head(&key).await.expect("an answer").expect("the object").etag;
    let same = objects.get(&key, None, Some(&etag)).await;
    assert!(matches!(same, Err(ObjectsError::NotModified)), "{same:?}");
    let part = objects.get(&key, Some("bytes=0-1"), Some("\"other\"")).await.expect("changed");
    assert_eq!(part.content_range.as_deref(), Some("bytes 0-1/10"));
}

async fn all_pages_are_listed_and_deleted(backend: Backend) {
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

async fn the_whole_bucket_is_never_a_prefix(backend: Backend) {
    let fixture = backend.open().await;
    assert!(matches!(fixture.objects.delete_prefix("").await, Err(ObjectsError::Config(_))));
}

async fn a_signed_get_needs_no_key(backend: Backend) {
    let Fixture { objects, config, prefix, http, _folder } = backend.open().await;
    let key = format!("{prefix}object");
    objects.put(&key, Bytes::from_static(b"0123456789"), "text/plain").await.expect("written");
    let endpoint = config.endpoint.clone().expect("an endpoint");
    let origin = endpoint.replace("127.0.0.1", "localhost");
    for (origin, start) in [(None, &endpoint), (Some(origin.as_str()), &origin)] {
        let uri = objects.presign_get(&key, TTL, origin).await.expect("signed");
        assert!(uri.starts_with(start), "{uri}");
        let answer = http.get(&uri).header(RANGE, "bytes=3-5").send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(answer.bytes().await.expect("a body"), "345");
        let other = uri.replace("object", "another");
        assert_eq!(http.get(&other).send().await.expect("an answer").status(), StatusCode::FORBIDDEN);
    }
    let public = ObjectsConfig { public_endpoint: Some("https://media.example.com".to_owned()), ..config };
    let objects = Objects::connect(&public).await.expect("a client");
    let uri = objects.presign_get(&key, TTL, Some("http://elsewhere")).await.expect("signed");
    assert!(uri.starts_with("https://media.example.com/reelmill/"), "{uri}");
    let nonsense = objects.presign_get(&key, Duration::from_secs(30 * 86_400), None).await;
    assert!(matches!(nonsense, Err(ObjectsError::Config(_))), "S3 signs for a week at most");
}

async fn a_signed_put_keeps_its_headers(backend: Backend) {
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
    let answer = fixture.http.get(uri).send().await.expect("an answer");
    assert_eq!(answer.headers()[CONTENT_TYPE], "image/jpeg");
    assert_eq!(answer.headers()[CACHE_CONTROL], "public, max-age=60");
}

/// Sends a part to its signed address and gives its ETag.
async fn send_part(fixture: &Fixture, key: &str, upload: &str, number: i32, bytes: Bytes) -> String {
    let put = fixture.objects.presign_part(key, upload, number, TTL, None, None).await.expect("signed");
    let answer = send(&fixture.http, &put, bytes).await;
    assert_eq!(answer.status(), StatusCode::OK);
    answer.headers()[ETAG].to_str().expect("text").to_owned()
}

async fn a_multipart_upload_of_signed_parts_becomes_an_object(backend: Backend) {
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
    let head = objects.head(&key).await.expect("an answer").expect("the object");
    assert_eq!((head.size, &head.etag), (2 * PART as i64 + 1_000, &etag));
    assert_eq!(head.content_type.as_deref(), Some("video/quicktime"));
    assert!(body(objects, &key, None).await == contents.concat(), "the parts in their order");
    let again = objects.complete_multipart(&key, &upload, &parts).await.expect("completed again");
    assert_eq!(again.trim_matches('"'), etag.trim_matches('"'));
    let listed = objects.list_parts(&key, &upload).await;
    assert!(matches!(listed, Err(ObjectsError::UploadNotFound)), "{listed:?}");
    objects.abort_multipart(&key, &upload).await.expect("nothing to abort is no error");
    assert!(objects.head(&key).await.expect("an answer").is_some(), "the object stays");
}

async fn parts_that_are_not_there_are_refused(backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("source");
    let upload = objects.create_multipart(&key, None).await.expect("opened");
    let etag = send_part(&fixture, &key, &upload, 1, bytes(1_000, 1)).await;
    let wrong = "\"d41d8cd98f00b204e9800998ecf8427e\"".to_owned();
    for parts in [vec![(1, wrong)], vec![(1, etag.clone()), (2, etag.clone())]] {
        let answer = objects.complete_multipart(&key, &upload, &parts).await;
        assert!(matches!(answer, Err(ObjectsError::InvalidParts { .. })), "{answer:?}");
    }
    assert_eq!(objects.head(&key).await.expect("an answer"), None);
    objects.complete_multipart(&key, &upload, &[(1, etag)]).await.expect("the upload is still good");
}

async fn a_part_bound_to_a_checksum_takes_no_other_bytes(backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("source");
    let upload = objects.create_multipart(&key, None).await.expect("opened");
    // CRC-32C of "123456789" is 0xE3069283 (its check value, RFC 3720 B.4 and every catalogue since).
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

async fn all_pages_of_parts_are_listed(backend: Backend) {
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

async fn an_aborted_upload_is_gone(backend: Backend) {
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
    assert_eq!(objects.head(&key).await.expect("an answer"), None);
}

async fn browsers_of_any_origin_are_let_in(backend: Backend) {
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
        .expect("an answer");
    assert!(preflight.status().is_success(), "{preflight:?}");
    assert!(["*", origin].contains(&text(&preflight, ACCESS_CONTROL_ALLOW_ORIGIN.as_str())));
    let answer = fixture.http.put(&put.uri).header(ORIGIN, origin).body("x").send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(["*", origin].contains(&text(&answer, ACCESS_CONTROL_ALLOW_ORIGIN.as_str())));
    let exposed = text(&answer, "access-control-expose-headers").to_ascii_lowercase();
    assert!(exposed.contains("etag") || exposed == "*", "a script must see the ETag: {exposed:?}");
}

fn text<'a>(answer: &'a Response, header: &str) -> &'a str {
    answer.headers().get(header).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn the_bucket_is_made_once(backend: Backend) {
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
async fn a_store_that_is_away_is_an_error_in_bounded_time() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = config("http://127.0.0.1:1".to_owned(), "reelmill", "id", "secret");
    let objects = Objects::connect(&config).await.expect("a client asks nothing yet");
    let answer = tokio::time::timeout(Duration::from_secs(30), objects.head("key")).await.expect("bounded");
    assert!(matches!(answer, Err(ObjectsError::Unavailable { .. })), "{answer:?}");
    let text = answer.expect_err("an error").to_string();
    assert!(!text.contains("secret"));
}

#[tokio::test]
async fn endpoints_that_are_none_are_refused() {
    for endpoint in ["127.0.0.1:9000", "http://127.0.0.1:9000/path", "file:///tmp"] {
        let config = config(endpoint.to_owned(), "reelmill", "id", "secret");
        assert!(matches!(Objects::connect(&config).await, Err(ObjectsError::Config(_))), "{endpoint}");
    }
}
