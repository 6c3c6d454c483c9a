//! A store under test, whichever it is.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::primitives::ByteStream;
use reelmill_s3_server::{ObjectServerConfig, open};

/// S3's smallest part, for all but the last.
pub const MIN_PART: usize = 5 << 20;

/// An endpoint, a client that signs for it, and a plain HTTP client that does not.
pub struct Store {
    /// Sends no checksum that it was not told to.
    pub client: Client,
    /// With the SDK's defaults: a CRC with every body.
    pub checksumming: Client,
    pub http: reqwest::Client,
    pub endpoint: String,
    pub bucket: String,
}

/// The embedded store, served on a free port.
pub struct Served {
    pub store: Store,
    pub dir: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn serve_embedded() -> Result<Served> {
    let dir = tempfile::tempdir()?;
    let server = open(ObjectServerConfig {
        dir: dir.path().join("objects"),
        bucket: "reelmill".to_owned(),
        access_key_id: "test-key".to_owned(),
        secret_access_key: "test-secret".to_owned(),
    })
    .await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let app = axum::Router::new().fallback_service(server.service());
    let task = tokio::spawn(async move {
        let _ = axum::serve(listener, app).await;
    });
    let store = Store::connect(&endpoint, "test-key", "test-secret", "reelmill").await?;
    Ok(Served { store, dir, task })
}

impl Store {
    pub async fn connect(endpoint: &str, id: &str, secret: &str, bucket: &str) -> Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(id, secret, None, None, "test"))
            .endpoint_url(endpoint)
            .force_path_style(true);
        let checksumming = Client::from_conf(config.clone().build());
        let quiet = config.request_checksum_calculation(RequestChecksumCalculation::WhenRequired).build();
        Ok(Self {
            client: Client::from_conf(quiet),
            checksumming,
            http: reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?,
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
        })
    }

    /// Creates the bucket, waiting for a server that is still starting.
    pub async fn create_bucket(&self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let outcome = self.client.create_bucket().bucket(&self.bucket).send().await;
            match outcome {
                Ok(_) => return Ok(()),
                Err(e) if e.code() == Some("BucketAlreadyOwnedByYou") => return Ok(()),
                Err(e) if tokio::time::Instant::now() > deadline => return Err(e).context("no bucket"),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    pub async fn put(&self, key: &str, body: &[u8]) -> Result<String> {
        let body = ByteStream::from(body.to_vec());
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(body).send().await?;
        put.e_tag.context("no ETag")
    }

    pub async fn get(&self, key: &str) -> Result<Vec<u8>> {
        let got = self.client.get_object().bucket(&self.bucket).key(key).send().await?;
        Ok(got.body.collect().await?.to_vec())
    }

    pub async fn exists(&self, key: &str) -> Result<bool> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(_) => Ok(true),
            Err(e) if status(&e) == Some(404) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    pub async fn presign_get(&self, key: &str, lifetime: Duration) -> Result<PresignedRequest> {
        let get = self.client.get_object().bucket(&self.bucket).key(key);
        Ok(get.presigned(PresigningConfig::expires_in(lifetime)?).await?)
    }

    pub async fn create_upload(&self, key: &str) -> Result<String> {
        let made = self.client.create_multipart_upload().bucket(&self.bucket).key(key).send().await?;
        made.upload_id.context("no upload id")
    }

    /// Sends a part as a browser does: by a presigned address and a plain PUT.
    pub async fn put_part(&self, key: &str, upload: &str, number: i32, body: Vec<u8>) -> Result<String> {
        let part = self.client.upload_part().bucket(&self.bucket).key(key).upload_id(upload);
        let address = part.part_number(number).presigned(in_a_minute()?).await?;
        let response = send(&self.http, &address, body).await?;
        ensure!(response.status() == 200, "part {number}: {}", response.status());
        let etag = response.headers().get("etag").context("no ETag on the part")?;
        Ok(etag.to_str()?.to_owned())
    }
}

/// Sends what was presigned, with the headers that the signature covers.
pub async fn send(
    http: &reqwest::Client,
    address: &PresignedRequest,
    body: Vec<u8>,
) -> Result<reqwest::Response> {
    let mut request = http.request(address.method().parse()?, address.uri()).body(body);
    for (name, value) in address.headers() {
        request = request.header(name, value);
    }
    Ok(request.send().await?)
}

pub fn in_a_minute() -> Result<PresigningConfig> {
    Ok(PresigningConfig::expires_in(Duration::from_secs(60))?)
}

/// Bytes that differ everywhere, so that no mix-up goes unseen.
pub fn content(seed: u8, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 0x9e37_79b9_7f4a_7c15;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}

pub fn status<E>(e: &SdkError<E>) -> Option<u16> {
    e.raw_response().map(|r| r.status().as_u16())
}

/// The refusal's S3 code; fails if there was none.
pub fn refusal<T, E>(outcome: Result<T, SdkError<E>>) -> Result<String>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match outcome {
        Ok(_) => anyhow::bail!("it was accepted"),
        Err(e) => match e.code() {
            Some(code) => Ok(code.to_owned()),
            None => Err(anyhow::Error::new(e).context("no error code")),
        },
    }
}
