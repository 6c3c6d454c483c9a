//! Conformance of object stores, on the embedded one and on SeaweedFS.

mod bucket;
mod listing;
mod multipart;
mod object;
mod presign;

use std::time::Duration;

use bytes::Bytes;
use reelmill_platform::objects::{Objects, ObjectsConfig, SignedPut};
use reelmill_s3_server::ObjectServerConfig;
use reelmill_testkit::shared;
use reqwest::{Client, Response};
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
