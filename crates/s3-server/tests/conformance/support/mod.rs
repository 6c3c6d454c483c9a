//! The object stores under test, and helpers to call them.

use std::{error::Error, iter, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Region, RequestChecksumCalculation},
    error::{ProvideErrorMetadata, SdkError},
    operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder,
    presigning::{PresignedRequest, PresigningConfig},
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use reelmill_s3_server::{ObjectServerConfig, open};
use reelmill_testkit::shared;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::OnceCell,
    task::JoinHandle,
    time::{Instant, sleep},
};

/// The smallest part that S3 allows, except for the last.
pub const MIN_PART_BYTES: usize = 5 << 20;

const BUCKET: &str = "reelmill";
const ACCESS_KEY_ID: &str = "test-key";
const SECRET_ACCESS_KEY: &str = "test-secret";

/// The object store that a test runs on.
#[derive(Clone, Copy, Debug)]
pub enum Backend {
    /// This crate's. Each test starts its own.
    Embedded,
    /// SeaweedFS. All tests share it, so each uses keys of its own.
    SeaweedFs,
}

impl Backend {
    pub async fn start(self) -> Result<TestStore> {
        match self {
            Self::Embedded => TestStore::start_embedded().await,
            Self::SeaweedFs => {
                static CREATED: OnceCell<()> = OnceCell::const_new();
                let server = shared::seaweedfs().await;
                let (id, secret) = (server.access_key_id(), server.secret_access_key());
                let store = TestStore::connect(&server.endpoint(), id, secret, server.bucket())?;
                CREATED.get_or_try_init(|| store.create_bucket()).await?;
                Ok(store)
            }
        }
    }
}

/// An object store, a client that signs requests to it, and a plain HTTP client.
pub struct TestStore {
    /// Sends checksums only where a test sets them.
    pub client: Client,
    /// With the SDK's defaults: sends a CRC with every body.
    pub checksumming_client: Client,
    pub http: reqwest::Client,
    pub endpoint: String,
    pub bucket: String,
    embedded: Option<EmbeddedServer>,
}

/// The embedded object store, served until it is dropped.
struct EmbeddedServer {
    dir: TempDir,
    task: JoinHandle<()>,
}

impl Drop for EmbeddedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestStore {
    /// Starts the embedded object store in `objects/` of a temporary folder, on a free port.
    pub async fn start_embedded() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let server = open(ObjectServerConfig {
            dir: dir.path().join("objects"),
            bucket: BUCKET.to_owned(),
            access_key_id: ACCESS_KEY_ID.to_owned(),
            secret_access_key: SECRET_ACCESS_KEY.to_owned(),
        })
        .await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let app = axum::Router::new().fallback_service(server.service());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        let mut store = Self::connect(&endpoint, ACCESS_KEY_ID, SECRET_ACCESS_KEY, BUCKET)?;
        store.embedded = Some(EmbeddedServer { dir, task });
        Ok(store)
    }

    fn connect(endpoint: &str, id: &str, secret: &str, bucket: &str) -> Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(id, secret, None, None, "test"))
            .endpoint_url(endpoint)
            .force_path_style(true);
        let checksumming_client = Client::from_conf(config.clone().build());
        let plain = config.request_checksum_calculation(RequestChecksumCalculation::WhenRequired).build();
        Ok(Self {
            client: Client::from_conf(plain),
            checksumming_client,
            http: reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?,
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
            embedded: None,
        })
    }

    /// The temporary folder that contains the embedded object store's folder.
    pub fn dir(&self) -> Result<&TempDir> {
        Ok(&self.embedded.as_ref().context("not the embedded object store")?.dir)
    }

    /// Creates the bucket, retrying while the server starts.
    async fn create_bucket(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match self.client.create_bucket().bucket(&self.bucket).send().await {
                Ok(_) => return Ok(()),
                Err(e) if e.code() == Some("BucketAlreadyOwnedByYou") => return Ok(()),
                Err(e) if Instant::now() > deadline => return Err(e).context("could not create the bucket"),
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Puts an object and returns its ETag.
    pub async fn put(&self, key: &str, body: &[u8]) -> Result<String> {
        let body = ByteStream::from(body.to_vec());
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(body).send().await?;
        put.e_tag.context("no ETag")
    }

    pub async fn get(&self, key: &str) -> Result<Vec<u8>> {
        let got = self.client.get_object().bucket(&self.bucket).key(key).send().await?;
        Ok(got.body.collect().await?.to_vec())
    }

    pub async fn delete(&self, key: &str) -> Result<()> {
        self.client.delete_object().bucket(&self.bucket).key(key).send().await?;
        Ok(())
    }

    pub async fn exists(&self, key: &str) -> Result<bool> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(_) => Ok(true),
            Err(e) if status(&e) == Some(404) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// A URL to get an object within a minute.
    pub async fn presign_get(&self, key: &str) -> Result<PresignedRequest> {
        let get = self.client.get_object().bucket(&self.bucket).key(key);
        Ok(get.presigned(for_a_minute()?).await?)
    }

    /// Creates a multipart upload and returns its id.
    pub async fn create_upload(&self, key: &str) -> Result<String> {
        let created = self.client.create_multipart_upload().bucket(&self.bucket).key(key).send().await?;
        created.upload_id.context("no upload id")
    }

    /// Uploads a part as a browser does, by PUT to a presigned URL, and returns its ETag.
    pub async fn put_part(&self, key: &str, upload: &str, number: i32, body: Vec<u8>) -> Result<String> {
        let part = self.client.upload_part().bucket(&self.bucket).key(key).upload_id(upload);
        let presigned = part.part_number(number).presigned(for_a_minute()?).await?;
        let response = send(&self.http, &presigned, body).await?;
        ensure!(response.status() == 200, "part {number}: {}", response.status());
        let etag = response.headers().get("etag").context("no ETag on the part")?;
        Ok(etag.to_str()?.to_owned())
    }

    /// Completes a multipart upload from parts by number and ETag.
    pub fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: &[(i32, &str)],
    ) -> CompleteMultipartUploadFluentBuilder {
        let parts =
            parts.iter().map(|(n, etag)| CompletedPart::builder().part_number(*n).e_tag(*etag).build());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let complete = self.client.complete_multipart_upload().bucket(&self.bucket).key(key);
        complete.upload_id(upload).multipart_upload(parts)
    }
}

/// Sends a presigned request with the headers that its signature covers.
pub async fn send(
    http: &reqwest::Client,
    presigned: &PresignedRequest,
    body: Vec<u8>,
) -> Result<reqwest::Response> {
    let mut request = http.request(presigned.method().parse()?, presigned.uri()).body(body);
    for (name, value) in presigned.headers() {
        request = request.header(name, value);
    }
    Ok(request.send().await?)
}

/// Presigning that expires in a minute.
pub fn for_a_minute() -> Result<PresigningConfig> {
    Ok(PresigningConfig::expires_in(Duration::from_secs(60))?)
}

/// Pseudo-random bytes, so that no mix-up of ranges or bodies goes undetected.
pub fn content(seed: u8, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 0x9e37_79b9_7f4a_7c15;
    iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}

/// The HTTP status of an error response.
pub fn status<E>(e: &SdkError<E>) -> Option<u16> {
    e.raw_response().map(|r| r.status().as_u16())
}

/// The HTTP status of a request that was rejected.
pub fn rejected_status<T, E>(outcome: Result<T, SdkError<E>>) -> Option<u16> {
    outcome.err().as_ref().and_then(status)
}

/// The S3 error code of a request that was rejected.
pub fn error_code<T, E>(outcome: Result<T, SdkError<E>>) -> Result<String>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match outcome {
        Ok(_) => bail!("the request was accepted"),
        Err(e) => match e.code() {
            Some(code) => Ok(code.to_owned()),
            None => Err(anyhow::Error::new(e).context("no error code")),
        },
    }
}
