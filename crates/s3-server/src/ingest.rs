//! Receiving a body: streamed to disk, hashed on the way, verified, made durable.
//!
//! At most two batches are in memory: one being received, one being hashed and written.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, StdError, TrailingHeaders, s3_error};

use crate::blobs::{BlobStore, FreshBlob, Staged};
use crate::checksum::{Algorithm, Checksums, Hashes};
use crate::error::{Result, StoreError, refusal};

/// Bytes handed to the disk at a time.
const BATCH: usize = 1 << 20;

/// The largest body of one request, as in S3: 5 GiB.
const MAX_BODY: u64 = 5 << 30;

/// What the request says about its body.
pub(crate) struct Promise {
    length: Option<u64>,
    md5: Option<[u8; 16]>,
    checksums: Checksums,
    /// Checksums that follow the body, by their header names.
    trailing: Vec<Algorithm>,
    trailers: Option<TrailingHeaders>,
    /// To be computed although nothing was promised.
    wanted: Vec<Algorithm>,
}

/// A body that was received and verified.
pub(crate) struct Ingested {
    pub(crate) blob: FreshBlob,
    pub(crate) size: u64,
    /// The MD5 in hex.
    pub(crate) etag: String,
    pub(crate) checksums: Checksums,
}

impl Promise {
    /// Reads the request's headers.
    pub(crate) fn new(
        headers: &HeaderMap,
        trailers: Option<TrailingHeaders>,
        content_length: Option<i64>,
        content_md5: Option<&str>,
        checksums: Checksums,
        wanted: Option<Algorithm>,
    ) -> std::result::Result<Self, S3Error> {
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        // An aws-chunked body is longer on the wire than it is.
        let length = match header("x-amz-decoded-content-length").filter(|_| trailers.is_some()) {
            Some(decoded) => decoded.parse().ok(),
            None => content_length.and_then(|n| u64::try_from(n).ok()),
        };
        if length.is_some_and(|n| n > MAX_BODY) {
            return Err(too_large());
        }
        let md5 = content_md5.map(decode_md5).transpose()?;
        for (algorithm, value) in checksums.present() {
            if STANDARD.decode(value).is_err() {
                return Err(s3_error!(InvalidRequest, "Value for {} is invalid.", algorithm.header()));
            }
        }
        let announced = header("x-amz-trailer").unwrap_or_default();
        let trailing = announced
            .split(',')
            .filter_map(|name| {
                Algorithm::ALL.into_iter().find(|a| name.trim().eq_ignore_ascii_case(a.header()))
            })
            .collect();
        Ok(Self { length, md5, checksums, trailing, trailers, wanted: wanted.into_iter().collect() })
    }

    fn algorithms(&self) -> Vec<Algorithm> {
        let promised = self.checksums.present().map(|(algorithm, _)| algorithm);
        promised.chain(self.trailing.iter().copied()).chain(self.wanted.iter().copied()).collect()
    }

    /// Adds the checksums that came after the body.
    fn add_trailers(&mut self) -> std::result::Result<(), S3Error> {
        let sent = self.trailers.as_ref().and_then(TrailingHeaders::take).unwrap_or_default();
        for algorithm in &self.trailing {
            let value = sent.get(algorithm.header()).and_then(|v| v.to_str().ok());
            let value = value.ok_or_else(|| {
                refusal(
                    "MalformedTrailerError",
                    StatusCode::BAD_REQUEST,
                    "A trailer that was announced is missing.",
                )
            })?;
            self.checksums.set(*algorithm, value.to_owned());
        }
        Ok(())
    }

    fn verify(mut self, size: u64, md5: [u8; 16], computed: &Checksums) -> std::result::Result<(), S3Error> {
        if self.length.is_some_and(|promised| promised != size) {
            return Err(s3_error!(IncompleteBody, "The body is not as long as the headers say."));
        }
        self.add_trailers()?;
        if self.md5.is_some_and(|promised| promised != md5) {
            return Err(s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match what we received."
            ));
        }
        self.checksums.verify(computed)
    }
}

/// A body on its way to disk.
struct Receiving {
    staged: Staged,
    hashes: Hashes,
    size: u64,
}

impl Receiving {
    fn take(mut self, batch: Vec<Bytes>) -> Result<Self> {
        for data in batch {
            self.size += data.len() as u64;
            if self.size > MAX_BODY {
                return Err(too_large().into());
            }
            self.hashes.update(&data);
            self.staged.write(&data)?;
        }
        Ok(self)
    }
}

/// Receives a body. On any error nothing of it stays.
pub(crate) async fn ingest(
    blobs: &Arc<BlobStore>,
    body: Option<StreamingBlob>,
    promise: Promise,
) -> Result<Ingested> {
    let algorithms = promise.algorithms();
    let store = Arc::clone(blobs);
    let mut disk = tokio::task::spawn_blocking(move || -> Result<Receiving> {
        Ok(Receiving { staged: store.create()?, hashes: Hashes::new(&algorithms), size: 0 })
    });
    let mut body = body;
    loop {
        let (batch, ended) = next_batch(&mut body).await?;
        let receiving = disk.await??;
        disk = tokio::task::spawn_blocking(move || receiving.take(batch));
        if ended {
            break;
        }
    }
    let Receiving { staged, hashes, size } = disk.await??;
    let (md5, checksums) = hashes.finish();
    promise.verify(size, md5, &checksums)?;
    let store = Arc::clone(blobs);
    let blob = tokio::task::spawn_blocking(move || store.persist(staged)).await??;
    Ok(Ingested { blob, size, etag: hex::encode(md5), checksums })
}

/// The next megabyte or so, and whether it is the last.
async fn next_batch(body: &mut Option<StreamingBlob>) -> Result<(Vec<Bytes>, bool)> {
    let mut batch = Vec::new();
    let mut size = 0;
    while let Some(stream) = body {
        match stream.next().await {
            Some(Ok(data)) => {
                size += data.len();
                batch.push(data);
                if size >= BATCH {
                    return Ok((batch, false));
                }
            }
            Some(Err(e)) => return Err(StoreError::Refused(broken_body(e))),
            None => break,
        }
    }
    Ok((batch, true))
}

/// The body ended in an error. s3s keeps its stream errors' types to itself, so their names in the
/// text are all there is to tell a wrong signature from a lost connection.
fn broken_body(e: StdError) -> S3Error {
    let text = e.to_string();
    tracing::debug!(error = %text, "a request body broke off");
    if text.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch, "The signature of the body does not match.")
    } else if text.contains("Sha256Mismatch") {
        refusal(
            "XAmzContentSHA256Mismatch",
            StatusCode::BAD_REQUEST,
            "The x-amz-content-sha256 you specified did not match what we received.",
        )
    } else {
        s3_error!(IncompleteBody, "The body broke off or is malformed.")
    }
}

fn decode_md5(value: &str) -> std::result::Result<[u8; 16], S3Error> {
    STANDARD
        .decode(value)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| s3_error!(InvalidDigest, "The Content-MD5 you specified is not valid."))
}

fn too_large() -> S3Error {
    s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed object size.")
}
