//! Receiving a body, or the content of a copy: streamed to disk, hashed in the same pass, verified, made
//! durable.
//!
//! At most two batches are in memory: one being received, one being hashed and written.

use std::{
    io::{self, Write},
    result,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode};
use s3s::{S3Error, StdError, TrailingHeaders, dto::StreamingBlob, s3_error};

use crate::{
    blobs::{BlobDir, NewBlob, StagedBlob},
    checksum::{Algorithm, Checksums},
    error::{ObjectStoreError, Result, custom_error},
    hashing::BodyHasher,
};

/// Bytes hashed and written at a time.
const BATCH_BYTES: usize = 1 << 20;

/// The largest body of one request, as in S3: 5 GiB.
pub(crate) const MAX_BODY_BYTES: u64 = 5 << 30;

/// The length and checksums that a request declares for its body.
pub(crate) struct DeclaredBody {
    length: Option<u64>,
    md5: Option<[u8; 16]>,
    checksums: Checksums,
    /// Checksums that follow the body, by their header names.
    trailing: Vec<Algorithm>,
    trailers: Option<TrailingHeaders>,
    /// A checksum to compute even if it is not declared.
    requested: Option<Algorithm>,
}

/// Content that was received and verified, or copied.
pub(crate) struct Ingested {
    pub(crate) blob: NewBlob,
    pub(crate) size: u64,
    /// The MD5 in hex.
    pub(crate) etag: String,
    pub(crate) checksums: Checksums,
}

impl DeclaredBody {
    /// Reads the request's headers.
    pub(crate) fn new(
        headers: &HeaderMap,
        trailers: Option<TrailingHeaders>,
        content_length: Option<i64>,
        content_md5: Option<&str>,
        checksums: Checksums,
        requested: Option<Algorithm>,
    ) -> result::Result<Self, S3Error> {
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        // An aws-chunked body is longer on the wire: Content-Length includes the chunk headers.
        let length = match header("x-amz-decoded-content-length").filter(|_| trailers.is_some()) {
            Some(decoded) => decoded.parse().ok(),
            None => content_length.and_then(|n| u64::try_from(n).ok()),
        };
        if length.is_some_and(|n| n > MAX_BODY_BYTES) {
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
        Ok(Self { length, md5, checksums, trailing, trailers, requested })
    }

    /// The checksums to compute.
    fn algorithms(&self) -> Vec<Algorithm> {
        let declared = self.checksums.present().map(|(algorithm, _)| algorithm);
        declared.chain(self.trailing.iter().copied()).chain(self.requested).collect()
    }

    /// Adds the checksums from the trailers.
    fn add_trailers(&mut self) -> result::Result<(), S3Error> {
        let sent = self.trailers.as_ref().and_then(TrailingHeaders::take).unwrap_or_default();
        for algorithm in &self.trailing {
            let value = sent.get(algorithm.header()).and_then(|v| v.to_str().ok());
            let value = value.ok_or_else(|| {
                custom_error(
                    "MalformedTrailerError",
                    StatusCode::BAD_REQUEST,
                    "A trailer that was announced is missing.",
                )
            })?;
            self.checksums.set(*algorithm, value.to_owned());
        }
        Ok(())
    }

    fn verify(mut self, size: u64, md5: [u8; 16], computed: &Checksums) -> result::Result<(), S3Error> {
        if self.length.is_some_and(|declared| declared != size) {
            return Err(s3_error!(IncompleteBody, "The body is not as long as the headers say."));
        }
        self.add_trailers()?;
        if self.md5.is_some_and(|declared| declared != md5) {
            return Err(s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match what we received."
            ));
        }
        self.checksums.verify(computed)
    }
}

/// Content that is being hashed and written.
struct ContentWriter<W> {
    to: W,
    hasher: BodyHasher,
    size: u64,
}

impl<W: Write> ContentWriter<W> {
    fn write(mut self, batch: Vec<Bytes>) -> Result<Self> {
        for data in batch {
            self.size += data.len() as u64;
            if self.size > MAX_BODY_BYTES {
                return Err(too_large().into());
            }
            self.hasher.update(&data);
            self.to.write_all(&data)?;
        }
        Ok(self)
    }
}

/// Receives a body. On an error nothing of it is left on disk.
pub(crate) async fn ingest(
    blobs: &Arc<BlobDir>,
    body: Option<StreamingBlob>,
    declared: DeclaredBody,
) -> Result<Ingested> {
    let dir = Arc::clone(blobs);
    let failed = |e| ObjectStoreError::Rejected(body_error(e));
    let length = declared.length;
    let written = write_content(move || dir.create(length), body, declared.algorithms(), failed).await?;
    let (md5, checksums) = written.hasher.finish();
    declared.verify(written.size, md5, &checksums)?;
    let blob = persist(blobs, written.to).await?;
    Ok(Ingested { blob, size: written.size, etag: hex::encode(md5), checksums })
}

/// Writes content of this object store to a new blob. On an error nothing of it is left on disk.
pub(crate) async fn ingest_copy(
    blobs: &Arc<BlobDir>,
    content: StreamingBlob,
    algorithm: Option<Algorithm>,
) -> Result<Ingested> {
    let dir = Arc::clone(blobs);
    let algorithms = algorithm.into_iter().collect();
    let written = write_content(move || dir.create(None), Some(content), algorithms, read_error).await?;
    let (md5, checksums) = written.hasher.finish();
    let blob = persist(blobs, written.to).await?;
    Ok(Ingested { blob, size: written.size, etag: hex::encode(md5), checksums })
}

/// The checksum of content of this object store.
pub(crate) async fn checksum(content: StreamingBlob, algorithm: Algorithm) -> Result<Checksums> {
    let written = write_content(|| Ok(io::sink()), Some(content), vec![algorithm], read_error).await?;
    Ok(written.hasher.finish().1)
}

/// Hashes content and writes it to what `create` returns.
async fn write_content<W: Write + Send + 'static>(
    create: impl FnOnce() -> io::Result<W> + Send + 'static,
    mut content: Option<StreamingBlob>,
    algorithms: Vec<Algorithm>,
    failed: fn(StdError) -> ObjectStoreError,
) -> Result<ContentWriter<W>> {
    let mut writing = tokio::task::spawn_blocking(move || -> Result<ContentWriter<W>> {
        Ok(ContentWriter { to: create()?, hasher: BodyHasher::new(&algorithms), size: 0 })
    });
    loop {
        let (batch, ended) = next_batch(&mut content, failed).await?;
        let writer = writing.await??;
        writing = tokio::task::spawn_blocking(move || writer.write(batch));
        if ended {
            return writing.await?;
        }
    }
}

async fn persist(blobs: &Arc<BlobDir>, staged: StagedBlob) -> Result<NewBlob> {
    let dir = Arc::clone(blobs);
    Ok(tokio::task::spawn_blocking(move || dir.persist(staged)).await??)
}

/// The error of content of this object store that could not be read.
fn read_error(e: StdError) -> ObjectStoreError {
    ObjectStoreError::Io(io::Error::other(e))
}

/// The next batch, of at least [`BATCH_BYTES`] unless it is the last, and whether it is the last.
async fn next_batch(
    body: &mut Option<StreamingBlob>,
    failed: fn(StdError) -> ObjectStoreError,
) -> Result<(Vec<Bytes>, bool)> {
    let mut batch = Vec::new();
    let mut size = 0;
    while let Some(stream) = body {
        match stream.next().await {
            Some(Ok(data)) => {
                size += data.len();
                batch.push(data);
                if size >= BATCH_BYTES {
                    return Ok((batch, false));
                }
            }
            Some(Err(e)) => return Err(failed(e)),
            None => break,
        }
    }
    Ok((batch, true))
}

/// The S3 error of a body whose stream failed. s3s does not export the types of its stream errors, so
/// only their names in the text distinguish a wrong signature from a lost connection.
fn body_error(e: StdError) -> S3Error {
    let text = e.to_string();
    tracing::debug!(error = %text, "receiving a request body failed");
    if text.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch, "The signature of the body does not match.")
    } else if text.contains("Sha256Mismatch") {
        custom_error(
            "XAmzContentSHA256Mismatch",
            StatusCode::BAD_REQUEST,
            "The x-amz-content-sha256 you specified did not match what we received.",
        )
    } else {
        s3_error!(IncompleteBody, "The body broke off or is malformed.")
    }
}

fn decode_md5(value: &str) -> result::Result<[u8; 16], S3Error> {
    STANDARD
        .decode(value)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| s3_error!(InvalidDigest, "The Content-MD5 you specified is not valid."))
}

fn too_large() -> S3Error {
    s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed object size.")
}
