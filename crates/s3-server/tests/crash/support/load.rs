//! Concurrent writers that record what was acknowledged, and content that identifies its own version.

use std::{
    collections::BTreeMap,
    io, str,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::{
    Client,
    operation::upload_part::builders::UploadPartFluentBuilder,
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use reqwest::Body;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::server::BUCKET;

const PART_BYTES: usize = 5 << 20;

/// The versions of one key. Version 0 is "no object".
#[derive(Clone, Copy, Debug, Default)]
pub struct Versions {
    /// The last version that was acknowledged.
    pub acknowledged: u64,
    /// The last version that was sent.
    pub sent: u64,
}

/// How a writer writes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Put,
    Multipart,
    /// Puts an object, and then replaces it by copies of its parts.
    Copy,
}

/// Running writers, each with a key of its own.
pub struct WriteLoad {
    writers: JoinSet<(String, Versions)>,
    acknowledged: Arc<AtomicU64>,
}

impl WriteLoad {
    /// Starts four writers of small objects, two of multipart uploads, and one that also copies parts.
    pub fn start(client: &Client, known: &BTreeMap<String, Versions>, round: u64) -> Self {
        let mut writers = JoinSet::new();
        let acknowledged = Arc::new(AtomicU64::new(0));
        for n in 0..7 {
            let kind = match n {
                0..4 => Kind::Put,
                4..6 => Kind::Multipart,
                _ => Kind::Copy,
            };
            let key = format!("{kind:?}/{n}").to_lowercase();
            let versions = known.get(&key).copied().unwrap_or_default();
            let random = StdRng::seed_from_u64(round * 100 + n);
            let count = Arc::clone(&acknowledged);
            writers.spawn(write(client.clone(), key, versions, kind, random, count));
        }
        Self { writers, acknowledged }
    }

    /// Waits until this many versions have been acknowledged.
    pub async fn wait_for_acknowledged(&self, wanted: u64) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.acknowledged.load(Ordering::Relaxed) < wanted {
            ensure!(Instant::now() < deadline, "the server acknowledges no writes");
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The versions of all keys, after the kill of the server has stopped every writer.
    pub async fn stop(mut self) -> Result<BTreeMap<String, Versions>> {
        let mut known = BTreeMap::new();
        while let Some(writer) = self.writers.join_next().await {
            known.extend([writer?]);
        }
        Ok(known)
    }
}

/// Writes new versions until a request fails, which it does when the server is killed.
async fn write(
    client: Client,
    key: String,
    mut versions: Versions,
    kind: Kind,
    mut random: StdRng,
    acknowledged: Arc<AtomicU64>,
) -> (String, Versions) {
    loop {
        versions.sent += 1;
        let size = match kind {
            Kind::Put => random.random_range(100..300_000),
            Kind::Multipart | Kind::Copy => PART_BYTES + random.random_range(1..1 << 20),
        };
        let body = content(&key, versions.sent, size);
        let outcome = match kind {
            Kind::Put => put(&client, &key, body).await,
            Kind::Multipart => put_multipart(&client, &key, body).await,
            Kind::Copy => put_and_copy(&client, &key, body).await,
        };
        if outcome.is_err() {
            return (key, versions);
        }
        versions.acknowledged = versions.sent;
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

async fn put(client: &Client, key: &str, body: Vec<u8>) -> Result<()> {
    client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(body)).send().await?;
    Ok(())
}

/// Puts an object, and replaces it by an upload of two copied ranges of it, and that by an upload of its
/// linked parts. The content stays the same.
async fn put_and_copy(client: &Client, key: &str, body: Vec<u8>) -> Result<()> {
    let size = body.len();
    put(client, key, body).await?;
    for _ in 0..2 {
        let created = client.create_multipart_upload().bucket(BUCKET).key(key).send().await?;
        let upload = created.upload_id().context("no upload id")?;
        let mut etags = Vec::new();
        for (number, range) in [(1, 0..PART_BYTES), (2, PART_BYTES..size)] {
            let part = client.upload_part_copy().bucket(BUCKET).key(key).upload_id(upload);
            let part = part.part_number(number).copy_source(format!("{BUCKET}/{key}"));
            let part = part.copy_source_range(format!("bytes={}-{}", range.start, range.end - 1));
            let copied = part.send().await?.copy_part_result.context("no result")?;
            etags.push(copied.e_tag.context("no ETag")?);
        }
        complete(client, key, upload, etags).await?;
    }
    Ok(())
}

async fn put_multipart(client: &Client, key: &str, body: Vec<u8>) -> Result<()> {
    let created = client.create_multipart_upload().bucket(BUCKET).key(key).send().await?;
    let upload = created.upload_id.context("no upload id")?;
    let mut etags = Vec::new();
    for (n, part) in body.chunks(PART_BYTES).enumerate() {
        let put = client.upload_part().bucket(BUCKET).key(key).upload_id(&upload).part_number(n as i32 + 1);
        let put = put.body(ByteStream::from(part.to_vec())).send().await?;
        etags.push(put.e_tag.context("no ETag")?);
    }
    complete(client, key, &upload, etags).await.map(drop)
}

/// Completes an upload from its parts' ETags, and returns the object's ETag.
pub async fn complete(client: &Client, key: &str, upload: &str, etags: Vec<String>) -> Result<String> {
    let parts = etags.into_iter().zip(1..);
    let parts = parts.map(|(etag, n)| CompletedPart::builder().part_number(n).e_tag(etag).build()).collect();
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let done = client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(upload);
    done.multipart_upload(parts).send().await?.e_tag.context("no ETag")
}

/// Uploads `size` zero bytes by a presigned URL, without buffering them.
pub async fn send_zeros(part: UploadPartFluentBuilder, size: usize) -> Result<String> {
    const CHUNK_BYTES: usize = 64 << 10;
    let presigned = part.presigned(PresigningConfig::expires_in(Duration::from_secs(60))?).await?;
    let chunk = bytes::Bytes::from(vec![0; CHUNK_BYTES]);
    let body = futures::stream::iter((0..size / CHUNK_BYTES).map(move |_| Ok::<_, io::Error>(chunk.clone())));
    let request = reqwest::Client::new().put(presigned.uri()).header("content-length", size);
    let response = request.body(Body::wrap_stream(body)).send().await?;
    ensure!(response.status() == 200, "{}", response.status());
    Ok(response.headers().get("etag").context("no ETag")?.to_str()?.to_owned())
}

/// Content that identifies its key, version and size in its first line, and its version in every byte
/// after that.
fn content(key: &str, version: u64, size: usize) -> Vec<u8> {
    let mut content = format!("{key} {version} {size}\n").into_bytes();
    content.reserve(size + 8);
    let mut word = version;
    while content.len() < size {
        // Knuth's multiplier: words and versions only have to differ.
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(version);
        content.extend_from_slice(&word.to_le_bytes());
    }
    content.truncate(size);
    content
}

/// The version of an object's content. Fails if the content is not complete and unmixed.
pub fn version_of(key: &str, found: &[u8]) -> Result<u64> {
    let head = found.split(|b| *b == b'\n').next().unwrap_or_default();
    let head = str::from_utf8(head).context("no first line")?;
    let mut words = head.split(' ');
    ensure!(words.next() == Some(key), "{key} contains another object: {head}");
    let version = words.next().context("no version")?.parse()?;
    let size = words.next().context("no size")?.parse()?;
    ensure!(found.len() == size, "{key} has {} bytes of {size}", found.len());
    ensure!(found == content(key, version, size), "{key} version {version} has mixed content");
    Ok(version)
}
