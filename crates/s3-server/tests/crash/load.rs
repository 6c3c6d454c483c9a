//! Writers that keep count of what they were promised, and content that tells what it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::upload_part::builders::UploadPartFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::child::BUCKET;

const PART: usize = 5 << 20;

/// What is known of one key. Version 0 is "no object".
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The last version that was acknowledged.
    pub durable: u64,
    /// The last version that was sent.
    pub tried: u64,
}

/// Writers at work, each on keys of its own.
pub struct Load {
    writers: JoinSet<(String, Known)>,
    acknowledged: Arc<AtomicU64>,
}

impl Load {
    pub fn start(client: &Client, known: &BTreeMap<String, Known>, round: u64) -> Self {
        let mut writers = JoinSet::new();
        let acknowledged = Arc::new(AtomicU64::new(0));
        for n in 0..6 {
            let multipart = n >= 4;
            let key = format!("{}/{n}", if multipart { "multipart" } else { "put" });
            let known = known.get(&key).copied().unwrap_or_default();
            let random = StdRng::seed_from_u64(round * 100 + n);
            let count = Arc::clone(&acknowledged);
            writers.spawn(write(client.clone(), key, known, multipart, random, count));
        }
        Self { writers, acknowledged }
    }

    /// Waits until so many versions have been acknowledged.
    pub async fn acknowledged(&self, wanted: u64) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.acknowledged.load(Ordering::Relaxed) < wanted {
            ensure!(Instant::now() < deadline, "the server takes no writes");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// What the writers know, once the kill has ended them all.
    pub async fn stop(mut self) -> Result<BTreeMap<String, Known>> {
        let mut known = BTreeMap::new();
        while let Some(writer) = self.writers.join_next().await {
            known.extend([writer?]);
        }
        Ok(known)
    }
}

/// Writes version after version until the server is gone.
async fn write(
    client: Client,
    key: String,
    mut known: Known,
    multipart: bool,
    mut random: StdRng,
    acknowledged: Arc<AtomicU64>,
) -> (String, Known) {
    loop {
        known.tried += 1;
        let outcome = if multipart {
            let size = PART + random.random_range(1..1 << 20);
            put_multipart(&client, &key, content(&key, known.tried, size)).await
        } else {
            let size = random.random_range(100..300_000);
            let body = ByteStream::from(content(&key, known.tried, size));
            let put = client.put_object().bucket(BUCKET).key(&key).body(body).send().await;
            put.map(drop).map_err(anyhow::Error::from)
        };
        if outcome.is_err() {
            return (key, known);
        }
        known.durable = known.tried;
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

async fn put_multipart(client: &Client, key: &str, body: Vec<u8>) -> Result<()> {
    let made = client.create_multipart_upload().bucket(BUCKET).key(key).send().await?;
    let upload = made.upload_id.context("no upload id")?;
    let mut etags = Vec::new();
    for (n, part) in body.chunks(PART).enumerate() {
        let put = client.upload_part().bucket(BUCKET).key(key).upload_id(&upload).part_number(n as i32 + 1);
        let put = put.body(ByteStream::from(part.to_vec())).send().await?;
        etags.push(put.e_tag.context("no ETag")?);
    }
    complete(client, key, &upload, etags).await.map(drop)
}

pub async fn complete(client: &Client, key: &str, upload: &str, etags: Vec<String>) -> Result<String> {
    let parts = etags.into_iter().zip(1..);
    let parts = parts.map(|(etag, n)| CompletedPart::builder().part_number(n).e_tag(etag).build()).collect();
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let done = client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(upload);
    done.multipart_upload(parts).send().await?.e_tag.context("no ETag")
}

/// Sends `size` zero bytes by a presigned address, without holding them.
pub async fn send_zeros(part: UploadPartFluentBuilder, size: usize) -> Result<String> {
    const CHUNK: usize = 64 << 10;
    let lifetime = Duration::from_secs(60);
    let config = aws_sdk_s3::presigning::PresigningConfig::expires_in(lifetime)?;
    let address = part.presigned(config).await?;
    let chunk = bytes::Bytes::from(vec![0; CHUNK]);
    let body = futures::stream::iter((0..size / CHUNK).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
    let request = reqwest::Client::new().put(address.uri()).header("content-length", size);
    let response = request.body(reqwest::Body::wrap_stream(body)).send().await?;
    ensure!(response.status() == 200, "{}", response.status());
    Ok(response.headers().get("etag").context("no ETag")?.to_str()?.to_owned())
}

/// Content that says what it is, in its head and in every byte after it.
fn content(key: &str, version: u64, size: usize) -> Vec<u8> {
    let mut content = format!("{key} {version} {size}\n").into_bytes();
    content.reserve(size + 8);
    let mut word = version;
    while content.len() < size {
        // Knuth's multiplier; the point is only that no two words or versions are alike.
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(version);
        content.extend_from_slice(&word.to_le_bytes());
    }
    content.truncate(size);
    content
}

/// The version of an object's content; an error if it is not whole.
pub fn version_of(key: &str, found: &[u8]) -> Result<u64> {
    let head = found.split(|b| *b == b'\n').next().unwrap_or_default();
    let head = std::str::from_utf8(head).context("no head")?;
    let mut words = head.split(' ');
    ensure!(words.next() == Some(key), "{key} holds another object: {head}");
    let version = words.next().context("no version")?.parse()?;
    let size = words.next().context("no size")?.parse()?;
    ensure!(found.len() == size, "{key} has {} bytes of {size}", found.len());
    ensure!(found == content(key, version, size), "{key} version {version} is a mix");
    Ok(version)
}
